//! Folds what the shards report into totals of the process's life, gauges, rates and percentiles.
//!
//! Totals only grow, whatever comes and goes: what a backend counts is added to its pool and to the
//! process at once, so nothing has to be carried over when the backend is forgotten.

mod adopt;
mod answer;
mod by_backend;
mod duration;
mod early;
mod fold;
mod gone;
mod latency;
mod legacy;
mod live;
mod load;
mod rate;
mod recent;
mod shard;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::sync::Arc;

use serde::{Deserialize, Serialize};
use weir_core::base::clock::Now;
use weir_proto::address::Address;
use weir_proto::counters::{BackendCounts, Counts, ListenerCounts, PoolCounts, ShardCounts};
use weir_proto::ids::{BackendId, Edition, ListenerId, PoolId, ShardId, Version};
use weir_proto::order::SessionsOf;
use weir_proto::reason::{CloseReason, Reject};
use weir_proto::snapshot::Pool;
use weir_proto::stats::{DIGITS, EndStats, PoolStats, ShardStats};

pub use by_backend::BackendDurations;
use by_backend::ByBackend;
pub use duration::Durations;
pub(crate) use duration::DurationsLegacy;
use early::Early;
use gone::Gone;
pub(crate) use legacy::AggregateLegacy;
pub use live::Totals;
pub use rate::Rate;
use rate::{Flow, FlowWindow};
use recent::Recent;

/// A rate is taken over at least this long. A little under a second, so that boxes that come once a
/// second, a hair early, each close a window.
const WINDOW_NS: u64 = 950_000_000;

/// Backends that are looked at with each box, whether they are to be forgotten. So few that the box
/// takes no longer for it than a turn may.
const FORGET_MAX: usize = 1_024;

/// What all shards have counted since the process began.
pub struct Aggregate {
    /// By [`ShardId`].
    shards: Vec<ShardAggregate>,
    listeners: BTreeMap<ListenerId, Listener>,
    pools: BTreeMap<PoolId, PoolAggregate>,
    backends: BTreeMap<BackendId, Backend>,
    /// The pools of the newest snapshot.
    members: BTreeMap<PoolId, Arc<Pool>>,
    /// Pools as they were, and the version that has made others of them: what that one does not
    /// have is to be given up.
    swept: Vec<(Arc<Pool>, Edition)>,
    /// Backends that the newest snapshot does not have.
    gone: Gone,
    /// The last of them that was looked at, whether it is to be forgotten.
    forgotten: Option<BackendId>,
    /// Backends of which people are to hear that they end sessions early.
    early: Vec<BackendId>,
    /// When they last were many.
    early_at: BTreeMap<BackendId, Now>,
    /// All pools together, also those that are gone.
    all: PoolTotals,
    /// Over all pools.
    recent_connects: Recent,
    by_backend: ByBackend,
    /// When a shard last reported.
    latest: Now,
    /// Sessions that listeners have accepted, also those that are gone.
    accepted: u64,
    /// Accepts that failed for want of descriptors or memory.
    rejected: u64,
    keeping: Keeping,
}

/// Whether what is gone from the configuration is kept even without sessions.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Keeping {
    No,
    /// Sessions of it may be on their way from one process to the next.
    All,
    /// They have arrived; each shard has to give N more boxes until control knows of them.
    Boxes(Vec<u8>),
}

/// One listener, over all shards.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ListenerTotals {
    /// Open now.
    pub sessions: u64,
    /// Clients that wait for room in the backlog.
    pub waiting: u64,
    pub counts: ListenerCounts,
}

/// One backend, over all shards.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct BackendTotals {
    /// Open now.
    pub sessions: u64,
    /// Of these, those whose connect has not been answered.
    pub connecting: u64,
    pub counts: BackendCounts,
}

impl BackendTotals {
    /// Connects that failed, for whatever reason.
    pub fn connect_failures_total(&self) -> u64 {
        self.counts.connect_failures.iter().sum()
    }
}

/// Clients that were served, and those that this host could not serve, since the start.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Outcomes {
    /// Sessions that connected to a backend.
    pub served: u64,
    /// Accepts and connects that failed for want of this host's descriptors, ports or memory.
    pub host_faults: u64,
}

