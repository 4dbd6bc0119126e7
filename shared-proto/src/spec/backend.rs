//! One backend, and what its operator wants of it.

use core::net::SocketAddr;

use serde::{Deserialize, Serialize};

/// One address that sessions are forwarded to.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct BackendSpec {
    pub address: SocketAddr,
    #[serde(default = "one", skip_serializing_if = "is_one")]
    pub weight: u16,
    #[serde(default, skip_serializing_if = "Admin::is_ready")]
    pub state: Admin,
}

impl BackendSpec {
    /// A backend at `address`, with everything else at its default.
    #[must_use]
    pub fn new(address: SocketAddr) -> BackendSpec {
        BackendSpec { address, weight: one(), state: Admin::Ready }
    }
}

fn one() -> u16 {
    1
}

fn is_one(weight: &u16) -> bool {
    *weight == 1
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
