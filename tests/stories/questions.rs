//! Nothing is taken away without a question: what would cost traffic, or undo what was changed by
//! hand, needs `--yes`, and SIGHUP never does it.

use rustix::process::Signal;
use weir_tests::clock;
use weir_tests::net::Script;
use weir_tests::story::{Plan, Set};

fn available(set: &Set) -> u64 {
    let page = set.weir.get("/metrics").body;
    let line = page.lines().find_map(|it| it.strip_prefix("weir_pool_available{pool=\"web\"} "));
    line.expect("a metric").parse().expect("a number")
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
fn a_file_without_listeners_needs_a_yes() {
    let set = Plan::new(1, Script::Banner).start();
    for text in ["", "[pool.web]\n"] {
        let file = set.weir.dir.write("empty.toml", text);
        refused(&set, &["config", "apply", &file], "no listener would be left");
    }
    let empty = set.weir.dir.write("weir.toml", "");
    set.weir.signal(Signal::HUP);
    clock::wait_for("the refusal", || set.weir.log().contains("no listener would be left"));
    let mut check = std::process::Command::new(weir_tests::weir::binary("weir", "WEIR_BIN"));
    let ran = weir_tests::weir::Ran::of(check.args(["check", &empty])).expect_code(1);
    assert!(ran.stderr.contains("it is empty"), "{ran}");
    set.session().0.echo(b"it serves");
    set.weir.ok(&["config", "apply", &empty, "--yes"]);
}

#[test]
fn what_was_changed_by_hand_is_not_undone_by_a_file() {
    let mut set = Plan::new(3, Script::Banner).start();
    let file = set.weir.dir.write("first.toml", &set.weir.with_settings(&set.objects));
    set.weir.ok(&["backend", "maint", "web/b1"]);
    set.weir.ok(&["backend", "weight", "web/b2", "7"]);
    let address = set.backends[0].address.to_string();
    set.weir.ok(&["backend", "add", "web/b9", &address]);
    let why = "what was changed by hand would be undone: ";
    let acts = "backend remove web/b9; backend set web/b1 (state maint → ready); \
                backend set web/b2 (weight 7 → 1)";
    for _ in 0..2 {
        refused(&set, &["config", "apply", &file], why);
        refused(&set, &["config", "apply", &file], acts);
        let refusals = || set.weir.log().matches("; nothing has changed").count();
        let before = refusals();
        set.weir.signal(Signal::HUP);
        clock::wait_for("the refusal", || refusals() > before);
        assert_eq!(set.weir.backend("web/b1")["state"], "maint");
        // What was applied last is known after a restart, too.
        set.weir.kill();
        set.weir.run();
    }
    // A file that has the changes is applied, with changes of its own.
    let exported = set.weir.ok(&["config", "export"]);
    set.weir.write(&exported.replace("round-robin", "random"));
    let before = set.weir.version();
    set.weir.signal(Signal::HUP);
    clock::wait_for("the new version", || set.weir.version() == before + 1);
    assert_eq!(set.weir.backend("web/b1")["state"], "maint");
    set.weir.ok(&["config", "apply", &file, "--yes"]);
    assert_eq!(set.weir.backend("web/b1")["state"], "up");
}
