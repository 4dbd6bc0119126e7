//! The session log: records of shards go on to the thread that writes them.

use std::sync::Arc;

use weir_proto::ids::ShardId;
use weir_proto::session_log::SessionRecords;

use super::{Clocks, Control, Output};
use crate::session_log::LoggedSessions;

impl Control {
    /// Takes what a shard has logged out of its box.
    pub(super) fn take_records(
        &mut self,
        shard: ShardId,
        records: &mut SessionRecords,
        moment: Clocks,
    ) {
        self.records_dropped += records.dropped;
        records.dropped = 0;
        if records.rows.is_empty() {
            return;
        }
        let rows = core::mem::take(&mut records.rows);
        let snapshot = Arc::clone(&self.snapshot);
        let gone = self.aggregate.gone_names_of(rows.iter().map(|row| &row.session));
        let logged =
            LoggedSessions { shard, rows, snapshot, gone, taken_at: (moment.now, moment.wall_ms) };
        self.outputs.push(Output::SessionLog(logged.into()));
    }

    /// Records that shards had no room for.
    #[must_use]
    pub fn records_dropped(&self) -> u64 {
        self.records_dropped
    }
}
