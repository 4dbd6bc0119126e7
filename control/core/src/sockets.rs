//! Which addresses of a version are open, and what came of binding them.

use std::collections::BTreeSet;
use std::io;
use std::net::SocketAddr;

use weir_proto::order::ListenerSocket;
use weir_proto::request::{Code, Refusal};
use weir_proto::snapshot::{Listener, Snapshot};

/// The sockets of one version for every shard: the n-th entry is for shard n.
pub type Sockets = Vec<Vec<ListenerSocket>>;

/// An address that could not be bound.
#[derive(Debug)]
pub struct BindError {
    pub listener: String,
    pub address: SocketAddr,
    pub error: io::Error,
}

impl BindError {
    /// What the client gets.
    pub fn refusal(&self) -> Refusal {
        let BindError { listener, address, error } = self;
        let (why, hint) = match error.kind() {
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
                    if address.is_ipv6() { "ipv6" } else { "ipv4" }
                ),
            ),
            _ => (error.to_string(), "see the limits: weir doctor".to_owned()),
        };
        Refusal::new(
            Code::Failed,
            format!("listener {listener}: cannot bind {address}: {why}"),
            hint,
        )
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
pub fn addresses(snapshot: &Snapshot) -> BTreeSet<SocketAddr> {
    open_in(snapshot).flat_map(|listener| listener.bind.iter().copied()).collect()
}
