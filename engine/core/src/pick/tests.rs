//! What holds for every strategy, and what the strategies' own tests share.

use super::*;
use proptest::prelude::{Just, ProptestConfig, Strategy as Generator, any, prop};
use proptest::{prop_assert, prop_assert_eq, prop_oneof, proptest};
use std::format;
use std::vec;
use std::vec::Vec;

/// Usable ones without load; the names are `b0`, `b1`, …
pub(super) fn candidates(weights: &[u16]) -> Vec<Candidate> {
    let candidate = |(index, &weight): (usize, &u16)| Candidate {
        identity: identity(&format!("b{index}")),
        weight,
        load: 0,
        usable: true,
    };
    weights.iter().enumerate().map(candidate).collect()
}

/// How often each candidate comes out of `picks` picks.
pub(super) fn counts(
    pool: &[Candidate],
    picks: usize,
    mut pick: impl FnMut(usize) -> Option<usize>,
) -> Vec<usize> {
    let mut counts = vec![0; pool.len()];
    for turn in 0..picks {
        counts[pick(turn).expect("somebody is eligible")] += 1;
    }
    counts
}

/// Each share is its weight's, give or take the fraction `tolerance` of it.
pub(super) fn assert_shares(counts: &[usize], weights: &[u16], tolerance: f64) {
    let total: usize = counts.iter().sum();
    let weight_total: f64 = weights.iter().map(|&weight| f64::from(weight)).sum();
    for (&count, &weight) in counts.iter().zip(weights) {
        let expected = total as f64 * f64::from(weight) / weight_total;
        let off = (count as f64 - expected).abs();
        assert!(off <= expected * tolerance, "{counts:?} for weights {weights:?}");
    }
}

fn pool_and_tried() -> impl Generator<Value = (Vec<Candidate>, Tried)> {
    let candidate = (
        0..6_u64,
        prop_oneof![Just(0_u16), 1..4_u16, Just(256), any::<u16>()],
        0..5_u32,
        any::<bool>(),
    )
        .prop_map(|(identity, weight, load, usable)| Candidate {
            identity,
            weight,
            load,
            usable,
        });
    let tried = prop::collection::vec(0..60_usize, 0..=TRIED_MAX);
    let pool = prop_oneof![
        prop::collection::vec(candidate.clone(), 0..5),
        prop::collection::vec(candidate, 0..60),
    ];
    (pool, tried).prop_map(|(pool, indices)| {
        let mut tried = Tried::NONE;
        indices.into_iter().for_each(|index| tried.add(MemberIndex::at(index)));
        (pool, tried)
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    /// Also when health has changed since the picker was built, and when two identities are the
    /// same.
    #[test]
    fn only_eligible_ones_are_picked_and_one_always_if_there_is_one(
        (pool, tried) in pool_and_tried(),
        flips in any::<u64>(),
        seed in any::<u64>(),
    ) {
        let mut prng = Prng::new(seed);
        for strategy in Strategy::ALL {
            let mut picker = Picker::new(strategy, pool.clone());
            prop_assert_eq!(picker.strategy(), strategy);
            for round in 0..4 {
                if round == 2 {
                    picker.change_each(0..pool.len(), |bit, candidate| {
                        candidate.usable ^= flips >> bit & 1 == 1;
                    });
                }
                let now = picker.candidates().to_vec();
                let eligible = |index: usize| now[index].is_eligible(index, tried);
                match picker.pick(prng.next_u64(), &mut prng, tried) {
                    Some(index) => prop_assert!(eligible(index), "{strategy}: {index}"),
                    None => prop_assert!(!(0..pool.len()).any(eligible), "{strategy}"),
                }
            }
        }
    }
}

#[test]
fn every_strategy_shares_by_weight() {
    let weights = [1, 2, 3, 4, 10];
    for strategy in Strategy::ALL {
        let mut picker = Picker::new(strategy, candidates(&weights));
        let mut prng = Prng::new(7);
        for _ in 0..40_000 {
            let key = prng.next_u64();
            let index = picker.pick(key, &mut prng, Tried::NONE).unwrap();
            picker.change(index, |candidate| candidate.load += 1);
        }
        let loads: Vec<usize> = picker.candidates().iter().map(|it| it.load as usize).collect();
        assert_shares(&loads, &weights, 0.06);
    }
}

#[test]
fn turns_go_on_after_a_rebuild() {
    let pool = candidates(&[1, 1, 1]);
    let mut prng = Prng::new(0);
    for strategy in [Strategy::RoundRobin, Strategy::LeastConn] {
        let mut picker = Picker::new(strategy, pool.clone());
        assert_eq!(picker.pick(0, &mut prng, Tried::NONE), Some(0));
        picker.rebuild(pool.clone());
        assert_eq!(picker.pick(0, &mut prng, Tried::NONE), Some(1));
    }
}

#[test]
fn tried_ones_are_remembered_once() {
    let mut tried = Tried::NONE;
    for index in [7, 0, 7, 1023] {
        assert!(!tried.contains(5));
        tried.add(MemberIndex::at(index));
    }
    assert_eq!(tried.len(), 3);
    assert!([0, 7, 1023].into_iter().all(|index| tried.contains(index)));
    assert!(!tried.contains(1) && Tried::NONE.is_empty());
}

/// These numbers decide which client goes where, on every node: they never change.
#[test]
fn identities_and_keys_are_golden() {
    assert_eq!(identity("b1"), IDENTITY_B1);
    assert_eq!(identity(""), IDENTITY_EMPTY);
    let seed = (0x0706_0504_0302_0100, 0x0f0e_0d0c_0b0a_0908);
    let key = |text: &str| client_key(seed, text.parse().unwrap());
    assert_eq!(key("0.1.2.3"), KEY_V4);
    assert_eq!(key("::ffff:0.1.2.3"), key("0.1.2.3"));
    assert_ne!(key("::0.1.2.3"), key("0.1.2.3"));
    assert_ne!(key("0.1.2.4"), key("0.1.2.3"));
    assert_ne!(client_key((1, 2), "0.1.2.3".parse().unwrap()), key("0.1.2.3"));
    assert_eq!(key("2001:db8::1"), key("2001:db8::ffff:1"), "one /64 is one client");
    assert_ne!(key("2001:db8::1"), key("2001:db8:0:1::1"));
    assert_ne!(key("fe80::1"), key("fe80::2"), "these are hosts of one link");
}

const IDENTITY_B1: u64 = 0x290e_63de_3c7a_eeb1;
const IDENTITY_EMPTY: u64 = 0x2321_7c72_d2c0_15eb;
const KEY_V4: u64 = 0xcf75_5760_88d3_8328;
