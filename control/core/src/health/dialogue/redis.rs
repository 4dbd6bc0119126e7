//! `PING` as an inline command of Redis (RESP, redis.io/docs/reference/protocol-spec).

use super::{Heard, Move, excerpt};

pub(super) const PING: &[u8] = b"PING\r\n";

/// A server that asks for a password works; one that loads its data, or has lost its master, does
/// not.
pub(super) fn step(input: &mut Heard) -> Option<Move> {
    let line = input.line()?;
    Some(match line.as_slice() {
        b"+PONG" => Move::good(b""),
        line if line.starts_with(b"-NOAUTH ") => Move::good(b""),
        [b'-', error @ ..] => Move::bad(excerpt(error)),
        line => Move::unexpected(line),
    })
}
