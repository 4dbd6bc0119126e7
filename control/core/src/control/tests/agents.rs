//! The words of agents go to the shards as editions, between changes, and are no version.

use super::*;
use crate::health::CheckOutcome;
use crate::health::dialogue::AgentAnswer;
use weir_proto::spec::Admin;

/// Control whose pool `web` has `b1` and `b2`, no checks, and agents.
fn asking() -> (Shell, FakeShards) {
    let (mut control, shards) = started();
    let pairs = vec![
        ("health.kind".into(), "none".into()),
        ("agent.port".into(), "9999".into()),
        ("agent.interval".into(), "10ms".into()),
    ];
    control.make(&ChangeRequest::PoolSet { name: "web".into(), pairs }, 5).unwrap();
    control.pump(6);
    assert_eq!(control.answered().len(), 1);
    shards.take_sent();
    (control, shards)
}

/// Answers every question that is due: b1's agent says the first line, b2's the second.
fn answer(control: &mut Shell, ms: u64, lines: [&str; 2]) {
    control.give(Input::Wake, ms);
    for check in std::mem::take(&mut control.checks) {
        let b1 = control.snapshot.pool("web").unwrap().backend("b1").unwrap().address;
        let is_first = b1.ip().map(|it| it.ip()) == check.plan.address.ip().map(|it| it.ip());
        let line = if is_first { lines[0] } else { lines[1] };
        let outcome = CheckOutcome::Said(Box::new(AgentAnswer::read(line.as_bytes())));
        control.give(Input::Checked { check, outcome, started: at(ms).now }, ms);
    }
}

/// Weight, state and limit in force.
fn in_force(control: &Shell, name: &str) -> (u16, Admin, Option<u32>) {
    let backend = control.snapshot.pool("web").unwrap().backend(name).unwrap();
    (backend.weight, backend.admin, backend.max_sessions)
}

#[test]
fn what_agents_say_is_an_edition_and_no_version() {
    let (mut control, shards) = asking();
    let (spec, versions) = (control.snapshot.spec(), control.history(None, 9).unwrap().len());
    answer(&mut control, 1_000, ["75% maxconn:7", "drain"]);
    control.give(Input::Wake, 1_200);
    assert_eq!(in_force(&control, "b1"), (3, Admin::Ready, Some(7)), "3 of 4 parts");
    assert_eq!(in_force(&control, "b2"), (4, Admin::Drain, None));
    assert!(!shards.take_sent().is_empty(), "shards have it");
    control.pump(1_201);
    assert!(control.rollout.is_done());
    assert_eq!(control.snapshot.version, Version(2));
    assert_eq!(control.snapshot.spec(), spec);
    assert_eq!(control.history(None, 9).unwrap().len(), versions);
    // A version keeps the marks, and changes what they are a part of.
    control.make(&weight(2), 1_300).unwrap();
    assert_eq!(control.snapshot.version, Version(3));
    let pool = control.snapshot.pool("web").unwrap();
    let parts: Vec<_> = pool.backends.iter().map(|it| (it.weight, it.configured.weight)).collect();
    assert!([[(3, 2), (2, 1)], [(3, 1), (8, 2)]].contains(&[parts[0], parts[1]]), "{parts:?}");
    assert_eq!(in_force(&control, "b2").1, Admin::Drain);
}

#[test]
fn an_operators_word_goes_before_an_agents() {
    let (mut control, _shards) = asking();
    let state = |state| ChangeRequest::BackendState { name: "web/b1".into(), state };
    control.make(&state(Admin::Drain), 100).unwrap();
    control.pump(101);
    answer(&mut control, 1_000, ["ready", "ready"]);
    assert_eq!(in_force(&control, "b1").1, Admin::Drain);
    answer(&mut control, 2_000, ["maint", "ready"]);
    control.give(Input::Wake, 2_200);
    assert_eq!(in_force(&control, "b1").1, Admin::Drain, "the operator's, not the agent's");
    control.make(&state(Admin::Ready), 2_300).unwrap();
    control.pump(2_301);
    assert_eq!(in_force(&control, "b1").1, Admin::Maint, "what is left is the agent's");
    answer(&mut control, 3_000, ["ready", "ready"]);
    assert_eq!(in_force(&control, "b1").1, Admin::Ready, "in an agent's maint it is asked");
    control.pump(3_100);
    let limit = ("max-sessions".to_owned(), "5".to_owned());
    let request = ChangeRequest::BackendSet { name: "web/b1".into(), pairs: vec![limit] };
    control.make(&request, 3_200).unwrap();
    control.pump(3_201);
    answer(&mut control, 4_000, ["maxconn:9", ""]);
    assert_eq!(in_force(&control, "b1").2, Some(5), "the lower limit counts");
    answer(&mut control, 5_000, ["maxconn:3", ""]);
    assert_eq!(in_force(&control, "b1").2, Some(3));
}

#[test]
fn a_word_waits_for_the_change_that_is_under_way() {
    let (mut control, _shards) = asking();
    control.give(Input::Wake, 1_000);
    let change = control.ask(&weight(5), 1_001);
    answer(&mut control, 1_002, ["drain", ""]);
    assert_eq!(in_force(&control, "b1").1, Admin::Ready, "its plan knows nothing of it");
    assert!(control.next_wake().is_none_or(|at| at.nanos > 1_002_000_000), "it does not spin");
    control.append(1_003);
    control.pump(1_004);
    control.give(Input::Wake, 1_005);
    assert_eq!(control.answered(), [change]);
    assert_eq!((in_force(&control, "b1").1, control.snapshot.version), (Admin::Drain, Version(3)));
}

#[test]
fn many_words_are_few_editions() {
    let (mut control, _shards) = asking();
    let first = control.snapshot.edition().regroupings;
    for step in 0..100_u64 {
        let line = format!("{}%", 1 + step % 90);
        answer(&mut control, 1_000 + 10 * step, [&line, ""]);
    }
    let made = control.snapshot.edition().regroupings - first;
    assert!((8..=11).contains(&made), "{made} in a second");
    control.give(Input::Wake, 2_200);
    let backend = control.snapshot.pool("web").unwrap().backend("b1").unwrap();
    let last = control.health.agent(backend.id).unwrap().mark;
    assert_eq!(backend.mark, last, "and the last word is in force");
}

#[test]
fn a_pool_that_asks_no_more_forgets_and_so_does_a_start() {
    let (mut control, _shards) = asking();
    answer(&mut control, 1_000, ["10% drain maxconn:1 down", ""]);
    control.give(Input::Wake, 1_200);
    assert_eq!(in_force(&control, "b1").1, Admin::Drain);
    let restored = control.past(2).unwrap().spec;
    let again = Snapshot::build(&restored, Version(2), &Snapshot::empty(), &mut control.ids());
    assert!(again.unwrap().backends().all(|(_, it)| it.mark.is_empty()), "the disk knows nothing");
    let pairs = vec![
        ("agent.port".to_owned(), String::new()),
        ("agent.interval".to_owned(), String::new()),
    ];
    control.make(&ChangeRequest::PoolSet { name: "web".into(), pairs }, 1_300).unwrap();
    control.pump(1_301);
    control.give(Input::Wake, 1_500);
    assert_eq!(in_force(&control, "b1"), (1, Admin::Ready, None));
    let id = control.snapshot.pool("web").unwrap().backend("b1").unwrap().id;
    assert!(control.health.is_up(id) && control.health.agent(id).is_none());
}
