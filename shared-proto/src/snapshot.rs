//! Spec → Snapshot: checked, versioned, immutable, with dense indices. Every shard and control read
//! the same one.

mod backend;
mod check;
mod listener;
mod mark;
mod member;
mod per_source;
mod route;
mod wildcards;

use core::net::IpAddr;
use std::collections::BTreeMap;
use std::sync::Arc;

pub use backend::Backend;
pub use listener::Listener;
pub use mark::{AgentMark, Configured};
pub use member::Member;
pub use per_source::PerSource;
pub use route::{NAMES_MAX, ROUTES_MAX, Route, fault_of_name, fault_of_protocol};
pub use wildcards::Wildcards;

use crate::bind_address::BindAddress;
use crate::complaint::Complaint;
use crate::ids::{Edition, IdSource, ListenerId, PoolId, Version};
use crate::network::NetworkList;
use crate::spec::{
    CopyOnWrite, HealthSpec, KeepaliveSpec, ListenerSpec, Name, Percent, PoolSpec, ProxyInSpec,
    Span, Spec, Strategy,
};
pub use crate::spec::{
    KEEPALIVE_COUNT_MAX, KEEPALIVE_SECS_MAX, RETRY_ATTEMPTS_MAX, WEIGHT_MAX, unescape,
};

/// The most listeners, over all names.
pub const LISTENERS_MAX: usize = 1024;
/// The most addresses that one listener binds.
pub const BINDS_MAX: usize = 16;
/// The most pools.
pub const POOLS_MAX: usize = 4096;
/// The most backends of one pool.
pub const BACKENDS_PER_POOL_MAX: usize = 4096;
/// The most backends of all pools together.
pub const BACKENDS_MAX: usize = 100_000;

/// One version of the whole configuration, as it is used. Never changed, only replaced.
///
/// Listeners, pools and the backends of each pool are in the order of their names: there may be
/// [`BACKENDS_MAX`] of them, and a name is looked up by halves.
///
/// A pool that a version leaves as it was is shared with the version before, and [`Pool::since`]
/// says so: who takes over a version looks into the other pools only.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Snapshot {
    pub version: Version,
    /// How often discovered backends or marks have changed since it was that version: [`Edition`].
    pub regroupings: u32,
    pub listeners: Vec<Listener>,
    pub pools: Vec<Arc<Pool>>,
}

/// The PROXY headers that a listener wants first.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ProxyIn {
    /// Who sends them; others are refused. Empty: none is wanted.
    pub from: NetworkList,
    /// How long one may take, if not as long as a hello.
    pub timeout_ms: Option<u32>,
}

impl ProxyIn {
    fn of(spec: &ProxyInSpec) -> ProxyIn {
        // `check` has bounded it by a week, which fits.
        let millis = |timeout: Span| u32::try_from(timeout.millis).unwrap_or(u32::MAX);
        ProxyIn { from: spec.from.clone(), timeout_ms: spec.timeout.map(millis) }
    }

    /// True if a client at this address sends a header, and is believed.
    #[must_use]
    pub fn trusts(&self, ip: IpAddr) -> bool {
        self.from.iter().any(|network| network.contains(ip))
    }

    /// The spec that this was built from.
    fn spec(&self) -> ProxyInSpec {
        let timeout = self.timeout_ms.map(|ms| Span::from_millis(ms.into()));
        ProxyInSpec { from: self.from.clone(), timeout }
    }
}

/// A pool of a snapshot.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Pool {
    pub id: PoolId,
    /// The edition that made it what it is: two pools of one id and one `since` are the same, its
    /// backends included. Only among versions that were sent to shards: a dry run takes a number
    /// that the next change has too.
    pub since: Edition,
    pub name: Name,
    /// The spec that it was built from.
    pub spec: CopyOnWrite<PoolSpec>,
    pub strategy: Strategy,
    pub health: HealthSpec,
    pub timeouts: Timeouts,
    /// For its backends.
    pub keepalive: Keepalive,
    pub retry: Retry,
    /// Sessions that may wait on each shard while every backend is full.
    pub queue_size: u32,
    /// The most that the kernel keeps for one socket of a session in one direction, in bytes:
    /// [`SOCKET_BUFFER_MIN`](crate::spec::SOCKET_BUFFER_MIN) to
    /// [`SOCKET_BUFFER_MAX`](crate::spec::SOCKET_BUFFER_MAX). `None`: the kernel decides.
    pub socket_buffer: Option<u32>,
    /// The configured ones and the discovered ones.
    pub backends: Vec<Backend>,
    /// The backends that DNS has found. They are in no spec, and so in no version on disk.
    pub members: Vec<Member>,
}

