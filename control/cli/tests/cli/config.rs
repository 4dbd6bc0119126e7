//! `config`: a file goes out as it is, and a difference is exit code 3.

use weir_proto::answer::{Answer, ConfigText, Difference, DriftRows};
use weir_proto::conflict::{Conflict, Drift};
use weir_proto::impact::Impact;
use weir_proto::request::{
    ChangeOptions, ChangeRequest, Code, Command, Query, Refusal, Request, Response,
};

use crate::fake::{Daemon, changed, done};

const TOML: &str = "[pool.web]\nstrategy = \"maglev\"\n";

/// Version 7 is current, older ones are `older`.
fn daemon(older: &'static str, summary: &'static str) -> Daemon {
    Daemon::new(move |request| match request {
        Request::Query(Query::ConfigExport { version: None }) => {
            done(Answer::Config(ConfigText { version: 7, toml: TOML.into() }))
        }
        Request::Query(Query::ConfigExport { version: Some(version) }) => {
            done(Answer::Config(ConfigText { version: *version, toml: older.into() }))
        }
        Request::Query(Query::ConfigDiff { toml, .. }) => {
            let (current, proposed) = (TOML.into(), toml.clone());
            let summary = summary.into();
            let conflicts = Vec::new();
            let (changes, impact) = (Vec::new(), Impact::default());
            let difference =
                Difference { version: 7, summary, current, proposed, conflicts, changes, impact };
            done(Answer::Difference(difference))
        }
        _ => done(Answer::Changed(changed())),
    })
}

#[test]
fn export_is_the_bare_text_and_show_has_a_heading() {
    let daemon = daemon("", "");
    assert_eq!(daemon.run("config export").out, TOML);
    assert_eq!(daemon.run("config show").out, format!("# version 7\n{TOML}"));
    assert_eq!(daemon.run("-o json config export").json()["toml"], TOML);
}

#[test]
fn apply_sends_the_file_or_stdin() {
    let daemon = daemon("", "pool add web");
    let file = daemon.path("weir.toml");
    std::fs::write(&file, TOML).unwrap();
    let name = file.display().to_string();
    assert_eq!(daemon.run(&format!("config apply {name} --dry-run")).code, 0);
    assert_eq!(daemon.run_with("config apply -", TOML).code, 0);
    let apply = |origin: &str, dry_run| {
        let change = ChangeRequest::apply(TOML, origin);
        Request::from(Command::Change {
            change,
            options: ChangeOptions {
                dry_run,
                if_version: None,
                yes: false,
                ..ChangeOptions::default()
            },
        })
    };
    assert_eq!(daemon.asked(), [apply(&name, true), apply("stdin", false)]);
    let ran = daemon.run("config apply /nonexistent/weir.toml");
    assert_eq!((ran.code, ran.out.as_str()), (1, ""), "{ran:?}");
}

#[test]
fn a_diff_with_a_version_is_a_line_diff() {
    let same = daemon(TOML, "").run("config diff 3");
    assert_eq!((same.code, same.out.as_str()), (0, "no difference\n"), "{same:?}");
    let ran = daemon("[pool.web]\n", "").run("config diff 3");
    assert_eq!(ran.code, 3, "{ran:?}");
    assert_eq!(
        ran.out,
        "--- version 7 (current)\n+++ version 3\n@@ -1,2 +1,1 @@\n [pool.web]\n\
         -strategy = \"maglev\"\n"
    );
    let daemon = daemon(TOML, "");
    let same = daemon.run("config diff 3 5");
    assert_eq!((same.code, same.out.as_str()), (0, "no difference\n"), "{same:?}");
    let export = |version| Request::Query(Query::ConfigExport { version: Some(version) });
    assert_eq!(daemon.asked(), [export(3), export(5)]);
    let ran = daemon.run("config diff new.toml 5");
    assert_eq!((ran.code, ran.out.as_str()), (2, ""), "{ran:?}");
    assert!(ran.err.contains("new.toml is no version"), "{ran:?}");
}

#[test]
fn a_diff_with_a_file_is_a_viewers_question_in_toml() {
    let daemon = daemon("", "pool set web (strategy maglev → random); pool add x");
    let same = daemon.run_with("config diff -", TOML);
    assert_eq!((same.code, same.out.as_str()), (0, "no difference\n"), "{same:?}");
    let file = TOML.replace("maglev", "random");
    let ran = daemon.run_with("config diff -", &file);
    assert_eq!(ran.code, 3, "{ran:?}");
    assert_eq!(
        ran.out,
        "pool set web (strategy maglev → random)\npool add x\n\
         sessions: 0 stay, 0 drain, 0 cut\n--- version 7 (current)\n+++ -\n\
         @@ -1,2 +1,2 @@\n [pool.web]\n-strategy = \"maglev\"\n+strategy = \"random\"\n"
    );
    let json = daemon.run_with("-o json config diff -", &file).json();
    assert_eq!(json["different"], true);
    assert!(daemon.asked().iter().all(|request| matches!(request, Request::Query(_))));
}

#[test]
fn drift_and_conflicts_are_told_key_by_key() {
    let value = |text: &str| Some(text.to_owned());
    let (object, key) = ("backend web/b1".to_owned(), "weight".to_owned());
    let conflict = Conflict {
        object: object.clone(),
        key: key.clone(),
        base: value("1"),
        file: value("3"),
        in_force: value("7"),
    };
    let drift = Drift { object, key, file: value("1"), in_force: value("7") };
    let daemon = Daemon::new(move |request| match request {
        Request::Query(Query::ConfigDrift) => {
            let drift = vec![drift.clone()];
            done(Answer::Drift(DriftRows { version: 7, file_applied: true, drift }))
        }
        Request::Query(Query::ConfigDiff { toml, .. }) => done(Answer::Difference(Difference {
            version: 7,
            summary: "no change".into(),
            current: toml.clone(),
            proposed: toml.clone(),
            conflicts: vec![conflict.clone()],
            changes: Vec::new(),
            impact: Impact::default(),
        })),
        _ => {
            let refusal = Refusal::new(Code::Conflict, "they do not agree", "--ours or --theirs");
            Some(Response::Refused(Refusal { conflicts: vec![conflict.clone()], ..refusal }))
        }
    });
    let ran = daemon.run("config diff");
    assert_eq!(
        (ran.code, ran.out.as_str()),
        (3, "backend web/b1 weight: 1 in the file, 7 in force\n")
    );
    let json = daemon.run("-o json config diff").json();
    assert_eq!(json["drift"][0]["in_force"], "7");
    let ran = daemon.run_with("config diff -", TOML);
    let text = "conflict: backend web/b1 weight: was 1, is 3 in the file and 7 in force\n";
    assert_eq!(ran.code, 3);
    assert!(ran.out.starts_with(text), "{ran:?}");
    let ran = daemon.run_with("-o json config apply -", TOML);
    assert_eq!(ran.code, 7);
    let error: serde_json::Value = serde_json::from_str(&ran.err).unwrap();
    assert_eq!(error["error"]["conflicts"][0]["base"], "1");
}
