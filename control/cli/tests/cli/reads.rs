//! Verbs that read: output, exit codes, watching, and a daemon that is not there.

use std::io::{BufRead, BufReader, Read};
use std::process::{Child, Command, Stdio};

use weir_proto::answer::{Answer, BackendRow, BackendState, Backends, EventKind, EventRow, Events};
use weir_proto::request::{Code, Query, Request, Response};

use crate::fake::{Daemon, backend, done, status};

/// What Ctrl-C does.
pub(crate) fn interrupt(child: &Child) {
    let sent = Command::new("sh").args(["-c", &format!("kill -INT {}", child.id())]).status();
    assert!(sent.unwrap().success());
}

#[test]
fn a_pipe_gets_a_table_without_colour_and_json_in_one_line() {
    let daemon = Daemon::saying(Answer::Backends(Backends { backends: vec![backend(4)] }));
    let ran = daemon.run("backend list");
    assert_eq!((ran.code, ran.err.as_str()), (0, ""), "{ran:?}");
    let mut lines = ran.out.lines();
    assert!(lines.next().unwrap().starts_with("BACKEND  ADDRESS"), "{ran:?}");
    let words: Vec<&str> = lines.next().unwrap().split_whitespace().collect();
    assert_eq!(
        words,
        "web/b1 10.0.0.1:80 draining 1 4 9 0 0 0 ok 1000ms".split(' ').collect::<Vec<_>>()
    );
    let ran = daemon.run("-o json backend list");
    assert_eq!((ran.code, ran.out.lines().count()), (0, 1), "{ran:?}");
    assert!(ran.out.starts_with("{\"schema\":\"weir/v1\",\"backends\":[{"), "{ran:?}");
    assert_eq!(ran.json()["backends"][0]["check"]["since_s"], 1.0);
}

#[test]
fn status_check_exits_with_3_when_a_pool_is_empty() {
    let daemon = Daemon::saying(Answer::Status(status(0)));
    assert_eq!(daemon.run("status").code, 0);
    let ran = daemon.run("status --check");
    assert_eq!(ran.code, 3, "{ran:?}");
    assert!(ran.out.contains("least-conn"), "{ran:?}");
    assert!(ran.err.contains("no backend can take sessions in: web"), "{ran:?}");
    let daemon = Daemon::saying(Answer::Status(status(1)));
    assert_eq!(daemon.run("status --check").code, 0);
}

#[test]
fn refusals_have_their_exit_codes_and_leave_stdout_empty() {
    for (code, exit) in [
        (Code::Invalid, 1),
        (Code::NotFound, 4),
        (Code::Exists, 1),
        (Code::Conflict, 7),
        (Code::Denied, 8),
        (Code::Failed, 1),
    ] {
        let daemon = Daemon::refusing(code);
        let ran = daemon.run("pool show wbe");
        assert_eq!((ran.code, ran.out.as_str()), (exit, ""), "{code:?} {ran:?}");
        assert_eq!(
            ran.err,
            "error: there is no pool wbe\ndid you mean: web\nhint: weirctl pool list\n"
        );
    }
    let ran = Daemon::refusing(Code::NotFound).run("-o json pool show wbe");
    assert_eq!(ran.out, "");
    let error: serde_json::Value = serde_json::from_str(&ran.err).unwrap();
    assert_eq!(error["error"]["code"], "not_found");
    assert_eq!(error["error"]["did_you_mean"], serde_json::json!(["web"]));
}

#[test]
fn nobody_there_is_5_and_names_the_command_that_starts_it() {
    let daemon = Daemon::saying(Answer::Status(status(1)));
    let ran = daemon.run("-s /nonexistent/weir.sock status");
    assert_eq!((ran.code, ran.out.as_str()), (5, ""), "{ran:?}");
    assert!(ran.err.contains("hint: start it: weir run"), "{ran:?}");
    assert_eq!(daemon.asked(), []);
}

#[test]
fn usage_errors_are_2_in_both_languages() {
    let daemon = Daemon::saying(Answer::Status(status(1)));
    let ran = daemon.run("statsu");
    assert_eq!((ran.code, ran.out.as_str()), (2, ""), "{ran:?}");
    assert!(ran.err.contains("'status'"), "{ran:?}");
    let ran = daemon.run("-o json statsu");
    let error: serde_json::Value = serde_json::from_str(&ran.err).unwrap();
    assert_eq!((ran.code, &error["error"]["code"]), (2, &"usage".into()), "{ran:?}");
    let ran = daemon.run("top");
    assert_eq!(ran.code, 2, "{ran:?}");
    assert!(ran.err.contains("weirctl -w status"), "{ran:?}");
    assert_eq!(daemon.asked(), []);
}

