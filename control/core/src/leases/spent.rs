//! Credits of a rate that a shard had when it ended. It may have used them a moment before, so they
//! are free again only when each would have gained its token again.

use weir_core::base::clock::Now;
use weir_core::rate::GAIN_MAX;
use weir_proto::ids::ShardId;

use super::{LeaseState, Leases, Limit};

/// Credits that are not free yet, and when they are.
#[derive(Clone, Debug, Default)]
pub(super) struct SpentCredits(Vec<(Now, u64)>);

impl SpentCredits {
    /// Adds those of a shard that has ended now. Returns when they are free.
    fn add(&mut self, count: u64, now: Now) -> Now {
        let until = now + GAIN_MAX;
        self.0.push((until, count));
        until
    }

    /// Frees those whose time has come.
    fn free(&mut self, now: Now) {
        self.0.retain(|(until, _)| *until > now);
    }

    pub(super) fn count(&self) -> u64 {
        self.0.iter().map(|(_, count)| count).sum()
    }

    /// When the next ones are free.
    fn next(&self) -> Option<Now> {
        self.0.iter().map(|(until, _)| *until).min()
    }
}

impl Leases {
    /// A shard has ended: all that it had of rates is free later.
    pub(super) fn set_apart(&mut self, shard: ShardId, now: Now) {
        for (of, limit) in &mut self.limits {
            if of.is_rate() {
                let free_at = limit.spend(shard, now);
                self.free_at = self.free_at.into_iter().chain(free_at).min();
            }
        }
    }

    /// Gives away what has become free by now.
    pub fn look(&mut self, now: Now) {
        if self.free_at.is_none_or(|at| at > now) {
            return;
        }
        let mut changed = Vec::new();
        self.free_at = None;
        for (of, limit) in self.limits.iter_mut().filter(|(_, limit)| limit.spent.count() > 0) {
            limit.spent.free(now);
            limit.settle(&self.shards);
            self.free_at = self.free_at.into_iter().chain(limit.spent.next()).min();
            changed.push(*of);
        }
        changed.into_iter().for_each(|of| self.tell(of));
    }
}

impl Limit {
    /// Sets apart all that a shard which has ended had. Returns when it is free.
    fn spend(&mut self, shard: ShardId, now: Now) -> Option<Now> {
        let holder = self.holders.get(usize::from(shard.0))?;
        let had = match holder.state {
            LeaseState::Unknown => self.most.into(),
            LeaseState::Fresh | LeaseState::Holds | LeaseState::Gone => holder.leased(),
        };
        (had > 0).then(|| self.spent.add(had, now))
    }
}
