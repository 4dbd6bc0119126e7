//! Control against shards that answer at once, late, or never.

use super::*;
use crate::fakes::{FakeShards, FakeVersions, spec};
use crate::record::Appended;
use weir_proto::ids::Version;

fn at(ms: u64) -> Clocks {
    Clocks { now: Now { nanos: ms * 1_000_000 }, wall_ms: ms }
}

fn pump(control: &mut Control, ms: u64) {
    while let Some(report) = control.take_report() {
        control.on_report(report, at(ms));
    }
}

/// Two shards that have adopted version 1.
fn started() -> (Control, FakeShards, FakeVersions) {
    let shards = FakeShards::new(2);
    let spec = spec("192.0.2.9:80".parse().unwrap());
    let mut ids = IdSource::default();
    let snapshot = Snapshot::build(&spec, Version(1), &Snapshot::empty(), &mut ids).unwrap();
    let by = Author { uid: 0, pid: 1 };
    let disk = FakeVersions::new(Record::new(1, "then".into(), by, "seeded".into(), spec));
    let state = (snapshot.clone(), ids);
    let mut control = Control::new(Box::new(shards.clone()), Box::new(disk.clone()), state, at(0));
    let sockets = shards.bind(&Snapshot::empty(), &snapshot).unwrap();
    control.publish(snapshot, sockets, at(0).now);
    pump(&mut control, 1);
    assert!(control.rollout.is_done());
    assert_eq!(shards.take_sent(), ["0 adopt 1 +1", "1 adopt 1 +1"]);
    (control, shards, disk)
}

fn weight(weight: u16) -> ChangeRequest {
    ChangeRequest::BackendWeight { name: "web/b1".into(), weight }
}

fn change(request: &ChangeRequest) -> Change {
    Change::new(request.clone(), ChangeOptions::default(), Author { uid: 1000, pid: 7 })
}

/// Makes a change until it is sent or refused. The disk answers at once.
fn make(
    (control, disk): (&mut Control, &FakeVersions),
    request: &ChangeRequest,
    ms: u64,
) -> Result<(), Refusal> {
    let mut change = change(request);
    loop {
        match change.go_on(control, at(ms)) {
            Ok(answer) => return answer.map(drop),
            Err(Blocked::Shards) => return Ok(()),
            Err(Blocked::Address) => panic!("every address is free"),
            Err(Blocked::Disk) => control.on_appended(disk.finish().expect("it was asked")),
        }
    }
}

#[test]
fn a_change_goes_to_the_disk_and_then_to_every_shard() {
    let (mut control, shards, disk) = started();
    make((&mut control, &disk), &weight(5), 10).unwrap();
    assert_eq!(shards.take_sent(), ["0 adopt 2 +0", "1 adopt 2 +0"]);
    assert!(!control.rollout.is_done(), "no shard has answered yet");
    assert_eq!(control.past(2).unwrap().by, Author { uid: 1000, pid: 7 });
    assert_eq!(control.history().unwrap().len(), 2);
    pump(&mut control, 11);
    assert!(control.rollout.is_done());
    assert_eq!(control.shards[1].version, Version(2));
    let events = control.events.after(0);
    assert_eq!(events.last().unwrap().text, "backend set web/b1 (weight 1 → 5)");
}

#[test]
fn a_pool_that_enters_or_leaves_panic_is_written_down_once() {
    let (mut control, shards, disk) = started();
    let set = |panic: &str| ChangeRequest::PoolSet {
        name: "web".into(),
        pairs: vec![("health.panic".into(), panic.into())],
    };
    make((&mut control, &disk), &set("100%"), 10).unwrap();
    let backend = control.snapshot.pools[0].backends[0].id;
    let fault = weir_proto::reason::ConnectFault::Refused;
    shards.report(Report::Ejected { shard: ShardId(0), backend, fault });
    pump(&mut control, 20);
    assert!(control.is_in_panic(&control.snapshot.pools[0]));
    control.on_tick(at(30));
    make((&mut control, &disk), &set("50%"), 40).unwrap();
    control.on_tick(at(50));
    control.on_tick(at(60));
    let events = control.events.after(0).into_iter();
    let texts: Vec<String> =
        events.filter(|row| row.subject == "web").map(|row| row.text).collect();
    let entered = "panic, 1 of 2 backends up (below 100%): health is ignored";
    assert_eq!(texts, [entered, "panic is over"]);
}

