//! Live sessions: how some are chosen, and the row of each. Shards know identities, people names.

use core::fmt;
use core::net::SocketAddr;
use core::str::FromStr;

use serde::{Deserialize, Serialize};

use crate::ids::{BackendId, ListenerId, PoolId, ShardId, Version};
use crate::network::Network;

/// The most sessions that one answer lists.
pub const LISTED_MAX: u32 = 100_000;
/// The most, if the question does not say.
pub const LISTED_DEFAULT: u32 = 100;

/// Names a session of one shard; another one never has the same key while that shard lives.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SessionKey {
    pub slot: u32,
    pub generation: u32,
}

/// Names a session of this process, as in `0.17.3`: shard, slot, generation.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SessionName {
    pub shard: ShardId,
    pub key: SessionKey,
}

impl fmt::Display for SessionName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let SessionName { shard, key: SessionKey { slot, generation } } = self;
        write!(f, "{shard}.{slot}.{generation}")
    }
}

impl FromStr for SessionName {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<SessionName, &'static str> {
        const FORM: &str = "a session is named by three numbers, as in 0.17.3";
        let mut parts = text.split('.');
        let mut next = || parts.next().filter(|part| !part.starts_with('+')).ok_or(FORM);
        let shard = ShardId(next()?.parse().map_err(|_| FORM)?);
        let slot = next()?.parse().map_err(|_| FORM)?;
        let generation = next()?.parse().map_err(|_| FORM)?;
        match parts.next() {
            None => Ok(SessionName { shard, key: SessionKey { slot, generation } }),
            Some(_) => Err(FORM),
        }
    }
}

/// The choice of sessions, as people say it. All that is said must be true of a session; nothing
/// said: every session.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct SessionFilter {
    pub pool: Option<String>,
    /// `pool/backend`, removed ones too.
    pub backend: Option<String>,
    pub listener: Option<String>,
    /// A [`Network`].
    pub client: Option<String>,
    /// Accepted at least so long ago.
    pub older_ms: Option<u64>,
    /// No byte has moved for at least so long.
    pub idle_ms: Option<u64>,
    /// Accepted under this version.
    pub version: Option<u64>,
    /// A side takes nothing for now although bytes wait for it.
    pub stalled: bool,
}

/// The order of a list.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum SessionSort {
    /// The oldest first.
    #[default]
    Age,
    /// First those in which nothing has moved for longest.
    Idle,
    /// First those that have carried most bytes.
    Bytes,
    /// First those that carry most bytes a second now.
    Rate,
}

impl SessionSort {
    pub const ALL: [SessionSort; 4] =
        [SessionSort::Age, SessionSort::Idle, SessionSort::Bytes, SessionSort::Rate];

    /// Its word in options.
    #[must_use]
    pub const fn word(self) -> &'static str {
        match self {
            SessionSort::Age => "age",
            SessionSort::Idle => "idle",
            SessionSort::Bytes => "bytes",
            SessionSort::Rate => "rate",
        }
    }
}

impl FromStr for SessionSort {
    type Err = String;

    fn from_str(text: &str) -> Result<SessionSort, String> {
        let found = SessionSort::ALL.into_iter().find(|sort| sort.word() == text);
        found.ok_or_else(|| format!("{text:?} is none of age, idle, bytes, rate"))
    }
}

/// A session's phase, as people see it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum SessionState {
    /// The header that its listener wants has not come.
    Inspecting,
    /// Every backend is full; it waits for one.
    Queued,
    /// No backend has taken it yet.
    Connecting,
    Relaying,
    /// One side has sent its FIN.
    HalfClosed,
    /// It is over but for what the kernel still holds.
    Closing,
}

impl SessionState {
    /// Its word.
    #[must_use]
    pub const fn word(self) -> &'static str {
        match self {
            SessionState::Inspecting => "inspecting",
            SessionState::Queued => "queued",
            SessionState::Connecting => "connecting",
            SessionState::Relaying => "relaying",
            SessionState::HalfClosed => "half-closed",
            SessionState::Closing => "closing",
        }
    }
}

/// A side for which bytes wait that it does not take.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum BlockedOn {
    Client,
    Backend,
    /// Each waits for the other to read.
    Both,
}

impl BlockedOn {
    /// Its word.
    #[must_use]
    pub const fn word(self) -> &'static str {
        match self {
            BlockedOn::Client => "client",
            BlockedOn::Backend => "backend",
            BlockedOn::Both => "both",
        }
    }
}

