//! The state of the control thread, and what it does about each input. No await in here.

mod agents;
mod change;
mod checks;
mod discovery;
mod fleet;
mod fullness;
mod handover;
mod input;
mod legacy;
mod lifecycle;
mod limits;
mod logging;
mod moved;
mod panic;
mod pending_orders;
mod planning;
mod priorities;
mod publish;
mod removed;
mod repeats;
mod searching;
mod shard;
mod slices;
mod storing;
mod tasking;
mod unbound;
mod unconfirmed;
mod versions;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use weir_core::base::clock::Now;
use weir_core::base::machine::enter;
use weir_core::machine;
use weir_proto::answer::EventKind;
use weir_proto::bind_address::BindAddress;
use weir_proto::ids::{IdSource, PoolId, ShardId};
use weir_proto::order::{Order, Report};
use weir_proto::request::Refusal;
use weir_proto::snapshot::Snapshot;

use crate::aggregate::Aggregate;
use crate::deadlines::STOP_MAX;
use crate::events::Events;
use crate::health::Health;
use crate::leases::Leases;
use crate::live::Recorded;
use crate::planner;
use crate::record::{Base, Unconfirmed, Versions};
use crate::resolve::{RememberedMembers, Resolve};
use crate::rollout::Rollout;
use crate::sockets::{BindError, BindPlan, Sockets};
use crate::tasks::Tasks;

use change::Changes;
pub use change::{AskedChange, CHANGE, ChangeId, ChangeOutcome};
pub use fleet::Fleet;
pub use fullness::{Full, Fullness};
pub use handover::{HAND_OVER, HandOver};
pub use input::{Discarded, Input, Output};
use legacy::Inherited;
pub use legacy::{Legacy, Remainder};
use limits::Limits;
pub use moved::{HandedOver, Handovers};
pub use planning::{PlanJob, Planned};
pub use publish::BACKENDS_SLICE;
use repeats::Repeats;
use searching::Search;
pub use searching::SearchRequest;
pub use shard::{SHARD, Shard, ShardHistory, ShardStatus};
pub use unbound::Unbound;
use unbound::UnboundAddresses;
pub use unconfirmed::Cause;
use unconfirmed::Waiting;
pub use versions::{failed, past};

/// What the process is doing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Phase {
    Serving,
    /// Accepts nothing. `until` is when it stops; `None` is never by itself.
    Draining {
        until: Option<Now>,
    },
    /// Every shard was told to stop.
    Stopping {
        since: Now,
    },
    /// The process ends with this exit code.
    Over {
        code: u8,
    },
}

machine! {
    /// Transitions of the process.
    pub static PROCESS: Phase = "process";
    states: Serving, Draining, Stopping, Over;
    start => Serving: "ready";
    Serving => Draining: "drain, SIGTERM";
    Draining => Draining: "drain again, the earlier deadline counts";
    Draining => Serving: "ready, unless it is to end";
    Serving => Stopping: "SIGINT, stop";
    Draining => Stopping: "no session is left, the deadline, SIGINT, stop";
    Stopping => Over: "every shard has ended (exit code 0), or 5 s (1)";
    Serving => Over: "three panics within 60 s, or no live shard (exit code 1)";
    Draining => Over: "three panics within 60 s, or no live shard (exit code 1)";
}

/// The two clocks: `now` for spans, `wall_ms` (Unix time) for people.
#[derive(Clone, Copy, Debug)]
pub struct Clocks {
    pub now: Now,
    pub wall_ms: u64,
}

/// The beginning of a [`Control`].
pub struct Setup {
    pub fleet: Box<dyn Fleet>,
    pub versions: Box<dyn Versions>,
    /// The newest version in `versions`.
    pub snapshot: Snapshot,
    /// Its base.
    pub base: Base,
    /// Its terms, if it waits for a confirmation.
    pub unconfirmed: Option<Unconfirmed>,
    /// The priority group that each pool used when weir last ran, by the pool's name.
    pub in_use: BTreeMap<String, u8>,
    /// The findings of DNS for each pool then, by its name.
    pub found: BTreeMap<String, RememberedMembers>,
    /// Has given every id in `snapshot`.
    pub ids: IdSource,
    /// The most health checks at a time: each has a descriptor.
    pub checks_max: usize,
    /// Backends that are looked at in one turn: [`BACKENDS_SLICE`], or fewer in a test.
    pub slice: usize,
    /// The state of the process whose place this one takes. `snapshot` then gets the identities
    /// that it had there, and `ids`, `in_use` and `found` are those of then.
    pub legacy: Option<Box<Legacy>>,
}

