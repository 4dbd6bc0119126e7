//! Sessions that wait for a backend with room, in a configuration.

use serde::{Deserialize, Serialize};

use super::Span;

/// For how long a session waits if nothing else is said.
pub(super) const TIMEOUT: Span = Span::from_secs(5);

pub(super) fn is_default_timeout(span: &Span) -> bool {
    *span == TIMEOUT
}

/// A pool's line of sessions that wait while every backend that could take them is full.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct QueueSpec {
    /// The most that wait at once, on each shard. 0: no session waits.
    pub size: u32,
}

impl Default for QueueSpec {
    fn default() -> QueueSpec {
        QueueSpec { size: 1000 }
    }
}

impl QueueSpec {
    pub(super) fn is_default(&self) -> bool {
        *self == QueueSpec::default()
    }
}
