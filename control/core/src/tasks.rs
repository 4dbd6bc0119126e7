//! Tasks: what takes time, closes sessions at a bounded rate, and ends by itself. A *paced drain*
//! ends the sessions of a backend or a listener by a deadline, evenly; a *rebalance* ends the
//! fewest that bring the backends of a pool within a spread of their fair shares; a *kill* ends
//! sessions that were found by a search. Pure: time and figures are arguments, and what is due
//! comes back.
//!
//! A task is no configuration: it is gone when the process is, unless another one takes its place
//! and goes on with it. The drain that a paced drain belongs
//! to is a version, and stays.

mod kill;
mod legacy;
mod pace;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::time::Duration;

use weir_core::base::clock::Now;
use weir_core::limits::SHED_MAX;
use weir_proto::answer::{TaskKind, TaskRow, TaskState};
use weir_proto::ids::{BackendId, PoolId, ShardId};
use weir_proto::order::SessionsOf;
use weir_proto::request::{Code, Refusal};
use weir_proto::session::SessionMatch;

pub use kill::{KillList, search_of, task_of};
pub(crate) use legacy::TasksLegacy;
use pace::{Credit, apportion, fair_share};

/// The most tasks that run at once.
pub const RUNNING_MAX: usize = 64;
/// Tasks that are shown after their end, the latest ones.
const ENDED_MAX: usize = 16;
/// Figures may be this old: a task with nothing to do is younger than that, or done.
const SETTLED: Duration = Duration::from_millis(600);

/// The figures that a task goes by. They are as old as the shards' last boxes.
pub trait Figures {
    /// How many of these sessions each shard holds.
    fn held(&self, of: SessionsOf) -> Vec<u64>;
    /// How many boxes of figures this shard was asked for, and how many it has given.
    fn boxes(&self, shard: ShardId) -> (u64, u64);
    /// Whether this shard takes an order now.
    fn takes(&self, shard: ShardId) -> bool;
    /// The backends of the pool that get sessions, with their weights.
    fn members(&self, pool: PoolId) -> Vec<(BackendId, u16)>;
}

/// The work of a task.
#[derive(Clone, Debug)]
pub enum Work {
    /// Ends these sessions within `over`.
    Drain { kind: TaskKind, of: Vec<SessionsOf>, over: Duration },
    /// Ends sessions of backends that have more than their fair share and `spread` percent of it,
    /// at most `per_s` of them a second.
    Rebalance { pool: PoolId, spread: u16, per_s: u32 },
    /// Ends these, at most `per_s` of them a second.
    Kill { list: KillList, per_s: u32 },
}

/// Sessions that a shard is to end now.
#[derive(Clone, Debug, PartialEq)]
pub struct DueOrder {
    pub task: u64,
    pub shard: ShardId,
    pub sessions: DueSessions,
}

/// A choice of them.
#[derive(Clone, Debug, PartialEq)]
pub enum DueSessions {
    /// The longest idle ones of these.
    Some { of: SessionsOf, count: u32 },
    /// Those that are named, if they still fit.
    Named(SessionMatch),
}

/// Sessions that were ordered to end, until figures show it.
#[derive(Clone, Copy, Debug)]
struct Flight {
    shard: ShardId,
    of: SessionsOf,
    count: u64,
    /// Boxes that the shard had been asked for.
    asked: u64,
}

impl Flight {
    /// The box that was asked for next may be older than the ends; the one after it is not.
    fn is_out(&self, (asked, answered): (u64, u64)) -> bool {
        asked >= self.asked && answered < self.asked + 2
    }
}

/// One task.
#[derive(Debug)]
pub struct Task {
    pub id: u64,
    pub work: Work,
    /// A listener, a pool, `pool/backend`, or the choice of sessions.
    pub subject: String,
    pub state: TaskState,
    since: Now,
    ended: Option<Now>,
    done: u64,
    total: u64,
    /// Sessions that the pool had when its rebalance began.
    sessions: u64,
    credit: Credit,
    flights: Vec<Flight>,
}

/// Sessions of one backend or listener that may be ended, and who holds them.
struct Share {
    of: SessionsOf,
    count: u64,
    /// By shard; 0 if it takes no order now.
    open: Vec<u64>,
}

/// Every task, those that run first begun first; then those that have ended.
#[derive(Debug, Default)]
pub struct Tasks {
    last: u64,
    all: Vec<Task>,
    looked: Option<Now>,
}

