//! Tasks: sessions that are ended at a pace, the longest idle first, and never more than it takes.

use std::time::Duration;

use weir_tests::baseline::count;
use weir_tests::clock;
use weir_tests::net::{Peer, Script};
use weir_tests::story::{Plan, Set};

use crate::http::{ask, with_token};

/// Sessions that have been served.
fn served(set: &Set, number: usize) -> Vec<Peer> {
    let mut clients = Vec::new();
    let counts = set.spread(number, Some(&mut clients));
    assert_eq!(counts.iter().sum::<usize>(), number);
    clients
}

fn task(set: &Set, id: &str) -> serde_json::Value {
    set.weir.json(&["task", "show", id])
}

fn wait_for_state(set: &Set, id: &str, state: &str) -> serde_json::Value {
    clock::wait_for(&format!("task {id} to be {state}"), || task(set, id)["state"] == state);
    task(set, id)
}

/// How many of them have ended by now.
fn ended(clients: &[Peer]) -> usize {
    clients.iter().filter(|client| client.hears_within(Duration::from_millis(1))).count()
}

#[test]
fn a_paced_drain_ends_every_session_and_is_never_faster_than_its_pace() {
    let set = Plan::new(2, Script::Banner).start();
    set.weir.ok(&["backend", "maint", "web/b2"]);
    let mut clients = served(&set, 30);
    set.weir.ok(&["backend", "ready", "web/b2"]);
    let began = clock::now();
    let answer = set.weir.json(&["backend", "drain", "web/b1", "--over", "3s", "--yes"]);
    assert_eq!(
        (&answer["task"]["total"], &answer["after"]["state"]),
        (&30.into(), &"drain".into())
    );
    for client in &mut clients {
        client.expect_rst();
    }
    // 10 a second: no machine is fast enough to see it end sooner.
    let took = began.elapsed();
    assert!(took >= Duration::from_millis(2_500), "30 sessions over 3 s were ended in {took:?}");
    let row = wait_for_state(&set, "1", "done");
    assert_eq!((&row["done"], &row["eta_s"]), (&30.into(), &serde_json::Value::Null), "{row}");
    let labels = ["by=\"operator\"", "during=\"relaying\"", "why=\"shed\""];
    clock::wait_for("their reason to be counted", || {
        let page = set.weir.get("/metrics").body;
        count(&page, "weir_session_ends_total", &labels) == 30
    });
    let events = set.weir.ok(&["events"]);
    assert!(events.contains("began; sessions ended: 0 of 30"), "{events}");
    assert!(events.contains("done; sessions ended: 30 of 30"), "{events}");
}

#[test]
fn the_longest_idle_go_first_and_a_cancelled_drain_ends_no_more() {
    let set = Plan::new(2, Script::Banner).shards(1).start();
    set.weir.ok(&["backend", "maint", "web/b2"]);
    let mut clients = served(&set, 30);
    for client in &mut clients[..10] {
        client.echo(b"at work");
    }
    // One in two seconds: the twenty that are idle last for forty.
    set.weir.ok(&["backend", "drain", "web/b1", "--over", "60s", "--yes"]);
    clock::wait_for("two to be ended", || task(&set, "1")["done"].as_u64() >= Some(2));
    let row = set.weir.json(&["task", "cancel", "1"]);
    assert_eq!(row["state"], "cancelled");
    set.weir.ctl(&["task", "cancel", "1"]).expect_code(1);
    set.weir.ctl(&["task", "cancel", "2"]).expect_code(4);
    let (at_work, idle) = clients.split_at_mut(10);
    for client in at_work {
        client.echo(b"still there");
    }
    assert!(ended(idle) >= 2);
    assert_eq!(set.weir.backend("web/b1")["state"], "draining", "the drain itself stays");
    let list = set.weir.json(&["task", "list"]);
    assert_eq!(list["tasks"].as_array().map(Vec::len), Some(1), "{list}");
}

#[test]
fn a_backend_that_takes_sessions_again_ends_its_task() {
    let set = Plan::new(2, Script::Banner).start();
    let clients = served(&set, 4);
    set.weir.ctl(&["task", "list"]).expect_code(0);
    set.weir.ok(&["backend", "drain", "web/b1", "--over", "1h"]);
    assert_eq!(task(&set, "1")["state"], "running");
    let running = |kind: &str| {
        let kind = format!("kind=\"{kind}\"");
        count(&set.weir.get("/metrics").body, "weir_tasks", &[&kind])
    };
    assert_eq!([running("backend_drain"), running("pool_rebalance")], [1, 0]);
    set.weir.ok(&["backend", "ready", "web/b1"]);
    wait_for_state(&set, "1", "cancelled");
    assert_eq!(ended(&clients), 0);
}

