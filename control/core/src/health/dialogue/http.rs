//! One request of HTTP; only the status line of its answer is read.

use weir_proto::spec::Statuses;

use super::{Heard, Move};
use crate::health::reply::{StatusLine, status_line};

pub(super) fn step(input: &Heard, expect: &Statuses) -> Option<Move> {
    match status_line(&input.bytes) {
        // Half a status line is no answer.
        StatusLine::Unfinished if input.has_ended => Some(Move::bad("closed")),
        StatusLine::Unfinished => None,
        StatusLine::Foreign => Some(Move::unexpected(&input.bytes)),
        StatusLine::Status(status) if expect.has(status) => Some(Move::good(b"")),
        StatusLine::Status(status) => Some(Move::bad(format!("status {status}"))),
    }
}
