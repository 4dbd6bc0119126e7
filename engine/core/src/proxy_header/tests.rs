//! Headers by hand; tests/proxy_headers.rs has another implementation beside this one.

use alloc::vec::Vec;

use super::*;

fn header(length: usize, source: &str) -> Parsed {
    Parsed::Header { length, source: Some(source.parse().unwrap()) }
}

fn v2(command: u8, family: u8, body: &[u8]) -> Vec<u8> {
    let length = u16::try_from(body.len()).unwrap().to_be_bytes();
    [&SIGNATURE[..], &[command, family], &length, body].concat()
}

const FOUR: [u8; 12] = [192, 0, 2, 7, 10, 0, 0, 1, 0x9c, 0x40, 1, 187];

#[test]
fn version_1() {
    let line = b"PROXY TCP4 192.0.2.7 10.0.0.1 40000 443\r\nGET /";
    assert_eq!(parse(line), header(41, "192.0.2.7:40000"));
    let line = b"PROXY TCP6 2001:db8::7 2001:db8::1 40000 443\r\n";
    assert_eq!(parse(line), header(line.len(), "[2001:db8::7]:40000"));
    let mapped = b"PROXY TCP6 ::ffff:192.0.2.7 ::1 1 2\r\n";
    assert_eq!(parse(mapped), header(mapped.len(), "192.0.2.7:1"));
    for unknown in ["PROXY UNKNOWN\r\n", "PROXY UNKNOWN ffff::1 x y z\r\n"] {
        let is = Parsed::Header { length: unknown.len(), source: None };
        assert_eq!(parse(unknown.as_bytes()), is, "{unknown:?}");
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
    assert_eq!(parse(&four), header(28, "192.0.2.7:40000"));
    let local = Parsed::Header { length: 28, source: None };
    assert_eq!(parse(&v2(0x20, 0x11, &FOUR)), local, "LOCAL says nothing of a client");
    assert_eq!(parse(&v2(0x20, 0, &[])), Parsed::Header { length: 16, source: None });
    let unix = v2(0x21, 0x31, &[b'/'; 216]);
    assert_eq!(parse(&unix), Parsed::Header { length: 232, source: None });
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
    assert_eq!(parse(&with(&authority)), header(34, "192.0.2.7:40000"));
    for cut in [&authority[..1], &authority[..5]] {
        assert_eq!(parse(&with(cut)), Parsed::Wrong, "{cut:?}");
    }
    let blank = [authority.as_slice(), &[CRC32C, 0, 4, 0, 0, 0, 0]].concat();
    let mut whole = with(&blank);
    let at = whole.len() - 4;
    let crc = crc32c::without(&whole, at..at + 4);
    whole[at..].copy_from_slice(&crc.to_be_bytes());
    assert_eq!(parse(&whole), header(whole.len(), "192.0.2.7:40000"));
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

fn header_of(whole: &[u8]) -> Parsed {
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
                let is = Parsed::Header { length, source: Some(source) };
                assert_eq!(parse(header.bytes()), is, "{version:?} {source} {destination}");
            }
        }
        let local = Header::local(version);
        let length = local.bytes().len();
        assert_eq!(parse(local.bytes()), Parsed::Header { length, source: None });
    }
    let line = Header::of_client(ProxyVersion::V1, addresses[0], addresses[1]);
    assert_eq!(line.bytes(), b"PROXY TCP4 192.0.2.7 10.0.0.1 40000 443\r\n");
    let longest: SocketAddr = "[ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff]:65535".parse().unwrap();
    let line = Header::of_client(ProxyVersion::V1, longest, longest);
    assert!(line.bytes().len() <= V1_MAX);
}
