//! Traffic is not taken away without a question: what would cost it needs `--yes`.

use weir_tests::clock;
use weir_tests::net::Script;
use weir_tests::story::{Plan, Set};

/// How many backends take sessions; the other metric must say whether that is any.
fn available(set: &Set) -> u64 {
    let page = set.weir.get("/metrics").body;
    let value = |name: &str| -> u64 {
        let name = format!("{name}{{pool=\"web\"}} ");
        let line = page.lines().find_map(|it| it.strip_prefix(name.as_str()));
        line.expect("a metric").parse().expect("a number")
    };
    let count = value("weir_pool_backends_available");
    assert_eq!(value("weir_pool_available"), u64::from(count > 0));
    count
}

fn refused(set: &Set, arguments: &[&str], why: &str) {
    let version = set.weir.version();
    let ran = set.weir.ctl(arguments).expect_code(2);
    assert!(ran.stderr.contains(why) && ran.stderr.contains("--yes"), "{ran}");
    assert_eq!(set.weir.version(), version);
}

#[test]
fn the_last_backend_that_takes_sessions_needs_a_yes() {
    let set = Plan::new(2, Script::Banner).start();
    let why = "pool web would have no backend that takes sessions";
    clock::wait_for("weir_pool_available", || available(&set) == 2);
    set.weir.ok(&["backend", "drain", "web/b1"]);
    clock::wait_for("weir_pool_available", || available(&set) == 1);
    for change in [
        &["backend", "drain", "web/b2"][..],
        &["backend", "maint", "web/b2"],
        &["backend", "weight", "web/b2", "0"],
        &["backend", "remove", "web/b2"],
    ] {
        refused(&set, change, why);
        let tried = set.weir.json(&[change, &["--dry-run"]].concat());
        assert!(tried["warnings"][0].as_str().is_some_and(|it| it.contains(why)), "{tried}");
    }
    set.session().0.echo(b"it serves");
    let done = set.weir.json(&["backend", "weight", "web/b2", "0", "--yes"]);
    assert!(done["warnings"][0].as_str().is_some_and(|it| it.contains(why)), "{done}");
    clock::wait_for("weir_pool_available", || available(&set) == 0);
    // Nothing is lost by what is lost already, and nothing by what brings it back.
    set.weir.ok(&["backend", "maint", "web/b2"]);
    let undone = set.weir.json(&["backend", "ready", "web/b1"]);
    assert_eq!(undone["warnings"], serde_json::json!([]));
}

#[test]
fn the_last_listener_that_accepts_needs_a_yes() {
    let set = Plan::new(1, Script::Banner).start();
    let why = "no listener would accept new sessions";
    let removal = "no listener would be left, of 1 now";
    for (change, why) in [
        (&["listener", "drain", "web"][..], why),
        (&["listener", "set", "web", "state=drain"], why),
        (&["listener", "drain", "web", "--over", "5s"], why),
        (&["listener", "remove", "web"], removal),
    ] {
        refused(&set, change, why);
        let tried = set.weir.json(&[change, &["--dry-run"]].concat());
        assert!(tried["warnings"][0].as_str().is_some_and(|it| it.contains(why)), "{tried}");
    }
    set.session().0.echo(b"it serves");
    // With another one beside it nothing is asked, until that is the last.
    let bind = weir_tests::net::free(weir_tests::net::own_ip()).to_string();
    set.weir.ok(&["listener", "add", "side", &bind, "--pool", "web"]);
    set.weir.ok(&["listener", "drain", "web"]);
    refused(&set, &["listener", "drain", "side"], why);
    let done = set.weir.json(&["listener", "drain", "side", "--yes"]);
    assert!(done["warnings"][0].as_str().is_some_and(|it| it.contains(why)), "{done}");
    // What accepts nothing loses nothing.
    set.weir.ok(&["listener", "remove", "side", "--yes"]);
    set.weir.ok(&["listener", "ready", "web"]);
}
