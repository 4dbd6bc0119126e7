//! Control against shards that answer at once, late, or never.

mod agents;
mod changes;
mod discovery;
mod kills;
mod legacy;
mod searching;
mod slices;
mod unbound;
mod unconfirmed;

use std::collections::VecDeque;
use std::net::SocketAddr;
use std::ops::Deref;

use weir_proto::request::{ChangeOptions, ChangeRequest};

use super::*;
use crate::fakes::{FakeShards, FakeVersions, spec};
use crate::health::Check;
use crate::record::Record;
use crate::resolve::Lookup;
use weir_proto::answer::Author;
use weir_proto::ids::{Edition, Version};
use weir_proto::request::Code;
use weir_proto::spec::ListenerSpec;

fn at(ms: u64) -> Clocks {
    Clocks { now: Now { nanos: ms * 1_000_000 }, wall_ms: ms }
}

/// Control in a shell that plans at once; the disk ends an append when a test says so.
struct Shell {
    control: Control,
    disk: FakeVersions,
    answers: VecDeque<(u64, ChangeOutcome)>,
    /// Rollbacks that were asked for: of which version, to which, why.
    ways_back: Vec<(u64, u64, String)>,
    asked: u64,
    lookups: VecDeque<Lookup>,
    checks: VecDeque<Check>,
    /// Hand-overs that may begin.
    ready: Vec<u64>,
    /// The findings of DNS that are to be kept.
    remembers: Option<BTreeMap<String, RememberedMembers>>,
}

impl Deref for Shell {
    type Target = Control;

    fn deref(&self) -> &Control {
        &self.control
    }
}

impl Shell {
    fn new(control: Control, disk: FakeVersions) -> Shell {
        Shell {
            control,
            disk,
            answers: VecDeque::new(),
            ways_back: Vec::new(),
            asked: 0,
            lookups: VecDeque::new(),
            checks: VecDeque::new(),
            ready: Vec::new(),
            remembers: None,
        }
    }

    fn give(&mut self, input: Input, ms: u64) {
        for output in self.control.handle(input, at(ms)) {
            match output {
                Output::Answered { id, result } => self.answers.push_back((id.0, result)),
                Output::Plan(job) => self.give(Input::Planned(job.run().into()), ms),
                Output::Append(record) => {
                    if let Some(refused) = self.disk.append(record) {
                        self.give(Input::Appended(refused), ms);
                    }
                }
                Output::Found { id, found } => self.answers.push_back((id.0, found.answer())),
                Output::Check(check) => self.checks.push_back(check),
                Output::ReadyToHandOver { id } => self.ready.push(id.0),
                Output::Free(_) | Output::SessionLog(_) | Output::Remember(_) => {}
                Output::Resolve(lookup) => self.lookups.push_back(lookup),
                Output::RememberMembers(found) => self.remembers = Some(found),
                Output::RollBack { version, to, why } => self.ways_back.push((version, to, why)),
            }
        }
    }

    fn pump(&mut self, ms: u64) {
        while let Some(report) = self.take_report() {
            self.give(Input::Report(report), ms);
        }
    }

    /// Asks for a change; its number.
    fn ask(&mut self, request: &ChangeRequest, ms: u64) -> u64 {
        self.ask_with(request, ChangeOptions::default(), ms)
    }

    fn ask_with(&mut self, request: &ChangeRequest, options: ChangeOptions, ms: u64) -> u64 {
        self.asked += 1;
        let id = ChangeId(self.asked);
        let by = Author::new(1000, 7);
        let request = request.clone();
        self.give(Input::Change(AskedChange { id, request, options, by }), ms);
        id.0
    }

    /// Ends the append that is under way.
    fn append(&mut self, ms: u64) {
        let appended = self.disk.finish().expect("it was asked");
        self.give(Input::Appended(appended), ms);
    }

    /// Makes a change until it is sent or refused. The disk answers at once.
    fn make(&mut self, request: &ChangeRequest, ms: u64) -> Result<(), Refusal> {
        self.make_with(request, ChangeOptions::default(), ms)
    }

