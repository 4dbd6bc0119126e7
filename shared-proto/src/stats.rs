//! What one shard has counted since it was last asked, and how control adds it up.
//!
//! Counters here are *differences*: a shard hands over the whole box and goes on with an empty one,
//! so nothing is copied on its thread and nothing is counted twice. Fields called `*_now` are
//! gauges, filled in when the box is handed over.

use hdrhistogram::Histogram;

use crate::ids::{BackendId, ListenerId, PoolId, ShardId, Version};
use crate::reason::{CloseReason, ConnectFault};

/// The largest duration that a histogram tells apart, in microseconds (an hour); longer ones count
/// as it.
pub const DURATION_MAX_US: u64 = 3_600_000_000;

/// One shard's statistics since the last box.
#[derive(Clone, Debug)]
pub struct ShardStats {
    pub shard: ShardId,
    pub version: Version,
    pub sessions_now: u32,
    pub buffers_free_now: u32,
    pub listeners: Vec<ListenerStats>,
    pub pools: Vec<PoolStats>,
    pub backends: Vec<BackendStats>,
    /// By [`CloseReason::index`].
    pub ends: Vec<u64>,
    pub turns: u64,
    /// The longest of them, in nanoseconds.
    pub turn_max_ns: u64,
    /// Those of more than 50 ms.
    pub slow_turns: u64,
    pub enters: u64,
    pub completions: u64,
    pub cq_overflow: u64,
    /// Receives that found no free buffer.
    pub starved: u64,
    /// Flows that went on with a buffer of the reserve.
    pub reserved: u64,
    /// Flows that went from buffers to a pipe.
    pub promotions: u64,
    /// Flows that went back to buffers because splice(2) moved nothing from a socket that was
    /// readable, as before an urgent byte.
    pub pipes_refused: u64,
    /// Times that a session's watches told again and again and no byte moved, so that they were
    /// left alone for a moment.
    pub fruitless_watches: u64,
    /// Bytes that pipes have moved, counted as the backends' bytes are.
    pub spliced_bytes: u64,
    /// Nanoseconds in which the loop was not waiting.
    pub busy_ns: u64,
}

/// One listener on one shard.
#[derive(Clone, Debug, Default)]
pub struct ListenerStats {
    pub id: ListenerId,
    pub sessions_now: u32,
    /// Clients in the backlog for whom there is no room.
    pub waiting_now: u32,
    pub accepted: u64,
    /// By [`Reject`].
    pub rejected: [u64; Reject::ALL.len()],
}

/// Why an accepted connection, or an attempt to accept one, did not become a session.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reject {
    /// accept(2) failed for want of descriptors or memory.
    Resources,
    /// The listener had just been drained or removed.
    Closing,
}

impl Reject {
    pub const ALL: [Reject; 2] = [Reject::Resources, Reject::Closing];

    /// The label in metrics.
    #[must_use]
    pub fn label(self) -> &'static str {
        match self {
            Reject::Resources => "resources",
            Reject::Closing => "closing",
        }
    }
}

/// One pool on one shard. Durations are in microseconds.
#[derive(Clone, Debug)]
pub struct PoolStats {
    pub id: PoolId,
    /// Sessions in which a side takes nothing for now although bytes wait for it.
    pub stalled_now: u32,
    pub picks: u64,
    pub no_backend: u64,
    pub retries: u64,
    /// Times that a retry had to wait, because there were too many at once.
    pub retry_budget_exhausted: u64,
    /// Backends that were not ejected, because too few would have been left.
    pub ejections_refused: u64,
    /// From the first SYN to the backend that took the session.
    pub connect: Histogram<u32>,
    /// From accept to the first byte from the backend.
    pub first_byte: Histogram<u32>,
    /// From accept to the end.
    pub session: Histogram<u32>,
    /// Sums of the three, in microseconds.
    pub connect_sum_us: u64,
    pub first_byte_sum_us: u64,
    pub session_sum_us: u64,
}

