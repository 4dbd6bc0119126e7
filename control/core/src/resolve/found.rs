//! The outcome of a look-up: addresses, or the reason why there are none.

use std::net::{IpAddr, SocketAddr};

use serde::{Deserialize, Serialize};

/// The reason why a look-up has no good answer.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Fault {
    /// NXDOMAIN.
    NoDomain,
    /// The name is there, and no record of this kind.
    NoData,
    TooManyAliases,
    /// SERVFAIL, and codes that say as little.
    ServerFailure,
    Refused,
    Timeout,
    /// No server is there, or the way there is not.
    Unreachable,
    Malformed,
    /// This host is short of something.
    Local(String),
}

impl Fault {
    /// The words by which failures are counted.
    pub const LABELS: [&'static str; 9] = [
        "nxdomain",
        "nodata",
        "aliases",
        "servfail",
        "refused",
        "timeout",
        "unreachable",
        "malformed",
        "local",
    ];

    /// The place in [`Fault::LABELS`].
    #[must_use]
    pub fn index(&self) -> usize {
        match self {
            Fault::NoDomain => 0,
            Fault::NoData => 1,
            Fault::TooManyAliases => 2,
            Fault::ServerFailure => 3,
            Fault::Refused => 4,
            Fault::Timeout => 5,
            Fault::Unreachable => 6,
            Fault::Malformed => 7,
            Fault::Local(_) => 8,
        }
    }

    /// True if a server has said it of the name: another server would say the same.
    pub(super) fn is_about_the_name(&self) -> bool {
        matches!(self, Fault::NoDomain | Fault::NoData | Fault::TooManyAliases)
    }
}

impl core::fmt::Display for Fault {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.write_str(match self {
            Fault::NoDomain => "there is no such name (NXDOMAIN)",
            Fault::NoData => "the name has no address (NODATA)",
            Fault::TooManyAliases => "more than 8 aliases (CNAME) lead on",
            Fault::ServerFailure => "the server fails (SERVFAIL)",
            Fault::Refused => "the server refuses to answer (REFUSED)",
            Fault::Timeout => "no answer in time",
            Fault::Unreachable => "the server cannot be reached",
            Fault::Malformed => "the answer is malformed",
            Fault::Local(why) => why,
        })
    }
}

/// An address and what SRV records say of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FoundAddress {
    pub address: SocketAddr,
    /// From 1 on.
    pub weight: u16,
    pub priority: u8,
}

impl FoundAddress {
    #[must_use]
    pub fn new(ip: IpAddr, port: u16) -> FoundAddress {
        FoundAddress { address: SocketAddr::new(ip, port), weight: 1, priority: 0 }
    }
}

/// A good answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Found {
    pub addresses: Vec<FoundAddress>,
    pub ttl_s: u32,
    /// Whether all of IPv4, and of IPv6, is among them: what else is known of it is gone.
    pub is_whole: [bool; 2],
}

impl Default for Found {
    fn default() -> Found {
        Found::new(u32::MAX)
    }
}

impl Found {
    #[must_use]
    pub fn new(ttl_s: u32) -> Found {
        Found { addresses: Vec::new(), ttl_s, is_whole: [true; 2] }
    }

    /// Adds addresses to which a connect can be made.
    pub fn extend(&mut self, addresses: impl IntoIterator<Item = FoundAddress>) {
        let is_host = |it: &FoundAddress| {
            let ip = it.address.ip();
            let is_broadcast = ip == IpAddr::V4(std::net::Ipv4Addr::BROADCAST);
            !ip.is_unspecified() && !ip.is_multicast() && !is_broadcast
        };
        self.addresses.extend(addresses.into_iter().filter(is_host));
    }

    pub(super) fn shorten(&mut self, ttl_s: u32) {
        self.ttl_s = self.ttl_s.min(ttl_s);
    }
}
