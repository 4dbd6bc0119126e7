//! The forms in which a process hands over what it knows to the one that takes its place: moments
//! and histograms as numbers. Each module has a form of its own state beside itself, and
//! [`control::Legacy`](crate::control) is all of them together.
//!
//! Moments are those of CLOCK_MONOTONIC, which all processes of a host share.

use std::collections::BTreeMap;

use hdrhistogram::{Counter, Histogram};
use serde::{Deserialize, Serialize};
use weir_proto::stats::duration_histogram;

/// True for what need not be written: it is what a reader assumes.
pub(crate) fn is_default<T: Default + PartialEq>(value: &T) -> bool {
    *value == T::default()
}

/// A moment, in nanoseconds, for serde's `with`.
pub(crate) mod moment {
    use serde::{Deserialize, Deserializer, Serializer};
    use weir_core::base::clock::Now;

    pub(crate) fn serialize<S: Serializer>(now: &Now, to: S) -> Result<S::Ok, S::Error> {
        to.serialize_u64(now.nanos)
    }

    pub(crate) fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<Now, D::Error> {
        u64::deserialize(from).map(Now::from_nanos)
    }
}

/// The same of a moment that may be missing.
pub(crate) mod maybe_moment {
    use serde::{Deserialize, Deserializer, Serialize, Serializer};
    use weir_core::base::clock::Now;

    #[expect(clippy::ref_option, reason = "serde calls it")]
    pub(crate) fn serialize<S: Serializer>(now: &Option<Now>, to: S) -> Result<S::Ok, S::Error> {
        now.map(|now| now.nanos).serialize(to)
    }

    pub(crate) fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<Option<Now>, D::Error> {
        let nanos = Option::<u64>::deserialize(from)?;
        Ok(nanos.map(Now::from_nanos))
    }
}

/// A histogram: values with how often each was counted, rising.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub(crate) struct CountedValues(Vec<(u64, u64)>);

impl CountedValues {
    pub(crate) fn of<C: Counter>(histogram: Option<&Histogram<C>>) -> CountedValues {
        let steps = histogram.into_iter().flat_map(Histogram::iter_recorded);
        let counted = steps.map(|it| (it.value_iterated_to(), it.count_at_value().as_u64()));
        CountedValues(counted.collect())
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Adds all of them to a histogram, which is made if there are some.
    pub(crate) fn add_to<C: Counter>(&self, into: &mut Option<Box<Histogram<C>>>, digits: u8) {
        if !self.is_empty() {
            self.record(into.get_or_insert_with(|| duration_histogram(digits)));
        }
    }

    /// Adds all of them to a histogram.
    pub(crate) fn record<C: Counter>(&self, into: &mut Histogram<C>) {
        for (value, count) in &self.0 {
            let count = C::from_u64(*count).or_else(|| C::from_u64(u32::MAX.into()));
            into.saturating_record_n(*value, count.unwrap_or_else(C::zero));
        }
    }

    /// Those that are not in `before`, an earlier state.
    pub(crate) fn since(&self, before: &CountedValues) -> CountedValues {
        let before: BTreeMap<u64, u64> = before.0.iter().copied().collect();
        let newer = self.0.iter().map(|(value, count)| {
            (*value, count.saturating_sub(before.get(value).copied().unwrap_or(0)))
        });
        CountedValues(newer.filter(|(_, count)| *count > 0).collect())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use weir_proto::stats::DIGITS;

    #[test]
    fn a_histogram_is_the_same_again_and_so_is_what_came_later() {
        let mut histogram = duration_histogram::<u64>(DIGITS);
        for us in [1, 2, 300, 300, 77_123, 3_600_000_000] {
            histogram.saturating_record(us);
        }
        let before = CountedValues::of(Some(&histogram));
        histogram.saturating_record_n(77_000, 5);
        histogram.saturating_record(9);
        let after = CountedValues::of(Some(&histogram));
        let mut again = None;
        before.add_to::<u64>(&mut again, DIGITS);
        after.since(&before).add_to(&mut again, DIGITS);
        let again = again.expect("there were some");
        assert_eq!(CountedValues::of(Some(&again)), after);
        for quantile in [0.0, 0.5, 0.99, 1.0] {
            assert_eq!(again.value_at_quantile(quantile), histogram.value_at_quantile(quantile));
        }
        assert!(after.since(&after).is_empty());
    }
}
