//! Starting, draining, stopping, and the verbs of `weir` that need no daemon.

use std::process::Command;
use std::time::Duration;

use rustix::process::Signal;
use weir_tests::clock::{self, PATIENCE};
use weir_tests::net::Script;
use weir_tests::story::Plan;
use weir_tests::weir::{Dir, Ran, binary};

fn weir(arguments: &[&str]) -> Ran {
    Ran::of(Command::new(binary("weir", "WEIR_BIN")).args(arguments))
}

#[test]
fn sigterm_drains() {
    let mut set = Plan::new(1, Script::Banner).start();
    let (mut client, _) = set.session();
    set.weir.signal(Signal::TERM);
    clock::wait_for("readyz to say no", || set.weir.get("/readyz").status == 503);
    assert_eq!(set.weir.get("/healthz").status, 200, "it serves still");
    client.echo(b"the live session goes on");
    assert!(set.weir.exited().is_none());
    client.fin().expect_fin();
    assert_eq!(set.weir.wait_exit(PATIENCE), 0);
    assert!(weir_tests::net::Peer::try_connect(set.weir.web).is_err());
}

#[test]
fn sigterm_without_sessions_ends_at_once() {
    let mut set = Plan::new(1, Script::Banner).start();
    set.weir.signal(Signal::TERM);
    assert_eq!(set.weir.wait_exit(Duration::from_secs(5)), 0);
    assert!(!std::path::Path::new(&set.weir.socket).exists(), "the socket is cleaned up");
}

#[test]
fn stop_with_a_drain_waits_for_sessions_but_no_longer() {
    let mut set = Plan::new(1, Script::Banner).start();
    let (mut client, _) = set.session();
    std::thread::scope(|scope| {
        // It may answer before or after the drain: either way it succeeds.
        scope.spawn(|| set.weir.ctl(&["stop", "--drain", "10s", "--yes"]).expect_code(0));
        clock::wait_for("the drain to begin", || set.weir.get("/readyz").status == 503);
        client.echo(b"within the drain").fin().expect_fin();
    });
    assert_eq!(set.weir.wait_exit(Duration::from_secs(8)), 0);

    set.weir.run();
    let (mut client, _) = set.session();
    set.weir.ctl(&["stop", "--drain", "500ms", "--yes"]).expect_code(0);
    client.expect_rst();
    assert_eq!(set.weir.wait_exit(Duration::from_secs(5)), 0);
}

#[test]
fn sigint_stops_at_once() {
    let mut set = Plan::new(1, Script::Banner).start();
    let (mut client, _) = set.session();
    set.weir.signal(Signal::INT);
    let code = set.weir.wait_exit(Duration::from_secs(5));
    assert!([0, 130].contains(&code), "exit code {code}");
    client.expect_rst();
}

#[test]
fn drain_without_stopping_keeps_sessions_and_takes_no_new_ones() {
    let set = Plan::new(1, Script::Banner).start();
    let (mut client, _) = set.session();
    set.weir.ctl(&["drain"]).expect_code(2);
    set.weir.ok(&["drain", "--yes"]);
    assert_eq!(set.weir.get("/readyz").status, 503);
    client.echo(b"goes on");
    let new = weir_tests::net::Peer::try_connect(set.weir.web);
    let served = new.is_ok_and(|mut peer| {
        peer.patient(Duration::from_millis(300));
        peer.try_line().is_ok()
    });
    assert!(!served, "a drained weir served a new session");
}

#[test]
fn a_drain_is_taken_back_with_its_sessions_and_its_addresses() {
    let mut set = Plan::new(1, Script::Banner).start();
    let (mut client, _) = set.session();
    for _ in 0..3 {
        let drained = set.weir.ok(&["drain", "--yes"]);
        assert!(drained.contains("undo: weirctl ready"), "{drained}");
        assert_eq!(set.weir.get("/readyz").status, 503);
        set.weir.ok(&["backend", "weight", "web/b1", "7"]);
        let ready = set.weir.json(&["ready"]);
        assert_eq!(
            (&ready["before"]["state"], &ready["after"]["state"]),
            (&"draining".into(), &"serving".into())
        );
        // It listens at once, or a second later if a shard was slow to let go of the address.
        clock::wait_for("readyz to say yes", || set.weir.get("/readyz").status == 200);
        clock::wait_for("a new session", || {
            weir_tests::net::Peer::try_connect(set.weir.web)
                .is_ok_and(|mut peer| peer.try_line().is_ok())
        });
        client.echo(b"goes on");
    }
    assert!(set.weir.ok(&["ready"]).contains("serves already"));
    // What was told to end is not taken back.
    set.weir.signal(Signal::TERM);
    clock::wait_for("the drain to begin", || set.weir.get("/readyz").status == 503);
    set.weir.ctl(&["ready"]).expect_code(1);
    client.fin().expect_fin();
    assert_eq!(set.weir.wait_exit(PATIENCE), 0);
}