/// What is done when a connect of a pool fails.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Retry {
    /// How many other backends are tried, 0 to [`RETRY_ATTEMPTS_MAX`].
    pub attempts: u8,
    /// From the accept, in milliseconds: no other backend is tried for longer.
    pub within_ms: u32,
    /// Bytes that another backend gets again when one closes before its first byte, at most
    /// [`REPLAY_MAX`](crate::spec::REPLAY_MAX). `None`: there is no other one then.
    pub replay_max: Option<u16>,
}

/// A pool's timeouts, in milliseconds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Timeouts {
    pub connect_ms: u32,
    pub idle_ms: u32,
    pub half_close_ms: u32,
    /// `None`: as long as `idle_ms`.
    pub own_stalled_ms: Option<u32>,
    /// For a session that waits for a backend with room.
    pub queue_ms: u32,
    /// The greatest age of a session. `None`: any.
    pub lifetime_ms: Option<u32>,
}

impl Timeouts {
    /// How long a side may take nothing although bytes wait for it.
    #[must_use]
    pub fn stalled_ms(&self) -> u32 {
        self.own_stalled_ms.unwrap_or(self.idle_ms)
    }
}

/// How an idle peer is asked whether it is still there (tcp(7), TCP_KEEPIDLE and the others).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Keepalive {
    /// 1 to [`KEEPALIVE_SECS_MAX`].
    pub idle_s: u16,
    pub interval_s: u16,
    /// 1 to [`KEEPALIVE_COUNT_MAX`].
    pub count: u8,
}

impl Default for Keepalive {
    fn default() -> Keepalive {
        Keepalive::of(&KeepaliveSpec::default())
    }
}

impl Keepalive {
    /// How long a peer may acknowledge nothing of what waits for it: as long as questions would go
    /// unanswered.
    #[must_use]
    pub fn silence_ms(self) -> u32 {
        u32::from(self.interval_s) * u32::from(self.count) * 1000
    }

    fn of(spec: &KeepaliveSpec) -> Keepalive {
        // `check` has bounded all three.
        let seconds = |span: crate::spec::Span| u16::try_from(span.millis / 1000);
        Keepalive {
            idle_s: seconds(spec.idle).unwrap_or(KEEPALIVE_SECS_MAX),
            interval_s: seconds(spec.interval).unwrap_or(KEEPALIVE_SECS_MAX),
            count: u8::try_from(spec.count).unwrap_or(KEEPALIVE_COUNT_MAX),
        }
    }

    /// The spec that this was built from.
    #[must_use]
    pub fn spec(self) -> KeepaliveSpec {
        let span = |seconds: u16| crate::spec::Span::from_secs(seconds.into());
        let [idle, interval] = [self.idle_s, self.interval_s].map(span);
        KeepaliveSpec { idle, interval, count: self.count.into() }
    }
}

/// One thing that is wrong with a spec: where (a dotted path as in the file), what, and how to fix
/// it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fault {
    pub at: String,
    pub complaint: Complaint,
}

impl Fault {
    /// A fault at this place.
    #[must_use]
    pub fn new(at: impl Into<String>, what: impl Into<String>, hint: impl Into<String>) -> Fault {
        Fault { at: at.into(), complaint: Complaint::new(what, hint) }
    }
}

/// The place, if it has one, and what is wrong there, without the hint.
impl core::fmt::Display for Fault {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        if self.at.is_empty() {
            return f.write_str(&self.complaint.what);
        }
        write!(f, "{}: {}", self.at, self.complaint.what)
    }
}

impl Snapshot {
    /// An empty configuration before the first version.
    #[must_use]
    pub fn empty() -> Snapshot {
        Snapshot { version: Version(0), regroupings: 0, listeners: Vec::new(), pools: Vec::new() }
    }

