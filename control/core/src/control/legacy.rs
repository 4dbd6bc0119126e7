//! Everything that control hands over to the process that takes the place of this one, and how
//! that one begins with it.
//!
//! ```text
//! before                                       next
//! Control::legacy ──JSON──▶ Setup::legacy: identities, health, tasks, events, every total
//! counts on, while sessions go over            Input::Begin: the first version, to its shards
//! Control::legacy_remainder ──JSON──▶ Input::Inherit: what was counted since is added
//! ```
//! It is JSON and not bincode: two weirs of different versions read it, and one leaves out what the
//! other does not know. Moments are those of a clock that all processes of this host share.
//!
//! Not in it: what shards hold and what they were told (the next ones are told everything), credits
//! of limits, which they ask for again, and panics within a minute, which were those of another
//! program.
//!
//! `weir_start_time_seconds` is the start of the process, [`Control::started`], since that is what
//! it is compared with: `process_start_time_seconds`, the journal, the age of a core file. The
//! `uptime_s` of the status is the time that clients were served without a gap, from
//! [`Control::serves_since`] on: an upgrade ends no session and sets no counter back.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use serde::{Deserialize, Serialize};
use weir_core::base::clock::Now;
use weir_core::base::machine::enter;
use weir_proto::address::Address;
use weir_proto::bind_address::BindAddress;
use weir_proto::ids::{BackendId, IdSource, ListenerId, PoolId, Version};
use weir_proto::snapshot::{Member, Pool, Snapshot};

use super::fullness::Fullness;
use super::limits::Limits;
use super::repeats::Repeats;
use super::unconfirmed::Waiting;
use super::{Clocks, Control, Phase, Shard, ShardHistory};
use crate::aggregate::AggregateLegacy;
use crate::events::{EventRest, Events};
use crate::health::{CheckRest, HealthLegacy};
use crate::live::RecordedLegacy;
use crate::resolve::{LookupRest, ResolveLegacy};
use crate::tasks::TasksLegacy;

/// The state of a process at the moment at which another one takes its place.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Legacy {
    format: u32,
    version: Version,
    regroupings: u32,
    /// In nanoseconds, and in milliseconds since 1970.
    serves_since: (u64, u64),
    ids: IdSource,
    listeners: Vec<(String, ListenerId)>,
    pools: Vec<NamedPool>,
    is_draining: bool,
    #[serde(default)]
    pub(super) aggregate: AggregateLegacy,
    #[serde(default)]
    health: HealthLegacy,
    #[serde(default)]
    resolve: ResolveLegacy,
    #[serde(default)]
    pub(super) events: Events,
    #[serde(default)]
    live: RecordedLegacy,
    #[serde(default)]
    tasks: TasksLegacy,
    #[serde(default)]
    shards: Vec<ShardLegacy>,
    /// People know that these are in panic.
    #[serde(default)]
    panicking: BTreeSet<PoolId>,
    #[serde(default)]
    repeats: Repeats,
    #[serde(default)]
    fullness: Fullness,
    #[serde(default)]
    limits: Limits,
    #[serde(default)]
    unconfirmed: Option<Waiting>,
    /// Addresses that are not bound, and since when, in nanoseconds.
    #[serde(default)]
    unbound: Vec<(BindAddress, u64)>,
    #[serde(default)]
    rolled_back: [u64; 2],
    #[serde(default)]
    records_dropped: u64,
}

/// The counts and events of a process since its [`Legacy`].
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Remainder {
    format: u32,
    #[serde(default)]
    aggregate: AggregateLegacy,
    #[serde(default)]
    checks: CheckRest,
    #[serde(default)]
    lookups: LookupRest,
    #[serde(default)]
    events: EventRest,
    #[serde(default)]
    shards: Vec<ShardLegacy>,
    #[serde(default)]
    rolled_back: [u64; 2],
    #[serde(default)]
    records_dropped: u64,
}

/// A pool of the snapshot, and the identities of its backends.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
struct NamedPool {
    name: String,
    id: PoolId,
    backends: Vec<(String, Address, BackendId)>,
    /// Those that DNS has found.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    members: Vec<Member>,
}

/// The troubles of one shard.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
struct ShardLegacy {
    watched: ShardHistory,
    restarts: u64,
}

/// The part of a [`Legacy`] that is taken when the first version is sent.
#[derive(Debug)]
pub(super) struct Inherited {
    is_draining: bool,
    /// Tasks that could not go on.
    cut_tasks: Vec<u64>,
    pub(super) unbound: BTreeMap<BindAddress, Now>,
}

impl ShardLegacy {
    fn of(shard: &Shard) -> ShardLegacy {
        ShardLegacy { watched: shard.watched, restarts: shard.restarts }
    }

    fn since(self, before: ShardLegacy) -> ShardLegacy {
        ShardLegacy {
            watched: self.watched.each(before.watched, u64::saturating_sub),
            restarts: self.restarts.saturating_sub(before.restarts),
        }
    }
}

