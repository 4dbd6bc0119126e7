//! Whose turn it is, in O(log n) and the number of unlike weights: exactly what a scan of everybody
//! would say (`turns/scan.rs` is that scan; the tests compare the two).
//!
//! nginx's smooth weighted round robin (ngx_http_upstream_round_robin.c, 2012): everybody who takes
//! part earns its weight with each pick, the richest one gets the session and pays what all earned
//! together. Those who take part are the least loaded ones per weight; in plain round robin,
//! everybody's load is 0. Whoever does not take part keeps what it has.
//!
//! Equal weights earn alike, so among them a pick changes nobody's rank but the winner's: there is
//! a tournament tree for each weight, and a node knows of its least loaded ones how many they are
//! and the richest. What all of them earn is noted at the root and goes down only where a path is
//! walked anyway. A pick compares the roots. ADR 0010 has the other ways.

use alloc::vec;
use alloc::vec::Vec;

use super::{Candidate, TRIED_MAX, Tried};
use crate::base::prng::Prng;

/// Who takes part in a pick.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Among {
    Everybody,
    /// Those with the fewest sessions per weight.
    LeastLoaded,
}

#[derive(Debug)]
pub(super) struct Turns {
    among: Among,
    /// One for each weight that occurs, the lightest first.
    classes: Vec<Class>,
    /// The trees, one after another: each a root at 1, children of `at` at `2 at` and `2 at + 1`.
    nodes: Vec<Node>,
    /// In the order of the candidates.
    places: Vec<Place>,
    /// The sum of all weights.
    total: i64,
}

/// Candidates of one weight.
#[derive(Clone, Copy, Debug)]
struct Class {
    weight: u16,
    /// Where its tree begins in `nodes`.
    first: usize,
    /// A power of two; the leaves are the second half of the tree.
    leaves: usize,
}

/// Where a candidate is.
#[derive(Clone, Copy, Debug)]
struct Place {
    identity: u64,
    class: usize,
    leaf: usize,
}

/// A leaf is one candidate; an inner node speaks for the least loaded ones below it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Node {
    load: u32,
    /// How many have that load. 0 if nobody below is eligible; a leaf keeps its credit then.
    count: u32,
    /// The richest one's, in weights, times [`ONE`].
    credit: i64,
    /// What those of that load have earned and their own nodes do not know of yet.
    owed: i64,
    /// The richest one's index in the pool, the lowest of equals.
    at: u32,
}

impl Turns {
    pub(super) fn new(among: Among, candidates: &[Candidate]) -> Turns {
        Turns::with_credits(among, candidates, |_| 0)
    }

    fn with_credits(
        among: Among,
        candidates: &[Candidate],
        credit: impl Fn(usize) -> i64,
    ) -> Turns {
        let mut weights: Vec<u16> = candidates.iter().map(|it| it.weight).collect();
        weights.sort_unstable();
        let mut classes: Vec<Class> = Vec::new();
        let mut first = 0;
        for same in weights.chunk_by(|a, b| a == b) {
            let leaves = same.len().next_power_of_two();
            classes.push(Class { weight: same[0], first, leaves });
            first += 2 * leaves;
        }
        let mut taken = vec![0; classes.len()];
        let place = |candidate: &Candidate| {
            let class = classes.partition_point(|class| class.weight < candidate.weight);
            taken[class] += 1;
            Place { identity: candidate.identity, class, leaf: taken[class] - 1 }
        };
        let places = candidates.iter().map(place).collect();
        let total = candidates.iter().map(|it| i64::from(it.weight)).sum();
        let nodes = vec![Node::default(); first];
        let mut turns = Turns { among, classes, nodes, places, total };
        for index in 0..candidates.len() {
            let leaf = turns.leaf(index);
            turns.nodes[leaf].credit = credit(index);
            turns.nodes[leaf].at = u32::try_from(index).expect("pools are bounded");
        }
        turns.refresh_all(candidates);
        turns
    }

