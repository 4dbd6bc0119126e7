//! A whole process in one thread: real shards on simulated kernels that share a net, the real
//! control with its planner, rollout and store on a simulated disk, people who change things, and
//! somebody who kills it all.

mod agents;
mod alone;
mod boot;
mod daemon;
pub mod disk;
mod drained;
mod ends;
mod heirs;
mod history;
mod holds;
mod hosts;
mod limits;
mod merges;
mod names;
mod operators;
pub mod planted;
mod settle;
mod sim_fleet;
mod sim_shard;
mod store;
mod taken;
mod told;
mod unbound;

use std::cell::RefCell;
use std::rc::Rc;

use weir_control_core::control::Clocks;
use weir_core::event::Side;
use weir_proto::answer::Author;

use crate::scenario::ProcessFaults;
use agents::Agents;
use alone::Alone;
use daemon::Daemon;
use disk::Disk;
use drained::Drainer;
use heirs::HandedOver;
use history::History;
use limits::Limits;
use names::Names;
use operators::People;
use planted::Planted;
use sim_fleet::FleetState;
use sim_shard::{SimShard, Turned};
use weir_engine_sim::driver::Summary;
use weir_engine_sim::faults::Swarm;
use weir_engine_sim::kernel::Kernel;
use weir_engine_sim::net::Mode;
use weir_engine_sim::peer::Peers;
use weir_engine_sim::rng::Rng;

const MS: u64 = 1_000_000;
/// How long a process that was killed stays away, at most.
const AWAY_MS: usize = 2000;
const BY: Author = Author::new(0, 1);

type StepResult = Result<(), String>;

/// The process and everything around it.
pub struct SimProcess {
    swarm: Swarm,
    faults: ProcessFaults,
    planted: Option<Planted>,
    rng: Rng,
    /// Where the peers are. It has the net and the trace while no shard runs.
    street: Kernel,
    cells: Vec<SimShard>,
    wires: Rc<RefCell<FleetState>>,
    /// `None` while the process is away.
    daemon: Option<Daemon>,
    away_until: u64,
    /// The control thread has died, and who serves on.
    alone: Option<Alone>,
    /// The process ends at one of its next writes.
    trap: bool,
    /// How the last process that ended by itself has ended.
    exit_code: Option<u8>,
    /// It was told to stop: nobody starts it again.
    stopping: bool,
    disk: Disk,
    /// The state that the next process gets of the one before it.
    handed: Option<HandedOver>,
    /// What had failed on it when the process was started.
    failures_before: u64,
    people: People,
    drainer: Drainer,
    names: Names,
    agents: Agents,
    peers: Peers,
    history: History,
    clients_left: usize,
    steps: u64,
    checked: Checks,
    limits: Limits,
}

/// How often there was something to check.
#[derive(Clone, Copy, Debug, Default)]
struct Checks {
    connects: u64,
    ejections: u64,
    deaths: u64,
}

impl SimProcess {
    /// The world of a seed, with the process running.
    ///
    /// # Errors
    /// It did not start.
    pub fn new(
        seed: u64,
        (swarm, faults): (&Swarm, &ProcessFaults),
        planted: Option<Planted>,
        print: bool,
    ) -> Result<SimProcess, String> {
        let mut rng = Rng::new(seed ^ 0x0077_0a11);
        let mut street = Kernel::new(rng.fork(), swarm.clone(), print);
        street.net.migrates = faults.migrates;
        let disk = Disk::new(rng.fork());
        let drainer = Drainer::beside(&rng);
        let names = Names::beside(&rng);
        let mut agents = Agents::beside(&rng);
        let mut people = People::new(rng.fork());
        let first = people.first(swarm, |spec| {
            names.enter(spec);
            agents.enter(spec);
        });
        let mut whole = SimProcess {
            swarm: swarm.clone(),
            wires: Rc::new(RefCell::new(FleetState::new(rng.fork(), planted))),
            clients_left: swarm.clients,
            faults: faults.clone(),
            planted,
            rng,
            street,
            cells: Vec::new(),
            daemon: None,
            away_until: 0,
            alone: None,
            trap: false,
            exit_code: None,
            stopping: false,
            disk,
            handed: None,
            failures_before: 0,
            people,
            drainer,
            names,
            agents,
            peers: Peers::default(),
            history: History::default(),
            steps: 0,
            checked: Checks::default(),
            limits: Limits::default(),
        };
        whole.meet_hosts();
        whole.meet_named();
        daemon::seed_disk(&whole.disk, &first, &mut whole.history)?;
        if planted == Some(Planted::AckBeforeSync) {
            whole.disk.lie();
        }
        whole.boot()?;
        Ok(whole)
    }

