//! Fault tests: how often something fails, from which seed, and what is said at the end.
//!
//! The short forms run among the stories. `scripts/faults` runs the long ones: `WEIR_FAULT_COUNT`
//! is their number of faults, `WEIR_FAULT_SEED` where they begin.

use crate::net::noise;

/// One fault test while it runs.
#[derive(Debug)]
pub struct FaultTest {
    name: &'static str,
    /// The pass criterion, in words.
    criterion: &'static str,
    pub seed: u64,
    /// How many faults, or as much of what the test counts.
    pub count: u64,
    /// The long form: minimum loads and times count.
    pub is_long: bool,
    drawn: u64,
}

/// A number of the environment.
fn number(name: &str) -> Option<u64> {
    let text = std::env::var(name).ok()?;
    Some(text.parse().unwrap_or_else(|_| panic!("{name}={text} is no number")))
}

impl FaultTest {
    /// Begins with `usual` of `what` (kills, flips), unless the environment wants another number.
    ///
    /// # Panics
    /// If the environment has no number where one should be.
    #[must_use]
    pub fn begin(
        name: &'static str,
        (usual, what): (u64, &str),
        criterion: &'static str,
    ) -> FaultTest {
        let (seed, count) = (number("WEIR_FAULT_SEED"), number("WEIR_FAULT_COUNT"));
        let is_long = count.is_some();
        let (seed, count) = (seed.unwrap_or(1), count.unwrap_or(usual));
        eprintln!("{name}: seed {seed}, {count} {what}; {criterion}");
        FaultTest { name, criterion, seed, count, is_long, drawn: 0 }
    }

    /// A number below `bound`, which the seed decides.
    pub fn draw(&mut self, bound: u64) -> u64 {
        self.drawn += 1;
        let bytes = noise(self.seed ^ (self.drawn << 20), 8);
        bytes.iter().fold(0, |number, byte| number << 8 | u64::from(*byte)) % bound
    }

    /// Says what was done, before it is judged.
    pub fn counted(&self, counts: &str) {
        eprintln!("{}: counted (seed {}): {counts}", self.name, self.seed);
    }

    /// Fails as void if there was too little of `what` to prove anything.
    ///
    /// # Panics
    /// If `load` is less than `least`.
    #[track_caller]
    pub fn at_least(&self, least: u64, load: u64, what: &str) {
        let FaultTest { name, seed, .. } = self;
        assert!(load >= least, "{name}: void: {load} {what}, {least} are needed (seed {seed})");
    }

    /// Says that every check before it has held.
    pub fn passed(&self) {
        let FaultTest { name, criterion, seed, .. } = self;
        eprintln!("{name}: passed (seed {seed}): {criterion}");
    }
}
