//! Backends with a limit of sessions: never more than that, and clients that wait are served in
//! their turn.

use std::process::Command;
use std::sync::Mutex;
use std::time::Duration;

use serde_json::Value;
use weir_tests::clock;
use weir_tests::net::{Peer, Script, free, listener, own_ip};
use weir_tests::real::Server;
use weir_tests::story::{Plan, Set};
use weir_tests::weir::{Ran, Start, Weir};

use super::max_sessions::Counts;

/// For everybody to be served, on a busy machine.
const LIMIT: Duration = Duration::from_secs(90);

/// One backend with this limit, and one session on it.
fn full(pool: &str) -> (Set, Peer) {
    let set = Plan::new(1, Script::Banner).pool(pool).start();
    set.weir.ok(&["backend", "set", "web/b1", "max-sessions=1"]);
    let mut first = set.client();
    assert_eq!(first.line(), "b1");
    (set, first)
}

fn queued(set: &Set) -> u64 {
    set.weir.json(&["stats"])["pools"][0]["sessions_queued"].as_u64().expect("a number")
}

fn end_of(set: &Set, why: &str) -> Option<Value> {
    let stats = set.weir.json(&["stats", "web"]);
    let ends = stats["ends"].as_array().expect("a list").clone();
    ends.into_iter().find(|end| end["why"] == why)
}

#[test]
fn two_shards_never_give_a_backend_more_than_it_may_have_and_serve_every_client() {
    const MOST: usize = 4;
    let backends = listener(own_ip());
    let backend = backends.local_addr().expect("it is bound");
    let counts = Counts::default();
    counts.serve(backends);
    let web = free(own_ip());
    let text = format!(
        "[listener.web]\nbind = \"{web}\"\npool = \"web\"\n\
         [pool.web]\nhealth = {{ kind = \"none\" }}\n\
         timeout = {{ queue = \"5m\" }}\n[pool.web.backend]\n\
         b1 = {{ address = \"{backend}\", max-sessions = {MOST} }}\n"
    );
    let weir = Weir::start(web, &text, Start::default());
    let open = Mutex::new(false);
    let opened = std::sync::Condvar::new();
    let sources = [(); 4].map(|()| own_ip());
    std::thread::scope(|scope| {
        let mut all = Vec::new();
        for number in 0..40 {
            let mut client = Peer::connect_from(sources[number % 4], web);
            let (open, opened) = (&open, &opened);
            all.push(scope.spawn(move || {
                client.patient(LIMIT);
                assert_eq!(client.line(), "hello");
                let open = open.lock().expect("no client panics inside");
                drop(opened.wait_while(open, |open| !*open).expect("no client panics inside"));
                client.fin().expect_fin();
            }));
        }
        let is_full = clock::try_wait(LIMIT, || (counts.live() == MOST).then_some(()));
        assert!(is_full.is_some(), "{} sessions at the backend", counts.live());
        let waiting = || weir.json(&["stats"])["pools"][0]["sessions_queued"].as_u64();
        clock::wait_for("36 clients to wait", || waiting() == Some(36));
        *open.lock().expect("no client panics inside") = true;
        opened.notify_all();
        for client in all {
            client.join().expect("the client was served");
        }
    });
    let accepts = counts.at_accepts();
    assert_eq!(accepts.len(), 40, "every client has had the backend");
    assert_eq!(accepts.iter().max(), Some(&MOST), "{accepts:?}");
}

#[test]
fn one_that_waits_is_seen_and_is_reset_when_its_time_is_over() {
    let (set, _first) = full("timeout = { queue = \"3s\" }");
    let mut second = set.client();
    clock::wait_for("it to wait", || queued(&set) == 1);
    let list = set.weir.json(&["session", "list"]);
    let rows = list["sessions"].as_array().expect("a list");
    let row = rows.iter().find(|row| row["state"] == "queued").expect("one waits");
    assert_eq!((&row["backend"], &row["pool"]), (&Value::Null, &"web".into()));
    let why = set.weir.json(&["why", "web", "--client", "127.0.0.1"]);
    let why_not = why["candidates"][0]["why_not"].as_str().expect("a reason");
    assert!(why_not.contains("full: 1 session"), "{why_not}");
    let page = set.weir.get("/metrics").body;
    assert!(page.contains("weir_pool_sessions_queued{pool=\"web\"} 1"), "{page}");
    second.patient(LIMIT);
    second.expect_rst();
    clock::wait_for("its end", || end_of(&set, "queue_timeout").is_some());
    let end = end_of(&set, "queue_timeout").expect("it was there");
    assert_eq!((&end["code"], &end["during"]), (&"sQ".into(), &"queued".into()));
}

#[test]
fn a_client_that_sends_and_half_closes_while_it_waits_is_served() {
    let (set, mut first) = full("timeout = { queue = \"5m\" }");
    let mut second = set.client();
    second.send(b"later").fin();
    clock::wait_for("it to wait", || queued(&set) == 1);
    set.client().rst();
    first.fin().expect_fin();
    second.patient(LIMIT);
    assert_eq!(second.line(), "b1");
    second.expect(b"later").expect_fin();
    clock::wait_for("the line to be empty", || queued(&set) == 0);
    let latency = set.weir.json(&["latency", "web"]);
    let queue = &latency["phases"][3];
    assert_eq!(queue["phase"], "queue");
    // The first one may have waited, too, for the first credit after the limit came.
    assert!(queue["count"].as_u64() >= Some(1), "{queue}");
}

