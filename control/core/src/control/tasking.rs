//! Tasks in control: what is asked for becomes work, ticks become orders, and what begins or ends
//! is news.

use std::time::Duration;

use weir_proto::answer::{Answer, EventKind, TaskKind, TaskRow, TaskState};
use weir_proto::ids::{BackendId, PoolId, ShardId};
use weir_proto::order::{Order, SessionsOf};
use weir_proto::request::{Code, Refusal, TaskRequest};
use weir_proto::session::{ListedSession, SearchFor, SessionSearch};
use weir_proto::snapshot::{Backend, Snapshot};

use super::handover::upgrading;
use super::searching::PacedKill;
use super::{ChangeId, Clocks, Control, Output, Shard};
use crate::aggregate::Aggregate;
use crate::health::Health;
use crate::planner;
use crate::sessions;
use crate::tasks::{DueOrder, DueSessions, Figures, KillList, Task, Work, search_of};

/// How long a paced drain may take.
const OVER_MIN: Duration = Duration::from_secs(1);
const OVER_MAX: Duration = Duration::from_secs(7 * 86_400);
/// The largest spread of a rebalance, in percent.
const SPREAD_MAX: u16 = 1_000;
/// The highest rate of a rebalance or a kill, in sessions a second.
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
        let result = match self.do_task(id, request, moment) {
            Ok(Some(row)) => Ok(Answer::Task(row)),
            Ok(None) => return,
            Err(refusal) => Err(refusal),
        };
        self.outputs.push(Output::Answered { id, result });
    }

    /// Begins or ends a task. `None`: it begins when its sessions are known.
    fn do_task(
        &mut self,
        asked: ChangeId,
        request: TaskRequest,
        moment: Clocks,
    ) -> Result<Option<TaskRow>, Refusal> {
        if self.is_handing_over() {
            return Err(upgrading());
        }
        let (work, subject) = match request {
            TaskRequest::Cancel { id } => {
                self.refuse_to_cancel(id)?;
                self.tasks.cancel(id, moment.now)?;
                return self.tell_task(id, "cancelled by an operator", moment).map(Some);
            }
            TaskRequest::SessionKill { ids, filter, per_s } => {
                is_rate(per_s, "weirctl session kill --backend web/b1 --rate 10/s")?;
                self.search_for_kill(asked, (&ids, &filter), per_s, moment)?;
                return Ok(None);
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
        self.begin_task(work, subject, moment).map(Some)
    }

    fn begin_task(
        &mut self,
        work: Work,
        subject: String,
        moment: Clocks,
    ) -> Result<TaskRow, Refusal> {
        let Control { aggregate, health, snapshot, shards, .. } = self;
        let seen = Seen { aggregate, health, snapshot, shards };
        let id = self.tasks.begin(work, subject, moment.now, &seen)?;
        self.tell_task(id, "began", moment)
    }

    /// The sessions of a kill are known, but for those of shards that did not answer.
    pub(super) fn begin_kill(
        &mut self,
        id: ChangeId,
        kill: PacedKill,
        (found, missing): (&[(ShardId, ListedSession)], &[u16]),
        moment: Clocks,
    ) {
        let PacedKill { of, subject, per_s, is_named } = kill;
        let result = if let [shard, ..] = missing {
            let message = format!("shard {shard} does not say which sessions it has");
            Err(Refusal::new(Code::Failed, message, "weirctl shards; try again in a moment"))
        } else if found.is_empty() && is_named {
            Err(sessions::none(&subject))
        } else {
            let list = KillList::new(of, found);
            self.begin_task(Work::Kill { list, per_s }, subject, moment).map(Answer::Task)
        };
        self.outputs.push(Output::Answered { id, result });
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
        let hint = format!("weirctl pool rebalance {name} --to 10 --rate 10/s");
        is_rate(per_s, &hint)?;
        if spread > SPREAD_MAX {
            let message = format!("a spread is 0 to {SPREAD_MAX} percent");
            return Err(Refusal::new(Code::Invalid, message, hint));
        }
        Ok(Work::Rebalance { pool, spread, per_s })
    }

    /// Does what is due, and looks at who has ended.
    pub(super) fn work_on_tasks(&mut self, moment: Clocks) {
        if self.aggregate.keeps_all() {
            return; // sessions are on their way between two processes
        }
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
            if fleet.send(due.shard, order_of(&due)).is_err() {
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
            Work::Kill { .. } => None,
        }
    }

    /// Writes down what has become of a task; its row.
    pub(super) fn tell_task(
        &mut self,
        id: u64,
        what: &str,
        moment: Clocks,
    ) -> Result<TaskRow, Refusal> {
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

fn order_of(due: &DueOrder) -> Order {
    match &due.sessions {
        DueSessions::Some { of, count } => Order::Shed { of: *of, count: *count },
        DueSessions::Named(of) => {
            let (number, want) = (search_of(due.task), SearchFor::Kill);
            Order::Search(Box::new(SessionSearch { number, of: of.clone(), want }))
        }
    }
}

fn is_rate(per_s: u32, hint: &str) -> Result<(), Refusal> {
    if (1..=RATE_MAX).contains(&per_s) {
        return Ok(());
    }
    let message = format!("a rate is 1 to {RATE_MAX} sessions a second");
    Err(Refusal::new(Code::Invalid, message, hint))
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
