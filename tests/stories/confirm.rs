//! A version that is not confirmed goes back by itself: at its time, when a guard trips, and across
//! a crash.

use weir_tests::clock;
use weir_tests::net::{Peer, Script, free, own_ip};
use weir_tests::story::{Plan, Set};

/// As long as a story can wait for.
const SOON: &str = "1s";
/// Longer than any story.
const LATE: &str = "1h";

/// A file with another strategy, on these terms.
fn apply<'a>(set: &Set, file: &'a str, terms: &[&'a str]) -> serde_json::Value {
    set.weir.json(&[&["config", "apply", file], terms].concat())
}

fn random(set: &Set) -> String {
    let objects = set.objects.replace("least-conn", "random");
    assert_ne!(objects, set.objects, "{objects}");
    set.weir.file("next.toml", &objects)
}

fn strategy(set: &Set) -> String {
    let pool = set.weir.json(&["pool", "show", "web"]);
    pool["strategy"].as_str().expect("it is a text").to_owned()
}

fn is_back(set: &Set, version: u64) -> bool {
    set.weir.version() > version
}

#[test]
fn without_a_confirmation_it_goes_back_and_touches_no_session() {
    let set = Plan::new(1, Script::Echo).strategy("least-conn").start();
    let mut live = set.client();
    live.echo(b"before");
    let file = random(&set);
    let changed = apply(&set, &file, &["--confirm", SOON, "-m", "try"]);
    let version = changed["version"].as_u64().unwrap();
    assert_eq!(changed["unconfirmed"]["rolls_back_to"], version - 1, "{changed}");
    assert_eq!(strategy(&set), "random");
    clock::wait_for("the rollback", || is_back(&set, version));
    assert_eq!(strategy(&set), "least-conn");
    live.echo(b"after");
    let history = set.weir.json(&["config", "history", "--limit", "1"]);
    let row = &history["versions"][0];
    assert_eq!(row["message"], format!("it was not confirmed within {SOON}"), "{row}");
    let page = set.weir.get("/metrics").body;
    assert!(page.contains("weir_config_rollbacks_total{cause=\"time\"} 1\n"), "{page}");
    assert!(page.contains("weir_config_unconfirmed 0\n"));
    // The file that was taken back is not the base of the next merge: it counts as new again.
    apply(&set, &file, &[]);
    assert_eq!(strategy(&set), "random");
}

#[test]
fn while_it_waits_only_a_confirmation_or_the_way_back_is_taken() {
    let set = Plan::new(2, Script::Echo).strategy("least-conn").start();
    let file = random(&set);
    let version = apply(&set, &file, &["--confirm", LATE])["version"].as_u64().unwrap();
    let status = set.weir.json(&["status"]);
    assert_eq!(status["unconfirmed"]["version"], version, "{status}");
    assert!(set.weir.ok(&["status"]).contains("to keep it: weirctl config confirm"));
    let refused = set.weir.ctl(&["backend", "weight", "web/b1", "7"]).expect_code(7);
    assert!(refused.stderr.contains("is not confirmed yet"), "{refused}");
    assert!(refused.stderr.contains("hint: weirctl config confirm"), "{refused}");
    set.weir.ok(&["backend", "weight", "web/b1", "7", "--dry-run"]);
    let confirmed = set.weir.json(&["config", "confirm", "-m", "it is good"]);
    assert_eq!(confirmed["version"], version + 1);
    assert!(set.weir.json(&["status"])["unconfirmed"].is_null());
    assert_eq!(strategy(&set), "random");
    set.weir.ok(&["backend", "weight", "web/b1", "7"]);
    let nothing = set.weir.ctl(&["config", "confirm"]).expect_code(1);
    assert!(nothing.stderr.contains("no version waits for a confirmation"), "{nothing}");
    // And the way back by hand.
    let other = set.weir.file("other.toml", &set.objects.replace("least-conn", "maglev"));
    let version = apply(&set, &other, &["--confirm", LATE])["version"].as_u64().unwrap();
    set.weir.ok(&["config", "rollback", &(version - 1).to_string()]);
    assert_eq!((strategy(&set).as_str(), set.weir.version()), ("random", version + 1));
    assert!(set.weir.json(&["status"])["unconfirmed"].is_null());
}

