//! weirctl as scripts use it: exit codes, JSON keys, words for people.

use std::os::unix::fs::PermissionsExt;
use std::process::Command;

use serde_json::Value;
use weir_tests::clock;
use weir_tests::net::{Script, own_ip};
use weir_tests::story::Plan;
use weir_tests::weir::{Dir, Ran, binary};

/// The keys are there.
#[track_caller]
fn expect_keys(document: &Value, keys: &[&str]) {
    let object = document.as_object().unwrap_or_else(|| panic!("not an object: {document}"));
    for key in keys {
        assert!(object.contains_key(*key), "no {key:?} in {document}");
    }
}

#[track_caller]
fn expect_schema(document: &Value) {
    assert_eq!(document["schema"], "weir/v1", "{document}");
}

const BACKEND: &[&str] = &[
    "name",
    "address",
    "state",
    "weight",
    "sessions",
    "sessions_total",
    "connect_failures_total",
    "received_bytes_total",
    "sent_bytes_total",
    "check",
];

#[test]
fn status_in_json() {
    let set = Plan::new(2, Script::Banner).start();
    let (_client, _) = set.session();
    let status = set.weir.json(&["status"]);
    expect_schema(&status);
    expect_keys(&status, &["version", "uptime_s", "shards", "listeners", "pools"]);
    assert!(status["version"].is_u64() && status["uptime_s"].is_number(), "{status}");
    let shards = status["shards"].as_array().expect("a list");
    assert_eq!(shards.len(), 2);
    for (index, shard) in shards.iter().enumerate() {
        expect_keys(shard, &["id", "version", "sessions"]);
        assert_eq!(shard["id"], index);
        assert_eq!(shard["version"], status["version"]);
    }
    let listener = &status["listeners"][0];
    expect_keys(listener, &["name", "bind", "pool", "state", "sessions"]);
    assert_eq!(listener["name"], "web");
    assert!(listener["bind"].to_string().contains(&set.weir.web.to_string()), "{listener}");
    let pool = &status["pools"][0];
    expect_keys(pool, &["name", "strategy", "backends_up", "backends"]);
    assert_eq!((&pool["backends_up"], &pool["backends"]), (&2.into(), &2.into()));
}

#[test]
fn backends_and_pools_in_json() {
    let set = Plan::new(2, Script::Banner).weights(&[1, 5]).start();
    let list = set.weir.json(&["backend", "list"]);
    expect_schema(&list);
    for row in list["backends"].as_array().expect("a list") {
        expect_keys(row, BACKEND);
        expect_keys(&row["check"], &["result", "since_s"]);
    }
    let row = set.weir.backend("web/b2");
    assert_eq!(row["address"], set.backends[1].address.to_string());
    assert_eq!((&row["state"], &row["weight"]), (&"up".into(), &5.into()));
    let of_pool = set.weir.json(&["backend", "list", "web"]);
    let names = |list: &Value| -> Vec<Value> {
        list["backends"].as_array().expect("a list").iter().map(|row| row["name"].clone()).collect()
    };
    assert_eq!(names(&of_pool), ["web/b1", "web/b2"]);
    assert_eq!(names(&list), names(&of_pool));
    expect_keys(&set.weir.json(&["backend", "show", "web/b1"]), BACKEND);

    let pool = set.weir.json(&["pool", "show", "web"]);
    expect_schema(&pool);
    expect_keys(&pool, &["name", "strategy", "health", "timeout", "backends"]);
    assert_eq!(pool["strategy"], "round-robin");
    assert!(pool["health"].is_object() && pool["timeout"].is_object(), "{pool}");
    expect_keys(&pool["backends"][0], BACKEND);
    expect_schema(&set.weir.json(&["pool", "list"]));
    expect_schema(&set.weir.json(&["listener", "list"]));
    assert_eq!(set.weir.json(&["listener", "show", "web"])["pool"], "web");
}

