//! The daemon: the real control on a simulated disk and fleet, with the requests that wait for it.

use std::cell::RefCell;
use std::collections::VecDeque;
use std::net::SocketAddr;
use std::rc::Rc;
use std::sync::Arc;

use weir_control::store::Store;
use weir_control_core::control::{
    AskedChange, BACKENDS_SLICE, ChangeId, ChangeOutcome, Clocks, Control, Fleet, Input, Output,
    Phase, Setup,
};
use weir_control_core::health::{Check, CheckOutcome, Talk};
use weir_control_core::record::{Record, Retention};
use weir_control_core::resolve::Lookup;
use weir_control_core::session_log::{LineMaker, LogFormat, LoggedSessions};
use weir_control_core::sockets::BindPlan;
use weir_core::base::clock::Now;
use weir_proto::answer::Answer;
use weir_proto::ids::{BackendId, IdSource, Version};
use weir_proto::order::Report;
use weir_proto::request::{ChangeOptions, ChangeRequest, Refusal};
use weir_proto::snapshot::Snapshot;
use weir_proto::spec::Spec;

use super::disk::Disk;
use super::drained;
use super::heirs::HandedOver;
use super::history::History;
use super::holds;
use super::holds::kept::{self, KeptGroups};
use super::names;
use super::planted::Planted;
use super::sim_fleet::{FleetState, SimFleet};
use super::store::SimStore;
use super::{BY, MS};
use weir_engine_sim::net::of_ip;
use weir_engine_sim::rng::{Rng, mix};

/// How often control looks at its deadlines (serve.rs).
pub(super) const TICK_NS: u64 = 250 * MS;

/// So few that versions are given up in most runs.
pub(super) const RETENTION: Retention = Retention { versions: 12, days: 365 };

/// A request that was not answered.
#[derive(Debug)]
struct PendingRequest {
    id: ChangeId,
    request: ChangeRequest,
    options: ChangeOptions,
    /// The version when its turn came.
    before: Option<u64>,
    /// The backend that it removes by force.
    kills: Option<BackendId>,
    /// What it was about to make durable.
    proposed: Vec<Snapshot>,
}

/// A version that control is about to make.
struct Proposal {
    next: Snapshot,
    request: ChangeRequest,
    /// The version when its turn came.
    before: u64,
    options: ChangeOptions,
}

/// One that was answered, and the version at that moment.
struct AnsweredRequest {
    request: PendingRequest,
    answer: ChangeOutcome,
    snapshot: Arc<Snapshot>,
}

/// One process's control.
pub(super) struct Daemon {
    pub(super) control: Control,
    pub(super) store: SimStore,
    wires: Rc<RefCell<FleetState>>,
    /// As control has them: the first one is under way.
    asked: VecDeque<PendingRequest>,
    /// Answers that were not checked.
    answered: Vec<AnsweredRequest>,
    /// Versions that history was not told of.
    proposed: Vec<Proposal>,
    /// Versions that control wants to take back by itself, and to which.
    ways_back: Vec<(u64, u64)>,
    /// Checks that are to be made.
    checks: Vec<Check>,
    /// Questions to agents that were not asked yet.
    pub(super) questions: Vec<Check>,
    /// Look-ups that were not made yet.
    pub(super) lookups: Vec<Lookup>,
    /// How many changes control was given.
    changes: u64,
    pub(super) next_tick: u64,
    /// Backends that were removed by force.
    pub(super) killed: Vec<BackendId>,
    kept: KeptGroups,
    planted: Option<Planted>,
    /// It has what the process before it knew.
    pub(super) is_heir: bool,
    /// Sessions that ended in the processes before it, as far as it was told.
    pub(super) ended_before: u64,
}

/// A day of the wall clock, and how often somebody sets it, in virtual milliseconds.
const DAY_MS: u64 = 86_400_000;
const SET_EVERY_MS: u64 = 700;

/// Both clocks. The wall clock is set a day forward or back again and again.
#[must_use]
pub(super) fn moment(now: u64) -> Clocks {
    let wrong = match mix(now / MS / SET_EVERY_MS) % 4 {
        0 => 0,
        1 => 2 * DAY_MS,
        _ => DAY_MS,
    };
    Clocks { now: Now::from_nanos(now), wall_ms: now / MS + wrong }
}

/// Every second process prepares and gives up so few backends in a turn that most versions of
/// several pools take many: others speak in between, and shards and disks fail.
fn slice_of(first: Version) -> usize {
    if first.0.is_multiple_of(2) { 1 } else { BACKENDS_SLICE }
}

