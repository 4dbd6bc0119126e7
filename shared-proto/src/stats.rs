//! What one shard has counted since it was last asked, and how control adds it up.
//!
//! Counters here are *differences*: a shard hands over the whole box and goes on with an empty one,
//! so nothing is copied on its thread and nothing is counted twice. Fields called `*_now` are
//! gauges, filled in when the box is handed over.

use hdrhistogram::{Counter, Histogram};

use crate::counters::{BackendCounts, ListenerCounts, PoolCounts, ShardCounts};
use crate::ids::{BackendId, Edition, ListenerId, PoolId, ShardId, Version};
use crate::reason::CloseReason;
use crate::samples::DurationSamples;
use crate::session_log::SessionRecords;

pub use crate::reason::Reject;

/// The largest duration that a histogram tells apart, in microseconds (an hour); longer ones count
/// as it.
pub const DURATION_MAX_US: u64 = 3_600_000_000;

/// Significant digits of a duration: enough for a percentile that is read by people.
pub const DIGITS: u8 = 2;

/// An empty histogram of microseconds up to [`DURATION_MAX_US`], with so exact a resolution.
///
/// # Panics
/// If `digits` is more than 5.
#[must_use]
pub fn duration_histogram<C: Counter>(digits: u8) -> Box<Histogram<C>> {
    let fresh = Histogram::new_with_bounds(1, DURATION_MAX_US, digits);
    Box::new(fresh.expect("the bounds are constant"))
}

/// One shard's statistics since the last box.
#[derive(Clone, Debug)]
pub struct ShardStats {
    pub shard: ShardId,
    /// The snapshot that it uses.
    pub edition: Edition,
    pub sessions_now: u32,
    pub buffers_free_now: u32,
    /// Open sessions by the version under which they were accepted, where there are any.
    pub generations: Vec<(Version, u32)>,
    pub listeners: Vec<ListenerStats>,
    pub pools: Vec<PoolStats>,
    pub backends: Vec<BackendStats>,
    pub counts: ShardCounts,
    pub session_log: SessionRecords,
    pub samples: DurationSamples,
}

/// One listener on one shard.
#[derive(Clone, Debug, Default)]
pub struct ListenerStats {
    pub id: ListenerId,
    pub sessions_now: u32,
    /// Clients in the backlog for whom there is no room.
    pub waiting_now: u32,
    pub counts: ListenerCounts,
}

/// One pool on one shard. Durations are in microseconds.
#[derive(Clone, Debug, Default)]
pub struct PoolStats {
    pub id: PoolId,
    /// Sessions in which a side takes nothing for now although bytes wait for it.
    pub stalled_now: u32,
    /// Sessions that wait for a backend with room.
    pub queued_now: u32,
    pub counts: PoolCounts,
    /// In the queue, of sessions that waited there and were then given to a backend.
    pub queue: DurationStats,
    /// From the first SYN to the backend that took the session.
    pub connect: DurationStats,
    /// From accept to the first byte from the backend.
    pub first_byte: DurationStats,
    /// From accept to the end.
    pub session: DurationStats,
    pub ends: EndStats,
}

/// Sessions that ended, by reason. Takes no memory to speak of until the first one.
#[derive(Clone, Debug, Default)]
pub struct EndStats {
    /// By [`CloseReason::index`]; empty if there were none.
    counts: Vec<u64>,
}

impl EndStats {
    /// Counts one.
    pub fn count(&mut self, reason: CloseReason) {
        self.counts_mut()[reason.index()] += 1;
    }

    /// Counts `count` of them.
    pub fn count_many(&mut self, reason: CloseReason, count: u64) {
        self.counts_mut()[reason.index()] += count;
    }

    /// Adds what another shard, or a later box, has counted.
    pub fn add(&mut self, other: &EndStats) {
        if !other.counts.is_empty() {
            let sums = self.counts_mut().iter_mut().zip(&other.counts);
            sums.for_each(|(sum, count)| *sum += count);
        }
    }