#[test]
fn a_reader_that_leaves_is_no_error() {
    let rows = vec![backend(1); 2000];
    let daemon = Daemon::saying(Answer::Backends(Backends { backends: rows }));
    let mut child = daemon.spawn("backend list");
    let mut out = child.stdout.take().unwrap();
    out.read_exact(&mut [0; 7]).unwrap();
    drop(out);
    let output = child.wait_with_output().unwrap();
    assert_eq!(output.status.code(), Some(0));
    assert_eq!(String::from_utf8(output.stderr).unwrap(), "");
}

#[test]
fn watch_prints_again_until_ctrl_c() {
    let daemon = Daemon::saying(Answer::Status(status(1)));
    let mut child = daemon.spawn("-o json -w 0.1 status");
    let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
    for _ in 0..3 {
        assert!(lines.next().unwrap().unwrap().starts_with("{\"schema\""));
    }
    interrupt(&child);
    assert_eq!(child.wait().unwrap().code(), Some(130));
}

fn event(id: u64, at: &str) -> EventRow {
    EventRow {
        id,
        at: at.into(),
        kind: EventKind::Health,
        subject: "web/b1".into(),
        text: "x".into(),
    }
}

/// The events of a process that started at `start`, of which these are no longer kept.
fn page(start: u64, ids: std::ops::Range<u64>, missing: u64) -> Option<Response> {
    let last = ids.end - 1;
    let events = ids.map(|id| event(id, "2026-01-01T00:00:00Z")).collect();
    done(Answer::Events(Events { events, start, last, missing }))
}

#[test]
fn events_follow_what_comes() {
    let daemon = Daemon::new(|request| {
        let Request::Query(Query::Events { after, filter }) = request else { return None };
        assert_eq!(filter.kinds, [EventKind::Health, EventKind::Task]);
        match *after {
            // What is there already is not asked for.
            u64::MAX => page(1, 3..3, 0),
            2 => page(1, 5..6, 2),
            after => page(1, after + 1..after + 2, 0),
        }
    });
    let mut child = daemon.spawn("-o json events -f --kind health --kind task");
    let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
    for id in [5, 6, 7] {
        let line = lines.next().unwrap().unwrap();
        let json: serde_json::Value = serde_json::from_str(&line).unwrap();
        assert_eq!((&json["schema"], &json["id"]), (&"weir/v1".into(), &id.into()));
    }
    interrupt(&child);
    let mut said = String::new();
    child.stderr.take().unwrap().read_to_string(&mut said).unwrap();
    assert_eq!(said, "2 events are no longer kept\n");
    assert_eq!(child.wait().unwrap().code(), Some(130));
}

/// The daemon closes the connection at the second question. Returns the events shown and what was
/// said on stderr. `start` is the process after that; it was 1 before.
fn followed_across_a_restart(start: u64) -> (Vec<u64>, String) {
    let mut asked = 0;
    let daemon = Daemon::new(move |request| {
        asked += 1;
        let Request::Query(Query::Events { after, .. }) = request else { return None };
        match asked {
            1 => page(1, 1..8, 0),
            2 => None,
            _ => page(start, after + 1..after + 2, 0),
        }
    });
    let mut child = daemon.spawn("-o json events -f --since 9999d");
    let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
    let id =
        |line: String| serde_json::from_str::<serde_json::Value>(&line).unwrap()["id"].as_u64();
    let shown = (0..9).map(|_| id(lines.next().unwrap().unwrap()).unwrap()).collect();
    interrupt(&child);
    let mut said = String::new();
    child.stderr.take().unwrap().read_to_string(&mut said).unwrap();
    assert_eq!(child.wait().unwrap().code(), Some(130));
    (shown, said)
}

#[test]
fn events_follow_beyond_a_restart_and_say_so() {
    let (shown, said) = followed_across_a_restart(2);
    assert_eq!(shown, [1, 2, 3, 4, 5, 6, 7, 1, 2]);
    assert!(said.contains("before it answered; waiting for it\n"), "{said}");
    assert!(said.contains("weir is back, restarted\n"), "{said}");
    let (shown, said) = followed_across_a_restart(1);
    assert_eq!(shown, [1, 2, 3, 4, 5, 6, 7, 8, 9]);
    assert!(said.contains("weir is back\n"), "{said}");
}

#[test]
fn events_are_asked_for_by_age_and_kind() {
    let daemon = Daemon::new(|request| {
        let Request::Query(Query::Events { after, filter }) = request else { return None };
        let shown = if filter.since_ms == Some(3_600_000) { 2..3 } else { 1..3 };
        assert_eq!((*after, filter.kinds.len()), (0, 0));
        page(1, shown, 0)
    });
    assert_eq!(daemon.run("events").out.lines().count(), 2);
    let ran = daemon.run("events --since 1h");
    assert_eq!(ran.out, "2026-01-01T00:00:00Z  health   web/b1  x\n");
}

