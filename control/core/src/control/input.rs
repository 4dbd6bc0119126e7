//! Control is a function of its inputs (ADR 0030): the shell turns everything that happens into an
//! [`Input`], and does what the [`Output`]s say.

use weir_core::base::clock::Now;
use weir_proto::order::Report;

use super::change::{AskedChange, ChangeId, ChangeOutcome};
use super::planning::{PlanJob, Planned};
use super::{Clocks, Control};
use crate::events::Kept;
use crate::health::{Check, CheckOutcome};
use crate::record::{Appended, Record};
use crate::sockets::Sockets;

/// Something that has happened, or that somebody wants.
#[derive(Debug)]
pub enum Input {
    /// The sockets of the first version are bound: every shard gets it.
    Begin { sockets: Sockets },
    /// Somebody asks for a change. Its [`Output::Answered`] comes sooner or later.
    Change(AskedChange),
    /// A [`PlanJob`] has been run.
    Planned(Planned),
    /// An [`Output::Append`] has ended.
    Appended(Appended),
    /// No append ends any more.
    StoreLost,
    /// Something that the store has to say of itself.
    StoreSaid(String),
    /// A shard says something.
    Report(Report),
    /// A check that began at `started` has ended.
    Checked { check: Check, outcome: CheckOutcome, started: Now },
    /// It is the time of [`Control::next_wake`].
    Wake,
    /// Some times a second.
    Tick,
    /// From now on only figures count that are asked for later than now: [`Control::has_fresh`].
    WantFigures,
    /// New sessions are not accepted any more. The process stops at `until`, or before it when no
    /// session is left; `None`: only by another input.
    Drain { until: Option<Now> },
    /// Every session ends now, and the process.
    Stop,
    /// A request, and what came of it, for [`Control::events`].
    Audited { kept: Kept, subject: String, text: String },
}

/// Something for the shell to do.
#[derive(Debug)]
pub enum Output {
    /// The end of the change of that id.
    Answered { id: ChangeId, result: ChangeOutcome },
    /// Run this, on another thread if there is one; [`Input::Planned`] brings its result.
    Plan(PlanJob),
    /// Make this durable; [`Input::Appended`] says what came of it. There is one at a time.
    Append(Record),
    /// Make this check; [`Input::Checked`] brings its result.
    Check(Check),
}

impl Control {
    /// Takes in one input. The outputs are in the order in which they are to be done.
    #[must_use]
    pub fn handle(&mut self, input: Input, moment: Clocks) -> Vec<Output> {
        match input {
            Input::Begin { sockets } => self.begin(sockets, moment.now),
            Input::Change(asked) => self.on_change(asked),
            Input::Planned(planned) => self.on_planned(planned),
            Input::Appended(appended) => self.on_appended(appended),
            Input::StoreLost => self.on_store_lost(moment),
            Input::StoreSaid(text) => self.on_store_said(text, moment),
            Input::Report(report) => self.on_report(report, moment),
            Input::Checked { check, outcome, started } => {
                self.on_checked(&check, outcome, started, moment);
            }
            Input::Wake => self.on_wake(moment),
            Input::Tick => self.on_tick(moment),
            Input::WantFigures => self.want_figures(),
            Input::Drain { until } => self.drain(until, moment),
            Input::Stop => self.stop(moment),
            Input::Audited { kept, subject, text } => {
                self.events.audit(kept, &subject, &text, moment.wall_ms);
            }
        }
        self.go_on(moment);
        core::mem::take(&mut self.outputs)
    }

    /// When [`Input::Wake`] has something to do; `None` if only another input can change that. The
    /// past means at once.
    #[must_use]
    pub fn next_wake(&self) -> Option<Now> {
        let bind = self.changes.binds_again();
        bind.into_iter().chain(self.next_check()).min()
    }

    /// Changes that were not answered.
    #[must_use]
    pub fn changes_waiting(&self) -> usize {
        self.changes.len()
    }

    fn on_wake(&mut self, moment: Clocks) {
        self.changes.bind_now();
        let checks = self.take_checks(moment);
        self.outputs.extend(checks.into_iter().map(Output::Check));
    }
}
