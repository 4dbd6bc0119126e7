//! Holds, and what a pool makes of them; backends that are not proven.

use super::*;
use weir_proto::spec::PoolSpec;

const SECOND: u64 = 1_000_000_000;

pub(super) fn at(secs: u64) -> Now {
    Now { nanos: secs * SECOND }
}

/// A pool whose backends answer as the test says, checked once a second.
pub(super) struct DampedPool {
    pub(super) world: HealthFixture,
    pub(super) health: Health,
    /// Names of those whose checks succeed.
    pub(super) good: BTreeSet<&'static str>,
    pub(super) now: u64,
}

const NAMES: [&str; 5] = ["b1", "b2", "b3", "b4", "b5"];

impl DampedPool {
    pub(super) fn new(count: u16, panic: u8, kind: HealthKind) -> DampedPool {
        let panic = weir_proto::spec::Percent::new(panic);
        let interval = Span::from_millis(800);
        let spec = HealthSpec { kind, panic, interval, ..HealthSpec::default() };
        let addresses: Vec<std::net::SocketAddr> =
            (1..=count).map(|port| ([127, 0, 0, 1], port).into()).collect();
        let world = HealthFixture::new(spec, &addresses);
        let mut health = Health::new();
        health.adopt(&world.snapshot, at(0));
        let good = NAMES[..usize::from(count)].iter().copied().collect();
        DampedPool { world, health, good, now: 0 }
    }

    /// A second passes, and with it a check of each.
    fn second(&mut self) {
        self.now += 1;
        let DampedPool { world, good, .. } = self;
        let backends = &world.snapshot.pools[0].backends;
        let is_good = |address: std::net::SocketAddr| {
            let backend = backends.iter().find(|backend| backend.address.ip() == Some(address));
            backend.is_some_and(|backend| good.contains(backend.name.as_str()))
        };
        self.health.check_all(at(self.now), is_good);
    }

    pub(super) fn seconds(&mut self, count: u64) {
        (0..count).for_each(|_| self.second());
    }

    fn up(&self) -> Vec<&'static str> {
        let pool = self.world.snapshot.pools[0].id;
        assert_eq!(self.health.is_in_panic(pool), self.health.groups[&pool].is_in_panic());
        let backends = self.world.snapshot.pools[0].backends.iter();
        let up = backends.filter(|backend| self.health.is_up(backend.id));
        up.map(|it| *NAMES.iter().find(|name| **name == it.name.as_str()).unwrap()).collect()
    }

    pub(super) fn eject(&mut self, name: &str) -> bool {
        let id = self.world.id(name);
        !self.health.on_ejected(id, ConnectFault::Refused, at(self.now)).is_empty()
    }

    pub(super) fn change(&mut self, change: impl FnOnce(&mut PoolSpec)) {
        let snapshot = self.world.change(change);
        self.health.adopt(snapshot, at(self.now));
    }

    pub(super) fn standing(&self, name: &str) -> BackendHealth {
        self.health.standing(self.world.id(name))
    }

    fn hold_s(&self, name: &str) -> f64 {
        self.health.row(self.world.id(name), at(self.now)).hold_s
    }
}

fn backend(port: u16) -> BackendSpec {
    BackendSpec::new(std::net::SocketAddr::from(([127, 0, 0, 1], port)).into())
}

/// `rise` is 2 and `fall` is 3: the one that leads now serves after its second good check, whether
/// or not the old one has been given up by then, however often they change.
#[test]
fn a_new_leader_serves_after_rise_checks_at_each_of_ten_switch_overs() {
    for gap in [0, 1, 4] {
        let mut pool = DampedPool::new(3, 0, HealthKind::Http);
        pool.good = ["b1"].into();
        pool.seconds(5);
        assert_eq!(pool.up(), ["b1"]);
        for turn in 0..10 {
            let leader = NAMES[(turn + 1) % 3];
            pool.good.clear();
            pool.seconds(gap);
            pool.good = [leader].into();
            pool.seconds(2);
            assert!(pool.up().contains(&leader), "turn {turn}, gap {gap}: {:?}", pool.up());
            pool.seconds(3);
            assert_eq!(pool.up(), [leader], "turn {turn}, gap {gap}");
        }
    }
}

#[test]
fn a_backend_alone_is_never_held() {
    let mut pool = DampedPool::new(1, 0, HealthKind::Tcp);
    pool.second();
    for _ in 0..8 {
        pool.good.clear();
        pool.seconds(3);
        assert_eq!(pool.up(), [""; 0]);
        pool.good = ["b1"].into();
        pool.seconds(2);
        assert_eq!(pool.up(), ["b1"]);
    }
    assert!(!pool.eject("b1"), "clients have nobody else");
}

