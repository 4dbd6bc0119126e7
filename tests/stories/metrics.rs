//! What Prometheus, a health check and a browser see on the admin address.

use std::io::Write;
use std::process::{Command, Stdio};

use rustix::process::Signal;
use weir_tests::clock;
use weir_tests::net::Script;
use weir_tests::story::{Plan, Set};
use weir_tests::weir::{Ran, binary};

const NAMES: &[&str] = &[
    "weir_build_info",
    "weir_start_time_seconds",
    "weir_config_version",
    "weir_config_drift_keys",
    "weir_config_unconfirmed",
    "weir_config_rollbacks_total",
    "weir_config_last_reload_successful",
    "weir_config_last_reload_success_timestamp_seconds",
    "weir_reloads_total",
    "weir_state_writable",
    "weir_state_write_failures_total",
    "weir_http_streams",
    "weir_pool_available",
    "weir_pool_backends_available",
    "weir_listener_sessions_accepted_total",
    "weir_listener_sessions_rejected_total",
    "weir_listener_sessions",
    "weir_pool_backends",
    "weir_pool_picks_total",
    "weir_pool_no_backend_total",
    "weir_pool_retries_total",
    "weir_pool_sessions_stalled",
    "weir_pool_sessions_queued",
    "weir_pool_queued_total",
    "weir_queue_duration_seconds",
    "weir_backend_up",
    "weir_backend_state",
    "weir_backend_weight",
    "weir_backend_sessions",
    "weir_backend_sessions_total",
    "weir_backend_connect_failures_total",
    "weir_backend_early_closes_total",
    "weir_backend_received_bytes_total",
    "weir_backend_sent_bytes_total",
    "weir_backend_health_checks_total",
    "weir_backend_health_check_duration_seconds",
    "weir_backend_health_transitions_total",
    "weir_connect_duration_seconds",
    "weir_first_byte_duration_seconds",
    "weir_session_duration_seconds",
    "weir_session_ends_total",
    "weir_shard_busy_seconds_total",
    "weir_shard_turns_total",
    "weir_shard_enters_total",
    "weir_shard_completions_total",
    "weir_shard_cq_overflow_total",
    "weir_shard_buffers_free",
    "weir_shard_starved_total",
    "weir_shard_reserved_total",
    "weir_shard_pipes_refused_total",
    "weir_shard_fruitless_watches_total",
    "weir_shard_sessions",
    "weir_shard_version",
    "weir_events_dropped_total",
    "weir_log_dropped_total",
    "weir_control_longest_turn_seconds",
    "process_cpu_seconds_total",
    "process_resident_memory_bytes",
    "process_open_fds",
    "process_max_fds",
    "process_start_time_seconds",
];

fn busy_set() -> weir_tests::story::Set {
    let health = r#"{ kind = "tcp", interval = "100ms", timeout = "100ms", rise = 1, fall = 1 }"#;
    let mut set = Plan::new(2, Script::Banner).health(health).start();
    for _ in 0..20 {
        set.session().0.echo(b"x").fin().expect_fin();
    }
    set.backends[1].pause();
    set.weir.wait_state("web/b2", "down");
    set
}

#[test]
fn every_name_of_the_interface_is_there() {
    let set = busy_set();
    let page = set.weir.get("/metrics");
    assert_eq!(page.status, 200);
    assert!(page.head.contains("content-type: text/plain"), "{}", page.head);
    let declared = |name: &str| page.body.contains(&format!("# TYPE {name} "));
    // A counter may be declared with or without its suffix, as OpenMetrics does.
    let missing: Vec<_> = NAMES
        .iter()
        .filter(|name| !declared(name) && !declared(name.trim_end_matches("_total")))
        .collect();
    assert!(missing.is_empty(), "missing: {missing:?} in\n{}", page.body);
    assert!(!page.body.contains("127.0.0.1:"), "an address of a client in\n{}", page.body);
}

