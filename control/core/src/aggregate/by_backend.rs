//! How long connects and first bytes take, by backend: of samples, coarsely, and of those backends
//! that have any.

use std::collections::BTreeMap;

use hdrhistogram::Histogram;
use weir_core::base::clock::Now;
use weir_proto::answer::Percentiles;
use weir_proto::ids::BackendId;
use weir_proto::samples::{DurationSample, SampledPhase};
use weir_proto::stats::DURATION_MAX_US;

use super::Aggregate;
use super::duration::percentiles;
use super::recent::Recent;

/// Backends of which durations are kept: with 14 KiB each these are some 30 MiB at most. One that
/// has its first session after them has none.
const KEPT_MAX: usize = 2_048;

/// Digits that are told apart: a value may be 6 % too large.
const DIGITS: u8 = 1;

/// Durations of one backend, since the start and of the last 5 to 10 seconds.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct BackendDurations {
    pub connect: Percentiles,
    pub first_byte: Percentiles,
    pub recent_connect: Percentiles,
    pub recent_first_byte: Percentiles,
}

/// Every backend that has some.
#[derive(Default)]
pub(super) struct ByBackend(BTreeMap<BackendId, [PhaseDurations; 2]>);

/// Of one backend in one [`SampledPhase`].
struct PhaseDurations {
    all: Box<Histogram<u32>>,
    recent: Recent,
}

impl Default for PhaseDurations {
    fn default() -> PhaseDurations {
        let fresh = Histogram::new_with_bounds(1, DURATION_MAX_US, DIGITS);
        let all = Box::new(fresh.expect("the bounds are constant"));
        PhaseDurations { all, recent: Recent::new(DIGITS) }
    }
}

impl ByBackend {
    pub(super) fn add(&mut self, samples: &[DurationSample], now: Now) {
        for sample in samples {
            let room = self.0.len() < KEPT_MAX;
            if !room && !self.0.contains_key(&sample.backend) {
                continue;
            }
            let of = &mut self.0.entry(sample.backend).or_default()[index(sample.phase)];
            let us = u64::from(sample.us).clamp(1, DURATION_MAX_US);
            of.all.saturating_record(us);
            of.recent.record(us, now);
        }
    }

    pub(super) fn forget(&mut self, id: BackendId) {
        self.0.remove(&id);
    }
}

fn index(phase: SampledPhase) -> usize {
    match phase {
        SampledPhase::Connect => 0,
        SampledPhase::FirstByte => 1,
    }
}

impl Aggregate {
    /// The durations of a backend; `None` if it has had no session, or no place.
    pub fn backend_durations(&self, id: BackendId) -> Option<BackendDurations> {
        let [connect, first_byte] = self.by_backend.0.get(&id)?;
        Some(BackendDurations {
            connect: percentiles(&connect.all),
            first_byte: percentiles(&first_byte.all),
            recent_connect: connect.recent.percentiles(self.latest),
            recent_first_byte: first_byte.recent.percentiles(self.latest),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(ms: u64) -> Now {
        Now::from_nanos(ms * 1_000_000)
    }

    fn sample(backend: u32, phase: SampledPhase, us: u32) -> DurationSample {
        DurationSample { backend: BackendId(backend), phase, us }
    }

    #[test]
    fn phases_and_backends_are_told_apart_and_the_past_from_now() {
        let mut aggregate = Aggregate::new(1);
        assert_eq!(aggregate.backend_durations(BackendId(1)), None);
        let early = [
            sample(1, SampledPhase::Connect, 1_000),
            sample(1, SampledPhase::FirstByte, 800_000),
            sample(2, SampledPhase::Connect, 20),
        ];
        aggregate.by_backend.add(&early, at(1_000));
        aggregate.by_backend.add(&[sample(1, SampledPhase::Connect, 9_000)], at(60_000));
        aggregate.latest = at(60_000);
        let near = |value: Option<f64>, wanted: f64| {
            let value = value.expect("it was counted");
            assert!((value / wanted - 1.0).abs() < 0.07, "{value}, not {wanted}");
        };
        let one = aggregate.backend_durations(BackendId(1)).expect("it is kept");
        assert_eq!((one.connect.count, one.first_byte.count), (2, 1));
        near(one.connect.p50, 0.001);
        near(one.first_byte.p99, 0.8);
        near(one.recent_connect.p50, 0.009);
        assert_eq!(one.recent_first_byte, Percentiles::default(), "nothing lately is no 0");
        let two = aggregate.backend_durations(BackendId(2)).expect("it is kept");
        assert_eq!((two.connect.count, two.first_byte.count), (1, 0));
    }

    #[test]
    fn no_more_backends_have_durations_than_there_are_places() {
        let mut durations = ByBackend::default();
        let most = u32::try_from(KEPT_MAX).expect("it is small");
        for id in 0..=most {
            durations.add(&[sample(id, SampledPhase::Connect, 5)], at(0));
        }
        assert_eq!(durations.0.len(), KEPT_MAX);
        assert!(!durations.0.contains_key(&BackendId(most)));
        durations.forget(BackendId(0));
        durations.add(&[sample(most, SampledPhase::Connect, 5)], at(0));
        assert!(durations.0.contains_key(&BackendId(most)), "a place was given up");
    }
}
