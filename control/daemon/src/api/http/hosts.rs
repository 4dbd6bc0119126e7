//! Which hosts are ours, against DNS rebinding. Pure.

use std::net::IpAddr;

/// The hosts by which the door may be called, against DNS rebinding.
pub(super) struct Hosts {
    bound: Option<IpAddr>,
    /// In small letters.
    names: Vec<String>,
}

impl Hosts {
    /// Of a door that is bound to `bound` and has these names, in small letters.
    pub(super) fn new(bound: Option<IpAddr>, names: Vec<String>) -> Hosts {
        Hosts { bound, names }
    }

    /// Whether `host`, with or without a port, is one of ours. The port does not matter: a tunnel
    /// may have another one.
    pub(super) fn has(&self, host: &str) -> bool {
        let name = match host.strip_prefix('[') {
            Some(rest) => match rest.split_once(']') {
                Some((name, port)) if port.is_empty() || is_port(port) => name,
                _ => return false,
            },
            None => match host.split_once(':') {
                Some((name, port)) if port.chars().all(|letter| letter.is_ascii_digit()) => name,
                None => host,
                _ => return false,
            },
        };
        let known = |known: &String| name.eq_ignore_ascii_case(known);
        if name.eq_ignore_ascii_case("localhost") || self.names.iter().any(known) {
            return true;
        }
        let Ok(address) = name.parse::<IpAddr>() else { return false };
        // Bound to every address, each of ours is right. No name is behind an address, so there is
        // nothing to rebind.
        let every = self.bound.is_some_and(|bound| bound.is_unspecified());
        address.is_loopback() || self.bound == Some(address) || every
    }
}

/// `:` and digits.
fn is_port(text: &str) -> bool {
    let digits = text.strip_prefix(':');
    digits.is_some_and(|digits| digits.chars().all(|letter| letter.is_ascii_digit()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_our_hosts_are_ours() {
        let hosts = Hosts::new(Some("192.0.2.7".parse().unwrap()), vec!["weir.example".into()]);
        for ours in [
            "localhost",
            "LOCALHOST:9650",
            "127.0.0.1",
            "127.8.9.1:1",
            "[::1]",
            "[::1]:9650",
            "192.0.2.7:9650",
            "weir.example",
            "WEIR.example:9650",
        ] {
            assert!(hosts.has(ours), "{ours}");
        }
        for other in [
            "",
            "evil.example",
            "evil.example:9650",
            "weir.example.evil",
            "localhost.evil.example",
            "192.0.2.8",
            "127.0.0.1.evil.example",
            "127.0.0.1:80:80",
            "127.0.0.1:x",
            "user@localhost",
            "[::1",
            "[::1]x",
            "[::2]",
        ] {
            assert!(!hosts.has(other), "{other}");
        }
        let every = Hosts::new(Some("0.0.0.0".parse().unwrap()), Vec::new());
        assert!(every.has("192.0.2.8:1") && !every.has("evil.example"));
    }
}