/// Everything that the control thread knows. [`Control::handle`] is the only way to change it.
pub struct Control {
    fleet: Box<dyn Fleet>,
    versions: Box<dyn Versions>,
    changes: Changes,
    /// Somebody waits for figures that are newer than the wish.
    wants_figures: bool,
    /// Those of the input at hand, so far.
    outputs: Vec<Output>,
    ids: IdSource,
    /// See [`Setup::slice`].
    slice: usize,
    pub snapshot: Arc<Snapshot>,
    /// The file as it was last applied, and the number of keys in which the snapshot differs.
    pub base: Base,
    pub drift_keys: usize,
    pub aggregate: Aggregate,
    pub health: Health,
    pub resolve: Resolve,
    pub events: Events,
    pub rollout: Rollout,
    /// The last 15 minutes.
    pub live: Recorded,
    /// Limits that all shards share.
    pub leases: Leases,
    pub shards: Vec<Shard>,
    pub phase: Phase,
    /// The start of this process.
    pub started: Clocks,
    /// The start of the first process of those that have each taken the place of the one before.
    /// Sessions and counters are as old as that.
    pub serves_since: Clocks,
    hand_over: HandOver,
    /// The part of the state of the process before this one that is taken with the first version.
    inherited: Option<Inherited>,
    /// Addresses that were given up, and when.
    released: Vec<(BindAddress, Now)>,
    /// Addresses that could not be bound at the start.
    unbound: UnboundAddresses,
    /// Pools whose panic has been written down.
    panicking: BTreeSet<PoolId>,
    /// The priority groups in use that the disk was told of.
    remembered: BTreeMap<String, u8>,
    /// The findings of DNS, as the disk was told of them.
    remembered_members: BTreeMap<String, RememberedMembers>,
    /// When shards panicked lately.
    panics: Vec<Now>,
    /// Repeated anomalies of the data path, and which of them were reported.
    repeats: Repeats,
    pub fullness: Fullness,
    /// The next edition with other marks is sent no earlier.
    marks_from: Now,
    /// Other limits that are reached.
    limits: Limits,
    unconfirmed: Option<Waiting>,
    /// Rollbacks by weir itself since the start, by [`Cause`].
    pub rolled_back: [u64; 2],
    pub tasks: Tasks,
    searches: Vec<Search>,
    pub handovers: Handovers,
    /// Records of the session log that shards had no room for.
    records_dropped: u64,
}

impl Control {
    /// The identities that are given next.
    pub fn ids(&self) -> IdSource {
        self.ids.clone()
    }

    /// The state before any shard was told anything: [`Input::Begin`] is the first input.
    #[must_use]
    pub fn new(setup: Setup, started: Clocks) -> Control {
        let Setup { fleet, versions, snapshot, base, unconfirmed, in_use, .. } = setup;
        let Setup { found, mut ids, checks_max, slice, legacy, .. } = setup;
        let snapshot = match &legacy {
            Some(legacy) => legacy.renumbered(snapshot, &mut ids),
            None => discovery::restored(snapshot, &found, &mut ids),
        };
        let mut resolve = Resolve::seeded(started.now.nanos);
        resolve.remember(found.clone());
        let count = fleet.shards();
        let mut health = Health::seeded(started.now.nanos);
        health.bound_checks(checks_max);
        health.remember(in_use.clone());
        let mut control = Control {
            versions,
            changes: Changes::default(),
            wants_figures: false,
            outputs: Vec::new(),
            ids,
            slice,
            aggregate: Aggregate::new(count),
            health,
            resolve,
            events: Events::new(started.wall_ms),
            rollout: Rollout::Done { edition: snapshot.edition(), took_ms: 0 },
            live: Recorded::default(),
            leases: Leases::new(count),
            shards: (0..count).map(|n| Shard::new(ShardId(n))).collect(),
            drift_keys: planning::drift_keys(&base, &snapshot.spec()),
            base,
            snapshot: Arc::new(snapshot),
            phase: Phase::Serving,
            started,
            serves_since: started,
            hand_over: HandOver::Absent,
            inherited: None,
            released: Vec::new(),
            unbound: UnboundAddresses::default(),
            panicking: BTreeSet::new(),
            remembered: in_use,
            remembered_members: found,
            panics: Vec::new(),
            repeats: Repeats::default(),
            fullness: Fullness::default(),
            marks_from: started.now,
            limits: Limits::default(),
            unconfirmed: None,
            rolled_back: [0; 2],
            tasks: Tasks::default(),
            searches: Vec::new(),
            handovers: Handovers::default(),
            records_dropped: 0,
            fleet,
        };
        if legacy.is_some() {
            // Its shards have sessions until the rest of it comes.
            control.leases.await_predecessor();
        }
        let waits = legacy.is_some_and(|legacy| control.take_legacy(*legacy, started.now));
        if let Some(terms) = unconfirmed.filter(|_| !waits) {
            control.wait_for_confirmation(terms, started);
        }
        control
    }

