//! How long connects and first bytes take, by backend: of samples, coarsely, and of those backends
//! that have any.

use std::collections::BTreeMap;
use std::time::Duration;

use hdrhistogram::Histogram;
use serde::{Deserialize, Serialize};
use weir_core::base::clock::Now;
use weir_proto::answer::Percentiles;
use weir_proto::ids::BackendId;
use weir_proto::samples::{DurationSample, SampledPhase};
use weir_proto::stats::{DURATION_MAX_US, duration_histogram};

use crate::legacy::{CountedValues, moment};

use super::Aggregate;
use super::duration::percentiles;
use super::recent::{Recent, RecentLegacy};

/// Backends of which durations are kept: with 14 KiB each these are some 30 MiB at most. One more
/// takes the place of one that has had no session for a minute, if there is one.
const KEPT_MAX: usize = 2_048;
const IDLE: Duration = Duration::from_mins(1);

/// Significant digits: a value may be 6 % too large.
const COARSE: u8 = 1;

/// Durations of one backend.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct BackendDurations {
    pub connect: Percentiles,
    pub first_byte: Percentiles,
}

/// Every backend that has some.
#[derive(Default)]
pub(super) struct ByBackend(BTreeMap<BackendId, KeptDurations>);

struct KeptDurations {
    /// By [`SampledPhase`].
    phases: [PhaseDurations; 2],
    latest: Now,
}

/// Of one backend in one [`SampledPhase`].
struct PhaseDurations {
    all: Box<Histogram<u32>>,
    recent: Recent,
}

/// The durations of one backend for the next process.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(super) struct BackendDurationsLegacy {
    pub(super) id: BackendId,
    phases: [PhaseLegacy; 2],
    #[serde(with = "moment")]
    latest: Now,
}

#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
struct PhaseLegacy {
    all: CountedValues,
    recent: RecentLegacy,
}

impl BackendDurationsLegacy {
    /// Those that are not in `before`, an earlier state.
    pub(super) fn since(&self, before: Option<&BackendDurationsLegacy>) -> BackendDurationsLegacy {
        let none = CountedValues::default();
        let newer = |index: usize| {
            let before = before.map_or(&none, |it| &it.phases[index].all);
            let all = self.phases[index].all.since(before);
            PhaseLegacy { all, recent: RecentLegacy::default() }
        };
        BackendDurationsLegacy { id: self.id, phases: [newer(0), newer(1)], latest: self.latest }
    }
}

impl Default for PhaseDurations {
    fn default() -> PhaseDurations {
        PhaseDurations { all: duration_histogram(COARSE), recent: Recent::new(COARSE) }
    }
}

impl ByBackend {
    pub(super) fn add(&mut self, samples: &[DurationSample], now: Now) {
        // Looked for once a box at most.
        let mut idle: Option<Vec<BackendId>> = None;
        for sample in samples {
            if self.0.len() >= KEPT_MAX && !self.0.contains_key(&sample.backend) {
                let idle = idle.get_or_insert_with(|| self.idle(now));
                let Some(place) = idle.pop() else { continue };
                self.0.remove(&place);
            }
            let fresh = || KeptDurations { phases: Default::default(), latest: now };
            let kept = self.0.entry(sample.backend).or_insert_with(fresh);
            kept.latest = now;
            let of = &mut kept.phases[index(sample.phase)];
            let us = u64::from(sample.us).clamp(1, DURATION_MAX_US);
            of.all.saturating_record(us);
            of.recent.record(us, now);
        }
    }

    pub(super) fn to_legacy(&self) -> Vec<BackendDurationsLegacy> {
        let phase = |it: &PhaseDurations| PhaseLegacy {
            all: CountedValues::of(Some(&it.all)),
            recent: it.recent.to_legacy(),
        };
        let row = |(id, kept): (&BackendId, &KeptDurations)| BackendDurationsLegacy {
            id: *id,
            phases: kept.phases.each_ref().map(phase),
            latest: kept.latest,
        };
        self.0.iter().map(row).collect()
    }

    /// Adds what another process has kept, as far as there is room.
    pub(super) fn add_legacy(&mut self, from: &[BackendDurationsLegacy]) {
        for row in from {
            if self.0.len() >= KEPT_MAX && !self.0.contains_key(&row.id) {
                continue;
            }
            let fresh = || KeptDurations { phases: Default::default(), latest: row.latest };
            let kept = self.0.entry(row.id).or_insert_with(fresh);
            kept.latest = kept.latest.max(row.latest);
            for (into, from) in kept.phases.iter_mut().zip(&row.phases) {
                from.all.record(&mut into.all);
                if from.recent != RecentLegacy::default() {
                    into.recent.take_legacy(&from.recent);
                }
            }
        }
    }

    fn idle(&self, now: Now) -> Vec<BackendId> {
        let idle = self.0.iter().filter(|(_, kept)| now - kept.latest >= IDLE);
        idle.map(|(id, _)| *id).collect()
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
    /// The durations of a backend since the start; `None` if it has had no session, or no place.
    pub fn backend_durations(&self, id: BackendId) -> Option<BackendDurations> {
        let [connect, first_byte] = &self.by_backend.0.get(&id)?.phases;
        Some(BackendDurations {
            connect: percentiles(&connect.all),
            first_byte: percentiles(&first_byte.all),
        })
    }

    /// Those of the last 5 to 10 seconds.
    pub fn recent_durations(&self, id: BackendId) -> Option<BackendDurations> {
        let [connect, first_byte] = &self.by_backend.0.get(&id)?.phases;
        Some(BackendDurations {
            connect: connect.recent.percentiles(self.latest),
            first_byte: first_byte.recent.percentiles(self.latest),
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
        let now = aggregate.recent_durations(BackendId(1)).expect("it is kept");
        near(now.connect.p50, 0.009);
        assert_eq!(now.first_byte, Percentiles::default(), "nothing lately is no 0");
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
        // All others have had none for a minute: their places are for those who have.
        durations.add(&[sample(most, SampledPhase::Connect, 5)], at(59_000));
        let fresh: Vec<_> =
            (1..most).map(|id| sample(most + id, SampledPhase::Connect, 5)).collect();
        durations.add(&fresh, at(61_000));
        assert!(durations.0.contains_key(&BackendId(most + 1)), "it took an idle one's place");
        assert!(durations.0.contains_key(&BackendId(most)), "that one was not idle");
        assert_eq!(durations.0.len(), KEPT_MAX);
    }
}
