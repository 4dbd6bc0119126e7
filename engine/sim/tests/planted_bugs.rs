//! Planted bugs must be found: a simulator that lets one live lacks a checker.

use weir_engine_sim::faulty_io::Mutant;
use weir_engine_sim::{expect_found, quiet_panics, run_mutant};

#[test]
fn every_planted_bug_at_the_seam_is_found() {
    quiet_panics();
    for mutant in Mutant::ALL {
        expect_found(mutant, |seed| run_mutant(seed, mutant).err().map(|it| it.to_string()));
    }
}
