//! Headers by hand; tests/proxy_headers.rs has another implementation beside this one.

use alloc::string::ToString;
use alloc::vec::Vec;
use std::vec;

use weir_proto::ids::ShardId;
use weir_proto::session::{SessionKey, SessionName};

use super::*;
use crate::base::clock::Now;
use crate::client_hello::ClientHello;

fn told(source: &str, destination: &str) -> Option<Told> {
    let [source, destination] = [source, destination].map(|it| it.parse().unwrap());
    Some(Told { source, destination })
}

fn header(length: usize, source: &str, destination: &str) -> Parsed<'static> {
    Parsed::Header { length, told: told(source, destination), fields: &[] }
}

fn of_sender(length: usize) -> Parsed<'static> {
    Parsed::Header { length, told: None, fields: &[] }
}

fn field(kind: u8, value: &[u8]) -> Vec<u8> {
    [&[kind], &u16::try_from(value.len()).unwrap().to_be_bytes()[..], value].concat()
}

fn v2(command: u8, family: u8, body: &[u8]) -> Vec<u8> {
    let length = u16::try_from(body.len()).unwrap().to_be_bytes();
    [&SIGNATURE[..], &[command, family], &length, body].concat()
}

const FOUR: [u8; 12] = [192, 0, 2, 7, 10, 0, 0, 1, 0x9c, 0x40, 1, 187];

#[test]
fn version_1() {
    let line = b"PROXY TCP4 192.0.2.7 10.0.0.1 40000 443\r\nGET /";
    assert_eq!(parse(line), header(41, "192.0.2.7:40000", "10.0.0.1:443"));
    let line = b"PROXY TCP6 2001:db8::7 2001:db8::1 40000 443\r\n";
    assert_eq!(parse(line), header(line.len(), "[2001:db8::7]:40000", "[2001:db8::1]:443"));
    let mapped = b"PROXY TCP6 ::ffff:192.0.2.7 ::1 1 2\r\n";
    assert_eq!(parse(mapped), header(mapped.len(), "192.0.2.7:1", "[::1]:2"));
    for unknown in ["PROXY UNKNOWN\r\n", "PROXY UNKNOWN ffff::1 x y z\r\n"] {
        assert_eq!(parse(unknown.as_bytes()), of_sender(unknown.len()), "{unknown:?}");
    }
    for wrong in [
        "GET / HTTP/1.1\r\n",
        "PROXY\r\n",
        "PROXY \r\n",
        "PROXY TCP5 192.0.2.7 10.0.0.1 1 2\r\n",
        "PROXY TCP4 192.0.2.7 10.0.0.1 1\r\n",
        "PROXY TCP4 192.0.2.7 10.0.0.1 1 2 3\r\n",
        "PROXY TCP4 192.0.2.7  10.0.0.1 1 2\r\n",
        "PROXY TCP4 192.0.2.7 10.0.0.1 +1 2\r\n",
        "PROXY TCP4 192.0.2.7 10.0.0.1 01 2\r\n",
        "PROXY TCP4 192.0.2.7 10.0.0.1 65536 2\r\n",
        "PROXY TCP4 2001:db8::7 2001:db8::1 1 2\r\n",
        "PROXY TCP6 192.0.2.7 10.0.0.1 1 2\r\n",
        "PROXY TCP4 192.0.2.256 10.0.0.1 1 2\r\n",
        "PROXY TCP4 192.0.2.7 10.0.0.1 1 2\n\r\n",
        "proxy TCP4 192.0.2.7 10.0.0.1 1 2\r\n",
    ] {
        assert_eq!(parse(wrong.as_bytes()), Parsed::Wrong, "{wrong:?}");
    }
    let long = [b"PROXY UNKNOWN ".as_slice(), &[b'x'; 200]].concat();
    assert_eq!(parse(&long[..106]), Parsed::Need(107));
    assert_eq!(parse(&long[..107]), Parsed::Wrong, "no end of line in 107 bytes");
}

