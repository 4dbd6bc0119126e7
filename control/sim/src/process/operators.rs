//! People at the command line: each has one request on its way, and what they ask for is sometimes
//! wrong.

use std::net::SocketAddr;

use weir_control_core::file;
use weir_proto::confirm::Confirm;
use weir_proto::request::{ApplyMode, BackendAct, ChangeOptions, ChangeRequest};
use weir_proto::snapshot::{Listener, Snapshot};
use weir_proto::spec::{
    Admin, BackendSpec, Failover, HealthKind, HealthSpec, ListenerSpec, Name, Percent, PoolSpec,
    QueueSpec, Spec, Strategy,
};

use super::{SimProcess, StepResult, daemon};
use weir_engine_sim::faults::{PerSources, Rates, Rooms, Swarm};
use weir_engine_sim::net::Mode;
use weir_engine_sim::operator::{keepalive, limited, name, on_down, retries, timeouts};
use weir_engine_sim::rng::Rng;

/// Everybody who makes changes.
#[derive(Debug)]
pub(super) struct People {
    rng: Rng,
    next_port: u16,
    /// Limits of the backends, and of those that wait for one with room.
    rooms: Rooms,
    rates: Rates,
    per_source: PerSources,
    /// Every address that a backend ever had.
    pub(super) hosts: Vec<SocketAddr>,
    /// Every address that a listener ever had.
    pub(super) listens_at: Vec<SocketAddr>,
    /// The file on somebody's desk. It knows nothing of what was done by commands.
    file: Spec,
    /// Pools have priority groups.
    groups: bool,
    /// Pools limit the age of their sessions.
    lifetimes: bool,
    /// Pools end sessions of backends that go down.
    on_down: bool,
}

fn pair(key: &str, value: impl Into<String>) -> (String, String) {
    (key.to_owned(), value.into())
}

impl SimProcess {
    /// Somebody types a command.
    pub(super) fn ask(&mut self) -> StepResult {
        self.drain_some();
        let Some(daemon) = &mut self.daemon else { return Ok(()) };
        if daemon.waiting() < self.faults.people && self.rng.hits(self.swarm.changes) {
            let now = daemon::moment(self.street.now).now;
            let waits = daemon.control.unconfirmed(now).map(|it| it.rolls_back_to);
            let (request, options) = self.people.ask(daemon.snapshot(), waits);
            self.street.note("asks", [daemon.waiting(), 0]);
            daemon.ask(request, options, daemon::moment(self.street.now));
            daemon.tell(&mut self.history)?;
            self.meet_hosts();
        }
        Ok(())
    }

    /// Every backend that somebody has thought of has a host.
    pub(super) fn meet_hosts(&mut self) {
        for host in self.people.hosts.drain(..) {
            self.street.net.hosts.insert(host, Mode::Listens);
        }
    }
}

impl People {
    #[must_use]
    pub(super) fn new(rng: Rng) -> People {
        let (hosts, listens_at) = (Vec::new(), Vec::new());
        People {
            rng,
            next_port: 1000,
            rooms: Rooms::default(),
            rates: Rates::default(),
            per_source: PerSources::default(),
            hosts,
            listens_at,
            file: Spec::default(),
            groups: false,
            lifetimes: false,
            on_down: false,
        }
    }

    fn host(&mut self) -> SocketAddr {
        self.next_port += 1;
        let address = SocketAddr::from(([10, 0, 0, 20], self.next_port));
        self.hosts.push(address);
        address
    }

    fn bind(&mut self) -> SocketAddr {
        self.next_port += 1;
        let address = SocketAddr::from(([10, 0, 0, 10], self.next_port));
        self.listens_at.push(address);
        address
    }

    fn weight(&mut self) -> u16 {
        self.rng.pick(&[0, 1, 1, 1, 2, 10, 256])
    }

    fn backend(&mut self) -> (Name, BackendSpec) {
        let (address, weight) = (self.host(), self.weight());
        let priority = if self.groups { self.rng.pick(&[0, 0, 1, 2]) } else { 0 };
        let spec = BackendSpec { weight, priority, ..BackendSpec::new(address.into()) };
        let spec = limited(&self.rooms, &mut self.rng, spec);
        (name(&format!("b{}", address.port())), spec)
    }

    /// With a word on the priority groups of a pool, on the age of its sessions and on those of
    /// backends that go down, where there are such.
    fn with_groups(&mut self, mut pairs: Vec<(String, String)>) -> Vec<(String, String)> {
        if self.lifetimes {
            pairs.push(pair("timeout.lifetime", self.rng.pick(&["", "1s", "3s"])));
        }
        if self.on_down {
            pairs.push(pair("on-down", self.rng.pick(&["keep", "stalled", "kill"])));
        }
        if self.groups {
            pairs.push(match self.rng.below(3) {
                0 => pair("failover", "stay"),
                1 => pair("failover", "auto"),
                _ => pair("spill", self.rng.pick(&["0%", "70%"])),
            });
        }
        pairs
    }

