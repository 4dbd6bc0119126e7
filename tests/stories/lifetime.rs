//! `timeout.lifetime`: sessions that are too old end, at a quiet moment if there is one; those that
//! exist go by a change.

use std::time::Duration;

use weir_tests::baseline::count;
use weir_tests::clock;
use weir_tests::net::{Peer, Script, noise};
use weir_tests::story::{Plan, Set};

/// How many sessions weir has ended like this.
fn ends(set: &Set, why: &str) -> u64 {
    let page = set.weir.get("/metrics").body;
    let why = format!("why=\"{why}\"");
    count(&page, "weir_session_ends_total", &["by=\"weir\"", &why])
}

fn plan(timeout: &str) -> Plan {
    Plan::new(1, Script::ByHand).pool(&format!("timeout = {{ {timeout} }}"))
}

fn talked(set: &Set) -> (Peer, Peer) {
    let (mut client, mut server) = set.pair();
    client.send(b"hello");
    server.expect(b"hello").send(b"welcome");
    client.expect(b"welcome");
    (client, server)
}

#[test]
fn a_quiet_session_ends_when_it_is_of_age_and_both_sides_have_everything() {
    let set = plan("idle = \"1h\", lifetime = \"1s\"").start();
    let begun = clock::now();
    let (mut client, mut server) = talked(&set);
    client.expect_rst();
    server.expect_rst();
    assert!(clock::now() - begun >= Duration::from_millis(880), "ended too soon");
    clock::wait_for("its reason", || ends(&set, "lifetime") == 1);
    let ends = set.weir.json(&["stats", "web"])["ends"].to_string();
    assert!(ends.contains("\"AD\""), "{ends}");
}

#[test]
fn a_session_with_bytes_under_way_has_the_grace_and_no_longer() {
    let set = plan("idle = \"1h\", lifetime = \"2s\"").start();
    let begun = clock::now();
    let (client, mut server) = talked(&set);
    // The client reads nothing more, so there is no quiet moment: the cap alone is 1.8 s at least.
    server.send_until_blocked(&noise(1, 30_000_000), Duration::from_millis(200));
    server.expect_rst();
    assert!(clock::now() - begun >= Duration::from_millis(1_980), "it had no grace");
    clock::wait_for("its reason", || ends(&set, "lifetime") == 1);
    drop(client);
}

#[test]
fn live_sessions_go_by_a_change() {
    let set = plan("idle = \"1h\"").start();
    let (mut client, mut server) = talked(&set);
    set.weir.ok(&["pool", "set", "web", "timeout.lifetime=1h"]);
    let pool = set.weir.json(&["pool", "show", "web"]);
    assert_eq!(pool["timeout"]["lifetime_s"], 3600.0);
    set.weir.ok(&["pool", "set", "web", "timeout.lifetime=1s"]);
    client.expect_rst();
    server.expect_rst();
    clock::wait_for("its reason", || ends(&set, "lifetime") == 1);
    // One that is taken away ends none: this one ends because it is idle.
    set.weir.ok(&["pool", "set", "web", "timeout.lifetime=4s", "timeout.idle=5s"]);
    let (mut client, mut server) = talked(&set);
    set.weir.ok(&["pool", "set", "web", "timeout.lifetime="]);
    client.expect_rst();
    server.expect_rst();
    clock::wait_for("the other reason", || ends(&set, "idle_timeout") == 1);
    assert_eq!(ends(&set, "lifetime"), 1);
}

#[test]
fn a_lifetime_that_is_too_short_is_refused_with_its_range() {
    let set = plan("idle = \"1h\"").start();
    let ran = set.weir.ctl(&["pool", "set", "web", "timeout.lifetime=10ms"]);
    assert_ne!(ran.code, 0);
    assert!(ran.stderr.contains("1s to 7 days"), "{}", ran.stderr);
}
