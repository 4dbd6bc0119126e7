//! By the client's address, consistently: a client keeps its backend while others come and go, on
//! every node.
//!
//! Eisenbud et al., "Maglev", NSDI 2016, section 3.4: every backend has its own order of all places
//! of a table and they take turns in claiming the first free one. Weights are turns: the k-th turn
//! of a backend comes at k / weight, so no other backend's turns move when one comes, goes or
//! changes its weight. The table depends on identities and weights only. A client whose backend
//! cannot be used now goes on from its own place with its own step; all others stay.

use alloc::collections::BinaryHeap;
use alloc::collections::binary_heap::PeekMut;
use alloc::vec;
use alloc::vec::Vec;
use core::cmp::Reverse;

use super::{Candidate, Tried};
use crate::base::prng::mix;

#[derive(Debug)]
pub(super) struct Maglev {
    /// What the table was built from, in the order of the pool.
    members: Vec<Member>,
    /// Indices of candidates; empty if nobody has a weight.
    table: Vec<u16>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Member {
    identity: u64,
    weight: u16,
}

impl Maglev {
    pub(super) fn new(candidates: &[Candidate]) -> Maglev {
        let mut maglev = Maglev { members: Vec::new(), table: Vec::new() };
        maglev.rebuild(candidates);
        maglev
    }

    /// Builds the table, unless it is for the same identities and weights already.
    pub(super) fn rebuild(&mut self, candidates: &[Candidate]) {
        let members = candidates
            .iter()
            .map(|candidate| Member { identity: candidate.identity, weight: candidate.weight });
        if !members.clone().eq(self.members.iter().copied()) {
            self.members = members.collect();
            self.table = build(&self.members);
        }
    }

    pub(super) fn pick(&self, candidates: &[Candidate], key: u64, tried: Tried) -> Option<usize> {
        let takes =
            |index: usize| candidates.get(index).is_some_and(|it| it.is_eligible(index, tried));
        let probed = self.probes(key).map(|(_, index)| index).find(|index| takes(*index));
        probed.or_else(|| highest_bid(candidates, key, tried))
    }

    /// The places where this client is looked for, each with the candidate there, in their order.
    pub(super) fn probes(&self, key: u64) -> impl Iterator<Item = (u32, usize)> + '_ {
        let size = u32::try_from(self.table.len()).expect("one of two constants");
        let first = scale(key, size);
        let step = 1 + scale(mix(key), size.saturating_sub(1));
        let next = move |place: &u32| {
            let next = place + step;
            Some(if next >= size { next - size } else { next })
        };
        let places = core::iter::successors(Some(first), next);
        let places = places.take(PROBES_MAX.min(size) as usize);
        places.map(|place| (place, usize::from(self.table[place as usize])))
    }
}

/// Whether a client goes to a candidate whose share grows, `grown` of `whole` so far: by a lot that
/// is always the same for the two of them, so that a client which has gone over stays.
#[must_use]
pub fn goes_over(key: u64, candidate: &Candidate, (grown, whole): (u32, u32)) -> bool {
    scale(mix(mix(key) ^ candidate.identity), whole) < grown
}

/// The table of these members: the same for the same identities and weights in any order, but for
/// the indices in it.
fn build(members: &[Member]) -> Vec<u16> {
    let size = if members.len() <= SMALL_POOL { SMALL_TABLE } else { LARGE_TABLE };
    let mut rows: Vec<BuildRow> = (0..EMPTY)
        .zip(members)
        .filter(|(_, member)| member.weight > 0)
        .map(|(index, member)| BuildRow::new(index, *member, size))
        .collect();
    if rows.is_empty() {
        return Vec::new();
    }
    rows.sort_unstable_by_key(|row| (row.identity, row.index));
    let mut table = vec![EMPTY; size as usize];
    // Turns at equal times go by identity. The first is at 0, so whoever has a weight has a place.
    let mut turns: BinaryHeap<Reverse<(u64, usize)>> =
        (0..rows.len()).map(|row| Reverse((0, row))).collect();
    for _ in 0..size {
        let Some(mut turn) = turns.peek_mut() else { break };
        let row = &mut rows[turn.0.1];
        row.claim(&mut table, size);
        turn.0.0 = (row.claimed << 32) / u64::from(row.weight);
        drop::<PeekMut<'_, _>>(turn);
    }
    table
}