    /// The configuration that the process is seeded with.
    pub(super) fn first(&mut self, swarm: &Swarm, with: impl FnOnce(&mut Spec)) -> Spec {
        (self.groups, self.lifetimes) = (swarm.groups, swarm.lifetimes);
        (self.rooms, self.on_down) = (swarm.rooms, swarm.on_down);
        (self.rates, self.per_source) = (swarm.rates, swarm.per_source);
        let mut spec = Spec::default();
        for number in 0..swarm.pools {
            let pool_name = name(&format!("p{number}"));
            let kind = self.rng.pick(&[HealthKind::None, HealthKind::Tcp]);
            let pool = PoolSpec {
                strategy: self.rng.pick(&Strategy::ALL[..4]),
                health: HealthSpec {
                    kind,
                    panic: Percent::new(self.rng.pick(&[0, 50, 50, 100])),
                    ..HealthSpec::default()
                },
                timeout: timeouts(swarm, &mut self.rng),
                retry: retries(swarm, &mut self.rng),
                redispatch: swarm.redispatch,
                queue: QueueSpec { size: swarm.rooms.queue_size },
                keepalive: keepalive(),
                failover: if self.groups && self.rng.flip() {
                    Failover::Stay
                } else {
                    Failover::Auto
                },
                on_down: on_down(swarm, &mut self.rng),
                backend: (0..swarm.backends.max(1)).map(|_| self.backend()).collect(),
                ..PoolSpec::default()
            };
            spec.pool.insert(pool_name.clone(), pool.into());
            let bind = vec![self.bind()];
            let listener = ListenerSpec {
                max_sessions: self.rng.pick(&[None, None, Some(1), Some(5)]),
                rate: self.rates.rate(&mut self.rng),
                per_source: self.per_source.limits(&mut self.rng),
                keepalive: keepalive(),
                no_backend: self.rooms.no_backend(),
                ..ListenerSpec::new(pool_name, bind)
            };
            spec.listener.insert(name(&format!("l{number}")), listener);
        }
        with(&mut spec);
        self.file = spec.clone();
        spec
    }

    /// Something that somebody wants changed. If the version waits for its confirmation, `waits` is
    /// the one before it.
    pub(super) fn ask(
        &mut self,
        now: &Snapshot,
        waits: Option<u64>,
    ) -> (ChangeRequest, ChangeOptions) {
        let version = now.version.0;
        let options = ChangeOptions {
            dry_run: self.rng.below(20) == 0,
            if_version: self.rng.pick(&[None, None, None, Some(version), Some(version + 1)]),
            // They know what they do; what needs a question is held by unit tests.
            yes: true,
            ..ChangeOptions::default()
        };
        match waits {
            Some(_) if self.rng.below(3) == 0 => return (ChangeRequest::Confirm, options),
            Some(version) if self.rng.below(6) == 0 => {
                return (ChangeRequest::Rollback { version }, options);
            }
            _ => {}
        }
        let request = self.request(now, version);
        let is_file = matches!(request, ChangeRequest::Apply { .. });
        let confirm = (is_file && self.rng.below(4) == 0)
            .then(|| Confirm { within_ms: self.rng.pick(&[1_000, 3_000]), guards: Vec::new() });
        (request, ChangeOptions { confirm, ..options })
    }

    fn request(&mut self, now: &Snapshot, version: u64) -> ChangeRequest {
        // A rollback may have taken the last one away.
        let Some(pool) = now.pools.get(self.rng.below(now.pools.len())) else {
            return ChangeRequest::PoolAdd { name: "p0".to_owned(), pairs: Vec::new() };
        };
        let Some(listener) = now.listeners.get(self.rng.below(now.listeners.len())) else {
            return self.add_listener(pool.name.to_string());
        };
        let (pool_name, listener_name) = (pool.name.to_string(), listener.name.to_string());
        let backend = pool.backends.get(self.rng.below(pool.backends.len()));
        // Sometimes one that is not there.
        let backend = backend.map_or_else(|| "nobody".to_owned(), |it| it.name.to_string());
        let backend = format!("{pool_name}/{backend}");
        if self.groups && self.rng.below(3) == 0 {
            return self.regroup(&pool_name, backend);
        }
        match self.rng.below(23) {
            0..4 => self.add_backend(&pool_name),
            4 | 5 => ChangeRequest::BackendRemove { name: backend, force: self.rng.flip() },
            6 | 7 => {
                let state = self.rng.pick(&[Admin::Ready, Admin::Drain, Admin::Maint]);
                ChangeRequest::BackendState { name: backend, state }
            }
            8 => ChangeRequest::BackendWeight { name: backend, weight: self.weight() },
            9 | 10 => {
                let state = self.rng.pick(&[Admin::Ready, Admin::Ready, Admin::Drain]);
                ChangeRequest::ListenerState { name: listener_name, state }
            }
            11 => self.add_listener(pool_name),
            12 if now.listeners.len() > 1 => ChangeRequest::ListenerRemove { name: listener_name },
            13 => self.set_pool(pool_name),
            14 => self.roll_back(version),
            17 | 18 => self.set_listener(now, listener),
            19 => self.set_backend(backend),
            20 => {
                let names = pool.backends.iter().take(3).map(|it| &it.name);
                let mut names: Vec<String> = names.map(|it| format!("{pool_name}/{it}")).collect();
                // Sometimes twice, or one that is not there.
                names.push(backend);
                let act = match self.rng.below(4) {
                    0 => BackendAct::Remove { force: false },
                    1 => BackendAct::Weight(self.weight()),
                    2 => BackendAct::State(Admin::Ready),
                    _ => BackendAct::State(Admin::Drain),
                };
                ChangeRequest::Backends { names, act }
            }
            _ => self.apply_file(now),
        }
    }

