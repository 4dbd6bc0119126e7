//! The PROXY protocol: from the balancer before weir, and to the backends behind it.

mod receivers;

use std::net::{IpAddr, Ipv4Addr};
use std::time::Duration;

use serde_json::Value;
use weir_tests::clock;
use weir_tests::net::{Peer, Script};
use weir_tests::story::{Plan, Set};

/// Where the balancer before weir is.
const BEFORE: IpAddr = IpAddr::V4(Ipv4Addr::new(127, 7, 0, 1));
const FROM: &str = "proxy-protocol = { from = [\"127.7.0.0/16\"] }";
const V2: &[u8] = b"\r\n\r\n\0\r\nQUIT\n";

fn connect(set: &Set) -> Peer {
    Peer::connect_from(BEFORE, set.weir.web)
}

/// Version 2 with an IPv4 client and these fields.
fn v2(command: u8, client: [u8; 4], port: u16, fields: &[u8]) -> Vec<u8> {
    let length = u16::try_from(12 + fields.len()).expect("short").to_be_bytes();
    let port = port.to_be_bytes();
    [V2, &[command, 0x11], &length, &client, &[10, 0, 0, 1], &port, &[1, 187], fields].concat()
}

fn ends(set: &Set, during: &str, why: &str) -> u64 {
    let page = set.weir.get("/metrics").body;
    let labels = format!("during=\"{during}\",why=\"{why}\"");
    let lines = page.lines().filter(|line| line.starts_with("weir_session_ends_total{"));
    let counts = lines.filter(|line| line.contains(&labels));
    counts.map(|line| line.rsplit(' ').next().expect("a value").parse::<u64>().unwrap()).sum()
}

fn clients(set: &Set) -> Vec<String> {
    let list = set.weir.json(&["session", "list"]);
    let rows = list["sessions"].as_array().expect("a list").iter();
    rows.map(|row| row["client"].as_str().unwrap_or_default().to_owned()).collect()
}

#[test]
fn the_client_that_a_header_tells_of_is_the_client_everywhere() {
    let log = "session-log = { to = \"{dir}/sessions.log\", at = [\"open\"] }";
    let set = Plan::new(3, Script::Banner).strategy("maglev").listener(FROM).settings(log).start();
    let told = |line: &[u8]| {
        let mut client = connect(&set);
        client.send(line);
        let name = client.line();
        client.echo(b"and what follows");
        (client, name)
    };
    let (one, first) = told(b"PROXY TCP4 192.0.2.7 10.0.0.1 40000 443\r\n");
    let (two, second) = told(&v2(0x21, [192, 0, 2, 7], 40001, b"\x04\0\x01x"));
    assert_eq!(first, second, "maglev picks by the client that was told of");
    let (three, _) = told(b"PROXY TCP6 2001:db8::7 2001:db8::1 40002 443\r\n");
    let mut seen = clients(&set);
    seen.sort();
    assert_eq!(seen, ["192.0.2.7:40000", "192.0.2.7:40001", "[2001:db8::7]:40002"]);
    let found = set.weir.json(&["session", "list", "--client", "192.0.2.0/24"]);
    assert_eq!(found["matched"], 2, "{found}");
    let why = set.weir.json(&["why", "web", "--client", "192.0.2.7"]);
    assert_eq!(why["chosen"], format!("web/{first}"), "{why}");
    let id = found["sessions"][0]["id"].as_str().expect("a name");
    let why = set.weir.json(&["why", "--session", id]);
    assert!(why["client"].as_str().is_some_and(|it| it.starts_with("192.0.2.7")), "{why}");
    // LOCAL and UNKNOWN are of the balancer's own connections.
    for own in [&b"PROXY UNKNOWN\r\n"[..], &v2(0x20, [192, 0, 2, 9], 1, b"")] {
        let (client, _) = told(own);
        assert!(clients(&set).iter().any(|it| it.starts_with("127.7.0.1:")));
        drop(client);
    }
    let lines = || std::fs::read_to_string(set.weir.dir.entry("sessions.log")).unwrap_or_default();
    clock::wait_for("the log", || lines().lines().count() >= 5);
    assert!(lines().contains("\"client\":\"192.0.2.7:40000\""), "{}", lines());
    drop((one, two, three));
}

#[test]
fn a_header_may_come_byte_by_byte_with_what_follows_behind_it() {
    let set = Plan::new(1, Script::Echo).listener(FROM).start();
    let mut line = b"PROXY TCP4 192.0.2.7 10.0.0.1 40000 443\r\n".to_vec();
    line.extend_from_slice(b"hello");
    let fields = [&v2(0x21, [192, 0, 2, 8], 1, b"\x02\0\x03a.b"), &b"hello"[..]].concat();
    let mut sessions = [line, fields].map(|header| {
        let mut client = connect(&set);
        for byte in &header {
            client.send(&[*byte]);
            std::thread::yield_now();
        }
        client.expect(b"hello");
        client
    });
    sessions[0].echo(b"more");
    let list = set.weir.json(&["session", "list"]);
    assert_eq!(list["matched"], 2, "{list}");
}

