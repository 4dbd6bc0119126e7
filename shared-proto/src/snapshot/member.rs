//! A backend of a pool that is not configuration: it was found by DNS.

use core::net::SocketAddr;

use serde::{Deserialize, Serialize};

use crate::address::Address;
use crate::ids::{BackendId, IdSource};
use crate::spec::{Admin, Name, PoolSpec};

use super::{Backend, Pool};

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
/// them those that were found. A configured one takes the place of one at the same address.
pub(super) fn backends(
    spec: &PoolSpec,
    members: &[Member],
    before: Option<&Pool>,
    ids: &mut IdSource,
) -> Vec<Backend> {
    let mut id_of = |name: &Name, address: Address| {
        before
            .and_then(|pool| pool.backend(name.as_str()))
            .filter(|old| old.address == address)
            .map_or_else(|| BackendId(ids.fresh()), |old| old.id)
    };
    let configured = spec.backend.iter().map(|(name, backend)| Backend {
        id: id_of(name, backend.address),
        name: name.clone(),
        address: backend.address,
        weight: backend.weight,
        priority: backend.priority,
        force: backend.force,
        admin: backend.state,
        max_sessions: backend.max_sessions,
        connecting: backend.connecting,
        connect_rate: backend.connect_rate,
        is_discovered: false,
    });
    let mut backends: Vec<Backend> = configured.collect();
    let is_configured =
        |it: &&Member| !spec.backend.values().any(|own| own.address.ip() == Some(it.address));
    backends.extend(members.iter().filter(is_configured).map(|member| {
        let name = Name::of_address(member.address);
        let address = Address::Ip(member.address);
        Backend {
            id: id_of(&name, address),
            name,
            address,
            weight: member.weight,
            priority: member.priority,
            force: None,
            admin: if member.leaves { Admin::Drain } else { Admin::Ready },
            max_sessions: None,
            connecting: None,
            connect_rate: None,
            is_discovered: true,
        }
    }));
    if !members.is_empty() {
        backends.sort_by(|a, b| a.name.cmp(&b.name));
    }
    backends
}
