//! The limits that a configuration has.

use weir_proto::order::Limited;
use weir_proto::snapshot::{Backend, Snapshot};
use weir_proto::spec::Rate;

/// Every limit that a backend may have, with what is set.
pub fn limits_of_backend(backend: &Backend) -> [(Limited, Option<u32>); 3] {
    let Backend { id, max_sessions, connecting, connect_rate, .. } = *backend;
    [
        (Limited::Backend(id), max_sessions),
        (Limited::Connecting(id), connecting),
        (Limited::ConnectRate(id), connect_rate.map(Rate::burst)),
    ]
}

/// Every limit of `snapshot`.
pub(super) fn limits_of(snapshot: &Snapshot) -> impl Iterator<Item = (Limited, u32)> {
    let listeners = snapshot.listeners.iter();
    let listeners = listeners.flat_map(|it| {
        let rate = it.rate.map(Rate::burst);
        [(Limited::Listener(it.id), it.max_sessions), (Limited::Rate(it.id), rate)]
    });
    let backends = snapshot.pools.iter().flat_map(|pool| &pool.backends);
    let all = listeners.chain(backends.flat_map(limits_of_backend));
    all.filter_map(|(of, most)| Some((of, most?)))
}
