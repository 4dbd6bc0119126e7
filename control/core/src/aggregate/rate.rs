//! Counts in a window of time, and what they come to in a second.

use weir_proto::stats::BackendStats;

/// What a window has counted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Flow {
    pub(super) sessions: u64,
    pub(super) received_bytes: u64,
    pub(super) sent_bytes: u64,
}

/// The same, each second.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Rate {
    pub sessions: f64,
    pub received_bytes: f64,
    pub sent_bytes: f64,
}

/// The open window of one shard, and the rate of the one before.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct FlowWindow {
    pub(super) window: Flow,
    pub(super) rate: Rate,
}

impl Flow {
    /// The rate of a window that was `span_ns` nanoseconds long; zeros for one of no length.
    pub(super) fn over(self, span_ns: u64) -> Rate {
        if span_ns == 0 {
            return Rate::default();
        }
        let each_s = |count: u64| count as f64 * 1e9 / span_ns as f64;
        Rate {
            sessions: each_s(self.sessions),
            received_bytes: each_s(self.received_bytes),
            sent_bytes: each_s(self.sent_bytes),
        }
    }
}

impl From<&BackendStats> for Flow {
    fn from(row: &BackendStats) -> Flow {
        Flow {
            sessions: row.counts.sessions,
            received_bytes: row.counts.received_bytes,
            sent_bytes: row.counts.sent_bytes,
        }
    }
}

impl std::ops::AddAssign for Flow {
    fn add_assign(&mut self, other: Flow) {
        self.sessions += other.sessions;
        self.received_bytes += other.received_bytes;
        self.sent_bytes += other.sent_bytes;
    }
}

impl std::iter::Sum for Rate {
    fn sum<I: Iterator<Item = Rate>>(rates: I) -> Rate {
        rates.fold(Rate::default(), |sum, rate| Rate {
            sessions: sum.sessions + rate.sessions,
            received_bytes: sum.received_bytes + rate.received_bytes,
            sent_bytes: sum.sent_bytes + rate.sent_bytes,
        })
    }
}

/// `part` of `whole`, 0 to 1.
pub(super) fn share(part: u64, whole: u64) -> f64 {
    if whole == 0 { 0.0 } else { (part as f64 / whole as f64).min(1.0) }
}
