//! Backends that fall ill and recover: checks, failed connects, and clients that notice nothing.

use weir_tests::clock;
use weir_tests::net::{Peer, Script};
use weir_tests::story::{Plan, Set};

/// Waits until b1 is down and says why; its sessions go to b2.
fn expect_down(set: &Set) -> String {
    let row = set.weir.wait_state("web/b1", "down");
    let result = row["check"]["result"].as_str().unwrap_or_default().to_owned();
    assert!(!["", "ok", "pending", "off"].contains(&result.as_str()), "no reason: {row}");
    assert!(row["check"]["since_s"].as_f64().is_some(), "{row}");
    assert!(
        set.weir.ok(&["backend", "list"]).contains(&result),
        "the table shows the reason {result:?}"
    );
    result
}

fn expect_event(set: &Set, kind: &str, subject: &str) {
    clock::wait_for("an event", || {
        let events = set.weir.ok(&["-o", "json", "events"]);
        events.contains(&format!("{kind:?}")) && events.contains(&format!("{subject:?}"))
    });
    assert!(set.weir.ok(&["events"]).contains(subject));
}

#[test]
fn a_tcp_check_takes_a_backend_down_and_up() {
    let health = r#"{ kind = "tcp", interval = "100ms", timeout = "100ms", rise = 2, fall = 2,
        slow-start = "0s" }"#;
    let set = Plan::new(2, Script::Banner).health(&health.replace('\n', " "));
    let mut set = set.start();
    set.weir.wait_state("web/b1", "up");
    set.backends[0].pause();
    assert_eq!(expect_down(&set), "refused");
    let status = set.weir.json(&["status"]);
    let said = status["warnings"][0].as_str().unwrap_or_default();
    assert!(said.starts_with("1 backend is down: web/b1 for "), "{status}");
    assert!(said.ends_with(" (refused)"), "{status}");
    assert_eq!(set.spread(20, None), [0, 20]);
    expect_event(&set, "health", "web/b1");
    set.backends[0].resume();
    set.weir.wait_state("web/b1", "up");
    assert_eq!(set.weir.json(&["status"])["warnings"], serde_json::json!([]));
    assert!(set.spread(20, None)[0] >= 8);
}

#[test]
fn status_names_three_backends_that_are_down_and_counts_the_others() {
    let health = "{ kind = \"tcp\", interval = \"100ms\", timeout = \"100ms\", fall = 1 }";
    let mut plan = Plan::new(1, Script::Banner).health(health);
    for name in ["c1", "c2", "c3", "c4", "c5"] {
        plan = plan.extern_backend(name, weir_tests::net::free(weir_tests::net::own_ip()));
    }
    let set = plan.start();
    let said = clock::wait_within(clock::PATIENCE, "all of them to be down", || {
        // The pool is in panic: that is a warning, too.
        let status = set.weir.json(&["status"]);
        let all = status["warnings"].as_array().expect("a list").iter();
        let mut texts = all.filter_map(|it| it.as_str().map(str::to_owned));
        texts.find(|it| it.starts_with("5 backends are down: "))
    });
    assert!(said.contains("web/c1 for ") && said.ends_with(" and 2 more"), "{said}");
    assert_eq!(said.matches("(refused)").count(), 3, "{said}");
}

#[test]
fn an_http_check_asks_for_a_status() {
    let health = r#"{ kind = "http", path = "/health", interval = "100ms", timeout = "200ms",
        rise = 2, fall = 2 }"#;
    let set = Plan::new(2, Script::Http).health(&health.replace('\n', " ")).start();
    set.weir.wait_state("web/b1", "up");
    set.backends[0].set_status(503);
    assert!(expect_down(&set).contains("503"), "the reason names the status");
    set.backends[0].set_status(204);
    set.weir.wait_state("web/b1", "up");
}

#[test]
fn a_send_expect_check_reads_the_answer() {
    let health = r#"{ kind = "send-expect", send = "PING\\r\\n", expect = "+PONG",
        interval = "100ms", timeout = "200ms", rise = 2, fall = 2 }"#;
    let set = Plan::new(2, Script::PingPong).health(&health.replace('\n', " ")).start();
    set.weir.wait_state("web/b1", "up");
    set.backends[0].set_status(503);
    expect_down(&set);
    set.backends[0].set_status(200);
    set.weir.wait_state("web/b1", "up");
}

#[test]
fn a_backend_that_accepts_and_says_nothing_fails_its_check_by_timeout() {
    let health = r#"{ kind = "http", path = "/", interval = "100ms", timeout = "100ms", rise = 1,
        fall = 2 }"#;
    let set = Plan::new(1, Script::Silent).health(&health.replace('\n', " ")).start();
    assert_eq!(expect_down(&set), "timeout");
}

#[test]
fn a_dead_backend_is_invisible_to_clients_and_is_ejected() {
    let mut set = Plan::new(3, Script::Banner).pool("retry = { attempts = 2 }").start();
    set.backends[0].die();
    for _ in 0..200 {
        let (mut client, name) = set.session();
        assert_ne!(name, "b1");
        client.echo(b"served").fin().expect_fin();
    }
    // No checks at all: three failed connects in a row were enough.
    set.weir.wait_state("web/b1", "down");
    clock::wait_for("the aggregate", || {
        set.weir.backend("web/b1")["connect_failures_total"].as_u64() >= Some(3)
    });
    let row = set.weir.backend("web/b1");
    assert!(row["connect_failures_total"].as_u64() < Some(100), "it is picked no more: {row}");
    expect_event(&set, "health", "web/b1");
    let metrics = set.weir.get("/metrics").body;
    assert!(metrics.contains("weir_backend_connect_failures_total{"), "{metrics}");
}

#[test]
fn when_every_backend_is_dead_a_client_is_reset_soon() {
    let mut set = Plan::new(2, Script::Banner).start();
    for backend in &mut set.backends {
        backend.die();
    }
    for _ in 0..10 {
        // The reset may be there before the client has looked at its connect.
        if let Ok(mut client) = Peer::try_connect(set.weir.web) {
            assert!(client.rest().0.is_empty());
        }
    }
    clock::wait_for("no session to be left", || set.weir.sessions() == 0);
}

#[test]
fn a_drained_backend_is_still_checked_and_one_in_maint_is_not() {
    let health = r#"{ kind = "tcp", interval = "100ms", timeout = "100ms", rise = 1, fall = 1 }"#;
    let set = Plan::new(2, Script::Banner).health(health).start();
    set.weir.ok(&["backend", "drain", "web/b1"]);
    let before = set.backends[0].count();
    clock::wait_for("three checks", || set.backends[0].count() >= before + 3);
    set.weir.ok(&["backend", "maint", "web/b1"]);
    let (before, other) = (set.backends[0].count(), set.backends[1].count());
    // b2 is the clock: while it was checked five times, b1 was not (one may have been on its way).
    clock::wait_for("five checks of b2", || set.backends[1].count() >= other + 5);
    assert!(set.backends[0].count() <= before + 1);
}
