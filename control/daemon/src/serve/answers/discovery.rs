//! How it stands with the backends that are found by DNS.

use weir_proto::answer::DiscoveryRow;
use weir_proto::snapshot::Pool;

use super::{Queries, span};

/// The most pools without a good answer that warnings name one by one.
const UNANSWERED_MAX: usize = 8;

impl Queries<'_> {
    pub(super) fn discovery_row(&self, pool: &Pool) -> Option<DiscoveryRow> {
        let known = self.control.resolve.discovery(pool.id)?;
        let seconds = |nanos: u64| std::time::Duration::from_nanos(nanos).as_secs_f64();
        let since = |at: weir_core::base::clock::Now| (self.now - at).as_secs_f64();
        Some(DiscoveryRow {
            source: known.source.to_string(),
            members: known.members as u64,
            answered_s: known.answered.map(since),
            next_s: known.next.map(|at| seconds(at.nanos.saturating_sub(self.now.nanos))),
            failure: known.fault.map(|fault| fault.to_string()),
            good_total: known.counts.good,
            failed_total: known.counts.bad.iter().sum(),
        })
    }

    /// As in `pool web: dns web.internal:443: no answer in time; the last good answer came 5 min
    /// ago`.
    pub(super) fn discovery_warnings(&self) -> Vec<String> {
        let pools = self.control.snapshot.pools.iter();
        let rows = pools.filter_map(|pool| Some((&pool.name, self.discovery_row(pool)?)));
        let unanswered = rows.filter_map(|(name, row)| {
            let failure = row.failure?;
            let last = match row.answered_s {
                Some(since) => format!("the last good answer came {} ago", span(since)),
                None => "no good answer has come since the start".to_owned(),
            };
            Some(format!("pool {name}: {}: {failure}; {last}", row.source))
        });
        let mut warnings: Vec<String> = unanswered.collect();
        let more = warnings.len().saturating_sub(UNANSWERED_MAX);
        warnings.truncate(UNANSWERED_MAX);
        if more > 0 {
            warnings.push(format!("DNS does not answer for {more} more pools"));
        }
        warnings
    }
}
