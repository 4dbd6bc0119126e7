//! A live session on its way from one shard to another: everything about it but its descriptors and
//! the bytes that are held for it, which travel beside it.
//!
//! Moments are nanoseconds of CLOCK_MONOTONIC, which is the same in every process of a host;
//! objects are named by the ids of the snapshot that both sides use.

use std::net::SocketAddr;

use serde::{Deserialize, Serialize};

use crate::ids::{BackendId, ListenerId, PoolId, Version};
use crate::reason::Side;

/// The most chunks of bytes that one direction of a session holds.
pub const CHUNKS_MAX: usize = 2;

/// Descriptors of one message at most: SCM_MAX_FD of unix(7).
pub const DESCRIPTORS_MAX: usize = 253;

/// A session that a backend has.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct HandedSession {
    pub listener: ListenerId,
    pub pool: PoolId,
    pub backend: BackendId,
    /// The version under which it was accepted.
    pub born: Version,
    pub accepted_at: u64,
    /// When bytes last moved.
    pub moved_at: u64,
    /// When its peers were looked at last.
    pub looked_at: u64,
    /// By the side that each direction reads from.
    pub flows: [HandedFlow; 2],
    pub peers: [HandedPeer; 2],
    pub terms: HandedTerms,
    /// Bytes from the backend, and to it.
    pub received: u64,
    pub sent: u64,
    /// The side whose FIN or reset came first.
    pub closed_first: Option<Side>,
    pub first_byte_seen: bool,
    /// Both FINs have been passed on, and what the peers have not acknowledged is waited for.
    pub delivering: bool,
    /// Its sockets ask idle peers whether they are there.
    pub keepalive: bool,
    /// A side whose FIN has come is watched for a reset.
    pub watched: bool,
    /// Its sockets answer EAGAIN where they would wait.
    pub nonblocking: bool,
    /// The notes that few sessions have; `None` for most.
    pub notes: Option<Box<HandedNotes>>,
}

/// A session that no backend has yet. Nothing of its client's has been taken but a header.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct HandedClient {
    pub listener: ListenerId,
    pub pool: PoolId,
    /// The version under which it was accepted.
    pub born: Version,
    pub accepted_at: u64,
    pub stage: ClientStage,
    /// As of a [`HandedSession`].
    pub notes: Option<Box<HandedNotes>>,
}

/// The next thing that a client waits for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum ClientStage {
    /// Its header, or its hello, which must have come by then.
    Inspecting {
        hello: bool,
        /// The kernel was told to wake for no less than it.
        is_marked: bool,
        until: u64,
    },
    /// A backend: the taker picks one.
    Connecting {
        /// Keyed hash of its address.
        key: u64,
        attempts_left: u8,
    },
}

/// The terms of its pool by which a session goes, in milliseconds.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct HandedTerms {
    pub idle_ms: u32,
    pub half_close_ms: u32,
    pub stalled_ms: u32,
}

/// One direction.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct HandedFlow {
    /// The peer that it reads from has sent its FIN.
    pub ended: bool,
    /// That was passed on.
    pub finished: bool,
    /// Not all that was sent had been acknowledged at the last look.
    pub undelivered: bool,
    /// Large receives in a row.
    pub large: u8,
    /// Lengths of the chunks that were received and not sent, the first one first; 0 is none.
    pub chunks: [u16; CHUNKS_MAX],
    /// It goes through a pipe, which holds this many bytes.
    pub pipe: Option<u32>,
}

/// One side, as it stood at the last look.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct HandedPeer {
    /// Bytes that were sent to it and not acknowledged.
    pub owed: u32,
    /// When it last took some of them, or they began to wait.
    pub taken_at: u64,
    /// For how many milliseconds it has taken nothing although bytes waited for it, in all.
    pub blocked_ms: u32,
}

/// The notes that a table keeps of few sessions.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct HandedNotes {
    /// The client, and the address that it has connected to, as a header has told.
    pub told: Option<(SocketAddr, SocketAddr)>,
    /// Fields that a backend gets with a header.
    pub passed: Option<Box<[u8]>>,
    /// The route that it has taken, where its listener has some.
    pub route: Option<HandedRoute>,
    /// The source of clients that it counts for, by its hash.
    pub source: Option<u64>,
    /// The session log knows it.
    pub log: Option<HandedLog>,
}

/// The route of a session.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct HandedRoute {
    /// Its place in the listener's list; `None`: none fits.
    pub place: Option<u32>,
    /// The name that the client has asked for.
    pub server_name: Option<Box<str>>,
}

/// The session log's note of a session.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct HandedLog {
    pub client: Option<SocketAddr>,
    /// How long it took until a backend had it.
    pub connect_us: Option<u32>,
    pub is_logged: bool,
}

/// A message between two shards. Chunks of bytes follow it: of each session those of its first
/// direction, then of its second. Descriptors come beside it: of each session the client's socket,
/// the backend's, then the reading and the writing end of each pipe; then those of the clients.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum HandoverMessage {
    /// To the taker: these are its own once it has said so.
    Sessions { number: u64, sessions: Vec<HandedSession>, clients: Vec<HandedClient> },
    /// To the giver: they are.
    Taken { number: u64 },
    /// To the giver: it did not come whole (the taker's descriptor table is full), and
    /// nothing more is taken.
    Refused { number: u64 },
    /// To the taker: that was all.
    End,
}

impl HandedSession {
    /// How many descriptors come with it.
    #[must_use]
    pub fn descriptors(&self) -> usize {
        2 + 2 * self.flows.iter().filter(|flow| flow.pipe.is_some()).count()
    }

    /// The lengths of its chunks, in order.
    pub fn chunks(&self) -> impl Iterator<Item = u16> + '_ {
        self.flows.iter().flat_map(|flow| flow.chunks).filter(|length| *length > 0)
    }
}
