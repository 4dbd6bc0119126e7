//! Bytes of one session, and how many of them come in a second now.

use crate::base::clock::{Now, Stamp};

/// A rate is of at least so long, in milliseconds.
const WINDOW_MS: u32 = 1_000;

/// The bytes that a session has carried. Each counts once: when weir has it from the backend, or
/// has sent it there. Packed, so that it takes 28 bytes and not 32.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(Rust, packed(4))]
pub struct Traffic {
    /// From the backend.
    pub received: u64,
    /// To the backend.
    pub sent: u64,
    /// The open window: when it began, and both directions' bytes in it.
    since: Stamp,
    window: u32,
    /// Bytes a second in the window before it, if that one ended when this one began.
    rate: u32,
}

impl Traffic {
    /// Nothing was carried yet.
    #[must_use]
    pub fn new(now: Now) -> Traffic {
        Traffic { received: 0, sent: 0, since: now.stamp(), window: 0, rate: 0 }
    }

    /// So much was carried before, by another shard.
    #[must_use]
    pub fn carried(received: u64, sent: u64, now: Now) -> Traffic {
        Traffic { received, sent, ..Traffic::new(now) }
    }

    /// Counts bytes that came from the backend.
    #[inline]
    pub fn receive(&mut self, bytes: u32, now: Now) {
        self.received += u64::from(bytes);
        self.carry(bytes, now);
    }

    /// Counts bytes that went to the backend.
    #[inline]
    pub fn send(&mut self, bytes: u32, now: Now) {
        self.sent += u64::from(bytes);
        self.carry(bytes, now);
    }

    #[inline]
    fn carry(&mut self, bytes: u32, now: Now) {
        let age_ms = self.since.age_ms(now);
        if age_ms >= WINDOW_MS {
            self.rate = per_second(self.window, age_ms);
            self.window = 0;
            self.since = now.stamp();
        }
        self.window = self.window.saturating_add(bytes);
    }

    /// Bytes of both directions.
    #[must_use]
    pub fn total(&self) -> u64 {
        self.received + self.sent
    }

    /// Bytes a second of both directions, of the last one to two seconds; at most 4.29 GB.
    #[must_use]
    pub fn rate(&self, now: Now) -> u32 {
        let age_ms = self.since.age_ms(now);
        // What moved last may have been in a burst long ago: the window stays open until the next.
        if age_ms >= WINDOW_MS { per_second(self.window, age_ms) } else { self.rate }
    }
}

fn per_second(bytes: u32, over_ms: u32) -> u32 {
    let rate = u64::from(bytes) * 1_000 / u64::from(over_ms);
    u32::try_from(rate).unwrap_or(u32::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(ms: u64) -> Now {
        Now::from_nanos(ms * 1_000_000)
    }

    #[test]
    fn a_rate_is_of_the_last_second_and_fades() {
        let mut traffic = Traffic::new(at(0));
        assert_eq!(traffic.rate(at(0)), 0);
        for tick in 0..10 {
            traffic.receive(1_000, at(tick * 100));
        }
        traffic.send(500, at(1_000));
        assert_eq!((traffic.received, traffic.sent, traffic.total()), (10_000, 500, 10_500));
        assert_eq!(traffic.rate(at(1_001)), 10_000, "the window that was just closed");
        assert_eq!(traffic.rate(at(2_000)), 500, "and then the one after it");
        assert_eq!(traffic.rate(at(51_000)), 10, "500 bytes in 50 s");
    }

    #[test]
    fn no_count_overflows() {
        let mut traffic = Traffic::new(at(0));
        for _ in 0..3 {
            traffic.receive(u32::MAX, at(500));
        }
        let received = traffic.received;
        assert_eq!(received, 3 * u64::from(u32::MAX));
        assert_eq!(traffic.rate(at(1_000)), u32::MAX);
    }
}