#[test]
fn a_shard_that_ejects_what_is_known_to_be_down_is_told_so() {
    let (mut control, shards, _disk) = started();
    let backend = control.snapshot.pools[0].backends[0].id;
    let fault = weir_proto::reason::ConnectFault::Refused;
    let eject = |control: &mut Control, shard, ms| {
        shards.report(Report::Ejected { shard: ShardId(shard), backend, fault });
        pump(control, ms);
        shards.take_sent()
    };
    let first = eject(&mut control, 0, 10);
    assert_eq!(first.len(), 2, "both hear that it is down: {first:?}");
    let second = eject(&mut control, 1, 11);
    assert_eq!(second.len(), 1, "{second:?}");
    assert_eq!(second[0], first[1], "the one that asked hears it again");
}

#[test]
fn a_full_disk_changes_nothing() {
    let (mut control, shards, disk) = started();
    disk.set_full(true);
    assert_eq!(make((&mut control, &disk), &weight(5), 10).unwrap_err().code, Code::Failed);
    assert_eq!(control.snapshot.version, Version(1));
    assert_eq!(shards.take_sent(), [""; 0]);
    disk.set_full(false);
    make((&mut control, &disk), &weight(5), 20).unwrap();
    assert_eq!(control.snapshot.version, Version(2));
}

#[test]
fn a_change_waits_for_the_disk_and_nothing_else_does() {
    let (mut control, shards, disk) = started();
    let mut change = change(&weight(5));
    for ms in [10, 20] {
        assert_eq!(change.go_on(&mut control, at(ms)).unwrap_err(), Blocked::Disk);
        control.on_tick(at(ms));
        pump(&mut control, ms);
        assert_eq!(control.history().unwrap().len(), 1);
    }
    assert_eq!(control.snapshot.version, Version(1));
    assert_eq!(shards.take_sent(), [""; 0], "no shard uses what a crash would take back");
    control.on_appended(Appended { version: Version(9), outcome: Ok(()) });
    assert_eq!(change.go_on(&mut control, at(30)).unwrap_err(), Blocked::Disk, "another one");
    control.on_appended(disk.finish().unwrap());
    assert_eq!(change.go_on(&mut control, at(40)).unwrap_err(), Blocked::Shards);
    assert_eq!(shards.take_sent(), ["0 adopt 2 +0", "1 adopt 2 +0"]);
}

#[test]
fn an_append_that_takes_long_is_written_down_once() {
    let (mut control, _shards, disk) = started();
    let mut change = change(&weight(5));
    assert_eq!(change.go_on(&mut control, at(0)).unwrap_err(), Blocked::Disk);
    let told = |control: &Control| {
        let events = control.events.after(0).into_iter();
        events.filter(|event| event.subject == "state").map(|event| event.text).collect::<Vec<_>>()
    };
    control.on_tick(at(4_900));
    assert_eq!(told(&control), [""; 0]);
    control.on_tick(at(5_000));
    control.on_tick(at(5_250));
    assert_eq!(told(&control), ["the disk has not taken version 2 yet"]);
    control.on_appended(disk.finish().unwrap());
    assert_eq!(change.go_on(&mut control, at(5_300)).unwrap_err(), Blocked::Shards);
}

#[test]
fn a_disk_that_is_lost_refuses_what_waits_and_what_comes() {
    let (mut control, shards, disk) = started();
    let mut waits = change(&weight(5));
    assert_eq!(waits.go_on(&mut control, at(10)).unwrap_err(), Blocked::Disk);
    disk.lose();
    control.on_store_lost(at(20));
    let refusal = waits.go_on(&mut control, at(30)).unwrap().unwrap_err();
    assert!(refusal.message.contains("version 2 may be there"), "{refusal:?}");
    assert_eq!(make((&mut control, &disk), &weight(6), 40).unwrap_err().code, Code::Failed);
    assert_eq!((control.snapshot.version, shards.take_sent()), (Version(1), vec![]));
}

#[test]
fn a_forced_removal_kills_behind_the_snapshot() {
    let (mut control, shards, disk) = started();
    let id = control.snapshot.pool("web").unwrap().backend("b1").unwrap().id;
    let remove = ChangeRequest::BackendRemove { name: "web/b1".into(), force: true };
    shards.set_full(&[1]);
    make((&mut control, &disk), &remove, 10).unwrap();
    assert_eq!(shards.take_sent(), ["0 adopt 2 +0".to_owned(), format!("0 kill {id}")]);
    shards.set_full(&[]);
    control.on_tick(at(250));
    assert_eq!(shards.take_sent(), ["1 adopt 2 +0".to_owned(), format!("1 kill {id}")]);
}

