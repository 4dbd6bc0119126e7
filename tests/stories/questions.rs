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
fn a_forced_removal_of_the_last_backends_is_one_question_about_all_of_it() {
    let set = Plan::new(2, Script::Banner).shards(1).start();
    let mut clients = Vec::new();
    assert_eq!(set.spread(4, Some(&mut clients)), [2, 2]);
    let why = "4 sessions of 2 backends would be reset; pool web would have no backend";
    refused(&set, &["backend", "remove", "web/*", "--force"], why);
    set.weir.ok(&["backend", "remove", "web/b1"]);
    let why = "2 sessions of backend web/b2 would be reset; pool web would have no backend";
    refused(&set, &["backend", "remove", "web/b2", "--force"], why);
}

/// A request names a thousand at most: more of them are several versions.
#[test]
fn any_number_of_backends_is_changed_at_once() {
    let set = Plan::new(1, Script::Banner).start();
    let mut file = "[pool.many]\nhealth = { kind = \"none\" }\n[pool.many.backend]\n".to_owned();
    for number in 0..1_500 {
        let (high, low) = (number / 250, number % 250 + 1);
        file += &format!("b{number} = {{ address = \"127.9.{high}.{low}:9\" }}\n");
    }
    let file = set.weir.dir.write("many.toml", &file);
    set.weir.ok(&["config", "apply", &file, "--partial"]);
    let version = set.weir.version();
    let line = ["backend", "weight", "many/*", "3", "--if-version", &version.to_string()];
    set.weir.ok(&line);
    assert_eq!(set.weir.version(), version + 2);
    let rows = set.weir.json(&["backend", "list", "many", "--state", "up"]);
    let rows = rows["backends"].as_array().expect("a list");
    assert_eq!(rows.iter().filter(|row| row["weight"] == 3).count(), 1_500);
    let ran = set.weir.ctl(&line).expect_code(7);
    assert!(!ran.stderr.contains("are done"), "{ran}");
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
