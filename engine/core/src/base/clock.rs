//! The time of a turn: a monotonic count of nanoseconds that is handed in, never read here.

const NANOS_PER_MILLI: u64 = 1_000_000;

/// A moment on a monotonic clock whose zero means nothing. It is read once a turn.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Now {
    pub nanos: u64,
}

impl Now {
    #[must_use]
    pub const fn from_nanos(nanos: u64) -> Now {
        Now { nanos }
    }

    /// Whole milliseconds since the clock's zero, rounded down.
    #[must_use]
    pub const fn millis(self) -> u64 {
        self.nanos / NANOS_PER_MILLI
    }

    /// Whole microseconds since `earlier`; 0 if that is in fact later.
    #[must_use]
    pub const fn micros_since(self, earlier: Now) -> u64 {
        self.nanos.saturating_sub(earlier.nanos) / 1000
    }

    /// This moment and `millis` more, at most the end of time (584 years).
    #[must_use]
    pub const fn plus_millis(self, millis: u32) -> Now {
        Now { nanos: self.nanos.saturating_add(millis as u64 * NANOS_PER_MILLI) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn arithmetic_rounds_down_and_saturates() {
        let now = Now::from_nanos(5_999_999);
        assert_eq!(now.millis(), 5);
        assert_eq!(now.plus_millis(3).nanos, 8_999_999);
        assert_eq!(now.plus_millis(3).micros_since(now), 3000);
        assert_eq!(now.micros_since(now.plus_millis(1)), 0);
        let end = Now::from_nanos(u64::MAX);
        assert_eq!(end.plus_millis(u32::MAX), end);
        assert!(now < now.plus_millis(1));
    }
}
