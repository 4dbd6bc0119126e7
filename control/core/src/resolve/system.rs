//! The host's own files about names: /etc/resolv.conf (resolv.conf(5)) and /etc/hosts (hosts(5)).

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::time::Duration;

/// The port of DNS.
const PORT: u16 = 53;
/// Servers and search domains beyond these are left out.
const SERVERS_MAX: usize = 3;
const SEARCH_MAX: usize = 6;
/// The longest name (RFC 1035).
const NAME_MAX: usize = 253;

/// The contents of the files as they were read for one look-up.
#[derive(Clone, Debug, Default)]
pub struct SystemFiles {
    /// Empty: there is none.
    pub resolv_conf: String,
    pub hosts: String,
}

/// The content of resolv.conf.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct ResolvConf {
    pub(super) servers: Vec<SocketAddr>,
    search: Vec<String>,
    ndots: usize,
    /// How long one question waits for its answer.
    pub(super) timeout: Duration,
    /// How often each server is asked.
    pub(super) attempts: usize,
}

impl Default for ResolvConf {
    fn default() -> ResolvConf {
        ResolvConf {
            servers: Vec::new(),
            search: Vec::new(),
            ndots: 1,
            timeout: Duration::from_secs(2),
            attempts: 2,
        }
    }
}

impl ResolvConf {
    pub(super) fn read(text: &str) -> ResolvConf {
        let mut conf = ResolvConf::default();
        for line in text.lines() {
            let line = line.split(['#', ';']).next().unwrap_or_default();
            let mut words = line.split_whitespace();
            match words.next() {
                Some("nameserver") => {
                    let address = words.next().and_then(|word| word.parse::<IpAddr>().ok());
                    conf.servers.extend(address.map(|ip| SocketAddr::new(ip, PORT)));
                }
                // The last one counts.
                Some("search" | "domain") => conf.search = words.map(without_dot).collect(),
                Some("options") => words.for_each(|word| conf.take_option(word)),
                _ => {}
            }
        }
        if conf.servers.is_empty() {
            conf.servers.push(SocketAddr::new(Ipv4Addr::LOCALHOST.into(), PORT));
        }
        conf.servers.truncate(SERVERS_MAX);
        conf.search.retain(|domain| !domain.is_empty());
        conf.search.truncate(SEARCH_MAX);
        conf
    }

    fn take_option(&mut self, word: &str) {
        let Some((key, value)) = word.split_once(':') else { return };
        let Ok(value) = value.parse::<u8>() else { return };
        match key {
            "ndots" => self.ndots = usize::from(value.min(15)),
            "timeout" => self.timeout = Duration::from_secs(value.clamp(1, 5).into()),
            "attempts" => self.attempts = usize::from(value.clamp(1, 3)),
            _ => {}
        }
    }

    /// The names to ask for, in their order. One that ends with a dot is asked for as it is.
    pub(super) fn candidates(&self, name: &str) -> Vec<String> {
        if name.ends_with('.') {
            return vec![without_dot(name)];
        }
        let searched = self.search.iter().map(|domain| format!("{name}.{domain}"));
        let mut names: Vec<String> = searched.filter(|name| name.len() <= NAME_MAX).collect();
        let has_dots = name.matches('.').count() >= self.ndots;
        names.insert(if has_dots { 0 } else { names.len() }, name.to_owned());
        names
    }
}

fn without_dot(name: &str) -> String {
    name.strip_suffix('.').unwrap_or(name).to_owned()
}

/// The addresses that /etc/hosts has for the name.
pub(super) fn hosts(text: &str, name: &str) -> Vec<IpAddr> {
    let name = name.strip_suffix('.').unwrap_or(name);
    let mut addresses = Vec::new();
    for line in text.lines() {
        let mut words = line.split('#').next().unwrap_or_default().split_whitespace();
        let Some(Ok(address)) = words.next().map(str::parse::<IpAddr>) else { continue };
        if words.any(|word| word.eq_ignore_ascii_case(name)) && !addresses.contains(&address) {
            addresses.push(address);
        }
    }
    addresses
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn resolv_conf_names_servers_and_how_they_are_asked() {
        let conf = ResolvConf::read(
            "# by hand\nnameserver 10.0.0.2 ; the first\nnameserver fd00::2\nnameserver x\n\
             domain old\nsearch a.example. b.example\noptions ndots:2 timeout:1 attempts:9 rotate\n",
        );
        let servers = ["10.0.0.2:53", "[fd00::2]:53"].map(|it| it.parse().unwrap());
        assert_eq!(conf.servers, servers);
        assert_eq!((conf.ndots, conf.attempts), (2, 3));
        assert_eq!(conf.timeout, Duration::from_secs(1));
        assert_eq!(conf.search, ["a.example", "b.example"]);
        let none = ResolvConf::read("");
        assert_eq!(none.servers, ["127.0.0.1:53".parse().unwrap()]);
    }

    #[test]
    fn a_name_with_enough_dots_comes_first_and_one_with_a_last_dot_alone() {
        let conf = ResolvConf::read("search a b\noptions ndots:1\n");
        assert_eq!(conf.candidates("web"), ["web.a", "web.b", "web"]);
        assert_eq!(conf.candidates("web.x"), ["web.x", "web.x.a", "web.x.b"]);
        assert_eq!(conf.candidates("web."), ["web"]);
        let long = "x".repeat(252);
        assert_eq!(conf.candidates(&long), [long.as_str()], "too long with a domain");
    }

    #[test]
    fn hosts_has_names_and_aliases() {
        let text = "127.0.0.1 localhost\n10.0.0.1 web.internal Web # b\n::1 web\n10.0.0.1 web\nx y";
        let all = ["10.0.0.1", "::1"].map(|it| it.parse::<IpAddr>().unwrap());
        assert_eq!(hosts(text, "web."), all);
        assert_eq!(hosts(text, "WEB.internal"), all[..1]);
        assert!(hosts(text, "b").is_empty() && hosts(text, "y").is_empty());
    }
}
