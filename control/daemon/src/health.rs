//! The health of every backend of the snapshot: who is checked when, what came of it, and what
//! changed.
//!
//! [`Health`] is the state and reads no clock; [`prober()`] makes the checks, once for all shards.

mod check;
mod plan;
mod prober;
pub mod reply;

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use std::rc::Rc;
use std::task::Waker;
use std::time::Duration;

use weir_core::base::clock::Now;
use weir_core::base::prng::Prng;
use weir_core::health::{Hysteresis, Rules};
use weir_proto::answer::CheckRow;
use weir_proto::ids::BackendId;
use weir_proto::reason::ConnectFault;
use weir_proto::snapshot::{Backend, Pool, Snapshot, takes};
use weir_proto::spec::{Admin, HealthKind, HealthSpec};

use check::Outcome;
use plan::Plan;
pub(crate) use prober::prober;

/// A backend came up or went down.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Transition {
    pub pool: String,
    pub backend: String,
    pub id: BackendId,
    pub up: bool,
    /// `ok`, or what went wrong, as in [`CheckRow::result`].
    pub reason: String,
}

/// What the checks of one backend have come to, since it is there.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
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
    watched: BTreeMap<BackendId, Watched>,
    /// What is to be done when: a check, or the end of a hold.
    due: BTreeSet<(Now, BackendId)>,
    /// Transitions that nobody has been told of yet.
    untold: Vec<Transition>,
    prng: Prng,
    in_flight: usize,
    /// The prober's, to be woken when `due` or `untold` changed.
    waker: Option<Waker>,
}

/// One backend.
struct Watched {
    pool: String,
    name: String,
    spec: HealthSpec,
    /// It gets sessions when it is up.
    is_member: bool,
    /// What to check; `None` if it is not checked.
    plan: Option<Rc<Plan>>,
    hysteresis: Hysteresis,
    result: String,
    /// When it last came up or went down; at first, when it came to be.
    since: Now,
    /// When its entry in `due` is.
    due: Option<Now>,
    /// A check is on its way.
    running: bool,
    counters: CheckCounters,
}