#[test]
fn without_a_right_header_in_time_no_backend_hears_of_a_client() {
    let from = "proxy-protocol = { from = [\"127.7.0.0/16\"], timeout = \"300ms\" }";
    let set = Plan::new(1, Script::Banner).listener(from).health("{ kind = \"none\" }").start();
    for wrong in [&b"GET / HTTP/1.1\r\nHost: x\r\n\r\n"[..], b"PROXY TCP4 192.0.2.7\r\n"] {
        connect(&set).send(wrong).expect_rst();
    }
    clock::wait_for("bad_header", || ends(&set, "inspecting", "bad_header") == 2);
    for late in [&b""[..], b"PROXY TCP4 192.0.2.7 10", &V2[..9]] {
        let mut client = connect(&set);
        client.send(late);
        let row = set.weir.json(&["session", "list"])["sessions"][0].clone();
        assert!(row["state"] == "inspecting" && row["backend"].is_null(), "{row}");
        client.expect_rst();
    }
    clock::wait_for("inspect_timeout", || ends(&set, "inspecting", "inspect_timeout") == 3);
    // A balancer's check connects and goes.
    connect(&set).fin().expect_fin();
    clock::wait_for("complete", || ends(&set, "inspecting", "complete") == 1);
    // Others are refused.
    match Peer::try_connect(set.weir.web) {
        Ok(mut other) => drop(other.expect_rst()),
        // It may be reset before connect(2) returns.
        Err(error) => assert_eq!(error.kind(), std::io::ErrorKind::ConnectionReset),
    }
    let rejected = "weir_listener_sessions_rejected_total{listener=\"web\",reason=\"denied\"} 1\n";
    clock::wait_for("denied", || set.weir.get("/metrics").body.contains(rejected));
    assert_eq!(set.weir.backend("web/b1")["sessions_total"], 0);
    // The setting is taken back for the next client.
    set.weir.ok(&["listener", "set", "web", "proxy-protocol.from="]);
    assert_eq!(set.session().1, "b1");
}

#[test]
fn a_header_without_a_time_of_its_own_has_that_of_a_hello() {
    let set = Plan::new(1, Script::Banner).listener(FROM).start();
    let timeout = || {
        let shown = set.weir.json(&["listener", "show", "web"]);
        shown["proxy_protocol"]["timeout_s"].as_f64()
    };
    assert_eq!(timeout(), Some(3.0), "what counts is shown");
    set.weir.ok(&["listener", "set", "web", "inspect-timeout=300ms"]);
    assert_eq!(timeout(), Some(0.3));
    connect(&set).send(&V2[..9]).expect_rst();
    clock::wait_for("inspect_timeout", || ends(&set, "inspecting", "inspect_timeout") == 1);
    set.weir.ok(&["listener", "set", "web", "proxy-protocol.timeout=1h"]);
    assert_eq!(timeout(), Some(3600.0));
    let export = set.weir.ok(&["config", "export"]);
    assert!(export.contains("timeout = \"1h\""), "{export}");
    set.weir.ok(&["listener", "set", "web", "proxy-protocol.timeout="]);
    assert_eq!(timeout(), Some(0.3));
}

#[test]
fn slow_headers_hold_no_buffer() {
    let from = "proxy-protocol = { from = [\"127.7.0.0/16\"], timeout = \"1m\" }";
    let set = Plan::new(1, Script::Echo).listener(from).start();
    let free = || {
        let page = set.weir.get("/metrics").body;
        let lines = page.lines().filter(|line| line.starts_with("weir_shard_buffers_free{"));
        lines.map(|line| line.rsplit(' ').next().unwrap().parse::<u64>().unwrap()).sum::<u64>()
    };
    let before =
        clock::wait_within(clock::PATIENCE, "figures", || Some(free()).filter(|it| *it > 0));
    let slow: Vec<Peer> = (0..200)
        .map(|_| {
            let mut client = connect(&set);
            client.send(b"PROXY TCP4 192.0");
            client
        })
        .collect();
    clock::wait_for("all of them", || clients(&set).len() == 100);
    assert_eq!(set.weir.json(&["session", "list", "--limit", "0"])["matched"], 200);
    clock::park(Duration::from_millis(300)); // the figures of a box are up to 250 ms old
    assert_eq!(free(), before);
    let mut other = connect(&set);
    other.send(b"PROXY UNKNOWN\r\n").echo(b"served beside them");
    drop(slow);
}

#[test]
fn wrong_settings_are_refused_with_words() {
    let set = Plan::new(1, Script::Echo).start();
    let refuses = |words: [&str; 4], part| set.weir.refuses(&words, part);
    refuses(["listener", "set", "web", "proxy-protocol.from=10.0.0.0/33"], "no network");
    refuses(["listener", "set", "web", "proxy-protocol.timeout=0s"], "out of range");
    refuses(["pool", "set", "web", "proxy-protocol=v3"], "not a version of the PROXY protocol");
    let shown = set.weir.json(&["listener", "show", "web"]);
    assert_eq!(shown["proxy_protocol"]["from"], Value::Null, "{shown}");
    set.weir.ok(&["listener", "set", "web", "proxy-protocol.from=10.0.0.0/8,::1"]);
    let shown = set.weir.json(&["listener", "show", "web"]);
    assert_eq!(shown["proxy_protocol"]["from"], serde_json::json!(["10.0.0.0/8", "::1/128"]));
    let export = set.weir.ok(&["config", "export"]);
    assert!(export.contains("from = [\"10.0.0.0/8\", \"::1/128\"]"), "{export}");
}