#[test]
fn latency_has_a_histogram_for_each_phase() {
    let set = Plan::new(1, Script::Banner).start();
    assert_eq!(set.spread(3, None), [3]);
    let count = |document: &Value, phase: usize| document["phases"][phase]["count"].as_u64();
    clock::wait_for("three sessions in the histogram", || {
        count(&set.weir.json(&["latency", "web"]), 2) == Some(3)
    });
    let latency = set.weir.json(&["latency", "web"]);
    expect_schema(&latency);
    expect_keys(&latency, &["schema", "subject", "phases"]);
    let names = ["connect", "first_byte", "session"];
    for (phase, name) in latency["phases"].as_array().expect("a list").iter().zip(names) {
        assert_eq!((phase["phase"].as_str(), phase["count"].as_u64()), (Some(name), Some(3)));
        expect_keys(phase, &["sum_s", "p50_s", "p90_s", "p99_s", "p999_s", "max_s", "buckets"]);
        let buckets = phase["buckets"].as_array().expect("a list");
        let counts = buckets.iter().map(|bucket| bucket["count"].as_u64());
        assert!(counts.is_sorted(), "{phase}");
        let last = buckets.last().map(|it| (it["le_s"].as_f64(), it["count"].as_u64()));
        assert_eq!(last, Some((Some(3600.0), Some(3))));
    }
    let page = set.weir.get("/api/v1/latency/web");
    let page: Value = serde_json::from_str(&page.body).expect("it is JSON");
    assert_eq!(page["phases"], latency["phases"]);
    let all = set.weir.ok(&["latency"]);
    let longest = all.lines().map(|line| line.chars().count()).max();
    assert!(all.contains("first-byte") && all.contains('#') && longest <= Some(80), "{all}");
    let refused = set.weir.ctl(&["-o", "json", "latency", "wbe"]).expect_code(4);
    assert_eq!(refused.error_json()["error"]["did_you_mean"], serde_json::json!(["web"]));
    assert_eq!(set.weir.get("/api/v1/latency/wbe").status, 404);
}

#[test]
fn stats_in_json_count_bytes_by_direction() {
    let set = Plan::new(1, Script::ByHand).start();
    let (mut client, mut server) = set.pair();
    client.send(&[1; 1000]);
    server.take(1000);
    server.send(&[2; 5000]);
    client.take(5000);
    weir_tests::clock::wait_for("the bytes of the open session", || {
        let row = set.weir.backend("web/b1");
        row["sent_bytes_total"] == 1000 && row["received_bytes_total"] == 5000
    });
    let stats = set.weir.json(&["stats"]);
    expect_schema(&stats);
    expect_keys(
        &stats,
        &[
            "sessions",
            "sessions_total",
            "session_rate_per_s",
            "received_bytes_total",
            "sent_bytes_total",
            "connect_duration_s",
            "pools",
        ],
    );
    expect_keys(&stats["connect_duration_s"], &["p50", "p99", "p999"]);
    assert_eq!(stats["sessions"], 1);
    assert_eq!(stats["sent_bytes_total"], 1000);
    assert_eq!(stats["pools"][0]["name"], "web");
    set.weir.ok(&["stats", "web"]);
    set.weir.ok(&["stats", "web/b1"]);
}

#[test]
fn every_mutation_gives_version_before_and_after() {
    let set = Plan::new(1, Script::Banner).start();
    let address = weir_tests::net::free(own_ip()).to_string();
    let bind = weir_tests::net::free(own_ip()).to_string();
    let commands: &[&[&str]] = &[
        &["backend", "add", "web/b9", &address, "--weight", "4"],
        &["backend", "weight", "web/b9", "2"],
        &["backend", "drain", "web/b9"],
        &["backend", "maint", "web/b9"],
        &["backend", "ready", "web/b9"],
        &["backend", "remove", "web/b9"],
        &["pool", "add", "other", "--strategy", "maglev"],
        &["pool", "set", "other", "strategy=least-conn", "health.interval=1s"],
        &["listener", "add", "side", &bind, "--pool", "other"],
        &["listener", "drain", "side"],
        &["listener", "remove", "side", "--yes"],
        &["pool", "remove", "other", "--yes"],
    ];
    for command in commands {
        let version = set.weir.version();
        let mut dry = command.to_vec();
        dry.push("--dry-run");
        set.weir.ok(&dry);
        assert_eq!(set.weir.version(), version, "--dry-run of {command:?}");
        let changed = set.weir.json(command);
        expect_schema(&changed);
        expect_keys(&changed, &["version", "before", "after"]);
        assert_eq!(changed["version"], version + 1, "{command:?}");
        assert_ne!(changed["before"], changed["after"], "{command:?}");
    }
    let history = set.weir.json(&["config", "history"]);
    expect_schema(&history);
    let row = &history["versions"][0];
    expect_keys(row, &["version", "at", "by", "summary"]);
    expect_keys(&row["by"], &["uid", "pid", "login", "role", "from"]);
}