    /// Binds what `next` has and the current snapshot has not.
    fn bind(&self, next: &Snapshot) -> Result<Sockets, BindError> {
        let is_unbound = |address: &BindAddress| self.unbound.contains(address);
        self.fleet.bind(&BindPlan::of_change(&self.snapshot, next, is_unbound)).all()
    }

    /// Refuses new backends that are weir itself, by the addresses of this host.
    ///
    /// # Errors
    /// Which they are.
    fn refuse_loops(&self, next: &Snapshot) -> Result<(), Refusal> {
        let is_own = |address| self.fleet.is_own_address(address);
        planner::refuse_loops_by_address(&self.snapshot, next, is_own)
    }

    /// One report of a shard.
    fn on_report(&mut self, report: Report, moment: Clocks) {
        match report {
            Report::Started { shard, sessions_max } => self.on_started(shard, sessions_max, moment),
            Report::Adopted { shard, edition } => {
                if let Some(shard) = self.shard(shard) {
                    shard.version = edition.version;
                }
                let was_late = self.rollout.is_late();
                self.rollout.on_adopted(shard, edition, moment.now);
                if was_late && self.rollout.is_done() {
                    tracing::info!("version {edition} was late and is now used by every shard");
                }
            }
            // Dropped here: no shard ever frees a snapshot.
            Report::Retired(_) => {}
            Report::Stats(mut stats) => {
                let id = stats.shard;
                self.take_records(id, &mut stats.session_log, moment);
                let spare = self.aggregate.fold(stats, moment.now);
                let load = self.aggregate.load_elsewhere(id);
                if let Some(shard) = self.shard(id) {
                    shard.told(spare);
                }
                if !load.is_empty() {
                    // A full channel will do with the next figures.
                    if self.fleet.send(id, Order::LoadElsewhere(load)).is_ok() {
                        self.aggregate.told_load(id);
                    }
                }
                self.collect_wanted();
            }
            Report::Ejected { shard, backend, fault } => {
                let transitions = self.health.on_ejected(backend, fault, moment.now);
                if transitions.is_empty() {
                    // It is known to be down, or it is not its fault: the shard must hear which.
                    let standing = self.health.standing(backend);
                    if let Some(shard) = self.shard(shard) {
                        shard.pending.health(&[(backend, standing)]);
                    }
                    self.flush();
                }
                self.on_transitions(&transitions, moment.wall_ms);
            }
            Report::Want { shard, edition, wants } => {
                self.leases.hear(shard, edition, &wants);
                self.flush();
            }
            Report::Sessions { shard, page } => self.on_found(shard, *page, moment),
            Report::SessionLog { shard, mut records } => {
                self.take_records(shard, &mut records, moment);
            }
            Report::Gave { shard, sessions, is_whole } => {
                self.handovers.gave(shard, sessions, is_whole);
            }
            Report::Took { shard, sessions, is_whole } => {
                self.handovers.took(shard, sessions, is_whole);
            }
            Report::Ended { shard, panic } => self.on_ended(shard, panic, moment),
        }
    }

