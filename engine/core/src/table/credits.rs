//! The credits of this shard: its part of the limits of listeners and backends.

use alloc::vec::Vec;

use weir_proto::order::{Credit, Limited, Want};

use super::Table;
use crate::base::clock::Now;
use crate::slot::ListenerSlot;
use crate::view::ListenerView;

impl Table {
    /// How many more sessions this listener may have on this shard now.
    #[must_use]
    pub fn room(&self, listener: ListenerSlot) -> u32 {
        self.view.listeners()[listener.index()].room()
    }

    /// The limits of a listener, for those who let clients in.
    pub fn limits_of(&mut self, listener: ListenerSlot) -> &mut ListenerView {
        self.view.limits_of(listener)
    }

    /// Control's word on this shard's part of a limit. What the snapshot does not limit any more
    /// needs none.
    pub fn hear_credit(&mut self, credit: Credit) {
        let Credit { of, given, keep } = credit;
        match of {
            Limited::Listener(id) => {
                if let Some((_, lease)) = self.view.leases().find(|(of, _)| *of == id) {
                    lease.hear(given, keep);
                }
            }
            Limited::Rate(id) => {
                if let Some((_, rate)) = self.view.rates().find(|(of, _)| *of == id) {
                    rate.hear(given, keep);
                }
            }
            Limited::Backend(id) | Limited::Connecting(id) | Limited::ConnectRate(id) => {
                self.view.hear_backend_credit(id, credit);
            }
        }
    }

    /// Backends that had no token for a connect, and have one by now, may be picked again.
    pub fn gain_tokens(&mut self, now: Now) {
        self.view.gain_tokens(now);
    }

    /// When [`Table::gain_tokens`] has something to do.
    #[must_use]
    pub fn token_at(&self) -> Option<Now> {
        self.view.token_at()
    }

    /// True if [`Table::take_wants`] has something to tell of listeners.
    pub fn has_wants(&mut self) -> bool {
        self.view.has_listener_wants()
    }

    /// What control does not know of this shard's leases.
    pub fn take_wants(&mut self) -> Vec<Want> {
        let mut wants = Vec::new();
        self.view.take_listener_wants(&mut wants);
        self.view.take_backend_wants(&mut wants);
        wants
    }
}
