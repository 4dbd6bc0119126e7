//! The health of every backend of the snapshot: who is checked when, what came of it, and what
//! changed.
//!
//! [`Health`] is the state and reads no clock; the prober of the daemon makes the checks, once for
//! all shards.

mod adopt;
mod agents;
pub mod dialogue;
mod group;
mod legacy;
mod plan;
mod priorities;
pub mod reply;
mod schedule;
mod sharing;
mod watched;

use std::collections::{BTreeMap, BTreeSet};
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use weir_core::base::clock::Now;
use weir_core::base::prng::Prng;
use weir_proto::answer::{CheckResult, CheckRow};
use weir_proto::ids::{BackendId, PoolId};
use weir_proto::order::BackendHealth;
use weir_proto::reason::ConnectFault;
use weir_proto::snapshot::{Pool, Wildcards};
use weir_proto::spec::{Force, HealthKind, HealthSpec, Span};

pub(crate) use adopt::Scope;
use agents::Agents;
pub use agents::{AgentCounts, AgentNews, AgentStanding};
use group::Group;
pub(crate) use legacy::{CheckRest, HealthLegacy, WatchedLegacy};
pub use plan::{CheckOutcome, CheckPlan, Talk, TalkStep};
use priorities::Priorities;
use schedule::{CheckTarget, Schedule};
use sharing::SharedChecks;
use watched::{Due, Running, WatchedBackend};

/// A backend came up or went down.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Transition {
    pub pool: String,
    pub backend: String,
    pub id: BackendId,
    pub up: bool,
    /// `ok`, or what went wrong, as in [`CheckRow::result`].
    pub reason: String,
}

/// What the checks of one backend have come to, since it is there.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct CheckCounters {
    pub ok: u64,
    pub fail: u64,
    /// Checks that this host could not make; neither good nor bad.
    pub local: u64,
    pub transitions: u64,
    /// Of the `ok` and `fail` checks, in nanoseconds.
    pub duration_sum_ns: u64,
}

/// The health of every backend of the snapshot.
pub struct Health {
    watched: BTreeMap<BackendId, WatchedBackend>,
    groups: BTreeMap<PoolId, Group>,
    /// Those of the watched that are not up.
    down: BTreeSet<BackendId>,
    /// Those whose health an operator has forced.
    forced: BTreeSet<BackendId>,
    /// Those of the groups with so few members up that their health is ignored.
    panicking: BTreeSet<PoolId>,
    priorities: Priorities,
    /// Of the newest snapshot.
    wildcards: Wildcards,
    /// Pools as they were: whom they no longer have is to be left alone.
    swept: Vec<Arc<Pool>>,
    /// Which check begins when.
    schedule: Schedule,
    /// Who shares checks with whom.
    shared: SharedChecks,
    agents: Agents,
    /// When holds end of backends that are not checked.
    holds: BTreeSet<(Now, BackendId)>,
    /// Transitions that nobody has been told of yet.
    untold: Vec<Transition>,
    /// The state of the process before this one, until the first snapshot.
    inherited: BTreeMap<BackendId, WatchedLegacy>,
    prng: Prng,
}

/// A check that is to be made now.
#[derive(Debug)]
pub struct Check {
    id: BackendId,
    pool: PoolId,
    is_agent: bool,
    pub plan: Rc<CheckPlan>,
}

impl Health {
    #[cfg(test)]
    fn new() -> Health {
        Health::seeded(1)
    }

    /// Nothing is watched yet. `seed` only spreads checks over time: any will do.
    #[must_use]
    pub fn seeded(seed: u64) -> Health {
        Health {
            watched: BTreeMap::new(),
            groups: BTreeMap::new(),
            down: BTreeSet::new(),
            forced: BTreeSet::new(),
            panicking: BTreeSet::new(),
            priorities: Priorities::default(),
            wildcards: Wildcards::default(),
            swept: Vec::new(),
            schedule: Schedule::new(),
            shared: SharedChecks::default(),
            agents: Agents::default(),
            holds: BTreeSet::new(),
            untold: Vec::new(),
            inherited: BTreeMap::new(),
            prng: Prng::new(seed),
        }
    }

