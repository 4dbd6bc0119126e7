//! Addresses of HAProxy: `*:80`, `:::80`, `ipv4@1.2.3.4:80-90`, names and sockets.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use crate::init::units;

/// The ports of an address.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Ports {
    /// None is written.
    Absent,
    /// From the first to the last.
    Range(u16, u16),
    /// So far from the port that the client came to.
    Offset(i32),
}

/// An address as it is written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum HaproxyAddress {
    /// Every address of IPv4, or of both families.
    Any {
        v6: bool,
        ports: Ports,
    },
    Ip(IpAddr, Ports),
    /// A name that has to be looked up.
    Named(String, Ports),
    /// The path of a Unix socket.
    Unix(String),
    /// Something else, and what it is.
    Other(&'static str),
    Wrong,
}

/// Reads one address.
pub(super) fn read(text: &str) -> HaproxyAddress {
    let (family, rest) = match text.split_once('@') {
        Some((family, rest)) => (family, rest),
        None => ("", text),
    };
    match family {
        "" if rest.starts_with('/') => return HaproxyAddress::Unix(rest.to_owned()),
        "unix" => return HaproxyAddress::Unix(rest.to_owned()),
        "abns" | "abnsz" => return HaproxyAddress::Other("an abstract Unix socket"),
        "fd" | "sockpair" => return HaproxyAddress::Other("a socket that HAProxy inherits"),
        "rhttp" => return HaproxyAddress::Other("a reverse HTTP connection"),
        _ if family.starts_with("udp") || family.starts_with("quic") => {
            return HaproxyAddress::Other("UDP");
        }
        "" | "ipv4" | "ipv6" | "tcp" | "tcp4" | "tcp6" | "stream+ipv4" | "stream+ipv6" => {}
        _ => return HaproxyAddress::Other("a family of addresses that weir does not know"),
    }
    let (host, ports) = match split_port(rest) {
        Some(parts) => parts,
        None => return HaproxyAddress::Wrong,
    };
    let v6 = family.ends_with('6');
    match host {
        "" | "*" => HaproxyAddress::Any { v6, ports },
        host => match units::host(host) {
            Some(IpAddr::V6(ip)) if ip == Ipv6Addr::UNSPECIFIED => {
                HaproxyAddress::Any { v6: true, ports }
            }
            Some(IpAddr::V4(ip)) if ip == Ipv4Addr::UNSPECIFIED => {
                HaproxyAddress::Any { v6: false, ports }
            }
            Some(ip) => HaproxyAddress::Ip(ip, ports),
            None if is_name(host) => HaproxyAddress::Named(host.to_owned(), ports),
            None => HaproxyAddress::Wrong,
        },
    }
}

fn is_name(host: &str) -> bool {
    let legal = |byte: u8| byte.is_ascii_alphanumeric() || b"-_.".contains(&byte);
    host.len() <= 253 && host.bytes().all(legal)
}

/// The host and the ports. An IPv6 address ends at its last colon, or in brackets.
fn split_port(text: &str) -> Option<(&str, Ports)> {
    if let Some(end) = text.strip_prefix('[').and_then(|_| text.find(']')) {
        let (host, tail) = text.split_at(end + 1);
        return match tail.strip_prefix(':') {
            Some(port) => Some((host, ports(port)?)),
            None => tail.is_empty().then_some((host, Ports::Absent)),
        };
    }
    match text.rsplit_once(':') {
        Some((host, port)) => Some((host, ports(port)?)),
        None => Some((text, Ports::Absent)),
    }
}

fn ports(text: &str) -> Option<Ports> {
    if text.is_empty() {
        return Some(Ports::Absent);
    }
    if text.starts_with(['+', '-']) {
        let offset: i32 = text.parse().ok()?;
        return (-65535..=65535).contains(&offset).then_some(Ports::Offset(offset));
    }
    units::port_range(text).map(|(first, last)| Ports::Range(first, last))
}

/// The addresses that a `bind` stands for; `v6only` says whether `::` is IPv6 alone.
pub(super) fn to_bind(written: &HaproxyAddress, v6only: bool) -> Option<Vec<SocketAddr>> {
    let (ip, ports) = match written {
        HaproxyAddress::Any { v6: false, ports } => (Ipv4Addr::UNSPECIFIED.into(), *ports),
        HaproxyAddress::Any { v6: true, ports } => (Ipv6Addr::UNSPECIFIED.into(), *ports),
        HaproxyAddress::Ip(ip, ports) => (*ip, *ports),
        HaproxyAddress::Named(..)
        | HaproxyAddress::Unix(_)
        | HaproxyAddress::Other(_)
        | HaproxyAddress::Wrong => {
            return None;
        }
    };
    let Ports::Range(first, last) = ports else { return None };
    Some(units::sockets(ip, (first, last), v6only))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn binds_are_what_haproxy_listens_on() {
        for (text, v6only, expected) in [
            ("*:80", false, vec!["0.0.0.0:80"]),
            (":80", false, vec!["0.0.0.0:80"]),
            ("0.0.0.0:80", false, vec!["0.0.0.0:80"]),
            (":::80", false, vec!["0.0.0.0:80", "[::]:80"]),
            (":::80", true, vec!["[::]:80"]),
            ("[::]:80", true, vec!["[::]:80"]),
            ("ipv6@:80", true, vec!["[::]:80"]),
            ("ipv4@10.0.0.1:80", false, vec!["10.0.0.1:80"]),
            ("::1:443", false, vec!["[::1]:443"]),
            ("[::1]:443", false, vec!["[::1]:443"]),
            ("10.0.0.1:80-82", false, vec!["10.0.0.1:80", "10.0.0.1:81", "10.0.0.1:82"]),
            ("localhost:1", false, vec!["127.0.0.1:1"]),
        ] {
            let binds = to_bind(&read(text), v6only).unwrap_or_default();
            let binds: Vec<String> = binds.iter().map(ToString::to_string).collect();
            assert_eq!(binds, expected, "{text}");
        }
        for text in ["10.0.0.1", "*:0", "*:1-65535", "*:9-8", "*:x", "[::1", "", "db:80", "a b:80"]
        {
            assert_eq!(to_bind(&read(text), false), None, "{text}");
        }
    }

    #[test]
    fn servers_have_names_offsets_and_sockets() {
        let ip = |text: &str| text.parse::<IpAddr>().unwrap();
        for (text, expected) in [
            ("10.0.0.1", HaproxyAddress::Ip(ip("10.0.0.1"), Ports::Absent)),
            ("10.0.0.1:", HaproxyAddress::Ip(ip("10.0.0.1"), Ports::Absent)),
            ("10.0.0.1:+1000", HaproxyAddress::Ip(ip("10.0.0.1"), Ports::Offset(1000))),
            (
                "db.internal:5432",
                HaproxyAddress::Named("db.internal".into(), Ports::Range(5432, 5432)),
            ),
            ("/run/db.sock", HaproxyAddress::Unix("/run/db.sock".into())),
            ("unix@/run/db.sock", HaproxyAddress::Unix("/run/db.sock".into())),
            ("quic4@:443", HaproxyAddress::Other("UDP")),
            ("10.0.0.1:+99999", HaproxyAddress::Wrong),
        ] {
            assert_eq!(read(text), expected, "{text}");
        }
    }
}