/// A backend while the table is built.
struct BuildRow {
    identity: u64,
    index: u16,
    weight: u16,
    /// The next place that it prefers, and from there how far to the one after.
    place: u32,
    step: u32,
    claimed: u64,
}

impl BuildRow {
    fn new(index: u16, member: Member, size: u32) -> BuildRow {
        let first = mix(member.identity);
        BuildRow {
            identity: member.identity,
            index,
            weight: member.weight,
            place: scale(first, size),
            step: 1 + scale(mix(first), size - 1),
            claimed: 0,
        }
    }

    /// Takes the first free place in its own order. There is one: the table is not full yet, and
    /// since its size is a prime, any step comes by every place.
    fn claim(&mut self, table: &mut [u16], size: u32) {
        loop {
            let place = self.place as usize;
            self.place += self.step;
            if self.place >= size {
                self.place -= size;
            }
            if table[place] == EMPTY {
                table[place] = self.index;
                self.claimed += 1;
                return;
            }
        }
    }
}

/// For when probing found nobody, which means that few are left: the eligible one with the highest
/// bid for this client (rendezvous hashing with weights). Still consistent, and still by weight.
fn highest_bid(candidates: &[Candidate], key: u64, tried: Tried) -> Option<usize> {
    let eligible =
        candidates.iter().enumerate().filter(|&(index, it)| it.is_eligible(index, tried));
    // The bid is -ln(u) / weight with a uniform u, and the lowest one wins: exponential variables
    // with the weights as rates. Compared by cross-multiplication: 38 bits of logarithm, 16 of
    // weight.
    let bid = |it: &Candidate| (negative_log2(mix(key ^ it.identity)), u64::from(it.weight));
    let best = eligible.map(|(index, it)| (index, bid(it))).reduce(|best, other| {
        if other.1.0 * best.1.1 < best.1.0 * other.1.1 { other } else { best }
    });
    best.map(|(index, _)| index)
}

/// -log2(word / 2^64) with 32 bits behind the point: exact at powers of two, between them at most
/// 0.01 off.
fn negative_log2(word: u64) -> u64 {
    let zeros = word.leading_zeros().min(63);
    let fraction = (word << zeros << 1) >> 32;
    // log2(1 + f) is about f + 11/32 f (1 - f).
    let bulge = ((fraction * ((1 << 32) - fraction)) >> 32) * 11 / 32;
    (u64::from(zeros + 1) << 32) - fraction - bulge
}

/// A number in `0..bound` from 64 uniform bits, by multiplication instead of division.
fn scale(word: u64, bound: u32) -> u32 {
    let product = (u128::from(word) * u128::from(bound)) >> 64;
    u32::try_from(product).expect("below bound")
}

/// Pools up to this many backends get the small table.
const SMALL_POOL: usize = 40;
/// A prime of at least 100 places for each backend, as section 3.4 of the paper asks: shares
/// within 1 % of even. 8 KiB: it stays in the L1 or L2 cache of a shard that has other work, and is
/// built in some 100 µs.
const SMALL_TABLE: u32 = 4093;
/// The paper's size, a prime: 64 places each for 1,024 backends, 16 for 4,096, whose shares are
/// even to within some percent. 128 KiB, built in milliseconds; ten times the size would take ten
/// times as long, in one turn.
const LARGE_TABLE: u32 = 65_537;
const EMPTY: u16 = u16::MAX;
/// With half of the weight eligible, one pick in 2^32 has to look at every candidate; with a tenth,
/// one in 29.
const PROBES_MAX: u32 = 32;

const _: () = assert!(weir_proto::snapshot::BACKENDS_PER_POOL_MAX < EMPTY as usize);
const _: () = assert!(SMALL_TABLE as usize >= 100 * SMALL_POOL);

#[cfg(test)]
mod tests;
