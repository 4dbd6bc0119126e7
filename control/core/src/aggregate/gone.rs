//! Backends that are gone from the configuration while some of their sessions run on. One that is
//! added again under its name and address takes them over: it has one row, with all of them.

use std::collections::BTreeMap;
use std::net::SocketAddr;

use weir_proto::counters::Counts;
use weir_proto::ids::BackendId;

use crate::sessions::GoneNames;

use super::{Aggregate, Backend, BackendTotals, Lingering};

impl Aggregate {
    /// A backend, with what it had under earlier identities; zeros if it was never heard of or has
    /// been forgotten.
    pub fn backend(&self, id: BackendId) -> BackendTotals {
        let mut identities = self.identities(id);
        let mut totals = identities.next().map(|backend| backend.totals).unwrap_or_default();
        for earlier in identities {
            totals.sessions += earlier.totals.sessions;
            totals.counts.add(&earlier.totals.counts);
        }
        totals
    }

    /// A backend, then those of its earlier identities that have sessions.
    pub(super) fn identities(&self, id: BackendId) -> impl Iterator<Item = &Backend> {
        let backend = self.backends.get(&id);
        let earlier = backend.into_iter().flat_map(|it| &it.earlier);
        backend.into_iter().chain(earlier.filter_map(|id| self.backends.get(id)))
    }

    /// The backends that the newest snapshot no longer has and that still hold sessions. One that
    /// was added again is not among them.
    pub fn lingering(&self) -> impl Iterator<Item = Lingering> {
        self.gone().map(|(id, backend, totals)| Lingering {
            id,
            name: backend.name.clone(),
            address: backend.address,
            sessions: totals.sessions,
            totals,
        })
    }

    /// The same, by name (`pool/backend`).
    pub fn lingering_totals(&self) -> impl Iterator<Item = (&str, BackendTotals)> {
        self.gone().map(|(_, backend, totals)| (backend.name.as_str(), totals))
    }

    /// Every removed identity of this name (`pool/backend`), at whatever address.
    pub fn removed_named(&self, name: &str) -> Vec<BackendId> {
        let named = |id: &&BackendId| self.backends.get(id).is_some_and(|it| it.name == name);
        self.gone.iter().filter(named).copied().collect()
    }

    /// Names of listeners, pools and backends that are gone from the configuration.
    pub fn gone_names(&self) -> GoneNames {
        let listeners = self.listeners.iter().filter(|(_, it)| it.removed.is_some());
        let pools = self.pools.iter().filter(|(_, it)| it.removed.is_some());
        let backends = self.gone.iter().filter_map(|id| Some((*id, self.backends.get(id)?)));
        GoneNames {
            listeners: listeners.map(|(id, it)| (*id, it.name.clone())).collect(),
            pools: pools.map(|(id, it)| (*id, it.name.clone())).collect(),
            backends: backends.map(|(id, it)| (id, it.name.clone())).collect(),
        }
    }

    pub(super) fn gone(&self) -> impl Iterator<Item = (BackendId, &Backend, BackendTotals)> {
        let gone = self.gone.iter().filter_map(|id| Some((*id, self.backends.get(id)?)));
        let alone = gone.filter(|(_, backend)| backend.heir.is_none());
        let counted = alone.map(|(id, backend)| (id, backend, self.backend(id)));
        counted.filter(|(_, _, totals)| totals.sessions > 0)
    }

    /// Gives backends that are new the sessions of those that had their names and addresses.
    pub(super) fn inherit(&mut self, fresh: &[BackendId]) {
        let named = fresh.iter().filter_map(|id| Some((*id, self.backends.get(id)?)));
        let named = named.map(|(id, it)| ((it.address, it.name.as_str()), id));
        let heirs: BTreeMap<(SocketAddr, &str), BackendId> = named.collect();
        let mut links: BTreeMap<BackendId, Vec<BackendId>> = BTreeMap::new();
        // Also those of which no session is known: shards tell of them later.
        for id in &self.gone {
            let Some(it) = self.backends.get(id) else { continue };
            if let Some(heir) = heirs.get(&(it.address, it.name.as_str())) {
                links.entry(*heir).or_default().push(*id);
            }
        }
        for (heir, earlier) in links {
            for id in &earlier {
                let Some(backend) = self.backends.get_mut(id) else { continue };
                (backend.heir, backend.earlier) = (Some(heir), Vec::new());
            }
            if let Some(backend) = self.backends.get_mut(&heir) {
                backend.earlier = earlier;
            }
        }
    }

    /// Drops what is known of a backend. Its counts stay with the one that was added again:
    /// they must not fall.
    pub(super) fn forget_backend(&mut self, id: BackendId) {
        self.gone.remove(&id);
        let Some(backend) = self.backends.remove(&id) else { return };
        if let Some(heir) = backend.heir.and_then(|heir| self.backends.get_mut(&heir)) {
            heir.earlier.retain(|it| *it != id);
            heir.totals.counts.add(&backend.totals.counts);
        }
    }
}
