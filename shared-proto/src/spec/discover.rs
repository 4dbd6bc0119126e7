//! A pool whose backends are found by DNS.

use core::net::{IpAddr, SocketAddr};

use serde::{Deserialize, Serialize};

use super::Span;

/// The most backends of a pool that are found by DNS.
pub const DISCOVERED_MAX: usize = 256;
/// The longest name without its last dot (RFC 1035, 2.3.4, less the length bytes at both ends).
const NAME_MAX: usize = 253;
/// The longest label of a name.
const LABEL_MAX: usize = 63;

/// The names that are asked for, and how.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default, rename_all = "kebab-case")]
pub struct DiscoverSpec {
    /// `HOST:PORT`: its A and AAAA records are the backends.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub dns: Option<String>,
    /// A name with SRV records: their targets and ports are the backends.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub srv: Option<String>,
    /// Absent: those of /etc/resolv.conf.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub resolver: Option<SocketAddr>,
    /// How often is asked. Absent: as the records' TTL says.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub refresh: Option<Span>,
    /// How long backends are kept without a good answer. Absent: indefinitely.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub keep_last: Option<Span>,
}

/// The name that a pool's backends have in DNS.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum DnsSource {
    /// The addresses of a host, all with one port.
    Host { name: String, port: u16 },
    /// The targets of SRV records.
    Service { name: String },
}

impl DnsSource {
    #[must_use]
    pub fn name(&self) -> &str {
        match self {
            DnsSource::Host { name, .. } | DnsSource::Service { name } => name,
        }
    }
}

/// As in the file: `dns web.internal:443`, `srv _web._tcp.internal`.
impl core::fmt::Display for DnsSource {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        match self {
            DnsSource::Host { name, port } => write!(f, "dns {name}:{port}"),
            DnsSource::Service { name } => write!(f, "srv {name}"),
        }
    }
}

impl DiscoverSpec {
    #[must_use]
    pub(super) fn is_default(&self) -> bool {
        *self == DiscoverSpec::default()
    }

    /// The name to ask for. `None`: nothing is discovered, or [`DiscoverSpec::fault`] says why not.
    #[must_use]
    pub fn source(&self) -> Option<DnsSource> {
        match (&self.dns, &self.srv) {
            (Some(host), None) => {
                let (name, port) = host_and_port(host).ok()?;
                Some(DnsSource::Host { name: name.to_owned(), port })
            }
            (None, Some(name)) => Some(DnsSource::Service { name: name.clone() }),
            _ => None,
        }
    }

    /// The key that is wrong below `discover`, what is wrong with it, and what would be right.
    #[must_use]
    pub fn fault(&self) -> Option<(&'static str, String, &'static str)> {
        let needs = "name what is to be found: dns = \"web.internal:443\" or \
                     srv = \"_web._tcp.internal\"";
        match (&self.dns, &self.srv) {
            (Some(_), Some(_)) => {
                let what = "a pool has dns or srv, and not both".to_owned();
                Some(("srv", what, "leave one of them out, or make two pools"))
            }
            (Some(host), None) => host_and_port(host).err().map(|(what, hint)| ("dns", what, hint)),
            (None, Some(name)) => fault_of_name(name).map(|why| {
                ("srv", format!("{name:?}: {why}"), "a name with SRV records: _web._tcp.internal")
            }),
            (None, None) if self.is_default() => None,
            (None, None) => Some(("dns", "neither dns nor srv is there".to_owned(), needs)),
        }
    }
}

/// The two halves of `HOST:PORT`.
fn host_and_port(text: &str) -> Result<(&str, u16), (String, &'static str)> {
    let like = "a name and a port, like \"web.internal:443\"";
    let Some((name, port)) = text.rsplit_once(':') else {
        return Err((format!("{text:?} has no port"), like));
    };
    let port = port.parse::<u16>().ok().filter(|port| *port > 0);
    let Some(port) = port else {
        return Err((format!("{text:?} has no port of 1 to 65535"), like));
    };
    if text.parse::<SocketAddr>().is_ok() || name.parse::<IpAddr>().is_ok() {
        let what = format!("{text:?} is an address, which DNS is not asked for");
        return Err((what, "put it into [pool.NAME.backend]"));
    }
    match fault_of_name(name) {
        Some(why) => Err((format!("{name:?}: {why}"), like)),
        None => Ok((name, port)),
    }
}

/// The fault of a name that is to be asked for.
fn fault_of_name(name: &str) -> Option<&'static str> {
    let name = name.strip_suffix('.').unwrap_or(name);
    if name.is_empty() || name.len() > NAME_MAX {
        return Some("a name in DNS has 1 to 253 characters");
    }
    let is_legal = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'-' || byte == b'_';
    let fits = |label: &str| (1..=LABEL_MAX).contains(&label.len()) && label.bytes().all(is_legal);
    (!name.split('.').all(fits)).then_some(
        "the parts of a name in DNS have 1 to 63 letters, digits, '-' or '_', with dots between",
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(dns: Option<&str>, srv: Option<&str>) -> DiscoverSpec {
        let own = |text: Option<&str>| text.map(str::to_owned);
        DiscoverSpec { dns: own(dns), srv: own(srv), ..DiscoverSpec::default() }
    }

    #[test]
    fn a_source_is_a_host_with_a_port_or_a_service() {
        assert_eq!(DiscoverSpec::default().fault(), None);
        assert_eq!(DiscoverSpec::default().source(), None);
        for (dns, shown) in [("web.internal:443", "dns web.internal:443"), ("a.:1", "dns a.:1")] {
            let spec = of(Some(dns), None);
            assert_eq!(spec.fault(), None, "{dns}");
            assert_eq!(spec.source().unwrap().to_string(), shown);
        }
        let spec = of(None, Some("_web._tcp.internal"));
        assert_eq!(spec.source().unwrap().to_string(), "srv _web._tcp.internal");
    }

    #[test]
    fn what_dns_cannot_be_asked_for_is_a_fault() {
        let long = format!("{}:1", "a.".repeat(128));
        let hosts = [
            "web",
            "web:",
            "web:0",
            "web:65536",
            ":1",
            "a..b:1",
            "ü:1",
            "10.0.0.1:1",
            "[::1]:1",
            "::1:1",
            "a b:1",
            ".:1",
            &long,
        ];
        for dns in hosts {
            let spec = of(Some(dns), None);
            assert_eq!(spec.fault().map(|fault| fault.0), Some("dns"), "{dns}");
            assert_eq!(spec.source(), None, "{dns}");
        }
        assert_eq!(of(Some("a:1"), Some("b")).fault().unwrap().0, "srv");
        assert_eq!(of(None, Some("a:1")).fault().unwrap().0, "srv");
        let alone = DiscoverSpec { refresh: Some(Span::from_secs(5)), ..DiscoverSpec::default() };
        assert_eq!(alone.fault().unwrap().0, "dns");
    }
}
