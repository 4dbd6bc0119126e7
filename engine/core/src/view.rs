//! This shard's mutable shadow of a snapshot: load, health and the place of every listener, pool
//! and backend.
//!
//! Slots are stable: a session keeps the slot of its backend while snapshots come and go. A slot
//! whose object is gone from the snapshot is used again once its last session is over.

mod adopt;
mod backend_limits;
mod connects;
mod falls;
mod figures;
mod handover;
mod health;
mod limits;
mod room;
mod slots;

use alloc::boxed::Box;
use alloc::collections::{BTreeMap, BTreeSet};
use alloc::sync::Arc;
use alloc::vec::Vec;
use core::net::IpAddr;

use weir_proto::address::Address;
use weir_proto::ids::{BackendId, Edition, ListenerId, PoolId, Version};
use weir_proto::network::AddressSet;
use weir_proto::order::BackendHealth;
use weir_proto::snapshot::{
    Keepalive, Listener, PerSource, ProxyIn, Retry, Route, Timeouts, Wildcards,
};
use weir_proto::spec::{NoBackend, OnDown, ProxyVersion, Strategy};

use crate::base::clock::Now;
use crate::lease::Lease;
use crate::lifetime::Lifetime;
use crate::pick::Groups;
use crate::priority::{GroupRule, GroupTally};
use crate::rate::RateLease;
use crate::session::Awaited;
use crate::slot::{BackendSlot, ListenerSlot, MemberIndex, PoolSlot};
use crate::sources::Sources;

use backend_limits::BackendLimits;
pub use backend_limits::CreditsHeld;
pub use connects::{CountedConnect, MayRetry};
pub use figures::Figures;
pub use handover::Places;
pub use health::{FAILURES_IN_A_ROW_MAX, Verdict};
use room::Touched;

/// One listener on this shard.
#[derive(Debug)]
pub struct ListenerView {
    pub id: ListenerId,
    /// Slot of its pool.
    pub pool: PoolSlot,
    /// The most sessions on all shards; `None` is no limit.
    sessions_max: Option<u32>,
    /// This shard's part of it.
    lease: Option<Lease>,
    /// Its part of the rate of new sessions, if there is one.
    rate: Option<RateLease>,
    /// The limits of each source of clients.
    pub per_source: Option<PerSource>,
    pub sessions: u32,
    pub keepalive: Keepalive,
    /// The headers that it wants, if it wants any.
    pub proxy: Option<ProxyIn>,
    /// The clients that it serves. `None`: everybody.
    pub served: Option<Arc<AddressSet>>,
    /// The sessions that go to another pool, and the slots of those.
    pub routes: Arc<[Route]>,
    route_pools: Vec<PoolSlot>,
    /// One of them goes by the ClientHello, one by the client's address.
    pub reads_hello: bool,
    pub asks_for_source: bool,
    inspect_timeout_ms: u32,
    /// How long a client waits while no backend takes sessions; 0: it does not.
    pub hold_ms: u32,
    /// It does not listen while none of its pools has a backend that is up.
    pub closes: bool,
    pub accepting: bool,
    present: bool,
}

/// One pool on this shard.
#[derive(Debug)]
pub struct PoolView {
    pub id: PoolId,
    /// Of the snapshot's pool that this was made from.
    since: Edition,
    pub timeouts: Timeouts,
    pub lifetime: Option<Lifetime>,
    pub keepalive: Keepalive,
    /// Bytes that the kernel keeps for one socket in one direction, at most.
    pub socket_buffer: Option<u32>,
    /// Where its connects come from.
    pub sources: Sources,
    /// The header that backends get first.
    pub proxy: Option<ProxyVersion>,
    pub retry: Retry,
    /// Sessions that may wait here while every backend is full.
    pub queue_size: u32,
    pub sessions: u32,
    /// Those of them in which a side takes nothing for now although bytes wait for it.
    pub stalled: u32,
    /// Connects that have not been answered, and those of them that are retries.
    connecting: u32,
    retrying: u32,
    rule: GroupRule,
    on_down: OnDown,
    slow_start_ms: u32,
    /// So few backends are up that their health is ignored.
    panic_mode: bool,
    /// Backends that may have new sessions, full or not.
    candidates: u32,
    /// Indices of the backends that may have recovered or got stuck lately, in rising order: picks
    /// look at them one by one. Has room for all.
    unsteady: Vec<MemberIndex>,
    picker: Groups,
    /// A count and a share for each priority group, for when health changes.
    tallies: Vec<GroupTally>,
    shares: Vec<u32>,
    /// Slots of the backends, in the order of the picker's candidates.
    slots: Vec<BackendSlot>,
    present: bool,
}

