//! Random histories with processes that take each other's place in between: none of them can be
//! told from the one before it.

use proptest::prelude::{Just, ProptestConfig, Strategy, any, prop};
use proptest::{prop_oneof, proptest};
use weir_proto::confirm::Confirm;

use super::*;

/// One thing that happens.
#[derive(Clone, Debug)]
enum Happening {
    Set(&'static str, &'static str),
    SetBackend(u8, &'static str, &'static str),
    Add(u8),
    Remove(u8),
    Unconfirmed(u16),
    Counts(u16, u64),
    Tick,
    Wake,
    Checks(u8),
    Ejected(u16, u8),
    Panic(u16),
    Found(u8),
    NotFound,
    Audited(bool),
    Drain(u8),
    Rebalance,
    Cancel(u64),
    HandedOver,
    /// Shards of the process before count on.
    HandedOverLater(u64, u64),
    HandOverFailed,
}

fn happening() -> impl Strategy<Value = Happening> {
    use Happening::*;
    let pool = prop::sample::select(vec![
        Set("health.kind", "tcp"),
        Set("health.kind", "none"),
        Set("health.panic", "100%"),
        Set("health.panic", "50%"),
        Set("health.slow-start", "60s"),
        Set("failover", "stay"),
        Set("failover", "auto"),
        Set("discover.dns", "web.internal:443"),
    ]);
    let backend = prop::sample::select(vec![
        ("priority", "1"),
        ("priority", "0"),
        ("weight", "7"),
        ("state", "drain"),
        ("state", "ready"),
        ("state", "maint"),
        ("force", "down"),
        ("force", "up"),
        ("force", ""),
    ]);
    prop_oneof![
        2 => pool,
        3 => (1..5_u8, backend).prop_map(|(number, (key, value))| SetBackend(number, key, value)),
        2 => (1..5_u8).prop_map(Add),
        2 => (1..5_u8).prop_map(Remove),
        1 => (1..9_u16).prop_map(Unconfirmed),
        5 => (0..2_u16, 1..9_u64).prop_map(|(shard, n)| Counts(shard, n)),
        4 => Just(Tick),
        4 => Just(Wake),
        4 => any::<u8>().prop_map(Checks),
        3 => (0..2_u16, 1..5_u8).prop_map(|(shard, number)| Ejected(shard, number)),
        1 => (0..2_u16).prop_map(Panic),
        2 => (0..8_u8).prop_map(Found),
        1 => Just(NotFound),
        1 => any::<bool>().prop_map(Audited),
        1 => (1..5_u8).prop_map(Drain),
        1 => Just(Rebalance),
        1 => (1..5_u64).prop_map(Cancel),
        3 => Just(HandedOver),
        2 => (1..9_u64, 1..9_u64).prop_map(|(one, other)| HandedOverLater(one, other)),
        1 => Just(HandOverFailed),
    ]
}

/// Milliseconds to the next thing.
fn after() -> impl Strategy<Value = u64> {
    prop_oneof![1..20_u64, 200..9_000_u64]
}

/// Whatever is refused has not happened.
fn make(control: &mut Shell, request: &ChangeRequest, ms: u64) {
    let _ = control.make_with_yes(request, ms);
    control.pump(ms);
    control.answers.clear();
}

fn name(number: u8) -> String {
    format!("web/b{number}")
}

fn change_of(happening: &Happening) -> Option<ChangeRequest> {
    let pairs = |key: &str, value: &str| vec![(key.to_owned(), value.to_owned())];
    Some(match happening {
        Happening::Set(key, value) => {
            ChangeRequest::PoolSet { name: "web".into(), pairs: pairs(key, value) }
        }
        Happening::SetBackend(number, key, value) => {
            ChangeRequest::BackendSet { name: name(*number), pairs: pairs(key, value) }
        }
        Happening::Add(number) => {
            let address = format!("192.0.2.{number}:80");
            ChangeRequest::BackendAdd { name: name(*number), address, pairs: Vec::new() }
        }
        Happening::Remove(number) => {
            ChangeRequest::BackendRemove { name: name(*number), force: false }
        }
        _ => return None,
    })
}

fn task_of(happening: &Happening) -> Option<TaskRequest> {
    Some(match happening {
        Happening::Drain(number) => {
            TaskRequest::BackendDrain { name: name(*number), over_ms: 60_000 }
        }
        Happening::Rebalance => {
            TaskRequest::PoolRebalance { name: "web".into(), spread: 10, per_s: 3 }
        }
        Happening::Cancel(id) => TaskRequest::Cancel { id: *id },
        _ => return None,
    })
}

/// A look-up that was asked for, if there is one, is answered.
fn look_up(control: &mut Shell, outcome: Result<Found, Fault>, ms: u64) {
    if let Some(lookup) = control.lookups.pop_front() {
        control.give(Input::Resolved { lookup, outcome }, ms);
        control.pump(ms);
    }
}

