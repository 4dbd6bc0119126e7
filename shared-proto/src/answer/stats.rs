//! Counters, rates and percentiles as people see them.

use serde::{Deserialize, Serialize};

use crate::reason::{By, During, Why};

/// `weirctl stats`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Stats {
    /// The subject: empty for the whole process, a pool, or `pool/backend`.
    pub subject: String,
    pub sessions: u64,
    pub sessions_total: u64,
    /// Over the last second.
    pub session_rate_per_s: f64,
    pub received_bytes_total: u64,
    pub sent_bytes_total: u64,
    /// Over the last second.
    pub received_bytes_per_s: f64,
    pub sent_bytes_per_s: f64,
    /// Of a backend it is of samples, 6 % too large at most, and kept for 2,048 backends: `None`
    /// of others.
    pub connect_duration_s: Option<Percentiles>,
    /// Of the last 5 to 10 seconds; not kept for a pool.
    pub connect_duration_recent_s: Option<Percentiles>,
    pub first_byte_duration_s: Option<Percentiles>,
    /// Not kept for a backend.
    pub session_duration_s: Option<Percentiles>,
    /// Why sessions ended; kept for the whole process and for each pool, not for a backend.
    pub ends: Option<Vec<EndRow>>,
    /// Sessions that a backend had and that are over.
    pub first_closes_total: FirstCloses,
    /// Sessions that a backend ended before it had sent a byte.
    pub early_closes_total: u64,
    pub connect_failures_total: ConnectFailures,
    /// The time in which bytes waited for a side and it took none, over all sessions.
    pub blocked_s_total: BySide<f64>,
    /// Bytes that a side had not acknowledged when its session ended.
    pub undelivered_bytes_total: BySide<u64>,
    pub pools: Vec<PoolStatsRow>,
}

/// Percentiles in seconds; `count` observations. Without one there is no percentile.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Percentiles {
    pub count: u64,
    pub p50: Option<f64>,
    pub p99: Option<f64>,
    pub p999: Option<f64>,
}

/// One value for each side of sessions.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct BySide<T> {
    pub client: T,
    pub backend: T,
}

impl<T> BySide<T> {
    /// Of values by [`Side`](crate::reason::Side).
    pub fn of([client, backend]: [T; 2]) -> BySide<T> {
        BySide { client, backend }
    }
}

/// Sessions by who closed first: the side whose FIN or reset came first; if neither did, who ended
/// the session.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct FirstCloses {
    pub client: u64,
    pub backend: u64,
    pub weir: u64,
    pub operator: u64,
}

/// Connects to backends that failed, by the reason.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ConnectFailures {
    pub refused: u64,
    pub timeout: u64,
    pub unreachable: u64,
    /// This host's fault: descriptors, ports, memory.
    pub local: u64,
    /// The backend took the session and closed it before its first byte; another one was tried.
    pub closed: u64,
    /// No address of the pool's `source` is on this host.
    #[serde(default)]
    pub source: u64,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct EndRow {
    pub by: By,
    pub during: During,
    pub why: Why,
    /// Two letters, as in HAProxy's logs.
    pub code: String,
    pub count: u64,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct PoolStatsRow {
    pub name: String,
    pub sessions: u64,
    /// Those of them in which a side takes nothing for now although bytes wait for it.
    pub sessions_stalled: u64,
    /// Those that wait for a backend with room.
    pub sessions_queued: u64,
    pub sessions_total: u64,
    pub received_bytes_total: u64,
    pub sent_bytes_total: u64,
    pub no_backend_total: u64,
    /// Sessions that had to wait for a backend with room.
    pub queued_total: u64,
    pub retries_total: u64,
    /// Times that a retry had to wait for its turn.
    pub retry_budget_exhausted_total: u64,
    pub connect_duration_s: Percentiles,
}
