//! The process before this one, whose sessions come to these shards, as one more holder.

use std::collections::BTreeSet;

use weir_core::base::clock::Now;
use weir_proto::ids::ShardId;

use super::{Leases, ShardLease};

impl Leases {
    /// Another process has sessions that will come to these shards: nothing is given before
    /// [`Leases::predecessor_ended`].
    pub fn await_predecessor(&mut self) {
        self.predecessor = u16::try_from(self.shards.len()).ok().map(ShardId);
        self.shards.push(ShardLease { is_live: true, counts: true });
        self.news.push(BTreeSet::new());
    }

    /// All its sessions are these shards', or over.
    pub fn predecessor_ended(&mut self, now: Now) {
        if let Some(predecessor) = self.predecessor.take() {
            self.ended(predecessor, now);
        }
    }
}
