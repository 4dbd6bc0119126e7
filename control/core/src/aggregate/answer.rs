//! The aggregate as `weirctl stats` shows it.

use weir_proto::answer::{BySide, ConnectFailures, EndRow, FirstCloses, PoolStatsRow, Stats};
use weir_proto::ids::BackendId;
use weir_proto::reason::CloseReason;
use weir_proto::snapshot::{self, Snapshot};
use weir_proto::stats::EndStats;

use super::{Aggregate, Backend, PoolTotals, Rate};

impl Aggregate {
    /// Returns the statistics of the process (`None` or empty), a pool, or `pool/backend`. `None`
    /// if there is no such subject.
    pub fn stats(&self, snapshot: &Snapshot, subject: Option<&str>) -> Option<Stats> {
        let subject = subject.unwrap_or_default();
        if subject.is_empty() {
            let pools = snapshot.pools.iter().map(|pool| self.pool_row(pool)).collect();
            return Some(Stats { pools, ..self.stats_of_all() });
        }
        match subject.split_once('/') {
            Some((pool, name)) => {
                let live = snapshot.pool(pool).and_then(|pool| pool.backend(name));
                self.stats_of_backend(subject, live.map(|backend| backend.id))
            }
            None => snapshot.pool(subject).map(|pool| self.stats_of_pool(pool)),
        }
    }

    /// Returns the statistics of the whole process, without the rows of its pools.
    pub fn stats_of_all(&self) -> Stats {
        let rate = self.shards.iter().map(|shard| shard.rate).sum();
        Stats {
            sessions: self.sessions(),
            // Also those for which there was no backend: what clients asked for.
            sessions_total: self.accepted,
            connect_duration_recent_s: Some(self.recent_connects.percentiles(self.latest)),
            ..stats(String::new(), &self.all, rate)
        }
    }

    fn stats_of_pool(&self, pool: &snapshot::Pool) -> Stats {
        let here = pool.backends.iter().filter_map(|it| self.backends.get(&it.id));
        let gone = self.gone.iter().filter_map(|id| self.backends.get(id));
        let backends = here.chain(gone.filter(|backend| backend.pool == pool.id));
        let none = PoolTotals::default();
        let totals = self.pool(pool.id).unwrap_or(&none);
        Stats {
            sessions: self.pool_sessions(pool.id),
            pools: vec![self.pool_row(pool)],
            ..stats(pool.name.to_string(), totals, backends.map(rate).sum())
        }
    }

    /// `live` is its identity if it is in the snapshot; else one that still holds sessions may have
    /// the name.
    fn stats_of_backend(&self, name: &str, live: Option<BackendId>) -> Option<Stats> {
        let lingers = |(_, backend, _): &(_, &Backend, _)| *backend.name == *name;
        let id = match live {
            Some(id) => id,
            None => self.gone().find(lingers)?.0,
        };
        let totals = self.backend(id);
        let counted = PoolTotals { backends: totals.counts, ..PoolTotals::default() };
        let rate = self.identities(id).map(rate).sum();
        let durations = self.backend_durations(id);
        Some(Stats {
            sessions: totals.sessions,
            ends: None,
            connect_duration_s: durations.map(|it| it.connect),
            connect_duration_recent_s: self.recent_durations(id).map(|it| it.connect),
            first_byte_duration_s: durations.map(|it| it.first_byte),
            session_duration_s: None,
            ..stats(name.to_owned(), &counted, rate)
        })
    }

    /// One pool's row in the stats of everything.
    pub fn pool_row(&self, pool: &snapshot::Pool) -> PoolStatsRow {
        let none = PoolTotals::default();
        let totals = self.pool(pool.id).unwrap_or(&none);
        PoolStatsRow {
            name: pool.name.to_string(),
            sessions: self.pool_sessions(pool.id),
            sessions_stalled: self.pool_stalled(pool.id),
            sessions_queued: self.pool_queued(pool.id),
            sessions_total: totals.backends.sessions,
            received_bytes_total: totals.backends.received_bytes,
            sent_bytes_total: totals.backends.sent_bytes,
            no_backend_total: totals.counts.no_backend,
            queued_total: totals.counts.queued,
            retries_total: totals.counts.retries,
            retry_budget_exhausted_total: totals.counts.retry_budget_exhausted,
            connect_duration_s: totals.connect.percentiles(),
        }
    }
}

/// A backend's rate over all shards.
pub(super) fn rate(backend: &Backend) -> Rate {
    backend.slices.iter().map(|slice| slice.rate).sum()
}

fn stats(subject: String, totals: &PoolTotals, rate: Rate) -> Stats {
    let counts = &totals.backends;
    let [client, backend, weir, operator] = counts.first_closes;
    let [refused, timeout, unreachable, local, closed, source] = counts.connect_failures;
    let connect_failures_total =
        ConnectFailures { refused, timeout, unreachable, local, closed, source };
    Stats {
        subject,
        sessions: 0,
        sessions_total: totals.backends.sessions,
        session_rate_per_s: rate.sessions,
        received_bytes_total: totals.backends.received_bytes,
        sent_bytes_total: totals.backends.sent_bytes,
        received_bytes_per_s: rate.received_bytes,
        sent_bytes_per_s: rate.sent_bytes,
        connect_duration_s: Some(totals.connect.percentiles()),
        connect_duration_recent_s: None,
        first_byte_duration_s: Some(totals.first_byte.percentiles()),
        session_duration_s: Some(totals.session.percentiles()),
        ends: Some(end_rows(&totals.ends)),
        first_closes_total: FirstCloses { client, backend, weir, operator },
        early_closes_total: counts.early_closes,
        connect_failures_total,
        blocked_s_total: BySide::of(counts.blocked_ns.map(|ns| ns as f64 / 1e9)),
        undelivered_bytes_total: BySide::of(counts.undelivered_bytes),
        pools: Vec::new(),
    }
}

fn end_rows(ends: &EndStats) -> Vec<EndRow> {
    let row = |(reason, count): (CloseReason, u64)| EndRow {
        by: reason.by,
        during: reason.during,
        why: reason.why,
        code: reason.code_text(),
        count,
    };
    ends.iter().map(row).collect()
}