#[test]
fn history_keeps_who_made_a_version_with_which_words_and_why() {
    let set = Plan::new(1, Script::Banner).start();
    let why = "as b1 is slow\u{1b}[2J";
    set.weir.ok(&["backend", "weight", "web/b1", "7", "-m", why]);
    let history = set.weir.json(&["config", "history"]);
    let [row, first] = [&history["versions"][0], &history["versions"][1]];
    assert_eq!(row["message"], "as b1 is slow·[2J", "{row}");
    let typed = row["claimed_command"].as_str().expect("it is a text");
    assert!(typed.contains("backend weight web/b1 7 -m 'as b1"), "{row}");
    assert_eq!((&row["parent"], &row["by"]["role"]), (&1.into(), &"admin".into()), "{row}");
    // Where the host keeps who logged in: the same as weir's own log says.
    assert!(row["by"].get("login").is_some(), "{row}");
    assert!(first["parent"].is_null() && first["message"].is_null(), "{first}");
    assert!(set.weir.ok(&["config", "history"]).contains("as b1 is slow"));
}

#[test]
fn a_mutation_for_people_says_before_after_version_and_undo() {
    let set = Plan::new(1, Script::Banner).start();
    let version = set.weir.version();
    let ran = set.weir.ctl(&["backend", "weight", "web/b1", "7"]).expect_code(0);
    let text = format!("{}{}", ran.stdout, ran.stderr);
    assert!(text.contains('1') && text.contains('7'), "{text}");
    assert!(text.contains(&(version + 1).to_string()), "no version in: {text}");
    assert!(text.contains("weirctl"), "no command to undo it in: {text}");
    assert!(!text.contains('\u{1b}'), "colour in a pipe: {text:?}");
}

#[test]
fn exit_codes() {
    let set = Plan::new(1, Script::Banner).start();
    let cases: &[(i32, &[&str])] = &[
        (0, &["status"]),
        (0, &["status", "--check"]),
        (0, &["shards"]),
        (1, &["backend", "add", "web/b2", "not-an-address"]),
        (1, &["backend", "add", "web/b1", "127.0.0.1:9"]),
        (1, &["backend", "weight", "web/b1", "9999"]),
        (1, &["pool", "set", "web", "strategy=best"]),
        (1, &["pool", "set", "web", "no-such-key=1"]),
        (2, &["frobnicate"]),
        (2, &["backend", "frobnicate"]),
        (2, &["backend", "show"]),
        (2, &["-o", "xml", "status"]),
        (4, &["backend", "show", "web/nobody"]),
        (4, &["backend", "remove", "web/nobody"]),
        (4, &["backend", "list", "nopool"]),
        (4, &["pool", "show", "nopool"]),
        (4, &["listener", "remove", "nolistener"]),
        (7, &["backend", "weight", "web/b1", "3", "--if-version", "99999"]),
        (0, &["--help"]),
        (0, &["--version"]),
    ];
    for (code, command) in cases {
        let ran = set.weir.ctl(command).expect_code(*code);
        if *code != 0 {
            assert!(!ran.stderr.is_empty(), "an error says something on stderr: {ran}");
            assert!(ran.stdout.is_empty(), "an error says nothing on stdout: {ran}");
        }
    }
    assert_eq!(set.weir.backend("web/b1")["weight"], 1, "nothing of it was done");
}

