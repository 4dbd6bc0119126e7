//! The oracle: the same turns by looking at every candidate, as weir did until ADR 0010.

use std::vec::Vec;

use super::is_less;
use crate::base::prng::Prng;
use crate::pick::{Candidate, Tried};

#[derive(Debug)]
pub(in crate::pick) struct Scan {
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

impl Scan {
    pub(in crate::pick) fn new(candidates: &[Candidate]) -> Scan {
        let turn = |candidate: &Candidate| Turn { identity: candidate.identity, credit: 0 };
        Scan {
            turns: candidates.iter().map(turn).collect(),
            total: candidates.iter().map(|candidate| i64::from(candidate.weight)).sum(),
        }
    }

    pub(in crate::pick) fn rebuild(&mut self, candidates: &[Candidate]) {
        let before = core::mem::replace(self, Scan::new(candidates));
        self.carry(&before);
    }

    /// Everybody keeps what it is ahead or behind, in turns: a turn costs the total, which may be
    /// another one now.
    fn carry(&mut self, before: &Scan) {
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
    pub(in crate::pick) fn stagger(&mut self, prng: &mut Prng) {
        for turn in &mut self.turns {
            turn.credit = self.total * i64::from(prng.below(1 << FRACTION_BITS));
        }
    }

    pub(in crate::pick) fn pick(
        &mut self,
        candidates: &[Candidate],
        tried: Tried,
    ) -> Option<usize> {
        self.pick_among(candidates, |index, candidate| candidate.is_eligible(index, tried))
    }

    /// The same among the least loaded ones per weight.
    pub(in crate::pick) fn pick_least(
        &mut self,
        candidates: &[Candidate],
        tried: Tried,
    ) -> Option<usize> {
        let load = |candidate: &Candidate| (candidate.load, candidate.weight);
        let eligible = |index: usize, candidate: &Candidate| candidate.is_eligible(index, tried);
        let (_, least) = candidates
            .iter()
            .enumerate()
            .filter(|&(index, candidate)| eligible(index, candidate))
            .reduce(|least, it| if is_less(load(it.1), load(least.1)) { it } else { least })?;
        self.pick_among(candidates, |index, candidate| {
            eligible(index, candidate) && !is_less(load(least), load(candidate))
        })
    }

    /// Whose turn it is among those that `may` be picked; only they earn.
    pub(in crate::pick) fn pick_among(
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

const ONE: i64 = 1 << FRACTION_BITS;
const FRACTION_BITS: u32 = 16;
