//! A new snapshot: who has which place from now on. Only pools that are others than before are
//! looked into: most changes are of one backend among many thousands.

use alloc::collections::BTreeSet;
use alloc::vec;
use alloc::vec::Vec;
use core::mem;

use weir_proto::ids::{BackendId, PoolId};
use weir_proto::order::BackendHealth;
use weir_proto::snapshot::{Backend, Pool, Snapshot};

use super::backend_limits::BackendLimits;
use super::slots::Slots;
use super::{BackendView, ListenerView, PoolView, View};
use crate::base::clock::Now;
use crate::base::prng::Prng;
use crate::lifetime::Lifetime;
use crate::pick::{Candidate, Groups, identity};
use crate::priority::{GroupRule, GroupTally};
use crate::slot::{BackendSlot, MemberIndex, PoolSlot};
use crate::sources::Sources;

/// The slots of backends, while a snapshot is being adopted.
struct BackendSlots {
    /// Of the past, without a session. In rising order.
    free: Vec<BackendSlot>,
    length: usize,
    /// Given to backends that had none.
    given: Vec<BackendSlot>,
}

impl View {
    /// Takes over a new snapshot. Load, health and leases are carried by identity. Gives the slots
    /// that another backend has now.
    pub fn adopt(&mut self, snapshot: &Snapshot, prng: &mut Prng, now: Now) -> Vec<BackendSlot> {
        self.edition = snapshot.edition();
        let wildcards = snapshot.wildcard_binds();
        let same_binds = wildcards == self.wildcards;
        self.wildcards = wildcards;
        self.leave_pools(snapshot);
        let mut pool_slots = Slots::new(&mut self.pools, snapshot.pools.iter().map(|pool| pool.id));
        let mut pools = Vec::with_capacity(snapshot.pools.len());
        let mut changed = Vec::new();
        for pool in &snapshot.pools {
            let slot = PoolSlot::at(pool_slots.take(pool.id));
            pools.push(slot);
            let before = self.pools.get(slot.index()).filter(|old| old.id == pool.id);
            if !(same_binds && before.is_some_and(|old| old.since == pool.since)) {
                changed.push((slot, &**pool));
                if before.is_some() {
                    self.leave_backends(slot, pool);
                }
            }
        }
        let given = self.adopt_changed(&changed, prng, now);
        self.adopt_listeners(snapshot, &pools);
        self.tell_limits_again();
        given
    }

    /// The backends of pools that are not in `snapshot` have no place any more.
    fn leave_pools(&mut self, snapshot: &Snapshot) {
        let coming: BTreeSet<PoolId> = snapshot.pools.iter().map(|pool| pool.id).collect();
        for pool in self.pools.iter().filter(|pool| pool.present && !coming.contains(&pool.id)) {
            for slot in &pool.slots {
                leave(&mut self.backends[slot.index()]);
                self.limited.remove(slot);
                self.departed.insert(*slot);
            }
        }
    }

    /// The backends of the pool in this slot that are not in `pool` have no place any more.
    fn leave_backends(&mut self, slot: PoolSlot, pool: &Pool) {
        let coming: BTreeSet<BackendId> = pool.backends.iter().map(|it| it.id).collect();
        for slot in &self.pools[slot.index()].slots {
            let backend = &mut self.backends[slot.index()];
            if !coming.contains(&backend.id) {
                leave(backend);
                self.limited.remove(slot);
                self.departed.insert(*slot);
            }
        }
    }

    fn adopt_changed(
        &mut self,
        changed: &[(PoolSlot, &Pool)],
        prng: &mut Prng,
        now: Now,
    ) -> Vec<BackendSlot> {
        let is_free = |slot: &BackendSlot| self.backends[slot.index()].sessions == 0;
        let free = self.departed.iter().copied().filter(is_free).collect();
        let mut slots = BackendSlots { free, length: self.backends.len(), given: Vec::new() };
        for (slot, pool) in changed {
            let members = self.adopt_backends(pool, *slot, &mut slots, now);
            self.adopt_pool(pool, *slot, members, (prng, now));
            self.recompute_eligibility(*slot);
        }
        slots.given
    }

