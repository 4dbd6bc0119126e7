//! A pool whose health is watched.

use std::net::SocketAddr;

use weir_proto::ids::{BackendId, IdSource, Version};
use weir_proto::snapshot::Snapshot;
use weir_proto::spec::{BackendSpec, HealthSpec, PoolSpec, Spec};

/// Snapshots of one pool `web`, with identities that are carried on.
pub struct HealthFixture {
    ids: IdSource,
    pub snapshot: Snapshot,
    spec: Spec,
}

impl HealthFixture {
    /// Backends `b1`, `b2` … at these addresses.
    ///
    /// # Panics
    /// If the spec is refused.
    #[must_use]
    pub fn new(health: HealthSpec, addresses: &[SocketAddr]) -> HealthFixture {
        let backend = |(index, address): (usize, &SocketAddr)| {
            let spec = BackendSpec::new((*address).into());
            (format!("b{}", index + 1).parse().unwrap(), spec)
        };
        let backend = addresses.iter().enumerate().map(backend).collect();
        let pool = PoolSpec { health, backend, ..PoolSpec::default() };
        let spec = Spec { pool: [("web".parse().unwrap(), pool.into())].into(), ..Spec::default() };
        let mut world =
            HealthFixture { ids: IdSource::default(), snapshot: Snapshot::empty(), spec };
        world.change(|_| {});
        world
    }

    /// Makes a next version.
    ///
    /// # Panics
    /// If it is refused.
    pub fn change(&mut self, change: impl FnOnce(&mut PoolSpec)) -> &Snapshot {
        change(self.spec.pool.values_mut().next().unwrap());
        let version = Version(self.snapshot.version.0 + 1);
        let built = Snapshot::build(&self.spec, version, &self.snapshot, &mut self.ids);
        self.snapshot = built.unwrap();
        &self.snapshot
    }

    /// The identity of a backend.
    ///
    /// # Panics
    /// If there is no such backend.
    #[must_use]
    pub fn id(&self, name: &str) -> BackendId {
        self.snapshot.pool("web").unwrap().backend(name).unwrap().id
    }
}
