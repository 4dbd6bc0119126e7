//! At random, by weight. Two choices draws its two with this, too.

use alloc::vec::Vec;

use super::{Candidate, Tried};
use crate::base::prng::Prng;

#[derive(Debug)]
pub(super) struct Random {
    /// By candidate: the sum of the weights up to and with its own.
    sums: Vec<u32>,
}

impl Random {
    pub(super) fn new(candidates: &[Candidate]) -> Random {
        let mut random = Random { sums: Vec::new() };
        random.rebuild(candidates);
        random
    }

    pub(super) fn rebuild(&mut self, candidates: &[Candidate]) {
        self.sums.clear();
        self.sums.extend(candidates.iter().scan(0_u32, |sum, candidate| {
            *sum += u32::from(candidate.weight);
            Some(*sum)
        }));
    }

    pub(super) fn pick(
        &self,
        candidates: &[Candidate],
        prng: &mut Prng,
        tried: Tried,
    ) -> Option<usize> {
        draw(self, candidates, prng, |index, candidate| candidate.is_eligible(index, tried))
    }
}

/// One of those that `may` be drawn, by weight. Draws among all until one may, and if that takes
/// too long walks over them: both give each one its exact chance among those that may, and the
/// first is a binary search only.
pub(super) fn draw(
    random: &Random,
    candidates: &[Candidate],
    prng: &mut Prng,
    may: impl Fn(usize, &Candidate) -> bool,
) -> Option<usize> {
    let all = random.sums.last().copied().unwrap_or(0);
    for _ in 0..DRAWS_MAX {
        let lot = prng.below(all);
        let index = random.sums.partition_point(|&sum| sum <= lot);
        if candidates.get(index).is_some_and(|candidate| may(index, candidate)) {
            return Some(index);
        }
    }
    let mut those = candidates.iter().enumerate().filter(|&(index, it)| may(index, it));
    let total = those.clone().map(|(_, candidate)| u32::from(candidate.weight)).sum();
    let mut lot = prng.below(total);
    those.find_map(|(index, candidate)| {
        let weight = u32::from(candidate.weight);
        if lot < weight {
            return Some(index);
        }
        lot -= weight;
        None
    })
}

/// With half of the weight eligible, one pick in 256 has to walk.
const DRAWS_MAX: u32 = 8;

#[cfg(test)]
mod tests {
    use super::super::tests::{assert_shares, candidates, counts};
    use super::*;

    #[test]
    fn shares_follow_the_weights() {
        let pool = candidates(&[5, 0, 1, 2, 8]);
        let random = Random::new(&pool);
        let mut prng = Prng::new(3);
        let counts = counts(&pool, 64_000, |_| random.pick(&pool, &mut prng, Tried::NONE));
        assert_shares(&counts, &[5, 0, 1, 2, 8], 0.05);
    }

    #[test]
    fn shares_follow_the_weights_among_the_few_that_are_left() {
        let mut weights = [100_u16; 40];
        weights[17] = 1;
        weights[23] = 3;
        let mut pool = candidates(&weights);
        for (index, candidate) in pool.iter_mut().enumerate() {
            candidate.usable = [17, 23].contains(&index);
        }
        let random = Random::new(&pool);
        let mut prng = Prng::new(4);
        let counts = counts(&pool, 40_000, |_| random.pick(&pool, &mut prng, Tried::NONE));
        assert_shares(&[counts[17], counts[23]], &[1, 3], 0.05);
    }
}