fn faults(refused: &[weir_proto::snapshot::Fault]) -> String {
    format!("the configuration is refused: {refused:?}")
}

/// Makes version 1.
///
/// # Errors
/// A disk without faults has refused it.
pub(super) fn seed_disk(disk: &Disk, spec: &Spec, history: &mut History) -> Result<(), String> {
    let mut ids = IdSource::default();
    let built = Snapshot::build(spec, Version(1), &Snapshot::empty(), &mut ids);
    let spec = built.map_err(|refused| faults(&refused))?.spec();
    let base = Some(Arc::new(spec.clone()));
    let first = Record::new(1, String::new(), BY, "seeded".to_owned(), spec.clone());
    let first = first.with_base(base.clone());
    Store::seed_backend(disk.open(), &first).map_err(|error| error.to_string())?;
    history.begin((spec, base));
    Ok(())
}

impl Daemon {
    /// Starts from what is on disk, as `weir run` does, and sends it to every shard.
    ///
    /// # Errors
    /// The state is refused, or it is not what it should be.
    pub(super) fn start(
        (disk, wires, handed): (&Disk, &Rc<RefCell<FleetState>>, Option<&HandedOver>),
        history: &mut History,
        now: u64,
        planted: Option<Planted>,
    ) -> Result<Daemon, String> {
        let (store, record) = Store::with_backend(disk.open(), history.newest_kept(), RETENTION)
            .map_err(|error| error.to_string())?;
        history.recovered(&store, &record)?;
        let mut ids = IdSource::default();
        let version = Version(record.version);
        let built = Snapshot::build(&record.spec, version, &Snapshot::empty(), &mut ids);
        let snapshot = built.map_err(|refused| faults(&refused))?;
        let fleet = SimFleet(Rc::clone(wires));
        let bound = fleet.bind(&BindPlan::first(&snapshot));
        let store = SimStore::new(store);
        let (fleet, versions) = (Box::new(fleet), store.versions());
        let (base, unconfirmed, checks_max) = (record.base, record.unconfirmed, usize::MAX);
        let legacy = handed.map_or(Ok(None), |handed| handed.legacy(version))?;
        let (slice, is_heir) = (slice_of(version), legacy.is_some());
        let in_use = wires.borrow().in_use.clone();
        let remembered = in_use.clone();
        let found = wires.borrow().found.clone();
        let found_before = found.clone();
        #[rustfmt::skip]
        let setup =
            Setup {
        fleet, versions, snapshot, base, unconfirmed, in_use, found, ids, checks_max, slice,
        legacy,
    };
        let moment = moment(now);
        let mut daemon = Daemon {
            control: Control::new(setup, moment),
            store,
            wires: Rc::clone(wires),
            asked: VecDeque::new(),
            answered: Vec::new(),
            proposed: Vec::new(),
            ways_back: Vec::new(),
            checks: Vec::new(),
            questions: Vec::new(),
            lookups: Vec::new(),
            changes: 0,
            next_tick: now,
            killed: Vec::new(),
            kept: KeptGroups::default(),
            planted,
            is_heir,
            ended_before: 0,
        };
        daemon.give(Input::Begin(bound), moment);
        kept::check_start(&daemon.control, &remembered)?;
        names::check_start(&daemon.control.snapshot, &found_before)?;
        if let Some(handed) = handed.filter(|_| is_heir) {
            handed.check(&mut daemon, now)?;
        }
        daemon.ended_before = daemon.ended();
        wires.borrow_mut().proposed.clear();
        Ok(daemon)
    }

    /// Sessions that are counted as ended.
    pub(super) fn ended(&self) -> u64 {
        self.control.aggregate.ends().map(|(_, count)| count).sum()
    }

