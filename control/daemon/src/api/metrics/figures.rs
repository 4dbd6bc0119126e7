//! Figures of the metrics page, copied on the control thread and handed to the one that writes.

use core::time::Duration;
use std::sync::Arc;

use weir_control_core::aggregate::{
    Aggregate, BackendTotals, Durations, ListenerTotals, PoolTotals, ShardTotals,
};
use weir_control_core::control::ShardHistory;
use weir_control_core::health::AgentCounts;
use weir_control_core::resolve::LookupCounts;
use weir_proto::answer::GroupRow;
use weir_proto::answer::TaskKind;
use weir_proto::counters::PoolCounts;
use weir_proto::snapshot::{Pool, Snapshot};
use weir_proto::stats::{DURATION_MAX_US, EndStats};

/// Upper bounds of the buckets of all durations, in microseconds: 1, 2.5 and 5 of each decade from
/// 100 µs to an hour.
const BOUNDS_US: [u64; 24] = [
    100,
    250,
    500,
    1_000,
    2_500,
    5_000,
    10_000,
    25_000,
    50_000,
    100_000,
    250_000,
    500_000,
    1_000_000,
    2_500_000,
    5_000_000,
    10_000_000,
    25_000_000,
    50_000_000,
    100_000_000,
    250_000_000,
    500_000_000,
    1_000_000_000,
    2_500_000_000,
    DURATION_MAX_US,
];

/// The figures of one page. [`MetricsInput::pools`] and [`MetricsInput::backends`] may be filled a
/// slice at a time.
pub struct MetricsInput {
    pub snapshot: Arc<Snapshot>,
    /// Keys in which it differs from the file as it was last applied.
    pub drift_keys: usize,
    pub is_unconfirmed: bool,
    /// By [`Cause`](weir_control_core::control::Cause).
    pub rolled_back: [u64; 2],
    /// In the snapshot's order, as are the three that follow.
    pub listeners: Vec<ListenerTotals>,
    /// How many addresses of each listener are not bound.
    pub unbound: Vec<usize>,
    pub pools: Vec<PoolFigures>,
    pub backends: Vec<BackendFigures>,
    /// Backends that are gone from the configuration and still hold sessions, by `pool/backend`.
    pub gone: Vec<(String, BackendTotals)>,
    pub shards: Vec<ShardTotals>,
    /// weir's own version.
    pub program: String,
    /// When weir started to serve, in milliseconds since 1970.
    pub started_ms: u64,
    pub events_dropped: u64,
    /// Lines of the log that were not written.
    pub log_dropped: u64,
    /// Records of the session log that were written, and that were not; `None` if there is no such
    /// log.
    pub session_log: Option<(u64, u64)>,
    pub reloads: ReloadFigures,
    pub state: StateFigures,
    /// Streams of server-sent events that are open.
    pub http_streams: usize,
    /// The longest turn of a task of the control thread, in the last one to two minutes.
    pub longest_turn: Duration,
    /// Of each shard, in order.
    pub supervised: Vec<SupervisedShard>,
    /// The most sessions of all shards together.
    pub sessions_max: u64,
    /// No new session can be served.
    pub is_full: bool,
    /// How many run, in the order of [`TaskKind::ALL`].
    pub tasks: [usize; TaskKind::ALL.len()],
}

/// The files that weir was given since the start.
#[derive(Clone, Copy, Debug, Default)]
pub struct ReloadFigures {
    /// Files that SIGHUP has applied, and that it has refused.
    pub done: u64,
    pub refused: u64,
    /// The last one was refused, and none was applied since.
    pub is_stale: bool,
    /// When one was last applied, in milliseconds since 1970.
    pub applied_ms: u64,
}

/// The state on disk.
#[derive(Clone, Copy, Debug, Default)]
pub struct StateFigures {
    pub can_write: bool,
    /// Versions that could not be written.
    pub failures: u64,
}