    /// At most `a_second` checks begin in any second. `None`: as many as are due.
    pub fn limit_rate(&mut self, a_second: Option<u32>) {
        self.schedule.limit_rate(a_second);
    }

    /// Checks a second that all intervals ask for, and those that may be made, if that is fewer.
    pub fn excess(&self) -> Option<(f64, u32)> {
        let wanted = self.shared.per_second() + self.agents.shared.per_second();
        let most = self.schedule.rate()?;
        (wanted > f64::from(most)).then_some((wanted, most))
    }

    /// The time in which a backend that begins to fail its checks is down at the latest, if its
    /// checks are made when they may be. `None`: it is not checked.
    pub fn detection(&self, health: &HealthSpec) -> Option<Duration> {
        if health.kind == HealthKind::None {
            return None;
        }
        let stretch = self.excess().map_or(1.0, |(wanted, most)| wanted / f64::from(most));
        // Each is late by a tenth at most.
        let longest = |span: Span| Duration::from_millis(span.millis).mul_f64(1.1 * stretch);
        let fast = longest(health.fast_interval.unwrap_or(health.interval));
        let timeout = Duration::from_millis(health.timeout.millis);
        Some(longest(health.interval) + fast * (health.fall.saturating_sub(1)) + timeout)
    }

    /// Checks may have N of this process's descriptors: one each while they are in flight.
    pub fn bound_checks(&mut self, descriptors: usize) {
        self.schedule.bound(descriptors);
    }

    /// A shard has ejected `backend`. If nothing came of it (the backend was down already, is gone,
    /// or this host was at fault), the shard still wants to hear [`Health::standing`].
    pub fn on_ejected(
        &mut self,
        backend: BackendId,
        fault: ConnectFault,
        now: Now,
    ) -> Vec<Transition> {
        let Some(watched) = self.watched.get(&backend) else { return Vec::new() };
        // One that an operator has forced, or its agent calls down, stays what it is.
        if fault.is_local() || watched.is_overruled() {
            return Vec::new();
        }
        let pool = watched.pool_id;
        let (up, members) = self.members(pool);
        // Shards eject at the same time without knowing of each other: together no more than half.
        let is_one_too_many = watched.is_member && (members - up + 1) * 2 > members;
        if watched.hysteresis.is_up() && is_one_too_many {
            let WatchedBackend { pool, name, .. } = watched;
            tracing::warn!("backend {pool}/{name} is not ejected: too few are left");
            return Vec::new();
        }
        let transition = self.change(backend, |watched| {
            let checked = watched.is_checked();
            watched.hysteresis.on_ejected(checked, now)?;
            watched.result = CheckResult::Failed(fault.label().to_owned());
            Some(watched.transition(fault.label(), now))
        });
        self.relieve(pool, now);
        transition.into_iter().collect()
    }

    /// The operator says that the backend is ready: its hold ends, and how often it went down is
    /// forgotten. The transition, if it comes up by that.
    pub fn end_hold(&mut self, id: BackendId, now: Now) -> Option<Transition> {
        self.change(id, |watched| {
            let checked = watched.is_checked();
            watched.hysteresis.forgive(watched.rules(), checked, now)?;
            Some(watched.transition("the hold was ended", now))
        })
    }

