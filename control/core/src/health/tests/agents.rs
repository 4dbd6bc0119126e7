//! Agents: who is asked when, and that their words stand.

use super::*;
use crate::health::dialogue::AgentAnswer;
use weir_proto::snapshot::AgentMark;

const MS: u64 = 1_000_000;

fn at(ms: u64) -> Now {
    Now { nanos: ms * MS }
}

/// A pool without checks whose backends b1, b2 … are at these hosts, with agents at port 9.
fn asking(hosts: &[u8]) -> (HealthFixture, Health) {
    let addresses: Vec<_> = hosts.iter().map(|host| ([10, 0, 0, *host], 80).into()).collect();
    let spec = HealthSpec { kind: HealthKind::None, ..tcp() };
    let mut world = HealthFixture::new(spec, &addresses);
    world.change(|pool| pool.agent.port = Some(9));
    let mut health = Health::new();
    health.adopt(&world.snapshot, at(0));
    (world, health)
}

/// Answers every question that is due.
fn answer(health: &mut Health, ms: u64, line: &str) -> usize {
    let checks = health.take_due(at(ms));
    for check in &checks {
        let said = CheckOutcome::Said(Box::new(AgentAnswer::read(line.as_bytes())));
        health.on_checked(check, said, at(ms), at(ms));
    }
    checks.len()
}

fn fail(health: &mut Health, ms: u64) {
    for check in health.take_due(at(ms)) {
        let outcome = CheckOutcome::Bad("refused".to_owned());
        health.on_checked(&check, outcome, at(ms), at(ms));
    }
}

fn news(health: &mut Health) -> Vec<String> {
    health.take_agent_news().into_iter().map(|it| format!("{}: {}", it.backend, it.text)).collect()
}

#[test]
fn the_last_word_stands_while_an_agent_gives_none() {
    let (world, mut health) = asking(&[1]);
    let id = world.id("b1");
    assert_eq!(answer(&mut health, 100, "75% drain maxconn:30 # nightly"), 1);
    let mark = AgentMark { percent: Some(75), admin: Admin::Drain, max_sessions: Some(30) };
    assert_eq!(health.agent(id).unwrap().mark, mark);
    assert_eq!(health.agent(id).unwrap().words().unwrap(), "75%, maxconn:30, drain # nightly");
    assert_eq!(health.take_remarked(), Some(world.snapshot.pools[0].id));
    assert_eq!(news(&mut health), ["web/b1: its agent says 75%, maxconn:30, drain # nightly"]);
    for ms in [3_000, 6_000] {
        fail(&mut health, ms);
    }
    assert_eq!(health.agent(id).unwrap().mark, mark);
    assert_eq!(health.agent(id).unwrap().counts.failed, 2);
    assert_eq!(
        news(&mut health),
        ["web/b1: its agent does not answer: refused; its last word stands"],
        "once"
    );
    assert!(!health.has_remarked());
    answer(&mut health, 9_000, "maxconn:0 ready");
    let mark = AgentMark { percent: Some(75), ..AgentMark::default() };
    assert_eq!(health.agent(id).unwrap().mark, mark, "what it leaves out stays");
    assert_eq!(news(&mut health), ["web/b1: its agent answers", "web/b1: its agent says 75%"]);
    answer(&mut health, 12_000, "60% 70 bpm");
    assert_eq!(
        news(&mut health),
        ["web/b1: its agent says what weir does not know: 70 bpm"],
        "a weight alone is no news"
    );
}

