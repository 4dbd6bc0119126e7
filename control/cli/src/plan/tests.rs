//! Command lines and their plans.

use super::*;
use crate::args::{Cli, join_watch};
use clap::Parser;

fn planned(line: &str) -> Result<(Plan, Option<Duration>), Failure> {
    let words = std::iter::once("weirctl").chain(line.split_whitespace());
    let cli = Cli::try_parse_from(join_watch(words.map(Into::into))).unwrap();
    plan(cli.verb, cli.output, cli.watch)
}

fn query(line: &str) -> Query {
    match planned(line).unwrap().0 {
        Plan::Read(reading) => reading.query,
        other => panic!("{line}: {other:?}"),
    }
}

fn change(line: &str) -> (ChangeRequest, ChangeOptions) {
    match planned(line).unwrap().0 {
        Plan::Change(changing) => (changing.change, changing.options),
        other => panic!("{line}: {other:?}"),
    }
}

#[test]
fn reading_verbs_become_queries() {
    let name = |text: &str| text.to_owned();
    let table = [
        ("status", Query::Status),
        ("shards", Query::Shards),
        ("listener list", Query::ListenerList),
        ("listener show web", Query::ListenerShow { name: name("web") }),
        ("pool list", Query::PoolList),
        ("pool show web", Query::PoolShow { name: name("web") }),
        ("backend list", Query::BackendList { pool: None }),
        ("backend list web", Query::BackendList { pool: Some(name("web")) }),
        ("backend show web/b1", Query::BackendShow { name: name("web/b1") }),
        ("stats", Query::Stats { subject: None }),
        ("stats web/b1", Query::Stats { subject: Some(name("web/b1")) }),
        ("latency", Query::Latency { pool: None }),
        ("latency web", Query::Latency { pool: Some(name("web")) }),
        ("config export", Query::ConfigExport { version: None }),
        ("config export 3", Query::ConfigExport { version: Some(3) }),
        ("config history", Query::ConfigHistory { before: None, limit: None }),
        ("config versions", Query::ConfigVersions),
        (
            "config history --limit 20 --before 7",
            Query::ConfigHistory { before: Some(7), limit: Some(20) },
        ),
        ("task list", Query::TaskList),
        ("why web --client ::1", Query::Why { pool: name("web"), client: name("::1") }),
        (
            "why --client ::1",
            Query::WhyListener { listener: None, client: name("::1"), sni: None, alpn: None },
        ),
        (
            "why --client ::1 --listener web --sni a.b --alpn h2",
            Query::WhyListener {
                listener: Some(name("web")),
                client: name("::1"),
                sni: Some(name("a.b")),
                alpn: Some(name("h2")),
            },
        ),
        ("why --session 0.1.2", Query::WhySession { id: name("0.1.2") }),
        ("task show 7", Query::TaskShow { id: 7 }),
        ("session show 0.17.3", Query::SessionShow { id: name("0.17.3") }),
    ];
    for (line, wanted) in table {
        assert_eq!(query(line), wanted, "{line}");
    }
}

#[test]
fn changing_verbs_become_changes() {
    let name = || "web/b1".to_owned();
    let web = || "web".to_owned();
    let state = |state| ChangeRequest::BackendState { name: name(), state };
    let listener = |state| ChangeRequest::ListenerState { name: web(), state };
    let bind = vec!["0.0.0.0:80".to_owned(), "[::]:80".to_owned()];
    let pairs = vec![("strategy".to_owned(), "maglev".to_owned())];
    let table = [
        (
            "listener add web 0.0.0.0:80 [::]:80 max-sessions=5 --pool web",
            ChangeRequest::ListenerAdd {
                name: web(),
                bind,
                pool: web(),
                pairs: vec![pair("max-sessions", "5")],
            },
        ),
        (
            "listener set web pool=web max-sessions=",
            ChangeRequest::ListenerSet {
                name: web(),
                pairs: vec![pair("pool", "web"), pair("max-sessions", "")],
            },
        ),
        ("listener remove web", ChangeRequest::ListenerRemove { name: web() }),
        ("listener drain web", listener(Admin::Drain)),
        ("listener ready web", listener(Admin::Ready)),
        (
            "pool add web retry.attempts=1 --strategy random",
            ChangeRequest::PoolAdd {
                name: web(),
                pairs: vec![pair("strategy", "random"), pair("retry.attempts", "1")],
            },
        ),
        ("pool remove web", ChangeRequest::PoolRemove { name: web() }),
        ("pool set web strategy=maglev", ChangeRequest::PoolSet { name: web(), pairs }),
        (
            "backend add web/b1 [::1]:80 --weight 2 state=drain",
            ChangeRequest::BackendAdd {
                name: name(),
                address: "[::1]:80".into(),
                pairs: vec![pair("weight", "2"), pair("state", "drain")],
            },
        ),
        (
            "backend set web/b1 address=[::1]:81",
            ChangeRequest::BackendSet { name: name(), pairs: vec![pair("address", "[::1]:81")] },
        ),
        (
            "backend remove web/b1 --force",
            ChangeRequest::BackendRemove { name: name(), force: true },
        ),
        ("backend drain web/b1", state(Admin::Drain)),
        ("backend maint web/b1", state(Admin::Maint)),
        ("backend ready web/b1", state(Admin::Ready)),
        ("backend weight web/b1 7", ChangeRequest::BackendWeight { name: name(), weight: 7 }),
        ("config rollback 3", ChangeRequest::Rollback { version: 3 }),
    ];
    for (line, wanted) in table {
        let given = ChangeOptions { dry_run: true, if_version: Some(9), ..Default::default() };
        let line = format!("{line} --dry-run --if-version 9");
        assert_eq!(change(&line), (wanted, given), "{line}");
    }
}

