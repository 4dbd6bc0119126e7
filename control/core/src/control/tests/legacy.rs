//! A process that takes the place of another one: it says the same, and counts on.

mod forgotten;
mod handing_over;
mod histories;

use weir_proto::ids::BackendId;
use weir_proto::order::SessionsOf;
use weir_proto::reason::{By, CloseReason, ConnectFault, During, Why};
use weir_proto::request::TaskRequest;
use weir_proto::samples::{DurationSample, SampledPhase};
use weir_proto::spec::Admin;
use weir_proto::stats::{BackendStats, ListenerStats, PoolStats, ShardStats};

use super::*;
use crate::health::CheckOutcome;
use crate::resolve::{Fault, Found, FoundAddress};

/// The id under which a hand-over is asked for.
const UPGRADE: ChangeId = ChangeId(1 << 40);

/// The process before gets ready; its state, as another process reads it.
fn legacy_of(before: &mut Shell, ms: u64) -> Legacy {
    before.give(Input::HandOverBegins { id: UPGRADE }, ms);
    assert_eq!(before.ready.pop(), Some(UPGRADE.0), "no change is under way");
    let legacy = before.legacy();
    let read = Legacy::of_json(&legacy.to_json()).unwrap();
    assert!(read == legacy, "it is what was written");
    read
}

/// The next process, with shards of its own that know nothing.
fn heir(before: &Shell, legacy: Legacy, shards: &FakeShards, ms: u64) -> Shell {
    let version = before.snapshot.version;
    let record = before.past(version.0).unwrap();
    let mut ids = IdSource::default();
    let snapshot = Snapshot::build(&record.spec, version, &Snapshot::empty(), &mut ids).unwrap();
    let bound = shards.bind(&BindPlan::first(&snapshot));
    let setup = Setup {
        fleet: Box::new(shards.clone()),
        versions: Box::new(before.disk.clone()),
        snapshot,
        base: record.base,
        unconfirmed: record.unconfirmed,
        in_use: BTreeMap::new(),
        found: BTreeMap::new(),
        ids,
        checks_max: 100,
        slice: BACKENDS_SLICE,
        legacy: Some(legacy.into()),
    };
    let mut heir = Shell::new(Control::new(setup, at(ms)), before.disk.clone());
    heir.asked = before.asked;
    heir.give(Input::Begin(bound), ms);
    heir.pump(ms);
    heir
}

/// Everything at once. The shards are two, again.
fn handed_over(before: &mut Shell, ms: u64) -> (Shell, FakeShards) {
    let legacy = legacy_of(before, ms);
    let shards = FakeShards::new(2);
    let heir = heir(before, legacy, &shards, ms);
    (heir, shards)
}

/// The process before is done: what it has counted since is added.
fn inherit(heir: &mut Shell, before: &Shell, since: &Legacy, ms: u64) {
    let rest = before.legacy_remainder(since);
    let read = Remainder::of_json(&rest.to_json()).unwrap();
    assert!(read == rest, "it is what was written");
    heir.give(Input::Inherit(Some(read.into())), ms);
}