    /// Everybody keeps what it is ahead or behind, in turns: a turn costs the total, which may be
    /// another one now.
    pub(super) fn rebuild(&mut self, candidates: &[Candidate]) {
        let mut known = self.credits();
        known.sort_unstable_by_key(|&(identity, _)| identity);
        let credit = |candidate: &Candidate| {
            let at = known.binary_search_by_key(&candidate.identity, |&(identity, _)| identity);
            at.ok().map(|at| known[at].1)
        };
        let carried = candidates.iter().filter_map(credit);
        let (count, sum) = carried.fold((0, 0), |(count, sum), credit| (count + 1, sum + credit));
        // Whoever is new starts with 0; around that the others stay, also if the one who left was
        // rich or in debt.
        let mean = if count == 0 { 0 } else { sum / count };
        let total: i64 = candidates.iter().map(|it| i64::from(it.weight)).sum();
        let rescale = |credit: i64| {
            let scaled = i128::from(credit) * i128::from(total) / i128::from(self.total.max(1));
            i64::try_from(scaled).unwrap_or(0)
        };
        let credit_now =
            |index: usize| credit(&candidates[index]).map_or(0, |credit| rescale(credit - mean));
        *self = Turns::with_credits(self.among, candidates, credit_now);
    }

    /// Everybody starts anywhere within one turn, which is any phase of a cycle.
    pub(super) fn stagger(&mut self, prng: &mut Prng) {
        self.pay_out();
        for index in 0..self.places.len() {
            let leaf = self.leaf(index);
            self.nodes[leaf].credit = self.total * i64::from(prng.below(1 << FRACTION_BITS));
        }
        self.gather();
    }

    /// The load of this candidate has changed, or whether it is usable.
    pub(super) fn refresh(&mut self, index: usize, candidate: &Candidate) {
        let (load, count) = self.part(candidate);
        let leaf = self.nodes[self.leaf(index)];
        if (leaf.load, leaf.count) != (load, count) {
            self.touch(index, |leaf| (leaf.load, leaf.count) = (load, count));
        }
    }

    /// Does its leaf say of this candidate what it is?
    pub(super) fn is_fresh(&self, index: usize, candidate: &Candidate) -> bool {
        let leaf = self.nodes[self.leaf(index)];
        (leaf.load, leaf.count) == self.part(candidate)
    }

    /// The same for any number of them: for many at once it is less work.
    pub(super) fn refresh_all(&mut self, candidates: &[Candidate]) {
        self.pay_out();
        for (index, candidate) in candidates.iter().enumerate() {
            let leaf = self.leaf(index);
            (self.nodes[leaf].load, self.nodes[leaf].count) = self.part(candidate);
        }
        self.gather();
    }

    /// Whose turn it is among those who have not been tried.
    pub(super) fn pick(&mut self, tried: Tried) -> Option<usize> {
        if tried.is_empty() {
            return self.take_turn();
        }
        // They stand aside for this pick, and earn nothing.
        let mut aside = [None; TRIED_MAX];
        for (aside, index) in aside.iter_mut().zip(&tried.indices[..tried.len()]) {
            let index = index.index();
            if index < self.places.len() && self.nodes[self.leaf(index)].count > 0 {
                self.touch(index, |leaf| leaf.count = 0);
                *aside = Some(index);
            }
        }
        let picked = self.take_turn();
        aside.into_iter().flatten().for_each(|index| self.touch(index, |leaf| leaf.count = 1));
        picked
    }

    fn take_turn(&mut self) -> Option<usize> {
        let least = match self.among {
            Among::Everybody => (0, 1),
            Among::LeastLoaded => self.least()?,
        };
        let mut cost = 0;
        let mut richest: Option<(i64, u32)> = None;
        for class in &self.classes {
            let root = &mut self.nodes[class.first + 1];
            if root.count == 0 || is_less(least, (root.load, class.weight)) {
                continue;
            }
            let earned = i64::from(class.weight) * ONE;
            root.earn(earned);
            cost += earned * i64::from(root.count);
            if richest.is_none_or(|(credit, at)| {
                root.credit > credit || root.credit == credit && root.at < at
            }) {
                richest = Some((root.credit, root.at));
            }
        }
        let index = richest?.1 as usize;
        self.touch(index, |leaf| leaf.credit -= cost);
        Some(index)
    }

