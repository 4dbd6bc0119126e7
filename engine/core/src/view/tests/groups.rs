//! Priority groups on one shard.

use super::*;
use BackendHealth::Aside;

/// `b1` to `b3` are the first group, `b4` and `b5` the second.
fn two_groups(change: impl FnOnce(&mut PoolSpec)) -> (Config, View) {
    let mut config = Config::new(&["b1", "b2", "b3", "b4", "b5"]);
    for name in ["b4", "b5"] {
        config.pool().backend.get_mut(name).unwrap().priority = 1;
    }
    config.pool().strategy = Strategy::RoundRobin;
    change(config.pool());
    let mut view = View::default();
    view.adopt(config.build(), &mut Prng::new(1), T0);
    (config, view)
}

/// The backends of 60 sessions that have tried `tried`, by their places, each once.
fn picked(view: &mut View, tried: Tried) -> Vec<usize> {
    let mut prng = Prng::new(3);
    let picks = (0..60).filter_map(|key| view.pick(POOL, key, &mut prng, tried, T0));
    let mut places: Vec<usize> = picks.map(|it| it.index.index()).collect();
    places.sort_unstable();
    places.dedup();
    places
}

#[test]
fn the_group_in_use_follows_health_and_configuration() {
    let (mut config, mut view) = two_groups(|_| {});
    let down = |config: &Config, view: &mut View, names: &[&str]| {
        names.iter().for_each(|name| view.set_health(config.id(name), Down, T0));
    };
    assert_eq!(picked(&mut view, Tried::NONE), [0, 1, 2]);
    down(&config, &mut view, &["b1"]);
    assert_eq!(picked(&mut view, Tried::NONE), [1, 2]);
    down(&config, &mut view, &["b2"]);
    assert_eq!(picked(&mut view, Tried::NONE), [3, 4], "one of three is fewer than half");
    assert!(!view.pools()[0].is_in_panic());
    down(&config, &mut view, &["b4", "b5"]);
    assert!(view.pools()[0].is_in_panic(), "no group has enough");
    assert_eq!(picked(&mut view, Tried::NONE), [0, 1, 2], "the first that has one up");
    config.pool().backend.get_mut("b3").unwrap().priority = 1;
    view.adopt(config.build(), &mut Prng::new(1), T0);
    assert_eq!(picked(&mut view, Tried::NONE), [2, 3, 4], "it has moved");
    view.set_health(config.id("b1"), Up, T0);
    assert_eq!(picked(&mut view, Tried::NONE), [0, 1].map(|it| it).as_slice()[..1]);
}

#[test]
fn with_spill_both_groups_get_sessions() {
    let (config, mut view) = two_groups(|pool| pool.spill = Percent::new(70));
    assert_eq!(picked(&mut view, Tried::NONE), [0, 1, 2]);
    view.set_health(config.id("b1"), Down, T0);
    assert_eq!(picked(&mut view, Tried::NONE), [1, 2, 3, 4]);
    let shares: Vec<(u8, u32)> = view.pools()[0].shares().collect();
    assert_eq!(shares, [(0, 9_524), (1, 476)]);
}

#[test]
fn backends_that_stand_aside_get_no_session_at_all() {
    let (config, mut view) = two_groups(|_| {});
    for name in ["b1", "b2", "b3"] {
        view.set_health(config.id(name), Aside, T0);
    }
    assert_eq!(picked(&mut view, Tried::NONE), [3, 4]);
    for name in ["b4", "b5"] {
        view.set_health(config.id(name), Down, T0);
    }
    assert!(view.pools()[0].is_in_panic());
    assert_eq!(picked(&mut view, Tried::NONE), [3, 4], "not even in panic");
    let mut tried = Tried::NONE;
    for index in [3, 4] {
        tried.add(MemberIndex::at(index));
    }
    assert_eq!(picked(&mut view, tried), [0_usize; 0], "nor by a retry");
}

#[test]
fn a_retry_goes_beyond_the_groups_in_use_only_when_all_there_were_tried() {
    let (config, mut view) = two_groups(|_| {});
    let mut tried = Tried::NONE;
    tried.add(MemberIndex::at(0));
    tried.add(MemberIndex::at(1));
    assert_eq!(picked(&mut view, tried), [2]);
    // Its share grows: it is not left out for another group.
    view.set_health(config.id("b3"), Down, T0);
    view.set_health(config.id("b3"), Up, T0);
    assert_eq!(picked(&mut view, tried), [2]);
    tried.add(MemberIndex::at(2));
    assert_eq!(picked(&mut view, tried), [3, 4]);
}