#[test]
fn completions_and_the_manual_need_no_daemon() {
    for line in ["completions bash", "completions fish", "man", "--help", "--version"] {
        let output = Command::new(env!("CARGO_BIN_EXE_weirctl"))
            .args(line.split(' '))
            .env("WEIR_SOCKET", "/nonexistent/weir.sock")
            .stdin(Stdio::null())
            .output()
            .unwrap();
        assert!(output.status.success() && !output.stdout.is_empty(), "{line}");
    }
}

#[test]
fn a_lone_weirctl_says_what_to_do_and_whether_weir_is_there() {
    let alone = |socket: &std::path::Path| {
        let mut command = Command::new(env!("CARGO_BIN_EXE_weirctl"));
        let output = command.env("WEIR_SOCKET", socket).stdin(Stdio::null()).output().unwrap();
        assert!(output.status.code() == Some(2) && output.stdout.is_empty(), "{output:?}");
        String::from_utf8(output.stderr).unwrap()
    };
    let gone = alone("/nonexistent/weir.sock".as_ref());
    assert!(gone.contains("weirctl status") && gone.contains("weirctl --help"), "{gone}");
    assert!(gone.contains("there is no socket /nonexistent/weir.sock\nhint: start it"), "{gone}");
    let daemon = Daemon::saying(Answer::Status(status(1)));
    let here = alone(&daemon.path("s"));
    assert!(here.ends_with("weir is here: serving, version 7, 4 sessions\n"), "{here}");
}

#[test]
fn a_usage_line_has_no_option_that_fits_every_verb() {
    // The environment names a socket here, and clap counts that as typed.
    let ran = Daemon::saying(Answer::Status(status(1))).run("-o json pool set web");
    let error: serde_json::Value = serde_json::from_str(&ran.err).unwrap();
    assert_eq!((ran.code, &error["error"]["code"]), (2, &"usage".into()));
    let ran = Daemon::saying(Answer::Status(status(1))).run("pool set web");
    assert_eq!(ran.code, 2);
    assert!(ran.err.contains("Usage: weirctl pool set <NAME> <KEY=VALUE>...\n"), "{ran:?}");
}

#[test]
fn the_shell_is_offered_live_names_and_never_files() {
    let daemon = Daemon::saying(Answer::Backends(Backends { backends: vec![backend(4)] }));
    let offered = |words: &str| -> Vec<String> {
        let words: Vec<&str> = words.split(' ').collect();
        let output = Command::new(env!("CARGO_BIN_EXE_weirctl"))
            .arg("--")
            .args(&words)
            .env("WEIR_SOCKET", daemon.path("s"))
            .env("WEIRCTL_COMPLETE", "fish")
            .output()
            .unwrap();
        assert!(output.status.success());
        let text = String::from_utf8(output.stdout).unwrap();
        text.lines().map(|line| line.split('\t').next().unwrap().to_owned()).collect()
    };
    assert_eq!(offered("weirctl backend drain w"), ["web/b1"]);
    assert_eq!(offered("weirctl pool set web strategy=m"), ["strategy=maglev"]);
    assert!(offered("weirctl bac").contains(&"backend".to_owned()));
    // Pools are asked for and the daemon says something else: nothing is offered, nothing fails.
    assert_eq!(offered("weirctl pool show Cargo"), [""; 0]);
}

fn many() -> Daemon {
    let row = |at| match at % 1_000 {
        7 => BackendRow { state: BackendState::Down, ..backend(0) },
        _ => backend(1),
    };
    let row = |at| BackendRow { name: format!("web/b{at:04}"), ..row(at) };
    Daemon::saying(Answer::Backends(Backends { backends: (0..4_096).map(row).collect() }))
}

#[test]
fn backends_are_filtered_by_their_state() {
    let ran = many().run("-o json backend list --state down");
    let rows = ran.json()["backends"].as_array().expect("a list").len();
    assert_eq!((ran.code, rows), (0, 5), "{ran:?}");
    let ran = many().run("backend list web --state down --state maint");
    assert_eq!(ran.out.lines().count(), 6, "{ran:?}");
    let ran = many().run("backend list --state ill");
    assert!(ran.code == 2 && ran.err.contains("possible values"), "{ran:?}");
}

#[test]
fn a_reader_that_goes_away_is_no_error() {
    let daemon = many();
    for line in ["backend list", "-o json backend list", "--help", "man", "completions bash"] {
        let mut child = daemon.spawn(line);
        // The first write fails, or the next one.
        drop(child.stdout.take());
        let ended = child.wait_with_output().unwrap();
        let said = String::from_utf8_lossy(&ended.stderr).into_owned();
        assert_eq!((ended.status.code(), said.as_str()), (Some(0), ""), "{line}");
    }
}
