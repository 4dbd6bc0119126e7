//! Lifetimes: no session is older than its pool lets it become, and none ends for its age before.

use std::collections::BTreeMap;

use weir_core::limits::TICK_MS;
use weir_core::table::Table;
use weir_proto::ids::PoolId;
use weir_proto::reason::Why;
use weir_proto::session_log::{SessionEvent, SessionRecords};
use weir_proto::snapshot::Snapshot;

use super::Ledger;
use crate::kernel::Kernel;

const MS: u64 = 1_000_000;

/// The lifetimes of the pools.
#[derive(Debug, Default)]
pub(super) struct Ages {
    pools: BTreeMap<PoolId, Known>,
}

/// The lifetime of a pool, since when it has it, and the shortest that it ever had, in
/// milliseconds.
#[derive(Clone, Copy, Debug)]
struct Known {
    most: Option<u64>,
    since: u64,
    shortest: Option<u64>,
}

impl Ages {
    pub(super) fn adopt(&mut self, snapshot: &Snapshot, now: u64) {
        for pool in &snapshot.pools {
            let most = pool.timeouts.lifetime_ms.map(u64::from);
            let fresh = Known { most, since: now, shortest: None };
            let known = self.pools.entry(pool.id).or_insert(fresh);
            if known.most != most {
                (known.most, known.since) = (most, now);
            }
            known.shortest = known.shortest.into_iter().chain(most).min();
        }
    }

    /// A session that ended for its age had it, less a tenth.
    pub(super) fn read(&self, records: &SessionRecords) -> Result<(), String> {
        for record in &records.rows {
            let SessionEvent::Close(end) = record.event else { continue };
            if end.reason.why != Why::Lifetime {
                continue;
            }
            let known = self.pools.get(&record.session.pool);
            let Some(most) = known.and_then(|known| known.shortest) else {
                return Err(format!("it has no lifetime: {record:?}"));
            };
            if record.session.age_ms + 1 < most - most / 10 {
                return Err(format!("it could live for {most} ms less a tenth: {record:?}"));
            }
        }
        Ok(())
    }
}

impl Ledger {
    /// After a turn in which nothing was left for the next one: a session that relays has at most
    /// the age of its pool and the grace, which is a tenth of it and 10 s at most. Those that were
    /// older when the pool got the lifetime have a tenth of it from then on.
    ///
    /// # Errors
    /// It is older.
    pub fn check_ages(&self, table: &Table, kernel: &Kernel) -> Result<(), String> {
        let behind = kernel.wait_until.is_some_and(|until| until <= kernel.now);
        if behind || kernel.catches_up() || kernel.stopping {
            return Ok(());
        }
        for (id, session) in table.iter().filter(|(_, session)| session.is_relaying()) {
            let pool = table.view().pools()[session.route.pool.index()].id;
            let Some(known) = self.pools_age(pool) else { continue };
            let Some(most) = known.most else { continue };
            let note = kernel.notes.get(&(id.slot, id.generation));
            let relays_since = note.map_or(0, |it| it.relays.max(it.came_at));
            let cap = (session.accepted_at.nanos + most * MS).max(known.since + most / 10 * MS);
            let grace = (most / 10).min(10_000) * MS;
            let last = (cap + grace).max(relays_since) + u64::from(2 * TICK_MS) * MS;
            if kernel.now > last {
                let late = (kernel.now - last) / MS;
                return Err(format!("{id:?} is {late} ms older than it may be: {session:?}"));
            }
        }
        Ok(())
    }

    fn pools_age(&self, pool: PoolId) -> Option<&Known> {
        self.ages.pools.get(&pool)
    }
}