    /// The slot of that backend: its own, a free one, or the next after the last.
    fn take_slot(&mut self, id: BackendId, slots: &mut BackendSlots) -> BackendSlot {
        if let Some(slot) = self.by_id.get(&id) {
            if self.departed.remove(slot) {
                slots.free.retain(|free| free != slot);
            }
            return *slot;
        }
        let slot = slots.free.pop().unwrap_or_else(|| {
            slots.length += 1;
            BackendSlot::at(slots.length - 1)
        });
        if self.departed.remove(&slot) {
            self.by_id.remove(&self.backends[slot.index()].id);
        }
        self.by_id.insert(id, slot);
        slots.given.push(slot);
        slot
    }

    fn adopt_listeners(&mut self, snapshot: &Snapshot, pools: &[PoolSlot]) {
        let listener_ids = snapshot.listeners.iter().map(|listener| listener.id);
        let mut slots = Slots::new(&mut self.listeners, listener_ids);
        for listener in &snapshot.listeners {
            let slot = slots.take(listener.id);
            let view = ListenerView::new(listener, pools, self.listeners.get(slot));
            match self.listeners.get_mut(slot) {
                Some(old) => *old = view,
                None => self.listeners.push(view),
            }
        }
    }

    /// Gives each backend of `pool` its slot; the slots are in the order of the pool.
    fn adopt_backends(
        &mut self,
        pool: &Pool,
        pool_slot: PoolSlot,
        slots: &mut BackendSlots,
        now: Now,
    ) -> Vec<BackendSlot> {
        let taken: Vec<usize> =
            pool.backends.iter().map(|it| self.take_slot(it.id, slots).index()).collect();
        let was_member = |(backend, slot): (&Backend, &usize)| {
            self.backends.get(*slot).is_some_and(|old| old.id == backend.id && old.is_member)
        };
        // Of the first ones none has a full share that another would have to grow into.
        let mut both = pool.backends.iter().zip(&taken);
        let serves = both.any(|it| it.0.is_member() && was_member(it));
        let adopt = |(index, (backend, slot)): (usize, (&Backend, usize))| {
            let before = self.backends.get(slot).filter(|old| old.id == backend.id);
            let was_member = before.is_some_and(|old| old.is_member);
            let begins = serves && backend.is_member() && !was_member;
            let view = BackendView {
                id: backend.id,
                address: backend.address,
                may_be_weir: self.wildcards.takes(backend.address),
                sessions: before.map_or(0, |old| old.sessions),
                remote_sessions: before.map_or(0, |old| old.remote_sessions),
                health: before.map_or(BackendHealth::Up, |old| old.health),
                fall: before.map(|old| old.fall).unwrap_or_default(),
                failures: before.map_or(0, |old| old.failures),
                closes: before.is_some_and(|old| old.closes),
                enabled: backend.admin.is_ready(),
                weight: backend.weight,
                is_member: backend.is_member(),
                waiting: before.map_or(0, |old| old.waiting),
                stuck_since: before.and_then(|old| old.stuck_since),
                limits: BackendLimits::new(backend, before),
                ramps_since: if begins { Some(now) } else { before.and_then(|it| it.ramps_since) },
                place: Some((pool_slot, MemberIndex::at(index))),
            };
            let is_limited = view.limits.is_some();
            match self.backends.get_mut(slot) {
                Some(old) => *old = view,
                None => self.backends.push(view),
            }
            let slot = BackendSlot::at(slot);
            let known = &mut self.limited;
            if is_limited {
                known.insert(slot)
            } else {
                known.remove(&slot)
            };
            slot
        };
        (0..).zip(pool.backends.iter().zip(taken)).map(adopt).collect()
    }

