//! The aggregate for the process that takes the place of this one. Gauges are not in it: shards of
//! the next process tell of the sessions that they hold.
//!
//! ```text
//! before: to_legacy ──────────────▶ next: take_legacy, every total goes on from there
//!         counts on while it hands over
//!         to_legacy().since(that) ─▶ next: inherit_rest, the rest is added
//! ```

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};
use weir_core::base::clock::Now;
use weir_proto::address::Address;
use weir_proto::counters::{BackendCounts, Counts, ListenerCounts, PoolCounts, ShardCounts};
use weir_proto::ids::{BackendId, ListenerId, PoolId};
use weir_proto::reason::CloseReason;
use weir_proto::snapshot::Snapshot;
use weir_proto::stats::EndStats;

use crate::legacy::is_default;

use super::by_backend::BackendDurationsLegacy;
use super::duration::DurationsLegacy;
use super::early::Early;
use super::recent::RecentLegacy;
use super::{
    Aggregate, Backend, BackendTotals, Keeping, Listener, ListenerTotals, PoolAggregate,
    PoolTotals, Slice,
};

/// All totals, or those of a span of time.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub(crate) struct AggregateLegacy {
    names: CounterNames,
    /// By shard.
    shards: Vec<Vec<u64>>,
    listeners: Vec<ListenerLegacy>,
    pools: Vec<PoolLegacy>,
    backends: Vec<BackendLegacy>,
    durations: Vec<BackendDurationsLegacy>,
    all: TotalsLegacy,
    recent_connects: RecentLegacy,
    /// When backends last ended many sessions early, in nanoseconds.
    early_at: Vec<(BackendId, u64)>,
    /// In nanoseconds.
    latest: u64,
    accepted: u64,
    rejected: u64,
}

/// The names of the values of each kind of object.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct CounterNames {
    shard: Vec<String>,
    listener: Vec<String>,
    pool: Vec<String>,
    backend: Vec<String>,
}

impl Default for CounterNames {
    fn default() -> CounterNames {
        CounterNames {
            shard: ShardCounts::value_names(),
            listener: ListenerCounts::value_names(),
            pool: PoolCounts::value_names(),
            backend: BackendCounts::value_names(),
        }
    }
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
struct ListenerLegacy {
    id: ListenerId,
    name: String,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    counts: Vec<u64>,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
struct PoolLegacy {
    id: PoolId,
    name: String,
    #[serde(default, skip_serializing_if = "is_default")]
    totals: TotalsLegacy,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
struct BackendLegacy {
    id: BackendId,
    pool: PoolId,
    name: String,
    address: Address,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    counts: Vec<u64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    heir: Option<BackendId>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    early: Option<Early>,
}

/// [`PoolTotals`].
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
struct TotalsLegacy {
    #[serde(skip_serializing_if = "Vec::is_empty")]
    counts: Vec<u64>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    backends: Vec<u64>,
    #[serde(skip_serializing_if = "is_default")]
    queue: DurationsLegacy,
    #[serde(skip_serializing_if = "is_default")]
    connect: DurationsLegacy,
    #[serde(skip_serializing_if = "is_default")]
    first_byte: DurationsLegacy,
    #[serde(skip_serializing_if = "is_default")]
    session: DurationsLegacy,
    /// By who, when and why.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    ends: Vec<(String, u64)>,
}

/// As in `client/relaying/complete`: a weir that does not know one loses only that.
fn end_name(reason: CloseReason) -> String {
    let CloseReason { by, during, why } = reason;
    format!("{}/{}/{}", by.label(), during.label(), why.label())
}

impl TotalsLegacy {
    fn of(totals: &PoolTotals) -> TotalsLegacy {
        TotalsLegacy {
            counts: totals.counts.to_values(),
            backends: totals.backends.to_values(),
            queue: totals.queue.to_legacy(),
            connect: totals.connect.to_legacy(),
            first_byte: totals.first_byte.to_legacy(),
            session: totals.session.to_legacy(),
            ends: totals.ends.iter().map(|(reason, count)| (end_name(reason), count)).collect(),
        }
    }

