//! How long sessions and shards get, under control and under its fallback alike.

use std::time::Duration;

/// How long sessions get to end after SIGTERM.
pub const DRAIN_MAX: Duration = Duration::from_secs(30);
/// How long shards may take to end before the process ends without them.
pub const STOP_MAX: Duration = Duration::from_secs(5);
/// N panics of shards within [`PANICS_WITHIN`] end the process: its supervisor starts it again.
pub const PANICS_MAX: usize = 3;
/// See [`PANICS_MAX`].
pub const PANICS_WITHIN: Duration = Duration::from_secs(60);
