//! Shards fail alone: one that panics, one that is stuck, and a control thread that dies.
//!
//! T8, T9 and T23 of the reliability plan, as large as two shared cores allow. Faults are ordered
//! through WEIR_FAILPOINTS, which only builds with debug assertions have.

use std::io::ErrorKind;
use std::process::Command;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use rustix::process::Signal;
use weir_tests::clock::{self, PATIENCE};
use weir_tests::net::{Peer, Script};
use weir_tests::story::{Plan, Set};
use weir_tests::weir::Reader;

const SHARDS: usize = 4;
/// Clients that come all the time, one after the other.
const VISITORS: usize = 3;
/// Between two visits of one of them.
const PAUSE: Duration = Duration::from_millis(5);
/// How long a run of rounds may take.
const ROUNDS_MAX: Duration = Duration::from_secs(20);

/// Runs `story` in a network namespace of its own where `tcp_migrate_req` is 1: the test starts
/// itself again there. Where that is not allowed it says so and runs the story with `false`.
fn in_namespace(name: &str, story: fn(bool)) {
    const INSIDE: &str = "WEIR_STORY_IN_NAMESPACE";
    if std::env::var_os(INSIDE).is_some() {
        let up = Command::new("ip").args(["link", "set", "lo", "up"]).status();
        assert!(up.is_ok_and(|status| status.success()), "the loopback comes up");
        std::fs::write("/proc/sys/net/ipv4/tcp_migrate_req", "1").expect("the namespace is ours");
        return story(true);
    }
    let may = Command::new("unshare").args(["-n", "true"]).output();
    if !may.is_ok_and(|ran| ran.status.success()) {
        eprintln!("no network namespace is to be had: clients that wait at a shard may be lost");
        return story(false);
    }
    let me = std::env::current_exe().expect("a test has a path");
    let mut command = Command::new("unshare");
    command.arg("-n").arg(me).args(["--exact", &format!("watchdog::{name}"), "--nocapture"]);
    let ran = command.env(INSIDE, "1").output().expect("unshare is there");
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    let said = format!("{}{}", text(&ran.stdout), text(&ran.stderr));
    eprintln!("{said}");
    assert!(ran.status.success() && said.contains("1 passed"), "the story failed in its namespace");
}

/// False, with a line, if this weir has no failpoints: a release build.
fn plan() -> Option<Set> {
    let plan = Plan::new(2, Script::Banner).shards(4).failpoints();
    let set = plan.start();
    let armed = set.weir.log().contains("failpoints are armed");
    if !armed {
        eprintln!("this weir is a release build: no fault can be ordered");
    }
    armed.then_some(set)
}

/// One visit of a client that comes and goes: when it began, and how it went.
#[derive(Debug)]
struct Visit {
    began: Instant,
    took: Duration,
    fault: Option<String>,
}

fn visit(set: &Set) -> Visit {
    let began = clock::now();
    let served = Peer::try_connect(set.weir.web).and_then(|mut peer| {
        peer.patient(PATIENCE);
        peer.try_line()?;
        peer.fin();
        Ok(())
    });
    Visit { began, took: began.elapsed(), fault: served.err().map(|error| error.to_string()) }
}

/// Does `act` while clients come and go; what they saw, in order.
fn with_visitors(set: &Set, act: impl FnOnce()) -> Vec<Visit> {
    let (stop, visits) = (AtomicBool::new(false), Mutex::new(Vec::new()));
    std::thread::scope(|scope| {
        for _ in 0..VISITORS {
            scope.spawn(|| {
                while !stop.load(Ordering::SeqCst) {
                    let visit = visit(set);
                    visits.lock().expect("no visitor panics").push(visit);
                    clock::park(PAUSE);
                }
            });
        }
        let stop_at_last = StopAtLast(&stop);
        act();
        drop(stop_at_last);
    });
    let mut visits = visits.into_inner().expect("no visitor panics");
    visits.sort_by_key(|visit| visit.began);
    visits
}

