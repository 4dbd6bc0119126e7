//! The seam between the balancer and the world. The ring and the simulator's kernel implement it,
//! nothing else does.

mod token;

use std::net::{IpAddr, SocketAddr};
use std::os::fd::OwnedFd;
use std::time::Duration;

pub use token::{Kind, Token};
use weir_core::action::How;
use weir_core::base::clock::Now;
use weir_core::event::{
    BufferId, Chunk, Completion, Errno, Interest, Leg, PeerProgress, PipeId, Ready, Receive,
    SpliceResult,
};
use weir_core::session::SpliceRequest;
use weir_core::steering::Steering;
use weir_proto::address::Address;
use weir_proto::bind_address::BindAddress;
use weir_proto::session::LegRow;
use weir_proto::snapshot::Keepalive;

/// What is asked of the kernel. Each operation is answered by exactly one [`Outcome`], a
/// multishot receive by any number of them that are not its last.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Op {
    /// The next connection of a listener.
    Accept(Leg),
    Connect(Leg, Address),
    /// Into any free buffer.
    Receive {
        leg: Leg,
        how: Receive,
    },
    /// `leg` takes some or all of `chunk` at once, or the answer is EAGAIN.
    Send {
        leg: Leg,
        chunk: Chunk,
    },
    /// Take back the operation with this token. Its own answer comes anyway.
    Cancel(Token),
    /// Somebody has put an order into the mailbox.
    Bell,
}

/// The kernel's word on an operation, decoded.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    Accepted(Result<Leg, Errno>),
    Session(Completion),
    /// News of a watched leg.
    Ready(Ready),
    Rang,
}

/// Asks the kernel and hears its answers.
///
/// Sockets that come out of it (`open`, an accepted leg) are the caller's until `close`.
pub trait Io {
    /// The monotonic clock. Read once a turn.
    fn now(&mut self) -> Now;

    /// Asks for `op`; its answer carries `token`. A full queue is flushed, never grown.
    fn submit(&mut self, token: Token, op: Op);

    /// The next answer, if one has come. After `ANSWERS_PER_TURN_MAX` of them the rest comes after
    /// the next wait, which then does not wait.
    fn next_completion(&mut self) -> Option<(Token, Outcome)>;

    /// Copies the chunk's bytes into that buffer, from byte `at` on. Nothing is being sent from
    /// there.
    fn merge(&mut self, chunk: Chunk, into: BufferId, at: u16);

    /// The bytes of this buffer are no longer needed.
    fn release(&mut self, buffer: BufferId);

    /// Buffers that no session holds.
    fn free_buffers(&self) -> FreeBuffers;

    /// Bytes that `leg` takes at once, about; 0 if it is not writable. A leg that cannot be sent to
    /// any more says 1: the send tells why.
    fn room(&mut self, leg: Leg) -> u32;

    /// A socket that can be connected to `address`.
    ///
    /// # Errors
    /// EMFILE, ENFILE, ENOBUFS, ENOMEM: this host ran out.
    fn open(&mut self, address: Address) -> Result<Leg, Errno>;

    /// Has a connect of `leg` to `address` come from `source`, of the same family. Its port is
    /// chosen when the connect is made, among those that no other connection from there to
    /// `address` has. A leg whose connect has failed for want of one may be bound again.
    ///
    /// # Errors
    /// EADDRNOTAVAIL: this host does not have it.
    fn bind(&mut self, leg: Leg, source: IpAddr, address: &SocketAddr) -> Result<(), Errno>;

    /// Has the kernel keep at most about `bytes` bytes of memory for `leg` in each direction.
    fn limit_memory(&mut self, leg: Leg, bytes: u32);

    /// The other end's address of a connected leg, if the kernel still knows it.
    fn peer(&mut self, leg: Leg) -> Option<SocketAddr>;

    /// This end's address of a connected leg.
    fn local(&mut self, leg: Leg) -> Option<SocketAddr>;

    /// Copies what has come to `leg`, and leaves it there. 0: the peer has sent its FIN, and no
    /// byte.
    ///
    /// # Errors
    /// EAGAIN: nothing has come. Otherwise what recv(2) says.
    fn peek(&mut self, leg: Leg, into: &mut [u8]) -> Result<usize, Errno>;

