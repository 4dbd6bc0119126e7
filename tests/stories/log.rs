//! The log costs nobody but itself: its reader leaves or stands still, its disk is full, and
//! traffic, health, changes and the end of the process go on as ever.

use std::os::unix::net::UnixDatagram;
use std::process::{Command, Stdio};
use std::time::Duration;

use rustix::process::{Pid, Resource, Rlimit, Signal, prlimit};
use weir_tests::clock::{self, PATIENCE};
use weir_tests::net::{Peer, Script};
use weir_tests::story::{Plan, Set};
use weir_tests::weir::{Dir, Reader, binary};

/// Changes that are made while nobody reads: control used to hang after some 270.
const CHANGES: u32 = 300;
/// Lines that may wait, in builds with debug assertions: fewer than that many changes write.
const LINES: &str = "64";

fn plan() -> Plan {
    let health = "{ kind = \"tcp\", interval = \"100ms\", timeout = \"2s\", fall = 1 }";
    Plan::new(2, Script::Echo).health(health).env("WEIR_TEST_LOG_LINES", LINES).failpoints()
}

/// Sessions that are open before anything happens.
fn hold(set: &Set) -> Vec<Peer> {
    (0..8).map(|_| echoed(set)).collect()
}

fn echoed(set: &Set) -> Peer {
    let mut client = set.client();
    client.echo(b"a new one");
    client
}

fn dropped(set: &Set) -> u64 {
    let page = set.weir.get("/metrics").body;
    let line = page.lines().find_map(|line| line.strip_prefix("weir_log_dropped_total "));
    line.unwrap_or_else(|| panic!("no weir_log_dropped_total in\n{page}")).parse().expect("number")
}

/// Everything that must go on, whatever becomes of the log.
fn goes_on(set: &mut Set, held: &mut [Peer]) {
    for number in 0..CHANGES {
        set.weir.ok(&["backend", "weight", "web/b1", &(1 + number % 100).to_string()]);
    }
    for peer in held {
        peer.echo(b"goes on");
    }
    drop(echoed(set));
    // Health checks are made, and what they find is used.
    set.backends[1].pause();
    set.weir.wait_state("web/b2", "down");
    drop(echoed(set));
    set.backends[1].resume();
    set.weir.wait_state("web/b2", "up");
    // So are signals.
    // As in the file: SIGHUP undoes nothing that was changed by hand.
    set.weir.ok(&["backend", "weight", "web/b1", "1"]);
    let version = set.weir.version();
    set.weir.write(&set.objects.replace("round-robin", "least-conn"));
    set.weir.signal(Signal::HUP);
    clock::wait_for("the reload", || set.weir.version() > version);
    assert_eq!(set.weir.get("/readyz").status, 200);
}

/// It ends as it was told to, in time, with the exit code of a good end.
fn ends_well(set: &mut Set) {
    set.weir.signal(Signal::INT);
    assert_eq!(set.weir.wait_exit(PATIENCE), 0);
}

fn is_armed(set: &Set) -> bool {
    set.weir.log().contains("failpoints are armed")
}

#[test]
fn a_reader_that_is_gone_costs_the_log_only() {
    let mut set = plan().start();
    let mut held = hold(&set);
    set.weir.read_log(Reader::Gone);
    goes_on(&mut set, &mut held);
    // Each change is told in two lines. What was read before the reader left does not count.
    let dropped = dropped(&set);
    assert!(dropped >= u64::from(CHANGES), "{dropped} lines were dropped");
    ends_well(&mut set);
}

#[test]
fn a_reader_that_stands_still_holds_nobody() {
    let mut set = plan().start();
    let (is_armed, mut held) = (is_armed(&set), hold(&set));
    set.weir.read_log(Reader::StandsStill);
    goes_on(&mut set, &mut held);
    assert!(!is_armed || dropped(&set) > 0, "the queue is not full: this story tests nothing");
    if is_armed {
        // What a shard and the watchdog have to say holds them neither.
        set.weir.strike("shard 0 panic 0");
        clock::wait_for("the shard to be built again", || {
            set.weir.get("/metrics").body.contains("weir_shard_restarts_total{shard=\"0\"} 1")
        });
        set.weir.strike("shard 1 sleep 1000");
        clock::wait_for("the fence", || {
            set.weir.get("/metrics").body.contains("weir_shard_fences_total{shard=\"1\"} 1")
        });
        drop(echoed(&set));
    }
    ends_well(&mut set);
}

