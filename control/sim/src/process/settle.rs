//! The end of a seed: every fault ceases, and within bounds of time every change is answered, every
//! shard uses the newest version and every session is over.

use weir_control_core::control::Input;
use weir_core::base::clock::Now;

use super::daemon::{self, TICK_NS};
use super::{MS, SimProcess, StepResult};
use weir_engine_sim::faults::Swarm;

/// Rounds in which a calm world must come to its end.
const ROUNDS_MAX: usize = 200_000;
/// How long a healed process may take to use its newest version everywhere.
const HEAL_NS: u64 = 10_000 * MS;
/// How long it takes without control until an ejected backend is tried again (fallback.rs), and
/// two looks.
const READMIT_NS: u64 = 10_500 * MS;
/// Nobody drains for longer.
const DRAIN_NS: u64 = 60_000 * MS;

impl SimProcess {
    /// Everything calms down.
    ///
    /// # Errors
    /// It does not.
    pub(super) fn settle(&mut self) -> StepResult {
        self.calm_down();
        self.take_drain_back();
        if self.alone.is_some() {
            // Without control sessions go on, and end.
            self.until("sessions end without control", None, SimProcess::is_quiet_alone)?;
            // Where there are limits clients still come one by one, and each may meet a backend
            // that refuses it and is ejected once more.
            let ejections = if self.has_limits() { 1 + self.swarm.clients } else { 1 };
            let by = self.street.now + READMIT_NS * ejections as u64;
            self.until("every shard serves without control", Some(by), SimProcess::is_kept)?;
            self.kill(false);
        }
        if self.daemon.is_none() {
            self.street.now = self.street.now.max(self.away_until);
            self.boot()?;
        }
        let heal_by = self.street.now + HEAL_NS;
        self.until("every shard uses the newest version", Some(heal_by), SimProcess::is_converged)?;
        self.until("sessions end", None, |whole| whole.is_quiet() && whole.is_converged())?;
        self.epilogue()
    }

    fn calm_down(&mut self) {
        self.street.note("calm", [0, 0]);
        let calm: Swarm = self.swarm.calm();
        self.faults = self.faults.calm();
        self.street.swarm = calm.clone();
        for cell in &self.cells {
            let mut kernel = cell.kernel.borrow_mut();
            kernel.swarm = calm.clone();
            kernel.strikes_in = None;
        }
        self.disk.set_faults(false, 0);
        self.names.calm();
        self.agents.calm();
        self.disk.clear_trap();
        self.trap = false;
        self.wires.borrow_mut().bind_errors = 0;
        self.swarm = Swarm { changes: 0, ..calm };
    }

    /// Goes on until `done`; at most until `by`, or as long as all the timeouts may take.
    fn until(
        &mut self,
        what: &str,
        by: Option<u64>,
        done: impl Fn(&SimProcess) -> bool,
    ) -> StepResult {
        let rates_ms = self.swarm.rates.each_ms();
        let each_ms = self.swarm.connect_ms * 4 + self.swarm.rooms.each_ms() + rates_ms;
        let waits_ms = each_ms * (self.swarm.clients + 1) + 70_000;
        let by = by.unwrap_or(self.street.now + waits_ms as u64 * MS);
        for _ in 0..ROUNDS_MAX {
            if done(self) {
                return Ok(());
            }
            let before = self.activity();
            self.round()?;
            if self.activity() != before || self.is_moving() {
                continue;
            }
            // The last round may have done it without a trace: a turn that only takes answers.
            if done(self) {
                return Ok(());
            }
            match self.next_instant() {
                Some(next) if next <= by => self.set_time(next),
                _ => return Err(format!("not in time: {what}; {}", self.stuck())),
            }
        }
        Err(format!("not after {ROUNDS_MAX} rounds: {what}; {}", self.stuck()))
    }