#[test]
fn it_is_a_task_with_its_end_in_sight() {
    let set = Plan::new(1, Script::Echo).strategy("least-conn").start();
    apply(&set, &random(&set), &["--confirm", LATE]);
    let tasks = set.weir.json(&["task", "list"]);
    let row = &tasks["tasks"][0];
    assert_eq!((&row["kind"], &row["subject"]), (&"config_confirm".into(), &"version 2".into()));
    assert!(row["eta_s"].as_f64().is_some_and(|left| (3_000.0..=3_600.0).contains(&left)), "{row}");
    let id = row["id"].to_string();
    assert_eq!(set.weir.json(&["task", "show", &id])["subject"], "version 2");
    let ran = set.weir.ctl(&["task", "cancel", &id]).expect_code(1);
    assert!(ran.stderr.contains("weirctl config confirm keeps it"), "{ran}");
    let page = set.weir.get("/metrics").body;
    assert!(page.contains("weir_tasks{kind=\"config_confirm\"} 1\n"), "{page}");
    set.weir.ok(&["config", "confirm"]);
    assert_eq!(set.weir.json(&["task", "list"])["tasks"], serde_json::json!([]));
}

#[test]
fn a_crash_does_not_confirm_it() {
    let mut set = Plan::new(1, Script::Echo).strategy("least-conn").start();
    let file = random(&set);
    let version = apply(&set, &file, &["--confirm", LATE])["version"].as_u64().unwrap();
    set.weir.kill();
    set.weir.run();
    assert_eq!((strategy(&set).as_str(), set.weir.version()), ("random", version));
    let status = set.weir.json(&["status"]);
    assert_eq!(status["unconfirmed"]["rolls_back_to"], version - 1, "it goes on waiting: {status}");
    set.weir.ok(&["config", "rollback", &(version - 1).to_string()]);
    let version = apply(&set, &file, &["--confirm", SOON])["version"].as_u64().unwrap();
    set.weir.kill();
    set.weir.run();
    clock::wait_for("the rollback after the start", || is_back(&set, version));
    assert_eq!(strategy(&set), "least-conn");
}

#[test]
fn a_guard_goes_back_at_once() {
    let set = Plan::new(2, Script::Echo).health("{ kind = \"none\" }").start();
    let refuses = free(own_ip());
    let objects = format!("{}b9 = {{ address = \"{refuses}\" }}\n", set.objects);
    let file = set.weir.file("next.toml", &objects);
    let terms = ["--confirm", LATE, "--guard", "connect-errors=1%", "--guard", "healthy=10%"];
    let version = apply(&set, &file, &terms)["version"].as_u64().unwrap();
    // Some of these meet b9 first, which refuses, and are served by another one.
    clock::wait_for("the guard", || {
        let mut client = set.client();
        client.echo(b"served");
        client.fin().expect_fin();
        is_back(&set, version)
    });
    assert_eq!(set.weir.json(&["backend", "list"])["backends"].as_array().unwrap().len(), 2);
    let history = set.weir.json(&["config", "history", "--limit", "1"]);
    let why = history["versions"][0]["message"].as_str().unwrap();
    assert!(why.ends_with("connects failed (connect-errors=1%)"), "{why}");
    let page = set.weir.get("/metrics").body;
    assert!(page.contains("weir_config_rollbacks_total{cause=\"guard\"} 1\n"), "{page}");
}

#[test]
fn wrong_terms_are_usage_errors() {
    let set = Plan::new(1, Script::Echo).start();
    let file = set.weir.file("next.toml", &set.objects);
    for (terms, words) in [
        (&["--guard", "healthy=50%"][..], "--confirm"),
        (&["--confirm", "30s", "--guard", "latency=1%"], "is no guard"),
        (&["--confirm", "soon"], "is not a duration"),
    ] {
        let ran = set.weir.ctl(&[&["config", "apply", &file], terms].concat()).expect_code(2);
        assert!(ran.stderr.contains(words), "{ran}");
    }
    let ran = set.weir.ctl(&["config", "apply", &file, "--confirm", "2d"]).expect_code(1);
    assert!(ran.stderr.contains("24h at most"), "{ran}");
    assert!(Peer::try_connect(set.weir.web).is_ok());
}
