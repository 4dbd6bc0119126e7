//! Versions that wait for a confirmation.

use weir_proto::confirm::Confirm;

use super::*;

fn terms(guards: &[&str]) -> ChangeOptions {
    let guards = guards.iter().map(|guard| guard.parse().unwrap()).collect();
    let confirm = Some(Confirm { within_ms: 30_000, guards });
    ChangeOptions { confirm, ..ChangeOptions::default() }
}

/// Version 2, with weight 5, waits from 1,000 ms on.
fn waiting(guards: &[&str]) -> (Shell, FakeShards) {
    let (mut control, shards) = started();
    control.make_with(&weight(5), terms(guards), 1_000).unwrap();
    control.pump(1_010);
    control.answers.clear();
    (control, shards)
}

fn weight_in_force(control: &Shell) -> u16 {
    control.snapshot.pools[0].backends[0].weight
}

#[test]
fn an_unconfirmed_version_is_asked_back_at_its_time_and_again_if_that_fails() {
    let (mut control, _) = waiting(&[]);
    let row = control.unconfirmed(at(1_010).now).unwrap();
    assert_eq!((row.version, row.rolls_back_to, row.left_s.round()), (2, 1, 30.0));
    control.give(Input::Tick, 30_999);
    assert_eq!(control.ways_back, []);
    control.give(Input::Tick, 31_000);
    let why = "it was not confirmed within 30s".to_owned();
    assert_eq!(control.ways_back, [(2, 1, why)]);
    control.give(Input::Tick, 35_999);
    assert_eq!(control.ways_back.len(), 1);
    control.give(Input::Tick, 36_000);
    assert_eq!((control.ways_back.len(), control.rolled_back), (2, [1, 0]));
    let options = ChangeOptions { if_version: Some(2), ..ChangeOptions::default() };
    control.make_with(&ChangeRequest::Rollback { version: 1 }, options, 36_010).unwrap();
    assert_eq!((control.snapshot.version, weight_in_force(&control)), (Version(3), 1));
    assert_eq!(control.unconfirmed(at(36_010).now), None);
    control.give(Input::Tick, 90_000);
    assert_eq!(control.ways_back.len(), 2);
}

#[test]
fn a_confirmation_is_a_version_like_the_one_that_waited() {
    let (mut control, _) = waiting(&[]);
    control.make(&ChangeRequest::Confirm, 20_000).unwrap();
    assert_eq!((control.snapshot.version, weight_in_force(&control)), (Version(3), 5));
    assert_eq!(control.past(3).unwrap().summary, "version 2 is confirmed: no change");
    assert_eq!(control.past(2).unwrap().unconfirmed.unwrap().previous, 1);
    assert_eq!(control.past(3).unwrap().unconfirmed, None);
    control.give(Input::Tick, 90_000);
    assert_eq!(control.ways_back, []);
    control.pump(90_010);
    let refusal = control.make(&ChangeRequest::Confirm, 90_020).unwrap_err();
    assert_eq!(refusal.message, "no version waits for a confirmation");
}

#[test]
fn nothing_else_changes_while_a_version_waits() {
    let (mut control, _) = waiting(&[]);
    let refusal = control.make(&weight(9), 11_000).unwrap_err();
    assert_eq!(refusal.code, Code::Conflict);
    let message = "version 2 is not confirmed yet: in 20 s it is rolled back to 1";
    assert_eq!(refusal.message, message);
    assert_eq!(refusal.hint, "weirctl config confirm, or weirctl config rollback 1");
    let other = control.make(&ChangeRequest::Rollback { version: 2 }, 11_010).unwrap_err();
    assert_eq!(other.code, Code::Conflict);
    let dry = ChangeOptions { dry_run: true, ..ChangeOptions::default() };
    control.make_with(&weight(9), dry, 11_020).unwrap();
    control.make(&ChangeRequest::Rollback { version: 1 }, 11_030).unwrap();
    assert_eq!(weight_in_force(&control), 1);
    control.pump(11_040);
    control.make(&weight(9), 11_050).unwrap();
}

#[test]
fn terms_that_make_no_sense_are_refused() {
    let (mut control, _) = started();
    for within_ms in [0, 999, 86_400_001] {
        let confirm = Some(Confirm { within_ms, guards: Vec::new() });
        let options = ChangeOptions { confirm, ..ChangeOptions::default() };
        let refusal = control.make_with(&weight(5), options, 10).unwrap_err();
        assert_eq!((refusal.code, control.snapshot.version), (Code::Invalid, Version(1)));
    }
    control.make_with(&weight(1), terms(&[]), 10).unwrap();
    assert_eq!(control.unconfirmed(at(10).now), None, "nothing has changed");
}

#[test]
fn a_backend_that_goes_down_trips_the_guard_of_its_pool_and_one_that_was_down_does_not() {
    let (mut control, shards) = waiting(&["healthy=80%"]);
    control.give(Input::Tick, 2_000);
    assert_eq!(control.ways_back, []);
    let backend = control.snapshot.pools[0].backends[0].id;
    let fault = weir_proto::reason::ConnectFault::Refused;
    shards.report(Report::Ejected { shard: ShardId(0), backend, fault });
    control.pump(2_010);
    control.give(Input::Tick, 2_020);
    let (version, to, why) = control.ways_back.pop().unwrap();
    assert_eq!((version, to), (2, 1));
    assert!(why.ends_with("backends of pool web are down (healthy=80%)"), "{why}");
    assert_eq!(control.rolled_back, [0, 1]);
    control.make(&ChangeRequest::Rollback { version: 1 }, 2_030).unwrap();
    control.pump(2_040);
    control.make_with(&weight(5), terms(&["healthy=80%"]), 2_050).unwrap();
    control.give(Input::Tick, 2_060);
    assert_eq!(control.ways_back, [], "it was down before");
}
