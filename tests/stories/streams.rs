//! Server-sent events, over real sockets: what happens is seen as it happens, nothing is lost
//! without a word, and who does not read is no burden to others.

use std::time::Duration;

use serde_json::{Value, json};
use weir_tests::clock;
use weir_tests::net::Script;
use weir_tests::story::{Plan, Set};
use weir_tests::weir::stream::Stream;

/// The most streams of one weir.
const STREAMS_MAX: usize = 16;

fn events(set: &Set, query: &str) -> Stream {
    let stream = set.weir.stream(&format!("/api/v1/events{query}"), &[]);
    assert_eq!(stream.status, 200, "{stream:?}");
    stream
}

/// One that goes on behind this event.
fn again(set: &Set, id: &str) -> Stream {
    let stream = set.weir.stream("/api/v1/events", &[("Last-Event-ID", id)]);
    assert_eq!(stream.status, 200, "{stream:?}");
    stream
}

fn weigh(set: &Set, weight: usize) {
    set.weir.ok(&["backend", "weight", "web/b1", &weight.to_string()]);
}

#[test]
fn a_stream_sees_a_drain_as_it_happens() {
    let set = Plan::new(2, Script::Banner).start();
    let mut all = events(&set, "");
    assert!(all.head.contains("content-type: text/event-stream"), "{all:?}");
    let mut tasks = events(&set, "?kind=task");
    set.weir.ok(&["backend", "drain", "web/b1"]);
    let seen = all.until(|it| it.event == "config");
    assert_eq!(
        (&seen.data["kind"], &seen.data["subject"]),
        (&json!("config"), &json!("version 2"))
    );
    let number = seen.data["id"].as_u64().expect("a number");
    assert!(seen.id.ends_with(&format!("-{number}")), "{seen:?}");
    set.weir.ok(&["backend", "drain", "web/b1", "--over", "1m", "--yes"]);
    assert_eq!(tasks.take().event, "task", "others are not for this one");
    // Those of before are there for who asks for them.
    let old = events(&set, "?since=1d&kind=config").take();
    assert_eq!((old.id, old.data), (seen.id, seen.data));
}

#[test]
fn who_connects_again_misses_nothing_or_hears_of_it() {
    let mut set = Plan::new(2, Script::Banner).start();
    let mut stream = events(&set, "");
    weigh(&set, 2);
    let id = stream.hear("weight web/b1").id;
    drop(stream);
    weigh(&set, 3);
    // The rest of the change before is passed over.
    let mut stream = again(&set, &id);
    stream.until(|it| it.event == "config" && it.data["subject"] == "version 3");
    set.weir.kill();
    while stream.try_next().is_some() {} // it ends with weir
    let id = stream.last_id.clone();
    set.weir.run();
    let mut stream = again(&set, &id);
    let first = stream.take();
    assert_eq!(first.event, "missing", "{first:?}");
    assert_eq!((&first.data["restarted"], &first.data["missing"]), (&json!(true), &Value::Null));
    weigh(&set, 4);
    let seen = stream.hear("weight web/b1");
    let start = |id: &str| id.split('-').next().expect("a start").to_owned();
    assert_ne!(start(&seen.id), start(&id), "another process");
    // An id without a dash is none.
    assert_eq!(set.weir.stream("/api/v1/events?last-event-id=7", &[]).status, 400);
}

#[test]
fn streams_are_bounded_and_take_nobodys_place() {
    let set = Plan::new(1, Script::Banner).start();
    let mut open: Vec<Stream> = (0..STREAMS_MAX).map(|_| events(&set, "")).collect();
    let refused = set.weir.stream("/api/v1/events", &[]);
    assert_eq!(refused.status, 503, "{refused:?}");
    assert!(refused.head.contains("content-type: application/problem+json"), "{refused:?}");
    let accept = [("Accept", "text/event-stream")];
    let page = set.weir.request("GET /api/v1/live", &accept, "");
    assert!(page.status == 503 && page.body.contains("16 streams are open"), "{page:?}");
    assert_eq!(set.weir.get("/api/v1/events").status, 200, "a document is no stream");
    // More connections than there may be: they take one another's places, not those of streams.
    for _ in 0..100 {
        assert_eq!(set.weir.get("/healthz").status, 200);
    }
    weigh(&set, 2);
    for stream in &mut open {
        stream.hear("weight web/b1");
    }
    drop(open.pop());
    clock::wait_for("its place", || set.weir.stream("/api/v1/events", &[]).status == 200);
}

