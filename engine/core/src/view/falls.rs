//! Backends that are *out*: control calls them down, and their pool believes it. Their pool's
//! `on-down` says what becomes of the sessions that they have.
//!
//! A backend that a shard has ejected is out when control has agreed. In panic no backend is out,
//! for health is not believed then.

use weir_proto::spec::OnDown;

use super::View;
use crate::slot::{BackendSlot, PoolSlot};

/// Whether a backend is out.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Fall {
    /// Control's last word.
    pub(super) is_called_down: bool,
    /// It is, and this is done about it. Never [`OnDown::Keep`].
    out: Option<OnDown>,
    /// Its sessions are being looked through.
    is_falling: bool,
}

impl Fall {
    /// The version in use does not have it any more.
    pub(super) fn leave(&mut self) {
        (self.out, self.is_falling) = (None, false);
    }
}

impl View {
    /// A backend's health, or its pool's, has changed: who is out?
    pub(super) fn follow_falls(&mut self, pool: PoolSlot) {
        let pool = &self.pools[pool.index()];
        let believed = if pool.panic_mode { OnDown::Keep } else { pool.on_down };
        let policy = Some(believed).filter(|it| *it != OnDown::Keep);
        for slot in &pool.slots {
            let fall = &mut self.backends[slot.index()].fall;
            let out = policy.filter(|_| fall.is_called_down);
            if out != fall.out {
                // One that is back is left alone at once.
                (fall.out, fall.is_falling) = (out, out.is_some());
                self.new_falls |= fall.is_falling;
            }
        }
    }

    /// True once for backends that are out and whose sessions were not looked through.
    pub fn take_new_falls(&mut self) -> bool {
        core::mem::take(&mut self.new_falls)
    }

    /// The policy for sessions that this backend had when it fell, if they were not
    /// looked through.
    #[must_use]
    pub fn falling(&self, backend: BackendSlot) -> Option<OnDown> {
        let fall = self.backends[backend.index()].fall;
        fall.out.filter(|_| fall.is_falling)
    }

    /// The policy for sessions of this backend while it is out.
    #[must_use]
    pub fn out(&self, backend: BackendSlot) -> Option<OnDown> {
        self.backends[backend.index()].fall.out
    }

    /// Every session was looked at.
    pub fn fallen(&mut self) {
        self.backends.iter_mut().for_each(|backend| backend.fall.is_falling = false);
    }
}
