//! PROXY headers beside another implementation of the protocol (the crate `ppp`): each reads what
//! the other writes, and a header for one is a header for the other.

use std::net::SocketAddr;

use ppp::v2::{Builder, Command, Protocol, Version};
use ppp::{HeaderResult, v1, v2};
use proptest::prelude::*;
use weir_core::proxy_header::{HEADER_MAX, Header, Parsed, ProxyVersion, parse};

/// Both of one family.
fn pair() -> impl Strategy<Value = [SocketAddr; 2]> {
    let four = any::<([u8; 4], [u8; 4], u16, u16)>().prop_map(|(from, to, port, other)| {
        [SocketAddr::from((from, port)), SocketAddr::from((to, other))]
    });
    let six = any::<([u16; 8], [u16; 8], u16, u16)>().prop_map(|(from, to, port, other)| {
        [SocketAddr::from((from, port)), SocketAddr::from((to, other))]
    });
    prop_oneof![four, six]
}

/// The source that `ppp` reads, if it reads a header that is whole; `None` inside: no client.
fn read_by_other(bytes: &[u8]) -> Option<(usize, Option<SocketAddr>)> {
    match HeaderResult::parse(bytes) {
        HeaderResult::V1(Ok(header)) => {
            let source = match header.addresses {
                v1::Addresses::Tcp4(it) => Some((it.source_address, it.source_port).into()),
                v1::Addresses::Tcp6(it) => Some((it.source_address, it.source_port).into()),
                v1::Addresses::Unknown => None,
            };
            Some((header.header.len(), source))
        }
        HeaderResult::V2(Ok(header)) => {
            let is_told = header.protocol == Protocol::Stream && header.command == Command::Proxy;
            let source = match header.addresses {
                v2::Addresses::IPv4(it) => Some((it.source_address, it.source_port).into()),
                v2::Addresses::IPv6(it) => Some((it.source_address, it.source_port).into()),
                _ => None,
            };
            Some((header.len(), source.filter(|_| is_told)))
        }
        _ => None,
    }
}

fn canonical(address: SocketAddr) -> SocketAddr {
    SocketAddr::new(address.ip().to_canonical(), address.port())
}

proptest! {
    #[test]
    fn the_other_reads_what_weir_sends([source, destination] in pair()) {
        for version in ProxyVersion::ALL {
            let header = Header::of_client(version, source, destination);
            let (length, told) = read_by_other(header.bytes()).expect("a header");
            prop_assert_eq!(length, header.bytes().len());
            prop_assert_eq!(told.map(canonical), Some(canonical(source)));
            let local = Header::local(version);
            prop_assert_eq!(read_by_other(local.bytes()), Some((local.bytes().len(), None)));
        }
    }

    #[test]
    fn weir_reads_what_the_other_builds(
        [source, destination] in pair(),
        // Of any kind but the checksum, which would be wrong.
        fields in prop::collection::vec((4_u8.., prop::collection::vec(any::<u8>(), 0..60)), 0..5),
        behind in prop::collection::vec(any::<u8>(), 0..20),
    ) {
        let start = Version::Two | Command::Proxy;
        let mut builder =
            Builder::with_addresses(start, Protocol::Stream, (source, destination));
        for (kind, value) in &fields {
            builder = builder.write_tlv(*kind, value).expect("it fits");
        }
        let mut bytes = builder.build().expect("it fits");
        let whole = Parsed::Header { length: bytes.len(), source: Some(canonical(source)) };
        bytes.extend(behind);
        prop_assert_eq!(parse(&bytes), whole);
    }

    /// Some bytes of a header are others.
    #[test]
    fn a_header_to_weir_is_one_to_the_other(
        [source, destination] in pair(),
        first in any::<bool>(),
        changes in prop::collection::vec((0_usize..120, any::<u8>()), 0..4),
    ) {
        let version = if first { ProxyVersion::V1 } else { ProxyVersion::V2 };
        let mut bytes = Header::of_client(version, source, destination).bytes().to_vec();
        bytes.extend_from_slice(b"and what follows, which is long enough for a longer header");
        for (place, byte) in changes {
            let place = place % bytes.len();
            bytes[place] = byte;
        }
        // Of its sender's own connections nothing but the length is to be heeded.
        let is_local = !first && bytes[12] == 0x20;
        match parse(&bytes) {
            Parsed::Header { source: None, .. } if is_local => {}
            Parsed::Header { length, source } => {
                let other = read_by_other(&bytes);
                let other = other.map(|(length, source)| (length, source.map(canonical)));
                prop_assert_eq!(Some((length, source)), other);
            }
            Parsed::Need(count) => prop_assert!(count > bytes.len() && count <= HEADER_MAX),
            Parsed::Wrong => {}
        }
    }
}
