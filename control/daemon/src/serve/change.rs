//! Those who ask control for changes and wait for the outcome. A change whose client is gone goes
//! on; its outcome is dropped.

use std::collections::BTreeMap;

use weir_proto::answer::{Answer, Author};
use weir_proto::ids::Version;
use weir_proto::request::{ChangeOptions, ChangeRequest, Refusal};

use super::Shared;
use weir_control_core::control::{AskedChange, ChangeId, ChangeOutcome, Input};

/// The outcomes of changes, on their way to those who wait for them.
#[derive(Debug, Default)]
pub(super) struct Outcomes {
    last: u64,
    /// `None` until the change is answered.
    waited_for: BTreeMap<ChangeId, Option<ChangeOutcome>>,
}

impl Outcomes {
    /// A name for a change whose outcome is waited for.
    fn begin(&mut self) -> ChangeId {
        self.last += 1;
        let id = ChangeId(self.last);
        self.waited_for.insert(id, None);
        id
    }

    /// True if no outcome is waited for.
    #[cfg(test)]
    pub(super) fn is_empty(&self) -> bool {
        self.waited_for.is_empty()
    }

    /// The change has come to this.
    pub(super) fn put(&mut self, id: ChangeId, outcome: ChangeOutcome) {
        if let Some(place) = self.waited_for.get_mut(&id) {
            *place = Some(outcome);
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
        self.shared.outcomes.borrow_mut().waited_for.get_mut(&self.id)?.take()
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
        let id = self.outcomes.borrow_mut().begin();
        let waiter = Waiter { shared: self, id };
        self.handle(Input::Change(AskedChange { id, request, options, by }));
        self.notify.until(|| waiter.take()).await
    }

    /// Blocked until every live shard that is not fenced has adopted `version`.
    pub(crate) async fn adopted(&self, version: Version) -> Result<(), Refusal> {
        self.notify.until(|| self.control().adopted(version)).await
    }
}
