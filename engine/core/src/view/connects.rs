//! Picks and connects: who is next, how many are on their way, and whom to spare for a while.
//!
//! Two kinds of backends get less than their share. One that has begun to get sessions beside
//! others, or gets them again, a moment ago: its share grows with time (*slow start*), under maglev
//! client by client. One that too many connects wait for while none succeeds: it gets nothing until
//! one does, or until the deadlines of the connects have ejected it (*stuck*). Both get sessions
//! anyway if there is nobody else.

use alloc::vec::Vec;

use weir_proto::order::BackendHealth;
use weir_proto::reason::ConnectCap;
use weir_proto::spec::Strategy;

use super::{BackendView, Picked, PoolView, View};
use crate::base::clock::Now;
use crate::base::prng::Prng;
use crate::limits::{RETRIES_MIN, RETRIES_PERCENT, STUCK_AFTER_MS, STUCK_CONNECTS};
use crate::pick::{Tried, goes_over};
use crate::slot::{BackendSlot, MemberIndex, PoolSlot};

/// Whether another backend may be tried now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MayRetry {
    Now,
    /// Too many try already.
    Later,
}

/// A connect that the view counts while it has no answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CountedConnect {
    pub pool: PoolSlot,
    pub backend: BackendSlot,
    pub is_retry: bool,
}

impl View {
    /// Picks a backend of that pool for a client. `None` if no backend can take it.
    pub fn pick(
        &mut self,
        pool: PoolSlot,
        key: u64,
        prng: &mut Prng,
        tried: Tried,
        now: Now,
    ) -> Option<Picked> {
        let View { pools, backends, .. } = self;
        let pool = &mut pools[pool.index()];
        // Panic distrusts the health checks, a refusal is a fact: who was refused goes to one that
        // is up.
        let confirmed = (pool.panic_mode && !tried.is_empty())
            .then(|| pool.pick_up(backends, (key, tried), prng))
            .flatten();
        let picked = if confirmed.is_some() {
            confirmed
        } else if pool.unsteady.is_empty() {
            pool.picker.pick(key, prng, tried)
        } else {
            pool.sift(backends, (key, prng), now);
            let picked = pool.picker.pick(key, prng, tried);
            pool.restore(backends);
            picked.or_else(|| pool.picker.pick(key, prng, tried))
        };
        let index = picked.or_else(|| pool.picker.pick_beyond(key, prng, tried))?;
        Some(Picked { backend: pool.slots[index], index: MemberIndex::at(index) })
    }

    /// Whether a session of this pool may try another backend.
    #[must_use]
    pub fn may_retry(&self, pool: PoolSlot) -> MayRetry {
        let pool = &self.pools[pool.index()];
        let share = u64::from(pool.connecting) * u64::from(RETRIES_PERCENT) / 100;
        let few = u64::from(pool.retrying) < share.max(RETRIES_MIN);
        if few { MayRetry::Now } else { MayRetry::Later }
    }

    /// A connect is about to be made, to a backend that the session is assigned to next. Returns
    /// whether it was the last that this shard may begin there for now, by [`ConnectCap`]; `None`
    /// if the backend has no limit.
    pub fn connect_begins(
        &mut self,
        connect: CountedConnect,
        now: Now,
    ) -> Option<[bool; ConnectCap::ALL.len()]> {
        let pool = &mut self.pools[connect.pool.index()];
        pool.connecting += 1;
        pool.retrying += u32::from(connect.is_retry);
        let backend = &mut self.backends[connect.backend.index()];
        backend.waiting += 1;
        let is_last = backend.spend(now);
        if backend.waiting >= STUCK_CONNECTS && backend.stuck_since.is_none() {
            backend.stuck_since = Some(now);
            let place = backend.place;
            self.look_at(place);
        }
        is_last
    }

    /// The indices of those of the backends in these slots that picks have to look at.
    pub(super) fn unsteady(&self, slots: &[BackendSlot]) -> Vec<MemberIndex> {
        let mut unsteady = Vec::with_capacity(slots.len());
        let backends = slots.iter().map(|slot| &self.backends[slot.index()]);
        let those = (0..).zip(backends).filter(|(_, backend)| backend.is_unsteady());
        unsteady.extend(those.map(|(index, _)| MemberIndex::at(index)));
        unsteady
    }

    /// Picks look at the backend in this place from now on.
    pub(super) fn look_at(&mut self, place: Option<(PoolSlot, MemberIndex)>) {
        let Some((pool, index)) = place else { return };
        let unsteady = &mut self.pools[pool.index()].unsteady;
        if let Err(at) = unsteady.binary_search(&index) {
            unsteady.insert(at, index);
        }
    }

    /// A connect has succeeded: its backend works.
    pub fn connect_succeeded(&mut self, connect: CountedConnect, now: Now) {
        let backend = self.connect_over(connect);
        if backend.stuck_since.is_some() {
            backend.stuck_since = Some(now);
        }
        // One that takes sessions and closes them would never fail twice in a row.
        if !backend.closes {
            backend.failures = 0;
        }
    }

    /// A backend has sent the first byte of a session: it works.
    pub fn first_byte(&mut self, backend: BackendSlot) {
        let backend = &mut self.backends[backend.index()];
        (backend.failures, backend.closes) = (0, false);
    }

    /// True if a backend of that pool could get a session that has tried these.
    #[must_use]
    pub fn has_other(&self, pool: PoolSlot, tried: Tried) -> bool {
        self.pools[pool.index()].picker.has_eligible(tried)
    }

