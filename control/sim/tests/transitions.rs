//! The declared state machines: each transition occurs, in the simulator or in a scenario below
//! where the simulator has nothing that could cause it, and docs/lifecycle.md draws what is
//! declared.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::path::Path;

use weir_control_core::control::{
    AskedChange, ChangeId, Clocks, Control, Fleet, Input, Output, Phase, Setup,
};
use weir_control_core::fakes::{FakeShards, FakeVersions, spec};
use weir_control_core::fallback::{Fallback, SignalsSeen};
use weir_control_core::leases::Leases;
use weir_control_core::record::Record;
use weir_control_core::sockets::BindPlan;
use weir_core::action::Actions;
use weir_core::base::clock::Now;
use weir_core::base::machine::{END, Machine, START, Transition};
use weir_core::event::{Completion, Errno, Leg, Side};
use weir_core::health::Hysteresis;
use weir_core::limits::{RETRY_WAIT_MS, Tuning};
use weir_core::slot::ListenerSlot;
use weir_core::table::{AcceptedClient, Parts, Setup as TableSetup, Table};
use weir_proto::answer::Author;
use weir_proto::ids::{IdSource, ShardId, Version};
use weir_proto::order::{Credit, Limited, Report};
use weir_proto::request::{ChangeOptions, ChangeRequest};
use weir_proto::snapshot::Snapshot;
use weir_sim::run_seed;

/// Seeds in which each transition must have occurred. About a thousand are enough.
const SEEDS_MAX: u64 = 3000;

/// Transitions that occur nowhere: machine, from, to, and why they are declared.
const NOT_TAKEN: &[(&str, &str, &str, &str)] = &[
    (
        "listening socket",
        "Leaving",
        "Open",
        "control sends a new socket with an address that comes back; a shard that is sent none \
         keeps the one that it has",
    ),
    ("listening socket", "Open", "Handed", HANDED),
    ("listening socket", "Handed", "[*]", HANDED),
];

const HANDED: &str = "a simulated shard hands sessions over to itself, and keeps its sockets; \
                      engine/tests/handover.rs has a second engine";

fn machines() -> Vec<&'static Machine> {
    let engine = [&weir_engine::shard::LISTENING_SOCKET];
    let core = weir_core::MACHINES.iter().copied();
    core.chain(engine).chain(weir_control_core::MACHINES.iter().copied()).collect()
}

fn name(machine: &Machine, index: u8) -> &'static str {
    match index {
        START | END => "[*]",
        index => machine.states[usize::from(index)],
    }
}

/// The transitions that have not occurred and are not excused.
fn missing() -> Vec<String> {
    let mut missing = Vec::new();
    for machine in machines() {
        for Transition { from, to, .. } in machine.not_taken() {
            let [from, to] = [*from, *to].map(|index| name(machine, index));
            let row = (machine.name, from, to);
            if !NOT_TAKEN.iter().any(|(machine, from, to, _)| row == (*machine, *from, *to)) {
                missing.push(format!("{}: {from} to {to}", machine.name));
            }
        }
    }
    missing
}

#[test]
fn each_transition_occurs() {
    signals_end_a_process();
    signals_end_a_fallback();
    a_hand_over_fails_twice();
    a_watchdog_fences_a_shard();
    a_backend_goes_to_maint_while_it_is_down();
    a_retry_whose_turn_has_come_finds_no_room();
    clients_that_no_backend_has_go_to_another_shard();
    a_shard_is_built_again_between_two_versions();
    for seed in 0..SEEDS_MAX {
        run_seed(seed, false).unwrap_or_else(|failure| panic!("{failure}"));
        if missing().is_empty() {
            break;
        }
    }
    assert_eq!(missing(), [""; 0], "they have not occurred in {SEEDS_MAX} seeds");
    for (machine, from, to, _) in NOT_TAKEN {
        let declared = machines().into_iter().find(|it| it.name == *machine);
        let left = declared.into_iter().flat_map(|it| it.not_taken().map(move |row| (it, row)));
        let mut left = left.map(|(it, row)| (name(it, row.from), name(it, row.to)));
        assert!(left.any(|row| row == (*from, *to)), "{machine}: {from} to {to} does occur");
    }
}

fn at(ms: u64) -> Clocks {
    Clocks { now: Now { nanos: ms * 1_000_000 }, wall_ms: ms }
}

