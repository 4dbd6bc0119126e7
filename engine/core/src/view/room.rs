//! The room of backends that have limits: this shard's part of them, and who asks for more.
//!
//! A backend without a credit here is full: no pick finds it. Its lease is looked at once a turn,
//! if something has changed for it, before and after sessions that wait are given a backend. So a
//! backend without a limit costs nothing, and of those with one only a few are looked at.

use alloc::vec::Vec;
use core::mem;

use weir_proto::ids::BackendId;
use weir_proto::order::{Credit, Want};

use super::View;
use super::backend_limits::{BackendLimits, InUse};
use crate::base::clock::Now;
use crate::pick::Tried;
use crate::priority::GroupTally;
use crate::slot::{BackendSlot, PoolSlot};

/// Backends whose leases are to be looked at in this turn.
#[derive(Debug, Default)]
pub(super) struct Touched {
    backends: Vec<BackendSlot>,
    /// Those of them that control must be told of.
    news: Vec<BackendSlot>,
    /// A backend may have got room, or may be picked again.
    has_room: bool,
    /// Backends without a token, and when each has one at the earliest. Has room for all.
    awaiting: Vec<(Now, BackendSlot)>,
    /// The earliest of those moments.
    token_at: Option<Now>,
}

impl View {
    /// The leases of this backend, and whether a pick finds it, are to be looked at. True if it has
    /// limits.
    pub(super) fn touch(&mut self, slot: BackendSlot) -> bool {
        self.touched.has_room = true;
        let Some(limits) = self.backends[slot.index()].limits.as_deref_mut() else { return false };
        if !mem::replace(&mut limits.is_touched, true) {
            self.touched.backends.push(slot);
        }
        true
    }

    /// The same of every backend of a pool: sessions begin to wait there, or none does any more.
    pub fn touch_pool(&mut self, pool: PoolSlot) {
        for index in 0..self.pools[pool.index()].slots.len() {
            self.touch(self.pools[pool.index()].slots[index]);
        }
    }

    /// A new version is in use: control hears of every lease again.
    pub(super) fn tell_limits_again(&mut self) {
        self.touched.awaiting.clear();
        self.touched.awaiting.reserve(self.limited.len());
        self.touched.token_at = None;
        for slot in self.limited.clone() {
            if let Some(limits) = self.backends[slot.index()].limits.as_deref_mut() {
                limits.awaits_token = false;
                limits.tell_again();
            }
            self.touch(slot);
        }
    }

    /// Control's word on a limit of a backend.
    pub fn hear_backend_credit(&mut self, id: BackendId, credit: Credit) {
        let Some(slot) = self.backend_slot(id) else { return };
        if let Some(limits) = self.backends[slot.index()].limits.as_deref_mut() {
            limits.hear(credit);
            self.refresh_load(slot);
            self.touch(slot);
        }
    }

    /// When a backend that has no token for a connect gets the next one.
    #[must_use]
    pub fn token_at(&self) -> Option<Now> {
        self.touched.token_at
    }

    /// A backend that has no token, and for whose next one the shard does not wake: none, or there
    /// is a bug. For the simulator.
    #[must_use]
    pub fn sleeps_on_a_token(&self) -> Option<BackendId> {
        let sleeps = |slot: &&BackendSlot| {
            let limits = self.backends[slot.index()].limits.as_deref();
            let awaits = self.touched.awaiting.iter().any(|(_, awaiting)| awaiting == *slot);
            limits.is_some_and(BackendLimits::lacks_a_token) && !awaits
        };
        let slot = self.limited.iter().filter(|_| !self.has_touched()).find(sleeps)?;
        Some(self.backends[slot.index()].id)
    }

    /// Backends whose token has come by now may be picked again.
    pub fn gain_tokens(&mut self, now: Now) {
        if self.touched.token_at.is_none_or(|at| at > now) {
            return;
        }
        let mut awaiting = mem::take(&mut self.touched.awaiting);
        awaiting.retain(|(at, slot)| {
            if *at > now {
                return true;
            }
            if let Some(limits) = self.backends[slot.index()].limits.as_deref_mut() {
                limits.gain(now);
                self.refresh_load(*slot);
                self.touch(*slot);
            }
            false
        });
        self.touched.token_at = awaiting.iter().map(|(at, _)| *at).min();
        self.touched.awaiting = awaiting;
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
    pub fn give_credits_back(&mut self, waits: impl Fn(PoolSlot) -> bool, now: Now) {
        for index in 0..self.touched.backends.len() {
            let slot = self.touched.backends[index];
            self.on_limits(slot, &waits, |limits, used, waits| limits.give_back(used, waits, now));
        }
    }

    /// After that: wants what is lacked. True if control is to hear of it.
    pub fn settle_credits(&mut self, waits: impl Fn(PoolSlot) -> bool) -> bool {
        for index in 0..self.touched.backends.len() {
            let slot = self.touched.backends[index];
            let token_at = self.on_limits(slot, &waits, BackendLimits::settle).flatten();
            let Some(limits) = self.backends[slot.index()].limits.as_deref_mut() else { continue };
            limits.is_touched = false;
            if limits.is_news() {
                self.touched.news.push(slot);
            }
            if let Some(at) = token_at
                && !mem::replace(&mut limits.awaits_token, true)
            {
                self.touched.awaiting.push((at, slot));
                self.touched.token_at = self.touched.token_at.into_iter().chain([at]).min();
            }
        }
        self.touched.backends.clear();
        !self.touched.news.is_empty()
    }

    /// Does something with the limits of a backend: what is used of them, and whether a session
    /// waits for it. `None` if it has none any more.
    fn on_limits<T>(
        &mut self,
        slot: BackendSlot,
        waits: impl Fn(PoolSlot) -> bool,
        work: impl Fn(&mut BackendLimits, InUse, bool) -> T,
    ) -> Option<T> {
        let backend = &mut self.backends[slot.index()];
        let waits = backend.place.is_some_and(|(pool, index)| {
            waits(pool) && self.pools[pool.index()].may_serve(index.index(), backend)
        });
        let used = backend.in_use();
        let done = work(backend.limits.as_deref_mut()?, used, waits);
        self.refresh_load(slot);
        Some(done)
    }

    /// Takes what control does not know of leases of backends.
    pub fn take_backend_wants(&mut self, wants: &mut Vec<Want>) {
        for slot in mem::take(&mut self.touched.news) {
            let backend = &mut self.backends[slot.index()];
            let Some(limits) = backend.limits.as_deref_mut() else { continue };
            limits.take_wants(backend.id, wants);
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