/// The choice of sessions by identities. All that is said must be true of a session.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct SessionMatch {
    /// Only these.
    pub only: Option<Vec<SessionKey>>,
    pub pool: Option<PoolId>,
    pub backends: Option<Vec<BackendId>>,
    pub listener: Option<ListenerId>,
    pub client: Option<Network>,
    pub older_ms: u64,
    pub idle_ms: u64,
    pub version: Option<Version>,
    pub stalled: bool,
}

/// The purpose of a search.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SearchFor {
    /// Those that are the first `limit` in this order, in no order themselves, and the number of
    /// all.
    Rows { sort: SessionSort, limit: u32 },
    /// The same as `Rows` for a few, and how the kernel sees their legs.
    Details,
    /// Each is ended with a reset.
    Kill,
}

/// A search among the sessions of one shard.
#[derive(Clone, Debug, PartialEq)]
pub struct SessionSearch {
    /// Its answers have the same.
    pub number: u64,
    pub of: SessionMatch,
    pub want: SearchFor,
}

/// Part of a shard's answer to a [`SessionSearch`].
#[derive(Clone, Debug, Default)]
pub struct SessionPage {
    pub number: u64,
    /// At most [`PAGE_MAX`].
    pub rows: Vec<ListedSession>,
    /// The number of sessions that matched, or of a kill that were ended. Known on the last page.
    pub matched: u64,
    pub is_last: bool,
}

/// Rows of one [`SessionPage`].
pub const PAGE_MAX: usize = 256;

/// One session as its shard sees it.
#[derive(Clone, Debug)]
pub struct ListedSession {
    pub key: SessionKey,
    pub listener: ListenerId,
    pub pool: PoolId,
    /// `None` between two connects.
    pub backend: Option<BackendId>,
    /// `None` if the kernel has forgotten it: the client has reset.
    pub client: Option<SocketAddr>,
    /// The place of its route in the listener's list, from 0 on; `None`: none fits, or there are
    /// none.
    pub route: Option<u32>,
    /// The name that the client's hello asks for, where it was read.
    pub server_name: Option<Box<str>>,
    pub age_ms: u64,
    pub idle_ms: u64,
    pub received_bytes: u64,
    pub sent_bytes: u64,
    pub rate_bytes_per_s: u64,
    pub state: SessionState,
    pub blocked_on: Option<BlockedOn>,
    /// By [`crate::reason::Side`]: for how long bytes have waited for it of which it took none.
    pub blocked_ms: [u64; 2],
    pub version: Version,
    /// The client's and the backend's, where they were asked for.
    pub legs: Option<Box<Legs>>,
}

/// The legs of a session.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Legs {
    pub client: Option<LegRow>,
    pub backend: Option<LegRow>,
}

/// One leg, by the kernel: TCP_INFO (tcp(7), linux/tcp.h), in base units.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct LegRow {
    /// weir's own address and port, and the peer's.
    pub local: String,
    pub peer: String,
    /// As in `established`.
    pub tcp_state: String,
    pub rtt_s: f64,
    pub rtt_variance_s: f64,
    pub min_rtt_s: f64,
    /// Segments that may be on their way at once, and the bytes of one.
    pub congestion_window: u64,
    pub segment_bytes: u64,
    /// Segments that are on their way.
    pub unacked_segments: u64,
    pub retransmits_total: u64,
    /// Bytes that weir has given to the kernel and the kernel not to the network.
    pub unsent_bytes: u64,
    pub acked_bytes_total: u64,
    pub received_bytes_total: u64,
    pub delivery_rate_bytes_per_s: u64,
    /// Since the peer last sent a byte.
    pub last_received_s: f64,
    /// The time in which weir had something to send...
    pub busy_s: f64,
    /// ...of it, in which the peer's window was closed...
    pub window_limited_s: f64,
    /// ...and in which the kernel's memory for the leg was used up.
    pub buffer_limited_s: f64,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_read_as_they_are_written() {
        let key = SessionKey { slot: 17, generation: 3 };
        let name = SessionName { shard: ShardId(0), key };
        assert_eq!(name.to_string(), "0.17.3");
        assert_eq!("0.17.3".parse(), Ok(name));
        for text in ["", "0", "0.17", "0.17.3.1", "0.17.x", "-1.0.0", "0.+1.0", "0.4294967296.0"] {
            assert!(text.parse::<SessionName>().is_err(), "{text}");
        }
    }
}
