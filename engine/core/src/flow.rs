//! One direction of a session: a short queue (or, for bulk, a pipe) between a source and a sink,
//! end of stream, backpressure.

use crate::event::{Chunk, PipeId};

/// The most chunks that wait in one direction. Two: one is being sent while the next one is
/// received.
pub const QUEUE_MAX: usize = 2;

/// Large receives in a row after which a flow counts as bulk.
pub const BULK_AFTER: u8 = 4;

/// The reading end.
///
/// ```text
/// Idle ⇄ Receiving ──peer's FIN──▶ Ended
///  ▲ ▲       ▼ no free buffer  ▼ quiet: taken back
///  │ └──── Starved             │
///  └── readable ── Waiting ◀───┴── a pipe found nothing
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Source {
    /// Nothing is asked of the kernel.
    Idle,
    /// A receive is the kernel's.
    Receiving,
    /// In the line for a free buffer.
    Starved,
    /// A pipe is being taken for it.
    Promoting,
    /// Until the socket is readable (a watch; nothing is the kernel's).
    Waiting,
    /// The peer will send nothing more.
    Ended,
}

/// The writing end.
///
/// ```text
/// Idle ⇄ Sending      Idle ──queue empty, source ended──▶ Finished (our FIN is out)
///   ⇅
/// Waiting (the socket takes no more for now)
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Sink {
    /// Nothing is asked of the kernel.
    Idle,
    /// The front chunk is the kernel's.
    Sending,
    /// Until the socket is writable (a watch; nothing is the kernel's).
    Waiting,
    /// The FIN has been passed on.
    Finished,
}

/// What a flow wants now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Next {
    Send(Chunk),
    Finish,
    Receive,
    /// A pipe, for bulk.
    Promote,
    /// A place in the line of pipes that have something to move.
    Move,
}

/// A flow's pipe, and what is in it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Pipe {
    pub id: PipeId,
    /// Bytes that were received and not sent.
    pub held: u32,
}

/// One direction, named by the side that it reads from.
#[derive(Debug)]
pub struct Flow {
    /// The front is index 0.
    queue: [Option<Chunk>; QUEUE_MAX],
    pub source: Source,
    pub sink: Sink,
    /// The last receive left bytes in the socket.
    pub more: bool,
    /// Large receives in a row, up to [`BULK_AFTER`].
    large: u8,
    /// The receive is being taken back, because nothing comes.
    pub parking: bool,
    /// It stands in the line of pipes that have something to move.
    pub queued: bool,
    /// Bulk goes through it and not through the queue, which is empty then.
    pub pipe: Option<Pipe>,
}

impl Default for Flow {
    fn default() -> Flow {
        Flow {
            queue: [None; QUEUE_MAX],
            source: Source::Idle,
            sink: Sink::Idle,
            more: false,
            large: 0,
            parking: false,
            queued: false,
            pipe: None,
        }
    }
}

impl Flow {
    /// The one operation that this flow wants now, if any.
    #[must_use]
    pub fn next(&self) -> Option<Next> {
        if let Some(pipe) = self.pipe {
            return self.next_bulk(pipe);
        }
        if self.sink == Sink::Idle {
            match self.queue[0] {
                Some(chunk) => return Some(Next::Send(chunk)),
                // The FIN goes out only after the queue is empty.
                None if self.source == Source::Ended => return Some(Next::Finish),
                None => {}
            }
        }
        if self.source != Source::Idle {
            return None;
        }
        if self.large == BULK_AFTER {
            // What was received before the pipe goes out before it.
            return self.queue[0].is_none().then_some(Next::Promote);
        }
        // Backpressure is this line: a full queue asks for nothing, and TCP does the rest.
        let room = self.queue[QUEUE_MAX - 1].is_none();
        room.then_some(Next::Receive)
    }

    fn next_bulk(&self, pipe: Pipe) -> Option<Next> {
        if self.sink != Sink::Idle || self.queued {
            return None;
        }
        match self.source {
            Source::Idle => Some(Next::Move),
            _ if pipe.held > 0 => Some(Next::Move),
            Source::Ended => Some(Next::Finish),
            _ => None,
        }
    }

    /// True if bytes wait to be sent.
    #[must_use]
    pub fn is_pending(&self) -> bool {
        self.queue[0].is_some() || self.pipe.is_some_and(|pipe| pipe.held > 0)
    }

    /// A pipe was asked for. Without one the flow goes on as before and asks again later.
    pub fn promoted(&mut self, pipe: Option<PipeId>) {
        assert_eq!(self.source, Source::Promoting, "a pipe was asked for");
        self.source = Source::Idle;
        self.large = 0;
        self.pipe = pipe.map(|id| Pipe { id, held: 0 });
    }

    /// A chunk has been received. `bulk` is the length from which it counts as large.
    pub fn append(&mut self, chunk: Chunk, bulk: u16) {
        assert_eq!(self.source, Source::Receiving, "bytes come from a receive");
        self.source = Source::Idle;
        let large = chunk.len() >= bulk;
        self.large = if large { (self.large + 1).min(BULK_AFTER) } else { 0 };
        let place = self.queue.iter_mut().find(|place| place.is_none());
        *place.expect("a receive is only asked for when there is room") = Some(chunk);
    }

