//! `allow` and `deny` beside tries of prefixes (the crate `prefix-trie`): the same clients are
//! served.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use ipnet::{Ipv4Net, Ipv6Net};
use prefix_trie::PrefixSet;
use proptest::prelude::*;
use weir_proto::network::{AccessLists, Network, NetworkList};

/// Addresses that lie close together, so that networks overlap and touch.
fn address() -> impl Strategy<Value = IpAddr> {
    let four = (0_u8..4, any::<u8>(), any::<u8>())
        .prop_map(|(high, middle, low)| IpAddr::from([10 * high, 255 * (middle & 1), middle, low]));
    let six = (any::<bool>(), any::<u16>()).prop_map(|(high, low)| {
        let first = if high { 0xffff } else { 0x2001 };
        IpAddr::from([first, 0xdb8, 0, 0, 0, 0, 0, low])
    });
    prop_oneof![four, six]
}

fn network() -> impl Strategy<Value = (IpAddr, u8)> {
    (address(), any::<u8>(), any::<bool>()).prop_map(|(address, length, is_long)| {
        let most = if address.is_ipv4() { 32 } else { 128 };
        // Mostly long prefixes, and sometimes everything.
        let length = if is_long { most - length % 12 } else { length % (most + 1) };
        (address, length)
    })
}

#[derive(Default)]
struct Tries {
    four: PrefixSet<Ipv4Net>,
    six: PrefixSet<Ipv6Net>,
}

impl Tries {
    fn of(list: &[(IpAddr, u8)]) -> Tries {
        let mut tries = Tries::default();
        for (address, length) in list {
            match address {
                IpAddr::V4(ip) => drop(tries.four.insert(Ipv4Net::new(*ip, *length).unwrap())),
                IpAddr::V6(ip) => drop(tries.six.insert(Ipv6Net::new(*ip, *length).unwrap())),
            }
        }
        tries
    }

    fn has(&self, ip: IpAddr) -> bool {
        match ip {
            IpAddr::V4(ip) => self.four.get_lpm(&Ipv4Net::from(ip)).is_some(),
            IpAddr::V6(ip) => self.six.get_lpm(&Ipv6Net::from(ip)).is_some(),
        }
    }
}

fn list(networks: &[(IpAddr, u8)]) -> NetworkList {
    let network = |(address, length): &(IpAddr, u8)| format!("{address}/{length}").parse().unwrap();
    networks.iter().map(network).collect::<Vec<Network>>().into()
}

/// The address itself, its neighbours, and the first and last ones there are.
fn around(networks: &[(IpAddr, u8)]) -> Vec<IpAddr> {
    let mut all: Vec<IpAddr> = ["0.0.0.0", "255.255.255.255", "::", "ffff:ffff:ffff::"]
        .iter()
        .map(|text| text.parse().unwrap())
        .collect();
    for (address, length) in networks {
        match address {
            IpAddr::V4(ip) => {
                let net = Ipv4Net::new(*ip, *length).unwrap();
                let (first, last) = (u32::from(net.network()), u32::from(net.broadcast()));
                let edges = [first.wrapping_sub(1), first, last, last.wrapping_add(1)];
                all.extend(edges.map(|it| IpAddr::V4(Ipv4Addr::from(it))));
            }
            IpAddr::V6(ip) => {
                let net = Ipv6Net::new(*ip, *length).unwrap();
                let (first, last) = (u128::from(net.network()), u128::from(net.broadcast()));
                let edges = [first.wrapping_sub(1), first, last, last.wrapping_add(1)];
                all.extend(edges.map(|it| IpAddr::V6(Ipv6Addr::from(it))));
            }
        }
    }
    all
}

proptest! {
    #[test]
    fn the_same_clients_are_served_as_by_tries_of_prefixes(
        allow in prop::collection::vec(network(), 0..12),
        deny in prop::collection::vec(network(), 0..12),
        clients in prop::collection::vec(address(), 0..20),
    ) {
        let served = AccessLists::of(&list(&allow), &list(&deny), None).served();
        let (allows, denies) = (Tries::of(&allow), Tries::of(&deny));
        let edges = around(&allow).into_iter().chain(around(&deny));
        for client in clients.into_iter().chain(edges) {
            // `::ffff:a.b.c.d` is IPv4, which a trie of IPv6 does not know.
            let client = client.to_canonical();
            let expected = (allow.is_empty() || allows.has(client)) && !denies.has(client);
            let is_served = served.as_ref().is_none_or(|served| served.contains(client));
            prop_assert_eq!(is_served, expected, "{}", client);
            if let IpAddr::V4(ip) = client {
                let mapped = IpAddr::V6(ip.to_ipv6_mapped());
                prop_assert_eq!(served.as_ref().is_none_or(|it| it.contains(mapped)), expected);
            }
        }
    }
}
