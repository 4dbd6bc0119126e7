//! The driver: virtual time and one step after the other; the seed decides who moves next.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::rc::Rc;

use weir_control_core::leases::Leased;
use weir_core::event::Side;
use weir_core::table::SessionId;
use weir_engine::io::Io;
use weir_engine::mailbox::Inbox;
use weir_engine::shard::{Shard, ShardSetup};
use weir_proto::ids::ShardId;
use weir_proto::order::{Limited, Report};

use crate::check::{LOGGING, Ledger, Stood};
use crate::faults::Swarm;
use crate::io::SimIo;
use crate::kernel::Kernel;
use crate::line::Line;
use crate::net::Mode;
use crate::operator::Operator;
use crate::peer::Peers;
use crate::queue::Queue;
use crate::rng::Rng;

/// Rounds in which a calm world must come to its end.
const SETTLE_ROUNDS_MAX: usize = 200_000;
const MS: u64 = 1_000_000;
/// The longest that a peer which is gone may be waited for in a calm world: a connect and its
/// retries, then keepalive, or a few looks at what waits.
const VANISHED_MS: u64 = 60_000;
/// By how much longer if others that are gone had the sessions before it.
const QUEUED_MS: u64 = 10_000;

/// What one run did.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Summary {
    pub hash: u64,
    pub steps: u64,
    pub events: u64,
    pub sessions: usize,
    pub bytes: usize,
    pub connects_checked: u64,
    pub ejections_checked: u64,
    /// Changes that were acknowledged, starts from disk, shards and processes that died.
    pub acks: u64,
    pub recoveries: u64,
    pub deaths: u64,
}

/// One shard in its world.
pub struct World<I: Io> {
    shard: Shard<I>,
    kernel: Rc<RefCell<Kernel>>,
    inbox: Inbox,
    operator: Operator,
    peers: Peers,
    ledger: Ledger,
    line: Line,
    queue: Queue,
    rng: Rng,
    clients_left: usize,
    sessions_max: u32,
    running: bool,
    steps: u64,
    /// Credits that were leased after the turn before.
    leased: BTreeMap<Limited, Leased>,
    /// Turns while settling: they are noted, but a turn that does nothing is no progress.
    settle_turns: u64,
}

type WorldResult = Result<(), String>;

impl<I: Io> World<I> {
    /// The world of a seed. `wrap` may put something between the shard and its kernel.
    pub fn new(seed: u64, swarm: Swarm, print: bool, wrap: impl FnOnce(SimIo) -> I) -> World<I> {
        World::of_chance(Rng::new(seed ^ 0x0077_0a11), swarm, print, wrap)
    }

    /// The world that `rng` makes.
    pub fn of_chance(
        mut rng: Rng,
        swarm: Swarm,
        print: bool,
        wrap: impl FnOnce(SimIo) -> I,
    ) -> World<I> {
        let mut kernel = Kernel::new(rng.fork(), swarm.clone(), print);
        let inbox = Inbox::new().expect("descriptors");
        let (handle, mailbox) = inbox.connect().expect("descriptors");
        let mut operator = Operator::new(handle, &swarm, rng.fork(), &mut kernel);
        operator.adopt(&mut kernel);
        let kernel = Rc::new(RefCell::new(kernel));
        let setup = ShardSetup {
            id: ShardId(0),
            shards: 1,
            sessions_max: swarm.sessions_max,
            tuning: swarm.tuning,
            seed: rng.draw(),
            hash_seed: (rng.draw(), rng.draw()),
            session_log: Some(LOGGING),
        };
        let shard = Shard::new(setup, wrap(SimIo(Rc::clone(&kernel))), mailbox);
        World {
            shard,
            kernel,
            inbox,
            operator,
            peers: Peers::default(),
            ledger: Ledger::default(),
            line: Line::default(),
            queue: Queue::default(),
            rng,
            clients_left: swarm.clients,
            sessions_max: swarm.sessions_max,
            running: true,
            steps: 0,
            leased: BTreeMap::new(),
            settle_turns: 0,
        }
    }

