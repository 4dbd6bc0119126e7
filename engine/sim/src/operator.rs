//! Control's part of the story: snapshots, health, loads, kills, statistics, an order to stop.

mod handover;
mod pools;

use std::collections::{BTreeMap, VecDeque};
use std::fs::File;
use std::net::SocketAddr;
use std::os::fd::{AsRawFd, OwnedFd};
use std::sync::Arc;

use weir_control_core::leases::Leases;
use weir_control_core::sockets::addresses;
use weir_engine::mailbox::ShardHandle;
use weir_proto::ids::{BackendId, IdSource, ShardId};
use weir_proto::network::NetworkList;
use weir_proto::order::{BackendHealth, HealthWords, ListenerSocket, Order, Report, SessionsOf};
use weir_proto::snapshot::Snapshot;
use weir_proto::spec::{
    Admin, BackendSpec, HealthSpec, ListenerSpec, Name, Percent, PoolSpec, ProxyVersion, QueueSpec,
    RouteSpec, Span, Spec, Strategy,
};
use weir_proto::stats::ShardStats;

use crate::faults::Swarm;
use crate::kernel::Kernel;
use crate::net::{Mode, of_ip};
use crate::origins;
use crate::rng::Rng;
use pools::headers;
pub use pools::{LIFETIMES_MS, keepalive, limited, on_down, retries, retries_within_max, timeouts};

/// What the ledger needs to know of an order that was sent.
#[derive(Clone, Debug)]
pub enum Sent {
    Adopt(Arc<Snapshot>, HealthWords),
    Health(HealthWords),
    /// Sessions of the other shards.
    Load(Vec<(BackendId, u32)>),
    Collect,
    Kill(BackendId),
    Shed(SessionsOf, u32),
    Drain,
    Serve,
    Stop,
    Other,
}

/// The one who gives orders to the shard.
#[derive(Debug)]
pub struct Operator {
    handle: ShardHandle,
    spec: Spec,
    snapshot: Arc<Snapshot>,
    ids: IdSource,
    rng: Rng,
    next_port: u16,
    /// Orders that the shard may not have obeyed yet, the oldest first.
    pub sent: VecDeque<Sent>,
    /// Every backend that ever was.
    pub backends: BTreeMap<SocketAddr, BackendId>,
    stands_for_a_socket: File,
    pub spares: Vec<Box<ShardStats>>,
    /// It was told to stop: nothing follows.
    stopped: bool,
    /// Control's ledger of the limits, for one shard.
    pub leases: Leases,
    handover: handover::Handover,
}

pub fn name(text: &str) -> Name {
    text.parse().expect("names here are plain")
}

pub(crate) fn span(ms: usize) -> Span {
    Span::from_millis(ms as u64)
}

impl Operator {
    /// An operator with a first configuration, which has not been sent.
    pub fn new(handle: ShardHandle, swarm: &Swarm, rng: Rng, kernel: &mut Kernel) -> Operator {
        let stands_for_a_socket = File::open("/dev/null").expect("there is a /dev/null");
        let mut operator = Operator {
            handle,
            spec: Spec::default(),
            snapshot: Arc::new(Snapshot::empty()),
            ids: IdSource::default(),
            rng,
            next_port: 1000,
            sent: VecDeque::new(),
            backends: BTreeMap::new(),
            stands_for_a_socket,
            spares: Vec::new(),
            stopped: false,
            leases: Leases::new(1),
            handover: handover::Handover::default(),
        };
        for pool in 0..swarm.pools {
            let pool_name = name(&format!("p{pool}"));
            let backends = swarm.backends.max(1);
            let mut spec = operator.pool(swarm);
            for _ in 0..backends {
                let (backend, address) = operator.backend(kernel);
                let weight = if swarm.clean { 1 } else { operator.weight() };
                let priority = operator.priority(swarm);
                let fresh = BackendSpec { weight, priority, ..BackendSpec::new(address.into()) };
                let fresh = limited(&swarm.rooms, &mut operator.rng, fresh);
                spec.backend.insert(backend, fresh);
            }
            operator.spec.pool.insert(pool_name.clone(), spec.into());
            let binds = if operator.rng.below(4) == 0 { 2 } else { 1 };
            let bind = (0..binds).map(|_| operator.address(10)).collect();
            let max_sessions = operator.rng.pick(&[None, None, Some(1), Some(5)]);
            let rate = swarm.rates.rate(&mut operator.rng);
            let per_source = swarm.per_source.limits(&mut operator.rng);
            let [allow, deny] = operator.lists(swarm);
            let listener = ListenerSpec {
                max_sessions,
                rate,
                per_source,
                allow,
                deny,
                inspect_timeout: span(swarm.headers.within_ms),
                no_backend: swarm.rooms.no_backend(),
                keepalive: keepalive(),
                proxy_protocol: headers(swarm),
                ..ListenerSpec::new(pool_name, bind)
            };
            operator.spec.listener.insert(name(&format!("l{pool}")), listener);
        }
        for number in 0..swarm.pools {
            let routes = operator.routes(swarm);
            let listener = operator.spec.listener.get_mut(name(&format!("l{number}")).as_str());
            listener.expect("it was just made").route = routes;
        }
        operator
    }

