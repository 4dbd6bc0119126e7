//! What the gate and the prober ask of the control thread.

use weir_core::base::clock::Now;
use weir_proto::answer::{Answer, Author};
use weir_proto::ids::{BackendId, PoolId};
use weir_proto::request::{Command, Query, Refusal};

use crate::api::audit::AuditEvent;
use crate::api::gate::Handler;
use crate::api::metrics::{self, HealthCounts, HealthView, MetricsInput, Process, SupervisedShard};
use crate::prober::CheckSource;
use crate::rt;
use crate::serve::answers::Queries;
use crate::serve::{Shared, moment};
use weir_control_core::control::Shard;
use weir_control_core::health::{Check, CheckOutcome, Health};

impl CheckSource for Shared {
    fn take_due(&self) -> Vec<Check> {
        self.control.borrow_mut().take_checks(moment())
    }

    fn on_checked(&self, check: &Check, outcome: CheckOutcome, started: Now) {
        Shared::on_checked(self, check, outcome, started);
    }

    async fn wait_until_due(&self) {
        self.wait_until_check().await;
    }
}

impl Handler for Shared {
    async fn refresh(&self, query: &Query) {
        Shared::refresh(self, query).await;
    }

    fn query(&self, query: Query) -> Result<Answer, Refusal> {
        Shared::query(self, query)
    }

    async fn command(&self, command: Command, by: Author) -> Result<Answer, Refusal> {
        Shared::command(self, command, by).await
    }

    fn version(&self) -> u64 {
        self.control.borrow().snapshot.version.0
    }

    fn record(&self, event: AuditEvent) {
        let AuditEvent { subject, text, kept } = event;
        self.control.borrow_mut().events.audit(kept, &subject, &text, rt::wall_ms());
    }

    fn answering(&self) -> impl Sized {
        Shared::answering(self)
    }

    fn metrics(&self) -> String {
        let control = self.control.borrow();
        metrics::render(&MetricsInput {
            snapshot: &control.snapshot,
            aggregate: &control.aggregate,
            health: &Checks(&control.health, rt::now()),
            program: env!("CARGO_PKG_VERSION"),
            started_ms: control.started.wall_ms,
            events_dropped: control.events.dropped_total(),
            log_dropped: crate::log::dropped_total(),
            longest_turn: rt::turns::longest(),
            supervised: control.shards.iter().map(supervised).collect(),
            sessions_max: control.shards.iter().map(|shard| u64::from(shard.sessions_max)).sum(),
            process: Process::read(),
        })
    }

    fn ready(&self) -> Result<(), String> {
        let control = self.control.borrow();
        if !control.is_serving() {
            return Err("draining".to_owned());
        }
        let seen = Queries { control: &control, now: rt::now() };
        let pools = &control.snapshot.pools;
        let mut used = control.snapshot.listeners.iter().map(|listener| &pools[listener.pool]);
        match used.find(|pool| seen.is_empty(pool)) {
            Some(pool) => Err(format!("pool {}: no backend can take sessions", pool.name)),
            None => Ok(()),
        }
    }
}

fn supervised(shard: &Shard) -> SupervisedShard {
    let Shard { watched, is_fenced, restarts, .. } = *shard;
    SupervisedShard { watched, is_fenced, restarts }
}

/// The checks as the metrics page shows them.
struct Checks<'a>(&'a Health, Now);

impl HealthView for Checks<'_> {
    fn counts(&self, backend: BackendId) -> HealthCounts {
        let counted = self.0.counters(backend).unwrap_or_default();
        HealthCounts {
            up: self.0.is_up(backend),
            hold_s: self.0.hold_left(backend, self.1).unwrap_or_default().as_secs_f64(),
            checks_ok: counted.ok,
            checks_failed: counted.fail,
            transitions: counted.transitions,
            duration_sum_s: std::time::Duration::from_nanos(counted.duration_sum_ns).as_secs_f64(),
            duration_count: counted.ok + counted.fail,
        }
    }

    fn is_in_panic(&self, pool: PoolId) -> bool {
        self.0.is_in_panic(pool)
    }
}
