//! The session log: a line for each session at its begin and its end, wherever it goes, and no
//! session waits for it.

use std::collections::BTreeMap;
use std::os::unix::net::UnixDatagram;
use std::path::PathBuf;

use rustix::process::Signal;
use serde_json::Value;
use weir_tests::clock;
use weir_tests::net::{Peer, Script};
use weir_tests::story::{Plan, Set};

/// The lines of a log in JSON.
fn lines(path: &PathBuf) -> Vec<Value> {
    let text = std::fs::read_to_string(path).unwrap_or_default();
    let whole = text.lines().filter(|line| line.ends_with('}'));
    whole.map(|line| serde_json::from_str(line).expect("each line is an object")).collect()
}

fn entry(set: &Set, name: &str) -> PathBuf {
    set.weir.dir.path.join(name)
}

/// Waits until the log has that many lines.
fn wait_lines(path: &PathBuf, count: usize) -> Vec<Value> {
    clock::wait_for("the lines of the log", || lines(path).len() >= count);
    let lines = lines(path);
    assert_eq!(lines.len(), count, "{lines:#?}");
    lines
}

/// A client that was served and has left.
fn visit(set: &Set) -> Peer {
    let mut client = set.client();
    client.echo(b"hello");
    client
}

fn metric(set: &Set, name: &str) -> u64 {
    let page = set.weir.get("/metrics").body;
    let line = page.lines().find_map(|line| line.strip_prefix(name));
    line.unwrap_or_else(|| panic!("no {name} in\n{page}")).trim().parse().expect("a number")
}

#[test]
fn each_session_has_a_line_at_its_begin_and_one_at_its_end() {
    let log = "session-log = { to = \"{dir}/sessions.log\" }";
    let mut set = Plan::new(2, Script::Echo).settings(log).start();
    let path = entry(&set, "sessions.log");
    let client = visit(&set);
    let address = client.address().to_string();
    let open = wait_lines(&path, 1).remove(0);
    assert_eq!((&open["event"], &open["client"]), (&"open".into(), &address.as_str().into()));
    assert_eq!((&open["listener"], &open["pool"]), (&"web".into(), &"web".into()));
    let name = open["backend"].as_str().and_then(|name| name.strip_prefix("web/"));
    let index = set.index(name.expect("it is of the pool"));
    assert_eq!(open["backend_address"], set.backends[index].address.to_string());
    assert!(open["connect_s"].as_f64().expect("a number") < 60.0 && open["why"].is_null());
    drop(client);
    let close = wait_lines(&path, 2).remove(1);
    assert_eq!((&close["event"], &close["id"]), (&"close".into(), &open["id"]));
    assert_eq!((&close["received_bytes"], &close["sent_bytes"]), (&5.into(), &5.into()));
    assert_eq!((&close["client"], &close["backend"]), (&address.as_str().into(), &open["backend"]));
    assert_eq!(
        (&close["by"], &close["why"], &close["code"]),
        (&"client".into(), &"complete".into(), &"--".into())
    );
    // A log that was moved away is opened again.
    let moved = entry(&set, "sessions.log.1");
    std::fs::rename(&path, &moved).expect("it is there");
    set.weir.signal(Signal::USR1);
    clock::wait_for("the file is there again", || path.exists());
    let held = visit(&set);
    wait_lines(&path, 1);
    wait_lines(&moved, 2);
    // Names stay when what they name is gone.
    set.weir.ok(&["listener", "remove", "web", "--yes"]);
    set.weir.ok(&["pool", "remove", "web", "--yes"]);
    // The end of the process is the end of its sessions.
    set.weir.signal(Signal::INT);
    assert_eq!(set.weir.wait_exit(clock::PATIENCE), 0);
    let last = wait_lines(&path, 2).remove(1);
    assert_eq!((&last["event"], &last["by"]), (&"close".into(), &"operator".into()));
    assert_eq!((&last["pool"], &last["listener"]), (&"web".into(), &"web".into()), "{last}");
    drop(held);
}

