//! Fifteen minutes of figures, one point a second from the start on: who looks now sees the past,
//! without a database.

use std::collections::VecDeque;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use weir_core::base::clock::Now;
use weir_proto::answer::{LiveHistory, LivePoint};

use crate::aggregate::{Aggregate, Durations, DurationsLegacy, Totals};
use crate::legacy::moment;

/// Points that are kept: those of 15 minutes.
pub const POINTS_MAX: usize = 900;
/// From one point to the next, at least.
pub const EVERY: Duration = Duration::from_secs(1);

/// The kept points, oldest first.
#[derive(Debug, Default)]
pub struct Recorded {
    points: VecDeque<(Now, LivePoint)>,
    /// Points so far, also those that are no longer kept.
    count: u64,
    before: Option<Before>,
}

/// The sums at the last point.
#[derive(Debug)]
struct Before {
    at: Now,
    totals: Totals,
    connects: Durations,
}

/// [`Recorded`] for the next process.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub(crate) struct RecordedLegacy {
    /// With when they were, in nanoseconds.
    points: Vec<(u64, LivePoint)>,
    count: u64,
    before: Option<BeforeLegacy>,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
struct BeforeLegacy {
    #[serde(with = "moment")]
    at: Now,
    totals: Totals,
    connects: DurationsLegacy,
}

impl Recorded {
    /// Everything that goes on in the next process.
    pub(crate) fn to_legacy(&self) -> RecordedLegacy {
        let before = self.before.as_ref().map(|Before { at, totals, connects }| BeforeLegacy {
            at: *at,
            totals: *totals,
            connects: connects.to_legacy(),
        });
        let points = self.points.iter().map(|(at, point)| (at.nanos, *point)).collect();
        RecordedLegacy { points, count: self.count, before }
    }

    /// Goes on from the state of the process before this one.
    pub(crate) fn take_legacy(&mut self, legacy: RecordedLegacy) {
        let RecordedLegacy { points, count, before } = legacy;
        self.points = points.into_iter().map(|(at, it)| (Now::from_nanos(at), it)).collect();
        self.count = count;
        self.before = before.map(|BeforeLegacy { at, totals, connects: from }| {
            let mut connects = Durations::default();
            connects.add_legacy(&from);
            Before { at, totals, connects }
        });
    }

    /// How many points there have been.
    pub fn count(&self) -> u64 {
        self.count
    }

    /// Adds a point if it is time for one.
    pub fn watch(&mut self, aggregate: &Aggregate, now: Now) {
        let Some(totals) = aggregate.totals() else { return };
        let connects = aggregate.connect_durations();
        let Some(before) = &mut self.before else {
            self.before = Some(Before { at: now, totals, connects: connects.clone() });
            return;
        };
        let span = now - before.at;
        if span < EVERY {
            return;
        }
        let each_s =
            |count: u64, before: u64| count.saturating_sub(before) as f64 / span.as_secs_f64();
        let seen = connects.since(&before.connects);
        let had = &before.totals;
        let point = LivePoint {
            at: 0.0,
            sessions: aggregate.sessions(),
            sessions_per_s: rounded(each_s(totals.accepted, had.accepted)),
            received_bits_per_s: rounded(8.0 * each_s(totals.received_bytes, had.received_bytes)),
            sent_bits_per_s: rounded(8.0 * each_s(totals.sent_bytes, had.sent_bytes)),
            connect_p50_s: seen.and_then(|seen| seen.p50),
            connect_p99_s: seen.and_then(|seen| seen.p99),
        };
        (before.at, before.totals) = (now, totals);
        if seen.is_some() {
            before.connects = connects.clone();
        }
        if self.points.len() == POINTS_MAX {
            self.points.pop_front();
        }
        self.points.push_back((now, point));
        self.count += 1;
    }

    /// The newest point, if there is one; now it is `wall_ms` milliseconds after 1970.
    pub fn newest(&self, now: Now, wall_ms: u64) -> Option<LivePoint> {
        self.points.back().map(|(at, point)| dated(*at, *point, now, wall_ms))
    }