#[test]
fn a_silent_shard_makes_a_version_late_and_then_done() {
    let (mut control, shards, disk) = started();
    shards.set_deaf(&[1]);
    make((&mut control, &disk), &weight(5), 0).unwrap();
    pump(&mut control, 1);
    control.on_tick(at(4_900));
    assert!(!control.rollout.is_late());
    control.on_tick(at(5_000));
    assert!(control.rollout.is_late());
    assert_eq!(control.rollout.waiting().to_string(), "[1]");
    shards.report(Report::Adopted { shard: ShardId(1), version: Version(2) });
    pump(&mut control, 6_000);
    assert!(control.rollout.is_done());
}

#[test]
fn a_shard_that_panics_is_not_waited_for_and_comes_back_with_everything() {
    let (mut control, shards, disk) = started();
    shards.set_deaf(&[1]);
    make((&mut control, &disk), &weight(5), 0).unwrap();
    shards.report(Report::Ended { shard: ShardId(1), panic: Some("oh".into()) });
    pump(&mut control, 1);
    assert!(control.rollout.is_done());
    assert_eq!(control.phase, Phase::Serving);
    assert_eq!(control.events.after(0).last().unwrap().text, "ended by a panic: oh");
    assert_eq!(shards.take_sent().last().unwrap(), "1 next", "what follows is for its successor");
    shards.set_deaf(&[]);
    shards.report(Report::Started { shard: ShardId(1), sessions_max: 9 });
    pump(&mut control, 2);
    assert_eq!(shards.take_sent(), ["1 adopt 2 +1"]);
    assert_eq!(control.shards[1].sessions_max, 9);
    assert_eq!(control.shards[1].status, ShardStatus::Live);
    assert_eq!(control.shards[1].restarts, 1);
}

#[test]
fn a_shard_that_comes_back_while_the_process_stops_is_told_to_stop() {
    let (mut control, shards, _disk) = started();
    shards.set_deaf(&[0, 1]);
    control.stop(at(0));
    shards.take_sent();
    shards.report(Report::Ended { shard: ShardId(1), panic: Some("oh".into()) });
    shards.report(Report::Started { shard: ShardId(1), sessions_max: 9 });
    pump(&mut control, 1);
    assert_eq!(shards.take_sent(), ["1 next", "1 adopt 1 +1", "1 drain", "1 stop"]);
}

#[test]
fn a_fenced_shard_is_not_waited_for_and_comes_back_with_everything() {
    let (mut control, shards, disk) = started();
    shards.set_deaf(&[1]);
    make((&mut control, &disk), &weight(5), 0).unwrap();
    pump(&mut control, 1);
    assert_eq!(control.rollout.waiting().to_string(), "[1]");
    shards.set_watched(1, 1, 0);
    control.on_tick(at(250));
    assert!(!control.rollout.is_done(), "slow is not stuck");
    shards.set_watched(1, 1, 1);
    control.on_tick(at(500));
    assert!(control.rollout.is_done());
    let texts = |control: &Control| -> Vec<String> {
        control.events.after(0).into_iter().map(|event| event.text).collect()
    };
    let told = texts(&control);
    assert!(told[told.len() - 2].contains("no turn for 100 ms"), "{told:?}");
    assert!(told[told.len() - 1].contains("is stuck"), "{told:?}");
    // Nobody waits for it, and it is told everything anyway.
    shards.take_sent();
    make((&mut control, &disk), &weight(6), 600).unwrap();
    assert_eq!(shards.take_sent(), ["0 adopt 3 +0", "1 adopt 3 +0"]);
    pump(&mut control, 601);
    assert!(control.rollout.is_done());
    shards.set_deaf(&[]);
    shards.report(Report::Started { shard: ShardId(1), sessions_max: 9 });
    pump(&mut control, 700);
    assert_eq!(shards.take_sent(), ["1 adopt 3 +1"], "with new sockets");
    assert!(control.shards[1].counts());
    assert_eq!(control.shards[1].restarts, 0);
    make((&mut control, &disk), &weight(7), 800).unwrap();
    assert_eq!(control.rollout.waiting().to_string(), "[0, 1]");
}

