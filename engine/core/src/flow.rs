//! One direction of a session: a short queue between a source and a sink, end of stream,
//! backpressure.

use crate::event::Chunk;

/// The most chunks that wait in one direction. Two: one is being sent while the next one is
/// received.
pub const QUEUE_MAX: usize = 2;

/// The reading end.
///
/// ```text
/// Idle ⇄ Receiving ──peer's FIN──▶ Ended
///   ▲        ▼ no free buffer
///   └──── Starved
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Source {
    /// Nothing is asked of the kernel.
    Idle,
    /// A receive is the kernel's.
    Receiving,
    /// In the line for a free buffer.
    Starved,
    /// The peer will send nothing more.
    Ended,
}

/// The writing end.
///
/// ```text
/// Idle ⇄ Sending      Idle ──queue empty, source ended──▶ Finished (our FIN is out)
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Sink {
    /// Nothing is asked of the kernel.
    Idle,
    /// The front chunk is the kernel's.
    Sending,
    /// The FIN has been passed on.
    Finished,
}

/// What a flow wants now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Next {
    Send(Chunk),
    Finish,
    Receive,
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
}

impl Default for Flow {
    fn default() -> Flow {
        Flow { queue: [None; QUEUE_MAX], source: Source::Idle, sink: Sink::Idle, more: false }
    }
}

impl Flow {
    /// The one operation that this flow wants now, if any.
    #[must_use]
    pub fn next(&self) -> Option<Next> {
        if self.sink == Sink::Idle {
            match self.queue[0] {
                Some(chunk) => return Some(Next::Send(chunk)),
                // The FIN goes out only after the queue is empty.
                None if self.source == Source::Ended => return Some(Next::Finish),
                None => {}
            }
        }
        // Backpressure is this line: a full queue asks for nothing, and TCP does the rest.
        let room = self.queue[QUEUE_MAX - 1].is_none();
        (self.source == Source::Idle && room).then_some(Next::Receive)
    }

    /// A chunk has been received.
    pub fn append(&mut self, chunk: Chunk) {
        assert_eq!(self.source, Source::Receiving, "bytes come from a receive");
        self.source = Source::Idle;
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
            flow.append(chunk(buffer, 10));
            flow.sink = Sink::Sending;
        }
        assert_eq!(flow.next(), None);
        assert_eq!(flow.sent(10), Some(chunk(0, 10)).map(|c| Chunk { start: 10, ..c }));
        assert_eq!(flow.next(), Some(Next::Send(chunk(1, 10))));
    }

    #[test]
    fn a_short_send_goes_on_where_it_stopped() {
        let mut flow = Flow { source: Source::Receiving, ..Flow::default() };
        flow.append(chunk(7, 100));
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
        flow.append(chunk(1, 5));
        flow.source = Source::Ended;
        assert_eq!(flow.next(), Some(Next::Send(chunk(1, 5))));
        flow.sink = Sink::Sending;
        assert_eq!(flow.next(), None);
        assert!(flow.sent(5).is_some());
        assert_eq!(flow.next(), Some(Next::Finish));
        flow.sink = Sink::Finished;
        assert_eq!(flow.next(), None);
    }
}
