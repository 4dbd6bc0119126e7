//! In turn, by weight, smoothly interleaved: weights 5, 1, 1 give a a b a c a a, not a burst of the
//! heavy one.

use super::Candidate;
use super::turns::{Among, Turns};

pub(super) fn new(candidates: &[Candidate]) -> Turns {
    Turns::new(Among::Everybody, candidates)
}

#[cfg(test)]
mod tests {
    use super::super::tests::{candidates, counts};
    use super::*;
    use crate::base::prng::Prng;
    use crate::pick::Tried;
    use std::string::String;

    fn letters(robin: &mut Turns, picks: usize) -> String {
        (0..picks).map(|_| char::from(b"abcdefgh"[robin.pick(Tried::NONE).unwrap()])).collect()
    }

    #[test]
    fn the_heavy_one_is_spread_out() {
        for (weights, cycle) in [
            (&[5, 1, 1][..], "aabacaa"),
            (&[1, 1, 1], "abc"),
            (&[4, 2, 1], "abacaba"),
            (&[3, 0, 1], "aaca"),
            (&[1], "a"),
        ] {
            let pool = candidates(weights);
            let mut robin = new(&pool);
            for _ in 0..3 {
                assert_eq!(letters(&mut robin, cycle.len()), cycle, "{weights:?}");
            }
        }
    }

    #[test]
    fn a_cycle_holds_each_one_as_often_as_its_weight() {
        let pool = candidates(&[7, 256, 31, 1, 90]);
        let mut robin = new(&pool);
        robin.stagger(&mut Prng::new(5));
        let counts = counts(&pool, 385 * 4, |_| robin.pick(Tried::NONE));
        for (count, candidate) in counts.iter().zip(&pool) {
            assert!(count.abs_diff(4 * usize::from(candidate.weight)) <= 1, "{counts:?}");
        }
    }

    #[test]
    fn the_turn_goes_on_when_the_pool_changes() {
        let pool = candidates(&[1, 1, 1, 1]);
        let mut robin = new(&pool);
        assert_eq!(letters(&mut robin, 2), "ab");
        // b leaves: it is c's turn, then d's, then a's.
        robin.rebuild(&[pool[0], pool[2], pool[3]]);
        assert_eq!(letters(&mut robin, 6), "bcabca");
    }

    #[test]
    fn a_newcomer_gets_no_burst_however_often_the_pool_changed() {
        let mut prng = Prng::new(9);
        let mut pool = candidates(&[3, 3, 3, 3, 3, 3]);
        let mut robin = new(&pool);
        for change in 0..500 {
            for _ in 0..prng.below(12) {
                robin.pick(Tried::NONE);
            }
            let at = prng.below(6) as usize;
            pool[at].identity = 1000 + change;
            robin.rebuild(&pool);
            let next = counts(&pool, 12, |_| robin.pick(Tried::NONE));
            assert!(next.iter().all(|count| (1..=3).contains(count)), "{next:?}");
        }
    }

    #[test]
    fn a_newcomer_does_not_wait_for_the_debts_of_those_who_left() {
        let mut pool = candidates(&[1; 40]);
        let newcomer = pool.pop().unwrap();
        let mut robin = new(&pool);
        while pool.len() > 4 {
            let picked = robin.pick(Tried::NONE).unwrap();
            pool.remove(picked);
            robin.rebuild(&pool);
        }
        pool.push(newcomer);
        robin.rebuild(&pool);
        let next = counts(&pool, 10, |_| robin.pick(Tried::NONE));
        assert!(next.iter().all(|count| (1..=3).contains(count)), "{next:?}");
    }

    #[test]
    fn shards_that_stagger_begin_with_different_backends() {
        let pool = candidates(&[1; 8]);
        let first = |shard: usize| {
            let mut robin = new(&pool);
            robin.stagger(&mut Prng::new(shard as u64));
            robin.pick(Tried::NONE)
        };
        let counts = counts(&pool, 800, first);
        assert!(counts.iter().all(|count| (60..140).contains(count)), "{counts:?}");
    }
}
