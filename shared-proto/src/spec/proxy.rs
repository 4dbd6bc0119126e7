//! The PROXY protocol (HAProxy's doc/proxy-protocol.txt) in a configuration.

use serde::{Deserialize, Serialize};

use super::Span;
use crate::network::NetworkList;

/// The PROXY headers that a listener wants first.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ProxyInSpec {
    /// Who sends them; others are refused. Empty: no header is wanted.
    #[serde(default)]
    pub from: NetworkList,
    /// Absent: the listener's `inspect-timeout`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub timeout: Option<Span>,
}

impl ProxyInSpec {
    pub(super) fn is_default(&self) -> bool {
        *self == ProxyInSpec::default()
    }
}

/// A version of the PROXY protocol (HAProxy's doc/proxy-protocol.txt).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum ProxyVersion {
    /// A line of text.
    V1,
    V2,
}

impl ProxyVersion {
    pub const ALL: [ProxyVersion; 2] = [ProxyVersion::V1, ProxyVersion::V2];

    /// The word that operators write.
    #[must_use]
    pub const fn word(self) -> &'static str {
        match self {
            ProxyVersion::V1 => "v1",
            ProxyVersion::V2 => "v2",
        }
    }
}
