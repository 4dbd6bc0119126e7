//! Whether this weir can serve one more session. It cannot while every slot of every live shard is
//! taken, nor while this host gives it no descriptors or source ports: who balances over several
//! weirs should then send clients to another one.

use std::time::Duration;

use serde::{Deserialize, Serialize};
use weir_core::base::clock::Now;
use weir_proto::answer::EventKind;

use super::{Clocks, Control, Shard, ShardStatus};
use crate::aggregate::Outcomes;
use crate::legacy::maybe_moment;

/// Percentage of its slots below which a full shard has room again: one client that leaves while
/// another comes must not turn readiness over and over.
const ROOM_PERCENT: u64 = 95;

/// How long a fault of this host counts after it was last seen.
const FAULT_HOLD: Duration = Duration::from_secs(3);

/// Why no new session can be served.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Full {
    /// Every slot is taken, or was and too few have become free since.
    Slots { sessions: u64, sessions_max: u64 },
    /// Accepts or connects failed on this host lately: descriptors, source ports, memory.
    Host,
}

impl core::fmt::Display for Full {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        match self {
            Full::Slots { sessions, sessions_max } => write!(
                f,
                "full: {sessions} of {sessions_max} sessions; new ones wait until fewer than \
                 {ROOM_PERCENT}% are left"
            ),
            Full::Host => write!(
                f,
                "this host gives weir no more descriptors, source ports or memory: new sessions \
                 fail"
            ),
        }
    }
}

/// The slots of one shard that takes clients.
#[derive(Clone, Copy, Debug)]
struct Slots {
    /// Its place among all shards.
    index: usize,
    sessions: u64,
    /// 0 until it has said it.
    sessions_max: u64,
}

/// Remembers which shards were full, and when this host last failed.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Fullness {
    /// By shard.
    full: Vec<bool>,
    outcomes: Outcomes,
    #[serde(with = "maybe_moment")]
    fault: Option<Now>,
    now: Option<Full>,
}

impl Fullness {
    /// `None` while new sessions can be served.
    pub fn get(&self) -> Option<Full> {
        self.now
    }

    /// Judges by the newest figures: `live` are the shards that take clients.
    fn watch(&mut self, live: &[Slots], outcomes: Outcomes, now: Now) -> Option<Full> {
        let served = outcomes.served.saturating_sub(self.outcomes.served);
        let failed = outcomes.host_faults.saturating_sub(self.outcomes.host_faults);
        self.outcomes = outcomes;
        // A few among many that succeed were retried: sessions are served.
        if failed > 0 && failed >= served {
            self.fault = Some(now);
        }
        self.fault = self.fault.filter(|at| now - *at < FAULT_HOLD);
        self.now = match self.slots(live) {
            None => self.fault.map(|_| Full::Host),
            full => full,
        };
        self.now
    }

    fn slots(&mut self, live: &[Slots]) -> Option<Full> {
        let count = live.iter().map(|it| it.index + 1).max().unwrap_or(0);
        if self.full.len() < count {
            self.full.resize(count, false);
        }
        let mut all_full = !live.is_empty();
        for Slots { index, sessions, sessions_max } in live.iter().copied() {
            let was_full = self.full[index];
            let stays = was_full && sessions * 100 >= sessions_max * ROOM_PERCENT;
            self.full[index] = sessions_max > 0 && (sessions >= sessions_max || stays);
            all_full &= self.full[index];
        }
        all_full.then(|| Full::Slots {
            sessions: live.iter().map(|it| it.sessions).sum(),
            sessions_max: live.iter().map(|it| it.sessions_max).sum(),
        })
    }
}

impl Control {
    /// Judges whether new sessions can be served, and writes down when that changes.
    pub(super) fn watch_fullness(&mut self, moment: Clocks) {
        if self.aggregate.keeps_all() {
            return; // sessions are on their way between two processes
        }
        let slots = |(index, shard): (usize, &Shard)| Slots {
            index,
            sessions: self.aggregate.shard(shard.id).sessions,
            sessions_max: u64::from(shard.sessions_max),
        };
        let live = self.shards.iter().enumerate();
        let live = live.filter(|(_, shard)| shard.status == ShardStatus::Live);
        let live: Vec<Slots> = live.map(slots).collect();
        let before = self.fullness.get();
        let after = self.fullness.watch(&live, self.aggregate.outcomes(), moment.now);
        let text = match (before, after) {
            (None, Some(full)) => {
                tracing::warn!("{full}");
                full.to_string()
            }
            (Some(_), None) => {
                let text = "new sessions are served again";
                tracing::info!("{text}");
                text.to_owned()
            }
            _ => return,
        };
        self.events.push(EventKind::Limit, "weir".to_owned(), text, moment.wall_ms);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(ms: u64) -> Now {
        Now::from_nanos(ms * 1_000_000)
    }

    fn two(first: u64, second: u64) -> [Slots; 2] {
        [(0, first), (1, second)].map(|(index, sessions)| Slots {
            index,
            sessions,
            sessions_max: 100,
        })
    }

    #[test]
    fn full_is_when_no_shard_has_a_slot_and_until_one_has_some() {
        let mut fullness = Fullness::default();
        let cases = [
            // Sessions of each shard, full.
            (0, 0, false),
            (99, 100, false),
            (100, 99, true), // The second has had none free, and has only one since.
            (100, 100, true),
            (95, 100, true),
            (94, 100, false),
            (99, 100, false),
            (100, 100, true),
            (100, 94, false),
        ];
        for (index, (first, second, full)) in cases.into_iter().enumerate() {
            let seen = fullness.watch(&two(first, second), Outcomes::default(), at(0));
            let (sessions, sessions_max) = (first + second, 200);
            let wanted = full.then_some(Full::Slots { sessions, sessions_max });
            assert_eq!(seen, wanted, "case {index}: {first}, {second}");
        }
    }

    #[test]
    fn shards_that_take_no_clients_do_not_count() {
        let mut fullness = Fullness::default();
        let full = |fullness: &mut Fullness, live: &[Slots]| {
            fullness.watch(live, Outcomes::default(), at(0)).is_some()
        };
        assert!(!full(&mut fullness, &[]), "no shard: that is told elsewhere");
        let unknown = Slots { index: 0, sessions: 0, sessions_max: 0 };
        assert!(!full(&mut fullness, &[unknown]), "it has not begun");
        assert!(!full(&mut fullness, &two(100, 3)));
        assert!(full(&mut fullness, &two(100, 3)[..1]), "the other is stuck");
        assert!(!full(&mut fullness, &two(100, 3)), "and is back");
    }

    #[test]
    fn a_fault_of_the_host_counts_for_a_while_if_it_is_no_exception() {
        let mut fullness = Fullness::default();
        let cases = [
            // Milliseconds, sessions served and faults so far, full.
            (0, 10, 0, false),
            (250, 12, 1, false), // Two were served beside it.
            (500, 13, 2, true),
            (3_499, 13, 2, true),
            (3_500, 13, 2, false),
            (4_000, 13, 3, true),
            (5_000, 13, 9, true),
            (7_999, 50, 9, true),
            (8_000, 50, 9, false),
        ];
        for (ms, served, host_faults, full) in cases {
            let outcomes = Outcomes { served, host_faults };
            let seen = fullness.watch(&two(1, 1), outcomes, at(ms));
            assert_eq!(seen, full.then_some(Full::Host), "after {ms} ms");
        }
    }
}
