//! Who is checked when, with times and outcomes as arguments.

use super::*;
use weir_proto::spec::PoolSpec;

const SECOND: u64 = 1_000_000_000;

fn at(secs: u64) -> Now {
    Now { nanos: secs * SECOND }
}

fn addresses(count: u16) -> Vec<std::net::SocketAddr> {
    (1..=count).map(|port| ([127, 0, 0, 1], port).into()).collect()
}

fn bad(why: &str) -> CheckOutcome {
    CheckOutcome::Bad(why.to_owned())
}

/// Makes every check that is due at `now`, each with `outcome`, and gives the transitions.
fn run(health: &mut Health, outcome: &CheckOutcome, now: Now) -> Vec<(bool, String)> {
    for check in health.take_due(now) {
        health.on_checked(&check, outcome.clone(), now, now);
    }
    health.take_untold().into_iter().map(|change| (change.up, change.reason)).collect()
}

#[test]
fn a_new_backend_is_up_pending_and_checked_soon() {
    let world = HealthFixture::new(tcp(), &addresses(1));
    let mut health = Health::new();
    health.adopt(&world.snapshot, at(5));
    let id = world.id("b1");
    assert!(health.is_up(id));
    assert_eq!(
        health.row(id, at(7)),
        CheckRow { result: CheckResult::Pending, since_s: 2.0, hold_s: 0.0 }
    );
    assert!(health.next_due().unwrap().nanos <= at(5).nanos + 1_000_000);
    assert_eq!(run(&mut health, &bad("refused"), at(6)), [(false, "refused".to_owned())]);
    assert!(!health.is_up(id));
    assert_eq!(
        health.row(id, at(9)),
        CheckRow { result: CheckResult::Failed("refused".into()), since_s: 3.0, hold_s: 0.0 }
    );
    let counters = health.counters(id).unwrap();
    assert_eq!((counters.ok, counters.fail, counters.transitions), (0, 1, 1));
}

#[test]
fn checks_come_at_the_interval_give_or_take_a_tenth_and_never_two_at_once() {
    let world = HealthFixture::new(tcp(), &addresses(1));
    let mut health = Health::new();
    health.adopt(&world.snapshot, at(0));
    let mut now = health.next_due().unwrap();
    let mut gaps = std::collections::BTreeSet::new();
    for _ in 0..200 {
        let checks = health.take_due(now);
        assert_eq!(checks.len(), 1);
        assert!(health.take_due(now).is_empty());
        health.on_checked(&checks[0], CheckOutcome::Good, now, now);
        let next = health.next_due().unwrap();
        let gap = next.nanos - now.nanos;
        assert!((1_800_000_000..=2_200_000_000).contains(&gap), "{gap}");
        gaps.insert(gap);
        now = next;
    }
    assert!(gaps.len() > 150, "the jitter is no jitter: {} gaps", gaps.len());

    let slow = health.take_due(now);
    assert!(health.take_due(later(now, 10 * SECOND)).is_empty(), "one is still on its way");
    let end = later(now, 11 * SECOND);
    health.on_checked(&slow[0], CheckOutcome::Good, now, end);
    assert_eq!(health.next_due(), Some(end), "the late one follows at once");
}

#[test]
fn no_more_checks_are_in_flight_than_the_descriptors_allow() {
    let world = HealthFixture::new(tcp(), &addresses(600));
    let mut health = Health::new();
    health.bound_checks(256);
    health.adopt(&world.snapshot, at(0));
    let checks = health.take_due(at(1));
    assert_eq!((checks.len(), health.take_due(at(1)).len()), (256, 0));
    assert_eq!(health.next_due(), None);
    health.on_checked(&checks[0], CheckOutcome::Good, at(1), at(1));
    assert_eq!(health.take_due(at(1)).len(), 1);
}

#[test]
fn first_checks_are_spread() {
    let world = HealthFixture::new(tcp(), &addresses(1000));
    let mut health = Health::new();
    health.adopt(&world.snapshot, at(0));
    let mut busiest = [0; 100];
    for watched in health.watched.values() {
        let Some(Due::Check(due)) = watched.due else { panic!("it is checked") };
        busiest[usize::try_from(due.nanos / 1_000_000).unwrap()] += 1;
    }
    assert!(busiest.iter().all(|count| *count < 40), "{busiest:?}");
}

#[test]
fn local_faults_count_for_nothing() {
    let world = HealthFixture::new(tcp(), &addresses(1));
    let (mut health, id) = (Health::new(), world.id("b1"));
    health.adopt(&world.snapshot, at(0));
    for turn in 1..10 {
        let outcome = CheckOutcome::Local("no file descriptors left".to_owned());
        assert_eq!(run(&mut health, &outcome, at(turn * 10)), []);
    }
    assert!(health.is_up(id));
    assert_eq!(health.row(id, at(99)).result.as_str(), "local: no file descriptors left");
    assert_eq!(health.counters(id).unwrap().fail, 0);
    assert_eq!(health.on_ejected(id, ConnectFault::Local, at(100)), []);
    assert!(health.is_up(id));
}

#[test]
fn an_ejection_takes_down_once_and_later_checks_contradict_it() {
    let world = HealthFixture::new(tcp(), &addresses(2));
    let (mut health, id) = (Health::new(), world.id("b1"));
    health.adopt(&world.snapshot, at(0));
    run(&mut health, &CheckOutcome::Good, at(1));
    let early = health.take_due(at(4));
    let changes = health.on_ejected(id, ConnectFault::Refused, at(5));
    assert_eq!(changes.len(), 1);
    assert_eq!((changes[0].pool.as_str(), changes[0].backend.as_str()), ("web", "b1"));
    assert_eq!((changes[0].up, changes[0].reason.as_str()), (false, "refused"));
    assert_eq!(health.on_ejected(id, ConnectFault::Refused, at(5)), []);
    for check in early {
        health.on_checked(&check, CheckOutcome::Good, at(4), at(6));
    }
    assert_eq!(run(&mut health, &CheckOutcome::Good, at(8)), [], "the one at 4 began before");
    assert_eq!(run(&mut health, &CheckOutcome::Good, at(11)), [(true, "ok".to_owned())]);
    assert_eq!(health.row(id, at(11)).result.as_str(), "ok");
}

