//! Live sessions: listed, shown, filtered and ended one by one, at both doors.

use std::collections::BTreeSet;
use std::time::Duration;

use serde_json::Value;
use weir_tests::clock;
use weir_tests::net::{Peer, Script};
use weir_tests::story::{Plan, Set};

fn rows(answer: &Value) -> Vec<Value> {
    answer["sessions"].as_array().expect("a list").clone()
}

fn list(set: &Set, options: &str) -> Value {
    let words = ["session", "list"].into_iter().chain(options.split_whitespace());
    set.weir.json(&words.collect::<Vec<_>>())
}

fn texts(rows: &[Value], key: &str) -> Vec<String> {
    rows.iter().map(|row| row[key].as_str().expect("a text").to_owned()).collect()
}

/// `count` clients that have all been served, in order.
fn served(set: &Set, count: usize) -> Vec<Peer> {
    let clients = (0..count).map(|_| {
        let mut client = set.client();
        client.echo(b"hello");
        client
    });
    clients.collect()
}

#[test]
fn what_is_listed_is_what_there_is() {
    let set = Plan::new(2, Script::Echo).start();
    assert_eq!(list(&set, "")["matched"], 0);
    let mut clients = served(&set, 6);
    let all = list(&set, "");
    assert_eq!((&all["shown"], &all["matched"]), (&6.into(), &6.into()));
    let all = rows(&all);
    let own: BTreeSet<String> = clients.iter().map(|it| it.address().to_string()).collect();
    assert_eq!(texts(&all, "client").into_iter().collect::<BTreeSet<_>>(), own);
    let ids: BTreeSet<String> = texts(&all, "id").into_iter().collect();
    assert_eq!(ids.len(), 6, "no name is there twice");
    let ages: Vec<f64> = all.iter().map(|row| row["age_s"].as_f64().expect("a number")).collect();
    assert!(ages.is_sorted_by(|a, b| a >= b), "the oldest first: {ages:?}");
    for row in &all {
        assert_eq!((&row["listener"], &row["pool"]), (&"web".into(), &"web".into()));
        assert_eq!((&row["state"], &row["blocked_on"]), (&"relaying".into(), &Value::Null));
        assert_eq!((&row["received_bytes"], &row["sent_bytes"]), (&5.into(), &5.into()));
        assert_eq!(row["version"], 1);
        let shard = row["shard"].as_u64().expect("a number");
        assert!(row["id"].as_str().expect("a text").starts_with(&format!("{shard}.")));
    }
    // Filters, one with another.
    // Each shard has its own turns: three each, or two and four.
    let on_first = list(&set, "--backend web/b1")["matched"].as_u64().expect("a number");
    let on_second = list(&set, "--backend web/b2")["matched"].as_u64().expect("a number");
    assert!(on_first + on_second == 6 && on_first.abs_diff(on_second) <= 2);
    let all_of_it = "--backend web/b1 --listener web --pool web --version 1";
    assert_eq!(list(&set, all_of_it)["matched"], on_first);
    assert_eq!(list(&set, "--version 2")["matched"], 0);
    assert_eq!(list(&set, "--older 1h")["matched"], 0);
    assert_eq!(list(&set, "--stalled")["matched"], 0);
    let host = clients[0].address().ip();
    assert_eq!(list(&set, &format!("--client {host}"))["matched"], 6);
    assert_eq!(list(&set, "--client 203.0.113.0/24")["matched"], 0);
    // Orders and the limit.
    clients[4].echo(&[7; 1000]);
    let most = list(&set, "--sort bytes --limit 1");
    assert_eq!((&most["shown"], &most["matched"]), (&1.into(), &6.into()));
    assert_eq!(rows(&most)[0]["client"], clients[4].address().to_string());
    let idle = rows(&list(&set, "--sort idle"));
    assert_eq!(idle.last().expect("six")["client"], clients[4].address().to_string());
    assert_eq!(list(&set, "--limit 0")["shown"], 0);
    set.weir.ctl(&["session", "list", "--client", "10.0.0.0/33"]).expect_code(2);
    set.weir.ctl(&["session", "list", "--pool", "wbe"]).expect_code(4);
    // A client that leaves is gone from the list.
    drop(clients.remove(0));
    clock::wait_for("five are left", || list(&set, "")["matched"] == 5);
}