    /// Routes of a listener, if it has some: clients speak no TLS, but a hello is waited for.
    fn routes(&mut self, swarm: &Swarm) -> Vec<RouteSpec> {
        if !swarm.routes {
            return Vec::new();
        }
        let pools: Vec<Name> = self.spec.pool.keys().cloned().collect();
        let texts = ["sni=*", "alpn=h2 from=192.0.2.0/25", "from=192.0.2.0/26", "from=192.0.2.7"];
        let some = texts.into_iter().filter(|_| self.rng.flip()).collect::<Vec<_>>();
        let route = |text: &str| {
            let pool = &pools[self.rng.below(pools.len())];
            format!("{text} pool={pool}").parse().expect("a route")
        };
        some.into_iter().map(route).collect()
    }

    /// `allow` and `deny` of a listener, if it has some. Clients are in 192.0.2.0/24; headers tell
    /// of others.
    fn lists(&mut self, swarm: &Swarm) -> [NetworkList; 2] {
        if !swarm.lists {
            return [NetworkList::default(), NetworkList::default()];
        }
        let allow = ["", "192.0.2.0/25 198.51.100.0/24", "192.0.2.0/24 198.51.100.7", "0.0.0.0/0"];
        let deny = ["", "192.0.2.32/27 192.0.2.7", "198.51.100.0/24", "192.0.2.64/26 192.0.2.70"];
        [allow, deny].map(|lists| {
            let networks = self.rng.pick(&lists);
            networks.split_whitespace().map(|it| it.parse().expect("a network")).collect()
        })
    }

    fn address(&mut self, net: u8) -> SocketAddr {
        self.next_port += 1;
        SocketAddr::from(([10, 0, 0, net], self.next_port))
    }

    fn backend(&mut self, kernel: &mut Kernel) -> (Name, SocketAddr) {
        let address = self.address(20);
        kernel.net.hosts.insert(address, Mode::Listens);
        (name(&format!("b{}", self.next_port)), address)
    }

    fn weight(&mut self) -> u16 {
        self.rng.pick(&[0, 1, 1, 1, 2, 10, 256])
    }

    /// Mostly the first: half of the worlds have one priority group.
    fn priority(&mut self, swarm: &Swarm) -> u8 {
        if swarm.groups { self.rng.pick(&[0, 0, 1, 1, 2, 200]) } else { 0 }
    }

