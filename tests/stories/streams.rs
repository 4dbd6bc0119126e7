//! Server-sent events, over real sockets: what happens is seen as it happens, nothing is lost
//! without a word, and who does not read is no burden to others.

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
    let seen = all.hear("drain web/b1");
    assert_eq!((seen.event.as_str(), &seen.data["kind"]), ("config", &json!("config")));
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
    // More than are kept of refusals, which take no other's place.
    let id = stream.last_id.clone();
    set.weir.kill();
    assert!(stream.try_next().is_none(), "it ends with weir");
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
    let page = set.weir.request("GET /api/v1/events", &accept, "");
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