    /// The same with `--yes`.
    fn make_with_yes(&mut self, request: &ChangeRequest, ms: u64) -> Result<(), Refusal> {
        self.make_with(request, ChangeOptions { yes: true, ..ChangeOptions::default() }, ms)
    }

    fn make_with(
        &mut self,
        request: &ChangeRequest,
        options: ChangeOptions,
        ms: u64,
    ) -> Result<(), Refusal> {
        self.answers.clear();
        self.ask_with(request, options, ms);
        if let Some(appended) = self.disk.finish() {
            self.give(Input::Appended(appended), ms);
        }
        self.answers.pop_front().map_or(Ok(()), |(_, result)| result.map(drop))
    }

    /// The numbers of the changes that were answered well since the last call.
    fn answered(&mut self) -> Vec<u64> {
        self.answers.drain(..).map(|(id, result)| result.map(|_| id).unwrap()).collect()
    }
}

/// Two shards that have adopted version 1.
fn started() -> (Shell, FakeShards) {
    let shards = FakeShards::new(2);
    let control = begun(&shards, vec!["192.0.2.9:80".parse().unwrap()]);
    assert_eq!(shards.take_sent(), ["0 adopt 1 +1", "1 adopt 1 +1"]);
    (control, shards)
}

/// A control whose shards have adopted version 1, with these addresses: 16 of each listener.
fn begun(shards: &FakeShards, bind: Vec<SocketAddr>) -> Shell {
    let mut spec = spec(bind[0]);
    let (_, listener) = spec.listener.pop_first().unwrap();
    for (number, bind) in bind.chunks(16).enumerate() {
        let name = if number == 0 { "web".to_owned() } else { format!("web{number}") };
        let listener = ListenerSpec { bind: bind.to_vec(), ..listener.clone() };
        spec.listener.insert(name.parse().unwrap(), listener);
    }
    let mut ids = IdSource::default();
    let snapshot = Snapshot::build(&spec, Version(1), &Snapshot::empty(), &mut ids).unwrap();
    let by = Author::new(0, 1);
    let base = Some(Arc::new(spec.clone()));
    let first = Record::new(1, "then".into(), by, "seeded".into(), spec).with_base(base.clone());
    let disk = FakeVersions::new(first);
    let bound = shards.bind(&BindPlan::first(&snapshot));
    let (fleet, versions) = (Box::new(shards.clone()), Box::new(disk.clone()));
    let slice = BACKENDS_SLICE;
    let (unconfirmed, checks_max, in_use) = (None, 100, BTreeMap::new());
    let found = BTreeMap::new();
    #[rustfmt::skip]
    let setup =
        Setup {
        fleet, versions, snapshot, base, unconfirmed, in_use, found, ids, checks_max, slice,
        legacy: None,
    };
    let control = Control::new(setup, at(0));
    let mut control = Shell::new(control, disk);
    control.give(Input::Begin(bound), 0);
    control.pump(1);
    assert!(control.rollout.is_done());
    control
}

fn weight(weight: u16) -> ChangeRequest {
    ChangeRequest::BackendWeight { name: "web/b1".into(), weight }
}

#[test]
fn a_change_goes_to_the_disk_and_then_to_every_shard() {
    let (mut control, shards) = started();
    control.make(&weight(5), 10).unwrap();
    assert_eq!(shards.take_sent(), ["0 adopt 2 +0", "1 adopt 2 +0"]);
    assert!(!control.rollout.is_done(), "no shard has answered yet");
    assert_eq!(control.past(2).unwrap().by, Author::new(1000, 7));
    assert_eq!(control.history(None, 9).unwrap().len(), 2);
    control.pump(11);
    assert!(control.rollout.is_done());
    assert_eq!(control.shards[1].version, Version(2));
    let events = control.events.after(0);
    assert_eq!(events.last().unwrap().text, "backend set web/b1 (weight 1 → 5)");
}

