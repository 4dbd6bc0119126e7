//! Picks and connects: who is next, how many are on their way, and whom to spare for a while.
//!
//! Two kinds of backends get less than their share. One that has recovered a moment ago: its share
//! grows with time (*slow start*). One that too many connects wait for while none succeeds: it gets
//! nothing until one does, or until the deadlines of the connects have ejected it (*stuck*). Both
//! get sessions all the same if there is nobody else.

use weir_proto::spec::Strategy;

use super::{BackendView, Picked, PoolView, View};
use crate::base::clock::Now;
use crate::base::prng::Prng;
use crate::limits::{RETRIES_MIN, RETRIES_PERCENT, STUCK_AFTER_MS, STUCK_CONNECTS};
use crate::pick::Tried;

/// Whether another backend may be tried now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MayRetry {
    Now,
    /// Too many try already.
    Later,
}

impl View {
    /// Picks a backend of that pool for a client. `None` if no backend can take it.
    pub fn pick(
        &mut self,
        pool: u16,
        key: u64,
        prng: &mut Prng,
        tried: Tried,
        now: Now,
    ) -> Option<Picked> {
        let View { pools, backends, .. } = self;
        let pool = &mut pools[usize::from(pool)];
        // Panic doubts the health checks, a refusal is a fact: who was refused goes to one that is
        // up.
        let confirmed = (pool.panic && !tried.is_empty())
            .then(|| pool.pick_up(backends, (key, tried), prng))
            .flatten();
        let index = if let Some(index) = confirmed {
            index
        } else if pool.unsteady {
            pool.unsteady = pool.sift(backends, prng, now);
            let picked = pool.picker.pick(&pool.candidates, key, prng, tried);
            pool.restore(backends);
            picked.or_else(|| pool.picker.pick(&pool.candidates, key, prng, tried))?
        } else {
            pool.picker.pick(&pool.candidates, key, prng, tried)?
        };
        let index16 =
            u16::try_from(index).expect("pools have at most BACKENDS_PER_POOL_MAX backends");
        Some(Picked { backend: pool.slots[index], index: index16 })
    }

    /// Whether a session of this pool may try another backend.
    #[must_use]
    pub fn may_retry(&self, pool: u16) -> MayRetry {
        let pool = &self.pools[usize::from(pool)];
        let share = u64::from(pool.connecting) * u64::from(RETRIES_PERCENT) / 100;
        let few = u64::from(pool.retrying) < share.max(RETRIES_MIN);
        if few { MayRetry::Now } else { MayRetry::Later }
    }

    /// A connect to this backend is about to be made.
    pub fn connect_begins(&mut self, pool: u16, backend: u32, is_retry: bool, now: Now) {
        let pool = &mut self.pools[usize::from(pool)];
        pool.connecting += 1;
        pool.retrying += u32::from(is_retry);
        let backend = &mut self.backends[backend as usize];
        backend.waiting += 1;
        if backend.waiting >= STUCK_CONNECTS && backend.stuck_since.is_none() {
            backend.stuck_since = Some(now);
            pool.unsteady = true;
        }
    }

    /// A connect to this backend is over. `succeeded` is false also if nobody wants it any more.
    pub fn connect_ends(
        &mut self,
        pool: u16,
        (backend, is_retry): (u32, bool),
        succeeded: bool,
        now: Now,
    ) {
        let pool = &mut self.pools[usize::from(pool)];
        pool.connecting -= 1;
        pool.retrying -= u32::from(is_retry);
        let backend = &mut self.backends[backend as usize];
        backend.waiting -= 1;
        if backend.waiting < STUCK_CONNECTS {
            backend.stuck_since = None;
        } else if succeeded {
            backend.stuck_since = Some(now);
        }
        if succeeded {
            backend.failures = 0;
        }
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
        for (candidate, slot) in self.candidates.iter_mut().zip(&self.slots) {
            candidate.usable = backends[*slot as usize].is_usable(false);
        }
        let picked = self.picker.pick(&self.candidates, key, prng, tried);
        self.restore(backends);
        picked
    }

    /// Takes out, for one pick, whom that pick has to spare. False if no backend is to be looked at
    /// any more until something changes.
    fn sift(&mut self, backends: &mut [BackendView], prng: &mut Prng, now: Now) -> bool {
        let mut unsteady = false;
        // Maglev's whole point is that a client stays where it is: nothing ramps.
        let ramps = self.slow_start_ms > 0 && self.picker.strategy() != Strategy::Maglev;
        // In panic those that are down have a full share: one that is up must not have less.
        let ramps_now = ramps && !self.panic;
        for (candidate, slot) in self.candidates.iter_mut().zip(&self.slots) {
            let backend = &mut backends[*slot as usize];
            if let Some(since) = backend.stuck_since {
                unsteady = true;
                candidate.usable &= now < since.plus_millis(STUCK_AFTER_MS);
            }
            let Some(at) = backend.recovered_at else { continue };
            let elapsed = now.millis().saturating_sub(at.millis());
            let elapsed = u32::try_from(elapsed).unwrap_or(u32::MAX);
            if !ramps || elapsed >= self.slow_start_ms {
                backend.recovered_at = None;
                continue;
            }
            unsteady = true;
            if !ramps_now {
                continue;
            }
            // It takes part in as many picks as its share is of the full one, and counts as loaded
            // as it would be with all of its weight: neither turns nor low loads let it overtake.
            candidate.usable &= prng.chance(elapsed, self.slow_start_ms);
            let load = u64::from(candidate.load) * u64::from(self.slow_start_ms);
            let load = load / u64::from(elapsed.max(1));
            candidate.load = u32::try_from(load).unwrap_or(u32::MAX);
        }
        unsteady
    }

    /// Puts back what [`PoolView::sift`] took out.
    fn restore(&mut self, backends: &[BackendView]) {
        for (candidate, slot) in self.candidates.iter_mut().zip(&self.slots) {
            let backend = &backends[*slot as usize];
            candidate.usable = backend.is_usable(self.panic);
            candidate.load = backend.load();
        }
    }
}

impl BackendView {
    /// True if new sessions may be picked for it, its weight aside.
    pub(super) fn is_usable(&self, panic: bool) -> bool {
        self.enabled && (self.healthy || panic)
    }
}