#[test]
fn promtool_finds_nothing_to_mend() {
    let set = busy_set();
    let page = set.weir.get("/metrics");
    let mut child = Command::new("promtool")
        .args(["check", "metrics"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("promtool is installed (Debian: prometheus; ./scripts/test installs it)");
    let mut stdin = child.stdin.take().expect("a pipe");
    stdin.write_all(page.body.as_bytes()).expect("promtool reads");
    drop(stdin);
    let output = child.wait_with_output().expect("promtool ends");
    let said = [output.stdout, output.stderr].concat();
    let said = String::from_utf8_lossy(&said).into_owned();
    assert!(output.status.success() && said.trim().is_empty(), "{said}\n{}", page.body);
}

/// The value of the first sample whose line starts so and has all of these labels.
fn sample(text: &str, name: &str, labels: &[&str]) -> Option<f64> {
    let fits = |line: &&str| {
        line.split(['{', ' ']).next() == Some(name) && labels.iter().all(|l| line.contains(l))
    };
    text.lines().find(fits)?.rsplit(' ').next()?.parse().ok()
}

#[test]
fn bytes_count_while_the_session_is_open() {
    let set = Plan::new(1, Script::ByHand).start();
    let (mut client, mut server) = set.pair();
    client.send(&[1; 12_345]);
    server.take(12_345);
    server.send(&[1; 54_321]);
    client.take(54_321);
    let value = |name: &str| {
        let labels = ["pool=\"web\"", "backend=\"b1\""];
        let page = set.weir.get("/metrics");
        // The backend's label is its name alone or with its pool: both are bounded.
        sample(&page.body, name, &labels)
            .or_else(|| sample(&page.body, name, &["backend=\"web/b1\""]))
            .unwrap_or(-1.0)
    };
    let is = |value: f64, whole: f64| (value - whole).abs() < 0.5;
    clock::wait_for("the bytes sent", || is(value("weir_backend_sent_bytes_total"), 12_345.0));
    clock::wait_for("the bytes received", || {
        is(value("weir_backend_received_bytes_total"), 54_321.0)
    });
    assert!(is(value("weir_backend_sessions"), 1.0));
}

/// A metric without labels.
fn plain(set: &Set, name: &str) -> f64 {
    let page = set.weir.get("/metrics").body;
    sample(&page, name, &[]).unwrap_or_else(|| panic!("no {name} in\n{page}"))
}

fn wait_plain(set: &Set, name: &str, wanted: f64) {
    clock::wait_for(name, || (plain(set, name) - wanted).abs() < 0.5);
}

#[test]
fn a_refused_file_counts_until_one_is_applied() {
    let set = Plan::new(1, Script::Banner).start();
    let ok = "weir_config_last_reload_successful";
    let at = "weir_config_last_reload_success_timestamp_seconds";
    let started = plain(&set, "weir_start_time_seconds");
    wait_plain(&set, ok, 1.0);
    assert!((plain(&set, at) - started).abs() < 0.01, "the start counts");
    let good = set.weir.file("good.toml", &set.objects);
    let reload = |objects: &str| {
        set.weir.write(objects);
        set.weir.signal(Signal::HUP);
    };
    reload("[listener.web]\nbind = 7\n");
    wait_plain(&set, ok, 0.0);
    assert!((plain(&set, at) - started).abs() < 0.01, "nothing was applied");
    let _ = set.weir.ctl(&["config", "apply", &good, "--dry-run"]).expect_code(0);
    set.weir.ok(&["backend", "weight", "web/b1", "3"]);
    assert!(plain(&set, ok) < 0.5, "no file was applied");
    set.weir.ok(&["config", "apply", &good]);
    wait_plain(&set, ok, 1.0);
    assert!(plain(&set, at) > started, "a file was applied");
    reload("no file");
    wait_plain(&set, ok, 0.0);
    reload(&set.objects);
    wait_plain(&set, ok, 1.0);
}

#[test]
fn a_state_that_cannot_be_written_shows() {
    let set = Plan::new(1, Script::Banner).start();
    let (writable, failures) = ("weir_state_writable", "weir_state_write_failures_total");
    wait_plain(&set, writable, 1.0);
    let (here, away) = (set.weir.dir.path.join("state"), set.weir.dir.path.join("away"));
    std::fs::rename(&here, &away).expect("it can be moved");
    // It is looked at once a second, without any change.
    wait_plain(&set, writable, 0.0);
    set.weir.ctl(&["backend", "weight", "web/b1", "2"]).expect_code(1);
    wait_plain(&set, failures, 1.0);
    std::fs::rename(&away, &here).expect("it can be moved back");
    wait_plain(&set, writable, 1.0);
    set.weir.ok(&["backend", "weight", "web/b1", "2"]);
    assert!((plain(&set, failures) - 1.0).abs() < 0.5);
}

#[test]
fn open_streams_are_counted() {
    let set = Plan::new(1, Script::Banner).start();
    let name = "weir_http_streams";
    wait_plain(&set, name, 0.0);
    let mut streams: Vec<_> =
        ["/api/v1/events", "/api/v1/live"].iter().map(|path| set.weir.stream(path, &[])).collect();
    wait_plain(&set, name, 2.0);
    streams.pop();
    wait_plain(&set, name, 1.0);
    drop(streams);
    wait_plain(&set, name, 0.0);
}

/// A scraper that calls weir by a name is answered where the name is in `admin-hosts`.
#[test]
fn a_scraper_may_call_weir_by_a_name_of_its_own() {
    let names = "admin-hosts = [\"lb1.example.net\", \"weir.internal\"]";
    let set = Plan::new(1, Script::Banner).settings(names).start();
    let port = set.weir.admin.port();
    let said = |host: &str| set.weir.get_as(host, "/metrics");
    for host in
        [format!("lb1.example.net:{port}"), "LB1.example.net".into(), "weir.internal".into()]
    {
        assert_eq!(said(&host).status, 200, "{host}");
    }
    for host in ["lb2.example.net", "lb1.example.net.evil.example", "example.net"] {
        let page = said(host);
        assert_eq!(page.status, 421, "{host}");
        assert!(page.body.contains("admin-hosts"), "the way out is missing: {}", page.body);
    }
    // A port or a scheme is no part of a name.
    let wrong = set.weir.dir.write("wrong.toml", "[weir]\nadmin-hosts = [\"lb1:9650\"]\n");
    let ran = Ran::of(Command::new(binary("weir", "WEIR_BIN")).args(["check", &wrong]));
    assert!(ran.code == 1 && ran.stderr.contains("admin-hosts"), "{ran}");
}

#[test]
fn healthz_and_readyz() {
    let set = Plan::new(1, Script::Banner).start();
    assert_eq!(set.weir.get("/healthz").status, 200);
    assert_eq!(set.weir.get("/readyz").status, 200);
    set.weir.ok(&["backend", "maint", "web/b1", "--yes"]);
    clock::wait_for("readyz to say no", || set.weir.get("/readyz").status == 503);
    assert_eq!(set.weir.get("/healthz").status, 200);
    set.weir.ok(&["backend", "ready", "web/b1"]);
    clock::wait_for("readyz to say yes", || set.weir.get("/readyz").status == 200);
    assert_eq!(set.weir.get("/no/such/page").status, 404);
}

#[test]
fn a_foreign_host_is_turned_away() {
    let set = Plan::new(1, Script::Banner).start();
    for host in ["evil.example", "evil.example:80", "127.0.0.1.evil.example"] {
        let page = set.weir.get_as(host, "/metrics");
        assert!([400, 403, 421].contains(&page.status), "{host}: {}", page.status);
        assert!(!page.body.contains("weir_"), "{host} was answered");
    }
    let port = set.weir.admin.port();
    for host in [set.weir.admin.to_string(), format!("localhost:{port}")] {
        assert_eq!(set.weir.get_as(&host, "/metrics").status, 200, "{host}");
    }
    let head = set.weir.get("/metrics").head;
    assert!(!head.contains("access-control-allow-origin"), "{head}");
}