/// Ends the visitors also when a check fails.
struct StopAtLast<'a>(&'a AtomicBool);

impl Drop for StopAtLast<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::SeqCst);
    }
}

/// Sessions of each shard now.
fn sessions(set: &Set) -> Vec<u64> {
    let rows = set.weir.json(&["shards"]);
    let rows = rows["shards"].as_array().expect("a list").clone();
    rows.iter().map(|row| row["sessions"].as_u64().expect("a number")).collect()
}

/// The value of a metric of one shard.
fn metric(set: &Set, name: &str, shard: usize) -> u64 {
    let page = set.weir.get("/metrics").body;
    let start = format!("{name}{{shard=\"{shard}\"}} ");
    let line = page.lines().find_map(|line| line.strip_prefix(&start));
    line.unwrap_or_else(|| panic!("no {start}in\n{page}")).trim().parse().expect("a number")
}

/// Opens sessions until each shard has at least one; returns how many each has.
fn hold(set: &Set) -> (Vec<Peer>, Vec<u64>) {
    let mut held = Vec::new();
    loop {
        held.extend((0..8).map(|_| set.session().0));
        let each = sessions(set);
        if each.iter().all(|count| *count > 0) {
            return (held, each);
        }
        assert!(held.len() < 400, "the kernel spreads clients: {each:?}");
    }
}

/// Waits until `count` of `held` were reset; the others, which must go on.
fn survivors(mut held: Vec<Peer>, count: u64) -> Vec<Peer> {
    let all = held.len();
    let count = usize::try_from(count).expect("it is small");
    clock::wait_for("the shard's sessions to be reset", || {
        held.retain_mut(|peer| !was_reset(peer));
        all - held.len() >= count
    });
    go_on(&mut held);
    assert_eq!(all - held.len(), count, "a session of another shard was cut");
    held
}

fn was_reset(peer: &mut Peer) -> bool {
    peer.patient(Duration::from_millis(1));
    let heard = peer.try_line().expect_err("the backend says nothing unasked");
    peer.patient(PATIENCE);
    match heard.kind() {
        ErrorKind::ConnectionReset => true,
        ErrorKind::WouldBlock | ErrorKind::TimedOut => false,
        other => panic!("a cut session must not look complete: {other}"),
    }
}

/// Bytes cross each session both ways.
fn go_on(held: &mut [Peer]) {
    for peer in held {
        peer.echo(b"goes on");
    }
}

/// Waits for a line of the log that has all of these; how long it took.
fn logged(set: &Set, words: &[&str], limit: Duration) -> Duration {
    let began = clock::now();
    clock::wait_within(limit, &words.join(" … "), || {
        let log = set.weir.log();
        log.lines().any(|line| words.iter().all(|word| line.contains(word))).then_some(())
    });
    began.elapsed()
}

/// New sessions come to this shard too.
fn takes_clients(set: &Set, shard: usize) {
    let mut held = Vec::new();
    let before = sessions(set)[shard];
    clock::wait_for("the shard to take clients", || {
        held.push(set.session().0);
        sessions(set)[shard] > before
    });
}

#[test]
fn a_panic_costs_its_shard_and_nothing_else() {
    in_namespace("a_panic_costs_its_shard_and_nothing_else", |migrates| {
        let (began, mut panics, mut slowest) = (clock::now(), 0, Duration::ZERO);
        while began.elapsed() < ROUNDS_MAX {
            let Some(set) = plan() else { return };
            // The third one within a minute would end the process.
            for shard in [panics % SHARDS, (panics + 1) % SHARDS] {
                slowest = slowest.max(panic_once(&set, shard, migrates));
                panics += 1;
            }
        }
        eprintln!("{panics} panics; the slowest shard was back after {slowest:?}");
    });
}