    /// True if a bell is on its way to a shard, or one that waits would be woken.
    fn is_moving(&mut self) -> bool {
        let wires = self.wires.borrow();
        let rings = self.cells.iter().zip(&wires.all).any(|(_, wire)| wire.rings);
        drop(wires);
        rings || (0..self.cells.len()).any(|cell| self.wakes(cell))
    }

    /// True if a shard that waits would be woken.
    fn wakes(&mut self, number: usize) -> bool {
        self.cells[number].is_live() && self.on_kernel(number, |kernel| kernel.wakes())
    }

    fn set_time(&mut self, now: u64) {
        self.street.now = now;
        for cell in &self.cells {
            cell.kernel.borrow_mut().now = now;
        }
    }

    /// How much has happened so far.
    fn activity(&self) -> (u64, u64) {
        let kernels = self.cells.iter().map(|cell| cell.kernel.borrow().completed).sum();
        (kernels, self.street.trace.events)
    }

    /// Everybody has a turn who wants one.
    fn round(&mut self) -> StepResult {
        if self.cells.is_empty() && self.street.now >= self.away_until && !self.stopping {
            return self.boot();
        }
        for number in 0..self.cells.len() {
            if self.wakes(number) || self.cells[number].is_missing() {
                self.turn(number)?;
            }
            self.on_kernel(number, |kernel| kernel.step_all());
        }
        for (wire, cell) in self.wires.borrow_mut().all.iter_mut().zip(&self.cells) {
            if std::mem::take(&mut wire.rings) {
                cell.kernel.borrow_mut().bell = true;
            }
        }
        self.peers.attend(&mut self.street, &mut self.rng);
        self.peers.settle(&mut self.street);
        self.control_all()?;
        self.verdict()
    }

    /// Control hears everything that there is to hear.
    fn control_all(&mut self) -> StepResult {
        if self.alone.is_some() {
            return self.look_alone();
        }
        let Some(daemon) = self.daemon.as_mut() else { return Ok(()) };
        let moment = daemon::moment(self.street.now);
        let before = daemon.waiting();
        for (number, cell) in self.cells.iter_mut().enumerate() {
            while let Some(report) = cell.report().map_err(|e| format!("shard {number}: {e}"))? {
                daemon.hear(report, moment, &mut self.rng);
            }
        }
        self.control()?;
        if self.daemon.as_ref().is_some_and(|daemon| daemon.waiting() != before) {
            self.street.note("calm: answered", [before, 0]);
        }
        Ok(())
    }

    /// Every change is answered and every shard uses the newest version, with all its listeners.
    fn is_converged(&self) -> bool {
        let Some(daemon) = &self.daemon else { return false };
        let at_it = |cell: &super::SimShard| {
            cell.is_live() && cell.version == daemon.version() && cell.listens_as_wanted()
        };
        let control = &daemon.control;
        let is_done = control.rollout.is_done() && control.unbound() == 0;
        let now = daemon::moment(self.street.now).now;
        let is_final = control.unconfirmed(now).is_none() && daemon.waiting() == 0;
        is_final && is_done && self.cells.iter().all(at_it)
    }

    /// No session is left and no peer's program.
    fn is_quiet(&self) -> bool {
        self.peers.is_empty()
            && self.street.is_quiet()
            && self.cells.iter().all(|cell| cell.sessions() == 0 && cell.kernel.borrow().is_quiet())
    }

    /// The same where control does nothing: who waits for a credit that another shard has, waits.
    fn is_quiet_alone(&self) -> bool {
        let done = |cell: &super::SimShard| cell.sessions() == 0;
        self.is_quiet() || (self.has_limits() && self.cells.iter().all(done))
    }

    /// True if a listener has a limit, or a rate.
    fn has_limits(&self) -> bool {
        let mut listeners = self.daemon.iter().flat_map(|daemon| &daemon.snapshot().listeners);
        listeners.any(|listener| listener.max_sessions.is_some() || listener.rate.is_some())
    }

