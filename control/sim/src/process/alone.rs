//! The control thread has died, and the fallback serves on: shards that panic are built again and
//! serve, what they eject is tried again.

use std::rc::Rc;

use weir_control_core::fallback::{Fallback, SignalsSeen};

use super::sim_fleet::SimFleet;
use super::{MS, SimProcess, StepResult};

/// Between two looks. It looks more often in truth.
const STEP_NS: u64 = 250 * MS;
/// A mailbox that is as good as never full. The fallback says a thing once.
const ROOMY: usize = 64;

/// The fallback of a process whose control has died.
pub(super) struct Alone {
    fallback: Fallback<SimFleet>,
    pub(super) next_look: u64,
    /// Sockets cannot always be bound, or mailboxes are soon full: then a shard may go without.
    may_fail: bool,
}

impl SimProcess {
    /// True if there is a control to lose, and not in the moment in which it has yet to hear that a
    /// shard is there: that one would be taken for one without sockets.
    pub(super) fn may_lose_control(&self) -> bool {
        let known = self.cells.iter().all(super::SimShard::is_known);
        // Who drains stays drained without it: it would not serve again.
        self.daemon.is_some() && self.alone.is_none() && known && !self.is_draining()
    }

    /// The control thread ends in the middle of whatever it did.
    pub(super) fn lose_control(&mut self) {
        self.street.note("control dies", [0, 0]);
        if let Some(daemon) = self.daemon.as_mut().filter(|_| !self.trap && self.rng.flip()) {
            // What the thread of the store was writing it writes, and control never hears of it.
            let _ = daemon.store.step();
        }
        let may_fail = self.faults.bind_errors > 0 || self.faults.orders_max < ROOMY;
        let newest = self.wires.borrow().newest.clone();
        let fallback = Fallback::after(SimFleet(Rc::clone(&self.wires)), newest.as_deref());
        self.alone = Some(Alone { fallback, next_look: self.street.now, may_fail });
    }

    /// The fallback looks at everything.
    ///
    /// # Errors
    /// A report is not what the shard should say.
    pub(super) fn look_alone(&mut self) -> StepResult {
        let Some(alone) = &mut self.alone else { return Ok(()) };
        for (number, cell) in self.cells.iter_mut().enumerate() {
            while let Some(report) = cell.report().map_err(|e| format!("shard {number}: {e}"))? {
                self.wires.borrow_mut().reports.push_back(report);
            }
        }
        let wires = Rc::clone(&self.wires);
        let newest = || wires.borrow_mut().newest_sockets();
        let now = super::daemon::moment(self.street.now).now;
        alone.next_look = self.street.now + STEP_NS;
        if !alone.fallback.look(SignalsSeen::default(), &newest, now) {
            self.street.note("the fallback gives up", [0, 0]);
            self.disk.leave();
            self.leave();
        }
        Ok(())
    }

    /// Every shard serves by a version, and has no backend down by its own doing.
    pub(super) fn is_kept(&self) -> bool {
        let Some(alone) = &self.alone else { return true };
        let serves = |cell: &super::SimShard| {
            let kept = cell.version > 0 && cell.listens_as_wanted() && !cell.ledger.holds_ejected();
            cell.is_live() && (kept || alone.may_fail)
        };
        self.cells.iter().all(serves)
    }
}
