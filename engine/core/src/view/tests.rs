//! Load, health and slots across snapshots.

use std::string::ToString;
use std::vec;
use std::vec::Vec;

use weir_proto::ids::IdSource;
use weir_proto::order::{Limited, Wish};
use weir_proto::reason::ConnectFault;
use weir_proto::snapshot::Snapshot;
use weir_proto::spec::{Admin, BackendSpec, ListenerSpec, Percent, PoolSpec, Rate, Spec};

use BackendHealth::{Down, Unproven, Up};

use super::*;
use crate::base::prng::Prng;
use crate::pick::Tried;

#[path = "tests/begins.rs"]
mod begins;
#[path = "tests/groups.rs"]
mod groups;
#[path = "tests/maglev.rs"]
mod maglev;

/// A configuration that is changed step by step.
struct Config {
    spec: Spec,
    snapshot: Snapshot,
    ids: IdSource,
}

impl Config {
    fn new(backends: &[&str]) -> Config {
        let mut pool = PoolSpec { strategy: Strategy::LeastConn, ..PoolSpec::default() };
        for name in backends {
            pool.backend.insert(name.parse().unwrap(), backend(name));
        }
        let listener = ListenerSpec {
            max_sessions: Some(10),
            ..ListenerSpec::new("web".parse().unwrap(), vec!["127.0.0.1:80".parse().unwrap()])
        };
        let spec = Spec {
            listener: [("web".parse().unwrap(), listener)].into(),
            pool: [("web".parse().unwrap(), pool.into())].into(),
        };
        let mut config = Config { spec, snapshot: Snapshot::empty(), ids: IdSource::default() };
        config.build();
        config
    }

    fn build(&mut self) -> &Snapshot {
        let version = self.snapshot.version.next();
        self.snapshot =
            Snapshot::build(&self.spec, version, &self.snapshot, &mut self.ids).unwrap();
        &self.snapshot
    }

    /// The same objects in a new version.
    fn snapshot_again(&self) -> &Snapshot {
        &self.snapshot
    }

    fn pool(&mut self) -> &mut PoolSpec {
        self.spec.pool.values_mut().next().unwrap()
    }

    fn id(&self, name: &str) -> BackendId {
        self.snapshot.pool("web").unwrap().backend(name).unwrap().id
    }
}

/// `b3` has the address 10.0.0.3.
fn backend(name: &str) -> BackendSpec {
    let address = std::format!("10.0.0.{}:80", &name[1..]).parse().unwrap();
    BackendSpec::new(address)
}

const T0: Now = Now { nanos: 1_000_000_000_000 };

const POOL: PoolSlot = PoolSlot::FIRST;

/// A backend by its place: they come in the order of their names.
fn at(index: usize) -> BackendSlot {
    BackendSlot::at(index)
}

/// The connect of a session to a backend of the pool.
fn connect(index: usize, is_retry: bool) -> CountedConnect {
    CountedConnect { pool: POOL, backend: at(index), is_retry }
}

fn pick(view: &mut View) -> Option<usize> {
    view.pick(POOL, 0, &mut Prng::new(1), Tried::NONE, T0).map(|picked| picked.backend.index())
}

#[test]
fn load_is_carried_by_identity_and_a_busy_slot_is_kept() {
    let mut config = Config::new(&["b1", "b2"]);
    let mut view = View::default();
    view.adopt(&config.snapshot, &mut Prng::new(1), T0);
    let (b1, b2) = (config.id("b1"), config.id("b2"));
    let slot = view.backend_slot(b1).unwrap();
    view.session_assigned(slot);
    view.session_assigned(slot);
    config.pool().backend.remove("b1");
    config.pool().backend.insert("b3".parse().unwrap(), backend("b3"));
    view.adopt(config.build(), &mut Prng::new(1), T0);
    // b1 is gone, but its two sessions still count on its slot.
    assert_eq!(view.backends().len(), 3);
    assert_eq!(view.backends()[slot.index()].sessions, 2);
    view.session_released(slot);
    view.session_released(slot);
    config.pool().backend.insert("b4".parse().unwrap(), backend("b4"));
    view.adopt(config.build(), &mut Prng::new(1), T0);
    // Now the slot is b4's, and b2 is where it was.
    assert_eq!(view.backends().len(), 3);
    assert_eq!(view.backends()[slot.index()].id, config.id("b4"));
    assert_eq!(view.backend_slot(b1), None);
    assert!(view.backend_slot(b2).is_some());
}

