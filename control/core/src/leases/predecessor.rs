//! Beginning where others hold credits already: the process before this one, whose sessions come to
//! these shards, as one more holder; or shards that another ledger has served.

use std::collections::BTreeSet;

use weir_core::base::clock::Now;
use weir_proto::ids::ShardId;
use weir_proto::snapshot::Snapshot;

use super::{LeaseState, Leases, ShardLease, limits_of};

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

    /// Goes on where another ledger was: shards that use this snapshot hold what this one does not
    /// know.
    pub fn take_over(&mut self, snapshot: &Snapshot) {
        self.edition = snapshot.edition();
        for (of, most) in limits_of(snapshot) {
            let limit = self.new_limit(most, snapshot.edition(), LeaseState::Unknown);
            self.limits.insert(of, limit);
        }
    }
}
