//! Binding at a start: what can be bound is served, and control tries the rest again.

use std::collections::BTreeSet;

use weir_control_core::sockets::{BindError, BindPlan, BoundSockets};
use weir_proto::snapshot::Snapshot;

use super::{InitialState, Kept, PATIENCE, STEPS};
use crate::listen;
use crate::rt;
use crate::serve::{later, moment};

/// The most addresses that a refusal names.
const TOLD_MAX: usize = 16;

impl InitialState {
    /// Binds what can be bound.
    ///
    /// # Errors
    /// With `strict` an address cannot be bound. Without, none of them can be, and the state would
    /// begin with this file: who has made a mistake in it must hear of it.
    pub(super) async fn bind(&self, shards: u16, strict: bool) -> Result<BoundSockets, String> {
        let bound = bind_patiently(&self.snapshot, shards).await;
        let is_seed = matches!(self.kept, Kept::Seed(..));
        let is_nothing = bound.sockets.iter().all(Vec::is_empty);
        if bound.failed.is_empty() || !(strict || (is_seed && is_nothing)) {
            return Ok(bound);
        }
        Err(refusal(&bound.failed))
    }
}

/// Binds what can be bound. Addresses in use are tried for a moment: sockets that io_uring was
/// waiting on outlive a process that was killed.
async fn bind_patiently(snapshot: &Snapshot, shards: u16) -> BoundSockets {
    let deadline = later(moment(), PATIENCE);
    let mut bound = listen::bind_plan(&BindPlan::first(snapshot), shards);
    while bound.failed.iter().any(BindError::is_in_use) && rt::now() < deadline {
        rt::sleep(PATIENCE / STEPS).await;
        let failed: BTreeSet<_> = bound.failed.iter().map(|error| error.address).collect();
        let plan = BindPlan::again(snapshot, failed.clone(), |address| failed.contains(address));
        bound.merge(listen::bind_plan(&plan, shards));
    }
    bound
}

/// Each address with its reason and its way out.
fn refusal(failed: &[BindError]) -> String {
    let mut lines: Vec<String> =
        failed.iter().take(TOLD_MAX).map(|error| error.refusal().to_string()).collect();
    if let Some(more) = failed.len().checked_sub(TOLD_MAX).filter(|more| *more > 0) {
        lines.push(format!("{more} more addresses cannot be bound"));
    }
    lines.join("\n")
}