/// One backend on this shard.
#[derive(Debug)]
pub struct BackendView {
    pub id: BackendId,
    pub address: Address,
    /// weir listens at this port on every address of its host: if this is one of them, it is weir.
    pub may_be_weir: bool,
    /// Sessions of this shard, connecting ones included.
    pub sessions: u32,
    /// Sessions of all other shards, as control last said.
    remote_sessions: u32,
    health: BackendHealth,
    fall: falls::Fall,
    /// Connects that failed in a row, local faults not counted.
    failures: u8,
    /// The last of them was a close before the first byte: only a byte says otherwise.
    closes: bool,
    /// The operator allows new sessions.
    enabled: bool,
    weight: u16,
    /// That, and it has a weight: it gets sessions if it is up.
    is_member: bool,
    /// Connects of this shard to it that have not been answered.
    waiting: u32,
    /// Since when too many connects wait, with none that succeeded.
    stuck_since: Option<Now>,
    /// Since when its share grows (*slow start*), until it has all of it.
    ramps_since: Option<Now>,
    /// `None` if it has none.
    limits: Option<Box<BackendLimits>>,
    /// Its pool and its place there; `None` once it is removed.
    place: Option<(PoolSlot, MemberIndex)>,
}

/// A picked backend: its slot, and its index in the pool.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Picked {
    pub backend: BackendSlot,
    pub index: MemberIndex,
}

/// The whole view of one shard.
#[derive(Debug, Default)]
pub struct View {
    pub edition: Edition,
    listeners: Vec<ListenerView>,
    pools: Vec<PoolView>,
    backends: Vec<BackendView>,
    /// Their slots, also of those of the past whose slot no other has yet.
    by_id: BTreeMap<BackendId, BackendSlot>,
    /// The slots of those of the past.
    departed: BTreeSet<BackendSlot>,
    /// Those that have limits.
    limited: BTreeSet<BackendSlot>,
    touched: Touched,
    wildcards: Wildcards,
    /// A pool has got a lifetime, or another one, since this was taken.
    new_lifetimes: bool,
    /// A backend is out since this was taken.
    new_falls: bool,
}

impl View {
    /// The version whose sessions are opened now.
    #[must_use]
    pub fn version(&self) -> Version {
        self.edition.version
    }

    #[must_use]
    pub fn listeners(&self) -> &[ListenerView] {
        &self.listeners
    }

    #[must_use]
    pub fn pools(&self) -> &[PoolView] {
        &self.pools
    }

    #[must_use]
    pub fn backends(&self) -> &[BackendView] {
        &self.backends
    }

    /// A backend that is picked by another load or health than it has: none, or there is a bug. For
    /// the simulator.
    #[must_use]
    pub fn picked_by_old_figures(&self) -> Option<BackendId> {
        let stale = |backend: &&BackendView| {
            let Some((pool, index)) = backend.place else { return false };
            let pool = &self.pools[pool.index()];
            let candidate = pool.picker.candidate(index.index());
            let figures = (candidate.load, candidate.usable);
            let fresh = figures == (backend.load(), backend.is_usable(pool.panic_mode));
            let overlooked = backend.is_unsteady() && !pool.unsteady.contains(&index);
            !fresh || overlooked || !pool.picker.is_fresh(index.index())
        };
        self.backends.iter().find(stale).map(|backend| backend.id)
    }

    /// The slot of that backend, if it is known here.
    #[must_use]
    pub fn backend_slot(&self, id: BackendId) -> Option<BackendSlot> {
        self.by_id.get(&id).copied()
    }

    /// The slot of that listener, if it is in the snapshot.
    #[must_use]
    pub fn listener_slot(&self, id: ListenerId) -> Option<ListenerSlot> {
        let slot = self.listeners.iter().position(|view| view.present && view.id == id)?;
        Some(ListenerSlot::at(slot))
    }

    /// The addresses that connects of the pool come from.
    pub fn sources(&mut self, pool: PoolSlot) -> &mut Sources {
        &mut self.pools[pool.index()].sources
    }

    /// True once for a lifetime that sessions may not have been scheduled by.
    pub fn take_new_lifetimes(&mut self) -> bool {
        core::mem::take(&mut self.new_lifetimes)
    }

    /// Control says how many sessions the other shards hold on a backend.
    pub fn set_remote_sessions(&mut self, id: BackendId, sessions: u32) {
        if let Some(slot) = self.backend_slot(id) {
            self.backends[slot.index()].remote_sessions = sessions;
            self.refresh_load(slot);
        }
    }

    /// A session is assigned to `backend`: it counts as load from now on, connecting or not.
    pub fn session_assigned(&mut self, backend: BackendSlot) {
        self.backends[backend.index()].sessions += 1;
        self.refresh_load(backend);
        self.touch(backend);
    }

    /// A session that was assigned to `backend` has left it.
    pub fn session_released(&mut self, backend: BackendSlot) {
        self.backends[backend.index()].sessions -= 1;
        self.refresh_load(backend);
        self.touch(backend);
    }

    /// A session of this listener and pool begins.
    pub fn session_opened(&mut self, listener: ListenerSlot, pool: PoolSlot) {
        self.listeners[listener.index()].sessions += 1;
        self.pools[pool.index()].sessions += 1;
    }

    /// A session of this listener and pool is over.
    pub fn session_closed(&mut self, listener: ListenerSlot, pool: PoolSlot) {
        self.listeners[listener.index()].sessions -= 1;
        self.pools[pool.index()].sessions -= 1;
    }

