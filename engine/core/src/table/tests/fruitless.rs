//! Counters of the kernel's answers that are neither data nor an end.

use super::*;
use crate::event::{BufferId, PipeId, SpliceResult};
use crate::flow::BULK_AFTER;
use crate::limits::{FRUITLESS_MAX, WATCH_AFTER_MS};

impl TablePlay {
    fn stats(&mut self) -> Box<ShardStats> {
        self.table.collect(Box::new(ShardStats::new(ShardId(0))))
    }
}

#[test]
fn a_pipe_that_is_refused_is_counted_and_an_end_is_not() {
    for (moved, counted) in [
        (SpliceResult { dry: true, ..SpliceResult::default() }, 1),
        (SpliceResult { unsure: true, ..SpliceResult::default() }, 0),
    ] {
        let mut play = TablePlay::new(1);
        let id = play.relaying();
        for _ in 0..BULK_AFTER {
            let (buffer, length) = (BufferId(1), 32_768);
            let data = Completion::Received { buffer, length, more: true, last: true };
            play.on(id, Side::Client, data);
            play.on(id, Side::Backend, Completion::Sent(length.into()));
        }
        play.out.clear();
        play.table.promoted(id, Side::Client, Some(PipeId(0)), play.now, &mut play.out);
        assert!(play.table.take_splice().is_some());
        // The last receive has left bytes in the socket, so "nothing" cannot be true.
        play.table.moved(id, Side::Client, moved, play.now, &mut play.out);
        assert_eq!(play.stats().counts.pipes_refused, counted, "{moved:?}");
    }
}

#[test]
fn watches_that_tell_in_vain_are_counted_once_and_asked_again_at_the_next_look() {
    let mut play = TablePlay::new(1);
    let id = play.relaying();
    let data = Completion::Received { buffer: BufferId(1), length: 9, more: false, last: true };
    play.on(id, Side::Client, data);
    play.on(id, Side::Backend, Completion::SendFailed(Errno::EAGAIN));
    play.out.clear();
    let room = Ready { readable: false, writable: true, reset: false, error: None };
    for _ in 0..FRUITLESS_MAX {
        play.table.on_ready(id, Side::Backend, room, play.now, &mut play.out);
        play.out.clear();
        play.on(id, Side::Backend, Completion::SendFailed(Errno::EAGAIN));
    }
    assert_eq!(play.take(), [], "no watch is asked for any more");
    assert_eq!(play.stats().counts.fruitless_watches, 1);
    play.now = play.now.plus_millis(WATCH_AFTER_MS + TICK_MS);
    assert_eq!(play.on_time(), Some(id));
    let interest = Interest { readable: false, writable: true };
    let renewed = Action::Watch { side: Side::Backend, leg: Leg(11), interest };
    assert!(play.take().contains(&renewed), "a look renews it");
    assert_eq!(play.stats().counts.fruitless_watches, 0);
}

#[test]
fn a_backend_that_ends_a_session_before_its_first_byte_is_counted() {
    let reset = || Completion::ReceiveFailed(Errno::ECONNRESET);
    let byte = Completion::Received { buffer: BufferId(1), length: 1, more: false, last: true };
    // What comes from which side, in order, and whether it is an early close.
    let cases: [(&[(Side, Completion)], u64); 5] = [
        (&[(Side::Backend, reset())], 1),
        (&[(Side::Backend, Completion::Ended), (Side::Client, Completion::Ended)], 1),
        (&[(Side::Client, reset())], 0),
        (&[(Side::Client, Completion::Ended), (Side::Backend, Completion::Ended)], 0),
        (
            &[(Side::Backend, byte), (Side::Client, Completion::Sent(1)), (Side::Backend, reset())],
            0,
        ),
    ];
    for (events, counted) in cases {
        let mut play = TablePlay::new(1);
        let id = play.relaying();
        for (side, done) in events {
            play.on(id, *side, *done);
        }
        // What is taken back answers: the cancel, and what it was for.
        for action in play.take() {
            if let Action::Cancel { side, what: Pending::Receive } = action {
                play.on(id, side, Completion::Canceled);
                play.on(id, side, Completion::ReceiveFailed(Errno::ECANCELED));
            }
        }
        assert!(play.table.session(id).is_none(), "{events:?}");
        assert_eq!(play.stats().backends[0].counts.early_closes, counted, "{events:?}");
    }
}
