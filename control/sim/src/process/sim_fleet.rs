//! Between control and the shards: mailboxes that are soon full, bells that ring late, sockets that
//! are bound or not. And what went over them, for the checkers.

use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::fs::File;
use std::net::SocketAddr;
use std::os::fd::{AsRawFd, OwnedFd, RawFd};
use std::rc::Rc;
use std::sync::Arc;

use weir_control_core::control::{Fleet, ShardHistory};
use weir_control_core::resolve::RememberedMembers;
use weir_control_core::sockets::{self, BindError, BindPlan, BoundSockets, open_in};
use weir_core::base::clock::Now;
use weir_engine::mailbox::ShardHandle;
use weir_proto::bind_address::BindAddress;
use weir_proto::ids::{BackendId, ShardId};
use weir_proto::order::{Order, Report, SessionsOf};
use weir_proto::snapshot::Snapshot;

use super::planted::Planted;
use weir_engine_sim::net::of_ip;
use weir_engine_sim::operator::Sent;
use weir_engine_sim::rng::Rng;

/// One shard's link.
#[derive(Debug)]
pub(super) struct ShardLink {
    handle: ShardHandle,
    /// Orders that the shard may not have taken yet, the oldest first, and which shard of its
    /// thread each is for.
    sent: VecDeque<(u32, Sent)>,
    /// Whom control speaks to.
    incarnation: u32,
    /// An order was put into the mailbox, and the bell has not been heard.
    pub(super) rings: bool,
    /// Whose sessions it was told to reset.
    pub(super) killed: Vec<SocketAddr>,
    /// The last snapshot, for a planted bug.
    last: Option<Arc<Snapshot>>,
}

impl ShardLink {
    #[must_use]
    pub(super) fn new(handle: ShardHandle) -> ShardLink {
        let sent = VecDeque::new();
        ShardLink { handle, sent, incarnation: 0, rings: false, killed: Vec::new(), last: None }
    }

    /// True if the shard has taken every order.
    #[must_use]
    pub(super) fn is_taken(&self) -> bool {
        self.handle.waiting() == 0
    }

    /// Every order that a shard of this thread may not have taken yet.
    pub(super) fn pending(&self) -> impl Iterator<Item = &Sent> {
        self.sent.iter().map(|(_, sent)| sent)
    }

    /// The orders that the shard `incarnation` of this thread has taken since the last call. What
    /// was for another one it has dropped.
    pub(super) fn taken(&mut self, incarnation: u32) -> Vec<Sent> {
        let count = self.sent.len().saturating_sub(self.handle.waiting());
        let taken = self.sent.drain(..count).filter(|(of, _)| *of == incarnation);
        taken.map(|(_, sent)| sent).collect()
    }
}

/// Every link of a process.
#[derive(Debug)]
pub(super) struct FleetState {
    pub(super) all: Vec<ShardLink>,
    /// What each descriptor that was bound stands for.
    pub(super) bound: BTreeMap<RawFd, SocketAddr>,
    /// Every backend that any shard was told of.
    addresses: BTreeMap<BackendId, SocketAddr>,
    /// What control wants to make the next version.
    pub(super) proposed: Vec<Snapshot>,
    /// Reports that no shard made: a planted bug's.
    pub(super) invented: VecDeque<Report>,
    pub(super) bind_errors: u32,
    /// The newest version that control has: a plan for a later one is a proposal.
    pub(super) version: u64,
    /// Addresses that could not be bound the last time that it was tried.
    failed: BTreeSet<BindAddress>,
    /// The process was told to drain: what is open is bound once more when that is taken back.
    pub(super) drained: bool,
    planted: Option<Planted>,
    rng: Rng,
    stands_for_a_socket: File,
    /// Sessions of each backend on each shard, as control last heard.
    heard: BTreeMap<ShardId, BTreeMap<BackendId, u32>>,
    /// Reports that the fallback has not taken.
    pub(super) reports: VecDeque<Report>,
    /// The newest snapshot that was sent to a shard.
    pub(super) newest: Option<Arc<Snapshot>>,
    /// Addresses that a shard was given sockets for, as far as the newest snapshot has them.
    bound_of_newest: BTreeSet<BindAddress>,
    /// The priority groups in use, as they are on disk.
    pub(super) in_use: BTreeMap<String, u8>,
    /// The findings of DNS, as they are on disk.
    pub(super) found: BTreeMap<String, RememberedMembers>,
    /// What control has said that it should not have.
    pub(super) violation: Option<String>,
}