#[test]
fn a_pool_that_enters_or_leaves_panic_is_written_down_once() {
    let (mut control, shards) = started();
    let set = |panic: &str| ChangeRequest::PoolSet {
        name: "web".into(),
        pairs: vec![("health.panic".into(), panic.into())],
    };
    control.make(&set("100%"), 10).unwrap();
    let backend = control.snapshot.pools[0].backends[0].id;
    let fault = weir_proto::reason::ConnectFault::Refused;
    shards.report(Report::Ejected { shard: ShardId(0), backend, fault });
    control.pump(20);
    assert!(control.is_in_panic(&control.snapshot.pools[0]));
    control.give(Input::Tick, 30);
    control.make(&set("50%"), 40).unwrap();
    control.give(Input::Tick, 50);
    control.give(Input::Tick, 60);
    let events = control.events.after(0).into_iter();
    let texts: Vec<String> =
        events.filter(|row| row.subject == "web").map(|row| row.text).collect();
    let entered = "panic, 1 of 2 backends up (below 100%): health is ignored";
    assert_eq!(texts, [entered, "panic is over"]);
}

#[test]
fn a_shard_that_ejects_what_is_known_to_be_down_is_told_so() {
    let (mut control, shards) = started();
    let backend = control.snapshot.pools[0].backends[0].id;
    let fault = weir_proto::reason::ConnectFault::Refused;
    let eject = |control: &mut Shell, shard, ms| {
        shards.report(Report::Ejected { shard: ShardId(shard), backend, fault });
        control.pump(ms);
        shards.take_sent()
    };
    let first = eject(&mut control, 0, 10);
    assert_eq!(first.len(), 2, "both hear that it is down: {first:?}");
    let second = eject(&mut control, 1, 11);
    assert_eq!(second.len(), 1, "{second:?}");
    assert_eq!(second[0], first[1], "the one that asked hears it again");
}

#[test]
fn a_forced_removal_kills_behind_the_snapshot() {
    let (mut control, shards) = started();
    let id = control.snapshot.pool("web").unwrap().backend("b1").unwrap().id;
    let remove = ChangeRequest::BackendRemove { name: "web/b1".into(), force: true };
    shards.set_full(&[1]);
    control.make(&remove, 10).unwrap();
    assert_eq!(shards.take_sent(), ["0 adopt 2 +0".to_owned(), format!("0 kill {id}")]);
    shards.set_full(&[]);
    control.give(Input::Tick, 250);
    assert_eq!(shards.take_sent(), ["1 adopt 2 +0".to_owned(), format!("1 kill {id}")]);
}

#[test]
fn a_silent_shard_makes_a_version_late_and_then_done() {
    let (mut control, shards) = started();
    shards.set_deaf(&[1]);
    control.make(&weight(5), 0).unwrap();
    control.pump(1);
    control.give(Input::Tick, 4_900);
    assert!(!control.rollout.is_late());
    control.give(Input::Tick, 5_000);
    assert!(control.rollout.is_late());
    assert_eq!(control.rollout.waiting().to_string(), "[1]");
    shards.report(Report::Adopted { shard: ShardId(1), edition: Edition::of(Version(2)) });
    control.pump(6_000);
    assert!(control.rollout.is_done());
}

#[test]
fn a_shard_that_panics_is_not_waited_for_and_comes_back_with_everything() {
    let (mut control, shards) = started();
    shards.set_deaf(&[1]);
    control.make(&weight(5), 0).unwrap();
    shards.report(Report::Ended { shard: ShardId(1), panic: Some("oh".into()) });
    control.pump(1);
    assert!(control.rollout.is_done());
    assert_eq!(control.phase, Phase::Serving);
    assert_eq!(control.events.after(0).last().unwrap().text, "ended by a panic: oh");
    assert_eq!(shards.take_sent().last().unwrap(), "1 next", "what follows is for its successor");
    shards.set_deaf(&[]);
    shards.report(Report::Started { shard: ShardId(1), sessions_max: 9 });
    control.pump(2);
    assert_eq!(shards.take_sent(), ["1 adopt 2 +1"]);
    assert_eq!(control.shards[1].sessions_max, 9);
    assert_eq!(control.shards[1].status, ShardStatus::Live);
    assert_eq!(control.shards[1].restarts, 1);
}

