//! Control → shard [`Order`], shard → control [`Report`]. Both cross bounded channels that nobody
//! ever waits on.

use std::os::fd::OwnedFd;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use crate::bind_address::BindAddress;
use crate::ids::{BackendId, Edition, ListenerId, ShardId};
use crate::reason::ConnectFault;
use crate::session::{SessionPage, SessionSearch};
use crate::session_log::SessionRecords;
use crate::snapshot::Snapshot;
use crate::stats::ShardStats;

/// What control asks of one shard.
#[derive(Debug)]
pub enum Order {
    /// Use this snapshot from the next turn on. `sockets` are bound, not yet listening, one for
    /// each address that is new in it; an address that is gone from it is closed. One that stays
    /// keeps its socket, whichever listener it belongs to. `health` counts from the first session
    /// on that is opened under it.
    Adopt { snapshot: Arc<Snapshot>, sockets: Vec<ListenerSocket>, health: HealthWords },
    /// The health of these backends from now on.
    Health(HealthWords),
    /// The sessions that all *other* shards hold on these backends (least-conn, two-choices).
    LoadElsewhere(Vec<(BackendId, u32)>),
    /// What this shard may hold of the limits that all shards share.
    Credit(Vec<Credit>),
    /// Send the statistics since the last time. `spare` is an empty one to go on with.
    Collect { spare: Box<ShardStats> },
    /// End this backend's sessions with a reset, in batches.
    Kill(BackendId),
    /// End `count` of these sessions with a reset, those first in which nothing has moved for
    /// longest; fewer if there are fewer that relay.
    Shed { of: SessionsOf, count: u32 },
    /// Look for these sessions; [`Report::Sessions`] answers.
    Search(Box<SessionSearch>),
    /// Hand sessions over to the shard at the other end of this channel: at most that many of those
    /// that can leave now; with `None` every one, and accept nothing any more. [`Report::Gave`]
    /// ends it. The channel is `None` only on its way, when it travels beside the order.
    Give { channel: Option<OwnedFd>, most: Option<u32> },
    /// Sessions come through this channel. [`Report::Took`] ends it.
    Take { channel: Option<OwnedFd> },
    /// Accept nothing any more; sessions run on until `Serve` or `Stop`.
    Drain,
    /// Accept again from the next `Adopt` on: the `Drain` before was taken back.
    Serve,
    /// End all sessions with a reset and leave the thread.
    Stop,
}

/// The sessions of one backend, or of one listener.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum SessionsOf {
    Backend(BackendId),
    Listener(ListenerId),
}

/// Backends and what control says of their health.
pub type HealthWords = Vec<(BackendId, BackendHealth)>;

/// What control knows of a backend's health.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BackendHealth {
    Up,
    Down,
    /// Added while others served, and no check has succeeded since: it gets sessions only in panic,
    /// and is not missing yet, so that adding many is no panic.
    Unproven,
    /// Another priority group of its pool is kept (`failover = "stay"`): it gets no session, not
    /// even in panic, and is not missing.
    Aside,
}

/// One bound address of a listener, for one shard.
#[derive(Debug)]
pub struct ListenerSocket {
    pub address: BindAddress,
    pub socket: OwnedFd,
}

/// A limit whose credits are leased to the shards, by what it limits.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Limited {
    /// Sessions of a listener.
    Listener(ListenerId),
    /// Sessions of a backend.
    Backend(BackendId),
    /// New sessions of a listener: a credit that was used is there again some time later.
    Rate(ListenerId),
    /// Connects to a backend that are on their way.
    Connecting(BackendId),
    /// Connects to a backend that begin, as [`Limited::Rate`].
    ConnectRate(BackendId),
}

impl Limited {
    /// True if a credit that was used is there again some time later.
    #[must_use]
    pub fn is_rate(self) -> bool {
        match self {
            Limited::Rate(_) | Limited::ConnectRate(_) => true,
            Limited::Listener(_) | Limited::Backend(_) | Limited::Connecting(_) => false,
        }
    }
}

/// Control's word on one shard's part of a limit. All of it each time: a newer one takes the place
/// of an older one that was not sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Credit {
    pub of: Limited,
    /// All credits that were ever given to this shard.
    pub given: u64,
    /// Somebody else lacks credits: unused ones go back, and so does what is more than this as
    /// sessions end. `None`: nobody lacks any.
    pub keep: Option<u32>,
}

/// A shard's word on its part of a limit. All of it each time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Want {
    pub of: Limited,
    /// All credits that were ever given to it, as far as it has heard.
    pub given: u64,
    /// Credits that it holds, used or not.
    pub held: u32,
    pub wish: Wish,
}

/// Whether a shard would use more credits.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Wish {
    #[default]
    None,
    /// All are used, and no client waits: what is free is welcome, and no other shard has to give
    /// any back for it.
    Spare,
    /// A client waits and no credit is left.
    Needed,
}

/// What one shard tells control.
#[derive(Debug)]
pub enum Report {
    /// The shard serves; it holds this many sessions at most.
    Started { shard: ShardId, sessions_max: u32 },
    /// The shard uses this snapshot. No session is opened under an older one after this.
    Adopted { shard: ShardId, edition: Edition },
    /// A snapshot that the shard no longer uses: control frees it, so that no shard ever does.
    Retired(Arc<Snapshot>),
    /// Statistics since the last ones; the answer to [`Order::Collect`].
    Stats(Box<ShardStats>),
    /// How it stands with the limits that all shards share, by the edition that the shard uses:
    /// after each adoption all of them, otherwise those that have changed.
    Want { shard: ShardId, edition: Edition, wants: Vec<Want> },
    /// This many connects in a row failed on this shard; the shard picks it no more until control
    /// says [`Order::Health`].
    Ejected { shard: ShardId, backend: BackendId, fault: ConnectFault },
    /// Part of the answer to an [`Order::Search`].
    Sessions { shard: ShardId, page: Box<SessionPage> },
    /// The shard has handed its sessions over, or the other end is gone: then the sessions that
    /// it has not taken are the shard's as before.
    Gave { shard: ShardId, sessions: u64, is_whole: bool },
    /// No more sessions come through a channel: that was all of them, or the other end is gone.
    Took { shard: ShardId, sessions: u64, is_whole: bool },
    /// The last records of the session log, before the shard ends.
    SessionLog { shard: ShardId, records: Box<SessionRecords> },
    /// The shard has left its loop. `panic` holds the message if a panic ended it.
    Ended { shard: ShardId, panic: Option<String> },
}
