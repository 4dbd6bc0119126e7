//! The trees against the scan, and what a pick and a change may cost.

use super::scan::Scan;
use super::*;
use crate::pick::{Picker, identity};
use crate::slot::MemberIndex;
use proptest::prelude::{Just, ProptestConfig, Strategy as Generator, any, prop};
use proptest::{prop_assert, prop_assert_eq, prop_oneof, proptest};
use std::format;
use weir_proto::spec::Strategy;

/// What happens to a pool. Indices are taken modulo its length.
#[derive(Clone, Debug)]
enum PoolStep {
    /// So many picks; a session begins on what is picked. Those that were tried come first.
    Pick(Vec<usize>, u8),
    Load(usize, u32),
    Usable(usize, bool),
    /// Many at once: one in N of the candidates.
    Flip(usize),
    Weight(usize, u16),
    Leave(usize),
    Join(u16),
}

fn weight() -> impl Generator<Value = u16> {
    prop_oneof![Just(1_u16), Just(2), Just(3), Just(6), 0..8_u16, 0..=256_u16]
}

fn step() -> impl Generator<Value = PoolStep> {
    let at = 0..1024_usize;
    let tried = prop::collection::vec(0..80_usize, 0..=TRIED_MAX);
    prop_oneof![
        8 => (tried, 1..20_u8).prop_map(|(tried, picks)| PoolStep::Pick(tried, picks)),
        4 => (Just(Vec::new()), 1..20_u8).prop_map(|(tried, picks)| PoolStep::Pick(tried, picks)),
        4 => (at.clone(), prop_oneof![0..6_u32, any::<u32>()])
            .prop_map(|(at, load)| PoolStep::Load(at, load)),
        4 => (at.clone(), any::<bool>()).prop_map(|(at, usable)| PoolStep::Usable(at, usable)),
        1 => (1..40_usize).prop_map(PoolStep::Flip),
        1 => (at.clone(), weight()).prop_map(|(at, weight)| PoolStep::Weight(at, weight)),
        1 => at.prop_map(PoolStep::Leave),
        1 => weight().prop_map(PoolStep::Join),
    ]
}

/// The trees and the scan, side by side. The scan needs no telling: it looks at the candidates.
struct Both {
    picker: Picker,
    scan: Scan,
    names: u32,
}

impl Both {
    fn new(strategy: Strategy, weights: &[u16], seed: Option<u64>) -> Both {
        let pool: Vec<Candidate> = (0..).zip(weights).map(|(name, it)| member(name, *it)).collect();
        let names = u32::try_from(pool.len()).unwrap();
        let mut scan = Scan::new(&pool);
        let mut picker = Picker::new(strategy, pool);
        if let Some(seed) = seed {
            scan.stagger(&mut Prng::new(seed));
            picker.stagger(&mut Prng::new(seed));
        }
        Both { picker, scan, names }
    }

    /// What the trees pick and what the scan does; a session begins on it.
    fn pick(&mut self, tried: Tried) -> (Option<usize>, Option<usize>) {
        let pool = self.picker.candidates().to_vec();
        let expected = match self.picker.strategy() {
            Strategy::LeastConn => self.scan.pick_least(&pool, tried),
            _ => self.scan.pick(&pool, tried),
        };
        let picked = self.picker.pick(0, &mut Prng::new(0), tried);
        if let Some(index) = picked {
            self.picker.change(index, |it| it.load = it.load.saturating_add(1));
        }
        (picked, expected)
    }

    fn rebuild(&mut self, pool: Vec<Candidate>) {
        self.scan.rebuild(&pool);
        self.picker.rebuild(pool);
    }

