//! The queue of a flow, large receives, backpressure.

use super::*;
use crate::event::BufferId;

fn chunk(buffer: u16, end: u16) -> Chunk {
    Chunk { buffer: BufferId(buffer), start: 0, end }
}

#[test]
fn a_full_queue_asks_for_nothing() {
    let mut flow = Flow::default();
    for buffer in 0..2 {
        assert_eq!(flow.next(false), Some(Next::Receive));
        flow.source = Source::RECEIVING;
        assert_eq!(flow.append(chunk(buffer, 10), true), None);
        flow.sink = Sink::Sending;
    }
    assert_eq!(flow.next(false), None);
    assert_eq!(flow.sent(10), Some(chunk(0, 10)).map(|c| Chunk { start: 10, ..c }));
    assert_eq!(flow.next(false), Some(Next::Send(chunk(1, 10))));
}

#[test]
fn what_a_multishot_receive_brings_to_a_full_queue_is_merged() {
    let mut flow = Flow::default();
    assert_eq!(flow.receive(false, 100, 50), Receive::Multishot { bytes: 50 });
    assert_eq!(flow.append(chunk(0, 10), false), None);
    assert_eq!(flow.next(false), Some(Next::Send(chunk(0, 10))));
    flow.sink = Sink::Sending;
    assert_eq!(flow.append(chunk(1, 20), false), None);
    assert_eq!(flow.append(chunk(2, 5), false), Some(chunk(1, 20)));
    assert_eq!(flow.append(chunk(3, 5), true), Some(chunk(1, 25)));
    assert_eq!(flow.next(false), None, "backpressure: a full queue asks for nothing");
    assert!(flow.sent(10).is_some());
    assert_eq!(flow.next(false), Some(Next::Send(chunk(1, 30))));
}

#[test]
fn a_large_receive_is_followed_by_one_shot_receives() {
    let mut flow = Flow::default();
    assert_eq!(flow.receive(false, 100, 50), Receive::Multishot { bytes: 50 });
    assert_eq!(flow.append(chunk(0, 50), true), None);
    assert_eq!(flow.receive(false, 100, 50), Receive::Once);
    assert_eq!(flow.append(chunk(1, 99), true), None);
    flow.pop();
    assert_eq!(flow.receive(false, 100, 50), Receive::Multishot { bytes: 50 });
    flow.source = Source::Idle;
    assert_eq!(flow.receive(true, 100, 50), Receive::AtOnce, "a non-blocking leg");
    flow.source = Source::Idle;
    flow.more = true;
    assert_eq!(flow.receive(false, 100, 50), Receive::AtOnce, "bytes are there");
}

#[test]
fn a_short_send_goes_on_where_it_stopped() {
    let mut flow = Flow { source: Source::RECEIVING, ..Flow::default() };
    assert_eq!(flow.append(chunk(7, 100), true), None);
    flow.sink = Sink::Sending;
    assert_eq!(flow.sent(30), None);
    assert_eq!(
        flow.next(false),
        Some(Next::Send(Chunk { buffer: BufferId(7), start: 30, end: 100 }))
    );
}

#[test]
fn the_fin_waits_for_the_queue() {
    let mut flow = Flow { source: Source::RECEIVING, ..Flow::default() };
    assert_eq!(flow.append(chunk(1, 5), true), None);
    flow.source = Source::Ended;
    assert_eq!(flow.next(false), Some(Next::Send(chunk(1, 5))));
    flow.sink = Sink::Sending;
    assert_eq!(flow.next(false), None);
    assert!(flow.sent(5).is_some());
    assert_eq!(flow.next(false), Some(Next::Finish));
    flow.sink = Sink::Finished;
    assert_eq!(flow.next(false), None);
}

#[test]
fn a_pipe_comes_after_large_receives_and_an_empty_queue() {
    let mut flow = Flow::default();
    for _ in 0..BULK_AFTER {
        assert_eq!(flow.receive(false, 100, 0), Receive::Once);
        assert_eq!(flow.append(chunk(0, 100), true), None);
        assert_eq!(flow.next(false), Some(Next::Send(chunk(0, 100))));
        flow.sink = Sink::Sending;
        assert_ne!(flow.next(false), Some(Next::TakePipe));
        flow.sent(100);
    }
    assert_eq!(flow.next(false), Some(Next::TakePipe));
    flow.source = Source::Promoting;
    assert_eq!(flow.next(false), None);
    flow.promoted(None);
    assert_eq!(flow.next(false), Some(Next::Receive), "without a pipe it goes on");
    flow.source = Source::Promoting;
    flow.promoted(Some(PipeId(3)));
    assert_eq!(flow.next(false), Some(Next::Splice));
    flow.queued = true;
    assert_eq!(flow.next(false), None);
}

#[test]
fn a_pipe_is_emptied_while_its_source_has_nothing() {
    let pipe = Some(Pipe { id: PipeId(0), held: 7 });
    let mut flow = Flow { pipe, source: Source::Waiting, ..Flow::default() };
    assert_eq!(flow.next(false), Some(Next::Splice));
    flow.sink = Sink::Waiting;
    assert_eq!(flow.next(false), None);
    flow.sink = Sink::Idle;
    flow.pipe = Some(Pipe { id: PipeId(0), held: 0 });
    assert_eq!(flow.next(false), None);
}

#[test]
fn a_pipe_is_refused_where_its_answer_may_mean_something_else() {
    let dry = SpliceResult { dry: true, ..SpliceResult::default() };
    let dry_later = SpliceResult { received: 5, sent: 5, ..dry };
    let unsure = SpliceResult { unsure: true, ..SpliceResult::default() };
    let full = SpliceResult { full: true, received: 9, sent: 3, ..SpliceResult::default() };
    let cases = [
        // What the kernel said, whether the source was known to be readable, the verdict.
        (dry, false, false),
        (dry, true, true),
        (dry_later, true, false),
        (unsure, false, true),
        (unsure, true, true),
        (SpliceResult { received: 5, sent: 5, ..unsure }, false, true),
        (full, true, false),
    ];
    for (moved, more, verdict) in cases {
        let flow = Flow { more, ..Flow::default() };
        assert_eq!(flow.is_refused(&moved), verdict, "{moved:?}, readable: {more}");
    }
}
