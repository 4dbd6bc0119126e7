//! Which of the sockets that listen at an address gets a client, where clients are counted by their
//! source: all of a source come to the same one, so the shard that has it counts alone.
//!
//! The kernel decides, by a program that does what [`Steering::place`] does. A place is that of a
//! socket in its group: the order in which they began to listen, and the last one takes the place
//! of one that closes.

use core::net::IpAddr;

use weir_proto::snapshot::Listener;

/// The choice among the sockets of an address.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Steering {
    /// How many there are, once every shard listens.
    pub sockets: u16,
    pub by: SteeredBy,
}

/// The part of a client that the choice goes by.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SteeredBy {
    /// The client's source: these bits of its address.
    Source { mask_v4: u32, mask_v6: u128, factor: u32 },
    /// Nothing: a header tells of the source later, so one shard takes all.
    One { number: u16 },
}

impl Steering {
    /// The steering of a listener's clients on this many shards, if it has some. Clients do not
    /// know the seed.
    #[must_use]
    pub fn of(listener: &Listener, shards: u16, seed: (u64, u64)) -> Option<Steering> {
        let limits = listener.per_source.as_ref().filter(|_| shards > 1)?;
        let by = if listener.proxy.from.is_empty() {
            // Odd, so that no bit of the address is lost.
            let factor = (seed.0 >> 32) as u32 | 1;
            let (mask_v4, mask_v6) = (limits.mask_v4(), limits.mask_v6());
            SteeredBy::Source { mask_v4, mask_v6, factor }
        } else {
            let number = u16::try_from(listener.id.0 % u32::from(shards)).unwrap_or(0);
            SteeredBy::One { number }
        };
        Some(Steering { sockets: shards, by })
    }

    /// The place of the socket that a client from there comes to.
    #[must_use]
    pub fn place(&self, client: IpAddr) -> u16 {
        let hash = match (self.by, client) {
            (SteeredBy::One { number }, _) => return number,
            (SteeredBy::Source { mask_v4, factor, .. }, IpAddr::V4(ip)) => {
                (ip.to_bits() & mask_v4).wrapping_mul(factor)
            }
            (SteeredBy::Source { mask_v6, factor, .. }, IpAddr::V6(ip)) => {
                let words = words_of(ip.to_bits()).into_iter().zip(words_of(mask_v6));
                let masked = words.filter(|(_, mask)| *mask > 0).map(|(word, mask)| word & mask);
                masked.fold(0, |hash: u32, word| (hash ^ word).wrapping_mul(factor))
            }
        };
        u16::try_from((hash >> 16) % u32::from(self.sockets)).unwrap_or(0)
    }
}

/// The four words of an IPv6 address, as they are in a header.
#[must_use]
pub fn words_of(address: u128) -> [u32; 4] {
    let bytes = address.to_be_bytes();
    [0, 4, 8, 12]
        .map(|at| u32::from_be_bytes([bytes[at], bytes[at + 1], bytes[at + 2], bytes[at + 3]]))
}

#[cfg(test)]
mod tests {
    use super::*;
    use core::net::Ipv4Addr;

    fn by_source(sockets: u16) -> Steering {
        let (mask_v4, mask_v6, factor) = (0xffff_ff00, u128::MAX << 64, 0x9e37_79b1);
        Steering { sockets, by: SteeredBy::Source { mask_v4, mask_v6, factor } }
    }

    #[test]
    fn a_source_has_one_place_and_sources_are_spread() {
        let four = by_source(4);
        let place = |text: &str| four.place(text.parse().unwrap());
        assert_eq!(place("10.1.2.3"), place("10.1.2.200"));
        assert_eq!(place("2001:db8:1:2::1"), place("2001:db8:1:2:ffff::9"));
        let mut counts = [0; 4];
        for net in 0..400 {
            let client = Ipv4Addr::from_bits(0x0a00_0000 + (net << 8));
            counts[usize::from(four.place(client.into()))] += 1;
        }
        assert!(counts.iter().all(|count| (60..140).contains(count)), "{counts:?}");
        let one = Steering { sockets: 4, by: SteeredBy::One { number: 3 } };
        assert_eq!(one.place("10.0.0.1".parse().unwrap()), 3);
    }

    #[test]
    fn words_are_those_of_a_header() {
        assert_eq!(words_of(0x0001_0002_0003_0004), [0, 0, 0x0001_0002, 0x0003_0004]);
    }
}
