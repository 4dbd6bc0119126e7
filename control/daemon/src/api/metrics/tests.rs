//! A page of a small but full configuration, against the eye and against promtool.

use std::io::Write;
use std::process::{Command, Stdio};
use std::sync::Arc;

use weir_core::base::clock::Now;
use weir_proto::counters::{BackendCounts, ListenerCounts};
use weir_proto::ids::{Edition, IdSource, ShardId, Version};
use weir_proto::reason::{By, CloseReason, During, Why};
use weir_proto::spec::{Admin, BackendSpec, ListenerSpec, PoolSpec, Spec};
use weir_proto::stats::{BackendStats, ListenerStats, PoolStats, ShardStats};

use super::*;
use weir_control_core::aggregate::Aggregate;
use weir_control_core::control::ShardHistory;
use weir_control_core::health::AgentCounts;
use weir_proto::snapshot::Snapshot;

/// The health of one backend: `up`, or held down.
fn health(up: bool) -> HealthCounts {
    HealthCounts {
        up,
        hold_s: if up { 0.0 } else { 7.5 },
        checks_ok: 10,
        checks_failed: 2,
        transitions: 1,
        duration_sum_s: 0.25,
        duration_count: 12,
    }
}

/// A spec with backends b1 to b4 (one drains, one is in maint), of which `left_out` is missing.
fn spec(left_out: &str) -> Spec {
    let states = [Admin::Ready, Admin::Ready, Admin::Drain, Admin::Maint];
    let backends = states.iter().zip(1..).map(|(state, number)| {
        let address = format!("10.0.0.{number}:80").parse().unwrap();
        (
            format!("b{number}").parse().unwrap(),
            BackendSpec { weight: number, state: *state, ..BackendSpec::new(address) },
        )
    });
    let mut pool = PoolSpec { backend: backends.collect(), ..PoolSpec::default() };
    pool.backend.remove(left_out);
    let listener = ListenerSpec::new("web".parse().unwrap(), vec!["127.0.0.1:80".parse().unwrap()]);
    Spec {
        listener: [("front".parse().unwrap(), listener)].into(),
        pool: [
            ("web".parse().unwrap(), pool.into()),
            ("idle".parse().unwrap(), PoolSpec::default().into()),
        ]
        .into(),
    }
}

fn counted(snapshot: &Snapshot) -> Box<ShardStats> {
    let pool = snapshot.pool("web").unwrap();
    let mut stats = Box::new(ShardStats::new(ShardId(0)));
    let edition = Edition::of(Version(1));
    (stats.edition, stats.sessions_now, stats.buffers_free_now) = (edition, 3, 40);
    (stats.counts.turns, stats.counts.enters, stats.counts.completions) = (5, 6, 7);
    (stats.counts.turn_max_ns, stats.counts.slow_turns) = (250_000_000, 4);
    (stats.counts.cq_overflow, stats.counts.starved, stats.counts.busy_ns) = (1, 2, 1_500_000_000);
    stats.counts.reserved = 1;
    (stats.counts.pipes_refused, stats.counts.fruitless_watches) = (8, 9);
    stats.listeners = vec![ListenerStats {
        id: snapshot.listeners[0].id,
        sessions_now: 3,
        waiting_now: 4,
        counts: ListenerCounts { accepted: 8, rejected: [1, 2, 0, 3] },
    }];
    let mut row = PoolStats::new(pool.id);
    (row.counts.picks, row.counts.no_backend, row.counts.retries) = (9, 1, 2);
    (row.counts.retry_budget_exhausted, row.counts.ejections_refused) = (3, 4);
    (row.stalled_now, row.queued_now, row.counts.queued) = (2, 6, 7);
    for us in [80, 300, 300, 40_000] {
        row.connect.record(us);
    }
    stats.pools = vec![row];
    stats.backends = vec![BackendStats {
        id: pool.backends[0].id,
        sessions_now: 3,
        connecting_now: 2,
        counts: BackendCounts {
            sessions: 4,
            connect_failures: [1, 0, 2, 0, 0, 0],
            capped: [5, 6],
            early_closes: 2,
            received_bytes: 1000,
            sent_bytes: 200,
            blocked_ns: [1_500_000_000, 0],
            first_closes: [4, 3, 2, 1],
            undelivered_bytes: [0, 77],
        },
    }];
    let reason = CloseReason { by: By::Weir, during: During::Relaying, why: Why::IdleTimeout };
    (0..5).for_each(|_| stats.pools[0].ends.count(reason));
    stats
}

