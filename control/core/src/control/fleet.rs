//! The seam between control and the shards.

use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::sync::Arc;

use weir_core::base::clock::Now;
use weir_proto::bind_address::BindAddress;
use weir_proto::ids::ShardId;
use weir_proto::order::{Order, Report};
use weir_proto::snapshot::Snapshot;

use super::ShardHistory;
use crate::sockets::{BindPlan, BoundSockets};

/// The shards and their sockets, as control sees them. The engine is the one; tests and the
/// simulator have others.
pub trait Fleet {
    /// How many shards there are.
    fn shards(&self) -> u16;
    /// Hands an order to a shard, or gives it back. Never waits.
    fn send(&self, shard: ShardId, order: Order) -> Result<(), Order>;
    /// Orders to this shard are from now on for the one that was built after it had panicked.
    fn address_next(&self, shard: ShardId);
    /// The oldest report that has not been taken.
    fn take_report(&self) -> Option<Report>;
    /// The watchdog's record of a shard.
    fn watched(&self, shard: ShardId) -> ShardHistory;
    /// Control lives at this time.
    fn ticks(&self, now: Now);

    /// Binds what can be bound of a plan, for every shard.
    fn bind(&self, plan: &BindPlan<'_>) -> BoundSockets;

    /// True if this host has that address now. `false` if it cannot be told.
    fn is_own_address(&self, address: SocketAddr) -> bool;

    /// Binds, for one shard that has no sockets there, the addresses in `wanted`: they are open in
    /// the snapshot, and this process has bound them. The sockets of the outcome are that shard's
    /// alone.
    fn bind_again(
        &self,
        shard: ShardId,
        snapshot: &Snapshot,
        wanted: &BTreeSet<BindAddress>,
    ) -> BoundSockets;
}

impl<F: Fleet> Fleet for Arc<F> {
    fn shards(&self) -> u16 {
        F::shards(self)
    }

    fn send(&self, shard: ShardId, order: Order) -> Result<(), Order> {
        F::send(self, shard, order)
    }

    fn address_next(&self, shard: ShardId) {
        F::address_next(self, shard);
    }

    fn take_report(&self) -> Option<Report> {
        F::take_report(self)
    }

    fn watched(&self, shard: ShardId) -> ShardHistory {
        F::watched(self, shard)
    }

    fn ticks(&self, now: Now) {
        F::ticks(self, now);
    }

    fn bind(&self, plan: &BindPlan<'_>) -> BoundSockets {
        F::bind(self, plan)
    }

    fn is_own_address(&self, address: SocketAddr) -> bool {
        F::is_own_address(self, address)
    }

    fn bind_again(
        &self,
        shard: ShardId,
        snapshot: &Snapshot,
        wanted: &BTreeSet<BindAddress>,
    ) -> BoundSockets {
        F::bind_again(self, shard, snapshot, wanted)
    }
}