    /// Runs the seed to its end.
    ///
    /// # Errors
    /// What was violated.
    pub fn run(&mut self, swarm: &Swarm) -> Result<Summary, String> {
        for _ in 0..swarm.steps {
            self.step()?;
        }
        self.settle(swarm)?;
        let kernel = self.kernel.borrow();
        Ok(Summary {
            hash: kernel.trace.hash(),
            steps: self.steps,
            events: kernel.trace.events,
            sessions: self.peers.count(&kernel, Side::Backend),
            bytes: kernel.net.conns.iter().map(|conn| conn.written).sum(),
            connects_checked: self.ledger.connects_checked,
            ejections_checked: self.ledger.ejections_checked,
            ..Summary::default()
        })
    }

    fn step(&mut self) -> WorldResult {
        match self.rng.below(100) {
            0..25 => self.turn()?,
            25..60 => {
                let mut kernel = self.kernel.borrow_mut();
                for _ in 0..self.rng.between(1, 4) {
                    kernel.step();
                }
            }
            60..88 => {
                let mut kernel = self.kernel.borrow_mut();
                self.peers.attend(&mut kernel, &mut self.rng);
                for _ in 0..self.rng.between(1, 4) {
                    self.peers.step(&mut kernel, &mut self.rng);
                }
            }
            88..92 => {
                let most = 1 + self.clients_left / 20;
                (0..self.rng.between(1, most)).for_each(|_| self.arrive());
            }
            92..94 => self.operator.step(&mut self.kernel.borrow_mut()),
            94..96 => self.trouble(),
            _ => self.pass_time(),
        }
        self.verdict()
    }

    /// The first rule that the shard has broken at the kernel's.
    fn verdict(&mut self) -> WorldResult {
        self.steps += 1;
        self.kernel.borrow_mut().violation.take().map_or(Ok(()), Err)
    }

    /// A turn of the shard, and every check that can be made after it.
    fn turn(&mut self) -> WorldResult {
        if !self.running {
            return Ok(());
        }
        self.kernel.borrow_mut().note("turn", [0, 0]);
        let before = self.shard.table().len();
        let mut kernel = self.kernel.borrow_mut();
        self.operator.sent.iter().for_each(|sent| sent.foretell(&mut kernel));
        drop(kernel);
        let stood = self.operator.sheds().then(|| Stood::all(self.shard.table()));
        self.running = self.shard.turn();
        let orders = self.operator.obeyed();
        let mut kernel = self.kernel.borrow_mut();
        self.ledger.obeyed(orders, kernel.now);
        let table = self.shard.table();
        crate::invariants::note_sessions(table, &mut kernel);
        let seen = std::mem::take(&mut kernel.seen);
        // In a crowd it would cost more than everything else.
        if table.len() < 64 || self.steps.is_multiple_of(16) {
            crate::invariants::check(table, &kernel)?;
            self.ledger.check_ages(table, &kernel)?;
        }
        let now = kernel.now;
        let is_there = |(slot, generation)| table.session(SessionId { slot, generation }).is_some();
        let away = if self.operator.hands_over() { kernel.away(is_there) } else { 0 };
        drop(kernel);
        self.ledger.parked(self.shard.parked());
        self.ledger.saw(&seen, now)?;
        crate::pauses::check(&self.shard, &self.kernel.borrow())?;
        self.ledger.check_falls(table, &self.kernel.borrow())?;
        self.ledger.check_figures(table.view(), now)?;
        self.line.saw(&seen, table)?;
        self.queue.saw(table)?;
        let reports: Vec<Report> = std::iter::from_fn(|| self.inbox.take()).collect();
        self.ledger.reported(&reports)?;
        self.ledger.are_away(away);
        for report in reports {
            self.operator.hear(report);
        }
        if self.operator.has_lost_count() {
            return Err("other sessions were taken than given".into());
        }
        if self.running {
            self.operator.lend(&mut self.kernel.borrow_mut());
        }
        self.ledger.check_cuts(table, before)?;
        self.ledger.check_access(table, &self.kernel.borrow())?;
        self.ledger.check_headers(table, &self.kernel.borrow())?;
        self.ledger.sheds.check(&stood.unwrap_or_default(), table)?;
        self.ledger.check_limits(table, self.sessions_max)?;
        self.ledger.check_per_source(table, &self.kernel.borrow())?;
        self.check_leases()
    }

