//! The addresses that a pool's connects come from: by turns, so that the ports of each last as long
//! as those of the others. One that has failed is passed over for a while.

use alloc::vec::Vec;
use core::net::IpAddr;

use weir_proto::spec::SourceSpec;

use crate::action::Origin;
use crate::base::clock::Now;
use crate::limits::{RESTING_SOURCES_MAX, SOURCE_RESTS_MS};

/// The addresses of one pool on this shard.
#[derive(Debug, Default)]
pub struct Sources {
    /// Of IPv4, and of IPv6.
    families: [SourceTurns; 2],
}

/// The addresses of one family.
#[derive(Debug, Default)]
struct SourceTurns {
    places: Vec<SourcePlace>,
    /// Whose turn it is.
    next: usize,
}

#[derive(Clone, Copy, Debug)]
struct SourcePlace {
    address: IpAddr,
    /// It has failed, and is passed over until then.
    rests_until: Option<Now>,
}

/// The addresses that one connect has tried in vain.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct TriedSources {
    /// A bit for each place; a list has 64 at most.
    places: u64,
    /// Those of them that rested already.
    resting: u32,
}

impl SourcePlace {
    fn rests(&self, now: Now) -> bool {
        self.rests_until.is_some_and(|until| now < until)
    }
}

impl Sources {
    #[must_use]
    pub fn new(spec: Option<&SourceSpec>) -> Sources {
        let mut sources = Sources::default();
        for address in spec.iter().flat_map(|SourceSpec::Addresses(all)| all) {
            sources
                .family(*address)
                .places
                .push(SourcePlace { address: *address, rests_until: None });
        }
        sources
    }

    /// Goes by `spec` from now on; with the same addresses turns go on.
    pub fn adopt(&mut self, spec: Option<&SourceSpec>) {
        let fresh = Sources::new(spec);
        let same =
            |(one, other): (&SourceTurns, &SourceTurns)| one.addresses().eq(other.addresses());
        if !self.families.iter().zip(&fresh.families).all(same) {
            *self = fresh;
        }
    }

    #[must_use]
    pub fn origin(&self) -> Origin {
        let is_listed = self.families.iter().any(|turns| !turns.places.is_empty());
        if is_listed { Origin::Listed } else { Origin::Any }
    }

    /// The next address for a connect to `backend`. `None`: no address is of its family.
    pub fn next(&mut self, backend: IpAddr, now: Now) -> Option<IpAddr> {
        let turns = self.family(backend);
        let fit = turns.first(|_, place| !place.rests(now)).or_else(|| turns.first(|_, _| true))?;
        Some(turns.take(fit))
    }

    /// A connect to `backend` could not come from `failed`: another address that it has not
    /// `tried`. `None`: there is none, or it has tried enough of those that are passed over.
    pub fn other(
        &mut self,
        backend: IpAddr,
        failed: IpAddr,
        tried: &mut TriedSources,
        now: Now,
    ) -> Option<IpAddr> {
        let turns = self.family(backend);
        if let Some(place) = turns.places.iter().position(|it| it.address == failed) {
            turns.places[place].rests_until = Some(now.plus_millis(SOURCE_RESTS_MS));
            tried.places |= 1 << place;
        }
        let is_left = |at: usize| tried.places & 1 << at == 0;
        if let Some(fit) = turns.first(|at, place| is_left(at) && !place.rests(now)) {
            return Some(turns.take(fit));
        }
        let fit = turns.first(|at, _| is_left(at) && tried.resting < RESTING_SOURCES_MAX)?;
        tried.resting += 1;
        Some(turns.take(fit))
    }

    /// Those of the family of `like`; `::ffff:a.b.c.d` is of IPv4.
    fn family(&mut self, like: IpAddr) -> &mut SourceTurns {
        &mut self.families[usize::from(!like.to_canonical().is_ipv4())]
    }
}

impl SourceTurns {
    fn addresses(&self) -> impl Iterator<Item = IpAddr> {
        self.places.iter().map(|place| place.address)
    }