/// One shard's troubles since the start.
#[derive(Clone, Copy, Debug, Default)]
pub struct SupervisedShard {
    pub watched: ShardHistory,
    pub is_fenced: bool,
    /// How often it was built again after a panic.
    pub restarts: u64,
}

/// One pool.
#[derive(Clone, Debug, Default)]
pub struct PoolFigures {
    /// So few backends are up that their health is ignored.
    pub is_in_panic: bool,
    /// Its priority groups; none if it has one only.
    pub groups: Vec<GroupRow>,
    /// `None`: DNS is not asked for it.
    pub discovery: Option<DiscoveryFigures>,
    /// Sessions in which a side takes nothing for now although bytes wait for it.
    pub stalled: u64,
    /// Sessions that wait for a backend with room.
    pub queued: u64,
    pub counts: PoolCounts,
    pub queue: DurationFigures,
    pub connect: DurationFigures,
    pub first_byte: DurationFigures,
    pub session: DurationFigures,
    pub ends: EndStats,
}

/// The look-ups of a pool and what they came to.
#[derive(Clone, Copy, Debug, Default)]
pub struct DiscoveryFigures {
    pub members: u64,
    /// Seconds since the last good answer; `None`: none has come.
    pub answered_s: Option<f64>,
    pub counts: LookupCounts,
}

/// One backend.
#[derive(Clone, Copy, Debug, Default)]
pub struct BackendFigures {
    pub totals: BackendTotals,
    pub health: HealthCounts,
    /// Of its agent, if it has one.
    pub agent: Option<AgentCounts>,
}

/// One backend's health and checks since it was first heard of.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct HealthCounts {
    pub up: bool,
    /// How long it is held down still, in seconds.
    pub hold_s: f64,
    pub checks_ok: u64,
    pub checks_failed: u64,
    /// Times that it went up or down.
    pub transitions: u64,
    /// The time that all checks took together, in seconds.
    pub duration_sum_s: f64,
    /// How many checks that sum is of.
    pub duration_count: u64,
}

/// One histogram of durations.
#[derive(Clone, Debug, Default)]
pub struct DurationFigures {
    /// How many were at most as long as each of [`BOUNDS_US`]; empty if there is none.
    buckets: Vec<u64>,
    pub count: u64,
    /// All of them together, in seconds.
    pub sum_s: f64,
}

impl PoolFigures {
    /// Copies the figures of one pool.
    pub fn of(
        pool: &Pool,
        aggregate: &Aggregate,
        (is_in_panic, groups): (bool, Vec<GroupRow>),
        discovery: Option<DiscoveryFigures>,
    ) -> PoolFigures {
        let none = PoolTotals::default();
        let totals = aggregate.pool(pool.id).unwrap_or(&none);
        PoolFigures {
            is_in_panic,
            groups,
            discovery,
            stalled: aggregate.pool_stalled(pool.id),
            queued: aggregate.pool_queued(pool.id),
            counts: totals.counts,
            queue: DurationFigures::of(&totals.queue),
            connect: DurationFigures::of(&totals.connect),
            first_byte: DurationFigures::of(&totals.first_byte),
            session: DurationFigures::of(&totals.session),
            ends: totals.ends.clone(),
        }
    }
}

impl DurationFigures {
    fn of(durations: &Durations) -> DurationFigures {
        let count = durations.count();
        let buckets = if count == 0 { Vec::new() } else { durations.at_most(&BOUNDS_US) };
        DurationFigures { buckets, count, sum_s: durations.sum_s() }
    }

    /// Each bound in seconds, with how many were at most as long.
    pub(super) fn at_most(&self) -> impl Iterator<Item = (f64, u64)> {
        let count = |index| self.buckets.get(index).copied().unwrap_or(0);
        let bounds = BOUNDS_US.iter().enumerate();
        bounds.map(move |(index, bound_us)| (*bound_us as f64 / 1e6, count(index)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bounds_rise_as_at_most_wants_them() {
        assert!(BOUNDS_US.is_sorted());
    }
}
