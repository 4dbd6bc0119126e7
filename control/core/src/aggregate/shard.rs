//! One shard's box, added to what the shard has counted before.

use weir_proto::counters::Counts;
use weir_proto::stats::ShardStats;

use super::ShardAggregate;
use super::rate::Flow;

impl ShardAggregate {
    pub(super) fn fold(&mut self, stats: &ShardStats, flow: Flow) {
        self.ended = false;
        self.window += flow;
        self.window_busy_ns += stats.counts.busy_ns;
        let totals = &mut self.totals;
        totals.edition = stats.edition;
        totals.sessions = u64::from(stats.sessions_now);
        totals.buffers_free = u64::from(stats.buffers_free_now);
        totals.counts.add(&stats.counts);
    }
}
