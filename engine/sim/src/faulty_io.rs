//! Planted bugs: a wrapper at the seam that makes an honest shard behave like a broken one. A
//! simulator that lets one of them live lacks a checker.

use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr};
use std::os::fd::OwnedFd;

use weir_core::action::How;
use weir_core::base::clock::Now;
use weir_core::event::{
    BufferId, Chunk, Completion, Errno, Interest, Leg, PeerProgress, PipeId, Side, SpliceResult,
};
use weir_core::session::SpliceRequest;
use weir_core::steering::Steering;
use weir_engine::io::{Counts, FreeBuffers, Io, Op, Outcome, Token};
use weir_proto::address::Address;
use weir_proto::bind_address::BindAddress;
use weir_proto::session::LegRow;
use weir_proto::snapshot::Keepalive;

/// One planted bug.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mutant {
    /// The FIN is passed on before what was read is sent.
    FinBeforeFlush,
    /// ECONNRESET is taken for the end of the stream.
    ResetReadAsEnd,
    /// A buffer is given back while a send reads from it.
    FreeUnderASend,
    /// The rest of a short send is forgotten.
    ShortSendForgotten,
    /// A cut session is closed with a FIN.
    FinForReset,
    /// What arrives after a cancel is dropped without giving its buffer back.
    LateDataLeaks,
    /// Cancels are answered, but never made.
    NoCancel,
    /// A listener is not shut down.
    NoShutdown,
    /// A short of descriptors looks like a refusal.
    LocalLooksRefused,
}

impl Mutant {
    pub const ALL: [Mutant; 9] = [
        Mutant::FinBeforeFlush,
        Mutant::ResetReadAsEnd,
        Mutant::FreeUnderASend,
        Mutant::ShortSendForgotten,
        Mutant::FinForReset,
        Mutant::LateDataLeaks,
        Mutant::NoCancel,
        Mutant::NoShutdown,
        Mutant::LocalLooksRefused,
    ];
}

/// A world with a planted bug between it and the shard.
#[derive(Debug)]
pub struct FaultyIo<I> {
    io: I,
    mutant: Mutant,
    /// Legs of each session by slot, as its receives named them.
    legs: BTreeMap<u32, [Option<Leg>; 2]>,
    /// What each send was given.
    sending: BTreeMap<u64, u16>,
    /// Legs on which the FIN was sent too early.
    finished: Vec<Leg>,
    /// Buffers that were given back too early.
    freed: Vec<BufferId>,
    /// Buffers of answers that came after a cancel.
    late: Vec<BufferId>,
    canceled: Vec<u64>,
    unanswered: Vec<Token>,
}

impl<I> FaultyIo<I> {
    pub fn new(io: I, mutant: Mutant) -> FaultyIo<I> {
        FaultyIo {
            io,
            mutant,
            legs: BTreeMap::new(),
            sending: BTreeMap::new(),
            finished: Vec::new(),
            freed: Vec::new(),
            late: Vec::new(),
            canceled: Vec::new(),
            unanswered: Vec::new(),
        }
    }
}

/// Removes an item; true if it was there.
fn remove<T: PartialEq>(from: &mut Vec<T>, item: &T) -> bool {
    let place = from.iter().position(|other| other == item);
    place.map(|place| from.swap_remove(place)).is_some()
}

impl<I: Io> FaultyIo<I> {
    fn on_answer(&mut self, token: Token, done: Completion) -> Completion {
        match (self.mutant, done, token) {
            (Mutant::FinBeforeFlush, Completion::Ended, Token::Session { id, side, .. }) => {
                let legs = self.legs.get(&id.slot).copied().unwrap_or_default();
                if let Some(leg) = legs[side.other() as usize] {
                    self.io.finish(leg);
                    self.finished.push(leg);
                }
                done
            }
            (Mutant::ResetReadAsEnd, Completion::ReceiveFailed(Errno::ECONNRESET), _) => {
                Completion::Ended
            }
            (Mutant::ShortSendForgotten, Completion::Sent(_), token) => {
                let all = self.sending.get(&token.pack()).copied().unwrap_or(1);
                Completion::Sent(all.into())
            }
            (Mutant::LateDataLeaks, Completion::Received { buffer, .. }, token)
                if remove(&mut self.canceled, &token.pack()) =>
            {
                self.late.push(buffer);
                done
            }
            (Mutant::LocalLooksRefused, Completion::Connected(Err(errno)), _)
                if errno.is_local() =>
            {
                Completion::Connected(Err(Errno::ECONNREFUSED))
            }
            _ => done,
        }
    }
}