/// The page under `spec`, after version 1 (everything there) has counted.
fn page(spec: &Spec) -> String {
    let mut ids = IdSource::default();
    let first = Snapshot::build(&self::spec(""), Version(1), &Snapshot::empty(), &mut ids).unwrap();
    let mut aggregate = Aggregate::new(2);
    aggregate.adopt(&first);
    aggregate.fold(counted(&first), Now { nanos: 1 });
    let snapshot = Snapshot::build(spec, Version(2), &first, &mut ids).unwrap();
    aggregate.adopt(&snapshot);
    let up = first.pool("web").unwrap().backends[0].id;
    let pools = snapshot
        .pools
        .iter()
        .map(|pool| PoolFigures::of(pool, &aggregate, (false, Vec::new()), None));
    let backends = snapshot.backends().map(|(_, it)| BackendFigures {
        totals: aggregate.backend(it.id),
        health: health(it.id == up),
        agent: Some(AgentCounts { answered: 5, failed: 2, local: 1 }),
    });
    let gone = aggregate.lingering_totals();
    let input = MetricsInput {
        listeners: snapshot.listeners.iter().map(|it| aggregate.listener(it.id)).collect(),
        unbound: vec![1; snapshot.listeners.len()],
        pools: pools.collect(),
        backends: backends.collect(),
        gone: gone.map(|(name, totals)| (name.to_owned(), totals)).collect(),
        shards: aggregate.shards().copied().collect(),
        program: "0.1.0".to_owned(),
        started_ms: 1_700_000_000_500,
        events_dropped: 4,
        log_dropped: 5,
        session_log: Some((7, 6)),
        reloads: ReloadFigures {
            done: 6,
            refused: 7,
            is_stale: true,
            applied_ms: 1_700_000_001_250,
        },
        state: StateFigures { can_write: false, failures: 3 },
        http_streams: 2,
        longest_turn: std::time::Duration::from_micros(1_500),
        supervised: vec![SupervisedShard {
            watched: ShardHistory { stuck: 3, fences: 2 },
            is_fenced: true,
            restarts: 1,
        }],
        sessions_max: 500,
        is_full: true,
        tasks: [1, 0, 2, 3, 1],
        drift_keys: 8,
        is_unconfirmed: true,
        rolled_back: [2, 1],
        snapshot: Arc::new(snapshot.clone()),
    };
    render(&input, &Process::read())
}

fn assert_has(page: &str, lines: &str) {
    for line in lines.lines().map(str::trim) {
        assert!(page.lines().any(|it| it == line), "no line {line:?} in\n{page}");
    }
}