/// Two shards that use version 1.
fn started() -> (Control, FakeShards) {
    let shards = FakeShards::new(2);
    let spec = spec("192.0.2.9:80".parse().expect("an address"));
    let mut ids = IdSource::default();
    let first = Snapshot::build(&spec, Version(1), &Snapshot::empty(), &mut ids).expect("valid");
    let author = Author::new(0, 1);
    let disk = FakeVersions::new(Record::new(1, "then".into(), author, "seeded".into(), spec));
    let bound = shards.bind(&BindPlan::first(&first));
    let (fleet, versions) = (Box::new(shards.clone()), Box::new(disk));
    let setup = Setup {
        fleet,
        versions,
        snapshot: first,
        base: None,
        unconfirmed: None,
        in_use: BTreeMap::new(),
        found: BTreeMap::new(),
        ids,
        checks_max: 1,
        slice: 1,
        legacy: None,
    };
    let mut control = Control::new(setup, at(0));
    give(&mut control, Input::Begin(bound), 0);
    hear(&mut control);
    (control, shards)
}

fn hear(control: &mut Control) {
    while let Some(report) = control.take_report() {
        give(control, Input::Report(report), 1);
    }
}

/// Nothing follows from it here: there is no change, and no check is made.
fn give(control: &mut Control, input: Input, ms: u64) {
    let outputs = control.handle(input, at(ms));
    assert!(outputs.is_empty(), "{outputs:?}");
}

fn panicked(shard: u16) -> Report {
    Report::Ended { shard: ShardId(shard), panic: Some("oh".to_owned()) }
}

/// A limit is new for some microseconds only before its version is sent, and no shard of the
/// simulator ends in between.
fn a_shard_is_built_again_between_two_versions() {
    let mut ids = IdSource::default();
    let mut spec = spec("192.0.2.9:80".parse().expect("an address"));
    let mut build = |spec: &_, version, before: &_| {
        Snapshot::build(spec, Version(version), before, &mut ids).expect("valid")
    };
    let first = build(&spec, 1, &Snapshot::empty());
    for backend in spec.pool.get_mut("web").expect("it is there").backend.values_mut() {
        backend.max_sessions = Some(1);
    }
    let next = build(&spec, 2, &first);
    let mut leases = Leases::new(2);
    leases.adopt(&first, &Snapshot::empty());
    leases.prepare(&next.pools[0], Some(&first.pools[0]), next.edition());
    leases.ended(ShardId(1), Now::default());
    leases.built_again(ShardId(1));
    leases.settle(&next, &first);
    let granted: u64 = leases.leased().map(|it| it.granted).sum();
    assert_eq!((granted, leases.leased().count()), (0, 2));
}

/// Operators of the simulator drain once, and its processes are killed rather than interrupted.
fn signals_end_a_process() {
    let (mut control, _shards) = started();
    give(&mut control, Input::Stop, 0);
    assert!(matches!(control.phase, Phase::Stopping { .. }));
    let (mut control, _shards) = started();
    give(&mut control, Input::Drain { until: None }, 0);
    give(&mut control, Input::Drain { until: Some(at(1000).now) }, 0);
    for _ in 0..3 {
        give(&mut control, Input::Report(panicked(0)), 1);
    }
    assert_eq!(control.phase, Phase::Over { code: 1 });
}

/// No process of the simulator fails to take over while a change is under way.
fn a_hand_over_fails_twice() {
    let (mut control, _shards) = started();
    let request = ChangeRequest::BackendWeight { name: "web/b1".into(), weight: 5 };
    let (options, by) = (ChangeOptions::default(), Author::new(0, 1));
    let asked = AskedChange { id: ChangeId(1), request, options, by };
    let _ = control.handle(Input::Change(asked), at(0));
    give(&mut control, Input::HandOverBegins { id: ChangeId(2) }, 0);
    give(&mut control, Input::HandOverFailed, 0);
    let (mut control, _shards) = started();
    let outputs = control.handle(Input::HandOverBegins { id: ChangeId(3) }, at(0));
    assert!(matches!(outputs[..], [Output::ReadyToHandOver { .. }]), "{outputs:?}");
    give(&mut control, Input::HandOverFailed, 0);
}

