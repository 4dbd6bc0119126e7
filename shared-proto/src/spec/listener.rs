//! A listener in a configuration.

use core::net::SocketAddr;

use serde::{Deserialize, Serialize};

use crate::bind_address::{BindAddress, Interface};
use crate::network::NetworkList;

use super::{
    Admin, KeepaliveSpec, Name, NoBackend, PerSourceSpec, ProxyInSpec, Rate, RouteSpec, Span,
};

/// A named address: its sessions go to one pool.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct ListenerSpec {
    #[serde(with = "super::one_or_many")]
    pub bind: Vec<SocketAddr>,
    pub pool: Name,
    /// Binds addresses that this host does not have (yet).
    #[serde(default, skip_serializing_if = "core::ops::Not::not")]
    pub freebind: bool,
    /// Whether `[::]` takes IPv6 clients only.
    #[serde(default = "yes", skip_serializing_if = "is_yes")]
    pub v6only: bool,
    /// Only clients that come in there.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub interface: Option<Interface>,
    /// The most sessions at once, over all shards. Absent: only the process's own limit.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub max_sessions: Option<u32>,
    /// New sessions, over all shards. Absent: as many as come.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rate: Option<Rate>,
    /// The limits of each source of clients.
    #[serde(default, skip_serializing_if = "PerSourceSpec::is_default")]
    pub per_source: PerSourceSpec,
    /// The clients that it serves. Empty: all of them.
    #[serde(default, skip_serializing_if = "<[_]>::is_empty")]
    pub allow: NetworkList,
    /// Those that it does not serve, whatever `allow` says.
    #[serde(default, skip_serializing_if = "<[_]>::is_empty")]
    pub deny: NetworkList,
    /// The fate of a client while no backend takes sessions.
    #[serde(default, skip_serializing_if = "NoBackend::is_default")]
    pub no_backend: NoBackend,
    #[serde(default, skip_serializing_if = "Admin::is_ready")]
    pub state: Admin,
    /// For the clients.
    #[serde(default, skip_serializing_if = "KeepaliveSpec::is_default")]
    pub keepalive: KeepaliveSpec,
    #[serde(default, skip_serializing_if = "ProxyInSpec::is_default")]
    pub proxy_protocol: ProxyInSpec,
    /// How long a ClientHello may take, where routes ask for one, and a PROXY header that has no
    /// time of its own.
    #[serde(default = "inspect_timeout", skip_serializing_if = "is_default_timeout")]
    pub inspect_timeout: Span,
    /// The sessions that go to another pool: the first that fits.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub route: Vec<RouteSpec>,
}

/// A segment that is lost comes again within that time (doc/proxy-protocol.txt, 2).
fn inspect_timeout() -> Span {
    Span::from_secs(3)
}

fn is_default_timeout(timeout: &Span) -> bool {
    *timeout == inspect_timeout()
}

fn yes() -> bool {
    true
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde's form")]
fn is_yes(flag: &bool) -> bool {
    *flag
}

impl ListenerSpec {
    /// Where its sockets are bound.
    pub fn binds(&self) -> impl Iterator<Item = BindAddress> {
        BindAddress::all(&self.bind, self.v6only, self.interface)
    }

    /// Its pool, then those of its routes.
    pub fn pools(&self) -> impl Iterator<Item = &Name> {
        core::iter::once(&self.pool).chain(self.route.iter().map(|route| &route.pool))
    }

    /// A listener on `bind` whose sessions go to `pool`, with everything else at its default.
    #[must_use]
    pub fn new(pool: Name, bind: Vec<SocketAddr>) -> ListenerSpec {
        ListenerSpec {
            bind,
            pool,
            freebind: false,
            v6only: true,
            interface: None,
            max_sessions: None,
            rate: None,
            per_source: PerSourceSpec::default(),
            allow: NetworkList::default(),
            deny: NetworkList::default(),
            no_backend: NoBackend::Reset,
            state: Admin::Ready,
            keepalive: KeepaliveSpec::default(),
            proxy_protocol: ProxyInSpec::default(),
            inspect_timeout: inspect_timeout(),
            route: Vec::new(),
        }
    }
}
