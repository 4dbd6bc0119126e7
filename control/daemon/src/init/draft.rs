//! A configuration between a peer's language and weir.toml: weir's settings, still with the names
//! and the lines of the peer.

use std::net::SocketAddr;

use weir_proto::address::Address;
use weir_proto::bind_address::Interface;
use weir_proto::network::{Network, NetworkList};
use weir_proto::spec::{
    Admin, KeepaliveSpec, PerSourceSpec, PoolSpec, ProxyInSpec, Rate, RetrySpec, Span, TimeoutSpec,
};

use super::note::At;
use super::units::bounded;

/// A whole file.
#[derive(Debug, Default)]
pub(super) struct Draft {
    /// `[weir] shards`.
    pub(super) shards: Option<u16>,
    pub(super) listeners: Vec<DraftListener>,
    pub(super) pools: Vec<DraftPool>,
}

#[derive(Debug)]
pub(super) struct DraftListener {
    /// Its name, if weir takes it and it is not taken.
    pub(super) wanted: String,
    pub(super) at: At,
    /// How the peer's file calls it.
    pub(super) title: String,
    pub(super) binds: Vec<SocketAddr>,
    /// The number of its pool in [`Draft::pools`].
    pub(super) pool: usize,
    pub(super) max_sessions: Option<u32>,
    pub(super) rate: Option<Rate>,
    pub(super) per_source: PerSourceSpec,
    pub(super) freebind: bool,
    pub(super) interface: Option<Interface>,
    pub(super) state: Admin,
    pub(super) keepalive: KeepaliveSpec,
    pub(super) proxy_protocol: ProxyInSpec,
    pub(super) allow: Vec<Network>,
    pub(super) deny: Vec<Network>,
    pub(super) routes: Vec<DraftRoute>,
    pub(super) inspect_timeout: Option<Span>,
}

#[derive(Clone, Debug)]
pub(super) struct DraftRoute {
    pub(super) at: At,
    pub(super) sni: Vec<String>,
    pub(super) alpn: Vec<String>,
    pub(super) from: Vec<Network>,
    /// The number of its pool in [`Draft::pools`].
    pub(super) pool: usize,
}

#[derive(Debug)]
pub(super) struct DraftPool {
    pub(super) wanted: String,
    pub(super) at: At,
    pub(super) title: String,
    /// Comments above it.
    pub(super) comments: Vec<String>,
    /// Without its backends.
    pub(super) settings: PoolSpec,
    pub(super) backends: Vec<DraftBackend>,
}

#[derive(Debug)]
pub(super) struct DraftBackend {
    pub(super) wanted: String,
    pub(super) at: At,
    pub(super) address: DraftAddress,
    pub(super) weight: u16,
    pub(super) priority: u8,
    pub(super) state: Admin,
    pub(super) max_sessions: Option<u32>,
    /// Behind it; may be empty.
    pub(super) comment: String,
}

/// Where a backend is.
#[derive(Debug)]
pub(super) enum DraftAddress {
    Known(Address),
    /// A name in DNS; without a port, one that has SRV records.
    Named {
        name: String,
        port: Option<u16>,
    },
    /// Something that weir cannot connect to: it becomes a comment.
    Unusable(String),
}

/// Gives each attempt the time of a connect, if that is longer than weir's own: the peers have no
/// time for all of them.
pub(super) fn time_for_retries(timeout: &TimeoutSpec, retry: &mut RetrySpec) {
    if timeout.connect > TimeoutSpec::default().connect && retry.attempts > 0 {
        let attempts = u64::from(retry.attempts) + 1;
        let needed = bounded(timeout.connect.millis.saturating_mul(attempts)).0;
        retry.within = retry.within.max(needed);
    }
}

/// Every address: the peers take a PROXY header from any client.
pub(super) fn from_everybody() -> NetworkList {
    let network = |text: &str| text.parse::<Network>().expect("it is a network");
    ["0.0.0.0/0", "::/0"].map(network).into_iter().collect()
}
