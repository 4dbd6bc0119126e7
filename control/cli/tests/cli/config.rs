//! `config`: a file goes out as it is, and a difference is exit code 3.

use weir_proto::answer::{Answer, Changed, ConfigText};
use weir_proto::request::{ChangeOptions, ChangeRequest, Command, Query, Request};
use weir_proto::settings::ShownValue;

use crate::fake::{Daemon, changed, done, shown};

const TOML: &str = "[pool.web]\nstrategy = \"maglev\"\n";

/// Version 7 is current, older ones are `older`; a file changes pool web from 1 to `after`.
fn daemon(older: &'static str, after: u64, summary: &'static str) -> Daemon {
    Daemon::new(move |request| match request {
        Request::Query(Query::ConfigExport { version: None }) => {
            done(Answer::Config(ConfigText { version: 7, toml: TOML.into() }))
        }
        Request::Query(Query::ConfigExport { version: Some(version) }) => {
            done(Answer::Config(ConfigText { version: *version, toml: older.into() }))
        }
        _ => done(Answer::Changed(Changed {
            before: Some(shown("pool.web", ShownValue::Number(1))),
            after: Some(shown("pool.web", ShownValue::Number(after))),
            summary: summary.into(),
            ..changed()
        })),
    })
}

#[test]
fn export_is_the_bare_text_and_show_has_a_heading() {
    let daemon = daemon("", 1, "");
    assert_eq!(daemon.run("config export").out, TOML);
    assert_eq!(daemon.run("config show").out, format!("# version 7\n{TOML}"));
    assert_eq!(daemon.run("-o json config export").json()["toml"], TOML);
}

#[test]
fn apply_sends_the_file_or_stdin() {
    let daemon = daemon("", 1, "pool add web");
    let file = daemon.path("weir.toml");
    std::fs::write(&file, TOML).unwrap();
    let name = file.display().to_string();
    assert_eq!(daemon.run(&format!("config apply {name} --dry-run")).code, 0);
    assert_eq!(daemon.run_with("config apply -", TOML).code, 0);
    let apply = |origin: &str, dry_run| {
        let change = ChangeRequest::Apply { toml: TOML.into(), origin: origin.into() };
        Request::from(Command::Change {
            change,
            options: ChangeOptions { dry_run, if_version: None },
        })
    };
    assert_eq!(daemon.asked(), [apply(&name, true), apply("stdin", false)]);
    let ran = daemon.run("config apply /nonexistent/weir.toml");
    assert_eq!((ran.code, ran.out.as_str()), (1, ""), "{ran:?}");
}

#[test]
fn a_diff_with_a_version_is_a_line_diff() {
    let same = daemon(TOML, 1, "").run("config diff 3");
    assert_eq!((same.code, same.out.as_str()), (0, "no difference\n"), "{same:?}");
    let ran = daemon("[pool.web]\n", 1, "").run("config diff 3");
    assert_eq!(ran.code, 3, "{ran:?}");
    assert_eq!(
        ran.out,
        "--- version 7 (current)\n+++ version 3\n@@ -1,2 +1,1 @@\n [pool.web]\n\
         -strategy = \"maglev\"\n"
    );
}

#[test]
fn a_diff_with_a_file_changes_nothing() {
    let same = daemon("", 1, "no change");
    assert_eq!(same.run_with("config diff -", TOML).code, 0);
    let daemon = daemon("", 2, "pool set web (a 1 → 2); pool add x");
    let ran = daemon.run_with("config diff -", TOML);
    assert_eq!(ran.code, 3, "{ran:?}");
    assert!(ran.out.starts_with("pool set web (a 1 → 2)\npool add x\n---"), "{ran:?}");
    assert!(ran.out.contains("\n-    \"web\": 1\n+    \"web\": 2\n"), "{ran:?}");
    let json = daemon.run_with("-o json config diff -", TOML).json();
    assert_eq!(json["different"], true);
    let dry = |request: &Request| match request {
        Request::Query(_) => true,
        Request::Command(command) => command.is_dry_run(),
    };
    assert!(daemon.asked().iter().all(dry));
}