    /// Brings up whom a hold, or the wait for a first check, keeps down where the pool has nobody
    /// else: see [`Group::needs_more`].
    fn relieve(&mut self, pool: PoolId, now: Now) {
        let Some(group) = self.groups.get(&pool).filter(|group| group.needs_more()) else { return };
        let alone = group.is_empty();
        let members: Vec<BackendId> = group.pool.backends.iter().map(|it| it.id).collect();
        for id in members {
            let transition = self.change(id, |watched| {
                let (checked, rules) = (watched.is_checked(), watched.rules());
                if !watched.is_member || watched.is_overruled() {
                    return None;
                }
                let is_good = checked && !watched.hysteresis.is_pending();
                watched.hysteresis.relieve(rules, checked, alone, now)?;
                let reason = if is_good { "ok" } else { "nobody else is up" };
                Some(watched.transition(reason, now))
            });
            self.untold.extend(transition);
        }
    }

    /// Changes one backend and keeps what is known of its pool, and when its hold ends.
    fn change(
        &mut self,
        id: BackendId,
        change: impl FnOnce(&mut WatchedBackend) -> Option<Transition>,
    ) -> Option<Transition> {
        let mut watched = self.watched.remove(&id)?;
        let group = self.groups.get_mut(&watched.pool_id).expect("its pool is counted");
        group.subtract(&watched);
        let was = watched.health();
        let (was_up, was_called) = (watched.is_up(), watched.is_called_down);
        let before = (watched.since, watched.counters.transitions);
        let ramps_since = watched.ramps_since;
        let mut transition = change(&mut watched);
        if (watched.is_overruled() || was_called) && watched.is_up() == was_up {
            // Checks go on and say what they say; it counts for nothing.
            (watched.since, watched.counters.transitions) = before;
            watched.ramps_since = ramps_since;
            transition = None;
        }
        group.add(&watched);
        if watched.health() != was {
            self.share_out(watched.pool_id);
            if transition.is_none() {
                self.restate(watched.pool_id); // unproven is no longer that, or again
            }
        }
        let group = &self.groups[&watched.pool_id];
        let panics = group.is_in_panic() && !group.is_gone;
        set_member(&mut self.panicking, watched.pool_id, panics);
        if !watched.is_checked() {
            let end = watched.hysteresis.held_until().map(Due::EndOfHold);
            self.set_due(&mut watched, end);
        }
        self.keep(watched);
        transition
    }

    /// Puts back what was taken out of `watched`.
    fn keep(&mut self, watched: WatchedBackend) {
        set_member(&mut self.down, watched.id, !watched.is_up());
        set_member(&mut self.forced, watched.id, watched.force.is_some());
        self.watched.insert(watched.id, watched);
    }

    /// Every backend that is not up.
    pub fn down(&self) -> impl Iterator<Item = BackendId> {
        self.down.iter().copied()
    }

    /// Every backend whose health an operator has forced, with that, and whether its own is good.
    pub fn forced(&self) -> impl Iterator<Item = (BackendId, Force, bool)> {
        let forced = self.forced.iter().filter_map(|id| self.watched.get(id));
        forced.filter_map(|it| Some((it.id, it.force?, it.hysteresis.is_up())))
    }

    /// True if the backend is about to be left alone: the current version does not have it.
    pub(crate) fn leaves(&self, id: BackendId) -> bool {
        let Some(watched) = self.watched.get(&id) else { return true };
        watched.leaves || self.groups.get(&watched.pool_id).is_none_or(|group| group.is_gone)
    }

    /// Members of a pool that are up, and all that count.
    pub fn members(&self, pool: PoolId) -> (usize, usize) {
        self.groups.get(&pool).map_or((0, 0), Group::members)
    }

    /// True while so few backends of the pool are up that their health is ignored.
    pub fn is_in_panic(&self, pool: PoolId) -> bool {
        self.panicking.contains(&pool)
    }

    /// Every pool of which [`Health::is_in_panic`] is true, by id.
    pub fn panicking(&self) -> &BTreeSet<PoolId> {
        &self.panicking
    }

    /// Whether the backend can take sessions as far as its health goes. An unknown one can.
    pub fn is_up(&self, id: BackendId) -> bool {
        self.watched.get(&id).is_none_or(WatchedBackend::is_up)
    }

