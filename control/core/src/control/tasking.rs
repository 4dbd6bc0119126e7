//! Tasks in control: what is asked for becomes work, ticks become orders, and what begins or ends
//! is news.

use std::time::Duration;

use weir_proto::answer::{Answer, EventKind, TaskKind, TaskRow, TaskState};
use weir_proto::ids::{BackendId, PoolId, ShardId};
use weir_proto::order::{Order, SessionsOf};
use weir_proto::request::{Code, Refusal, TaskRequest};
use weir_proto::snapshot::{Backend, Snapshot};

use super::{ChangeId, Clocks, Control, Output, Shard};
use crate::aggregate::Aggregate;
use crate::health::Health;
use crate::planner;
use crate::tasks::{DueShed, Figures, Task, Work};

/// How long a paced drain may take.
const OVER_MIN: Duration = Duration::from_secs(1);
const OVER_MAX: Duration = Duration::from_secs(7 * 86_400);
/// The largest spread of a rebalance, in percent.
const SPREAD_MAX: u16 = 1_000;
/// The highest rate of a rebalance, in sessions a second.
const RATE_MAX: u32 = 100_000;

/// Control's figures, as tasks see them.
struct Seen<'a> {
    aggregate: &'a Aggregate,
    health: &'a Health,
    snapshot: &'a Snapshot,
    shards: &'a [Shard],
}

impl Figures for Seen<'_> {
    fn held(&self, of: SessionsOf) -> Vec<u64> {
        self.aggregate.held_by_shard(of)
    }

    fn boxes(&self, shard: ShardId) -> (u64, u64) {
        self.shards.get(usize::from(shard.0)).map_or((0, 0), Shard::boxes)
    }

    fn takes(&self, shard: ShardId) -> bool {
        let shard = self.shards.get(usize::from(shard.0));
        shard.is_some_and(|shard| shard.counts() && shard.pending.is_empty())
    }

    fn members(&self, pool: PoolId) -> Vec<(BackendId, u16)> {
        let pool = self.snapshot.pools.iter().find(|it| it.id == pool);
        let backends = pool.map_or(&[][..], |pool| &pool.backends);
        let takes = |it: &&Backend| it.is_member() && self.health.is_up(it.id);
        backends.iter().filter(takes).map(|it| (it.id, it.weight)).collect()
    }
}

impl Control {
    /// A task is to begin or to end.
    pub(super) fn on_task(&mut self, id: ChangeId, request: TaskRequest, moment: Clocks) {
        let result = self.do_task(request, moment).map(Answer::Task);
        self.outputs.push(Output::Answered { id, result });
    }

    fn do_task(&mut self, request: TaskRequest, moment: Clocks) -> Result<TaskRow, Refusal> {
        let (work, subject) = match request {
            TaskRequest::Cancel { id } => {
                self.tasks.cancel(id, moment.now)?;
                return self.tell_task(id, "cancelled by an operator", moment);
            }
            TaskRequest::BackendDrain { name, over_ms } => {
                let of = self.drained_backend(&name)?;
                (Work::Drain { kind: TaskKind::BackendDrain, of, over: over(over_ms)? }, name)
            }
            TaskRequest::ListenerDrain { name, over_ms } => {
                let of = vec![self.drained_listener(&name)?];
                (Work::Drain { kind: TaskKind::ListenerDrain, of, over: over(over_ms)? }, name)
            }
            TaskRequest::PoolRebalance { name, spread, per_s } => {
                (self.rebalance(&name, spread, per_s)?, name)
            }
        };
        let Control { aggregate, health, snapshot, shards, .. } = self;
        let seen = Seen { aggregate, health, snapshot, shards };
        let id = self.tasks.begin(work, subject, moment.now, &seen)?;
        self.tell_task(id, "began", moment)
    }

    /// The identities of a backend that takes no new sessions, also of one that was removed.
    fn drained_backend(&self, name: &str) -> Result<Vec<SessionsOf>, Refusal> {
        let (pool, backend) = planner::split(name)?;
        let here = self.snapshot.pool(pool).and_then(|pool| pool.backend(backend));
        let removed = self.aggregate.removed_named(name);
        if here.is_none() && removed.is_empty() {
            return Err(planner::no_backend(&self.snapshot, name));
        }
        if here.is_some_and(|backend| backend.admin.is_ready()) {
            let message = format!("backend {name} takes new sessions");
            return Err(Refusal::new(
                Code::Invalid,
                message,
                format!("weirctl backend drain {name}"),
            ));
        }
        Ok(here.map(|it| it.id).into_iter().chain(removed).map(SessionsOf::Backend).collect())
    }

