//! The room of backends that have a limit: this shard's part of it, and who asks for more.
//!
//! A backend without a credit here is full: no pick finds it. Its lease is looked at once a turn,
//! if something has changed for it, before and after sessions that wait are given a backend. So a
//! backend without a limit costs nothing, and of those with one only a few are looked at.

use alloc::boxed::Box;
use alloc::vec::Vec;
use core::mem;

use weir_proto::ids::BackendId;
use weir_proto::order::{Limited, Want};
use weir_proto::snapshot::Backend;

use super::{BackendView, View};
use crate::lease::Lease;
use crate::pick::Tried;
use crate::priority::GroupTally;
use crate::slot::{BackendSlot, PoolSlot};

/// The limits of one backend.
#[derive(Clone, Copy, Debug)]
pub(super) struct BackendLimits {
    sessions_max: u32,
    sessions: Lease,
    /// It is in [`Touched::backends`].
    is_touched: bool,
}

/// Backends whose lease is to be looked at in this turn.
#[derive(Debug, Default)]
pub(super) struct Touched {
    backends: Vec<BackendSlot>,
    /// Those of them that control must be told of.
    news: Vec<BackendSlot>,
    /// A backend may have got room, or may be picked again.
    has_room: bool,
}

impl BackendLimits {
    /// The limits of `backend`, of which this shard had `before`; `None` if it has none.
    pub(super) fn new(backend: &Backend, before: Option<&BackendView>) -> Option<Box<Self>> {
        let most = backend.max_sessions?;
        let used = before.map_or(0, |old| old.sessions);
        let known = before.and_then(|old| old.limits.as_deref());
        let Some(BackendLimits { sessions_max, sessions: mut lease, is_touched }) = known.copied()
        else {
            let sessions = Lease::ahead(used);
            let is_touched = false;
            return Some(Box::new(BackendLimits { sessions_max: most, sessions, is_touched }));
        };
        if most < sessions_max {
            lease.lower(used);
        }
        Some(Box::new(BackendLimits { sessions_max: most, sessions: lease, is_touched }))
    }
}

impl BackendView {
    /// True if this shard may give it another session.
    pub(super) fn has_room(&self) -> bool {
        let room = |limits: &BackendLimits| limits.sessions.room(self.sessions) > 0;
        self.limits.as_deref().is_none_or(room)
    }

    /// Credits of this shard under its limit of sessions, and unused ones that others lack. `None`
    /// without a limit.
    #[must_use]
    pub fn credits(&self) -> Option<(u32, u32)> {
        let lease = &self.limits.as_deref()?.sessions;
        Some((lease.held(), lease.owed(self.sessions)))
    }
}

impl View {
    /// The lease of this backend, and whether a pick finds it, are to be looked at.
    pub(super) fn touch(&mut self, slot: BackendSlot) {
        self.touched.has_room = true;
        if let Some(limits) = self.backends[slot.index()].limits.as_deref_mut()
            && !mem::replace(&mut limits.is_touched, true)
        {
            self.touched.backends.push(slot);
        }
    }

    /// The same of every backend of a pool: sessions begin to wait there, or none does any more.
    pub fn touch_pool(&mut self, pool: PoolSlot) {
        for index in 0..self.pools[pool.index()].slots.len() {
            self.touch(self.pools[pool.index()].slots[index]);
        }
    }

    /// A new version is in use: control hears of every lease again.
    pub(super) fn tell_limits_again(&mut self) {
        for slot in self.limited.clone() {
            if let Some(limits) = self.backends[slot.index()].limits.as_deref_mut() {
                limits.sessions.tell_again();
            }
            self.touch(slot);
        }
    }

    /// Control's word on a backend's limit.
    pub fn hear_backend_credit(&mut self, id: BackendId, given: u64, keep: Option<u32>) {
        let Some(slot) = self.backend_slot(id) else { return };
        if let Some(limits) = self.backends[slot.index()].limits.as_deref_mut() {
            limits.sessions.hear(given, keep);
            self.refresh_load(slot);
            self.touch(slot);
        }
    }