/// A fallback of the simulator gets no signals.
fn signals_end_a_fallback() {
    let look = |fallback: &mut Fallback<FakeShards>, (terminate, interrupt), ms| {
        let signals = SignalsSeen { interrupt, terminate, reload: false };
        fallback.look(signals, &|| None, at(ms).now)
    };
    let none = (false, false);
    let fallback = || {
        let shards = FakeShards::new(2);
        shards.set_deaf(&[0, 1]);
        (Fallback::after(shards.clone(), None), shards)
    };
    let (mut one, _shards) = fallback();
    assert!(look(&mut one, (false, true), 0), "it stops");
    assert!(!look(&mut one, none, 5_000), "it has not waited for the shards any longer");
    let (mut one, _shards) = fallback();
    assert!(look(&mut one, (true, false), 0), "it drains");
    assert!(look(&mut one, (false, true), 1), "it stops");
    let (mut one, shards) = fallback();
    assert!(look(&mut one, (true, false), 0), "it drains");
    for _ in 0..3 {
        shards.report(panicked(0));
    }
    assert!(!look(&mut one, none, 1), "three panics");
}

/// The simulator has no watchdog: a shard that makes no turn is only slow.
fn a_watchdog_fences_a_shard() {
    let (mut control, shards) = started();
    for fences in 1..=2 {
        shards.set_watched(1, fences, fences);
        give(&mut control, Input::Tick, fences);
        assert!(!control.shards[1].counts());
        if fences == 1 {
            shards.report(Report::Started { shard: ShardId(1), sessions_max: 9 });
            hear(&mut control);
            assert!(control.shards[1].counts(), "it turns again");
        }
    }
    give(&mut control, Input::Report(panicked(1)), 3);
    assert!(!control.shards[1].has_thread());
}

/// In the simulator a backend in maint comes back only once its health is forgotten.
fn a_backend_goes_to_maint_while_it_is_down() {
    let mut health = Hysteresis::default();
    health.on_ejected(true, at(0).now);
    health.on_checks_begin(true);
    assert!(health.is_unproven());
}

/// The diagram of a machine, as docs/lifecycle.md has it.
fn diagram(machine: &Machine) -> String {
    let mut text = "```mermaid\nstateDiagram-v2\n".to_owned();
    for Transition { from, to, cause, .. } in machine.transitions {
        let [from, to] = [*from, *to].map(|index| name(machine, index));
        writeln!(text, "    {from} --> {to}: {cause}").expect("a string takes it");
    }
    text + "```\n"
}

/// The document with the diagrams of today: each follows a line `<!-- machine: NAME -->`.
fn drawn(document: &str) -> String {
    const MARK: &str = "<!-- machine: ";
    let mut made = String::new();
    let mut parts = document.split(MARK);
    made.push_str(parts.next().unwrap_or_default());
    for part in parts {
        let (of, rest) = part.split_once(" -->\n").expect("a mark is a line");
        let machine = machines().into_iter().find(|machine| machine.name == of);
        let machine = machine.unwrap_or_else(|| panic!("there is no machine {of}"));
        let after = match rest.strip_prefix("```") {
            Some(old) => old.split_once("\n```\n").expect("a diagram ends").1,
            None => rest,
        };
        write!(made, "{MARK}{of} -->\n{}{after}", diagram(machine)).expect("a string takes it");
    }
    made
}

#[test]
fn the_document_draws_what_is_declared() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/lifecycle.md");
    let there = std::fs::read_to_string(&path).expect("docs/lifecycle.md is there");
    let made = drawn(&there);
    if std::env::var_os("WEIR_WRITE_DOCS").is_some() {
        std::fs::write(&path, &made).expect("the document can be written");
    } else {
        let hint = "WEIR_WRITE_DOCS=1 cargo test -p weir-sim --test transitions";
        assert!(there == made, "docs/lifecycle.md is not what is declared: {hint}");
    }
    for Machine { name, .. } in machines() {
        let count = made.matches(&format!("<!-- machine: {name} -->")).count();
        assert_eq!(count, 1, "docs/lifecycle.md draws {name} once");
    }
}