/// One pool, over all shards and over all backends that it has or ever had.
#[derive(Clone, Debug, Default)]
pub struct PoolTotals {
    pub counts: PoolCounts,
    /// Of all its backends together.
    pub backends: BackendCounts,
    pub queue: Durations,
    pub connect: Durations,
    pub first_byte: Durations,
    pub session: Durations,
    pub ends: EndStats,
}

/// One shard.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct ShardTotals {
    /// The snapshot that it used when it last reported.
    pub edition: Edition,
    /// Open now.
    pub sessions: u64,
    /// The share of about the last second in which its loop was not waiting, 0 to 1.
    pub busy: f64,
    /// Free now.
    pub buffers_free: u64,
    pub counts: ShardCounts,
}

/// A backend that is gone from the configuration while some of its sessions run on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Lingering {
    pub id: BackendId,
    /// `pool/backend`.
    pub name: String,
    pub address: Address,
    /// Open now.
    pub sessions: u64,
    pub totals: BackendTotals,
}

/// There may be a hundred thousand backends, and a box comes four times a second from each shard:
/// only those are looked at that have something.
#[derive(Clone, Default)]
struct ShardAggregate {
    totals: ShardTotals,
    /// Its sessions by the version under which they were accepted.
    generations: Vec<(Version, u32)>,
    /// Sessions that it holds now, by backend. Each has its entry in [`Slice::sessions`] too.
    held: Vec<(BackendId, u32)>,
    /// Backends with something in the window, or with a rate: [`Slice::moves`].
    moving: Vec<BackendId>,
    /// The sessions of the others, as it last heard of them.
    told: BTreeMap<BackendId, u32>,
    /// When the open window began; `None` until the first box.
    since: Option<Now>,
    window: Flow,
    window_busy_ns: u64,
    rate: Rate,
    /// It has left its loop and holds nothing.
    ended: bool,
}

struct Listener {
    name: String,
    totals: ListenerTotals,
    /// Sessions, and clients that wait, now, by shard.
    now: Vec<(u32, u32)>,
    /// By shard.
    flows: Vec<FlowWindow>,
    removed: Option<Edition>,
}

struct PoolAggregate {
    name: String,
    totals: PoolTotals,
    /// Open now, on backends that it has or had.
    sessions: u64,
    /// Stalled now, by shard.
    stalled: Vec<u32>,
    queued: Vec<u32>,
    /// By shard.
    flows: Vec<FlowWindow>,
    removed: Option<Edition>,
}

struct Backend {
    pool: PoolId,
    /// `pool/backend`.
    name: Arc<str>,
    address: Address,
    totals: BackendTotals,
    early: Early,
    /// By shard.
    slices: Vec<Slice>,
    removed: Option<Edition>,
    /// The one that was added again under its name and address.
    heir: Option<BackendId>,
    /// Those whose heir this is.
    earlier: Vec<BackendId>,
}

/// What one shard has of one backend.
#[derive(Clone, Copy, Default)]
struct Slice {
    sessions: u32,
    connecting: u32,
    window: Flow,
    rate: Rate,
    /// It is in [`ShardAggregate::moving`].
    moves: bool,
}

impl Aggregate {
    /// Nothing counted yet, by `shards` shards.
    pub fn new(shards: u16) -> Aggregate {
        Aggregate {
            shards: vec![ShardAggregate::default(); usize::from(shards)],
            listeners: BTreeMap::new(),
            pools: BTreeMap::new(),
            backends: BTreeMap::new(),
            members: BTreeMap::new(),
            swept: Vec::new(),
            gone: Gone::default(),
            forgotten: None,
            early: Vec::new(),
            early_at: BTreeMap::new(),
            all: PoolTotals::default(),
            recent_connects: Recent::new(DIGITS),
            by_backend: ByBackend::default(),
            latest: Now::from_nanos(0),
            accepted: 0,
            rejected: 0,
            keeping: Keeping::No,
        }
    }