#[test]
fn a_reader_that_comes_back_is_told_how_much_it_has_missed() {
    let mut set = plan().start();
    let (is_armed, mut held) = (is_armed(&set), hold(&set));
    set.weir.read_log(Reader::StandsStill);
    goes_on(&mut set, &mut held);
    let lost = dropped(&set);
    set.weir.read_log(Reader::Reads);
    if is_armed {
        clock::wait_for("the line", || set.weir.log().contains("lines of the log were dropped"));
    }
    set.weir.ok(&["backend", "weight", "web/b1", "101"]);
    clock::wait_for("the log to go on", || set.weir.log().contains("weight web/b1 101"));
    assert_eq!(dropped(&set), lost, "nothing is lost once somebody reads");
    ends_well(&mut set);
    clock::wait_for("its last line", || set.weir.log().ends_with("stopped"));
}

#[test]
fn the_death_of_control_behind_a_full_log_leaves_traffic_alone() {
    let mut set = plan().start();
    if !is_armed(&set) {
        return;
    }
    let mut held = hold(&set);
    set.weir.read_log(Reader::StandsStill);
    while dropped(&set) == 0 {
        set.weir.ok(&["backend", "weight", "web/b1", "1"]);
        set.weir.ok(&["backend", "weight", "web/b1", "2"]);
    }
    set.weir.strike("control panic");
    clock::wait_for("the death of control", || set.weir.ctl(&["status"]).code == 5);
    for peer in &mut held {
        peer.echo(b"goes on");
    }
    drop(echoed(&set));
    set.weir.signal(Signal::INT);
    assert_eq!(set.weir.wait_exit(PATIENCE), 1);
}

#[test]
fn a_disk_that_is_full_from_the_start_costs_the_log_only() {
    let mut set = plan().log_file("/dev/full").prepare();
    set.weir.spawn();
    clock::wait_for("weir to serve", || set.weir.ctl(&["status"]).code == 0);
    clock::wait_for("the backends", || set.weir.get("/readyz").status == 200);
    let mut held = hold(&set);
    goes_on(&mut set, &mut held);
    assert!(dropped(&set) >= u64::from(2 * CHANGES), "{} lines were dropped", dropped(&set));
    ends_well(&mut set);
}

/// A file can grow no more: as on a disk that is full, some bytes of a line are taken and the rest
/// are not. RLIMIT_FSIZE is larger than the state's file, and the log is that large.
#[test]
fn a_file_that_is_full_is_told_of_once_there_is_room() {
    const MOST: u64 = 64 << 20;
    let dir = Dir::new();
    let path = dir.entry("log");
    let mut set = plan().log_file(&path).start();
    let mut held = hold(&set);
    let file = std::fs::OpenOptions::new().write(true).open(&path).expect("the log is there");
    file.set_len(MOST - 100).expect("a file may have holes");
    let pid = i32::try_from(set.weir.pid()).ok().and_then(Pid::from_raw);
    let limit = Rlimit { current: Some(MOST), maximum: Some(MOST) };
    prlimit(pid, Resource::Fsize, limit).expect("a limit may be lowered");
    goes_on(&mut set, &mut held);
    let lost = dropped(&set);
    assert!(lost >= u64::from(2 * CHANGES - 1), "{lost} lines were dropped");
    assert_eq!(file.metadata().expect("it is there").len(), MOST, "100 bytes more had room");
    // As logrotate's copytruncate does.
    file.set_len(0).expect("it may be cut");
    set.weir.ok(&["backend", "weight", "web/b1", "101"]);
    // The audit line of this change may come before or after the line that counts.
    let audit = "weight web/b1 101";
    clock::wait_for("both lines", || {
        let log = set.weir.log();
        log.contains("lines of the log were dropped") && log.contains(audit)
    });
    let log = set.weir.log();
    let dated = |line: &str| line.is_empty() || line.starts_with("20");
    assert!(log.lines().all(dated), "what was torn does not run into the next line:\n{log}");
    ends_well(&mut set);
    assert!(set.weir.log().trim_end().ends_with("stopped"));
}

#[test]
fn sigabrt_ends_it_behind_a_full_log_too() {
    for reader in [Reader::Reads, Reader::StandsStill] {
        let mut set = plan().start();
        set.weir.read_log(reader);
        for weight in 1..=100 {
            set.weir.ok(&["backend", "weight", "web/b1", &weight.to_string()]);
        }
        set.weir.signal(Signal::ABORT);
        assert_eq!(set.weir.wait_exit(PATIENCE), -Signal::ABORT.as_raw());
        if reader == Reader::Reads {
            clock::wait_for("its last line", || set.weir.log().contains("weight web/b1 100"));
        }
    }
}