impl FleetState {
    #[must_use]
    pub(super) fn new(rng: Rng, planted: Option<Planted>) -> FleetState {
        FleetState {
            all: Vec::new(),
            bound: BTreeMap::new(),
            addresses: BTreeMap::new(),
            proposed: Vec::new(),
            invented: VecDeque::new(),
            bind_errors: 0,
            version: 0,
            failed: BTreeSet::new(),
            drained: false,
            planted,
            rng,
            stands_for_a_socket: File::open("/dev/null").expect("there is a /dev/null"),
            heard: BTreeMap::new(),
            reports: VecDeque::new(),
            newest: None,
            bound_of_newest: BTreeSet::new(),
            in_use: BTreeMap::new(),
            found: BTreeMap::new(),
            violation: None,
        }
    }

    /// Control is about to hear this.
    pub(super) fn hears(&mut self, report: &Report) {
        match report {
            Report::Stats(stats) => {
                let mut sessions = BTreeMap::new();
                for row in &stats.backends {
                    *sessions.entry(row.id).or_default() += row.sessions_now;
                }
                self.heard.insert(stats.shard, sessions);
            }
            Report::Ended { shard, .. } => drop(self.heard.remove(shard)),
            _ => {}
        }
    }

    /// The sessions of a backend that a shard is told of are those of all the others.
    fn check_load(&mut self, shard: ShardId, list: &[(BackendId, u32)]) {
        for (id, told) in list {
            let others = self.heard.iter().filter(|(other, _)| **other != shard);
            let sum: u32 = others.filter_map(|(_, sessions)| sessions.get(id)).sum();
            if sum != *told {
                let what = format!("shard {shard} is told of {told} sessions of backend {id}");
                self.violation.get_or_insert(format!("{what}; the others have {sum}"));
            }
        }
    }

    fn socket(&mut self, address: SocketAddr) -> OwnedFd {
        let socket: OwnedFd = self.stands_for_a_socket.try_clone().expect("descriptors").into();
        self.bound.insert(socket.as_raw_fd(), address);
        socket
    }

    /// Fails as often as the seed says. Who has an address keeps it for a while.
    fn try_bind(&mut self, name: &str, address: BindAddress) -> Result<(), BindError> {
        let stays = self.bind_errors > 0 && self.failed.contains(&address) && self.rng.flip();
        if !stays && !self.rng.hits(self.bind_errors) {
            return Ok(());
        }
        let error = std::io::ErrorKind::AddrInUse.into();
        Err(BindError { listener: name.to_owned(), address, error })
    }

    /// Binds a plan for every shard. Only a change or a start asks for what has not failed before.
    fn bind(&mut self, plan: &BindPlan<'_>, shards: u16) -> BoundSockets {
        let is_again = plan.snapshot.version.0 <= self.version;
        if !is_again {
            self.proposed.push(plan.snapshot.clone());
        }
        // A change of a configuration without open addresses asks for all of them, too.
        let whole = self.drained && is_again && plan.held.is_empty();
        let anew = whole && plan.wanted == sockets::addresses(plan.snapshot);
        self.drained &= !anew;
        let twice = |it: &&BindAddress| {
            plan.held.contains(*it) || (is_again && !anew && !self.failed.contains(*it))
        };
        if let Some(address) = plan.wanted.iter().find(twice) {
            let what = format!("{address} is bound for every shard once more");
            self.violation.get_or_insert(what);
        }
        let mut bound = self.bind_for(shards, plan.snapshot, &plan.wanted);
        self.failed.retain(|address| !plan.wanted.contains(address));
        self.failed.extend(bound.failed.iter().map(|error| error.address));
        if self.planted == Some(Planted::SocketsForOne) {
            bound.sockets.iter_mut().skip(1).for_each(Vec::clear);
        }
        bound
    }

    /// Binds for one shard what others have, or it had itself.
    fn bind_beside(&mut self, snapshot: &Snapshot, wanted: &BTreeSet<BindAddress>) -> BoundSockets {
        if let Some(address) = wanted.intersection(&self.failed).next() {
            let what = format!("{address} is bound for one shard, and somebody else has it");
            self.violation.get_or_insert(what);
        }
        self.bind_for(1, snapshot, wanted)
    }

    fn bind_for(
        &mut self,
        shards: u16,
        snapshot: &Snapshot,
        wanted: &BTreeSet<BindAddress>,
    ) -> BoundSockets {
        let mut bound = BoundSockets::nothing(shards);
        for listener in open_in(snapshot) {
            for address in listener.binds().filter(|address| wanted.contains(address)) {
                let sockets = self.try_bind(listener.name.as_str(), address);
                let socket = |_| self.socket(address.address);
                let sockets = sockets.map(|()| (0..shards).map(socket).collect());
                bound.add(address, sockets);
            }
        }
        bound
    }

    /// The newest snapshot with sockets for what is bound of it, as the fallback sends it.
    pub(super) fn newest_sockets(&mut self) -> Option<Order> {
        let snapshot = self.newest.clone()?;
        let wanted = self.bound_of_newest.clone();
        let sockets = self.bind_beside(&snapshot, &wanted).into_first();
        Some(Order::Adopt { snapshot, sockets, health: Vec::new() })
    }

