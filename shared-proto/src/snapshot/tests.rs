//! Identities across versions, what a snapshot gives back, and where a fault says that it is.

use super::*;
use crate::spec::{Admin, BackendSpec, DiscoverSpec, HealthKind};
use core::net::SocketAddr;

fn spec_with(pool: PoolSpec) -> Spec {
    let listener = ListenerSpec::new("web".parse().unwrap(), vec!["127.0.0.1:80".parse().unwrap()]);
    Spec {
        listener: [("web".parse().unwrap(), listener)].into(),
        pool: [("web".parse().unwrap(), pool.into())].into(),
    }
}

fn backend(address: &str) -> BackendSpec {
    BackendSpec::new(address.parse().unwrap())
}

fn build(spec: &Spec, previous: &Snapshot, ids: &mut IdSource) -> Result<Snapshot, Vec<Fault>> {
    Snapshot::build(spec, previous.version.next(), previous, ids)
}

#[test]
fn identities_survive_versions_until_the_address_changes() {
    let mut ids = IdSource::default();
    let mut pool = PoolSpec::default();
    pool.backend.insert("b1".parse().unwrap(), backend("10.0.0.1:1"));
    pool.backend.insert("b2".parse().unwrap(), backend("10.0.0.2:1"));
    let first = build(&spec_with(pool.clone()), &Snapshot::empty(), &mut ids).unwrap();
    pool.strategy = Strategy::Maglev;
    pool.backend.insert("b2".parse().unwrap(), backend("10.0.0.3:1"));
    let second = build(&spec_with(pool), &first, &mut ids).unwrap();
    assert_eq!(second.version, Version(2));
    assert_eq!(second.listeners[0].id, first.listeners[0].id);
    assert_eq!(second.pools[0].id, first.pools[0].id);
    assert_eq!(second.pools[0].backends[0].id, first.pools[0].backends[0].id);
    assert_ne!(second.pools[0].backends[1].id, first.pools[0].backends[1].id);
}

#[test]
fn a_pool_that_a_version_leaves_alone_is_shared_with_the_version_before() {
    let mut ids = IdSource::default();
    let mut pool = PoolSpec::default();
    pool.backend.insert("b1".parse().unwrap(), backend("10.0.0.1:1"));
    let mut spec = spec_with(pool.clone());
    spec.pool.insert("db".parse().unwrap(), pool.into());
    let first = build(&spec, &Snapshot::empty(), &mut ids).unwrap();
    let change: [fn(&mut PoolSpec); 4] = [
        |web| web.strategy = Strategy::Maglev,
        |web| web.backend.values_mut().next().unwrap().weight = 3,
        |web| web.keepalive.count += 1,
        |web| web.backend = [("b2".parse().unwrap(), backend("10.0.0.2:1"))].into(),
    ];
    let mut last = first.clone();
    for change in change {
        change(spec.pool.get_mut("web").unwrap());
        let next = build(&spec, &last, &mut ids).unwrap();
        let (same, other) = (next.pool("db").unwrap(), next.pool("web").unwrap());
        assert!(core::ptr::eq(same, first.pool("db").unwrap()));
        assert_eq!((same.since, other.since), (first.edition(), next.edition()));
        assert_eq!(other.spec, spec.pool["web"]);
        last = next;
    }
    let again = build(&spec, &last, &mut ids).unwrap();
    assert_eq!((again.version, &again.pools), (Version(6), &last.pools));
}

#[test]
fn a_listener_is_known_by_its_name_and_then_by_an_address() {
    let mut ids = IdSource::default();
    let bind = |ports: &[u16]| -> Vec<SocketAddr> {
        ports.iter().map(|port| SocketAddr::from(([127, 0, 0, 1], *port))).collect()
    };
    let mut spec = spec_with(PoolSpec::default());
    let some = spec.listener.values().next().unwrap().clone();
    let mut version = |listeners: &[(&str, &[u16])], previous: &Snapshot| {
        let listeners = listeners.iter().map(|(name, ports)| {
            (name.parse().unwrap(), ListenerSpec { bind: bind(ports), ..some.clone() })
        });
        spec.listener = listeners.collect();
        build(&spec, previous, &mut ids).unwrap()
    };
    let id = |snapshot: &Snapshot, name: &str| snapshot.listener(name).unwrap().id;
    let first = version(&[("a", &[1, 2]), ("b", &[3])], &Snapshot::empty());
    // One address less and another one more: the same listener.
    let second = version(&[("a", &[2, 4]), ("b", &[3])], &first);
    assert_eq!(id(&second, "a"), id(&first, "a"));
    // Renamed; one whose name stays is itself, even if it gives an address away.
    let third = version(&[("b", &[5]), ("c", &[2, 4]), ("d", &[3])], &second);
    assert_eq!(id(&third, "c"), id(&first, "a"));
    assert_eq!(id(&third, "b"), id(&first, "b"));
    assert!(![id(&first, "a"), id(&first, "b")].contains(&id(&third, "d")));
    // Nobody is two listeners.
    let fourth = version(&[("e", &[2]), ("f", &[4])], &third);
    assert_eq!(id(&fourth, "e"), id(&third, "c"));
    assert_ne!(id(&fourth, "f"), id(&third, "c"));
}