#[test]
fn a_file_is_merged_unless_it_is_to_replace() {
    for (flags, mode, force) in [
        ("", ApplyMode::Merge, false),
        ("--ours", ApplyMode::Ours, false),
        ("--theirs --force", ApplyMode::Theirs, true),
        ("--replace --yes", ApplyMode::Replace, false),
        ("--partial", ApplyMode::Partial, false),
    ] {
        let options = ChangeOptions { yes: flags.contains("yes"), ..ChangeOptions::default() };
        let wanted = Plan::Apply { file: "w.toml".into(), mode, force, options };
        assert_eq!(planned(&format!("config apply w.toml {flags}")).unwrap().0, wanted);
    }
    let options = ChangeOptions { if_version: Some(7), ..ChangeOptions::default() };
    let edit = Plan::Edit { force: true, options };
    assert_eq!(planned("config edit --force --if-version 7").unwrap().0, edit);
    let drift = Plan::Diff { target: None, to: None };
    assert_eq!(planned("config diff").unwrap().0, drift);
}

#[test]
fn a_paced_drain_is_a_change_and_a_task() {
    let name = "web/b1".to_owned();
    let task = TaskRequest::BackendDrain { name, over_ms: 600_000 };
    match planned("backend drain web/b1 --over 10m").unwrap().0 {
        Plan::Change(changing) => assert_eq!(changing.task, Some(task)),
        other => panic!("{other:?}"),
    }
    let rebalance = |to, rate| {
        let name = "web".to_owned();
        Plan::Task(TaskRequest::PoolRebalance { name, spread: to, per_s: rate })
    };
    for (line, plan) in [
        ("pool rebalance web", rebalance(10, 10)),
        ("pool rebalance web --to 5% --rate 100/s", rebalance(5, 100)),
        ("pool rebalance web --to 0 --rate 1", rebalance(0, 1)),
        ("task cancel 3", Plan::Task(TaskRequest::Cancel { id: 3 })),
    ] {
        assert_eq!(planned(line).unwrap().0, plan, "{line}");
    }
}

#[test]
fn several_names_and_patterns_are_one_change() {
    let several = |line: &str| match planned(line).unwrap().0 {
        Plan::Several(several) => several,
        other => panic!("{line}: {other:?}"),
    };
    let drain = several("backend drain web/b1 web/b2 --wait 1m -y --if-version 3");
    assert_eq!(drain.names, ["web/b1", "web/b2"]);
    assert_eq!(
        (drain.act, drain.wait.map(|it| it.millis)),
        (BackendAct::State(Admin::Drain), Some(60_000))
    );
    assert_eq!((drain.options.yes, drain.options.if_version), (true, Some(3)));
    let paced = several("backend drain web/* --over 10m");
    assert_eq!(
        (paced.names, paced.over.map(|it| it.millis)),
        (vec!["web/*".to_owned()], Some(600_000))
    );
    assert_eq!(several("backend ready * db/b1").act, BackendAct::State(Admin::Ready));
    assert_eq!(several("backend maint web/b1 web/b2").act, BackendAct::State(Admin::Maint));
    let weight = several("backend weight web/b1 web/b2 7");
    assert_eq!((weight.names.len(), weight.act), (2, BackendAct::Weight(7)));
    let remove = several("backend remove */b1 --force");
    assert_eq!(remove.act, BackendAct::Remove { force: true });
}

#[test]
fn only_reading_verbs_can_be_watched() {
    assert_eq!(planned("-w 3 stats").unwrap().1, Some(Duration::from_secs(3)));
    for line in ["-w drain", "-w top", "backend ready web/b1 -w", "events -w"] {
        assert_eq!(planned(line).unwrap_err().exit as u8, 2, "{line}");
    }
    assert_eq!(planned("-o json top").unwrap_err().exit as u8, 2);
}