    fn send(&mut self, shard: ShardId, order: Order) -> Result<(), Order> {
        let sent = self.describe(&order);
        let addresses = match &order {
            Order::Adopt { sockets, .. } => sockets.iter().map(|it| it.address).collect(),
            _ => Vec::new(),
        };
        if let Sent::Load(list) = &sent {
            self.check_load(shard, list);
        }
        let number = usize::from(shard.0);
        if let (Some(Planted::AdoptLost), Sent::Adopt(..)) = (self.planted, &sent)
            && self.rng.below(4) == 0
        {
            return Ok(());
        }
        let link = &mut self.all[number];
        link.handle.send(order)?;
        link.rings = true;
        if let Sent::Drain = &sent {
            self.bound_of_newest.clear();
        }
        if let Sent::Adopt(snapshot, _) = &sent {
            self.newest = Some(Arc::clone(snapshot));
            let open = sockets::addresses(snapshot);
            self.bound_of_newest.extend(addresses);
            self.bound_of_newest.retain(|address| open.contains(address));
            let older = link.last.replace(Arc::clone(snapshot));
            if self.planted == Some(Planted::NoAdoptionWait) {
                self.invented.push_back(Report::Adopted { shard, edition: snapshot.edition() });
            }
            if let (Some(Planted::VersionGoesBack), Some(older)) = (self.planted, older) {
                link.sent.push_back((link.incarnation, sent));
                let (snapshot, sockets, health) = (Arc::clone(&older), Vec::new(), Vec::new());
                let order = Order::Adopt { snapshot, sockets, health };
                if link.handle.send(order).is_ok() {
                    link.sent.push_back((link.incarnation, Sent::Adopt(older, Vec::new())));
                }
                return Ok(());
            }
        }
        match sent {
            Sent::Kill(id) | Sent::Shed(SessionsOf::Backend(id), _) => {
                link.killed.extend(self.addresses.get(&id));
            }
            Sent::Shed(SessionsOf::Listener(_), _) => link.killed.extend(self.addresses.values()),
            _ => {}
        }
        link.sent.push_back((link.incarnation, sent));
        Ok(())
    }

    fn describe(&mut self, order: &Order) -> Sent {
        match order {
            Order::Adopt { snapshot, health, .. } => {
                let backends =
                    snapshot.backends().map(|(_, backend)| (backend.id, of_ip(backend.address)));
                self.addresses.extend(backends);
                Sent::Adopt(Arc::clone(snapshot), health.clone())
            }
            Order::Health(list) => Sent::Health(list.clone()),
            Order::LoadElsewhere(list) => Sent::Load(list.clone()),
            Order::Collect { .. } => Sent::Collect,
            Order::Kill(id) => Sent::Kill(*id),
            Order::Shed { of, count } => Sent::Shed(*of, *count),
            Order::Drain => Sent::Drain,
            Order::Serve => Sent::Serve,
            Order::Stop => Sent::Stop,
            Order::Credit(_) | Order::Search(_) | Order::Give { .. } | Order::Take { .. } => {
                Sent::Other
            }
        }
    }
}

/// The links as control sees them.
#[derive(Clone, Debug)]
pub(super) struct SimFleet(pub(super) Rc<RefCell<FleetState>>);

impl Fleet for SimFleet {
    fn shards(&self) -> u16 {
        u16::try_from(self.0.borrow().all.len()).expect("shards are few")
    }

    fn send(&self, shard: ShardId, order: Order) -> Result<(), Order> {
        self.0.borrow_mut().send(shard, order)
    }

    /// There is no watchdog here: a shard that makes no turn is only slow.
    fn watched(&self, _shard: ShardId) -> ShardHistory {
        ShardHistory::default()
    }

    fn ticks(&self, _now: Now) {}

    fn address_next(&self, shard: ShardId) {
        let link = &mut self.0.borrow_mut().all[usize::from(shard.0)];
        link.incarnation += 1;
        link.handle.address_next();
    }

    /// What the driver has brought: control gets its reports one by one, when the seed says so.
    fn take_report(&self) -> Option<Report> {
        self.0.borrow_mut().reports.pop_front()
    }

    fn bind(&self, plan: &BindPlan<'_>) -> BoundSockets {
        let shards = self.shards();
        self.0.borrow_mut().bind(plan, shards)
    }

    /// Every backend is somewhere else.
    fn is_own_address(&self, _address: SocketAddr) -> bool {
        false
    }

    fn bind_again(
        &self,
        _shard: ShardId,
        snapshot: &Snapshot,
        wanted: &BTreeSet<BindAddress>,
    ) -> BoundSockets {
        self.0.borrow_mut().bind_beside(snapshot, wanted)
    }
}