#[test]
fn a_snapshot_gives_back_its_spec() {
    let mut pool = PoolSpec::default();
    pool.backend.insert("b1".parse().unwrap(), backend("[::1]:1"));
    pool.timeout.stalled = Some(Span::from_millis(1_500));
    pool.timeout.lifetime = Some(Span::from_secs(86_400));
    pool.keepalive.count = 3;
    let mut spec = spec_with(pool);
    spec.listener.values_mut().for_each(|it| it.keepalive.idle = Span::from_secs(7));
    let snapshot = build(&spec, &Snapshot::empty(), &mut IdSource::default()).unwrap();
    assert_eq!(snapshot.spec(), spec);
}

#[test]
fn every_fault_says_where_it_is() {
    let mut pool = PoolSpec::default();
    pool.backend.insert("b1".parse().unwrap(), backend("10.0.0.1:0"));
    pool.health.kind = HealthKind::SendExpect;
    pool.health.rise = 0;
    pool.timeout.idle = Span::from_secs(0);
    pool.timeout.stalled = Some(Span::from_secs(0));
    pool.timeout.lifetime = Some(Span::from_millis(999));
    pool.keepalive = KeepaliveSpec {
        idle: Span::from_secs(40_000),
        interval: Span::from_millis(1_500),
        count: 128,
    };
    pool.retry.attempts = 9;
    pool.retry.within = Span::from_secs(0);
    pool.health.slow_start = Span::from_secs(8 * 86_400);
    let mut spec = spec_with(pool);
    spec.listener.values_mut().next().unwrap().pool = "wbe".parse().unwrap();
    let faults = build(&spec, &Snapshot::empty(), &mut IdSource::default()).unwrap_err();
    let at: Vec<&str> = faults.iter().map(|fault| fault.at.as_str()).collect();
    assert_eq!(
        at,
        [
            "listener.web.pool",
            "pool.web.health.rise",
            "pool.web.health.slow-start",
            "pool.web.timeout.idle",
            "pool.web.timeout.stalled",
            "pool.web.timeout.lifetime",
            "pool.web.retry.attempts",
            "pool.web.retry.within",
            "pool.web.keepalive.idle",
            "pool.web.keepalive.interval",
            "pool.web.keepalive.count",
            "pool.web.health.expect",
            "pool.web.backend.b1.address",
        ]
    );
    assert!(faults[0].complaint.hint.contains("web"), "{:?}", faults[0]);
}

use crate::spec::Span;

#[test]
fn a_pool_panics_below_its_share_of_those_that_could_take_sessions() {
    for (percent, up, members, panic) in [
        (50, 0, 0, false),
        (50, 0, 1, true),
        (50, 1, 2, false),
        (50, 1, 3, true),
        (50, 2, 4, false),
        (0, 0, 4, false),
        (100, 3, 4, true),
        (100, 4, 4, false),
    ] {
        assert_eq!(panics(Percent::new(percent), up, members), panic, "{percent} {up}/{members}");
    }
}

#[test]
fn names_are_found_whatever_their_order_in_the_file_was() {
    let mut pool = PoolSpec::default();
    for (number, name) in ["b10", "b9", "B1", "b-1", "b1"].into_iter().enumerate() {
        let address = format!("10.0.0.{number}:1").parse().unwrap();
        let backend = BackendSpec::new(address);
        pool.backend.insert(name.parse().unwrap(), backend);
    }
    let names: Vec<String> = pool.backend.keys().map(ToString::to_string).collect();
    let snapshot = build(&spec_with(pool), &Snapshot::empty(), &mut IdSource::default()).unwrap();
    let pool = &snapshot.pools[0];
    for name in names {
        assert_eq!(pool.backend(&name).unwrap().name.as_str(), name);
    }
    assert!(pool.backend("b").is_none() && pool.backend("z").is_none());
    assert!(snapshot.pool(pool.name.as_str()).is_some() && snapshot.pool("").is_none());
    assert!(snapshot.listener("web").is_some() && snapshot.listener("x").is_none());
}

