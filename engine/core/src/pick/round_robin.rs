//! In turn, by weight, smoothly interleaved: weights 5, 1, 1 give a a b a c a a, not a burst of the
//! heavy one.
//!
//! nginx's smooth weighted round robin (ngx_http_upstream_round_robin.c, 2012): everybody earns its
//! weight with each pick, the richest one gets the session and pays what all earned together.

use alloc::vec::Vec;

use super::{Candidate, Tried};
use crate::base::prng::Prng;

#[derive(Debug)]
pub(super) struct RoundRobin {
    turns: Vec<Turn>,
    /// The sum of all weights.
    total: i64,
}

#[derive(Clone, Copy, Debug)]
struct Turn {
    identity: u64,
    /// In weights, times [`ONE`].
    credit: i64,
}

impl RoundRobin {
    pub(super) fn new(candidates: &[Candidate]) -> RoundRobin {
        let turn = |candidate: &Candidate| Turn { identity: candidate.identity, credit: 0 };
        RoundRobin {
            turns: candidates.iter().map(turn).collect(),
            total: candidates.iter().map(|candidate| i64::from(candidate.weight)).sum(),
        }
    }

    pub(super) fn rebuild(&mut self, candidates: &[Candidate]) {
        let before = core::mem::replace(self, RoundRobin::new(candidates));
        self.carry(&before);
    }

    /// Everybody keeps what it is ahead or behind, in turns: a turn costs the total, which may be
    /// another one now.
    fn carry(&mut self, before: &RoundRobin) {
        let mut known = before.turns.clone();
        known.sort_unstable_by_key(|turn| turn.identity);
        let credit = |identity: u64| {
            let at = known.binary_search_by_key(&identity, |turn| turn.identity).ok()?;
            Some(known[at].credit)
        };
        let carried = self.turns.iter().filter_map(|turn| credit(turn.identity));
        let (count, sum) = carried.fold((0, 0), |(count, sum), credit| (count + 1, sum + credit));
        // Whoever is new starts with 0; around that the others stay, also if the one who left was
        // rich or in debt.
        let mean = if count == 0 { 0 } else { sum / count };
        let rescale = |credit: i64| {
            let scaled =
                i128::from(credit) * i128::from(self.total) / i128::from(before.total.max(1));
            i64::try_from(scaled).unwrap_or(0)
        };
        for turn in &mut self.turns {
            turn.credit = credit(turn.identity).map_or(0, |credit| rescale(credit - mean));
        }
    }

    /// Everybody starts anywhere within one turn, which is any phase of a cycle.
    pub(super) fn stagger(&mut self, prng: &mut Prng) {
        for turn in &mut self.turns {
            turn.credit = self.total * i64::from(prng.below(1 << FRACTION_BITS));
        }
    }

    pub(super) fn pick(&mut self, candidates: &[Candidate], tried: Tried) -> Option<usize> {
        self.pick_among(candidates, |index, candidate| candidate.is_eligible(index, tried))
    }

    /// Whose turn it is among those that `may` be picked; only they earn.
    pub(super) fn pick_among(
        &mut self,
        candidates: &[Candidate],
        may: impl Fn(usize, &Candidate) -> bool,
    ) -> Option<usize> {
        let mut cost = 0;
        let mut richest: Option<(usize, i64)> = None;
        for (index, (candidate, turn)) in candidates.iter().zip(&mut self.turns).enumerate() {
            if !may(index, candidate) {
                continue;
            }
            let earned = i64::from(candidate.weight) * ONE;
            turn.credit += earned;
            cost += earned;
            if richest.is_none_or(|(_, credit)| turn.credit > credit) {
                richest = Some((index, turn.credit));
            }
        }
        let (index, _) = richest?;
        self.turns[index].credit -= cost;
        Some(index)
    }
}

/// Fine enough that two shards hardly ever begin alike, and that rescaling loses nothing that
/// counts.
const ONE: i64 = 1 << FRACTION_BITS;
const FRACTION_BITS: u32 = 16;

#[cfg(test)]
mod tests {
    use super::super::tests::{candidates, counts};
    use super::*;
    use std::string::String;

    fn letters(robin: &mut RoundRobin, pool: &[Candidate], picks: usize) -> String {
        (0..picks)
            .map(|_| char::from(b"abcdefgh"[robin.pick(pool, Tried::NONE).unwrap()]))
            .collect()
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
            let mut robin = RoundRobin::new(&pool);
            for _ in 0..3 {
                assert_eq!(letters(&mut robin, &pool, cycle.len()), cycle, "{weights:?}");
            }
        }
    }

    #[test]
    fn a_cycle_holds_each_one_as_often_as_its_weight() {
        let pool = candidates(&[7, 256, 31, 1, 90]);
        let mut robin = RoundRobin::new(&pool);
        robin.stagger(&mut Prng::new(5));
        let counts = counts(&pool, 385 * 4, |_| robin.pick(&pool, Tried::NONE));
        for (count, candidate) in counts.iter().zip(&pool) {
            assert!(count.abs_diff(4 * usize::from(candidate.weight)) <= 1, "{counts:?}");
        }
    }

    #[test]
    fn the_turn_goes_on_when_the_pool_changes() {
        let pool = candidates(&[1, 1, 1, 1]);
        let mut before = RoundRobin::new(&pool);
        assert_eq!(letters(&mut before, &pool, 2), "ab");
        // b leaves: it is c's turn, then d's, then a's.
        let rest = [pool[0], pool[2], pool[3]];
        let mut after = RoundRobin::new(&rest);
        after.carry(&before);
        assert_eq!(letters(&mut after, &rest, 6), "bcabca");
        before.rebuild(&rest);
        assert_eq!(letters(&mut before, &rest, 3), "bca");
    }

    #[test]
    fn a_newcomer_gets_no_burst_however_often_the_pool_changed() {
        let mut prng = Prng::new(9);
        let mut pool = candidates(&[3, 3, 3, 3, 3, 3]);
        let mut robin = RoundRobin::new(&pool);
        for change in 0..500 {
            for _ in 0..prng.below(12) {
                robin.pick(&pool, Tried::NONE);
            }
            let at = prng.below(6) as usize;
            pool[at].identity = 1000 + change;
            robin.rebuild(&pool);
            let next = counts(&pool, 12, |_| robin.pick(&pool, Tried::NONE));
            assert!(next.iter().all(|count| (1..=3).contains(count)), "{next:?}");
        }
    }

    #[test]
    fn a_newcomer_does_not_wait_for_the_debts_of_those_who_left() {
        let mut pool = candidates(&[1; 40]);
        let newcomer = pool.pop().unwrap();
        let mut robin = RoundRobin::new(&pool);
        while pool.len() > 4 {
            let picked = robin.pick(&pool, Tried::NONE).unwrap();
            pool.remove(picked);
            robin.rebuild(&pool);
        }
        pool.push(newcomer);
        robin.rebuild(&pool);
        let next = counts(&pool, 10, |_| robin.pick(&pool, Tried::NONE));
        assert!(next.iter().all(|count| (1..=3).contains(count)), "{next:?}");
    }

    #[test]
    fn shards_that_stagger_begin_with_different_backends() {
        let pool = candidates(&[1; 8]);
        let first = |shard: usize| {
            let mut robin = RoundRobin::new(&pool);
            robin.stagger(&mut Prng::new(shard as u64));
            robin.pick(&pool, Tried::NONE)
        };
        let counts = counts(&pool, 800, first);
        assert!(counts.iter().all(|count| (60..140).contains(count)), "{counts:?}");
    }
}
