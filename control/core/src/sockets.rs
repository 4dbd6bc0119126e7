//! Which addresses of a version are open, and what came of binding them.

use std::collections::BTreeSet;
use std::io;
use std::os::fd::OwnedFd;

use weir_proto::bind_address::BindAddress;
use weir_proto::order::ListenerSocket;
use weir_proto::request::{Code, Refusal};
use weir_proto::snapshot::{Listener, Snapshot};

/// No such interface (asm-generic/errno-base.h).
const ENODEV: i32 = 19;

/// The sockets of one version for every shard: the n-th entry is for shard n.
pub type Sockets = Vec<Vec<ListenerSocket>>;

/// Addresses to bind, each of them for every shard.
#[derive(Debug)]
pub struct BindPlan<'a> {
    /// Has every address of the plan open.
    pub snapshot: &'a Snapshot,
    /// Addresses that this process has bound: no other program can have them.
    pub held: BTreeSet<BindAddress>,
    /// Addresses to bind.
    pub wanted: BTreeSet<BindAddress>,
    /// Addresses that are held and may no longer be bound freely (`freebind`): each is bound once
    /// without, and let go. A version that the next start could not bind is refused while the old
    /// one serves.
    pub tried: BTreeSet<BindAddress>,
}

impl BindPlan<'_> {
    /// Every open address, at a start.
    pub fn first(snapshot: &Snapshot) -> BindPlan<'_> {
        let wanted = addresses(snapshot);
        BindPlan { snapshot, held: BTreeSet::new(), wanted, tried: BTreeSet::new() }
    }

    /// Addresses that are open in `after` and not in `before`. Those for which `is_unbound` are
    /// open in `before` and were never bound: a change does not depend on them.
    pub fn of_change<'a>(
        before: &Snapshot,
        after: &'a Snapshot,
        is_unbound: impl Fn(&BindAddress) -> bool,
    ) -> BindPlan<'a> {
        let mut held = addresses(before);
        let wanted = addresses(after).difference(&held).copied().collect();
        held.retain(|address| !is_unbound(address));
        let mut tried = freely_bound(before);
        if !tried.is_empty() {
            let strict = open_in(after).filter(|listener| !listener.freebind);
            let strict: BTreeSet<_> = strict.flat_map(Listener::binds).collect();
            tried.retain(|address| held.contains(address) && strict.contains(address));
        }
        BindPlan { snapshot: after, held, wanted, tried }
    }

    /// Addresses that could not be bound earlier. All that are open are held, but those for which
    /// `is_unbound`.
    pub fn again(
        snapshot: &Snapshot,
        wanted: BTreeSet<BindAddress>,
        is_unbound: impl Fn(&BindAddress) -> bool,
    ) -> BindPlan<'_> {
        let mut held = addresses(snapshot);
        held.retain(|address| !is_unbound(address));
        BindPlan { snapshot, held, wanted, tried: BTreeSet::new() }
    }
}

/// The outcome of a [`BindPlan`].
#[derive(Debug, Default)]
pub struct BoundSockets {
    /// One entry for each shard.
    pub sockets: Sockets,
    /// Addresses that no shard has.
    pub failed: Vec<BindError>,
}

impl BoundSockets {
    /// The outcome of a plan of which nothing was done yet, for this many shards.
    pub fn nothing(shards: u16) -> BoundSockets {
        BoundSockets { sockets: (0..shards).map(|_| Vec::new()).collect(), failed: Vec::new() }
    }

    /// Adds one address: a socket for each shard, or the reason why there is none.
    pub fn add(&mut self, address: BindAddress, sockets: Result<Vec<OwnedFd>, BindError>) {
        match sockets {
            Ok(sockets) => {
                for (of_shard, socket) in self.sockets.iter_mut().zip(sockets) {
                    of_shard.push(ListenerSocket { address, socket });
                }
            }
            Err(error) => self.failed.push(error),
        }
    }

    /// Adds what a later plan for [`BoundSockets::failed`] has bound, and takes its failures.
    pub fn merge(&mut self, later: BoundSockets) {
        for (of_shard, more) in self.sockets.iter_mut().zip(later.sockets) {
            of_shard.extend(more);
        }
        self.failed = later.failed;
    }

    /// The sockets, if every address was bound.
    ///
    /// # Errors
    /// The first address that was not. Nothing stays bound then.
    pub fn all(mut self) -> Result<Sockets, BindError> {
        if self.failed.is_empty() { Ok(self.sockets) } else { Err(self.failed.swap_remove(0)) }
    }

    /// The sockets of a plan for one shard.
    pub fn into_first(mut self) -> Vec<ListenerSocket> {
        if self.sockets.is_empty() { Vec::new() } else { self.sockets.swap_remove(0) }
    }
}

/// An address that could not be bound.
#[derive(Debug)]
pub struct BindError {
    pub listener: String,
    pub address: BindAddress,
    pub error: io::Error,
}

impl BindError {
    /// What the client gets.
    pub fn refusal(&self) -> Refusal {
        let BindError { listener, address, .. } = self;
        let (why, hint) = self.why();
        let message = format!("listener {listener}: cannot bind {address}: {why}");
        Refusal::new(Code::Failed, message, hint)
    }

    /// The reason in words, and what to do about it.
    pub fn why(&self) -> (String, String) {
        let BindError { listener, address, error } = self;
        match error.kind() {
            io::ErrorKind::AddrInUse => (
                "address in use".to_owned(),
                format!("see who has it: ss -ltnp 'sport = :{}'", address.port()),
            ),
            io::ErrorKind::PermissionDenied => (
                "permission denied".to_owned(),
                "ports below 1024 need CAP_NET_BIND_SERVICE: run weir under its systemd unit, \
                 or setcap cap_net_bind_service=+ep $(command -v weir)"
                    .to_owned(),
            ),
            io::ErrorKind::AddrNotAvailable => (
                "no interface of this host has this address".to_owned(),
                format!(
                    "see the addresses: ip -br address; if it comes later, as a VIP does, write \
                     freebind = true below [listener.{listener}], or let the host bind it before: \
                     sysctl -w net.{}.ip_nonlocal_bind=1",
                    if address.address.is_ipv6() { "ipv6" } else { "ipv4" }
                ),
            ),
            _ if error.raw_os_error() == Some(ENODEV) => {
                let interface = address.interface.map(|it| it.to_string()).unwrap_or_default();
                let why = format!("this host has no interface {interface}");
                (why, "see the interfaces: ip -br link".to_owned())
            }
            _ => (error.to_string(), "see the limits: weir doctor".to_owned()),
        }
    }

    /// True if somebody holds the address, perhaps not for long.
    pub fn is_in_use(&self) -> bool {
        self.error.kind() == io::ErrorKind::AddrInUse
    }
}

/// The listeners of a snapshot that have sockets: a drained one has given them up.
pub fn open_in(snapshot: &Snapshot) -> impl Iterator<Item = &Listener> {
    snapshot.listeners.iter().filter(|listener| listener.accepting)
}

/// Every address that is open in a snapshot.
pub fn addresses(snapshot: &Snapshot) -> BTreeSet<BindAddress> {
    open_in(snapshot).flat_map(Listener::binds).collect()
}

/// The open addresses that this host need not have.
fn freely_bound(snapshot: &Snapshot) -> BTreeSet<BindAddress> {
    let free = open_in(snapshot).filter(|listener| listener.freebind);
    free.flat_map(Listener::binds).collect()
}