#[test]
fn a_removed_backend_and_a_listener_can_be_drained_at_a_pace() {
    let set = Plan::new(2, Script::Banner).start();
    let clients = served(&set, 8);
    set.weir.ok(&["backend", "remove", "web/b1"]);
    set.weir.ok(&["backend", "drain", "web/b1", "--over", "1s"]);
    let row = wait_for_state(&set, "1", "done");
    let first = row["done"].as_u64();
    assert!(first >= Some(1) && first == Some(ended(&clients) as u64), "{row}");
    set.weir.ctl(&["backend", "drain", "web/b7", "--over", "1s"]).expect_code(4);
    set.weir.ok(&["listener", "drain", "web", "--over", "1s", "--yes"]);
    wait_for_state(&set, "2", "done");
    // A reset is seen once: those that were counted before are at their end.
    assert_eq!(ended(&clients), 8);
}

#[test]
fn a_rebalance_ends_the_fewest_sessions() {
    let set = Plan::new(2, Script::Banner).start();
    set.weir.ok(&["backend", "maint", "web/b2"]);
    let clients = served(&set, 20);
    set.weir.ok(&["backend", "ready", "web/b2"]);
    set.weir.wait_state("web/b2", "up");
    let row = set.weir.json(&["pool", "rebalance", "web", "--to", "0", "--rate", "50/s"]);
    assert_eq!((&row["kind"], &row["total"]), (&"pool_rebalance".into(), &10.into()), "{row}");
    let row = wait_for_state(&set, "1", "done");
    assert_eq!(row["done"], 10, "{row}");
    assert_eq!(ended(&clients), 10);
    clock::wait_for("its figures", || set.weir.backend("web/b1")["sessions"] == 10);
}

#[test]
fn a_kill_at_a_rate_goes_on_without_weirctl() {
    // With one shard each backend has half of them exactly.
    let set = with_token(Plan::new(2, Script::Banner).shards(1));
    let clients = served(&set, 24);
    let of_b1 = ["session", "kill", "--backend", "web/b1", "--rate", "4/s"];
    let counted = set.weir.json(&[&of_b1[..], &["--dry-run"]].concat());
    assert_eq!((&counted["matched"], &counted["killed"]), (&12.into(), &0.into()));
    let refused = set.weir.ctl(&of_b1).expect_code(2);
    assert!(refused.stderr.contains("12 sessions would be cut"), "{}", refused.stderr);
    assert_eq!(set.weir.json(&["task", "list"])["tasks"], serde_json::json!([]));
    let began = clock::now();
    let row = set.weir.json(&[&of_b1[..], &["--yes"]].concat());
    // weirctl has ended; the sessions have not.
    assert_eq!((&row["kind"], &row["total"]), (&"session_kill".into(), &12.into()), "{row}");
    assert_eq!((&row["state"], &row["subject"]), (&"running".into(), &"--backend web/b1".into()));
    let row = wait_for_state(&set, "1", "done");
    let took = began.elapsed();
    assert!(took >= Duration::from_millis(2_500), "12 at 4 a second were ended in {took:?}");
    assert_eq!(row["done"], 12, "{row}");
    assert_eq!(ended(&clients), 12);
    let labels = ["by=\"operator\"", "why=\"killed\""];
    clock::wait_for("their reason to be counted", || {
        count(&set.weir.get("/metrics").body, "weir_session_ends_total", &labels) == 12
    });
    let events = set.weir.ok(&["events", "--kind", "task"]);
    assert!(events.contains("(session kill): began; sessions ended: 0 of 12"), "{events}");
    assert!(events.contains("(session kill): done; sessions ended: 12 of 12"), "{events}");

    // Over HTTP, and cancelled there.
    let rest = "DELETE /api/v1/sessions?pool=web&rate=1";
    let page = ask(&set, &format!("{rest}&dry-run=true"), &[], "");
    assert!(page.status == 200 && page.body.contains("\"matched\":12"), "{page:?}");
    let page = ask(&set, rest, &[], "");
    assert!(page.status == 200 && page.body.contains("\"kind\":\"session_kill\""), "{page:?}");
    let page = ask(&set, "DELETE /api/v1/tasks/2", &[], "");
    assert_eq!(page.status, 200, "{page:?}");
    assert_eq!(task(&set, "2")["state"], "cancelled");
    assert!(set.weir.backend("web/b2")["sessions"].as_u64() >= Some(10));
    // Without a rate at once, and never every session by leaving the filter out.
    let page = ask(&set, "DELETE /api/v1/sessions", &[], "");
    assert_eq!(page.status, 422, "{page:?}");
    let page = ask(&set, "DELETE /api/v1/sessions?listener=web", &[], "");
    assert!(page.status == 200 && page.body.contains("\"killed\":"), "{page:?}");
    clock::wait_for("all to be over", || set.weir.backend("web/b2")["sessions"] == 0);
}