/// A shard panics behind a turn of 400 ms, in which clients come to wait at it. How long it was
/// away after the panic.
fn panic_once(set: &Set, shard: usize, migrates: bool) -> Duration {
    const TURN: Duration = Duration::from_millis(400);
    let (held, each) = hold(set);
    let mut back = Duration::ZERO;
    let mut end = clock::now();
    let visits = with_visitors(set, || {
        let struck = clock::now();
        set.weir.strike(&format!("shard {shard} panic {}", TURN.as_millis()));
        logged(set, &[&format!("shard {shard} has made no turn")], PATIENCE);
        // A quarter of them are the kernel's to queue at the shard that will panic.
        let mut waiting: Vec<Peer> = (0..32).map(|_| set.client()).collect();
        logged(set, &[&format!("shard {shard} was built again")], PATIENCE);
        end = clock::now();
        back = struck.elapsed().saturating_sub(TURN);
        let lost = waiting.iter_mut().filter_map(|peer| peer.try_line().err()).count();
        assert!(lost == 0 || !migrates, "{lost} of 32 clients that waited were lost");
    });
    assert!(back <= Duration::from_secs(1), "the shard was away for {back:?}");
    let faults: Vec<&Visit> = visits.iter().filter(|visit| visit.fault.is_some()).collect();
    // One that had been accepted by that shard; not more than one a visitor.
    assert!(faults.len() <= VISITORS, "{faults:?}");
    assert!(faults.iter().all(|visit| visit.began < end), "{faults:?}");
    survivors(held, each[shard]);
    takes_clients(set, shard);
    clock::wait_for("the metric", || metric(set, "weir_shard_restarts_total", shard) == 1);
    back
}

#[test]
fn a_stuck_shard_is_fenced_and_comes_back() {
    in_namespace("a_stuck_shard_is_fenced_and_comes_back", |migrates| {
        // A shard that computes is judged by the CPU time that it gets: on a busy machine that
        // takes longer by the clock. One that sleeps is not.
        for (fault, limit_s) in [("spin 8000", 6), ("sleep 3000", 2), ("linger 3000", 2)] {
            let Some(set) = plan() else { return };
            stuck_once(&set, (fault, Duration::from_secs(limit_s)), migrates);
        }
    });
}

fn stuck_once(set: &Set, (fault, limit): (&str, Duration), migrates: bool) {
    const SHARD: usize = 1;
    let (mut held, each) = hold(set);
    let mut fenced = clock::now();
    let visits = with_visitors(set, || {
        set.weir.strike(&format!("shard {SHARD} {fault}"));
        let took = logged(set, &["shard 1 ", "listeners are shut"], limit);
        eprintln!("{fault}: fenced after {took:?}");
        fenced = clock::now();
        // A change does not wait for it.
        set.weir.ok(&["backend", "weight", "web/b1", "7"]);
        let took = fenced.elapsed();
        assert!(took < Duration::from_secs(1), "the change took {took:?}");
        clock::wait_for("the metric", || metric(set, "weir_shard_fenced", SHARD) == 1);
        assert_eq!(metric(set, "weir_shard_fenced", 0), 0);
        let warnings = set.weir.json(&["status"])["warnings"].to_string();
        assert!(warnings.contains("shard 1 is stuck"), "{warnings}");
        logged(set, &["shard 1 turns again"], PATIENCE);
        clock::wait_for("it to count again", || metric(set, "weir_shard_fenced", SHARD) == 0);
    });
    let after: Vec<&Visit> = visits.iter().filter(|visit| visit.began > fenced).collect();
    let slowest = after.iter().map(|visit| visit.took).max().unwrap_or_default();
    eprintln!("{fault}: {} visits after the fence, the slowest took {slowest:?}", after.len());
    assert!(after.len() > 50, "too few clients to prove anything");
    assert!(slowest < Duration::from_secs(1), "a client waited for {slowest:?} after the fence");
    // Without migration those that were queued at it are reset by the fence.
    let may_lose = |visit: &&Visit| !migrates && visit.began < fenced;
    let lost = visits.iter().filter(|visit| visit.fault.is_some() && !may_lose(visit));
    let lost: Vec<&Visit> = lost.collect();
    assert!(lost.is_empty(), "{lost:?}");
    // It was stuck, not dead: its sessions have lost nothing.
    assert!(each[SHARD] > 0);
    go_on(&mut held);
    takes_clients(set, SHARD);
    clock::wait_for("it to use the newest version", || {
        metric(set, "weir_shard_version", SHARD) == set.weir.version()
    });
    assert_eq!(metric(set, "weir_shard_fences_total", SHARD), 1);
    assert!(metric(set, "weir_shard_stuck_total", SHARD) >= 1);
    let events = set.weir.ok(&["events"]);
    assert!(events.contains("is stuck") && events.contains("turns again"), "{events}");
    assert!(set.weir.log().contains("wchan"), "what its thread did is in the log");
    let is_late = set.weir.log().contains("shard 1 is late in its ring by");
    assert_eq!(is_late, fault.starts_with("linger"), "{}", set.weir.log());
}