#[test]
fn a_line_has_its_bound_and_a_limit_moves_while_it_is_full() {
    // Not from the start: a shard without the credit would reset the first one.
    let (set, _first) = full("");
    set.weir.ok(&["pool", "set", "web", "queue.size=0"]);
    // The reset may come before connect(2) has returned.
    if let Ok(mut refused) = Peer::try_connect(set.weir.web) {
        refused.expect_rst();
    }
    clock::wait_for("its end", || end_of(&set, "queue_full").is_some());
    set.weir.ok(&["pool", "set", "web", "queue.size=10", "timeout.queue=5m"]);
    let mut second = set.client();
    clock::wait_for("it to wait", || queued(&set) == 1);
    set.weir.ok(&["backend", "set", "web/b1", "max-sessions=2"]);
    second.patient(LIMIT);
    assert_eq!(second.line(), "b1");
    set.weir.ok(&["backend", "set", "web/b1", "max-sessions=1"]);
    second.echo(b"a lower limit cuts no session");
}

#[test]
fn sessions_wait_through_a_drain_of_the_full_backend_and_end_with_weir() {
    let (set, mut first) = full("timeout = { queue = \"5m\" }");
    let mut second = set.client();
    clock::wait_for("it to wait", || queued(&set) == 1);
    set.weir.ok(&["backend", "drain", "web/b1", "--yes"]);
    first.fin().expect_fin();
    clock::wait_for("the backend to be empty", || set.weir.backend("web/b1")["sessions"] == 0);
    assert_eq!(queued(&set), 1, "it is drained: no new session");
    set.weir.ok(&["backend", "ready", "web/b1"]);
    second.patient(LIMIT);
    assert_eq!(second.line(), "b1");
    let mut third = set.client();
    clock::wait_for("it to wait", || queued(&set) == 1);
    set.weir.ok(&["session", "kill", "--backend", "web/b1", "--yes"]);
    second.expect_rst();
    third.patient(LIMIT);
    assert_eq!(third.line(), "b1", "a kill of the backend's sessions is not about those that wait");
    let mut fourth = set.client();
    clock::wait_for("it to wait", || queued(&set) == 1);
    set.weir.ok(&["stop", "--yes"]);
    fourth.patient(LIMIT);
    fourth.expect_rst();
}

#[test]
fn redis_with_a_limit_is_served_all_the_requests_of_fifty_clients() {
    let redis = Server::redis();
    let web = free(own_ip());
    let text = format!(
        "[listener.web]\nbind = \"{web}\"\npool = \"web\"\n\
         [pool.web]\ntimeout = {{ queue = \"5m\" }}\n\
         [pool.web.backend]\nb1 = {{ address = \"{}\", max-sessions = 5 }}\n",
        redis.addresses[0]
    );
    let weir = Weir::start(web, &text, Start::default());
    let mut command = Command::new("redis-benchmark");
    let (host, port) = (web.ip().to_string(), web.port().to_string());
    // A connection for each request, fifty at once.
    command.args([
        "-h",
        &host,
        "-p",
        &port,
        "-c",
        "50",
        "-n",
        "1000",
        "-k",
        "0",
        "-t",
        "ping_inline",
        "-q",
    ]);
    let ran = Ran::of(&mut command).expect_code(0);
    assert!(!ran.stderr.contains("Error"), "{}", ran.stderr);
    let stats = weir.json(&["stats"]);
    assert!(stats["pools"][0]["queued_total"].as_u64() > Some(0), "{stats}");
    let listed = weir.backend("web/b1");
    assert!(listed["sessions_total"].as_u64() >= Some(1000), "{listed}");
}

#[test]
fn a_listener_that_holds_its_clients_hides_a_restart_of_its_only_backend() {
    let health =
        "{ kind = \"tcp\", interval = \"100ms\", timeout = \"100ms\", rise = 1, fall = 1 }";
    let plan = Plan::new(1, Script::Banner).health(health);
    let mut set = plan.listener("no-backend = \"hold 60s\"").start();
    set.weir.wait_state("web/b1", "up");
    set.backends[0].pause();
    set.weir.wait_state("web/b1", "down");
    let mut held = set.client();
    held.send(b"early");
    clock::wait_for("it to wait", || queued(&set) == 1);
    set.backends[0].resume();
    held.patient(LIMIT);
    assert_eq!(held.line(), "b1");
    held.expect(b"early");
    // Held for a moment: reset, and told as what it is.
    set.backends[0].pause();
    set.weir.wait_state("web/b1", "down");
    set.weir.ok(&["listener", "set", "web", "no-backend=hold 200ms"]);
    set.client().expect_rst();
    clock::wait_for("its end", || end_of(&set, "no_backend").is_some());
    let end = end_of(&set, "no_backend").expect("it was there");
    assert_eq!((&end["by"], &end["during"]), (&"weir".into(), &"queued".into()));
    set.weir.refuses(&["listener", "set", "web", "no-backend=hold"], "hold 5s");
    let shown = set.weir.json(&["listener", "show", "web"]);
    assert_eq!(shown["no_backend"], "hold 200ms", "{shown}");
}
