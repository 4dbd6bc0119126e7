//! Changes: one after another, each from the request to its answer. Plan, bind, make durable, send
//! to every shard, wait for the shards, answer: this order is here and nowhere else.
//!
//! ```text
//! Input::Change ──its turn──▶ Planning ──Input::Planned──▶ Binding ──bound──▶ Storing
//!     ──Input::Appended: durable──▶ Preparing ──sent──▶ Adopting ──every shard has it
//!     ──▶ Output::Answered
//! ```
//! Any step may end in a refusal; after `Storing` it only says that shards are late, and the
//! version stands. What grows with the number of backends that are others is done in slices, each
//! after an [`Input::Wake`](super::Input::Wake). A change belongs to control from its input on: it
//! is completed whether or not its author still waits for the answer.

use core::slice;
use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use weir_core::base::clock::Now;
use weir_core::base::machine::{State, entered};
use weir_core::machine;
use weir_proto::answer::{Answer, Author, Changed, Note};
use weir_proto::confirm::Confirm;
use weir_proto::ids::BackendId;
use weir_proto::request::{BackendAct, ChangeOptions, ChangeRequest, Code, Refusal};
use weir_proto::spec::Admin;

use super::handover::upgrading;
use super::planning::{Decided, NextVersion, PlanJob, Planned};
use super::publish::Commit;
use super::slices::{Adopting, Preparing, Slices};
use super::storing::{BoundVersion, Storing, refuse};
use super::{Clocks, Control, Output};
use crate::planner::Plan;

/// How long a change waits for an address that a listener that was just removed still holds.
const RELEASE_WAIT: Duration = Duration::from_secs(1);
/// The interval at which such an address is tried again.
const RELEASE_POLL: Duration = Duration::from_millis(10);
/// The most changes that wait for their turn; the control socket serves fewer clients than that.
pub(super) const WAITING_MAX: usize = 256;

/// Ties an answer to its change. The shell chooses it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct ChangeId(pub u64);

impl core::fmt::Display for ChangeId {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        self.0.fmt(f)
    }
}

/// A requested change.
#[derive(Debug)]
pub struct AskedChange {
    pub id: ChangeId,
    pub request: ChangeRequest,
    pub options: ChangeOptions,
    pub by: Author,
}

/// The outcome of a change.
pub type ChangeOutcome = Result<Answer, Refusal>;

/// The change that is under way, and those that wait for it to be answered.
#[derive(Debug, Default)]
pub(super) struct Changes {
    waiting: VecDeque<AskedChange>,
    current: Option<Change>,
}

/// The change that is under way.
#[derive(Debug)]
struct Change {
    id: ChangeId,
    dry_run: bool,
    by: Author,
    note: Note,
    /// The terms on which its version is made.
    confirm: Option<Confirm>,
    /// The backend whose hold it ends as well (`backend ready`).
    readies: Vec<String>,
    /// Backends that were removed earlier and whose sessions it resets as well.
    kills: Vec<BackendId>,
    step: Step,
}

/// How far a change has come.
#[derive(Debug)]
enum Step {
    /// `None` while the [`PlanJob`] runs.
    Planning(Option<Result<Decided, Refusal>>),
    Binding(Binding),
    Storing(Storing),
    Preparing(Preparing),
    Adopting(Adopting),
    Over,
}

machine! {
    /// Transitions of a change.
    pub static CHANGE: Step = "change";
    states: Planning, Binding, Storing, Preparing, Adopting, Over;
    start => Planning: "its turn has come";
    Planning => Binding: "it makes a version";
    Planning => Over: "refused, or it changes nothing";
    Binding => Storing: "new addresses are bound";
    Binding => Over: "refused, or a dry run";
    Storing => Preparing: "durable";
    Storing => Over: "the disk does not take it";
    Preparing => Adopting: "control knows its backends, and every shard is sent it";
    Adopting => Over: "every live shard has it, or it is late";
}

#[derive(Debug)]
struct Binding {
    plan: Plan,
    next: Box<NextVersion>,
    since: Now,
    /// When an address that is still held is tried again; `None`: now.
    again: Option<Now>,
}

/// The reason why a change goes no further, for now or for good.
enum Halt {
    /// It waits for an input.
    Blocked,
    Refused(Refusal),
}

impl From<Refusal> for Halt {
    fn from(refusal: Refusal) -> Halt {
        Halt::Refused(refusal)
    }
}

impl Changes {
    /// How many changes are not answered yet, the current one included.
    pub(super) fn len(&self) -> usize {
        self.waiting.len() + usize::from(self.current.is_some())
    }

