//! The commands, the metrics and the paths that documents name exist, and every command that reads
//! or changes has JSON.

use std::collections::{BTreeMap, BTreeSet};
use std::process::Command;

use weir_tests::net::Script;
use weir_tests::source::{self, File};
use weir_tests::story::Plan;
use weir_tests::weir::{Ran, binary};

/// Verbs that have verbs.
const GROUPS: &[&str] = &["listener", "pool", "backend", "config", "task", "session"];

/// Documents for operators, and the manual pages of the programs.
fn documents() -> Vec<File> {
    source::files().into_iter().filter(source::is_document).collect()
}

/// One command of a document: its words, and whether it can be run as it stands.
struct Typed {
    place: String,
    words: Vec<String>,
    whole: bool,
}

/// The commands that a line of a block of code, or a span, has.
fn commands(place: &str, text: &str, whole: bool, found: &mut Vec<Typed>) {
    let bare = text.split(" #").next().unwrap_or(text);
    for part in bare.split("&&").flat_map(|part| part.split(['|', '>', ';'])) {
        let words: Vec<&str> = part.split_whitespace().collect();
        let Some(at) = words.iter().position(|word| ["weir", "weirctl"].contains(word)) else {
            continue;
        };
        // `systemctl start weir` and prose such as "weir is not there" are not commands of weir.
        let verb = words.get(at + 1).copied().unwrap_or_default();
        if at == 0 && verb.starts_with(|it: char| it.is_ascii_lowercase() || it == '-') {
            let words = words[at..].iter().map(|&word| word.to_owned()).collect();
            found.push(Typed { place: place.to_owned(), words, whole });
        }
    }
}

/// Every command of every document.
fn every_command() -> Vec<Typed> {
    let mut found = Vec::new();
    for file in documents() {
        let mut block = None;
        for (index, line) in file.text.lines().enumerate() {
            let place = format!("{}:{}", file.path, index + 1);
            if let Some(language) = line.trim_start().strip_prefix("```") {
                block = if block.is_none() { Some(language.to_owned()) } else { None };
            } else if matches!(block.as_deref(), Some("sh" | "console" | "bash")) {
                let line = line.trim_start().trim_start_matches("$ ");
                commands(&place, line, true, &mut found);
            } else if block.is_none()
                && (file.path.ends_with(".md") || file.path.ends_with(".rules.yml"))
            {
                for span in line.split('`').skip(1).step_by(2) {
                    commands(&place, span, false, &mut found);
                    // `backend ready` stands for weirctl's.
                    let words: Vec<&str> = span.split(' ').collect();
                    if words.len() > 1
                        && GROUPS.contains(&words[0])
                        && words[1].chars().all(|letter| letter.is_ascii_lowercase())
                    {
                        commands(&place, &format!("weirctl {span}"), false, &mut found);
                    }
                }
            }
        }
    }
    assert!(found.len() > 60, "{} commands are found", found.len());
    found
}

fn run(words: &[&str]) -> Ran {
    let program = match words[0] {
        "weir" => binary("weir", "WEIR_BIN"),
        _ => binary("weirctl", "WEIRCTL_BIN"),
    };
    // Where nothing listens: a command that is well formed ends with 5.
    Ran::of(Command::new(program).args(&words[1..]).env("WEIR_SOCKET", "/nowhere/control.sock"))
}

/// The verbs of a command: `weirctl -o json backend list web` → `weirctl backend list`.
fn verbs(words: &[String]) -> Vec<&str> {
    let plain = words[1..].iter().map(String::as_str).filter(|word| *word != "json");
    let mut plain = plain.filter(|word| word.starts_with(|it: char| it.is_ascii_lowercase()));
    let first = plain.next();
    let second = first.filter(|first| GROUPS.contains(first)).and_then(|_| plain.next());
    std::iter::once(words[0].as_str()).chain(first).chain(second).collect()
}