    /// Checks `spec` and gives it a version. Identities are carried over from `previous` where the
    /// name (and for a backend the address) is the same; a listener with a new name is the one that
    /// is gone and had one of its addresses: it was renamed.
    ///
    /// # Errors
    /// Every fault that was found, in the order of the file.
    pub fn build(
        spec: &Spec,
        version: Version,
        previous: &Snapshot,
        ids: &mut IdSource,
    ) -> Result<Snapshot, Vec<Fault>> {
        let faults = check::check(spec, previous);
        if !faults.is_empty() {
            return Err(faults);
        }
        let pools = spec.pool.iter().map(|(name, pool)| {
            let before = previous.shared_pool(name.as_str());
            let same = before.filter(|before| before.spec == *pool).cloned();
            let before = before.map(|before| &**before);
            same.unwrap_or_else(|| Arc::new(build_pool((name, pool), version, before, ids)))
        });
        let pools: Vec<Arc<Pool>> = pools.collect();
        let index: BTreeMap<&Name, usize> =
            spec.pool.keys().enumerate().map(|(index, name)| (name, index)).collect();
        let heirs = listener::heirs(spec, previous);
        let listeners = spec
            .listener
            .iter()
            .map(|(name, listener)| {
                let before = previous.listener(name.as_str());
                let id = heirs.get(name).copied().unwrap_or_else(|| ListenerId(ids.fresh()));
                Listener::of((id, name), listener, before, &index)
            })
            .collect();
        Ok(Snapshot { version, regroupings: 0, listeners, pools })
    }

    /// The snapshot with other discovered backends in these pools, by their places: the next
    /// edition of the same version. Identities are carried over.
    #[must_use]
    pub fn regroup(&self, regrouped: Vec<(usize, Vec<Member>)>, ids: &mut IdSource) -> Snapshot {
        let edition = self.edition().regrouped();
        let mut next = Snapshot { regroupings: edition.regroupings, ..self.clone() };
        for (place, members) in regrouped {
            let before = &self.pools[place];
            let backends = member::backends(&before.spec, &members, Some(before), ids);
            let pool = Pool { since: edition, backends, members, ..Pool::clone(before) };
            next.pools[place] = Arc::new(pool);
        }
        next
    }

    /// The snapshot with other marks in these pools, by their places, each with a mark for each
    /// backend in order: the next edition of the same version.
    #[must_use]
    pub fn remark(&self, remarked: Vec<(usize, Vec<AgentMark>)>) -> Snapshot {
        let edition = self.edition().regrouped();
        let mut next = Snapshot { regroupings: edition.regroupings, ..self.clone() };
        for (place, marks) in remarked {
            let mut pool = Pool { since: edition, ..Pool::clone(&self.pools[place]) };
            for (backend, mark) in pool.backends.iter_mut().zip(marks) {
                backend.mark = mark;
            }
            mark::put_in_force(&mut pool.backends);
            next.pools[place] = Arc::new(pool);
        }
        next
    }

    /// Its version, and which of the snapshots under that.
    #[must_use]
    pub fn edition(&self) -> Edition {
        Edition { version: self.version, regroupings: self.regroupings }
    }

    /// Where weir listens on every address of this host: a connect to one of them with that family
    /// and port arrives at weir.
    #[must_use]
    pub fn wildcard_binds(&self) -> Wildcards {
        let open = self.listeners.iter().filter(|listener| listener.accepting);
        let binds = open.flat_map(Listener::binds).filter(BindAddress::takes_own_connects);
        let every = binds.filter(|bind| bind.address.ip().is_unspecified());
        Wildcards::of(every.flat_map(|bind| bind.families()))
    }

    /// The pool of that name.
    #[must_use]
    pub fn pool(&self, name: &str) -> Option<&Pool> {
        self.shared_pool(name).map(|pool| &**pool)
    }

    fn shared_pool(&self, name: &str) -> Option<&Arc<Pool>> {
        find(&self.pools, name, |pool| &pool.name)
    }

    /// The listener of that name.
    #[must_use]
    pub fn listener(&self, name: &str) -> Option<&Listener> {
        find(&self.listeners, name, |listener| &listener.name)
    }

    /// True if sessions of the listener go to the pool, by itself or by a route.
    #[must_use]
    pub fn leads_to(&self, listener: &Listener, pool: PoolId) -> bool {
        listener.pools().any(|index| self.pools[index].id == pool)
    }

    /// Every backend with its pool.
    pub fn backends(&self) -> impl Iterator<Item = (&Pool, &Backend)> {
        self.pools
            .iter()
            .flat_map(|pool| pool.backends.iter().map(move |backend| (&**pool, backend)))
    }

