//! Addresses that somebody else had when the process started: no shard listens there before control
//! says that it is bound.

use weir_proto::ids::ShardId;

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
        let wires = self.wires.borrow();
        let listeners = &daemon.snapshot().listeners;
        let unbound = listeners.iter().flat_map(|it| daemon.control.unbound_of(it));
        for (address, _) in unbound {
            let cells = (0..).zip(&self.cells).zip(&wires.all);
            for ((number, cell), wire) in cells.filter(|((_, cell), _)| cell.is_live()) {
                // Who has yet to hear that a drain was taken back has its old sockets.
                let told = daemon.control.has_told(ShardId(number)) && wire.is_taken();
                if told && cell.listens_at(address.address) {
                    let what = "which control has not bound";
                    return Err(format!("shard {number} listens at {address}, {what}"));
                }
            }
        }
        Ok(())
    }
}