#[test]
fn systemd_that_reads_nothing_holds_nobody() {
    let dir = Dir::new();
    let path = dir.entry("notify");
    let systemd = UnixDatagram::bind(&path).expect("a socket");
    let noise = UnixDatagram::unbound().expect("a socket");
    noise.set_nonblocking(true).expect("it can");
    while noise.send_to(b"noise", &path).is_ok() {}
    let plan = plan().env("NOTIFY_SOCKET", &path).env("WATCHDOG_USEC", "1000000");
    let mut set = plan.start();
    let mut held = hold(&set);
    goes_on(&mut set, &mut held);
    // It hears that weir is ready once it reads, late as it is.
    systemd.set_read_timeout(Some(PATIENCE)).expect("it can");
    let heard = || {
        let mut bytes = [0; 64];
        let length = systemd.recv(&mut bytes).expect("weir goes on saying that it lives");
        String::from_utf8_lossy(&bytes[..length]).trim().to_owned()
    };
    while heard() != "READY=1" {}
    while heard() != "WATCHDOG=1" {}
    ends_well(&mut set);
}

/// What is left of a verb that prints, when nobody takes what it prints: its exit code.
#[test]
fn verbs_that_print_end_quietly_when_nobody_reads() {
    let set = plan().start();
    set.weir.ok(&["backend", "weight", "web/b1", "2"]); // an event
    let weir = |arguments: &[&str]| {
        let mut command = Command::new(binary("weir", "WEIR_BIN"));
        command.args(arguments);
        command
    };
    let verbs = [
        weir(&["check", &set.weir.file]),
        weir(&["check", &set.weir.file, "-o", "json"]),
        weir(&["doctor"]),
        weir(&["--help"]),
        set.weir.command(&["status"]),
        set.weir.command(&["-o", "json", "backend", "list"]),
        set.weir.command(&["events"]),
        set.weir.command(&["config", "export"]),
        set.weir.command(&["--help"]),
        set.weir.command(&["frobnicate"]),
    ];
    for mut command in verbs {
        let typed = format!("{command:?}");
        let expected = if typed.contains("frobnicate") { 2 } else { 0 };
        let (reader, writer) = std::io::pipe().expect("a pipe");
        drop(reader);
        command.stdin(Stdio::null()).stdout(writer.try_clone().expect("a descriptor"));
        let status = command.stderr(writer).status().expect("it starts");
        assert_eq!(status.code(), Some(expected), "{typed} to readers that are gone");
        // A full disk is told, and the exit code says so: an answer that is not there is none.
        let full = std::fs::OpenOptions::new().write(true).open("/dev/full").expect("Linux has it");
        let output = command.stdout(full).stderr(Stdio::piped()).output().expect("it starts");
        let said = String::from_utf8_lossy(&output.stderr);
        assert!(!said.contains("panicked"), "{typed}: {said}");
        let expected = if typed.contains("weir\" \"--help") { 0 } else { expected.max(1) };
        assert_eq!(output.status.code(), Some(expected), "{typed} to a full disk: {said}");
    }
}

#[test]
fn a_demo_that_nobody_reads_goes_on() {
    use std::io::{BufRead, BufReader};
    let alone = crate::demo::starts_alone();
    let mut command = Command::new(binary("weir", "WEIR_BIN"));
    command.arg("demo").stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().expect("it starts");
    let (out, err) = (child.stdout.take(), child.stderr.take());
    let mut lines = BufReader::new(out.expect("it is a pipe")).lines().map_while(Result::ok);
    let address = lines.find_map(|line| {
        let rest = line.strip_prefix("http://")?;
        let (address, what) = rest.split_once('/')?;
        (what.trim() == "weir").then(|| address.parse().expect("an address"))
    });
    let mut said = BufReader::new(err.expect("it is a pipe")).lines().map_while(Result::ok);
    assert!(said.any(|line| line.contains("ready:")), "it serves");
    drop((lines, said, alone));
    let address = address.expect("the invitation names it");
    for _ in 0..20 {
        let mut client = Peer::connect(address);
        client.send(b"GET / HTTP/1.0\r\n\r\n");
        assert!(client.line().starts_with("HTTP/1."));
    }
    let pid = i32::try_from(child.id()).ok().and_then(Pid::from_raw).expect("it has an id");
    rustix::process::kill_process(pid, Signal::INT).expect("it runs");
    let ended = || child.try_wait().expect("it is ours");
    let status = clock::wait_within(Duration::from_secs(20), "the demo's end", ended);
    assert_eq!(status.code(), Some(0));
}
