//! What shards count on the data path that should not repeat, told to people: an event and a line
//! in the log at the first time, then at most one a minute, with how often it was.

use std::collections::BTreeMap;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use weir_core::base::clock::Now;
use weir_proto::answer::EventKind;
use weir_proto::ids::ShardId;

use super::{Clocks, Control};
use crate::legacy::maybe_moment;

/// Minimum interval between two reports of the same anomaly.
const QUIET: Duration = Duration::from_mins(1);

/// Each counter's value at its last report, and when that was.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub(super) struct Repeats {
    /// Sessions whose watches told in vain, by shard.
    fruitless: BTreeMap<ShardId, Told>,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
struct Told {
    count: u64,
    #[serde(with = "maybe_moment")]
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
        for (name, closes, sessions) in self.aggregate.take_early() {
            let text = format!(
                "ended {closes} of {sessions} sessions before its first byte: see what it logs (a \
                 host that it has blocked after too many checks, its own limit, TLS on one side \
                 only)"
            );
            tracing::warn!("backend {name} {text}");
            self.events.push(EventKind::Health, name, text, moment.wall_ms);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

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