#[test]
fn an_address_that_was_taken_during_a_drain_is_bound_later() {
    let set = Plan::new(1, Script::Banner).start();
    set.weir.ok(&["drain", "--yes"]);
    let mut other = None;
    clock::wait_for("weir to let go of its address", || {
        other = std::net::TcpListener::bind(set.weir.web).ok();
        other.is_some()
    });
    let ready = set.weir.ok(&["ready"]);
    assert!(ready.contains("addresses not bound: 1"), "{ready}");
    assert_eq!(set.weir.get("/readyz").status, 503);
    drop(other);
    clock::wait_for("readyz to say yes", || set.weir.get("/readyz").status == 200);
    assert_eq!(set.session().1, "b1");
}

#[test]
fn listeners_are_there_again_after_a_restart() {
    let mut set = Plan::new(2, Script::Banner).start();
    set.weir.ok(&["backend", "remove", "web/b1"]);
    for _ in 0..3 {
        set.weir.signal(Signal::TERM);
        assert_eq!(set.weir.wait_exit(PATIENCE), 0);
        set.weir.run();
        assert_eq!(set.session().1, "b2", "the state wins over the file");
    }
}

#[test]
fn the_control_socket_and_the_file_may_be_missing_at_start() {
    let mut set = Plan::new(1, Script::Banner).prepare();
    std::fs::remove_file(&set.weir.file).expect("it was written");
    set.weir.spawn();
    assert_eq!(set.weir.wait_exit(PATIENCE), 1);
    clock::wait_for("the file's name", || set.weir.log().contains(&set.weir.file));
}

const GOOD: &str = "[listener.web]\nbind = \"127.0.0.1:8080\"\npool = \"web\"\n\n\
                    [pool.web]\nstrategy = \"maglev\"\n\n\
                    [pool.web.backend]\nb1 = { address = \"127.0.0.1:8081\" }\n";

#[test]
fn check_says_yes_or_where_it_is_wrong() {
    let dir = Dir::new();
    let file = dir.write("good.toml", GOOD);
    weir(&["check", &file]).expect_code(0);
    // What is wrong, and on which line.
    let cases = [
        (GOOD.replace("strategy", "stratgy"), 6, "strategy"),
        (GOOD.replace("maglev", "maglef"), 6, "maglev"),
        (GOOD.replace("127.0.0.1:8081", "localhost"), 9, "address"),
        (GOOD.replace("pool = \"web\"", "pool = \"wep\""), 3, "web"),
        (GOOD.replace("bind = \"127", "bind = 127"), 2, ""),
        (format!("{GOOD}b2 = {{ address = \"127.0.0.1:1\", wieght = 3 }}\n"), 10, "weight"),
    ];
    for (text, line, word) in cases {
        let file = dir.write("bad.toml", &text);
        let ran = weir(&["check", &file]);
        assert_eq!(ran.code, 1, "{text}\n{ran}");
        let said = format!("{}{}", ran.stdout, ran.stderr);
        let place = format!("bad.toml:{line}");
        assert!(said.contains(&place), "not at line {line}:\n{said}\n{text}");
        assert!(said.contains(word), "nothing about {word:?}:\n{said}");
    }
    assert_ne!(weir(&["check", "/no/such/file.toml"]).code, 0);
}

#[test]
fn check_finds_every_fault_at_once_and_speaks_json() {
    let dir = Dir::new();
    let text = GOOD.replace("maglev", "maglef").replace("127.0.0.1:8081", "localhost");
    let file = dir.write("bad.toml", &text);
    let ran = weir(&["check", &file]);
    let said = format!("{}{}", ran.stdout, ran.stderr);
    assert!(said.contains("bad.toml:6") && said.contains("bad.toml:9"), "{said}");
    let ran = weir(&["check", &file, "-o", "json"]);
    assert_eq!(ran.code, 1, "{ran}");
    assert_eq!(ran.json()["schema"], "weir/v1");
}

/// It was `error: error: …`.
#[test]
fn run_says_once_that_its_file_has_an_error() {
    let dir = Dir::new();
    let file = dir.write("bad.toml", &format!("[weir]\nhash-key = \"x\"\n{GOOD}"));
    let ran = weir(&["run", "-c", &file]).expect_code(1);
    assert!(ran.stderr.starts_with("error: this is not a key"), "{ran}");
}

#[test]
fn doctor_looks_at_this_host() {
    let ran = weir(&["doctor"]);
    let said = format!("{}{}", ran.stdout, ran.stderr);
    for word in ["io_uring", "nofile", "memlock", "somaxconn"] {
        assert!(said.to_lowercase().contains(word), "nothing about {word}:\n{said}");
    }
    assert_eq!(ran.code, 0, "weir runs here, so doctor finds nothing that fails: {ran}");
}

#[test]
fn usage_errors_are_two() {
    weir(&["frobnicate"]).expect_code(2);
    weir(&["--version"]).expect_code(0);
    weir(&["--help"]).expect_code(0);
}
