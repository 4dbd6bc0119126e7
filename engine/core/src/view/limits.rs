//! The limits of a listener: its sessions at once, and how often one begins.

use alloc::vec::Vec;

use weir_proto::ids::ListenerId;
use weir_proto::order::{Limited, Want};

use super::{ListenerView, View};
use crate::base::clock::Now;
use crate::lease::Lease;
use crate::rate::RateLease;
use crate::slot::{BackendSlot, ListenerSlot};

impl View {
    /// The leases of the listeners that are in the snapshot.
    pub fn leases(&mut self) -> impl Iterator<Item = (ListenerId, &mut Lease)> {
        let present = self.listeners.iter_mut().filter(|view| view.present);
        present.filter_map(|view| Some((view.id, view.lease.as_mut()?)))
    }

    /// The same of their rates.
    pub fn rates(&mut self) -> impl Iterator<Item = (ListenerId, &mut RateLease)> {
        let present = self.listeners.iter_mut().filter(|view| view.present);
        present.filter_map(|view| Some((view.id, view.rate.as_mut()?)))
    }

    /// True if control does not know how it stands with a listener.
    pub fn has_listener_wants(&mut self) -> bool {
        self.listeners.iter().any(|view| {
            let lease = view.lease.is_some_and(|lease| lease.is_news());
            view.present && (lease || view.rate.is_some_and(|rate| rate.is_news()))
        })
    }

    /// Takes what control does not know of leases of listeners.
    pub fn take_listener_wants(&mut self, wants: &mut Vec<Want>) {
        for (id, lease) in self.leases() {
            if let Some((given, held, wish)) = lease.take_news() {
                wants.push(Want { of: Limited::Listener(id), given, held, wish });
            }
        }
        for (id, rate) in self.rates() {
            if let Some((given, held, wish)) = rate.take_news() {
                wants.push(Want { of: Limited::Rate(id), given, held, wish });
            }
        }
    }

    /// A session has come from another shard: what it uses of the limits it has.
    pub fn session_resumed(&mut self, listener: ListenerSlot, backend: Option<BackendSlot>) {
        let view = &mut self.listeners[listener.index()];
        if let Some(lease) = &mut view.lease {
            lease.resume(view.sessions);
        }
        let Some(backend) = backend else { return };
        let view = &mut self.backends[backend.index()];
        let used = view.sessions;
        if let Some(limits) = &mut view.limits {
            limits.session_resumed(used);
        }
    }

    /// The limits of one listener.
    pub fn limits_of(&mut self, listener: ListenerSlot) -> &mut ListenerView {
        &mut self.listeners[listener.index()]
    }
}

impl ListenerView {
    /// True if each client is admitted by itself.
    #[must_use]
    pub fn is_limited(&self) -> bool {
        self.lease.is_some() || self.rate.is_some()
    }

    /// How many more sessions this shard may open now.
    #[must_use]
    pub fn room(&self) -> u32 {
        self.places().min(self.rate.map_or(u32::MAX, |rate| rate.room()))
    }

    /// The same as far as only the sessions count that there are.
    fn places(&self) -> u32 {
        self.lease.map_or(u32::MAX, |lease| lease.room(self.sessions))
    }

    /// A session begins that was admitted by itself.
    pub fn spend(&mut self) {
        if let Some(rate) = &mut self.rate {
            rate.spend();
        }
    }

    /// Before clients are admitted: gives back what others lack. `waits`: a client waits here.
    pub fn give_back(&mut self, waits: bool, now: Now) {
        if let Some(lease) = &mut self.lease {
            lease.give_back(self.sessions, waits);
        }
        let waits = waits && self.places() > 0;
        if let Some(rate) = &mut self.rate {
            rate.gain(now);
            rate.give_back(waits);
        }
    }

    /// After clients were admitted. Returns when the rate has something to do.
    ///
    /// A client that waits for a place wants no token yet: two shards of which each has one of the
    /// two, and keeps it for the client that waits, would wait for each other.
    pub fn settle(&mut self, waits: bool) -> Option<Now> {
        if let Some(lease) = &mut self.lease {
            lease.settle(self.sessions, waits);
        }
        let waits = waits && self.places() > 0;
        self.rate.as_mut()?.settle(waits)
    }

    /// Credits that are unused here and lacked elsewhere, for checkers.
    #[must_use]
    pub fn owed(&self, now: Now) -> u32 {
        let of_rate = self.rate.map_or(0, |rate| rate.owed(now));
        of_rate + self.lease.map_or(0, |lease| lease.owed(self.sessions))
    }

    /// Credits that this shard holds under the listener's limit, if it has one.
    #[must_use]
    pub fn held(&self) -> Option<u32> {
        self.lease.map(|lease| lease.held())
    }

    /// The same under its rate.
    #[must_use]
    pub fn rate_held(&self) -> Option<u32> {
        self.rate.map(|rate| rate.held())
    }
}
