//! The credits of this shard: its part of the limits of listeners and backends.

use alloc::vec::Vec;

use weir_proto::order::{Credit, Limited, Want};

use super::Table;
use crate::lease::Lease;
use crate::slot::ListenerSlot;

impl Table {
    /// How many more sessions this listener may have on this shard.
    #[must_use]
    pub fn room(&self, listener: ListenerSlot) -> u32 {
        self.view.listeners()[listener.index()].room()
    }

    /// The lease of a listener that has a limit, with the sessions that use it.
    pub fn lease(&mut self, listener: ListenerSlot) -> Option<(&mut Lease, u32)> {
        self.view.lease(listener)
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
            Limited::Backend(id) => self.view.hear_backend_credit(id, given, keep),
        }
    }

    /// True if [`Table::take_wants`] has something to tell of listeners.
    pub fn has_wants(&mut self) -> bool {
        self.view.leases().any(|(_, lease)| lease.is_news())
    }

    /// What control does not know of this shard's leases.
    pub fn take_wants(&mut self) -> Vec<Want> {
        let news = self.view.leases().filter_map(|(id, lease)| {
            let (given, held, wish) = lease.take_news()?;
            Some(Want { of: Limited::Listener(id), given, held, wish })
        });
        let mut wants = news.collect();
        self.view.take_backend_wants(&mut wants);
        wants
    }
}