    /// The reasons for which sessions ended, with how many.
    pub fn iter(&self) -> impl Iterator<Item = (CloseReason, u64)> + '_ {
        CloseReason::all().zip(self.counts.iter().copied()).filter(|(_, count)| *count > 0)
    }

    fn counts_mut(&mut self) -> &mut [u64] {
        if self.counts.is_empty() {
            self.counts.resize(CloseReason::COUNT, 0);
        }
        &mut self.counts
    }
}

/// Durations in microseconds. Takes no memory to speak of until the first one: a histogram has some
/// 20 KiB, a pool three of them, and there may be thousands of pools.
#[derive(Clone, Debug, Default)]
pub struct DurationStats {
    histogram: Option<Box<Histogram<u32>>>,
    sum_us: u64,
}

impl DurationStats {
    /// Counts one.
    pub fn record(&mut self, us: u64) {
        let histogram = self.histogram.get_or_insert_with(|| duration_histogram(DIGITS));
        histogram.saturating_record(us.clamp(1, DURATION_MAX_US));
        self.sum_us += us;
    }

    /// The histogram. `None` if nothing was counted.
    #[must_use]
    pub fn histogram(&self) -> Option<&Histogram<u32>> {
        self.histogram.as_deref().filter(|histogram| !histogram.is_empty())
    }

    /// All of them together.
    #[must_use]
    pub fn sum_us(&self) -> u64 {
        self.sum_us
    }

    /// Forgets what was counted and keeps the memory.
    fn clear(&mut self) {
        if let Some(histogram) = self.histogram.as_mut().filter(|it| !it.is_empty()) {
            histogram.reset();
        }
        self.sum_us = 0;
    }
}

impl PoolStats {
    /// Nothing counted yet.
    #[must_use]
    pub fn new(id: PoolId) -> PoolStats {
        PoolStats { id, ..PoolStats::default() }
    }

    fn clear(&mut self) {
        (self.stalled_now, self.queued_now) = (0, 0);
        self.counts = PoolCounts::default();
        for durations in
            [&mut self.queue, &mut self.connect, &mut self.first_byte, &mut self.session]
        {
            durations.clear();
        }
        self.ends.counts.fill(0);
    }
}

/// One backend on one shard.
#[derive(Clone, Debug, Default)]
pub struct BackendStats {
    pub id: BackendId,
    pub sessions_now: u32,
    /// Connects that have not been answered; each is a session, too.
    pub connecting_now: u32,
    pub counts: BackendCounts,
}

impl BackendStats {
    /// True if nothing was counted and nothing is open.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.sessions_now == 0 && self.counts == BackendCounts::default()
    }
}

impl ShardStats {
    /// Nothing counted yet.
    #[must_use]
    pub fn new(shard: ShardId) -> ShardStats {
        ShardStats {
            shard,
            edition: Edition::default(),
            sessions_now: 0,
            buffers_free_now: 0,
            generations: Vec::new(),
            listeners: Vec::new(),
            pools: Vec::new(),
            backends: Vec::new(),
            counts: ShardCounts::default(),
            session_log: SessionRecords::default(),
            samples: DurationSamples::default(),
        }
    }

    /// Empties the box and keeps its memory: the rows stay, their counts become zero.
    pub fn clear(&mut self) {
        for listener in &mut self.listeners {
            *listener = ListenerStats { id: listener.id, ..ListenerStats::default() };
        }
        for pool in &mut self.pools {
            pool.clear();
        }
        for backend in self.backends.iter_mut().filter(|backend| !backend.is_empty()) {
            *backend = BackendStats { id: backend.id, ..BackendStats::default() };
        }
        self.generations.clear();
        self.counts = ShardCounts::default();
        self.session_log.rows.clear();
        self.session_log.dropped = 0;
        self.samples.clear();
    }
}