    fn pool(&mut self, swarm: &Swarm) -> PoolSpec {
        PoolSpec {
            // Maglev's tables take time to build: one seed in ten.
            strategy: if self.rng.below(10) == 0 {
                Strategy::Maglev
            } else {
                self.rng.pick(&Strategy::ALL[..4])
            },
            timeout: timeouts(swarm, &mut self.rng),
            retry: retries(swarm, &mut self.rng),
            redispatch: swarm.redispatch,
            queue: QueueSpec { size: swarm.rooms.queue_size },
            keepalive: keepalive(),
            proxy_protocol: swarm.headers.go.then_some(ProxyVersion::V2),
            source: origins::sources(swarm, &mut self.rng),
            health: HealthSpec {
                panic: Percent::new(self.rng.pick(&[0, 0, 50, 100])),
                slow_start: span(self.rng.pick(&[0, 100, 10_000])),
                ..HealthSpec::default()
            },
            spill: Percent::new(if swarm.groups { self.rng.pick(&[0, 70, 70, 100]) } else { 0 }),
            on_down: on_down(swarm, &mut self.rng),
            ..PoolSpec::default()
        }
    }

    /// Where clients may connect to.
    pub fn listens_at(&self) -> Vec<SocketAddr> {
        self.spec.listener.values().flat_map(|listener| listener.bind.iter().copied()).collect()
    }

    /// Sends an order and, sooner or later, rings. False: there was no room for it.
    pub fn send(
        &mut self,
        kernel: &mut Kernel,
        order: Order,
        sent: Sent,
        what: &'static str,
    ) -> bool {
        kernel.note(what, [self.sent.len(), 0]);
        // Control coalesces beyond a full mailbox; here it just leaves the order out.
        let fits = self.handle.send(order).is_ok();
        if fits {
            self.sent.push_back(sent);
            kernel.bell = true;
        }
        fits
    }

    /// The orders that the shard has obeyed since the last call.
    pub fn obeyed(&mut self) -> Vec<Sent> {
        let waiting = self.handle.waiting();
        let count = self.sent.len().saturating_sub(waiting);
        self.sent.drain(..count).collect()
    }

    /// True if an order to shed may be obeyed in the next turn.
    #[must_use]
    pub fn sheds(&self) -> bool {
        self.sent.iter().any(|sent| matches!(sent, Sent::Shed(..)))
    }

    /// Builds the next version of the configuration and sends it.
    pub fn adopt(&mut self, kernel: &mut Kernel) {
        let version = self.snapshot.version.next();
        let built = Snapshot::build(&self.spec, version, &self.snapshot, &mut self.ids);
        let snapshot = Arc::new(built.expect("the operator writes nothing wrong"));
        let held = addresses(&self.snapshot);
        let mut sockets = Vec::new();
        for listener in snapshot.listeners.iter().filter(|listener| listener.accepting) {
            for address in listener.binds().filter(|address| !held.contains(address)) {
                let socket: OwnedFd =
                    self.stands_for_a_socket.try_clone().expect("descriptors").into();
                kernel.bound.insert(socket.as_raw_fd(), address.address);
                sockets.push(ListenerSocket { address, socket });
            }
        }
        for (_, backend) in snapshot.backends() {
            self.backends.insert(of_ip(backend.address), backend.id);
        }
        let health = self.words(kernel);
        let sent = Sent::Adopt(Arc::clone(&snapshot), health.clone());
        let order = Order::Adopt { snapshot: Arc::clone(&snapshot), sockets, health };
        if self.send(kernel, order, sent, "order: adopt") {
            self.leases.adopt(&snapshot, &self.snapshot);
            self.snapshot = snapshot;
        }
    }

    /// A report of the shard, and what comes of it.
    pub fn hear(&mut self, report: Report) {
        match report {
            Report::Stats(mut stats) => {
                stats.clear();
                self.spares.push(stats);
            }
            Report::Want { shard, edition, wants } => self.leases.hear(shard, edition, &wants),
            other => self.hear_of_handover(&other),
        }
    }

    /// Credits on their way to the shard.
    pub fn lend(&mut self, kernel: &mut Kernel) {
        let Operator { leases, handle, sent, stopped, .. } = self;
        if *stopped {
            return;
        }
        leases.flush(ShardId(0), |order| {
            handle.send(order)?;
            kernel.note("order: credit", [sent.len(), 0]);
            sent.push_back(Sent::Other);
            kernel.bell = true;
            Ok(())
        });
    }