    /// The first place from the turn on that fits.
    fn first(&self, fits: impl Fn(usize, &SourcePlace) -> bool) -> Option<usize> {
        let count = self.places.len();
        let mut from_turn = (0..count).map(|step| (self.next + step) % count);
        from_turn.find(|at| fits(*at, &self.places[*at]))
    }

    /// The address of this place; the turn is with the one behind it.
    fn take(&mut self, place: usize) -> IpAddr {
        self.next = (place + 1) % self.places.len();
        self.places[place].address
    }
}

#[cfg(test)]
mod tests {
    use std::format;
    use std::vec::Vec;

    use super::*;

    const T0: Now = Now { nanos: 1_000_000_000 };

    fn ip(text: &str) -> IpAddr {
        text.parse().unwrap()
    }

    fn spec(text: &str) -> SourceSpec {
        text.parse().unwrap()
    }

    const V4: &str = "192.0.2.1";

    fn draws(sources: &mut Sources, to: &str, count: usize) -> Vec<u8> {
        let last = |address: IpAddr| format!("{address}").bytes().last().unwrap() - b'0';
        (0..count).map(|_| sources.next(ip(to), T0).map_or(0, last)).collect()
    }

    #[test]
    fn addresses_take_turns_within_their_family() {
        let mut sources = Sources::new(Some(&spec("10.0.0.1,fd00::7,10.0.0.2,10.0.0.3")));
        assert_eq!(sources.origin(), Origin::Listed);
        assert_eq!(draws(&mut sources, V4, 4), [1, 2, 3, 1]);
        assert_eq!(draws(&mut sources, "2001:db8::1", 2), [7, 7]);
        assert_eq!(draws(&mut sources, "::ffff:192.0.2.1", 2), [2, 3]);
        sources.adopt(Some(&spec("10.0.0.1,fd00::7,10.0.0.2,10.0.0.3")));
        sources.next(ip(V4), T0);
        assert_eq!(draws(&mut sources, V4, 1), [2], "turns go on");
        sources.adopt(Some(&spec("10.0.0.4,10.0.0.5")));
        assert_eq!(draws(&mut sources, V4, 2), [4, 5]);
        assert_eq!(draws(&mut sources, "2001:db8::1", 1), [0], "the kernel chooses");
        sources.adopt(None);
        assert_eq!((sources.origin(), sources.next(ip(V4), T0)), (Origin::Any, None));
    }

    #[test]
    fn an_address_that_failed_is_passed_over_for_a_while() {
        let mut sources = Sources::new(Some(&spec("10.0.0.1,10.0.0.2,10.0.0.3")));
        let mut tried = TriedSources::default();
        let first = sources.next(ip(V4), T0).unwrap();
        let second = sources.other(ip(V4), first, &mut tried, T0).unwrap();
        assert_eq!([first, second], [ip("10.0.0.1"), ip("10.0.0.2")]);
        assert_eq!(draws(&mut sources, V4, 3), [3, 2, 3]);
        let later = T0.plus_millis(SOURCE_RESTS_MS);
        let next = |sources: &mut Sources| sources.next(ip(V4), later).unwrap();
        assert_eq!(next(&mut sources), ip("10.0.0.1"));
    }

    #[test]
    fn one_connect_tries_each_once_and_few_that_rest() {
        let mut sources =
            Sources::new(Some(&spec("10.0.0.1,10.0.0.2,10.0.0.3,10.0.0.4,10.0.0.5,10.0.0.6")));
        let mut all = |tries: &mut Vec<IpAddr>| {
            let mut tried = TriedSources::default();
            let mut from = sources.next(ip(V4), T0);
            while let Some(address) = from {
                tries.push(address);
                from = sources.other(ip(V4), address, &mut tried, T0);
            }
        };
        for most in [6, 4] {
            let mut tries = Vec::new();
            all(&mut tries);
            assert_eq!(tries.len(), most, "{tries:?}");
            tries.sort();
            tries.dedup();
            assert_eq!(tries.len(), most, "none is tried twice");
        }
    }
}
