//! Several groups under every strategy.

use std::vec;
use std::vec::Vec;

use super::*;
use crate::pick::tests::candidates;

/// One candidate of weight 1 for each of these priorities, all usable.
fn pool(strategy: Strategy, priorities: &[u8]) -> Groups {
    let all = candidates(&vec![1; priorities.len()]);
    let all: Vec<(u8, Candidate)> = priorities.iter().copied().zip(all).collect();
    Groups::new(strategy, &all, &mut Prng::new(1))
}

/// How often each candidate is picked by 20,000 clients.
fn counts(groups: &mut Groups, tried: Tried) -> Vec<u32> {
    let mut prng = Prng::new(7);
    let mut counts = vec![0; groups.groups.iter().map(|it| it.picker.candidates().len()).sum()];
    for key in 0..20_000_u64 {
        if let Some(index) = groups.pick(mix(key), &mut prng, tried) {
            counts[index] += 1;
        }
    }
    counts
}

#[test]
fn only_groups_with_a_share_are_picked_by_every_strategy() {
    for strategy in Strategy::ALL {
        let mut groups = pool(strategy, &[1, 0, 1, 0, 7]);
        assert_eq!(groups.shares().map(|it| it.0).collect::<Vec<_>>(), [0, 1, 7]);
        groups.set_shares(&[0, WHOLE, 0]);
        let got = counts(&mut groups, Tried::NONE);
        assert_eq!((got[0] > 0, got[2] > 0, got[0] + got[2]), (true, true, 20_000), "{strategy}");
        groups.set_shares(&[0, 0, 0]);
        assert_eq!(counts(&mut groups, Tried::NONE), [0; 5], "{strategy}");
    }
}

#[test]
fn sessions_are_spread_by_the_shares_under_every_strategy() {
    for strategy in Strategy::ALL {
        let mut groups = pool(strategy, &[0, 0, 1, 1, 2]);
        groups.set_shares(&[7_000, 2_000, 1_000]);
        let got = counts(&mut groups, Tried::NONE);
        let by_group = [got[0] + got[1], got[2] + got[3], got[4]];
        for (count, expected) in by_group.iter().zip([14_000_u32, 4_000, 2_000]) {
            assert!(count.abs_diff(expected) < 400, "{strategy}: {got:?}");
        }
    }
}

#[test]
fn under_maglev_a_client_stays_when_another_group_gets_a_share() {
    let mut groups = pool(Strategy::Maglev, &[0, 0, 0, 1, 1]);
    let mut prng = Prng::new(1);
    let mut homes = |groups: &mut Groups| -> Vec<Option<usize>> {
        (0..5_000).map(|key| groups.pick(mix(key), &mut prng, Tried::NONE)).collect()
    };
    groups.set_shares(&[WHOLE, 0]);
    let before = homes(&mut groups);
    groups.set_shares(&[8_000, 2_000]);
    let after = homes(&mut groups);
    let moved = before.iter().zip(&after).filter(|(before, after)| before != after).count();
    assert!((900..1_100).contains(&moved), "{moved} of 5,000 have moved: a fifth should");
    assert_eq!(homes(&mut groups), after, "each client has one home");
    // Another group's backends move none of this group's clients.
    let mut grown = pool(Strategy::Maglev, &[0, 0, 0, 1, 1, 1, 1]);
    grown.set_shares(&[WHOLE, 0]);
    assert_eq!(homes(&mut grown), before);
}

#[test]
fn a_session_that_has_tried_all_of_a_group_goes_beyond() {
    for strategy in Strategy::ALL {
        let mut groups = pool(strategy, &[1, 0, 2]);
        groups.set_shares(&[WHOLE, 0, 0]);
        let mut tried = Tried::NONE;
        for expected in [1, 0, 2] {
            let mut prng = Prng::new(2);
            let picked = groups.pick(3, &mut prng, tried);
            assert_eq!(picked.is_some(), expected == 1, "{strategy}: {tried:?}");
            let picked = picked.or_else(|| groups.pick_beyond(3, &mut prng, tried));
            assert_eq!(picked, Some(expected), "{strategy}: {tried:?}");
            tried.add(MemberIndex::at(expected));
        }
        assert_eq!(groups.pick_beyond(3, &mut Prng::new(2), tried), None, "{strategy}");
        // A session that has tried none does not, also if none can have it.
        groups.change(1, |candidate| candidate.usable = false);
        assert_eq!(groups.pick(3, &mut Prng::new(2), Tried::NONE), None, "{strategy}");
        assert_eq!(groups.pick_beyond(3, &mut Prng::new(2), Tried::NONE), None, "{strategy}");
    }
}

#[test]
fn a_change_of_many_reaches_every_group() {
    let mut groups = pool(Strategy::LeastConn, &[0, 1, 0, 1]);
    groups.set_shares(&[5_000, 5_000]);
    groups.change_each(0..4, |index, candidate| candidate.load = [10, 9, 8, 7][index]);
    assert!((0..4).all(|index| groups.is_fresh(index)));
    assert_eq!((0..4).map(|it| groups.candidate(it).load).collect::<Vec<_>>(), [10, 9, 8, 7]);
    let got = counts(&mut groups, Tried::NONE);
    assert_eq!((got[0], got[1]), (0, 0), "the less loaded one of each group: {got:?}");
}

#[test]
fn a_group_that_stays_keeps_its_turns() {
    let mut prng = Prng::new(5);
    let mut groups = pool(Strategy::RoundRobin, &[0, 0, 0, 1]);
    groups.set_shares(&[WHOLE, 0]);
    let first = groups.pick(0, &mut prng, Tried::NONE).unwrap();
    // The other group goes, and comes back with two.
    for others in [&[][..], &[1, 1]] {
        let all: Vec<u8> = [0, 0, 0].iter().chain(others).copied().collect();
        let all: Vec<(u8, Candidate)> =
            all.iter().copied().zip(candidates(&vec![1; all.len()])).collect();
        groups.rebuild(&all, &mut prng);
        groups.set_shares(&[WHOLE, 0]);
        let next = groups.pick(0, &mut prng, Tried::NONE).unwrap();
        assert_ne!(next, first, "{others:?}: its turn is over");
    }
    assert_eq!(groups.len(), 2);
}