impl NamedPool {
    fn of(pool: &Pool) -> NamedPool {
        let backends = pool.backends.iter();
        NamedPool {
            name: pool.name.to_string(),
            id: pool.id,
            backends: backends.map(|it| (it.name.to_string(), it.address, it.id)).collect(),
            members: pool.members.clone(),
        }
    }
}

impl Legacy {
    /// The format that this weir writes, and the newest that it reads.
    pub const FORMAT: u32 = 1;

    /// The version that was in force.
    #[must_use]
    pub fn version(&self) -> Version {
        self.version
    }

    /// Writes it for another process.
    ///
    /// # Panics
    /// Never: each part of it can be written.
    #[must_use]
    pub fn to_json(&self) -> Vec<u8> {
        serde_json::to_vec(self).expect("it has no map with keys that are no text")
    }

    /// Reads what another process has written.
    ///
    /// # Errors
    /// It is none, or a newer weir has written it.
    pub fn of_json(text: &[u8]) -> Result<Legacy, String> {
        let legacy: Legacy = serde_json::from_slice(text).map_err(|error| error.to_string())?;
        check_format(legacy.format).map(|()| legacy)
    }

    /// The snapshot with the identities that its objects had in the process before, and with the
    /// backends that DNS had found. What was not there gets new ones, of `ids`, which go on from
    /// those of before.
    pub(super) fn renumbered(&self, mut snapshot: Snapshot, ids: &mut IdSource) -> Snapshot {
        let pools: BTreeMap<&str, &NamedPool> =
            self.pools.iter().map(|it| (it.name.as_str(), it)).collect();
        let found = snapshot.pools.iter().enumerate().filter_map(|(place, pool)| {
            pool.spec.discover.source()?;
            let members = &pools.get(pool.name.as_str())?.members;
            (!members.is_empty()).then(|| (place, members.clone()))
        });
        let found: Vec<_> = found.collect();
        if !found.is_empty() {
            snapshot = snapshot.regroup(found, ids);
        }
        *ids = self.ids.clone();
        if snapshot.version == self.version {
            snapshot.regroupings = snapshot.regroupings.max(self.regroupings);
        }
        let listeners: BTreeMap<&str, ListenerId> =
            self.listeners.iter().map(|(name, id)| (name.as_str(), *id)).collect();
        for listener in &mut snapshot.listeners {
            let before = listeners.get(listener.name.as_str()).copied();
            listener.id = before.unwrap_or_else(|| ListenerId(ids.fresh()));
        }
        for pool in &mut snapshot.pools {
            renumber(Arc::make_mut(pool), &pools, ids);
        }
        snapshot
    }
}

impl Remainder {
    /// Writes it for another process.
    ///
    /// # Panics
    /// Never: each part of it can be written.
    #[must_use]
    pub fn to_json(&self) -> Vec<u8> {
        serde_json::to_vec(self).expect("it has no map with keys that are no text")
    }

    /// Reads what another process has written.
    ///
    /// # Errors
    /// It is none, or a newer weir has written it.
    pub fn of_json(text: &[u8]) -> Result<Remainder, String> {
        let rest: Remainder = serde_json::from_slice(text).map_err(|error| error.to_string())?;
        check_format(rest.format).map(|()| rest)
    }
}

fn check_format(format: u32) -> Result<(), String> {
    if (1..=Legacy::FORMAT).contains(&format) {
        return Ok(());
    }
    let newest = Legacy::FORMAT;
    Err(format!("the state has format {format}, and this weir reads formats 1 to {newest}"))
}

fn renumber(pool: &mut Pool, before: &BTreeMap<&str, &NamedPool>, ids: &mut IdSource) {
    let before = before.get(pool.name.as_str());
    pool.id = before.map_or_else(|| PoolId(ids.fresh()), |it| it.id);
    let backends = before.into_iter().flat_map(|it| &it.backends);
    let known: BTreeMap<&str, (Address, BackendId)> =
        backends.map(|(name, address, id)| (name.as_str(), (*address, *id))).collect();
    for backend in &mut pool.backends {
        let same = known.get(backend.name.as_str()).filter(|it| it.0 == backend.address);
        backend.id = same.map_or_else(|| BackendId(ids.fresh()), |it| it.1);
    }
}