#[test]
fn who_does_not_read_delays_no_other() {
    let set = Plan::new(1, Script::Banner).start();
    let (deaf, mut other) = (events(&set, "?after=0"), events(&set, ""));
    for weight in 2..40 {
        weigh(&set, weight);
        other.until(|it| it.data["subject"] == format!("version {weight}"));
    }
    drop(deaf);
}

#[test]
fn who_looks_now_sees_the_past_and_then_each_second() {
    let set = Plan::new(2, Script::Banner).start();
    let _open: Vec<_> = (0..3).map(|_| set.session().0).collect();
    let page = || -> Value {
        serde_json::from_str(&set.weir.get("/api/v1/live").body).expect("a document")
    };
    clock::wait_for("some points", || {
        page()["history"]["at"].as_array().is_some_and(|at| at.len() >= 3)
    });
    let mut streams = [set.weir.stream("/api/v1/live", &[]), set.weir.stream("/api/v1/live", &[])];
    for stream in &mut streams {
        let first = stream.take();
        assert_eq!(first.event, "history", "{first:?}");
        let history = &first.data;
        let list = |key: &str| history[key].as_array().expect("a list").clone();
        let length = list("at").len();
        assert!(length >= 3 && history["every_s"] == 1.0, "{history}");
        for key in [
            "sessions",
            "sessions_per_s",
            "received_bits_per_s",
            "sent_bits_per_s",
            "connect_p50_s",
            "connect_p99_s",
        ] {
            assert_eq!(list(key).len(), length, "{key}");
        }
        assert!(list("at").is_sorted_by_key(|at| at.as_f64().map(f64::to_bits)), "{history}");
        assert_eq!(list("sessions").last(), Some(&json!(3)), "{history}");
    }
    let [one, other] = streams.each_mut().map(|stream| stream.until(|it| it.event == "figures"));
    let figures = &one.data;
    assert!(other.data["at"].as_f64() >= figures["at"].as_f64());
    assert_eq!(figures["status"]["version"], 1);
    assert_eq!((&figures["point"]["sessions"], &figures["backends_total"]), (&json!(3), &json!(2)));
    let pool = &figures["pools"][0];
    assert_eq!((&pool["name"], &pool["sessions"]), (&json!("web"), &json!(3)), "{pool}");
    assert!(pool["connect_s"]["p99"].as_f64().is_some_and(|p99| p99 > 0.0), "{pool}");
    assert_eq!(figures["listeners"][0]["sessions"], 3);
    let has_figures = |row: &Value| {
        let p99 = |key: &str| row[key]["p99"].as_f64().is_some_and(|it| it > 0.0);
        p99("connect_s") && p99("first_byte_s")
    };
    let rows = figures["backends"].as_array().expect("a list");
    assert!(rows.iter().any(has_figures), "{rows:?}");
    // What changes is there a moment later.
    set.weir.ok(&["backend", "drain", "web/b2"]);
    let seen = streams[0].until(|it| it.data["backends"][0]["state"] == "draining");
    assert_eq!(seen.data["backends"][0]["name"], "web/b2", "those that are not up come first");
    assert!(seen.data["last_event"].as_u64() > figures["last_event"].as_u64());
}

/// The pool's figures do not tell which of its backends is slow; each backend's own do.
#[test]
fn a_slow_backend_is_seen_by_its_own_figures() {
    const SLOW: Duration = Duration::from_millis(300);
    let set = Plan::new(2, Script::ByHand).start();
    for (index, backend) in set.backends.iter().enumerate() {
        set.weir.ok(&["backend", "ready", ["web/b1", "web/b2"][index]]);
        set.weir.ok(&["backend", "drain", ["web/b2", "web/b1"][index]]);
        for _ in 0..4 {
            let mut client = set.client();
            let mut server = backend.accept();
            client.send(b"?");
            server.expect(b"?");
            if index == 1 {
                clock::park(SLOW); // it thinks
            }
            server.send(b"!");
            client.expect(b"!");
        }
    }
    let stats = |name: &str, key: &str| {
        let stats = set.weir.json(&["stats", name]);
        let durations = &stats[key];
        assert_eq!(durations["count"], 4, "{name} {key}: {stats}");
        durations["p50"].as_f64().expect("a number")
    };
    clock::wait_for("the figures of all", || {
        let count = |name| set.weir.json(&["stats", name])["first_byte_duration_s"]["count"] == 4;
        count("web/b1") && count("web/b2")
    });
    let [fast, slow] = ["web/b1", "web/b2"].map(|name| stats(name, "first_byte_duration_s"));
    assert!(slow >= SLOW.as_secs_f64() && slow > 2.0 * fast, "{fast} and {slow}");
    let connect = stats("web/b2", "connect_duration_s");
    assert!(connect < slow / 2.0, "only its answer is slow: {connect}");
}
