//! The one place of the benches that reads a clock or waits.

use std::sync::OnceLock;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

/// Monotonic nanoseconds since the first call in this process.
#[expect(clippy::disallowed_methods, reason = "the benches' clock: everybody else takes a number")]
#[must_use]
pub fn now_ns() -> u64 {
    static START: OnceLock<Instant> = OnceLock::new();
    let elapsed = START.get_or_init(Instant::now).elapsed();
    u64::try_from(elapsed.as_nanos()).unwrap_or(u64::MAX)
}

/// Seconds since 1970: the date of a result file.
#[expect(clippy::disallowed_methods, reason = "the date of a result file")]
#[must_use]
pub fn unix_seconds() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs())
}

/// Waits; only the runner does, between two looks at another program.
#[expect(clippy::disallowed_methods, reason = "the runner waits for programs it started")]
pub fn pause(duration: Duration) {
    std::thread::sleep(duration);
}

/// Seconds as nanoseconds, saturating; negative and NaN count as 0.
#[must_use]
#[expect(clippy::cast_possible_truncation, reason = "float to integer casts saturate")]
#[expect(clippy::cast_sign_loss, reason = "float to integer casts saturate")]
pub fn seconds_to_ns(seconds: f64) -> u64 {
    (seconds * 1e9) as u64
}
