//! Figures once a second, for a dashboard: `GET /api/v1/live`.

use serde::{Deserialize, Serialize};

use super::{BackendRow, ListenerRow, Status, TaskRow, UnconfirmedRow};
use crate::spec::Strategy;

/// The last 15 minutes, or as much as there is of them, oldest first: lists of one length.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct LiveHistory {
    /// Seconds from one point to the next, as a rule: `at` has the times.
    pub every_s: f64,
    /// Seconds since 1970.
    pub at: Vec<f64>,
    /// Open then.
    pub sessions: Vec<u64>,
    /// Accepted since the point before.
    pub sessions_per_s: Vec<f64>,
    /// From backends.
    pub received_bits_per_s: Vec<f64>,
    /// To backends.
    pub sent_bits_per_s: Vec<f64>,
    /// Of the connects since the point before; `None` where there was none.
    pub connect_p50_s: Vec<Option<f64>>,
    pub connect_p99_s: Vec<Option<f64>>,
}

impl LiveHistory {
    /// Adds a point at the end.
    pub fn push(&mut self, point: LivePoint) {
        self.at.push(point.at);
        self.sessions.push(point.sessions);
        self.sessions_per_s.push(point.sessions_per_s);
        self.received_bits_per_s.push(point.received_bits_per_s);
        self.sent_bits_per_s.push(point.sent_bits_per_s);
        self.connect_p50_s.push(point.connect_p50_s);
        self.connect_p99_s.push(point.connect_p99_s);
    }
}

/// One second, with the keys of [`LiveHistory`].
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct LivePoint {
    pub at: f64,
    pub sessions: u64,
    pub sessions_per_s: f64,
    pub received_bits_per_s: f64,
    pub sent_bits_per_s: f64,
    pub connect_p50_s: Option<f64>,
    pub connect_p99_s: Option<f64>,
}

/// Everything of one second.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct LiveFigures {
    /// Seconds since 1970.
    pub at: f64,
    /// The newest point of the history; `None` within the first seconds of the process.
    pub point: Option<LivePoint>,
    /// As `weirctl status` has it, with as many pools as there are below.
    pub status: Status,
    /// At most 256: those without a backend that takes sessions first, then those in panic, then
    /// those with the most sessions.
    pub pools: Vec<LivePool>,
    pub listeners: Vec<LiveListener>,
    /// At most 512: those that are not up first, then those with the most sessions.
    pub backends: Vec<LiveBackend>,
    /// All that there are.
    pub backends_total: u64,
    pub tasks: Vec<TaskRow>,
    /// Present while the current version waits for its confirmation.
    pub unconfirmed: Option<UnconfirmedRow>,
    /// The number of the newest event.
    pub last_event: u64,
}

/// Percentiles in seconds.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct LivePercentiles {
    pub p50: f64,
    pub p99: f64,
}

/// A row of `weirctl pool list` with what `weirctl stats` has of it, and rates of the last second.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct LivePool {
    pub name: String,
    pub strategy: Strategy,
    pub backends_up: u64,
    pub backends: u64,
    pub panic: bool,
    pub sessions: u64,
    pub sessions_stalled: u64,
    pub sessions_total: u64,
    pub received_bytes_total: u64,
    pub sent_bytes_total: u64,
    pub no_backend_total: u64,
    pub retries_total: u64,
    pub retry_budget_exhausted_total: u64,
    pub sessions_per_s: f64,
    pub received_bytes_per_s: f64,
    pub sent_bytes_per_s: f64,
    /// Of all connects since the start; `None` if there was none.
    pub connect_s: Option<LivePercentiles>,
}

/// A row of `weirctl listener list`, and a rate of the last second.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct LiveListener {
    #[serde(flatten)]
    pub row: ListenerRow,
    /// Accepted.
    pub sessions_per_s: f64,
}

/// A row of `weirctl backend list`, and rates of the last second.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct LiveBackend {
    #[serde(flatten)]
    pub row: BackendRow,
    pub sessions_per_s: f64,
    pub received_bytes_per_s: f64,
    pub sent_bytes_per_s: f64,
    /// Durations are kept for each pool, not for a backend: `None` so far.
    pub connect_s: Option<LivePercentiles>,
}
