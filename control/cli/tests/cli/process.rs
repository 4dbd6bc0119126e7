//! `drain` and `stop`: about the process, without a version.

use weir_proto::answer::{Answer, Said};
use weir_proto::request::{Command, Query, Request};

use crate::fake::{Daemon, done, status};

/// Leaves when it is told to stop, after an answer or before it.
fn daemon(answers: bool) -> Daemon {
    Daemon::new(move |request| match request {
        Request::Query(Query::Status) => done(Answer::Status(status(1))),
        Request::Command(Command::Stop { .. }) if !answers => None,
        _ => done(Answer::Said(Said { text: "as you say".into() })),
    })
}

#[test]
fn drain_tells_the_states_before_and_after() {
    let ran = daemon(true).run("drain --yes");
    assert_eq!(ran.code, 0, "{ran:?}");
    assert!(ran.out.starts_with("weir: serving → draining\nas you say\nundo: "), "{ran:?}");
    let json = daemon(true).run("-o json drain --yes").json();
    assert_eq!((&json["version"], &json["before"]["state"]), (&7.into(), &"serving".into()));
    assert_eq!(json["after"]["state"], "draining");
}

#[test]
fn a_dry_run_asks_only_for_the_status() {
    let daemon = daemon(true);
    for line in ["drain --dry-run", "stop --dry-run", "stop --drain 10s --dry-run"] {
        let ran = daemon.run(line);
        assert_eq!(ran.code, 0, "{ran:?}");
        assert!(ran.out.ends_with("dry run: nothing was changed\n"), "{ran:?}");
    }
    assert!(daemon.asked().iter().all(|request| *request == Query::Status.into()));
}

#[test]
fn stop_without_a_drain_needs_a_yes_if_sessions_are_open() {
    let daemon = daemon(false);
    let ran = daemon.run("stop");
    assert_eq!(ran.code, 2, "{ran:?}");
    assert_eq!(daemon.asked(), [Query::Status.into()]);
    let ran = daemon.run("stop --yes");
    assert_eq!((ran.code, ran.out.as_str()), (0, "weir: serving → stopped\nweir has stopped\n"));
    let ran = daemon.run("stop --drain 10s");
    assert_eq!(ran.code, 0, "{ran:?}");
    assert_eq!(ran.err, "stopping; time to end: 10s, sessions: 4\n");
    let stop = Command::Stop { drain_ms: Some(10_000) };
    assert_eq!(daemon.asked().last(), Some(&stop.into()));
}

#[test]
fn stop_waits_until_weir_has_left() {
    let ran = daemon(true).run("stop --yes");
    assert_eq!((ran.code, ran.out.as_str()), (0, "weir: serving → stopped\nas you say\n"));
}
