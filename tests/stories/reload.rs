//! The file becomes a version only by an explicit act, wholly or not at all.

use std::time::Duration;

use rustix::process::Signal;
use weir_tests::clock;
use weir_tests::net::{Backend, Script, own_ip};
use weir_tests::story::{Plan, Set};

/// The set's objects with one more backend.
fn with_backend(set: &Set, name: &str, backend: &Backend) -> String {
    format!("{}{name} = {{ address = \"{}\" }}\n", set.objects, backend.address)
}

#[test]
fn sighup_applies_the_file() {
    let set = Plan::new(1, Script::Banner).start();
    let new = Backend::start("b2", own_ip(), Script::Banner);
    let (mut client, _) = set.session();
    let before = set.weir.version();
    set.weir.write(&with_backend(&set, "b2", &new));
    assert_eq!(set.weir.version(), before, "writing the file changes nothing");
    set.weir.signal(Signal::HUP);
    clock::wait_for("the new version", || set.weir.version() == before + 1);
    clock::wait_for("b2 to get a session", || set.client().line() == "b2");
    client.echo(b"untouched");
}

#[test]
fn sighup_with_a_bad_file_changes_nothing() {
    let set = Plan::new(1, Script::Banner).start();
    let before = set.weir.version();
    set.weir.write("[pool.web]\nstrategie = \"random\"\n");
    set.weir.signal(Signal::HUP);
    clock::wait_for("weir to say what is wrong", || set.weir.log().contains("strategie"));
    assert_eq!(set.weir.version(), before);
    set.session().0.echo(b"still serves");
}

#[test]
fn apply_makes_one_version_of_a_whole_file() {
    let set = Plan::new(1, Script::Banner).start();
    let new = Backend::start("b2", own_ip(), Script::Banner);
    let objects = with_backend(&set, "b2", &new).replace("round-robin", "random");
    let file = set.weir.file("next.toml", &objects);
    let before = set.weir.version();

    let tried = set.weir.json(&["config", "apply", &file, "--dry-run"]);
    assert!(tried.to_string().contains("b2"), "it says what would happen: {tried}");
    assert_eq!(set.weir.version(), before, "--dry-run changes nothing");

    let stale = (before + 7).to_string();
    let refused = set.weir.ctl(&["config", "apply", &file, "--if-version", &stale]);
    assert!(refused.expect_code(7).stderr.contains(&before.to_string()), "it names the version");
    assert_eq!(set.weir.version(), before);

    let changed = set.weir.json(&["config", "apply", &file, "--if-version", &before.to_string()]);
    assert_eq!(changed["version"], before + 1, "{changed}");
    assert_eq!(set.weir.version(), before + 1);
    assert_eq!(set.weir.json(&["pool", "show", "web"])["strategy"], "random");
}

#[test]
fn a_bad_file_is_refused_as_a_whole() {
    let set = Plan::new(1, Script::Banner).start();
    let before = set.weir.version();
    let bad = [
        "[listener.web\n",
        "[listener.web]\nbind = \"nowhere\"\npool = \"web\"\n[pool.web]\n",
        "[listener.web]\nbind = \"127.0.0.1:1\"\npool = \"gone\"\n",
        "[pool.web]\nstrategy = \"least-con\"\n",
        "[pool.web]\nhealth = { kind = \"tcp\", intervall = \"1s\" }\n",
        "[pool.web.backend]\nb1 = { address = \"127.0.0.1:1\", weight = 70000 }\n",
    ];
    for text in bad {
        let file = set.weir.dir.write("bad.toml", text);
        let ran = set.weir.ctl(&["config", "apply", &file]).expect_code(1);
        assert!(!ran.stderr.is_empty() && ran.stdout.is_empty(), "{ran}");
        assert_eq!(set.weir.version(), before, "{text}");
    }
    assert_ne!(set.weir.ctl(&["config", "apply", "/no/such/file.toml"]).code, 0);
    set.session().0.echo(b"still serves");
}

