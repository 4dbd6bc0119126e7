//! One shard of a whole process with its kernel, its mailbox and its ledger.

use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::rc::Rc;

use weir_control_core::sockets::addresses;
use weir_core::base::clock::Now;
use weir_core::table::Table;
use weir_engine::mailbox::{Inbox, Mailbox};
use weir_engine::shard::{Shard, ShardSetup};
use weir_proto::ids::{BackendId, ListenerId};
use weir_proto::order::{Limited, Report};

use super::sim_fleet::ShardLink;
use weir_engine_sim::check::Ledger;
use weir_engine_sim::check::per_source::{Sourced, sourced};
use weir_engine_sim::io::{SimIo, Struck};
use weir_engine_sim::kernel::Kernel;
use weir_engine_sim::line::Line;
use weir_engine_sim::operator::Sent;
use weir_engine_sim::queue::Queue;
use weir_engine_sim::{invariants, pauses};

/// One shard.
pub(super) struct SimShard {
    pub(super) kernel: Rc<RefCell<Kernel>>,
    shard: Option<Shard<SimIo>>,
    /// What a thread keeps to say its last word with; the next shard gets it.
    reporter: Mailbox,
    inbox: Inbox,
    pub(super) ledger: Ledger,
    line: Line,
    queue: Queue,
    /// Sessions of listeners that limit sources, after the last turn.
    pub(super) sourced: Vec<Sourced>,
    /// The last word of a shard that has panicked, which did not fit yet.
    last_word: Option<Report>,
    /// Another shard is built after it.
    last_word_goes_on: bool,
    setup: ShardSetup,
    /// The version that it uses; 0 is none.
    pub(super) version: u64,
    /// Where it should listen, by the snapshot that it has.
    wanted: BTreeSet<SocketAddr>,
    /// Where it does, by which sockets.
    open: BTreeMap<SocketAddr, BTreeSet<usize>>,
    /// Shards so far, and those whose first report control has taken.
    pub(super) built: u32,
    started: u32,
    turns: u64,
}

/// What a turn came to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Turned {
    On,
    /// It was told to stop, and has.
    Over,
    Panicked,
}

impl SimShard {
    /// A shard that knows nothing. Its mailbox holds `orders_max` orders, and `reports_max` reports
    /// may wait.
    pub(super) fn new(
        setup: ShardSetup,
        kernel: Kernel,
        (orders_max, reports_max): (usize, usize),
    ) -> (SimShard, ShardLink) {
        let inbox = Inbox::sized(orders_max, reports_max).expect("descriptors");
        let (handle, reporter) = inbox.connect().expect("descriptors");
        let kernel = Rc::new(RefCell::new(kernel));
        let mut cell = SimShard {
            kernel: Rc::clone(&kernel),
            shard: None,
            last_word_goes_on: true,
            reporter,
            inbox,
            ledger: Ledger::default(),
            line: Line::default(),
            queue: Queue::default(),
            sourced: Vec::new(),
            last_word: None,
            setup,
            version: 0,
            wanted: BTreeSet::new(),
            open: BTreeMap::new(),
            built: 0,
            started: 0,
            turns: 0,
        };
        cell.build(kernel);
        (cell, ShardLink::new(handle))
    }

    /// Makes the shard, on a kernel that nothing has been asked of.
    fn build(&mut self, kernel: Rc<RefCell<Kernel>>) {
        let next = self.reporter.again().expect("descriptors");
        let mailbox = std::mem::replace(&mut self.reporter, next);
        self.kernel = kernel;
        self.shard = Some(Shard::new(self.setup, SimIo(Rc::clone(&self.kernel)), mailbox));
        (self.ledger, self.line) = (Ledger::default(), Line::default());
        self.queue = Queue::default();
        self.ledger.patient = true;
        (self.version, self.wanted, self.open) = (0, BTreeSet::new(), BTreeMap::new());
        self.built += 1;
    }

    /// A shard after one that has panicked, once control has room for that one's last word: what
    /// the engine's thread does.
    pub(super) fn build_again(&mut self, kernel: Kernel, wire: &mut ShardLink) {
        if let Some(word) = self.last_word.take()
            && let Err(word) = self.reporter.report(word)
        {
            self.last_word = Some(word);
            return;
        }
        if !self.last_word_goes_on {
            return;
        }
        drop(wire.taken(self.built - 1)); // by the one before
        self.build(Rc::new(RefCell::new(kernel)));
    }

