//! Backends that have one address share their checks, whatever becomes of each of them.

use super::*;
use weir_core::base::prng::Prng;

const MS: u64 = 1_000_000;

fn at(ms: u64) -> Now {
    Now { nanos: ms * MS }
}

fn address(port: u16) -> std::net::SocketAddr {
    ([127, 0, 0, 1], port).into()
}

fn down() -> CheckOutcome {
    CheckOutcome::Bad("refused".to_owned())
}

/// A pool whose backends b1, b2 … are at these ports.
fn watching(ports: &[u16]) -> (HealthFixture, Health) {
    let addresses: Vec<_> = ports.iter().map(|port| address(*port)).collect();
    let world = HealthFixture::new(tcp(), &addresses);
    let mut health = Health::new();
    health.adopt(&world.snapshot, at(0));
    (world, health)
}

fn ports(checks: &[Check]) -> Vec<u16> {
    let mut ports: Vec<u16> = checks.iter().filter_map(|check| check.plan.address.port()).collect();
    ports.sort_unstable();
    ports
}

#[test]
fn one_check_is_made_for_all_of_an_address_and_all_hear_of_it() {
    let (world, mut health) = watching(&[1, 1, 2, 1]);
    let checks = health.take_due(at(100));
    assert_eq!(ports(&checks), [1, 2]);
    assert!(health.take_due(at(100)).is_empty());
    for check in &checks {
        let outcome =
            if check.plan.address.port() == Some(1) { down() } else { CheckOutcome::Good };
        health.on_checked(check, outcome, at(100), at(101));
    }
    for (name, is_up) in [("b1", false), ("b2", false), ("b3", true), ("b4", false)] {
        assert_eq!(health.is_up(world.id(name)), is_up, "{name}");
        let counters = health.counters(world.id(name)).unwrap();
        assert_eq!(counters.ok + counters.fail, 1, "{name}");
    }
    assert_eq!(ports(&health.take_due(at(2500))), [1, 2], "and again together");
}

#[test]
fn another_setting_is_another_check_at_once() {
    let (mut world, mut health) = watching(&[1, 1]);
    let old = health.take_due(at(100));
    world.change(|pool| pool.health.timeout = Span::from_millis(700));
    health.adopt(&world.snapshot, at(101));
    let led = usize::from(old[0].id == world.id("b2"));
    let free = [world.id("b2"), world.id("b1")][led];
    let new = health.take_due(at(200));
    assert_eq!(new.len(), 1, "the one that waited for the other's check waits no more");
    assert_eq!(new[0].id, free);
    health.on_checked(&old[0], down(), at(100), at(201));
    assert!(health.is_up(old[0].id) && health.is_up(free), "nobody asks for that any more");
    health.on_checked(&new[0], down(), at(200), at(202));
    assert!(!health.is_up(free));
}

#[test]
fn a_check_from_another_address_is_another_check() {
    let (mut world, mut health) = watching(&[1, 2]);
    let [old, _] = health.take_due(at(100)).try_into().expect("one for each address");
    assert!(old.plan.sources.is_empty());
    health.on_checked(&old, CheckOutcome::Good, at(100), at(101));
    world.change(|pool| pool.source = Some("::1,127.0.0.5,127.0.0.4".parse().unwrap()));
    health.adopt(&world.snapshot, at(102));
    let [new] = health.take_due(at(200)).try_into().expect("the other's check is in flight");
    let sources = new.plan.sources.iter().map(ToString::to_string).collect::<Vec<_>>();
    assert_eq!(sources, ["127.0.0.5", "127.0.0.4"], "those of its family, in order");
    assert!(*new.plan != *old.plan);
}

#[test]
fn the_others_hear_of_a_check_whose_backend_is_gone() {
    let (mut world, mut health) = watching(&[1, 1, 2]);
    let check = health.take_due(at(100)).into_iter().find(|it| it.plan.address.port() == Some(1));
    let check = check.unwrap();
    let is_first = check.id == world.id("b1");
    let (gone, stays) = if is_first { ("b1", "b2") } else { ("b2", "b1") };
    world.change(|pool| assert!(pool.backend.remove(gone).is_some()));
    health.adopt(&world.snapshot, at(101));
    health.on_checked(&check, down(), at(100), at(102));
    assert!(!health.is_up(world.id(stays)));
    assert_eq!(ports(&health.take_due(at(2500))).iter().filter(|port| **port == 1).count(), 1);
}

