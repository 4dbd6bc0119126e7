//! Networks: addresses that begin with the same bits.

mod access;
mod list;

use core::fmt;
use core::net::IpAddr;
use core::str::FromStr;

use serde::{Deserialize, Deserializer, Serialize, Serializer, de};

pub use access::{AccessLists, AddressSet, Refused};
pub use list::{NETWORKS_MAX, NetworkList};

/// Addresses that begin with the same bits, as in `10.0.0.0/8` (RFC 4632). One address alone is a
/// network, too.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Network {
    address: IpAddr,
    /// At most 32, or 128 for IPv6.
    prefix: u8,
}

impl Network {
    /// True if `ip` is in it. An IPv4 address is one also as `::ffff:a.b.c.d`.
    #[must_use]
    pub fn contains(&self, ip: IpAddr) -> bool {
        let first_bits = |ip: IpAddr| match ip {
            IpAddr::V4(ip) => u128::from(u32::from(ip)) << 96,
            IpAddr::V6(ip) => u128::from(ip),
        };
        let ip = ip.to_canonical();
        let differs = first_bits(ip) ^ first_bits(self.address);
        ip.is_ipv4() == self.address.is_ipv4()
            && differs.checked_shr(128 - u32::from(self.prefix)).unwrap_or(0) == 0
    }

    /// Its first and its last address.
    #[must_use]
    pub fn bounds(&self) -> (IpAddr, IpAddr) {
        let (first, last) = access::range(self);
        let address = |number: u128| match self.address {
            IpAddr::V4(_) => IpAddr::V4(u32::try_from(number).unwrap_or(u32::MAX).into()),
            IpAddr::V6(_) => IpAddr::V6(number.into()),
        };
        (address(first), address(last))
    }

    /// True if an address is in both.
    #[must_use]
    pub fn overlaps(&self, other: &Network) -> bool {
        self.contains(other.address) || other.contains(self.address)
    }
}

impl fmt::Display for Network {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.address, self.prefix)
    }
}

impl FromStr for Network {
    type Err = String;

    fn from_str(text: &str) -> Result<Network, String> {
        let form = || format!("{text:?} is no address and no network such as 10.0.0.0/8");
        let (address, prefix) = match text.split_once('/') {
            Some((address, prefix)) => (address, Some(prefix)),
            None => (text, None),
        };
        let address = address.parse::<IpAddr>().map_err(|_| form())?;
        let most = if address.is_ipv4() { 32 } else { 128 };
        let prefix = match prefix {
            None => most,
            Some(bits) => bits.parse::<u8>().ok().filter(|it| *it <= most).ok_or_else(form)?,
        };
        // A network of IPv4-mapped addresses is one of IPv4 (RFC 4291, section 2.5.5.2).
        match (address, address.to_canonical()) {
            (IpAddr::V6(_), canonical @ IpAddr::V4(_)) if prefix >= 96 => {
                Ok(Network { address: canonical, prefix: prefix - 96 })
            }
            _ => Ok(Network { address, prefix }),
        }
    }
}

impl Serialize for Network {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Network {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Network, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(de::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn networks_hold_what_begins_with_their_bits() {
        let holds = |network: &str, ip: &str| {
            network.parse::<Network>().unwrap().contains(ip.parse().unwrap())
        };
        assert!(holds("10.0.0.0/8", "10.255.0.1"));
        assert!(!holds("10.0.0.0/8", "11.0.0.1"));
        assert!(holds("10.1.2.3/8", "10.255.0.1"), "the bits behind the prefix do not count");
        assert!(holds("192.0.2.7", "192.0.2.7") && !holds("192.0.2.7", "192.0.2.8"));
        assert!(holds("0.0.0.0/0", "203.0.113.1") && !holds("0.0.0.0/0", "2001:db8::1"));
        assert!(holds("10.0.0.0/8", "::ffff:10.0.0.1"));
        assert!(holds("2001:db8::/32", "2001:db8:1::2") && !holds("2001:db8::/32", "2001:db9::"));
        assert!(holds("::/0", "::1") && !holds("::/0", "10.0.0.1"));
        let bounds = |text: &str| {
            let (first, last) = text.parse::<Network>().unwrap().bounds();
            format!("{first} {last}")
        };
        assert_eq!(bounds("10.1.2.3/8"), "10.0.0.0 10.255.255.255");
        assert_eq!(bounds("2001:db8::1/126"), "2001:db8:: 2001:db8::3");
        assert_eq!(bounds("192.0.2.7"), "192.0.2.7 192.0.2.7");
        for text in ["", "10.0.0.0/33", "10.0.0/8", "::/129", "a/8", "10.0.0.0/", "10.0.0.0/-1"] {
            assert!(text.parse::<Network>().is_err(), "{text}");
        }
    }
}
