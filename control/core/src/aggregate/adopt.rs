//! A new version: which objects there are to count.

use std::collections::BTreeSet;
use std::sync::Arc;

use weir_proto::ids::{BackendId, PoolId, Version};
use weir_proto::snapshot::{Pool, Snapshot};

use super::early::Early;
use super::{
    Aggregate, Backend, BackendTotals, Listener, ListenerTotals, PoolAggregate, PoolTotals, Slice,
};

impl Aggregate {
    /// Learns which objects there are and what they are called. To be called with each version
    /// before it goes to the shards.
    pub fn adopt(&mut self, snapshot: &Snapshot) {
        let shards = self.shards.len();
        let gone = Some(snapshot.version);
        self.listeners.values_mut().for_each(|it| it.removed = it.removed.or(gone));
        self.pools.values_mut().for_each(|it| it.removed = it.removed.or(gone));
        for listener in &snapshot.listeners {
            let entry = self.listeners.entry(listener.id).or_insert_with(|| Listener {
                name: listener.name.to_string(),
                totals: ListenerTotals::default(),
                now: vec![(0, 0); shards],
                removed: None,
            });
            entry.removed = None;
        }
        for pool in &snapshot.pools {
            let (totals, stalled) = (PoolTotals::default(), vec![0; shards]);
            let name = pool.name.to_string();
            let fresh = || PoolAggregate { name, totals, sessions: 0, stalled, removed: None };
            self.pools.entry(pool.id).or_insert_with(fresh).removed = None;
        }
        let here: BTreeSet<PoolId> = snapshot.pools.iter().map(|pool| pool.id).collect();
        let without: Vec<PoolId> =
            self.members.keys().copied().filter(|id| !here.contains(id)).collect();
        for pool in without {
            let pool = self.members.remove(&pool);
            let members = pool.iter().flat_map(|pool| &pool.backends);
            members.for_each(|backend| self.remove_backend(backend.id, snapshot.version));
        }
        let mut fresh = Vec::new();
        for pool in &snapshot.pools {
            self.adopt_members(pool, snapshot.version, &mut fresh);
        }
        if !fresh.is_empty() {
            self.inherit(&fresh);
        }
    }

    /// Learns the backends of a pool, if it is another than before. New ones go to `new`.
    fn adopt_members(&mut self, pool: &Arc<Pool>, version: Version, new: &mut Vec<BackendId>) {
        if self.members.get(&pool.id).is_some_and(|known| known.since == pool.since) {
            return;
        }
        let shards = self.shards.len();
        let known = self.members.insert(pool.id, pool.clone());
        let ids = |pool: &Pool| pool.backends.iter().map(|it| it.id).collect();
        let before: BTreeSet<BackendId> = known.as_deref().map(ids).unwrap_or_default();
        for backend in pool.backends.iter().filter(|backend| !before.contains(&backend.id)) {
            let fresh = || Backend {
                pool: pool.id,
                name: format!("{}/{}", pool.name, backend.name),
                address: backend.address,
                totals: BackendTotals::default(),
                early: Early::default(),
                slices: vec![Slice::default(); shards],
                removed: None,
                heir: None,
                earlier: Vec::new(),
            };
            let entry = self.backends.entry(backend.id).or_insert_with(fresh);
            (entry.removed, entry.heir) = (None, None);
            new.push(backend.id);
            self.gone.remove(&backend.id);
        }
        let after: BTreeSet<BackendId> = ids(pool);
        before.difference(&after).for_each(|id| self.remove_backend(*id, version));
    }

    fn remove_backend(&mut self, id: BackendId, version: Version) {
        if let Some(backend) = self.backends.get_mut(&id) {
            backend.removed = Some(version);
            self.gone.insert(id);
        }
    }
}
