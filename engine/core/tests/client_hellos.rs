//! Hellos of real clients, cut at every byte and spread over records, and made ones beside another
//! parser (the crate `tls-parser`).
//!
//! The files in `hellos` are the first bytes that these programs of Debian 12 sent to a socket on
//! loopback: `openssl s_client` 3.0.19 (with `-servername db.example.com -alpn postgresql`; with
//! `-tls1_2`; with `-noservername`), curl 7.88.1 with OpenSSL 3.0.19 (`https://db.example.com`) and
//! two connections of Chromium 156.0.8078.108 (the same page), whose keys are post-quantum and
//! whose extensions come in any order.

use proptest::prelude::*;
use tls_parser::{SNIType, TlsExtension, TlsMessage, TlsMessageHandshake};
use weir_core::client_hello::{HELLO_MAX, Looked, parse};

struct Real {
    name: &'static str,
    bytes: &'static [u8],
    server_name: Option<&'static str>,
    alpn: &'static [&'static str],
}

const NAME: Option<&str> = Some("db.example.com");
const WEB: &[&str] = &["h2", "http/1.1"];

const REAL: [Real; 6] = [
    Real {
        name: "openssl",
        bytes: include_bytes!("hellos/openssl-3.0.bin"),
        server_name: NAME,
        alpn: &["postgresql"],
    },
    Real {
        name: "openssl -tls1_2",
        bytes: include_bytes!("hellos/openssl-3.0-tls1.2.bin"),
        server_name: NAME,
        alpn: &[],
    },
    Real {
        name: "openssl -noservername",
        bytes: include_bytes!("hellos/openssl-3.0-no-name.bin"),
        server_name: None,
        alpn: &[],
    },
    Real {
        name: "curl",
        bytes: include_bytes!("hellos/curl-7.88.bin"),
        server_name: NAME,
        alpn: WEB,
    },
    Real {
        name: "chromium",
        bytes: include_bytes!("hellos/chromium-156-1.bin"),
        server_name: NAME,
        alpn: WEB,
    },
    Real {
        name: "chromium, again",
        bytes: include_bytes!("hellos/chromium-156-2.bin"),
        server_name: NAME,
        alpn: WEB,
    },
];

/// Name and protocols as weir reads them; `None` if it reads none.
fn read(bytes: &[u8]) -> Option<(Option<String>, Vec<Vec<u8>>)> {
    let mut bytes = bytes.to_vec();
    match parse(&mut bytes) {
        Looked::Hello(hello) => {
            Some((hello.server_name.map(str::to_owned), hello.alpn().map(<[u8]>::to_vec).collect()))
        }
        Looked::Need(_) | Looked::Other => None,
    }
}

/// The same as the other parser reads them.
fn read_by_other(message: &[u8]) -> Option<(Option<String>, Vec<Vec<u8>>)> {
    let (_, parsed) = tls_parser::parse_tls_message_handshake(message).ok()?;
    let TlsMessage::Handshake(TlsMessageHandshake::ClientHello(hello)) = parsed else {
        return None;
    };
    let (mut name, mut alpn) = (None, Vec::new());
    let (rest, extensions) =
        tls_parser::parse_tls_client_hello_extensions(hello.ext.unwrap_or_default()).ok()?;
    // It stops at what it does not understand, such as a key share that is damaged.
    if !rest.is_empty() {
        return None;
    }
    for extension in extensions {
        match extension {
            TlsExtension::SNI(names) => {
                let host = names.iter().find(|(kind, _)| *kind == SNIType::HostName);
                name = host.map(|(_, name)| String::from_utf8_lossy(name).into());
            }
            TlsExtension::ALPN(list) => alpn = list.into_iter().map(<[u8]>::to_vec).collect(),
            _ => {}
        }
    }
    Some((name, alpn))
}

/// The handshake message of a hello that is in one record.
fn message(bytes: &[u8]) -> &[u8] {
    let length = usize::from(u16::from_be_bytes([bytes[3], bytes[4]]));
    &bytes[5..5 + length]
}