#[test]
fn intervals_follow_the_state() {
    let health_spec = HealthSpec {
        fast_interval: Some(Span::from_millis(500)),
        down_interval: Some(Span::from_secs(10)),
        ..tcp()
    };
    let world = HealthFixture::new(health_spec.clone(), &[address(1)]);
    let mut health = Health::new();
    health.adopt(&world.snapshot, at(0));
    let mut now = health.next_due().unwrap();
    let mut gap = |outcome: CheckOutcome| {
        let checks = health.take_due(now);
        health.on_checked(&checks[0], outcome, now, now);
        let next = health.next_due().unwrap();
        let gap = next.nanos - core::mem::replace(&mut now, next).nanos;
        gap as f64 / 1e9
    };
    let near = |gap: f64, wanted: f64| (gap / wanted - 1.0).abs() <= 0.11;
    let (good, bad) = (CheckOutcome::Good, down());
    assert!(near(gap(good.clone()), 2.0), "it is up");
    assert!(near(gap(bad.clone()), 0.5), "one of three failures");
    assert!(near(gap(bad.clone()), 0.5), "two of three");
    assert!(near(gap(bad.clone()), 10.0), "it is down");
    assert!(near(gap(bad), 10.0));
    assert!(near(gap(good.clone()), 0.5), "one of two successes");
    assert!(near(gap(good), 2.0), "it is up again");
    let most = health.detection(&health_spec).unwrap().as_secs_f64();
    assert!((3.7..3.9).contains(&most), "2.2 s, two times 0.55 s and the timeout: {most}");
}

#[test]
fn a_cap_makes_detection_slower_and_says_so() {
    let (world, mut health) = watching(&[1, 2, 3, 4, 4]);
    assert_eq!(health.excess(), None);
    health.limit_rate(Some(1));
    let (wanted, most) = health.excess().unwrap();
    assert_eq!((wanted.round(), most), (2.0, 1), "four addresses every two seconds");
    let spec = &world.snapshot.pools[0].health;
    let late = health.detection(spec).unwrap().as_secs_f64();
    assert!((13.6..13.8).contains(&late), "three intervals of 4.4 s: {late}");
    health.limit_rate(None);
    let usual = health.detection(spec).unwrap().as_secs_f64();
    assert!((7.0..7.2).contains(&usual), "{usual}");
}

/// Backends and settings come and go while checks are in flight.
#[test]
fn no_two_checks_of_one_plan_are_in_flight_and_none_is_forgotten() {
    for seed in 0..200 {
        let mut prng = Prng::new(seed);
        let mut below = |count: u64| prng.next_u64() % count;
        let (mut world, mut health) = watching(&[1, 1, 2, 2, 3, 3]);
        let mut flying: Vec<(Check, Now)> = Vec::new();
        for step in 1..200 {
            let now = at(step * 100);
            match below(6) {
                0 => {
                    let timeout = Span::from_millis(500 + below(2));
                    world.change(|pool| pool.health.timeout = timeout);
                    health.adopt(&world.snapshot, now);
                }
                1 => {
                    let name = format!("b{}", 1 + below(6)).parse().unwrap();
                    let address = address(u16::try_from(1 + below(3)).unwrap());
                    let is_gone = below(2) == 0;
                    let admin = if below(4) == 0 { Admin::Maint } else { Admin::Ready };
                    world.change(|pool| {
                        pool.backend.remove(&name);
                        if !is_gone {
                            let spec =
                                BackendSpec { state: admin, ..BackendSpec::new(address.into()) };
                            pool.backend.insert(name, spec);
                        }
                    });
                    health.adopt(&world.snapshot, now);
                }
                2 | 3 if !flying.is_empty() => {
                    let index = usize::try_from(below(flying.len() as u64)).unwrap();
                    let (check, started) = flying.swap_remove(index);
                    let outcome = if below(2) == 0 { CheckOutcome::Good } else { down() };
                    health.on_checked(&check, outcome, started, now);
                }
                _ => flying.extend(health.take_due(now).into_iter().map(|check| (check, now))),
            }
            for (index, (one, _)) in flying.iter().enumerate() {
                let same = |(other, _): &(Check, Now)| other.plan == one.plan;
                assert!(!flying[index + 1..].iter().any(same), "seed {seed}, step {step}");
            }
        }
        // Each backend that is checked hears of the next checks.
        let checked = |health: &Health, id: BackendId| {
            health.counters(id).map_or(0, |counters| counters.ok + counters.fail)
        };
        let ids: Vec<BackendId> =
            world.snapshot.backends().map(|(_, backend)| backend.id).collect();
        let before: Vec<u64> = ids.iter().map(|id| checked(&health, *id)).collect();
        for step in 0..100 {
            let now = at(30_000 + step * 100);
            flying.extend(health.take_due(now).into_iter().map(|check| (check, now)));
            for (check, started) in flying.drain(..) {
                health.on_checked(&check, CheckOutcome::Good, started, now);
            }
        }
        for ((_, backend), before) in world.snapshot.backends().zip(before) {
            let more = checked(&health, backend.id) - before;
            let is_checked = backend.admin != Admin::Maint;
            assert_eq!(more >= 4, is_checked, "seed {seed}: {} has {more} more", backend.name);
            assert!(more <= 7, "seed {seed}: {} is checked too often: {more}", backend.name);
        }
    }
}
