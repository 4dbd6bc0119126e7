//! A field that is not carried is noticed: each one is left out, one at a time.

use serde_json::Value;
use weir_proto::confirm::Confirm;

use super::*;
use crate::events::Kept;

/// Fields without which the next process says the same, and why they are carried.
const UNSEEN: &[(&str, &str)] = &[
    ("aggregate.all.counts", "no page shows them of all pools together"),
    ("aggregate.backends.early.closes", "that they are many was told"),
    ("aggregate.latest", "it only makes the last seconds older"),
    ("aggregate.names", "those of the reader are taken, which is the same weir here"),
    ("health.in_use", "the group in use is not kept here: handing_over.rs"),
    ("health.in_use.web", "the same"),
    ("health.untold", "there is nothing untold between most inputs"),
    ("health.watched.ejected_at", "checks of the next process begin later"),
    ("health.watched.up_since", "each is down here, or was never: handing_over.rs"),
    ("live.before.connects.sum_us", "percentiles do without"),
    ("panicking", "no pool is in panic here"),
    ("resolve.regrouped", "an edition is sent at once, unless it is one of many"),
];

/// A process in which everything has happened that a process hands over.
fn rich() -> (Shell, FakeShards) {
    let (mut control, shards) = checked();
    control.control.events = Events::new(7);
    end_checks(&mut control, |_| true, 2_001);
    judged_and_found(&mut control);
    come_and_gone(&mut control, &shards);
    changed_and_waiting(&mut control, &shards);
    in_trouble(&mut control, &shards);
    control.answers.clear();
    (control, shards)
}

fn make(control: &mut Shell, request: &ChangeRequest, ms: u64) {
    control.make_with_yes(request, ms).unwrap();
    control.pump(ms);
}

fn pairs(list: &[(&str, &str)]) -> Vec<(String, String)> {
    list.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect()
}

fn pool(list: &[(&str, &str)]) -> ChangeRequest {
    ChangeRequest::PoolSet { name: "web".into(), pairs: pairs(list) }
}

/// Until 26,050 ms: backends go down and come up, and DNS finds some.
fn judged_and_found(control: &mut Shell) {
    // Two priority groups, of which the second is kept; some are found by DNS.
    make(control, &pool(&[("failover", "stay"), ("health.panic", "90%")]), 2_010);
    make(control, &pool(&[("discover.dns", "web.internal:443")]), 2_020);
    let (name, second) = ("web/b2".into(), pairs(&[("priority", "1")]));
    make(control, &ChangeRequest::BackendSet { name, pairs: second }, 2_030);
    let b1 = id_of(control, "b1");
    eject(control, b1, 3_000);
    for ms in [10_000, 17_000] {
        control.give(Input::Wake, ms);
        end_checks(control, |_| true, ms + 1);
    }
    let mut found = Found::new(1);
    found.extend([1, 2, 3].map(|it| FoundAddress::new([10, 0, 0, it].into(), 443)));
    let mut less = Found::new(1);
    less.extend([1, 2].map(|it| FoundAddress::new([10, 0, 0, it].into(), 443)));
    for (ms, outcome) in [(20_100, Ok(found)), (23_000, Ok(less)), (26_000, Err(Fault::Timeout))] {
        control.give(Input::Wake, ms);
        let lookup = control.lookups.pop_front().expect("it is due");
        control.give(Input::Resolved { lookup, outcome }, ms);
        control.pump(ms);
        end_checks(control, |_| true, ms + 10);
        if ms == 20_100 {
            let first = id_of(control, "10.0.0.1:443");
            eject(control, first, 20_200);
        }
    }
    eject(control, b1, 26_050);
}

/// Until 30,000 ms: what comes and goes, and is counted.
fn come_and_gone(control: &mut Shell, shards: &FakeShards) {
    // A backend that is gone, was there again, and is gone again.
    let remove = || ChangeRequest::BackendRemove { name: "web/b9".into(), force: false };
    for ms in [26_100, 26_200] {
        let (name, address) = ("web/b9".into(), "192.0.2.9:81".into());
        make(control, &ChangeRequest::BackendAdd { name, address, pairs: Vec::new() }, ms);
        let id = id_of(control, "b9");
        shards.set_sessions(&[(id, 3)]);
        hear(control, 0, 2, ms + 10);
        make(control, &remove(), ms + 20);
    }
    shards.set_watched(1, 3, 1);
    control.give(Input::Tick, 26_290);
    control
        .give(Input::Report(Report::Ended { shard: ShardId(1), panic: Some("oh".into()) }), 26_300);
    control.give(Input::Report(Report::Started { shard: ShardId(1), sessions_max: 9 }), 26_310);
    control.pump(26_320);
    for round in 0..4 {
        hear(control, 0, 20, 26_400 + 1_000 * round);
        hear(control, 1, 3, 26_500 + 1_000 * round);
        control.give(Input::Tick, 26_600 + 1_000 * round);
        control.pump(26_700 + 1_000 * round);
    }
}

