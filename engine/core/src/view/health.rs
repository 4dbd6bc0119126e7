//! Which backends of a pool may get sessions: health as control says it, ejections of this shard's
//! own, and panic.

use weir_proto::ids::BackendId;
use weir_proto::order::BackendHealth;
use weir_proto::reason::ConnectFault;

use super::{BackendView, PoolView, View};
use crate::base::clock::Now;
use crate::priority::{self, GroupTally};
use crate::slot::{BackendSlot, PoolSlot};

/// Failed connects in a row, on one shard, that eject a backend.
pub const FAILURES_IN_A_ROW_MAX: u8 = 3;

/// What a failed connect did to the backend's health.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// Nothing that anybody must be told.
    Noted,
    /// It has just been ejected: control must be told, or nobody would ever bring it back.
    Ejected,
    /// It would have been ejected, but more than half of the pool would have been down then.
    EjectionVetoed,
}

impl View {
    /// Control says what it knows of a backend's health.
    pub fn set_health(&mut self, id: BackendId, health: BackendHealth, now: Now) {
        let Some(slot) = self.backend_slot(id) else { return };
        let backend = &mut self.backends[slot.index()];
        backend.fall.is_called_down = health == BackendHealth::Down;
        (backend.failures, backend.closes) = (0, false);
        if backend.health == health {
            // It may have been down by this shard's own word.
            if let Some((pool, _)) = backend.place {
                self.follow_falls(pool);
            }
            return;
        }
        backend.health = health;
        backend.ramps_since = backend.is_up().then_some(now);
        self.changed(slot);
        if self.backends[slot.index()].is_up() {
            self.look_at(self.backends[slot.index()].place);
        }
    }

    /// A connect to this backend failed. It is ejected only if `may_eject`: there must be room to
    /// tell control.
    pub fn connect_failed(
        &mut self,
        backend: BackendSlot,
        fault: ConnectFault,
        may_eject: bool,
    ) -> Verdict {
        let slot = backend;
        let backend = &mut self.backends[slot.index()];
        let Some((pool, _)) = backend.place else { return Verdict::Noted };
        if fault.is_local() || !backend.is_up() {
            return Verdict::Noted;
        }
        backend.failures = backend.failures.saturating_add(1);
        backend.closes = fault == ConnectFault::Closed;
        let failures = backend.failures;
        if failures < FAILURES_IN_A_ROW_MAX || !may_eject {
            return Verdict::Noted;
        }
        let (up, members) = self.members(pool);
        if self.backends[slot.index()].is_member && (members - up + 1) * 2 > members {
            // Once for each row of failures, not for each failure.
            let first = failures == FAILURES_IN_A_ROW_MAX;
            return if first { Verdict::EjectionVetoed } else { Verdict::Noted };
        }
        self.backends[slot.index()].health = BackendHealth::Down;
        self.changed(slot);
        Verdict::Ejected
    }

    /// Backends of a pool that are up, and those that would get sessions if they were. Unproven
    /// ones count only if there is no other; of those that stand aside control knows whether they
    /// are up.
    fn members(&self, pool: PoolSlot) -> (usize, usize) {
        let slots = self.pools[pool.index()].slots.iter();
        let members = slots.map(|slot| &self.backends[slot.index()]).filter(|it| it.is_member);
        let (mut up, mut proven, mut all) = (0, 0, 0);
        for backend in members {
            up += usize::from(backend.is_up() || backend.health == BackendHealth::Aside);
            proven += usize::from(backend.health != BackendHealth::Unproven);
            all += 1;
        }
        (up, if proven > 0 { proven } else { all })
    }

    /// A backend's health has changed.
    fn changed(&mut self, slot: BackendSlot) {
        if let Some((pool, _)) = self.backends[slot.index()].place {
            self.recompute_eligibility(pool);
        }
    }

    /// Works out again whether the pool is in panic, which priority groups get sessions, and who
    /// may be picked.
    pub(super) fn recompute_eligibility(&mut self, slot: PoolSlot) {
        let pool = &mut self.pools[slot.index()];
        pool.panic_mode = pool.share_out(&self.backends);
        pool.set_usable(&self.backends, pool.panic_mode);
        let backends = pool.slots.iter().map(|slot| &self.backends[slot.index()]).enumerate();
        let candidates = backends.filter(|(index, it)| pool.may_serve(*index, it));
        pool.candidates = u32::try_from(candidates.count()).unwrap_or(u32::MAX);
        self.touch_pool(slot);
        self.follow_falls(slot);
    }
}

impl PoolView {
    /// True if the backend in this place may have new sessions, full or not: its group has a share
    /// and it is healthy.
    pub(super) fn may_serve(&self, index: usize, backend: &BackendView) -> bool {
        self.picker.has_share(index) && self.may_take(backend)
    }

    /// The same, whatever the share of its group: a session that other backends have refused may
    /// get it.
    pub(super) fn may_take(&self, backend: &BackendView) -> bool {
        backend.is_member && backend.is_candidate(self.panic_mode)
    }

    /// Gives each priority group its share. True in panic.
    fn share_out(&mut self, backends: &[BackendView]) -> bool {
        self.tallies.fill(GroupTally::default());
        for (index, slot) in self.slots.iter().enumerate() {
            let backend = &backends[slot.index()];
            let one = GroupTally::one((backend.is_member, backend.weight), backend.health);
            let tally = &mut self.tallies[self.picker.group_of(index)];
            *tally = tally.each(one, |a, b| a + b);
        }
        let panics = priority::share_out(&self.tallies, self.rule, &mut self.shares);
        self.picker.set_shares(&self.shares);
        panics
    }

    /// The priority of each group and its share of the new sessions, in parts of
    /// [`WHOLE`](crate::priority::WHOLE). None if there is one group.
    pub fn shares(&self) -> impl Iterator<Item = (u8, u32)> + '_ {
        self.picker.shares().filter(|_| self.picker.len() > 1)
    }
}
