//! The table, who moves when something changes, and who stands in.

use super::super::tests::{assert_shares, candidates, counts};
use super::*;
use crate::base::prng::Prng;
use crate::slot::MemberIndex;
use std::vec::Vec;

fn members(pool: &[Candidate]) -> Vec<Member> {
    pool.iter().map(|it| Member { identity: it.identity, weight: it.weight }).collect()
}

/// The identity in each place, which is comparable between pools.
fn owners(pool: &[Candidate]) -> Vec<u64> {
    build(&members(pool)).iter().map(|&index| pool[usize::from(index)].identity).collect()
}

fn places(pool: &[Candidate]) -> Vec<usize> {
    let mut counts = alloc::vec![0; pool.len()];
    build(&members(pool)).iter().for_each(|&index| counts[usize::from(index)] += 1);
    counts
}

/// The share of the places that moved although their owner is in both pools with the same weight.
fn needless_moves(before: &[Candidate], after: &[Candidate]) -> f64 {
    let stays = |identity: u64| {
        let weight =
            |pool: &[Candidate]| pool.iter().find(|it| it.identity == identity).map(|it| it.weight);
        weight(before) == weight(after)
    };
    let (old, new) = (owners(before), owners(after));
    let moved = old.iter().zip(&new).filter(|&(old, new)| old != new && stays(*old) && stays(*new));
    moved.count() as f64 / old.len() as f64
}

#[test]
fn the_table_sizes_are_primes() {
    for size in [SMALL_TABLE, LARGE_TABLE] {
        assert!((2..size).take_while(|n| n * n <= size).all(|n| size % n != 0), "{size}");
    }
}

#[test]
fn places_follow_the_weights() {
    for weights in [&[1; 10][..], &[1, 2, 3, 4, 10], &[256, 1], &[7; 40], &[3; 41], &[2; 1024]] {
        let pool = candidates(weights);
        let counts = places(&pool);
        let total: f64 = weights.iter().map(|&weight| f64::from(weight)).sum();
        let size: usize = counts.iter().sum();
        for (&count, &weight) in counts.iter().zip(weights) {
            let share = size as f64 * f64::from(weight) / total;
            assert!((count as f64 - share).abs() <= 1.0, "{count} places, {share} expected");
        }
    }
    let mut weights = [256; 1024];
    weights[9] = 1;
    weights[10] = 0;
    let counts = places(&candidates(&weights));
    assert_eq!((counts[9], counts[10]), (1, 0), "any weight has a place, no weight has none");
}

#[test]
fn clients_are_shared_by_weight() {
    for weights in [&[1; 10][..], &[1, 2, 3, 4, 10]] {
        let pool = candidates(weights);
        let maglev = Maglev::new(&pool);
        let mut prng = Prng::new(1);
        let clients = 400_000;
        let counts = counts(&pool, clients, |_| maglev.pick(&pool, prng.next_u64(), Tried::NONE));
        assert_shares(&counts, weights, 0.03);
    }
}

#[test]
fn the_same_members_give_the_same_table_in_any_order_and_any_health() {
    let mut pool = candidates(&[3, 1, 4, 1, 5, 9, 2, 6]);
    let before = owners(&pool);
    let table = Maglev::new(&pool).table;
    pool[3].usable = false;
    pool[4].load = 77;
    assert_eq!(Maglev::new(&pool).table, table);
    pool.reverse();
    assert_eq!(owners(&pool), before);
    // Golden: another table would send clients elsewhere while a fleet is being upgraded.
    let digest = before.iter().fold(0, |digest, identity| mix(digest ^ identity));
    assert_eq!(digest, TABLE_DIGEST);
}

const TABLE_DIGEST: u64 = 0xb412_115d_ae39_b7d5;

#[test]
fn a_table_is_built_again_only_when_it_must_be() {
    let mut pool = candidates(&[1, 2, 3]);
    let mut maglev = Maglev::new(&pool);
    let place = maglev.table.as_ptr();
    pool[1].usable = false;
    maglev.rebuild(&pool);
    assert_eq!(maglev.table.as_ptr(), place);
    pool[1].weight = 5;
    maglev.rebuild(&pool);
    assert_eq!(maglev.table, Maglev::new(&pool).table);
    maglev.rebuild(&pool[..1]);
    assert_eq!(maglev.table, [0; SMALL_TABLE as usize]);
}