#[test]
fn version_2() {
    let four = v2(0x21, 0x11, &FOUR);
    assert_eq!(parse(&four), header(28, "192.0.2.7:40000", "10.0.0.1:443"));
    let local = v2(0x20, 0x11, &[&FOUR[..], &[5, 0, 1, 9]].concat());
    assert_eq!(parse(&local), of_sender(32), "LOCAL says nothing of a client");
    assert_eq!(parse(&v2(0x20, 0, &[])), of_sender(16));
    let ips = [&[0x20; 31][..], &[7], &[0x20; 31], &[9], &[1, 2, 3, 4]].concat();
    let ips = [&ips[16..32], &ips[48..]].concat();
    let six = header(
        52,
        "[2020:2020:2020:2020:2020:2020:2020:2007]:258",
        "[2020:2020:2020:2020:2020:2020:2020:2009]:772",
    );
    assert_eq!(parse(&v2(0x21, 0x21, &ips)), six);
    let unix = v2(0x21, 0x31, &[&[b'/'; 216][..], &[5, 0, 1, 9]].concat());
    let fields = &[5, 0, 1, 9][..];
    assert_eq!(parse(&unix), Parsed::Header { length: 236, told: None, fields });
    let datagrams = v2(0x21, 0x12, &[&FOUR[..], fields].concat());
    assert_eq!(parse(&datagrams), of_sender(32));
    for (command, family, body) in [
        (0x11, 0x11, &FOUR[..]),
        (0x31, 0x11, &FOUR[..]),
        (0x22, 0x11, &FOUR[..]),
        (0x21, 0x41, &FOUR[..]),
        (0x21, 0x13, &FOUR[..]),
        (0x21, 0x11, &FOUR[..11]),
        (0x21, 0x21, &FOUR[..]),
    ] {
        let wrong = v2(command, family, body);
        assert_eq!(parse(&wrong), Parsed::Wrong, "{command:#x} {family:#x} {}", body.len());
    }
    let mut long = v2(0x21, 0x11, &FOUR);
    long[14..16].copy_from_slice(&4097_u16.to_be_bytes());
    assert_eq!(parse(&long), Parsed::Wrong, "it is not waited for");
    long[14..16].copy_from_slice(&4096_u16.to_be_bytes());
    assert_eq!(parse(&long), Parsed::Need(HEADER_MAX));
}

#[test]
fn fields_fill_the_header_and_the_checksum_is_right() {
    let with = |fields: &[u8]| v2(0x21, 0x11, &[&FOUR, fields].concat());
    let authority = [&[0x02, 0, 3][..], b"a.b"].concat();
    let told = told("192.0.2.7:40000", "10.0.0.1:443");
    assert_eq!(parse(&with(&authority)), Parsed::Header { length: 34, told, fields: &authority });
    for cut in [&authority[..1], &authority[..5]] {
        assert_eq!(parse(&with(cut)), Parsed::Wrong, "{cut:?}");
    }
    let blank = [authority.as_slice(), &[CRC32C, 0, 4, 0, 0, 0, 0]].concat();
    let mut whole = with(&blank);
    let at = whole.len() - 4;
    let crc = crc32c::without(&whole, at..at + 4);
    whole[at..].copy_from_slice(&crc.to_be_bytes());
    let is = Parsed::Header { length: whole.len(), told, fields: &whole[28..] };
    assert_eq!(parse(&whole), is);
    // The kind of the checksum's own field aside: without it there is none to be wrong.
    for byte in (16..whole.len()).filter(|byte| *byte != at - 3) {
        let mut bent = whole.clone();
        bent[byte] ^= 1;
        assert_eq!(parse(&bent), Parsed::Wrong, "byte {byte}");
    }
    let twice = with(&[&[CRC32C, 0, 4, 0, 0, 0, 0][..], &[CRC32C, 0, 4, 0, 0, 0, 0]].concat());
    assert_eq!(parse(&twice), Parsed::Wrong);
    assert_eq!(parse(&with(&[CRC32C, 0, 3, 0, 0, 0])), Parsed::Wrong);
}