    /// Gives control an input, and does what follows from it.
    pub(super) fn give(&mut self, input: Input, moment: Clocks) {
        let outputs = self.control.handle(input, moment);
        let version = self.version();
        self.wires.borrow_mut().version = version;
        if let Some(first) = self.asked.front_mut() {
            for next in self.wires.borrow_mut().proposed.drain(..) {
                first.proposed.push(next.clone());
                let (request, options) = (first.request.clone(), first.options.clone());
                let before = first.before.unwrap_or(version);
                self.proposed.push(Proposal { next, request, before, options });
            }
            if first.before.is_some_and(|before| version > before) {
                self.killed.extend(first.kills.take());
            }
        }
        let mut ways_back = Vec::new();
        for output in outputs {
            match output {
                Output::Answered { id: drained::READY, .. } => {}
                Output::Answered { id, result } => self.on_answered(id, result),
                Output::Found { id, found } => self.on_answered(id, found.answer()),
                Output::Plan(job) => self.give(Input::Planned(job.run().into()), moment),
                Output::Append(record) => self.store.ask(record),
                Output::Check(check) => match check.plan.talk {
                    Talk::Agent { .. } => self.questions.push(check),
                    _ => self.checks.push(check),
                },
                Output::RollBack { version, to, .. } => ways_back.push((version, to)),
                Output::SessionLog(logged) => check_lines(*logged),
                Output::Resolve(lookup) => self.lookups.push(lookup),
                Output::Remember(groups) => self.wires.borrow_mut().in_use = groups,
                Output::RememberMembers(found) => self.wires.borrow_mut().found = found,
                Output::ReadyToHandOver { .. } | Output::Free(_) => {}
            }
        }
        // Behind the answers, as a task of its own in the daemon.
        for (version, to) in ways_back {
            self.ways_back.push((version, to));
            let options =
                ChangeOptions { if_version: Some(version), yes: true, ..ChangeOptions::default() };
            self.ask(ChangeRequest::Rollback { version: to }, options, moment);
        }
    }

    fn on_answered(&mut self, id: ChangeId, answer: ChangeOutcome) {
        let request = self.asked.pop_front().expect("it was asked");
        assert_eq!(request.id, id, "changes are one after another");
        let snapshot = Arc::clone(&self.control.snapshot);
        self.answered.push(AnsweredRequest { request, answer, snapshot });
        self.first_begins();
    }

    /// The first request has its turn.
    fn first_begins(&mut self) {
        let before = self.version();
        let kills = self.asked.front().and_then(|first| self.would_kill(&first.request));
        if let Some(first) = self.asked.front_mut() {
            (first.before, first.kills) = (Some(before), kills);
        }
    }

    /// The version that is current.
    #[must_use]
    pub(super) fn version(&self) -> u64 {
        self.control.snapshot.version.0
    }

    #[must_use]
    pub(super) fn snapshot(&self) -> &Snapshot {
        &self.control.snapshot
    }

    /// Requests that were not answered.
    #[must_use]
    pub(super) fn waiting(&self) -> usize {
        self.asked.len()
    }

    /// The exit code, if the process is to end.
    #[must_use]
    pub(super) fn is_over(&self) -> Option<u8> {
        match self.control.phase {
            Phase::Over { code } => Some(code),
            Phase::Serving | Phase::Draining { .. } | Phase::Stopping { .. } => None,
        }
    }

    /// Somebody asks for a change.
    pub(super) fn ask(&mut self, request: ChangeRequest, options: ChangeOptions, moment: Clocks) {
        self.changes += 1;
        let id = ChangeId(self.changes);
        let asked = AskedChange { id, request: request.clone(), options: options.clone(), by: BY };
        let (before, kills, proposed) = (None, None, Vec::new());
        self.asked.push_back(PendingRequest { id, request, options, before, kills, proposed });
        if self.asked.len() == 1 {
            self.first_begins();
        }
        self.give(Input::Change(asked), moment);
    }

    /// A report has come.
    pub(super) fn hear(&mut self, report: Report, moment: Clocks, rng: &mut Rng) {
        match (self.planted, &report) {
            (Some(Planted::AdoptedLost), Report::Adopted { .. }) if rng.below(4) == 0 => return,
            (Some(Planted::NotBuiltAgain), Report::Ended { panic: Some(_), .. }) => return,
            (Some(Planted::CountedTwice), Report::Stats(stats)) if rng.below(4) == 0 => {
                self.give(Input::Report(Report::Stats(stats.clone())), moment);
            }
            _ => {}
        }
        self.wires.borrow_mut().hears(&report);
        self.give(Input::Report(report), moment);
    }

    /// The backend that a change would remove by force, as things are.
    fn would_kill(&self, request: &ChangeRequest) -> Option<BackendId> {
        let ChangeRequest::BackendRemove { name, force: true } = request else { return None };
        let (pool, backend) = name.split_once('/')?;
        Some(self.snapshot().pool(pool)?.backend(backend)?.id)
    }