impl<I: Io> Io for FaultyIo<I> {
    fn now(&mut self) -> Now {
        self.io.now()
    }

    fn submit(&mut self, token: Token, op: Op) {
        if let (Op::Receive { leg, .. }, Token::Session { id, side, .. }) = (op, token) {
            let legs = self.legs.entry(id.slot).or_default();
            if side == Side::Client {
                *legs = [None, None];
            }
            legs[side as usize] = Some(leg);
            self.canceled.retain(|other| *other != token.pack());
        }
        if let Op::Send { chunk, .. } = op {
            self.sending.insert(token.pack(), chunk.len());
        }
        if let Op::Cancel(target) = op {
            self.canceled.push(target.pack());
            if self.mutant == Mutant::NoCancel {
                return self.unanswered.push(token);
            }
        }
        self.io.submit(token, op);
        if let (Mutant::FreeUnderASend, Op::Send { chunk, .. }) = (self.mutant, op) {
            self.io.release(chunk.buffer);
            self.freed.push(chunk.buffer);
        }
    }

    fn next_completion(&mut self) -> Option<(Token, Outcome)> {
        if let Some(token) = self.unanswered.pop() {
            return Some((token, Outcome::Session(Completion::Canceled)));
        }
        let (token, outcome) = self.io.next_completion()?;
        let outcome = match outcome {
            Outcome::Session(done) => Outcome::Session(self.on_answer(token, done)),
            other => other,
        };
        Some((token, outcome))
    }

    fn merge(&mut self, chunk: Chunk, into: BufferId, at: u16) {
        self.io.merge(chunk, into, at);
    }

    fn release(&mut self, buffer: BufferId) {
        if !remove(&mut self.freed, &buffer) && !remove(&mut self.late, &buffer) {
            self.io.release(buffer);
        }
    }

    fn free_buffers(&self) -> FreeBuffers {
        self.io.free_buffers()
    }

    fn room(&mut self, leg: Leg) -> u32 {
        self.io.room(leg)
    }

    fn open(&mut self, address: Address) -> Result<Leg, Errno> {
        self.io.open(address)
    }

    fn bind(&mut self, leg: Leg, source: IpAddr, address: &SocketAddr) -> Result<(), Errno> {
        self.io.bind(leg, source, address)
    }

    fn limit_memory(&mut self, leg: Leg, bytes: u32) {
        self.io.limit_memory(leg, bytes);
    }

    fn peer(&mut self, leg: Leg) -> Option<SocketAddr> {
        self.io.peer(leg)
    }

    fn local(&mut self, leg: Leg) -> Option<SocketAddr> {
        self.io.local(leg)
    }

    fn peek(&mut self, leg: Leg, into: &mut [u8]) -> Result<usize, Errno> {
        self.io.peek(leg, into)
    }

    fn discard(&mut self, leg: Leg, count: usize) -> Result<(), Errno> {
        self.io.discard(leg, count)
    }

    fn wake_at(&mut self, leg: Leg, count: usize) {
        self.io.wake_at(leg, count);
    }

    fn has_finished(&mut self, leg: Leg) -> bool {
        self.io.has_finished(leg)
    }

    fn send_now(&mut self, leg: Leg, bytes: &[u8]) -> bool {
        self.io.send_now(leg, bytes)
    }

    fn describe(&mut self, leg: Leg) -> Option<LegRow> {
        self.io.describe(leg)
    }

    fn is_gone(&mut self, leg: Leg) -> bool {
        self.io.is_gone(leg)
    }

