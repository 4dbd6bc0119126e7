//! Two different ones drawn by weight, and the less loaded of them: nearly as even as the least
//! loaded of all, without every shard running to the same one on the same old figures
//! (Mitzenmacher, IEEE TPDS 2001).

use super::random::{self, Random};
use super::{Candidate, Tried};
use crate::base::prng::Prng;

#[derive(Debug)]
pub(super) struct TwoChoices {
    lots: Random,
}

impl TwoChoices {
    pub(super) fn new(candidates: &[Candidate]) -> TwoChoices {
        TwoChoices { lots: Random::new(candidates) }
    }

    pub(super) fn rebuild(&mut self, candidates: &[Candidate]) {
        self.lots.rebuild(candidates);
    }

    pub(super) fn pick(
        &self,
        candidates: &[Candidate],
        prng: &mut Prng,
        tried: Tried,
    ) -> Option<usize> {
        let first = self.lots.pick(candidates, prng, tried)?;
        let second = random::draw(&self.lots, candidates, prng, |index, candidate| {
            index != first && candidate.is_eligible(index, tried)
        });
        Some(match second {
            Some(second) if candidates[second].is_less_loaded(&candidates[first]) => second,
            Some(_) | None => first,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::super::tests::{assert_shares, candidates, counts};
    use super::*;
    use crate::slot::MemberIndex;

    #[test]
    fn of_two_the_less_loaded_one_always_wins() {
        let mut pool = candidates(&[1, 1]);
        let strategy = TwoChoices::new(&pool);
        let mut prng = Prng::new(1);
        for (loads, winner) in [([3, 4], 0), ([4, 3], 1)] {
            pool[0].load = loads[0];
            pool[1].load = loads[1];
            for _ in 0..100 {
                assert_eq!(strategy.pick(&pool, &mut prng, Tried::NONE), Some(winner));
            }
        }
    }

    #[test]
    fn the_most_loaded_of_all_is_never_picked() {
        let mut pool = candidates(&[2, 2, 2, 2, 2]);
        pool[3].load = 10;
        let strategy = TwoChoices::new(&pool);
        let mut prng = Prng::new(2);
        let counts = counts(&pool, 10_000, |_| strategy.pick(&pool, &mut prng, Tried::NONE));
        assert_eq!(counts[3], 0);
        assert_shares(&[counts[0], counts[1], counts[2], counts[4]], &[1, 1, 1, 1], 0.1);
    }

    #[test]
    fn sessions_that_stay_fill_up_by_weight() {
        let weights = [5, 1, 2, 8, 4, 4];
        let mut pool = candidates(&weights);
        let strategy = TwoChoices::new(&pool);
        let mut prng = Prng::new(3);
        for _ in 0..24_000 {
            let index = strategy.pick(&pool, &mut prng, Tried::NONE).unwrap();
            pool[index].load += 1;
        }
        let loads: std::vec::Vec<usize> = pool.iter().map(|it| it.load as usize).collect();
        assert_shares(&loads, &weights, 0.02);
    }

    #[test]
    fn one_that_is_alone_is_picked() {
        let mut pool = candidates(&[1, 1, 1]);
        pool[0].usable = false;
        let strategy = TwoChoices::new(&pool);
        let mut tried = Tried::NONE;
        tried.add(MemberIndex::at(2));
        assert_eq!(strategy.pick(&pool, &mut Prng::new(4), tried), Some(1));
    }
}