#[test]
fn a_session_is_logged_with_all_of_its_lines_or_none() {
    let log = "session-log = { to = \"{dir}/log\", sample = \"50%\", every = \"1s\" }";
    let set = Plan::new(1, Script::Echo).settings(log).start();
    let path = entry(&set, "log");
    let clients: Vec<Peer> = (0..64).map(|_| visit(&set)).collect();
    let logged = |event: &str| lines(&path).iter().filter(|line| line["event"] == event).count();
    clock::wait_for("sessions that live on are logged, too", || {
        logged("open") > 0 && logged("update") >= logged("open")
    });
    drop(clients);
    clock::wait_for("all are closed", || logged("close") == logged("open"));
    let mut events: BTreeMap<String, Vec<String>> = BTreeMap::new();
    for line in lines(&path) {
        let text = |key: &str| line[key].as_str().expect("a text").to_owned();
        events.entry(text("id")).or_default().push(text("event"));
    }
    // Of 64 throws of a coin fewer than 10 fall on one side once in 10^9 times.
    assert!((10..=54).contains(&events.len()), "{} of 64", events.len());
    for (id, events) in events {
        let ends = (events.first().map(String::as_str), events.last().map(String::as_str));
        assert_eq!(ends, (Some("open"), Some("close")), "{id}: {events:?}");
    }
}

#[test]
fn journald_gets_a_field_for_each_key_and_holds_nobody_when_it_reads_none() {
    let dir = weir_tests::weir::Dir::new();
    let journal = UnixDatagram::bind(dir.path.join("journal")).expect("a socket");
    let log = "session-log = { to = \"journald\", at = [\"close\"] }";
    let plan = Plan::new(1, Script::Echo).shards(1).settings(log);
    let set = plan.env("WEIR_TEST_JOURNAL", &dir.entry("journal")).start();
    let client = visit(&set);
    let address = client.address().to_string();
    drop(client);
    let mut datagram = [0; 4096];
    let count = journal.recv(&mut datagram).expect("a record");
    let text = String::from_utf8(datagram[..count].to_vec()).expect("text");
    let fields: Vec<&str> = text.lines().collect();
    for field in ["PRIORITY=6", "SYSLOG_IDENTIFIER=weir", "WEIR_EVENT=close", "WEIR_POOL=web"] {
        assert!(fields.contains(&field), "{text}");
    }
    assert!(fields.contains(&format!("WEIR_CLIENT={address}").as_str()), "{text}");
    assert!(fields[0].starts_with("MESSAGE=session 0.") && fields[0].ends_with("by client"));
    // It reads no more: sessions and changes go on, and what is lost is counted.
    let mut visits = 0;
    clock::wait_for("records are lost", || {
        for _ in 0..200 {
            drop(visit(&set));
            visits += 1;
        }
        metric(&set, "weir_session_log_dropped_total ") > 0
    });
    set.weir.ok(&["backend", "weight", "web/b1", "7"]);
    assert!(set.weir.log().contains("the session log loses records"), "{visits} visits");
}

#[test]
fn a_disk_that_takes_nothing_costs_records_only() {
    let log = "session-log = { to = \"/dev/full\", format = \"logfmt\" }";
    let set = Plan::new(1, Script::Echo).settings(log).start();
    for _ in 0..3 {
        drop(visit(&set));
    }
    clock::wait_for("they are counted", || metric(&set, "weir_session_log_dropped_total ") == 6);
    assert_eq!(metric(&set, "weir_session_log_written_total "), 0);
    let told = set.weir.log().matches("the session log loses records").count();
    assert_eq!(told, 1, "it is told once");
}

#[test]
fn a_log_that_cannot_be_opened_is_a_start_that_is_refused() {
    let log = "session-log = { to = \"{dir}/not/there.log\" }";
    let mut set = Plan::new(1, Script::Echo).settings(log).prepare();
    set.weir.spawn();
    assert_eq!(set.weir.wait_exit(clock::PATIENCE), 1);
    let said = set.weir.log();
    assert!(said.contains("cannot be opened") && said.contains("hint: "), "{said}");
}
