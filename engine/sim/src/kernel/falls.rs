//! Backends that control has called down, and what the versions so far have said of the sessions
//! of such: which of them a shard may end.

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;

use weir_proto::ids::BackendId;
use weir_proto::order::{BackendHealth, HealthWords};
use weir_proto::snapshot::Snapshot;
use weir_proto::spec::OnDown;

use crate::net::of_ip;

/// All that was said up to now. It only grows: orders may be on their way.
#[derive(Clone, Debug, Default)]
pub struct Falls {
    addresses: BTreeMap<BackendId, SocketAddr>,
    down: BTreeSet<SocketAddr>,
    kills: BTreeSet<SocketAddr>,
    gives_up: BTreeSet<SocketAddr>,
}

impl Falls {
    /// A shard is sent this.
    pub fn note_snapshot(&mut self, snapshot: &Snapshot) {
        for (pool, backend) in snapshot.backends() {
            let address = of_ip(backend.address);
            self.addresses.insert(backend.id, address);
            match pool.spec.on_down {
                OnDown::Keep => {}
                OnDown::Kill => drop(self.kills.insert(address)),
                OnDown::Stalled => drop(self.gives_up.insert(address)),
            }
        }
    }

    /// A shard is sent this.
    pub fn note_words(&mut self, words: &HealthWords) {
        let down = words.iter().filter(|(_, health)| *health == BackendHealth::Down);
        self.down.extend(down.filter_map(|(id, _)| self.addresses.get(id)));
    }

    /// True if all sessions of this backend may end.
    pub(super) fn may_kill(&self, address: SocketAddr) -> bool {
        self.down.contains(&address) && self.kills.contains(&address)
    }

    /// True if those may end for which it takes nothing for a second.
    pub(super) fn may_give_up(&self, address: SocketAddr) -> bool {
        self.down.contains(&address) && self.gives_up.contains(&address)
    }
}