#[test]
fn down_is_a_word_beside_checks_and_up_takes_it_back() {
    let (world, mut health) = asking(&[1, 2]);
    let (b1, b2) = (world.id("b1"), world.id("b2"));
    answer(&mut health, 100, "stopped # disk full");
    let reasons: Vec<String> = health.take_untold().into_iter().map(|it| it.reason).collect();
    assert_eq!(reasons, ["its agent says stopped, disk full", "its agent says stopped, disk full"]);
    assert_eq!([health.is_up(b1), health.is_up(b2)], [false, false]);
    assert_eq!(health.standing(b1), BackendHealth::Down);
    assert!(health.on_ejected(b1, ConnectFault::Refused, at(200)).is_empty());
    assert_eq!(health.end_hold(b1, at(300)), None, "an operator's ready is none of its agent's");
    answer(&mut health, 3_000, "20%");
    assert!(!health.is_up(b1), "it did not say up");
    answer(&mut health, 6_000, "up");
    assert_eq!([health.is_up(b1), health.is_up(b2)], [true, true]);
    assert_eq!(health.take_untold()[0].reason, "its agent says up");
}

#[test]
fn a_backend_is_up_if_neither_checks_nor_its_agent_say_otherwise() {
    let mut world = HealthFixture::new(tcp(), &[([10, 0, 0, 1], 80).into()]);
    world.change(|pool| pool.agent.port = Some(9));
    let mut health = Health::new();
    health.adopt(&world.snapshot, at(0));
    let id = world.id("b1");
    let run = |health: &mut Health, ms, good: bool, line: &str| {
        for check in health.take_due(at(ms)) {
            let outcome = match check.is_agent {
                true => CheckOutcome::Said(Box::new(AgentAnswer::read(line.as_bytes()))),
                false if good => CheckOutcome::Good,
                false => CheckOutcome::Bad("refused".to_owned()),
            };
            health.on_checked(&check, outcome, at(ms), at(ms));
        }
        health.is_up(id)
    };
    assert!(run(&mut health, 1_000, true, "up"));
    assert!(!run(&mut health, 4_000, true, "down"));
    for ms in [7_000, 10_000, 13_000, 16_000] {
        assert!(!run(&mut health, ms, true, "down"), "good checks do not bring it up");
    }
    for ms in [19_000, 22_000, 25_000] {
        assert!(!run(&mut health, ms, false, "down"));
    }
    assert!(!run(&mut health, 28_000, false, "up"), "its checks fail");
    assert!(!run(&mut health, 31_000, true, "up"));
    assert!(run(&mut health, 34_000, true, "up"));
}

#[test]
fn an_operator_wins() {
    let (mut world, mut health) = asking(&[1]);
    answer(&mut health, 100, "down");
    let id = world.id("b1");
    let b1: weir_proto::spec::Name = "b1".parse().unwrap();
    world.change(|pool| pool.backend.get_mut(&b1).unwrap().force = Some(Force::Up));
    health.adopt(&world.snapshot, at(200));
    assert!(health.is_up(id), "forced up");
    answer(&mut health, 3_000, "up");
    world.change(|pool| pool.backend.get_mut(&b1).unwrap().force = Some(Force::Down));
    health.adopt(&world.snapshot, at(3_100));
    answer(&mut health, 6_000, "up");
    assert!(!health.is_up(id), "forced down");
    // In maint it is not asked, and its word stands.
    world.change(|pool| {
        let b1 = pool.backend.get_mut(&b1).unwrap();
        (b1.force, b1.state) = (None, Admin::Maint);
    });
    health.adopt(&world.snapshot, at(6_100));
    assert_eq!(answer(&mut health, 60_000, "50%"), 0);
    assert!(health.agent(id).is_some() && health.unasked_agent().is_none());
    world.change(|pool| pool.backend.get_mut(&b1).unwrap().state = Admin::Ready);
    health.adopt(&world.snapshot, at(60_000));
    assert_eq!(answer(&mut health, 61_000, "50%"), 1);
}

