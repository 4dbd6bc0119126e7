//! Giving up versions beyond the retention: between appends, and for room on a full disk.

use std::collections::BTreeSet;

use super::{Store, aside};

impl Store {
    /// Gives up the older half of the versions. False if that is not possible.
    pub(super) fn make_room(&mut self) -> bool {
        let Ok(oldest) = self.reader.oldest() else { return false };
        let first = oldest + (self.newest + 1).saturating_sub(oldest).div_ceil(2);
        let first = first.min(self.way_back.unwrap_or(first));
        if first > self.newest || first <= oldest {
            return false;
        }
        let (mut given_up, mut idle, unused) = (0, 0, BTreeSet::new());
        // Pages that a commit has given up are free after the next ones.
        while idle < 2 {
            match self.reader.write(|database| aside::cut(database, first, &unused)) {
                Ok(0) => idle += 1,
                Ok(count) => given_up += count,
                Err(_) => {
                    self.close();
                    break;
                }
            }
        }
        self.say(format!("the disk is full: {given_up} old versions were given up to make room"));
        given_up > 0
    }

    /// Does the work between appends: at most one commit. `now_ms` is Unix time.
    pub fn tend(&mut self, now_ms: u64) {
        self.open_for_changes();
        if self.closed_for_changes.is_some() || self.open_again().is_err() {
            return;
        }
        self.watch_name();
        let Some(first) = self.first_young(now_ms) else { return };
        let first = first.max((self.newest + 1).saturating_sub(self.retention.versions));
        let first = first.min(self.way_back.unwrap_or(self.newest));
        let in_use = &self.in_use;
        let is_due = self.reader.with(|database| aside::is_due(database, first, in_use));
        let cut = |database: &_| aside::cut(database, first, in_use);
        if is_due.is_ok_and(|is_due| is_due) && self.reader.write(cut).is_err() {
            self.close();
        }
    }

    /// Sessions live under these versions: they are kept until the next call without them.
    pub fn set_in_use(&mut self, versions: BTreeSet<u64>) {
        self.in_use = versions;
    }
}
