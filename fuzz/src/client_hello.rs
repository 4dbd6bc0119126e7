//! F12: the first bytes of a client of TLS. No panic; more is asked for than is there; what follows
//! a hello changes nothing, and no part of one is one.

use weir_core::client_hello::{HELLO_MAX, Looked, parse};

use crate::feature;

/// Parts of hellos.
pub const WORDS: &[&[u8]] = &[
    b"\x16\x03\x01",
    b"\x16\x03\x03\0\x01",
    b"\x01\0\0",
    b"\0\0\0\x0c\0\x0a\0\0\x07a.b.org",
    b"\0\x10\0\x05\0\x03\x02h2",
    b"\x03\x03",
    b"\0\x02\x13\x01\x01\0",
];

/// Reads the bytes as a hello, whole and cut.
///
/// # Panics
/// If a rule is broken.
#[must_use]
pub fn run(bytes: &[u8]) -> u64 {
    let mut own = bytes.to_vec();
    let looked = parse(&mut own);
    match looked {
        Looked::Need(count) => {
            assert!(count > bytes.len() && count <= HELLO_MAX, "{count} of {}", bytes.len());
        }
        Looked::Hello(hello) => {
            let mut longer = [bytes, b"more"].concat();
            assert_eq!(parse(&mut longer), looked, "what follows changes nothing");
            // From the first byte on there is one length at which it is whole.
            let is_whole =
                |cut: usize| !matches!(parse(&mut bytes[..cut].to_vec()), Looked::Need(_));
            let first = (0..=bytes.len()).find(|cut| is_whole(*cut)).unwrap_or_default();
            assert_eq!(parse(&mut bytes[..first].to_vec()), looked, "whole at {first}");
            assert!(hello.server_name.is_none_or(|name| name.is_ascii() && !name.is_empty()));
            assert!(hello.alpn().all(|protocol| !protocol.is_empty()));
        }
        Looked::Other => {
            let mut longer = [bytes, b"\x16\x03\x01"].concat();
            assert_eq!(parse(&mut longer), Looked::Other, "no byte makes it right");
        }
    }
    feature(&match looked {
        Looked::Need(count) => format!("need {}", count.min(60)),
        Looked::Hello(hello) => {
            format!("{} {}", hello.server_name.is_some(), hello.alpn().count().min(3))
        }
        Looked::Other => format!("other {:?}", bytes.get(5)),
    })
}
