//! Sessions that come from another shard: their objects have a place here, also those that the
//! snapshot no longer has.

use alloc::sync::Arc;
use alloc::vec::Vec;
use core::net::{Ipv4Addr, SocketAddr};

use weir_proto::address::Address;
use weir_proto::handover::HandedTerms;
use weir_proto::ids::{BackendId, Edition, ListenerId, PoolId};
use weir_proto::order::BackendHealth;
use weir_proto::snapshot::{Keepalive, Retry, Timeouts};
use weir_proto::spec::{OnDown, Percent, Strategy};

use super::{BackendView, ListenerView, PoolView, View};
use crate::base::prng::Prng;
use crate::pick::Groups;
use crate::priority::GroupRule;
use crate::slot::{BackendSlot, ListenerSlot, MemberIndex, PoolSlot};
use crate::sources::Sources;

/// The places of a session that comes, and those that were made for it.
#[derive(Clone, Copy, Debug)]
pub struct Places {
    pub listener: ListenerSlot,
    pub pool: PoolSlot,
    pub backend: BackendSlot,
    /// The backend's index in its pool.
    pub index: MemberIndex,
    /// The backend's place is new.
    pub is_new: bool,
}

impl View {
    /// The places of a session of these, which goes by `terms`. What the snapshot does not have
    /// gets a place of the past.
    pub fn places(
        &mut self,
        (listener, pool, backend): (ListenerId, PoolId, BackendId),
        terms: HandedTerms,
        prng: &mut Prng,
    ) -> Places {
        let pool = self.place_of_pool(pool, terms, prng);
        let listener = self.place_of_listener(listener, pool);
        let known = self.backend_slot(backend);
        let is_new = known.is_none();
        let backend = known.unwrap_or_else(|| self.past_backend(backend));
        let place = self.backends[backend.index()].place;
        let index = place.map_or(MemberIndex::FIRST, |(_, index)| index);
        Places { listener, pool, backend, index, is_new }
    }

    /// The places of a client that no backend has yet.
    pub fn places_of_client(
        &mut self,
        (listener, pool): (ListenerId, PoolId),
        prng: &mut Prng,
    ) -> (ListenerSlot, PoolSlot) {
        // A pool of the past has no backend for it: its terms do not matter.
        let terms = HandedTerms { idle_ms: 0, half_close_ms: 0, stalled_ms: 0 };
        let pool = self.place_of_pool(pool, terms, prng);
        (self.place_of_listener(listener, pool), pool)
    }

    fn place_of_pool(&mut self, id: PoolId, terms: HandedTerms, prng: &mut Prng) -> PoolSlot {
        let is_its = |pool: &PoolView| pool.id == id && (pool.present || pool.sessions > 0);
        if let Some(slot) = self.pools.iter().position(is_its) {
            return PoolSlot::at(slot);
        }
        let past = PoolView::past(id, terms, prng);
        PoolSlot::at(put(&mut self.pools, past, |pool| !pool.present && pool.sessions == 0))
    }

    fn place_of_listener(&mut self, id: ListenerId, pool: PoolSlot) -> ListenerSlot {
        let is_its = |it: &ListenerView| it.id == id && (it.present || it.sessions > 0);
        if let Some(slot) = self.listeners.iter().position(is_its) {
            return ListenerSlot::at(slot);
        }
        let past = ListenerView::past(id, pool);
        let is_free = |it: &ListenerView| !it.present && it.sessions == 0;
        ListenerSlot::at(put(&mut self.listeners, past, is_free))
    }

    /// A new place, as of one that has left: the next adoption may give it to another one once it
    /// has no session.
    fn past_backend(&mut self, id: BackendId) -> BackendSlot {
        let slot = BackendSlot::at(self.backends.len());
        self.backends.push(BackendView::past(id));
        self.by_id.insert(id, slot);
        self.departed.insert(slot);
        slot
    }
}

/// Puts a row into a free place, or behind the last.
fn put<R>(rows: &mut Vec<R>, row: R, is_free: impl FnMut(&R) -> bool) -> usize {
    match rows.iter().position(is_free) {
        Some(slot) => {
            rows[slot] = row;
            slot
        }
        None => {
            rows.push(row);
            rows.len() - 1
        }
    }
}

impl ListenerView {
    /// One that the snapshot does not have: no client comes out of it.
    fn past(id: ListenerId, pool: PoolSlot) -> ListenerView {
        ListenerView {
            id,
            pool,
            sessions_max: None,
            lease: None,
            rate: None,
            per_source: None,
            sessions: 0,
            keepalive: Keepalive::default(),
            proxy: None,
            served: None,
            routes: Arc::default(),
            route_pools: Vec::new(),
            reads_hello: false,
            asks_for_source: false,
            inspect_timeout_ms: 0,
            hold_ms: 0,
            closes: false,
            accepting: false,
            present: false,
        }
    }
}

impl PoolView {
    /// One that the snapshot does not have: it has no backend to pick.
    fn past(id: PoolId, terms: HandedTerms, prng: &mut Prng) -> PoolView {
        let HandedTerms { idle_ms, half_close_ms, stalled_ms } = terms;
        let timeouts = Timeouts {
            connect_ms: 0,
            idle_ms,
            half_close_ms,
            own_stalled_ms: Some(stalled_ms),
            queue_ms: 0,
            lifetime_ms: None,
        };
        PoolView {
            id,
            since: Edition::default(),
            timeouts,
            lifetime: None,
            keepalive: Keepalive::default(),
            socket_buffer: None,
            sources: Sources::default(),
            proxy: None,
            retry: Retry { attempts: 0, within_ms: 0, replay_max: None },
            queue_size: 0,
            sessions: 0,
            stalled: 0,
            connecting: 0,
            retrying: 0,
            rule: GroupRule { panic: Percent::default(), spill: Percent::default() },
            on_down: OnDown::Keep,
            slow_start_ms: 0,
            panic_mode: false,
            candidates: 0,
            unsteady: Vec::new(),
            picker: Groups::new(Strategy::default(), &[], prng),
            tallies: Vec::new(),
            shares: Vec::new(),
            slots: Vec::new(),
            present: false,
        }
    }
}

impl BackendView {
    /// One that the snapshot does not have.
    fn past(id: BackendId) -> BackendView {
        BackendView {
            id,
            address: Address::Ip(SocketAddr::new(Ipv4Addr::UNSPECIFIED.into(), 0)),
            may_be_weir: false,
            sessions: 0,
            remote_sessions: 0,
            health: BackendHealth::Down,
            fall: super::falls::Fall::default(),
            failures: 0,
            closes: false,
            enabled: false,
            weight: 0,
            is_member: false,
            waiting: 0,
            stuck_since: None,
            ramps_since: None,
            limits: None,
            place: None,
        }
    }
}