fn records(message: &[u8], most: usize) -> Vec<u8> {
    let record = |part: &[u8]| {
        let length = u16::try_from(part.len()).unwrap().to_be_bytes();
        [&[22, 3, 1][..], &length, part].concat()
    };
    message.chunks(most).flat_map(record).collect()
}

#[test]
fn hellos_of_real_clients_are_read_whole_and_never_sooner() {
    for Real { name, bytes, server_name, alpn } in REAL {
        let expected = Some((
            server_name.map(str::to_owned),
            alpn.iter().map(|it| it.as_bytes().to_vec()).collect(),
        ));
        assert_eq!(read(bytes), expected, "{name}");
        assert_eq!(read_by_other(message(bytes)), expected, "{name}: the other parser");
        for most in [1, 7, 512, 1400] {
            let spread = records(message(bytes), most);
            if spread.len() <= HELLO_MAX {
                assert_eq!(read(&spread), expected, "{name} in records of {most} bytes");
            }
        }
        for cut in 0..bytes.len() {
            match parse(&mut bytes[..cut].to_vec()) {
                Looked::Need(count) => assert!(count > cut && count <= bytes.len(), "{name} {cut}"),
                other => panic!("{name} cut at {cut}: {other:?}"),
            }
        }
    }
}

fn counted(bytes: &[u8]) -> Vec<u8> {
    [&u16::try_from(bytes.len()).unwrap().to_be_bytes()[..], bytes].concat()
}

/// A message with these extensions.
fn hello(extensions: &[(u16, Vec<u8>)]) -> Vec<u8> {
    let extensions: Vec<u8> = extensions
        .iter()
        .flat_map(|(kind, value)| [&kind.to_be_bytes()[..], &counted(value)].concat())
        .collect();
    let body = [&[3, 3][..], &[5; 32], &[0], &counted(&[0x13, 1]), &[1, 0], &counted(&extensions)];
    let body = body.concat();
    let length = u32::try_from(body.len()).unwrap().to_be_bytes();
    [&[1], &length[1..], &body[..]].concat()
}

fn extensions() -> impl Strategy<Value = Vec<(u16, Vec<u8>)>> {
    let name = "[a-z0-9.-]{1,40}"
        .prop_map(|name: String| (0, counted(&[&[0][..], &counted(name.as_bytes())].concat())));
    let alpn = prop::collection::vec("[a-z0-9/.]{1,12}", 1..4).prop_map(|list: Vec<String>| {
        let list = list
            .iter()
            .flat_map(|it| [&[u8::try_from(it.len()).unwrap()][..], it.as_bytes()].concat());
        (16, counted(&list.collect::<Vec<u8>>()))
    });
    // Kinds that mean nothing to either parser.
    let other = (0x7a00_u16..0x7a40, prop::collection::vec(any::<u8>(), 0..1500));
    let others = prop::collection::vec(other, 0..4);
    (prop::option::of(name), prop::option::of(alpn), others)
        .prop_map(|(name, alpn, others)| name.into_iter().chain(alpn).chain(others).collect())
        .prop_shuffle()
}

proptest! {
    #[test]
    fn made_hellos_are_read_as_by_another_parser(
        extensions in extensions(), most in 1_usize..4000
    ) {
        let message = hello(&extensions);
        let spread = records(&message, most);
        prop_assume!(spread.len() <= HELLO_MAX);
        prop_assert_eq!(read(&spread), read_by_other(&message));
    }

    #[test]
    fn what_weir_reads_of_damaged_hellos_the_other_parser_reads_too(
        which in 0_usize..REAL.len(),
        damage in prop::collection::vec((any::<usize>(), any::<u8>()), 1..4),
    ) {
        let mut bytes = REAL[which].bytes.to_vec();
        // The header of the record stays: the other parser takes a message.
        for (place, byte) in damage {
            let place = 5 + place % (bytes.len() - 5);
            bytes[place] = byte;
        }
        if let Some(hello) = read(&bytes) {
            let length = 4 + (usize::from(bytes[6]) << 16) + (usize::from(bytes[7]) << 8)
                + usize::from(bytes[8]);
            if let Some(other) = read_by_other(&bytes[5..5 + length]) {
                prop_assert_eq!(hello, other);
            }
        }
    }
}
