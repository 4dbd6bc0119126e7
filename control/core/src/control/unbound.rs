//! Addresses that could not be bound when the process started, or when a drain was taken back. weir
//! serves the others, and binds these as soon as it can.
//!
//! ```text
//! Input::Begin ──failed──▶ unbound ──tried each second──▶ bound: sent to every shard
//!                            └──the listener is drained or removed──▶ forgotten
//! ```
//! A change neither waits for them nor fails because of them: it answers for its own addresses.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use weir_core::base::clock::Now;
use weir_proto::answer::EventKind;
use weir_proto::bind_address::BindAddress;
use weir_proto::snapshot::{Listener, Snapshot};

use super::{Clocks, Control};
use crate::sockets::{BindError, BindPlan, addresses, open_in};

/// The interval at which an address is tried again, if few are unbound.
const AGAIN_AFTER: Duration = Duration::from_secs(1);
/// How long an address may still be held by the sockets of a listener that was removed.
const RELEASE_MAX: Duration = Duration::from_secs(10);
/// The most addresses that one tick tries: each takes a socket for every shard.
const TRIES_MAX: usize = 16;
/// The most addresses that a start writes down one by one.
const TOLD_MAX: usize = 16;

/// An address that is open in the configuration, and that this process could not bind so far.
#[derive(Debug)]
pub struct Unbound {
    /// Of the last attempt.
    pub error: BindError,
    pub since: Now,
    again: Now,
}

/// Every such address.
#[derive(Debug, Default)]
pub(super) struct UnboundAddresses(BTreeMap<BindAddress, Unbound>);

impl UnboundAddresses {
    pub(super) fn contains(&self, address: &BindAddress) -> bool {
        self.0.contains_key(address)
    }

    /// The addresses whose turn it is, those first that have waited longest.
    fn due(&self, now: Now) -> BTreeSet<BindAddress> {
        let due = self.0.iter().filter(|(_, it)| it.again <= now);
        let mut due: Vec<_> = due.map(|(address, it)| (it.again, *address)).collect();
        due.sort_unstable();
        due.into_iter().take(TRIES_MAX).map(|(_, address)| address).collect()
    }
}

