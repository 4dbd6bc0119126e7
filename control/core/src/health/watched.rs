//! One backend: how it is checked and what came of it.

use std::rc::Rc;
use std::time::Duration;

use weir_core::base::clock::Now;
use weir_core::health::{Hysteresis, Rules};
use weir_proto::answer::CheckResult;
use weir_proto::ids::{BackendId, PoolId};
use weir_proto::order::BackendHealth;
use weir_proto::snapshot::{Backend, Pool};
use weir_proto::spec::{Admin, Force, HealthKind, HealthSpec};

use super::plan::{CheckOutcome, CheckPlan, Intervals, sources};
use super::{CheckCounters, Transition};

/// One backend.
pub(super) struct WatchedBackend {
    pub(super) id: BackendId,
    pub(super) pool_id: PoolId,
    pub(super) pool: String,
    pub(super) name: String,
    spec: HealthSpec,
    /// It gets sessions when it is up.
    pub(super) is_member: bool,
    pub(super) weight: u16,
    /// Of the group that it belongs to.
    pub(super) priority: u8,
    /// Its health by hand.
    pub(super) force: Option<Force>,
    /// Its agent says that it is not up.
    pub(super) is_called_down: bool,
    /// The next version, or the current one, does not have it any more.
    pub(super) leaves: bool,
    /// What to check; `None` if it is not checked.
    pub(super) plan: Option<Rc<CheckPlan>>,
    pub(super) hysteresis: Hysteresis,
    pub(super) result: CheckResult,
    /// When it last came up or went down; at first, when it came to be.
    pub(super) since: Now,
    /// When it came up, or began to get sessions beside others: its share grows from then on.
    pub(super) ramps_since: Option<Now>,
    pub(super) due: Option<Due>,
    /// A check is in flight, for it alone or for all of its plan.
    pub(super) running: Option<Running>,
    pub(super) counters: CheckCounters,
}

/// A check in flight.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Running {
    /// The backend for which it was begun.
    pub(super) leader: BackendId,
    pub(super) started: Now,
    /// Its plan is another one since: when the next check is due. This one counts no more.
    pub(super) next: Option<Now>,
}

impl Running {
    pub(super) fn new(leader: BackendId, started: Now) -> Running {
        Running { leader, started, next: None }
    }
}

/// What is to be done about a backend, and when.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Due {
    Check(Now),
    /// It is not checked: only time brings it back.
    EndOfHold(Now),
}

/// What has to be done about a backend after a new snapshot.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Follow {
    Nothing,
    /// Its checks begin, or begin again, by this plan.
    Check(CheckPlan),
    /// It is not checked.
    Leave,
}

impl WatchedBackend {
    pub(super) fn new(pool: &Pool, backend: &Backend, now: Now) -> WatchedBackend {
        WatchedBackend {
            id: backend.id,
            pool_id: pool.id,
            pool: pool.name.to_string(),
            name: backend.name.to_string(),
            spec: pool.health.clone(),
            is_member: false,
            weight: backend.weight,
            priority: backend.priority,
            force: None,
            is_called_down: false,
            leaves: false,
            plan: None,
            hysteresis: Hysteresis::default(),
            result: CheckResult::Off,
            since: now,
            ramps_since: None,
            due: None,
            running: None,
            counters: CheckCounters::default(),
        }
    }

    pub(super) fn rules(&self) -> Rules {
        Rules { rise: self.spec.rise, fall: self.spec.fall }
    }

    pub(super) fn is_checked(&self) -> bool {
        self.plan.is_some()
    }

    /// Whether it counts as up.
    pub(super) fn is_up(&self) -> bool {
        self.health() == BackendHealth::Up
    }

    /// Whether it counts as up, and there is no sign against it.
    pub(super) fn is_sound(&self) -> bool {
        self.is_up() && (self.force.is_some() || self.hysteresis.is_sound())
    }

    /// Its health, whichever group of its pool is in use.
    pub(super) fn health(&self) -> BackendHealth {
        match self.force {
            Some(Force::Up) => return BackendHealth::Up,
            Some(Force::Down) => return BackendHealth::Down,
            None if self.is_called_down => return BackendHealth::Down,
            None => {}
        }
        match (self.hysteresis.is_up(), self.hysteresis.is_unproven()) {
            (true, _) => BackendHealth::Up,
            (false, true) => BackendHealth::Unproven,
            (false, false) => BackendHealth::Down,
        }
    }

