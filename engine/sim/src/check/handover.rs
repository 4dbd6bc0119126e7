//! Sessions that were handed over: everything that is known of one is known of it under its new
//! name.

use super::Ledger;
use crate::kernel::Key;

impl Ledger {
    /// N sessions are on their way after this turn.
    pub fn are_away(&mut self, count: usize) {
        self.counts.away = count;
    }

    /// A session has another name.
    pub(super) fn renamed(&mut self, from: Key, to: Key, now: u64) {
        (self.has_renamed, self.hands_over) = (true, true);
        if let Some(attempt) = self.attempts.remove(&from) {
            self.attempts.insert(to, attempt);
        }
        if self.answered.remove(&from) {
            self.answered.insert(to);
        }
        // It had been looked at before it could leave.
        self.served.insert(to);
        self.known_sources.renamed(to);
        self.records.renamed(from, to, now);
    }
}
