//! The clients that a listener serves: `allow` and `deny`, flattened so that a look-up takes the
//! logarithm of their length.

use core::net::IpAddr;
use std::sync::Arc;

use super::{Network, NetworkList};

/// The clients that a listener serves. One that is denied is not served, whatever `allow` says;
/// without `allow` everybody else is.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct AccessLists {
    pub allow: NetworkList,
    pub deny: NetworkList,
    /// `None`: everybody.
    served: Option<Arc<AddressSet>>,
}

/// The list because of which a client is not served.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refused {
    /// This network is in `deny`.
    Denied(Network),
    /// There is an `allow`, and no network of it has the client.
    NotAllowed,
}

impl AccessLists {
    /// The access by these lists. What `before` has flattened is used again if its lists are the
    /// same.
    #[must_use]
    pub fn of(
        allow: &NetworkList,
        deny: &NetworkList,
        before: Option<&AccessLists>,
    ) -> AccessLists {
        if let Some(before) = before.filter(|it| (&it.allow, &it.deny) == (allow, deny)) {
            return before.clone();
        }
        let is_open = allow.is_empty() && deny.is_empty();
        let served = (!is_open).then(|| Arc::new(AddressSet::of(allow, deny)));
        AccessLists { allow: allow.clone(), deny: deny.clone(), served }
    }

    /// The addresses that are served. `None`: everybody is.
    #[must_use]
    pub fn served(&self) -> Option<Arc<AddressSet>> {
        self.served.clone()
    }

    /// True if a client at this address is served.
    #[must_use]
    pub fn serves(&self, ip: IpAddr) -> bool {
        self.served.as_ref().is_none_or(|served| served.contains(ip))
    }

    /// Why a client at this address is not served, if it is not. Looks through the lists: for
    /// people, not for the data path.
    #[must_use]
    pub fn refuses(&self, ip: IpAddr) -> Option<Refused> {
        let denies = self.deny.iter().find(|network| network.contains(ip));
        let is_allowed =
            self.allow.is_empty() || self.allow.iter().any(|network| network.contains(ip));
        match denies {
            Some(network) => Some(Refused::Denied(*network)),
            None => (!is_allowed).then_some(Refused::NotAllowed),
        }
    }
}

/// First and last address, as numbers.
type Range = (u128, u128);

/// Addresses in disjoint ranges, the lowest first.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct AddressSet {
    v4: Ranges<u32>,
    v6: Ranges<u128>,
}

/// The first and the last address of each range, apart: a search goes through the first ones only,
/// and so through fewer cache lines.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Ranges<T> {
    firsts: Box<[T]>,
    lasts: Box<[T]>,
}

impl AddressSet {
    fn of(allow: &[Network], deny: &[Network]) -> AddressSet {
        let of_family = |is_ipv4: bool, most: u128| {
            let of = |list: &[Network]| {
                let own = list.iter().filter(|network| network.address.is_ipv4() == is_ipv4);
                merged(own.map(range).collect())
            };
            let all = if allow.is_empty() { vec![(0, most)] } else { of(allow) };
            without(&all, &of(deny))
        };
        let v4 = of_family(true, u128::from(u32::MAX));
        let low = |number: u128| u32::try_from(number).expect("IPv4 has 32 bits");
        AddressSet {
            v4: Ranges::of(v4.iter().map(|(first, last)| (low(*first), low(*last)))),
            v6: Ranges::of(of_family(false, u128::MAX).into_iter()),
        }
    }

    /// True if this address is one of them. `::ffff:a.b.c.d` is `a.b.c.d`.
    #[must_use]
    pub fn contains(&self, ip: IpAddr) -> bool {
        match ip.to_canonical() {
            IpAddr::V4(ip) => self.v4.contains(ip.into()),
            IpAddr::V6(ip) => self.v6.contains(ip.into()),
        }
    }
}

impl<T: Copy + Ord> Ranges<T> {
    fn of(ranges: impl Iterator<Item = (T, T)>) -> Ranges<T> {
        let (firsts, lasts): (Vec<T>, Vec<T>) = ranges.unzip();
        Ranges { firsts: firsts.into(), lasts: lasts.into() }
    }

    fn contains(&self, address: T) -> bool {
        let behind = self.firsts.partition_point(|first| *first <= address);
        behind > 0 && address <= self.lasts[behind - 1]
    }
}

