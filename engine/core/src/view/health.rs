//! Which backends of a pool may get sessions: health as control says it, ejections of this shard's
//! own, and panic.

use weir_proto::ids::BackendId;
use weir_proto::order::BackendHealth;
use weir_proto::reason::ConnectFault;
use weir_proto::snapshot::panics;

use super::View;
use crate::base::clock::Now;
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
        (backend.failures, backend.closes) = (0, false);
        if backend.health == health {
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
        if fault == ConnectFault::Local || !backend.is_up() {
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
    /// ones count only if there is no other.
    fn members(&self, pool: PoolSlot) -> (usize, usize) {
        let slots = self.pools[pool.index()].slots.iter();
        let members = slots.map(|slot| &self.backends[slot.index()]).filter(|it| it.is_member);
        let (mut up, mut proven, mut all) = (0, 0, 0);
        for backend in members {
            up += usize::from(backend.is_up());
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

    /// Works out again whether the pool is in panic, and who may be picked.
    pub(super) fn recompute_eligibility(&mut self, pool: PoolSlot) {
        let (up, members) = self.members(pool);
        let pool = &mut self.pools[pool.index()];
        pool.panic_mode = panics(pool.panic_below, up, members);
        pool.set_usable(&self.backends, pool.panic_mode);
    }
}