impl Control {
    /// The state that another process goes on with, after
    /// [`Output::ReadyToHandOver`](super::Output::ReadyToHandOver).
    #[must_use]
    pub fn legacy(&self) -> Legacy {
        let snapshot = &self.snapshot;
        let listeners = snapshot.listeners.iter().map(|it| (it.name.to_string(), it.id));
        let Clocks { now, wall_ms } = self.serves_since;
        Legacy {
            format: Legacy::FORMAT,
            version: snapshot.version,
            regroupings: snapshot.regroupings,
            serves_since: (now.nanos, wall_ms),
            ids: self.ids.clone(),
            listeners: listeners.collect(),
            pools: snapshot.pools.iter().map(|pool| NamedPool::of(pool)).collect(),
            is_draining: matches!(self.phase, Phase::Draining { .. }),
            aggregate: self.aggregate.to_legacy(),
            health: self.health.to_legacy(),
            resolve: self.resolve.to_legacy(),
            events: self.events.clone(),
            live: self.live.to_legacy(),
            tasks: self.tasks.to_legacy(),
            shards: self.shards.iter().map(ShardLegacy::of).collect(),
            panicking: self.panicking.clone(),
            repeats: self.repeats.clone(),
            fullness: self.fullness.clone(),
            limits: self.limits.clone(),
            unconfirmed: self.unconfirmed.clone(),
            unbound: self.unbound_since().map(|(address, at)| (address, at.nanos)).collect(),
            rolled_back: self.rolled_back,
            records_dropped: self.records_dropped,
        }
    }

    /// The counts and events since `since`, an earlier state of this process. To be taken when its
    /// shards have given their last figures ([`Control::has_fresh`]).
    #[must_use]
    pub fn legacy_remainder(&self, since: &Legacy) -> Remainder {
        let shards = self.shards.iter().enumerate().map(|(index, shard)| {
            let before = since.shards.get(index).copied().unwrap_or_default();
            ShardLegacy::of(shard).since(before)
        });
        let [by_time, by_guard] = self.rolled_back;
        let [time_before, guard_before] = since.rolled_back;
        Remainder {
            format: Legacy::FORMAT,
            aggregate: self.aggregate.to_legacy().since(&since.aggregate),
            checks: self.health.rest_since(&since.health),
            lookups: self.resolve.rest_since(&since.resolve),
            events: self.events.rest_after(since.events.last()),
            shards: shards.collect(),
            rolled_back: [
                by_time.saturating_sub(time_before),
                by_guard.saturating_sub(guard_before),
            ],
            records_dropped: self.records_dropped.saturating_sub(since.records_dropped),
        }
    }

    /// Goes on from the state of the process before this one. True if the version waits for its
    /// confirmation as it did there.
    pub(super) fn take_legacy(&mut self, legacy: Legacy, now: Now) -> bool {
        let waits = self.snapshot.version == legacy.version && legacy.unconfirmed.is_some();
        let (nanos, wall_ms) = legacy.serves_since;
        self.serves_since = Clocks { now: Now::from_nanos(nanos), wall_ms };
        self.aggregate.take_legacy(&legacy.aggregate, &self.snapshot);
        self.health.take_legacy(legacy.health);
        self.resolve.take_legacy(legacy.resolve);
        self.events = legacy.events;
        self.live.take_legacy(legacy.live);
        self.add_to_shards(&legacy.shards);
        self.panicking = legacy.panicking;
        (self.repeats, self.fullness, self.limits) =
            (legacy.repeats, legacy.fullness, legacy.limits);
        self.unconfirmed = legacy.unconfirmed.filter(|_| waits);
        (self.rolled_back, self.records_dropped) = (legacy.rolled_back, legacy.records_dropped);
        let unbound = legacy.unbound.into_iter();
        self.inherited = Some(Inherited {
            is_draining: legacy.is_draining,
            cut_tasks: self.tasks.take_legacy(legacy.tasks, now),
            unbound: unbound.map(|(address, at)| (address, Now::from_nanos(at))).collect(),
        });
        waits
    }

    /// The first version is sent.
    pub(super) fn begin_as_heir(&mut self, moment: Clocks) {
        let Some(inherited) = self.inherited.take() else { return };
        let Inherited { is_draining, cut_tasks, .. } = inherited;
        self.health.has_taken();
        if is_draining {
            enter(&mut self.phase, Phase::Draining { until: None });
            self.each_live(|shard| shard.pending.drain());
            self.flush();
        }
        for id in cut_tasks {
            let _ = self.tell_task(id, "cancelled: weir was upgraded", moment); // it is there
        }
    }

    /// The process before this one is done.
    pub(super) fn inherit_rest(&mut self, rest: Option<&Remainder>) {
        self.aggregate.inherit_rest(rest.map(|rest| &rest.aggregate));
        let Some(rest) = rest else { return };
        self.health.inherit_rest(&rest.checks);
        self.resolve.inherit_rest(&rest.lookups);
        self.events.inherit_rest(&rest.events);
        self.add_to_shards(&rest.shards);
        self.rolled_back.iter_mut().zip(rest.rolled_back).for_each(|(sum, it)| *sum += it);
        self.records_dropped += rest.records_dropped;
    }

    /// Of more shards than there are now: their sums go on.
    fn add_to_shards(&mut self, more: &[ShardLegacy]) {
        let count = self.shards.len().max(1);
        for (index, it) in more.iter().enumerate() {
            let Some(shard) = self.shards.get_mut(index % count) else { continue };
            let add = |to: ShardHistory| to.each(it.watched, u64::saturating_add);
            (shard.watched, shard.watched_before) = (add(shard.watched), add(shard.watched_before));
            shard.restarts += it.restarts;
        }
    }
}