/// Everything that people see, line by line; gauges and rates aside.
fn picture(control: &Control, ms: u64) -> Vec<String> {
    let (now, snapshot) = (at(ms).now, &control.snapshot);
    let mut lines = vec![
        format!("version {} {:?}", snapshot.edition(), control.serves_since),
        format!("ids {:?}", control.ids()),
        format!("phase {:?} {:?}", control.phase, control.unconfirmed(now)),
        format!("confirmation {:?} {:?}", control.confirmation(now), control.tasks_by_kind()),
        format!("rolled back {:?} {}", control.rolled_back, control.records_dropped()),
        format!("full {:?} drift {}", control.fullness, control.drift_keys),
        format!("events {:?}", control.events),
        format!("live {:?}", control.live.all(now, ms)),
        format!("{:?} {}", control.aggregate.outcomes(), control.live.count()),
        format!("panic {:?} {:?}", control.health.panicking(), control.panicking),
        format!("limits {:?} {:?}", control.limits, control.repeats),
    ];
    for listener in &snapshot.listeners {
        let totals = control.aggregate.listener(listener.id).counts;
        lines.push(format!("listener {} {} {totals:?}", listener.name, listener.id));
        let unbound = control.unbound_of(listener).map(|(at, it)| (at, it.since));
        lines.push(format!("unbound {:?}", unbound.collect::<Vec<_>>()));
    }
    for pool in &snapshot.pools {
        let stats = control.aggregate.stats(snapshot, Some(pool.name.as_str())).unwrap();
        let rates = [stats.session_rate_per_s, stats.received_bytes_per_s, stats.sent_bytes_per_s];
        lines.push(counts_of(&format!("{stats:?}"), &rates));
        let name = Some(pool.name.as_str());
        lines.push(format!("{:?}", control.aggregate.latency(snapshot, name)));
        lines.push(format!("pool {} {} {:?}", pool.name, pool.id, control.group_rows(pool)));
        let mut discovery = control.resolve.discovery(pool.id);
        // One whose answer is on its way is asked for again.
        discovery.iter_mut().for_each(|it| it.next = it.next.filter(|next| *next > now));
        lines.push(format!("{:?} {discovery:?}", pool.members));
        for backend in &pool.backends {
            let (id, health) = (backend.id, &control.health);
            lines.push(format!("backend {} {id} {:?}", backend.name, health.standing(id)));
            lines.push(format!("{:?} {:?}", health.row(id, now), health.counters(id)));
            lines.push(format!("{:?} {:?}", health.ramps_since(id), health.hold_left(id, now)));
            lines.push(format!("{:?}", control.aggregate.backend(id).counts));
            lines.push(format!("{:?}", control.aggregate.backend_durations(id)));
            lines.push(format!("{:?}", control.aggregate.recent_durations(id)));
        }
    }
    let all = control.aggregate.stats_of_all();
    let rates = [all.session_rate_per_s, all.received_bytes_per_s, all.sent_bytes_per_s];
    lines.push(counts_of(&format!("{all:?}"), &rates));
    lines.push(format!("{:?}", control.aggregate.latency(snapshot, None)));
    lines.push(format!("gone {:?}", control.aggregate.gone_names()));
    lines.push(format!("early {:?}", control.aggregate.ending_early(9)));
    for shard in &control.shards {
        let counts = control.aggregate.shard(shard.id).counts;
        lines.push(format!("{:?} {} {counts:?}", shard.watched, shard.restarts));
    }
    lines.extend(control.tasks.iter().map(|task| format!("{:?}", task.row(now))));
    lines
}

/// Without gauges and rates, of which the next shards tell.
fn counts_of(stats: &str, rates: &[f64]) -> String {
    let mut text = stats.to_owned();
    for rate in rates {
        text = text.replacen(&format!("_per_s: {rate:?}"), "", 1);
    }
    let mut parts: Vec<&str> = text.split(", ").collect();
    let gauges = ["sessions: ", "sessions_stalled: ", "sessions_queued: "];
    parts.retain(|part| !gauges.iter().any(|gauge| part.contains(gauge)));
    parts.join(", ")
}

fn assert_same(before: &[String], after: &[String], why: &str) {
    for (before, after) in before.iter().zip(after) {
        assert_eq!(after, before, "{why}");
    }
    assert_eq!(before.len(), after.len(), "{why}");
}

/// A box of a shard that has counted a little of everything, `n` times.
fn stats(control: &Control, shard: u16, n: u64) -> Report {
    let mut stats = ShardStats::new(ShardId(shard));
    stats.edition = control.snapshot.edition();
    for listener in &control.snapshot.listeners {
        let mut row = ListenerStats { id: listener.id, ..ListenerStats::default() };
        (row.counts.accepted, row.counts.rejected[0]) = (10 * n, n);
        stats.listeners.push(row);
    }
    for pool in &control.snapshot.pools {
        let mut row = PoolStats::new(pool.id);
        (row.counts.picks, row.counts.queued) = (9 * n, n / 2);
        for us in [100 * n, 30_000 + n] {
            row.connect.record(us);
            row.first_byte.record(2 * us);
            row.session.record(9 * us);
            row.queue.record(us / 2);
        }
        row.ends.count(CloseReason { by: By::Client, during: During::Relaying, why: Why::Reset });
        stats.pools.push(row);
        for backend in &pool.backends {
            let mut row = BackendStats { id: backend.id, ..BackendStats::default() };
            row.counts.sessions = 8 * n;
            row.counts.connect_failures[usize::try_from(n % 6).unwrap()] = 1;
            (row.counts.received_bytes, row.counts.sent_bytes) = (1_000 * n, 77 * n);
            row.counts.early_closes = n;
            stats.backends.push(row);
            let (backend, us) = (backend.id, u32::try_from(50 * n + 1).unwrap());
            let phase = SampledPhase::Connect;
            stats.samples.put(DurationSample { backend, phase, us });
        }
    }
    (stats.counts.turns, stats.counts.turn_max_ns) = (100 * n, 1_000 + n);
    (stats.counts.fruitless_watches, stats.counts.starved) = (n, n);
    stats.session_log.dropped = n;
    Report::Stats(stats.into())
}

