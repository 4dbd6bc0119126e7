//! A ClientHello, which any server of TLS 1.2 or 1.3 answers (RFC 8446, 4.1; RFC 5246, 7.4.1). No
//! key is sent along, so that a server of 1.3 asks for one and has nothing to compute.

use super::{Heard, Move};

pub(super) fn step(input: &Heard) -> Option<Move> {
    let bytes = input.bytes.as_slice();
    let fits = |index: usize, byte: u8| match index {
        0 => byte == HANDSHAKE || byte == ALERT,
        1 => byte == 3,
        2 => byte <= 4,
        _ => true,
    };
    if !bytes.iter().take(3).enumerate().all(|(index, byte)| fits(index, *byte)) {
        return Some(Move::unexpected(bytes));
    }
    let [kind, _, _, high, low, first, ..] = *bytes else { return None };
    let length = u16::from_be_bytes([high, low]);
    let is_answer = match kind {
        // Whatever it did not like: a server that says so works.
        ALERT => length == 2,
        _ => (4..=RECORD_MAX).contains(&length) && first == SERVER_HELLO,
    };
    Some(if is_answer { Move::good(CLOSE_NOTIFY) } else { Move::unexpected(bytes) })
}

/// A ClientHello of TLS 1.2 and 1.3 for the server of that name.
pub(in crate::health) fn client_hello(name: Option<&str>) -> Vec<u8> {
    let mut extensions = Vec::new();
    if let Some(name) = name {
        let name = long(name.as_bytes());
        extension(&mut extensions, 0, &long(&[&[0][..], &name].concat()));
    }
    // supported_groups: x25519, secp256r1, secp384r1.
    extension(&mut extensions, 10, &long(b"\x00\x1d\x00\x17\x00\x18"));
    // ec_point_formats: uncompressed.
    extension(&mut extensions, 11, b"\x01\x00");
    // signature_algorithms: ECDSA, PSS, Ed25519 and PKCS #1, with SHA-256 to SHA-512.
    let algorithms =
        b"\x04\x03\x05\x03\x06\x03\x08\x04\x08\x05\x08\x06\x08\x07\x04\x01\x05\x01\x06\x01";
    extension(&mut extensions, 13, &long(algorithms));
    // supported_versions: 1.3, 1.2.
    extension(&mut extensions, 43, b"\x04\x03\x04\x03\x03");
    // key_share: none, so that the server asks for one (HelloRetryRequest).
    extension(&mut extensions, 51, &long(b""));
    let mut body = b"\x03\x03".to_vec();
    body.extend(RANDOM);
    body.push(0); // no session to resume
    body.extend(long(CIPHERS));
    body.extend(b"\x01\x00"); // no compression
    body.extend(long(&extensions));
    let handshake = [&b"\x01\x00"[..], &long(&body)].concat();
    [&b"\x16\x03\x01"[..], &long(&handshake)].concat()
}

/// `bytes` behind their length in two bytes.
fn long(bytes: &[u8]) -> Vec<u8> {
    let length = u16::try_from(bytes.len()).unwrap_or(u16::MAX);
    [&length.to_be_bytes()[..], bytes].concat()
}

fn extension(all: &mut Vec<u8>, kind: u16, body: &[u8]) {
    all.extend(kind.to_be_bytes());
    all.extend(long(body));
}

const HANDSHAKE: u8 = 22;
const ALERT: u8 = 21;
const SERVER_HELLO: u8 = 2;
/// The longest record (RFC 8446, 5.1), in bytes.
const RECORD_MAX: u16 = 1 << 14;

/// The client goes and says so: no server takes that for an attack.
const CLOSE_NOTIFY: &[u8] = b"\x15\x03\x03\x00\x02\x01\x00";

/// No handshake is finished, so no secret follows from it; who looks at the wire sees who asks.
const RANDOM: &[u8; 32] = b"weir checks whether you do TLS..";

/// TLS 1.3's three, then ECDHE and RSA with AES-GCM and ChaCha20, and two of CBC for old servers.
const CIPHERS: &[u8] = b"\x13\x01\x13\x02\x13\x03\xc0\x2b\xc0\x2f\xc0\x2c\xc0\x30\xcc\xa9\xcc\xa8\
    \x00\x9c\x00\x9d\xc0\x13\xc0\x14\x00\x2f\x00\x35";