#[test]
fn export_and_apply_are_the_same_configuration() {
    let set = Plan::new(3, Script::Banner)
        .weights(&[1, 2, 3])
        .strategy("maglev")
        .health(r#"{ kind = "tcp", interval = "3s", timeout = "700ms", rise = 4, fall = 5 }"#)
        .pool("timeout = { connect = \"1500ms\", idle = \"2h\", half-close = \"5s\" }")
        .listener("max-sessions = 77")
        .start();
    set.weir.ok(&["backend", "drain", "web/b2"]);
    let exported = set.weir.ok(&["config", "export"]);
    for text in ["maglev", "700ms", "1500ms", "77", "drain"] {
        assert!(exported.contains(text), "no {text} in:\n{exported}");
    }
    let file = set.weir.dir.write("exported.toml", &exported);
    let before = set.weir.version();
    let ran = set.weir.ctl(&["config", "apply", &file]).expect_code(0);
    assert!(format!("{}{}", ran.stdout, ran.stderr).contains("no change"), "{ran}");
    assert_eq!(set.weir.ok(&["config", "export"]), exported);
    assert_eq!(set.weir.backend("web/b2")["state"], "draining");
    assert!(set.weir.version() <= before + 1);
}

#[test]
fn history_says_who_changed_what() {
    let set = Plan::new(1, Script::Banner).start();
    let before = set.weir.version();
    set.weir.ok(&["backend", "weight", "web/b1", "7"]);
    let mut command = set.weir.command(&["pool", "set", "web", "strategy=random"]);
    let child = command.stdout(std::process::Stdio::null()).spawn().expect("weirctl starts");
    let pid = child.id();
    let output = child.wait_with_output().expect("weirctl ends");
    assert!(output.status.success());
    let history = set.weir.json(&["config", "history"]);
    let versions = history["versions"].as_array().expect("a list");
    let find = |version: u64| {
        let row = versions.iter().find(|row| row["version"] == version);
        row.unwrap_or_else(|| panic!("no version {version} in {history}"))
    };
    assert_eq!(find(before + 2)["by"]["pid"], pid);
    for version in [before + 1, before + 2] {
        let row = find(version);
        assert!(row["by"]["uid"].as_u64().is_some(), "{row}");
        assert!(row["at"].as_str().is_some_and(|at| at.starts_with("20")), "{row}");
    }
    assert!(find(before + 1)["summary"].as_str().is_some_and(|text| text.contains("web/b1")));
    assert!(find(before + 2)["summary"].as_str().is_some_and(|text| text.contains("random")));
}

#[test]
fn a_listener_that_cannot_be_bound_refuses_the_whole_file() {
    let set = Plan::new(1, Script::Banner).start();
    // Somebody without SO_REUSEPORT listens there already.
    let taken = Backend::start("other", own_ip(), Script::Echo);
    let before = set.weir.version();
    let address = taken.address.to_string();
    let ran = set.weir.ctl(&["listener", "add", "two", &address, "--pool", "web"]).expect_code(1);
    assert!(ran.stderr.contains(&address), "{ran}");
    assert_eq!(set.weir.version(), before);
    set.session().0.echo(b"still serves");
}

/// Opening a FIFO waits for a writer, and finding 60,000 errors takes seconds; neither is control's
/// to wait for.
#[test]
fn what_sighup_reads_does_not_hold_control() {
    let set = Plan::new(1, Script::Banner).start();
    let before = set.weir.version();
    let file = set.weir.file.clone();
    std::fs::remove_file(&file).expect("it is there");
    rustix::fs::mkfifoat(rustix::fs::CWD, &file, rustix::fs::Mode::RUSR).expect("a FIFO");
    set.weir.signal(Signal::HUP);
    clock::wait_for("weir to refuse it", || set.weir.log().contains("not a regular file"));
    std::fs::remove_file(&file).expect("it is there");
    let wrong: String =
        (0..60_000).map(|number| format!("[pool.p{number}]\nno-such = 1\n")).collect();
    set.weir.write(&wrong);
    set.weir.signal(Signal::HUP);
    let mut longest = Duration::ZERO;
    clock::wait_for("weir to count the errors", || {
        let asked = clock::now();
        assert_eq!(set.weir.get("/healthz").status, 200);
        longest = longest.max(asked.elapsed());
        set.weir.log().contains("more errors from here on")
    });
    eprintln!("/healthz beside a file with 60,000 errors: at most {longest:?}");
    assert!(longest < Duration::from_secs(1), "control was held for {longest:?}");
    assert_eq!(set.weir.version(), before);
    set.session().0.echo(b"still serves");
}