    /// Adds one shard's box and gives it back empty, to be sent out again.
    ///
    /// # Panics
    /// If the aggregate was made for fewer shards: a mistake of ours.
    pub fn fold(&mut self, mut stats: Box<ShardStats>, now: Now) -> Box<ShardStats> {
        let index = usize::from(stats.shard.0);
        // The engine was started with the same number of shards.
        assert!(index < self.shards.len(), "there is no shard {}", stats.shard);
        self.silence(index);
        let mut flow = Flow::default();
        for row in &stats.listeners {
            flow.sessions += row.counts.accepted;
            self.rejected += row.counts.rejected[Reject::Resources as usize];
            self.fold_listener(index, row);
        }
        for row in &stats.pools {
            self.all.add(row);
            self.recent_connects.add(&row.connect, now);
            if let Some(pool) = self.pools.get_mut(&row.id) {
                pool.totals.add(row);
                pool.stalled[index] += row.stalled_now;
                pool.queued[index] += row.queued_now;
            }
        }
        for row in stats.backends.iter().filter(|row| !row.is_empty()) {
            flow.received_bytes += row.counts.received_bytes;
            flow.sent_bytes += row.counts.sent_bytes;
            self.fold_backend(index, row, now);
        }
        self.forget_early(now);
        self.by_backend.add(stats.samples.rows(), now);
        self.latest = now;
        self.accepted += flow.sessions;
        self.shards[index].fold(&stats, flow);
        std::mem::swap(&mut self.shards[index].generations, &mut stats.generations);
        self.close_window(index, now);
        self.heard_box(index, false);
        self.forget();
        stats.clear();
        stats
    }

    /// The shard has left its loop: it holds no session any more. Its totals stay.
    pub fn ended(&mut self, shard: ShardId) {
        let index = usize::from(shard.0);
        self.silence(index);
        let pools = self.pools.values_mut().map(|it| &mut it.flows);
        for flows in pools.chain(self.listeners.values_mut().map(|it| &mut it.flows)) {
            flows.get_mut(index).map(std::mem::take);
        }
        if let Some(shard) = self.shards.get_mut(index) {
            for id in std::mem::take(&mut shard.moving) {
                let backend = self.backends.get_mut(&id);
                if let Some(slice) = backend.and_then(|it| it.slices.get_mut(index)) {
                    let Slice { sessions, connecting, .. } = *slice;
                    *slice = Slice { sessions, connecting, ..Slice::default() };
                }
            }
            let totals = ShardTotals { sessions: 0, busy: 0.0, buffers_free: 0, ..shard.totals };
            let held = std::mem::take(&mut shard.held);
            *shard = ShardAggregate { totals, held, ended: true, ..ShardAggregate::default() };
        }
        self.heard_box(index, true);
        self.forget();
    }

    /// A listener; zeros if it was never heard of.
    pub fn listener(&self, id: ListenerId) -> ListenerTotals {
        self.listeners.get(&id).map(|listener| listener.totals).unwrap_or_default()
    }

    /// A pool; `None` if it was never heard of.
    pub fn pool(&self, id: PoolId) -> Option<&PoolTotals> {
        self.pools.get(&id).map(|pool| &pool.totals)
    }

    /// The sessions that a pool holds now, also on backends that it no longer has.
    pub fn pool_sessions(&self, id: PoolId) -> u64 {
        self.pools.get(&id).map_or(0, |pool| pool.sessions)
    }

    /// The sessions of one identity of a backend, or of a listener, by shard.
    pub fn held_by_shard(&self, of: SessionsOf) -> Vec<u64> {
        match of {
            SessionsOf::Backend(id) => {
                let slices = self.backends.get(&id).map(|backend| backend.slices.iter());
                slices.into_iter().flatten().map(|slice| u64::from(slice.sessions)).collect()
            }
            SessionsOf::Listener(id) => {
                let now = self.listeners.get(&id).map(|listener| listener.now.iter());
                now.into_iter().flatten().map(|(sessions, _)| u64::from(*sessions)).collect()
            }
        }
    }