    /// Takes bytes that were looked at.
    ///
    /// # Errors
    /// The peer has reset meanwhile.
    fn discard(&mut self, leg: Leg, count: usize) -> Result<(), Errno>;

    /// Makes `leg` readable only with `count` bytes, or at its end. 1 is as it was.
    fn wake_at(&mut self, leg: Leg, count: usize);

    /// True if the peer's FIN or reset has come, perhaps behind bytes.
    fn has_finished(&mut self, leg: Leg) -> bool;

    /// Hands a few bytes to the kernel at once; nothing is in flight towards that side. False if it
    /// did not take all of them.
    fn send_now(&mut self, leg: Leg, bytes: &[u8]) -> bool;

    /// A connected leg, by the kernel.
    fn describe(&mut self, leg: Leg) -> Option<LegRow>;

    /// True if the peer of a connected leg has reset the connection. Changes nothing: the error is
    /// still told to whoever asks the leg next.
    fn is_gone(&mut self, leg: Leg) -> bool;

    /// True if a connect to `address` that has succeeded on `leg` has met itself: with nobody
    /// listening on a port of this host that connect(2) may also take as its own, two SYNs of one
    /// socket can cross (RFC 9293, simultaneous open), and the socket is its own peer.
    fn has_met_itself(&mut self, leg: Leg, address: &SocketAddr) -> bool;

    /// True if a connected leg's peer is at an address of this host, whichever interfaces it has at
    /// this moment. `is_bound`: the leg may come from another address than the kernel would choose.
    fn stays_here(&mut self, leg: Leg, is_bound: bool) -> bool;

    /// The next client of a listener, at once.
    ///
    /// # Errors
    /// EAGAIN: nobody waits. EINVAL: it was shut down. Otherwise what accept(2) says.
    fn accept(&mut self, listener: Leg) -> Result<Leg, Errno>;

    /// Clients that wait at a listener, as far as the kernel says.
    fn queued(&mut self, listener: Leg) -> u32;

    /// Tells once, by [`Outcome::Ready`] with `token`, when `leg` is ready for one of `interest` or
    /// is reset; a listener is readable when a client waits. Replaces what it was watched for
    /// before. It is no operation: the news may never come, it ends with the leg, and it may still
    /// come after the leg was closed.
    fn watch(&mut self, token: Token, leg: Leg, interest: Interest);

    /// An empty pipe for bulk. `None`: all are in use, or this host has run out of descriptors.
    fn take_pipe(&mut self) -> Option<PipeId>;

    /// A pipe is used no more. One that is not `empty` is thrown away.
    fn return_pipe(&mut self, pipe: PipeId, empty: bool);

    /// Makes a leg answer EAGAIN where an operation would wait, or wait again.
    fn set_nonblocking(&mut self, leg: Leg, on: bool);

    /// How the peer stands with what was sent to it.
    fn peer_progress(&mut self, leg: Leg, closely: bool) -> PeerProgress;

    /// Has the kernel ask an idle peer whether it is there; one that is not fails an operation on
    /// `leg`, or its watch, with ETIMEDOUT.
    fn keep_alive(&mut self, leg: Leg, keepalive: Keepalive);

    /// The error of `leg` that nobody was told of yet. It is told once.
    fn error(&mut self, leg: Leg) -> Option<Errno>;

    /// Moves up to `bytes` bytes, or one pipe's load more, from one leg through a pipe to the
    /// other, at once. Both legs must be non-blocking, and nothing in flight in that direction.
    fn splice(&mut self, request: SpliceRequest, bytes: u32) -> SpliceResult;

    /// Sends a FIN. What the peer sends can still be received.
    fn finish(&mut self, leg: Leg);

    /// Closes a leg with nothing in flight.
    fn close(&mut self, leg: Leg, how: How);

    /// Starts to listen on a bound socket.
    ///
    /// # Errors
    /// What listen(2) says.
    fn listen(&mut self, socket: OwnedFd) -> Result<Leg, Errno>;

