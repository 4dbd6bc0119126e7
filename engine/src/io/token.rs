//! 64 bits that go through the kernel with an operation and come back with its answer.
//!
//! ```text
//! owner 3 · kind 4 · side 1 · slot 24 · generation 32
//! ```
//! Built and read here, nowhere else.

use weir_core::event::Side;
use weir_core::table::SessionId;

/// What an operation is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    Connect = 0,
    Receive = 1,
    Send = 2,
    Cancel = 3,
    Watch = 4,
}

const KINDS: [Kind; 5] = [Kind::Connect, Kind::Receive, Kind::Send, Kind::Cancel, Kind::Watch];

/// Whose operation it is, and which.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Token {
    Session {
        id: SessionId,
        side: Side,
        kind: Kind,
    },
    /// The accepts of one listening socket all have the same token.
    Accept {
        socket: u32,
    },
    /// Taking back the accepts of one listening socket.
    CancelAccept {
        socket: u32,
    },
    /// A client waits at a listening socket that is watched. No operation: news.
    Client {
        socket: u32,
    },
    /// There is a message in a channel, or room for one. No operation: news.
    Channel {
        channel: u32,
    },
    Bell,
    /// The ring's own: some watched leg has news.
    Watches,
}

impl Token {
    /// The bits.
    #[must_use]
    pub fn pack(self) -> u64 {
        match self {
            Token::Session { id, side, kind } => {
                assert!(id.slot < 1 << 24, "a slot has 24 bits");
                (kind as u64) << 57
                    | (side as u64) << 56
                    | u64::from(id.slot) << 32
                    | u64::from(id.generation)
            }
            Token::Accept { socket } => 1 << 61 | u64::from(socket),
            Token::CancelAccept { socket } => 2 << 61 | u64::from(socket),
            Token::Client { socket } => 5 << 61 | u64::from(socket),
            Token::Channel { channel } => 6 << 61 | u64::from(channel),
            Token::Bell => 3 << 61,
            Token::Watches => 4 << 61,
        }
    }

    /// The token of these bits. `None` if no token has them: a bug, or the kernel's.
    #[must_use]
    pub fn unpack(bits: u64) -> Option<Token> {
        let low = u32::try_from(bits & u64::from(u32::MAX)).ok()?;
        Some(match bits >> 61 {
            0 => {
                let slot = u32::try_from(bits >> 32 & 0xff_ffff).ok()?;
                let side = Side::ALL[usize::from(bits >> 56 & 1 == 1)];
                let kind = *KINDS.get(usize::try_from(bits >> 57 & 15).ok()?)?;
                Token::Session { id: SessionId { slot, generation: low }, side, kind }
            }
            1 => Token::Accept { socket: low },
            2 => Token::CancelAccept { socket: low },
            3 => Token::Bell,
            4 => Token::Watches,
            5 => Token::Client { socket: low },
            6 => Token::Channel { channel: low },
            _ => return None,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_token_comes_back_as_it_went() {
        let mut tokens = vec![
            Token::Bell,
            Token::Watches,
            Token::Accept { socket: 0 },
            Token::Accept { socket: u32::MAX },
            Token::CancelAccept { socket: 7 },
            Token::Client { socket: 8 },
            Token::Channel { channel: 9 },
        ];
        for (slot, generation) in [(0, 0), (1, u32::MAX), ((1 << 24) - 1, 0x8000_0001)] {
            for side in Side::ALL {
                for kind in KINDS {
                    let id = SessionId { slot, generation };
                    tokens.push(Token::Session { id, side, kind });
                }
            }
        }
        let bits: std::collections::BTreeSet<u64> = tokens.iter().map(|t| t.pack()).collect();
        assert_eq!(bits.len(), tokens.len());
        for token in tokens {
            assert_eq!(Token::unpack(token.pack()), Some(token));
        }
        assert_eq!(Token::unpack(u64::MAX), None);
    }
}