/// Until 30,310 ms: tasks begin, and a version waits for its confirmation.
fn changed_and_waiting(control: &mut Shell, shards: &FakeShards) {
    let b1 = id_of(control, "b1");
    let drain = ChangeRequest::BackendState { name: "web/b1".into(), state: Admin::Drain };
    make(control, &drain, 30_000);
    shards.set_sessions(&[(b1, 40)]);
    control.give(Input::Tick, 30_100);
    control.pump(30_110);
    let request = TaskRequest::BackendDrain { name: "web/b1".into(), over_ms: 60_000 };
    control.give(Input::Task { id: ChangeId(77), request }, 30_200);
    let request = TaskRequest::PoolRebalance { name: "web".into(), spread: 10, per_s: 3 };
    control.give(Input::Task { id: ChangeId(78), request }, 30_210);
    // Another name in DNS, without an answer so far.
    make(control, &pool(&[("discover.dns", "other.internal:443")]), 30_220);
    control.give(Input::Wake, 30_230);
    let lookup = control.lookups.pop_front().expect("it is due");
    control.give(Input::Resolved { lookup, outcome: Err(Fault::Timeout) }, 30_240);
    let max = pairs(&[("max-sessions", "10")]);
    make(control, &ChangeRequest::ListenerSet { name: "web".into(), pairs: max }, 30_250);
    // The address is taken while weir drains.
    shards.set_taken(&[TAKEN.parse().unwrap()]);
    control.give(Input::Drain { until: None }, 30_260);
    control.give(Input::Ready { id: ChangeId(79) }, 30_270);
    control.pump(30_280);
    let guards = vec!["connect-errors=90%".parse().unwrap()];
    let confirm = Some(Confirm { within_ms: 1_000, guards });
    let options = ChangeOptions { confirm, yes: true, ..ChangeOptions::default() };
    control.make_with(&weight(5), options, 30_300).unwrap();
    control.pump(30_310);
}

/// Until 32,700 ms: limits are reached, and checks fail.
fn in_trouble(control: &mut Shell, shards: &FakeShards) {
    hear(control, 0, 4, 31_000);
    control.give(Input::Tick, 31_400);
    control.pump(31_401);
    shards.set_sessions(&[]);
    let second = id_of(control, "10.0.0.2:443");
    eject(control, second, 31_500);
    let report = troubled(control);
    control.give(Input::Report(report), 32_599);
    control.give(Input::Tick, 32_600);
    control.pump(32_601);
    for ms in [32_610, 32_620] {
        control.give(Input::Wake, ms);
        let checks: Vec<_> = control.checks.drain(..).collect();
        for (number, check) in checks.into_iter().enumerate() {
            let outcome = match number {
                0 => CheckOutcome::Local("no port".to_owned()),
                1 => CheckOutcome::Bad("refused".to_owned()),
                _ => CheckOutcome::Good,
            };
            control.give(Input::Checked { check, outcome, started: at(ms).now }, ms);
        }
    }
    while let Some(lookup) = control.lookups.pop_front() {
        control.give(Input::Resolved { lookup, outcome: Err(Fault::Timeout) }, 32_650);
    }
    for kept in [Kept::Change, Kept::Refusal] {
        let (kind, subject, text) = (EventKind::Audit, "uid 0".to_owned(), "stop".to_owned());
        control.give(Input::Audited { kept, kind, subject, text }, 32_700);
    }
}

fn eject(control: &mut Shell, backend: BackendId, ms: u64) {
    let (shard, fault) = (ShardId(0), ConnectFault::Refused);
    control.give(Input::Report(Report::Ejected { shard, backend, fault }), ms);
}

/// The address of the listener.
const TAKEN: &str = "192.0.2.9:80";

/// A box of a shard whose listener is full, whose backend ends sessions early, and whose host has
/// no ports.
fn troubled(control: &Control) -> Report {
    let mut stats = ShardStats::new(ShardId(0));
    stats.edition = control.snapshot.edition();
    let id = control.snapshot.listeners[0].id;
    stats.listeners.push(ListenerStats { id, sessions_now: 10, ..ListenerStats::default() });
    let mut row = BackendStats { id: id_of(control, "b1"), ..BackendStats::default() };
    (row.counts.sessions, row.counts.early_closes) = (5_000, 5_000);
    row.counts.connect_failures[ConnectFault::Local as usize] = 9_000;
    stats.backends.push(row);
    Report::Stats(stats.into())
}

