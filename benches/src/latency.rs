//! Latencies: an HDR histogram of three digits, and the five numbers reported from it.

use hdrhistogram::Histogram;
use serde::{Deserialize, Serialize};

/// Longest latency told apart, in ns; longer ones count as this.
const LATENCY_MAX_NS: u64 = 120_000_000_000;

/// Records nanoseconds with three significant digits.
pub struct Latencies {
    histogram: Histogram<u64>,
}

/// Percentiles in microseconds.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Summary {
    pub p50_us: f64,
    pub p90_us: f64,
    pub p99_us: f64,
    pub p999_us: f64,
    pub max_us: f64,
}

impl Default for Latencies {
    fn default() -> Self {
        Self::new()
    }
}

impl Latencies {
    #[must_use]
    pub fn new() -> Self {
        let histogram = Histogram::new_with_max(LATENCY_MAX_NS, 3).expect("constant bounds");
        Self { histogram }
    }

    pub fn record(&mut self, latency_ns: u64) {
        self.histogram.saturating_record(latency_ns);
    }

    /// Takes the latencies of another one in.
    pub fn merge(&mut self, other: &Self) {
        self.histogram.add(&other.histogram).expect("the same bounds");
    }

    #[must_use]
    pub fn count(&self) -> u64 {
        self.histogram.len()
    }

    #[must_use]
    pub fn summary(&self) -> Summary {
        let at = |quantile| ns_to_us(self.histogram.value_at_quantile(quantile));
        Summary {
            p50_us: at(0.5),
            p90_us: at(0.9),
            p99_us: at(0.99),
            p999_us: at(0.999),
            max_us: ns_to_us(self.histogram.max()),
        }
    }
}

#[expect(clippy::cast_precision_loss, reason = "three digits are reported")]
fn ns_to_us(ns: u64) -> f64 {
    (ns / 100) as f64 / 10.0
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn percentiles_are_within_three_digits() {
        let mut latencies = Latencies::new();
        (1..=1_000_u64).for_each(|us| latencies.record(us * 1_000));
        let summary = latencies.summary();
        for (got, want) in [(summary.p50_us, 500.0), (summary.p99_us, 990.0)] {
            assert!((got - want).abs() <= want / 1_000.0 + 0.1, "{got} is not {want}");
        }
        assert!(summary.max_us >= 1_000.0 && summary.max_us < 1_001.0);
        assert_eq!(latencies.count(), 1_000);
    }

    #[test]
    fn too_long_and_nothing_are_no_panic() {
        let mut latencies = Latencies::new();
        assert_eq!(latencies.summary(), Summary::default());
        latencies.record(u64::MAX);
        assert!(latencies.summary().max_us >= 119_000_000.0);
    }
}
