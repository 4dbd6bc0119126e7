//! Sessions that a backend ends before it has sent a byte, counted over a minute: a backend that
//! takes sessions and ends them at once looks healthy to a check that only connects.

use std::time::Duration;

use serde::{Deserialize, Serialize};
use weir_core::base::clock::Now;
use weir_proto::ids::BackendId;

use crate::legacy::maybe_moment;

use super::Aggregate;

/// How long is counted, and the least time between two reports.
pub(super) const SPAN: Duration = Duration::from_mins(1);
/// The fewest in a span that are reported, if they are at least half of the backend's sessions.
const CLOSES_MIN: u64 = 10;

/// Early ends of one backend in the current span.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub(super) struct Early {
    /// When the span began: with the first box that had something of the backend.
    #[serde(with = "maybe_moment")]
    since: Option<Now>,
    pub(super) closes: u64,
    pub(super) sessions: u64,
    told: bool,
}

impl Early {
    /// True if something was counted, ever.
    pub(super) fn is_begun(&self) -> bool {
        self.since.is_some()
    }

    /// Adds what a shard has counted. True if they have become as many as people are to hear of
    /// it: once a span.
    pub(super) fn add(&mut self, closes: u64, sessions: u64, now: Now) -> bool {
        if self.since.is_none_or(|since| now - since >= SPAN) {
            *self = Early { since: Some(now), ..Early::default() };
        }
        (self.closes, self.sessions) = (self.closes + closes, self.sessions + sessions);
        let due = !self.told && self.closes >= CLOSES_MIN && self.closes * 2 >= self.sessions;
        self.told |= due;
        due
    }
}

impl Aggregate {
    /// Backends that have begun to end many sessions before their first byte: the name, such ends
    /// and all sessions in the last minute. Each comes once a minute.
    pub fn take_early(&mut self) -> Vec<(String, u64, u64)> {
        let early = std::mem::take(&mut self.early).into_iter();
        let here = early.filter_map(|id| self.backends.get(&id).filter(|it| it.removed.is_none()));
        here.map(|it| (it.name.to_string(), it.early.closes, it.early.sessions)).collect()
    }

    /// How many backends have done so within the last two minutes, and the names of some.
    pub fn ending_early(&self, most: usize) -> (usize, Vec<&str>) {
        let here = self.early_at.keys().filter_map(|id| self.backends.get(id));
        let here = here.filter(|it| it.removed.is_none()).map(|it| &*it.name);
        (self.early_at.len(), here.take(most).collect())
    }

    /// A backend has begun to.
    pub(super) fn note_early(&mut self, id: BackendId, now: Now) {
        self.early_at.insert(id, now);
        self.early.push(id);
    }

    /// Two minutes are over for some.
    pub(super) fn forget_early(&mut self, now: Now) {
        if !self.early_at.is_empty() {
            self.early_at.retain(|_, at| now - *at < 2 * SPAN);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn early_ends_are_told_once_a_minute_if_they_are_many() {
        let at = |s: u64| Now::from_nanos(s * 1_000_000_000);
        let mut early = Early::default();
        let cases = [
            // Second, early closes and sessions since the last box, reported.
            (1, (9, 10), false),
            (2, (1, 11), false), // fewer than half
            (3, (1, 1), true),
            (4, (74, 78), false),
            (60, (0, 0), false),
            (61, (10, 10), true),
            (120, (10, 10), false),
            (121, (9, 9), false),
            (180, (1, 1), true),
            (182, (10, 10), true),
        ];
        for (second, (closes, sessions), due) in cases {
            assert_eq!(early.add(closes, sessions, at(second)), due, "after {second} s");
        }
    }
}