    /// Runs the seed to its end.
    ///
    /// # Errors
    /// What was violated.
    pub fn run(&mut self) -> Result<Summary, String> {
        for _ in 0..self.swarm.steps {
            self.step()?;
        }
        self.settle()?;
        for cell in &self.cells {
            self.checked.connects += cell.ledger.connects_checked;
            self.checked.ejections += cell.ledger.ejections_checked;
        }
        Ok(Summary {
            hash: self.street.trace.hash(),
            steps: self.steps,
            events: self.street.trace.events,
            sessions: self.peers.count(&self.street, Side::Backend),
            bytes: self.street.net.conns.iter().map(|conn| conn.written).sum(),
            connects_checked: self.checked.connects,
            ejections_checked: self.checked.ejections,
            acks: self.history.acks,
            recoveries: self.history.recoveries,
            deaths: self.checked.deaths,
        })
    }

    fn step(&mut self) -> StepResult {
        match self.rng.below(100) {
            0..50 if self.cells.is_empty() => {
                if self.street.now >= self.away_until {
                    self.boot()?;
                }
            }
            0..25 => self.turn_any()?,
            25..50 => {
                let cell = self.rng.below(self.cells.len());
                for _ in 0..self.rng.between(1, 4) {
                    self.on_kernel(cell, |kernel| kernel.step());
                }
            }
            50..72 => {
                self.peers.attend(&mut self.street, &mut self.rng);
                for _ in 0..self.rng.between(1, 4) {
                    self.peers.step(&mut self.street, &mut self.rng);
                }
            }
            72..77 => {
                let most = 1 + self.clients_left / 20;
                (0..self.rng.between(1, most)).for_each(|_| self.arrive());
            }
            77..84 => self.ring_some(),
            84..89 => self.control()?,
            89..92 => self.ask()?,
            92..95 => self.trouble(),
            _ => self.pass_time(),
        }
        self.verdict()
    }

    /// The first rule that was broken at any kernel's.
    fn verdict(&mut self) -> StepResult {
        self.steps += 1;
        if let Some(what) = self.street.violation.take() {
            return Err(what);
        }
        if let Some(what) = self.wires.borrow_mut().violation.take() {
            return Err(what);
        }
        for (number, cell) in self.cells.iter().enumerate() {
            if let Some(what) = cell.kernel.borrow_mut().violation.take() {
                return Err(format!("shard {number}: {what}"));
            }
            self.check_durable(number, cell.version)?;
            if cell.version > 0 && cell.version < self.history.acked {
                let (version, acked) = (cell.version, self.history.acked);
                return Err(format!("shard {number} uses version {version}, {acked} was acked"));
            }
        }
        self.check_unbound()?;
        let control = self.daemon.as_ref().map(|daemon| &daemon.control);
        self.limits.check(control, &self.cells, &self.street)
    }

    /// A shard's kernel with the net.
    fn on_kernel<T>(&mut self, cell: usize, work: impl FnOnce(&mut Kernel) -> T) -> T {
        let mut kernel = self.cells[cell].kernel.borrow_mut();
        self.street.lend(&mut kernel);
        let result = work(&mut kernel);
        kernel.lend(&mut self.street);
        result
    }

    fn turn_any(&mut self) -> StepResult {
        let cell = self.rng.below(self.cells.len());
        self.turn(cell)
    }

    fn turn(&mut self, number: usize) -> StepResult {
        if self.cells[number].is_missing() {
            return self.build_again(number);
        }
        if !self.cells[number].is_live() {
            return Ok(());
        }
        if self.rng.hits(self.faults.panics / 16) {
            let after = u32::try_from(self.rng.between(1, 20)).unwrap_or(1);
            self.cells[number].kernel.borrow_mut().strikes_in = Some(after);
        }
        let kernel = Rc::clone(&self.cells[number].kernel);
        self.street.lend(&mut kernel.borrow_mut());
        let turned = {
            let mut wires = self.wires.borrow_mut();
            std::mem::swap(&mut kernel.borrow_mut().bound, &mut wires.bound);
            let turned = self.cells[number].turn(&mut wires.all[number]);
            std::mem::swap(&mut kernel.borrow_mut().bound, &mut wires.bound);
            turned
        };
        kernel.borrow_mut().lend(&mut self.street);
        let turned = turned.map_err(|what| format!("shard {number}: {what}"))?;
        if turned == Turned::Panicked {
            self.checked.deaths += 1;
            self.street.note("shard panics", [number, 0]);
        }
        Ok(())
    }

