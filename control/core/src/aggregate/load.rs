//! The load that each shard knows of: the sessions that the others hold, for strategies that ask;
//! and sessions of a pool that do not move.

use std::collections::BTreeMap;

use weir_proto::ids::{BackendId, ListenerId, PoolId, ShardId, Version};

use super::Aggregate;

impl Aggregate {
    /// For each backend the sessions that all shards but this one hold, where there are any or were
    /// any when the shard was last told.
    pub fn load_elsewhere(&mut self, shard: ShardId) -> Vec<(BackendId, u32)> {
        let index = usize::from(shard.0);
        let Some(own) = self.shards.get_mut(index) else { return Vec::new() };
        let mut loads = std::mem::take(&mut own.told);
        loads.values_mut().for_each(|load| *load = 0);
        let others = self.shards.iter().enumerate();
        let others = others.filter(|(other, _)| *other != index);
        for (id, sessions) in others.flat_map(|(_, other)| &other.held) {
            let load = loads.entry(*id).or_default();
            *load = load.saturating_add(*sessions);
        }
        let list = loads.iter().map(|(id, load)| (*id, *load)).collect();
        self.shards[index].told = loads;
        list
    }

    /// The sessions that all shards hold now, by backend. Those of an earlier identity count for
    /// the backend that was added again under its name and address.
    pub fn held(&self) -> BTreeMap<BackendId, u64> {
        let mut held = BTreeMap::new();
        for (id, sessions) in self.shards.iter().flat_map(|shard| &shard.held) {
            let heir = self.backends.get(id).and_then(|backend| backend.heir);
            *held.entry(heir.unwrap_or(*id)).or_default() += u64::from(*sessions);
        }
        held
    }

    /// The same by the version under which they were accepted.
    pub fn held_by_version(&self) -> BTreeMap<Version, u64> {
        let mut held = BTreeMap::new();
        for (version, sessions) in self.shards.iter().flat_map(|shard| &shard.generations) {
            *held.entry(*version).or_default() += u64::from(*sessions);
        }
        held
    }

    /// The same by listener.
    pub fn held_by_listener(&self) -> BTreeMap<ListenerId, u64> {
        let sessions = self.listeners.iter().map(|(id, it)| (*id, it.totals.sessions));
        sessions.filter(|(_, sessions)| *sessions > 0).collect()
    }

    /// The shard has been handed what [`Aggregate::load_elsewhere`] said: it knows the zeros.
    pub fn told_load(&mut self, shard: ShardId) {
        if let Some(shard) = self.shards.get_mut(usize::from(shard.0)) {
            shard.told.retain(|_, load| *load > 0);
        }
    }

    /// Sessions of a pool in which a side takes nothing for now although bytes wait for it.
    pub fn pool_stalled(&self, id: PoolId) -> u64 {
        let shards = self.pools.get(&id).map(|pool| pool.stalled.iter());
        shards.into_iter().flatten().map(|count| u64::from(*count)).sum()
    }

    /// Sessions of a pool that wait for a backend with room.
    pub fn pool_queued(&self, id: PoolId) -> u64 {
        let shards = self.pools.get(&id).map(|pool| pool.queued.iter());
        shards.into_iter().flatten().map(|count| u64::from(*count)).sum()
    }
}
