//! The health of backends for the process that takes the place of this one: none of them is judged
//! again from the beginning, and no share of sessions grows again.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use weir_core::base::clock::Now;
use weir_core::health::{Hysteresis, HysteresisParts};
use weir_proto::answer::CheckResult;
use weir_proto::ids::BackendId;

use crate::legacy::{is_default, maybe_moment, moment};

use super::watched::{Due, WatchedBackend};
use super::{CheckCounters, Health, Transition};

/// Everything that is known of the health of backends.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub(crate) struct HealthLegacy {
    watched: Vec<WatchedLegacy>,
    /// The group in use of every pool that keeps it, by the pool's name.
    in_use: BTreeMap<String, u8>,
    /// Shards and people were not told of these.
    untold: Vec<Transition>,
}

/// The counters of checks, of a span of time.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(transparent)]
pub(crate) struct CheckRest(Vec<(BackendId, CheckCounters)>);

/// One backend.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct WatchedLegacy {
    id: BackendId,
    is_up: bool,
    #[serde(default, skip_serializing_if = "is_default")]
    is_unproven: bool,
    #[serde(default, skip_serializing_if = "is_default")]
    pending: bool,
    #[serde(default, skip_serializing_if = "is_default")]
    against: u32,
    #[serde(default, skip_serializing_if = "is_default")]
    downs: u32,
    #[serde(default, with = "maybe_moment", skip_serializing_if = "is_default")]
    up_since: Option<Now>,
    #[serde(default, with = "maybe_moment", skip_serializing_if = "is_default")]
    held_until: Option<Now>,
    #[serde(default, with = "maybe_moment", skip_serializing_if = "is_default")]
    ejected_at: Option<Now>,
    result: CheckResult,
    #[serde(with = "moment")]
    since: Now,
    #[serde(default, with = "maybe_moment", skip_serializing_if = "is_default")]
    ramps_since: Option<Now>,
    /// Of the next check; `None`: one is in flight, or none is made.
    #[serde(default, with = "maybe_moment", skip_serializing_if = "is_default")]
    pub(super) due: Option<Now>,
    #[serde(default, skip_serializing_if = "is_default")]
    counters: CheckCounters,
}

impl WatchedLegacy {
    fn of(watched: &WatchedBackend) -> WatchedLegacy {
        let HysteresisParts {
            is_up,
            is_unproven,
            pending,
            against,
            downs,
            up_since,
            held_until,
            ejected_at,
        } = HysteresisParts::from(&watched.hysteresis);
        WatchedLegacy {
            id: watched.id,
            is_up,
            is_unproven,
            pending,
            against,
            downs,
            up_since,
            held_until,
            ejected_at,
            result: watched.result.clone(),
            since: watched.since,
            ramps_since: watched.ramps_since,
            due: match watched.due {
                Some(Due::Check(at)) => Some(at),
                // The hold says it.
                Some(Due::EndOfHold(_)) | None => None,
            },
            counters: watched.counters,
        }
    }

    fn hysteresis(&self) -> Hysteresis {
        let WatchedLegacy { is_up, is_unproven, pending, against, downs, .. } = *self;
        let WatchedLegacy { up_since, held_until, ejected_at, .. } = *self;
        Hysteresis::from(HysteresisParts {
            is_up,
            is_unproven,
            pending,
            against,
            downs,
            up_since,
            held_until,
            ejected_at,
        })
    }
}

impl WatchedBackend {
    /// Goes on from what the process before this one knew.
    pub(super) fn take_legacy(&mut self, legacy: &WatchedLegacy) {
        self.hysteresis = legacy.hysteresis();
        self.result = legacy.result.clone();
        (self.since, self.ramps_since) = (legacy.since, legacy.ramps_since);
        self.counters = legacy.counters;
    }
}

impl Health {
    /// Everything that goes on in the next process.
    pub(crate) fn to_legacy(&self) -> HealthLegacy {
        let here = self.watched.values().filter(|it| !self.leaves(it.id));
        HealthLegacy {
            watched: here.map(WatchedLegacy::of).collect(),
            in_use: self.to_remember(),
            untold: self.untold.clone(),
        }
    }

    /// Goes on from the state of the process before this one, with the first snapshot.
    pub(crate) fn take_legacy(&mut self, legacy: HealthLegacy) {
        self.inherited = legacy.watched.into_iter().map(|it| (it.id, it)).collect();
        self.remember(legacy.in_use);
        self.untold = legacy.untold;
    }

    /// The first snapshot is in force: what it has not taken is of no use.
    pub(crate) fn has_taken(&mut self) {
        self.inherited.clear();
        // People know of these.
        drop(self.take_moved());
    }

    /// The counts of checks since `before`.
    pub(crate) fn rest_since(&self, before: &HealthLegacy) -> CheckRest {
        let before: BTreeMap<BackendId, CheckCounters> =
            before.watched.iter().map(|it| (it.id, it.counters)).collect();
        let newer = self.watched.values().map(|it| {
            let had = before.get(&it.id).copied().unwrap_or_default();
            (it.id, it.counters.each(had, u64::saturating_sub))
        });
        CheckRest(newer.filter(|(_, counters)| !is_default(counters)).collect())
    }

    /// Adds what the process before this one has counted after its legacy.
    pub(crate) fn inherit_rest(&mut self, rest: &CheckRest) {
        for (id, counters) in &rest.0 {
            if let Some(watched) = self.watched.get_mut(id) {
                watched.counters = watched.counters.each(*counters, u64::saturating_add);
            }
        }
    }
}

impl CheckCounters {
    fn each(self, other: CheckCounters, with: impl Fn(u64, u64) -> u64) -> CheckCounters {
        CheckCounters {
            ok: with(self.ok, other.ok),
            fail: with(self.fail, other.fail),
            local: with(self.local, other.local),
            transitions: with(self.transitions, other.transitions),
            duration_sum_ns: with(self.duration_sum_ns, other.duration_sum_ns),
        }
    }
}
