//! The aggregate once a second: sums and rates for people who look on.

use serde::{Deserialize, Serialize};
use weir_proto::ids::{BackendId, ListenerId, PoolId};

use super::{Aggregate, Durations, Rate};

/// Sums since the start that only grow.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Totals {
    /// Sessions.
    pub accepted: u64,
    /// From backends.
    pub received_bytes: u64,
    /// To backends.
    pub sent_bytes: u64,
}

impl Aggregate {
    /// The sums of the process; `None` until a shard has reported.
    pub fn totals(&self) -> Option<Totals> {
        let counts = &self.all.backends;
        let (received_bytes, sent_bytes) = (counts.received_bytes, counts.sent_bytes);
        let is_known = self.shards.iter().any(|shard| shard.since.is_some());
        is_known.then_some(Totals { accepted: self.accepted, received_bytes, sent_bytes })
    }

    /// Every connect of the process.
    pub fn connect_durations(&self) -> &Durations {
        &self.all.connect
    }

    /// A pool's rates over about the last second.
    pub fn pool_rate(&self, id: PoolId) -> Rate {
        let flows = self.pools.get(&id).map(|pool| pool.flows.iter());
        flows.into_iter().flatten().map(|flow| flow.rate).sum()
    }

    /// Sessions that a listener has accepted in a second, over about the last one.
    pub fn listener_rate(&self, id: ListenerId) -> f64 {
        let flows = self.listeners.get(&id).map(|listener| listener.flows.iter());
        flows.into_iter().flatten().map(|flow| flow.rate.sessions).sum()
    }

    /// A backend's rates over about the last second, with those of its earlier identities.
    pub fn backend_rate(&self, id: BackendId) -> Rate {
        self.identities(id).map(super::answer::rate).sum()
    }

    /// The sessions that each shard holds now, by backend: one may be there several times.
    pub fn held_rows(&self) -> Vec<(BackendId, u32)> {
        self.shards.iter().flat_map(|shard| &shard.held).copied().collect()
    }
}
