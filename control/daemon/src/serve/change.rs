//! Those who ask control for changes and wait for the outcome. A change whose client is gone goes
//! on; its outcome is dropped.

use std::collections::BTreeMap;

use weir_proto::answer::{Answer, Author};
use weir_proto::ids::Version;
use weir_proto::request::{ChangeOptions, ChangeRequest, Refusal, TaskRequest};

use super::Shared;
use weir_control_core::control::{AskedChange, ChangeId, ChangeOutcome, Input, SearchRequest};
use weir_control_core::file::Settings;

/// The outcomes of changes, on their way to those who wait for them.
#[derive(Debug, Default)]
pub(super) struct Outcomes {
    last: u64,
    waited_for: BTreeMap<ChangeId, Awaited>,
}

/// A change that somebody waits for, as far as it is known.
#[derive(Debug, Default)]
struct Awaited {
    /// `None` until the change is answered.
    outcome: Option<ChangeOutcome>,
    /// The process settings of the file that it applies, once that is read.
    settings: Option<Settings>,
}

impl Outcomes {
    /// A name for a change whose outcome is waited for.
    fn begin(&mut self) -> ChangeId {
        self.last += 1;
        let id = ChangeId(self.last);
        self.waited_for.insert(id, Awaited::default());
        id
    }

    /// True if no outcome is waited for.
    #[cfg(test)]
    pub(super) fn is_empty(&self) -> bool {
        self.waited_for.is_empty()
    }

    /// The change has come to this.
    pub(super) fn put(&mut self, id: ChangeId, outcome: ChangeOutcome) {
        if let Some(awaited) = self.waited_for.get_mut(&id) {
            awaited.outcome = Some(outcome);
        }
    }

    /// The file of the change has these settings.
    pub(super) fn put_settings(&mut self, id: ChangeId, settings: Settings) {
        if let Some(awaited) = self.waited_for.get_mut(&id) {
            awaited.settings = Some(settings);
        }
    }
}

/// Somebody waits for an outcome. Dropping it waits no more.
struct Waiter<'a> {
    shared: &'a Shared,
    id: ChangeId,
}

impl Waiter<'_> {
    fn take(&self) -> Option<ChangeOutcome> {
        self.shared.outcomes.borrow_mut().waited_for.get_mut(&self.id)?.outcome.take()
    }

    fn take_settings(&self) -> Option<Settings> {
        self.shared.outcomes.borrow_mut().waited_for.get_mut(&self.id)?.settings.take()
    }
}

impl Drop for Waiter<'_> {
    fn drop(&mut self) {
        self.shared.outcomes.borrow_mut().waited_for.remove(&self.id);
    }
}

impl Shared {
    /// Makes a change, and waits for its outcome.
    pub(super) async fn change(
        &self,
        request: ChangeRequest,
        options: ChangeOptions,
        by: Author,
    ) -> Result<Answer, Refusal> {
        self.change_and_settings(request, options, by).await.0
    }

    /// Makes a change, and waits for its outcome. Gives the process settings of the file as well,
    /// if it applies one that can be read.
    pub(super) async fn change_and_settings(
        &self,
        request: ChangeRequest,
        options: ChangeOptions,
        by: Author,
    ) -> (ChangeOutcome, Option<Settings>) {
        self.answered(|id| Input::Change(AskedChange { id, request, options, by })).await
    }

    /// Begins or cancels a task, by figures of this moment.
    pub(super) async fn task(&self, request: TaskRequest) -> Result<Answer, Refusal> {
        self.fresh_figures().await;
        self.answered(|id| Input::Task { id, request }).await.0
    }

    /// Looks among live sessions, or ends some.
    pub(super) async fn search(&self, request: SearchRequest) -> Result<Answer, Refusal> {
        self.answered(|id| Input::Search { id, request }).await.0
    }

    /// Takes a drain back.
    pub(crate) async fn ready(&self) -> Result<Answer, Refusal> {
        self.answered(|id| Input::Ready { id }).await.0
    }

    /// Nothing is changed from here on, until the next process has taken over or has failed to.
    pub(super) async fn begin_to_hand_over(&self) -> Result<Answer, Refusal> {
        self.answered(|id| Input::HandOverBegins { id }).await.0
    }

    /// Gives control an input that it answers, and waits for the answer.
    async fn answered(
        &self,
        input: impl FnOnce(ChangeId) -> Input,
    ) -> (ChangeOutcome, Option<Settings>) {
        let id = self.outcomes.borrow_mut().begin();
        let waiter = Waiter { shared: self, id };
        self.handle(input(id));
        let outcome = self.notify.until(|| waiter.take()).await;
        (outcome, waiter.take_settings())
    }

    /// Blocked until every live shard that is not fenced has adopted `version`.
    pub(crate) async fn adopted(&self, version: Version) -> Result<(), Refusal> {
        self.notify.until(|| self.control().adopted(version)).await
    }
}