#[test]
fn a_shard_without_siblings_keeps_its_clients() {
    let set = Plan::new(1, Script::Banner).shards(1).failpoints().start();
    if !set.weir.log().contains("failpoints are armed") {
        return;
    }
    set.weir.strike("shard 0 sleep 1500");
    logged(&set, &["shard 0 has made no turn"], PATIENCE);
    let mut client = set.client();
    logged(&set, &["no other shard could take"], PATIENCE);
    assert_eq!(client.line(), "b1");
    logged(&set, &["shard 0 turns again"], PATIENCE);
    assert_eq!(metric(&set, "weir_shard_fences_total", 0), 0);
}

#[test]
fn a_shard_that_stays_stuck_ends_the_process() {
    // One whose log is read, and one whose log is full: what is to be said must not keep it.
    let sets = [Reader::Reads, Reader::StandsStill].map(|reader| {
        let set = plan()?;
        set.weir.read_log(reader);
        set.weir.strike("shard 2 sleep 90000");
        Some((reader, set))
    });
    for (reader, mut set) in sets.into_iter().flatten() {
        let status = clock::wait_within(Duration::from_secs(45), "the end", || set.weir.exited());
        let signal = std::os::unix::process::ExitStatusExt::signal(&status);
        assert_eq!(signal, Some(Signal::ABORT.as_raw()), "{status}, {reader:?}");
        if reader == Reader::Reads {
            clock::wait_for("what all threads did", || {
                let log = set.weir.log();
                let of_fence = log.contains("shard 2 ") && log.contains("listeners are shut");
                of_fence && log.contains("ending the process") && log.contains("weir-shard-0")
            });
        }
    }
}

#[test]
fn the_death_of_control_leaves_traffic_alone() {
    const LOOK: Duration = Duration::from_secs(10);
    let Some(mut set) = plan() else { return };
    let (mut held, each) = hold(&set);
    let visits = with_visitors(&set, || {
        set.weir.strike("control panic");
        logged(&set, &["the control thread has died"], PATIENCE);
        set.weir.ctl(&["status"]).expect_code(5);
        clock::park(LOOK);
    });
    let faults: Vec<&Visit> = visits.iter().filter(|visit| visit.fault.is_some()).collect();
    assert!(faults.is_empty(), "{faults:?}");
    assert!(visits.len() > 100, "too few clients to prove anything: {}", visits.len());
    go_on(&mut held);
    // A shard is still repaired.
    set.weir.strike("shard 3 panic 0");
    logged(&set, &["shard 3 serves again"], PATIENCE);
    let mut held = survivors(held, each[3]);
    for _ in 0..20 {
        assert_eq!(visit(&set).fault, None);
    }
    // And it ends as it is told to, with an exit code that says that something was wrong.
    set.weir.signal(Signal::TERM);
    logged(&set, &["draining"], PATIENCE);
    for peer in &mut held {
        peer.echo(b"to its end").fin().expect_fin();
    }
    assert_eq!(set.weir.wait_exit(PATIENCE), 1);
}
