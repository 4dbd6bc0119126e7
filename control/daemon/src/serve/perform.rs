//! The shell around control: gives it inputs and carries out its outputs.
//!
//! ```text
//! reports, ticks, signals, requests ──▶ Control::handle ──▶ appends, checks, plans, answers
//!                      ▲                                              │
//!                      └────────── their results are inputs ──────────┘
//! ```

use std::panic::{AssertUnwindSafe, catch_unwind};

use weir_control_core::control::{ChangeId, Input, Output, PlanJob, Planned};
use weir_control_core::health::Check;
use weir_control_core::resolve::Lookup;
use weir_control_core::sessions::FoundSessions;
use weir_proto::answer::{Answer, Note, Said};
use weir_proto::request::{ChangeOptions, ChangeRequest};

use super::{Shared, moment, own_author};
use crate::remembered::{self, RememberedContent, RememberedFile};
use crate::{prober, resolver, rt};

impl Shared {
    /// Gives control one input, carries out its outputs and wakes the tasks that wait for a result.
    pub(crate) fn handle(&self, input: Input) {
        let last = self.control().events.last();
        let outputs = self.control.borrow_mut().handle(input, moment());
        if self.control().events.last() != last {
            self.news.ring();
        }
        outputs.into_iter().for_each(|output| self.perform(output));
        self.notify.ring();
    }

    fn perform(&self, output: Output) {
        match output {
            Output::Answered { id, result } => self.outcomes.borrow_mut().put(id, result),
            Output::Found { id, found } => self.begin_answer(id, *found),
            Output::SessionLog(logged) => {
                if let Some(log) = &self.session_log {
                    log.put(*logged);
                }
            }
            Output::Plan(job) => self.begin_plan(job),
            Output::Append(record) => {
                if let Err(refused) = self.appender.append(record, self.in_use()) {
                    self.handle(Input::Appended(refused));
                }
            }
            Output::Check(check) => self.begin_check(check),
            Output::RollBack { version, to, why } => self.begin_rollback(version, to, why),
            Output::Resolve(lookup) => self.begin_lookup(lookup),
            Output::Remember(groups) => self.begin_remember(|it| &it.groups, groups),
            Output::RememberMembers(found) => self.begin_remember(|it| &it.members, found),
            // No request leads to a hand-over yet.
            Output::ReadyToHandOver { id } => {
                let said = Said { text: "no change is under way".to_owned() };
                self.outcomes.borrow_mut().put(id, Ok(Answer::Said(said)));
            }
            Output::Free(parts) => rt::spawn("free", rt::blocking(move || drop(parts))),
        }
    }

    /// Has it written: one write after another, the newest at last.
    fn begin_remember<T: RememberedContent>(
        &self,
        file: fn(&Shared) -> &RememberedFile<T>,
        content: T,
    ) {
        let Some(state) = self.own.upgrade().filter(|_| file(self).put(content)) else { return };
        rt::spawn("remember", async move {
            while let Some((directory, content)) = file(&state).take() {
                let write = move || remembered::write((&directory, content));
                if let Err(why) = rt::blocking(write).await {
                    tracing::error!("{why}: {}", T::UNWRITTEN);
                }
            }
        });
    }

    fn begin_lookup(&self, lookup: Lookup) {
        let Some(state) = self.own.upgrade() else { return };
        rt::spawn("lookup", async move {
            let outcome = resolver::resolve(&lookup).await;
            state.handle(Input::Resolved { lookup, outcome });
        });
    }

    fn begin_plan(&self, job: PlanJob) {
        let Some(state) = self.own.upgrade() else { return };
        rt::spawn("change", async move {
            let mut planned = rt::blocking(move || plan(job)).await;
            if let Some((id, settings)) = planned.take_settings() {
                state.outcomes.borrow_mut().put_settings(id, *settings);
            }
            state.handle(Input::Planned(planned.into()));
        });
    }

    /// Makes an answer of what a search has found: a hundred thousand rows take longer than a turn
    /// may.
    fn begin_answer(&self, id: ChangeId, found: FoundSessions) {
        let Some(state) = self.own.upgrade() else { return };
        rt::spawn("found", async move {
            let result = rt::blocking(move || found.answer()).await;
            state.outcomes.borrow_mut().put(id, result);
            state.notify.ring();
        });
    }

    /// The way back of a version that was not confirmed. If it was meanwhile, or somebody has
    /// rolled back, this one is refused.
    fn begin_rollback(&self, version: u64, to: u64, why: String) {
        let Some(state) = self.own.upgrade() else { return };
        rt::spawn("rollback", async move {
            let options = ChangeOptions {
                if_version: Some(version),
                yes: true,
                note: Note { message: Some(why), command: None },
                ..ChangeOptions::default()
            };
            let change = ChangeRequest::Rollback { version: to };
            if let Err(refusal) = state.change(change, options, own_author()).await {
                tracing::error!("version {version} is not rolled back: {refusal}");
            }
        });
    }

    fn begin_check(&self, check: Check) {
        let Some(state) = self.own.upgrade() else { return };
        rt::spawn("check", async move {
            let started = rt::now();
            let outcome = prober::probe(&check).await;
            state.handle(Input::Checked { check, outcome, started });
        });
    }
}

/// Runs the job. A panic becomes a refusal, so that the change does not wait for its plan forever.
fn plan(job: PlanJob) -> Planned {
    let on_panic = job.on_panic();
    catch_unwind(AssertUnwindSafe(|| job.run())).unwrap_or_else(|panic| {
        let text = panic.downcast_ref::<String>().map(String::as_str);
        on_panic(text.or_else(|| panic.downcast_ref::<&str>().copied()).unwrap_or("a panic"))
    })
}
