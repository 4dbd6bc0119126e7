//! The page that Prometheus reads: every metric, its type and its help. Pure: all is handed in, and
//! copied, so that another thread makes the page.

mod agents;
mod discovery;
mod figures;
mod page;
mod process;
#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use weir_proto::answer::{BackendState, TaskKind};
use weir_proto::snapshot::{Backend, Pool};
use weir_proto::spec::Rate;

pub use figures::{
    BackendFigures, DiscoveryFigures, DurationFigures, HealthCounts, MetricsInput, PoolFigures,
    ReloadFigures, StateFigures, SupervisedShard,
};
use page::Page;
pub use process::Process;
use weir_control_core::aggregate::{BackendTotals, ShardTotals};
use weir_control_core::control::Cause;
use weir_control_core::health::AgentCounts;

/// The value of Content-Type for [`render`]'s text.
pub const CONTENT_TYPE: &str = "text/plain; version=0.0.4; charset=utf-8";

/// The page as text, in Prometheus' exposition format.
pub fn render(input: &MetricsInput, process: &Process) -> String {
    let mut page = Page::default();
    whole(&mut page, input);
    listeners(&mut page, input);
    pools(&mut page, input);
    let rows = backend_rows(input);
    backends(&mut page, &rows);
    checks(&mut page, &rows);
    durations(&mut page, input);
    shards(&mut page, &input.shards);
    troubles(&mut page, &input.supervised);
    process.render(&mut page);
    page.text()
}

fn whole(page: &mut Page, input: &MetricsInput) {
    page.gauge("weir_build_info", "The version of weir that runs; always 1.")
        .row(&[("version", input.program.as_str())], 1);
    page.gauge("weir_start_time_seconds", "When weir started to serve, in seconds since 1970.")
        .row(&[], input.started_ms as f64 / 1000.0);
    files(page, input);
    page.gauge("weir_config_version", "The version of the configuration that is in force.")
        .row(&[], input.snapshot.version);
    let help = "Keys in which what is in force differs from the file as it was last applied.";
    page.gauge("weir_config_drift_keys", help).row(&[], input.drift_keys);
    let help =
        "1 while the version in force is rolled back by itself unless it is confirmed, else 0.";
    page.gauge("weir_config_unconfirmed", help).row(&[], u8::from(input.is_unconfirmed));
    let help = "Versions that weir has rolled back by itself, by what made it do so.";
    let mut rollbacks = page.counter("weir_config_rollbacks_total", help);
    rollbacks.row(&[("cause", "time")], input.rolled_back[Cause::Time as usize]);
    rollbacks.row(&[("cause", "guard")], input.rolled_back[Cause::Guard as usize]);
    page.counter("weir_events_dropped_total", "Events that made room for newer ones.")
        .row(&[], input.events_dropped);
    let help = "Lines of the log that found no room, or could not be written.";
    page.counter("weir_log_dropped_total", help).row(&[], input.log_dropped);
    if let Some((written, dropped)) = input.session_log {
        let help = "Records of the session log that were handed to its place.";
        page.counter("weir_session_log_written_total", help).row(&[], written);
        let help = "Records of the session log for which there was no room, or that were refused.";
        page.counter("weir_session_log_dropped_total", help).row(&[], dropped);
    }
    let help = "The longest that one task has held the control thread in the last minute or two.";
    page.gauge("weir_control_longest_turn_seconds", help)
        .row(&[], input.longest_turn.as_secs_f64());
    let help = "1 while no new session can be served: no slot, descriptor or source port, else 0.";
    page.gauge("weir_full", help).row(&[], u8::from(input.is_full));
    let help = "Tasks that run now: paced drains, rebalances, kills, waits for a confirmation.";
    let mut tasks = page.gauge("weir_tasks", help);
    for (kind, count) in TaskKind::ALL.iter().zip(input.tasks) {
        tasks.row(&[("kind", kind.word())], count);
    }
    let help = "Server-sent streams that are open, such as those of a dashboard.";
    page.gauge("weir_http_streams", help).row(&[], input.http_streams);
}