#[test]
fn the_least_loaded_is_picked_with_the_load_elsewhere() {
    let config = Config::new(&["b1", "b2"]);
    let mut view = View::default();
    view.adopt(&config.snapshot, &mut Prng::new(1), T0);
    let slot = |view: &View, name| view.backend_slot(config.id(name)).unwrap();
    let (b1, b2) = (slot(&view, "b1"), slot(&view, "b2"));
    view.set_remote_sessions(config.id("b1"), 5);
    for _ in 0..5 {
        assert_eq!(pick(&mut view), Some(b2.index()));
        view.session_assigned(b2);
    }
    view.session_assigned(b2);
    assert_eq!(pick(&mut view), Some(b1.index()));
    assert_eq!(view.listeners()[0].room(), 0, "control has given no credit");
}

/// Control starts again with a limit that went and came back between two versions that this shard
/// has seen, and gives no credit before each shard has said what it holds. With the planted bug
/// leases-are-not-told-again it waits for ever.
#[test]
fn control_hears_of_a_lease_again_with_each_version() {
    let mut config = Config::new(&["b1"]);
    let mut view = view_of(&config);
    let news = |view: &mut View| view.leases().find_map(|(_, lease)| lease.take_news());
    assert_eq!(news(&mut view), Some((0, 0, Wish::None)), "its first word");
    assert_eq!(news(&mut view), None);
    for (_, lease) in view.leases() {
        lease.hear(3, None);
    }
    let limit = |config: &mut Config, most| {
        config.spec.listener.values_mut().for_each(|listener| listener.max_sessions = most);
        config.build();
    };
    limit(&mut config, None); // which this shard never sees
    limit(&mut config, Some(10));
    view.adopt(config.snapshot_again(), &mut Prng::new(1), T0);
    assert_eq!(news(&mut view), Some((3, 3, Wish::None)));
}

/// Two shards of which each keeps one of the two for its client would wait for each other.
#[test]
fn a_client_that_waits_for_a_place_wants_no_token() {
    let mut config = Config::new(&["b1"]);
    config.spec.listener.values_mut().for_each(|listener| {
        listener.max_sessions = Some(4);
        listener.rate = Some(Rate::per_second(1));
    });
    config.build();
    let mut view = view_of(&config);
    let wanted = |view: &mut View| {
        view.limits_of(ListenerSlot::at(0)).settle(true);
        let mut wants = Vec::new();
        view.take_listener_wants(&mut wants);
        let needed = wants.iter().filter(|want| want.wish == Wish::Needed);
        needed.map(|want| matches!(want.of, Limited::Rate(_))).collect::<Vec<_>>()
    };
    assert_eq!(wanted(&mut view), [false], "a place only");
    view.leases().for_each(|(_, lease)| lease.hear(1, None));
    assert_eq!(wanted(&mut view), [true], "and now the token");
}

fn view_of(config: &Config) -> View {
    let mut view = View::default();
    view.adopt(&config.snapshot, &mut Prng::new(1), T0);
    view
}

#[test]
fn three_failures_in_a_row_eject_and_local_ones_never_do() {
    let config = Config::new(&["b1", "b2"]);
    let mut view = view_of(&config);
    for _ in 0..10 {
        assert_eq!(view.connect_failed(at(0), ConnectFault::Local, true), Verdict::Noted);
    }
    let fail = |view: &mut View| view.connect_failed(at(0), ConnectFault::Refused, true);
    assert_eq!([fail(&mut view), fail(&mut view)], [Verdict::Noted; 2]);
    view.connect_begins(connect(0, false), T0);
    view.connect_succeeded(connect(0, false), T0);
    let told: Vec<Verdict> = (0..4).map(|_| fail(&mut view)).collect();
    let expected = [Verdict::Noted, Verdict::Noted, Verdict::Ejected, Verdict::Noted];
    assert_eq!(told, expected, "told once, at the third in a row");
    for _ in 0..5 {
        assert_eq!(pick(&mut view), Some(1));
    }
    view.set_health(config.id("b1"), Up, T0);
    view.session_assigned(at(1));
    assert_eq!(pick_at(&mut view, 10_000), Some(0));
}

