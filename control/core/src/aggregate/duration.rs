//! Durations over the life of the process: a histogram that does not saturate, and their sum.

use hdrhistogram::{Counter, Histogram};
use serde::{Deserialize, Serialize};
use weir_proto::answer::Percentiles;
use weir_proto::stats::{DIGITS, DurationStats, duration_histogram};

use crate::legacy::CountedValues;

/// [`Durations`] for the next process.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub(crate) struct DurationsLegacy {
    values: CountedValues,
    sum_us: u64,
}

impl DurationsLegacy {
    /// Those that are not in `before`, an earlier state.
    pub(super) fn since(&self, before: &DurationsLegacy) -> DurationsLegacy {
        let sum_us = self.sum_us.saturating_sub(before.sum_us);
        DurationsLegacy { values: self.values.since(&before.values), sum_us }
    }
}

/// Durations in microseconds. Takes no memory to speak of until the first one.
#[derive(Clone, Debug, Default)]
pub struct Durations {
    // 64 bits: at 100,000 sessions a second a counter of 32 bits is full after half a day.
    histogram: Option<Box<Histogram<u64>>>,
    sum_us: u64,
}

impl Durations {
    /// Adds what one shard has counted.
    pub fn add(&mut self, from: &DurationStats) {
        self.sum_us += from.sum_us();
        let Some(from) = from.histogram() else { return };
        let into = self.histogram.get_or_insert_with(|| duration_histogram(DIGITS));
        for step in from.iter_recorded() {
            into.saturating_record_n(step.value_iterated_to(), u64::from(step.count_at_value()));
        }
    }

    pub(crate) fn to_legacy(&self) -> DurationsLegacy {
        let values = CountedValues::of(self.histogram.as_deref());
        DurationsLegacy { values, sum_us: self.sum_us }
    }

    pub(crate) fn add_legacy(&mut self, from: &DurationsLegacy) {
        from.values.add_to(&mut self.histogram, DIGITS);
        self.sum_us += from.sum_us;
    }

    /// How many there were.
    pub fn count(&self) -> u64 {
        self.histogram.as_ref().map_or(0, |histogram| histogram.len())
    }

    /// All of them together, in seconds.
    pub fn sum_s(&self) -> f64 {
        self.sum_us as f64 / 1e6
    }

    /// How many were at most as long as each of `bounds_us`, which must rise. Two digits are told
    /// apart, so one that is up to 1 % longer may be among them.
    pub fn at_most(&self, bounds_us: &[u64]) -> Vec<u64> {
        let mut counts = vec![0; bounds_us.len()];
        let Some(histogram) = &self.histogram else { return counts };
        for step in histogram.iter_recorded() {
            let value = histogram.lowest_equivalent(step.value_iterated_to());
            let index = bounds_us.partition_point(|bound| *bound < value);
            if let Some(count) = counts.get_mut(index) {
                *count += step.count_at_value();
            }
        }
        let mut below = 0;
        for count in &mut counts {
            below += *count;
            *count = below;
        }
        counts
    }

    /// What people read.
    pub fn percentiles(&self) -> Percentiles {
        self.histogram.as_deref().map_or_else(Percentiles::default, percentiles)
    }

    /// The time that this share of them, 0 to 1, took at most; `None` if there were none.
    pub fn quantile_s(&self, share: f64) -> Option<f64> {
        quantile_s(self.histogram.as_deref()?, share)
    }

    /// The same of those that are not in `before`, an earlier state; `None` if there are none.
    pub fn since(&self, before: &Durations) -> Option<Percentiles> {
        let now = self.histogram.as_deref()?;
        if self.count() <= before.count() {
            return None;
        }
        let Some(before) = before.histogram.as_deref() else { return Some(percentiles(now)) };
        let mut newer = now.clone();
        newer.subtract(before).ok()?;
        Some(percentiles(&newer))
    }
}

fn quantile_s<C: Counter>(histogram: &Histogram<C>, share: f64) -> Option<f64> {
    (!histogram.is_empty()).then(|| histogram.value_at_quantile(share) as f64 / 1e6)
}

pub(super) fn percentiles<C: Counter>(histogram: &Histogram<C>) -> Percentiles {
    let seconds = |share| quantile_s(histogram, share);
    Percentiles {
        count: histogram.len(),
        p50: seconds(0.5),
        p99: seconds(0.99),
        p999: seconds(0.999),
    }
}