/// A pool has no row for an end that it never had: there are 144 of them.
fn ends(page: &mut Page, input: &MetricsInput) {
    let help = "Sessions that ended: of which pool, by whom, during what, why, and the code of it.";
    let mut family = page.counter("weir_session_ends_total", help);
    for (pool, figures) in input.snapshot.pools.iter().zip(&input.pools) {
        for (reason, count) in figures.ends.iter() {
            let code = reason.code_text();
            let labels = [
                ("pool", pool.name.as_str()),
                ("by", reason.by.label()),
                ("during", reason.during.label()),
                ("why", reason.why.label()),
                ("code", code.as_str()),
            ];
            family.row(&labels, count);
        }
    }
}

/// The configuration on disk: the file of an operator, and weir's own state.
fn files(page: &mut Page, input: &MetricsInput) {
    let ReloadFigures { done, refused, is_stale, applied_ms } = input.reloads;
    let mut reloads = page.counter("weir_reloads_total", "SIGHUPs, by what became of the file.");
    reloads.row(&[("result", "done")], done);
    reloads.row(&[("result", "refused")], refused);
    let help = "0 after a SIGHUP whose file was refused, until a file is applied, else 1.";
    page.gauge("weir_config_last_reload_successful", help).row(&[], u8::from(!is_stale));
    let help = "When a file was last applied (by SIGHUP, weirctl or HTTP), else when weir started.";
    page.gauge("weir_config_last_reload_success_timestamp_seconds", help)
        .row(&[], applied_ms as f64 / 1000.0);
    let help = "0 while the state cannot be written, so that no change is taken, else 1.";
    page.gauge("weir_state_writable", help).row(&[], u8::from(input.state.can_write));
    let help = "Changes that were refused because the disk refused them.";
    page.counter("weir_state_write_failures_total", help).row(&[], input.state.failures);
}

fn listeners(page: &mut Page, input: &MetricsInput) {
    let names = input.snapshot.listeners.iter().map(|it| it.name.as_str());
    let rows: Vec<_> = names.zip(&input.listeners).collect();
    let counts = rows.iter().map(|(name, it)| (vec![("listener", *name)], it.counts));
    page.counters(&counts.collect::<Vec<_>>());
    let mut family = page.gauge("weir_listener_sessions", "Sessions that are open now.");
    for (name, totals) in &rows {
        family.row(&[("listener", name)], totals.sessions);
    }
    let help = "Clients in the backlog that wait for room.";
    let mut family = page.gauge("weir_listener_waiting", help);
    for (name, totals) in &rows {
        family.row(&[("listener", name)], totals.waiting);
    }
    let help = "Addresses of the listener that could not be bound yet, and are tried again.";
    let mut family = page.gauge("weir_listener_unbound", help);
    for (listener, unbound) in input.snapshot.listeners.iter().zip(&input.unbound) {
        family.row(&[("listener", listener.name.as_str())], unbound);
    }
    let help = "The most sessions at once: max-sessions, or what fits into the process.";
    let mut family = page.gauge("weir_listener_sessions_max", help);
    for listener in &input.snapshot.listeners {
        let own = listener.max_sessions.map_or(u64::MAX, u64::from);
        let most = own.min(input.sessions_max);
        family.row(&[("listener", listener.name.as_str())], most);
    }
    let help = "The most new sessions for each second, of listeners with a rate.";
    let mut family = page.gauge("weir_listener_session_rate_max", help);
    for listener in &input.snapshot.listeners {
        if let Some(rate) = listener.rate {
            family.row(&[("listener", listener.name.as_str())], rate.events());
        }
    }
}