    /// The backends of a pool for its picker, each with its priority.
    fn candidates(&self, pool: &Pool, slots: &[BackendSlot]) -> Vec<(u8, Candidate)> {
        let candidate = |(backend, slot): (&Backend, &BackendSlot)| {
            let view = &self.backends[slot.index()];
            let candidate = Candidate {
                identity: identity(backend.name.as_str()),
                weight: backend.weight,
                load: view.load(),
                usable: false, // `recompute_eligibility` says
            };
            (backend.priority, candidate)
        };
        pool.backends.iter().zip(slots).map(candidate).collect()
    }

    /// Where the pool connects from, with the turns that it has had.
    fn take_sources(&mut self, pool: &Pool, slot: PoolSlot) -> Sources {
        let old = self.pools.get_mut(slot.index()).filter(|old| old.id == pool.id);
        let mut sources = old.map(|old| mem::take(&mut old.sources)).unwrap_or_default();
        sources.adopt(pool.spec.source.as_ref());
        sources
    }

    fn adopt_pool(
        &mut self,
        pool: &Pool,
        slot: PoolSlot,
        slots: Vec<BackendSlot>,
        (prng, now): (&mut Prng, Now),
    ) {
        let candidates = self.candidates(pool, &slots);
        let unsteady = self.unsteady(&slots);
        let sources = self.take_sources(pool, slot);
        let place = self.pools.get_mut(slot.index());
        let slow_start_ms = u32::try_from(pool.health.slow_start.millis).unwrap_or(u32::MAX);
        let before = place.as_ref();
        let own = before.filter(|old| old.id == pool.id);
        let lifetime_before = own.and_then(|old| old.lifetime);
        let lifetime = Lifetime::follow(pool.timeouts.lifetime_ms, lifetime_before, now);
        self.new_lifetimes |= own.is_some() && lifetime.is_some() && lifetime != lifetime_before;
        let (sessions, connecting, retrying) =
            before.map_or((0, 0, 0), |old| (old.sessions, old.connecting, old.retrying));
        let stalled = before.map_or(0, |old| old.stalled);
        if let Some(old) = place
            && old.id == pool.id
            && old.strategy() == pool.strategy
        {
            // Keeps its turns, and its table if the members are the same.
            old.picker.rebuild(&candidates, prng);
            (old.tallies, old.shares) = counts(&old.picker);
            (old.since, old.on_down) = (pool.since, pool.spec.on_down);
            (old.timeouts, old.retry) = (pool.timeouts, pool.retry);
            (old.queue_size, old.lifetime) = (pool.queue_size, lifetime);
            (old.keepalive, old.sources) = (pool.keepalive, sources);
            (old.socket_buffer, old.proxy) = (pool.socket_buffer, pool.spec.proxy_protocol);
            (old.rule, old.slow_start_ms) = (GroupRule::of(pool), slow_start_ms);
            (old.unsteady, old.slots, old.present) = (unsteady, slots, true);
            return;
        }
        let picker = Groups::new(pool.strategy, &candidates, prng);
        let (tallies, shares) = counts(&picker);
        let view = PoolView {
            id: pool.id,
            since: pool.since,
            timeouts: pool.timeouts,
            lifetime,
            keepalive: pool.keepalive,
            socket_buffer: pool.socket_buffer,
            sources,
            proxy: pool.spec.proxy_protocol,
            retry: pool.retry,
            queue_size: pool.queue_size,
            sessions,
            stalled,
            connecting,
            retrying,
            rule: GroupRule::of(pool),
            on_down: pool.spec.on_down,
            slow_start_ms,
            panic_mode: false,
            candidates: 0, // `recompute_eligibility` says
            unsteady,
            picker,
            tallies,
            shares,
            slots,
            present: true,
        };
        match self.pools.get_mut(slot.index()) {
            Some(old) => *old = view,
            None => self.pools.push(view),
        }
    }
}

/// Room for a count and a share of each priority group.
fn counts(picker: &Groups) -> (Vec<GroupTally>, Vec<u32>) {
    (vec![GroupTally::default(); picker.len()], vec![0; picker.len()])
}

/// It is in no pool any more.
fn leave(backend: &mut BackendView) {
    (backend.place, backend.limits) = (None, None);
    backend.fall.leave();
}