#[test]
fn a_pool_that_asks_no_more_forgets() {
    let (mut world, mut health) = asking(&[1]);
    answer(&mut health, 100, "down 20%");
    health.take_untold();
    let id = world.id("b1");
    world.change(|pool| pool.agent.timeout = Span::from_millis(300));
    health.adopt(&world.snapshot, at(200));
    assert!(!health.is_up(id), "another question is to the same agent");
    world.change(|pool| pool.agent = Default::default());
    health.adopt(&world.snapshot, at(300));
    assert!(health.is_up(id) && health.agent(id).is_none());
    assert_eq!(health.take_untold()[0].reason, "its agent is asked no more");
    assert_eq!(answer(&mut health, 60_000, "down"), 0);
    world.change(|pool| pool.agent.port = Some(9));
    health.adopt(&world.snapshot, at(61_000));
    assert_eq!(*health.agent(id).unwrap(), AgentStanding::default());
}

#[test]
fn equal_agents_are_asked_once_and_count_against_the_rate() {
    let (mut world, mut health) = asking(&[1, 1, 2]);
    assert_eq!(answer(&mut health, 100, "50%"), 2);
    for name in ["b1", "b2", "b3"] {
        assert_eq!(health.agent(world.id(name)).unwrap().mark.percent, Some(50), "{name}");
    }
    world.change(|pool| pool.agent.address = Some("10.9.9.9".to_owned()));
    health.adopt(&world.snapshot, at(200));
    assert_eq!(answer(&mut health, 300, "40%"), 1, "one agent for all");
    assert_eq!(health.agent(world.id("b3")).unwrap().mark.percent, Some(40));
    health.limit_rate(Some(1));
    world.change(|pool| pool.agent.interval = Span::from_millis(100));
    health.adopt(&world.snapshot, at(400));
    assert_eq!(health.excess(), Some((10.0, 1)));
    let asked: usize = (10..20).map(|n| answer(&mut health, n * 500, "40%")).sum();
    assert!((4..=6).contains(&asked), "{asked} in five seconds");
    assert_eq!(health.unasked_agent(), None);
}

#[test]
fn an_answer_to_the_question_before_counts_no_more() {
    let (mut world, mut health) = asking(&[1]);
    let old = health.take_due(at(100));
    world.change(|pool| pool.agent.port = Some(10));
    health.adopt(&world.snapshot, at(200));
    assert!(health.take_due(at(1_000)).is_empty(), "the first is under way");
    let said = CheckOutcome::Said(Box::new(AgentAnswer::read(b"20%")));
    health.on_checked(&old[0], said, at(100), at(1_100));
    let id = world.id("b1");
    assert_eq!(health.agent(id).unwrap().mark, AgentMark::default());
    assert_eq!(answer(&mut health, 1_200, "30%"), 1, "at once by the other");
    assert_eq!(health.agent(id).unwrap().mark.percent, Some(30));
}

#[test]
fn shards_hear_of_an_unproven_backend_that_its_agent_calls_down() {
    let mut world = HealthFixture::new(tcp(), &[([10, 0, 0, 1], 80).into()]);
    world.change(|pool| pool.agent.port = Some(9));
    let mut health = Health::new();
    health.adopt(&world.snapshot, at(0));
    world.change(|pool| {
        let address = std::net::SocketAddr::from(([10, 0, 0, 2], 80));
        pool.backend.insert("b2".parse().unwrap(), BackendSpec::new(address.into()));
    });
    health.adopt(&world.snapshot, at(1));
    let id = world.id("b2");
    assert_eq!(health.standing(id), BackendHealth::Unproven);
    health.take_restated();
    for (ms, line, standing) in
        [(4_000, "down", BackendHealth::Down), (8_000, "up", BackendHealth::Unproven)]
    {
        for check in health.take_due(at(ms)).iter().filter(|check| check.is_agent) {
            let line = if check.id == id { line } else { "up" };
            let said = CheckOutcome::Said(Box::new(AgentAnswer::read(line.as_bytes())));
            health.on_checked(check, said, at(ms), at(ms));
        }
        assert_eq!(health.standing(id), standing);
        assert!(health.take_untold().iter().all(|it| it.id != id), "it was not up, and is not");
        assert!(health.take_restated().contains(&id), "{line}");
    }
}
