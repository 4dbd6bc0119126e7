//! A backend of a pool that is not configuration: it was found by DNS.

use core::net::SocketAddr;

use serde::{Deserialize, Serialize};

use crate::address::Address;
use crate::ids::{BackendId, IdSource};
use crate::spec::{Admin, BackendSpec, Name, PoolSpec};

use super::{Backend, Configured, Pool, mark};

/// A backend that was found.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Member {
    pub address: SocketAddr,
    /// 0 to [`WEIGHT_MAX`](crate::spec::WEIGHT_MAX).
    pub weight: u16,
    /// 0 is first.
    pub priority: u8,
    /// It is no longer in the answers: it gets no new session.
    pub leaves: bool,
}

impl Member {
    /// One that takes sessions, as an address record says it.
    #[must_use]
    pub fn new(address: SocketAddr) -> Member {
        Member { address, weight: 1, priority: 0, leaves: false }
    }
}

/// The backends of a pool, in the order of their names: those that are configured, and beside
/// them those that were found. A configured one takes the place of one at the same address. What
/// agents have said of those that stay stands, as long as agents are asked.
pub(super) fn backends(
    spec: &PoolSpec,
    members: &[Member],
    before: Option<&Pool>,
    ids: &mut IdSource,
) -> Vec<Backend> {
    let mut id_of = |name: &Name, address: Address| {
        let old = before.and_then(|pool| pool.backend(name.as_str()));
        let old = old.filter(|old| old.address == address);
        let id = old.map_or_else(|| BackendId(ids.fresh()), |old| old.id);
        (id, old.filter(|_| spec.agent.is_asked()).map(|old| old.mark).unwrap_or_default())
    };
    let configured = spec.backend.iter().map(|(name, backend)| {
        let (id, mark) = id_of(name, backend.address);
        let &BackendSpec { address, weight, max_sessions, .. } = backend;
        Backend {
            id,
            name: name.clone(),
            address,
            weight,
            priority: backend.priority,
            force: backend.force,
            admin: backend.state,
            max_sessions,
            connecting: backend.connecting,
            connect_rate: backend.connect_rate,
            is_discovered: false,
            configured: Configured { weight, admin: backend.state, max_sessions },
            mark,
        }
    });
    let mut backends: Vec<Backend> = configured.collect();
    let is_configured =
        |it: &&Member| !spec.backend.values().any(|own| own.address.ip() == Some(it.address));
    backends.extend(members.iter().filter(is_configured).map(|member| {
        let name = Name::of_address(member.address);
        let address = Address::Ip(member.address);
        let (id, mark) = id_of(&name, address);
        let admin = if member.leaves { Admin::Drain } else { Admin::Ready };
        Backend {
            id,
            name,
            address,
            weight: member.weight,
            priority: member.priority,
            force: None,
            admin,
            max_sessions: None,
            connecting: None,
            connect_rate: None,
            is_discovered: true,
            configured: Configured { weight: member.weight, admin, max_sessions: None },
            mark,
        }
    }));
    if !members.is_empty() {
        backends.sort_by(|a, b| a.name.cmp(&b.name));
    }
    mark::put_in_force(&mut backends);
    backends
}