#[test]
fn promtool_finds_nothing_to_say() {
    let page = page(&spec(""));
    let tool = Command::new("promtool")
        .args(["check", "metrics"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn();
    let mut tool = tool.expect("promtool is needed: Debian's package is called prometheus");
    tool.stdin.take().unwrap().write_all(page.as_bytes()).unwrap();
    let output = tool.wait_with_output().unwrap();
    let said = String::from_utf8_lossy(&output.stdout) + String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success() && said.is_empty(), "promtool: {said}\n{page}");
}

#[test]
fn the_page_of_the_whole() {
    let page = page(&spec(""));
    assert!(page.starts_with(
        "# HELP weir_build_info The version of weir that runs; always 1.\n\
         # TYPE weir_build_info gauge\n\
         weir_build_info{version=\"0.1.0\"} 1\n"
    ));
    assert_has(
        &page,
        "weir_start_time_seconds 1700000000.5
        weir_config_version 2
        weir_config_drift_keys 8
        weir_events_dropped_total 4
        weir_log_dropped_total 5
        # TYPE weir_session_log_written_total counter
        weir_session_log_written_total 7
        # TYPE weir_session_log_dropped_total counter
        weir_session_log_dropped_total 6
        # TYPE weir_reloads_total counter
        weir_reloads_total{result=\"done\"} 6
        weir_reloads_total{result=\"refused\"} 7
        weir_config_last_reload_successful 0
        weir_config_last_reload_success_timestamp_seconds 1700000001.25
        weir_state_writable 0
        weir_state_write_failures_total 3
        weir_http_streams 2
        # TYPE weir_control_longest_turn_seconds gauge
        weir_control_longest_turn_seconds 0.0015
        weir_full 1
        weir_tasks{kind=\"backend_drain\"} 1
        weir_tasks{kind=\"listener_drain\"} 0
        weir_tasks{kind=\"pool_rebalance\"} 2
        weir_tasks{kind=\"session_kill\"} 3
        weir_tasks{kind=\"config_confirm\"} 1",
    );
}

#[test]
fn the_page_of_listeners_pools_and_shards() {
    let page = page(&spec(""));
    assert_has(
        &page,
        "weir_listener_sessions_accepted_total{listener=\"front\"} 8
        weir_listener_sessions_rejected_total{listener=\"front\",reason=\"resources\"} 1
        weir_listener_sessions_rejected_total{listener=\"front\",reason=\"closing\"} 2
        weir_listener_sessions{listener=\"front\"} 3
        weir_listener_waiting{listener=\"front\"} 4
        weir_listener_unbound{listener=\"front\"} 1
        weir_listener_sessions_max{listener=\"front\"} 500
        weir_pool_backends{pool=\"web\",state=\"up\"} 1
        weir_pool_backends{pool=\"web\",state=\"down\"} 1
        weir_pool_backends{pool=\"web\",state=\"draining\"} 1
        weir_pool_backends{pool=\"web\",state=\"maint\"} 1
        weir_pool_backends{pool=\"idle\",state=\"up\"} 0
        weir_pool_available{pool=\"web\"} 1
        weir_pool_available{pool=\"idle\"} 0
        weir_pool_backends_available{pool=\"web\"} 1
        weir_pool_backends_available{pool=\"idle\"} 0
        weir_pool_picks_total{pool=\"web\"} 9
        weir_pool_no_backend_total{pool=\"web\"} 1
        weir_pool_retries_total{pool=\"web\"} 2
        weir_pool_retries_total{pool=\"idle\"} 0
        weir_pool_retry_budget_exhausted_total{pool=\"web\"} 3
        weir_pool_ejections_refused_total{pool=\"web\"} 4
        weir_pool_sessions_stalled{pool=\"web\"} 2
        weir_pool_sessions_stalled{pool=\"idle\"} 0
        weir_pool_sessions_queued{pool=\"web\"} 6
        weir_pool_queued_total{pool=\"web\"} 7
        weir_pool_panic{pool=\"web\"} 0
        weir_pool_panic{pool=\"idle\"} 0
        weir_shard_busy_seconds_total{shard=\"0\"} 1.5
        weir_shard_turn_max_seconds{shard=\"0\"} 0.25
        weir_shard_turns_total{shard=\"0\"} 5
        weir_shard_slow_turns_total{shard=\"0\"} 4
        weir_shard_enters_total{shard=\"0\"} 6
        weir_shard_completions_total{shard=\"0\"} 7
        weir_shard_cq_overflow_total{shard=\"0\"} 1
        weir_shard_starved_total{shard=\"0\"} 2
        weir_shard_reserved_total{shard=\"0\"} 1
        weir_shard_pipes_refused_total{shard=\"0\"} 8
        weir_shard_fruitless_watches_total{shard=\"0\"} 9
        weir_shard_buffers_free{shard=\"0\"} 40
        weir_shard_sessions{shard=\"0\"} 3
        weir_shard_version{shard=\"0\"} 1
        weir_shard_version{shard=\"1\"} 0
        # TYPE process_cpu_seconds_total counter",
    );
}

#[test]
fn ends_are_those_that_a_pool_had_with_their_code() {
    let page = page(&spec(""));
    let ends: Vec<_> =
        page.lines().filter(|line| line.starts_with("weir_session_ends_total{")).collect();
    let only = "weir_session_ends_total{pool=\"web\",by=\"weir\",during=\"relaying\",\
                why=\"idle_timeout\",code=\"cD\"} 5";
    assert_eq!(ends, [only]);
}

#[test]
fn the_page_of_backends() {
    let page = page(&spec(""));
    assert_has(
        &page,
        "weir_backend_up{pool=\"web\",backend=\"b1\"} 1
        weir_backend_up{pool=\"web\",backend=\"b2\"} 0
        weir_backend_state{pool=\"web\",backend=\"b1\",state=\"up\"} 1
        weir_backend_state{pool=\"web\",backend=\"b2\",state=\"up\"} 0
        weir_backend_state{pool=\"web\",backend=\"b2\",state=\"down\"} 1
        weir_backend_state{pool=\"web\",backend=\"b3\",state=\"draining\"} 1
        weir_backend_state{pool=\"web\",backend=\"b3\",state=\"up\"} 0
        weir_backend_state{pool=\"web\",backend=\"b4\",state=\"maint\"} 1
        weir_backend_state{pool=\"web\",backend=\"b4\",state=\"down\"} 0
        weir_backend_weight{pool=\"web\",backend=\"b4\"} 4
        weir_backend_sessions{pool=\"web\",backend=\"b1\"} 3
        weir_backend_sessions{pool=\"web\",backend=\"b2\"} 0
        weir_backend_sessions_total{pool=\"web\",backend=\"b1\"} 4
        weir_backend_connect_failures_total{pool=\"web\",backend=\"b1\",reason=\"refused\"} 1
        weir_backend_connect_failures_total{pool=\"web\",backend=\"b1\",reason=\"unreachable\"} 2
        weir_backend_connect_failures_total{pool=\"web\",backend=\"b1\",reason=\"local\"} 0
        weir_backend_connecting{pool=\"web\",backend=\"b1\"} 2
        weir_backend_capped_total{pool=\"web\",backend=\"b1\",limit=\"connecting\"} 5
        weir_backend_capped_total{pool=\"web\",backend=\"b1\",limit=\"connect_rate\"} 6
        weir_backend_early_closes_total{pool=\"web\",backend=\"b1\"} 2
        weir_backend_early_closes_total{pool=\"web\",backend=\"b2\"} 0
        weir_backend_received_bytes_total{pool=\"web\",backend=\"b1\"} 1000
        weir_backend_sent_bytes_total{pool=\"web\",backend=\"b1\"} 200
        weir_backend_blocked_seconds_total{pool=\"web\",backend=\"b1\",on=\"client\"} 1.5
        weir_backend_blocked_seconds_total{pool=\"web\",backend=\"b1\",on=\"backend\"} 0
        weir_backend_first_closes_total{pool=\"web\",backend=\"b1\",by=\"backend\"} 3
        weir_backend_first_closes_total{pool=\"web\",backend=\"b1\",by=\"operator\"} 1
        weir_backend_undelivered_bytes_total{pool=\"web\",backend=\"b1\",to=\"backend\"} 77
        weir_backend_health_checks_total{pool=\"web\",backend=\"b2\",result=\"ok\"} 10
        weir_backend_health_checks_total{pool=\"web\",backend=\"b2\",result=\"failed\"} 2
        weir_backend_health_check_duration_seconds_sum{pool=\"web\",backend=\"b2\"} 0.25
        weir_backend_health_check_duration_seconds_count{pool=\"web\",backend=\"b2\"} 12
        weir_backend_health_transitions_total{pool=\"web\",backend=\"b2\"} 1",
    );
}

#[test]
fn the_page_of_durations() {
    let page = page(&spec(""));
    assert_has(
        &page,
        "# TYPE weir_connect_duration_seconds histogram
        weir_connect_duration_seconds_bucket{pool=\"web\",le=\"0.0001\"} 1
        weir_connect_duration_seconds_bucket{pool=\"web\",le=\"0.00025\"} 1
        weir_connect_duration_seconds_bucket{pool=\"web\",le=\"0.0005\"} 3
        weir_connect_duration_seconds_bucket{pool=\"web\",le=\"0.025\"} 3
        weir_connect_duration_seconds_bucket{pool=\"web\",le=\"0.05\"} 4
        weir_connect_duration_seconds_bucket{pool=\"web\",le=\"3600\"} 4
        weir_connect_duration_seconds_bucket{pool=\"web\",le=\"+Inf\"} 4
        weir_connect_duration_seconds_sum{pool=\"web\"} 0.04068
        weir_connect_duration_seconds_count{pool=\"web\"} 4
        weir_first_byte_duration_seconds_bucket{pool=\"web\",le=\"+Inf\"} 0
        weir_session_duration_seconds_count{pool=\"idle\"} 0",
    );
}

#[test]
fn a_removed_backend_is_shown_while_it_has_sessions_and_never_twice() {
    let removed = page(&spec("b1"));
    assert_has(
        &removed,
        "weir_backend_sessions{pool=\"web\",backend=\"b1\"} 3
        weir_backend_sent_bytes_total{pool=\"web\",backend=\"b1\"} 200",
    );
    assert!(!removed.contains("weir_backend_up{pool=\"web\",backend=\"b1\"}"));
    let mut moved = spec("");
    let web = moved.pool.get_mut("web").unwrap();
    web.backend.get_mut("b1").unwrap().address = "10.0.0.9:80".parse().unwrap();
    let moved = page(&moved);
    let sessions = moved.lines().filter(|it| it.starts_with("weir_backend_sessions{"));
    assert_eq!(sessions.filter(|it| it.contains("\"b1\"")).count(), 1);
}