    /// Checks and connects do not decide: its health is given by hand, or its agent calls it down.
    pub(super) fn is_overruled(&self) -> bool {
        self.force.is_some() || self.is_called_down
    }

    /// It is down, and not for failing checks alone.
    pub(super) fn is_kept(&self) -> bool {
        let unjudged = self.hysteresis.is_unproven() && self.hysteresis.is_pending();
        !self.is_overruled() && (self.hysteresis.held_until().is_some() || unjudged)
    }

    /// Takes over what the snapshot says. `beside`: others of the pool serve already, so that one
    /// that nobody has checked waits for its first good check. `may_be_weir`: a connect to it may
    /// arrive at a listener of weir's own.
    pub(super) fn follow(
        &mut self,
        pool: &Pool,
        backend: &Backend,
        (beside, may_be_weir): (bool, bool),
        now: Now,
    ) -> Follow {
        let checked = pool.health.kind != HealthKind::None && backend.admin != Admin::Maint;
        let knows = |plan: &Rc<CheckPlan>| {
            plan.may_be_weir == may_be_weir
                && plan.header == pool.spec.proxy_protocol
                && sources(&pool.spec, backend.address).eq(plan.sources.iter().copied())
        };
        let same = self.spec == pool.health
            && self.is_checked() == checked
            && self.plan.as_ref().is_none_or(knows);
        // Checks that begin for the whole pool doubt nobody who serves.
        let kind_changed = self.spec.kind == HealthKind::None && !same;
        self.is_member = backend.is_member();
        (self.weight, self.priority) = (backend.weight, backend.priority);
        self.force = backend.force;
        self.spec.clone_from(&pool.health);
        if same && checked {
            return Follow::Nothing;
        }
        if !checked {
            self.plan = None;
            // In maint the last word stands, until checks begin again.
            if pool.health.kind == HealthKind::None {
                self.hysteresis.on_checks_end(now);
            }
            if self.hysteresis.held_until().is_none() {
                self.result = CheckResult::Off;
            }
            return Follow::Leave;
        }
        if self.plan.is_none() {
            self.hysteresis.on_checks_begin(beside && !kind_changed);
            self.result = CheckResult::Pending;
        }
        let header = pool.spec.proxy_protocol;
        let plan = CheckPlan::new(&pool.health, backend.address);
        let sources = sources(&pool.spec, backend.address).collect();
        Follow::Check(CheckPlan { may_be_weir, header, sources, ..plan })
    }

    /// From the start of the last check to the start of the next, as things are.
    pub(super) fn interval(&self) -> Duration {
        let Some(plan) = &self.plan else { return Duration::MAX };
        let Intervals { usual, fast, down } = plan.intervals;
        if self.hysteresis.is_changing(self.rules()) {
            fast
        } else if self.hysteresis.is_up() || self.result == CheckResult::Ok {
            usual
        } else {
            down
        }
    }

    /// Counts a check's outcome. The reason, if the backend came up or went down by it.
    pub(super) fn on_outcome(
        &mut self,
        outcome: CheckOutcome,
        started: Now,
        now: Now,
    ) -> Option<String> {
        let (good, result) = match outcome {
            CheckOutcome::Good => (true, CheckResult::Ok),
            CheckOutcome::Bad(why) => (false, CheckResult::Failed(why)),
            CheckOutcome::Said(_) => return None, // of an agent
            CheckOutcome::Local(why) => {
                self.counters.local += 1;
                self.result = CheckResult::Failed(format!("local: {why}"));
                return None;
            }
        };
        let count = if good { &mut self.counters.ok } else { &mut self.counters.fail };
        *count += 1;
        let elapsed = now.nanos.saturating_sub(started.nanos);
        self.counters.duration_sum_ns = self.counters.duration_sum_ns.saturating_add(elapsed);
        self.result.clone_from(&result);
        self.hysteresis.on_check(good, started, self.rules(), now).map(|_| result.into())
    }

    pub(super) fn transition(&mut self, reason: &str, now: Now) -> Transition {
        self.since = now;
        self.ramps_since = self.is_up().then_some(now);
        self.counters.transitions += 1;
        Transition {
            pool: self.pool.clone(),
            backend: self.name.clone(),
            id: self.id,
            up: self.is_up(),
            reason: reason.to_owned(),
        }
    }
}
