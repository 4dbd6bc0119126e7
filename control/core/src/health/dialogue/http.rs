//! One request of HTTP; only the status line of its answer is read.

use weir_proto::spec::Statuses;

use super::{Heard, Move};
use crate::health::reply::{StatusLine, status_line};

#[derive(Debug)]
pub(super) struct HttpTalk<'a> {
    request: &'a [u8],
    expect: &'a Statuses,
    is_sent: bool,
}

impl<'a> HttpTalk<'a> {
    pub(super) fn new(request: &'a [u8], expect: &'a Statuses) -> HttpTalk<'a> {
        HttpTalk { request, expect, is_sent: false }
    }

    pub(super) fn step(&mut self, input: &mut Heard) -> Option<Move> {
        if !core::mem::replace(&mut self.is_sent, true) {
            return Some(Move::Send(self.request.to_vec()));
        }
        match status_line(&input.bytes) {
            // Half a status line is no answer.
            StatusLine::Unfinished if input.has_ended => Some(Move::bad("closed")),
            StatusLine::Unfinished => None,
            StatusLine::Foreign => Some(Move::unexpected(&input.bytes)),
            StatusLine::Status(status) if self.expect.has(status) => Some(Move::good(b"")),
            StatusLine::Status(status) => Some(Move::bad(format!("status {status}"))),
        }
    }
}
