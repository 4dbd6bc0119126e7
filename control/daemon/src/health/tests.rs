//! Schedules on paper, and the prober against listeners of this host.

mod damping;
mod network;
mod schedule;

use super::*;
use weir_proto::ids::{IdSource, Version};
use weir_proto::spec::{Admin, BackendSpec, HealthKind, HealthSpec, PoolSpec, Span, Spec};

/// Snapshots of one pool `web`, with identities that are carried on.
struct HealthFixture {
    ids: IdSource,
    snapshot: Snapshot,
    spec: Spec,
}

impl HealthFixture {
    fn new(health: HealthSpec, addresses: &[std::net::SocketAddr]) -> HealthFixture {
        let backend = |(index, address): (usize, &std::net::SocketAddr)| {
            let spec = BackendSpec { address: *address, weight: 1, state: Admin::Ready };
            (format!("b{}", index + 1).parse().unwrap(), spec)
        };
        let backend = addresses.iter().enumerate().map(backend).collect();
        let pool = PoolSpec { health, backend, ..PoolSpec::default() };
        let spec = Spec { pool: [("web".parse().unwrap(), pool)].into(), ..Spec::default() };
        let mut world =
            HealthFixture { ids: IdSource::default(), snapshot: Snapshot::empty(), spec };
        world.change(|_| {});
        world
    }

    fn change(&mut self, change: impl FnOnce(&mut PoolSpec)) -> &Snapshot {
        change(self.spec.pool.values_mut().next().unwrap());
        let version = Version(self.snapshot.version.0 + 1);
        let built = Snapshot::build(&self.spec, version, &self.snapshot, &mut self.ids);
        self.snapshot = built.unwrap();
        &self.snapshot
    }

    fn id(&self, name: &str) -> BackendId {
        self.snapshot.pool("web").unwrap().backend(name).unwrap().id
    }
}

fn tcp() -> HealthSpec {
    HealthSpec::default()
}