    #[must_use]
    pub(super) fn is_live(&self) -> bool {
        self.shard.is_some()
    }

    /// True if its last word is not said: then it is to be built again.
    #[must_use]
    pub(super) fn is_missing(&self) -> bool {
        self.shard.is_none() && self.last_word.is_some()
    }

    /// True if control has heard of this shard, and not only of one before it.
    #[must_use]
    pub(super) fn is_known(&self) -> bool {
        self.started == self.built
    }

    /// What the shard knows.
    #[must_use]
    pub(super) fn table(&self) -> Option<&Table> {
        self.shard.as_ref().map(Shard::table)
    }

    /// True if it has said something, or has something to say, that control has not heard.
    #[must_use]
    pub(super) fn has_reports(&self) -> bool {
        !self.inbox.is_empty() || self.shard.as_ref().is_some_and(Shard::has_reports)
    }

    /// Sessions that it has.
    #[must_use]
    pub(super) fn sessions(&self) -> u32 {
        self.shard.as_ref().map_or(0, |shard| shard.table().len())
    }

    /// Sessions of a listener, and the credits that this shard holds for it.
    #[must_use]
    pub(super) fn of_listener(&self, id: ListenerId) -> (u64, u64) {
        let views = self.shard.iter().flat_map(|shard| shard.table().view().listeners());
        let own = views.filter(|view| view.id == id);
        own.fold((0, 0), |(used, held), view| {
            (used + u64::from(view.sessions), held + u64::from(view.held().unwrap_or(0)))
        })
    }

    /// Credits that this shard holds for the rate of a listener.
    #[must_use]
    pub(super) fn of_rate(&self, id: ListenerId) -> u64 {
        let views = self.shard.iter().flat_map(|shard| shard.table().view().listeners());
        let own = views.filter(|view| view.id == id);
        own.map(|view| u64::from(view.rate_held().unwrap_or(0))).sum()
    }

    /// The part of a limit of a backend that this shard uses, and the credits that it holds.
    #[must_use]
    pub(super) fn of_backend(&self, id: BackendId, of: Limited) -> (u64, u64) {
        let views = self.shard.iter().flat_map(|shard| shard.table().view().backends());
        let own = views.filter(|view| view.id == id);
        own.fold((0, 0), |(used, held), view| {
            let used_now = match of {
                Limited::Backend(_) => view.sessions,
                Limited::Connecting(_) => view.waiting(),
                Limited::ConnectRate(_) | Limited::Listener(_) | Limited::Rate(_) => 0,
            };
            let mut credits = view.credits(Now::default()).filter(|it| it.of == of);
            let credits = credits.next().map_or(0, |it| it.held);
            (used + u64::from(used_now), held + u64::from(credits))
        })
    }

    /// The oldest report that control has not taken.
    ///
    /// # Errors
    /// It is not what the shard should say.
    pub(super) fn report(&mut self) -> Result<Option<Report>, String> {
        let Some(report) = self.inbox.take() else { return Ok(None) };
        self.started += u32::from(matches!(report, Report::Started { .. }));
        // What a shard before this one has said is compared with nothing.
        if self.started == self.built && self.is_live() {
            self.ledger.reported(std::slice::from_ref(&report))?;
        }
        Ok(Some(report))
    }

    /// A turn, and every check that can be made after it.
    ///
    /// # Errors
    /// A rule is broken.
    pub(super) fn turn(&mut self, wire: &mut ShardLink) -> Result<Turned, String> {
        let Some(shard) = &mut self.shard else { return Ok(Turned::Over) };
        {
            let mut kernel = self.kernel.borrow_mut();
            kernel.note("turn (shard)", [usize::from(self.setup.id.0), 0]);
            kernel.killed.extend(wire.killed.drain(..));
            wire.pending().for_each(|sent| sent.foretell(&mut kernel));
        }
        let before = shard.table().len();
        self.turns += 1;
        let goes_on = match catch_unwind(AssertUnwindSafe(|| shard.turn())) {
            Ok(goes_on) => goes_on,
            Err(payload) if payload.is::<Struck>() => {
                self.die();
                let panic = Some("struck".to_owned());
                self.last_word = Some(Report::Ended { shard: self.setup.id, panic });
                return Ok(Turned::Panicked);
            }
            Err(payload) => resume_unwind(payload),
        };
        self.after_turn(wire.taken(self.built - 1), before)?;
        if goes_on {
            return Ok(Turned::On);
        }
        self.shard = None;
        self.last_word = Some(Report::Ended { shard: self.setup.id, panic: None });
        self.last_word_goes_on = false;
        Ok(Turned::Over)
    }