pub(super) fn range(network: &Network) -> Range {
    let (address, width) = match network.address {
        IpAddr::V4(ip) => (u128::from(u32::from(ip)), 32),
        IpAddr::V6(ip) => (u128::from(ip), 128),
    };
    let open = width - u32::from(network.prefix);
    let rest = 1_u128.checked_shl(open).map_or(u128::MAX, |above| above - 1);
    (address & !rest, address | rest)
}

/// The same addresses in as few ranges as there can be, the lowest first.
fn merged(mut ranges: Vec<Range>) -> Vec<Range> {
    ranges.sort_unstable();
    let mut merged: Vec<Range> = Vec::with_capacity(ranges.len());
    for (first, last) in ranges {
        match merged.last_mut() {
            Some(before) if first <= before.1.saturating_add(1) => before.1 = before.1.max(last),
            _ => merged.push((first, last)),
        }
    }
    merged
}

/// `all` without `others`; both are merged, and so is the rest.
fn without(all: &[Range], others: &[Range]) -> Vec<Range> {
    let mut rest = Vec::with_capacity(all.len() + others.len());
    let mut next = 0;
    for &(first, last) in all {
        let mut from = Some(first);
        // Ranges that end before this one begins were dealt with.
        next += others[next..].partition_point(|other| other.1 < first);
        for &(hole, end) in others[next..].iter().take_while(|other| other.0 <= last) {
            let Some(start) = from else { break };
            if hole > start {
                rest.push((start, hole - 1));
            }
            from = end.checked_add(1).filter(|after| *after <= last);
        }
        rest.extend(from.map(|start| (start, last)));
    }
    rest
}

#[cfg(test)]
mod tests {
    use super::*;

    fn list(text: &str) -> NetworkList {
        text.split_whitespace().map(|network| network.parse::<Network>().unwrap()).collect()
    }

    fn access(allow: &str, deny: &str) -> AccessLists {
        AccessLists::of(&list(allow), &list(deny), None)
    }

    fn serves(access: &AccessLists, ip: &str) -> bool {
        let ip = ip.parse().unwrap();
        let serves = access.served().is_none_or(|served| served.contains(ip));
        assert_eq!(serves, access.refuses(ip).is_none(), "{ip}");
        serves
    }

    #[test]
    fn deny_comes_before_allow_and_without_allow_everybody_else_is_served() {
        let open = access("", "");
        assert!(open.served().is_none() && serves(&open, "192.0.2.1") && serves(&open, "::1"));
        let lists = access("10.0.0.0/8 2001:db8::/32", "10.66.0.0/16 10.1.2.3");
        for served in ["10.0.0.0", "10.255.255.255", "::ffff:10.1.2.2", "2001:db8::7"] {
            assert!(serves(&lists, served), "{served}");
        }
        for refused in ["9.255.255.255", "11.0.0.0", "10.66.0.0", "10.66.255.255", "10.1.2.3"] {
            assert!(!serves(&lists, refused), "{refused}");
        }
        assert!(!serves(&lists, "::ffff:10.66.1.1") && !serves(&lists, "2001:db9::"));
        let denied = "10.66.1.1".parse().unwrap();
        let network = "10.66.0.0/16".parse().unwrap();
        assert_eq!(lists.refuses(denied), Some(Refused::Denied(network)));
        assert_eq!(lists.refuses("11.0.0.0".parse().unwrap()), Some(Refused::NotAllowed));
        let open_but = access("", "192.0.2.0/24 ::/0");
        assert!(serves(&open_but, "192.0.3.0") && serves(&open_but, "255.255.255.255"));
        assert!(!serves(&open_but, "192.0.2.255") && !serves(&open_but, "::1"));
        let v4_alone = access("0.0.0.0/0", "");
        assert!(serves(&v4_alone, "255.255.255.255") && !serves(&v4_alone, "::1"));
        let nobody = access("10.0.0.0/8", "0.0.0.0/0");
        assert!(!serves(&nobody, "10.0.0.1"));
    }

    #[test]
    fn what_was_flattened_is_used_again() {
        let before = access("10.0.0.0/8", "10.1.0.0/16");
        let again = AccessLists::of(&list("10.0.0.0/8"), &list("10.1.0.0/16"), Some(&before));
        let served = |it: &AccessLists| it.served.as_ref().map(Arc::as_ptr);
        assert_eq!(served(&again), served(&before));
        let other = AccessLists::of(&list("10.0.0.0/8"), &list(""), Some(&before));
        assert!(serves(&other, "10.1.0.1"));
    }
}