#[test]
fn all_pools_together_have_a_bound() {
    let mut spec = Spec::default();
    let backend = BackendSpec::new("10.0.0.1:1".parse().unwrap());
    let name = |kind: &str, number: usize| format!("{kind}{number}").parse::<Name>().unwrap();
    let pool = |backends| PoolSpec {
        backend: (0..backends).map(|number| (name("b", number), backend.clone())).collect(),
        ..PoolSpec::default()
    };
    for number in 0..BACKENDS_MAX / 1000 {
        spec.pool.insert(name("p", number), pool(1000).into());
    }
    let first = build(&spec, &Snapshot::empty(), &mut IdSource::default());
    assert_eq!(first.unwrap().backends().count(), BACKENDS_MAX);
    spec.pool.insert(name("q", 0), pool(1).into());
    let faults = build(&spec, &Snapshot::empty(), &mut IdSource::default()).unwrap_err();
    assert_eq!(faults[0].complaint.what, "100001 backends in all; at most 100000 are possible");
}

#[test]
fn escapes_become_bytes() {
    assert_eq!(unescape(r"PING\r\n\x00\\"), Some(b"PING\r\n\0\\".to_vec()));
    for bad in ["\\", "\\q", "\\x1", "\\xzz"] {
        assert_eq!(unescape(bad), None, "{bad}");
    }
}

#[test]
fn a_wildcard_takes_its_port_and_family_in_every_spelling() {
    let at = |text: &str| text.parse::<SocketAddr>().unwrap();
    let bound_to = |bind: &str| {
        let mut spec = spec_with(PoolSpec::default());
        spec.listener.get_mut("web").unwrap().bind = vec![at(bind)];
        let snapshot = build(&spec, &Snapshot::empty(), &mut IdSource::default()).unwrap();
        snapshot.wildcard_binds()
    };
    let (v4, v6) = (bound_to("0.0.0.0:80"), bound_to("[::]:80"));
    for (address, by_v4, by_v6) in [
        ("10.0.0.1:80", true, false),
        ("[::ffff:10.0.0.1]:80", true, false), // the kernel connects to 10.0.0.1
        ("[fd00::1]:80", false, true),
        ("[::10.0.0.1]:80", false, true), // an old spelling, which is IPv6
        ("10.0.0.1:81", false, false),
        ("[::ffff:10.0.0.1]:81", false, false),
    ] {
        let taken = (v4.takes(at(address).into()), v6.takes(at(address).into()));
        assert_eq!(taken, (by_v4, by_v6), "{address}");
    }
}

#[test]
fn an_address_that_is_spelt_with_a_scope_is_the_same_address() {
    let bound_twice = |one: &str, other: &str| {
        let mut spec = spec_with(PoolSpec::default());
        let mut second = spec.listener["web"].clone();
        spec.listener.get_mut("web").unwrap().bind = vec![one.parse().unwrap()];
        second.bind = vec![other.parse().unwrap()];
        spec.listener.insert("second".parse().unwrap(), second);
        build(&spec, &Snapshot::empty(), &mut IdSource::default()).is_err()
    };
    assert!(bound_twice("[::1]:80", "[::1%1]:80"));
    assert!(!bound_twice("[fe80::1%1]:80", "[fe80::1%2]:80"), "two links, two addresses");
    assert!(!bound_twice("[::1]:80", "[::1]:81"));
}

/// The faults of two listeners that differ as it says.
fn faults_of(change: impl Fn(&mut ListenerSpec, &mut ListenerSpec)) -> Vec<String> {
    let mut spec = spec_with(PoolSpec::default());
    let mut first = spec.listener["web"].clone();
    first.bind = vec!["[::]:443".parse().unwrap()];
    let mut second = first.clone();
    change(&mut first, &mut second);
    spec.listener.insert("web".parse().unwrap(), first);
    spec.listener.insert("two".parse().unwrap(), second);
    let built = build(&spec, &Snapshot::empty(), &mut IdSource::default());
    built.err().unwrap_or_default().iter().map(ToString::to_string).collect()
}

