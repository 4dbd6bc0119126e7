//! F5: the first bytes of a connection. No panic; more is asked for than is there; what follows a
//! header changes nothing; a header that weir sends is one.

use weir_core::base::clock::Now;
use weir_core::client_hello::ClientHello;
use weir_core::proxy_header::{
    HEADER_MAX, Header, Parsed, ProxyVersion, Told, UniqueId, parse, passed_on,
};
use weir_proto::ids::ShardId;
use weir_proto::session::{SessionKey, SessionName};

use crate::feature;

/// Parts of headers.
pub const WORDS: &[&[u8]] = &[
    b"PROXY TCP4 ",
    b"PROXY TCP6 ",
    b"PROXY UNKNOWN",
    b"192.0.2.7 10.0.0.1 40000 443\r\n",
    b"::1 ::ffff:10.0.0.1 1 65535\r\n",
    b"\r\n\r\n\0\r\nQUIT\n",
    b"\x21\x11\0\x0c",
    b"\x21\x21\0\x24",
    b"\x20\0\0\0",
    b"\x03\0\x04",
    b"\x05\0\x04abcd",
    b"\x02\0\x03a.b",
    b"\x20\0\x05\x01\0\0\0\0",
    b"\xe0\x01\0",
];

/// Reads the bytes as a header, whole and cut.
///
/// # Panics
/// If a rule is broken.
#[must_use]
pub fn run(bytes: &[u8]) -> u64 {
    let whole = parse(bytes);
    match whole {
        Parsed::Need(count) => {
            assert!(count > bytes.len() && count <= HEADER_MAX, "{count} of {}", bytes.len());
        }
        Parsed::Header { length, told, fields } => {
            assert!(length <= bytes.len() && length <= HEADER_MAX);
            assert_eq!(parse(&bytes[..length]), whole, "what follows changes nothing");
            for cut in 0..length {
                assert!(matches!(parse(&bytes[..cut]), Parsed::Need(_)), "cut at {cut}");
            }
            let key = SessionKey { slot: 1, generation: 2 };
            let session = SessionName { shard: ShardId(0), key };
            let made = UniqueId { session, accepted_at: Now::from_nanos(7) };
            let passed = passed_on(fields, ClientHello::default());
            let again = passed_on(passed.fields.as_deref().unwrap_or(&[]), ClientHello::default());
            assert_eq!((again.fields, again.dropped), (passed.fields.clone(), 0));
            for version in ProxyVersion::ALL {
                let sent = told.map(|it| Header::of_client(version, it.source, it.destination));
                let sent = sent.unwrap_or_else(|| Header::local(version));
                is_sent_as_told(&sent, told);
                if told.is_some() {
                    let passed = passed.fields.as_deref().unwrap_or(&[]);
                    is_sent_as_told(&sent.with_fields(made, passed), told);
                }
            }
        }
        Parsed::Wrong => {
            let longer = [bytes, b"\r\n"].concat();
            assert_eq!(parse(&longer), Parsed::Wrong, "no byte makes it right");
        }
    }
    let family = bytes.get(..14).map(|start| format!("{:?}", &start[12..]));
    feature(&match whole {
        Parsed::Need(count) => format!("need {}", count.min(40)),
        Parsed::Header { told, fields, .. } => {
            let kinds = fields.first().copied();
            format!("{:?} {kinds:?}", told.map(|it| it.source.is_ipv4()))
        }
        Parsed::Wrong => format!("wrong {family:?}"),
    })
}

/// The header is one, of 536 bytes at most, and tells of this client.
fn is_sent_as_told(sent: &Header, expected: Option<Told>) {
    let whole = sent.bytes().len();
    match parse(sent.bytes()) {
        Parsed::Header { length, told, .. } => {
            // A family is one for both.
            let ports = |it: Option<Told>| it.map(|it| (it.source.port(), it.destination.port()));
            assert_eq!((length, ports(told)), (whole, ports(expected)));
            let source = |it: Option<Told>| it.map(|it| it.source);
            assert_eq!(source(told), source(expected));
        }
        other => panic!("{other:?}"),
    }
    assert!(whole <= 536);
}