impl Tasks {
    /// Gives a number to a task that is kept elsewhere.
    pub fn number(&mut self) -> u64 {
        self.last += 1;
        self.last
    }

    /// Begins a task. One that does the same for the same subject is cancelled.
    ///
    /// # Errors
    /// There are [`RUNNING_MAX`] already.
    pub fn begin(
        &mut self,
        work: Work,
        subject: String,
        now: Now,
        figures: &impl Figures,
    ) -> Result<u64, Refusal> {
        let twin = self.running().find(|it| it.subject == subject && it.work.is_twin(&work));
        let twin = twin.map(|it| it.id);
        if twin.is_none() && self.running().count() >= RUNNING_MAX {
            let message = format!("{RUNNING_MAX} tasks run already");
            return Err(Refusal::new(Code::Failed, message, "weirctl task list"));
        }
        twin.map(|id| self.cancel(id, now)).transpose()?;
        let mut task = Task {
            id: self.number(),
            work,
            subject,
            state: TaskState::Running,
            since: now,
            ended: None,
            done: 0,
            total: 0,
            sessions: 0,
            credit: Credit::default(),
            flights: Vec::new(),
        };
        task.measure(figures);
        self.all.push(task);
        Ok(self.last)
    }

    /// Stops a task: no order follows.
    ///
    /// # Errors
    /// There is none of that number, or it has ended.
    pub fn cancel(&mut self, id: u64, now: Now) -> Result<&Task, Refusal> {
        let task = self.all.iter_mut().find(|it| it.id == id);
        let task = task.ok_or_else(|| no_task(id))?;
        if task.state != TaskState::Running {
            let message = format!("task {id} is {} already", task.state.word());
            return Err(Refusal::new(Code::Invalid, message, "weirctl task list"));
        }
        (task.state, task.ended) = (TaskState::Cancelled, Some(now));
        Ok(task)
    }

    /// A task by its number.
    ///
    /// # Errors
    /// There is none, or it ended long ago.
    pub fn get(&self, id: u64) -> Result<&Task, Refusal> {
        self.all.iter().find(|it| it.id == id).ok_or_else(|| no_task(id))
    }

    /// Every task that is kept, the oldest first.
    pub fn iter(&self) -> impl Iterator<Item = &Task> {
        self.all.iter()
    }

    /// Those that have not ended.
    pub fn running(&self) -> impl Iterator<Item = &Task> {
        self.all.iter().filter(|it| it.state == TaskState::Running)
    }

    /// How many have not ended, in the order of [`TaskKind::ALL`].
    pub fn running_by_kind(&self) -> [usize; TaskKind::ALL.len()] {
        let mut counts = [0; TaskKind::ALL.len()];
        for (kind, count) in TaskKind::ALL.iter().zip(&mut counts) {
            *count = self.running().filter(|it| it.kind() == *kind).count();
        }
        counts
    }

    /// Returns the orders that are due now; called some times a second. One that cannot be sent is
    /// given back to [`Tasks::not_sent`].
    pub fn step(&mut self, now: Now, figures: &impl Figures) -> Vec<DueOrder> {
        // After a standstill nothing is made up for.
        let spent = self.looked.replace(now).map_or(Duration::ZERO, |looked| now - looked);
        let spent = spent.min(Duration::from_secs(1));
        let running = self.all.iter_mut().filter(|it| it.state == TaskState::Running);
        let due = running.flat_map(|task| task.step(now, spent, figures)).collect();
        let ended = self.all.iter().filter(|it| it.state != TaskState::Running).count();
        let mut surplus = ended.saturating_sub(ENDED_MAX);
        self.all.retain(|it| {
            let goes = it.state != TaskState::Running && surplus > 0;
            surplus -= usize::from(goes);
            !goes
        });
        due
    }

    /// An order that was due could not be handed over: it is due again.
    pub fn not_sent(&mut self, due: &DueOrder) {
        let Some(task) = self.all.iter_mut().find(|it| it.id == due.task) else { return };
        match (&mut task.work, &due.sessions) {
            (Work::Kill { list, .. }, _) => task.credit.give_back(list.not_sent(due.shard)),
            (_, DueSessions::Some { of, count }) => task.not_shed(due.shard, *of, *count),
            (Work::Drain { .. } | Work::Rebalance { .. }, DueSessions::Named(_)) => {}
        }
    }