    /// A connect has failed, or is not wanted any more.
    pub fn connect_abandoned(&mut self, connect: CountedConnect) {
        self.connect_over(connect);
    }

    /// Counts a connect no longer. Its backend is not stuck any more if few are left.
    fn connect_over(&mut self, connect: CountedConnect) -> &mut BackendView {
        let pool = &mut self.pools[connect.pool.index()];
        pool.connecting -= 1;
        pool.retrying -= u32::from(connect.is_retry);
        let backend = &mut self.backends[connect.backend.index()];
        backend.waiting -= 1;
        if backend.waiting < STUCK_CONNECTS {
            backend.stuck_since = None;
        }
        if self.touch(connect.backend) {
            self.refresh_load(connect.backend);
        }
        &mut self.backends[connect.backend.index()]
    }
}

impl PoolView {
    /// Picks among those that are up, whatever the panic says.
    fn pick_up(
        &mut self,
        backends: &[BackendView],
        (key, tried): (u64, Tried),
        prng: &mut Prng,
    ) -> Option<usize> {
        self.set_usable(backends, false);
        let picked = self.picker.pick(key, prng, tried);
        self.set_usable(backends, self.panic_mode);
        picked
    }

    /// Says of every backend whether it may be picked, in panic or not.
    pub(super) fn set_usable(&mut self, backends: &[BackendView], panic_mode: bool) {
        let PoolView { picker, slots, .. } = self;
        picker.change_each(0..slots.len(), |index, candidate| {
            candidate.usable = backends[slots[index].index()].is_usable(panic_mode);
        });
    }

    /// Takes out, for one pick, whom that pick has to spare. Those whom none has to spare until
    /// something changes are not looked at any more.
    fn sift(&mut self, backends: &mut [BackendView], (key, prng): (u64, &mut Prng), now: Now) {
        self.end_ramps(backends, now);
        let by_client = self.strategy() == Strategy::Maglev;
        // In panic those that are down have a full share: one that is up must not have less.
        let ramps_now = !self.panic_mode && (!by_client || self.has_whole(backends));
        let PoolView { picker, slots, unsteady, slow_start_ms, .. } = self;
        picker.change_each(unsteady.iter().map(|&index| index.index()), |index, candidate| {
            let backend = &backends[slots[index].index()];
            if let Some(since) = backend.stuck_since {
                candidate.usable &= now < since.plus_millis(STUCK_AFTER_MS);
            }
            let Some(at) = backend.ramps_since.filter(|_| ramps_now) else { return };
            // It takes part in as many picks as its share is of the full one, and counts as loaded
            // as it would be with all of its weight: neither turns nor low loads let it overtake.
            let elapsed = elapsed_ms(at, now);
            let share = (elapsed, *slow_start_ms);
            candidate.usable &= if by_client {
                goes_over(key, candidate, share)
            } else {
                prng.chance(elapsed, *slow_start_ms)
            };
            let load = u64::from(candidate.load) * u64::from(*slow_start_ms);
            let load = load / u64::from(elapsed.max(1));
            candidate.load = u32::try_from(load).unwrap_or(u32::MAX);
        });
    }

    /// Forgets slow starts that are over, and those whom no pick has to look at any more.
    fn end_ramps(&mut self, backends: &mut [BackendView], now: Now) {
        let PoolView { slots, unsteady, slow_start_ms, .. } = self;
        unsteady.retain(|&index| {
            let backend = &mut backends[slots[index.index()].index()];
            let is_over = |at: Now| elapsed_ms(at, now) >= *slow_start_ms;
            backend.ramps_since = backend.ramps_since.filter(|&at| !is_over(at));
            backend.is_unsteady()
        });
    }

    /// True if a backend that may have new sessions has all of its share. Where all grow at once,
    /// as after an outage, a client would only be led astray for a while.
    fn has_whole(&self, backends: &[BackendView]) -> bool {
        let grows = |index: &&MemberIndex| {
            let backend = &backends[self.slots[index.index()].index()];
            backend.ramps_since.is_some() && self.may_serve(index.index(), backend)
        };
        self.unsteady.iter().filter(grows).count() < self.candidates as usize
    }

    /// Puts back what [`PoolView::sift`] took out.
    fn restore(&mut self, backends: &[BackendView]) {
        let PoolView { picker, slots, unsteady, .. } = self;
        picker.change_each(unsteady.iter().map(|&index| index.index()), |index, candidate| {
            let backend = &backends[slots[index].index()];
            candidate.usable = backend.is_usable(self.panic_mode);
            candidate.load = backend.load();
        });
    }
}

fn elapsed_ms(since: Now, now: Now) -> u32 {
    u32::try_from(now.millis().saturating_sub(since.millis())).unwrap_or(u32::MAX)
}

impl BackendView {
    /// Its share grows, or it may be stuck: picks have to look at it.
    pub(super) fn is_unsteady(&self) -> bool {
        self.stuck_since.is_some() || self.ramps_since.is_some()
    }

    /// True if new sessions may be picked for it, its weight aside.
    pub(super) fn is_usable(&self, panic_mode: bool) -> bool {
        self.is_candidate(panic_mode) && self.has_room()
    }

    /// The same, were it not full.
    pub(super) fn is_candidate(&self, panic_mode: bool) -> bool {
        self.enabled && (self.is_up() || (panic_mode && self.health != BackendHealth::Aside))
    }
}
