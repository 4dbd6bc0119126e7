//! Verbs that change: before → after, questions before traffic is lost, and waiting for a drain.

use std::io::{BufRead, BufReader};

use serde_json::json;
use weir_proto::answer::{Answer, BackendRow, Backends, Changed};
use weir_proto::request::{
    BackendAct, ChangeOptions, ChangeRequest, Code, Command, Query, Refusal, Request, Response,
};
use weir_proto::spec::Admin;

use crate::fake::{Daemon, backend, changed, done};
use crate::reads::interrupt;

fn drain_of_b1() -> ChangeRequest {
    ChangeRequest::BackendState { name: "web/b1".into(), state: Admin::Drain }
}

#[test]
fn a_change_shows_before_after_version_and_undo() {
    let daemon = Daemon::saying(Answer::Changed(changed()));
    let ran = daemon.run("backend drain web/b1 --if-version 7");
    assert_eq!(ran.code, 0, "{ran:?}");
    assert_eq!(
        ran.out,
        "backend set web/b1 (state ready → drain)\n  state: ready → drain\n\
         version 8 on 2/2 shards\nundo: weirctl backend ready web/b1\n"
    );
    let options = ChangeOptions {
        dry_run: false,
        if_version: Some(7),
        yes: false,
        ..ChangeOptions::default()
    };
    let command = Command::Change { change: drain_of_b1(), options };
    assert_eq!(daemon.asked(), [command.into()]);
    let json = daemon.run("-o json backend drain web/b1").json();
    assert_eq!((&json["version"], &json["before"]), (&json!(8), &json!({"state": "ready"})));
    assert_eq!(json["after"], json!({"state": "drain"}));
}

#[test]
fn a_change_says_why_and_by_which_words() {
    let daemon = Daemon::saying(Answer::Changed(changed()));
    assert_eq!(daemon.run("backend drain web/b1 -m it's-for_(42)").code, 0);
    let note = daemon.notes().remove(0);
    assert_eq!(note.message.as_deref(), Some("it's-for_(42)"));
    let typed = "weirctl backend drain web/b1 -m 'it'\\''s-for_(42)'";
    assert_eq!(note.command.as_deref(), Some(typed));
    let long = "x".repeat(501);
    assert_eq!(daemon.run(&format!("backend ready web/b1 -m {long}")).code, 2);
    assert_eq!(daemon.notes().len(), 1);
}

#[test]
fn shards_that_are_late_are_said() {
    let late = Changed { shards_adopted: 1, ..changed() };
    let ran = Daemon::saying(Answer::Changed(late)).run("backend ready web/b1");
    assert!(ran.out.contains("version 8 on 1/2 shards"), "{ran:?}");
    assert!(ran.err.contains("warning: shards that are late: 1"), "{ran:?}");
}

#[test]
fn live_sessions_are_not_reset_without_a_yes() {
    for (sessions, code) in [(0, 0), (3, 2)] {
        let daemon = draining(vec![sessions]);
        let ran = daemon.run_with("backend remove web/b1 --force", "");
        assert_eq!(ran.code, code, "{ran:?}");
        assert_eq!(ran.err.contains("--yes"), sessions > 0, "{ran:?}");
        assert_eq!(daemon.run("backend remove web/b1 --force --yes").code, 0);
    }
}

#[test]
fn what_cuts_no_session_is_not_asked_about() {
    let daemon = Daemon::saying(Answer::Changed(changed()));
    for line in ["backend remove web/b1", "pool remove web", "listener remove web"] {
        assert_eq!(daemon.run(line).code, 0, "{line}");
    }
    assert_eq!(daemon.asked().len(), 3);
}

/// A daemon whose backend has these sessions, one number a look; the last one stays.
fn draining(mut sessions: Vec<u64>) -> Daemon {
    Daemon::new(move |request| match request {
        Request::Query(Query::BackendShow { .. }) => {
            let now = if sessions.len() > 1 { sessions.remove(0) } else { sessions[0] };
            done(Answer::Backend(backend(now)))
        }
        _ => done(Answer::Changed(changed())),
    })
}

