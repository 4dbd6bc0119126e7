//! The metrics page: its figures are copied a slice at a time, another thread makes text of them,
//! and all who ask at nearly the same time get the same page.

use std::sync::Arc;

use weir_core::base::clock::Now;
use weir_proto::snapshot::{Backend, Pool, Snapshot};

use crate::api::metrics::{
    self, BackendFigures, DiscoveryFigures, HealthCounts, MetricsInput, PoolFigures, Process,
    ReloadFigures, StateFigures, SupervisedShard,
};
use crate::rt::{self, Bulky};
use crate::serve::Shared;
use crate::serve::answers::Queries;
use crate::serve::slices::{BACKENDS_SLICE, POOLS_SLICE};
use weir_control_core::control::{Control, Shard, ShardStatus};

/// The page of this moment, or of a moment ago.
pub(super) async fn page(shared: &Shared, http_streams: usize) -> Arc<Bulky<String>> {
    let make = async {
        let mut input = figures(shared).await;
        input.http_streams = http_streams;
        rt::blocking(move || Bulky::new(metrics::render(&input, &Process::read()))).await
    };
    shared.metrics_page.get(make).await
}

async fn figures(shared: &Shared) -> MetricsInput {
    let mut input = whole(&shared.control());
    input.reloads = reloads(shared);
    input.state = StateFigures {
        can_write: shared.appender.can_write(),
        failures: shared.appender.failures(),
    };
    input.session_log = shared.session_log.as_ref().map(|log| {
        let dropped = log.dropped_total() + shared.control().records_dropped();
        (log.written_total(), dropped)
    });
    let snapshot: Arc<Snapshot> = input.snapshot.clone();
    rt::give_way().await;
    let row = |queries: &Queries<'_>, pool: &Arc<Pool>| {
        let control = queries.control;
        let state = (control.health.is_in_panic(pool.id), control.group_rows(pool));
        PoolFigures::of(pool, &control.aggregate, state, discovery(control, pool))
    };
    input.pools = shared.in_slices(&snapshot.pools, POOLS_SLICE, row).await;
    rt::give_way().await;
    let backends: Vec<&Backend> = snapshot.backends().map(|(_, backend)| backend).collect();
    let row = |queries: &Queries<'_>, backend: &&Backend| BackendFigures {
        totals: queries.control.aggregate.backend(backend.id),
        health: health(queries.control, backend, queries.now),
        agent: queries.control.health.agent(backend.id).map(|agent| agent.counts),
    };
    input.backends = shared.in_slices(&backends, BACKENDS_SLICE, row).await;
    input
}

/// All but the pools and backends.
fn whole(control: &Control) -> MetricsInput {
    let snapshot = control.snapshot.clone();
    let aggregate = &control.aggregate;
    let gone = aggregate.lingering_totals();
    MetricsInput {
        listeners: snapshot.listeners.iter().map(|it| aggregate.listener(it.id)).collect(),
        unbound: snapshot.listeners.iter().map(|it| control.unbound_of(it).count()).collect(),
        pools: Vec::new(),
        backends: Vec::new(),
        gone: gone.map(|(name, totals)| (name.to_owned(), totals)).collect(),
        shards: aggregate.shards().copied().collect(),
        program: env!("CARGO_PKG_VERSION").to_owned(),
        started_ms: control.started.wall_ms,
        events_dropped: control.events.dropped_total(),
        log_dropped: crate::log::dropped_total(),
        session_log: None,
        reloads: ReloadFigures::default(),
        state: StateFigures::default(),
        http_streams: 0,
        longest_turn: rt::turns::longest(),
        supervised: control.shards.iter().map(supervised).collect(),
        sessions_max: control.shards.iter().map(|shard| u64::from(shard.sessions_max)).sum(),
        is_full: control.fullness.get().is_some(),
        tasks: control.tasks_by_kind(),
        drift_keys: control.drift_keys,
        is_unconfirmed: control.unconfirmed(crate::rt::now()).is_some(),
        rolled_back: control.rolled_back,
        snapshot,
    }
}

/// A file that was never applied counts from the start: the state is what it was applied to.
fn reloads(shared: &Shared) -> ReloadFigures {
    let reloads = &shared.reloads;
    ReloadFigures {
        done: reloads.done.get(),
        refused: reloads.refused.get(),
        is_stale: reloads.is_stale.get(),
        applied_ms: match reloads.applied_ms.get() {
            0 => shared.control().started.wall_ms,
            at => at,
        },
    }
}

fn discovery(control: &Control, pool: &Pool) -> Option<DiscoveryFigures> {
    let known = control.resolve.discovery(pool.id)?;
    let since = |at: Now| (rt::now() - at).as_secs_f64();
    let (members, answered_s) = (known.members as u64, known.answered.map(since));
    Some(DiscoveryFigures { members, answered_s, counts: known.counts })
}

fn supervised(shard: &Shard) -> SupervisedShard {
    let Shard { watched, status, restarts, .. } = *shard;
    SupervisedShard { watched, is_fenced: status == ShardStatus::Fenced, restarts }
}

fn health(control: &Control, backend: &Backend, now: Now) -> HealthCounts {
    let counted = control.health.counters(backend.id).unwrap_or_default();
    HealthCounts {
        up: control.health.is_up(backend.id),
        hold_s: control.health.hold_left(backend.id, now).unwrap_or_default().as_secs_f64(),
        checks_ok: counted.ok,
        checks_failed: counted.fail,
        transitions: counted.transitions,
        duration_sum_s: std::time::Duration::from_nanos(counted.duration_sum_ns).as_secs_f64(),
        duration_count: counted.ok + counted.fail,
    }
}
