//! Control → shard [`Order`], shard → control [`Report`]. Both cross bounded channels that nobody
//! ever waits on.

use std::os::fd::OwnedFd;
use std::sync::Arc;

use crate::ids::{BackendId, ListenerId, ShardId, Version};
use crate::reason::ConnectFault;
use crate::snapshot::Snapshot;
use crate::stats::ShardStats;

/// What control asks of one shard.
#[derive(Debug)]
pub enum Order {
    /// Use this snapshot from the next turn on. `sockets` are bound, not yet listening, one for
    /// each address of each listener that is new in it; a listener that is gone from it is closed.
    Adopt { snapshot: Arc<Snapshot>, sockets: Vec<ListenerSocket> },
    /// These backends are healthy (`true`) or not (`false`) from now on.
    Health(Vec<(BackendId, bool)>),
    /// The sessions that all *other* shards hold on these backends (least-conn, two-choices).
    LoadElsewhere(Vec<(BackendId, u32)>),
    /// Send the statistics since the last time. `spare` is an empty one to go on with.
    Collect { spare: Box<ShardStats> },
    /// End this backend's sessions with a reset, in batches.
    Kill(BackendId),
    /// Accept nothing any more; sessions run on until `Stop`.
    Drain,
    /// End all sessions with a reset and leave the thread.
    Stop,
}

/// One bound address of a listener, for one shard.
#[derive(Debug)]
pub struct ListenerSocket {
    pub listener: ListenerId,
    pub socket: OwnedFd,
}

/// What one shard tells control.
#[derive(Debug)]
pub enum Report {
    /// The shard serves; it holds this many sessions at most.
    Started { shard: ShardId, sessions_max: u32 },
    /// The shard uses this version. No session is opened under an older one after this.
    Adopted { shard: ShardId, version: Version },
    /// A snapshot that the shard no longer uses: control frees it, so that no shard ever does.
    Retired(Arc<Snapshot>),
    /// Statistics since the last ones; the answer to [`Order::Collect`].
    Stats(Box<ShardStats>),
    /// This many connects in a row failed on this shard; the shard picks it no more until control
    /// says [`Order::Health`].
    Ejected { shard: ShardId, backend: BackendId, fault: ConnectFault },
    /// The shard has left its loop. `panic` holds the message if it did not do so in peace.
    Ended { shard: ShardId, panic: Option<String> },
}
