//! How a process ends: killed, with the power, or cleanly.

use super::SimProcess;

impl SimProcess {
    /// Everything of the process is gone at once.
    pub(super) fn kill(&mut self, power: bool) {
        self.limits = super::limits::Limits::default();
        if self.daemon.is_none() {
            return;
        }
        self.street.note(if power { "the power goes" } else { "kill -9" }, [0, 0]);
        if power {
            self.disk.cut_power()
        } else {
            self.disk.leave()
        }
        self.leave();
    }

    /// The process exits cleanly: it closes its file. What goes bad in that while it is away
    /// must be seen by the next start, whatever redb trusts a closed file with.
    pub(super) fn rest(&mut self) {
        self.disk.set_faults(false, 0);
        self.disk.clear_trap();
        self.trap = false;
        // After a write that failed the file may be closed already, and not cleanly.
        let is_well = self.disk.failures() == self.failures_before;
        self.handed = self.hand_over().filter(|_| is_well);
        let Some(mut daemon) = self.daemon.take() else { return };
        daemon.store.finish();
        drop(daemon);
        self.disk.leave();
        self.street.note("ends in peace", [0, 0]);
        if is_well && self.rng.hits(self.faults.rots) {
            self.disk.rot();
            self.street.note("a bit of its file goes bad", [0, 0]);
        }
        self.leave();
    }
}