fn hear(control: &mut Shell, shard: u16, n: u64, ms: u64) {
    let report = stats(control, shard, n);
    control.give(Input::Report(report), ms);
}

fn id_of(control: &Control, backend: &str) -> BackendId {
    control.snapshot.pool("web").unwrap().backend(backend).unwrap().id
}

/// Pool web is checked.
fn checked() -> (Shell, FakeShards) {
    let (mut control, shards) = started();
    let pairs = vec![
        ("health.kind".into(), "tcp".into()),
        ("health.slow-start".into(), "60s".into()),
        ("health.fall".into(), "2".into()),
    ];
    control.make(&ChangeRequest::PoolSet { name: "web".into(), pairs }, 5).unwrap();
    control.pump(6);
    control.give(Input::Wake, 2_000);
    (control, shards)
}

/// Ends every check that is in flight.
fn end_checks(control: &mut Shell, good: impl Fn(usize) -> bool, ms: u64) {
    let checks: Vec<_> = control.checks.drain(..).collect();
    for (number, check) in checks.into_iter().enumerate() {
        let bad = || CheckOutcome::Bad("refused".to_owned());
        let outcome = if good(number) { CheckOutcome::Good } else { bad() };
        control.give(Input::Checked { check, outcome, started: at(ms - 1).now }, ms);
    }
}

#[test]
fn identities_and_figures_are_those_of_the_process_before() {
    let (mut before, _) = started();
    // Their numbers are not those that a start would give.
    let pool = |name: &str| ChangeRequest::PoolAdd { name: name.into(), pairs: Vec::new() };
    before.make(&pool("api"), 2).unwrap();
    before.pump(2);
    let remove = ChangeRequest::BackendRemove { name: "web/b1".into(), force: false };
    before.make_with_yes(&remove, 3).unwrap();
    before.pump(3);
    let (name, address) = ("web/b1".into(), "192.0.2.1:80".into());
    before.make(&ChangeRequest::BackendAdd { name, address, pairs: Vec::new() }, 4).unwrap();
    before.pump(5);
    for round in 1..5 {
        hear(&mut before, 0, round, 1_000 * round);
        hear(&mut before, 1, 3, 1_000 * round + 500);
        before.give(Input::Tick, 1_000 * round + 600);
    }
    let picture_before = picture(&before, 9_000);
    let (heir, shards) = handed_over(&mut before, 9_000);
    let b1 = id_of(&before, "b1");
    let first = format!("0 adopt 4 +1 [(BackendId({b1}), Unproven)]");
    assert_eq!(shards.take_sent()[0], first);
    assert_same(&picture_before, &picture(&heir, 9_000), "after a hand-over");
    assert_eq!(id_of(&heir, "b1"), id_of(&before, "b1"));
    assert_ne!(id_of(&heir, "b1"), BackendId(2), "it is the one that was added again");
    let mut heir = heir;
    heir.make(&pool("new"), 9_010).unwrap();
    let new = heir.snapshot.pool("new").unwrap().id;
    assert!(before.snapshot.pools.iter().all(|it| it.id != new), "no number is given twice");
}

#[test]
fn what_the_process_before_counts_while_it_hands_over_is_added() {
    let (mut before, _) = started();
    hear(&mut before, 0, 5, 100);
    before.give(Input::Tick, 110);
    let legacy = legacy_of(&mut before, 200);
    let shards = FakeShards::new(2);
    let mut heir = heir(&before, legacy.clone(), &shards, 200);
    let seen = |control: &Control| {
        let snapshot = &control.snapshot;
        let all = control.aggregate.stats_of_all();
        let b1 = control.aggregate.backend(id_of(control, "b1")).counts;
        let latency = control.aggregate.latency(snapshot, Some("web")).unwrap();
        let listener = control.aggregate.listener(snapshot.listeners[0].id).counts.accepted;
        let shard = control.aggregate.shard(ShardId(1)).counts;
        let dropped = control.records_dropped();
        let durations = control.aggregate.backend_durations(id_of(control, "b1"));
        (all.sessions_total, b1, latency, listener, shard, dropped, durations, all.ends)
    };
    assert_eq!(seen(&heir), seen(&before));
    // The one counts on, and so does the other.
    hear(&mut before, 1, 7, 300);
    hear(&mut before, 0, 2, 310);
    before.give(Input::Report(Report::Ended { shard: ShardId(1), panic: Some("oh".into()) }), 320);
    before.give(Input::Report(Report::Started { shard: ShardId(1), sessions_max: 9 }), 330);
    let (wanted, restarts) = (seen(&before), before.shards[1].restarts);
    let last = heir.events.last();
    inherit(&mut heir, &before, &legacy, 400);
    assert_eq!(seen(&heir), wanted);
    assert_eq!((heir.shards[1].restarts, restarts), (1, 1));
    let texts = |control: &Control, after| -> Vec<String> {
        control.events.after(after).into_iter().map(|it| it.text).collect()
    };
    let after = texts(&before, legacy.events.last());
    assert_eq!(texts(&heir, last), after, "its events have new numbers");
    assert!(after.iter().any(|it| it.contains("panic")), "{after:?}");
}