    /// The file is edited, or not, and applied. Somebody may have exported it again.
    fn apply_file(&mut self, now: &Snapshot) -> ChangeRequest {
        if self.rng.below(4) == 0 {
            self.file = now.spec();
        }
        let mut file = self.file.clone();
        match self.rng.below(6) {
            0 | 1 => self.edit_backends(&mut file),
            2 | 3 => self.edit_listeners(&mut file),
            4 => self.edit_pools(&mut file),
            _ => {}
        }
        self.file = file;
        let (toml, origin) = (file::export(&self.file), "weir.toml".to_owned());
        let mode = self.rng.pick(&[
            ApplyMode::Merge,
            ApplyMode::Merge,
            ApplyMode::Merge,
            ApplyMode::Ours,
            ApplyMode::Theirs,
            ApplyMode::Replace,
        ]);
        ChangeRequest::Apply { toml, origin, mode, force: self.rng.below(4) > 0 }
    }

    fn add_backend(&mut self, pool: &str) -> ChangeRequest {
        let (name, BackendSpec { address, .. }) = self.backend();
        let weight = self.rng.pick(&[None, Some("1"), Some("3")]);
        let pairs = weight.map(|weight| pair("weight", weight)).into_iter().collect();
        let name = format!("{pool}/{name}");
        ChangeRequest::BackendAdd { name, address: address.to_string(), pairs }
    }

    fn add_listener(&mut self, pool: String) -> ChangeRequest {
        let bind = self.bind();
        let name = format!("l{}", bind.port());
        ChangeRequest::ListenerAdd { name, bind: vec![bind.to_string()], pool, pairs: Vec::new() }
    }

    /// Other addresses, another pool, or another limit. Sometimes it stays as it is.
    fn set_listener(&mut self, now: &Snapshot, listener: &Listener) -> ChangeRequest {
        let new = self.bind().to_string();
        let kept = listener.bind.iter().map(ToString::to_string).collect::<Vec<_>>().join(",");
        let pool = &now.pools[self.rng.below(now.pools.len())].name;
        if self.per_source.limited && self.rng.below(4) == 0 {
            let most = self.rng.pick(&["", "1", "2", "5"]);
            let mut pairs = vec![pair("per-source.sessions", most)];
            if most.is_empty() {
                pairs.extend(["rate", "ipv4"].map(|key| pair(&format!("per-source.{key}"), "")));
            }
            return ChangeRequest::ListenerSet { name: listener.name.to_string(), pairs };
        }
        if self.rates.limited && self.rng.flip() {
            let rate = self.rates.rate(&mut self.rng).map(|rate| rate.to_string());
            let pairs = vec![pair("rate", rate.unwrap_or_default())];
            return ChangeRequest::ListenerSet { name: listener.name.to_string(), pairs };
        }
        let pairs = match self.rng.below(4) {
            0 => vec![pair("bind", new)],
            1 => vec![pair("bind", format!("{kept},{new}"))],
            2 => vec![pair("pool", pool.as_str())],
            _ => {
                let most = self.rng.pick(&["", "1", "3", "20"]);
                vec![pair("max-sessions", most), pair("pool", pool.as_str())]
            }
        };
        ChangeRequest::ListenerSet { name: listener.name.to_string(), pairs }
    }