    /// A session takes a route: it is of another pool.
    pub fn session_rerouted(&mut self, from: PoolSlot, to: PoolSlot) {
        self.pools[from.index()].sessions -= 1;
        self.pools[to.index()].sessions += 1;
    }

    /// A session of this pool has a side that takes nothing.
    pub fn stall_begins(&mut self, pool: PoolSlot) {
        self.pools[pool.index()].stalled += 1;
    }

    /// A session of this pool goes on after a stall, or is over.
    pub fn stall_ends(&mut self, pool: PoolSlot) {
        self.pools[pool.index()].stalled -= 1;
    }

    fn refresh_load(&mut self, slot: BackendSlot) {
        let backend = &self.backends[slot.index()];
        if let Some((pool, index)) = backend.place {
            let PoolView { picker, panic_mode, .. } = &mut self.pools[pool.index()];
            picker.change(index.index(), |candidate| {
                candidate.load = backend.load();
                candidate.usable = backend.is_usable(*panic_mode);
            });
        }
    }
}

impl ListenerView {
    /// The view of a listener whose slot was `old`'s.
    fn new(listener: &Listener, pools: &[PoolSlot], old: Option<&ListenerView>) -> ListenerView {
        let sessions = old.map_or(0, |old| old.sessions);
        let before = old.filter(|old| old.id == listener.id);
        let lease = listener.max_sessions.map(|most| {
            let known = before.and_then(|old| Some((old.lease?, old.sessions_max?)));
            let Some((mut lease, most_before)) = known else { return Lease::new(sessions) };
            if most < most_before {
                lease.lower(sessions);
            }
            lease.tell_again();
            lease
        });
        ListenerView {
            id: listener.id,
            pool: pools[listener.pool],
            sessions_max: listener.max_sessions,
            lease,
            per_source: listener.per_source,
            rate: listener.rate.map(|rate| match before.and_then(|old| old.rate) {
                Some(lease) => lease.under(rate),
                None => RateLease::new(rate),
            }),
            sessions,
            keepalive: listener.keepalive,
            proxy: (!listener.proxy.from.is_empty()).then(|| listener.proxy.clone()),
            served: listener.access.served(),
            routes: Arc::clone(&listener.routes),
            route_pools: listener.routes.iter().map(|route| pools[route.pool]).collect(),
            reads_hello: listener.routes.iter().any(Route::reads_hello),
            asks_for_source: listener.routes.iter().any(Route::asks_for_source),
            inspect_timeout_ms: listener.inspect_timeout_ms,
            hold_ms: listener.no_backend.hold_ms(),
            closes: listener.no_backend == NoBackend::Close,
            accepting: listener.accepting,
            present: true,
        }
    }

    /// The slots of its pool and of those of its routes.
    pub fn pools(&self) -> impl Iterator<Item = PoolSlot> + '_ {
        core::iter::once(self.pool).chain(self.route_pools.iter().copied())
    }

    /// The pool of the route at this place, or its own.
    #[must_use]
    pub fn pool_of(&self, route: Option<usize>) -> PoolSlot {
        route.map_or(self.pool, |place| self.route_pools[place])
    }

    /// The bytes that a client at this address is inspected for first, and how long they may take,
    /// in milliseconds.
    #[must_use]
    pub fn inspects(&self, client: Option<IpAddr>) -> Option<(Awaited, u32)> {
        match &self.proxy {
            Some(proxy) => {
                Some((Awaited::Header, proxy.timeout_ms.unwrap_or(self.inspect_timeout_ms)))
            }
            None => self.awaits_hello(client),
        }
    }

    /// The same when a header has come, or none is wanted. No client waits for a hello that decides
    /// nothing: the first route that this client may take goes by its address alone, or there is
    /// none.
    #[must_use]
    pub fn awaits_hello(&self, client: Option<IpAddr>) -> Option<(Awaited, u32)> {
        let first = || self.routes.iter().find(|route| route.serves(client));
        let decides = self.reads_hello && first().is_some_and(Route::reads_hello);
        decides.then_some((Awaited::Hello, self.inspect_timeout_ms))
    }

    /// True if a client at this address is served.
    #[must_use]
    pub fn serves(&self, client: IpAddr) -> bool {
        self.served.as_ref().is_none_or(|served| served.contains(client))
    }
}

impl PoolView {
    #[must_use]
    pub fn strategy(&self) -> Strategy {
        self.picker.strategy()
    }

    /// True while so few backends are up that their health is ignored.
    #[must_use]
    pub fn is_in_panic(&self) -> bool {
        self.panic_mode
    }
}

impl BackendView {
    #[must_use]
    pub(crate) fn is_up(&self) -> bool {
        self.health == BackendHealth::Up
    }

    /// Sessions of all shards, as far as this one knows.
    #[must_use]
    pub fn load(&self) -> u32 {
        self.sessions.saturating_add(self.remote_sessions)
    }
}

#[cfg(test)]
#[path = "view/tests.rs"]
mod tests;
