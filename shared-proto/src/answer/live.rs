//! Figures once a second, for those who look on: `GET /api/v1/live`, `weirctl top`.

use serde::{Deserialize, Serialize, Serializer};

use super::{BackendRow, GroupRow, ListenerRow, Status, TaskRow, UnconfirmedRow};
use crate::spec::Strategy;

/// The current figures, and the history if it was asked for.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Live {
    pub history: Option<LiveHistory>,
    pub figures: LiveFigures,
}

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
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
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
    /// At most 512: those that are not up first, then those with the most sessions. Below them at
    /// most 64 that were removed and have sessions still.
    pub backends: Vec<LiveBackend>,
    /// All that there are, without the removed ones.
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
    /// Its priority groups; none if it has one only.
    pub groups: Vec<GroupRow>,
    pub sessions: u64,
    pub sessions_stalled: u64,
    pub sessions_queued: u64,
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

/// A row of `weirctl listener list`, and a rate of the last second. In JSON its keys are among
/// those of the row, as with [`LiveBackend`].
#[derive(Clone, Debug, PartialEq, Deserialize)]
pub struct LiveListener {
    pub row: ListenerRow,
    /// Accepted.
    pub sessions_per_s: f64,
}

/// A row of `weirctl backend list`, and rates of the last second.
#[derive(Clone, Debug, PartialEq, Deserialize)]
pub struct LiveBackend {
    pub row: BackendRow,
    pub sessions_per_s: f64,
    pub received_bytes_per_s: f64,
    pub sent_bytes_per_s: f64,
    /// Of the last 5 to 10 seconds; `None` if there was none, or if this backend has no place among
    /// those of which weir keeps durations.
    pub connect_s: Option<LivePercentiles>,
    /// The same from the accept to the first byte from the backend.
    pub first_byte_s: Option<LivePercentiles>,
}

impl Serialize for LiveListener {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        #[derive(Serialize)]
        struct FlatLiveListener<'a> {
            #[serde(flatten)]
            row: &'a ListenerRow,
            sessions_per_s: f64,
        }
        let LiveListener { row, sessions_per_s } = self;
        if !serializer.is_human_readable() {
            return (row, sessions_per_s).serialize(serializer);
        }
        FlatLiveListener { row, sessions_per_s: *sessions_per_s }.serialize(serializer)
    }
}

impl Serialize for LiveBackend {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        #[derive(Serialize)]
        struct FlatLiveBackend<'a> {
            #[serde(flatten)]
            row: &'a BackendRow,
            sessions_per_s: f64,
            received_bytes_per_s: f64,
            sent_bytes_per_s: f64,
            connect_s: Option<LivePercentiles>,
            first_byte_s: Option<LivePercentiles>,
        }
        let LiveBackend { row, connect_s, first_byte_s, .. } = self;
        let (sessions_per_s, received_bytes_per_s, sent_bytes_per_s) =
            (self.sessions_per_s, self.received_bytes_per_s, self.sent_bytes_per_s);
        let (connect_s, first_byte_s) = (*connect_s, *first_byte_s);
        if !serializer.is_human_readable() {
            let rates = (sessions_per_s, received_bytes_per_s, sent_bytes_per_s);
            return (row, rates, connect_s, first_byte_s).serialize(serializer);
        }
        FlatLiveBackend {
            row,
            sessions_per_s,
            received_bytes_per_s,
            sent_bytes_per_s,
            connect_s,
            first_byte_s,
        }
        .serialize(serializer)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::answer::{Answer, BackendState, CheckResult, CheckRow, ListenerState};
    use crate::frame::{HEADER, decode, encode};
    use crate::settings::ShownSettings;

    fn live() -> Live {
        let mut history = LiveHistory::default();
        history.push(LivePoint { at: 1.5, connect_p99_s: Some(0.25), ..LivePoint::default() });
        let listener = ListenerRow {
            name: "web".into(),
            bind: vec!["[::]:80".into()],
            pool: "web".into(),
            state: ListenerState::Open,
            sessions: 1,
            sessions_total: 2,
            unbound: Vec::new(),
            settings: ShownSettings::default(),
        };
        let backend = BackendRow {
            name: "web/b1".into(),
            address: "10.0.0.1:80".into(),
            state: BackendState::Up,
            weight: 1,
            priority: 0,
            force: None,
            sessions: 1,
            connecting: 1,
            max_sessions: None,
            connecting_max: None,
            connect_rate_per_s: None,
            sessions_total: 2,
            connect_failures_total: 3,
            received_bytes_total: 4,
            sent_bytes_total: 5,
            check: CheckRow { result: CheckResult::Ok, since_s: 6.0, hold_s: 0.0 },
            removed: false,
            discovered: false,
            agent: None,
        };
        let status = crate::answer::Status {
            version: 7,
            uptime_s: 1.0,
            program: "0.1.0".into(),
            state: crate::answer::ProcessState::Serving,
            sessions_max: 10,
            shards: Vec::new(),
            listeners: vec![listener.clone()],
            pools: Vec::new(),
            warnings: Vec::new(),
            drift_keys: 0,
            unconfirmed: None,
        };
        let figures = LiveFigures {
            at: 2.5,
            point: None,
            status,
            pools: Vec::new(),
            listeners: vec![LiveListener { row: listener, sessions_per_s: 0.5 }],
            backends: vec![LiveBackend {
                row: backend,
                sessions_per_s: 1.5,
                received_bytes_per_s: 2.5,
                sent_bytes_per_s: 3.5,
                connect_s: Some(LivePercentiles { p50: 0.1, p99: 0.2 }),
                first_byte_s: None,
            }],
            backends_total: 1,
            tasks: Vec::new(),
            unconfirmed: None,
            last_event: 9,
        };
        Live { history: Some(history), figures }
    }

    #[test]
    fn figures_cross_a_socket_and_rates_stand_among_the_keys_in_json() {
        let answer = Answer::Live(live().into());
        assert_eq!(decode::<Answer>(&encode(&answer).unwrap()[HEADER..]).unwrap(), answer);
        let json = serde_json::to_value(live().figures).unwrap();
        assert_eq!(
            (&json["listeners"][0]["name"], &json["backends"][0]["weight"]),
            (&"web".into(), &1.into())
        );
        assert_eq!(json["listeners"][0]["sessions_per_s"], 0.5);
        assert_eq!(json["backends"][0]["connect_s"]["p99"], 0.2);
        assert!(json["backends"][0]["row"].is_null());
    }
}
