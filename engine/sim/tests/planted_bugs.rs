//! Planted bugs must be found: a simulator that lets one live lacks a checker.

use weir_engine_sim::faulty_io::Mutant;
use weir_engine_sim::{quiet_panics, run_mutant};

const SEEDS_MAX: u64 = 1000;

fn expect_found(bug: impl core::fmt::Debug, find: impl Fn(u64) -> Option<String>) {
    let found = (0..SEEDS_MAX).find_map(find);
    let failure = found.unwrap_or_else(|| panic!("{bug:?} lives after {SEEDS_MAX} seeds"));
    println!("{bug:?}: {}", failure.lines().next().unwrap_or_default());
}

#[test]
fn every_planted_bug_at_the_seam_is_found() {
    quiet_panics();
    for mutant in Mutant::ALL {
        expect_found(mutant, |seed| run_mutant(seed, mutant).err().map(|it| it.to_string()));
    }
}
