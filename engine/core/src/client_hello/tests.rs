//! Hellos built by hand: cut at every byte, in several records, and wrong in each part.

use std::vec::Vec;

use super::*;

fn counted8(bytes: &[u8]) -> Vec<u8> {
    [&[u8::try_from(bytes.len()).unwrap()], bytes].concat()
}

fn counted16(bytes: &[u8]) -> Vec<u8> {
    [&u16::try_from(bytes.len()).unwrap().to_be_bytes(), bytes].concat()
}

fn extension(kind: u16, value: &[u8]) -> Vec<u8> {
    [&kind.to_be_bytes()[..], &counted16(value)].concat()
}

fn named(name: &str) -> Vec<u8> {
    extension(SERVER_NAME, &counted16(&[&[HOST_NAME], &counted16(name.as_bytes())[..]].concat()))
}

fn protocols_of(protocols: &[&str]) -> Vec<u8> {
    let list: Vec<u8> = protocols.iter().flat_map(|it| counted8(it.as_bytes())).collect();
    extension(ALPN, &counted16(&list))
}

/// A handshake message with these extensions.
fn hello(extensions: &[Vec<u8>]) -> Vec<u8> {
    let body = [
        &[3, 3][..],
        &[7; 32],
        &counted8(&[9; 32]),
        &counted16(&[0x13, 0x01]),
        &counted8(&[0]),
        &counted16(&extensions.concat()),
    ]
    .concat();
    let length = u32::try_from(body.len()).unwrap().to_be_bytes();
    [&[CLIENT_HELLO], &length[1..], &body].concat()
}

/// The message in records of at most `most` bytes.
fn records(message: &[u8], most: usize) -> Vec<u8> {
    let record = |part: &[u8]| [&[HANDSHAKE, 3, 1][..], &counted16(part)].concat();
    message.chunks(most).flat_map(record).collect()
}

/// A post-quantum key share: more than a segment.
fn large() -> Vec<u8> {
    extension(51, &[0x5a; 1216 + 40])
}

fn whole() -> Vec<u8> {
    hello(&[large(), protocols_of(&["h2", "http/1.1"]), named("db.example.com")])
}

#[track_caller]
fn is_read(bytes: &[u8]) {
    let mut bytes = bytes.to_vec();
    let Looked::Hello(hello) = parse(&mut bytes) else { panic!("no hello") };
    assert_eq!(hello.server_name, Some("db.example.com"));
    let alpn: Vec<&[u8]> = hello.alpn().collect();
    assert_eq!(alpn, [&b"h2"[..], b"http/1.1"]);
}

#[test]
fn a_hello_is_read_however_it_is_spread_over_records() {
    for most in [1, 2, 3, 4, 5, 100, 1_000, 16_384] {
        let bytes = records(&whole(), most);
        is_read(&bytes);
        // What follows means nothing.
        is_read(&[&bytes[..], b"\x14\x03\x03\0\x01\x01"].concat());
    }
}

#[test]
fn cut_at_every_byte_it_asks_for_more_but_never_for_more_than_there_is() {
    for most in [1, 3, 700, 16_384] {
        let bytes = records(&whole(), most);
        for cut in 0..bytes.len() {
            match parse(&mut bytes[..cut].to_vec()) {
                Looked::Need(wanted) => {
                    assert!(wanted > cut && wanted <= bytes.len(), "{wanted} at {cut}");
                }
                other => panic!("{other:?} at {cut}"),
            }
        }
    }
}

#[test]
fn looks_are_few_however_small_the_records_are() {
    for most in [1, 2, 10, 16_384] {
        let bytes = records(&hello(&[extension(51, &[0; 2_000]), named("a")]), most);
        let (mut have, mut looks) = (0, 0);
        while let Looked::Need(wanted) = parse(&mut bytes[..have].to_vec()) {
            (have, looks) = (wanted, looks + 1);
        }
        assert_eq!(have, bytes.len());
        assert!(looks <= 50, "{looks} looks at records of {most} bytes");
    }
}

#[test]
fn what_is_no_hello_is_told_by_its_first_bytes() {
    assert_eq!(parse(&mut []), Looked::Need(1));
    for other in [&b"G"[..], b"GET / HTTP/1.1", b"\x16\x02", b"\x15\x03\x01", b"SSH-2.0-", b"\0"] {
        assert_eq!(parse(&mut other.to_vec()), Looked::Other, "{other:?}");
    }
    // A record without a byte, one that is too long, another message, one that is too long.
    for wrong in [
        &b"\x16\x03\x01\0\0"[..],
        b"\x16\x03\x01\x40\x01",
        b"\x16\x03\x01\0\x04\x02",
        b"\x16\x03\x01\0\x04\x01\0\x40\0",
    ] {
        assert_eq!(parse(&mut wrong.to_vec()), Looked::Other, "{wrong:?}");
    }
}

#[test]
fn a_hello_that_is_malformed_is_none() {
    let wrong = |extensions: &[Vec<u8>]| {
        let mut bytes = records(&hello(extensions), 16_384);
        assert_eq!(parse(&mut bytes), Looked::Other, "{extensions:?}");
    };
    wrong(&[named("a"), named("b")]);
    wrong(&[protocols_of(&["h2"]), protocols_of(&["h2"])]);
    wrong(&[named("")]);
    wrong(&[named("a b")]);
    wrong(&[named(&"a".repeat(254))]);
    wrong(&[extension(SERVER_NAME, b"\0\x05\0\0\x09ab")]);
    wrong(&[extension(ALPN, b"\0\x02\0\0")]);
    wrong(&[b"\0\0\0\x09".to_vec()]);
    // Cut within, with lengths that say so.
    let message = whole();
    for length in 0..message.len() - MESSAGE_HEADER {
        let high = u32::try_from(length).unwrap().to_be_bytes();
        let cut = [&[CLIENT_HELLO], &high[1..], &message[4..4 + length]].concat();
        // Only the end of the compressions may be the end of all.
        let is_old = length == 2 + 32 + 33 + 4 + 2;
        let looked = parse(&mut records(&cut, 16_384)) == Looked::Other;
        assert_eq!(looked, !is_old, "{length}");
    }
}

#[test]
fn a_hello_may_say_nothing() {
    for extensions in [&[][..], &[extension(SERVER_NAME, b"\0\0")], &[large()]] {
        let mut bytes = records(&hello(extensions), 16_384);
        let Looked::Hello(hello) = parse(&mut bytes) else { panic!("{extensions:?}") };
        assert_eq!((hello.server_name, hello.alpn().count()), (None, 0));
    }
}