    fn change(&mut self, step: &PoolStep) {
        let mut pool = self.picker.candidates().to_vec();
        let count = pool.len().max(1);
        match *step {
            PoolStep::Load(at, load) if !pool.is_empty() => {
                self.picker.change(at % count, |it| it.load = load);
            }
            PoolStep::Usable(at, usable) if !pool.is_empty() => {
                self.picker.change(at % count, |it| it.usable = usable);
            }
            PoolStep::Flip(every) => {
                let flip = |_: usize, it: &mut Candidate| it.usable = !it.usable;
                let those: Vec<usize> = (0..pool.len()).step_by(every).collect();
                self.picker.change_each(those.into_iter(), flip);
            }
            PoolStep::Weight(at, weight) if !pool.is_empty() => {
                pool[at % count].weight = weight;
                self.rebuild(pool);
            }
            PoolStep::Leave(at) if !pool.is_empty() => {
                pool.remove(at % count);
                self.rebuild(pool);
            }
            PoolStep::Join(weight) => {
                self.names += 1;
                pool.insert(pool.len() / 2, member(self.names, weight));
                self.rebuild(pool);
            }
            _ => {}
        }
    }
}

fn member(name: u32, weight: u16) -> Candidate {
    Candidate { identity: identity(&format!("b{name}")), weight, load: 0, usable: true }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(256))]

    /// The same one out of every pick, whatever happens between them.
    #[test]
    fn the_trees_pick_what_a_scan_picks(
        weights in prop_oneof![
            prop::collection::vec(weight(), 0..6),
            prop::collection::vec(weight(), 0..80),
            prop::collection::vec(Just(1_u16), 1..80),
        ],
        seed in any::<Option<u64>>(),
        steps in prop::collection::vec(step(), 0..60),
    ) {
        for strategy in [Strategy::RoundRobin, Strategy::LeastConn] {
            let mut both = Both::new(strategy, &weights, seed);
            for (at, step) in steps.iter().enumerate() {
                let PoolStep::Pick(indices, picks) = step else {
                    both.change(step);
                    let all = 0..both.picker.candidates().len();
                    prop_assert!(all.into_iter().all(|index| both.picker.is_fresh(index)));
                    continue;
                };
                let mut tried = Tried::NONE;
                indices.iter().for_each(|&index| tried.add(MemberIndex::at(index)));
                for _ in 0..*picks {
                    let (picked, expected) = both.pick(tried);
                    prop_assert_eq!(picked, expected, "{} at step {}: {:?}", strategy, at, step);
                }
            }
        }
    }
}

#[test]
fn a_thousand_take_the_turns_of_a_scan() {
    for strategy in [Strategy::RoundRobin, Strategy::LeastConn] {
        let weights: Vec<u16> = (0..1000).map(|at| at * 7 % 257).collect();
        let mut both = Both::new(strategy, &weights, Some(3));
        for _ in 0..3000 {
            let (picked, expected) = both.pick(Tried::NONE);
            assert_eq!(picked, expected);
        }
    }
}

/// Also between the ends of a cycle: all credits together are 0 before they earn, so the richest
/// one has something when it pays, and is less than a pick in debt after it.
#[test]
fn nobody_is_a_pick_ahead_of_its_share() {
    let weights = [1_u16, 1, 2, 3, 5, 8, 13, 21, 34, 55, 89];
    let total: u32 = weights.iter().map(|&it| u32::from(it)).sum();
    let pool: Vec<Candidate> = (0..).zip(weights).map(|(name, it)| member(name, it)).collect();
    let mut turns = Turns::new(Among::Everybody, &pool);
    let mut counts = [0_u32; 11];
    for picks in 1..=3 * total {
        counts[turns.pick(Tried::NONE).unwrap()] += 1;
        for (count, weight) in counts.iter().zip(weights) {
            let (has, due) = (count * total, picks * u32::from(weight));
            assert!(has < due + total, "{counts:?} after {picks}");
        }
    }
    assert!(counts.iter().zip(weights).all(|(&count, weight)| count == 3 * u32::from(weight)));
}

#[test]
fn memory_is_at_most_four_nodes_for_each_candidate() {
    for count in [1, 2, 3, 513, 1024] {
        let pool: Vec<Candidate> = (0..count).map(|name| member(name, 1)).collect();
        let turns = Turns::new(Among::Everybody, &pool);
        assert!(turns.nodes.len() <= 4 * pool.len(), "{count}: {}", turns.nodes.len());
    }
}
