//! Checks that several backends have in common: one is made for all of them.
//!
//! ```text
//! web/b1 ─┐
//! api/b7 ─┼─ one plan ── one check in flight, led by the first that was due ── one outcome for all
//! db/b2  ─┘
//! ```

use std::collections::BTreeMap;
use std::rc::Rc;

use weir_proto::ids::BackendId;

use super::plan::CheckPlan;

/// Every plan that some backend has.
#[derive(Debug, Default)]
pub(super) struct SharedChecks {
    by_plan: BTreeMap<Rc<CheckPlan>, SharedCheck>,
    /// Checks in a million seconds, if all are at their usual interval.
    wanted: u64,
}

/// The backends of one plan.
#[derive(Debug, Default)]
struct SharedCheck {
    backends: Vec<BackendId>,
    /// For whom the check was begun that is in flight.
    leader: Option<BackendId>,
}

impl SharedChecks {
    /// The backend has this plan from now on.
    pub(super) fn join(&mut self, plan: CheckPlan, id: BackendId) -> Rc<CheckPlan> {
        let known = self.by_plan.get_key_value(&plan).map(|(plan, _)| plan.clone());
        let plan = known.unwrap_or_else(|| Rc::new(plan));
        let shared = self.by_plan.entry(plan.clone()).or_default();
        if shared.backends.is_empty() {
            self.wanted += wanted(&plan);
        }
        shared.backends.push(id);
        plan
    }

    /// The backend does not have this plan any more.
    pub(super) fn leave(&mut self, plan: &Rc<CheckPlan>, id: BackendId) {
        let Some(shared) = self.by_plan.get_mut(plan) else { return };
        let had_any = !shared.backends.is_empty();
        shared.backends.retain(|it| *it != id);
        if had_any && shared.backends.is_empty() {
            self.wanted -= wanted(plan);
        }
        self.forget(plan);
    }

    /// The backend for which a check of this plan is in flight.
    pub(super) fn leader(&self, plan: &Rc<CheckPlan>) -> Option<BackendId> {
        self.by_plan.get(plan)?.leader
    }

    /// A check begins. The other backends of its plan.
    pub(super) fn begin(&mut self, plan: &Rc<CheckPlan>, leader: BackendId) -> Vec<BackendId> {
        let Some(shared) = self.by_plan.get_mut(plan) else { return Vec::new() };
        debug_assert_eq!(shared.leader, None, "two checks of one plan");
        shared.leader = Some(leader);
        shared.backends.iter().copied().filter(|id| *id != leader).collect()
    }

    /// The check that `leader` has begun has ended. The other backends of its plan.
    pub(super) fn end(&mut self, plan: &Rc<CheckPlan>, leader: BackendId) -> Vec<BackendId> {
        let Some(shared) = self.by_plan.get_mut(plan) else { return Vec::new() };
        shared.leader = None;
        let others = shared.backends.iter().copied().filter(|id| *id != leader).collect();
        self.forget(plan);
        others
    }

    /// Checks a second, if all are at their usual interval.
    pub(super) fn per_second(&self) -> f64 {
        // Below 2^52 for any number of backends that there may be.
        #[expect(clippy::cast_precision_loss, reason = "it is for people")]
        let wanted = self.wanted as f64;
        wanted / 1e6
    }

    /// Drops a plan that no backend has, once none of its checks is in flight.
    fn forget(&mut self, plan: &Rc<CheckPlan>) {
        let is_idle = |it: &SharedCheck| it.backends.is_empty() && it.leader.is_none();
        if self.by_plan.get(plan).is_some_and(is_idle) {
            self.by_plan.remove(plan);
        }
    }
}

/// Checks of one plan in a million seconds.
fn wanted(plan: &CheckPlan) -> u64 {
    let millis = u64::try_from(plan.intervals.usual.as_millis()).unwrap_or(u64::MAX);
    1_000_000_000 / millis.max(1)
}
