//! The one place of weirctl that reads a clock.

use std::time::Instant;

/// The monotonic clock, for deadlines.
#[expect(clippy::disallowed_methods, reason = "weirctl's one reader of the monotonic clock")]
pub(crate) fn now() -> Instant {
    Instant::now()
}