    /// True if a change is under way.
    pub(super) fn is_busy(&self) -> bool {
        self.current.is_some()
    }

    /// True if a change is under way that is no dry run.
    pub(super) fn is_changing(&self) -> bool {
        self.current.as_ref().is_some_and(|change| !change.dry_run)
    }

    /// Takes those that wait for their turn and are no dry runs.
    pub(super) fn take_waiting(&mut self) -> Vec<ChangeId> {
        let waiting = core::mem::take(&mut self.waiting).into_iter();
        let (dry, others): (Vec<_>, Vec<_>) = waiting.partition(|it| it.options.dry_run);
        self.waiting = dry.into();
        others.into_iter().map(|it: AskedChange| it.id).collect()
    }

    /// The append that is under way.
    pub(super) fn storing(&mut self) -> Option<&mut Storing> {
        match &mut self.current.as_mut()?.step {
            Step::Storing(storing) => Some(storing),
            _ => None,
        }
    }

    /// When an address that is still held is to be tried again, or the next slice is to be done.
    pub(super) fn next_wake(&self) -> Option<Now> {
        let slices = match &self.current.as_ref()?.step {
            Step::Binding(binding) => return binding.again,
            Step::Preparing(preparing) => preparing.slices,
            Step::Adopting(adopting) => adopting.slices,
            Step::Planning(_) | Step::Storing(_) | Step::Over => return None,
        };
        (slices == Slices::Waiting).then_some(Now { nanos: 0 })
    }

    /// Lets that be done now.
    pub(super) fn wake(&mut self) {
        let slices = match self.current.as_mut().map(|change| &mut change.step) {
            Some(Step::Binding(binding)) => return binding.again = None,
            Some(Step::Preparing(preparing)) => &mut preparing.slices,
            Some(Step::Adopting(adopting)) => &mut adopting.slices,
            _ => return,
        };
        if *slices == Slices::Waiting {
            *slices = Slices::Due;
        }
    }
}

/// The backends that a request makes ready.
fn readied(request: &ChangeRequest) -> &[String] {
    match request {
        ChangeRequest::BackendState { name, state: Admin::Ready } => slice::from_ref(name),
        ChangeRequest::Backends { names, act: BackendAct::State(Admin::Ready) } => names,
        ChangeRequest::BackendSet { name, pairs } => {
            let state = pairs.iter().rfind(|(key, _)| key == "state");
            let is_ready = state.is_some_and(|(_, value)| value == Admin::Ready.word());
            if is_ready { slice::from_ref(name) } else { &[] }
        }
        _ => &[],
    }
}

impl Control {
    /// Queues a change; its turn comes when those before it are answered.
    pub(super) fn on_change(&mut self, asked: AskedChange) {
        if self.is_handing_over() && !asked.options.dry_run {
            let result = Err(upgrading());
            return self.outputs.push(Output::Answered { id: asked.id, result });
        }
        if self.changes.waiting.len() < WAITING_MAX {
            return self.changes.waiting.push_back(asked);
        }
        let message = format!("{WAITING_MAX} changes wait for their turn");
        let hint = "nothing has changed; see what holds them: weirctl events";
        let result = Err(Refusal::new(Code::Failed, message, hint));
        self.outputs.push(Output::Answered { id: asked.id, result });
    }

    /// Takes in the plan of the current change.
    pub(super) fn on_planned(&mut self, planned: Planned) {
        let Planned { id, ids, result, .. } = planned;
        match &mut self.changes.current {
            Some(change) if change.id == id && matches!(change.step, Step::Planning(None)) => {
                change.step = Step::Planning(Some(result));
                self.ids = ids;
            }
            _ => tracing::error!("there is a plan for change {id}, which waits for none"),
        }
    }

    /// Advances the changes, one after another, as far as they can go.
    pub(super) fn advance_changes(&mut self, moment: Clocks) {
        while let Some(mut change) = self.current_change(moment) {
            let result = match change.advance(self, moment) {
                Ok(answer) => Ok(answer),
                Err(Halt::Refused(refusal)) => Err(refusal),
                Err(Halt::Blocked) => {
                    self.changes.current = Some(change);
                    return;
                }
            };
            self.outputs.push(Output::Answered { id: change.id, result });
        }
    }

