//! Backends that take sessions and hang up before they have said anything.

use weir_tests::baseline::count;
use weir_tests::clock;
use weir_tests::net::Script;
use weir_tests::story::Plan;

/// A check that only connects says "ok" of a backend that takes each client and hangs up.
#[test]
fn a_backend_that_hangs_up_before_its_first_byte_again_and_again_is_an_event() {
    let set = Plan::new(1, Script::RstAfter(5)).start();
    for _ in 0..12 {
        let mut client = set.client();
        client.send(b"hello");
        client.rest();
    }
    clock::wait_for("an event", || {
        let text = set.weir.ok(&["events"]);
        text.contains("web/b1") && text.contains("before its first byte")
    });
    clock::wait_for("all of them to be counted", || {
        let page = set.weir.get("/metrics").body;
        count(&page, "weir_backend_early_closes_total", &["backend=\"b1\""]) == 12
    });
    let told = set.weir.ok(&["events"]).matches("before its first byte").count();
    assert_eq!(told, 1, "once a minute");
    let status = set.weir.json(&["status"]);
    let warning = "backend web/b1 ends most of its sessions before their first byte";
    assert_eq!(status["warnings"], serde_json::json!([warning]), "{status}");
    assert!(set.weir.log().contains("backend web/b1 ended "), "{}", set.weir.log());
    let stats = set.weir.json(&["stats", "web/b1"]);
    let early = (&stats["early_closes_total"], &stats["first_closes_total"]["backend"]);
    assert_eq!(early, (&12.into(), &12.into()), "{stats}");
    let shown = set.weir.ok(&["stats", "web/b1"]);
    assert!(shown.contains("closed before its first byte"), "{shown}");
}