#[test]
fn ejections_leave_at_least_half_of_the_pool() {
    for (count, ejected) in [(1, 0), (2, 1), (3, 1), (4, 2), (5, 2)] {
        let names: Vec<_> = (1..=count).map(|number| std::format!("b{number}")).collect();
        let names: Vec<&str> = names.iter().map(|name| name.as_str()).collect();
        let config = Config::new(&names);
        let mut view = view_of(&config);
        let mut verdicts = Vec::new();
        for _ in 0..5 {
            for slot in 0..count {
                verdicts.push(view.connect_failed(at(slot), ConnectFault::Refused, true));
            }
        }
        let times = |which| verdicts.iter().filter(|verdict| **verdict == which).count();
        assert_eq!(times(Verdict::Ejected), ejected, "of {count}");
        assert_eq!(times(Verdict::EjectionVetoed), count - ejected, "each once");
        assert!(!view.pools()[0].is_in_panic(), "half is not fewer than half");
    }
}

#[test]
fn below_the_threshold_health_is_ignored() {
    let mut config = Config::new(&["b1", "b2", "b3", "b4"]);
    config.pool().backend.get_mut("b4").unwrap().state = Admin::Drain;
    config.build();
    let mut view = view_of(&config);
    let picks = |view: &mut View| -> Vec<usize> {
        let mut prng = Prng::new(9);
        let mut picked: Vec<usize> = (0..40)
            .map(|_| {
                let picked = view.pick(POOL, 0, &mut prng, Tried::NONE, T0).unwrap().backend;
                view.session_assigned(picked);
                view.session_released(picked);
                picked.index()
            })
            .collect();
        picked.sort_unstable();
        picked.dedup();
        picked
    };
    view.set_health(config.id("b1"), Down, T0);
    assert_eq!(picks(&mut view), [1, 2], "two of three are up");
    assert_eq!(view.may_retry(POOL), MayRetry::Now);
    view.set_health(config.id("b2"), Down, T0);
    assert!(view.pools()[0].is_in_panic());
    assert_eq!(picks(&mut view), [0, 1, 2], "the drained one is left alone");
    assert_eq!(view.may_retry(POOL), MayRetry::Now);
    assert_eq!(view.connect_failed(at(0), ConnectFault::Refused, true), Verdict::Noted);
    config.pool().health.panic = Percent::ZERO;
    view.adopt(config.build(), &mut Prng::new(1), T0);
    assert_eq!(picks(&mut view), [2], "switched off");
    config.pool().health.panic = Percent::HALF;
    view.adopt(config.build(), &mut Prng::new(1), T0);
    view.set_health(config.id("b2"), Up, T0);
    assert!(!view.pools()[0].is_in_panic());
}

#[test]
fn retries_are_few_or_a_fifth_of_the_connects() {
    let config = Config::new(&["b1", "b2"]);
    let mut view = view_of(&config);
    for (connects, retries) in [(0, 3), (9, 3), (20, 4), (96, 23)] {
        let mut view = view_of(&config);
        for _ in 0..connects {
            view.connect_begins(connect(0, false), T0);
        }
        let mut count = 0;
        while view.may_retry(POOL) == MayRetry::Now {
            view.connect_begins(connect(1, true), T0);
            count += 1;
        }
        assert_eq!(count, retries, "retries count as connects too");
        assert_eq!(view.may_retry(POOL), MayRetry::Later);
        view.connect_abandoned(connect(1, true));
        assert_eq!(view.may_retry(POOL), MayRetry::Now);
    }
    view.connect_begins(connect(0, true), T0);
    view.adopt(config.snapshot_again(), &mut Prng::new(1), T0);
    view.connect_succeeded(connect(0, true), T0); // the counts have outlived the snapshot
}

fn pick_at(view: &mut View, millis: u32) -> Option<usize> {
    let now = T0.plus_millis(millis);
    view.pick(POOL, 0, &mut Prng::new(1), Tried::NONE, now).map(|picked| picked.backend.index())
}

