//! F5: the first bytes of a connection. No panic; more is asked for than is there; what follows a
//! header changes nothing; a header that weir sends is one.

use std::net::SocketAddr;

use weir_core::proxy_header::{HEADER_MAX, Header, Parsed, ProxyVersion, parse};

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
        Parsed::Header { length, source } => {
            assert!(length <= bytes.len() && length <= HEADER_MAX);
            assert_eq!(parse(&bytes[..length]), whole, "what follows changes nothing");
            for cut in 0..length {
                assert!(matches!(parse(&bytes[..cut]), Parsed::Need(_)), "cut at {cut}");
            }
            let other = SocketAddr::from(([192, 0, 2, 1], 443));
            for version in ProxyVersion::ALL {
                let sent = source.map(|source| Header::of_client(version, source, other));
                let sent = sent.unwrap_or_else(|| Header::local(version));
                let length = sent.bytes().len();
                assert_eq!(parse(sent.bytes()), Parsed::Header { length, source });
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
        Parsed::Header { source, .. } => format!("{:?}", source.map(|it| it.is_ipv4())),
        Parsed::Wrong => format!("wrong {family:?}"),
    })
}