    /// What is due: figures, deadlines, checks. `probe` says whether a host takes connections.
    ///
    /// # Errors
    /// A hold keeps down a backend that its pool needs.
    pub(super) fn on_time(
        &mut self,
        moment: Clocks,
        probe: impl Fn(SocketAddr) -> bool,
    ) -> Result<(), String> {
        let invented: Vec<Report> = self.wires.borrow_mut().invented.drain(..).collect();
        for report in invented {
            self.give(Input::Report(report), moment);
        }
        if moment.now.nanos >= self.next_tick {
            self.next_tick = moment.now.nanos + TICK_NS;
            self.give(Input::Tick, moment);
        }
        if self.control.next_wake().is_some_and(|at| at <= moment.now) {
            self.give(Input::Wake, moment);
        }
        let checks = core::mem::take(&mut self.checks);
        holds::check_shared(&checks)?;
        for check in checks {
            let good = probe(of_ip(check.plan.address));
            let outcome =
                if good { CheckOutcome::Good } else { CheckOutcome::Bad("refused".to_owned()) };
            self.give(Input::Checked { check, outcome, started: moment.now }, moment);
        }
        holds::check_watched(&self.control)?;
        self.kept.check(&self.control)?;
        holds::check_forced(&self.control)?;
        holds::check_due(&self.control)?;
        holds::check_holds(&self.control, moment.now)
    }

    /// The disk does something, unless it is slow now.
    pub(super) fn turn_disk(&mut self, slow: u32, moment: Clocks, rng: &mut Rng) {
        for _ in 0..2 {
            if rng.hits(slow) {
                return;
            }
            if let Some(appended) = self.store.step() {
                self.give(Input::Appended(appended), moment);
            }
        }
    }

    /// Tells history what control wants to make durable.
    ///
    /// # Errors
    /// It loses what somebody has done.
    pub(super) fn tell(&mut self, history: &mut History) -> Result<(), String> {
        for (version, to) in self.ways_back.drain(..) {
            history.check_way_back(version, to)?;
        }
        for Proposal { next, request, before, options } in self.proposed.drain(..) {
            history.propose(&next, (&request, &options), before)?;
            if self.planted == Some(Planted::AckBeforeCommit) {
                history.keep(next.version.0);
            }
        }
        Ok(())
    }

    /// Checks what was answered. How many answers that were.
    ///
    /// # Errors
    /// An answer is wrong.
    pub(super) fn check_answers(&mut self, history: &mut History) -> Result<usize, String> {
        self.tell(history)?;
        let answered = core::mem::take(&mut self.answered);
        let count = answered.len();
        for AnsweredRequest { request, answer, snapshot } in answered {
            check_answer(&request, answer, &snapshot, history)?;
        }
        Ok(count)
    }
}

fn check_answer(
    asked: &PendingRequest,
    answer: ChangeOutcome,
    snapshot: &Snapshot,
    history: &mut History,
) -> Result<(), String> {
    let version = snapshot.version.0;
    let committed = asked.before.is_some_and(|before| before < version);
    if !committed {
        let may_be_there = |refusal: &Refusal| refusal.message.contains("may be there");
        if answer.as_ref().is_err_and(may_be_there) {
            return Ok(());
        }
        asked.proposed.iter().for_each(|next| history.withdraw(next));
        let is_done = answer.is_ok() && !asked.options.dry_run;
        return if is_done { history.check_unchanged(&asked.request, version) } else { Ok(()) };
    }
    if asked.options.dry_run {
        return Err(format!("a dry run has made version {version}"));
    }
    let wanted = asked.options.if_version;
    if wanted.is_some() && wanted != asked.before {
        let before = asked.before;
        return Err(format!("{wanted:?} was to be changed, and {before:?} was"));
    }
    let spec = snapshot.spec();
    if let (ChangeRequest::Rollback { version: to }, Some(old)) =
        (&asked.request, history.rollback_target(&asked.request))
        && *old != spec
    {
        return Err(format!("version {version} is a rollback to {to}, but not the same"));
    }
    // Refused or not: it says that it is durable.
    let everywhere = matches!(answer, Ok(Answer::Changed(_)));
    history.answer(version, everywhere);
    Ok(())
}

/// Every line names its pool and its listener, also those that are gone.
fn check_lines(logged: LoggedSessions) {
    let text = LineMaker::new(LogFormat::Json).lines(logged);
    for line in text.lines() {
        let named =
            ["pool", "listener"].iter().all(|key| !line.contains(&format!("\"{key}\":\"\"")));
        assert!(named, "a line without a name: {line}");
    }
}
