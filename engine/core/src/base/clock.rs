//! The time of a turn: a monotonic count of nanoseconds that is handed in, never read here.
//!
//! Moments and spans of time are types: `later - earlier` is a [`Duration`] (zero if the order is
//! the other one), `moment + duration` a moment (at most the end of time, in 584 years).

use core::ops::{Add, Sub};
use core::time::Duration;

const NANOS_PER_MILLI: u64 = 1_000_000;

/// A moment on a monotonic clock whose zero means nothing. It is read once a turn.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Now {
    pub nanos: u64,
}

/// A coarse moment in half the space: milliseconds of the same clock, modulo 2^32 (49 days).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Stamp(u32);

impl Stamp {
    /// Milliseconds from this moment to `now`, which is less than 49 days later.
    #[must_use]
    pub const fn age_ms(self, now: Now) -> u32 {
        now.stamp().0.wrapping_sub(self.0)
    }
}

/// A moment in two bytes: 8 ms each, modulo 2^16 (8.7 minutes). For what may be wrong at times.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ShortStamp(u16);

impl ShortStamp {
    /// Milliseconds from this moment to `now`, less whole multiples of 8.7 minutes; to 8 ms.
    #[must_use]
    pub const fn age_ms(self, now: Now) -> u32 {
        now.short_stamp().0.wrapping_sub(self.0) as u32 * 8
    }
}

impl Now {
    /// This moment, to 8 ms.
    #[must_use]
    #[allow(clippy::cast_possible_truncation)] // modulo 2^16 is meant
    pub const fn short_stamp(self) -> ShortStamp {
        ShortStamp((self.millis() / 8) as u16)
    }

    /// This moment, to the millisecond.
    #[must_use]
    #[allow(clippy::cast_possible_truncation)] // modulo 2^32 is meant
    pub const fn stamp(self) -> Stamp {
        Stamp(self.millis() as u32)
    }

    /// The end of time, which never comes.
    pub const END: Now = Now { nanos: u64::MAX };

    #[must_use]
    pub const fn from_nanos(nanos: u64) -> Now {
        Now { nanos }
    }

    /// Whole milliseconds since the clock's zero, rounded down.
    #[must_use]
    pub const fn millis(self) -> u64 {
        self.nanos / NANOS_PER_MILLI
    }

    /// This moment and `millis` more, at most the end of time (584 years).
    #[must_use]
    pub const fn plus_millis(self, millis: u32) -> Now {
        Now { nanos: self.nanos.saturating_add(millis as u64 * NANOS_PER_MILLI) }
    }
}

impl Now {
    /// The moment that many milliseconds before, at least the clock's zero.
    #[must_use]
    pub const fn minus_millis(self, millis: u32) -> Now {
        Now { nanos: self.nanos.saturating_sub(millis as u64 * NANOS_PER_MILLI) }
    }
}

impl Add<Duration> for Now {
    type Output = Now;

    fn add(self, span: Duration) -> Now {
        let nanos = u64::try_from(span.as_nanos()).unwrap_or(u64::MAX);
        Now { nanos: self.nanos.saturating_add(nanos) }
    }
}

impl Sub for Now {
    type Output = Duration;

    fn sub(self, earlier: Now) -> Duration {
        Duration::from_nanos(self.nanos.saturating_sub(earlier.nanos))
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
        assert_eq!(now.plus_millis(3) - now, Duration::from_millis(3));
        assert_eq!(now - now.plus_millis(1), Duration::ZERO);
        assert_eq!(now + Duration::from_millis(3), now.plus_millis(3));
        let end = Now::from_nanos(u64::MAX);
        assert_eq!(end.plus_millis(u32::MAX), end);
        assert_eq!(now + Duration::MAX, end);
        assert!(now < now.plus_millis(1));
        let late = Now::from_nanos(u64::from(u32::MAX) * NANOS_PER_MILLI);
        assert_eq!(late.stamp().age_ms(late.plus_millis(7_000)), 7_000, "across the wrap");
        assert_eq!(late.short_stamp().age_ms(late.plus_millis(8_000)), 8_000, "across the wrap");
    }
}
