//! Who is served: rules of a peer, of which the first that fits decides, as the networks of weir's
//! `allow` and `deny`, of which `deny` comes first. The same addresses are served, to the last.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::ops::Bound;

use weir_proto::network::Network;
use weir_proto::spec::ProxyInSpec;

use super::draft::from_everybody;

/// It decides for the addresses inside of its networks, or for those outside.
#[derive(Clone, Debug)]
pub(super) struct AccessRule {
    pub(super) accepts: bool,
    pub(super) is_inside: bool,
    pub(super) networks: Vec<Network>,
}

impl AccessRule {
    pub(super) fn inside(accepts: bool, networks: Vec<Network>) -> AccessRule {
        AccessRule { accepts, is_inside: true, networks }
    }

    pub(super) fn outside(accepts: bool, networks: Vec<Network>) -> AccessRule {
        AccessRule { accepts, is_inside: false, networks }
    }

    /// For every address that no rule before it has decided on.
    pub(super) fn all(accepts: bool) -> AccessRule {
        AccessRule::outside(accepts, Vec::new())
    }

    fn is_last(&self) -> bool {
        !self.is_inside && self.networks.is_empty()
    }

    fn addresses(&self) -> Addresses {
        let inside = Addresses::of(&self.networks);
        if self.is_inside { inside } else { Addresses::all().without(&inside) }
    }
}

/// Who is served at a listener.
#[derive(Clone, Debug, Default)]
pub(super) struct DraftAccess {
    pub(super) proxy_protocol: ProxyInSpec,
    /// `allow` and `deny`.
    pub(super) lists: [Vec<Network>; 2],
}

impl DraftAccess {
    /// Where clients send no PROXY header, and where they do: `connection` is gone through with the
    /// address of the connection, and `told` with that of the header.
    pub(super) fn of(connection: &[AccessRule], told: Chains<'_>) -> [DraftAccess; 2] {
        let both = [&[connection], told].concat();
        let plain = DraftAccess { lists: lists(&both), ..DraftAccess::default() };
        let (from, lists) = match served(&[connection]) {
            Served::Everybody => (from_everybody(), lists(told)),
            Served::In(networks) => (networks.into(), lists(told)),
            // Without networks in `from` no header would be wanted.
            Served::Nobody => (from_everybody(), [Vec::new(), from_everybody().to_vec()]),
        };
        let proxy_protocol = ProxyInSpec { from, ..ProxyInSpec::default() };
        [plain, DraftAccess { proxy_protocol, lists }]
    }
}

/// A client must get through all of these.
pub(super) type Chains<'a> = &'a [&'a [AccessRule]];

/// The clients that get through.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Served {
    Everybody,
    Nobody,
    In(Vec<Network>),
}

pub(super) fn served(chains: Chains<'_>) -> Served {
    let addresses = through(chains);
    if addresses == Addresses::all() {
        return Served::Everybody;
    }
    let networks = addresses.networks();
    match as_written(chains) {
        _ if networks.is_empty() => Served::Nobody,
        [allow, deny] if deny.is_empty() && Addresses::of(&allow) == addresses => Served::In(allow),
        _ => Served::In(networks),
    }
}

/// `allow` and `deny`, as the file has them if that serves the same clients.
pub(super) fn lists(chains: Chains<'_>) -> [Vec<Network>; 2] {
    let addresses = through(chains);
    if addresses == Addresses::all() {
        return [Vec::new(), Vec::new()];
    }
    let networks = addresses.networks();
    if networks.is_empty() {
        return [Vec::new(), from_everybody().to_vec()];
    }
    let [allow, deny] = as_written(chains);
    let allowed = if allow.is_empty() { Addresses::all() } else { Addresses::of(&allow) };
    if allowed.without(&Addresses::of(&deny)) == addresses {
        return [allow, deny];
    }
    let allow = networks;
    let deny = Addresses::all().without(&addresses).networks();
    if allow.len() <= deny.len() { [allow, Vec::new()] } else { [Vec::new(), deny] }
}

fn through(chains: Chains<'_>) -> Addresses {
    let mut all = Addresses::all();
    for chain in chains.iter().filter(|chain| !chain.is_empty()) {
        let (mut decided, mut served) = (Addresses::default(), Addresses::default());
        for rule in chain.iter().chain([&AccessRule::all(true)]) {
            for range in rule.addresses().ranges() {
                if rule.accepts {
                    decided.gaps(range).into_iter().for_each(|gap| served.insert(gap));
                }
                decided.insert(range);
            }
        }
        all = all.without(&Addresses::all().without(&served));
    }
    all
}

