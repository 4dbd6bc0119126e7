//! The addresses that a pool's connections to its backends come from.

use core::fmt;
use core::net::{IpAddr, Ipv4Addr};
use core::str::FromStr;
use std::collections::BTreeSet;

use serde::{Deserialize, Deserializer, Serialize, Serializer, de};

use super::one_or_many;
use crate::complaint::Complaint;

/// The most addresses in one list.
pub const SOURCES_MAX: usize = 64;

/// Where the connections of a pool come from, if it does not leave that to the kernel.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum SourceSpec {
    /// Addresses of this host, of one family or of both, in the order in which they were written.
    Addresses(Vec<IpAddr>),
}

impl SourceSpec {
    /// The addresses from which a connection to `backend` may come, in order. `::ffff:a.b.c.d` is
    /// reached from an IPv4 address.
    pub fn towards(&self, backend: IpAddr) -> impl Iterator<Item = IpAddr> {
        let SourceSpec::Addresses(all) = self;
        let is_v4 = backend.to_canonical().is_ipv4();
        all.iter().copied().filter(move |source| source.is_ipv4() == is_v4)
    }

    /// Returns what is wrong with it and what would be right, if anything.
    #[must_use]
    pub fn fault(&self) -> Option<Complaint> {
        let SourceSpec::Addresses(all) = self;
        let mut seen = BTreeSet::new();
        if all.is_empty() {
            let hint = "leave the key out, and the kernel chooses the address";
            return Some(Complaint::new("an empty list", hint));
        }
        if all.len() > SOURCES_MAX {
            let what = format!("{} addresses; at most {SOURCES_MAX} are possible", all.len());
            return Some(Complaint::new(what, "a pool that needs more ports is better split up"));
        }
        all.iter().find_map(|address| {
            let (what, hint) = if address.is_unspecified() {
                let hint = "leave the key out, and the kernel chooses the address";
                ("stands for every address, and no connection comes from it", hint)
            } else if address.is_multicast() || *address == IpAddr::V4(Ipv4Addr::BROADCAST) {
                ("is the address of a group of hosts", "write an address of this host")
            } else if !seen.insert(*address) {
                ("stands there twice", "write each address once")
            } else {
                return None;
            };
            Some(Complaint::new(format!("{address} {what}"), hint))
        })
    }
}

impl fmt::Display for SourceSpec {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let SourceSpec::Addresses(all) = self;
        for (place, address) in all.iter().enumerate() {
            let comma = if place == 0 { "" } else { "," };
            write!(f, "{comma}{address}")?;
        }
        Ok(())
    }
}

/// An address in its usual spelling: `::ffff:a.b.c.d` is one of IPv4.
fn address(text: &str) -> Result<IpAddr, String> {
    if text.trim() == "client" {
        return Err("the client's own address (IP_TRANSPARENT) is not built yet".to_owned());
    }
    let read = text.trim().parse::<IpAddr>().map(|address| address.to_canonical());
    read.map_err(|_| {
        let shown: String = text.chars().take(64).collect();
        format!("{shown:?} is not an IP address")
    })
}

/// As on a command line: with commas between several.
impl FromStr for SourceSpec {
    type Err = String;

    fn from_str(text: &str) -> Result<SourceSpec, String> {
        text.split(',').map(address).collect::<Result<_, _>>().map(SourceSpec::Addresses)
    }
}

impl Serialize for SourceSpec {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let SourceSpec::Addresses(all) = self;
        match all.as_slice() {
            [one] => one.serialize(serializer),
            all => all.serialize(serializer),
        }
    }
}

/// One address, or a list of them.
impl<'de> Deserialize<'de> for SourceSpec {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<SourceSpec, D::Error> {
        let texts: Vec<String> =
            one_or_many::list(deserializer, "no address, and no list of them")?;
        let all = texts.iter().map(|text| address(text)).collect::<Result<_, _>>();
        all.map(SourceSpec::Addresses).map_err(de::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sources_are_read_and_written() {
        for (text, json) in [
            ("10.0.0.5", r#""10.0.0.5""#),
            ("10.0.0.5,fd00::5", r#"["10.0.0.5","fd00::5"]"#),
            ("::ffff:10.0.0.5", r#""10.0.0.5""#),
        ] {
            let read: SourceSpec = text.parse().unwrap();
            assert_eq!(serde_json::to_string(&read).unwrap(), json);
            assert_eq!(serde_json::from_str::<SourceSpec>(json).unwrap(), read);
            assert_eq!(read.to_string().parse::<SourceSpec>().as_ref(), Ok(&read));
            assert_eq!(read.fault(), None);
        }
        for text in ["", "10.0.0", "10.0.0.5:80", "10.0.0.0/8", "eth0"] {
            let wrong = text.parse::<SourceSpec>().unwrap_err();
            assert_eq!(wrong, format!("{text:?} is not an IP address"));
        }
        let wrong = "client".parse::<SourceSpec>().unwrap_err();
        assert!(wrong.ends_with("is not built yet"), "{wrong}");
    }

    #[test]
    fn addresses_that_no_connection_comes_from_are_refused() {
        let wrong = |text: &str| text.parse::<SourceSpec>().unwrap().fault().unwrap().what;
        for (text, what) in [
            ("0.0.0.0", "0.0.0.0 stands for every address, and no connection comes from it"),
            ("::", ":: stands for every address, and no connection comes from it"),
            ("224.0.0.1", "224.0.0.1 is the address of a group of hosts"),
            ("ff02::1", "ff02::1 is the address of a group of hosts"),
            ("255.255.255.255", "255.255.255.255 is the address of a group of hosts"),
            ("::1,10.0.0.5,::ffff:10.0.0.5", "10.0.0.5 stands there twice"),
        ] {
            assert_eq!(wrong(text), what);
        }
        assert_eq!(SourceSpec::Addresses(Vec::new()).fault().unwrap().what, "an empty list");
        let many = (0..65).map(|last| IpAddr::from([10, 0, 0, last])).collect();
        assert!(SourceSpec::Addresses(many).fault().unwrap().what.starts_with("65 addresses"));
    }

    #[test]
    fn a_connection_comes_from_an_address_of_its_family() {
        let source: SourceSpec = "10.0.0.5,fd00::5,10.0.0.6".parse().unwrap();
        let towards = |to: &str| -> Vec<String> {
            source.towards(to.parse().unwrap()).map(|it| it.to_string()).collect()
        };
        assert_eq!(towards("192.0.2.1"), ["10.0.0.5", "10.0.0.6"]);
        assert_eq!(towards("::ffff:192.0.2.1"), ["10.0.0.5", "10.0.0.6"]);
        assert_eq!(towards("2001:db8::1"), ["fd00::5"]);
    }
}
