//! Load, health and slots across snapshots.

use std::string::ToString;
use std::vec;
use std::vec::Vec;

use weir_proto::ids::IdSource;
use weir_proto::spec::{Admin, BackendSpec, ListenerSpec, PoolSpec, Spec};

use super::*;

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
            bind: vec!["127.0.0.1:80".parse().unwrap()],
            pool: "web".parse().unwrap(),
            max_sessions: Some(10),
            state: Admin::Ready,
        };
        let spec = Spec {
            listener: [("web".parse().unwrap(), listener)].into(),
            pool: [("web".parse().unwrap(), pool)].into(),
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
    BackendSpec { address, weight: 1, state: Admin::Ready }
}

fn pick(view: &mut View) -> Option<u32> {
    view.pick(0, 0, &mut Prng::new(1), Tried::NONE).map(|picked| picked.backend)
}

#[test]
fn load_is_carried_by_identity_and_a_busy_slot_is_kept() {
    let mut config = Config::new(&["b1", "b2"]);
    let mut view = View::default();
    view.adopt(&config.snapshot, 1, &mut Prng::new(1));
    let (b1, b2) = (config.id("b1"), config.id("b2"));
    let slot = u32::try_from(view.backend_slot(b1).unwrap()).unwrap();
    view.count(slot, true);
    view.count(slot, true);
    config.pool().backend.remove("b1");
    config.pool().backend.insert("b3".parse().unwrap(), backend("b3"));
    view.adopt(config.build(), 1, &mut Prng::new(1));
    // b1 is gone, but its two sessions still count on its slot.
    assert_eq!(view.backends().len(), 3);
    assert_eq!(view.backends()[slot as usize].sessions, 2);
    view.count(slot, false);
    view.count(slot, false);
    config.pool().backend.insert("b4".parse().unwrap(), backend("b4"));
    view.adopt(config.build(), 1, &mut Prng::new(1));
    // Now the slot is b4's, and b2 is where it was.
    assert_eq!(view.backends().len(), 3);
    assert_eq!(view.backends()[slot as usize].id, config.id("b4"));
    assert_eq!(view.backend_slot(b1), None);
    assert!(view.backend_slot(b2).is_some());
}

#[test]
fn the_least_loaded_is_picked_with_the_load_elsewhere() {
    let config = Config::new(&["b1", "b2"]);
    let mut view = View::default();
    view.adopt(&config.snapshot, 2, &mut Prng::new(1));
    let slot =
        |view: &View, name| u32::try_from(view.backend_slot(config.id(name)).unwrap()).unwrap();
    let (b1, b2) = (slot(&view, "b1"), slot(&view, "b2"));
    view.set_elsewhere(config.id("b1"), 5);
    for _ in 0..5 {
        assert_eq!(pick(&mut view), Some(b2));
        view.count(b2, true);
    }
    view.count(b2, true);
    assert_eq!(pick(&mut view), Some(b1));
    assert_eq!(view.listeners()[0].sessions_max, 5, "half of ten on each of two shards");
}

#[test]
fn three_failures_in_a_row_eject_and_local_ones_never_do() {
    let config = Config::new(&["b1"]);
    let mut view = View::default();
    view.adopt(&config.snapshot, 1, &mut Prng::new(1));
    for _ in 0..10 {
        assert!(!view.connect_failed(0, ConnectFault::Local, true));
    }
    assert!(!view.connect_failed(0, ConnectFault::Refused, true));
    assert!(!view.connect_failed(0, ConnectFault::Timeout, true));
    view.connected(0);
    let told: Vec<bool> =
        (0..4).map(|_| view.connect_failed(0, ConnectFault::Refused, true)).collect();
    assert_eq!(told, [false, false, true, false], "told once, at the third in a row");
    assert_eq!(pick(&mut view), None);
    view.set_health(config.id("b1"), true);
    assert_eq!(pick(&mut view), Some(0));
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
        view.adopt(config.build(), 1, &mut Prng::new(1));
        view.set_health(config.id("b1"), healthy);
        let case = std::format!("{admin:?} {weight} {healthy}");
        assert_eq!(pick(&mut view).is_some(), takes, "{case}");
    }
}

#[test]
fn a_listener_that_leaves_accepts_nobody() {
    let mut config = Config::new(&["b1"]);
    let mut view = View::default();
    view.adopt(&config.snapshot, 1, &mut Prng::new(1));
    view.count_session(0, 0, true);
    config.spec.listener.clear();
    view.adopt(config.build(), 1, &mut Prng::new(1));
    assert!(!view.listeners()[0].accepting);
    assert_eq!(view.listeners()[0].sessions, 1, "until its last session is over");
    assert_eq!(config.snapshot.version.to_string(), "2");
}