/// Each look wants more than there is, and less than comes; with all of it the header is whole.
#[test]
fn a_header_may_come_byte_by_byte() {
    let line = b"PROXY TCP4 192.0.2.7 10.0.0.1 40000 443\r\n".to_vec();
    let fields = [&FOUR[..], &[0x04, 0, 2, 9, 9]].concat();
    for whole in [line, v2(0x21, 0x11, &fields), v2(0x20, 0, &[])] {
        let (mut have, mut looks) = (0, 0);
        while let Parsed::Need(count) = parse(&whole[..have]) {
            assert!(have < count && count <= whole.len(), "{have} of {}: {count}", whole.len());
            (have, looks) = (count, looks + 1);
        }
        assert_eq!(parse(&whole[..have]), header_of(&whole));
        assert!(looks <= 3 || whole[0] == b'P', "{looks} looks");
        for have in 0..whole.len() {
            assert!(matches!(parse(&whole[..have]), Parsed::Need(_)), "{have}");
        }
    }
}

fn header_of(whole: &[u8]) -> Parsed<'_> {
    let parsed = parse(whole);
    assert!(matches!(parsed, Parsed::Header { length, .. } if length == whole.len()), "{parsed:?}");
    parsed
}

#[test]
fn what_is_sent_is_what_is_read() {
    let addresses = ["192.0.2.7:40000", "10.0.0.1:443", "[2001:db8::7]:1", "[::1]:65535"];
    let addresses = addresses.map(|it| it.parse::<SocketAddr>().unwrap());
    for version in [ProxyVersion::V1, ProxyVersion::V2] {
        for source in addresses {
            for destination in addresses {
                let header = Header::of_client(version, source, destination);
                let length = header.bytes().len();
                let told = Told { source, destination };
                let is = Parsed::Header { length, told: Some(told), fields: &[] };
                assert_eq!(parse(header.bytes()), is, "{version:?} {source} {destination}");
            }
        }
        let local = Header::local(version);
        let length = local.bytes().len();
        assert_eq!(parse(local.bytes()), of_sender(length));
    }
    let line = Header::of_client(ProxyVersion::V1, addresses[0], addresses[1]);
    assert_eq!(line.bytes(), b"PROXY TCP4 192.0.2.7 10.0.0.1 40000 443\r\n");
    let longest: SocketAddr = "[ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff]:65535".parse().unwrap();
    let line = Header::of_client(ProxyVersion::V1, longest, longest);
    assert!(line.bytes().len() <= V1_MAX);
}

fn made() -> UniqueId {
    let key = SessionKey { slot: u32::MAX, generation: u32::MAX };
    let session = SessionName { shard: ShardId(u16::MAX), key };
    UniqueId { session, accepted_at: Now::END }
}

/// Sends a header with these fields and reads it back: kinds and values.
fn read_back(told: &[u8], hello: ClientHello<'_>) -> (Vec<(u8, Vec<u8>)>, u32) {
    let six = "[2001:db8::7]:40000".parse().unwrap();
    let PassedOn { fields, dropped } = passed_on(told, hello);
    let fields = fields.as_deref().unwrap_or(&[]);
    let sent = Header::of_client(ProxyVersion::V2, six, six).with_fields(made(), fields);
    assert!(sent.bytes().len() <= SENT_MAX);
    let Parsed::Header { length, fields, .. } = parse(sent.bytes()) else { panic!("{sent:?}") };
    assert_eq!(length, sent.bytes().len());
    let mut rest = fields;
    let next = || {
        let (header, behind) = rest.split_first_chunk::<3>()?;
        let (value, behind) =
            behind.split_at(usize::from(header[1]) * 256 + usize::from(header[2]));
        rest = behind;
        Some((header[0], value.to_vec()))
    };
    let mut all: Vec<(u8, Vec<u8>)> = core::iter::from_fn(next).collect();
    assert_eq!(all.pop().map(|(kind, value)| (kind, value.len())), Some((CRC32C, 4)));
    (all, dropped)
}