#[test]
fn an_address_of_both_families_stands_in_the_way_of_ipv4() {
    let v4: Vec<SocketAddr> = vec!["0.0.0.0:443".parse().unwrap()];
    let said = faults_of(|web, two| {
        (web.v6only, two.bind) = (false, v4.clone());
    });
    let expected = "listener.web.bind: [::]:443 is bound twice: 0.0.0.0:443 of listener two has its IPv4 clients";
    assert_eq!(said, [expected]);
    let said = faults_of(|web, two| {
        (two.v6only, web.bind) = (false, v4.clone());
    });
    let expected = "listener.web.bind: 0.0.0.0:443 is bound twice: [::]:443 of listener two has its IPv4 clients";
    assert_eq!(said, [expected]);
    let one = faults_of(|web, two| {
        web.bind.push(v4[0]);
        two.bind = vec!["[::1]:1".parse().unwrap()];
        web.v6only = false;
    });
    assert!(one[0].contains("this listener"), "{one:?}");
    let none = faults_of(|web, two| (web.v6only, two.bind) = (true, v4.clone()));
    assert_eq!(none.len(), 0, "{none:?}");
    let alone = faults_of(|_, two| (two.v6only, two.bind) = (false, v4.clone()));
    assert!(alone[0].starts_with("listener.two.v6only: only [::] takes"), "{alone:?}");
}

#[test]
fn an_address_is_bound_once_on_each_interface() {
    let on = |name: &str| Some(name.parse().unwrap());
    let both = |one: &str, other: &str| {
        faults_of(|web, two| (web.interface, two.interface) = (on(one), on(other)))
    };
    assert_eq!(both("eth0", "eth1").len(), 0);
    let said = both("eth0", "eth0");
    let expected = "listener.web.bind: [::]:443 on eth0 is bound twice: listener two has it, too";
    assert_eq!(said, [expected]);
    let said = faults_of(|web, _| web.interface = on("eth0"));
    let expected = "listener.web.bind: [::]:443 on eth0 is bound twice: [::]:443 of listener two has no other interface";
    assert_eq!(said, [expected]);
    let said = faults_of(|_, two| two.interface = on("eth0"));
    assert!(said[0].contains("[::]:443 on eth0 of listener two has no other"), "{said:?}");
}

fn member(address: &str) -> Member {
    Member::new(address.parse().unwrap())
}

fn discovering(source: &str) -> PoolSpec {
    let mut pool = PoolSpec::default();
    pool.discover.dns = Some(source.to_owned());
    pool.backend.insert("b1".parse().unwrap(), backend("10.0.0.1:1"));
    pool
}

fn names(snapshot: &Snapshot) -> Vec<&str> {
    snapshot.backends().map(|(_, backend)| backend.name.as_str()).collect()
}

#[test]
fn what_is_discovered_is_another_edition_of_the_same_version() {
    let mut ids = IdSource::default();
    let spec = spec_with(discovering("web.internal:1"));
    let first = build(&spec, &Snapshot::empty(), &mut ids).unwrap();
    let found = vec![member("10.0.0.9:1"), member("[fd00::1]:1"), member("10.0.0.1:1")];
    let second = first.regroup(vec![(0, found)], &mut ids);
    assert_eq!((second.version, second.spec()), (first.version, spec.clone()));
    assert!(second.edition() > first.edition() && second.pools[0].since == second.edition());
    // The configured one takes the place of the one that was found at its address.
    assert_eq!(names(&second), ["10.0.0.9:1", "[fd00::1]:1", "b1"]);
    let pool = &second.pools[0];
    assert_eq!(pool.backend("b1"), first.pools[0].backend("b1"));
    let stays = pool.backend("10.0.0.9:1").unwrap();
    let leaving = Member { leaves: true, ..member("10.0.0.9:1") };
    let third = second.regroup(vec![(0, vec![leaving])], &mut ids);
    assert_eq!(names(&third), ["10.0.0.9:1", "b1"]);
    let left = third.pools[0].backend("10.0.0.9:1").unwrap();
    assert_eq!((left.id, left.admin), (stays.id, Admin::Drain));
    let fourth = build(&spec, &third, &mut ids).unwrap();
    assert!(fourth.edition() > third.edition());
    assert!(Arc::ptr_eq(&fourth.pools[0], &third.pools[0]));
}

