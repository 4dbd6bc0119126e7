//! A new version: which objects there are to count.
//!
//! Its backends are learnt a pool at a time, before it is sent; those that it no longer has are
//! given up a pool at a time, after it was sent. In between is [`Aggregate::settle`], which takes
//! as long as there are pools and listeners.

use std::collections::BTreeSet;
use std::sync::Arc;

use weir_proto::ids::{BackendId, Edition, PoolId};
use weir_proto::snapshot::{Pool, Snapshot};

use crate::batch::Batch;

use super::{Aggregate, Backend, Listener, PoolAggregate};

impl Aggregate {
    /// Learns which objects there are and what they are called, all at once. To be called with each
    /// version before it goes to the shards.
    pub fn adopt(&mut self, snapshot: &Snapshot) {
        snapshot.pools.iter().for_each(|pool| self.prepare(pool));
        self.settle(snapshot);
        self.sweep(usize::MAX);
    }

    /// Learns the backends of a pool of the next version, if it is another than before. Those that
    /// the pool no longer has are counted as before until they are swept.
    pub(crate) fn prepare(&mut self, pool: &Arc<Pool>) {
        if self.members.get(&pool.id).is_some_and(|known| known.since == pool.since) {
            return;
        }
        let shards = self.shards.len();
        let known = self.members.insert(pool.id, pool.clone());
        let had = |backend| known.as_ref().is_some_and(|known| known.has(backend));
        for backend in pool.backends.iter().filter(|backend| !had(backend)) {
            let fresh = || {
                let name = format!("{}/{}", pool.name, backend.name);
                Backend::new(pool.id, name.into(), backend.address, shards)
            };
            let entry = self.backends.entry(backend.id).or_insert_with(fresh);
            (entry.removed, entry.heir) = (None, None);
            let name = entry.name.clone();
            self.gone.remove(backend.id, &name);
            self.inherit(backend.id);
        }
        self.swept.extend(known.map(|known| (known, pool.since)));
    }

    /// The next version is the current one: all of its pools are prepared.
    pub(crate) fn settle(&mut self, snapshot: &Snapshot) {
        let shards = self.shards.len();
        let gone = Some(snapshot.edition());
        self.listeners.values_mut().for_each(|it| it.removed = it.removed.or(gone));
        self.pools.values_mut().for_each(|it| it.removed = it.removed.or(gone));
        for listener in &snapshot.listeners {
            let fresh = || Listener::new(listener.name.to_string(), shards);
            let entry = self.listeners.entry(listener.id).or_insert_with(fresh);
            entry.removed = None;
        }
        for pool in &snapshot.pools {
            let fresh = || PoolAggregate::new(pool.name.to_string(), shards);
            self.pools.entry(pool.id).or_insert_with(fresh).removed = None;
        }
        let here: BTreeSet<PoolId> = snapshot.pools.iter().map(|pool| pool.id).collect();
        let without = self.members.extract_if(.., |id, _| !here.contains(id));
        self.swept.extend(without.map(|(_, pool)| (pool, snapshot.edition())));
    }

    /// Gives up backends that the current version no longer has: those of one pool, and of further
    /// ones as long as these had at most `most`. True if there are more.
    pub(crate) fn sweep(&mut self, most: usize) -> bool {
        let mut batch = Batch::of(most);
        let mut next = |(pool, _): &mut (Arc<Pool>, Edition)| batch.takes(pool.backends.len());
        while let Some((pool, edition)) = self.swept.pop_if(&mut next) {
            for backend in &pool.backends {
                if !self.members.get(&pool.id).is_some_and(|now| now.has(backend)) {
                    self.remove_backend(backend.id, edition);
                }
            }
        }
        !self.swept.is_empty()
    }

    fn remove_backend(&mut self, id: BackendId, edition: Edition) {
        if let Some(backend) = self.backends.get_mut(&id) {
            backend.removed = Some(edition);
            self.gone.insert(id, &backend.name);
        }
    }
}
