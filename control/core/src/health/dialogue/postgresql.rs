//! The beginning of a session of PostgreSQL (Frontend/Backend Protocol, Start-up): the server's
//! answer to a startup packet says whether it takes sessions. A client that leaves when it is asked
//! for a password is not in its log, and one that was let in says goodbye.
//!
//! A server that asks for no password says so before it has looked at the role, the database and
//! its limits of connections: only ReadyForQuery says that it takes the session.

use super::{Heard, Move, excerpt};

#[derive(Debug, Default)]
pub(super) struct PostgresqlTalk {
    is_let_in: bool,
}

/// The startup packet of `user` (protocol 3.0).
pub(in crate::health) fn startup(user: &str) -> Vec<u8> {
    let mut packet = b"\0\x03\0\0".to_vec();
    // Another name of a database than the user's own, which need not have one.
    for word in ["user", user, "database", "postgres", "application_name", "weir"] {
        packet.extend_from_slice(word.as_bytes());
        packet.push(0);
    }
    packet.push(0);
    let length = u32::try_from(packet.len() + 4).unwrap_or(u32::MAX);
    [&length.to_be_bytes()[..], &packet].concat()
}

impl PostgresqlTalk {
    pub(super) fn step(&mut self, input: &mut Heard) -> Option<Move> {
        loop {
            let bytes = &input.bytes;
            let (kind, length) = match bytes.as_slice() {
                [] => return None,
                [kind, ..] if !self.may_say(*kind) => return Some(Move::unexpected(bytes)),
                [kind, a, b, c, d, ..] => (*kind, u32::from_be_bytes([*a, *b, *c, *d])),
                _ => return None,
            };
            let length = usize::try_from(length).unwrap_or(usize::MAX);
            if !(4..=MESSAGE_MAX).contains(&length) {
                return Some(Move::unexpected(bytes));
            }
            let body = bytes.get(5..length + 1)?;
            match (kind, body) {
                (b'Z', _) => return Some(Move::good(TERMINATE)),
                (b'R', [0, 0, 0, 0, ..]) => {
                    self.is_let_in = true;
                    input.skip(length + 1);
                }
                (b'R', [_, _, _, _, ..]) => return Some(Move::good(b"")),
                (b'R', _) => return Some(Move::unexpected(bytes)),
                (b'E', body) => return Some(Move::bad(error(body))),
                // Notices, the version that the server has, its settings, the session's key.
                _ => input.skip(length + 1),
            }
        }
    }

    /// The message may be this kind now.
    fn may_say(&self, kind: u8) -> bool {
        let kinds: &[u8] = if self.is_let_in { b"ENSKZ" } else { b"REvN" };
        kinds.contains(&kind)
    }
}

/// The message of an error: its field `M`.
fn error(body: &[u8]) -> String {
    let fields = body.split(|byte| *byte == 0);
    let message = fields.filter_map(|field| field.strip_prefix(b"M")).next();
    message.map_or_else(|| "an error without a message".to_owned(), excerpt)
}

const TERMINATE: &[u8] = b"X\0\0\0\x04";

/// The longest message that is read.
const MESSAGE_MAX: usize = 16 << 10;