    /// Another address, perhaps another weight and state with it.
    fn set_backend(&mut self, name: String) -> ChangeRequest {
        let address = pair("address", self.host().to_string());
        let weight = pair("weight", self.weight().to_string());
        let state = pair("state", self.rng.pick(&["ready", "drain", "maint"]));
        if self.rooms.limited && self.rng.flip() {
            let most = self.rng.pick(&["", "1", "2", "5"]);
            return ChangeRequest::BackendSet { name, pairs: vec![pair("max-sessions", most)] };
        }
        if self.rooms.caps && self.rng.flip() {
            let cap = if self.rng.flip() {
                pair("connecting", self.rng.pick(&["", "1", "2", "5"]))
            } else {
                pair("connect-rate", self.rng.pick(&["", "3/s", "20/s", "1000/s"]))
            };
            return ChangeRequest::BackendSet { name, pairs: vec![cap] };
        }
        let pairs = match self.rng.below(4) {
            0 | 1 => vec![address],
            2 => vec![weight, address],
            _ => vec![weight, state],
        };
        ChangeRequest::BackendSet { name, pairs }
    }

    /// Changes that may give a pool's sessions to another priority group.
    fn regroup(&mut self, pool: &str, backend: String) -> ChangeRequest {
        let pairs = match self.rng.below(6) {
            0 => vec![pair("priority", self.rng.pick(&["0", "1"]))],
            1 => vec![pair("state", self.rng.pick(&["ready", "drain"]))],
            2 | 3 => vec![pair("force", self.rng.pick(&["", "up", "down", "down"]))],
            _ => {
                let kind = pair("health.kind", self.rng.pick(&["tcp", "tcp", "none"]));
                let pairs = self.with_groups(vec![kind]);
                return ChangeRequest::PoolSet { name: pool.to_owned(), pairs };
            }
        };
        ChangeRequest::BackendSet { name: backend, pairs }
    }

    /// To one of the last versions; sometimes there is no such one.
    fn roll_back(&mut self, version: u64) -> ChangeRequest {
        let back = self.rng.below(8) as u64;
        ChangeRequest::Rollback { version: version.saturating_sub(back) }
    }

    fn set_pool(&mut self, name: String) -> ChangeRequest {
        let strategy = pair("strategy", self.rng.pick(&Strategy::ALL[..4]).to_string());
        let attempts = pair("retry.attempts", self.rng.below(4).to_string());
        let pairs = self.with_groups(vec![strategy, attempts]);
        ChangeRequest::PoolSet { name, pairs }
    }

    /// Addresses come and go, listeners are renamed, and limits change.
    fn edit_listeners(&mut self, file: &mut Spec) {
        for _ in 0..self.rng.between(1, 3) {
            let names: Vec<Name> = file.listener.keys().cloned().collect();
            let which = names[self.rng.below(names.len())].clone();
            let other = names[self.rng.below(names.len())].clone();
            let new = self.bind();
            let Some(mut listener) = file.listener.remove(&which) else { continue };
            let mut called = which;
            match self.rng.below(5) {
                0 => listener.bind.push(new),
                1 if listener.bind.len() > 1 => drop(listener.bind.remove(0)),
                // Another name with the same addresses: renamed, or removed and added.
                2 => called = name(&format!("l{}", new.port())),
                // An address goes from one to another.
                3 => {
                    if let Some(other) = file.listener.get_mut(&other) {
                        listener.bind.push(std::mem::replace(&mut other.bind[0], new));
                    }
                }
                _ => listener.max_sessions = self.rng.pick(&[None, Some(1), Some(3), Some(20)]),
            }
            file.listener.insert(called, listener);
        }
    }

    /// One backend more, perhaps one less, and perhaps another weight or strategy.
    fn edit_backends(&mut self, file: &mut Spec) {
        let (added, backend) = self.backend();
        let (goes, weight) = (self.rng.flip(), self.weight());
        let strategy = self.rng.pick(&Strategy::ALL[..4]);
        let Some(pool) = file.pool.values_mut().next() else { return };
        let first = pool.backend.keys().next().cloned();
        if let Some(first) = first.filter(|_| goes) {
            pool.backend.remove(&first);
        }
        if let Some(first) = pool.backend.values_mut().next().filter(|_| self.rng.flip()) {
            first.weight = weight;
        }
        if self.rng.flip() {
            pool.strategy = strategy;
        }
        pool.backend.insert(added, backend);
    }

    /// A pool comes and takes a listener over, or the last one goes and its listeners have another.
    fn edit_pools(&mut self, file: &mut Spec) {
        let Some((first, like)) = file.pool.first_key_value() else { return };
        let (first, mut pool) = (first.clone(), like.clone());
        if self.rng.flip() {
            pool.backend = [self.backend(), self.backend()].into();
            let new = name(&format!("p{}", self.next_port));
            if let Some(listener) = file.listener.values_mut().next() {
                listener.pool = new.clone();
            }
            file.pool.insert(new, pool);
        } else if file.pool.len() > 1 {
            let Some((last, _)) = file.pool.pop_last() else { return };
            for listener in file.listener.values_mut().filter(|it| it.pool == last) {
                listener.pool = first.clone();
            }
        }
    }
}
