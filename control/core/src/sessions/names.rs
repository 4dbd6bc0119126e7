//! Names by identity, of one version.

use std::collections::BTreeMap;
use std::sync::Arc;

use weir_proto::answer::SessionRow;
use weir_proto::ids::{BackendId, ListenerId, PoolId, ShardId};
use weir_proto::session::{ListedSession, SessionName};
use weir_proto::snapshot::{Backend, Snapshot};

use super::GoneNames;

/// The names of everything in a version.
#[derive(Debug)]
pub(crate) struct Names {
    snapshot: Arc<Snapshot>,
    /// Places in lists of the snapshot.
    listeners: BTreeMap<ListenerId, usize>,
    pools: BTreeMap<PoolId, usize>,
    backends: BTreeMap<BackendId, (usize, usize)>,
}

impl Names {
    pub(crate) fn of(snapshot: Arc<Snapshot>) -> Names {
        let listeners = snapshot.listeners.iter().enumerate();
        let listeners = listeners.map(|(place, it)| (it.id, place)).collect();
        let (mut pools, mut backends) = (BTreeMap::new(), BTreeMap::new());
        for (number, pool) in snapshot.pools.iter().enumerate() {
            pools.insert(pool.id, number);
            let places = pool.backends.iter().enumerate();
            backends.extend(places.map(|(place, it)| (it.id, (number, place))));
        }
        Names { snapshot, listeners, pools, backends }
    }

    /// True if these are the names of that version.
    pub(crate) fn is_of(&self, snapshot: &Arc<Snapshot>) -> bool {
        Arc::ptr_eq(&self.snapshot, snapshot)
    }

    /// A backend that the version has.
    pub(crate) fn backend(&self, id: BackendId) -> Option<&Backend> {
        let (pool, place) = *self.backends.get(&id)?;
        Some(&self.snapshot.pools[pool].backends[place])
    }

    fn backend_name(&self, id: BackendId) -> Option<String> {
        let (pool, place) = *self.backends.get(&id)?;
        let pool = &self.snapshot.pools[pool];
        Some(format!("{}/{}", pool.name, pool.backends[place].name))
    }

    /// A session as people see it. `gone` has the names that the version does not have.
    pub(crate) fn row(
        &self,
        shard: ShardId,
        listed: ListedSession,
        gone: &GoneNames,
    ) -> SessionRow {
        let ListedSession { key, listener, pool, version, .. } = listed;
        let listener = match self.listeners.get(&listener) {
            Some(place) => self.snapshot.listeners[*place].name.to_string(),
            None => gone.listeners.get(&listener).cloned().unwrap_or_default(),
        };
        let pool = match self.pools.get(&pool) {
            Some(place) => self.snapshot.pools[*place].name.to_string(),
            None => gone.pools.get(&pool).cloned().unwrap_or_default(),
        };
        let backend = |id| self.backend_name(id).or_else(|| gone.backends.get(&id).cloned());
        SessionRow {
            id: SessionName { shard, key }.to_string(),
            listener,
            pool,
            backend: listed.backend.and_then(backend),
            client: listed.client.map(|client| client.to_string()),
            route: listed.route.map(|place| u64::from(place) + 1),
            sni: listed.server_name.map(String::from),
            age_s: seconds(listed.age_ms),
            idle_s: seconds(listed.idle_ms),
            received_bytes: listed.received_bytes,
            sent_bytes: listed.sent_bytes,
            rate_bytes_per_s: listed.rate_bytes_per_s,
            state: listed.state,
            blocked_on: listed.blocked_on,
            version: version.0,
            shard: shard.0,
        }
    }
}

#[allow(clippy::cast_precision_loss)] // exact up to 285,000 years
fn seconds(ms: u64) -> f64 {
    ms as f64 / 1e3
}
