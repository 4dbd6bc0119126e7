//! Discovery by DNS for the process that takes the place of this one.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};
use weir_core::base::clock::Now;
use weir_proto::ids::PoolId;

use crate::legacy::{maybe_moment, moment};

use super::members::Members;
use super::{Fault, LookupCounts, Resolve, Turn, Watched};

/// Everything that is known of pools whose backends are found by DNS.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub(crate) struct ResolveLegacy {
    pools: Vec<DiscoveryLegacy>,
    /// These have other members than the snapshot.
    regrouped: BTreeSet<PoolId>,
}

/// Look-ups of a span of time.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(transparent)]
pub(crate) struct LookupRest(Vec<(PoolId, LookupCounts)>);

/// One pool.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(super) struct DiscoveryLegacy {
    id: PoolId,
    /// The name in DNS.
    source: String,
    members: Members,
    /// `None`: the answer is on its way, to a process that will be gone.
    #[serde(with = "maybe_moment")]
    due: Option<Now>,
    #[serde(with = "moment")]
    good_at: Now,
    #[serde(with = "maybe_moment")]
    answered: Option<Now>,
    fault: Option<Fault>,
    told_mass: bool,
    told_dropped: bool,
    failures: u32,
    counts: LookupCounts,
}

impl Watched {
    fn to_legacy(&self, id: PoolId) -> DiscoveryLegacy {
        DiscoveryLegacy {
            id,
            source: self.source.to_string(),
            members: self.members.clone(),
            due: match self.turn {
                Turn::Due(at) => Some(at),
                Turn::Asked(_) => None,
            },
            good_at: self.good_at,
            answered: self.answered,
            fault: self.fault.clone(),
            told_mass: self.told_mass,
            told_dropped: self.told_dropped,
            failures: self.failures,
            counts: self.counts,
        }
    }

    /// Goes on from what the process before this one knew. Returns when DNS is to be asked.
    pub(super) fn take_legacy(&mut self, legacy: DiscoveryLegacy) -> Option<Now> {
        let is_other = legacy.source != self.source.to_string();
        self.members = legacy.members;
        self.members.are_of_before |= is_other;
        self.good_at = legacy.good_at;
        self.answered = legacy.answered;
        self.fault = legacy.fault;
        (self.told_mass, self.told_dropped) = (legacy.told_mass, legacy.told_dropped);
        (self.failures, self.counts) = (legacy.failures, legacy.counts);
        legacy.due.filter(|_| !is_other)
    }
}

impl Resolve {
    /// Everything that goes on in the next process.
    pub(crate) fn to_legacy(&self) -> ResolveLegacy {
        let pools = self.pools.iter().map(|(id, it)| it.to_legacy(*id)).collect();
        ResolveLegacy { pools, regrouped: self.regrouped.clone() }
    }

    /// Goes on from the state of the process before this one, with the first snapshot.
    pub(crate) fn take_legacy(&mut self, legacy: ResolveLegacy) {
        self.inherited = legacy.pools.into_iter().map(|it| (it.id, it)).collect();
        self.regrouped = legacy.regrouped;
    }

    /// The look-ups since `before`.
    pub(crate) fn rest_since(&self, before: &ResolveLegacy) -> LookupRest {
        let before: BTreeMap<PoolId, LookupCounts> =
            before.pools.iter().map(|it| (it.id, it.counts)).collect();
        let newer = self.pools.iter().map(|(id, it)| {
            let had = before.get(id).copied().unwrap_or_default();
            (*id, it.counts.each(had, u64::saturating_sub))
        });
        LookupRest(newer.filter(|(_, counts)| *counts != LookupCounts::default()).collect())
    }

    /// Adds what the process before this one has counted after its legacy.
    pub(crate) fn inherit_rest(&mut self, rest: &LookupRest) {
        for (id, counts) in &rest.0 {
            if let Some(watched) = self.pools.get_mut(id) {
                watched.counts = watched.counts.each(*counts, u64::saturating_add);
            }
        }
    }
}

impl LookupCounts {
    fn each(self, other: LookupCounts, with: impl Fn(u64, u64) -> u64) -> LookupCounts {
        let mut bad = self.bad;
        bad.iter_mut().zip(other.bad).for_each(|(sum, it)| *sum = with(*sum, it));
        LookupCounts { good: with(self.good, other.good), bad }
    }
}
