//! The fewest sessions per weight; those that are equal in that take turns by weight, as in nginx.
//!
//! Turns by weight and not merely in order: when sessions are short the loads are mostly 0, and
//! then the weights would count for nothing.

use super::Candidate;
use super::turns::{Among, Turns};

pub(super) fn new(candidates: &[Candidate]) -> Turns {
    Turns::new(Among::LeastLoaded, candidates)
}

#[cfg(test)]
mod tests {
    use super::super::tests::{candidates, counts};
    use super::*;
    use crate::pick::Tried;

    #[test]
    fn the_least_load_per_weight_wins() {
        for (weights, loads, expected) in [
            (&[1, 1, 1], &[3, 2, 5], 1),
            (&[1, 4, 1], &[2, 7, 2], 1),
            (&[1, 4, 1], &[2, 9, 3], 0),
            (&[256, 255, 1], &[u32::MAX, u32::MAX, u32::MAX], 0),
            (&[0, 1, 2], &[0, 1, 3], 1),
        ] {
            let mut pool = candidates(weights);
            for (candidate, load) in pool.iter_mut().zip(loads) {
                candidate.load = *load;
            }
            let mut strategy = new(&pool);
            assert_eq!(strategy.pick(Tried::NONE), Some(expected), "{weights:?} {loads:?}");
        }
    }

    #[test]
    fn sessions_that_stay_fill_up_by_weight() {
        let mut pool = candidates(&[5, 1, 2, 8]);
        let mut strategy = new(&pool);
        for _ in 0..1600 {
            let index = strategy.pick(Tried::NONE).unwrap();
            pool[index].load += 1;
            strategy.refresh(index, &pool[index]);
        }
        let loads = [500, 100, 200, 800];
        for (candidate, load) in pool.iter().zip(loads) {
            assert!(candidate.load.abs_diff(load) <= 1, "{pool:?}");
        }
    }

    #[test]
    fn equal_ones_share_by_weight_when_sessions_end_at_once() {
        let pool = candidates(&[5, 1, 2, 8]);
        let mut strategy = new(&pool);
        let counts = counts(&pool, 160, |_| strategy.pick(Tried::NONE));
        assert_eq!(counts, [50, 10, 20, 80]);
    }
}