#[test]
fn a_backend_gets_the_fields_that_mean_something_behind_weir() {
    let own = made().to_string().into_bytes();
    assert_eq!(own, b"65535.4294967295.4294967295-ffffffffffffffff");
    let none = ClientHello::default();
    assert_eq!(read_back(&[], none), (vec![(UNIQUE_ID, own.clone())], 0));
    let came = [
        field(0xee, b"gateway"),
        field(CRC32C, &[0; 4]),
        field(0x30, b"netns"),
        field(0x04, &[0; 3]),
        field(0x02, b"a.example"),
        field(0x02, b"b.example"),
        field(0x20, &[1, 0, 0, 0, 0, 0x21, 0, 7, b'T', b'L', b'S', b'v', b'1', b'.', b'3']),
        field(0x01, b"h2"),
        field(UNIQUE_ID, b"theirs"),
        field(0xe0, b""),
        field(0xf0, b"experiment"),
    ];
    let (all, dropped) = read_back(&came.concat(), none);
    let kinds: Vec<u8> = all.iter().map(|(kind, _)| *kind).collect();
    assert_eq!((kinds, dropped), (vec![UNIQUE_ID, 0x02, 0x01, 0x20, 0xee, 0xe0], 0));
    assert_eq!(
        (&all[0].1[..], &all[1].1[..], all[3].1.len()),
        (&b"theirs"[..], &b"a.example"[..], 15)
    );
    // A value that is none of its kind is as if it were not there.
    for wrong in [field(UNIQUE_ID, &[]), field(UNIQUE_ID, &[9; 129]), field(0x20, &[0; 4])] {
        assert_eq!(read_back(&wrong, none), (vec![(UNIQUE_ID, own.clone())], 0));
    }
}

#[test]
fn a_hello_says_what_no_header_has() {
    let hello = |alpn| ClientHello { server_name: Some("db.example"), alpn };
    let values = |told: &[u8], alpn| {
        let (all, dropped) = read_back(told, hello(alpn));
        assert_eq!(dropped, 0);
        all[1..].to_vec()
    };
    let name = (0x02, b"db.example".to_vec());
    assert_eq!(values(&[], b"\x02h2"), [name.clone(), (0x01, b"h2".to_vec())]);
    assert_eq!(values(&[], b"\x02h2\x08http/1.1"), [name], "its server chooses");
    let told = [field(0x02, b"a"), field(0x01, b"h3")].concat();
    assert_eq!(values(&told, b"\x02h2"), [(0x02, b"a".to_vec()), (0x01, b"h3".to_vec())]);
}

/// A field that was picked once is picked again, so a hello may be added later.
#[test]
fn what_does_not_fit_is_left_out_whole() {
    let none = ClientHello::default();
    let custom = |kind, count| field(kind, &std::vec![7; count]);
    // 536 less 16 + 36 + 7 and the longest unique id of weir's.
    let most = 430 - FIELD_HEADER;
    let told = [custom(0xe0, most + 1), custom(0xe1, 5), custom(0xe2, most - 8)].concat();
    let (all, dropped) = read_back(&told, none);
    let kinds: Vec<u8> = all.iter().map(|(kind, _)| *kind).collect();
    assert_eq!((kinds, dropped), (vec![UNIQUE_ID, 0xe1, 0xe2], 1));
    let once = passed_on(&told, none).fields.unwrap();
    assert_eq!(passed_on(&once, none), PassedOn { fields: Some(once.clone()), dropped: 0 });
    let hello = ClientHello { server_name: Some("db.example"), alpn: b"" };
    let later = passed_on(&once, hello);
    let kinds: Vec<u8> = Fields(later.fields.as_deref().unwrap()).map(|it| it.kind).collect();
    assert_eq!((kinds, later.dropped), (vec![0x02, 0xe1], 1), "names come first");
    let unique = [field(UNIQUE_ID, &[b'u'; 128]), custom(0x20, 477 - 131 - 3)].concat();
    assert_eq!(read_back(&unique, none).1, 0, "it is full");
}

#[test]
fn version_1_has_no_fields() {
    let one = "192.0.2.7:1".parse().unwrap();
    let line = Header::of_client(ProxyVersion::V1, one, one);
    assert_eq!(line.with_fields(made(), &field(0x02, b"a")).bytes(), line.bytes());
}