    /// What was counted is what there was; then, in some seeds, everything is stopped.
    fn epilogue(&mut self) -> StepResult {
        self.last_figures()?;
        self.check_counts()?;
        if self.swarm.stops {
            self.stop()?;
        }
        for number in 0..self.cells.len() {
            let may_listen = self.cells[number].is_live();
            self.on_kernel(number, |kernel| kernel.check_quiet(may_listen));
        }
        self.verdict()
    }

    /// Control gets figures of after the last session. It asks for them behind everything else that
    /// it has to say, which is what waits and an order for each backend, for checks go on and each
    /// may come up or go down; each tick takes as many of those orders as a mailbox has room for.
    /// Then there is a tick for figures that were asked for too early, one whose room is taken by
    /// what these say of the other shards, and one for the figures that are wanted.
    fn last_figures(&mut self) -> StepResult {
        let Some(daemon) = &mut self.daemon else { return Ok(()) };
        daemon.give(Input::WantFigures, daemon::moment(self.street.now));
        let orders = daemon.control.orders_waiting() + daemon.snapshot().backends().count();
        let ticks = orders.div_ceil(self.faults.orders_max) + 3;
        let by = daemon.next_tick.max(self.street.now) + ticks as u64 * TICK_NS;
        self.until("control has the last figures", Some(by), |whole| {
            whole.daemon.as_ref().is_none_or(|daemon| daemon.control.has_fresh())
        })
    }

    /// Across all shards: accepted is ended.
    fn check_counts(&self) -> StepResult {
        let Some(daemon) = &self.daemon else { return Ok(()) };
        let aggregate = &daemon.control.aggregate;
        if aggregate.sessions() > 0 {
            return Err(format!("{} sessions are counted; none is left", aggregate.sessions()));
        }
        // What a shard has counted and not told is gone with it.
        if self.cells.iter().any(|cell| cell.built > 1) {
            return Ok(());
        }
        let accepted: usize = self.cells.iter().map(|cell| cell.ledger.accepted()).sum();
        let ended = daemon.ended() - daemon.ended_before;
        let accepted = accepted as u64;
        // Who came late to a limit is reset if the listener closes before there is room.
        let late: u64 = self.cells.iter().map(|cell| cell.ledger.late()).sum();
        if ended > accepted || ended + late < accepted {
            return Err(format!("{ended} sessions are counted as ended, {accepted} were accepted"));
        }
        Ok(())
    }

    /// A drain ends the process with 0, as no session is left.
    fn stop(&mut self) -> StepResult {
        let Some(daemon) = &mut self.daemon else { return Ok(()) };
        let until = Now::from_nanos(self.street.now + DRAIN_NS);
        self.stopping = true;
        daemon.give(Input::Drain { until: Some(until) }, daemon::moment(self.street.now));
        for cell in &self.cells {
            cell.kernel.borrow_mut().stopping = true;
        }
        self.until("the process stops", Some(self.street.now + DRAIN_NS), |whole| {
            whole.daemon.as_ref().is_none_or(|daemon| daemon.is_over().is_some())
        })?;
        match self.exit_code {
            Some(0) => Ok(()),
            code => Err(format!("a drain ends the process with {code:?}")),
        }
    }

    fn stuck(&self) -> String {
        let cells: Vec<_> = self
            .cells
            .iter()
            .map(|cell| {
                let kernel = cell.kernel.borrow();
                let (live, misses) = (cell.is_live(), cell.misses());
                format!(
                    "live {live}, version {}, {} sessions, misses {misses:?}, waits until {:?}",
                    cell.version,
                    cell.sessions(),
                    kernel.wait_until
                )
            })
            .collect();
        let programs: Vec<_> =
            self.peers.all.iter().filter(|peer| !peer.is_done()).take(2).collect();
        let daemon = self.daemon.as_ref().map(|daemon| {
            let control = &daemon.control;
            let orders = control.orders_waiting();
            (daemon.version(), daemon.waiting(), orders, &control.rollout, control.phase)
        });
        let now = self.street.now;
        format!("now {now}; control {daemon:?}; shards {cells:#?}; programs {programs:?}")
    }
}