#[test]
fn health_goes_on_where_it_was() {
    let (mut before, _) = checked();
    end_checks(&mut before, |_| true, 2_001);
    // b1 goes down, comes up, and is held the second time; b2 has failed once.
    let (b1, b2) = (id_of(&before, "b1"), id_of(&before, "b2"));
    let ejected = |backend| {
        let fault = ConnectFault::Refused;
        Input::Report(Report::Ejected { shard: ShardId(0), backend, fault })
    };
    before.give(ejected(b1), 3_000);
    for ms in [9_000, 18_000] {
        before.give(Input::Wake, ms);
        end_checks(&mut before, |_| true, ms + 10);
    }
    assert!(before.health.is_up(b1), "{:?}", before.health.row(b1, at(19_000).now));
    let ramps = before.health.ramps_since(b1);
    assert!(ramps.is_some());
    before.give(ejected(b1), 20_000);
    let picture_before = picture(&before, 21_000);
    let hold = before.health.hold_left(b1, at(21_000).now);
    assert!(hold.is_some_and(|hold| hold.as_secs() == 9), "{hold:?}");
    let (mut heir, shards) = handed_over(&mut before, 21_000);
    assert_same(&picture_before, &picture(&heir, 21_000), "after a hand-over");
    let first = format!("0 adopt 2 +1 [(BackendId({b1}), Down)]");
    assert_eq!(shards.take_sent()[0], first, "shards are told who is down, and of no other");
    assert_eq!(heir.events.last(), before.events.last(), "nothing is news");
    // Checks are made when they were due, and one bad one more is not the first.
    let _ = b2;
    assert_eq!(heir.next_wake(), before.next_wake());
    let wake = heir.next_wake().unwrap().nanos / 1_000_000 + 1;
    heir.give(Input::Wake, wake);
    assert_eq!(heir.checks.len(), 1);
}

#[test]
fn a_check_that_was_under_way_is_made_again_at_once() {
    let (mut before, _) = checked();
    assert_eq!(before.checks.len(), 2, "both are in flight");
    let (mut heir, _) = handed_over(&mut before, 2_500);
    heir.give(Input::Wake, 2_600);
    assert_eq!(heir.checks.len(), 2);
    end_checks(&mut heir, |_| true, 2_610);
    assert!(heir.health.without_due().is_none());
}

#[test]
fn a_version_waits_for_its_confirmation_until_the_same_moment() {
    let (mut before, _) = started();
    let confirm = weir_proto::confirm::Confirm { within_ms: 30_000, guards: Vec::new() };
    let options = ChangeOptions { confirm: Some(confirm), ..ChangeOptions::default() };
    before.make_with(&weight(5), options, 1_000).unwrap();
    before.pump(1_010);
    let picture_before = picture(&before, 20_000);
    let (mut heir, _) = handed_over(&mut before, 20_000);
    assert_same(&picture_before, &picture(&heir, 20_000), "after a hand-over");
    // The process before leaves it to the next one.
    before.give(Input::Tick, 31_000);
    assert_eq!(before.ways_back.len(), 0);
    heir.give(Input::Tick, 30_900);
    assert_eq!(heir.ways_back.len(), 0);
    heir.give(Input::Tick, 31_000);
    assert_eq!((heir.ways_back.len(), heir.rolled_back), (1, [1, 0]));
}