    /// All of them. The clock may have been set since they were made: their times are those of the
    /// clock as it is now.
    pub fn all(&self, now: Now, wall_ms: u64) -> LiveHistory {
        let mut history = LiveHistory { every_s: EVERY.as_secs_f64(), ..LiveHistory::default() };
        for (at, point) in &self.points {
            history.push(dated(*at, *point, now, wall_ms));
        }
        history
    }
}

/// A rate to a thousandth: it is exactly the same when it was written as text and read again.
fn rounded(per_s: f64) -> f64 {
    (per_s * 1e3).round() / 1e3
}

fn dated(at: Now, point: LivePoint, now: Now, wall_ms: u64) -> LivePoint {
    let age_ms = u64::try_from((now - at).as_millis()).unwrap_or(u64::MAX);
    LivePoint { at: wall_ms.saturating_sub(age_ms) as f64 / 1e3, ..point }
}

#[cfg(test)]
mod tests {
    use super::*;
    use weir_proto::ids::{PoolId, ShardId};
    use weir_proto::stats::{ListenerStats, PoolStats, ShardStats};

    fn at(ms: u64) -> Now {
        Now::from_nanos(ms * 1_000_000)
    }

    /// A shard reports new sessions, and connects that took these microseconds.
    fn report(aggregate: &mut Aggregate, accepted: u64, connects_us: &[u64], now: Now) {
        let mut stats = ShardStats::new(ShardId(0));
        let mut listener = ListenerStats::default();
        listener.counts.accepted = accepted;
        let mut pool = PoolStats::new(PoolId(1));
        connects_us.iter().for_each(|us| pool.connect.record(*us));
        (stats.listeners, stats.pools) = (vec![listener], vec![pool]);
        stats.sessions_now = 3;
        drop(aggregate.fold(Box::new(stats), now));
    }

    #[test]
    fn a_second_is_a_point_and_what_was_not_counted_is_none() {
        let mut aggregate = Aggregate::new(1);
        let mut recorded = Recorded::default();
        recorded.watch(&aggregate, at(0));
        recorded.watch(&aggregate, at(5_000));
        assert_eq!(recorded.count(), 0, "no shard has said anything");
        report(&mut aggregate, 100, &[5_000], at(10_000));
        recorded.watch(&aggregate, at(10_000));
        assert_eq!(recorded.count(), 0, "these were counted in an unknown time");
        report(&mut aggregate, 20, &[1_000, 9_000], at(11_900));
        recorded.watch(&aggregate, at(10_999));
        recorded.watch(&aggregate, at(12_000));
        recorded.watch(&aggregate, at(13_000));
        assert_eq!(recorded.count(), 2);
        let history = recorded.all(at(14_000), 1_000_000_000);
        assert_eq!((history.every_s, history.at), (1.0, vec![999_998.0, 999_999.0]));
        assert_eq!((history.sessions, history.sessions_per_s), (vec![3, 3], vec![10.0, 0.0]));
        let [busy, quiet] = history.connect_p99_s[..] else { panic!("two points") };
        assert!(busy.is_some_and(|p99| (p99 - 0.009).abs() < 1e-4) && quiet.is_none(), "{busy:?}");
        let newest = recorded.newest(at(14_000), 2_000_000_000).expect("there is one");
        assert_eq!((newest.at, newest.connect_p50_s), (1_999_999.0, None), "the clock was set");
    }

    #[test]
    fn fifteen_minutes_are_kept() {
        let mut aggregate = Aggregate::new(1);
        let mut recorded = Recorded::default();
        report(&mut aggregate, 0, &[], at(0));
        for second in 0..1_000 {
            recorded.watch(&aggregate, at(second * 1_000));
        }
        let history = recorded.all(at(999_000), 999_000);
        assert_eq!((recorded.count(), history.at.len()), (999, POINTS_MAX));
        assert_eq!((history.at[0], history.at[899]), (100.0, 999.0));
    }
}
