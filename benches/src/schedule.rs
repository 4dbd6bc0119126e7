//! When requests are due: at once after the answer (closed loop) or at a fixed rate (open loop).

use crate::clock::seconds_to_ns;

/// The open-loop plan: request `n` is due at `start + n / rate`, on connection `n % connections`.
#[derive(Clone, Copy, Debug)]
pub struct Schedule {
    start_ns: u64,
    rate_per_s: f64,
    connections: u64,
}

impl Schedule {
    /// `rate_per_s` is of all connections together and must be above 0.
    #[must_use]
    pub fn new(start_ns: u64, rate_per_s: f64, connections: usize) -> Self {
        assert!(rate_per_s > 0.0 && connections > 0, "checked with the arguments");
        Self { start_ns, rate_per_s, connections: connections as u64 }
    }

    /// The intended send time of message `message` of connection `link`.
    #[must_use]
    #[expect(clippy::cast_precision_loss, reason = "exact up to 2^53 requests")]
    pub fn due_ns(&self, link: usize, message: u64) -> u64 {
        let request = message * self.connections + link as u64;
        self.start_ns + seconds_to_ns(request as f64 / self.rate_per_s)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn requests_are_evenly_spaced_and_go_round_the_connections() {
        let schedule = Schedule::new(500, 1_000_000.0, 4);
        let due: Vec<u64> = (0..8).map(|n| schedule.due_ns(n % 4, n as u64 / 4)).collect();
        assert_eq!(due, (0..8).map(|n| 500 + n * 1_000).collect::<Vec<u64>>());
    }

    #[test]
    fn no_drift_after_an_hour() {
        let schedule = Schedule::new(0, 30_000.0, 1);
        assert_eq!(schedule.due_ns(0, 30_000 * 3_600), 3_600_000_000_000);
    }
}