    /// A shard; zeros if there is no such shard.
    pub fn shard(&self, shard: ShardId) -> ShardTotals {
        self.shards.get(usize::from(shard.0)).map(|shard| shard.totals).unwrap_or_default()
    }

    /// Every shard, in order.
    pub fn shards(&self) -> impl Iterator<Item = &ShardTotals> {
        self.shards.iter().map(|shard| &shard.totals)
    }

    /// The sessions that are open now.
    pub fn sessions(&self) -> u64 {
        self.shards().map(|shard| shard.sessions).sum()
    }

    /// Sessions served and faults of this host since the start.
    pub fn outcomes(&self) -> Outcomes {
        let counts = &self.all.backends;
        Outcomes { served: counts.sessions, host_faults: self.rejected + counts.host_faults() }
    }

    /// Connects to backends since the start: sessions that were served, and connects that failed.
    pub fn connects(&self) -> (u64, u64) {
        let counts = &self.all.backends;
        (counts.sessions, counts.connect_failures.iter().sum())
    }

    /// The reasons for which sessions ended, with how many.
    pub fn ends(&self) -> impl Iterator<Item = (CloseReason, u64)> {
        self.all.ends.iter()
    }

    /// Turns what the shard counted in the last second or so into rates.
    fn close_window(&mut self, index: usize, now: Now) {
        let shard = &mut self.shards[index];
        // What the first box holds was counted in an unknown time: it makes no rate.
        let first = shard.since.is_none();
        let span_ns = now.nanos.saturating_sub(shard.since.get_or_insert(now).nanos);
        if !first && span_ns < WINDOW_NS {
            return;
        }
        shard.since = Some(now);
        let busy_ns = std::mem::take(&mut shard.window_busy_ns);
        let window = std::mem::take(&mut shard.window);
        let rate = |window: Flow| if first { Rate::default() } else { window.over(span_ns) };
        shard.rate = rate(window);
        let pools = self.pools.values_mut().map(|it| &mut it.flows[index]);
        for flow in pools.chain(self.listeners.values_mut().map(|it| &mut it.flows[index])) {
            flow.rate = rate(std::mem::take(&mut flow.window));
        }
        let backends = &mut self.backends;
        shard.moving.retain(|id| {
            let Some(backend) = backends.get_mut(id) else { return false };
            let slice = &mut backend.slices[index];
            slice.rate = rate(std::mem::take(&mut slice.window));
            slice.moves = slice.rate != Rate::default();
            slice.moves
        });
        shard.totals.busy = if first { 0.0 } else { rate::share(busy_ns, span_ns) };
    }

    /// Forgets what is gone from the configuration, once every shard has reported under a version
    /// without it and holds no session of it: then no count of it can be on its way any more.
    fn forget(&mut self) {
        if self.keeps_all() {
            return;
        }
        let seen = self.shards.iter().filter(|shard| !shard.ended);
        let seen = seen.map(|shard| shard.totals.edition).min();
        let done = |removed: Option<Edition>| {
            removed.is_some_and(|edition| seen.is_none_or(|seen| seen >= edition))
        };
        self.listeners.retain(|_, it| !done(it.removed) || it.totals.sessions > 0);
        // Where all of many thousands are gone at once, some of them with each box.
        let some = self.gone.after(self.forgotten, FORGET_MAX);
        self.forgotten = some.last().copied().filter(|_| some.len() == FORGET_MAX);
        for id in some {
            let backend = self.backends.get(&id);
            if backend.is_none_or(|it| done(it.removed)) && self.backend(id).sessions == 0 {
                self.forget_backend(id);
            }
        }
        // Sessions that wait in line have no backend.
        let waits = |it: &PoolAggregate| it.queued.iter().any(|queued| *queued > 0);
        self.pools.retain(|_, it| !done(it.removed) || it.sessions > 0 || waits(it));
    }
}

impl PoolTotals {
    fn add(&mut self, row: &PoolStats) {
        self.counts.add(&row.counts);
        self.queue.add(&row.queue);
        self.connect.add(&row.connect);
        self.first_byte.add(&row.first_byte);
        self.session.add(&row.session);
        self.ends.add(&row.ends);
    }
}
