//! Where a listening socket is bound.

use core::fmt;
use core::net::SocketAddr;
use core::str::FromStr;

use serde::{Deserialize, Deserializer, Serialize, Serializer, de};

/// The longest name of an interface (IFNAMSIZ of linux/if.h, without the 0 at its end).
const INTERFACE_MAX: usize = 15;

/// The name of a network interface, as `eth0`. There need not be one of that name.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Interface {
    /// With zeros behind it.
    name: [u8; INTERFACE_MAX],
}

impl Interface {
    /// Its name.
    #[must_use]
    pub fn as_str(&self) -> &str {
        let end = self.name.iter().position(|byte| *byte == 0).unwrap_or(INTERFACE_MAX);
        core::str::from_utf8(&self.name[..end]).unwrap_or_default()
    }
}

/// By the rules of the kernel (`dev_valid_name`).
impl FromStr for Interface {
    type Err = String;

    fn from_str(text: &str) -> Result<Interface, String> {
        let shown = || text.chars().take(64).collect::<String>();
        let is_wrong = |byte: u8| !byte.is_ascii_graphic() || matches!(byte, b'/' | b':' | b'%');
        if text.is_empty() || text == "." || text == ".." || text.bytes().any(is_wrong) {
            return Err(format!("{:?} is no name of an interface", shown()));
        }
        let mut name = [0; INTERFACE_MAX];
        let Some(place) = name.get_mut(..text.len()) else {
            return Err(format!("{:?}: a name has at most {INTERFACE_MAX} bytes", shown()));
        };
        place.copy_from_slice(text.as_bytes());
        Ok(Interface { name })
    }
}

impl fmt::Display for Interface {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl fmt::Debug for Interface {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}", self.as_str())
    }
}

impl Serialize for Interface {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.as_str())
    }
}

impl<'de> Deserialize<'de> for Interface {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Interface, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(de::Error::custom)
    }
}

/// An address with all that tells its sockets from others at the same address. A socket keeps all
/// of it: one that shall be bound otherwise is another one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct BindAddress {
    pub address: SocketAddr,
    /// `[::]` that IPv4 clients come to as well (IPV6_V6ONLY is off).
    pub takes_ipv4: bool,
    /// Only what comes in there (SO_BINDTODEVICE).
    pub interface: Option<Interface>,
}

impl BindAddress {
    /// Those of a listener.
    pub(crate) fn all(
        bind: &[SocketAddr],
        v6only: bool,
        interface: Option<Interface>,
    ) -> impl Iterator<Item = BindAddress> {
        bind.iter().map(move |address| BindAddress {
            address: *address,
            takes_ipv4: !v6only && address.is_ipv6() && address.ip().is_unspecified(),
            interface,
        })
    }

    /// The addresses of which clients come to it: two of `[::]` with IPv4.
    pub fn families(&self) -> impl Iterator<Item = SocketAddr> + use<> {
        let ipv4 = SocketAddr::from(([0; 4], self.port()));
        core::iter::once(self.address).chain(self.takes_ipv4.then_some(ipv4))
    }

    /// False if no connect of this host's own comes in there.
    #[must_use]
    pub fn takes_own_connects(&self) -> bool {
        self.interface.is_none_or(|interface| interface.as_str() == "lo")
    }

    #[must_use]
    pub fn port(&self) -> u16 {
        self.address.port()
    }

    /// True if it stands for every address of a family.
    fn is_any(&self) -> bool {
        self.address.ip().is_unspecified()
    }

    /// True if clients of the same family come to both.
    fn shares_family(&self, other: &BindAddress) -> bool {
        let v4 = |it: &BindAddress| it.address.is_ipv4() || it.takes_ipv4;
        let v6 = |it: &BindAddress| it.address.is_ipv6();
        (v4(self) && v4(other)) || (v6(self) && v6(other))
    }

    /// True if one listener can stand in the other's way.
    #[must_use]
    pub fn overlaps(&self, other: &BindAddress) -> bool {
        let apart = |(one, other): (Interface, Interface)| one != other;
        self.port() == other.port()
            && !self.interface.zip(other.interface).is_some_and(apart)
            && self.shares_family(other)
            && (self.is_any() || other.is_any() || self.address.ip() == other.address.ip())
    }
}

impl From<SocketAddr> for BindAddress {
    fn from(address: SocketAddr) -> BindAddress {
        BindAddress { address, takes_ipv4: false, interface: None }
    }
}

impl fmt::Display for BindAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.address)?;
        match self.interface {
            Some(interface) => write!(f, " on {interface}"),
            None => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(address: &str, takes_ipv4: bool, interface: Option<&str>) -> BindAddress {
        let interface = interface.map(|name| name.parse().unwrap());
        BindAddress { address: address.parse().unwrap(), takes_ipv4, interface }
    }

    #[test]
    fn addresses_overlap_where_one_client_could_come_to_both() {
        for (one, other, expected) in [
            (at("0.0.0.0:1", false, None), at("127.0.0.1:1", false, None), true),
            (at("0.0.0.0:1", false, None), at("127.0.0.1:2", false, None), false),
            (at("[::]:1", false, None), at("0.0.0.0:1", false, None), false),
            (at("[::]:1", true, None), at("0.0.0.0:1", false, None), true),
            (at("[::]:1", true, None), at("10.0.0.1:1", false, None), true),
            (at("[::]:1", true, None), at("[::1]:1", false, None), true),
            (at("10.0.0.1:1", false, Some("a")), at("10.0.0.1:1", false, Some("b")), false),
            (at("10.0.0.1:1", false, Some("a")), at("10.0.0.1:1", false, None), true),
            (at("10.0.0.1:1", false, Some("a")), at("0.0.0.0:1", false, Some("a")), true),
        ] {
            assert_eq!(one.overlaps(&other), expected, "{one} {other}");
            assert_eq!(other.overlaps(&one), expected, "{other} {one}");
        }
    }

    #[test]
    fn a_name_of_an_interface_is_one_that_the_kernel_takes() {
        for text in ["eth0", "enp0s31f6", "vlan.100", "fifteen-letters"] {
            assert_eq!(text.parse::<Interface>().unwrap().as_str(), text);
        }
        for text in ["", ".", "..", "a b", "a/b", "eth0:1", "sixteen-letters!", "\u{e9}th0"] {
            assert!(text.parse::<Interface>().is_err(), "{text}");
        }
        assert_eq!(at("10.0.0.1:1", false, Some("eth0")).to_string(), "10.0.0.1:1 on eth0");
    }
}