/// Shards of a process that has taken over, or of one whose hand-over has failed, say the same, and
/// so does the process.
fn goes_on(control: &mut Shell) -> Vec<String> {
    for ms in [32_900, 32_950] {
        hear(control, 0, 1, ms);
        hear(control, 1, 1, ms);
    }
    for ms in [33_000, 33_750, 34_500] {
        control.give(Input::Tick, ms);
        control.pump(ms + 1);
    }
    let report = troubled(control);
    control.give(Input::Report(report), 34_600);
    let request = TaskRequest::PoolRebalance { name: "web".into(), spread: 9, per_s: 3 };
    control.give(Input::Task { id: ChangeId(80), request }, 34_700);
    for ms in [40_000, 47_000, 54_000, 61_000] {
        control.give(Input::Wake, ms);
        let mut found = Found::new(1);
        found.extend([FoundAddress::new([10, 0, 0, 9].into(), 443)]);
        if let Some(lookup) = control.lookups.pop_front() {
            control.give(Input::Resolved { lookup, outcome: Ok(found) }, ms + 1);
        }
        end_checks(control, |_| true, ms + 10);
        control.pump(ms + 20);
    }
    let backends: Vec<_> = control.snapshot.pools[0].backends.iter().map(|it| it.id).collect();
    backends.into_iter().for_each(|backend| eject(control, backend, 62_000));
    control.give(Input::Tick, 62_100);
    // Checks are spread by chance.
    let is_by_chance = |line: &String| line.contains("LookupCounts");
    picture(control, 62_200).into_iter().filter(|line| !is_by_chance(line)).collect()
}

/// Every place of a value that is not empty, as a path, with the values of lists as one.
fn places(value: &Value, path: &mut Vec<String>, into: &mut Vec<Vec<String>>) {
    match value {
        Value::Object(map) => {
            for (key, value) in map {
                path.push(key.clone());
                into.push(path.clone());
                places(value, path, into);
                path.pop();
            }
        }
        Value::Array(list) => {
            for (index, value) in list.iter().enumerate().filter(|(_, value)| value.is_object()) {
                path.push(index.to_string());
                places(value, path, into);
                path.pop();
            }
        }
        _ => {}
    }
}

/// Takes a field out.
fn without(mut value: Value, path: &[String]) -> Value {
    let (last, way) = path.split_last().expect("it has a name");
    let mut at = &mut value;
    for step in way {
        at = match at {
            Value::Array(list) => &mut list[step.parse::<usize>().unwrap()],
            other => &mut other[step.as_str()],
        };
    }
    at.as_object_mut().expect("it has names").remove(last);
    value
}

/// The name of a field, wherever in its list.
fn shown(path: &[String]) -> String {
    let is_name = |step: &&String| step.parse::<u32>().is_err();
    path.iter().filter(is_name).cloned().collect::<Vec<_>>().join(".")
}

#[test]
fn each_field_is_missed() {
    let (mut before, shards) = rich();
    let seen = picture(&before, 32_800);
    let legacy = legacy_of(&mut before, 32_800);
    let whole: Value = serde_json::from_slice(&legacy.to_json()).unwrap();
    let wake = before.next_wake();
    let successor = |before: &Shell, legacy| {
        let fresh = FakeShards::new(2);
        fresh.set_taken(&[TAKEN.parse().unwrap()]);
        let mut heir = heir(before, legacy, &fresh, 32_800);
        // As the other one has it.
        let (kept, kind, subject) = (Kept::News, EventKind::Process, "upgrade".to_owned());
        let text = "the next process has not taken over: this one goes on".to_owned();
        let (seen, woken) = (picture(&heir, 32_800), heir.next_wake());
        heir.give(Input::Audited { kept, kind, subject, text }, 32_810);
        heir.give(Input::Inherit(None), 32_820);
        (heir, (seen, woken))
    };
    before.give(Input::HandOverFailed, 32_810);
    shards.take_sent();
    let later = goes_on(&mut before);
    let (mut whole_heir, (after, woken)) = successor(&before, legacy);
    assert_same(&seen, &after, "with every field");
    assert_eq!(woken, wake);
    assert_same(&later, &goes_on(&mut whole_heir), "with every field, and later");
    let mut all = Vec::new();
    places(&whole, &mut Vec::new(), &mut all);
    let is_missed = |path: &[String]| {
        let text = without(whole.clone(), path).to_string();
        let Ok(read) = Legacy::of_json(text.as_bytes()) else { return true };
        let (mut after, (at_once, woken)) = successor(&before, read);
        if at_once != seen || woken != wake {
            return true;
        }
        goes_on(&mut after) != later
    };
    assert!(!is_missed(&["no such field".to_owned()]), "with all of them it is the same");
    let mut missed: BTreeMap<String, bool> = BTreeMap::new();
    for path in &all {
        *missed.entry(shown(path)).or_default() |= is_missed(path);
    }
    let unseen: Vec<&str> =
        missed.iter().filter(|(_, missed)| !**missed).map(|(name, _)| name.as_str()).collect();
    let excused: Vec<&str> = UNSEEN.iter().map(|(name, _)| *name).collect();
    assert_eq!(unseen, excused, "of {} fields", missed.len());
    assert!(missed.len() > 240, "{} fields", missed.len());
}
