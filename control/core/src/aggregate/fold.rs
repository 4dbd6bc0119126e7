//! Adds the rows of one shard's box to what is known of listeners and backends.

use weir_core::base::clock::Now;
use weir_proto::counters::Counts as _;
use weir_proto::reason::ConnectFault;
use weir_proto::stats::{BackendStats, ListenerStats};

use super::{Aggregate, Flow};

impl Aggregate {
    /// A box holds every gauge of its shard: what it does not name is zero.
    pub(super) fn silence(&mut self, index: usize) {
        let held = self.shards.get_mut(index).map(|shard| std::mem::take(&mut shard.held));
        for (id, _) in held.unwrap_or_default() {
            let Some(backend) = self.backends.get_mut(&id) else { continue };
            let Some(slice) = backend.slices.get_mut(index) else { continue };
            let sessions = u64::from(std::mem::take(&mut slice.sessions));
            backend.totals.sessions -= sessions;
            backend.totals.connecting -= u64::from(std::mem::take(&mut slice.connecting));
            if let Some(pool) = self.pools.get_mut(&backend.pool) {
                pool.sessions -= sessions;
            }
        }
        for pool in self.pools.values_mut() {
            pool.stalled.get_mut(index).map(std::mem::take);
            pool.queued.get_mut(index).map(std::mem::take);
        }
        for listener in self.listeners.values_mut() {
            let Some((sessions, waiting)) = listener.now.get_mut(index) else { continue };
            listener.totals.sessions -= u64::from(std::mem::take(sessions));
            listener.totals.waiting -= u64::from(std::mem::take(waiting));
        }
    }

    pub(super) fn fold_listener(&mut self, index: usize, row: &ListenerStats) {
        let Some(listener) = self.listeners.get_mut(&row.id) else { return };
        let (sessions, waiting) = &mut listener.now[index];
        (*sessions, *waiting) = (*sessions + row.sessions_now, *waiting + row.waiting_now);
        listener.totals.sessions += u64::from(row.sessions_now);
        listener.totals.waiting += u64::from(row.waiting_now);
        listener.totals.counts.add(&row.counts);
        listener.flows[index].window.sessions += row.counts.accepted;
    }

    pub(super) fn fold_backend(&mut self, index: usize, row: &BackendStats, now: Now) {
        self.all.backends.add(&row.counts);
        let Some(backend) = self.backends.get_mut(&row.id) else { return };
        let (slice, totals) = (&mut backend.slices[index], &mut backend.totals);
        let shard = &mut self.shards[index];
        if row.sessions_now > 0 {
            shard.held.push((row.id, row.sessions_now));
        }
        slice.sessions += row.sessions_now;
        slice.connecting += row.connecting_now;
        slice.window += Flow::from(row);
        if !slice.moves && slice.window != Flow::default() {
            slice.moves = true;
            shard.moving.push(row.id);
        }
        totals.sessions += u64::from(row.sessions_now);
        totals.connecting += u64::from(row.connecting_now);
        totals.counts.add(&row.counts);
        let closed = row.counts.connect_failures[ConnectFault::Closed as usize];
        let closes = row.counts.early_closes + closed;
        let is_early = backend.early.add(closes, row.counts.sessions, now);
        if let Some(pool) = self.pools.get_mut(&backend.pool) {
            pool.sessions += u64::from(row.sessions_now);
            pool.totals.backends.add(&row.counts);
            pool.flows[index].window += Flow::from(row);
        }
        if is_early {
            self.note_early(row.id, now);
        }
    }
}