#[test]
fn what_is_gone_keeps_its_name_and_its_counts_until_its_sessions_have_come() {
    let (mut before, shards) = started();
    let id = id_of(&before, "b1");
    shards.set_sessions(&[(id, 4)]);
    hear(&mut before, 0, 3, 100);
    before.give(Input::Tick, 250);
    before.pump(260);
    let remove = ChangeRequest::BackendRemove { name: "web/b1".into(), force: false };
    before.make_with_yes(&remove, 300).unwrap();
    before.pump(310);
    before.give(Input::Tick, 500);
    before.pump(510);
    let gone = |control: &Control| control.aggregate.lingering().next();
    let lingering = gone(&before).expect("it has sessions");
    let legacy = legacy_of(&mut before, 600);
    let fresh = FakeShards::new(2);
    let mut heir = heir(&before, legacy.clone(), &fresh, 600);
    for ms in [750, 1_000, 1_250, 1_500] {
        heir.give(Input::Tick, ms);
        heir.pump(ms);
    }
    assert_eq!(heir.aggregate.removed_named("web/b1"), [id], "its sessions are on their way");
    inherit(&mut heir, &before, &legacy, 1_600);
    fresh.set_sessions(&[(id, 4)]);
    heir.give(Input::Tick, 1_750);
    heir.pump(1_760);
    assert_eq!(gone(&heir), Some(lingering));
    fresh.set_sessions(&[]);
    for ms in [2_000, 2_250, 2_500] {
        hear(&mut heir, 0, 1, ms);
        hear(&mut heir, 1, 1, ms);
    }
    assert_eq!(heir.aggregate.removed_named("web/b1"), [], "it is forgotten as ever");
}

#[test]
fn findings_of_dns_have_the_identities_that_they_had() {
    let (mut before, _) = started();
    let pairs = vec![("discover.dns".into(), "web.internal:443".into())];
    before.make(&ChangeRequest::PoolSet { name: "web".into(), pairs }, 5).unwrap();
    before.pump(6);
    let answer = |before: &mut Shell, outcome: Result<Found, Fault>, ms| {
        before.give(Input::Wake, ms);
        let lookup = before.lookups.pop_front().expect("it is due");
        before.give(Input::Resolved { lookup, outcome }, ms);
        before.pump(ms);
    };
    let found = |addresses: &[&str]| {
        let mut found = Found::new(1);
        found.extend(addresses.iter().map(|it| FoundAddress::new(it.parse().unwrap(), 443)));
        Ok(found)
    };
    answer(&mut before, found(&["10.0.0.2"]), 10);
    answer(&mut before, found(&["10.0.0.1", "10.0.0.2", "10.0.0.3"]), 2_000);
    answer(&mut before, found(&["10.0.0.1", "10.0.0.2"]), 4_000);
    answer(&mut before, Err(Fault::Timeout), 6_000);
    let picture_before = picture(&before, 6_100);
    let (mut heir, _) = handed_over(&mut before, 6_100);
    assert_same(&picture_before, &picture(&heir, 6_100), "after a hand-over");
    assert_eq!(heir.snapshot.pools[0].backends, before.snapshot.pools[0].backends);
    // One answer has lacked 10.0.0.3 already.
    answer(&mut heir, found(&["10.0.0.1", "10.0.0.2"]), 9_000);
    assert!(heir.snapshot.pools[0].members.iter().any(|it| it.leaves));
}

#[test]
fn a_state_of_another_weir_is_read_as_far_as_it_is_known() {
    let (mut before, _) = started();
    hear(&mut before, 0, 5, 100);
    let legacy = before.legacy();
    let mut value: serde_json::Value = serde_json::from_slice(&legacy.to_json()).unwrap();
    value["a-field-of-later"] = "x".into();
    value["aggregate"]["another"] = 5.into();
    value.as_object_mut().unwrap().remove("tasks");
    value.as_object_mut().unwrap().remove("live");
    let read = Legacy::of_json(value.to_string().as_bytes()).unwrap();
    assert_eq!(read.aggregate, legacy.aggregate);
    value["format"] = 2.into();
    let error = Legacy::of_json(value.to_string().as_bytes()).unwrap_err();
    assert_eq!(error, "the state has format 2, and this weir reads formats 1 to 1");
    assert!(Legacy::of_json(b"{}").is_err());
}

#[test]
fn fewer_shards_have_the_sums_of_more() {
    let (mut before, _) = started();
    hear(&mut before, 0, 5, 100);
    hear(&mut before, 1, 7, 100);
    let legacy = legacy_of(&mut before, 200);
    let heir = heir(&before, legacy, &FakeShards::new(1), 200);
    let counts = heir.aggregate.shard(ShardId(0)).counts;
    assert_eq!((counts.turns, counts.turn_max_ns), (1_200, 1_007));
    let of = SessionsOf::Listener(heir.snapshot.listeners[0].id);
    assert_eq!(heir.aggregate.held_by_shard(of).len(), 1);
}
