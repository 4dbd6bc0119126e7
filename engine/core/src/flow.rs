//! One direction of a session: a short queue (or, for bulk, a pipe) between a source and a sink,
//! with end of stream and backpressure.

mod handover;

use crate::base::machine::enter;
use crate::event::{Chunk, PipeId, Receive, SpliceResult};
use crate::machine;

/// The most chunks that wait in one direction. Two: one is being sent while the next one is
/// received.
pub const QUEUE_MAX: usize = 2;

/// Large receives in a row after which a flow counts as bulk.
pub const BULK_AFTER: u8 = 4;

/// The reading end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Source {
    /// No operation is in flight and no watch waits.
    Idle,
    /// A receive is in flight.
    Receiving {
        /// A cancel for it has been submitted.
        cancelling: bool,
        reset_check: ResetCheck,
    },
    /// In the line for a free buffer.
    Starved,
    /// A pipe has been asked for (`Action::TakePipe`).
    Promoting,
    /// A watch waits until the socket is readable; no operation is in flight.
    Waiting,
    /// The peer will send nothing more.
    Ended,
}

impl Source {
    /// A receive that was just submitted: it reports a reset that is already there.
    pub const RECEIVING: Source =
        Source::Receiving { cancelling: false, reset_check: ResetCheck::NotNeeded };
}

machine! {
    /// Transitions of a [`Source`].
    pub static SOURCE: Source = "source";
    states: Idle, Receiving, Starved, Promoting, Waiting, Ended;
    start => Idle: "a backend has taken the session";
    start => Waiting: "another shard has handed it over";
    start => Ended: "another shard has handed it over, after the peer's FIN";
    Idle => Receiving: "there is room for a chunk";
    Receiving => Idle: "bytes, or no free buffer and no room for one";
    Receiving => Ended: "the peer's FIN";
    Receiving => Starved: "no free buffer";
    Starved => Idle: "its turn in the line";
    Starved => Receiving: "its turn, into the reserve";
    Receiving => Waiting: "nothing comes, so it was cancelled";
    Waiting => Idle: "readable or reset";
    Idle => Promoting: "four large receives in a row";
    Promoting => Idle: "there is a pipe, or none";
    Idle => Waiting: "the pipe found nothing";
}

/// The writing end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Sink {
    /// No operation is in flight and no watch waits.
    Idle,
    /// A send of the front chunk is in flight.
    Sending,
    /// A watch waits until the socket is writable; no operation is in flight.
    Waiting,
    /// The FIN has been passed on.
    Finished,
}

machine! {
    /// Transitions of a [`Sink`].
    pub static SINK: Sink = "sink";
    states: Idle, Sending, Waiting, Finished;
    start => Idle: "a backend has taken the session, or another shard has handed it over";
    start => Finished: "another shard has handed it over, after its FIN";
    Idle => Sending: "a chunk is in the queue";
    Sending => Idle: "the kernel took some of it, or failed";
    Sending => Waiting: "the send buffer is full (EAGAIN)";
    Idle => Waiting: "the send buffer has no room for the pipe, or for bytes out of the reserve";
    Waiting => Idle: "writable or reset";
    Idle => Finished: "the source has ended and all is sent, so the FIN goes out";
}

/// Whether the source may have been reset without its receive reporting it: the kernel (6.18) does
/// not wake a multishot receive for a reset that arrived right behind bytes, before these were
/// received. `Session::probe_for_missed_reset` advances it at each look.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum ResetCheck {
    /// Also after `Quiet`, while the watch has not reported a reset.
    NotNeeded,
    /// A multishot receive has brought bytes and goes on.
    Armed,
    /// `Armed` at the last look, and quiet since. If it stays so, the next look adds a watch.
    Quiet,
    /// A watch has reported a reset.
    Confirmed,
}

/// The next step of a flow.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Next {
    Send(Chunk),
    Finish,
    Receive,
    /// A pipe, for bulk.
    TakePipe,
    /// A place in the splice queue: the pipe may have something to move.
    Splice,
}

