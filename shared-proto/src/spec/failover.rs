//! Whether a pool goes back to a priority group that has failed and is back.

use serde::{Deserialize, Serialize};

/// Which priority group of a pool is used when several could be.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Failover {
    /// The first that can take sessions.
    #[default]
    Auto,
    /// The one that is in use, until it fails.
    Stay,
}

impl Failover {
    pub const ALL: [Failover; 2] = [Failover::Auto, Failover::Stay];

    /// The word that operators write.
    #[must_use]
    pub fn word(self) -> &'static str {
        match self {
            Failover::Auto => "auto",
            Failover::Stay => "stay",
        }
    }

    #[must_use]
    pub(super) fn is_auto(&self) -> bool {
        *self == Failover::Auto
    }
}