    /// Has the kernel choose among the sockets that listen at this address; `None`: as it likes.
    fn steer(&mut self, listener: Leg, address: BindAddress, steering: Option<Steering>);

    /// Stops a listener at once: nobody is queued on it any more, and its pending accepts answer.
    fn shutdown_listener(&mut self, listener: Leg);

    /// The same, but it keeps its address and may [`Io::resume_listener`].
    fn pause_listener(&mut self, listener: Leg);

    /// Listens again.
    ///
    /// # Errors
    /// listen(2) has failed.
    fn resume_listener(&mut self, listener: Leg) -> Result<(), Errno>;

    /// An end of a channel to another shard, until it is let go of.
    fn channel(&mut self, socket: OwnedFd) -> Leg;

    /// Sends a message to another shard through a channel, with copies of these descriptors.
    ///
    /// # Errors
    /// EAGAIN, ETOOMANYREFS: it has to take some before. Otherwise what sendmsg(2) says: it is
    /// gone.
    fn give(&mut self, channel: Leg, message: &[u8], descriptors: &[Leg]) -> Result<(), Errno>;

    /// Takes the next message of another shard, with its descriptors: fewer than were given if this
    /// table is full. A message of no bytes: the other end is gone.
    ///
    /// # Errors
    /// EAGAIN: there is none for now. ECONNRESET: the other end is gone, and messages may follow.
    fn take(
        &mut self,
        channel: Leg,
        message: &mut Vec<u8>,
        descriptors: &mut Vec<Leg>,
    ) -> Result<(), Errno>;

    /// Closes a descriptor whose socket another shard has, too: the connection goes on. It is
    /// watched no more.
    fn let_go(&mut self, leg: Leg);

    /// Copies the bytes of a chunk behind those.
    fn read(&mut self, chunk: Chunk, into: &mut Vec<u8>);

    /// Puts bytes into a free buffer, at its beginning. `None`: none is free.
    fn fill(&mut self, bytes: &[u8]) -> Option<BufferId>;

    /// The reading and the writing end of a pipe.
    fn pipe_ends(&mut self, pipe: PipeId) -> [Leg; 2];

    /// A pipe of another shard's: its reading and its writing end.
    fn put_pipe(&mut self, ends: [Leg; 2]) -> PipeId;

    /// Submits what was asked and waits for at least one answer, or until `until`; not at all if
    /// `until` has passed.
    fn wait(&mut self, until: Option<Now>);

    /// The next connection that was accepted and not told of, for a shard that cannot go on:
    /// nothing else is asked afterwards but to shut listeners down and close legs. Checks nothing,
    /// asks the kernel for nothing: whatever made the shard panic may be here too.
    fn salvage(&mut self) -> Option<Leg>;

    /// Counts what the kernel's side has done since the last call.
    fn take_counts(&mut self) -> Counts;
}

/// What [`Io::free_buffers`] tells.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct FreeBuffers {
    /// Buffers that any receive may take...
    pub shared: u32,
    /// ...and those of the reserve, which only [`Receive::Reserved`] takes.
    pub reserved: u32,
    /// Half of the shared ones are free at most.
    pub low: bool,
}

/// Buffers of the reserve, of N in all.
#[must_use]
pub const fn reserve_of(buffers: u16) -> u16 {
    if buffers < 8 { 1 } else { buffers / 8 }
}

/// A turn that takes longer counts as slow: every other session of the shard has waited for it.
pub const SLOW_TURN: Duration = Duration::from_millis(50);

/// What [`Io::take_counts`] tells.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// Calls of io_uring_enter(2).
    pub enters: u64,
    /// Answers.
    pub completions: u64,
    /// Calls after which some answers did not fit into the completion queue and were kept aside.
    pub overflows: u64,
    /// The time spent waiting.
    pub waited: Duration,
    /// The longest turn, from one wait to the next.
    pub turn_max: Duration,
    /// Turns that were longer than [`SLOW_TURN`].
    pub slow_turns: u64,
}

impl Counts {
    /// A turn is over.
    pub(crate) fn turned(&mut self, took: Duration) {
        self.turn_max = self.turn_max.max(took);
        self.slow_turns += u64::from(took > SLOW_TURN);
    }
}