    /// What shards are told of the backend. An unknown one is up.
    pub fn standing(&self, id: BackendId) -> BackendHealth {
        if self.is_aside(id) {
            return BackendHealth::Aside;
        }
        self.watched.get(&id).map_or(BackendHealth::Up, WatchedBackend::health)
    }

    /// How long the backend's hold lasts still.
    pub fn hold_left(&self, id: BackendId, now: Now) -> Option<Duration> {
        let hysteresis = &self.watched.get(&id).filter(|it| it.force.is_none())?.hysteresis;
        let until = hysteresis.held_until().filter(|until| now < *until && !hysteresis.is_up())?;
        Some(Duration::from_nanos(until.nanos - now.nanos))
    }

    /// What people see of the backend's checks.
    pub fn row(&self, id: BackendId, now: Now) -> CheckRow {
        let Some(watched) = self.watched.get(&id) else {
            return CheckRow { result: CheckResult::Off, since_s: 0.0, hold_s: 0.0 };
        };
        let since = now - watched.since;
        let hold = self.hold_left(id, now);
        let is_good = watched.result == CheckResult::Ok && hold.is_some();
        let result = if is_good { CheckResult::Held } else { watched.result.clone() };
        let hold_s = hold.unwrap_or_default().as_secs_f64();
        CheckRow { result, since_s: since.as_secs_f64(), hold_s }
    }

    /// The counters of the backend's checks.
    pub fn counters(&self, id: BackendId) -> Option<CheckCounters> {
        self.watched.get(&id).map(|watched| watched.counters)
    }

    /// True if something changed that no shard has been told of yet.
    #[must_use]
    pub fn has_untold(&self) -> bool {
        !self.untold.is_empty()
    }

    /// A backend that is checked, and no check of it is due: it waits for the end of one, or there
    /// is a bug. For the simulator, where checks take no time.
    #[must_use]
    pub fn without_due(&self) -> Option<BackendId> {
        let mut checked = self.watched.values().filter(|watched| watched.is_checked());
        checked.find(|watched| watched.due.is_none()).map(|watched| watched.id)
    }

    /// Takes the transitions that nobody has been told of.
    pub fn take_untold(&mut self) -> Vec<Transition> {
        std::mem::take(&mut self.untold)
    }

    /// The checks that are due and have a place; ends the holds that are over.
    pub fn take_due(&mut self, now: Now) -> Vec<Check> {
        while let Some(&(_, id)) = self.holds.first().filter(|(at, _)| *at <= now) {
            let transition = self.change(id, |watched| {
                watched.hysteresis.on_time(now)?;
                watched.result = CheckResult::Off;
                Some(watched.transition("tried again", now))
            });
            self.untold.extend(transition);
        }
        let mut checks = Vec::new();
        while let Some(CheckTarget { backend: id, is_agent }) = self.schedule.take(now) {
            if is_agent {
                checks.push(self.begin_agent(id, now));
                continue;
            }
            let watched = self.watched.get_mut(&id).expect("only what is watched is due");
            let plan = watched.plan.clone().expect("only what is checked is due");
            watched.due = None;
            watched.running = Some(Running::new(id, now));
            let pool = watched.pool_id;
            for other in self.shared.begin(&plan, id) {
                self.wait_for(other, id, now);
            }
            checks.push(Check { id, pool, is_agent, plan });
        }
        checks
    }

    /// The check that `leader` begins is one of `id`, too.
    fn wait_for(&mut self, id: BackendId, leader: BackendId, now: Now) {
        let Some(mut watched) = self.watched.remove(&id) else { return };
        if watched.running.is_none() {
            self.set_due(&mut watched, None);
            watched.running = Some(Running::new(leader, now));
        }
        self.watched.insert(id, watched);
    }

    /// When [`Health::take_due`] has something to do; `None` if only a call can change that.
    pub fn next_due(&self) -> Option<Now> {
        let hold = self.holds.first().map(|(at, _)| *at);
        self.schedule.next_due().into_iter().chain(hold).min()
    }

