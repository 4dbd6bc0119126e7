//! What shards count on the data path that should not repeat, told to people: an event and a line
//! in the log at the first time, then at most one a minute, with how often it was.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use weir_core::base::clock::Now;
use weir_proto::answer::EventKind;
use weir_proto::ids::{BackendId, ShardId};

use super::{Clocks, Control};

/// Minimum interval between two reports of the same anomaly.
const QUIET: Duration = Duration::from_mins(1);

/// Each counter's value at its last report, and when that was.
#[derive(Debug, Default)]
pub(super) struct Repeats {
    /// Sessions whose watches told in vain, by shard.
    fruitless: BTreeMap<ShardId, Told>,
    /// Sessions that a backend ended before it had sent a byte.
    early: BTreeMap<BackendId, Early>,
}

/// Early closes within [`QUIET`] that are reported, if they are at least half of the backend's
/// sessions.
const EARLY_MIN: u64 = 10;

/// A backend's counters at the start of the current minute.
#[derive(Clone, Copy, Debug)]
struct Early {
    closes: u64,
    sessions: u64,
    since: Now,
    told: bool,
}

impl Early {
    /// Early ends and sessions since the minute began, once a minute and only if they are many.
    fn due(&mut self, closes: u64, sessions: u64, now: Now) -> Option<(u64, u64)> {
        let more = (closes.saturating_sub(self.closes), sessions.saturating_sub(self.sessions));
        let due = !self.told && more.0 >= EARLY_MIN && more.0 * 2 >= more.1;
        self.told |= due;
        if now - self.since >= QUIET {
            *self = Early { closes, sessions, since: now, told: false };
        }
        due.then_some(more)
    }
}

#[derive(Clone, Copy, Debug, Default)]
struct Told {
    count: u64,
    at: Option<Now>,
}

impl Told {
    /// How much of `count` has not been told of, if it is time to do so.
    fn due(&mut self, count: u64, now: Now) -> Option<u64> {
        let more = count.checked_sub(self.count).filter(|more| *more > 0)?;
        if self.at.is_some_and(|at| now - at < QUIET) {
            return None;
        }
        *self = Told { count, at: Some(now) };
        Some(more)
    }
}

impl Control {
    /// Tells of what has repeated since the last time.
    pub(super) fn tell_repeats(&mut self, moment: Clocks) {
        let counts: Vec<u64> =
            self.aggregate.shards().map(|totals| totals.counts.fruitless_watches).collect();
        for (shard, count) in self.shards.iter().map(|shard| shard.id).zip(counts) {
            let told = self.repeats.fruitless.entry(shard).or_default();
            let Some(more) = told.due(count, moment.now) else { continue };
            let text = format!(
                "{more} times a session's socket was ready again and again and nothing moved; it \
                 is asked less often (is net.ipv4.tcp_mem used up?)"
            );
            tracing::warn!("shard {shard}: {text}");
            self.events.push(EventKind::Shard, shard.to_string(), text, moment.wall_ms);
        }
        self.tell_early_closes(moment);
    }

    /// A backend that takes sessions and ends them without a byte looks healthy to a check that
    /// only connects.
    fn tell_early_closes(&mut self, moment: Clocks) {
        let snapshot = self.snapshot.clone();
        // This runs four times a second, and there may be many thousands.
        let here: BTreeSet<BackendId> = snapshot.backends().map(|(_, it)| it.id).collect();
        self.repeats.early.retain(|id, _| here.contains(id));
        for (pool, backend) in snapshot.backends() {
            let totals = self.aggregate.backend(backend.id);
            let (closes, sessions) = (totals.counts.early_closes, totals.counts.sessions);
            let since = moment.now;
            let early = self.repeats.early.entry(backend.id).or_insert(Early {
                closes,
                sessions,
                since,
                told: false,
            });
            let Some((closes, sessions)) = early.due(closes, sessions, moment.now) else {
                continue;
            };
            let text = format!(
                "ended {closes} of {sessions} sessions before its first byte: see what it logs (a \
                 host that it has blocked after too many checks, its own limit, TLS on one side \
                 only)"
            );
            let name = format!("{}/{}", pool.name, backend.name);
            tracing::warn!("backend {name} {text}");
            self.events.push(EventKind::Health, name, text, moment.wall_ms);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn early_ends_are_told_once_a_minute_if_they_are_many() {
        let at = |s: u64| Now::from_nanos(s * 1_000_000_000);
        let mut early = Early { closes: 5, sessions: 50, since: at(0), told: false };
        let cases = [
            // Second, (early closes, sessions) so far, reported (closes, sessions).
            (1, (14, 60), None),
            (2, (15, 71), None), // fewer than half
            (3, (16, 72), Some((11, 22))),
            (4, (90, 150), None),
            (60, (90, 150), None),
            (61, (100, 160), Some((10, 10))),
            (121, (100, 160), None),
            (122, (109, 169), None),
            (181, (110, 170), Some((10, 10))),
            (182, (111, 171), None),
        ];
        for (second, (closes, sessions), wanted) in cases {
            assert_eq!(early.due(closes, sessions, at(second)), wanted, "after {second} s");
        }
    }

    #[test]
    fn the_first_time_is_told_at_once_and_the_others_once_a_minute() {
        let mut told = Told::default();
        let at = |s: u64| Now::from_nanos(s * 1_000_000_000);
        let cases = [
            // Second, count so far, reported count.
            (0, 0, None),
            (1, 1, Some(1)),
            (1, 1, None),
            (2, 9, None),
            (60, 12, None),
            (61, 12, Some(11)),
            (200, 12, None),
            (201, 13, Some(1)),
        ];
        for (second, count, wanted) in cases {
            assert_eq!(told.due(count, at(second)), wanted, "after {second} s");
        }
    }
}
