//! Planted bugs must be found: a simulator that lets one live lacks a checker.

use weir_engine_sim::{expect_found, quiet_panics};
use weir_sim::process::planted::Planted;
use weir_sim::run_planted;

#[test]
fn every_planted_bug_of_a_whole_process_is_found() {
    quiet_panics();
    for planted in Planted::ALL {
        expect_found(planted, |seed| run_planted(seed, planted).err().map(|it| it.to_string()));
    }
}