    /// A check that began at `started` has ended.
    pub fn on_checked(&mut self, check: &Check, outcome: CheckOutcome, started: Now, now: Now) {
        self.schedule.give_back(check.pool);
        if check.is_agent {
            return self.on_agent_asked(check, &outcome, now);
        }
        let mut ended = Vec::new();
        let mut interval = Duration::MAX;
        let mut pools = BTreeSet::new();
        for id in self.shared.end(&check.plan, check.id).into_iter().chain([check.id]) {
            let Some(watched) = self.watched.get_mut(&id) else { continue };
            let is_its = |running: &mut Running| running.leader == check.id;
            let Some(running) = watched.running.take_if(is_its) else { continue };
            ended.push((id, running));
            // A result of a plan that the backend no longer has is discarded.
            let is_current = watched.plan.as_ref().is_some_and(|plan| **plan == *check.plan);
            if running.next.is_some() || !is_current {
                continue;
            }
            pools.insert(watched.pool_id);
            let transition = self.change(id, |watched| {
                let reason = watched.on_outcome(outcome.clone(), started, now)?;
                Some(watched.transition(&reason, now))
            });
            self.untold.extend(transition);
            interval = self.watched.get(&id).map_or(interval, |it| it.interval().min(interval));
        }
        let interval = jittered(interval, &mut self.prng);
        for (id, running) in ended {
            let Some(mut watched) = self.watched.remove(&id) else { continue };
            if watched.is_checked() {
                let next = running.next.unwrap_or_else(|| later(running.started, interval));
                // It may have taken longer than the interval.
                self.set_next(&mut watched, next.max(now), now);
            }
            self.watched.insert(id, watched);
        }
        pools.into_iter().for_each(|pool| self.relieve(pool, now));
    }

    /// The next check is due at `at`, and not before the end of one that others have begun.
    fn set_next(&mut self, watched: &mut WatchedBackend, at: Now, now: Now) {
        let leader = watched.plan.as_ref().and_then(|plan| self.shared.leader(plan));
        let waits = leader.map(|leader| Running::new(leader, now));
        watched.running = watched.running.or(waits);
        self.set_due(watched, Some(Due::Check(at)));
    }

    /// Says when something is to be done about `watched`.
    fn set_due(&mut self, watched: &mut WatchedBackend, due: Option<Due>) {
        let WatchedBackend { id, pool_id, .. } = *watched;
        match watched.due.take() {
            Some(Due::Check(at)) => self.schedule.set((pool_id, id), Some(at), None),
            Some(Due::EndOfHold(at)) => drop(self.holds.remove(&(at, id))),
            None => {}
        }
        match (due, &mut watched.running) {
            // Never two at once: the end of this one makes the next one due.
            (Some(Due::Check(at)), Some(running)) => running.next = Some(at),
            (Some(Due::Check(at)), None) => {
                self.schedule.set((pool_id, id), None, Some(at));
                watched.due = due;
            }
            (Some(Due::EndOfHold(at)), _) => {
                self.holds.insert((at, id));
                watched.due = due;
            }
            (None, _) => {}
        }
    }
}

/// `interval` ±10 %, in nanoseconds.
fn jittered(interval: Duration, prng: &mut Prng) -> u64 {
    let interval = u64::try_from(interval.as_nanos()).unwrap_or(u64::MAX / 2);
    let tenth = interval / 10;
    interval - tenth + prng.next_u64() % (2 * tenth + 1)
}

fn set_member<T: Ord>(set: &mut BTreeSet<T>, item: T, is_member: bool) {
    if is_member {
        set.insert(item);
    } else {
        set.remove(&item);
    }
}

fn later(now: Now, nanos: u64) -> Now {
    Now { nanos: now.nanos.saturating_add(nanos) }
}

#[cfg(test)]
mod tests;
