//! Addresses that somebody else has at the start.

use super::*;

const MINE: &str = "192.0.2.9:80";
const THEIRS: &str = "192.0.2.9:81";

fn address(text: &str) -> SocketAddr {
    text.parse().unwrap()
}

/// Two shards whose listener has one address, and not the other.
fn started_beside() -> (Shell, FakeShards) {
    let shards = FakeShards::new(2);
    shards.set_taken(&[address(THEIRS)]);
    let control = begun(&shards, vec![address(MINE), address(THEIRS)]);
    assert_eq!(shards.take_sent(), ["0 adopt 1 +1", "1 adopt 1 +1"]);
    assert_eq!(control.unbound(), 1);
    (control, shards)
}

fn texts(control: &Shell) -> Vec<String> {
    control.events.after(0).into_iter().map(|row| row.text).collect()
}

fn tick(control: &mut Shell, shards: &FakeShards, ms: u64) -> Vec<String> {
    control.give(Input::Tick, ms);
    control.pump(ms);
    shards.take_sent()
}

#[test]
fn an_address_that_was_taken_is_listened_at_as_soon_as_it_is_free() {
    let (mut control, shards) = started_beside();
    assert_eq!(texts(&control), ["cannot bind 192.0.2.9:81: address in use"]);
    let web = control.snapshot.listeners[0].clone();
    let unbound: Vec<_> = control.unbound_of(&web).map(|(address, _)| address).collect();
    assert_eq!(unbound, [address(THEIRS).into()]);
    for ms in [250, 1_000, 1_750] {
        assert_eq!(tick(&mut control, &shards, ms), [""; 0], "at {ms} ms");
    }
    shards.set_taken(&[]);
    assert_eq!(tick(&mut control, &shards, 1_999), [""; 0], "it was tried less than 1 s ago");
    assert_eq!(tick(&mut control, &shards, 2_000), ["0 adopt 1 +1", "1 adopt 1 +1"]);
    assert_eq!(control.unbound(), 0);
    assert_eq!(texts(&control).last().unwrap(), "192.0.2.9:81 is bound, after 2 s");
    assert_eq!(tick(&mut control, &shards, 9_000), [""; 0], "nothing is bound twice");
}

#[test]
fn a_change_answers_for_its_own_addresses() {
    let (mut control, shards) = started_beside();
    control.make(&weight(5), 10).unwrap();
    assert_eq!(shards.take_sent(), ["0 adopt 2 +0", "1 adopt 2 +0"]);
    control.pump(11);
    let add = |bind: &str| ChangeRequest::ListenerAdd {
        name: "new".into(),
        bind: vec![bind.to_owned()],
        pool: "web".into(),
        pairs: Vec::new(),
    };
    shards.set_taken(&[address(THEIRS), address("192.0.2.9:82")]);
    assert!(control.make(&add("192.0.2.9:82"), 20).is_err());
    control.make(&add("192.0.2.9:83"), 30).unwrap();
    control.pump(31);
    shards.take_sent();
    // An address that is in no version any more is forgotten.
    control.make(&ChangeRequest::ListenerRemove { name: "web".into() }, 40).unwrap();
    control.pump(41);
    assert_eq!(control.unbound(), 0);
    shards.take_sent();
    shards.set_taken(&[]);
    assert_eq!(tick(&mut control, &shards, 5_000), [""; 0]);
}

#[test]
fn a_shard_that_comes_back_binds_what_the_others_have() {
    let (mut control, shards) = started_beside();
    shards.set_taken(&[]);
    shards.report(Report::Ended { shard: ShardId(1), panic: Some("oh".into()) });
    shards.report(Report::Started { shard: ShardId(1), sessions_max: 9 });
    control.pump(10);
    assert_eq!(shards.take_sent(), ["1 next", "1 adopt 1 +1"]);
    assert_eq!(tick(&mut control, &shards, 1_000), ["0 adopt 1 +1", "1 adopt 1 +1"]);
    // An address that only this shard could not bind is tried for it alone, beside the others.
    shards.set_taken(&[address(THEIRS)]);
    shards.report(Report::Ended { shard: ShardId(1), panic: Some("oh".into()) });
    shards.report(Report::Started { shard: ShardId(1), sessions_max: 9 });
    control.pump(2_000);
    assert_eq!(shards.take_sent(), ["1 next", "1 adopt 1 +1"]);
    assert_eq!((control.unbound(), control.shards[1].missing.len()), (0, 1));
    assert_eq!(tick(&mut control, &shards, 2_250), [""; 0]);
    shards.set_taken(&[]);
    assert_eq!(tick(&mut control, &shards, 2_500), ["1 adopt 1 +1"]);
}

/// A version without the address ends the wait for it: the change that brings it back binds it for
/// every shard, and it is not bound once more.
#[test]
fn what_one_shard_misses_is_forgotten_with_its_address() {
    let (mut control, shards) = started_beside();
    shards.set_taken(&[address(MINE), address(THEIRS)]);
    shards.report(Report::Ended { shard: ShardId(1), panic: Some("oh".into()) });
    shards.report(Report::Started { shard: ShardId(1), sessions_max: 9 });
    control.pump(10);
    assert_eq!(control.shards[1].missing, [BindAddress::from(address(MINE))].into());
    control.make_with_yes(&ChangeRequest::ListenerRemove { name: "web".into() }, 20).unwrap();
    control.pump(21);
    assert_eq!((control.unbound(), control.shards[1].missing.len()), (0, 0));
}

#[test]
fn a_process_that_drains_binds_nothing_more() {
    let (mut control, shards) = started_beside();
    control.give(Input::Drain { until: None }, 10);
    control.pump(10);
    shards.take_sent();
    shards.set_taken(&[]);
    assert_eq!(tick(&mut control, &shards, 5_000), [""; 0]);
}

#[test]
fn a_tick_tries_few_addresses_and_each_has_its_turn() {
    let shards = FakeShards::new(1);
    let all: Vec<SocketAddr> = (1..=40).map(|port| ([192, 0, 2, 9], port).into()).collect();
    shards.set_taken(&all);
    let mut control = begun(&shards, all);
    assert!(control.is_unreachable());
    assert_eq!(texts(&control).len(), 16, "an event for each would displace all others");
    shards.take_sent();
    shards.set_taken(&[]);
    let sent: Vec<String> =
        [1_000, 1_250, 1_500].iter().flat_map(|ms| tick(&mut control, &shards, *ms)).collect();
    assert_eq!(sent, ["0 adopt 1 +16", "0 adopt 1 +16", "0 adopt 1 +8"]);
    assert!(!control.is_unreachable());
}