/// A flow's pipe, and what is in it. Packed, so that a flow takes 34 bytes and not 40.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(Rust, packed(2))]
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
    /// Bytes or the end are known to be in the socket: the last receive left them there, or a watch
    /// has reported them.
    pub more: bool,
    /// Large receives in a row, up to [`BULK_AFTER`].
    large: u8,
    /// Bytes from which the receive in flight counts as large: `bulk_bytes`, or the size of a
    /// multishot receive if that is less.
    large_from: u16,
    /// It is in the splice queue.
    pub queued: bool,
    /// At the last look the sink's peer had not acknowledged all that was sent to it.
    pub undelivered: bool,
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
            large_from: u16::MAX,
            queued: false,
            undelivered: false,
            pipe: None,
        }
    }
}

impl Flow {
    /// The one operation that this flow wants now, if any. `buffers_short`: few are free.
    #[must_use]
    pub fn next(&self, buffers_short: bool) -> Option<Next> {
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
            // Bytes that were received before the pipe are sent before it is used.
            return self.queue[0].is_none().then_some(Next::TakePipe);
        }
        self.has_room(buffers_short).then_some(Next::Receive)
    }

    /// True if the flow may hold one more buffer. Backpressure is this function: without room a
    /// flow asks for nothing, and TCP does the rest. While buffers are short a flow holds one, and
    /// one whose sink takes nothing does not ask for more.
    fn has_room(&self, buffers_short: bool) -> bool {
        if buffers_short {
            return self.queue[0].is_none() && self.sink == Sink::Idle;
        }
        self.queue[QUEUE_MAX - 1].is_none()
    }

    fn next_bulk(&self, pipe: Pipe) -> Option<Next> {
        if self.sink != Sink::Idle || self.queued {
            return None;
        }
        // A source never ends while there is a pipe: only a receive reports the end.
        (self.source == Source::Idle || pipe.held > 0).then_some(Next::Splice)
    }

    /// True if a receive is in flight.
    #[must_use]
    pub fn is_receiving(&self) -> bool {
        matches!(self.source, Source::Receiving { .. })
    }

    /// Whether the receive in flight may have missed a reset; `NotNeeded` if there is no receive.
    #[must_use]
    pub fn reset_check(&self) -> ResetCheck {
        match self.source {
            Source::Receiving { reset_check, .. } => reset_check,
            _ => ResetCheck::NotNeeded,
        }
    }

    /// True if bytes wait to be sent.
    #[must_use]
    pub fn is_pending(&self) -> bool {
        self.queue[0].is_some() || self.pipe.is_some_and(|pipe| pipe.held > 0)
    }

    /// Takes the pipe that was asked for. Without one the flow goes on through buffers, and asks
    /// again after [`BULK_AFTER`] more large receives.
    pub fn promoted(&mut self, pipe: Option<PipeId>) {
        assert_eq!(self.source, Source::Promoting, "a pipe was asked for");
        enter(&mut self.source, Source::Idle);
        self.large = 0;
        self.pipe = pipe.map(|id| Pipe { id, held: 0 });
    }

    /// True if splice(2) moved no byte from a source that was known to be readable, or answered
    /// `unsure`: either may mean an urgent byte, so a receive must decide.
    #[must_use]
    pub fn is_refused(&self, moved: &SpliceResult) -> bool {
        moved.unsure || (moved.dry && moved.received == 0 && self.more)
    }

    /// Begins the next receive and returns how to submit it. On a `nonblocking` leg it must try
    /// first, or it answers EAGAIN although bytes are there. A receive of `bulk` bytes is large.
    ///
    /// Multishot saves a submission for each receive; large receives are better one-shot, each into
    /// a whole buffer.
    pub fn receive(&mut self, nonblocking: bool, bulk: u16, multishot: u16) -> Receive {
        assert_eq!(self.source, Source::Idle, "one receive at a time");
        enter(&mut self.source, Source::RECEIVING);
        self.large_from = bulk;
        if self.more || nonblocking {
            Receive::AtOnce
        } else if self.large > 0 || multishot == 0 {
            Receive::Once
        } else {
            self.large_from = bulk.min(multishot);
            Receive::Multishot { bytes: multishot }
        }
    }

    /// Begins the next receive, into a buffer of the reserve. `session/starved.rs` decides which
    /// flows may use the reserve.
    pub fn receive_reserved(&mut self, bytes: u16, bulk: u16) -> Receive {
        assert_eq!(self.source, Source::Starved, "the reserve is for those that found no buffer");
        enter(&mut self.source, Source::RECEIVING);
        self.large_from = bulk;
        Receive::Reserved { bytes }
    }

    /// Appends a received chunk; `last` if it ends the receive. A multishot receive goes on while
    /// the queue is full: then the chunk's bytes must be copied behind the last chunk, which is
    /// returned as it was before. They fit: that buffer holds only bytes of this receive, and all
    /// that one multishot receive brings fits into one buffer.
    #[must_use]
    pub fn append(&mut self, chunk: Chunk, last: bool) -> Option<Chunk> {
        let Source::Receiving { reset_check, .. } = &mut self.source else {
            panic!("bytes come from a receive, not from {:?}", self.source)
        };
        if last {
            enter(&mut self.source, Source::Idle);
        } else {
            *reset_check = ResetCheck::Armed;
        }
        let large = chunk.len() >= self.large_from;
        self.large = if large { (self.large + 1).min(BULK_AFTER) } else { 0 };
        if let Some(place) = self.queue.iter_mut().find(|place| place.is_none()) {
            *place = Some(chunk);
            return None;
        }
        let full = self.queue[QUEUE_MAX - 1].as_mut().expect("no place is free");
        let before = *full;
        full.end = full.end.checked_add(chunk.len()).expect("a multishot receive fits a buffer");
        Some(before)
    }

    /// Ends a receive that has found no buffer. True if the flow must wait for one; it wants none
    /// if its queue has no room (any more) or it is about to take a pipe.
    #[must_use]
    pub fn starved(&mut self, buffers_short: bool) -> bool {
        assert!(self.is_receiving(), "a receive looks for a buffer");
        let waits = self.large < BULK_AFTER && self.has_room(buffers_short);
        enter(&mut self.source, if waits { Source::Starved } else { Source::Idle });
        waits
    }

    /// Takes `count` sent bytes off the front chunk. Returns the chunk when it is empty.
    pub fn sent(&mut self, count: u16) -> Option<Chunk> {
        assert_eq!(self.sink, Sink::Sending, "a send was asked for");
        enter(&mut self.sink, Sink::Idle);
        let front = self.queue[0].as_mut().expect("the front chunk was the kernel's");
        assert!(0 < count && count <= front.len(), "the kernel takes a part of what it is given");
        front.start += count;
        if front.len() > 0 { None } else { self.pop() }
    }

    /// Takes the front chunk out of the queue. No send of it may be in flight.
    pub fn pop(&mut self) -> Option<Chunk> {
        assert_ne!(self.sink, Sink::Sending, "the front chunk is the kernel's");
        let front = self.queue[0].take();
        self.queue.rotate_left(1);
        front
    }

    /// A new sink gets everything from the beginning, and these bytes first, which were sent
    /// before. No send may be in flight.
    pub(crate) fn send_again(&mut self, first: Option<Chunk>) {
        assert_ne!(self.sink, Sink::Sending, "the front chunk is the kernel's");
        *self = Flow { sink: Sink::Idle, undelivered: false, queued: false, ..*self };
        if let Some(front) = &mut self.queue[0] {
            front.start = 0;
        }
        if first.is_some() {
            let has_room = self.queue.iter().any(Option::is_none);
            assert!(has_room, "there is room for what was kept");
            self.queue.rotate_right(1);
            self.queue[0] = first;
        }
    }

    /// Empties the queue, except for a front chunk whose send is in flight.
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
#[path = "flow/tests.rs"]
mod tests;
