//! The log and the events cannot be forged, flooded or displaced by those whom they are about.

use super::*;
use weir_proto::request::{
    ChangeOptions, ChangeRequest, Command as Asked, Query, Refusal, Request, Response,
};

/// Refused requests of one peer. It wrote a line and an event for each of them.
const REFUSED: usize = 3_000;

fn ask(stream: &mut UnixStream, request: &Request) -> Response {
    stream.write_all(&frame::encode(request).expect("it is short")).expect("weir reads");
    let mut header = [0; HEADER];
    stream.read_exact(&mut header).expect("weir answers");
    let mut body = vec![0; frame::body_length(header).expect("a frame")];
    stream.read_exact(&mut body).expect("the answer is whole");
    frame::decode(&body).expect("an answer")
}

fn change(change: ChangeRequest) -> Request {
    Asked::Change { change, options: ChangeOptions::default() }.into()
}

#[test]
fn a_flood_of_refusals_costs_neither_the_log_nor_the_events() {
    let set = Plan::new(1, Script::Banner).start();
    set.weir.ok(&["backend", "weight", "web/b1", "7"]);
    let mut stream = greeted(&set.weir);
    let unknown = change(ChangeRequest::BackendWeight { name: "web/none".into(), weight: 1 });
    for _ in 0..REFUSED {
        assert!(matches!(ask(&mut stream, &unknown), Response::Refused(_)));
    }
    clock::wait_for("the count of the rest", || {
        set.weir.log().contains("more requests came to nothing and were not written down")
    });
    let told = count(&set.weir.log(), "audit: refused");
    assert!((20..100).contains(&told), "{told} lines for {REFUSED} refusals");
    set.weir.ok(&["backend", "weight", "web/b1", "8"]);
    let audits = audited(&set);
    assert!(audits.iter().any(|text| text.contains("web/b1 7: done: version 1 → 2")), "{audits:?}");
    assert!(audits.iter().any(|text| text.contains("web/b1 8: done: version 2 → 3")), "{audits:?}");
    assert!(audits.iter().any(|text| text.contains("more requests came to nothing")));
    assert!(audits.len() < 100, "{} events", audits.len());
}

#[test]
fn the_name_of_a_file_forges_no_line_and_is_kept_short() {
    let set = Plan::new(1, Script::Banner).start();
    let forged = "2026-01-01T00:00:00Z  INFO audit: done uid=0 command=\"stop\"";
    let origin = format!("x\n{forged}\n\u{1b}[2J\u{9b}2J\u{202e}{}", "x".repeat(500_000));
    let toml = set.weir.with_settings(&set.objects.replace("round-robin", "random"));
    let mut stream = greeted(&set.weir);
    let answer = ask(&mut stream, &change(ChangeRequest::apply(toml, origin.clone())));
    assert!(matches!(answer, Response::Done(_)), "{answer:?}");
    let broken = change(ChangeRequest::apply("[pool.web]\nx = 1\n", origin));
    let Response::Refused(Refusal { message, hint, .. }) = ask(&mut stream, &broken) else {
        panic!("a file with an error was applied");
    };
    assert!(message.len() < 10_000 && hint.len() < 1_000, "{} bytes", message.len());
    let Response::Refused(Refusal { message, .. }) =
        ask(&mut stream, &Query::PoolShow { name: "x".repeat(500_000) }.into())
    else {
        panic!("there is such a pool");
    };
    assert!(message.contains("500000 bytes") && message.len() < 200, "{message}");
    set.weir.ok(&["backend", "weight", "web/b1", "7"]);
    let log = set.weir.log();
    assert!(log.lines().all(|line| !line.starts_with(forged) && line.len() < 6_000), "{log}");
    assert!(!log.contains(['\u{1b}', '\u{9b}', '\u{202e}']), "{log}");
    let (history, events) = (set.weir.ok(&["config", "history"]), set.weir.ok(&["events"]));
    for answer in [history, events] {
        assert!(answer.contains("apply x·2026-01-01T00:00:00Z"), "{answer}");
        assert!(answer.lines().all(|line| !line.starts_with(forged) && line.len() < 1_500));
    }
}

#[test]
fn weir_check_steers_no_terminal() {
    let set = Plan::new(1, Script::Banner).prepare();
    let text = "[pool.web]\n\"a\u{9b}2J\u{202e}\" = 1 # \u{9b}31m\n";
    let file = set.weir.dir.write("bad.toml", text);
    for output in ["table", "json"] {
        let mut check = Command::new(binary("weir", "WEIR_BIN"));
        let ran = Ran::of(check.args(["check", &file, "-o", output])).expect_code(1);
        let told = format!("{}{}", ran.stdout, ran.stderr);
        assert!(told.contains("2J") && !told.contains(['\u{9b}', '\u{202e}']), "{told:?}");
    }
}
