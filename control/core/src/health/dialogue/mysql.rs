//! A login of MySQL or MariaDB with a user that has no password, and `COM_QUIT` (MySQL Internals,
//! Connection Phase). Handshakes that are not finished count as errors of the host, which is
//! blocked after `max_connect_errors` of them.

use super::{Heard, Move, excerpt};

#[derive(Debug)]
pub(super) struct MysqlTalk<'a> {
    user: &'a str,
    has_logged_in: bool,
    /// It has answered to a change of the method: one is enough.
    has_switched: bool,
}

impl<'a> MysqlTalk<'a> {
    pub(super) fn new(user: &'a str) -> MysqlTalk<'a> {
        MysqlTalk { user, has_logged_in: false, has_switched: false }
    }

    pub(super) fn step(&mut self, input: &mut Heard) -> Option<Move> {
        loop {
            let [a, b, c, number] = *input.bytes.first_chunk::<4>()?;
            let length = usize::from(a) | usize::from(b) << 8 | usize::from(c) << 16;
            if length == 0 || length > PACKET_MAX {
                return Some(Move::unexpected(&input.bytes));
            }
            let packet = input.bytes.get(4..4 + length)?.to_vec();
            input.skip(4 + length);
            let next = number.wrapping_add(1);
            match packet.as_slice() {
                [0xff, error @ ..] => return Some(refused(error)),
                greeting if !self.has_logged_in => return Some(self.log_in(greeting, next)),
                [0x00, ..] => return Some(Move::good(COM_QUIT)),
                [0xfe, method @ ..] if !self.has_switched => {
                    self.has_switched = true;
                    return Some(no_password(method, next));
                }
                // `caching_sha2_password` says that it is content; what is next is the end.
                [0x01, 0x03, ..] => {}
                _ => return Some(Move::bad("the user has a password")),
            }
        }
    }

    fn log_in(&mut self, greeting: &[u8], number: u8) -> Move {
        self.has_logged_in = true;
        let (Some(10), Some(named)) = (greeting.first(), capabilities(greeting)) else {
            return Move::unexpected(greeting);
        };
        if named & PROTOCOL_41 == 0 {
            return Move::bad("a server older than MySQL 4.1");
        }
        let flags = PROTOCOL_41 | SECURE_CONNECTION | named & PLUGIN_AUTH;
        let mut packet = flags.to_le_bytes().to_vec();
        packet.extend((1_u32 << 24).to_le_bytes());
        packet.push(UTF8);
        packet.extend([0; 23]);
        packet.extend(self.user.as_bytes());
        // The end of the name, and an answer to the challenge of no bytes.
        packet.extend([0, 0]);
        if flags & PLUGIN_AUTH != 0 {
            packet.extend(b"mysql_native_password\0");
        }
        Move::Send(framed(&packet, number))
    }
}

/// The capabilities of the server, from its greeting.
fn capabilities(greeting: &[u8]) -> Option<u32> {
    let version = greeting.get(1..)?.iter().position(|byte| *byte == 0)?;
    // Behind the version: the thread (4), the challenge (8) and its end (1).
    let rest = greeting.get(version + 2 + 13..)?;
    let low = u16::from_le_bytes(*rest.first_chunk()?);
    // Behind that: the character set (1) and the status (2).
    let high = rest.get(5..).and_then(|rest| rest.first_chunk().copied());
    Some(u32::from(low) | u32::from(high.map_or(0, u16::from_le_bytes)) << 16)
}

/// The answer to another method of authentication, as of a user without a password.
fn no_password(method: &[u8], number: u8) -> Move {
    let name = method.split(|byte| *byte == 0).next().unwrap_or_default();
    match name {
        b"mysql_native_password" => Move::Send(framed(b"", number)),
        b"caching_sha2_password" | b"sha256_password" => Move::Send(framed(b"\0", number)),
        name => Move::bad(format!("the user logs in by {}", excerpt(name))),
    }
}

fn refused(error: &[u8]) -> Move {
    let Some((code, text)) = error.split_first_chunk::<2>() else {
        return Move::bad("an error without a message");
    };
    // A state of SQL is behind `#`, once both sides know what the other can.
    let text = if text.first() == Some(&b'#') { text.get(6..).unwrap_or_default() } else { text };
    Move::bad(format!("error {}: {}", u16::from_le_bytes(*code), excerpt(text)))
}

fn framed(packet: &[u8], number: u8) -> Vec<u8> {
    let length = u32::try_from(packet.len()).unwrap_or(0).to_le_bytes();
    [&length[..3], &[number], packet].concat()
}

const COM_QUIT: &[u8] = b"\x01\0\0\0\x01";
const PROTOCOL_41: u32 = 0x200;
const SECURE_CONNECTION: u32 = 0x8000;
const PLUGIN_AUTH: u32 = 0x8_0000;
/// `utf8_general_ci`, which every server has.
const UTF8: u8 = 33;
/// The longest packet that is read.
const PACKET_MAX: usize = 16 << 10;