#[test]
fn declarations_are_sound() {
    for machine in machines() {
        let Machine { name, states, transitions, .. } = machine;
        for (index, state) in (0..).zip(*states) {
            assert!(transitions.iter().any(|it| it.to == index), "{name}: {state} is unreachable");
        }
        for (n, row) in transitions.iter().enumerate() {
            let is_same = |other: &Transition| (other.from, other.to) == (row.from, row.to);
            assert!(!transitions[..n].iter().any(is_same), "{name}: {row:?} is declared twice");
            // A diagram's language gives these a meaning.
            assert!(!row.cause.contains([':', ';', '#', '%']), "{name}: {row:?}");
        }
    }
}

/// More retries at once than a pool may have, and then a limit that they use up: worlds are small.
fn a_retry_whose_turn_has_come_finds_no_room() {
    let mut spec = spec("192.0.2.9:80".parse().expect("an address"));
    let pool = spec.pool.values_mut().next().expect("it has one");
    let standby = pool.backend.values_mut().next_back().expect("it has two");
    (standby.priority, standby.max_sessions) = (1, Some(3));
    let mut ids = IdSource::default();
    let first = Snapshot::build(&spec, Version(1), &Snapshot::empty(), &mut ids).expect("valid");
    let now = Now { nanos: 1_000_000_000 };
    let mut table = table_of(&first, now);
    let limited = first.backends().find(|(_, it)| it.max_sessions.is_some()).expect("it is b");
    table.hear_credit(Credit { of: Limited::Backend(limited.1.id), given: 3, keep: None });
    let mut out = Actions::default();
    let mut sessions = Vec::new();
    for leg in 0..4 {
        let id = table.accept(client(leg), now, &mut out).expect("there is a slot");
        table.opened(id, Ok(Leg(10 + leg)), now, &mut out);
        sessions.push(id);
    }
    let refused = Completion::Connected(Err(Errno::ECONNREFUSED));
    for (id, leg) in sessions.iter().zip(20..) {
        table.on_completion(*id, Side::Backend, refused, now, &mut out);
        if table.session(*id).is_some_and(|session| session.route.backend.is_some()) {
            table.opened(*id, Ok(Leg(leg)), now, &mut out);
        }
    }
    table.on_completion(sessions[0], Side::Backend, Completion::Connected(Ok(())), now, &mut out);
    let later = now.plus_millis(3 * RETRY_WAIT_MS);
    let mut work = Tuning::default().timers;
    while table.on_time(later, &mut work, &mut out).is_some() {}
    assert!(table.session(sessions[3]).is_some_and(|session| session.is_in_queue));
}

/// A simulated shard gives only sessions that a backend has. One client is connected to none yet,
/// the other one has not said by which name it asks.
fn clients_that_no_backend_has_go_to_another_shard() {
    for is_inspected in [false, true] {
        let mut spec = spec("192.0.2.9:80".parse().expect("an address"));
        if is_inspected {
            let listener = spec.listener.values_mut().next().expect("it has one");
            listener.route = vec!["sni=* pool=web".parse().expect("a route")];
        }
        let mut ids = IdSource::default();
        let built = Snapshot::build(&spec, Version(1), &Snapshot::empty(), &mut ids);
        let now = Now { nanos: 1_000_000_000 };
        let mut table = table_of(&built.expect("valid"), now);
        let mut out = Actions::default();
        let id = table.accept(client(0), now, &mut out).expect("there is a slot");
        if !is_inspected {
            table.opened(id, Ok(Leg(10)), now, &mut out);
        }
        assert!(table.begin_to_leave(id, &mut out));
        if !is_inspected {
            for taken_back in [Completion::Canceled, Completion::Connected(Err(Errno::ECANCELED))] {
                table.on_completion(id, Side::Backend, taken_back, now, &mut out);
            }
        }
        assert!(matches!(table.take_apart(id, now), Some(Parts::Client(..))));
    }
}

fn table_of(snapshot: &Snapshot, now: Now) -> Table {
    let mut table = Table::new(TableSetup {
        shard: ShardId(0),
        slots: 4,
        tuning: Tuning::default(),
        seed: 1,
        now,
        session_log: None,
        hash_seed: (1, 2),
    });
    table.adopt(snapshot, now);
    table
}

fn client(leg: i32) -> AcceptedClient {
    let listener = ListenerSlot::FIRST;
    AcceptedClient { leg: Leg(leg), listener, key: 0, address: None, source: None }
}
