//! Shards, sockets and versions without threads, a network and a disk: for tests, here and in the
//! daemon (feature `fakes`).

mod health;

use std::cell::{Cell, RefCell};
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::net::SocketAddr;
use std::os::fd::OwnedFd;
use std::rc::Rc;

use weir_core::base::clock::Now;
use weir_proto::answer::VersionRow;
use weir_proto::bind_address::BindAddress;
use weir_proto::ids::{BackendId, ShardId, Version};
use weir_proto::order::{ListenerSocket, Order, Report};
use weir_proto::snapshot::Snapshot;
use weir_proto::spec::{BackendSpec, ListenerSpec, PoolSpec, Spec};
use weir_proto::stats::BackendStats;

use crate::control::{Fleet, ShardHistory};
use crate::record::{Appended, PastVersions, Record, Versions};
use crate::sockets::{BindError, BindPlan, BoundSockets, open_in};

pub use health::HealthFixture;

/// Rings a bell.
pub type Ring = Box<dyn Fn()>;

/// Binds what can be bound of a plan, for N shards.
pub type Bind = fn(&BindPlan<'_>, u16) -> BoundSockets;

/// Shards without threads.
#[derive(Clone)]
pub struct FakeShards(Rc<RefCell<FakeState>>);

struct FakeState {
    count: u16,
    /// What was sent, in order: `0 adopt 2 +1` is a snapshot with one socket for shard 0.
    sent: Vec<String>,
    sockets: Vec<ListenerSocket>,
    reports: VecDeque<Report>,
    /// These answer nothing.
    deaf: BTreeSet<u16>,
    /// The channels of these are full.
    full: BTreeSet<u16>,
    /// Sessions on each shard's backend, for the figures.
    sessions: Vec<(BackendId, u32)>,
    watched: BTreeMap<u16, ShardHistory>,
    ring: Option<Ring>,
    bind: Option<Bind>,
    /// Somebody else has these addresses.
    taken: BTreeSet<BindAddress>,
}

impl FakeShards {
    /// N shards without a bell. Each address can be bound.
    #[must_use]
    pub fn new(count: u16) -> FakeShards {
        let inner = FakeState {
            count,
            sent: Vec::new(),
            sockets: Vec::new(),
            reports: VecDeque::new(),
            deaf: BTreeSet::new(),
            full: BTreeSet::new(),
            sessions: Vec::new(),
            watched: BTreeMap::new(),
            ring: None,
            bind: None,
            taken: BTreeSet::new(),
        };
        FakeShards(Rc::new(RefCell::new(inner)))
    }

    /// The bell that their reports ring, and how they bind.
    #[must_use]
    pub fn with(self, ring: Ring, bind: Bind) -> FakeShards {
        let mut inner = self.0.borrow_mut();
        (inner.ring, inner.bind) = (Some(ring), Some(bind));
        drop(inner);
        self
    }

    /// Takes the words for everything that was sent since the last call.
    pub fn take_sent(&self) -> Vec<String> {
        core::mem::take(&mut self.0.borrow_mut().sent)
    }

    /// Only these shards answer nothing.
    pub fn set_deaf(&self, shards: &[u16]) {
        self.0.borrow_mut().deaf = shards.iter().copied().collect();
    }

    /// Only the channels of these shards are full.
    pub fn set_full(&self, shards: &[u16]) {
        self.0.borrow_mut().full = shards.iter().copied().collect();
    }

    /// Only these addresses are somebody else's.
    pub fn set_taken(&self, addresses: &[SocketAddr]) {
        self.0.borrow_mut().taken = addresses.iter().map(|it| (*it).into()).collect();
    }

    /// What the watchdog has seen of this shard so far.
    pub fn set_watched(&self, shard: u16, stuck: u64, fences: u64) {
        self.0.borrow_mut().watched.insert(shard, ShardHistory { stuck, fences });
    }

    /// Sessions on each backend of a shard, for the figures.
    pub fn set_sessions(&self, sessions: &[(BackendId, u32)]) {
        self.0.borrow_mut().sessions = sessions.to_vec();
    }

    /// A shard says this.
    pub fn report(&self, report: Report) {
        let mut inner = self.0.borrow_mut();
        inner.reports.push_back(report);
        inner.ring();
    }
}

impl FakeState {
    fn ring(&self) {
        if let Some(ring) = &self.ring {
            ring();
        }
    }

    /// Sockets that are none, for every wanted address that is not taken.
    fn bind_free(
        &self,
        snapshot: &Snapshot,
        wanted: &BTreeSet<BindAddress>,
        shards: u16,
    ) -> BoundSockets {
        let mut bound = BoundSockets::nothing(shards);
        for listener in open_in(snapshot) {
            for address in listener.binds().filter(|address| wanted.contains(address)) {
                let taken = self.taken.contains(&address).then(|| BindError {
                    listener: listener.name.to_string(),
                    address,
                    error: std::io::ErrorKind::AddrInUse.into(),
                });
                let sockets = (0..shards).map(|_| stands_for_a_socket()).collect();
                bound.add(address, taken.map_or(Ok(sockets), Err));
            }
        }
        bound
    }

    /// The words for `sent`, and what the shard answers.
    fn hear(&mut self, shard: ShardId, order: Order) -> Option<Report> {
        let (word, report) = match order {
            Order::Adopt { snapshot, sockets, health } => {
                let mut word = format!("adopt {} +{}", snapshot.version, sockets.len());
                if !health.is_empty() {
                    word += &format!(" {health:?}");
                }
                self.sockets.extend(sockets);
                (word, Some(Report::Adopted { shard, edition: snapshot.edition() }))
            }
            Order::Health(changes) => (format!("health {changes:?}"), None),
            Order::LoadElsewhere(_) => return None,
            Order::Collect { mut spare } => {
                spare.backends = self
                    .sessions
                    .iter()
                    .map(|(id, sessions)| BackendStats {
                        id: *id,
                        sessions_now: *sessions,
                        ..BackendStats::default()
                    })
                    .collect();
                spare.sessions_now = self.sessions.iter().map(|(_, sessions)| sessions).sum();
                let report = (!self.deaf.contains(&shard.0)).then_some(Report::Stats(spare));
                return report;
            }
            Order::Credit(credits) => (format!("credit {credits:?}"), None),
            Order::Kill(backend) => (format!("kill {backend}"), None),
            Order::Shed { of, count } => (format!("shed {count} of {of:?}"), None),
            Order::Search(search) => (format!("search {search:?}"), None),
            Order::Give { most, .. } => {
                let report = Report::Gave { shard, sessions: 0, is_whole: true };
                (format!("give {most:?}"), Some(report))
            }
            Order::Take { .. } => {
                let report = Report::Took { shard, sessions: 0, is_whole: true };
                ("take".to_owned(), Some(report))
            }
            Order::Drain => ("drain".to_owned(), None),
            Order::Serve => ("serve".to_owned(), None),
            Order::Stop => ("stop".to_owned(), Some(Report::Ended { shard, panic: None })),
        };
        self.sent.push(format!("{shard} {word}"));
        report.filter(|_| !self.deaf.contains(&shard.0))
    }
}

impl Fleet for FakeShards {
    fn shards(&self) -> u16 {
        self.0.borrow().count
    }

    fn send(&self, shard: ShardId, order: Order) -> Result<(), Order> {
        let mut inner = self.0.borrow_mut();
        if inner.full.contains(&shard.0) {
            return Err(order);
        }
        if let Some(report) = inner.hear(shard, order) {
            inner.reports.push_back(report);
            inner.ring();
        }
        Ok(())
    }

    fn address_next(&self, shard: ShardId) {
        self.0.borrow_mut().sent.push(format!("{shard} next"));
    }

    fn take_report(&self) -> Option<Report> {
        self.0.borrow_mut().reports.pop_front()
    }

    fn watched(&self, shard: ShardId) -> ShardHistory {
        self.0.borrow().watched.get(&shard.0).copied().unwrap_or_default()
    }

    fn ticks(&self, _now: Now) {}

    fn bind(&self, plan: &BindPlan<'_>) -> BoundSockets {
        let inner = self.0.borrow();
        match inner.bind {
            Some(bind) => bind(plan, inner.count),
            None => inner.bind_free(plan.snapshot, &plan.wanted, inner.count),
        }
    }

    fn is_own_address(&self, address: SocketAddr) -> bool {
        address.ip().is_loopback()
    }

    fn bind_again(
        &self,
        _shard: ShardId,
        snapshot: &Snapshot,
        wanted: &BTreeSet<BindAddress>,
    ) -> BoundSockets {
        self.0.borrow().bind_free(snapshot, wanted, 1)
    }
}

/// Pool web with b1 and b2 behind listener web.
///
/// # Panics
/// Never: its names and addresses are right.
#[must_use]
pub fn spec(bind: SocketAddr) -> Spec {
    let mut web = PoolSpec::default();
    for (name, address) in [("b1", "192.0.2.1:80"), ("b2", "192.0.2.2:80")] {
        let address = address.parse().unwrap();
        let backend = BackendSpec::new(address);
        web.backend.insert(name.parse().unwrap(), backend);
    }
    let pool = "web".parse().unwrap();
    let listener = ListenerSpec::new(pool, vec![bind]);
    Spec {
        listener: [("web".parse().unwrap(), listener)].into(),
        pool: [("web".parse().unwrap(), web.into())].into(),
    }
}

/// Versions in memory. A clone is the same ones.
#[derive(Clone, Debug)]
pub struct FakeVersions(Rc<FakeDisk>);

#[derive(Debug)]
struct FakeDisk {
    records: RefCell<Vec<Record>>,
    is_full: Cell<bool>,
    /// Its thread has ended.
    is_lost: Cell<bool>,
    /// Asked for, and not done yet.
    asked: RefCell<Option<Record>>,
}

impl FakeVersions {
    /// Versions that begin with this one.
    #[must_use]
    pub fn new(first: Record) -> FakeVersions {
        FakeVersions(Rc::new(FakeDisk {
            records: RefCell::new(vec![first]),
            is_full: Cell::new(false),
            is_lost: Cell::new(false),
            asked: RefCell::new(None),
        }))
    }

    /// Begins what an output asks for, or gives its end if it cannot begin.
    ///
    /// # Panics
    /// Another append is under way.
    pub fn append(&self, record: Record) -> Option<Appended> {
        let version = Version(record.version);
        if self.0.is_lost.get() {
            return Some(Appended { version, outcome: Err("it is lost".to_owned()) });
        }
        assert!(self.0.asked.replace(Some(record)).is_none(), "one append at a time");
        None
    }

    /// Does what it was asked for, if there is something: the end of the append.
    #[must_use]
    pub fn finish(&self) -> Option<Appended> {
        let record = self.0.asked.borrow_mut().take()?;
        let version = Version(record.version);
        if self.0.is_full.get() {
            return Some(Appended { version, outcome: Err("no space left".to_owned()) });
        }
        self.0.records.borrow_mut().push(record);
        Some(Appended { version, outcome: Ok(()) })
    }

    /// No append can begin any more.
    pub fn lose(&self) {
        self.0.is_lost.set(true);
    }

    /// Every append fails, or works again.
    pub fn set_full(&self, full: bool) {
        self.0.is_full.set(full);
    }
}

impl Versions for FakeVersions {
    fn reader(&self) -> Box<dyn PastVersions> {
        Box::new(FakeReader(self.0.records.borrow().clone()))
    }
}

/// The versions at one moment.
struct FakeReader(Vec<Record>);

impl PastVersions for FakeReader {
    fn history(&self, before: Option<u64>, most: usize) -> Result<Vec<VersionRow>, String> {
        let rows = self.0.iter().rev();
        let rows = rows.filter(|it| before.is_none_or(|before| it.version < before));
        Ok(rows.take(most).map(|it| it.head().row(it.version)).collect())
    }

    fn get(&self, version: u64) -> Result<Option<Record>, String> {
        Ok(self.0.iter().find(|record| record.version == version).cloned())
    }

    fn oldest(&self) -> Result<u64, String> {
        Ok(self.0.first().map_or(0, |record| record.version))
    }
}

/// A descriptor for orders that no kernel sees.
///
/// # Panics
/// The process has no descriptor left.
#[must_use]
pub fn stands_for_a_socket() -> OwnedFd {
    let (reader, _) = std::io::pipe().expect("descriptors");
    reader.into()
}