#[test]
fn a_drain_waits_for_the_last_session() {
    let ran = draining(vec![2, 2, 1, 0]).run("backend drain web/b1 --wait 60s");
    assert_eq!(ran.code, 0, "{ran:?}");
    assert_eq!(
        ran.err,
        "web/b1 draining, sessions left: 2\nweb/b1 draining, sessions left: 1\n\
         web/b1 drained, sessions left: 0\n"
    );
    assert!(ran.out.starts_with("backend set web/b1"), "{ran:?}");
}

#[test]
fn a_drain_that_takes_too_long_is_6_and_goes_on() {
    let ran = draining(vec![3]).run("backend drain web/b1 --wait 10ms");
    assert_eq!(ran.code, 6, "{ran:?}");
    assert!(ran.err.contains("3 sessions are left on web/b1; it goes on draining"), "{ran:?}");
}

#[test]
fn a_pattern_is_one_change_with_one_question() {
    let rows = |names: [&str; 3]| {
        let row = |name: &str| BackendRow { name: name.into(), ..backend(0) };
        names.map(row).to_vec()
    };
    let daemon = Daemon::new(move |request| match request {
        Request::Query(Query::BackendList { .. }) => {
            let backends = rows(["web/b1", "web/b2", "db/b1"]);
            done(Answer::Backends(Backends { backends }))
        }
        Request::Command(Command::Change { options, .. }) if !options.yes => {
            let text = "pool web would have no backend that takes sessions";
            Some(Response::Refused(Refusal::new(Code::NeedsYes, text, "add --yes")))
        }
        _ => done(Answer::Changed(changed())),
    });
    let ran = daemon.run("backend drain web/* db/b1 web/b1");
    assert_eq!((ran.code, ran.out.as_str()), (2, ""), "{ran:?}");
    assert!(ran.err.contains("pool web would have no backend"), "{ran:?}");
    let ran = daemon.run("backend drain web/* db/b1 web/b1 --yes --wait 5s");
    assert_eq!(ran.code, 0, "{ran:?}");
    assert_eq!(ran.err, "3 backends drained, sessions left: 0\n");
    let asked = daemon.asked();
    let names = ["web/b1", "web/b2", "db/b1"].map(str::to_owned).to_vec();
    let change = ChangeRequest::Backends { names, act: BackendAct::State(Admin::Drain) };
    let options = ChangeOptions { yes: true, ..ChangeOptions::default() };
    assert!(asked.contains(&Command::Change { change, options }.into()), "{asked:?}");
    let ran = daemon.run("backend ready nosuch/* --yes");
    assert_eq!(ran.code, 4, "{ran:?}");
    assert!(ran.err.contains("no backend fits \"nosuch/*\""), "{ran:?}");
    // What resets sessions is asked about as a whole.
    let ran = daemon.run("backend remove web/* --force");
    assert_eq!(ran.code, 2, "{ran:?}");
}

/// A daemon with this many backends of `web`, each with a session.
fn with_many(count: usize) -> Daemon {
    Daemon::new(move |request| match request {
        Request::Query(Query::BackendList { .. }) => {
            let row = |at| BackendRow { name: format!("web/b{at:04}"), ..backend(1) };
            done(Answer::Backends(Backends { backends: (0..count).map(row).collect() }))
        }
        Request::Command(Command::Change {
            change: ChangeRequest::Backends { names, .. }, ..
        }) if names.contains(&"web/b2000".to_owned()) => {
            Some(Response::Refused(Refusal::new(Code::Failed, "the disk is full", "df")))
        }
        Request::Command(Command::Change { options, .. }) if options.dry_run => {
            let warnings = vec!["pool web would have no backend that takes sessions".into()];
            done(Answer::Changed(Changed { warnings, dry_run: true, ..changed() }))
        }
        _ => done(Answer::Changed(changed())),
    })
}