#[test]
fn ejections_of_several_shards_leave_half_of_the_pool() {
    let world = HealthFixture::new(tcp(), &addresses(5));
    let mut health = Health::new();
    health.adopt(&world.snapshot, at(0));
    let names = ["b1", "b2", "b3", "b4", "b5"];
    let ejected = |health: &mut Health, name| {
        health.on_ejected(world.id(name), ConnectFault::Refused, at(1)).len()
    };
    assert_eq!(names.map(|name| ejected(&mut health, name)), [1, 1, 0, 0, 0]);
    assert!(health.is_up(world.id("b3")), "its shard is told so");
    // Checks may take down the rest.
    assert_eq!(run(&mut health, &bad("refused"), at(2)).len(), 3);
}

#[test]
fn without_checks_an_ejection_ends_by_itself() {
    let none = HealthSpec { kind: HealthKind::None, ..tcp() };
    let world = HealthFixture::new(none, &addresses(2));
    let (mut health, id) = (Health::new(), world.id("b1"));
    health.adopt(&world.snapshot, at(0));
    assert_eq!((health.row(id, at(0)).result.as_str(), health.next_due()), ("off", None));
    assert_eq!(health.on_ejected(id, ConnectFault::Timeout, at(1)).len(), 1);
    assert_eq!(health.row(id, at(2)).result.as_str(), "timeout");
    assert_eq!(health.next_due(), Some(at(11)));
    health.adopt(&world.snapshot, at(3));
    assert_eq!(health.next_due(), Some(at(11)), "a new version does not end it");
    assert_eq!(run(&mut health, &CheckOutcome::Good, at(11)), [(true, "tried again".to_owned())]);
    assert_eq!(health.row(id, at(11)).result.as_str(), "off");
}

#[test]
fn maint_is_not_checked_and_ready_is_checked_at_once() {
    let mut world = HealthFixture::new(tcp(), &addresses(1));
    let (mut health, id) = (Health::new(), world.id("b1"));
    health.adopt(&world.snapshot, at(0));
    run(&mut health, &bad("refused"), at(1));
    let set =
        |state| move |pool: &mut PoolSpec| pool.backend.values_mut().next().unwrap().state = state;
    health.adopt(world.change(set(Admin::Maint)), at(2));
    assert_eq!((health.next_due(), health.row(id, at(2)).result.as_str()), (None, "off"));
    health.adopt(world.change(set(Admin::Ready)), at(3));
    assert!(!health.is_up(id), "what was known stands until a check says otherwise");
    assert_eq!(health.row(id, at(3)).result.as_str(), "pending");
    assert_eq!(run(&mut health, &CheckOutcome::Good, at(4)), [(true, "ok".to_owned())]);
    health.adopt(world.change(set(Admin::Drain)), at(5));
    assert!(health.next_due().is_some(), "a draining one is checked on");
}

#[test]
fn switching_checks_off_brings_up_what_was_down() {
    let mut world = HealthFixture::new(tcp(), &addresses(1));
    let (mut health, id) = (Health::new(), world.id("b1"));
    health.adopt(&world.snapshot, at(0));
    run(&mut health, &bad("refused"), at(1));
    health.adopt(world.change(|pool| pool.health.kind = HealthKind::None), at(2));
    assert!(health.is_up(id));
    assert_eq!(run(&mut health, &CheckOutcome::Good, at(2)), [(true, "not checked".to_owned())]);
}

#[test]
fn a_new_spec_begins_again_and_an_old_answer_is_dropped() {
    let mut world = HealthFixture::new(tcp(), &addresses(1));
    let (mut health, id) = (Health::new(), world.id("b1"));
    health.adopt(&world.snapshot, at(0));
    let old = health.take_due(at(1));
    health.adopt(world.change(|pool| pool.health.kind = HealthKind::Http), at(2));
    health.on_checked(&old[0], bad("refused"), at(1), at(3));
    assert!(health.is_up(id));
    let new = health.take_due(at(4));
    assert_eq!(new.len(), 1, "the new check waits for nothing but the old one's end");
    health.on_checked(&new[0], bad("status 503"), at(4), at(4));
    assert!(!health.is_up(id));

    let gone = health.take_due(at(100));
    health.adopt(world.change(|pool| pool.backend.clear()), at(101));
    health.on_checked(&gone[0], CheckOutcome::Good, at(100), at(102));
    assert_eq!((health.next_due(), health.schedule.in_flight()), (None, 0));
}

/// The prober sleeps until what was next when it went to sleep, or until that changes: where
/// nothing is checked, the ends of holds are what is next.
#[test]
fn an_ejection_and_the_end_of_its_hold_change_what_is_next() {
    let world = HealthFixture::new(HealthSpec { kind: HealthKind::None, ..tcp() }, &addresses(4));
    let mut health = Health::new();
    health.adopt(&world.snapshot, at(0));
    assert_eq!(health.next_due(), None);
    assert_eq!(health.on_ejected(world.id("b1"), ConnectFault::Timeout, at(1)).len(), 1);
    assert!(health.next_due().is_some());
    assert!(health.end_hold(world.id("b1"), at(2)).is_some());
    assert_eq!(health.next_due(), None);
}
