//! The session log on its way from the shards to control: records of sessions that were taken by a
//! backend, live on, or have ended.

use crate::reason::SessionEnd;
use crate::session::ListedSession;
use crate::spec::Percent;

/// Records of one shard that wait for control; more are dropped and counted. At four collections a
/// second these are 32,000 a second.
pub const RECORDS_MAX: usize = 8_192;

/// The sessions that are logged, and when.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SessionLogging {
    /// When a backend has taken the session.
    pub open: bool,
    /// When it is over.
    pub close: bool,
    /// While it lives, this often, in milliseconds. `None`: never.
    pub every_ms: Option<u32>,
    /// The share of sessions that are logged, each with all of its records or none.
    pub sample: Percent,
}

/// The event that a record is of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SessionEvent {
    Open,
    /// It lives on.
    Update,
    Close(SessionEnd),
}

/// One record.
#[derive(Clone, Debug)]
pub struct SessionRecord {
    pub event: SessionEvent,
    /// By the monotonic clock, in nanoseconds.
    pub at_nanos: u64,
    /// As it was then; its client is the address that it was accepted from.
    pub session: ListedSession,
    /// From accept until a backend took it, retries included, in microseconds.
    pub connect_us: Option<u32>,
}

/// Records since the last ones that were handed over.
#[derive(Clone, Debug, Default)]
pub struct SessionRecords {
    /// At most [`RECORDS_MAX`].
    pub rows: Vec<SessionRecord>,
    /// Those for which there was no room.
    pub dropped: u64,
}

impl SessionRecords {
    /// True if another one fits.
    #[must_use]
    pub fn has_room(&self) -> bool {
        self.rows.len() < RECORDS_MAX
    }

    /// Adds one, or counts it as dropped.
    pub fn put(&mut self, record: SessionRecord) {
        if self.has_room() { self.rows.push(record) } else { self.dropped += 1 }
    }

    /// True if there are none, and none were dropped.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.rows.is_empty() && self.dropped == 0
    }
}