    /// `count` bytes of the front chunk have been sent. Gives the chunk back when it is empty.
    pub fn sent(&mut self, count: u16) -> Option<Chunk> {
        assert_eq!(self.sink, Sink::Sending, "a send was asked for");
        self.sink = Sink::Idle;
        let front = self.queue[0].as_mut().expect("the front chunk was the kernel's");
        assert!(0 < count && count <= front.len(), "the kernel takes a part of what it is given");
        front.start += count;
        if front.len() > 0 { None } else { self.pop() }
    }

    /// Takes the front chunk out of the queue. It must not be the kernel's.
    pub fn pop(&mut self) -> Option<Chunk> {
        assert_ne!(self.sink, Sink::Sending, "the front chunk is the kernel's");
        let front = self.queue[0].take();
        self.queue.rotate_left(1);
        front
    }

    /// Empties the queue, but for a front chunk that is the kernel's.
    pub fn give_back(&mut self, mut release: impl FnMut(Chunk)) {
        let kept = usize::from(self.sink == Sink::Sending);
        for place in &mut self.queue[kept..] {
            if let Some(chunk) = place.take() {
                release(chunk);
            }
        }
    }

    /// Every chunk in the queue, the front first.
    pub fn chunks(&self) -> impl Iterator<Item = Chunk> + '_ {
        self.queue.iter().flatten().copied()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::event::BufferId;

    fn chunk(buffer: u16, end: u16) -> Chunk {
        Chunk { buffer: BufferId(buffer), start: 0, end }
    }

    #[test]
    fn a_full_queue_asks_for_nothing() {
        let mut flow = Flow::default();
        for buffer in 0..2 {
            assert_eq!(flow.next(), Some(Next::Receive));
            flow.source = Source::Receiving;
            flow.append(chunk(buffer, 10), u16::MAX);
            flow.sink = Sink::Sending;
        }
        assert_eq!(flow.next(), None);
        assert_eq!(flow.sent(10), Some(chunk(0, 10)).map(|c| Chunk { start: 10, ..c }));
        assert_eq!(flow.next(), Some(Next::Send(chunk(1, 10))));
    }

    #[test]
    fn a_short_send_goes_on_where_it_stopped() {
        let mut flow = Flow { source: Source::Receiving, ..Flow::default() };
        flow.append(chunk(7, 100), u16::MAX);
        flow.sink = Sink::Sending;
        assert_eq!(flow.sent(30), None);
        assert_eq!(
            flow.next(),
            Some(Next::Send(Chunk { buffer: BufferId(7), start: 30, end: 100 }))
        );
    }

    #[test]
    fn the_fin_waits_for_the_queue() {
        let mut flow = Flow { source: Source::Receiving, ..Flow::default() };
        flow.append(chunk(1, 5), u16::MAX);
        flow.source = Source::Ended;
        assert_eq!(flow.next(), Some(Next::Send(chunk(1, 5))));
        flow.sink = Sink::Sending;
        assert_eq!(flow.next(), None);
        assert!(flow.sent(5).is_some());
        assert_eq!(flow.next(), Some(Next::Finish));
        flow.sink = Sink::Finished;
        assert_eq!(flow.next(), None);
    }

    #[test]
    fn a_pipe_comes_after_large_receives_and_an_empty_queue() {
        let mut flow = Flow::default();
        for _ in 0..BULK_AFTER {
            flow.source = Source::Receiving;
            flow.append(chunk(0, 100), 100);
            assert_eq!(flow.next(), Some(Next::Send(chunk(0, 100))));
            flow.sink = Sink::Sending;
            assert_ne!(flow.next(), Some(Next::Promote));
            flow.sent(100);
        }
        assert_eq!(flow.next(), Some(Next::Promote));
        flow.source = Source::Promoting;
        assert_eq!(flow.next(), None);
        flow.promoted(None);
        assert_eq!(flow.next(), Some(Next::Receive), "without a pipe it goes on");
        flow.source = Source::Promoting;
        flow.promoted(Some(PipeId(3)));
        assert_eq!(flow.next(), Some(Next::Move));
        flow.queued = true;
        assert_eq!(flow.next(), None);
    }

    #[test]
    fn a_pipe_is_emptied_before_the_fin() {
        let pipe = Some(Pipe { id: PipeId(0), held: 7 });
        let mut flow = Flow { pipe, source: Source::Ended, ..Flow::default() };
        assert_eq!(flow.next(), Some(Next::Move));
        flow.sink = Sink::Waiting;
        assert_eq!(flow.next(), None);
        flow.sink = Sink::Idle;
        flow.pipe = Some(Pipe { id: PipeId(0), held: 0 });
        assert_eq!(flow.next(), Some(Next::Finish));
    }
}
