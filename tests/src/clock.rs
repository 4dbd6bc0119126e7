//! Time for tests: deadlines, and the one place that waits.
//!
//! A test waits *for something*, never *a while*.

use std::time::{Duration, Instant};

/// How long anything may take on a busy machine before a test calls it failed.
pub const PATIENCE: Duration = Duration::from_secs(15);

/// Between two looks at a condition.
const STEP: Duration = Duration::from_millis(5);

/// Now, by the monotonic clock.
#[must_use]
#[expect(clippy::disallowed_methods, reason = "tests read the clock here and nowhere else")]
pub fn now() -> Instant {
    Instant::now()
}

/// Leaves the thread alone for `span`. For [`wait_for`], for load that must last a while, and for
/// kills at random moments: never as "long enough for it to have happened".
pub fn park(span: Duration) {
    let end = now() + span;
    loop {
        let left = end.saturating_duration_since(now());
        if left.is_zero() {
            return;
        }
        std::thread::park_timeout(left);
    }
}

/// Looks at `condition` again and again until it gives a value.
///
/// # Panics
/// If it has not given one within `limit`; `what` says what was waited for.
pub fn wait_within<T>(limit: Duration, what: &str, condition: impl FnMut() -> Option<T>) -> T {
    try_wait(limit, condition).unwrap_or_else(|| panic!("waited {limit:?} in vain for: {what}"))
}

/// [`wait_within`] [`PATIENCE`] for something to be true.
///
/// # Panics
/// If it does not become true.
pub fn wait_for(what: &str, mut condition: impl FnMut() -> bool) {
    wait_within(PATIENCE, what, || condition().then_some(()));
}

/// Looks at `condition` until it gives a value; `None` if it has not within `limit`.
pub fn try_wait<T>(limit: Duration, mut condition: impl FnMut() -> Option<T>) -> Option<T> {
    let end = now() + limit;
    loop {
        if let Some(value) = condition() {
            return Some(value);
        }
        if now() >= end {
            return None;
        }
        park(STEP);
    }
}

/// Waits for `condition`, however long it takes: for threads that end with the test.
pub fn wait_for_ever(mut condition: impl FnMut() -> bool) {
    while !condition() {
        park(STEP);
    }
}