    fn since(&self, before: &TotalsLegacy) -> TotalsLegacy {
        let had: BTreeMap<&str, u64> =
            before.ends.iter().map(|(name, count)| (name.as_str(), *count)).collect();
        let ends = self.ends.iter().map(|(name, count)| {
            (name.clone(), count.saturating_sub(had.get(name.as_str()).copied().unwrap_or(0)))
        });
        TotalsLegacy {
            counts: newer::<PoolCounts>(&self.counts, &before.counts),
            backends: newer::<BackendCounts>(&self.backends, &before.backends),
            queue: self.queue.since(&before.queue),
            connect: self.connect.since(&before.connect),
            first_byte: self.first_byte.since(&before.first_byte),
            session: self.session.since(&before.session),
            ends: ends.filter(|(_, count)| *count > 0).collect(),
        }
    }

    fn add_to(&self, into: &mut PoolTotals, names: &CounterNames) {
        into.counts.add(&PoolCounts::of_values(&names.pool, &self.counts));
        into.backends.add(&BackendCounts::of_values(&names.backend, &self.backends));
        into.queue.add_legacy(&self.queue);
        into.connect.add_legacy(&self.connect);
        into.first_byte.add_legacy(&self.first_byte);
        into.session.add_legacy(&self.session);
        if self.ends.is_empty() {
            return;
        }
        let known: BTreeMap<String, CloseReason> =
            CloseReason::all().map(|reason| (end_name(reason), reason)).collect();
        let mut ends = EndStats::default();
        for (name, count) in &self.ends {
            if let Some(reason) = known.get(name) {
                ends.count_many(*reason, *count);
            }
        }
        into.ends.add(&ends);
    }
}

/// The difference of two states of the counters of one object, of this process.
fn newer<T: Counts + Default>(now: &[u64], before: &[u64]) -> Vec<u64> {
    let names = T::value_names();
    let [now, before] = [now, before].map(|values| T::of_values(&names, values));
    now.since(&before).to_values()
}

impl AggregateLegacy {
    /// The totals that have been added since `before`, an earlier state of the same process.
    pub(crate) fn since(&self, before: &AggregateLegacy) -> AggregateLegacy {
        let listeners: BTreeMap<_, _> = before.listeners.iter().map(|it| (it.id, it)).collect();
        let pools: BTreeMap<_, _> = before.pools.iter().map(|it| (it.id, it)).collect();
        let backends: BTreeMap<_, _> = before.backends.iter().map(|it| (it.id, it)).collect();
        let durations: BTreeMap<_, _> = before.durations.iter().map(|it| (it.id, it)).collect();
        let none = (Vec::new(), TotalsLegacy::default());
        let listener = |it: &ListenerLegacy| {
            let had = listeners.get(&it.id).map_or(&none.0, |it| &it.counts);
            ListenerLegacy { counts: newer::<ListenerCounts>(&it.counts, had), ..it.clone() }
        };
        let pool = |it: &PoolLegacy| {
            let had = pools.get(&it.id).map_or(&none.1, |it| &it.totals);
            PoolLegacy { totals: it.totals.since(had), ..it.clone() }
        };
        let backend = |it: &BackendLegacy| {
            let had = backends.get(&it.id).map_or(&none.0, |it| &it.counts);
            BackendLegacy { counts: newer::<BackendCounts>(&it.counts, had), ..it.clone() }
        };
        let shards = self.shards.iter().enumerate().map(|(index, counts)| {
            newer::<ShardCounts>(counts, before.shards.get(index).unwrap_or(&none.0))
        });
        let each = self.durations.iter();
        AggregateLegacy {
            names: CounterNames::default(),
            shards: shards.collect(),
            listeners: self.listeners.iter().map(listener).collect(),
            pools: self.pools.iter().map(pool).collect(),
            backends: self.backends.iter().map(backend).collect(),
            durations: each.map(|it| it.since(durations.get(&it.id).copied())).collect(),
            all: self.all.since(&before.all),
            recent_connects: RecentLegacy::default(),
            early_at: Vec::new(),
            latest: 0,
            accepted: self.accepted.saturating_sub(before.accepted),
            rejected: self.rejected.saturating_sub(before.rejected),
        }
    }
}

impl Aggregate {
    /// Everything that goes on in the next process.
    pub(crate) fn to_legacy(&self) -> AggregateLegacy {
        let listener = |(id, it): (&ListenerId, &Listener)| {
            let (name, counts) = (it.name.clone(), it.totals.counts.to_values());
            ListenerLegacy { id: *id, name, counts }
        };
        let pool = |(id, it): (&PoolId, &PoolAggregate)| {
            let (name, totals) = (it.name.clone(), TotalsLegacy::of(&it.totals));
            PoolLegacy { id: *id, name, totals }
        };
        let backend = |(id, it): (&BackendId, &Backend)| BackendLegacy {
            id: *id,
            pool: it.pool,
            name: it.name.to_string(),
            address: it.address,
            counts: it.totals.counts.to_values(),
            heir: it.heir,
            early: it.early.is_begun().then_some(it.early),
        };
        AggregateLegacy {
            names: CounterNames::default(),
            shards: self.shards.iter().map(|it| it.totals.counts.to_values()).collect(),
            listeners: self.listeners.iter().map(listener).collect(),
            pools: self.pools.iter().map(pool).collect(),
            backends: self.backends.iter().map(backend).collect(),
            durations: self.by_backend.to_legacy(),
            all: TotalsLegacy::of(&self.all),
            recent_connects: self.recent_connects.to_legacy(),
            early_at: self.early_at.iter().map(|(id, at)| (*id, at.nanos)).collect(),
            latest: self.latest.nanos,
            accepted: self.accepted,
            rejected: self.rejected,
        }
    }