    /// The change that is under way, or else the next one. In between, what DNS has found and what
    /// agents have said go to the shards: a plan is made of the snapshot that they replace.
    fn current_change(&mut self, moment: Clocks) -> Option<Change> {
        self.changes.current.take().or_else(|| {
            // The next process has the identities of now.
            if !self.is_handing_over() {
                self.regroup(moment);
                self.remark(moment);
            }
            self.next_change(moment.now)
        })
    }

    /// Begins the change whose turn it is. Its plan is a job, since a large configuration takes
    /// long; no other change touches the configuration meanwhile. A change that only reaches
    /// backends that were removed earlier is decided here.
    fn next_change(&mut self, now: Now) -> Option<Change> {
        let AskedChange { id, request, options, by } = self.changes.waiting.pop_front()?;
        let (dry_run, note) = (options.dry_run, options.note.cleaned());
        let readies = if dry_run { Vec::new() } else { readied(&request).to_vec() };
        let kills = if dry_run { Vec::new() } else { self.removed_to_kill(&request) };
        let confirm = options.confirm.clone();
        let change = |step| Change { id, dry_run, by, note, confirm, readies, kills, step };
        let refused = self.refuse_while_unconfirmed(&request, &options, now).err().map(Err);
        if let Some(decided) = refused.or_else(|| self.decide_removed(&request, &options)) {
            return Some(change(Step::Planning(Some(decided))));
        }
        let load = dry_run.then(|| Box::new(self.load_for(&request)));
        self.outputs.push(Output::Plan(PlanJob {
            id,
            snapshot: self.snapshot.clone(),
            request,
            options,
            ids: self.ids.clone(),
            past: self.versions.reader(),
            base: self.base.clone(),
            down: self.health.down().collect(),
            load,
        }));
        Some(change(Step::Planning(None)))
    }
}

impl Change {
    /// Goes as far as it can. Until the version is durable, a refusal leaves everything as it was.
    fn advance(&mut self, control: &mut Control, moment: Clocks) -> Result<Answer, Halt> {
        loop {
            let step = core::mem::replace(&mut self.step, Step::Over);
            let from = step.index();
            let result = self.take_step(step, control, moment);
            entered(from, &self.step);
            if let Some(answer) = result? {
                return Ok(answer);
            }
        }
    }

    fn take_step(
        &mut self,
        step: Step,
        control: &mut Control,
        moment: Clocks,
    ) -> Result<Option<Answer>, Halt> {
        match step {
            Step::Planning(None) => self.blocked(step),
            Step::Planning(Some(decided)) => Ok(self.decided(control, decided?, moment)),
            Step::Binding(Binding { again: Some(_), .. }) => self.blocked(step),
            Step::Binding(binding) => self.bind(control, binding, moment),
            Step::Storing(mut storing) => match storing.outcome.take() {
                None => self.blocked(Step::Storing(storing)),
                Some(Err(why)) => {
                    control.discard((storing.snapshot, storing.base));
                    Err(refuse(why).into())
                }
                Some(Ok(())) => {
                    let preparation = control.begin_preparation(&storing.snapshot);
                    let slices = Slices::Due;
                    self.step = Step::Preparing(Preparing { storing, preparation, slices });
                    Ok(None)
                }
            },
            Step::Preparing(preparing) => self.prepare(control, preparing, moment),
            Step::Adopting(adopting) => self.adopt(control, adopting, moment.now),
            Step::Over => unreachable!("it was answered"),
        }
    }

    fn blocked<T>(&mut self, step: Step) -> Result<T, Halt> {
        self.step = step;
        Err(Halt::Blocked)
    }

    fn decided(
        &mut self,
        control: &mut Control,
        decided: Decided,
        moment: Clocks,
    ) -> Option<Answer> {
        let Decided { mut plan, next } = decided;
        match next {
            None => {
                self.end_readied_hold(control, &mut plan, moment);
                if !self.kills.is_empty() {
                    control.kill(&self.kills);
                    control.tell_killed(&plan.summary, moment);
                }
                Some(self.changed(control, plan, moment.now))
            }
            Some(next) => {
                self.step = Step::Binding(Binding { plan, next, since: moment.now, again: None });
                None
            }
        }
    }

