//! The process before: it refuses what would change something. The next one: what goes on in it.

use super::*;

#[test]
fn a_drain_without_an_end_stays_one() {
    let (mut before, _) = started();
    before.give(Input::Drain { until: None }, 100);
    let (mut heir, shards) = handed_over(&mut before, 200);
    assert_eq!(heir.phase, Phase::Draining { until: None });
    assert!(shards.take_sent().contains(&"1 drain".to_owned()));
    heir.give(Input::Ready { id: ChangeId(5) }, 300);
    assert!(heir.is_serving());
}

#[test]
fn tasks_go_on_once_sessions_have_come_and_a_kill_ends() {
    let (mut before, shards) = started();
    let name = || "web/b1".to_owned();
    let drain = ChangeRequest::BackendState { name: name(), state: Admin::Drain };
    before.make(&drain, 2).unwrap();
    let id = id_of(&before, "b1");
    shards.set_sessions(&[(id, 40)]);
    before.give(Input::Tick, 250);
    before.pump(260);
    let request = TaskRequest::BackendDrain { name: name(), over_ms: 60_000 };
    before.give(Input::Task { id: ChangeId(77), request }, 300);
    before.give(Input::Tick, 500);
    before.pump(510);
    before.give(Input::Tick, 6_000);
    let row = before.tasks.iter().next().unwrap().row(at(6_000).now);
    assert_eq!((row.total, row.eta_s), (80, Some(54.3)));
    let legacy = legacy_of(&mut before, 6_000);
    let fresh = FakeShards::new(2);
    let mut heir = heir(&before, legacy.clone(), &fresh, 6_000);
    // No session has come yet: it is not done.
    for ms in [6_250, 6_500, 7_500] {
        heir.give(Input::Tick, ms);
        heir.pump(ms);
    }
    let row = |control: &Control, ms| control.tasks.iter().next().unwrap().row(at(ms).now);
    assert_eq!(row(&heir, 6_000), row(&before, 6_000));
    inherit(&mut heir, &before, &legacy, 7_600);
    fresh.set_sessions(&[(id, 30)]);
    fresh.take_sent();
    for ms in (7_750..20_000).step_by(250) {
        heir.give(Input::Tick, ms);
        heir.pump(ms);
    }
    assert!(row(&heir, 20_000).done >= 20, "{:?}", row(&heir, 20_000));
    assert!(fresh.take_sent().iter().any(|it| it.contains("shed")));
    let next = heir.control.tasks.number();
    assert!(next > row(&heir, 20_000).id, "numbers go on");
}

#[test]
fn a_kept_group_and_the_history_of_a_backend_go_on() {
    let (mut before, _) = checked();
    let mut make = |request: ChangeRequest, ms| {
        before.make_with_yes(&request, ms).unwrap();
        before.pump(ms);
    };
    let pairs = |key: &str, value: &str| vec![(key.to_owned(), value.to_owned())];
    let name = "web".to_owned();
    make(ChangeRequest::PoolSet { name, pairs: pairs("failover", "stay") }, 2_010);
    let name = "web/b2".to_owned();
    make(ChangeRequest::BackendSet { name, pairs: pairs("priority", "1") }, 2_020);
    end_checks(&mut before, |_| true, 2_030);
    let b1 = id_of(&before, "b1");
    let (shard, fault) = (ShardId(0), ConnectFault::Refused);
    let ejected = || Input::Report(Report::Ejected { shard, backend: b1, fault });
    before.give(ejected(), 3_000);
    for ms in [10_000, 17_000, 24_000] {
        before.give(Input::Wake, ms);
        end_checks(&mut before, |_| true, ms + 1);
    }
    assert!(before.health.is_up(b1) && before.health.is_aside(b1), "b2's group is kept");
    let (mut heir, _) = handed_over(&mut before, 25_000);
    assert!(heir.health.is_up(b1) && heir.health.is_aside(b1), "and it is kept on");
    // It is the second time that it goes down.
    for control in [&mut before, &mut heir] {
        control.give(ejected(), 26_000);
        let hold = control.health.hold_left(b1, at(26_000).now);
        assert_eq!(hold.map(|hold| hold.as_secs()), Some(10));
    }
}

#[test]
fn nothing_begins_while_it_hands_over_and_all_goes_on_if_that_fails() {
    let (mut control, _) = started();
    // A change is under way, and one waits.
    let (first, second) = (control.ask(&weight(5), 10), control.ask(&weight(6), 11));
    control.give(Input::HandOverBegins { id: UPGRADE }, 12);
    assert_eq!(control.ready, [0; 0], "the first one is not durable yet");
    let code = |control: &mut Shell| {
        let (id, result) = control.answers.pop_front().expect("it is answered");
        (id, result.map(drop).map_err(|refusal| refusal.code))
    };
    assert_eq!(code(&mut control), (second, Err(Code::Upgrading)));
    control.append(13);
    control.pump(14);
    assert_eq!(code(&mut control), (first, Ok(())));
    assert_eq!(control.ready, [UPGRADE.0]);
    let refused = Err(Code::Upgrading);
    let id = control.ask(&weight(7), 20);
    assert_eq!(code(&mut control), (id, refused));
    let kill = weir_proto::request::SessionKill {
        ids: vec!["0.1.1".into()],
        filter: Default::default(),
        dry_run: false,
    };
    control.give(Input::Search { id: ChangeId(5), request: SearchRequest::Kill(kill) }, 21);
    assert_eq!(code(&mut control), (5, refused));
    control.give(Input::Task { id: ChangeId(6), request: TaskRequest::Cancel { id: 1 } }, 22);
    assert_eq!(code(&mut control), (6, refused));
    control.give(Input::Ready { id: ChangeId(7) }, 23);
    assert_eq!(code(&mut control), (7, refused));
    control.give(Input::HandOverBegins { id: ChangeId(8) }, 24);
    assert_eq!(code(&mut control), (8, Err(Code::Failed)));
    assert_eq!(control.refuse_while_handing_over().unwrap_err().code, Code::Upgrading);
    let dry = ChangeOptions { dry_run: true, ..ChangeOptions::default() };
    let id = control.ask_with(&weight(8), dry, 25);
    assert_eq!(code(&mut control), (id, Ok(())), "it only asks");
    control.give(Input::HandOverFailed, 30);
    assert!(!control.is_handing_over());
    control.make(&weight(7), 31).unwrap();
    assert_eq!(control.snapshot.pools[0].backends[0].weight, 7);
}

#[test]
fn a_process_that_ends_or_has_just_begun_hands_nothing_over() {
    let (mut before, _) = started();
    let (mut heir, shards) = handed_over(&mut before, 10);
    let refusal = |control: &mut Shell, ms| {
        control.give(Input::HandOverBegins { id: UPGRADE }, ms);
        let (_, result) = control.answers.pop_back().expect("it is refused");
        result.unwrap_err().message
    };
    let message = "weir cannot hand over: it is still taking over from the process before it";
    assert_eq!(refusal(&mut heir, 20), message);
    heir.give(Input::Inherit(None), 30);
    for ms in [250, 500, 750] {
        heir.give(Input::Tick, ms);
        heir.pump(ms);
    }
    assert!(shards.take_sent().len() == 2, "nothing was said twice");
    heir.give(Input::HandOverBegins { id: UPGRADE }, 800);
    assert_eq!(heir.ready, [UPGRADE.0]);
    let (mut ending, _) = started();
    ending.give(Input::Drain { until: Some(at(900).now) }, 10);
    assert_eq!(refusal(&mut ending, 20), "weir cannot hand over: it was told to end");
}