    /// Goes on from the state of the process before this one, of which nothing is forgotten until
    /// [`Aggregate::inherit_rest`]. `first` is the first snapshot, which has the same identities.
    pub(crate) fn take_legacy(&mut self, legacy: &AggregateLegacy, first: &Snapshot) {
        self.keep_all();
        let here: BTreeSet<BackendId> = first.backends().map(|(_, it)| it.id).collect();
        let shards = self.shards.len();
        for it in &legacy.listeners {
            self.listeners.insert(it.id, Listener::new(it.name.clone(), shards));
        }
        for it in &legacy.pools {
            self.pools.insert(it.id, PoolAggregate::new(it.name.clone(), shards));
        }
        for it in &legacy.backends {
            let mut backend = Backend::new(it.pool, it.name.as_str().into(), it.address, shards);
            backend.early = it.early.unwrap_or_default();
            if !here.contains(&it.id) {
                // They are gone for longer; that this one does not have them is what matters.
                backend.removed = Some(first.edition());
                backend.heir = it.heir;
                self.gone.insert(it.id, &backend.name);
            }
            self.backends.insert(it.id, backend);
        }
        for it in &legacy.backends {
            let heir = it.heir.filter(|_| !here.contains(&it.id));
            if let Some(heir) = heir.and_then(|heir| self.backends.get_mut(&heir)) {
                heir.earlier.push(it.id);
            }
        }
        self.recent_connects.take_legacy(&legacy.recent_connects);
        let early_at = legacy.early_at.iter().map(|(id, at)| (*id, Now::from_nanos(*at)));
        self.early_at = early_at.collect();
        self.latest = Now::from_nanos(legacy.latest);
        self.add_legacy(legacy);
    }