#[test]
fn a_backend_whose_connects_all_wait_is_avoided_until_one_succeeds() {
    let config = Config::new(&["b1", "b2"]);
    let mut view = view_of(&config);
    for _ in 0..7 {
        view.connect_begins(connect(0, false), T0);
    }
    view.session_assigned(at(1)); // so b1 is the less loaded one
    assert_eq!(pick_at(&mut view, 1000), Some(0), "seven are not enough");
    view.connect_begins(connect(0, false), T0.plus_millis(1000));
    assert_eq!(pick_at(&mut view, 1249), Some(0));
    for _ in 0..3 {
        assert_eq!(pick_at(&mut view, 1250), Some(1));
    }
    assert_eq!(view.backends()[0].load(), 0);
    let mut tried = Tried::NONE;
    tried.add(MemberIndex::at(1));
    let now = T0.plus_millis(1300);
    let picked = view.pick(POOL, 0, &mut Prng::new(1), tried, now);
    assert_eq!(picked.map(|picked| picked.backend.index()), Some(0), "better than nobody");
    view.connect_succeeded(connect(0, false), now);
    assert_eq!(pick_at(&mut view, 1300), Some(0), "one has succeeded");
    view.connect_begins(connect(0, false), now);
    view.connect_begins(connect(0, false), now);
    assert_eq!(pick_at(&mut view, 1600), Some(1), "and then none for a while");
    for _ in 0..2 {
        view.connect_abandoned(connect(0, false));
    }
    assert_eq!(pick_at(&mut view, 1600), Some(0), "few are left");
}

/// The share of b1 among `picks` sessions that end at once, `millis` after it came up.
fn share(view: &mut View, millis: u32, picks: u32) -> f64 {
    let id = view.backends()[0].id;
    share_of(view, id, millis, picks)
}

fn share_of(view: &mut View, id: BackendId, millis: u32, picks: u32) -> f64 {
    let wanted = view.backend_slot(id).unwrap();
    let mut prng = Prng::new(u64::from(millis) + 1);
    let mut first = 0;
    for _ in 0..picks {
        let now = T0.plus_millis(millis);
        let picked = view.pick(POOL, 7, &mut prng, Tried::NONE, now).unwrap();
        first += u32::from(picked.backend == wanted);
    }
    f64::from(first) / f64::from(picks)
}

#[test]
fn one_that_recovers_gets_its_share_little_by_little() {
    use Strategy::{LeastConn, Random, RoundRobin, TwoChoices};
    for strategy in [RoundRobin, LeastConn, TwoChoices, Random] {
        let mut config = Config::new(&["b1", "b2", "b3", "b4"]);
        config.pool().strategy = strategy;
        config.build();
        let mut view = view_of(&config);
        let near = |share: f64, wanted: f64| (share - wanted).abs() < 0.04;
        assert!(
            near(share(&mut view, 0, 2000), 0.25),
            "{strategy}: where all are new all have theirs at once"
        );
        view.set_health(config.id("b1"), Down, T0);
        view.set_health(config.id("b1"), Up, T0);
        for (millis, wanted) in [(0, 0.0), (2500, 0.06), (5000, 0.12), (7500, 0.19), (10_000, 0.25)]
        {
            let share = share(&mut view, millis, 2000);
            assert!(near(share, wanted), "{strategy}: {share} at {millis} ms, not {wanted}");
        }
    }
}

/// So many that the few are changed one by one and not all together.
#[test]
fn the_few_of_many_that_are_unsteady_are_looked_at() {
    let names: Vec<_> = (1..=40).map(|number| std::format!("b{number}")).collect();
    let names: Vec<&str> = names.iter().map(|name| name.as_str()).collect();
    for strategy in [Strategy::RoundRobin, Strategy::LeastConn, Strategy::Random] {
        let mut config = Config::new(&names);
        config.pool().strategy = strategy;
        let mut view = View::default();
        view.adopt(config.build(), &mut Prng::new(1), T0);
        let slot = |view: &View, name| view.backend_slot(config.id(name)).unwrap();
        let (recovers, stuck) = (slot(&view, "b7"), slot(&view, "b9"));
        view.set_health(config.id("b7"), Down, T0);
        view.set_health(config.id("b7"), Up, T0);
        for _ in 0..8 {
            view.connect_begins(connect(stuck.index(), false), T0);
        }
        let mut prng = Prng::new(2);
        let mut counts = |view: &mut View, millis| {
            let mut counts = [0; 40];
            for _ in 0..4000 {
                let now = T0.plus_millis(millis);
                let picked = view.pick(POOL, 0, &mut prng, Tried::NONE, now).unwrap().backend;
                counts[picked.index()] += 1;
                view.session_assigned(picked);
                view.session_released(picked);
            }
            [counts[recovers.index()], counts[stuck.index()]]
        };
        let [ramping, avoided] = counts(&mut view, 5000);
        assert!((30..75).contains(&ramping) && avoided == 0, "{strategy}: {ramping} {avoided}");
        let [full, avoided] = counts(&mut view, 10_000);
        assert!((80..130).contains(&full) && avoided == 0, "{strategy}: {full} {avoided}");
        for _ in 0..8 {
            view.connect_succeeded(connect(stuck.index(), false), T0);
        }
        let [_, back] = counts(&mut view, 10_000);
        assert!((80..130).contains(&back), "{strategy}: {back}");
        assert!(view.pools()[0].unsteady.is_empty(), "and then at nobody");
    }
}