#[test]
fn a_session_is_shown_with_both_of_its_legs() {
    let set = Plan::new(1, Script::Echo).start();
    let mut clients = served(&set, 1);
    let id = texts(&rows(&list(&set, "")), "id").remove(0);
    let shown = set.weir.json(&["session", "show", &id]);
    let (client, backend) = (&shown["legs"]["client"], &shown["legs"]["backend"]);
    assert_eq!(client["peer"], clients[0].address().to_string());
    assert_eq!(backend["peer"], set.backends[0].address.to_string());
    assert_eq!(
        (&client["tcp_state"], &backend["tcp_state"]),
        (&"established".into(), &"established".into())
    );
    assert_eq!(
        (&client["received_bytes_total"], &backend["received_bytes_total"]),
        (&5.into(), &5.into())
    );
    assert!(shown["blocked_s"]["client"].is_number() && shown["rate_bytes_per_s"].is_number());
    assert_eq!(shown["id"], id.as_str());
    // The same over HTTP, and its half-close.
    let page = set.weir.get(&format!("/api/v1/sessions/{id}"));
    assert_eq!(
        (page.status, serde_json::from_str::<Value>(&page.body).expect("JSON")["id"].clone()),
        (200, id.as_str().into())
    );
    clients[0].fin();
    clock::wait_for("it is half closed, or over", || {
        let now = rows(&list(&set, ""));
        now.is_empty() || now[0]["state"] == "half-closed"
    });
    drop(clients);
    clock::wait_for("it is over", || list(&set, "")["matched"] == 0);
    set.weir.ctl(&["session", "show", &id]).expect_code(4);
    assert_eq!(set.weir.get(&format!("/api/v1/sessions/{id}")).status, 404);
}

#[test]
fn a_client_that_does_not_read_is_what_its_session_is_blocked_on() {
    let set = Plan::new(1, Script::ByHand).start();
    let client = Peer::connect_narrow(set.weir.web);
    let mut backend = set.backends[0].accept();
    let mut other = set.client();
    let mut idle = set.backends[0].accept();
    idle.send(b"x");
    other.expect(b"x");
    backend.send_until_blocked(&[7; 1 << 16], Duration::from_secs(5));
    let blocked = clock::wait_within(clock::PATIENCE, "it is blocked on its client", || {
        let rows = rows(&list(&set, "--stalled"));
        (rows.len() == 1).then(|| rows[0].clone())
    });
    assert_eq!(blocked["blocked_on"], "client");
    assert_eq!(blocked["client"], client.address().to_string());
    assert!(blocked["received_bytes"].as_u64() > Some(0));
}

#[test]
fn sessions_are_ended_by_name_and_by_what_they_are() {
    let set = Plan::new(2, Script::Echo).start();
    let mut clients = served(&set, 8);
    let find = |set: &Set, client: &Peer| {
        let wanted = client.address().to_string();
        let row = rows(&list(set, "")).into_iter().find(|row| row["client"] == wanted);
        row.expect("it lives")["id"].as_str().expect("a text").to_owned()
    };
    // One by its name: the others live on.
    let id = find(&set, &clients[0]);
    let tried = set.weir.json(&["session", "kill", &id, "--dry-run"]);
    assert_eq!((&tried["matched"], &tried["killed"]), (&1.into(), &0.into()));
    let killed = set.weir.json(&["session", "kill", &id]);
    assert_eq!((&killed["matched"], &killed["killed"]), (&1.into(), &1.into()));
    clients.remove(0).expect_rst();
    set.weir.ctl(&["session", "kill", &id]).expect_code(4);
    for client in &mut clients {
        client.echo(b"again");
    }
    // Those of a backend: there is no terminal to ask on, so it must be said.
    let of_b1 = ["session", "kill", "--backend", "web/b1"];
    let refused = set.weir.ctl(&of_b1).expect_code(2);
    assert!(refused.stderr.contains("sessions would be cut"), "{}", refused.stderr);
    let count = list(&set, "--backend web/b1")["matched"].as_u64().expect("a number");
    assert!((3..=4).contains(&count));
    let surely: Vec<&str> = of_b1.into_iter().chain(["--yes"]).collect();
    assert_eq!(set.weir.json(&surely)["killed"], count);
    assert_eq!(list(&set, "--backend web/b1")["matched"], 0);
    let left = list(&set, "")["matched"].as_u64().expect("a number");
    assert_eq!(left, 7 - count);
    // Neither named nor filtered, or both: refused.
    set.weir.ctl(&["session", "kill", "--yes"]).expect_code(2);
    set.weir.ctl(&["session", "kill", &id, "--pool", "web"]).expect_code(2);
    // Over HTTP only with the token.
    let id = texts(&rows(&list(&set, "")), "id").remove(0);
    let line = format!("DELETE /api/v1/sessions/{id}");
    assert_eq!(set.weir.request(&line, &[], "").status, 403, "this weir has no token");
    assert_eq!(list(&set, "")["matched"], left);
    // It is in the audit of what was done, and the ends are counted.
    let log = set.weir.log();
    assert!(log.contains("session kill"), "{log}");
    clock::wait_for("the ends are counted", || ended_by_operators(&set) == count + 1);
}

/// `weir_session_ends_total` of what operators have ended.
fn ended_by_operators(set: &Set) -> u64 {
    let page = set.weir.get("/metrics").body;
    let of_them = page.lines().filter(|line| {
        line.starts_with("weir_session_ends_total") && line.contains("by=\"operator\"")
    });
    of_them.filter_map(|line| line.rsplit(' ').next()?.parse::<u64>().ok()).sum()
}