    /// A shard has carried out this task's oldest order, and ended `killed` sessions.
    pub fn killed(&mut self, id: u64, shard: ShardId, killed: u64) {
        let task = self.all.iter_mut().find(|it| it.id == id);
        if let Some(Task { work: Work::Kill { list, .. }, .. }) = task {
            list.answered(shard, killed);
        }
    }

    /// A shard has ended: its sessions are over.
    pub fn shard_ended(&mut self, shard: ShardId) {
        for task in &mut self.all {
            if let Work::Kill { list, .. } = &mut task.work {
                list.shard_ended(shard);
            }
        }
    }
}

impl Work {
    fn kind(&self) -> TaskKind {
        match self {
            Work::Drain { kind, .. } => *kind,
            Work::Rebalance { .. } => TaskKind::PoolRebalance,
            Work::Kill { .. } => TaskKind::SessionKill,
        }
    }

    /// True if one takes the place of the other, where their subject is the same.
    fn is_twin(&self, other: &Work) -> bool {
        match (self, other) {
            (Work::Kill { list, .. }, Work::Kill { list: other, .. }) => list.is_twin(other),
            _ => self.kind() == other.kind(),
        }
    }
}

impl Task {
    pub fn kind(&self) -> TaskKind {
        self.work.kind()
    }

    /// How it stands.
    pub fn row(&self, now: Now) -> TaskRow {
        let left = self.total - self.done;
        let eta_s = match (&self.work, self.state) {
            (_, TaskState::Done | TaskState::Cancelled) => None,
            (Work::Drain { over, .. }, TaskState::Running) => {
                Some((self.since + *over - now).as_secs_f64())
            }
            (Work::Rebalance { per_s, .. } | Work::Kill { per_s, .. }, TaskState::Running) => {
                Some(Duration::from_secs(left.div_ceil(u64::from(*per_s))).as_secs_f64())
            }
        };
        TaskRow {
            id: self.id,
            kind: self.kind(),
            subject: self.subject.clone(),
            since_s: (now - self.since).as_secs_f64(),
            done: self.done,
            total: self.total,
            eta_s,
            state: self.state,
        }
    }

    /// Takes in the first figures.
    fn measure(&mut self, figures: &impl Figures) {
        if let Work::Rebalance { pool, .. } = self.work {
            let members = figures.members(pool).into_iter();
            let held = members.map(|(id, _)| sum(&figures.held(SessionsOf::Backend(id))));
            self.sessions = held.sum();
        }
        let shares = self.shares(figures);
        self.total = match &self.work {
            Work::Kill { list, .. } => list.left(),
            _ => shares.iter().map(|it| it.count).sum(),
        };
    }

    fn step(&mut self, now: Now, spent: Duration, figures: &impl Figures) -> Vec<DueOrder> {
        let spent = spent.min(now - self.since);
        if let Work::Kill { .. } = self.work {
            return self.kill(now, spent, figures);
        }
        self.flights.retain(|it| it.is_out(figures.boxes(it.shard)));
        let shares = self.shares(figures);
        let left: u64 = shares.iter().map(|it| it.count).sum();
        let (is_over, due) = match &self.work {
            Work::Drain { of, over, .. } => {
                let sessions: u64 = of.iter().map(|of| sum(&figures.held(*of))).sum();
                self.total = self.total.max(sessions);
                self.done = self.total - sessions;
                let rest = self.since + *over - now;
                let due = if rest.is_zero() {
                    left
                } else {
                    // What ends by itself makes it slower, and nothing makes it faster.
                    let even = Credit::earned(self.total, *over, spent);
                    self.credit.earn(even.min(Credit::earned(left, rest.max(spent), spent)))
                };
                (sessions == 0, due)
            }
            Work::Rebalance { per_s, .. } => {
                self.total = self.done + left;
                let earned = Credit::earned(u64::from(*per_s), Duration::from_secs(1), spent);
                (left == 0 && self.flights.is_empty(), self.credit.earn(earned))
            }
            Work::Kill { .. } => return Vec::new(), // it has no shares
        };
        if is_over && now - self.since >= SETTLED {
            (self.state, self.ended) = (TaskState::Done, Some(now));
        }
        self.order(due.min(left), &shares, figures)
    }