/// The networks of the rules, which may say something else than they do in their order.
fn as_written(chains: Chains<'_>) -> [Vec<Network>; 2] {
    let [mut allow, mut deny] = [Vec::new(), Vec::new()];
    for chain in chains {
        let (mut accepted, mut is_closed) = (Vec::new(), false);
        for rule in *chain {
            match (rule.accepts, rule.is_inside) {
                (true, true) if !is_closed => accepted.extend(&rule.networks),
                (false, true) => deny.extend(&rule.networks),
                (false, false) if !is_closed => {
                    accepted.extend(&rule.networks);
                    is_closed = true;
                }
                _ => {}
            }
            if rule.is_last() {
                break;
            }
        }
        if is_closed {
            allow.append(&mut accepted);
        }
    }
    [allow, deny]
}

/// Whether it is IPv6, the first address and the last one.
type Range = (bool, u128, u128);

/// Addresses in ranges that do not touch: where each begins, and its last one.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Addresses(BTreeMap<(bool, u128), u128>);

impl Addresses {
    fn all() -> Addresses {
        Addresses([((false, 0), u128::from(u32::MAX)), ((true, 0), u128::MAX)].into())
    }

    fn of(networks: &[Network]) -> Addresses {
        let mut addresses = Addresses::default();
        for network in networks {
            let range = match network.bounds() {
                (IpAddr::V6(first), IpAddr::V6(last)) => (true, first.into(), last.into()),
                (IpAddr::V4(first), IpAddr::V4(last)) => {
                    (false, u32::from(first).into(), u32::from(last).into())
                }
                _ => continue,
            };
            addresses.insert(range);
        }
        addresses
    }

    fn ranges(&self) -> impl Iterator<Item = Range> {
        self.0.iter().map(|(&(is_ipv6, first), &last)| (is_ipv6, first, last))
    }

    fn insert(&mut self, (is_ipv6, mut first, mut last): Range) {
        if let Some((&(family, start), &end)) = self.0.range(..(is_ipv6, first)).next_back()
            && family == is_ipv6
            && end.saturating_add(1) >= first
        {
            (first, last) = (start, last.max(end));
        }
        let touching = |last: u128| (is_ipv6, first)..=(is_ipv6, last.saturating_add(1));
        while let Some((&at, &end)) = self.0.range(touching(last)).next() {
            self.0.remove(&at);
            last = last.max(end);
        }
        self.0.insert((is_ipv6, first), last);
    }

    /// The parts of a range that are not in it.
    fn gaps(&self, (is_ipv6, first, last): Range) -> Vec<Range> {
        let before = self.0.range(..=(is_ipv6, first)).next_back();
        let before = before.filter(|((family, _), end)| *family == is_ipv6 && **end >= first);
        let bounds = (Bound::Excluded((is_ipv6, first)), Bound::Included((is_ipv6, last)));
        let mut gaps = Vec::new();
        let mut from = Some(first);
        for (&(_, start), end) in before.into_iter().chain(self.0.range(bounds)) {
            let Some(at) = from else { break };
            if start > at {
                gaps.push((is_ipv6, at, start - 1));
            }
            from = end.checked_add(1).filter(|next| *next <= last);
        }
        gaps.extend(from.map(|at| (is_ipv6, at, last)));
        gaps
    }

    fn without(&self, others: &Addresses) -> Addresses {
        let mut rest = Addresses::default();
        for gap in self.ranges().flat_map(|range| others.gaps(range)) {
            rest.insert(gap);
        }
        rest
    }

    /// As few networks as there can be.
    fn networks(&self) -> Vec<Network> {
        let mut networks = Vec::new();
        for (is_ipv6, first, last) in self.ranges() {
            let width = if is_ipv6 { 128 } else { 32 };
            let mut from = Some(first);
            while let Some(at) = from {
                let most = (last - at).checked_add(1).map_or(128, u128::ilog2);
                let open = at.trailing_zeros().min(most).min(width);
                networks.extend(network(is_ipv6, at, width - open));
                let end = at | 1_u128.checked_shl(open).map_or(u128::MAX, |above| above - 1);
                from = end.checked_add(1).filter(|next| *next <= last);
            }
        }
        networks
    }
}

