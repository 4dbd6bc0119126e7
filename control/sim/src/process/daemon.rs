//! The daemon: the real control on a simulated disk and fleet, with the requests that wait for it.

use std::cell::RefCell;
use std::collections::VecDeque;
use std::net::SocketAddr;
use std::rc::Rc;

use weir_control::store::Store;
use weir_control_core::control::{Change, Clocks, Control, Phase};
use weir_control_core::record::Record;
use weir_core::base::clock::Now;
use weir_proto::answer::Answer;
use weir_proto::ids::{BackendId, IdSource, Version};
use weir_proto::order::Report;
use weir_proto::request::{ChangeOptions, ChangeRequest, Refusal};
use weir_proto::snapshot::Snapshot;
use weir_proto::spec::Spec;

use super::disk::Disk;
use super::history::History;
use super::holds;
use super::planted::Planted;
use super::sim_fleet::{FleetState, SimFleet};
use super::store::SimStore;
use super::{BY, MS};
use weir_engine_sim::rng::Rng;

/// How often control looks at its deadlines (serve.rs).
pub(super) const TICK_NS: u64 = 250 * MS;

/// A request that was not answered.
#[derive(Debug)]
struct PendingRequest {
    change: Change,
    request: ChangeRequest,
    dry_run: bool,
    /// Only this version may be changed.
    if_version: Option<u64>,
    /// The version when its turn came.
    before: Option<u64>,
    /// What it was about to make durable.
    proposed: Vec<Snapshot>,
}

/// One process's control.
pub(super) struct Daemon {
    pub(super) control: Control,
    pub(super) store: SimStore,
    wires: Rc<RefCell<FleetState>>,
    asked: VecDeque<PendingRequest>,
    pub(super) next_tick: u64,
    /// Backends that were removed by force.
    pub(super) killed: Vec<BackendId>,
    planted: Option<Planted>,
}

/// Both clocks.
#[must_use]
pub(super) fn moment(now: u64) -> Clocks {
    Clocks { now: Now::from_nanos(now), wall_ms: now / MS }
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
    let first = Record::new(1, String::new(), BY, "seeded".to_owned(), spec.clone());
    Store::seed_backend(disk.open(), &first).map_err(|error| error.to_string())?;
    history.keep(1, spec);
    Ok(())
}