    fn after_turn(&mut self, orders: Vec<Sent>, before: u32) -> Result<(), String> {
        let Some(shard) = &self.shard else { return Ok(()) };
        let mut stays = self.wanted.clone();
        for order in &orders {
            match order {
                Sent::Adopt(snapshot, _) => {
                    self.wanted = addresses(snapshot).iter().map(|it| it.address).collect()
                }
                Sent::Stop => self.wanted.clear(),
                Sent::Drain | Sent::Serve => stays.clear(),
                _ => {}
            }
            stays.retain(|address| self.wanted.contains(address));
        }
        let mut kernel = self.kernel.borrow_mut();
        self.ledger.obeyed(orders, kernel.now);
        let table = shard.table();
        invariants::note_sessions(table, &mut kernel);
        let seen = std::mem::take(&mut kernel.seen);
        if table.len() < 64 || self.turns.is_multiple_of(16) {
            invariants::check(table, &kernel)?;
            self.ledger.check_ages(table, &kernel)?;
        }
        let open_before = std::mem::replace(&mut self.open, kernel.listens_at());
        if let Some((address, _)) = open_before.iter().find(|(address, sockets)| {
            let now = self.open.get(address);
            stays.contains(address) && !now.is_some_and(|now| now.is_superset(sockets))
        }) {
            return Err(format!("{address} stays, and its socket was shut"));
        }
        if self.open.values().any(|sockets| sockets.len() > 1) {
            return Err(format!("it listens twice on one of {:?}", self.open));
        }
        let open: BTreeSet<_> = self.open.keys().copied().collect();
        let extra: Vec<_> = open.difference(&self.wanted).copied().collect();
        if !extra.is_empty() {
            return Err(format!("it listens on {extra:?}, which its version does not have open"));
        }
        let now = kernel.now;
        drop(kernel);
        let version = table.view().version().0;
        if version < self.version {
            return Err(format!("version {version} after {}", self.version));
        }
        self.version = version;
        self.ledger.parked(shard.parked());
        self.ledger.saw(&seen, now)?;
        pauses::check(shard, &self.kernel.borrow())?;
        self.ledger.check_falls(table, &self.kernel.borrow())?;
        self.ledger.check_figures(table.view(), now)?;
        self.sourced = sourced(table, &self.kernel.borrow());
        self.ledger.check_per_source(table, &self.kernel.borrow())?;
        self.line.saw(&seen, table)?;
        self.queue.saw(table)?;
        self.ledger.check_cuts(table, before)?;
        self.ledger.check_limits(table, self.setup.sessions_max)
    }

    /// The thread is gone in the middle of whatever it did.
    pub(super) fn die(&mut self) {
        self.sourced.clear();
        let mut kernel = self.kernel.borrow_mut();
        kernel.die();
        drop(kernel);
        self.shard = None;
    }

    /// True if it listened there after its last turn.
    #[must_use]
    pub(super) fn listens_at(&self, address: SocketAddr) -> bool {
        self.open.contains_key(&address)
    }

    /// True if it listened anywhere after its last turn.
    #[must_use]
    pub(super) fn listens(&self) -> bool {
        !self.open.is_empty()
    }

    /// Where it should listen and does not, as far as it was seen after its last turn.
    #[must_use]
    pub(super) fn misses(&self) -> Vec<SocketAddr> {
        self.wanted.iter().filter(|it| !self.open.contains_key(it)).copied().collect()
    }

    /// True if it listens wherever its version says.
    #[must_use]
    pub(super) fn listens_as_wanted(&self) -> bool {
        self.misses().is_empty()
    }
}

impl Drop for SimShard {
    /// The world is over: what the shard does at its end concerns nobody.
    fn drop(&mut self) {
        self.kernel.borrow_mut().dead = true;
    }
}
