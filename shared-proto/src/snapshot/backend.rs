//! One backend of a snapshot.

use super::{AgentMark, Configured};
use crate::address::Address;
use crate::ids::BackendId;
use crate::spec::{Admin, BackendSpec, Force, Name, Rate};

/// A backend of a snapshot. Weight, state and most sessions are those in force: what is configured,
/// narrowed by what its agent has said.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Backend {
    pub id: BackendId,
    pub name: Name,
    pub address: Address,
    /// Its share among those of its pool, 0 to [`WEIGHT_MAX`](crate::spec::WEIGHT_MAX).
    pub weight: u16,
    /// 0 is first.
    pub priority: u8,
    /// Its health by hand; `None`: as checks and connects say.
    pub force: Option<Force>,
    pub admin: Admin,
    /// The most sessions over all shards; `None` is no limit.
    pub max_sessions: Option<u32>,
    /// The most connects on their way at once over all shards; `None` is no limit.
    pub connecting: Option<u32>,
    /// How often a connect begins over all shards; `None` is no limit.
    pub connect_rate: Option<Rate>,
    /// It is no configuration: it was found by DNS.
    pub is_discovered: bool,
    pub configured: Configured,
    pub mark: AgentMark,
}

impl Backend {
    /// The spec that this backend was built from.
    #[must_use]
    pub fn spec(&self) -> BackendSpec {
        BackendSpec {
            address: self.address,
            weight: self.configured.weight,
            priority: self.priority,
            force: self.force,
            state: self.configured.admin,
            max_sessions: self.configured.max_sessions,
            connecting: self.connecting,
            connect_rate: self.connect_rate,
        }
    }

    /// Whether it counts as up if checks and connects say `healthy`.
    #[must_use]
    pub fn is_up(&self, healthy: bool) -> bool {
        self.force.map_or(healthy, |force| force == Force::Up)
    }

    /// True if it gets sessions whenever it is up: its operator wants that, and it has a weight.
    #[must_use]
    pub fn is_member(&self) -> bool {
        self.admin.is_ready() && self.weight > 0
    }
}
