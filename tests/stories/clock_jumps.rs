//! Somebody sets the clock a day forward or back: no backend is ejected, no session and no version
//! is given up, and a version that waits for its confirmation waits as long as it was to.

use weir_tests::clock;
use weir_tests::fault_test::FaultTest;
use weir_tests::net::Script;
use weir_tests::story::{Plan, Set};

const DAY_MS: i64 = 86_400_000;
/// A version waits this long, longer than any story, and shorter than the jumps.
const WAITS: &str = "1h";

fn checked(backends: usize) -> Plan {
    let plan = Plan::new(backends, Script::Echo).in_memory().failpoints();
    plan.health("{ kind = \"tcp\", interval = \"200ms\", timeout = \"1s\", fall = 1, rise = 1 }")
}

/// Sets the clock, and waits until weir has it and its parts have looked at it.
fn jump(set: &Set, by_ms: i64) {
    let order = format!("clock {by_ms}");
    let before = set.weir.log().matches("failpoint: clock").count();
    set.weir.strike(&order);
    let heard = || set.weir.log().matches("failpoint: clock").count() > before;
    clock::wait_for("the order", heard);
    // The store's thread looks once a second, and says what it has seen.
    let said = || events(set).matches("the clock has jumped by").count() > before;
    clock::wait_for("the store to notice", said);
}

fn events(set: &Set) -> String {
    set.weir.json(&["events"])["events"].to_string()
}

fn left(set: &Set) -> f64 {
    set.weir.json(&["status"])["unconfirmed"]["left_s"].as_f64().expect("it waits")
}

fn apply_unconfirmed(set: &Set, strategy: &str) -> u64 {
    let objects = set.objects.replace("round-robin", strategy);
    let file = set.weir.dir.write("next.toml", &set.weir.with_settings(&objects));
    let changed = set.weir.json(&["config", "apply", &file, "--confirm", WAITS]);
    changed["version"].as_u64().expect("a version")
}

#[test]
fn a_clock_that_is_set_costs_nobody_anything() {
    let test = FaultTest::begin(
        "T29",
        (4, "jumps of a day or more"),
        "no backend is ejected, no session ends, no version is given up, no deadline moves",
    );
    let set = checked(3).settings("history = { keep = 1000, days = 1 }").start();
    for name in ["web/b1", "web/b2", "web/b3"] {
        set.weir.wait_state(name, "up");
    }
    for weight in 2..=5_u64 {
        set.weir.ok(&["backend", "weight", "web/b1", &weight.to_string()]);
    }
    let mut clients: Vec<_> = (0..20).map(|_| set.client()).collect();
    let version = apply_unconfirmed(&set, "random");
    let checks = |set: &Set| set.weir.backend("web/b1")["check"]["since_s"].as_f64();
    let at = left(&set);
    for round in 0..test.count {
        jump(&set, [DAY_MS, -DAY_MS, 0, 400 * DAY_MS][usize::try_from(round % 4).expect("small")]);
        for client in &mut clients {
            client.echo(b"still here");
        }
        assert!(checks(&set).is_none_or(|since| since < 3600.0), "a span by the wall clock");
        assert!(left(&set) <= at && left(&set) > at - 600.0, "the deadline has moved");
    }
    assert_eq!(set.weir.version(), version);
    let said = events(&set);
    assert!(!said.contains("down:") && !said.contains("rolled back"), "{said}");
    let history = set.weir.json(&["config", "history"]);
    assert_eq!(history["versions"].as_array().map(Vec::len), Some(6), "{history}");
    set.weir.ok(&["config", "confirm"]);
    set.weir.ok(&["config", "rollback", "1"]);
    let status = set.weir.json(&["status"]);
    assert!(status["uptime_s"].as_f64().is_some_and(|it| it < 3600.0), "{status}");
    test.counted(&format!("{} jumps over 20 sessions, 3 backends, 6 versions", test.count));
    test.passed();
}

/// While weir is not there only the wall clock knows how long a version has waited. A clock that
/// was set back gives no more time than was asked for; one that was set forward takes the version
/// back, which is the way that costs nothing.
#[test]
fn a_version_that_waits_over_a_restart_waits_no_longer_than_it_was_to() {
    let mut set = checked(2).start();
    let version = apply_unconfirmed(&set, "random");
    let restart = |set: &mut Set, by_ms: i64| {
        set.weir.kill();
        set.weir.under(&["env", &format!("WEIR_TEST_CLOCK_MS={by_ms}")]);
        set.weir.run();
    };
    restart(&mut set, -DAY_MS);
    assert_eq!(set.weir.version(), version);
    assert!(left(&set) <= 3600.0, "more than was asked for");
    restart(&mut set, DAY_MS);
    clock::wait_for("the way back", || set.weir.version() > version);
    let pool = set.weir.json(&["pool", "show", "web"]);
    assert_eq!(pool["strategy"], "round-robin", "{pool}");
    // A version from the future is a version.
    restart(&mut set, 0);
    let newest = set.weir.version();
    set.weir.ok(&["backend", "weight", "web/b1", "9"]);
    let history = set.weir.json(&["config", "history"]);
    assert_eq!(history["versions"].as_array().map(Vec::len), Some(4), "{history}");
    assert_eq!(set.weir.version(), newest + 1);
}
