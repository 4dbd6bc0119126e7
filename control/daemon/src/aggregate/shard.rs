//! One shard's box, added to what the shard has counted before.

use weir_proto::stats::ShardStats;

use super::ShardAggregate;
use super::rate::Flow;

impl ShardAggregate {
    pub(super) fn fold(&mut self, stats: &ShardStats, flow: Flow) {
        self.ended = false;
        self.window += flow;
        self.window_busy_ns += stats.busy_ns;
        let totals = &mut self.totals;
        totals.version = stats.version.0;
        totals.sessions = u64::from(stats.sessions_now);
        totals.buffers_free = u64::from(stats.buffers_free_now);
        totals.turns += stats.turns;
        totals.turn_max_ns = totals.turn_max_ns.max(stats.turn_max_ns);
        totals.slow_turns += stats.slow_turns;
        totals.enters += stats.enters;
        totals.completions += stats.completions;
        totals.cq_overflow += stats.cq_overflow;
        totals.starved += stats.starved;
        totals.reserved += stats.reserved;
        totals.promotions += stats.promotions;
        totals.pipes_refused += stats.pipes_refused;
        totals.fruitless_watches += stats.fruitless_watches;
        totals.spliced_bytes += stats.spliced_bytes;
        totals.busy_ns += stats.busy_ns;
    }
}
