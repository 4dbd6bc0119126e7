//! A simulated kernel behind the engine's seam: the real shard runs on it, seeded, with clients,
//! backends and an operator that misbehave, and every rule of the shard is checked after every
//! step.
//!
//! A seed always gives the same run. Begin at [`driver::World`]. Whole processes, and the
//! program `weir-sim`, are in control/sim.

pub mod check;
pub mod conform;
mod credits;
pub mod driver;
pub mod faults;
pub mod faulty_io;
pub mod invariants;
pub mod io;
pub mod kernel;
pub mod line;
pub mod net;
pub mod operator;
mod origins;
pub mod pauses;
pub mod peer;
pub mod queue;
pub mod rng;
pub mod trace;

use std::cell::RefCell;
use std::panic::{AssertUnwindSafe, catch_unwind};

use driver::{Summary, World};
use faults::Swarm;
use faulty_io::{FaultyIo, Mutant};
use rng::Rng;

/// A seed that broke a rule.
#[derive(Clone, Debug)]
pub struct Failure {
    pub seed: u64,
    /// What was violated, or the message of a panic.
    pub what: String,
    /// The faults that its world had, as text.
    pub faults: String,
}

impl std::fmt::Display for Failure {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Failure { seed, what, faults } = self;
        write!(f, "seed {seed}: {what}\nswarm: {faults}\nreproduce: weir-sim --seed {seed} --trace")
    }
}

/// Runs one seed with a planted bug.
///
/// # Errors
/// As [`run_swarm`]: here it is the wanted result.
pub fn run_mutant(seed: u64, mutant: Mutant) -> Result<Summary, Box<Failure>> {
    let swarm = Swarm::draw(&mut Rng::new(seed));
    let wrap = |io| FaultyIo::new(io, mutant);
    catch_panic(seed, &swarm, || World::new(seed, swarm.clone(), false, wrap).run(&swarm))
}

/// Runs a world of one shard with these faults. `print` writes its trace to standard output.
///
/// # Errors
/// The first rule that was broken; a panic counts as one.
pub fn run_swarm(seed: u64, swarm: &Swarm, print: bool) -> Result<Summary, Box<Failure>> {
    catch_panic(seed, swarm, || World::new(seed, swarm.clone(), print, |io| io).run(swarm))
}

/// The most steps of a run on bytes: a fuzzer wants many short ones.
const BYTES_STEPS_MAX: usize = 1000;

/// Runs a world of one shard in which `bytes` decide, as far as they go, what else dice would.
///
/// # Errors
/// As [`run_swarm`].
pub fn run_bytes(bytes: &[u8]) -> Result<Summary, Box<Failure>> {
    let mut rng = Rng::of_bytes(bytes);
    let mut swarm = Swarm::draw(&mut rng);
    swarm.steps = swarm.steps.min(BYTES_STEPS_MAX);
    let world = || World::of_chance(rng, swarm.clone(), false, |io| io).run(&swarm);
    catch_panic(0, &swarm, world)
}

/// Runs a world; a panic in it is a failure like any other. `faults` is what the seed has drawn.
///
/// # Errors
/// What the world says, or the message of the panic.
pub fn catch_panic(
    seed: u64,
    faults: &impl std::fmt::Debug,
    world: impl FnOnce() -> Result<Summary, String>,
) -> Result<Summary, Box<Failure>> {
    let result = catch_unwind(AssertUnwindSafe(world));
    let what = match result {
        Ok(Ok(summary)) => return Ok(summary),
        Ok(Err(what)) => what,
        Err(panic) => {
            let text = panic.downcast_ref::<String>().map(String::as_str);
            let text = text.or_else(|| panic.downcast_ref::<&str>().copied()).unwrap_or("");
            format!("panic {}: {text}", PANICKED_AT.take())
        }
    };
    Err(Box::new(Failure { seed, what, faults: format!("{faults:?}") }))
}

thread_local! {
    static PANICKED_AT: RefCell<String> = const { RefCell::new(String::new()) };
}

/// Looks for a planted bug in the first 1,000 seeds; `find` returns the failure of one seed.
///
/// # Panics
/// No seed fails.
pub fn expect_found(bug: impl core::fmt::Debug, find: impl Fn(u64) -> Option<String>) {
    const SEEDS_MAX: u64 = 1000;
    let found = (0..SEEDS_MAX).find_map(find);
    let failure = found.unwrap_or_else(|| panic!("{bug:?} lives after {SEEDS_MAX} seeds"));
    println!("{bug:?}: {}", failure.lines().next().unwrap_or_default());
}

/// From now on a panic prints nothing; it is reported with its seed.
pub fn quiet_panics() {
    std::panic::set_hook(Box::new(|info| {
        let place = info.location().map(|place| format!("at {}:{}", place.file(), place.line()));
        PANICKED_AT.set(place.unwrap_or_default());
    }));
}
