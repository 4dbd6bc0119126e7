//! Connections that are reset because their session is of age: at a quiet moment, or after the
//! grace. The shortest lifetime of all worlds bounds both; the ledger knows each pool's own.

use super::{Kernel, Note};
use crate::net::ConnId;

const MS: u64 = 1_000_000;

/// The shortest lifetime, and the shortest quiet, in milliseconds.
const LIFETIME_MS_MIN: u64 = 1_000;
const QUIET_MS_MIN: u64 = LIFETIME_MS_MIN / 100;

impl Kernel {
    /// True if a session may be reset because it is of age: it is quiet and nothing is lost, or the
    /// grace is over. What the shard has not heard of (`has_unheard`) it cannot spare.
    pub(super) fn is_of_age(&self, note: &Note, has_unheard: bool) -> bool {
        let quiet_ms = (self.now - note.moved_at) / MS;
        let is_lossless = has_unheard || note.conns.into_iter().flatten().all(|id| !self.loses(id));
        let is_quiet = is_lossless && quiet_ms >= QUIET_MS_MIN;
        self.is_overdue(note) || is_quiet && self.age_ms(note) >= LIFETIME_MS_MIN / 10 * 9
    }

    /// True if its grace may be over.
    pub(super) fn is_overdue(&self, note: &Note) -> bool {
        self.age_ms(note) >= LIFETIME_MS_MIN
    }

    /// 0 where no session is ever too old.
    fn age_ms(&self, note: &Note) -> u64 {
        let born = note.accepted_at.filter(|_| self.swarm.lifetimes);
        born.map_or(0, |born| (self.now - born) / MS)
    }

    /// True if its peer has not acknowledged what weir has read from the other one.
    fn loses(&self, id: ConnId) -> bool {
        let conn = &self.net.conns[id];
        let other = conn.partner.map(|other| &self.net.conns[other]);
        other.is_some_and(|other| other.up.taken > conn.acked())
    }
}
