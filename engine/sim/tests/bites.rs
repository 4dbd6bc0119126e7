//! Planted bugs must be found: a simulator that lets one live lacks a checker.

use weir_sim::sabotage::Mutant;
use weir_sim::{quiet_panics, run_mutant};

const SEEDS_MAX: u64 = 1000;

#[test]
fn every_planted_bug_is_found() {
    quiet_panics();
    for mutant in Mutant::ALL {
        let found = (0..SEEDS_MAX).find_map(|seed| run_mutant(seed, mutant).err());
        let failure = found.unwrap_or_else(|| panic!("{mutant:?} lives after {SEEDS_MAX} seeds"));
        println!("{mutant:?}: {}", failure.to_string().lines().next().unwrap_or_default());
    }
}