#[test]
fn a_shard_that_comes_back_while_the_process_stops_is_told_to_stop() {
    let (mut control, shards) = started();
    shards.set_deaf(&[0, 1]);
    control.give(Input::Stop, 0);
    shards.take_sent();
    shards.report(Report::Ended { shard: ShardId(1), panic: Some("oh".into()) });
    shards.report(Report::Started { shard: ShardId(1), sessions_max: 9 });
    control.pump(1);
    assert_eq!(shards.take_sent(), ["1 next", "1 adopt 1 +0", "1 drain", "1 stop"]);
}

#[test]
fn a_fenced_shard_is_not_waited_for_and_comes_back_with_everything() {
    let (mut control, shards) = started();
    shards.set_deaf(&[1]);
    control.make(&weight(5), 0).unwrap();
    control.pump(1);
    assert_eq!(control.rollout.waiting().to_string(), "[1]");
    shards.set_watched(1, 1, 0);
    control.give(Input::Tick, 250);
    assert!(!control.rollout.is_done(), "slow is not stuck");
    shards.set_watched(1, 1, 1);
    control.give(Input::Tick, 500);
    assert!(control.rollout.is_done());
    let texts = |control: &Shell| -> Vec<String> {
        control.events.after(0).into_iter().map(|event| event.text).collect()
    };
    let told = texts(&control);
    assert!(told[told.len() - 2].contains("no turn for 100 ms"), "{told:?}");
    assert!(told[told.len() - 1].contains("is stuck"), "{told:?}");
    // Nobody waits for it, and it is told everything anyway.
    shards.take_sent();
    control.make(&weight(6), 600).unwrap();
    assert_eq!(shards.take_sent(), ["0 adopt 3 +0", "1 adopt 3 +0"]);
    control.pump(601);
    assert!(control.rollout.is_done());
    shards.set_deaf(&[]);
    shards.report(Report::Started { shard: ShardId(1), sessions_max: 9 });
    control.pump(700);
    assert_eq!(shards.take_sent(), ["1 adopt 3 +1"], "with new sockets");
    assert!(control.shards[1].counts());
    assert_eq!(control.shards[1].restarts, 0);
    control.make(&weight(7), 800).unwrap();
    assert_eq!(control.rollout.waiting().to_string(), "[0, 1]");
}

#[test]
fn a_shard_that_is_back_before_the_tick_gets_its_sockets_too() {
    let (mut control, shards) = started();
    shards.set_watched(0, 1, 1);
    shards.report(Report::Started { shard: ShardId(0), sessions_max: 9 });
    control.pump(10);
    assert_eq!(shards.take_sent(), ["0 adopt 1 +1"]);
    control.give(Input::Tick, 250);
    assert!(control.shards[0].counts(), "one fence is acknowledged once");
}

#[test]
fn without_any_shard_the_process_ends_with_1() {
    let (mut control, shards) = started();
    for shard in 0..2 {
        shards.report(Report::Ended { shard: ShardId(shard), panic: None });
    }
    control.pump(1);
    assert_eq!(control.phase, Phase::Over { code: 1 });
}

#[test]
fn three_panics_within_a_minute_end_the_process_and_spread_out_ones_do_not() {
    for (gap_ms, phase) in [(31_000, Phase::Serving), (29_000, Phase::Over { code: 1 })] {
        let (mut control, shards) = started();
        for time in 0..3 {
            shards.report(Report::Ended { shard: ShardId(1), panic: Some("oh".into()) });
            control.pump(time * gap_ms);
            shards.report(Report::Started { shard: ShardId(1), sessions_max: 9 });
            control.pump(time * gap_ms + 1);
        }
        assert_eq!(control.phase, phase, "every {gap_ms} ms");
    }
}

#[test]
fn a_drain_ends_with_the_last_session() {
    let (mut control, shards) = started();
    let id = control.snapshot.pools[0].backends[0].id;
    shards.set_sessions(&[(id, 3)]);
    control.give(Input::Tick, 250);
    control.pump(250);
    // The next figures are on their way when the drain comes: they are older than it.
    shards.set_sessions(&[]);
    control.give(Input::Tick, 500);
    control.give(Input::Drain { until: Some(at(60_000).now) }, 510);
    control.pump(520);
    assert_eq!(shards.take_sent(), ["0 drain", "1 drain"]);
    control.give(Input::Tick, 750);
    assert!(matches!(control.phase, Phase::Draining { .. }), "no figures since the drain");
    control.pump(760);
    control.give(Input::Tick, 1_000);
    assert_eq!(shards.take_sent(), ["0 stop", "1 stop"]);
    control.pump(1_010);
    assert_eq!(control.phase, Phase::Over { code: 0 });
}

