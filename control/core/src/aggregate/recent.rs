//! Durations of the last seconds: what is happening now, where totals of a long life no longer
//! move.

use hdrhistogram::Histogram;
use serde::{Deserialize, Serialize};
use weir_core::base::clock::Now;
use weir_proto::answer::Percentiles;
#[cfg(doc)]
use weir_proto::stats::DURATION_MAX_US;
use weir_proto::stats::{DurationStats, duration_histogram};

use crate::legacy::CountedValues;

use super::duration::percentiles;

/// [`Recent`] for the next process.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub(super) struct RecentLegacy {
    current: CountedValues,
    before: CountedValues,
    half: u64,
}

/// Half of the time that is looked back on.
const HALF_NS: u64 = 5_000_000_000;

/// Durations in microseconds of the last 5 to 10 seconds, in two halves that take turns.
#[derive(Clone, Debug)]
pub(crate) struct Recent {
    current: Option<Box<Histogram<u32>>>,
    before: Option<Box<Histogram<u32>>>,
    /// The half of time that `current` counts: nanoseconds of the clock ÷ `HALF_NS`.
    half: u64,
    /// Digits that are told apart.
    digits: u8,
}

impl Recent {
    pub(super) fn new(digits: u8) -> Recent {
        Recent { current: None, before: None, half: 0, digits }
    }

    pub(super) fn to_legacy(&self) -> RecentLegacy {
        let [current, before] =
            [&self.current, &self.before].map(|it| CountedValues::of(it.as_deref()));
        RecentLegacy { current, before, half: self.half }
    }

    pub(super) fn take_legacy(&mut self, from: &RecentLegacy) {
        from.current.add_to(&mut self.current, self.digits);
        from.before.add_to(&mut self.before, self.digits);
        self.half = from.half;
    }

    /// Adds what one shard has counted until `now`.
    pub(super) fn add(&mut self, from: &DurationStats, now: Now) {
        let Some(from) = from.histogram() else { return };
        let into = self.half_of(now);
        for step in from.iter_recorded() {
            into.saturating_record_n(step.value_iterated_to(), step.count_at_value());
        }
    }

    /// Adds one, at most [`DURATION_MAX_US`] long.
    pub(super) fn record(&mut self, us: u64, now: Now) {
        self.half_of(now).saturating_record(us);
    }

    /// Those of now. The older ones are given up, or become the half before.
    fn half_of(&mut self, now: Now) -> &mut Histogram<u32> {
        let half = now.nanos / HALF_NS;
        if half != self.half {
            let next = if half == self.half + 1 { self.current.take() } else { None };
            (self.before, self.current, self.half) = (next, None, half);
        }
        let digits = self.digits;
        self.current.get_or_insert_with(|| duration_histogram(digits))
    }

    /// The percentiles; none if nothing was counted recently.
    pub(super) fn percentiles(&self, now: Now) -> Percentiles {
        let age = (now.nanos / HALF_NS).saturating_sub(self.half);
        let halves = [(&self.current, 0), (&self.before, 1)];
        let young = halves.into_iter().filter(|(_, older)| age + older <= 1);
        let mut young = young.filter_map(|(half, _)| half.as_deref());
        match (young.next(), young.next()) {
            (Some(one), Some(other)) => {
                let mut all = one.clone();
                all.add(other).expect("both have the same bounds");
                percentiles(&all)
            }
            (one, _) => one.map_or_else(Percentiles::default, percentiles),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_older_than_ten_seconds_is_forgotten() {
        let at = |secs: u64| Now::from_nanos(secs * 1_000_000_000);
        let one = |us: u64| {
            let mut shard = DurationStats::default();
            shard.record(us);
            shard
        };
        let mut recent = Recent::new(2);
        assert_eq!(recent.percentiles(at(100)), Percentiles::default());
        recent.add(&one(1000), at(101));
        recent.add(&one(9000), at(106));
        let both = recent.percentiles(at(108));
        assert_eq!(both.count, 2);
        let near = |value: Option<f64>, wanted: f64| (value.unwrap() - wanted).abs() < 1e-4;
        assert!(near(both.p50, 0.001) && near(both.p99, 0.009), "{both:?}");
        assert_eq!(recent.percentiles(at(111)).count, 1, "the first has gone");
        assert_eq!(recent.percentiles(at(116)).count, 0);
        recent.add(&one(5), at(200));
        assert_eq!(recent.percentiles(at(201)).count, 1);
    }
}
