//! Whole processes in the simulator: real shards on simulated kernels, the real control with its
//! store on a simulated disk, people and power cuts. One shard on its kernel is `weir_engine_sim`,
//! one layer below.
//!
//! A seed always gives the same run. Begin at [`run_seed`]; `weir-sim --seed 1 --trace` shows it.

pub mod mutants;
pub mod process;
pub mod scenario;
pub mod shrink;

use weir_engine_sim::driver::Summary;
use weir_engine_sim::{Failure, catch_panic, run_swarm};

use process::SimProcess;
use process::planted::Planted;
use scenario::Scenario;

/// Runs one seed. `print` writes its trace to standard output.
///
/// # Errors
/// The first rule that was broken; a panic counts as one.
pub fn run_seed(seed: u64, print: bool) -> Result<Summary, Box<Failure>> {
    run_scenario(seed, &Scenario::of_seed(seed), print)
}

/// Runs one seed of a whole process with a planted bug.
///
/// # Errors
/// As [`run_seed`]: here it is the wanted result.
pub fn run_planted(seed: u64, planted: Planted) -> Result<Summary, Box<Failure>> {
    let (swarm, faults) = scenario::whole_of_seed(seed);
    let world = || SimProcess::new(seed, (&swarm, &faults), Some(planted), false)?.run();
    catch_panic(seed, &(&swarm, &faults), world)
}

/// Runs a scenario that may not be its seed's own.
///
/// # Errors
/// As [`run_seed`].
pub fn run_scenario(seed: u64, scenario: &Scenario, print: bool) -> Result<Summary, Box<Failure>> {
    let Scenario { swarm, whole } = scenario;
    let Some(faults) = whole else { return run_swarm(seed, swarm, print) };
    let world = || SimProcess::new(seed, (swarm, faults), None, print)?.run();
    catch_panic(seed, scenario, world)
}