#[test]
fn sessions_that_stay_do_not_rush_to_one_that_recovers() {
    let config = Config::new(&["b1", "b2"]);
    let mut view = view_of(&config);
    for _ in 0..100 {
        view.session_assigned(at(1));
    }
    view.set_health(config.id("b1"), Down, T0);
    view.set_health(config.id("b1"), Up, T0);
    let mut prng = Prng::new(1);
    for _ in 0..1000 {
        let now = T0.plus_millis(2000);
        let picked = view.pick(POOL, 0, &mut prng, Tried::NONE, now).unwrap().backend;
        view.session_assigned(picked);
    }
    let (new, old) = (view.backends()[0].load(), view.backends()[1].load());
    assert!((170..=190).contains(&new), "a fifth of {old}: {new}");
}

#[test]
fn slow_start_has_its_limits() {
    let mut config = Config::new(&["b1", "b2"]);
    let mut view = view_of(&config);
    let down_and_up = |view: &mut View, config: &Config| {
        view.set_health(config.id("b1"), Down, T0);
        view.set_health(config.id("b1"), Up, T0);
    };
    down_and_up(&mut view, &config);
    view.set_health(config.id("b2"), Down, T0);
    assert_eq!(pick_at(&mut view, 0), Some(0), "nobody else is there");
    view.set_health(config.id("b2"), Up, T0);
    config.pool().health.slow_start = weir_proto::spec::Span::from_secs(0);
    view.adopt(config.build(), &mut Prng::new(1), T0);
    down_and_up(&mut view, &config);
    view.session_assigned(at(1));
    assert_eq!(pick_at(&mut view, 0), Some(0), "switched off");
    config.pool().health.slow_start = weir_proto::spec::Span::from_secs(10);
    for state in [Admin::Maint, Admin::Ready] {
        config.pool().backend.get_mut("b1").unwrap().state = state;
        view.adopt(config.build(), &mut Prng::new(1), T0);
    }
    assert_eq!(pick_at(&mut view, 0), Some(1), "back from maint");
    assert_eq!(pick_at(&mut view, 10_000), Some(0));
}

#[test]
fn drained_maintained_unhealthy_and_weightless_backends_are_not_picked() {
    let mut config = Config::new(&["b1"]);
    let mut view = View::default();
    for (admin, weight, healthy, takes) in [
        (Admin::Ready, 1, true, true),
        (Admin::Drain, 1, true, false),
        (Admin::Maint, 1, true, false),
        (Admin::Ready, 0, true, false),
        (Admin::Ready, 1, false, false),
    ] {
        let backend = config.pool().backend.get_mut("b1").unwrap();
        (backend.state, backend.weight) = (admin, weight);
        config.pool().health.panic = Percent::ZERO;
        view.adopt(config.build(), &mut Prng::new(1), T0);
        view.set_health(config.id("b1"), if healthy { Up } else { Down }, T0);
        let case = std::format!("{admin:?} {weight} {healthy}");
        assert_eq!(pick(&mut view).is_some(), takes, "{case}");
    }
}

#[test]
fn a_listener_that_leaves_accepts_nobody() {
    let mut config = Config::new(&["b1"]);
    let mut view = View::default();
    view.adopt(&config.snapshot, &mut Prng::new(1), T0);
    view.session_opened(ListenerSlot::FIRST, POOL);
    config.spec.listener.clear();
    view.adopt(config.build(), &mut Prng::new(1), T0);
    assert!(!view.listeners()[0].accepting);
    assert_eq!(view.listeners()[0].sessions, 1, "until its last session is over");
    assert_eq!(config.snapshot.version.to_string(), "2");
}
