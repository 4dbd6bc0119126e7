//! `PING` as an inline command of Redis (RESP, redis.io/docs/reference/protocol-spec).

use super::{Heard, Move, excerpt};

#[derive(Debug, Default)]
pub(super) struct RedisTalk {
    is_sent: bool,
}

impl RedisTalk {
    /// A server that asks for a password works; one that loads its data, or has lost its master,
    /// does not.
    pub(super) fn step(&mut self, input: &mut Heard) -> Option<Move> {
        if !core::mem::replace(&mut self.is_sent, true) {
            return Some(Move::Send(b"PING\r\n".to_vec()));
        }
        let line = input.line()?;
        Some(match line.as_slice() {
            b"+PONG" => Move::good(b""),
            line if line.starts_with(b"-NOAUTH ") => Move::good(b""),
            [b'-', error @ ..] => Move::bad(excerpt(error)),
            line => Move::unexpected(line),
        })
    }
}
