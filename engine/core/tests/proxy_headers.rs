//! PROXY headers beside another implementation of the protocol (the crate `ppp`): each reads what
//! the other writes, and a header for one is a header for the other.

use std::net::SocketAddr;

use ppp::v2::{Builder, Command, Protocol, Version};
use ppp::{HeaderResult, v1, v2};
use proptest::prelude::*;
use weir_core::base::clock::Now;
use weir_core::client_hello::ClientHello;
use weir_core::proxy_header::{
    HEADER_MAX, Header, Parsed, ProxyVersion, Told, UniqueId, parse, passed_on,
};
use weir_proto::ids::ShardId;
use weir_proto::session::{SessionKey, SessionName};

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

/// The client that `ppp` reads, if it reads a header that is whole; `None` inside: none.
fn read_by_other(bytes: &[u8]) -> Option<(usize, Option<Told>)> {
    match HeaderResult::parse(bytes) {
        HeaderResult::V1(Ok(header)) => {
            let told = match header.addresses {
                v1::Addresses::Tcp4(it) => Some(told(
                    (it.source_address, it.source_port),
                    (it.destination_address, it.destination_port),
                )),
                v1::Addresses::Tcp6(it) => Some(told(
                    (it.source_address, it.source_port),
                    (it.destination_address, it.destination_port),
                )),
                v1::Addresses::Unknown => None,
            };
            Some((header.header.len(), told))
        }
        HeaderResult::V2(Ok(header)) => {
            let is_told = header.protocol == Protocol::Stream && header.command == Command::Proxy;
            let told = match header.addresses {
                v2::Addresses::IPv4(it) => Some(told(
                    (it.source_address, it.source_port),
                    (it.destination_address, it.destination_port),
                )),
                v2::Addresses::IPv6(it) => Some(told(
                    (it.source_address, it.source_port),
                    (it.destination_address, it.destination_port),
                )),
                _ => None,
            };
            Some((header.len(), told.filter(|_| is_told)))
        }
        _ => None,
    }
}

fn told(source: impl Into<SocketAddr>, destination: impl Into<SocketAddr>) -> Told {
    let canonical = |it: SocketAddr| SocketAddr::new(it.ip().to_canonical(), it.port());
    Told { source: canonical(source.into()), destination: canonical(destination.into()) }
}

/// The fields that `ppp` reads, but the checksum.
fn fields_by_other(bytes: &[u8]) -> Vec<(u8, Vec<u8>)> {
    let HeaderResult::V2(Ok(header)) = HeaderResult::parse(bytes) else { return Vec::new() };
    let all = header.tlvs().map(|it| it.expect("a field"));
    all.filter(|it| it.kind != 3).map(|it| (it.kind, it.value.to_vec())).collect()
}

proptest! {
    #[test]
    fn the_other_reads_what_weir_sends([source, destination] in pair()) {
        for version in ProxyVersion::ALL {
            let header = Header::of_client(version, source, destination);
            let (length, read) = read_by_other(header.bytes()).expect("a header");
            prop_assert_eq!(length, header.bytes().len());
            prop_assert_eq!(read, Some(told(source, destination)));
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
        let length = bytes.len();
        bytes.extend(behind);
        let Parsed::Header { length: read, told: is_told, fields: it } = parse(&bytes) else {
            return Err(TestCaseError::fail("no header"));
        };
        prop_assert_eq!((read, is_told), (length, Some(told(source, destination))));
        // A backend gets them again, as the other reads them.
        let passed = passed_on(it, ClientHello::default());
        let name = SessionName { shard: ShardId(1), key: SessionKey { slot: 2, generation: 3 } };
        let made = UniqueId { session: name, accepted_at: Now::default() };
        let sent = Header::of_client(ProxyVersion::V2, source, destination)
            .with_fields(made, passed.fields.as_deref().unwrap_or(&[]));
        let (length, read) = read_by_other(sent.bytes()).expect("a header");
        prop_assert_eq!((length, read), (sent.bytes().len(), is_told));
        prop_assert!(length <= 536);
        let read = fields_by_other(sent.bytes());
        let customs = |all: &[(u8, Vec<u8>)]| {
            let customs = all.iter().filter(|(kind, _)| (0xe0..0xf0).contains(kind));
            customs.cloned().collect::<Vec<_>>()
        };
        prop_assert_eq!(customs(&read), customs(&fields));
        prop_assert_eq!(read.iter().filter(|(kind, _)| *kind == 5).count(), 1);
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
            Parsed::Header { told: None, .. } if is_local => {}
            Parsed::Header { length, told, .. } => {
                prop_assert_eq!(Some((length, told)), read_by_other(&bytes));
            }
            Parsed::Need(count) => prop_assert!(count > bytes.len() && count <= HEADER_MAX),
            Parsed::Wrong => {}
        }
    }
}