impl Daemon {
    /// Starts from what is on disk, as `weir run` does, and sends it to every shard.
    ///
    /// # Errors
    /// The state is refused, or it is not what it should be.
    pub(super) fn start(
        (disk, wires): (&Disk, &Rc<RefCell<FleetState>>),
        history: &mut History,
        now: u64,
        planted: Option<Planted>,
    ) -> Result<Daemon, String> {
        let (store, record) =
            Store::with_backend(disk.open()).map_err(|error| error.to_string())?;
        history.recovered(&store, &record)?;
        let mut ids = IdSource::default();
        let version = Version(record.version);
        let built = Snapshot::build(&record.spec, version, &Snapshot::empty(), &mut ids);
        let snapshot = built.map_err(|refused| faults(&refused))?;
        let fleet = Box::new(SimFleet(Rc::clone(wires)));
        let moment = moment(now);
        let store = SimStore::new(store);
        let first = (Snapshot::empty(), ids);
        let mut control = Control::new(fleet, store.versions(), first, moment);
        let sockets = control.bind(&snapshot).map_err(|error| error.refusal().message)?;
        control.publish(snapshot, sockets, moment.now);
        wires.borrow_mut().proposed.clear();
        let (wires, asked) = (Rc::clone(wires), VecDeque::new());
        let killed = Vec::new();
        Ok(Daemon { control, store, wires, asked, next_tick: now, killed, planted })
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
    pub(super) fn ask(&mut self, request: ChangeRequest, options: ChangeOptions) {
        let ChangeOptions { dry_run, if_version } = options;
        let change = Change::new(request.clone(), options, BY);
        self.asked.push_back(PendingRequest {
            change,
            request,
            dry_run,
            if_version,
            before: None,
            proposed: Vec::new(),
        });
    }

    /// A report has come.
    pub(super) fn hear(&mut self, report: Report, moment: Clocks, rng: &mut Rng) {
        match (self.planted, &report) {
            (Some(Planted::AdoptedLost), Report::Adopted { .. }) if rng.below(4) == 0 => return,
            (Some(Planted::NotBuiltAgain), Report::Ended { panic: Some(_), .. }) => return,
            (Some(Planted::CountedTwice), Report::Stats(stats)) if rng.below(4) == 0 => {
                self.control.on_report(Report::Stats(stats.clone()), moment);
            }
            _ => {}
        }
        self.wires.borrow_mut().hears(&report);
        self.control.on_report(report, moment);
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
        probe: impl FnMut(SocketAddr) -> bool,
    ) -> Result<(), String> {
        let invented: Vec<Report> = self.wires.borrow_mut().invented.drain(..).collect();
        for report in invented {
            self.control.on_report(report, moment);
        }
        if moment.now.nanos >= self.next_tick {
            self.next_tick = moment.now.nanos + TICK_NS;
            self.control.on_tick(moment);
        }
        self.control.check_all(moment, probe);
        holds::check_holds(&self.control, moment.now)
    }

    /// The disk does something, unless it is slow now.
    pub(super) fn turn_disk(&mut self, slow: u32, rng: &mut Rng) {
        for _ in 0..2 {
            if rng.hits(slow) {
                return;
            }
            if let Some(appended) = self.store.step() {
                self.control.on_appended(appended);
            }
        }
    }

    /// Lets the changes go on, one after another. How many were answered.
    ///
    /// # Errors
    /// An answer is wrong.
    pub(super) fn go_on(&mut self, moment: Clocks, history: &mut History) -> Result<usize, String> {
        let mut answered = 0;
        loop {
            let kills = self.asked.front().and_then(|first| self.would_kill(&first.request));
            let Some(first) = self.asked.front_mut() else { break };
            let before = self.control.snapshot.version.0;
            first.before.get_or_insert(before);
            let result = first.change.go_on(&mut self.control, moment);
            for next in self.wires.borrow_mut().proposed.drain(..) {
                history.propose(&next);
                if self.planted == Some(Planted::AckBeforeCommit) && !first.dry_run {
                    history.keep(next.version.0, next.spec());
                }
                first.proposed.push(next);
            }
            if self.control.snapshot.version.0 > before {
                self.killed.extend(kills);
            }
            let Ok(answer) = result else { break };
            let Some(first) = self.asked.pop_front() else { break };
            answered += 1;
            self.answered(&first, answer, history)?;
        }
        Ok(answered)
    }

    fn answered(
        &self,
        asked: &PendingRequest,
        answer: Result<Answer, Refusal>,
        history: &mut History,
    ) -> Result<(), String> {
        let version = self.version();
        let committed = asked.before.is_some_and(|before| before < version);
        if !committed {
            if answer.is_err_and(|refusal| refusal.message.contains("may be there")) {
                return Ok(());
            }
            asked.proposed.iter().for_each(|next| history.withdraw(next));
            return Ok(());
        }
        if asked.dry_run {
            return Err(format!("a dry run has made version {version}"));
        }
        if asked.if_version.is_some() && asked.if_version != asked.before {
            let (wanted, before) = (asked.if_version, asked.before);
            return Err(format!("{wanted:?} was to be changed, and {before:?} was"));
        }
        let spec = self.control.snapshot.spec();
        if let (ChangeRequest::Rollback { version: to }, Some(old)) =
            (&asked.request, history.rollback_target(&asked.request))
            && *old != spec
        {
            return Err(format!("version {version} is a rollback to {to}, but not the same"));
        }
        // Refused or not: it says that it is durable.
        let everywhere = matches!(answer, Ok(Answer::Changed(_)));
        history.answer(version, spec, everywhere);
        Ok(())
    }
}