    /// The spec that a listener of this snapshot was built from.
    #[must_use]
    pub fn listener_spec(&self, listener: &Listener) -> ListenerSpec {
        listener.spec(&self.pools)
    }

    /// The spec that this snapshot was built from.
    #[must_use]
    pub fn spec(&self) -> Spec {
        let listener = self.listeners.iter();
        let listener = listener.map(|it| (it.name.clone(), self.listener_spec(it)));
        let pool = self.pools.iter().map(|pool| (pool.name.clone(), pool.spec.clone()));
        Spec { listener: listener.collect(), pool: pool.collect() }
    }
}

impl Pool {
    /// The backend of that name.
    #[must_use]
    pub fn backend(&self, name: &str) -> Option<&Backend> {
        find(&self.backends, name, |backend| &backend.name)
    }

    /// True if it has this very backend: one of its name and its identity.
    #[must_use]
    pub fn has(&self, backend: &Backend) -> bool {
        self.backend(backend.name.as_str()).is_some_and(|own| own.id == backend.id)
    }

    /// Its backends that `after`, the pool as it is later, no longer has.
    pub fn without<'a>(&'a self, after: Option<&'a Pool>) -> impl Iterator<Item = &'a Backend> {
        let is_gone = move |it: &&Backend| !after.is_some_and(|after| after.has(it));
        self.backends.iter().filter(is_gone)
    }

    /// The priorities that its backends have, in rising order.
    #[must_use]
    pub fn priorities(&self) -> Vec<u8> {
        let mut priorities: Vec<u8> = self.backends.iter().map(|it| it.priority).collect();
        priorities.sort_unstable();
        priorities.dedup();
        priorities
    }

    /// True if it has the same backends as the other, which takes no time if it is the same pool.
    #[must_use]
    pub fn has_backends_of(&self, other: &Pool) -> bool {
        core::ptr::eq(self, other) || self.backends == other.backends
    }
}

/// True if `up` of `members` backends are fewer than the share `threshold`: then more sessions
/// would be lost by obeying the checks than by not believing them.
#[must_use]
pub fn panics(threshold: Percent, up: usize, members: usize) -> bool {
    up * 100 < usize::from(threshold.hundredths()) * members
}

/// The one of that name in a list that is in the order of its names.
fn find<'a, T>(list: &'a [T], name: &str, name_of: impl Fn(&T) -> &Name) -> Option<&'a T> {
    let found = list.binary_search_by(|it| name_of(it).as_str().cmp(name));
    found.ok().map(|index| &list[index])
}

fn build_pool(
    (name, spec): (&Name, &CopyOnWrite<PoolSpec>),
    since: Version,
    before: Option<&Pool>,
    ids: &mut IdSource,
) -> Pool {
    let id = before.map_or_else(|| PoolId(ids.fresh()), |before| before.id);
    // Another name in DNS leaves those that there are, until it is known what is behind it.
    let members = before.filter(|_| spec.discover.source().is_some());
    let members = members.map_or_else(Vec::new, |before| before.members.clone());
    let backends = member::backends(spec, &members, before, ids);
    // `check` has bounded every span by a day, which fits.
    let ms = |span: crate::spec::Span| u32::try_from(span.millis).unwrap_or(u32::MAX);
    Pool {
        id,
        since: Edition::of(since),
        name: name.clone(),
        spec: spec.clone(),
        strategy: spec.strategy,
        health: spec.health.clone(),
        timeouts: Timeouts {
            connect_ms: ms(spec.timeout.connect),
            idle_ms: ms(spec.timeout.idle),
            half_close_ms: ms(spec.timeout.half_close),
            own_stalled_ms: spec.timeout.stalled.map(ms),
            queue_ms: ms(spec.timeout.queue),
            lifetime_ms: spec.timeout.lifetime.map(ms),
        },
        keepalive: Keepalive::of(&spec.keepalive),
        // `check` has bounded it.
        retry: Retry {
            attempts: u8::try_from(spec.retry.attempts).unwrap_or(RETRY_ATTEMPTS_MAX),
            within_ms: ms(spec.retry.within),
            replay_max: spec.redispatch.replay_max(),
        },
        queue_size: spec.queue.size,
        socket_buffer: spec.socket_buffer.map(crate::spec::Size::bytes),
        backends,
        members,
    }
}

#[cfg(test)]
mod tests;