    /// Names the next sessions of a kill. Those that have ended by themselves are no part of it.
    fn kill(&mut self, now: Now, spent: Duration, figures: &impl Figures) -> Vec<DueOrder> {
        let Work::Kill { list, per_s } = &mut self.work else { return Vec::new() };
        (self.done, self.total) = (list.killed(), list.killed() + list.left());
        if list.left() == 0 {
            (self.state, self.ended) = (TaskState::Done, Some(now));
            return Vec::new();
        }
        let due = self.credit.earn(Credit::earned((*per_s).into(), Duration::from_secs(1), spent));
        let task = self.id;
        let mut orders = Vec::new();
        for (shard, named) in list.take(due, |shard| figures.takes(shard)) {
            self.credit.spend(named.only.as_ref().map_or(0, |it| it.len() as u64));
            orders.push(DueOrder { task, shard, sessions: DueSessions::Named(named) });
        }
        orders
    }

    /// A share of a shard could not be ordered.
    fn not_shed(&mut self, shard: ShardId, of: SessionsOf, count: u32) {
        let count = u64::from(count);
        let same = |it: &Flight| (it.shard, it.of, it.count) == (shard, of, count);
        if let Some(at) = self.flights.iter().rposition(same) {
            self.flights.remove(at);
            self.credit.give_back(count);
            if matches!(self.work, Work::Rebalance { .. }) {
                self.done -= count;
            }
        }
    }

    /// Divides what is due over backends and shards by what they hold.
    fn order(&mut self, due: u64, shares: &[Share], figures: &impl Figures) -> Vec<DueOrder> {
        self.credit.spend(due);
        let counts: Vec<u64> = shares.iter().map(|it| it.count).collect();
        let mut orders = Vec::new();
        for (share, count) in shares.iter().zip(apportion(due, &counts)) {
            for (shard, count) in (0..).map(ShardId).zip(apportion(count, &share.open)) {
                let count = count.min(u64::from(SHED_MAX));
                let Ok(whole) = u32::try_from(count) else { continue };
                if count > 0 {
                    let (of, asked) = (share.of, figures.boxes(shard).0);
                    self.flights.push(Flight { shard, of, count, asked });
                    let sessions = DueSessions::Some { of, count: whole };
                    orders.push(DueOrder { task: self.id, shard, sessions });
                    if matches!(self.work, Work::Rebalance { .. }) {
                        self.done += count;
                    }
                }
            }
        }
        orders
    }

    /// The sessions that may be ended now, without those on their way to their end.
    fn shares(&self, figures: &impl Figures) -> Vec<Share> {
        let mut flying = Flying::new();
        for it in &self.flights {
            *flying.entry((it.of, it.shard)).or_default() += it.count;
        }
        match &self.work {
            Work::Drain { of, .. } => {
                let share = |of: &SessionsOf| {
                    let (_, open) = open(*of, figures, &flying);
                    Share { of: *of, count: sum(&open), open }
                };
                of.iter().map(share).collect()
            }
            Work::Rebalance { pool, spread, .. } => {
                let members = figures.members(*pool);
                let weights: u64 = members.iter().map(|(_, weight)| u64::from(*weight)).sum();
                let share = |(id, weight): &(BackendId, u16)| {
                    let of = SessionsOf::Backend(*id);
                    let (left, open) = open(of, figures, &flying);
                    let most = fair_share(self.sessions, (*weight, weights), *spread);
                    Share { of, count: left.saturating_sub(most).min(sum(&open)), open }
                };
                members.iter().map(share).collect()
            }
            Work::Kill { .. } => Vec::new(),
        }
    }
}

/// Sessions on their way to their end.
type Flying = BTreeMap<(SessionsOf, ShardId), u64>;

/// How many of these sessions are left if what is on its way has ended: on all shards, and on each
/// that takes orders now.
fn open(of: SessionsOf, figures: &impl Figures, flying: &Flying) -> (u64, Vec<u64>) {
    let shards = (0..).map(ShardId).zip(figures.held(of));
    let left = shards.map(|(shard, held)| {
        let flying = if held == 0 { None } else { flying.get(&(of, shard)) };
        (shard, held.saturating_sub(flying.copied().unwrap_or_default()))
    });
    let left: Vec<(ShardId, u64)> = left.collect();
    let open = left.iter().map(|(shard, left)| if figures.takes(*shard) { *left } else { 0 });
    (left.iter().map(|(_, left)| left).sum(), open.collect())
}

fn sum(counts: &[u64]) -> u64 {
    counts.iter().sum()
}

fn no_task(id: u64) -> Refusal {
    Refusal::new(Code::NotFound, format!("there is no task {id}"), "weirctl task list")
}