#[test]
fn a_drain_ends_at_its_deadline() {
    let (mut control, shards) = started();
    let id = control.snapshot.pools[0].backends[0].id;
    shards.set_sessions(&[(id, 3)]);
    control.give(Input::Drain { until: None }, 0);
    for ms in [250, 500, 100_000] {
        control.give(Input::Tick, ms);
        control.pump(ms);
    }
    assert_eq!(control.phase, Phase::Draining { until: None }, "a drain alone never stops");
    control.give(Input::Drain { until: Some(at(110_000).now) }, 100_000);
    control.give(Input::Drain { until: Some(at(120_000).now) }, 100_000);
    control.give(Input::Tick, 109_900);
    assert!(matches!(control.phase, Phase::Draining { .. }));
    control.give(Input::Tick, 110_000);
    assert!(matches!(control.phase, Phase::Stopping { .. }));
    control.pump(110_001);
    assert_eq!(control.phase, Phase::Over { code: 0 });
}

#[test]
fn a_drain_without_an_end_is_taken_back() {
    let (mut control, shards) = started();
    control.give(Input::Drain { until: None }, 0);
    assert_eq!(shards.take_sent(), ["0 drain", "1 drain"]);
    // One that is built again meanwhile opens nothing.
    shards.report(Report::Ended { shard: ShardId(1), panic: Some("oh".into()) });
    shards.report(Report::Started { shard: ShardId(1), sessions_max: 9 });
    control.pump(10);
    assert_eq!(shards.take_sent(), ["1 next", "1 adopt 1 +0", "1 drain"]);
    control.give(Input::Ready { id: ChangeId(1) }, 20);
    assert_eq!(control.phase, Phase::Serving);
    let again = ["0 serve", "0 adopt 1 +1", "1 serve", "1 adopt 1 +1"];
    assert_eq!(shards.take_sent(), again);
    assert_eq!(control.unbound(), 0);
    control.give(Input::Ready { id: ChangeId(2) }, 30);
    assert_eq!((control.phase, shards.take_sent()), (Phase::Serving, Vec::new()));
    assert_eq!(control.answered(), [1, 2]);
}

#[test]
fn what_was_taken_during_a_drain_is_bound_later() {
    let (mut control, shards) = started();
    let taken = control.snapshot.listeners[0].bind.clone();
    control.give(Input::Drain { until: None }, 0);
    shards.take_sent();
    shards.set_taken(&taken);
    control.give(Input::Ready { id: ChangeId(1) }, 10);
    assert_eq!(shards.take_sent(), ["0 serve", "0 adopt 1 +0", "1 serve", "1 adopt 1 +0"]);
    assert!(control.is_unreachable());
    shards.set_taken(&[]);
    control.give(Input::Tick, 1_010);
    assert_eq!(shards.take_sent(), ["0 adopt 1 +1", "1 adopt 1 +1"]);
}

#[test]
fn who_was_told_to_end_is_not_ready_again() {
    let (mut control, shards) = started();
    control.give(Input::Drain { until: Some(at(60_000).now) }, 0);
    shards.take_sent();
    control.give(Input::Ready { id: ChangeId(1) }, 10);
    assert!(matches!(control.phase, Phase::Draining { until: Some(_) }));
    assert_eq!(shards.take_sent(), [""; 0]);
    assert!(control.answers.drain(..).all(|(_, result)| result.is_err()));
}

#[test]
fn a_shard_that_does_not_end_is_left_behind() {
    let (mut control, shards) = started();
    shards.set_deaf(&[1]);
    control.give(Input::Stop, 0);
    control.pump(1);
    control.give(Input::Tick, 4_900);
    assert!(matches!(control.phase, Phase::Stopping { .. }));
    control.give(Input::Tick, 5_000);
    assert_eq!(control.phase, Phase::Over { code: 1 });
}
