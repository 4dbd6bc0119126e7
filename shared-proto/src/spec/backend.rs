//! One backend, and what its operator wants of it.

use serde::{Deserialize, Serialize};

use super::Rate;
use crate::address::Address;

/// One address that sessions are forwarded to.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct BackendSpec {
    pub address: Address,
    #[serde(default = "one", skip_serializing_if = "is_one")]
    pub weight: u16,
    /// Backends of one pool with the same priority are a group; 0 is first.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub priority: u8,
    #[serde(default, skip_serializing_if = "Admin::is_ready")]
    pub state: Admin,
    /// Its health by hand, whatever checks and connects say. Absent: as they say.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub force: Option<Force>,
    /// The most sessions at once, over all shards. Absent: no limit.
    #[serde(default, rename = "max-sessions", skip_serializing_if = "Option::is_none")]
    pub max_sessions: Option<u32>,
    /// The most connects on their way at once, over all shards. Absent: no limit.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub connecting: Option<u32>,
    /// How often a connect begins, over all shards. Absent: as often as there is a session for it.
    #[serde(default, rename = "connect-rate", skip_serializing_if = "Option::is_none")]
    pub connect_rate: Option<Rate>,
}

impl BackendSpec {
    /// A backend at `address`, with everything else at its default.
    #[must_use]
    pub fn new(address: Address) -> BackendSpec {
        BackendSpec {
            address,
            weight: one(),
            priority: 0,
            state: Admin::Ready,
            force: None,
            max_sessions: None,
            connecting: None,
            connect_rate: None,
        }
    }
}

fn one() -> u16 {
    1
}

fn is_zero(priority: &u8) -> bool {
    *priority == 0
}

fn is_one(weight: &u16) -> bool {
    *weight == 1
}

/// The health that an operator gives a backend by hand.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Force {
    Up,
    Down,
}

impl Force {
    pub const ALL: [Force; 2] = [Force::Up, Force::Down];

    /// The word that operators write.
    #[must_use]
    pub fn word(self) -> &'static str {
        match self {
            Force::Up => "up",
            Force::Down => "down",
        }
    }
}

/// The administrative state of a backend or listener. Health is tracked separately and is never
/// stored.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Admin {
    /// Takes new sessions (a backend: if it is healthy).
    #[default]
    Ready,
    /// Keeps its sessions, gets no new ones; health checks go on.
    Drain,
    /// No new sessions, no checks.
    Maint,
}

impl Admin {
    #[must_use]
    pub fn is_ready(&self) -> bool {
        *self == Admin::Ready
    }

    /// The word that operators write.
    #[must_use]
    pub fn word(self) -> &'static str {
        match self {
            Admin::Ready => "ready",
            Admin::Drain => "drain",
            Admin::Maint => "maint",
        }
    }
}