#[test]
fn every_command_that_documents_name_exists() {
    let mut pages: BTreeMap<String, Ran> = BTreeMap::new();
    let mut wrong = Vec::new();
    for typed in every_command() {
        let mut words = verbs(&typed.words);
        words.push("--help");
        let page = pages.entry(words.join(" ")).or_insert_with(|| run(&words));
        let line = typed.words.join(" ");
        if page.code != 0 {
            wrong.push(format!("{}: {line}: no such command", typed.place));
            continue;
        }
        let flags = typed.words.iter().filter(|word| word.starts_with('-') && word.len() > 1);
        for flag in flags.map(|word| word.split('=').next().unwrap_or(word)) {
            let named = |it: &str| it.trim_start().split([' ', ',']).any(|word| word == flag);
            if !page.stdout.lines().any(named) {
                wrong.push(format!("{}: {line}: no {flag}", typed.place));
            }
        }
        let mut all: Vec<&str> = typed.words.iter().map(String::as_str).collect();
        // The daemon's commands would do it: a question for help ends them once they are read.
        if typed.whole && all[0] == "weir" {
            all.push("--help");
            if run(&all).code != 0 {
                wrong.push(format!("{}: {line}: not well formed", typed.place));
            }
            continue;
        }
        let whole = typed.whole && all[0] == "weirctl" && !line.contains('…');
        if whole && run(&all).code == 2 && !all.contains(&"top") {
            wrong.push(format!("{}: {line}: not well formed", typed.place));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

/// `weir_pool_backends{state="up"}` → `weir_pool_backends`.
fn metrics_in(text: &str) -> BTreeSet<&str> {
    let at = text.match_indices("weir_").filter(|(at, _)| {
        !text[..*at].ends_with(|before: char| before.is_alphanumeric() || "_-/.".contains(before))
    });
    let names = at.map(|(at, _)| {
        let rest = &text[at..];
        let end = rest.find(|letter: char| !letter.is_ascii_lowercase() && letter != '_');
        (&rest[..end.unwrap_or(rest.len())], rest[end.unwrap_or(rest.len())..].chars().next())
    });
    // `weir_<object>` and `weir_…` are forms of names; `weir_engine::ring` is a target.
    names.filter(|(name, next)| !name.ends_with('_') && *next != Some(':')).map(|it| it.0).collect()
}

#[test]
fn every_metric_that_documents_name_is_on_the_page() {
    let log = "session-log = { to = \"{dir}/log\" }";
    let set = Plan::new(2, Script::Banner).settings(log).start();
    set.session().0.fin().expect_fin();
    let page = set.weir.get("/metrics").body;
    let declared: BTreeSet<&str> =
        page.lines().filter_map(|line| line.strip_prefix("# TYPE ")?.split(' ').next()).collect();
    let targets = ["weir_control_core", "weir_core", "weir_engine", "weir_proto"];
    let mut wrong = Vec::new();
    // CONTRIBUTING.md shows how to add counters that do not exist.
    for file in documents().iter().filter(|file| file.path != "CONTRIBUTING.md") {
        for name in metrics_in(&file.text) {
            let forms = ["_total", "_bucket", "_sum", "_count"];
            let short = forms.iter().find_map(|form| name.strip_suffix(form));
            let there = declared.contains(name) || short.is_some_and(|it| declared.contains(it));
            if !there && !targets.contains(&name) {
                wrong.push(format!("{}: {name}", file.path));
            }
        }
    }
    assert!(wrong.is_empty(), "no such metric:\n{}", wrong.join("\n"));
}

#[test]
fn the_exit_codes_of_the_help_are_those_of_the_handbook() {
    let joined = |text: &str| text.split_whitespace().collect::<Vec<_>>().join(" ");
    let help = joined(&run(&["weirctl", "--help"]).stdout);
    let codes = &help[help.find("Exit codes: 0").expect("the help has them")..];
    let handbook = documents().into_iter().find(|file| file.path == "docs/operating.md");
    assert!(joined(&handbook.expect("it exists").text).contains(codes), "{codes}");
}

/// docs/operating.md, Which connections are weir's: by the shards' tables, not by the process's.
#[test]
fn a_sessions_socket_is_in_a_shards_table() {
    let set = Plan::new(1, Script::Banner).start();
    let (_client, _) = set.session();
    let port = format!("sport = :{}", set.weir.web.port());
    let ip = format!("src = {}", set.weir.web.ip());
    let ss = Ran::of(Command::new("ss").args(["-tneH", "state", "established", &port, "and", &ip]));
    let inode = ss.stdout.split("ino:").nth(1).expect("a session").split(' ').next();
    let socket = format!("socket:[{}]", inode.expect("a number"));
    let holds = |folder: &std::path::Path| {
        let entries = std::fs::read_dir(folder).into_iter().flatten().flatten();
        entries.filter_map(|it| std::fs::read_link(it.path()).ok()).any(|it| it.ends_with(&socket))
    };
    let process = std::path::PathBuf::from(format!("/proc/{}", set.weir.pid()));
    assert!(!holds(&process.join("fd")), "ss -p could name it: say so in docs/operating.md");
    let tasks = std::fs::read_dir(process.join("task")).expect("weir runs").flatten();
    let holders: Vec<String> = tasks
        .filter(|task| holds(&task.path().join("fd")))
        .map(|task| std::fs::read_to_string(task.path().join("comm")).unwrap_or_default())
        .collect();
    assert!(holders.len() == 1 && holders[0].starts_with("weir-shard-"), "{holders:?}");
}

/// README: every command that reads or changes has `-o json`.
#[test]
fn every_command_has_json() {
    let mut set = Plan::new(2, Script::Banner).start();
    let file = set.weir.ok(&["config", "export"]);
    let file = set.weir.dir.write("same.toml", &file);
    for line in [
        "status",
        "listener list",
        "listener show web",
        "pool list",
        "pool show web",
        "backend list",
        "backend show web/b1",
        "stats",
        "stats web",
        "stats web/b1",
        "latency",
        "latency web",
        "shards",
        "config show",
        "config history",
        "config versions",
        "config export",
        "config diff",
        "config diff 1",
        "config diff 1 1",
        "events",
        "session list",
        "session kill --pool web --dry-run",
        "task list",
        "why web --client 192.0.2.1",
        "listener set web max-sessions=100",
        "listener drain web --yes",
        "listener ready web",
        "pool rebalance web",
        "ready",
        "pool add other --strategy maglev",
        "pool set other retry.attempts=1",
        "pool remove other --yes",
        "backend add web/b3 127.0.0.9:9 --weight 0",
        "backend drain web/b3",
        "backend maint web/b3",
        "backend ready web/b3",
        "backend weight web/b3 0",
        "backend set web/b3 weight=0",
        "backend remove web/b3 --force --yes",
        "config rollback 1 --yes --dry-run",
        "drain --dry-run",
        "drain --yes",
        "stop --yes",
    ] {
        let words: Vec<&str> = line.split(' ').collect();
        assert_eq!(set.weir.json(&words)["schema"], "weir/v1", "{line}");
        if line == "config export" {
            let same = set.weir.json(&["config", "diff", &file]);
            assert_eq!(same["schema"], "weir/v1", "{same}");
        }
    }
    assert_eq!(set.weir.wait_exit(weir_tests::clock::PATIENCE), 0);
}
