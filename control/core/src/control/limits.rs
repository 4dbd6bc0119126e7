//! Limits of listeners and shards: an event when one is reached and one when there is room again,
//! however many clients meet it in between. That of all slots is [`super::fullness`].

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use serde::{Deserialize, Serialize};
use weir_core::base::clock::Now;
use weir_proto::answer::EventKind;
use weir_proto::ids::{ListenerId, ShardId};

use super::{Clocks, Control};
use crate::legacy::maybe_moment;

/// Percentage of its limit below which a listener has room again: one client that leaves while
/// another comes must not make two events.
const ROOM_PERCENT: u64 = 95;

/// A shard has buffers again when none was missed for so long.
const BUFFERS_HOLD: Duration = Duration::from_secs(10);

/// The limits that are reached now.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub(super) struct Limits {
    /// At their own `max-sessions`.
    listeners: BTreeSet<ListenerId>,
    /// Each shard's want of buffers.
    buffers: BTreeMap<ShardId, Shortage>,
}

/// Receives that found no free buffer, as far as they were seen.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
struct Shortage {
    count: u64,
    /// When the count last rose, while that is not over.
    #[serde(with = "maybe_moment")]
    since: Option<Now>,
}

impl Shortage {
    /// `Some(true)` if it begins, `Some(false)` if it is over.
    fn watch(&mut self, count: u64, now: Now) -> Option<bool> {
        let before = self.since;
        if count > self.count {
            (self.count, self.since) = (count, Some(now));
        }
        self.since = self.since.filter(|at| now - *at < BUFFERS_HOLD);
        (before.is_some() != self.since.is_some()).then_some(self.since.is_some())
    }
}

/// True if a limit is reached by `sessions`, or was and there is too little room since.
fn is_reached(was_reached: bool, sessions: u64, most: u64) -> bool {
    sessions >= most || was_reached && sessions * 100 >= most * ROOM_PERCENT
}

impl Control {
    /// Writes down which limits are reached, and which no longer.
    pub(super) fn watch_limits(&mut self, moment: Clocks) {
        if self.aggregate.keeps_all() {
            return; // sessions are on their way between two processes
        }
        self.watch_listeners(moment.wall_ms);
        self.watch_buffers(moment);
    }

    fn watch_listeners(&mut self, wall_ms: u64) {
        let before = core::mem::take(&mut self.limits.listeners);
        let snapshot = self.snapshot.clone();
        for listener in &snapshot.listeners {
            let was_reached = before.contains(&listener.id);
            let most = listener.max_sessions.map(u64::from);
            // Most have no limit: this is every tick, and there may be a thousand of them.
            if most.is_none() && !was_reached {
                continue;
            }
            let sessions = self.aggregate.listener(listener.id).sessions;
            let reached = most.filter(|most| is_reached(was_reached, sessions, *most));
            if reached.is_some() {
                self.limits.listeners.insert(listener.id);
            }
            let text = match (was_reached, reached) {
                (false, Some(most)) => {
                    let text = format!(
                        "at its max-sessions: {sessions} of {most}; new clients wait until fewer \
                         than {ROOM_PERCENT}% are left"
                    );
                    tracing::warn!("listener {}: {text}", listener.name);
                    text
                }
                (true, None) => {
                    let text = format!("below its max-sessions again: {sessions} are open");
                    tracing::info!("listener {}: {text}", listener.name);
                    text
                }
                _ => continue,
            };
            self.events.push(EventKind::Limit, listener.name.to_string(), text, wall_ms);
        }
    }

    fn watch_buffers(&mut self, moment: Clocks) {
        for shard in &self.shards {
            let totals = self.aggregate.shard(shard.id);
            let want = self.limits.buffers.entry(shard.id).or_default();
            let text = match want.watch(totals.counts.starved, moment.now) {
                Some(true) => {
                    let text = "no buffer is free: sessions wait for one ([weir] buffers)";
                    tracing::warn!("shard {}: {text}", shard.id);
                    text
                }
                Some(false) => {
                    let text = "buffers are free again";
                    tracing::info!("shard {}: {text}", shard.id);
                    text
                }
                None => continue,
            };
            let subject = format!("shard {}", shard.id);
            self.events.push(EventKind::Limit, subject, text.to_owned(), moment.wall_ms);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_limit_is_reached_until_there_is_room() {
        let mut reached = false;
        let cases = [(99, false), (100, true), (95, true), (101, true), (94, false), (99, false)];
        for (sessions, wanted) in cases {
            reached = is_reached(reached, sessions, 100);
            assert_eq!(reached, wanted, "{sessions}");
        }
        assert!(is_reached(true, 1, 1) && !is_reached(true, 0, 1));
    }

    #[test]
    fn a_want_of_buffers_is_told_when_it_begins_and_when_it_is_over() {
        let at = |s: u64| Now::from_nanos(s * 1_000_000_000);
        let mut want = Shortage::default();
        let cases = [
            // Second, count so far, expected.
            (0, 0, None),
            (1, 5, Some(true)),
            (2, 900, None),
            (11, 900, None),
            (12, 900, Some(false)),
            (13, 900, None),
            (14, 901, Some(true)),
            (23, 902, None),
            (33, 902, Some(false)),
        ];
        for (second, count, wanted) in cases {
            assert_eq!(want.watch(count, at(second)), wanted, "after {second} s");
        }
    }
}
