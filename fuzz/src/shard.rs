//! F7: the simulator, with bytes in the place of its dice: which answer comes next, what fails, who
//! moves. Every rule of the simulator holds for every input.

/// The dice, and how they fell.
///
/// # Panics
/// A rule of the simulator is broken.
pub fn run(bytes: &[u8]) -> u64 {
    match weir_engine_sim::run_bytes(bytes) {
        // How many events of how many sessions: roughly.
        Ok(done) => u64::from(done.events.ilog2()) << 8 | u64::from(done.sessions.max(1).ilog2()),
        Err(failure) => panic!("{failure}"),
    }
}