    /// Binds the new addresses, then asks for the append.
    fn bind(
        &mut self,
        control: &mut Control,
        binding: Binding,
        moment: Clocks,
    ) -> Result<Option<Answer>, Halt> {
        if let Err(refusal) = control.refuse_loops(&binding.next.snapshot) {
            control.discard(binding.next);
            return Err(refusal.into());
        }
        // A socket that listens for a moment would take connections and reset them.
        if self.dry_run {
            control.discard(binding.next);
            return Ok(Some(self.changed(control, binding.plan, moment.now)));
        }
        let sockets = match control.bind(&binding.next.snapshot) {
            Ok(sockets) => sockets,
            Err(error) => {
                let in_time = moment.now - binding.since < RELEASE_WAIT;
                if in_time && control.may_pass(&error, moment.now) {
                    let again = Some(moment.now + RELEASE_POLL);
                    return self.blocked(Step::Binding(Binding { again, ..binding }));
                }
                control.discard(binding.next);
                return Err(error.refusal().into());
            }
        };
        let Binding { plan, next, .. } = binding;
        let storing = control.begin_append(
            BoundVersion { plan, next, sockets },
            (self.by, &self.note),
            self.confirm.as_ref(),
            moment,
        );
        self.step = Step::Storing(storing);
        Ok(None)
    }

    /// Prepares a slice of the version. Sends it if that was the last one.
    fn prepare(
        &mut self,
        control: &mut Control,
        mut preparing: Preparing,
        moment: Clocks,
    ) -> Result<Option<Answer>, Halt> {
        if preparing.slices == Slices::Due {
            let Preparing { storing, preparation, .. } = &mut preparing;
            let is_more = control.prepare(&storing.snapshot, preparation, moment.now);
            preparing.slices = Slices::after(is_more);
        }
        if preparing.slices != Slices::Done {
            return self.blocked(Step::Preparing(preparing));
        }
        self.send(control, preparing.storing, moment);
        Ok(None)
    }

    /// Sends the version, which is durable now: no shard uses a version that a crash would undo.
    fn send(&mut self, control: &mut Control, storing: Storing, moment: Clocks) {
        let Storing { mut plan, snapshot, base, drift_keys, sockets, terms, .. } = storing;
        let version = snapshot.version;
        let summary = plan.summary.as_str();
        let commit = Commit { next: snapshot.into(), sockets, summary, by: self.by };
        control.commit(commit, moment);
        let before = core::mem::replace(&mut control.base, base);
        if let Some(before) = before.filter(|before| Arc::strong_count(before) == 1) {
            control.discard(before);
        }
        control.drift_keys = drift_keys;
        control.unconfirmed = None;
        if let Some(terms) = terms {
            control.wait_for_confirmation(terms, moment);
        }
        // Behind the snapshot for every shard: each shard kills after it has adopted.
        control.kill(&plan.kills);
        control.kill(&self.kills);
        self.end_readied_hold(control, &mut plan, moment);
        self.step = Step::Adopting(Adopting { plan, version, slices: Slices::Due });
    }

    /// Gives up a slice of what is gone, and answers when every shard has the version.
    fn adopt(
        &mut self,
        control: &mut Control,
        mut adopting: Adopting,
        now: Now,
    ) -> Result<Option<Answer>, Halt> {
        if adopting.slices == Slices::Due {
            adopting.slices = Slices::after(control.sweep());
        }
        // The next change may begin only when this one has left nothing to do.
        let is_done = adopting.slices == Slices::Done;
        match control.adopted(adopting.version).filter(|_| is_done) {
            None => self.blocked(Step::Adopting(adopting)),
            Some(adopted) => {
                adopted?;
                Ok(Some(self.changed(control, adopting.plan, now)))
            }
        }
    }

    /// Ends the backend's hold as well, for `backend ready`. A hold is not configuration: if
    /// nothing else changes, there is no new version.
    fn end_readied_hold(&self, control: &mut Control, plan: &mut Plan, moment: Clocks) {
        for name in &self.readies {
            if let Some(rest) = control.end_hold_of(name, moment) {
                plan.summary += &format!("; a hold of {} s more was ended", rest.as_secs());
            }
        }
    }

    fn changed(&self, control: &Control, plan: Plan, now: Now) -> Answer {
        let live = control.shards.iter().filter(|shard| shard.counts()).count();
        let waiting = control.rollout.waiting().iter().count();
        let count = |shards: usize| u16::try_from(shards).unwrap_or(u16::MAX);
        let Plan { before, after, summary, undo, warnings, told, .. } = plan;
        let (changes, impact) = told.unzip();
        Answer::Changed(Changed {
            version: control.snapshot.version.0,
            before,
            after,
            summary,
            undo,
            dry_run: self.dry_run,
            unconfirmed: control.unconfirmed(now).filter(|_| self.confirm.is_some()),
            warnings,
            changes: changes.unwrap_or_default(),
            impact,
            shards_adopted: count(live.saturating_sub(waiting)),
            shards: count(live),
        })
    }
}