#[test]
fn an_unknown_name_gets_a_suggestion() {
    let set = Plan::new(1, Script::Banner).start();
    let ran = set.weir.ctl(&["pool", "show", "wev"]).expect_code(4);
    assert!(ran.stderr.contains("web") && ran.stderr.contains("hint"), "{ran}");
    let error = set.weir.ctl(&["-o", "json", "pool", "show", "wev"]).expect_code(4).error_json();
    expect_schema(&error);
    let error = &error["error"];
    expect_keys(error, &["code", "message", "hint", "did_you_mean"]);
    assert_eq!(error["code"], "not_found");
    assert_eq!(error["did_you_mean"], serde_json::json!(["web"]));
    let ran = set.weir.ctl(&["backend", "show", "web/b2"]).expect_code(4);
    assert!(ran.stderr.contains("web/b1"), "{ran}");
    // A verb with a slip, too.
    let ran = set.weir.ctl(&["bakend", "list"]).expect_code(2);
    assert!(ran.stderr.contains("backend"), "{ran}");
}

#[test]
fn without_a_daemon_it_is_five_and_says_how_to_start_one() {
    let dir = Dir::new();
    let weirctl = || {
        let mut command = Command::new(binary("weirctl", "WEIRCTL_BIN"));
        command.env_remove("WEIR_SOCKET");
        command
    };
    let socket = dir.entry("nobody");
    for verb in [&["status"][..], &["backend", "list"], &["backend", "remove", "web/b1"]] {
        let ran = Ran::of(weirctl().args(["-s", &socket]).args(verb)).expect_code(5);
        assert!(ran.stderr.contains(&socket) && ran.stderr.contains("weir"), "{ran}");
    }
    // The socket by the environment; a flag wins over it.
    let ran = Ran::of(weirctl().env("WEIR_SOCKET", &socket).arg("status")).expect_code(5);
    assert!(ran.stderr.contains(&socket), "{ran}");
    let set = Plan::new(1, Script::Banner).start();
    Ran::of(weirctl().env("WEIR_SOCKET", &set.weir.socket).arg("status")).expect_code(0);
    let mut both = weirctl();
    both.env("WEIR_SOCKET", &socket).args(["-s", &set.weir.socket, "status"]);
    Ran::of(&mut both).expect_code(0);
}

#[test]
fn the_control_socket_is_for_owner_and_group() {
    let set = Plan::new(1, Script::Banner).start();
    let metadata = std::fs::metadata(&set.weir.socket).expect("the socket is there");
    assert_eq!(metadata.permissions().mode() & 0o777, 0o660);
}

#[test]
fn garbage_on_the_control_socket_disturbs_nobody() {
    use std::io::{Read, Write};
    let set = Plan::new(1, Script::Banner).start();
    for seed in 0..30 {
        let stream = std::os::unix::net::UnixStream::connect(&set.weir.socket);
        let mut stream = stream.expect("the socket answers");
        let length = 1 + (usize::try_from(seed).expect("small") * 37) % 500;
        let _ = stream.write_all(&weir_tests::net::noise(seed, length));
        let _ = stream.shutdown(std::net::Shutdown::Write);
        let _ = stream.set_read_timeout(Some(weir_tests::clock::PATIENCE));
        let _ = stream.read(&mut [0; 64]);
    }
    // Silent ones hold nobody up either.
    let silent: Vec<_> = (0..50)
        .filter_map(|_| std::os::unix::net::UnixStream::connect(&set.weir.socket).ok())
        .collect();
    set.weir.ok(&["status"]);
    drop(silent);
    set.session().0.echo(b"served");
}

#[test]
fn tables_are_plain_in_a_pipe() {
    let set = Plan::new(2, Script::Banner).start();
    for command in [&["status"][..], &["backend", "list"], &["pool", "list"], &["stats"]] {
        let text = set.weir.ok(command);
        assert!(!text.contains('\u{1b}') && !text.contains('│'), "{text:?}");
    }
    let table = set.weir.ok(&["backend", "list"]);
    let head = table.lines().next().unwrap_or_default();
    assert_eq!(head, head.to_uppercase(), "header caps");
    assert!(table.contains("web/b1") && table.contains("up"), "{table}");
    assert!(set.weir.ok(&["completions", "bash"]).contains("weirctl"));
}
