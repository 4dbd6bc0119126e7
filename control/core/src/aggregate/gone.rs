//! Backends that are gone from the configuration while some of their sessions run on. One that is
//! added again under its name and address takes them over: it has one row, with all of them.

use std::collections::BTreeSet;
use std::ops::Bound::{Excluded, Unbounded};
use std::sync::Arc;

use weir_proto::counters::Counts;
use weir_proto::ids::{BackendId, ListenerId, PoolId};
use weir_proto::session::ListedSession;

use crate::sessions::GoneNames;

use super::{Aggregate, Backend, BackendTotals, Lingering};

/// The backends that are gone from the configuration and not forgotten.
#[derive(Default)]
pub(super) struct Gone {
    ids: BTreeSet<BackendId>,
    /// The same by name (`pool/backend`): one that comes back is looked up among many thousands.
    named: BTreeSet<(Arc<str>, BackendId)>,
}

impl Gone {
    pub(super) fn insert(&mut self, id: BackendId, name: &Arc<str>) {
        if self.ids.insert(id) {
            self.named.insert((name.clone(), id));
        }
    }

    pub(super) fn remove(&mut self, id: BackendId, name: &Arc<str>) {
        if self.ids.remove(&id) {
            self.named.remove(&(name.clone(), id));
        }
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = &BackendId> {
        self.ids.iter()
    }

    /// At most `most` of them, those after `last`.
    pub(super) fn after(&self, last: Option<BackendId>, most: usize) -> Vec<BackendId> {
        let from = (last.map_or(Unbounded, Excluded), Unbounded);
        self.ids.range(from).take(most).copied().collect()
    }

    /// Every one of that name.
    fn named(&self, name: &str) -> impl Iterator<Item = BackendId> {
        let name: Arc<str> = name.into();
        let range = (name.clone(), BackendId(0))..=(name, BackendId(u32::MAX));
        self.named.range(range).map(|(_, id)| *id)
    }
}

impl Aggregate {
    /// A backend, with what it had under earlier identities; zeros if it was never heard of or has
    /// been forgotten.
    pub fn backend(&self, id: BackendId) -> BackendTotals {
        let mut identities = self.identities(id);
        let mut totals = identities.next().map(|backend| backend.totals).unwrap_or_default();
        for earlier in identities {
            totals.sessions += earlier.totals.sessions;
            totals.connecting += earlier.totals.connecting;
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
            name: backend.name.to_string(),
            address: backend.address,
            sessions: totals.sessions,
            totals,
        })
    }

    /// The same, by name (`pool/backend`).
    pub fn lingering_totals(&self) -> impl Iterator<Item = (&str, BackendTotals)> {
        self.gone().map(|(_, backend, totals)| (&*backend.name, totals))
    }

    /// Every removed identity of this name (`pool/backend`), at whatever address.
    pub fn removed_named(&self, name: &str) -> Vec<BackendId> {
        self.gone.named(name).collect()
    }

    /// The newest removed pool of this name.
    pub fn removed_pool(&self, name: &str) -> Option<PoolId> {
        let named = self.pools.iter().filter(|(_, it)| it.removed.is_some() && it.name == name);
        named.map(|(id, _)| *id).max()
    }

    /// The newest removed listener of this name.
    pub fn removed_listener(&self, name: &str) -> Option<ListenerId> {
        let named = self.listeners.iter().filter(|(_, it)| it.removed.is_some() && it.name == name);
        named.map(|(id, _)| *id).max()
    }

    /// The name of a backend that is in the configuration, as `pool/backend`.
    pub fn name_of(&self, id: BackendId) -> Option<&str> {
        self.backends.get(&id).filter(|it| it.removed.is_none()).map(|it| &*it.name)
    }

    /// Names of listeners, pools and backends that are gone from the configuration.
    pub fn gone_names(&self) -> GoneNames {
        let listeners = self.listeners.iter().filter(|(_, it)| it.removed.is_some());
        let pools = self.pools.iter().filter(|(_, it)| it.removed.is_some());
        let backends = self.gone.iter().filter_map(|id| Some((*id, self.backends.get(id)?)));
        GoneNames {
            listeners: listeners.map(|(id, it)| (*id, it.name.clone())).collect(),
            pools: pools.map(|(id, it)| (*id, it.name.clone())).collect(),
            backends: backends.map(|(id, it)| (id, it.name.to_string())).collect(),
        }
    }

    /// The same, of what these sessions have: there may be a hundred thousand others.
    pub fn gone_names_of<'a>(
        &self,
        sessions: impl Iterator<Item = &'a ListedSession>,
    ) -> GoneNames {
        let mut names = GoneNames::default();
        for session in sessions {
            let listener = self.listeners.get(&session.listener);
            if let Some(gone) = listener.filter(|it| it.removed.is_some()) {
                names.listeners.entry(session.listener).or_insert_with(|| gone.name.clone());
            }
            let pool = self.pools.get(&session.pool);
            if let Some(gone) = pool.filter(|it| it.removed.is_some()) {
                names.pools.entry(session.pool).or_insert_with(|| gone.name.clone());
            }
            let backend = session.backend.filter(|id| self.gone.ids.contains(id));
            if let Some((id, gone)) = backend.and_then(|id| Some((id, self.backends.get(&id)?))) {
                names.backends.entry(id).or_insert_with(|| gone.name.to_string());
            }
        }
        names
    }

    pub(super) fn gone(&self) -> impl Iterator<Item = (BackendId, &Backend, BackendTotals)> {
        let gone = self.gone.iter().filter_map(|id| Some((*id, self.backends.get(id)?)));
        let alone = gone.filter(|(_, backend)| backend.heir.is_none());
        let counted = alone.map(|(id, backend)| (id, backend, self.backend(id)));
        counted.filter(|(_, _, totals)| totals.sessions > 0)
    }

    /// Gives a backend that is new the sessions of those that had its name and address.
    pub(super) fn inherit(&mut self, heir: BackendId) {
        let Some(new) = self.backends.get(&heir) else { return };
        // Also those of which no session is known: shards tell of them later.
        let named = self.gone.named(&new.name);
        let same =
            |id: &BackendId| self.backends.get(id).is_some_and(|it| it.address == new.address);
        let earlier: Vec<BackendId> = named.filter(same).collect();
        if earlier.is_empty() {
            return;
        }
        for id in &earlier {
            let Some(backend) = self.backends.get_mut(id) else { continue };
            (backend.heir, backend.earlier) = (Some(heir), Vec::new());
        }
        if let Some(backend) = self.backends.get_mut(&heir) {
            backend.earlier = earlier;
        }
    }

    /// Drops what is known of a backend. Its counts stay with the one that was added again:
    /// they must not fall.
    pub(super) fn forget_backend(&mut self, id: BackendId) {
        self.by_backend.forget(id);
        self.early_at.remove(&id);
        let Some(backend) = self.backends.remove(&id) else { return };
        self.gone.remove(id, &backend.name);
        if let Some(heir) = backend.heir.and_then(|heir| self.backends.get_mut(&heir)) {
            heir.earlier.retain(|it| *it != id);
            heir.totals.counts.add(&backend.totals.counts);
        }
    }
}
