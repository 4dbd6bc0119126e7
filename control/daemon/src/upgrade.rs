//! One weir takes the place of another: listeners, doors and live sessions go from the process that
//! serves to the one that it has started (docs/adr/0051).
//!
//! ```text
//! old  starts the new one ─Begin─▶ makes its rings ─Hello─▶ takes no change, lends the state
//!        ─Inventory: sockets, channels─▶ reads the state, its shards use the version ─Ready─▶
//!        ─Commit─▶ listens, opens its doors; each old shard gives its sessions ─▶
//!        ─Remainder─▶ adds what was counted meanwhile ─Done─▶ old ends
//! ```
//! Until Commit the old process can go on as if nothing had been: the new one has touched nothing.

pub(crate) mod channel;
pub(crate) mod spawn;
pub(crate) mod successor;

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use weir_proto::bind_address::BindAddress;

/// Both sides must speak the same one; counted up with each change that the other would not
/// understand.
pub(crate) const PROTOCOL: u32 = 1;

/// How long the new process may take to make its rings.
pub(crate) const HELLO_MAX: Duration = Duration::from_secs(10);
/// How long it may take to read the state and to give it to its shards.
pub(crate) const READY_MAX: Duration = Duration::from_secs(60);
/// How long the shards may take to hand their sessions over, before those that are left are reset.
pub(crate) const GIVE_MAX: Duration = Duration::from_secs(60);

/// How long one of the two may take for its next word, where nothing else is said.
pub(crate) const WORD_MAX: Duration = Duration::from_secs(60);

/// From the process that serves.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) enum ToSuccessor {
    /// `hash_seed` is that of client addresses: who comes again finds the same backend.
    Begin { protocol: u32, program: String, hash_seed: (u64, u64) },
    /// Comes with the descriptors: the control socket, the admin socket if there is one, the
    /// listening sockets in this order, a channel of each shard.
    Inventory(Box<Inventory>),
    /// It is the new one's turn from here on.
    Commit,
    /// Every session was handed over. With the counts and events since the inventory, as JSON.
    Remainder(Vec<u8>),
}

/// The things that are handed over before any session.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Inventory {
    /// The version in force.
    pub(crate) version: u64,
    pub(crate) control: PathBuf,
    pub(crate) admin: Option<SocketAddr>,
    /// The address of each listening socket, and the shard that has it.
    pub(crate) listeners: Vec<(BindAddress, u16)>,
    /// One for each shard.
    pub(crate) channels: u16,
    /// The state of control, as JSON.
    pub(crate) legacy: Vec<u8>,
}

/// From the process that takes over.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) enum FromSuccessor {
    Hello {
        protocol: u32,
        program: String,
        shards: u16,
    },
    /// Its shards use the version.
    Ready,
    /// It has that many sessions, and everything else.
    Done {
        sessions: u64,
    },
    /// It cannot go on.
    Failed(String),
}
