//! Addresses that somebody else had when the process started: no shard listens there before control
//! says that it is bound.

use super::{SimProcess, StepResult};

impl SimProcess {
    /// Compares what control calls unbound with where shards listen.
    ///
    /// # Errors
    /// A shard listens at an address that control has not bound.
    pub(super) fn check_unbound(&self) -> StepResult {
        let Some(daemon) = self.daemon.as_ref().filter(|it| it.control.unbound() > 0) else {
            return Ok(());
        };
        let listeners = &daemon.snapshot().listeners;
        let unbound = listeners.iter().flat_map(|it| daemon.control.unbound_of(it));
        for (address, _) in unbound {
            let open = |cell: &&super::SimShard| cell.is_live() && cell.listens_at(address);
            if self.cells.iter().any(|cell| open(&cell)) {
                return Err(format!("a shard listens at {address}, which control has not bound"));
            }
        }
        Ok(())
    }
}
