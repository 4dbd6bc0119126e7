//! The blast radius of a change, told before it is made: `--dry-run` and `config diff`.

use serde::{Deserialize, Serialize};

use crate::change::Kind;

/// One key of one object that would change, or an object that would come or go.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ChangeRow {
    /// `listener web`, `pool web` or `backend web/b1`.
    pub object: String,
    pub kind: Kind,
    /// As in the file, dotted: `health.interval`. Empty: the object as a whole.
    pub key: String,
    /// `None`: absent.
    pub before: Option<String>,
    pub after: Option<String>,
    pub class: Class,
}

/// The effect of a change on sockets and sessions.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Class {
    /// No socket and no session notices.
    Hot,
    /// Listening sockets open or close. Sessions run on.
    Rebind,
    /// A backend gets no new sessions. Those that it has run on.
    Drain,
    /// Sessions are reset.
    Cut,
}

/// The effect of a change on what runs now. Counts are of the last reports of the shards, which are
/// up to a quarter of a second old.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Impact {
    pub listeners: ListenerImpact,
    pub backends: BackendImpact,
    pub sessions: SessionImpact,
    /// The share of client addresses, 0 to 1, that get another backend in the pools that have the
    /// strategy `maglev` before and after. `None`: there is none that would change.
    pub maglev_keys_moved: Option<f64>,
    /// Limits that are exceeded already, and what weir cannot know before it is done.
    pub warnings: Vec<String>,
}

/// Listeners, by name.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct ListenerImpact {
    /// Those that begin to accept.
    pub open: Vec<String>,
    /// Those that cease to accept.
    pub close: Vec<String>,
    /// Those that accept before and after, at other addresses.
    pub rebind: Vec<String>,
}

/// Backends, as `pool/backend`. One with another address is removed and added.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct BackendImpact {
    pub added: Vec<String>,
    pub removed: Vec<String>,
    /// Those that stay, and get no new sessions any more.
    pub drained: Vec<String>,
}

/// Sessions that are open now.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct SessionImpact {
    /// Those on backends that stay as they are.
    pub stay: u64,
    /// Those on backends that are removed or drained: they run on until they end.
    pub drain: u64,
    /// Those that are reset.
    pub cut: u64,
}
