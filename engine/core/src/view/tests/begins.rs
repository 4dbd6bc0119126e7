//! Backends that begin to get sessions where others do already.

use super::*;

/// Who begins to get sessions where others do has a slow start, whatever it was before.
#[test]
fn who_begins_beside_others_gets_its_share_little_by_little() {
    use Strategy::{LeastConn, Random, RoundRobin, TwoChoices};
    type Begin = (&'static str, fn(&mut PoolSpec));
    let absent = |pool: &mut PoolSpec| {
        pool.backend.remove("b1");
    };
    let begins: [Begin; 5] = [
        ("added", absent),
        ("re-addressed", |pool| b1(pool).address.set_port(9)),
        ("back from maint", |pool| b1(pool).state = Admin::Maint),
        ("back from a drain", |pool| b1(pool).state = Admin::Drain),
        ("given a weight", |pool| b1(pool).weight = 0),
    ];
    for strategy in [RoundRobin, LeastConn, TwoChoices, Random] {
        for (what, before) in begins {
            let mut config = Config::new(&["b1", "b2", "b3", "b4"]);
            config.pool().strategy = strategy;
            let as_it_ends = config.pool().clone();
            before(config.pool());
            let mut view = View::default();
            view.adopt(config.build(), &mut Prng::new(1), T0);
            *config.pool() = as_it_ends;
            view.adopt(config.build(), &mut Prng::new(1), T0);
            let id = config.id("b1");
            for (millis, wanted) in [(0, 0.0), (2500, 0.06), (5000, 0.12), (10_000, 0.25)] {
                let share = share_of(&mut view, id, millis, 2000);
                let case = std::format!("{strategy}, {what}: {share} at {millis} ms");
                assert!((share - wanted).abs() < 0.04, "{case}, not {wanted}");
            }
        }
    }
}

fn b1(pool: &mut PoolSpec) -> &mut BackendSpec {
    pool.backend.get_mut("b1").unwrap()
}

#[test]
fn a_pool_that_is_new_as_a_whole_has_no_slow_start() {
    let ramping =
        |view: &View| view.backends().iter().filter(|it| it.ramps_since.is_some()).count();
    let mut config = Config::new(&["b1", "b2"]);
    let mut view = view_of(&config);
    assert_eq!(ramping(&view), 0, "the first version");
    for (name, port) in [("b1", 7), ("b2", 8)] {
        config.pool().backend.get_mut(name).unwrap().address.set_port(port);
    }
    view.adopt(config.build(), &mut Prng::new(1), T0);
    assert_eq!(ramping(&view), 0, "all are replaced at once");
    config.pool().backend.get_mut("b1").unwrap().weight = 9;
    view.adopt(config.build(), &mut Prng::new(1), T0);
    assert_eq!(ramping(&view), 0, "a weight that grows is no beginning");
    b1(config.pool()).address.set_port(9);
    view.adopt(config.build(), &mut Prng::new(1), T0);
    assert_eq!(ramping(&view), 1);
    view.adopt(config.snapshot_again(), &mut Prng::new(1), T0.plus_millis(10));
    assert_eq!(ramping(&view), 1, "the next version does not forget it");
}

#[test]
fn unproven_backends_get_nothing_and_are_not_missed() {
    let mut config = Config::new(&["b1", "b2", "b3", "b4", "b5"]);
    config.pool().health.panic = Percent::HALF;
    let mut view = View::default();
    view.adopt(config.build(), &mut Prng::new(1), T0);
    for name in ["b3", "b4", "b5"] {
        view.set_health(config.id(name), Unproven, T0);
    }
    assert!(!view.pools()[0].is_in_panic(), "two of two are up");
    let picked = |view: &mut View| -> std::collections::BTreeSet<usize> {
        let mut prng = Prng::new(1);
        let mut pick = || view.pick(POOL, 0, &mut prng, Tried::NONE, T0).unwrap().backend.index();
        (0..40).map(|_| pick()).collect()
    };
    assert_eq!(picked(&mut view), [0, 1].into());
    assert_eq!(view.connect_failed(at(2), ConnectFault::Refused, true), Verdict::Noted);
    let fail = |view: &mut View| view.connect_failed(at(0), ConnectFault::Refused, true);
    let told: Vec<Verdict> = (0..3).map(|_| fail(&mut view)).collect();
    assert_eq!(told[2], Verdict::Ejected, "one of two is not more than half");
    view.set_health(config.id("b2"), Down, T0);
    assert!(view.pools()[0].is_in_panic(), "none of two");
    assert_eq!(picked(&mut view), [0, 1, 2, 3, 4].into(), "then nobody's health counts");
}