    /// The control thread has its turn: reports, ticks, checks, changes.
    fn control(&mut self) -> StepResult {
        if self.alone.is_some() {
            return self.look_alone();
        }
        let Some(daemon) = self.daemon.as_mut() else { return Ok(()) };
        let moment = daemon::moment(self.street.now);
        for _ in 0..self.rng.between(1, 3) {
            let number = self.rng.below(self.cells.len());
            let report = self.cells[number].report();
            if let Some(report) = report.map_err(|what| format!("shard {number}: {what}"))? {
                daemon.hear(report, moment, &mut self.rng);
            }
        }
        let hosts = &self.street.net.hosts;
        daemon.on_time(moment, |host| hosts.get(&host) == Some(&Mode::Listens))?;
        daemon.turn_disk(self.faults.slow_disks, moment, &mut self.rng);
        self.answer_names()?;
        self.answer_agents()?;
        let Some(daemon) = self.daemon.as_mut() else { return Ok(()) };
        let answers = daemon.check_answers(&mut self.history);
        // It has ended in the middle: nobody has heard an answer, and nothing else counts.
        if self.trap && self.disk.clear_trap() {
            self.trap = false;
            self.history.forget_answers();
            self.street.note("ends at a write", [0, 0]);
            self.leave();
            return Ok(());
        }
        let answered = answers?;
        if answered > 0 {
            self.street.note("answers", [answered, 0]);
        }
        self.check_told()?;
        self.history.hear_answers();
        if self.daemon.as_ref().is_some_and(|daemon| daemon.is_over().is_some()) {
            // In peace: the database is closed.
            self.exit_code = self.daemon.take().and_then(|daemon| daemon.is_over());
            self.disk.leave();
            self.street.note("gives up", [0, 0]);
            self.leave();
        }
        Ok(())
    }

    fn kernel(&mut self) -> Kernel {
        let mut kernel = Kernel::new(self.rng.fork(), self.swarm.clone(), false);
        kernel.now = self.street.now;
        kernel
    }

    fn build_again(&mut self, number: usize) -> StepResult {
        let kernel = self.kernel();
        self.checked.connects += self.cells[number].ledger.connects_checked;
        let mut wires = self.wires.borrow_mut();
        self.cells[number].build_again(kernel, &mut wires.all[number]);
        if self.cells[number].is_live() {
            self.street.note("shard is built again", [number, 0]);
        }
        Ok(())
    }

    /// Some bells are heard.
    fn ring_some(&mut self) {
        let mut wires = self.wires.borrow_mut();
        for (wire, cell) in wires.all.iter_mut().zip(&self.cells) {
            if wire.rings && self.rng.flip() {
                wire.rings = false;
                cell.kernel.borrow_mut().bell = true;
            }
        }
    }

    fn arrive(&mut self) {
        if self.clients_left == 0 {
            return;
        }
        let address = self.rng.pick(&self.people.listens_at);
        let (window, now) = (self.swarm.window, self.street.now);
        match self.street.net.arrive(address, window, now, &mut self.rng) {
            Some(conn) => {
                self.clients_left -= 1;
                self.street.note("client connects (port, conn)", [address.port().into(), conn]);
            }
            None => self.clients_left -= usize::from(self.rng.below(4) == 0),
        }
    }

    /// Hosts fail, shards panic, the process is killed, the power goes, the disk is full.
    fn trouble(&mut self) {
        let ProcessFaults { kills, power_cuts, sync_errors, full_disks, control_deaths, .. } =
            self.faults;
        if self.rng.hits(kills / 2) {
            return self.kill(false);
        }
        if self.rng.hits(power_cuts / 2) {
            return self.kill(true);
        }
        if self.rng.hits(self.faults.rests) {
            return self.rest();
        }
        if self.rng.hits(kills.max(power_cuts)) {
            let after = u32::try_from(self.rng.between(1, 30)).unwrap_or(1);
            self.disk.set_trap(after, power_cuts > 0);
            self.trap = true;
        }
        if self.rng.hits(control_deaths / 4) && self.may_lose_control() {
            self.lose_control();
        }
        let full = self.rng.hits(full_disks * 2);
        self.disk.set_faults(full, sync_errors / 2);
        self.host_trouble();
    }

    fn pass_time(&mut self) {
        let next = self.next_instant();
        let step = match self.rng.below(10) {
            0..5 => self.rng.below(1000) as u64,
            5..8 => self.rng.below(20_000) as u64 * 1000,
            _ if self.rng.hits(self.swarm.time_jumps) => self.rng.below(100_000) as u64 * MS,
            _ => next.map_or(0, |next| next.saturating_sub(self.street.now)),
        };
        let most = if self.swarm.time_jumps > 0 { u64::MAX } else { 10_000 * MS };
        self.street.now += step.min(most);
        for cell in &self.cells {
            cell.kernel.borrow_mut().now = self.street.now;
        }
    }

    /// When the next thing happens if nobody moves.
    fn next_instant(&self) -> Option<u64> {
        let now = self.street.now;
        let mut next: Vec<u64> = self.peers.next_instant(now).into_iter().collect();
        for cell in &self.cells {
            let kernel = cell.kernel.borrow();
            if cell.is_live() {
                next.extend(kernel.wait_until.filter(|until| *until > now));
                next.extend(kernel.next_instant());
            }
        }
        match &self.daemon {
            Some(daemon) => {
                next.push(self.alone.as_ref().map_or(daemon.next_tick, |alone| alone.next_look));
            }
            None => next.push(self.away_until),
        }
        next.into_iter().filter(|next| *next > now).min()
    }
}
