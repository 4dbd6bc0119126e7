//! Control is a function of its inputs (ADR 0030): the shell around it (in the daemon, or in the
//! simulator) turns everything that happens into an [`Input`], and does what the [`Output`]s say.

use std::collections::BTreeMap;

use weir_core::base::clock::Now;
use weir_proto::answer::EventKind;
use weir_proto::order::Report;
use weir_proto::request::TaskRequest;

use super::Remainder;
use super::change::{AskedChange, ChangeId, ChangeOutcome};
use super::planning::{PlanJob, Planned};
use super::searching::SearchRequest;
use super::{Clocks, Control};
use crate::events::Kept;
use crate::health::{Check, CheckOutcome};
use crate::record::{Appended, Record};
use crate::resolve::{Lookup, LookupOutcome, RememberedMembers};
use crate::session_log::LoggedSessions;
use crate::sessions::FoundSessions;
use crate::sockets::BoundSockets;

/// Something that has happened, or that is asked for.
#[derive(Debug)]
pub enum Input {
    /// The addresses of the first version are bound, as far as they can be. It goes to every shard.
    Begin(BoundSockets),
    /// The first version was begun without sockets: these are they.
    Listen(BoundSockets),
    /// A change is asked for. [`Output::Answered`] ends it, in this call or in a later one.
    Change(AskedChange),
    /// A [`PlanJob`] has been run.
    Planned(Box<Planned>),
    /// An [`Output::Append`] has ended.
    Appended(Appended),
    /// The store's thread has ended: no append will be answered any more.
    StoreLost,
    /// A notice from the store, for the events.
    StoreSaid(String),
    /// A report of a shard.
    Report(Report),
    /// A check that began at `started` has ended.
    Checked { check: Check, outcome: CheckOutcome, started: Now },
    /// An [`Output::Resolve`] has ended.
    Resolved { lookup: Lookup, outcome: LookupOutcome },
    /// It is the time of [`Control::next_wake`].
    Wake,
    /// Comes at a fixed interval, 250 ms in the daemon.
    Tick,
    /// Asks every shard for figures that are newer than this input. [`Control::has_fresh`] says
    /// when all have come.
    WantFigures,
    /// No new sessions are accepted. The process stops at `until`, or as soon as no session is
    /// left. With `None` it stops only by another input.
    Drain { until: Option<Now> },
    /// A drain without an end is taken back. [`Output::Answered`] comes in this call.
    Ready { id: ChangeId },
    /// A task is to begin or to end. [`Output::Answered`] comes in this call, or in a later one if
    /// its sessions have to be looked for.
    Task { id: ChangeId, request: TaskRequest },
    /// Live sessions are asked for, or to be ended. [`Output::Found`] or [`Output::Answered`] ends
    /// it, in this call or in a later one.
    Search { id: ChangeId, request: SearchRequest },
    /// Ends every session, then the process.
    Stop,
    /// Another process is to take the place of this one. [`Output::ReadyToHandOver`] comes when no
    /// change is under way, or [`Output::Answered`] refuses it. Until [`Input::HandOverFailed`]
    /// whatever would change something is refused, and queries are answered.
    HandOverBegins { id: ChangeId },
    /// No process has taken the place of this one: everything goes on as before.
    HandOverFailed,
    /// The process whose place this one has taken has given everything, and has counted this since
    /// its [`Legacy`](super::Legacy). `None`: it has died, and that is lost.
    Inherit(Option<Box<Remainder>>),
    /// An audited request or a reload, and its outcome, for [`Control::events`].
    Audited { kept: Kept, kind: EventKind, subject: String, text: String },
}

