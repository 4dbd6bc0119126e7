//! Durations of single sessions, by backend, on their way from a shard to control.
//!
//! A histogram for each backend would take some kilobytes in every box, and there may be a hundred
//! thousand backends. So a shard hands over samples, and control keeps histograms of those backends
//! that have some.

use crate::ids::BackendId;

/// Samples of one box. If there were more, each duration has the same chance to be among them.
pub const SAMPLES_MAX: usize = 4_096;

/// The span of a session's life that a sample is of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SampledPhase {
    /// From the first SYN to the backend that took the session.
    Connect,
    /// From the accept to the first byte from the backend.
    FirstByte,
}

/// One duration.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DurationSample {
    pub backend: BackendId,
    pub phase: SampledPhase,
    /// In microseconds, 71 minutes at most.
    pub us: u32,
}

/// The samples of one box.
#[derive(Clone, Debug)]
pub struct DurationSamples {
    /// At most [`SAMPLES_MAX`].
    rows: Vec<DurationSample>,
    /// The number of durations, with those for which there was no room.
    seen: u64,
}

impl Default for DurationSamples {
    fn default() -> DurationSamples {
        // A shard allocates nothing while it runs.
        DurationSamples { rows: Vec::with_capacity(SAMPLES_MAX), seen: 0 }
    }
}

impl DurationSamples {
    /// Adds one; if the box is full, in the place of another one or not at all.
    pub fn put(&mut self, sample: DurationSample) {
        self.seen += 1;
        if self.rows.len() < SAMPLES_MAX {
            return self.rows.push(sample);
        }
        // Vitter's algorithm R, with a hash of the count for the lot.
        let place = scatter(self.seen) % self.seen;
        if let Some(row) = usize::try_from(place).ok().and_then(|place| self.rows.get_mut(place)) {
            *row = sample;
        }
    }

    #[must_use]
    pub fn rows(&self) -> &[DurationSample] {
        &self.rows
    }

    /// Empties it and keeps its memory.
    pub fn clear(&mut self) {
        self.rows.clear();
        self.seen = 0;
    }
}

/// Mixes the bits of a number (the finalizer of splitmix64, Steele et al. 2014).
fn scatter(number: u64) -> u64 {
    let mixed = (number ^ (number >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    mixed ^ (mixed >> 31)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sample(us: u32) -> DurationSample {
        DurationSample { backend: BackendId(us % 7), phase: SampledPhase::Connect, us }
    }

    #[test]
    fn of_too_many_each_has_the_same_chance() {
        let mut samples = DurationSamples::default();
        let most = u32::try_from(SAMPLES_MAX).expect("it is small");
        (0..10 * most).for_each(|us| samples.put(sample(us)));
        assert_eq!(samples.rows().len(), SAMPLES_MAX);
        for tenth in 0..10 {
            let of_it = |row: &&DurationSample| row.us / most == tenth;
            let count = samples.rows().iter().filter(of_it).count();
            // A tenth of 4,096 is 410, with a deviation of 19.
            assert!((310..=510).contains(&count), "{count} of the tenth {tenth}");
        }
        samples.clear();
        samples.put(sample(3));
        assert_eq!(samples.rows(), [sample(3)]);
    }
}
