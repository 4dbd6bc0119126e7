//! Shares of groups by hand, and which group is kept.

use std::vec;
use std::vec::Vec;

use BackendHealth::{Aside, Down, Unproven, Up};

use super::*;

const HALF: GroupRule = GroupRule { panic: Percent::HALF, spill: Percent::ZERO };

fn spill(hundredths: u8) -> GroupRule {
    GroupRule { spill: Percent::new(hundredths), ..HALF }
}

/// Members of weight 1: those that are up, and all.
fn group((up, all): (u32, u32)) -> GroupTally {
    let one = |index| GroupTally::one((true, 1), if index < up { Up } else { Down });
    (0..all).map(one).fold(GroupTally::default(), |sum, one| sum.each(one, |a, b| a + b))
}

/// The shares in hundredths, and whether it is a panic.
fn shares(groups: &[(u32, u32)], rule: GroupRule) -> (Vec<u32>, bool) {
    let groups: Vec<GroupTally> = groups.iter().copied().map(group).collect();
    let mut shares = vec![0; groups.len()];
    let panics = share_out(&groups, rule, &mut shares);
    let sum: u32 = shares.iter().sum();
    assert!(sum == 0 || sum == WHOLE, "{shares:?}");
    (shares.iter().map(|share| share / 100).collect(), panics)
}

#[test]
fn with_spill_a_group_gives_away_in_proportion() {
    // The table of docs/operating.md: ten backends, and as many behind them.
    let cases = [(10, 100), (8, 100), (7, 100), (6, 85), (5, 71), (3, 42), (1, 14), (0, 0)];
    for (up, first) in cases {
        assert_eq!(shares(&[(up, 10), (10, 10)], spill(70)).0[0], first, "{up} of 10");
    }
    assert_eq!(shares(&[(5, 10), (1, 10), (9, 9)], spill(70)), (vec![71, 14, 14], false));
    assert_eq!(shares(&[(9, 10), (10, 10)], spill(100)), (vec![90, 10], false));
}

#[test]
fn a_group_gives_away_by_weight_not_by_heads() {
    let backends = |heavy, light| {
        let [heavy, light] = [(6, heavy), (2, light)]
            .map(|(weight, health)| GroupTally::one((true, weight), health));
        heavy.each(light, |a, b| a + b)
    };
    let shares = |first: GroupTally| {
        let mut shares = [0; 2];
        assert!(!share_out(&[first, group((2, 2))], spill(75), &mut shares));
        shares
    };
    assert_eq!(shares(backends(Up, Down)), [WHOLE, 0], "6 of 8");
    assert_eq!(shares(backends(Down, Up)), [3_334, 6_666], "2 of 8, and 6 are needed");
}

#[test]
fn groups_that_cannot_take_all_together_share_by_what_they_can() {
    assert_eq!(shares(&[(5, 10), (0, 10)], spill(70)), (vec![100, 0], false));
    let (split, panics) = shares(&[(2, 10), (5, 20)], spill(70));
    assert_eq!((split, panics), (vec![44, 55], true), "each has fewer than half of its own up");
    let calm = GroupRule { panic: Percent::ZERO, ..spill(70) };
    assert_eq!(shares(&[(2, 10), (5, 20)], calm), (vec![44, 55], false));
    assert_eq!(shares(&[(0, 10), (0, 20)], calm), (vec![0, 0], false));
    assert_eq!(shares(&[(0, 10), (0, 20)], spill(70)), (vec![100, 0], true));
}

#[test]
fn without_spill_one_group_takes_all() {
    for (groups, first) in [
        (&[(1, 1), (1, 1)][..], 0),
        (&[(0, 1), (1, 1)], 1),
        (&[(2, 4), (4, 4)], 0),
        (&[(1, 4), (4, 4)], 1),
        (&[(1, 4), (0, 4), (1, 1)], 2),
        (&[(0, 0), (1, 1)], 1),
    ] {
        let (split, panics) = shares(groups, HALF);
        assert_eq!(split.iter().position(|share| *share == 100), Some(first), "{groups:?}");
        assert!(!panics, "{groups:?}");
    }
    // None has enough: the first that has any, and none of its members is left out.
    assert_eq!(shares(&[(0, 3), (1, 4)], HALF), (vec![0, 100], true));
    assert_eq!(shares(&[(1, 3), (1, 4)], HALF), (vec![100, 0], true));
    assert_eq!(shares(&[(0, 3), (0, 4)], HALF), (vec![100, 0], true));
    let never = GroupRule { panic: Percent::ZERO, ..HALF };
    assert_eq!(shares(&[(1, 4), (4, 4)], never), (vec![100, 0], false), "one is enough");
    assert_eq!(shares(&[(0, 4), (0, 4)], never), (vec![0, 0], false));
    assert_eq!(shares(&[(0, 0)], HALF), (vec![0], false));
}

#[test]
fn weight_that_an_operator_took_out_is_missing_and_unproven_weight_is_not_yet() {
    let add = |a: GroupTally, b| a.each(b, |a, b| a + b);
    let drained = add(group((1, 1)), GroupTally::one((false, 1), Up));
    assert_eq!((drained.weights(), drained.members()), ((1, 2), (1, 1)));
    let grows = add(group((2, 2)), GroupTally::one((true, 8), Unproven));
    assert_eq!((grows.weights(), grows.members()), ((2, 2), (2, 2)));
    let fresh = GroupTally::one((true, 8), Unproven);
    assert_eq!((fresh.weights(), fresh.members()), ((0, 8), (0, 1)));
    assert_eq!(GroupTally::one((true, 8), Aside), GroupTally::default());
}

#[test]
fn a_group_is_kept_until_it_fails() {
    let kept = |groups: &[(u32, u32)], current| {
        let groups: Vec<GroupTally> = groups.iter().copied().map(group).collect();
        keep(&groups, HALF, current)
    };
    for (groups, current, next) in [
        (&[(1, 1), (1, 1)][..], None, Some(0)),
        (&[(0, 1), (1, 1)], None, Some(1)),
        (&[(0, 1), (1, 1)], Some(0), Some(1)),
        (&[(1, 1), (1, 1)], Some(1), Some(1)),
        (&[(1, 1), (0, 1)], Some(1), Some(0)),
        // None is up: it stays where it is.
        (&[(0, 1), (0, 1)], Some(1), Some(1)),
        (&[(0, 1), (0, 1)], None, Some(0)),
        // Few are up: half of the members is enough, fewer are not if another group has enough.
        (&[(2, 2), (1, 2)], Some(1), Some(1)),
        (&[(2, 2), (1, 3)], Some(1), Some(0)),
        (&[(0, 2), (1, 3)], Some(1), Some(1)),
        (&[(1, 3), (0, 3)], Some(1), Some(0)),
        // An operator has taken all of it out, or there is no such group any more.
        (&[(1, 1), (0, 0)], Some(1), Some(0)),
        (&[(0, 1), (0, 0)], Some(1), Some(0)),
        (&[(1, 1)], Some(1), Some(0)),
        (&[], Some(1), None),
    ] {
        assert_eq!(kept(groups, current), next, "{groups:?} {current:?}");
    }
}