impl Control {
    /// Addresses of a listener that are not bound, in the order in which it has them.
    pub fn unbound_of<'a>(
        &'a self,
        listener: &'a Listener,
    ) -> impl Iterator<Item = (BindAddress, &'a Unbound)> {
        let open = listener.binds().filter(|_| !self.unbound.0.is_empty());
        open.filter_map(|address| Some((address, self.unbound.0.get(&address)?)))
    }

    /// Every address that is not bound, and since when.
    pub(super) fn unbound_since(&self) -> impl Iterator<Item = (BindAddress, Now)> {
        self.unbound.0.iter().map(|(address, it)| (*address, it.since))
    }

    /// How many addresses are not bound.
    #[must_use]
    pub fn unbound(&self) -> usize {
        self.unbound.0.len()
    }

    /// True if listeners are open and none of their addresses is bound: no client can come.
    #[must_use]
    pub fn is_unreachable(&self) -> bool {
        let open = || open_in(&self.snapshot).map(|listener| listener.bind.len()).sum::<usize>();
        self.unbound() > 0 && self.unbound() == open()
    }

    /// Takes over what the start could not bind, or could not when a drain was taken back.
    pub(super) fn begin_unbound(&mut self, failed: Vec<BindError>, moment: Clocks) {
        let count = failed.len();
        for (number, error) in failed.into_iter().enumerate() {
            let before = self.inherited.as_ref().and_then(|it| it.unbound.get(&error.address));
            let before = before.copied();
            // Of those that the process before this one could not bind either people know.
            if number < TOLD_MAX && before.is_none() {
                let (why, hint) = error.why();
                let text = format!("cannot bind {}: {why}", error.address);
                let name = &error.listener;
                tracing::warn!("listener {name}: {text}; it is tried every second; {hint}");
                self.events.push(EventKind::Process, name.clone(), text, moment.wall_ms);
            }
            let since = before.unwrap_or(moment.now);
            let unbound = Unbound { since, again: moment.now + AGAIN_AFTER, error };
            self.unbound.0.insert(unbound.error.address, unbound);
        }
        if count > TOLD_MAX {
            let more = count - TOLD_MAX;
            tracing::warn!("{more} more addresses cannot be bound: weirctl listener list");
        }
    }

    /// Forgets addresses that the current version does not have open. One that comes back is a new
    /// one: the change that brings it binds it, for every shard.
    pub(super) fn forget_unbound(&mut self) {
        let is_any_missing = self.shards.iter().any(|shard| !shard.missing.is_empty());
        if self.unbound.0.is_empty() && !is_any_missing {
            return;
        }
        let open = addresses(&self.snapshot);
        self.unbound.0.retain(|address, _| open.contains(address));
        for shard in &mut self.shards {
            shard.missing.retain(|address| open.contains(address));
        }
    }

    /// Tries again to bind what no shard has, and gives every shard what could be bound.
    pub(super) fn bind_unbound(&mut self, moment: Clocks) {
        let due = if self.is_serving() { self.unbound.due(moment.now) } else { BTreeSet::new() };
        if due.is_empty() {
            return;
        }
        let snapshot = self.snapshot.clone();
        let plan = BindPlan::again(&snapshot, due, |address| self.unbound.contains(address));
        let bound = self.fleet.bind(&plan);
        let mut came = plan.wanted;
        for error in bound.failed {
            came.remove(&error.address);
            if let Some(unbound) = self.unbound.0.get_mut(&error.address) {
                unbound.again = moment.now + AGAIN_AFTER;
                unbound.error = error;
            }
        }
        if came.is_empty() {
            return;
        }
        for address in came {
            let Some(Unbound { error, since, .. }) = self.unbound.0.remove(&address) else {
                continue;
            };
            let text = format!("{address} is bound, after {} s", (moment.now - since).as_secs());
            tracing::info!("listener {}: {text}", error.listener);
            self.events.push(EventKind::Process, error.listener, text, moment.wall_ms);
        }
        for (shard, sockets) in self.shards.iter_mut().zip(bound.sockets) {
            if shard.has_thread() {
                shard.pending.adopt(snapshot.clone(), sockets);
            }
        }
    }

    /// Tries again to bind for shards that were built again, or turn again, when not all of their
    /// addresses could be bound.
    pub(super) fn bind_missing(&mut self) {
        if !self.is_serving() {
            return;
        }
        let Control { shards, fleet, snapshot, unbound, .. } = self;
        for shard in shards.iter_mut().filter(|it| !it.missing.is_empty() && it.has_thread()) {
            let mut wanted = core::mem::take(&mut shard.missing);
            let open = addresses(snapshot);
            wanted.retain(|address| open.contains(address) && !unbound.contains(address));
            let bound = fleet.bind_again(shard.id, snapshot, &wanted);
            shard.missing = bound.failed.iter().map(|error| error.address).collect();
            if shard.missing.is_empty() {
                tracing::info!("shard {} has its listeners", shard.id);
            }
            let sockets = bound.into_first();
            if !sockets.is_empty() {
                shard.pending.adopt(snapshot.clone(), sockets);
            }
        }
    }

    /// True if `error` may pass: the address belonged to a listener that was removed just now.
    pub(super) fn may_pass(&self, error: &BindError, now: Now) -> bool {
        error.is_in_use()
            && self.released.iter().any(|(address, since)| {
                address.port() == error.address.port() && now - *since < RELEASE_MAX
            })
    }

    /// Notes which addresses the version that took the place of `before` has given up.
    pub(super) fn remember_released(&mut self, before: &Snapshot, now: Now) {
        let (mut held, kept) = (addresses(before), addresses(&self.snapshot));
        held.retain(|address| !self.unbound.contains(address));
        self.released.retain(|(_, since)| now - *since < RELEASE_MAX);
        self.released.extend(held.difference(&kept).map(|address| (*address, now)));
    }

    /// The addresses for a shard without sockets: all that are open, and bound by this process.
    pub(super) fn bound_addresses(&self) -> BTreeSet<BindAddress> {
        let mut open = addresses(&self.snapshot);
        open.retain(|address| !self.unbound.contains(address));
        open
    }
}