/// An alert on 0 of these finds a pool whose clients are turned away, whatever the reason.
fn available(page: &mut Page, input: &MetricsInput) {
    let mut rest = input.backends.iter();
    let takers = |pool: &Arc<Pool>| {
        let figures = pool.backends.iter().zip(rest.by_ref());
        figures.filter(|(it, figures)| it.is_member() && figures.health.up).count()
    };
    let takers: Vec<usize> = input.snapshot.pools.iter().map(takers).collect();
    let pools = || input.snapshot.pools.iter().map(|it| it.name.as_str()).zip(&takers);
    let help = "1 if the pool has a backend that takes new sessions, else 0.";
    let mut family = page.gauge("weir_pool_available", help);
    for (pool, takers) in pools() {
        family.row(&[("pool", pool)], u8::from(*takers > 0));
    }
    let help = "Backends that take new sessions: up, ready, and of a weight above 0.";
    let mut family = page.gauge("weir_pool_backends_available", help);
    for (pool, takers) in pools() {
        family.row(&[("pool", pool)], takers);
    }
}

fn pools(page: &mut Page, input: &MetricsInput) {
    let pools = || input.snapshot.pools.iter().zip(&input.pools);
    available(page, input);
    let removed = removed(input);
    let mut family = page.gauge("weir_pool_backends", "Backends of the pool, by state.");
    let mut rest = input.backends.iter();
    for pool in &input.snapshot.pools {
        let state = |(it, figures): (&Backend, &BackendFigures)| {
            BackendState::of(it.admin, figures.health.up)
        };
        let figures = pool.backends.iter().zip(rest.by_ref());
        let states: Vec<BackendState> = figures.map(state).collect();
        for state in BackendState::ALL {
            let count = match state {
                BackendState::Removed => removed.get(pool.name.as_str()).copied().unwrap_or(0),
                _ => states.iter().filter(|it| *it == state).count(),
            };
            family.row(&[("pool", pool.name.as_str()), ("state", state.word())], count);
        }
    }
    let help = "1 while so few backends are up that their health is ignored, else 0.";
    let mut family = page.gauge("weir_pool_panic", help);
    for (pool, figures) in pools() {
        family.row(&[("pool", pool.name.as_str())], u8::from(figures.is_in_panic));
    }
    let help =
        "The part of the new sessions that a priority group gets, 0 to 1; of pools with several.";
    let mut family = page.gauge("weir_pool_priority_share", help);
    for (pool, figures) in pools() {
        for group in &figures.groups {
            let priority = group.priority.to_string();
            family.row(&[("pool", pool.name.as_str()), ("priority", &priority)], group.share);
        }
    }
    discovery::discovery(page, input);
    let help = "Sessions in which a side takes nothing for now although bytes wait for it.";
    let mut family = page.gauge("weir_pool_sessions_stalled", help);
    for (pool, figures) in pools() {
        family.row(&[("pool", pool.name.as_str())], figures.stalled);
    }
    let help = "Sessions that wait for a backend with room.";
    let mut family = page.gauge("weir_pool_sessions_queued", help);
    for (pool, figures) in pools() {
        family.row(&[("pool", pool.name.as_str())], figures.queued);
    }
    let counts = pools().map(|(pool, it)| (vec![("pool", pool.name.as_str())], it.counts));
    page.counters(&counts.collect::<Vec<_>>());
    ends(page, input);
}

/// How many backends are gone from each pool and still hold sessions.
fn removed(input: &MetricsInput) -> BTreeMap<&str, usize> {
    let mut counts = BTreeMap::new();
    for (pool, _) in input.gone.iter().filter_map(|(name, _)| name.split_once('/')) {
        *counts.entry(pool).or_default() += 1;
    }
    counts
}

/// One backend on the page.
struct BackendRow<'a> {
    pool: &'a str,
    name: &'a str,
    totals: BackendTotals,
    /// Absent for one that is gone from the configuration and still holds sessions.
    live: Option<(&'a Backend, HealthCounts)>,
    agent: Option<AgentCounts>,
}

impl BackendRow<'_> {
    fn labels(&self) -> [(&'static str, &str); 2] {
        [("pool", self.pool), ("backend", self.name)]
    }
}