impl PoolStats {
    /// Nothing counted yet.
    #[must_use]
    pub fn new(id: PoolId) -> PoolStats {
        // Two digits are enough for a percentile that is read by people; the bounds are constants.
        let histogram =
            || Histogram::new_with_bounds(1, DURATION_MAX_US, 2).expect("the bounds are constant");
        PoolStats {
            id,
            stalled_now: 0,
            picks: 0,
            no_backend: 0,
            retries: 0,
            retry_budget_exhausted: 0,
            ejections_refused: 0,
            connect: histogram(),
            first_byte: histogram(),
            session: histogram(),
            connect_sum_us: 0,
            first_byte_sum_us: 0,
            session_sum_us: 0,
        }
    }

    /// Adds what another shard, or an earlier box, has counted.
    pub fn merge(&mut self, other: &PoolStats) {
        self.picks += other.picks;
        self.no_backend += other.no_backend;
        self.retries += other.retries;
        self.retry_budget_exhausted += other.retry_budget_exhausted;
        self.ejections_refused += other.ejections_refused;
        let pairs = [
            (&mut self.connect, &other.connect),
            (&mut self.first_byte, &other.first_byte),
            (&mut self.session, &other.session),
        ];
        for (into, from) in pairs {
            into.add(from).expect("both histograms have the same bounds");
        }
        self.connect_sum_us += other.connect_sum_us;
        self.first_byte_sum_us += other.first_byte_sum_us;
        self.session_sum_us += other.session_sum_us;
    }

    fn clear(&mut self) {
        self.stalled_now = 0;
        self.picks = 0;
        self.no_backend = 0;
        self.retries = 0;
        self.retry_budget_exhausted = 0;
        self.ejections_refused = 0;
        for histogram in [&mut self.connect, &mut self.first_byte, &mut self.session] {
            if !histogram.is_empty() {
                histogram.reset();
            }
        }
        self.connect_sum_us = 0;
        self.first_byte_sum_us = 0;
        self.session_sum_us = 0;
    }
}

/// One backend on one shard.
#[derive(Clone, Debug, Default)]
pub struct BackendStats {
    pub id: BackendId,
    pub sessions_now: u32,
    /// Sessions that connected to it.
    pub sessions: u64,
    /// By [`ConnectFault`].
    pub connect_failures: [u64; ConnectFault::ALL.len()],
    /// Sessions that it closed or reset before it had sent a byte.
    pub early_closes: u64,
    /// Bytes from the backend.
    pub received_bytes: u64,
    /// Bytes to the backend.
    pub sent_bytes: u64,
}

impl BackendStats {
    /// Adds the counters of another box; `sessions_now` is left alone.
    pub fn merge(&mut self, other: &BackendStats) {
        self.sessions += other.sessions;
        for (into, from) in self.connect_failures.iter_mut().zip(other.connect_failures) {
            *into += from;
        }
        self.early_closes += other.early_closes;
        self.received_bytes += other.received_bytes;
        self.sent_bytes += other.sent_bytes;
    }
}

impl ShardStats {
    /// Nothing counted yet.
    #[must_use]
    pub fn new(shard: ShardId) -> ShardStats {
        ShardStats {
            shard,
            version: Version(0),
            sessions_now: 0,
            buffers_free_now: 0,
            listeners: Vec::new(),
            pools: Vec::new(),
            backends: Vec::new(),
            ends: vec![0; CloseReason::COUNT],
            turns: 0,
            turn_max_ns: 0,
            slow_turns: 0,
            enters: 0,
            completions: 0,
            cq_overflow: 0,
            starved: 0,
            reserved: 0,
            promotions: 0,
            pipes_refused: 0,
            fruitless_watches: 0,
            spliced_bytes: 0,
            busy_ns: 0,
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
        for backend in &mut self.backends {
            *backend = BackendStats { id: backend.id, ..BackendStats::default() };
        }
        self.ends.fill(0);
        self.turns = 0;
        self.turn_max_ns = 0;
        self.slow_turns = 0;
        self.enters = 0;
        self.completions = 0;
        self.cq_overflow = 0;
        self.starved = 0;
        self.reserved = 0;
        self.promotions = 0;
        self.pipes_refused = 0;
        self.fruitless_watches = 0;
        self.spliced_bytes = 0;
        self.busy_ns = 0;
    }
}