#[test]
fn members_stay_until_nothing_is_discovered_any_more() {
    let mut ids = IdSource::default();
    let spec = spec_with(discovering("web.internal:1"));
    let first = build(&spec, &Snapshot::empty(), &mut ids).unwrap();
    let first = first.regroup(vec![(0, vec![member("10.0.0.9:1")])], &mut ids);
    let other = spec_with(discovering("other.internal:1"));
    let second = build(&other, &first, &mut ids).unwrap();
    assert_eq!(names(&second), ["10.0.0.9:1", "b1"]);
    assert_eq!(second.pools[0].backends, first.pools[0].backends);
    let mut plain = discovering("x:1");
    plain.discover = DiscoverSpec::default();
    let third = build(&spec_with(plain), &second, &mut ids).unwrap();
    assert_eq!(names(&third), ["b1"]);
    assert!(third.pools[0].members.is_empty());
}

#[test]
fn a_pool_has_room_for_what_it_may_find() {
    let mut pool = discovering("web.internal:1");
    let many = u16::try_from(BACKENDS_PER_POOL_MAX - crate::spec::DISCOVERED_MAX).unwrap();
    pool.backend.clear();
    for port in 1..=many {
        let name = format!("b{port}").parse().unwrap();
        pool.backend.insert(name, backend(&format!("10.0.0.1:{port}")));
    }
    let fits = |pool: PoolSpec| {
        build(&spec_with(pool), &Snapshot::empty(), &mut IdSource::default()).is_ok()
    };
    assert!(fits(pool.clone()));
    pool.backend.insert("one-more".parse().unwrap(), backend("10.0.0.2:1"));
    assert!(!fits(pool.clone()));
    pool.discover = DiscoverSpec::default();
    assert!(fits(pool));
}

/// Weights in force of backends of which each has a weight and a part of it.
fn in_force(parts: &[(u16, Option<u16>)]) -> Vec<u16> {
    let mut pool = PoolSpec::default();
    pool.agent.port = Some(9);
    for (number, (weight, _)) in parts.iter().enumerate() {
        let address = format!("10.0.0.1:{}", number + 1).parse().unwrap();
        let backend = BackendSpec { weight: *weight, ..BackendSpec::new(address) };
        pool.backend.insert(format!("b{number}").parse().unwrap(), backend);
    }
    let mut ids = IdSource::default();
    let spec = Spec { pool: [("web".parse().unwrap(), pool.into())].into(), ..Spec::default() };
    let first = Snapshot::build(&spec, Version(1), &Snapshot::empty(), &mut ids).unwrap();
    let mark =
        |(_, percent): &(u16, Option<u16>)| AgentMark { percent: *percent, ..AgentMark::default() };
    let next = first.remark(vec![(0, parts.iter().map(mark).collect())]);
    assert_eq!(next.spec(), spec, "a mark is no configuration");
    assert_eq!(next.edition(), first.edition().regrouped());
    assert_eq!(next.pools[0].since, next.edition());
    let again = next.remark(vec![(0, vec![AgentMark::default(); parts.len()])]);
    let whole: Vec<u16> = again.backends().map(|(_, it)| it.weight).collect();
    assert_eq!(whole, parts.iter().map(|it| it.0).collect::<Vec<_>>(), "nothing is lost");
    next.backends().map(|(_, it)| it.weight).collect()
}

#[test]
fn parts_of_weights_are_exact_among_the_backends_of_a_pool() {
    for (parts, wanted) in [
        (&[(1, None), (1, None)][..], &[1, 1][..]),
        (&[(1, Some(75)), (1, None)], &[3, 4]),
        (&[(1, Some(75)), (1, Some(75))], &[1, 1]),
        (&[(1, Some(100)), (5, Some(100))], &[1, 5]),
        (&[(1, Some(0)), (1, None)], &[0, 1]),
        (&[(1, Some(0)), (1, Some(0))], &[0, 0]),
        (&[(0, Some(50)), (1, None)], &[0, 1]),
        (&[(0, Some(50)), (0, None)], &[0, 0]),
        (&[(2, Some(150)), (3, None)], &[1, 1]),
        (&[(1, Some(1)), (256, None)], &[1, 256]),
        (&[(256, Some(25_600)), (256, None)], &[1, 1]),
        (&[(3, Some(33)), (256, Some(77))], &[1, 256]),
        (&[(100, Some(73)), (100, None)], &[73, 100]),
    ] {
        assert_eq!(in_force(parts), wanted, "{parts:?}");
    }
}