#[test]
fn more_backends_than_one_request_may_name_go_in_groups() {
    let daemon = with_many(1_900);
    let ran = daemon.run("backend drain web/* --if-version 7");
    assert_eq!(ran.code, 0, "{ran:?}");
    let groups: Vec<(usize, Option<u64>)> = daemon
        .asked()
        .iter()
        .filter_map(|request| match request {
            Request::Command(Command::Change {
                change: ChangeRequest::Backends { names, .. },
                options,
            }) => Some((names.len(), options.if_version)),
            _ => None,
        })
        .collect();
    assert_eq!(groups, [(1_000, Some(7)), (900, Some(8))]);
    let ran = with_many(2_100).run("backend maint web/*");
    assert_eq!(ran.code, 1, "{ran:?}");
    let said = "the disk is full; 2000 of 2100 are done, the others are as they were";
    assert!(ran.err.contains(said), "{ran:?}");
}

#[test]
fn sessions_of_many_are_one_question_and_a_forced_removal_is_asked_about_once() {
    let daemon = with_many(900);
    let ran = daemon.run("backend remove web/* --force");
    assert_eq!(ran.code, 2, "{ran:?}");
    let said = "900 sessions of 900 backends would be reset; pool web would have no backend";
    assert!(ran.err.contains(said), "{ran:?}");
    let lists = |it: &&Request| matches!(it, Request::Query(Query::BackendList { .. }));
    assert_eq!(daemon.asked().iter().filter(lists).count(), 2, "the names, then their sessions");
    assert_eq!(daemon.asked().len(), 3);
}

#[test]
fn a_backend_that_is_gone_is_drained() {
    let daemon = Daemon::new(|request| match request {
        Request::Query(Query::BackendShow { .. }) => {
            Some(Response::Refused(Refusal::new(Code::NotFound, "no web/b1", "")))
        }
        _ => done(Answer::Changed(changed())),
    });
    assert_eq!(daemon.run("backend drain web/b1 --wait 1s").code, 0);
}

#[test]
fn ctrl_c_leaves_the_drain_running_and_says_so() {
    let daemon = draining(vec![3]);
    let mut child = daemon.spawn("backend drain web/b1 --wait 1h");
    let mut lines = BufReader::new(child.stderr.take().unwrap()).lines();
    assert_eq!(lines.next().unwrap().unwrap(), "web/b1 draining, sessions left: 3");
    interrupt(&child);
    let said = lines.next().unwrap().unwrap();
    assert_eq!(said, "error: interrupted; web/b1 goes on draining");
    assert_eq!(child.wait().unwrap().code(), Some(130));
}

#[test]
fn what_weir_does_after_a_yes_only_needs_one() {
    let daemon = Daemon::new(|request| match request {
        Request::Command(Command::Change { options, .. }) if !options.yes => {
            let text = "pool web would have no backend that takes sessions";
            Some(Response::Refused(Refusal::new(Code::NeedsYes, text, "add --yes")))
        }
        _ => done(Answer::Changed(Changed { warnings: vec!["it has none".into()], ..changed() })),
    });
    let ran = daemon.run("backend drain web/b1");
    assert_eq!((ran.code, ran.out.as_str()), (2, ""), "{ran:?}");
    assert!(ran.err.contains("pool web would have no backend"), "{ran:?}");
    let ran = daemon.run("backend drain web/b1 --yes");
    assert_eq!(ran.code, 0, "{ran:?}");
    assert!(ran.out.contains("\nwarning: it has none\n"), "{ran:?}");
    let json = daemon.run("-o json backend drain web/b1 --yes").json();
    assert_eq!(json["warnings"], json!(["it has none"]));
    let code = daemon.run("-o json backend drain web/b1").code;
    assert_eq!(code, 2);
}