/// A check that is to be made now.
struct Check {
    id: BackendId,
    plan: Rc<Plan>,
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
            due: BTreeSet::new(),
            untold: Vec::new(),
            prng: Prng::new(seed),
            in_flight: 0,
            waker: None,
        }
    }

    /// Watches the backends of `snapshot` and no others. What is known of a backend is carried
    /// over; a changed health spec begins its schedule again. A backend that comes up by this (its
    /// checks were switched off) is told by the prober.
    pub fn adopt(&mut self, snapshot: &Snapshot, now: Now) {
        let mut before = std::mem::take(&mut self.watched);
        let wildcards = snapshot.wildcard_binds();
        for (pool, backend) in snapshot.backends() {
            let mut watched =
                before.remove(&backend.id).unwrap_or_else(|| Watched::new(pool, backend, now));
            let was_up = watched.hysteresis.is_up();
            if watched.follow(pool, backend, takes(&wildcards, backend.address), now) {
                let at = match watched.plan {
                    // At once, but a thousand new ones not in the same millisecond.
                    Some(_) => Some(later(now, self.prng.next_u64() % spread_ns(snapshot))),
                    None => watched.hysteresis.held_until(),
                };
                watched.set_due(backend.id, at, &mut self.due);
            }
            if watched.hysteresis.is_up() != was_up {
                self.untold.push(watched.transition(backend.id, "not checked", now));
            }
            self.watched.insert(backend.id, watched);
        }
        for (id, mut gone) in before {
            gone.set_due(id, None, &mut self.due);
        }
        self.wake();
    }

    /// A shard has ejected `backend`. If nothing came of it (the backend was down already, is gone,
    /// or this host was at fault), the shard still wants to hear [`Health::is_up`].
    pub fn on_ejected(
        &mut self,
        backend: BackendId,
        fault: ConnectFault,
        now: Now,
    ) -> Vec<Transition> {
        let Some(watched) = self.watched.get_mut(&backend) else { return Vec::new() };
        if fault == ConnectFault::Local {
            return Vec::new();
        }
        let pool = watched.pool.clone();
        let (up, members) = self.members(&pool);
        let Some(watched) = self.watched.get_mut(&backend) else { return Vec::new() };
        // Shards eject at the same time without knowing of each other: together no more than half.
        let is_one_too_many = watched.is_member && (members - up + 1) * 2 > members;
        if watched.hysteresis.is_up() && is_one_too_many {
            tracing::warn!("backend {pool}/{} is not ejected: too few are left", watched.name);
            return Vec::new();
        }
        let checked = watched.plan.is_some();
        if watched.hysteresis.on_ejected(now).is_none() {
            return Vec::new();
        }
        watched.result = fault.label().to_owned();
        let transition = watched.transition(backend, fault.label(), now);
        if !checked {
            watched.set_due(backend, watched.hysteresis.held_until(), &mut self.due);
            self.wake();
        }
        vec![transition]
    }

    /// Backends of a pool that are up, and those that would get sessions if they were.
    fn members(&self, pool: &str) -> (usize, usize) {
        let members = self.watched.values().filter(|it| it.is_member && it.pool == pool);
        members.fold((0, 0), |(up, all), it| (up + usize::from(it.hysteresis.is_up()), all + 1))
    }

    /// Whether the backend can take sessions as far as its health goes. An unknown one can.
    pub fn is_up(&self, id: BackendId) -> bool {
        self.watched.get(&id).is_none_or(|watched| watched.hysteresis.is_up())
    }

    /// What people see of the backend's checks.
    pub fn row(&self, id: BackendId, now: Now) -> CheckRow {
        let Some(watched) = self.watched.get(&id) else {
            return CheckRow { result: "off".to_owned(), since_s: 0.0 };
        };
        let since = Duration::from_nanos(now.nanos.saturating_sub(watched.since.nanos));
        let is_held = watched.result == "ok" && !watched.hysteresis.is_up();
        let held = watched.hysteresis.held_until().is_some_and(|until| now < until);
        let result = if is_held && held { "held".to_owned() } else { watched.result.clone() };
        CheckRow { result, since_s: since.as_secs_f64() }
    }

    /// The counters of the backend's checks.
    pub fn counters(&self, id: BackendId) -> Option<CheckCounters> {
        self.watched.get(&id).map(|watched| watched.counters)
    }

    /// True if something changed that nobody has been told of yet. For the simulator.
    #[must_use]
    pub fn has_untold(&self) -> bool {
        !self.untold.is_empty()
    }

    /// Takes the transitions that nobody has been told of.
    fn take_untold(&mut self) -> Vec<Transition> {
        std::mem::take(&mut self.untold)
    }

    /// The checks that are due, at most as many as may be in flight; ends the holds that are over.
    fn take_due(&mut self, now: Now) -> Vec<Check> {
        let mut checks = Vec::new();
        while self.in_flight < IN_FLIGHT_MAX {
            let Some(&(at, id)) = self.due.first().filter(|(at, _)| *at <= now) else { break };
            self.due.remove(&(at, id));
            let Some(watched) = self.watched.get_mut(&id) else { continue };
            watched.due = None;
            let Some(plan) = watched.plan.clone() else {
                if watched.hysteresis.on_time(now).is_some() {
                    watched.result = "off".to_owned();
                    self.untold.push(watched.transition(id, "tried again", now));
                }
                continue;
            };
            if watched.running {
                continue; // Its end makes the next one due.
            }
            watched.running = true;
            self.in_flight += 1;
            let next = later(now, jittered(plan.interval, &mut self.prng));
            watched.set_due(id, Some(next), &mut self.due);
            checks.push(Check { id, plan });
        }
        checks
    }

    /// The prober of a world without sockets: makes every check that is due, at once. `probe` says
    /// whether the address takes connections. What changed.
    pub fn check_all(
        &mut self,
        now: Now,
        mut probe: impl FnMut(SocketAddr) -> bool,
    ) -> Vec<Transition> {
        for check in self.take_due(now) {
            let good = probe(check.plan.address);
            let outcome = if good { Outcome::Good } else { Outcome::Bad("refused".to_owned()) };
            self.on_checked(&check, outcome, now, now);
        }
        self.take_untold()
    }

    /// When [`Health::take_due`] has something to do; `None` if only a call can change that.
    fn next_due(&self) -> Option<Now> {
        let next = self.due.first().map(|(at, _)| *at);
        // With no room left, the end of a check is what is waited for.
        next.filter(|_| self.in_flight < IN_FLIGHT_MAX)
    }

    /// A check has ended.
    fn on_checked(&mut self, check: &Check, outcome: Outcome, started: Now, now: Now) {
        self.in_flight -= 1;
        self.wake();
        let Some(watched) = self.watched.get_mut(&check.id) else { return };
        watched.running = false;
        if watched.due.is_none() && watched.plan.is_some() {
            // It took longer than the interval, or was asked for anew while it ran.
            watched.set_due(check.id, Some(now), &mut self.due);
        }
        // What a check says that nobody asks for any more is not the answer.
        if watched.plan.as_ref().is_none_or(|plan| !Rc::ptr_eq(plan, &check.plan)) {
            return;
        }
        let elapsed = now.nanos.saturating_sub(started.nanos);
        if let Some(reason) = watched.on_outcome(outcome, elapsed, now) {
            let transition = watched.transition(check.id, &reason, now);
            self.untold.push(transition);
        }
    }

    fn wake(&mut self) {
        if let Some(waker) = self.waker.take() {
            waker.wake();
        }
    }
}