fn happens(control: &mut Shell, happening: &Happening, ms: u64) {
    if let Some(request) = change_of(happening) {
        return make(control, &request, ms);
    }
    if let Some(request) = task_of(happening) {
        return control.give(Input::Task { id: ChangeId(1 << 30), request }, ms);
    }
    match happening {
        Happening::Unconfirmed(number) => {
            let confirm = Some(Confirm { within_ms: 30_000, guards: Vec::new() });
            let options = ChangeOptions { confirm, yes: true, ..ChangeOptions::default() };
            let _ = control.make_with(&weight(*number), options, ms);
            control.pump(ms);
        }
        Happening::Counts(shard, n) => hear(control, *shard, *n, ms),
        Happening::Tick => {
            control.give(Input::Tick, ms);
            control.pump(ms);
        }
        Happening::Wake => control.give(Input::Wake, ms),
        Happening::Checks(good) => end_checks(control, |index| good >> (index % 8) & 1 == 1, ms),
        Happening::Ejected(shard, number) => {
            let pool = control.snapshot.pool("web").expect("it stays");
            let backend = pool.backend(&format!("b{number}")).map_or(BackendId(999), |it| it.id);
            let (shard, fault) = (ShardId(*shard), ConnectFault::Refused);
            control.give(Input::Report(Report::Ejected { shard, backend, fault }), ms);
        }
        Happening::Panic(shard) => {
            let shard = ShardId(*shard);
            let panic = Some("oh".to_owned());
            control.give(Input::Report(Report::Ended { shard, panic }), ms);
            control.give(Input::Report(Report::Started { shard, sessions_max: 9 }), ms);
            control.pump(ms);
        }
        Happening::Found(which) => {
            let mut found = Found::new(1);
            let addresses = (0..3).filter(|bit| which >> bit & 1 == 1);
            found.extend(addresses.map(|it| FoundAddress::new([10, 0, 0, it + 1].into(), 443)));
            look_up(control, Ok(found), ms);
        }
        Happening::NotFound => look_up(control, Err(Fault::Timeout), ms),
        Happening::Audited(is_done) => {
            use crate::events::Kept;
            let kept = if *is_done { Kept::Change } else { Kept::Refusal };
            let (subject, text) = ("uid 0".to_owned(), "stop".to_owned());
            control.give(Input::Audited { kept, kind: EventKind::Audit, subject, text }, ms);
        }
        _ => {}
    }
}

/// The next process, which says the same. `later`: boxes that shards of the one before give after
/// that.
fn succeeded(mut before: Shell, later: Option<(u64, u64)>, ms: u64) -> (Shell, u64) {
    let seen = picture(&before, ms);
    let legacy = legacy_of(&mut before, ms);
    let shards = FakeShards::new(2);
    let mut heir = heir(&before, legacy.clone(), &shards, ms);
    assert_same(&seen, &picture(&heir, ms), "after a hand-over");
    let standing = |control: &Control| control.down();
    assert_eq!(standing(&heir), standing(&before), "shards hear the same");
    if let Some((one, other)) = later {
        hear(&mut before, 0, one, ms + 1);
        hear(&mut before, 1, other, ms + 2);
        before.give(Input::Tick, ms + 3);
    }
    let totals = |control: &Control| {
        let lines = picture(control, ms + 4);
        let is_counter = |line: &&String| line.contains("_total") || line.contains("Counts");
        lines.iter().filter(is_counter).cloned().collect::<Vec<_>>()
    };
    let wanted = totals(&before);
    inherit(&mut heir, &before, &legacy, ms + 4);
    let got = totals(&heir);
    // The last seconds are those of each process alone.
    for (wanted, got) in wanted.iter().zip(&got).filter(|(it, _)| !it.contains("recent")) {
        assert_eq!(got, wanted, "what was counted later is added");
    }
    for at in [250, 500, 750] {
        hear(&mut heir, 0, 1, ms + at);
        hear(&mut heir, 1, 1, ms + at);
    }
    (heir, ms + 750)
}

fn live_through(history: &[(Happening, u64)]) {
    let (mut control, _) = started();
    let mut ms = 1_000;
    for (happening, after) in history {
        ms += after;
        if let Phase::Over { .. } = control.phase {
            return; // its shards have panicked too often
        }
        match happening {
            Happening::HandedOver => (control, ms) = succeeded(control, None, ms),
            Happening::HandedOverLater(one, other) => {
                (control, ms) = succeeded(control, Some((*one, *other)), ms);
            }
            Happening::HandOverFailed => {
                legacy_of(&mut control, ms);
                control.give(Input::HandOverFailed, ms);
            }
            happening => happens(&mut control, happening, ms),
        }
    }
    if control.is_serving() {
        succeeded(control, Some((3, 4)), ms + 1);
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(400))]

    #[test]
    fn no_process_can_be_told_from_the_one_before_it(
        history in prop::collection::vec((happening(), after()), 1..60),
    ) {
        live_through(&history);
    }
}