#[test]
fn a_shard_that_is_back_before_the_tick_gets_its_sockets_too() {
    let (mut control, shards, _disk) = started();
    shards.set_watched(0, 1, 1);
    shards.report(Report::Started { shard: ShardId(0), sessions_max: 9 });
    pump(&mut control, 10);
    assert_eq!(shards.take_sent(), ["0 adopt 1 +1"]);
    control.on_tick(at(250));
    assert!(control.shards[0].counts(), "one fence is acknowledged once");
}

#[test]
fn without_any_shard_the_process_ends_with_1() {
    let (mut control, shards, _disk) = started();
    for shard in 0..2 {
        shards.report(Report::Ended { shard: ShardId(shard), panic: None });
    }
    pump(&mut control, 1);
    assert_eq!(control.phase, Phase::Over { code: 1 });
}

#[test]
fn three_panics_within_a_minute_end_the_process_and_spread_out_ones_do_not() {
    for (gap_ms, phase) in [(31_000, Phase::Serving), (29_000, Phase::Over { code: 1 })] {
        let (mut control, shards, _disk) = started();
        for time in 0..3 {
            shards.report(Report::Ended { shard: ShardId(1), panic: Some("oh".into()) });
            pump(&mut control, time * gap_ms);
            shards.report(Report::Started { shard: ShardId(1), sessions_max: 9 });
            pump(&mut control, time * gap_ms + 1);
        }
        assert_eq!(control.phase, phase, "every {gap_ms} ms");
    }
}

#[test]
fn a_drain_ends_with_the_last_session() {
    let (mut control, shards, _disk) = started();
    let id = control.snapshot.pools[0].backends[0].id;
    shards.set_sessions(&[(id, 3)]);
    control.on_tick(at(250));
    pump(&mut control, 250);
    // The next figures are on their way when the drain comes: they are older than it.
    shards.set_sessions(&[]);
    control.on_tick(at(500));
    control.drain(Some(at(60_000).now), at(510));
    pump(&mut control, 520);
    assert_eq!(shards.take_sent(), ["0 drain", "1 drain"]);
    control.on_tick(at(750));
    assert!(matches!(control.phase, Phase::Draining { .. }), "no figures since the drain");
    pump(&mut control, 760);
    control.on_tick(at(1_000));
    assert_eq!(shards.take_sent(), ["0 stop", "1 stop"]);
    pump(&mut control, 1_010);
    assert_eq!(control.phase, Phase::Over { code: 0 });
}

#[test]
fn a_drain_ends_at_its_deadline() {
    let (mut control, shards, _disk) = started();
    let id = control.snapshot.pools[0].backends[0].id;
    shards.set_sessions(&[(id, 3)]);
    control.drain(None, at(0));
    for ms in [250, 500, 100_000] {
        control.on_tick(at(ms));
        pump(&mut control, ms);
    }
    assert_eq!(control.phase, Phase::Draining { until: None }, "a drain alone never stops");
    control.drain(Some(at(110_000).now), at(100_000));
    control.drain(Some(at(120_000).now), at(100_000));
    control.on_tick(at(109_900));
    assert!(matches!(control.phase, Phase::Draining { .. }));
    control.on_tick(at(110_000));
    assert!(matches!(control.phase, Phase::Stopping { .. }));
    pump(&mut control, 110_001);
    assert_eq!(control.phase, Phase::Over { code: 0 });
}

#[test]
fn a_shard_that_does_not_end_is_left_behind() {
    let (mut control, shards, _disk) = started();
    shards.set_deaf(&[1]);
    control.stop(at(0));
    pump(&mut control, 1);
    control.on_tick(at(4_900));
    assert!(matches!(control.phase, Phase::Stopping { .. }));
    control.on_tick(at(5_000));
    assert_eq!(control.phase, Phase::Over { code: 1 });
}

#[test]
fn the_address_of_a_removed_listener_may_be_held_for_a_moment() {
    let (mut control, _shards, disk) = started();
    let bind = control.snapshot.listeners[0].bind[0];
    let remove = ChangeRequest::ListenerRemove { name: "web".into() };
    make((&mut control, &disk), &remove, 1_000).unwrap();
    let error = |address| BindError {
        listener: "web".into(),
        address,
        error: std::io::ErrorKind::AddrInUse.into(),
    };
    assert!(control.may_pass(&error(bind), at(2_000).now));
    assert!(!control.may_pass(&error(bind), at(11_000).now));
    let other = SocketAddr::new(bind.ip(), bind.port().wrapping_add(1));
    assert!(!control.may_pass(&error(other), at(2_000).now));
}
