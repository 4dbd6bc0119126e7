//! Health by hand: a backend that an operator has forced up or down, and sees everywhere.

use std::io::ErrorKind;

use weir_tests::clock;
use weir_tests::net::{Peer, Script};
use weir_tests::story::{Plan, Set};

const CHECKED: &str = "{ kind = \"tcp\", interval = \"100ms\", timeout = \"100ms\", \
                       rise = 2, fall = 2, slow-start = \"0s\", panic = \"0%\" }";

fn warns(set: &Set, text: &str) -> bool {
    let status = set.weir.json(&["status"]);
    let warnings = status["warnings"].as_array().expect("a list").iter();
    warnings.filter_map(|it| it.as_str()).any(|it| it.contains(text))
}

#[test]
fn a_backend_that_is_forced_down_gets_no_session_although_its_checks_are_good() {
    let mut set = Plan::new(2, Script::Banner).health(CHECKED).start();
    set.weir.wait_state("web/b1", "up");
    set.weir.ok(&["backend", "set", "web/b1", "force=down"]);
    assert_eq!(set.spread(20, None), [0, 20]);
    let row = set.weir.wait_state("web/b1", "down");
    assert_eq!(
        (row["force"].as_str(), row["check"]["result"].as_str()),
        (Some("down"), Some("ok"))
    );
    let list = set.weir.ok(&["backend", "list"]);
    assert!(list.contains("forced down (ok)"), "{list}");
    assert!(warns(&set, "backend web/b1 is forced down by hand"), "{list}");
    let why = set.weir.ok(&["why", "web", "--client", "192.0.2.1"]);
    assert!(why.contains("an operator has forced it down"), "{why}");
    let page = set.weir.get("/metrics").body;
    let row = "weir_backend_forced{pool=\"web\",backend=\"b1\",health=\"down\"} 1";
    assert!(page.contains(row), "{page}");
    assert!(set.weir.ok(&["config", "export"]).contains("force = \"down\""));
    // It is configuration: a restart keeps it.
    set.weir.kill();
    set.weir.run();
    assert_eq!(set.spread(20, None), [0, 20]);
    set.weir.ok(&["backend", "set", "web/b1", "force="]);
    assert_eq!(set.weir.wait_state("web/b1", "up")["force"], serde_json::Value::Null);
    assert!(set.spread(20, None)[0] > 0);
    assert!(!warns(&set, "forced"));
    // To take the last one away is asked about.
    set.weir.ok(&["backend", "drain", "web/b2"]);
    let ran = set.weir.ctl(&["backend", "set", "web/b1", "force=down"]).expect_code(2);
    assert!(ran.stderr.contains("no backend that takes sessions"), "{ran}");
}

#[test]
fn a_backend_that_is_forced_up_gets_sessions_although_its_checks_fail() {
    let mut set = Plan::new(1, Script::Banner).health(CHECKED).start();
    set.weir.ok(&["pool", "set", "web", "health.kind=send-expect", "health.expect=220 never"]);
    set.weir.wait_state("web/b1", "down");
    set.weir.ok(&["backend", "set", "web/b1", "force=up"]);
    assert_eq!(set.spread(20, None), [20]);
    let row = set.weir.wait_state("web/b1", "up");
    assert_eq!(row["check"]["result"], "timeout");
    assert!(warns(&set, "backend web/b1 is forced up by hand"), "{row}");
    // Nor do connects of sessions overrule it.
    set.backends[0].pause();
    // The reset may come before the client has looked at its connect.
    let hears = |set: &Set| Peer::try_connect(set.weir.web).and_then(|mut peer| peer.try_line());
    for _ in 0..10 {
        let error = hears(&set).expect_err("the backend takes nobody");
        assert_eq!(error.kind(), ErrorKind::ConnectionReset);
    }
    set.backends[0].resume();
    clock::wait_for("sessions again", || hears(&set).is_ok());
    assert_eq!(set.weir.backend("web/b1")["state"], "up");
    set.weir.ok(&["backend", "set", "web/b1", "force="]);
    set.weir.wait_state("web/b1", "down");
}