/// Something for the shell to do.
#[derive(Debug)]
pub enum Output {
    /// The outcome of the change, the task's request or the [`Input::Ready`] with this id.
    Answered { id: ChangeId, result: ChangeOutcome },
    /// The search is over: [`FoundSessions::answer`] is its answer, and work for another
    /// thread.
    Found { id: ChangeId, found: Box<FoundSessions> },
    /// Write these into the session log, on another thread.
    SessionLog(Box<LoggedSessions>),
    /// Run this, on another thread if there is one; [`Input::Planned`] brings its result.
    Plan(PlanJob),
    /// Make this durable; [`Input::Appended`] brings the outcome. There is one at a time.
    Append(Record),
    /// Ask for this rollback in weir's own name, if `version` is still the current one.
    RollBack { version: u64, to: u64, why: String },
    /// Make this check; [`Input::Checked`] brings its result.
    Check(Check),
    /// Look this up; [`Input::Resolved`] brings the outcome.
    Resolve(Lookup),
    /// Keep on disk which priority group each pool with `failover = "stay"` uses, by the pool's
    /// name: all of it, in the place of what was kept. Traffic does not wait for it.
    Remember(BTreeMap<String, u8>),
    /// Keep on disk what DNS has found for each pool, by the pool's name: all of it, in the place
    /// of what was kept. Traffic does not wait for it.
    RememberMembers(BTreeMap<String, RememberedMembers>),
    /// No change is under way, and none begins: [`Control::legacy`] may be taken.
    ReadyToHandOver { id: ChangeId },
    /// Drop this, on another thread if there is one.
    Free(Discarded),
}

/// Parts of a configuration that control has done with. To free those of a hundred thousand
/// backends takes longer than a turn may.
pub struct Discarded {
    _parts: Box<dyn Send>,
}

impl core::fmt::Debug for Discarded {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.write_str("Discarded")
    }
}

impl Control {
    /// Handles one input. The outputs must be carried out in the order returned.
    #[must_use]
    pub fn handle(&mut self, input: Input, moment: Clocks) -> Vec<Output> {
        match input {
            Input::Begin(bound) => self.begin(bound, moment),
            Input::Listen(bound) => self.listen(bound, moment),
            Input::Change(asked) => self.on_change(asked),
            Input::Planned(planned) => self.on_planned(*planned),
            Input::Appended(appended) => self.on_appended(appended),
            Input::StoreLost => self.on_store_lost(moment),
            Input::StoreSaid(text) => self.on_store_said(text, moment),
            Input::Report(report) => self.on_report(report, moment),
            Input::Checked { check, outcome, started } => {
                self.on_checked(&check, outcome, started, moment);
            }
            Input::Resolved { lookup, outcome } => self.on_resolved(&lookup, outcome, moment),
            Input::Wake => self.on_wake(moment),
            Input::Tick => self.on_tick(moment),
            Input::WantFigures => self.want_figures(),
            Input::Drain { until } => self.drain(until, moment),
            Input::Ready { id } => self.ready(id, moment),
            Input::Task { id, request } => self.on_task(id, request, moment),
            Input::Search { id, request } => self.on_search(id, request, moment),
            Input::Stop => self.stop(moment),
            Input::HandOverBegins { id } => self.begin_hand_over(id),
            Input::HandOverFailed => self.on_hand_over_failed(moment),
            Input::Inherit(rest) => {
                self.inherit_rest(rest.as_deref());
                self.leases.predecessor_ended(moment.now);
                self.flush();
            }
            Input::Audited { kept, kind, subject, text } => {
                self.events.keep(kept, (kind, &subject, &text), moment.wall_ms);
            }
        }
        self.advance_changes(moment);
        self.watch_hand_over();
        core::mem::take(&mut self.outputs)
    }

    /// When [`Input::Wake`] is due, in the past if at once; `None` if there is nothing to wake for
    /// until another input comes.
    #[must_use]
    pub fn next_wake(&self) -> Option<Now> {
        let change = self.changes.next_wake();
        let others = self.next_check().into_iter().chain(self.next_lookup());
        change.into_iter().chain(others).chain(self.next_remark()).min()
    }

    /// How many changes are not answered yet, the current one included.
    #[must_use]
    pub fn changes_waiting(&self) -> usize {
        self.changes.len()
    }

    /// Has something freed elsewhere.
    pub(super) fn discard(&mut self, parts: impl Send + 'static) {
        self.outputs.push(Output::Free(Discarded { _parts: Box::new(parts) }));
    }

    fn on_wake(&mut self, moment: Clocks) {
        self.changes.wake();
        let checks = self.take_checks(moment);
        self.outputs.extend(checks.into_iter().map(Output::Check));
        self.take_lookups(moment.now);
    }
}