    /// Something that an operator, or control by itself, does now and then.
    pub fn step(&mut self, kernel: &mut Kernel) {
        if kernel.swarm.handovers > 0 && self.rng.hits(kernel.swarm.handovers) {
            return self.hand_over(kernel);
        }
        // Control refuses mutations meanwhile.
        let is_busy = self.hands_over();
        if !is_busy && self.rng.hits(kernel.swarm.kills) {
            return self.kill(kernel);
        }
        if !is_busy && kernel.swarm.sheds > 0 && self.rng.hits(kernel.swarm.sheds) {
            return self.shed(kernel);
        }
        if self.rng.hits(kernel.swarm.health_flips) {
            return self.flip_health(kernel);
        }
        if self.rng.hits(kernel.swarm.changes) {
            self.change(kernel);
            return self.adopt(kernel);
        }
        match self.rng.below(3) {
            0 => self.collect(kernel),
            1 => {
                let loads = self.some_backends().into_iter();
                let loads = loads.map(|id| (id, self.rng.below(50))).collect::<Vec<_>>();
                let loads = loads.into_iter().map(|(id, n)| (id, u32::try_from(n).unwrap_or(0)));
                let loads: Vec<(BackendId, u32)> = loads.collect();
                let order = Order::LoadElsewhere(loads.clone());
                self.send(kernel, order, Sent::Load(loads), "order: load elsewhere");
            }
            _ => {}
        }
    }

    fn some_backends(&mut self) -> Vec<BackendId> {
        let ids: Vec<BackendId> = self.backends.values().copied().collect();
        ids.into_iter().filter(|_| self.rng.flip()).collect()
    }

    /// Asks for the statistics.
    pub fn collect(&mut self, kernel: &mut Kernel) {
        let spare = self.spares.pop().unwrap_or_else(|| Box::new(ShardStats::new(ShardId(0))));
        self.send(kernel, Order::Collect { spare }, Sent::Collect, "order: collect");
    }

    /// What is known of some backends.
    fn some_words(&mut self, groups: bool) -> HealthWords {
        use BackendHealth::{Aside, Down, Unproven, Up};
        let some = self.some_backends();
        let all = [Up, Up, Up, Up, Down, Unproven, Aside];
        // One stands aside only where there are groups.
        let all = &all[..if groups { 7 } else { 6 }];
        some.into_iter().map(|id| (id, self.rng.pick(all))).collect()
    }

    /// What comes with a snapshot: in one of four something.
    fn words(&mut self, kernel: &Kernel) -> HealthWords {
        let flips = kernel.swarm.health_flips > 0 && self.rng.below(4) == 0;
        if flips { self.some_words(kernel.swarm.groups) } else { Vec::new() }
    }

    fn flip_health(&mut self, kernel: &mut Kernel) {
        let flips = self.some_words(kernel.swarm.groups);
        let order = Order::Health(flips.clone());
        self.send(kernel, order, Sent::Health(flips), "order: health");
    }

    /// Every backend is healthy.
    pub fn heal(&mut self, kernel: &mut Kernel) {
        let all: HealthWords = self.backends.values().map(|id| (*id, BackendHealth::Up)).collect();
        self.send(kernel, Order::Health(all.clone()), Sent::Health(all), "order: heal");
    }

    fn kill(&mut self, kernel: &mut Kernel) {
        let all: Vec<(SocketAddr, BackendId)> =
            self.backends.iter().map(|(address, id)| (*address, *id)).collect();
        let (address, id) = self.rng.pick(&all);
        kernel.killed.insert(address);
        self.send(kernel, Order::Kill(id), Sent::Kill(id), "order: kill");
    }

    /// Some sessions of a backend, which may be gone, or of a listener.
    fn shed(&mut self, kernel: &mut Kernel) {
        let count = self.rng.pick(&[1, 1, 2, 5, 2000]);
        let listeners = &self.snapshot.listeners;
        let of = if self.rng.below(4) == 0 {
            kernel.killed.extend(self.backends.keys());
            SessionsOf::Listener(listeners[self.rng.below(listeners.len())].id)
        } else {
            let all: Vec<(SocketAddr, BackendId)> =
                self.backends.iter().map(|(address, id)| (*address, *id)).collect();
            let (address, id) = self.rng.pick(&all);
            kernel.killed.insert(address);
            SessionsOf::Backend(id)
        };
        self.send(kernel, Order::Shed { of, count }, Sent::Shed(of, count), "order: shed");
    }

