//! Tasks for the process that takes the place of this one. A kill knows its sessions by the slots
//! that they have in their shards, and they get others there: it ends with this process.

use std::time::Duration;

use serde::{Deserialize, Serialize};
use weir_core::base::clock::Now;
use weir_proto::answer::{TaskKind, TaskState};
use weir_proto::ids::PoolId;
use weir_proto::order::SessionsOf;

use crate::legacy::{maybe_moment, moment};

use super::pace::Credit;
use super::{KillList, Task, Tasks, Work};

/// Every task.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub(crate) struct TasksLegacy {
    last: u64,
    all: Vec<TaskLegacy>,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
struct TaskLegacy {
    id: u64,
    work: WorkLegacy,
    subject: String,
    state: TaskState,
    #[serde(with = "moment")]
    since: Now,
    #[serde(with = "maybe_moment")]
    ended: Option<Now>,
    done: u64,
    total: u64,
    sessions: u64,
    credit: Credit,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
enum WorkLegacy {
    Drain { kind: TaskKind, of: Vec<SessionsOf>, over: Duration },
    Rebalance { pool: PoolId, spread: u16, per_s: u32 },
    Kill { killed: u64, per_s: u32 },
}

impl TaskLegacy {
    fn of(task: &Task) -> TaskLegacy {
        TaskLegacy {
            id: task.id,
            work: match &task.work {
                Work::Drain { kind, of, over } => {
                    WorkLegacy::Drain { kind: *kind, of: of.clone(), over: *over }
                }
                Work::Rebalance { pool, spread, per_s } => {
                    WorkLegacy::Rebalance { pool: *pool, spread: *spread, per_s: *per_s }
                }
                Work::Kill { list, per_s } => {
                    WorkLegacy::Kill { killed: list.killed(), per_s: *per_s }
                }
            },
            subject: task.subject.clone(),
            state: task.state,
            since: task.since,
            ended: task.ended,
            done: task.done,
            total: task.total,
            sessions: task.sessions,
            credit: task.credit,
        }
    }

    fn task(self) -> Task {
        let work = match self.work {
            WorkLegacy::Drain { kind, of, over } => Work::Drain { kind, of, over },
            WorkLegacy::Rebalance { pool, spread, per_s } => {
                Work::Rebalance { pool, spread, per_s }
            }
            WorkLegacy::Kill { killed, per_s } => {
                Work::Kill { list: KillList::over(killed), per_s }
            }
        };
        Task {
            id: self.id,
            work,
            subject: self.subject,
            state: self.state,
            since: self.since,
            ended: self.ended,
            done: self.done,
            total: self.total,
            sessions: self.sessions,
            credit: self.credit,
            // Shards of the process before this one were ordered to end them.
            flights: Vec::new(),
        }
    }
}

impl Tasks {
    /// Everything that goes on in the next process.
    pub(crate) fn to_legacy(&self) -> TasksLegacy {
        TasksLegacy { last: self.last, all: self.all.iter().map(TaskLegacy::of).collect() }
    }

    /// Goes on from the state of the process before this one. Returns the tasks that cannot go on:
    /// they are cancelled.
    pub(crate) fn take_legacy(&mut self, legacy: TasksLegacy, now: Now) -> Vec<u64> {
        self.last = legacy.last;
        self.all = legacy.all.into_iter().map(TaskLegacy::task).collect();
        let mut cancelled = Vec::new();
        for task in self.all.iter_mut().filter(|it| it.state == TaskState::Running) {
            if let Work::Kill { .. } = task.work {
                (task.state, task.ended) = (TaskState::Cancelled, Some(now));
                cancelled.push(task.id);
            }
        }
        cancelled
    }
}
