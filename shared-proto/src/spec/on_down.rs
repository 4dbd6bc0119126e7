//! The sessions of a backend that goes down: kept, or ended.

use serde::{Deserialize, Serialize};

/// The sessions of a backend that are ended when it goes down.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum OnDown {
    /// None.
    #[default]
    Keep,
    /// Those for which the backend takes nothing of what waits for it.
    Stalled,
    /// All.
    Kill,
}

impl OnDown {
    pub const ALL: [OnDown; 3] = [OnDown::Keep, OnDown::Stalled, OnDown::Kill];

    /// The word that operators write.
    #[must_use]
    pub fn word(self) -> &'static str {
        match self {
            OnDown::Keep => "keep",
            OnDown::Stalled => "stalled",
            OnDown::Kill => "kill",
        }
    }

    #[must_use]
    pub(super) fn is_keep(&self) -> bool {
        *self == OnDown::Keep
    }
}
