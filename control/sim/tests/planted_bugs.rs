//! Planted bugs must be found: a simulator that lets one live lacks a checker.

use weir_engine_sim::quiet_panics;
use weir_sim::process::planted::Planted;
use weir_sim::run_planted;

const SEEDS_MAX: u64 = 1000;

fn expect_found(bug: impl core::fmt::Debug, find: impl Fn(u64) -> Option<String>) {
    let found = (0..SEEDS_MAX).find_map(find);
    let failure = found.unwrap_or_else(|| panic!("{bug:?} lives after {SEEDS_MAX} seeds"));
    println!("{bug:?}: {}", failure.lines().next().unwrap_or_default());
}

#[test]
fn every_planted_bug_of_a_whole_process_is_found() {
    quiet_panics();
    for planted in Planted::ALL {
        expect_found(planted, |seed| run_planted(seed, planted).err().map(|it| it.to_string()));
    }
}