    pub fn drain(&mut self, kernel: &mut Kernel) {
        self.send(kernel, Order::Drain, Sent::Drain, "order: drain");
    }

    pub fn stop(&mut self, kernel: &mut Kernel) {
        kernel.stopping = true;
        self.stopped = true;
        self.send(kernel, Order::Stop, Sent::Stop, "order: stop");
    }

    fn change(&mut self, kernel: &mut Kernel) {
        let pools: Vec<Name> = self.spec.pool.keys().cloned().collect();
        let pool_name = &pools[self.rng.below(pools.len())];
        let fresh = self.pool(&kernel.swarm);
        let (added, address) = self.backend(kernel);
        let (weight, priority) = (self.weight(), self.priority(&kernel.swarm));
        let new = BackendSpec { weight, priority, ..BackendSpec::new(address.into()) };
        let new = limited(&kernel.swarm.rooms, &mut self.rng, new);
        let is_limited = kernel.swarm.rooms.has_full() && self.rng.flip();
        let pool = self.spec.pool.get_mut(pool_name).expect("it was just listed");
        let backends: Vec<Name> = pool.backend.keys().cloned().collect();
        let which = self.rng.below(backends.len());
        let backend = backends.get(which).and_then(|name| pool.backend.get_mut(name));
        let kinds = if kernel.swarm.groups { 9 } else { 8 };
        match (self.rng.below(kinds), backend) {
            (0 | 1, Some(backend)) if is_limited => {
                let BackendSpec { address, weight, priority, state, force, .. } = *backend;
                *backend = BackendSpec { address, weight, priority, state, force, ..new };
            }
            (0, Some(backend)) => backend.weight = weight,
            (8, Some(backend)) => backend.priority = priority,
            (1, Some(backend)) => {
                backend.state = self.rng.pick(&[Admin::Ready, Admin::Drain, Admin::Maint]);
            }
            (2, Some(backend)) => backend.address = address.into(), // another one with its name
            (3, Some(_)) => {
                pool.backend.remove(&backends[which]);
            }
            (4, _) => {
                *pool = PoolSpec { backend: std::mem::take(&mut pool.backend), ..fresh }.into()
            }
            (5, _) => self.change_listener(&kernel.swarm),
            _ => {
                pool.backend.insert(added, new);
            }
        }
    }

    fn change_listener(&mut self, swarm: &Swarm) {
        let names: Vec<Name> = self.spec.listener.keys().cloned().collect();
        let which = &names[self.rng.below(names.len())];
        let bind = self.address(10);
        let pools: Vec<Name> = self.spec.pool.keys().cloned().collect();
        let lists = (swarm.lists && self.rng.flip()).then(|| self.lists(swarm));
        let routes = (swarm.routes && self.rng.flip()).then(|| self.routes(swarm));
        let listener = self.spec.listener.get_mut(which).expect("it was just listed");
        if let Some(lists) = lists {
            [listener.allow, listener.deny] = lists;
            return;
        }
        if let Some(routes) = routes {
            listener.route = routes;
            return;
        }
        if swarm.rates.limited && self.rng.flip() {
            listener.rate = swarm.rates.rate(&mut self.rng);
            return;
        }
        if swarm.per_source.limited && self.rng.flip() {
            listener.per_source = swarm.per_source.limits(&mut self.rng);
            return;
        }
        match self.rng.below(4) {
            0 => {
                listener.state =
                    if listener.state.is_ready() { Admin::Drain } else { Admin::Ready };
            }
            1 => listener.max_sessions = self.rng.pick(&[None, Some(1), Some(3), Some(20)]),
            2 => listener.bind = vec![bind], // another one with its name
            _ => listener.pool = pools[self.rng.below(pools.len())].clone(),
        }
    }
}
