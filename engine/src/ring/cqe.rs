//! What the kernel answered: errno and flags become meaning here, and nowhere else.

use io_uring::cqueue;
use weir_core::event::{BufferId, Completion, Errno, Leg};

use crate::io::{Kind, Outcome, Token};

/// The meaning of an answer to the operation with this token.
pub(super) fn decode(token: Token, result: i32, flags: u32) -> Outcome {
    let value = u32::try_from(result).map_err(|_| Errno(-result));
    match token {
        Token::Accept { .. } => Outcome::Accepted(value.map(|_| Leg(result))),
        // Whatever came of it, the shard looks; but what can never work would be asked for and
        // answered without end, and a shard that hears no orders is none.
        Token::Bell | Token::Watches => match value {
            Err(errno) if errno.is_misuse() => panic!("{token:?} cannot be waited for: {errno:?}"),
            Ok(_) | Err(_) => Outcome::Rang,
        },
        Token::CancelAccept { .. } => Outcome::Session(Completion::Canceled),
        Token::Session { kind, .. } => Outcome::Session(match kind {
            Kind::Connect => Completion::Connected(value.map(|_| ())),
            Kind::Receive => receive(value, flags),
            Kind::Send => match value {
                // send(2) of at least one byte never takes none; if it did, there would be no room.
                Ok(0) => Completion::SendFailed(Errno::EAGAIN),
                Ok(count) => Completion::Sent(count),
                Err(errno) => Completion::SendFailed(errno),
            },
            // Done, not found, or already on its way: the target answers for itself.
            Kind::Cancel => Completion::Canceled,
            Kind::Watch => unreachable!("a watch is no operation"),
        }),
        Token::Client { .. } | Token::Channel { .. } => unreachable!("a watch is no operation"),
    }
}

fn receive(value: Result<u32, Errno>, flags: u32) -> Completion {
    match value {
        Ok(0) => Completion::Ended,
        Ok(length) => {
            let buffer = buffer(flags).expect("bytes come in a buffer of ours");
            let length = u16::try_from(length).expect("a buffer is at most 65,535 bytes long");
            let (more, last) = (cqueue::sock_nonempty(flags), !cqueue::more(flags));
            Completion::Received { buffer, length, more, last }
        }
        Err(Errno::ENOBUFS) => Completion::Starved,
        Err(errno) => Completion::ReceiveFailed(errno),
    }
}

/// The buffer that the kernel took for this answer, if it took one.
pub(super) fn buffer(flags: u32) -> Option<BufferId> {
    cqueue::buffer_select(flags).map(BufferId)
}

/// True if the session now owns the buffer.
pub(super) fn holds_bytes(outcome: &Outcome) -> bool {
    matches!(outcome, Outcome::Session(Completion::Received { .. }))
}

#[cfg(test)]
mod tests {
    use super::*;
    use weir_core::event::Side;
    use weir_core::table::SessionId;

    fn session(kind: Kind) -> Token {
        Token::Session { id: SessionId { slot: 1, generation: 1 }, side: Side::Client, kind }
    }

    #[test]
    fn answers_mean_what_the_manual_says() {
        // IORING_CQE_F_BUFFER is bit 0, MORE bit 1, SOCK_NONEMPTY bit 2, the buffer's number starts
        // at bit 16.
        let cases = [
            (Kind::Receive, 0, 0, Completion::Ended),
            (Kind::Receive, 7, 5 << 16 | 1, received(5, 7, false)),
            (Kind::Receive, 7, 5 << 16 | 5, received(5, 7, true)),
            (Kind::Receive, 7, 5 << 16 | 3, goes_on(5, 7)),
            (Kind::Receive, -105, 0, Completion::Starved),
            (Kind::Receive, -104, 0, Completion::ReceiveFailed(Errno::ECONNRESET)),
            (Kind::Send, 9, 0, Completion::Sent(9)),
            (Kind::Send, 0, 0, Completion::SendFailed(Errno::EAGAIN)),
            (Kind::Send, -11, 0, Completion::SendFailed(Errno::EAGAIN)),
            (Kind::Send, -4, 0, Completion::SendFailed(Errno::EINTR)),
            (Kind::Receive, -11, 0, Completion::ReceiveFailed(Errno::EAGAIN)),
            (Kind::Receive, -4, 0, Completion::ReceiveFailed(Errno::EINTR)),
            (Kind::Receive, -125, 0, Completion::ReceiveFailed(Errno::ECANCELED)),
            (Kind::Receive, -22, 0, Completion::ReceiveFailed(Errno::EINVAL)),
            // It took a buffer and had nothing for it: an end anyway.
            (Kind::Receive, 0, 5 << 16 | 1, Completion::Ended),
            (Kind::Send, -32, 0, Completion::SendFailed(Errno::EPIPE)),
            (Kind::Connect, 0, 0, Completion::Connected(Ok(()))),
            (Kind::Connect, -111, 0, Completion::Connected(Err(Errno::ECONNREFUSED))),
            (Kind::Cancel, -2, 0, Completion::Canceled),
        ];
        for (kind, result, flags, meaning) in cases {
            assert_eq!(decode(session(kind), result, flags), Outcome::Session(meaning), "{kind:?}");
        }
        let accept = Token::Accept { socket: 0 };
        assert_eq!(decode(accept, 9, 0), Outcome::Accepted(Ok(Leg(9))));
        assert_eq!(decode(accept, -24, 0), Outcome::Accepted(Err(Errno::EMFILE)));
    }

    #[test]
    fn a_bell_that_is_disturbed_has_rung() {
        for result in [8, -libc::EINTR, -libc::EAGAIN, -libc::ENOMEM, -libc::ECANCELED] {
            assert_eq!(decode(Token::Bell, result, 0), Outcome::Rang, "{result}");
        }
    }

    #[test]
    #[should_panic(expected = "Bell cannot be waited for: errno 9")]
    fn a_bell_that_can_never_ring_ends_its_shard() {
        decode(Token::Bell, -libc::EBADF, 0);
    }

    fn received(buffer: u16, length: u16, more: bool) -> Completion {
        Completion::Received { buffer: BufferId(buffer), length, more, last: true }
    }

    fn goes_on(buffer: u16, length: u16) -> Completion {
        Completion::Received { buffer: BufferId(buffer), length, more: false, last: false }
    }
}
