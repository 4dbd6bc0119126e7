//! Readiness and `status` say that weir is full, and why, while it can serve no new session.

use std::time::Duration;

use weir_tests::baseline::count;
use weir_tests::clock;
use weir_tests::crowd::Crowd;
use weir_tests::crowd::guest::Guest;
use weir_tests::net::{self, Script};
use weir_tests::story::{Plan, Set};

/// So few that weir has a few dozen slots.
const NOFILE: u32 = 256;

fn start(crowd: &mut Crowd<Guest>, plan: Plan) -> Set {
    let listener = net::listener(net::own_ip());
    let address = listener.local_addr().expect("it is bound");
    crowd.listen(listener, |_| Guest::server());
    plan.extern_backend("b1", address).start()
}

fn readiness(set: &Set) -> (u16, String) {
    let page = set.weir.get("/readyz");
    (page.status, page.body)
}

fn warnings(set: &Set) -> Vec<String> {
    let status = set.weir.json(&["status"]);
    let warnings = status["warnings"].as_array().expect("a list").iter();
    warnings.map(|it| it.as_str().expect("a text").to_owned()).collect()
}

fn is_full(set: &Set) -> bool {
    count(&set.weir.get("/metrics").body, "weir_full", &[]) == 1
}

/// Turns the crowd until readiness is as `wanted` says; its text.
fn wait_readiness(crowd: &mut Crowd<Guest>, set: &Set, wanted: u16) -> String {
    let mut text = String::new();
    crowd.turn_until(Duration::from_secs(30), "readiness to change", |_| {
        let (status, body) = readiness(set);
        text = body;
        status == wanted
    });
    text
}

#[test]
fn who_has_no_slot_left_is_not_ready_and_says_so() {
    let mut crowd = Crowd::new();
    let set = start(&mut crowd, Plan::new(0, Script::Silent).nofile(NOFILE));
    let status = set.weir.json(&["status"]);
    let most = status["sessions_max"].as_u64().expect("a number");
    assert!((2..1_000).contains(&most), "void: {most} slots");
    assert_eq!(readiness(&set), (200, "ready\n".to_owned()));
    assert!(!is_full(&set));
    // The kernel spreads clients over the shards by chance: this is enough for each of them.
    for _ in 0..most * 2 + 50 {
        crowd.connect(set.weir.web, None, Guest::client());
    }
    let text = wait_readiness(&mut crowd, &set, 503);
    assert!(text.starts_with(&format!("full: {most} of {most} sessions")), "{text}");
    assert_eq!(warnings(&set), [text.trim_end()]);
    // The page of metrics may be a tenth of a second old.
    clock::wait_for("weir_full", || is_full(&set));
    crowd.let_all_go();
    assert_eq!(wait_readiness(&mut crowd, &set, 200), "ready\n");
    assert_eq!(warnings(&set), [""; 0]);
    let events = set.weir.ok(&["events"]);
    assert!(events.contains("full:") && events.contains("served again"), "{events}");
}

/// The limit shrinks under a running weir, so that accept(2) and socket(2) themselves fail.
#[test]
fn who_gets_no_descriptor_is_not_ready_and_says_so() {
    let mut crowd = Crowd::new();
    let set = start(&mut crowd, Plan::new(0, Script::Silent));
    set.weir.limit_descriptors(set.weir.descriptors().len() / 2 + 40);
    for _ in 0..400 {
        crowd.connect(set.weir.web, None, Guest::client());
    }
    let text = wait_readiness(&mut crowd, &set, 503);
    assert!(text.contains("no more descriptors"), "{text}");
    set.weir.limit_descriptors(20_000);
    assert_eq!(wait_readiness(&mut crowd, &set, 200), "ready\n");
}
