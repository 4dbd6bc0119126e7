//! The limits of each source of clients at a listener, in a configuration.

use serde::{Deserialize, Serialize};

use super::Rate;

/// The limits of each source: a network of clients that count as one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct PerSourceSpec {
    /// The most sessions at once.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub sessions: Option<u32>,
    /// New sessions.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub rate: Option<Rate>,
    /// The lengths of the prefixes that are a source.
    pub ipv4: u32,
    pub ipv6: u32,
}

impl Default for PerSourceSpec {
    fn default() -> PerSourceSpec {
        PerSourceSpec { sessions: None, rate: None, ipv4: 32, ipv6: 64 }
    }
}

impl PerSourceSpec {
    pub(super) fn is_default(&self) -> bool {
        *self == PerSourceSpec::default()
    }

    /// True if sources are limited.
    #[must_use]
    pub fn is_limited(&self) -> bool {
        self.sessions.is_some() || self.rate.is_some()
    }
}