    /// Control has given no more credits than there are.
    fn check_leases(&mut self) -> WorldResult {
        for leased in self.operator.leases.leased() {
            let before = self.leased.insert(leased.of, leased);
            if before.is_some_and(|before| leased.is_broken(&before)) {
                return Err(format!("more credits are given than there are: {leased:?}"));
            }
        }
        Ok(())
    }

    fn arrive(&mut self) {
        if self.clients_left == 0 {
            return;
        }
        let addresses = self.operator.listens_at();
        let address = self.rng.pick(&addresses);
        let mut kernel = self.kernel.borrow_mut();
        let window = kernel.swarm.window;
        let now = kernel.now;
        match kernel.net.arrive(address, window, now, &mut self.rng) {
            Some(conn) => {
                self.clients_left -= 1;
                kernel.note("client connects (port, conn)", [address.port().into(), conn]);
            }
            // Nobody listens there: some of them come again.
            None if self.rng.flip() && !kernel.swarm.clean => self.clients_left -= 1,
            None => {}
        }
    }

    /// Hosts fail and recover; the bell rings for nothing.
    fn trouble(&mut self) {
        let mut kernel = self.kernel.borrow_mut();
        if self.rng.hits(kernel.swarm.stray_rings) {
            kernel.bell = true;
        }
        let hosts: Vec<_> = kernel.net.hosts.keys().copied().collect();
        let host = self.rng.pick(&hosts);
        // A fault is drawn four times as often as its strength says: a host is asked rarely.
        let faults = kernel.swarm.host_faults * 4;
        let mode = if self.rng.hits(faults.min(900)) {
            self.rng.pick(&[Mode::Refuses, Mode::Refuses, Mode::Silent, Mode::Unreachable])
        } else {
            Mode::Listens
        };
        if kernel.net.hosts.insert(host, mode) != Some(mode) {
            kernel.note("host changes (port, mode)", [host.port().into(), mode as usize]);
        }
    }

    fn pass_time(&mut self) {
        let next = self.next_instant();
        let mut kernel = self.kernel.borrow_mut();
        let step = match self.rng.below(10) {
            0..5 => self.rng.below(1000) as u64,
            5..8 => self.rng.below(20_000) as u64 * 1000,
            _ if self.rng.hits(kernel.swarm.time_jumps) => self.rng.below(100_000) as u64 * MS,
            _ => next.map_or(0, |next| next.saturating_sub(kernel.now)),
        };
        // Only a jump may skip what idle timeouts of hours mean to say.
        let most = if kernel.swarm.time_jumps > 0 { u64::MAX } else { 10_000 * MS };
        kernel.now += step.min(most);
        kernel.give_up();
    }

    /// When the next thing happens if nobody moves.
    fn next_instant(&self) -> Option<u64> {
        let kernel = self.kernel.borrow();
        let now = kernel.now;
        let shard = kernel.wait_until.filter(|until| *until > now && self.running);
        [shard, self.peers.next_instant(now), kernel.next_instant()].into_iter().flatten().min()
    }

