//! Agents: beside a backend a server that says how much the backend may be given.

use core::net::IpAddr;

use serde::{Deserialize, Serialize};

use super::Span;

/// How the agents of a pool's backends are asked.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default, rename_all = "kebab-case")]
pub struct AgentSpec {
    /// Where agents listen. Absent: none is asked.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub port: Option<u32>,
    /// The host of one agent for all backends. Absent: each backend's own.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub address: Option<String>,
    /// From the start of one question to the start of the next; jittered by ±10 %.
    pub interval: Span,
    /// For the connect and the answer together.
    pub timeout: Span,
    /// Sent after the connect, as text with the escapes of [`unescape`](super::unescape).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub send: Option<String>,
}

impl Default for AgentSpec {
    fn default() -> AgentSpec {
        AgentSpec {
            port: None,
            address: None,
            interval: Span::from_secs(2),
            timeout: Span::from_secs(1),
            send: None,
        }
    }
}

impl AgentSpec {
    #[must_use]
    pub(super) fn is_default(&self) -> bool {
        *self == AgentSpec::default()
    }

    /// True if agents are asked.
    #[must_use]
    pub fn is_asked(&self) -> bool {
        self.port.is_some()
    }

    /// The host of the one agent, if there is one for all.
    #[must_use]
    pub fn host(&self) -> Option<IpAddr> {
        self.address.as_deref()?.parse().ok()
    }
}