/// As shards do: `why` goes by it.
#[test]
fn a_share_grows_since_a_backend_came_up_or_began_beside_others() {
    let mut pool = DampedPool::new(2, 50, HealthKind::Tcp);
    let since = |pool: &DampedPool, name| pool.health.ramps_since(pool.world.id(name));
    pool.seconds(2);
    assert_eq!((since(&pool, "b1"), since(&pool, "b2")), (None, None), "all are new");
    pool.good.remove("b1");
    pool.seconds(3);
    assert_eq!(since(&pool, "b1"), None);
    pool.good.insert("b1");
    pool.seconds(2);
    assert_eq!((pool.up(), since(&pool, "b1")), (vec!["b1", "b2"], Some(at(pool.now))));
    for state in [Admin::Drain, Admin::Ready] {
        pool.now += 1;
        pool.change(|spec| spec.backend.get_mut("b2").unwrap().state = state);
    }
    pool.change(|spec| {
        spec.backend.insert("b3".parse().unwrap(), backend(3));
    });
    assert_eq!([since(&pool, "b2"), since(&pool, "b3")], [Some(at(pool.now)); 2]);
}

/// Damping itself: one of three flaps, and is held for longer each time.
#[test]
fn one_that_flaps_beside_others_is_held_and_its_rest_is_shown() {
    let mut pool = DampedPool::new(3, 50, HealthKind::Tcp);
    pool.second();
    for hold in [0, 10, 20, 40] {
        pool.good.remove("b1");
        pool.seconds(3);
        assert_eq!(pool.up(), ["b2", "b3"]);
        assert_eq!(pool.hold_s("b1"), f64::from(hold));
        pool.good.insert("b1");
        let mut took = 0;
        while pool.up().len() < 3 {
            pool.second();
            took += 1;
        }
        assert_eq!(took, hold.max(2));
        assert_eq!(pool.hold_s("b1"), 0.0);
    }
}

#[test]
fn a_hold_ends_when_the_others_go() {
    let flapped = |panic| {
        let mut pool = DampedPool::new(3, panic, HealthKind::Tcp);
        pool.second();
        for _ in 0..2 {
            pool.good.remove("b1");
            pool.seconds(3);
            pool.good.insert("b1");
            pool.seconds(2);
        }
        assert_eq!(pool.up(), ["b2", "b3"]);
        let row = pool.health.row(pool.world.id("b1"), at(pool.now));
        assert_eq!((row.result.as_str(), row.hold_s), ("held", 8.0));
        pool
    };
    // A single failed check of each other one is doubt enough.
    let mut pool = flapped(0);
    pool.good = ["b1"].into();
    pool.second();
    assert_eq!(pool.up(), ["b1", "b2", "b3"]);
    // The operator takes them away.
    let mut pool = flapped(0);
    pool.change(|pool| {
        for name in ["b2", "b3"] {
            pool.backend.get_mut(name).unwrap().state = Admin::Drain;
        }
    });
    assert!(pool.up().contains(&"b1"));
    // Too few are up by the pool's own measure.
    let mut pool = flapped(50);
    pool.good.remove("b3");
    pool.seconds(3);
    assert_eq!(pool.up(), ["b1", "b2"], "one of three would be panic");
    // With one of three down there is no panic: it stays held.
    let mut pool = flapped(30);
    pool.good.remove("b3");
    pool.seconds(3);
    assert_eq!(pool.up(), ["b2"]);
}

/// What all of them depend on fails again and again: nobody flaps, so nobody is held.
#[test]
fn backends_that_fall_together_come_back_together() {
    for panic in [0, 50] {
        let mut pool = DampedPool::new(5, panic, HealthKind::Tcp);
        pool.second();
        for _ in 0..6 {
            pool.good.clear();
            pool.seconds(4);
            assert_eq!(pool.up(), [""; 0]);
            pool.good = NAMES.into();
            pool.seconds(2);
            assert_eq!(pool.up(), NAMES, "panic below {panic} %");
        }
    }
}

/// With two backends one may be ejected; when the other falls, the first one's hold is no more.
#[test]
fn ejections_in_a_pool_of_two() {
    let mut pool = DampedPool::new(2, 50, HealthKind::Tcp);
    pool.second();
    assert!(pool.eject("b1") && !pool.eject("b2"));
    pool.seconds(2);
    assert_eq!(pool.up(), ["b1", "b2"], "checks contradict it");
    assert!(pool.eject("b1"), "clients fail again");
    assert_eq!(pool.hold_s("b1"), 10.0);
    pool.seconds(2);
    assert_eq!(pool.up(), ["b2"]);
    pool.good.remove("b2");
    pool.seconds(1);
    assert_eq!(pool.up(), ["b1", "b2"], "b2 is doubted, b1 is good");
}

