//! Sweeps: every slot is looked at, some a turn, and the sessions that a kill or a stop is about
//! are ended. After a change of lifetimes each session gets its new deadline.

use weir_proto::ids::BackendId;
use weir_proto::reason::{By, Why};

use super::{SessionId, Table};
use crate::action::Actions;
use crate::base::clock::Now;
use crate::limits::RESCHEDULE_COST;

/// Sessions that are to be ended or looked at, in batches over several turns.
#[derive(Clone, Copy, Debug)]
pub(super) struct Sweep {
    pub(super) work: SweepWork,
    next_slot: u32,
}

/// The work of a sweep.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum SweepWork {
    /// The sessions of this backend are ended.
    Kill(BackendId),
    /// All sessions are ended.
    Stop,
    /// A lifetime has changed: sessions get the deadlines that they have now.
    Reschedule,
}

impl SweepWork {
    /// Slots of [`SCANNED_PER_TURN_MAX`](crate::limits::SCANNED_PER_TURN_MAX) that one look takes.
    fn look_cost(self) -> u32 {
        match self {
            SweepWork::Kill(_) | SweepWork::Stop => 1,
            SweepWork::Reschedule => RESCHEDULE_COST,
        }
    }

    /// From the first slot on.
    pub(super) fn begin(self) -> Sweep {
        Sweep { work: self, next_slot: 0 }
    }
}

impl Table {
    /// Starts to end every session of a backend.
    pub fn kill_backend(&mut self, backend: BackendId) {
        self.sweeps.push(SweepWork::Kill(backend).begin());
    }

    /// Starts to end every session.
    pub fn stop(&mut self) {
        self.sweeps.push(SweepWork::Stop.begin());
    }

    /// True while [`Table::sweep`] has something to do.
    #[must_use]
    pub fn is_sweeping(&self) -> bool {
        !self.sweeps.is_empty() || self.fall_walk.is_under_way() || self.shedding.is_due()
    }

    /// Ends the next session that was to be ended, if there is one. `scan` is how many slots may
    /// still be looked at in this turn.
    pub fn sweep(&mut self, now: Now, scan: &mut u32, out: &mut Actions) -> Option<SessionId> {
        while let Some(sweep) = self.sweeps.last_mut() {
            if sweep.next_slot >= self.sessions.used() {
                self.sweeps.pop();
                continue;
            }
            *scan = scan.checked_sub(sweep.work.look_cost())?;
            let Sweep { work, next_slot: slot } = *sweep;
            sweep.next_slot = slot + 1;
            let Some(id) = self.sessions.at(slot) else { continue };
            let session = self.sessions.get(id).expect("the slot is occupied");
            let why = match work {
                SweepWork::Kill(backend) if self.backend_of(session) == Some(backend) => {
                    Why::Killed
                }
                SweepWork::Kill(_) => continue,
                SweepWork::Stop => Why::Stopped,
                SweepWork::Reschedule => {
                    self.look_at_lifetime(id, now);
                    continue;
                }
            };
            self.end(id, By::Operator, why, now, out);
            return Some(id);
        }
        if let Some(id) = self.end_fallen(now, scan, out) {
            return Some(id);
        }
        if self.fall_walk.is_under_way() {
            return None; // as many slots as one turn may
        }
        self.shed_next(now, scan, out)
    }
}