    fn has_met_itself(&mut self, leg: Leg, address: &SocketAddr) -> bool {
        self.io.has_met_itself(leg, address)
    }

    fn stays_here(&mut self, leg: Leg, is_bound: bool) -> bool {
        self.io.stays_here(leg, is_bound)
    }

    fn accept(&mut self, listener: Leg) -> Result<Leg, Errno> {
        self.io.accept(listener)
    }

    fn queued(&mut self, listener: Leg) -> u32 {
        self.io.queued(listener)
    }

    fn watch(&mut self, token: Token, leg: Leg, interest: Interest) {
        self.io.watch(token, leg, interest);
    }

    fn take_pipe(&mut self) -> Option<PipeId> {
        self.io.take_pipe()
    }

    fn return_pipe(&mut self, pipe: PipeId, empty: bool) {
        self.io.return_pipe(pipe, empty);
    }

    fn set_nonblocking(&mut self, leg: Leg, on: bool) {
        self.io.set_nonblocking(leg, on);
    }

    fn peer_progress(&mut self, leg: Leg, closely: bool) -> PeerProgress {
        self.io.peer_progress(leg, closely)
    }

    fn keep_alive(&mut self, leg: Leg, keepalive: Keepalive) {
        self.io.keep_alive(leg, keepalive);
    }

    fn error(&mut self, leg: Leg) -> Option<Errno> {
        self.io.error(leg)
    }

    fn splice(&mut self, request: SpliceRequest, bytes: u32) -> SpliceResult {
        self.io.splice(request, bytes)
    }

    fn finish(&mut self, leg: Leg) {
        if !remove(&mut self.finished, &leg) {
            self.io.finish(leg);
        }
    }

    fn close(&mut self, leg: Leg, how: How) {
        let how = if self.mutant == Mutant::FinForReset { How::Fin } else { how };
        self.io.close(leg, how);
    }

    fn listen(&mut self, socket: OwnedFd) -> Result<Leg, Errno> {
        self.io.listen(socket)
    }

    fn steer(&mut self, listener: Leg, address: BindAddress, steering: Option<Steering>) {
        self.io.steer(listener, address, steering);
    }

    fn shutdown_listener(&mut self, listener: Leg) {
        if self.mutant != Mutant::NoShutdown {
            self.io.shutdown_listener(listener);
        }
    }

    fn pause_listener(&mut self, listener: Leg) {
        self.io.pause_listener(listener);
    }

    fn resume_listener(&mut self, listener: Leg) -> Result<(), Errno> {
        self.io.resume_listener(listener)
    }

    fn channel(&mut self, socket: OwnedFd) -> Leg {
        self.io.channel(socket)
    }

    fn give(&mut self, channel: Leg, message: &[u8], descriptors: &[Leg]) -> Result<(), Errno> {
        self.io.give(channel, message, descriptors)
    }

    fn take(
        &mut self,
        channel: Leg,
        message: &mut Vec<u8>,
        descriptors: &mut Vec<Leg>,
    ) -> Result<(), Errno> {
        self.io.take(channel, message, descriptors)
    }

    fn let_go(&mut self, leg: Leg) {
        self.io.let_go(leg);
    }

    fn read(&mut self, chunk: Chunk, into: &mut Vec<u8>) {
        self.io.read(chunk, into);
    }

    fn fill(&mut self, bytes: &[u8]) -> Option<BufferId> {
        self.io.fill(bytes)
    }

    fn pipe_ends(&mut self, pipe: PipeId) -> [Leg; 2] {
        self.io.pipe_ends(pipe)
    }

    fn put_pipe(&mut self, ends: [Leg; 2]) -> PipeId {
        self.io.put_pipe(ends)
    }

    fn wait(&mut self, until: Option<Now>) {
        self.io.wait(until);
    }

    fn salvage(&mut self) -> Option<Leg> {
        self.io.salvage()
    }

    fn take_counts(&mut self) -> Counts {
        self.io.take_counts()
    }
}