/// `None` of what is IPv4 written as IPv6: a client never has such an address in weir.
fn network(is_ipv6: bool, first: u128, prefix: u32) -> Option<Network> {
    let v6 = std::net::Ipv6Addr::from(first);
    let address = match is_ipv6 {
        true if v6.to_ipv4_mapped().is_some() => return None,
        true => IpAddr::V6(v6),
        false => IpAddr::V4(u32::try_from(first).ok()?.into()),
    };
    format!("{address}/{prefix}").parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn list(text: &str) -> Vec<Network> {
        text.split_whitespace().map(|it| it.parse().unwrap()).collect()
    }

    fn rules(text: &str) -> Vec<AccessRule> {
        let rule = |text: &str| {
            let (word, networks) = text.trim().split_once(' ').unwrap_or((text.trim(), ""));
            let accepts = word.starts_with("accept");
            match word.ends_with("unless") {
                true => AccessRule::outside(accepts, list(networks)),
                false if networks.is_empty() => AccessRule::all(accepts),
                false => AccessRule::inside(accepts, list(networks)),
            }
        };
        text.split(';').map(rule).collect()
    }

    fn shown(networks: &[Network]) -> String {
        networks.iter().map(ToString::to_string).collect::<Vec<_>>().join(" ")
    }

    #[test]
    fn rules_that_go_by_the_first_that_fits_serve_the_same_as_lists() {
        for (text, allow, deny) in [
            ("accept", "", ""),
            ("reject", "", "0.0.0.0/0 ::/0"),
            ("reject 10.66.0.0/16", "", "10.66.0.0/16"),
            ("reject-unless 10.0.0.0/8", "10.0.0.0/8", ""),
            ("accept 10.0.0.0/8; reject", "10.0.0.0/8", ""),
            ("accept 1.0.0.0/8; reject-unless 2.0.0.0/8", "1.0.0.0/8 2.0.0.0/8", ""),
            ("reject 10.66.0.0/16; accept 10.0.0.0/8; reject", "10.0.0.0/8", "10.66.0.0/16"),
            ("accept 10.0.0.0/8; reject 10.66.0.0/16; reject", "10.0.0.0/8", ""),
            ("accept 10.0.0.0/9; reject 10.0.0.0/8", "", "10.128.0.0/9"),
            ("accept 10.0.0.0/8; reject 10.0.0.0/8; accept", "", ""),
            ("reject-unless 10.0.0.0/8; reject-unless 10.1.0.0/16", "10.1.0.0/16", ""),
            ("reject-unless 10.0.0.0/8; reject 10.1.0.0/16", "10.0.0.0/8", "10.1.0.0/16"),
            ("accept-unless 10.0.0.0/8; reject", "", "10.0.0.0/8"),
            ("reject-unless 1.0.0.0/8; reject-unless 2.0.0.0/8", "", "0.0.0.0/0 ::/0"),
            ("reject 0.0.0.0/0", "", "0.0.0.0/0"),
            ("accept 2001:db8::/32; reject", "2001:db8::/32", ""),
        ] {
            let rules = rules(text);
            let made = lists(&[&rules]);
            let parsed = [list(allow), list(deny)];
            let of = |[allow, deny]: &[Vec<Network>; 2]| {
                let allowed =
                    if allow.is_empty() { Addresses::all() } else { Addresses::of(allow) };
                allowed.without(&Addresses::of(deny))
            };
            assert_eq!(of(&made), of(&parsed), "{text}: {made:?}");
            assert_eq!(of(&made), through(&[&rules]), "{text}");
            assert_eq!(made.map(|it| shown(&it)), [allow, deny], "{text}");
        }
    }

    #[test]
    fn those_who_are_served_are_networks_of_their_own() {
        let of = |text: &str| match served(&[&rules(text)]) {
            Served::In(networks) => shown(&networks),
            other => format!("{other:?}"),
        };
        assert_eq!(of("accept"), "Everybody");
        assert_eq!(of("reject"), "Nobody");
        assert_eq!(of("reject-unless 10.0.0.0/8 192.0.2.7"), "10.0.0.0/8 192.0.2.7/32");
        assert_eq!(of("reject 10.128.0.0/9; accept 10.0.0.0/8; reject"), "10.0.0.0/9");
        assert_eq!(of("reject 128.0.0.0/1 ::/0"), "0.0.0.0/1");
        assert_eq!(of("reject ::/0; reject 0.0.0.0/2"), "64.0.0.0/2 128.0.0.0/1");
        assert_eq!(of("reject 8000::/1; reject 0.0.0.0/0"), "::/1");
        // Nothing but addresses of IPv4 written as IPv6 is left.
        assert_eq!(of("reject ::fffe:0:0/96; reject-unless ::fffe:0:0/95"), "Nobody");
    }

    #[test]
    fn long_lists_take_no_long_time() {
        let network = |at: u32| format!("{}/32", std::net::Ipv4Addr::from(at * 2)).parse().unwrap();
        let rule = |at: u32| AccessRule::inside(at.is_multiple_of(2), vec![network(at)]);
        let rules: Vec<AccessRule> =
            (0..100_000).map(rule).chain([AccessRule::all(false)]).collect();
        assert_eq!(lists(&[&rules]).map(|it| it.len()), [50_000, 50_000]);
    }
}
