//! The fate of a session whose backend closes it before the first byte.

use serde::{Deserialize, Serialize};

use super::Size;

/// Whether another backend gets a session that its backend has closed or reset before it had sent a
/// byte.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum RedispatchSpec {
    /// The close goes to the client, like any other.
    Off,
    /// As long as nothing of the client's was passed on.
    #[default]
    Unsent,
    /// With what was passed on, as long as that is no more than this.
    Replay(Size),
}

impl RedispatchSpec {
    pub(super) fn is_default(&self) -> bool {
        *self == RedispatchSpec::default()
    }

    /// The most bytes that are sent again. `None`: there is no other backend.
    #[must_use]
    pub fn replay_max(self) -> Option<u16> {
        match self {
            RedispatchSpec::Off => None,
            RedispatchSpec::Unsent => Some(0),
            RedispatchSpec::Replay(size) => Some(size.bytes().try_into().unwrap_or(u16::MAX)),
        }
    }
}