    /// Sessions that wait may find room.
    pub fn note_room(&mut self) {
        self.touched.has_room = true;
    }

    /// True if sessions that wait may find room that they did not find before. Says it once.
    pub fn take_room_news(&mut self) -> bool {
        mem::take(&mut self.touched.has_room)
    }

    /// True if leases are to be looked at.
    #[must_use]
    pub fn has_touched(&self) -> bool {
        !self.touched.backends.is_empty()
    }

    /// Before sessions that wait are given a backend: what other shards lack goes back. `waits`
    /// says whether sessions wait in a pool.
    pub fn give_credits_back(&mut self, waits: impl Fn(PoolSlot) -> bool) {
        for index in 0..self.touched.backends.len() {
            let slot = self.touched.backends[index];
            self.on_lease(slot, &waits, Lease::give_back);
        }
    }

    /// After that: wants what is lacked. True if control is to hear of it.
    pub fn settle_credits(&mut self, waits: impl Fn(PoolSlot) -> bool) -> bool {
        for index in 0..self.touched.backends.len() {
            let slot = self.touched.backends[index];
            self.on_lease(slot, &waits, Lease::settle);
            let Some(limits) = self.backends[slot.index()].limits.as_deref_mut() else { continue };
            limits.is_touched = false;
            if limits.sessions.is_news() {
                self.touched.news.push(slot);
            }
        }
        self.touched.backends.clear();
        !self.touched.news.is_empty()
    }

    /// Does something with the lease of a backend: the sessions that use it, and whether one waits
    /// for it.
    fn on_lease(
        &mut self,
        slot: BackendSlot,
        waits: impl Fn(PoolSlot) -> bool,
        work: fn(&mut Lease, u32, bool),
    ) {
        let backend = &mut self.backends[slot.index()];
        let waits = backend.place.is_some_and(|(pool, index)| {
            waits(pool) && self.pools[pool.index()].may_serve(index.index(), backend)
        });
        if let Some(limits) = backend.limits.as_deref_mut() {
            work(&mut limits.sessions, backend.sessions, waits);
            self.refresh_load(slot);
        }
    }

    /// Takes what control does not know of leases of backends.
    pub fn take_backend_wants(&mut self, wants: &mut Vec<Want>) {
        for slot in mem::take(&mut self.touched.news) {
            let backend = &mut self.backends[slot.index()];
            let Some(limits) = backend.limits.as_deref_mut() else { continue };
            if let Some((given, held, wish)) = limits.sessions.take_news() {
                wants.push(Want { of: Limited::Backend(backend.id), given, held, wish });
            }
        }
    }

    /// True if a backend of this pool may have new sessions, full or not.
    #[must_use]
    pub fn has_candidates(&self, pool: PoolSlot) -> bool {
        self.pools[pool.index()].candidates > 0
    }

    /// True if one of them is up, or its first check is not over. In panic there may be none that
    /// is.
    #[must_use]
    pub fn has_up(&self, pool: PoolSlot) -> bool {
        let pool = &self.pools[pool.index()];
        pool.candidates > 0 && pool.tallies.iter().any(GroupTally::has_up)
    }

    /// True if a pick in this pool finds a backend. For checkers.
    #[must_use]
    pub fn has_room(&self, pool: PoolSlot) -> bool {
        let picker = &self.pools[pool.index()].picker;
        (0..self.pools[pool.index()].slots.len()).any(|index| {
            let is_eligible = picker.candidate(index).is_eligible(index, Tried::NONE);
            is_eligible && picker.has_share(index)
        })
    }

    /// True if a backend that has not been tried takes no session only because it is full. Those of
    /// groups without a share count for a session that has tried one, since it may get them.
    #[must_use]
    pub fn is_full(&self, pool: PoolSlot, tried: Tried) -> bool {
        let pool = &self.pools[pool.index()];
        let backends = pool.slots.iter().map(|slot| &self.backends[slot.index()]);
        backends.enumerate().any(|(index, backend)| {
            let may_take =
                pool.may_take(backend) && (pool.picker.has_share(index) || !tried.is_empty());
            may_take && !tried.contains(index) && !backend.has_room()
        })
    }
}