    /// The least load per weight.
    fn least(&self) -> Option<(u32, u16)> {
        let mut least: Option<(u32, u16)> = None;
        for class in &self.classes {
            let root = &self.nodes[class.first + 1];
            let load = (root.load, class.weight);
            if root.count > 0 && least.is_none_or(|least| is_less(load, least)) {
                least = Some(load);
            }
        }
        least
    }

    /// Load and count of a candidate's leaf.
    fn part(&self, candidate: &Candidate) -> (u32, u32) {
        let load = if self.among == Among::Everybody { 0 } else { candidate.load };
        (load, u32::from(candidate.is_eligible(0, Tried::NONE)))
    }

    /// Where the leaf of a candidate is in `nodes`.
    fn leaf(&self, index: usize) -> usize {
        let place = self.places[index];
        let class = self.classes[place.class];
        class.first + class.leaves + place.leaf
    }

    /// Changes a leaf and what is above it. What is owed is paid first on all the path: it is owed
    /// to those who are the least loaded before the change.
    fn touch(&mut self, index: usize, change: impl FnOnce(&mut Node)) {
        let place = self.places[index];
        let class = self.classes[place.class];
        let tree = &mut self.nodes[class.first..class.first + 2 * class.leaves];
        let leaf = class.leaves + place.leaf;
        for level in (1..=class.leaves.trailing_zeros()).rev() {
            pay(tree, leaf >> level);
        }
        change(&mut tree[leaf]);
        tree[leaf].owed = 0;
        let mut at = leaf / 2;
        while at > 0 {
            tree[at] = Node::over(&tree[2 * at], &tree[2 * at + 1]);
            at /= 2;
        }
    }

    /// Pays everybody what is owed.
    fn pay_out(&mut self) {
        for class in &self.classes {
            let tree = &mut self.nodes[class.first..class.first + 2 * class.leaves];
            (1..class.leaves).for_each(|at| pay(tree, at));
            tree[class.leaves..].iter_mut().for_each(|leaf| leaf.owed = 0);
        }
    }

    /// Works out all inner nodes; nothing may be owed.
    fn gather(&mut self) {
        for class in &self.classes {
            let tree = &mut self.nodes[class.first..class.first + 2 * class.leaves];
            for at in (1..class.leaves).rev() {
                tree[at] = Node::over(&tree[2 * at], &tree[2 * at + 1]);
            }
        }
    }

    /// Everybody's identity and credit.
    fn credits(&mut self) -> Vec<(u64, i64)> {
        self.pay_out();
        let credit =
            |(index, place): (usize, &Place)| (place.identity, self.nodes[self.leaf(index)].credit);
        self.places.iter().enumerate().map(credit).collect()
    }
}

impl Node {
    /// A node over these two. The left one's candidates come first in the pool.
    fn over(left: &Node, right: &Node) -> Node {
        let mut node = *left;
        if right.count > 0 {
            if left.count == 0 || right.load < left.load {
                node = *right;
            } else if right.load == left.load {
                if right.credit > left.credit {
                    node = *right;
                }
                node.count = left.count + right.count;
            }
        }
        Node { owed: 0, ..node }
    }

    /// Each of its least loaded ones gets `amount`.
    fn earn(&mut self, amount: i64) {
        self.credit += amount;
        self.owed += amount;
    }
}

/// Passes what a node has_unacked on to those of its children who have its least loaded ones.
fn pay(tree: &mut [Node], at: usize) {
    let Node { load, owed, .. } = tree[at];
    if owed == 0 {
        return;
    }
    for child in &mut tree[2 * at..2 * at + 2] {
        if child.count > 0 && child.load == load {
            child.earn(owed);
        }
    }
    tree[at].owed = 0;
}

/// Is one load per weight less than the other? By cross-multiplication: exact, and 48 bits at most.
pub(super) fn is_less((load, weight): (u32, u16), than: (u32, u16)) -> bool {
    u64::from(load) * u64::from(than.1) < u64::from(than.0) * u64::from(weight)
}

/// Fine enough that two shards hardly ever begin alike, and that rescaling loses nothing that
/// counts.
const ONE: i64 = 1 << FRACTION_BITS;
const FRACTION_BITS: u32 = 16;

#[cfg(test)]
mod scan;
#[cfg(test)]
mod tests;