    fn drained_listener(&self, name: &str) -> Result<SessionsOf, Refusal> {
        let listener = self.snapshot.listener(name);
        let listener = listener.ok_or_else(|| planner::no_listener(&self.snapshot, name))?;
        if listener.accepting {
            let message = format!("listener {name} accepts new sessions");
            return Err(Refusal::new(
                Code::Invalid,
                message,
                format!("weirctl listener drain {name}"),
            ));
        }
        Ok(SessionsOf::Listener(listener.id))
    }

    fn rebalance(&self, name: &str, spread: u16, per_s: u32) -> Result<Work, Refusal> {
        let pool = self.snapshot.pool(name);
        let pool = pool.ok_or_else(|| planner::no_pool(&self.snapshot, name))?.id;
        if spread > SPREAD_MAX || !(1..=RATE_MAX).contains(&per_s) {
            let message = format!(
                "a spread is 0 to {SPREAD_MAX} percent, a rate 1 to {RATE_MAX} sessions a second"
            );
            let hint = format!("weirctl pool rebalance {name} --to 10 --rate 10/s");
            return Err(Refusal::new(Code::Invalid, message, hint));
        }
        Ok(Work::Rebalance { pool, spread, per_s })
    }

    /// Does what is due, and looks at who has ended.
    pub(super) fn work_on_tasks(&mut self, moment: Clocks) {
        let pointless: Vec<(u64, &str)> = self
            .tasks
            .running()
            .filter_map(|task| Some((task.id, self.is_pointless(task)?)))
            .collect();
        for (id, why) in pointless {
            if self.tasks.cancel(id, moment.now).is_ok() {
                let _ = self.tell_task(id, why, moment); // it is there
            }
        }
        let before: Vec<u64> = self.tasks.running().map(|task| task.id).collect();
        let Control { aggregate, health, snapshot, shards, tasks, fleet, .. } = self;
        let seen = Seen { aggregate, health, snapshot, shards };
        for due in tasks.step(moment.now, &seen) {
            let DueShed { shard, of, count, .. } = due;
            if fleet.send(shard, Order::Shed { of, count }).is_err() {
                tasks.not_sent(&due);
            }
        }
        for id in before {
            if self.tasks.get(id).is_ok_and(|task| task.state == TaskState::Done) {
                let _ = self.tell_task(id, "done", moment); // it is there
            }
        }
    }

    /// Why a task is to go no further, if it is.
    fn is_pointless(&self, task: &Task) -> Option<&'static str> {
        match &task.work {
            Work::Drain { of, .. } => {
                let again = match task.subject.split_once('/') {
                    Some((pool, backend)) => {
                        let here = self.snapshot.pool(pool).and_then(|it| it.backend(backend));
                        let ready = here.filter(|it| it.admin.is_ready());
                        ready.is_some_and(|it| of.contains(&SessionsOf::Backend(it.id)))
                    }
                    None => {
                        let here = self.snapshot.listener(&task.subject);
                        let open = here.filter(|it| it.accepting);
                        open.is_some_and(|it| of.contains(&SessionsOf::Listener(it.id)))
                    }
                };
                again.then_some("cancelled: it takes new sessions again")
            }
            Work::Rebalance { pool, .. } => {
                let here = self.snapshot.pools.iter().any(|it| it.id == *pool);
                (!here).then_some("cancelled: the pool is gone")
            }
        }
    }

    /// Writes down what has become of a task; its row.
    fn tell_task(&mut self, id: u64, what: &str, moment: Clocks) -> Result<TaskRow, Refusal> {
        let task = self.tasks.get(id)?;
        let (subject, row) = (task.subject.clone(), task.row(moment.now));
        let TaskRow { kind, done, total, .. } = &row;
        let words = kind.word().replace('_', " ");
        let text = format!("task {id} ({words}): {what}; sessions ended: {done} of {total}");
        tracing::info!("{subject}: {text}");
        self.events.push(EventKind::Task, subject, text, moment.wall_ms);
        Ok(row)
    }
}

/// The time of a paced drain.
fn over(over_ms: u64) -> Result<Duration, Refusal> {
    let over = Duration::from_millis(over_ms);
    if (OVER_MIN..=OVER_MAX).contains(&over) {
        return Ok(over);
    }
    let message = "a paced drain takes 1 second to 7 days".to_owned();
    Err(Refusal::new(Code::Invalid, message, "--over 10m"))
}
