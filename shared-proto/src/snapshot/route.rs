//! Routes of a listener, as they are used.

use core::net::IpAddr;

use crate::network::AccessLists;
use crate::spec::{Name, RouteSpec};

/// The most routes of one listener, and the most names and protocols of one route.
pub const ROUTES_MAX: usize = 256;
pub const NAMES_MAX: usize = 64;

/// One route of a listener.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Route {
    pub sni: Vec<String>,
    pub alpn: Vec<String>,
    /// `allow` are its networks.
    from: AccessLists,
    /// Index into [`Snapshot::pools`](super::Snapshot::pools).
    pub pool: usize,
}

impl Route {
    pub(super) fn of(spec: &RouteSpec, pool: usize, before: Option<&Route>) -> Route {
        let before = before.map(|before| &before.from);
        let from = AccessLists::of(&spec.from, &crate::network::NetworkList::default(), before);
        Route { sni: spec.sni.clone(), alpn: spec.alpn.clone(), from, pool }
    }

    /// The spec that this was built from.
    pub(super) fn spec(&self, pool: Name) -> RouteSpec {
        let (sni, alpn) = (self.sni.clone(), self.alpn.clone());
        RouteSpec { sni, alpn, from: self.from.allow.clone(), pool }
    }

    /// True if it asks for something that only a ClientHello tells.
    #[must_use]
    pub fn reads_hello(&self) -> bool {
        !self.sni.is_empty() || !self.alpn.is_empty()
    }

    /// True if it asks for the client's address.
    #[must_use]
    pub fn asks_for_source(&self) -> bool {
        !self.from.allow.is_empty()
    }

    /// True if a client at this address may take it, whatever its hello says. One whose address is
    /// not known is in no network.
    #[must_use]
    pub fn serves(&self, client: Option<IpAddr>) -> bool {
        !self.asks_for_source() || client.is_some_and(|ip| self.from.serves(ip))
    }

    /// True if a session with this client, server name and protocols takes it.
    #[must_use]
    pub fn fits<'a>(
        &self,
        client: Option<IpAddr>,
        server_name: Option<&str>,
        mut protocols: impl Iterator<Item = &'a [u8]>,
    ) -> bool {
        let names = |name: &str| self.sni.iter().any(|pattern| is_named(pattern, name));
        let has = |protocol: &[u8]| self.alpn.iter().any(|it| it.as_bytes() == protocol);
        (self.sni.is_empty() || server_name.is_some_and(names))
            && (self.alpn.is_empty() || protocols.any(has))
            && self.serves(client)
    }
}

/// True if the pattern, which may be a wildcard, means this name. Case does not count (RFC 4343).
fn is_named(pattern: &str, name: &str) -> bool {
    match pattern.strip_prefix('*') {
        // `*` and `.example.com`: at least one letter comes before.
        Some(suffix) => {
            name.len() > suffix.len()
                && name.as_bytes()[name.len() - suffix.len()..]
                    .eq_ignore_ascii_case(suffix.as_bytes())
        }
        None => pattern.eq_ignore_ascii_case(name),
    }
}

/// The fault of a pattern of names, if it has one.
#[must_use]
pub fn fault_of_name(pattern: &str) -> Option<&'static str> {
    let host = match pattern.strip_prefix('*') {
        Some("") => return None,
        Some(rest) => match rest.strip_prefix('.') {
            Some(host) => host,
            None => return Some("a wildcard stands before a dot, as in *.example.com"),
        },
        None => pattern,
    };
    let label = |label: &str| {
        let legal = |byte: u8| byte.is_ascii_alphanumeric() || b"-_".contains(&byte);
        (1..=63).contains(&label.len()) && label.bytes().all(legal)
    };
    let is_host = host.len() <= 253 && host.split('.').all(label);
    (!is_host).then_some("a server name is letters, digits, - and _ between dots, without a port")
}

/// The fault of an application protocol, if it has one.
#[must_use]
pub fn fault_of_protocol(protocol: &str) -> Option<&'static str> {
    let plain = |byte: u8| byte.is_ascii_graphic() && !b",;\"".contains(&byte);
    let is_one = (1..=255).contains(&protocol.len()) && protocol.bytes().all(plain);
    (!is_one).then_some("a protocol is 1 to 255 printable characters of ASCII without , ; and \"")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn route(text: &str) -> Route {
        Route::of(&text.parse().unwrap(), 0, None)
    }

    #[test]
    fn a_wildcard_is_every_name_below_and_case_does_not_count() {
        let named = |pattern: &str, name: &str| {
            let route = route(&format!("sni={pattern} pool=p"));
            route.fits(None, Some(name), core::iter::empty())
        };
        assert!(
            named("db.example.com", "DB.Example.com") && !named("db.example.com", "example.com")
        );
        assert!(
            named("*.example.com", "a.example.com") && named("*.example.com", "a.b.EXAMPLE.com")
        );
        assert!(!named("*.example.com", "example.com") && !named("*.example.com", "aexample.com"));
        assert!(named("*", "anything"));
        assert!(!route("sni=* pool=p").fits(None, None, core::iter::empty()), "no name");
    }

    #[test]
    fn everything_that_a_route_asks_for_must_fit() {
        let all = route("sni=a.b alpn=h2,postgresql from=10.0.0.0/8 pool=p");
        let fits = |client: &str, name: &str, protocol: &str| {
            let protocols = [protocol.as_bytes()];
            all.fits(client.parse().ok(), Some(name), protocols.into_iter())
        };
        assert!(fits("10.1.2.3", "a.b", "postgresql") && fits("::ffff:10.1.2.3", "a.b", "h2"));
        assert!(!fits("11.1.2.3", "a.b", "h2") && !fits("10.1.2.3", "a.c", "h2"));
        assert!(!fits("10.1.2.3", "a.b", "http/1.1") && !fits("", "a.b", "h2"));
        let from = route("from=::/0 pool=p");
        let six = |client: &str| from.fits(client.parse().ok(), None, core::iter::empty());
        assert!(six("::1") && !six("10.0.0.1"));
    }

    #[test]
    fn patterns_that_mean_no_name_are_wrong() {
        for right in ["a", "a.b", "*.a.b", "*", "_x.a", "xn--a.b"] {
            assert_eq!(fault_of_name(right), None, "{right}");
        }
        for wrong in ["", "*a.b", "a.*", "a..b", ".a", "a.b:443", "a b", "*.", "http://a"] {
            assert!(fault_of_name(wrong).is_some(), "{wrong}");
        }
    }
}