    /// Adds what the process before this one has counted since its legacy; `None` if it has died
    /// with that. What is gone may be forgotten as soon as every shard has told of its sessions.
    pub(crate) fn inherit_rest(&mut self, rest: Option<&AggregateLegacy>) {
        if let Some(rest) = rest {
            self.add_legacy(rest);
        }
        if self.keeping != Keeping::No {
            // The next box of a shard may be older than this; the one after it is not.
            self.keeping = Keeping::Boxes(vec![2; self.shards.len()]);
        }
    }

    fn add_legacy(&mut self, legacy: &AggregateLegacy) {
        let names = &legacy.names;
        // Of more shards than there are now: their sums go on.
        let count = self.shards.len().max(1);
        for (index, values) in legacy.shards.iter().enumerate() {
            if let Some(shard) = self.shards.get_mut(index % count) {
                shard.totals.counts.add(&ShardCounts::of_values(&names.shard, values));
            }
        }
        for it in &legacy.listeners {
            if let Some(listener) = self.listeners.get_mut(&it.id) {
                let counts = ListenerCounts::of_values(&names.listener, &it.counts);
                listener.totals.counts.add(&counts);
            }
        }
        for it in &legacy.pools {
            if let Some(pool) = self.pools.get_mut(&it.id) {
                it.totals.add_to(&mut pool.totals, names);
            }
        }
        for it in legacy.backends.iter().filter(|it| !it.counts.is_empty()) {
            if let Some(backend) = self.backends.get_mut(&it.id) {
                let counts = BackendCounts::of_values(&names.backend, &it.counts);
                backend.totals.counts.add(&counts);
            }
        }
        self.by_backend.add_legacy(&legacy.durations);
        legacy.all.add_to(&mut self.all, names);
        self.accepted += legacy.accepted;
        self.rejected += legacy.rejected;
    }

    /// Forgets nothing that is gone: sessions of it are on their way between two processes.
    pub(crate) fn keep_all(&mut self) {
        self.keeping = Keeping::All;
    }

    /// The hand-over came to nothing: what is gone is forgotten as before.
    pub(crate) fn keep_no_longer(&mut self) {
        self.keeping = Keeping::No;
    }

    /// True until every shard has told of the sessions that came from the process before this one.
    pub(crate) fn keeps_all(&self) -> bool {
        self.keeping != Keeping::No
    }

    /// A shard has given a box, or has ended.
    pub(super) fn heard_box(&mut self, index: usize, has_ended: bool) {
        let Keeping::Boxes(boxes) = &mut self.keeping else { return };
        if let Some(left) = boxes.get_mut(index) {
            *left = if has_ended { 0 } else { left.saturating_sub(1) };
        }
        let ended = self.shards.iter().map(|shard| shard.ended);
        if boxes.iter().zip(ended).all(|(left, ended)| *left == 0 || ended) {
            self.keeping = Keeping::No;
        }
    }
}

impl Listener {
    pub(super) fn new(name: String, shards: usize) -> Listener {
        Listener {
            name,
            totals: ListenerTotals::default(),
            now: vec![(0, 0); shards],
            flows: vec![super::FlowWindow::default(); shards],
            removed: None,
        }
    }
}

impl PoolAggregate {
    pub(super) fn new(name: String, shards: usize) -> PoolAggregate {
        PoolAggregate {
            name,
            totals: PoolTotals::default(),
            sessions: 0,
            stalled: vec![0; shards],
            queued: vec![0; shards],
            flows: vec![super::FlowWindow::default(); shards],
            removed: None,
        }
    }
}

impl Backend {
    pub(super) fn new(
        pool: PoolId,
        name: std::sync::Arc<str>,
        address: Address,
        shards: usize,
    ) -> Backend {
        Backend {
            pool,
            name,
            address,
            totals: BackendTotals::default(),
            early: Early::default(),
            slices: vec![Slice::default(); shards],
            removed: None,
            heir: None,
            earlier: Vec::new(),
        }
    }
}
