//! A session of SMTP without a mail: the greeting, `EHLO`, `QUIT` (RFC 5321, 3.1 to 3.8). A client
//! that leaves without `QUIT` is in the logs of many servers.

use super::{CheckOutcome, Heard, Move, excerpt};

#[derive(Debug)]
pub(super) struct SmtpTalk<'a> {
    name: &'a str,
    has_greeted: bool,
}

impl<'a> SmtpTalk<'a> {
    pub(super) fn new(name: &'a str) -> SmtpTalk<'a> {
        SmtpTalk { name, has_greeted: false }
    }

    pub(super) fn step(&mut self, input: &mut Heard) -> Option<Move> {
        let line = loop {
            let line = input.line()?;
            match line.as_slice() {
                [b'0'..=b'9', b'0'..=b'9', b'0'..=b'9'] => break line,
                [b'0'..=b'9', b'0'..=b'9', b'0'..=b'9', b' ', ..] => break line,
                // More lines of this reply follow.
                [b'0'..=b'9', b'0'..=b'9', b'0'..=b'9', b'-', ..] => {}
                _ => return Some(Move::unexpected(&line)),
            }
        };
        let is_good = line.starts_with(if self.has_greeted { b"250" } else { b"220" });
        if !is_good {
            let outcome = CheckOutcome::Bad(excerpt(&line));
            return Some(Move::Part { outcome, farewell: QUIT.to_vec() });
        }
        if core::mem::replace(&mut self.has_greeted, true) {
            return Some(Move::good(QUIT));
        }
        Some(Move::Send(format!("EHLO {}\r\n", self.name).into_bytes()))
    }
}

const QUIT: &[u8] = b"QUIT\r\n";