#[test]
fn without_checks_the_last_one_that_is_left_is_tried() {
    let mut pool = DampedPool::new(2, 0, HealthKind::None);
    assert!(pool.eject("b1"));
    pool.seconds(5);
    assert_eq!((pool.up(), pool.hold_s("b1")), (vec!["b2"], 5.0));
    pool.change(|pool| pool.backend.get_mut("b2").unwrap().state = Admin::Maint);
    assert_eq!(pool.up(), ["b1", "b2"], "b2 is in maint: there is only b1");
    assert_eq!(pool.health.next_due(), None, "no hold is left");
}

#[test]
fn an_operator_ends_a_hold() {
    for kind in [HealthKind::Tcp, HealthKind::None] {
        let mut pool = DampedPool::new(3, 0, kind);
        pool.second();
        let id = pool.world.id("b1");
        let checked = kind != HealthKind::None;
        for _ in 0..=u8::from(checked) {
            pool.eject("b1");
            pool.seconds(2);
        }
        assert_eq!((pool.up(), pool.hold_s("b1")), (vec!["b2", "b3"], 8.0));
        let transition = pool.health.end_hold(id, at(pool.now)).unwrap();
        assert_eq!((transition.up, transition.reason.as_str()), (true, "the hold was ended"));
        assert_eq!((pool.up().len(), pool.hold_s("b1")), (3, 0.0));
        // What went before is forgotten.
        pool.eject("b1");
        assert_eq!(pool.hold_s("b1"), if checked { 0.0 } else { 10.0 });
    }
    // Checks that fail keep it down.
    let mut pool = DampedPool::new(3, 0, HealthKind::Tcp);
    pool.good.remove("b1");
    pool.second();
    assert_eq!(pool.health.end_hold(pool.world.id("b1"), at(pool.now)), None);
    assert_eq!(pool.up(), ["b2", "b3"]);
}

#[test]
fn one_that_is_added_beside_others_waits_for_its_first_good_check() {
    let mut pool = DampedPool::new(2, 50, HealthKind::Tcp);
    pool.second();
    pool.good.insert("b4");
    pool.change(|pool| {
        for (name, port) in [("b3", 3), ("b4", 4), ("b5", 5)] {
            pool.backend.insert(name.parse().unwrap(), backend(port));
        }
    });
    let id = pool.world.snapshot.pools[0].id;
    assert_eq!(pool.up(), ["b1", "b2"]);
    assert_eq!(pool.standing("b3"), BackendHealth::Unproven);
    assert_eq!(pool.health.row(pool.world.id("b3"), at(1)).result.as_str(), "pending");
    assert!(!pool.health.is_in_panic(id), "two of two, and three to come");
    pool.second();
    assert_eq!(pool.up(), ["b1", "b2", "b4"], "one good check is enough for the first time");
    assert_eq!(pool.standing("b3"), BackendHealth::Unproven, "one that never was up is not missed");
    assert_eq!(pool.health.members(id), (3, 3));
    pool.good.insert("b3");
    pool.seconds(2);
    assert_eq!(pool.up(), ["b1", "b2", "b3", "b4"]);
}

#[test]
fn what_is_not_proven_serves_if_nobody_else_does() {
    // A first start, or all at once: up until a check says otherwise.
    let pool = DampedPool::new(2, 0, HealthKind::Tcp);
    assert_eq!(pool.up(), ["b1", "b2"]);
    // The others are gone before it was checked.
    let mut pool = DampedPool::new(2, 0, HealthKind::Tcp);
    pool.second();
    pool.change(|pool| {
        pool.backend.insert("b3".parse().unwrap(), backend(3));
    });
    pool.change(|pool| pool.backend.retain(|name, _| name.as_str() == "b3"));
    assert_eq!(pool.up(), ["b3"]);
    pool.second();
    assert_eq!(pool.up(), [""; 0], "its first check decides alone");
    // All addresses change at once.
    let mut pool = DampedPool::new(2, 0, HealthKind::Tcp);
    pool.second();
    pool.change(|pool| pool.backend.values_mut().for_each(|it| it.address.set_port(77)));
    assert_eq!(pool.up(), ["b1", "b2"]);
}

#[test]
fn who_was_not_checked_is_not_proven() {
    let mut pool = DampedPool::new(2, 0, HealthKind::Tcp);
    pool.second();
    let state = |pool: &mut DampedPool, state| {
        pool.change(|pool| pool.backend.get_mut("b1").unwrap().state = state);
    };
    for (before, standing) in [
        (Admin::Maint, BackendHealth::Unproven),
        // It was checked all the time.
        (Admin::Drain, BackendHealth::Up),
    ] {
        state(&mut pool, before);
        pool.second();
        state(&mut pool, Admin::Ready);
        assert_eq!(pool.standing("b1"), standing, "{before:?}");
        pool.second();
        assert_eq!(pool.standing("b1"), BackendHealth::Up);
    }
    // Checks that begin for the whole pool doubt nobody.
    let mut pool = DampedPool::new(2, 0, HealthKind::None);
    pool.change(|pool| pool.health.kind = HealthKind::Tcp);
    assert_eq!(pool.up(), ["b1", "b2"]);
}