    /// Faults stop, everybody comes to an end: so must every session, within bounds of time and
    /// steps.
    fn settle(&mut self, swarm: &Swarm) -> WorldResult {
        self.calm_down(swarm);
        // Behind a limit of one session, clients whose backends never answer wait for each other.
        let queue_ms = if swarm.clean { 0 } else { swarm.rooms.queued_ms_max() };
        let each_ms = swarm.connect_ms * 4 + swarm.rooms.each_ms() + swarm.rates.each_ms();
        let waits_ms = each_ms * (swarm.clients + 1) + queue_ms + 2000;
        // A peer that is gone is given up when keepalive or the pool says.
        let gone = self.kernel.borrow().net.conns.iter().filter(|it| it.gone.is_some()).count();
        let gone_ms = if swarm.vanishes > 0 { VANISHED_MS + gone as u64 * QUEUED_MS } else { 0 };
        let bound = self.kernel.borrow().now + (waits_ms as u64 + gone_ms) * MS;
        for _ in 0..SETTLE_ROUNDS_MAX {
            let before = self.activity();
            self.settle_round()?;
            if self.is_over() {
                return self.epilogue(swarm);
            }
            if self.activity() != before || self.kernel.borrow().wakes() && self.running {
                continue;
            }
            let mut kernel = self.kernel.borrow_mut();
            let shard = kernel.wait_until.filter(|_| self.running);
            match shard.into_iter().chain(kernel.net.gives_up_at()).min() {
                Some(next) if next <= bound => {
                    kernel.now = next.max(kernel.now);
                    kernel.give_up();
                }
                _ => {
                    drop(kernel);
                    return Err(self.stuck());
                }
            }
        }
        Err(format!("no end after {SETTLE_ROUNDS_MAX} rounds: {}", self.stuck()))
    }

    fn calm_down(&mut self, swarm: &Swarm) {
        let mut kernel = self.kernel.borrow_mut();
        kernel.note("calm", [0, 0]);
        kernel.swarm = swarm.calm();
        self.operator.heal(&mut kernel);
        if swarm.stops {
            if self.rng.flip() {
                self.operator.drain(&mut kernel);
            }
            self.operator.stop(&mut kernel);
        }
    }

    /// How much has happened so far.
    fn activity(&self) -> (u64, u64, u64) {
        let kernel = self.kernel.borrow();
        (kernel.submitted, kernel.completed, kernel.trace.events - self.settle_turns)
    }

    fn settle_round(&mut self) -> WorldResult {
        let wakes = self.kernel.borrow().wakes();
        if wakes && self.running {
            self.settle_turns += 1;
            self.turn()?;
        }
        {
            let mut kernel = self.kernel.borrow_mut();
            if self.running {
                self.operator.lend(&mut kernel);
            }
            kernel.step_all();
            self.peers.attend(&mut kernel, &mut self.rng);
            self.peers.settle(&mut kernel);
        }
        self.verdict()
    }

    fn is_over(&self) -> bool {
        let quiet = self.peers.is_empty() && self.kernel.borrow().is_quiet();
        let shard = self.shard.table().is_empty() && self.operator.sent.is_empty();
        let shard = shard && (!self.running || !self.operator.hands_over());
        quiet && shard && (!self.running || !self.kernel.borrow().stopping)
    }

    /// Nothing is left, and what was counted is what there was.
    fn epilogue(&mut self, swarm: &Swarm) -> WorldResult {
        if self.running {
            self.operator.collect(&mut self.kernel.borrow_mut());
            for _ in 0..4 {
                self.kernel.borrow_mut().step_all();
                self.turn()?;
            }
            if !self.ledger.all_ended() {
                return Err("a session that is over was not counted as ended".into());
            }
        }
        if !self.ledger.records.is_all_closed() {
            return Err("a session that is over was not logged as closed".into());
        }
        let mut kernel = self.kernel.borrow_mut();
        kernel.check_quiet(self.running);
        if swarm.clean
            && let Some(peer) = self.peers.all.iter().find(|peer| !peer.is_complete(&kernel))
        {
            return Err(format!("in a clean world this is not complete: {peer:?}"));
        }
        drop(kernel);
        self.verdict()
    }

    fn stuck(&self) -> String {
        let kernel = self.kernel.borrow();
        let sessions: Vec<String> =
            self.shard.table().iter().take(3).map(|(_, session)| format!("{session:?}")).collect();
        let peers: Vec<_> = self.peers.all.iter().filter(|peer| !peer.is_done()).take(3).collect();
        format!(
            "nothing moves any more (running: {}, waits until {:?}, now {}); {} sessions, first: \
             {sessions:#?}; programs: {peers:#?}",
            self.running,
            kernel.wait_until,
            kernel.now,
            self.shard.table().len(),
        )
    }
}