#[test]
fn few_clients_move_when_the_pool_changes() {
    for (count, bound) in [(10_usize, 0.025), (40, 0.03), (100, 0.01), (1000, 0.01)] {
        let pool = candidates(&alloc::vec![2; count]);
        for gone in [0, count / 2, count - 1] {
            let mut rest = pool.clone();
            rest.remove(gone);
            let moves = needless_moves(&pool, &rest);
            assert!(moves < bound, "{moves} moved when 1 of {count} went");
        }
        let mut heavier = pool.clone();
        heavier[count / 2].weight = 3;
        let moves = needless_moves(&pool, &heavier);
        assert!(moves < bound, "{moves} moved when 1 of {count} became heavier");
    }
}

#[test]
fn only_the_clients_of_an_unusable_one_move() {
    let mut pool = candidates(&[1; 10]);
    let maglev = Maglev::new(&pool);
    let mut prng = Prng::new(2);
    let keys: Vec<u64> = (0..50_000).map(|_| prng.next_u64()).collect();
    let pick = |pool: &[Candidate], key: u64| maglev.pick(pool, key, Tried::NONE).unwrap();
    let before: Vec<usize> = keys.iter().map(|&key| pick(&pool, key)).collect();
    pool[4].usable = false;
    let mut heirs = alloc::vec![0_usize; 10];
    for (&key, &before) in keys.iter().zip(&before) {
        let after = pick(&pool, key);
        if before == 4 {
            heirs[after] += 1;
        } else {
            assert_eq!(after, before);
        }
    }
    assert_eq!(heirs.remove(4), 0);
    assert_shares(&heirs, &[1; 9], 0.2);
    pool[4].usable = true;
    assert!(keys.iter().zip(&before).all(|(&key, &before)| pick(&pool, key) == before));
}

#[test]
fn a_client_who_tried_one_gets_the_same_other_one_each_time() {
    let pool = candidates(&[1; 5]);
    let maglev = Maglev::new(&pool);
    for key in (0..200).map(mix) {
        let mut tried = Tried::NONE;
        for count in 0..4 {
            let index = maglev.pick(&pool, key, tried).unwrap();
            assert_eq!(maglev.pick(&pool, key, tried), Some(index));
            assert!(!tried.contains(index));
            tried.add(MemberIndex::at(index));
            assert_eq!(tried.len(), count + 1);
        }
        assert!(maglev.pick(&pool, key, tried).is_some(), "the fifth");
    }
}

#[test]
fn the_last_light_ones_share_by_weight_and_keep_their_clients() {
    let mut weights = [256_u16; 40];
    weights[3] = 1;
    weights[30] = 2;
    weights[31] = 3;
    let mut pool = candidates(&weights);
    for (index, candidate) in pool.iter_mut().enumerate() {
        candidate.usable = [3, 30, 31].contains(&index);
    }
    let mut prng = Prng::new(3);
    let keys: Vec<u64> = (0..60_000).map(|_| prng.next_u64()).collect();
    let bids = |pool: &[Candidate]| -> Vec<usize> {
        keys.iter().map(|&key| highest_bid(pool, key, Tried::NONE).unwrap()).collect()
    };
    let before = bids(&pool);
    let count = |index: usize| before.iter().filter(|&&it| it == index).count();
    assert_shares(&[count(3), count(30), count(31)], &[1, 2, 3], 0.04);
    pool[30].usable = false;
    for (before, after) in before.iter().zip(bids(&pool)) {
        assert!(*before == 30 || *before == after);
    }
}

#[test]
fn logarithms_are_close() {
    for word in [1, 2, 3, 1 << 40, (1 << 63) - 1, 1 << 63, u64::MAX, 0x1234_5678_9abc_def0] {
        let exact = 64.0 - (word as f64).log2();
        let ours = negative_log2(word) as f64 / (1_u64 << 32) as f64;
        assert!((exact - ours).abs() < 0.01, "{word}: {ours}, not {exact}");
    }
    assert_eq!(negative_log2(0), 64 << 32);
}