    /// Some times a second: asks for figures, says again what did not fit, watches the deadlines.
    fn on_tick(&mut self, moment: Clocks) {
        let now = moment.now;
        self.fleet.ticks(now);
        self.acknowledge_fences(moment);
        self.tell_repeats(moment);
        self.watch_fullness(moment);
        self.watch_limits(moment);
        self.leases.look(moment.now);
        self.live.watch(&self.aggregate, now);
        self.watch_append(moment);
        self.watch_unconfirmed(moment);
        self.watch_searches(moment);
        if self.rollout.on_time(now) {
            let (version, waiting) = (self.rollout.edition(), self.rollout.waiting());
            tracing::error!("version {version} is late: shards {waiting} have not adopted it");
            let text = format!("version {version} is late");
            self.events.push(EventKind::Shard, waiting.to_string(), text, moment.wall_ms);
        }
        match self.phase {
            Phase::Draining { until } => {
                let deadline = until.is_some_and(|until| now >= until);
                if until.is_some() && (deadline || self.is_quiet()) {
                    self.stop(moment);
                }
            }
            Phase::Stopping { since } if now - since >= STOP_MAX => {
                tracing::error!("some shards did not end within {STOP_MAX:?}; leaving them");
                enter(&mut self.phase, Phase::Over { code: 1 });
            }
            Phase::Serving | Phase::Stopping { .. } | Phase::Over { .. } => {}
        }
        self.watch_panic(moment.wall_ms);
        self.tell_moved(moment.wall_ms);
        self.bind_unbound(moment);
        self.bind_missing();
        self.flush();
        self.work_on_tasks(moment);
        self.collect();
    }

    /// Asks every shard for figures, unless it has been asked and has not answered.
    fn collect(&mut self) {
        let fleet = &self.fleet;
        for shard in &mut self.shards {
            let id = shard.id;
            shard.collect(|order| fleet.send(id, order));
        }
    }

    fn want_figures(&mut self) {
        self.wants_figures = true;
        self.each_live(Shard::want_fresh);
        self.collect();
    }

    /// Asks again where an earlier question was still on its way when figures were wanted.
    fn collect_wanted(&mut self) {
        if self.wants_figures {
            self.wants_figures = !self.is_fresh();
        }
    }

    /// True when every shard that counts has given the figures that were wanted. Asks again where
    /// an earlier question was still on its way.
    fn is_fresh(&mut self) -> bool {
        self.collect_stale();
        self.has_fresh()
    }

    /// True when every shard that counts has given the figures that were wanted. Asks for none.
    #[must_use]
    pub fn has_fresh(&self) -> bool {
        self.shards.iter().filter(|shard| shard.counts()).all(Shard::is_fresh)
    }

    /// True if this shard is alive and everything that it is to be told was handed over.
    #[must_use]
    pub fn has_told(&self, id: ShardId) -> bool {
        let shard = self.shards.get(usize::from(id.0));
        shard.is_some_and(|shard| shard.has_thread() && shard.pending.is_empty())
    }

    /// Orders that have not been handed over to the shard that has the most of them.
    #[must_use]
    pub fn orders_waiting(&self) -> usize {
        self.shards.iter().map(|shard| shard.pending.len()).max().unwrap_or(0)
    }

    fn collect_stale(&mut self) {
        let fleet = &self.fleet;
        for shard in self.shards.iter_mut().filter(|shard| !shard.is_fresh()) {
            let id = shard.id;
            shard.collect(|order| fleet.send(id, order));
        }
    }

    /// The next report, if there is one.
    pub fn take_report(&self) -> Option<Report> {
        self.fleet.take_report()
    }

    /// True while new sessions are taken.
    pub fn is_serving(&self) -> bool {
        self.phase == Phase::Serving
    }

    fn shard(&mut self, id: ShardId) -> Option<&mut Shard> {
        self.shards.get_mut(usize::from(id.0))
    }

    fn each_live(&mut self, tell: impl FnMut(&mut Shard)) {
        self.shards.iter_mut().filter(|shard| shard.has_thread()).for_each(tell);
    }

    fn flush(&mut self) {
        let Control { fleet, leases, .. } = self;
        for shard in self.shards.iter_mut().filter(|shard| shard.has_thread()) {
            let id = shard.id;
            shard.pending.flush(|order| fleet.send(id, order));
            if shard.pending.is_empty() {
                leases.flush(id, |order| fleet.send(id, order));
            }
        }
    }
}

#[cfg(test)]
mod tests;
