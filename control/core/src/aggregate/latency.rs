//! The aggregate as `weirctl latency` shows it.

use weir_proto::answer::{Latency, LatencyBucket, LatencyPhase, PhaseRow};
use weir_proto::snapshot::Snapshot;

use super::{Aggregate, Durations, PoolTotals};

/// The bounds of the buckets: three a decade, up to the longest duration that is kept.
const BOUNDS_US: [u64; 27] = [
    10,
    20,
    50,
    100,
    200,
    500,
    1_000,
    2_000,
    5_000,
    10_000,
    20_000,
    50_000,
    100_000,
    200_000,
    500_000,
    1_000_000,
    2_000_000,
    5_000_000,
    10_000_000,
    20_000_000,
    50_000_000,
    100_000_000,
    200_000_000,
    500_000_000,
    1_000_000_000,
    2_000_000_000,
    3_600_000_000,
];

impl Aggregate {
    /// Returns the histograms of all pools together (`None` or empty), or of one. `None` if there
    /// is no such pool.
    pub fn latency(&self, snapshot: &Snapshot, pool: Option<&str>) -> Option<Latency> {
        let subject = pool.unwrap_or_default();
        let none = PoolTotals::default();
        let totals = match subject {
            "" => &self.all,
            name => self.pool(snapshot.pool(name)?.id).unwrap_or(&none),
        };
        let phases = [
            (LatencyPhase::Connect, &totals.connect),
            (LatencyPhase::FirstByte, &totals.first_byte),
            (LatencyPhase::Session, &totals.session),
            (LatencyPhase::Queue, &totals.queue),
        ];
        let phases = phases.into_iter().map(|(phase, durations)| row(phase, durations)).collect();
        Some(Latency { subject: subject.to_owned(), phases })
    }
}

fn row(phase: LatencyPhase, durations: &Durations) -> PhaseRow {
    let [p50_s, p90_s, p99_s, p999_s, max_s] =
        [0.5, 0.9, 0.99, 0.999, 1.0].map(|share| durations.quantile_s(share));
    let counts = durations.at_most(&BOUNDS_US);
    let bucket = |(bound, count): (&u64, u64)| LatencyBucket { le_s: *bound as f64 / 1e6, count };
    PhaseRow {
        phase,
        count: durations.count(),
        sum_s: durations.sum_s(),
        p50_s,
        p90_s,
        p99_s,
        p999_s,
        max_s,
        buckets: BOUNDS_US.iter().zip(counts).map(bucket).collect(),
    }
}

#[cfg(test)]
mod tests {
    use weir_proto::ids::PoolId;
    use weir_proto::stats::{DURATION_MAX_US, PoolStats};

    use super::*;

    #[test]
    fn a_phase_is_counted_into_every_bucket_that_holds_it() {
        let mut stats = PoolStats::new(PoolId(1));
        for us in [300, 400, 800_000, 2 * DURATION_MAX_US] {
            stats.first_byte.record(us);
        }
        let mut aggregate = Aggregate::new(1);
        aggregate.all.add(&stats);
        let found = aggregate.latency(&Snapshot::empty(), None).unwrap();
        let [connect, first_byte, ..] = found.phases.as_slice() else { panic!("{found:?}") };
        assert_eq!((connect.count, connect.p50_s, connect.max_s), (0, None, None));
        assert_eq!((first_byte.phase, first_byte.count), (LatencyPhase::FirstByte, 4));
        let at = |le_s: f64| first_byte.buckets.iter().find(|it| it.le_s == le_s).unwrap().count;
        assert_eq!([0.0002, 0.0005, 0.5, 1.0, 2000.0, 3600.0].map(at), [0, 2, 2, 3, 3, 4]);
        let max = first_byte.max_s.unwrap();
        assert!((3600.0..3640.0).contains(&max), "{max}");
        assert!(first_byte.p50_s < first_byte.p90_s, "{first_byte:?}");
    }

    #[test]
    fn a_pool_that_is_not_there_has_no_histogram() {
        assert_eq!(Aggregate::new(1).latency(&Snapshot::empty(), Some("wbe")), None);
    }

    #[test]
    fn the_bounds_rise_to_the_longest_duration() {
        assert!(BOUNDS_US.is_sorted());
        assert_eq!(BOUNDS_US.last(), Some(&DURATION_MAX_US));
    }
}
