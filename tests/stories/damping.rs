//! What health makes of a pool as a whole: holds that never empty it, and newcomers that are proven
//! first.

use std::time::Duration;

use weir_tests::clock;
use weir_tests::net::{Backend, Script, free, own_ip};
use weir_tests::story::{Plan, Set};

/// Shorter than the shortest hold, which is 10 s.
const SOON: Duration = Duration::from_secs(8);

/// Waits until that backend is in that state, not as long as a hold.
fn soon(set: &Set, name: &str, state: &str) {
    let what = format!("{name} to be {state} before any hold is over");
    clock::wait_within(SOON, &what, || (set.weir.backend(name)["state"] == state).then_some(()));
}

/// A database with one leader and two followers, whose checks pass at the leader only.
#[test]
fn a_new_leader_serves_at_each_of_ten_switch_overs() {
    let health = r#"{ kind = "http", path = "/leader", interval = "100ms", timeout = "1s",
        rise = 2, fall = 3, panic = "0%", slow-start = "0s" }"#;
    let set = Plan::new(3, Script::Http).health(&health.replace('\n', " ")).start();
    for follower in &set.backends[1..] {
        follower.set_status(503);
    }
    soon(&set, "web/b2", "down");
    soon(&set, "web/b3", "down");
    for turn in 0..10 {
        let (old, new) = (turn % 3, (turn + 1) % 3);
        set.backends[old].set_status(503);
        set.backends[new].set_status(200);
        soon(&set, &format!("web/b{}", new + 1), "up");
        soon(&set, &format!("web/b{}", old + 1), "down");
        let mut client = set.client();
        client.send(b"GET / HTTP/1.1\r\nHost: web\r\nConnection: close\r\n\r\n");
        let line = client.line();
        assert!(line.contains(" 200"), "switch-over {turn}: only the leader serves: {line}");
    }
}

#[test]
fn a_hold_is_shown_and_ended_by_its_operator() {
    let health = r#"{ kind = "tcp", interval = "100ms", timeout = "1s", rise = 1, fall = 1,
        slow-start = "0s" }"#;
    let mut set = Plan::new(3, Script::Banner).health(&health.replace('\n', " ")).start();
    for _ in 0..2 {
        set.weir.wait_state("web/b1", "up");
        set.backends[0].pause();
        set.weir.wait_state("web/b1", "down");
        set.backends[0].resume();
    }
    clock::wait_for("its checks to be good again", || {
        set.weir.backend("web/b1")["check"]["result"] == "held"
    });
    let row = set.weir.backend("web/b1");
    let rest = row["check"]["hold_s"].as_f64().unwrap();
    assert!(row["state"] == "down" && rest > 0.0 && rest <= 10.0, "{row}");
    let page = set.weir.get("/metrics").body;
    let gauge = "weir_backend_hold_seconds{pool=\"web\",backend=\"b1\"} ";
    let line = page.lines().find(|line| line.starts_with(gauge)).expect("the gauge");
    assert!(line[gauge.len()..].parse::<f64>().is_ok_and(|rest| rest > 0.0), "{line}");
    assert!(set.weir.ok(&["backend", "list"]).contains("held "), "the table shows the rest");
    let version = set.weir.version();
    let said = set.weir.ok(&["backend", "ready", "web/b1"]);
    let row = set.weir.backend("web/b1");
    assert!(row["state"] == "up" && row["check"]["hold_s"] == 0.0, "{said}: {row}");
    assert_eq!(set.weir.version(), version, "no configuration has changed");
    assert!(set.spread(30, None)[0] >= 8, "it has its share");
    assert!(set.weir.ok(&["events"]).contains("was ended"), "an event tells of it");
}

/// Under least-conn a backend without sessions is the best one, so it got all of them.
#[test]
fn a_new_backend_is_proven_and_then_grows_into_its_share() {
    let health = r#"{ kind = "tcp", interval = "200ms", timeout = "1s", slow-start = "10m" }"#;
    let plan = Plan::new(2, Script::Banner).strategy("least-conn").health(health);
    let mut set = plan.start();
    let mut held = Vec::new();
    let before = set.spread(40, Some(&mut held));
    assert_eq!(before.iter().sum::<usize>(), 40);
    let new = Backend::start("b3", own_ip(), Script::Banner);
    let address = new.address.to_string();
    set.backends.push(new);
    let since = clock::now();
    set.weir.ok(&["backend", "add", "web/b3", &address]);
    set.weir.wait_state("web/b3", "up");
    let counts = set.spread(25, Some(&mut held));
    // As many as it takes part in by then, on average; in a minute 2.5 of 25.
    let due = 25.0 * since.elapsed().as_secs_f64() / 600.0;
    assert!((counts[2] as f64) < due + 6.0 * due.sqrt() + 4.0, "{counts:?}: {due} are its share");
    set.weir.ok(&["pool", "set", "web", "health.slow-start=0s"]);
    let counts = set.spread(15, Some(&mut held));
    assert_eq!(counts[2], 15, "{counts:?}: now it has its whole share");
}

#[test]
fn a_dead_backend_that_is_added_gets_no_session() {
    let health = r#"{ kind = "tcp", interval = "200ms", timeout = "1s", slow-start = "0s" }"#;
    let set = Plan::new(2, Script::Banner).health(health).pool("retry = { attempts = 0 }").start();
    for number in 3..9 {
        let (name, address) = (format!("web/b{number}"), free(own_ip()).to_string());
        set.weir.ok(&["backend", "add", &name, &address]);
    }
    // Each is served, which without a retry is so only if none goes to the new ones.
    assert_eq!(set.spread(40, None).iter().sum::<usize>(), 40);
    set.weir.wait_state("web/b8", "down");
    assert_eq!(set.spread(40, None).iter().sum::<usize>(), 40);
    let status = set.weir.json(&["status"]);
    assert_eq!(status["pools"][0]["panic"], false, "two are up, six never were: {status}");
    assert_eq!(set.weir.backend("web/b3")["connect_failures_total"], 0);
}
