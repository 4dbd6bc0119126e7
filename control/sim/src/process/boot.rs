//! The process comes and goes: it starts from what is on disk, and leaves nothing but that.

use std::rc::Rc;

use weir_engine::shard::ShardSetup;
use weir_engine_sim::check::LOGGING;
use weir_proto::ids::ShardId;

use super::daemon::Daemon;
use super::sim_fleet::FleetState;
use super::sim_shard::SimShard;
use super::{AWAY_MS, MS, SimProcess, StepResult};

impl SimProcess {
    /// The process is over, and its sockets with it.
    pub(super) fn leave(&mut self) {
        self.checked.deaths += 1;
        // What its control still does with the disk does nothing.
        self.daemon = None;
        self.alone = None;
        for number in 0..self.cells.len() {
            if self.cells[number].is_live() {
                let kernel = Rc::clone(&self.cells[number].kernel);
                self.street.lend(&mut kernel.borrow_mut());
                self.cells[number].die();
                kernel.borrow_mut().lend(&mut self.street);
            }
            self.checked.connects += self.cells[number].ledger.connects_checked;
            self.checked.ejections += self.cells[number].ledger.ejections_checked;
        }
        self.cells.clear();
        self.away_until = self.street.now + self.rng.below(AWAY_MS) as u64 * MS;
    }

    /// Shards that know nothing, and their wires.
    fn shards(&mut self) -> Vec<SimShard> {
        let room = (self.faults.orders_max, self.faults.reports_max);
        let mut cells = Vec::new();
        for number in 0..self.faults.shards {
            let setup = ShardSetup {
                id: ShardId(number),
                shards: self.faults.shards,
                sessions_max: self.swarm.sessions_max,
                tuning: self.swarm.tuning,
                seed: self.rng.draw(),
                hash_seed: (1, 2),
                session_log: Some(LOGGING),
            };
            let (cell, wire) = SimShard::new(setup, self.kernel(), room);
            self.wires.borrow_mut().all.push(wire);
            cells.push(cell);
        }
        cells
    }

    /// The process starts, from what is on disk.
    pub(super) fn boot(&mut self) -> StepResult {
        self.cells.clear();
        let mut wires = FleetState::new(self.rng.fork(), self.planted);
        wires.bind_errors = self.faults.bind_errors;
        wires.found = std::mem::take(&mut self.wires.borrow_mut().found);
        self.names.forget_asked();
        self.agents.forget();
        *self.wires.borrow_mut() = wires;
        self.cells = self.shards();
        let (disk, wires, now) = (&self.disk, &self.wires, self.street.now);
        let failures = disk.failures();
        self.failures_before = failures;
        let handed = self.handed.take();
        let from = (disk, wires, handed.as_ref());
        let daemon = match Daemon::start(from, &mut self.history, now, self.planted) {
            Ok(daemon) => daemon,
            // It says why and ends; somebody starts it again.
            Err(_) if self.disk.failures() > failures => {
                self.trap &= !self.disk.clear_trap();
                self.disk.leave();
                self.street.note("does not start", [0, 0]);
                self.leave();
                return Ok(());
            }
            // So does it with a damaged file; somebody puts a copy back.
            Err(_) if self.disk.mend() => {
                self.disk.leave();
                self.street.note("does not start: the file is damaged", [0, 0]);
                self.leave();
                return Ok(());
            }
            Err(what) => return Err(what),
        };
        self.disk.accept();
        if !daemon.is_heir {
            self.names.forget_answers();
        }
        self.street.note("starts (version)", [usize::try_from(daemon.version()).unwrap_or(0), 0]);
        self.daemon = Some(daemon);
        Ok(())
    }
}