impl Watched {
    fn new(pool: &Pool, backend: &Backend, now: Now) -> Watched {
        Watched {
            pool: pool.name.to_string(),
            name: backend.name.to_string(),
            spec: pool.health.clone(),
            is_member: false,
            plan: None,
            hysteresis: Hysteresis::default(),
            result: "off".to_owned(),
            since: now,
            due: None,
            running: false,
            counters: CheckCounters::default(),
        }
    }

    /// Takes over what the snapshot says. True if the schedule has to begin again.
    fn follow(&mut self, pool: &Pool, backend: &Backend, may_be_weir: bool, now: Now) -> bool {
        let checked = pool.health.kind != HealthKind::None && backend.admin != Admin::Maint;
        let knows = |plan: &Rc<Plan>| plan.may_be_weir == may_be_weir;
        let same = self.spec == pool.health
            && self.plan.is_some() == checked
            && self.plan.as_ref().is_none_or(knows);
        self.is_member = backend.is_member();
        self.spec.clone_from(&pool.health);
        if same && checked {
            return false;
        }
        if !checked {
            self.plan = None;
            // In maint the last word stands, until checks begin again.
            if pool.health.kind == HealthKind::None {
                self.hysteresis.on_checks_end(now);
            }
            if self.hysteresis.held_until().is_none() {
                "off".clone_into(&mut self.result);
            }
            return true;
        }
        if self.plan.is_none() {
            self.hysteresis.on_checks_begin();
            "pending".clone_into(&mut self.result);
        }
        let plan = Plan { may_be_weir, ..Plan::new(&pool.health, backend.address) };
        self.plan = Some(Rc::new(plan));
        true
    }

    /// Counts a check's outcome. The reason, if the backend came up or went down by it.
    fn on_outcome(&mut self, outcome: Outcome, elapsed_ns: u64, now: Now) -> Option<String> {
        let (good, result) = match outcome {
            Outcome::Good => (true, "ok".to_owned()),
            Outcome::Bad(why) => (false, why),
            Outcome::Local(why) => {
                self.counters.local += 1;
                self.result = format!("local: {why}");
                return None;
            }
        };
        let count = if good { &mut self.counters.ok } else { &mut self.counters.fail };
        *count += 1;
        self.counters.duration_sum_ns = self.counters.duration_sum_ns.saturating_add(elapsed_ns);
        self.result.clone_from(&result);
        let rules = Rules { rise: self.spec.rise, fall: self.spec.fall };
        self.hysteresis.on_check(good, rules, now).map(|_| result)
    }

    fn transition(&mut self, id: BackendId, reason: &str, now: Now) -> Transition {
        self.since = now;
        self.counters.transitions += 1;
        Transition {
            pool: self.pool.clone(),
            backend: self.name.clone(),
            id,
            up: self.hysteresis.is_up(),
            reason: reason.to_owned(),
        }
    }

    fn set_due(&mut self, id: BackendId, at: Option<Now>, due: &mut BTreeSet<(Now, BackendId)>) {
        if let Some(old) = self.due {
            due.remove(&(old, id));
        }
        if let Some(new) = at {
            due.insert((new, id));
        }
        self.due = at;
    }
}

/// The most checks at once: two descriptors' worth of a small limit, and a burst that no switch
/// minds.
const IN_FLIGHT_MAX: usize = 256;

/// Over how long the first checks of a snapshot's backends are spread: 100 µs for each, at most a
/// second.
fn spread_ns(snapshot: &Snapshot) -> u64 {
    (snapshot.backends().count() as u64 * 100_000).clamp(1, 1_000_000_000)
}

/// `interval` ±10 %, in nanoseconds.
fn jittered(interval: Duration, prng: &mut Prng) -> u64 {
    let interval = u64::try_from(interval.as_nanos()).unwrap_or(u64::MAX / 2);
    let tenth = interval / 10;
    interval - tenth + prng.next_u64() % (2 * tenth + 1)
}

fn later(now: Now, nanos: u64) -> Now {
    Now { nanos: now.nanos.saturating_add(nanos) }
}

#[cfg(test)]
mod tests;
