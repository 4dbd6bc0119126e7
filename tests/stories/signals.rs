//! Signals: each one writes a line, at every level of the log, and none ends weir without being
//! meant to.

use rustix::process::Signal;
use weir_tests::clock::{self, PATIENCE};
use weir_tests::net::Script;
use weir_tests::story::{Plan, Set};

/// A weir whose log shows what `WEIR_LOG` says.
fn logging(level: &str) -> Set {
    let mut set = Plan::new(1, Script::Banner).env("WEIR_LOG", level).prepare();
    set.weir.spawn();
    clock::wait_for("weir to serve", || set.weir.ctl(&["status"]).code == 0);
    set
}

fn wait_line(set: &Set, text: &str) {
    clock::wait_for(text, || set.weir.log().contains(text));
}

#[test]
fn no_signal_ends_weir_without_a_line() {
    let mut set = logging("off");
    let (mut client, _) = set.session();
    set.weir.signal(Signal::USR1);
    wait_line(&set, "SIGUSR1: weir writes to stderr and has no log file to open again");
    client.echo(b"nothing has happened");
    set.session().0.echo(b"it serves");
    set.weir.signal(Signal::QUIT);
    wait_line(&set, "SIGQUIT: drains, and ends with the last session");
    clock::wait_for("the drain", || set.weir.get("/readyz").status == 503);
    client.echo(b"a session goes on for as long as it likes");
    assert_eq!(set.weir.exited(), None);
    drop(client);
    assert_eq!(set.weir.wait_exit(PATIENCE), 0);
}

#[test]
fn a_level_or_a_form_that_does_not_exist_is_refused() {
    for (name, value, said) in [
        ("WEIR_LOG", "wran", "WEIR_LOG: \"wran\" means nothing; write off, error, warn, info"),
        ("WEIR_LOG_FORMAT", "jsno", "WEIR_LOG_FORMAT: \"jsno\" is neither text nor json"),
    ] {
        let mut set = Plan::new(1, Script::Banner).env(name, value).prepare();
        set.weir.spawn();
        assert_eq!(set.weir.wait_exit(PATIENCE), 1);
        wait_line(&set, said);
    }
}

#[test]
fn every_line_is_an_object_if_that_is_wanted() {
    let plan = Plan::new(1, Script::Banner).env("WEIR_LOG_FORMAT", "json");
    let mut set = plan.settings("session-log = { to = \"stderr\" }").start();
    drop(set.session());
    set.weir.ok(&["backend", "weight", "web/b1", "3"]);
    set.weir.signal(Signal::USR1);
    set.weir.signal(Signal::INT);
    assert_eq!(set.weir.wait_exit(PATIENCE), 0);
    wait_line(&set, "stopped");
    let log = set.weir.log();
    let lines: Vec<serde_json::Value> =
        log.lines().map(|line| serde_json::from_str(line).expect("an object")).collect();
    let audit = lines.iter().find(|line| line["message"] == "audit: done").expect("an audit line");
    assert_eq!(
        (&audit["level"], &audit["command"]),
        (&"INFO".into(), &"backend weight web/b1 3".into())
    );
    assert!(lines.iter().any(|line| line["event"] == "open"), "the session log is between them");
    assert!(audit["timestamp"].as_str().is_some_and(|at| at.ends_with('Z')));
}

#[test]
fn audit_lines_are_whole_and_there_at_every_level() {
    let set = logging("error");
    assert!(!set.weir.log().contains("ready: version"), "{}", set.weir.log());
    let add = ["backend", "add", "web/b9", "127.0.0.1:9", "--weight", "3", "--if-version", "1"];
    set.weir.ok(&add);
    wait_line(&set, "command=\"backend add web/b9 127.0.0.1:9 weight=3 --if-version 1\"");
    let log = set.weir.log();
    let line = log.lines().find(|line| line.contains("audit: done")).expect("an audit line");
    // The session of a login is inherited; without one no user can be named.
    let login = std::fs::read_to_string("/proc/self/loginuid").unwrap_or_default();
    match login.trim() {
        "" | "4294967295" => assert!(!line.contains("login="), "{line}"),
        uid => assert!(line.contains(&format!("login={uid}")), "{line}"),
    }
    set.weir.ok(&["backend", "remove", "web/b9"]);
    set.weir.signal(Signal::HUP);
    wait_line(&set, "audit: done command=\"SIGHUP ");
    set.weir.signal(Signal::INT);
    wait_line(&set, "SIGINT: ends at once");
}

#[test]
fn a_sighup_says_what_needs_a_restart_and_a_refused_one_is_counted() {
    let set = Plan::new(1, Script::Banner).start();
    let text = set.weir.with_settings(&set.objects);
    let state = text.lines().find(|line| line.starts_with("state")).expect("it has a state");
    let other = text.replace(state, "state = \"/nowhere\"").replace("round-robin", "random");
    set.weir.dir.write("weir.toml", &other);
    set.weir.signal(Signal::HUP);
    wait_line(&set, "will be in use after a restart only");
    assert!(set.weir.log().contains("[weir] state of "), "{}", set.weir.log());
    clock::wait_for("the new version", || set.weir.version() == 2);
    set.weir.write("[pool.web]\nstrategie = \"random\"\n");
    set.weir.signal(Signal::HUP);
    let counted = |line: &str| set.weir.get("/metrics").body.lines().any(|it| it == line);
    clock::wait_for("the refusal", || counted("weir_reloads_total{result=\"refused\"} 1"));
    assert!(counted("weir_reloads_total{result=\"done\"} 1"));
    let events = set.weir.ok(&["events"]);
    let refused = events.lines().find(|line| line.contains(": refused: ")).expect("an event");
    assert!(refused.contains("SIGHUP") && refused.contains("strategie"), "{refused}");
    assert_eq!(set.weir.version(), 2);
}
