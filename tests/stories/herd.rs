//! A herd of clients at one backend: `connecting` and `connect-rate` hold it back, and serve it.

use std::collections::BTreeSet;
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use weir_tests::baseline::count;
use weir_tests::clock;
use weir_tests::net::{Peer, Script};
use weir_tests::story::{Plan, Set};

use super::connects::Full;
use super::rate::{PATIENCE, least, serve};

const PATIENT: &str = "timeout = { connect = \"120s\", queue = \"5m\" }";

/// Sockets of this host that wait for the answer to their SYN from there, as the kernel has them.
/// It may write one twice while others come and go.
fn on_their_way(to: SocketAddr) -> usize {
    let IpAddr::V4(ip) = to.ip() else { panic!("{to} is not IPv4") };
    let to = format!("{:08X}:{:04X}", u32::from_ne_bytes(ip.octets()), to.port());
    let table = std::fs::read_to_string("/proc/net/tcp").expect("proc(5) is mounted");
    let rows = table.lines().map(|line| line.split_whitespace().collect::<Vec<_>>());
    let waiting = rows.filter(|row| row.get(2) == Some(&to.as_str()) && row.get(3) == Some(&"02"));
    waiting.map(|row| row[1].to_owned()).collect::<BTreeSet<String>>().len()
}

fn queued(set: &Set) -> u64 {
    set.weir.json(&["stats"])["pools"][0]["sessions_queued"].as_u64().expect("a number")
}

fn set_b1(set: &Set, pairs: &[&str]) {
    set.weir.ok(&[&["backend", "set", "web/b1"], pairs].concat());
}

#[test]
fn no_more_connects_are_on_their_way_than_may_be_and_the_others_wait_for_them() {
    let full = Full::new();
    let plan = Plan::new(0, Script::Silent).extern_backend("b1", full.address());
    let set = plan.shards(2).pool(PATIENT).start();
    set_b1(&set, &["connecting=3"]);
    let mut clients: Vec<Peer> = (0..12).map(|_| set.client()).collect();
    clock::wait_for("nine to wait", || {
        assert!(on_their_way(full.address()) <= 3);
        queued(&set) == 9
    });
    clock::wait_for("three to connect", || {
        assert!(on_their_way(full.address()) <= 3);
        set.weir.backend("web/b1")["connecting"] == 3
    });
    let shown = set.weir.json(&["backend", "show", "web/b1"]);
    assert_eq!((&shown["connecting_max"], &shown["sessions"]), (&3.into(), &3.into()), "{shown}");
    let why = set.weir.json(&["why", "web", "--client", "127.0.0.1"]);
    let why_not = why["candidates"][0]["why_not"].as_str().expect("a reason");
    assert!(why_not.contains("its connecting is 3"), "{why_not}");
    let page = set.weir.get("/metrics").body;
    assert_eq!(count(&page, "weir_backend_connecting_max", &[]), 3);
    assert!(count(&page, "weir_backend_capped_total", &["limit=\"connecting\""]) > 0, "{page}");
    // A higher limit lets more begin, a lower one cuts none of them.
    set_b1(&set, &["connecting=5"]);
    clock::wait_for("five to connect", || {
        assert!(on_their_way(full.address()) <= 5);
        queued(&set) == 7
    });
    set_b1(&set, &["connecting=4"]);
    assert_eq!(on_their_way(full.address()), 5);
    // Clients that leave take their connects along, and those that waited have theirs.
    clients.split_off(4).into_iter().for_each(Peer::rst);
    clock::wait_for("the last four to connect", || {
        assert!(on_their_way(full.address()) <= 5);
        set.weir.sessions() == 4 && queued(&set) == 0 && on_their_way(full.address()) == 4
    });
}

#[test]
fn others_are_served_by_the_backend_that_has_room() {
    let full = Full::new();
    let plan = Plan::new(1, Script::Banner).extern_backend("slow", full.address());
    let set = plan.pool(PATIENT).start();
    set.weir.ok(&["backend", "set", "web/slow", "connecting=1"]);
    // One of them may be the one that is held.
    let mut clients: Vec<Peer> = (0..20).map(|_| set.client()).collect();
    clock::wait_for("all but one to be served", || {
        assert!(on_their_way(full.address()) <= 1);
        let b1 = set.weir.backend("web/b1");
        b1["sessions"].as_u64() >= Some(19)
    });
    assert_eq!(queued(&set), 0);
    clients.iter_mut().for_each(|client| client.patient(PATIENCE));
}

#[test]
fn connects_beyond_the_rate_wait_in_the_queue_and_are_served_in_time() {
    let set = Plan::new(1, Script::Banner).shards(2).pool(PATIENT).start();
    set_b1(&set, &["connect-rate=20/s"]);
    let took = serve(&set, 40);
    assert!(took >= least(40, 20), "{took:?}");
    assert_eq!(set.weir.json(&["backend", "show", "web/b1"])["connect_rate_per_s"], 20);
    let page = set.weir.get("/metrics").body;
    assert_eq!(count(&page, "weir_backend_connect_rate_max", &[]), 20);
    assert!(count(&page, "weir_backend_capped_total", &["limit=\"connect_rate\""]) > 0, "{page}");
    assert!(count(&page, "weir_pool_queued_total", &[]) > 0, "{page}");
    // Those who wait are served at once when the rate goes.
    set_b1(&set, &["connect-rate=1/s"]);
    let began = clock::now();
    let mut waiting: Vec<Peer> = (0..200).map(|_| set.client()).collect();
    set_b1(&set, &["connect-rate="]);
    for client in &mut waiting {
        client.patient(PATIENCE);
        assert_eq!(client.line(), "b1");
    }
    assert!(began.elapsed() < Duration::from_secs(100), "200 tokens of 1/s");
}

#[test]
fn limits_below_the_number_of_shards_go_round() {
    let set = Plan::new(1, Script::Banner).shards(4).pool(PATIENT).start();
    set_b1(&set, &["connecting=1"]);
    serve(&set, 40);
    set_b1(&set, &["connecting=2", "max-sessions=2", "connect-rate=2/s"]);
    let took = serve(&set, 6);
    assert!(took >= least(6, 2), "{took:?}");
}

#[test]
fn limits_of_connects_are_checked_and_exported() {
    let set = Plan::new(1, Script::Banner).start();
    set.weir.refuses(&["backend", "set", "web/b1", "connecting=0"], "1 to 4294967295");
    set.weir.refuses(&["backend", "set", "web/b1", "connect-rate=fast"], "200/s");
    set_b1(&set, &["connecting=32", "connect-rate=200/s"]);
    let text = set.weir.ok(&["config", "export"]);
    assert!(
        text.contains("connecting = 32") && text.contains("connect-rate = \"200/s\""),
        "{text}"
    );
    set.weir.ok(&["backend", "set", "web/b1", "connecting=", "connect-rate="]);
    assert!(!set.weir.ok(&["config", "export"]).contains("connect-rate"));
}