fn backend_rows(input: &MetricsInput) -> Vec<BackendRow<'_>> {
    let here = input.snapshot.backends().zip(&input.backends);
    let here = here.map(|((pool, backend), figures)| BackendRow {
        pool: pool.name.as_str(),
        name: backend.name.as_str(),
        totals: figures.totals,
        live: Some((backend, figures.health)),
        agent: figures.agent,
    });
    let mut rows: Vec<_> = here.collect();
    let mut names = BTreeSet::new();
    for (name, totals) in &input.gone {
        // One whose name has a new address already: two rows of one name are no page.
        let Some((pool, name)) = name.split_once('/') else { continue };
        let pool_here = input.snapshot.pool(pool);
        let is_here = pool_here.is_some_and(|pool| pool.backend(name).is_some());
        if !is_here && names.insert((pool, name)) {
            rows.push(BackendRow { pool, name, totals: *totals, live: None, agent: None });
        }
    }
    rows
}

fn backends(page: &mut Page, rows: &[BackendRow<'_>]) {
    let live = || rows.iter().filter_map(|row| Some((row, row.live?)));
    let help = "1 if the backend is healthy, else 0.";
    let mut family = page.gauge("weir_backend_up", help);
    for (row, (_, health)) in live() {
        family.row(&row.labels(), u8::from(health.up));
    }
    let mut family =
        page.gauge("weir_backend_state", "1 for the backend's state, 0 for the others.");
    for row in rows {
        let state = |(it, health): (&Backend, HealthCounts)| BackendState::of(it.admin, health.up);
        let now = row.live.map_or(BackendState::Removed, state);
        for state in BackendState::ALL {
            let [pool, name] = row.labels();
            family.row(&[pool, name, ("state", state.word())], u8::from(*state == now));
        }
    }
    let help = "1 for the health that an operator has forced; of backends with one.";
    let mut family = page.gauge("weir_backend_forced", help);
    for (row, (backend, _)) in live() {
        let [pool, name] = row.labels();
        if let Some(force) = backend.force {
            family.row(&[pool, name, ("health", force.word())], 1);
        }
    }
    let mut family = page.gauge("weir_backend_weight", "The backend's weight.");
    for (row, (backend, _)) in live() {
        family.row(&row.labels(), backend.configured.weight);
    }
    let mut family = page.gauge("weir_backend_sessions", "Sessions that are open now.");
    for row in rows {
        family.row(&row.labels(), row.totals.sessions);
    }
    let help = "Connects to the backend that are on their way.";
    let mut family = page.gauge("weir_backend_connecting", help);
    for row in rows {
        family.row(&row.labels(), row.totals.connecting);
    }
    agents::agents(page, rows);
    backend_limits(page, rows);
    let counts = rows.iter().map(|row| (row.labels().to_vec(), row.totals.counts));
    page.counters(&counts.collect::<Vec<_>>());
}

/// Of backends that have them.
fn backend_limits(page: &mut Page, rows: &[BackendRow<'_>]) {
    type Limit = (&'static str, &'static str, fn(&Backend) -> Option<u32>);
    let limits: [Limit; 3] = [
        (
            "weir_backend_sessions_max",
            "The most sessions at once, of backends with max-sessions.",
            |it| it.max_sessions,
        ),
        (
            "weir_backend_connecting_max",
            "The most connects on their way at once, of backends with connecting.",
            |it| it.connecting,
        ),
        (
            "weir_backend_connect_rate_max",
            "The most connects that begin in a second, of backends with connect-rate.",
            |it| it.connect_rate.map(Rate::events),
        ),
    ];
    for (name, help, limit) in limits {
        let mut family = page.gauge(name, help);
        for row in rows {
            if let Some(most) = row.live.and_then(|(backend, _)| limit(backend)) {
                family.row(&row.labels(), most);
            }
        }
    }
}

fn checks(page: &mut Page, rows: &[BackendRow<'_>]) {
    let live = || rows.iter().filter_map(|row| Some((row.labels(), row.live?.1)));
    let help = "Health checks of the backend, by result.";
    let mut family = page.counter("weir_backend_health_checks_total", help);
    for ([pool, name], health) in live() {
        family.row(&[pool, name, ("result", "ok")], health.checks_ok);
        family.row(&[pool, name, ("result", "failed")], health.checks_failed);
    }
    let help = "How long health checks of the backend took.";
    let mut family = page.summary("weir_backend_health_check_duration_seconds", help);
    for (labels, health) in live() {
        family.part("_sum", &labels, health.duration_sum_s);
        family.part("_count", &labels, health.duration_count);
    }
    let help = "Seconds for which the backend is held down still, whatever its checks say.";
    let mut family = page.gauge("weir_backend_hold_seconds", help);
    for (labels, health) in live() {
        family.row(&labels, health.hold_s);
    }
    let help = "Times that the backend went up or down.";
    let mut family = page.counter("weir_backend_health_transitions_total", help);
    for (labels, health) in live() {
        family.row(&labels, health.transitions);
    }
}

fn durations(page: &mut Page, input: &MetricsInput) {
    type Kind = (&'static str, &'static str, fn(&PoolFigures) -> &DurationFigures);
    let kinds: [Kind; 4] = [
        (
            "weir_queue_duration_seconds",
            "In the queue, of sessions that waited for a backend with room and got one.",
            |it| &it.queue,
        ),
        (
            "weir_connect_duration_seconds",
            "From the first SYN to the backend that took the session.",
            |it| &it.connect,
        ),
        (
            "weir_first_byte_duration_seconds",
            "From the accept to the first byte from the backend.",
            |it| &it.first_byte,
        ),
        ("weir_session_duration_seconds", "From the accept to the end.", |it| &it.session),
    ];
    for (name, help, durations) in kinds {
        let mut family = page.histogram(name, help);
        for (pool, figures) in input.snapshot.pools.iter().zip(&input.pools) {
            let durations = durations(figures);
            let label = ("pool", pool.name.as_str());
            for (bound_s, count) in durations.at_most() {
                family.part("_bucket", &[label, ("le", &bound_s.to_string())], count);
            }
            family.part("_bucket", &[label, ("le", "+Inf")], durations.count);
            family.part("_sum", &[label], durations.sum_s);
            family.part("_count", &[label], durations.count);
        }
    }
}

fn shards(page: &mut Page, shards: &[ShardTotals]) {
    let names: Vec<String> = (0..shards.len()).map(|it| it.to_string()).collect();
    let rows = names.iter().zip(shards);
    let counts = rows.map(|(name, it)| (vec![("shard", name.as_str())], it.counts));
    page.counters(&counts.collect::<Vec<_>>());
    type ShardGauge = (&'static str, &'static str, fn(&ShardTotals) -> u64);
    let gauges: [ShardGauge; 3] = [
        ("weir_shard_buffers_free", "Receive buffers that are free now.", |it| it.buffers_free),
        ("weir_shard_sessions", "Sessions that are open now.", |it| it.sessions),
        ("weir_shard_version", "The version that the shard uses.", |it| it.edition.version.0),
    ];
    for (name, help, value) in gauges {
        let mut family = page.gauge(name, help);
        for (name, totals) in names.iter().zip(shards) {
            family.row(&[("shard", name)], value(totals));
        }
    }
}

fn troubles(page: &mut Page, shards: &[SupervisedShard]) {
    type WatchdogCounter = (&'static str, &'static str, fn(&SupervisedShard) -> u64);
    let counters: [WatchdogCounter; 3] = [
        ("weir_shard_stuck_total", "Times that the shard made no turn for 100 ms.", |it| {
            it.watched.stuck
        }),
        ("weir_shard_fences_total", "Times that a stuck shard's listeners were shut.", |it| {
            it.watched.fences
        }),
        ("weir_shard_restarts_total", "Times that the shard was built after a panic.", |it| {
            it.restarts
        }),
    ];
    for (name, help, count) in counters {
        let mut family = page.counter(name, help);
        for (number, shard) in shards.iter().enumerate() {
            family.row(&[("shard", &number.to_string())], count(shard));
        }
    }
    let help = "1 while the shard is stuck and the others take its clients, else 0.";
    let mut family = page.gauge("weir_shard_fenced", help);
    for (number, shard) in shards.iter().enumerate() {
        family.row(&[("shard", &number.to_string())], u8::from(shard.is_fenced));
    }
}
