//! This shard's io_uring: the kernel's side of the seam. Nothing else in weir names io_uring.
//!
//! SINGLE_ISSUER + DEFER_TASKRUN: answers are made only while this thread waits in `enter`, never
//! by an interrupt in the middle of a turn. `submit()` alone would run none of them, so every
//! call into the kernel here asks for events.

#![allow(unsafe_code)]

mod batch;
mod buffers;
mod cqe;
mod pipes;
mod setup;
mod sqe;
mod watch;

use std::mem::ManuallyDrop;
use std::net::{IpAddr, SocketAddr};
use std::ops::RangeInclusive;
use std::os::fd::{IntoRawFd, OwnedFd, RawFd};

use io_uring::types::{SubmitArgs, Timespec};
use io_uring::{IoUring, cqueue, squeue};
use weir_core::action::How;
use weir_core::base::clock::Now;
use weir_core::event::{
    BufferId, Chunk, Errno, Interest, Leg, PeerProgress, PipeId, Receive, SpliceResult,
};
use weir_core::limits::ANSWERS_PER_TURN_MAX;
use weir_core::session::SpliceRequest;
use weir_core::steering::Steering;
use weir_proto::address::Address;
use weir_proto::bind_address::BindAddress;
use weir_proto::session::LegRow;
use weir_proto::snapshot::Keepalive;

use crate::io::{Counts, FreeBuffers, Io, Op, Outcome, Token};
use crate::sys::{self, memory, peek, rights, socket, source, steer, tcp_info};
use batch::{Batch, MIN_WAIT_US};
use buffers::Buffers;
use pipes::Pipes;
pub(crate) use setup::{probe, refusal};
use sqe::Arguments;
use watch::Watches;

/// How old a look at ip_local_port_range may be that says which connects can meet themselves, in
/// milliseconds. People widen the range while weir runs.
const PORTS_AGE_MS: u32 = 1_000;

/// Bytes of one receive buffer.
pub const BUFFER_BYTES: u16 = buffers::SIZE;

/// How a ring is made.
#[derive(Clone, Copy, Debug)]
pub struct RingSetup {
    /// Buffers of [`BUFFER_BYTES`] bytes; a power of two.
    pub buffers: u16,
    /// Entries of the completion queue.
    pub completions: u32,
    /// Pipes at most.
    pub pipes: u16,
    /// The eventfd that the mailbox rings.
    pub bell: RawFd,
}

/// Bytes of RLIMIT_MEMLOCK that a ring of these sizes takes.
pub(crate) fn locked_bytes(completions: u32, buffers: u16) -> u64 {
    setup::locked_bytes(completions) + Buffers::locked_bytes(buffers)
}

/// One ring with its buffers.
pub struct Ring {
    ring: IoUring,
    buffers: Buffers,
    /// Memory that operations point to until they are submitted, or until they are answered. Never
    /// given back: the bell's read is still asked for when the ring goes, and the kernel lets go of
    /// it some time later.
    arguments: ManuallyDrop<Box<Arguments>>,
    watches: Watches,
    pipes: Pipes,
    bell: RawFd,
    batch: Batch,
    /// The kernel ends a multishot receive after N bytes.
    multishot: bool,
    local_ports: Option<RangeInclusive<u16>>,
    /// When `local_ports` was read.
    ports_read_at: Now,
    /// Answers that were taken since the last wait.
    taken: u32,
    counts: Counts,
    /// When the last wait was over; zero before the first one, which no turn has come before.
    woke_at: Now,
}

impl Ring {
    /// Sets the ring up on the calling thread, which becomes its only issuer.
    ///
    /// # Errors
    /// io_uring is unavailable, or memory or descriptors ran out.
    pub fn new(setup: RingSetup) -> std::io::Result<Ring> {
        let mut ring = setup::build(setup.completions)?;
        let buffers = Buffers::new(&ring, setup.buffers)?;
        setup::enable(&ring)?; // the last registration was above
        let multishot = setup::ends_multishots(&mut ring)?;
        let batch = Batch::new(ring.params().is_feature_min_timeout());
        let mut ring = Ring {
            ring,
            buffers,
            arguments: ManuallyDrop::new(Box::default()),
            watches: Watches::new()?,
            pipes: Pipes::new(setup.pipes),
            bell: setup.bell,
            batch,
            multishot,
            local_ports: None,
            ports_read_at: Now { nanos: 0 },
            taken: 0,
            counts: Counts::default(),
            woke_at: Now { nanos: 0 },
        };
        ring.poll_watches();
        Ok(ring)
    }

    /// Puts an entry into the submission queue; a full one is handed to the kernel first.
    fn push(&mut self, entry: &squeue::Entry) {
        loop {
            // SAFETY: what the entry points to lives until it is answered: buffers belong to the
            // ring, and `arguments` keeps addresses until they are submitted (SUBMIT_STABLE).
            if unsafe { self.ring.submission().push(entry) }.is_ok() {
                return;
            }
            self.enter(0, None);
        }
    }

    /// Waits for news of watched legs, which are an epoll's: io_uring's own poll always reports
    /// POLLRDHUP, which a leg whose FIN has come always has.
    fn poll_watches(&mut self) {
        self.push(&sqe::poll(self.watches.fd()).user_data(Token::Watches.pack()));
    }

    /// One io_uring_enter: submits everything, waits for `want` answers (not long for more than
    /// one) or until `timeout`.
    fn enter(&mut self, want: u32, timeout: Option<Timespec>) {
        self.counts.enters += 1;
        let submitter = self.ring.submitter();
        let mut args = SubmitArgs::new();
        if want > 1 {
            args = args.min_wait_usec(MIN_WAIT_US);
        }
        if let Some(timeout) = &timeout {
            args = args.timespec(timeout);
        }
        let result = if want > 1 || timeout.is_some() {
            submitter.submit_with_args(want as usize, &args)
        } else {
            submitter.submit_and_wait(want as usize)
        };
        if let Err(error) = result {
            match error.raw_os_error() {
                // Time is over, a signal came, or answers wait for room: the caller looks at them.
                Some(libc::ETIME | libc::EINTR | libc::EAGAIN | libc::EBUSY) => {}
                // EBADR says that answers were lost; the ledger of this shard is void with them.
                _ => panic!("io_uring_enter: {error}"),
            }
        }
        let submission = self.ring.submission();
        // The queue's own counter stays 0: nothing is dropped, the kernel keeps answers aside.
        self.counts.overflows += u64::from(submission.cq_overflow());
        if submission.is_empty() {
            drop(submission);
            self.arguments.submitted();
        }
    }
}

impl Io for Ring {
    fn now(&mut self) -> Now {
        sys::now()
    }

    fn submit(&mut self, token: Token, op: Op) {
        if !self.arguments.has_room() {
            self.enter(0, None);
        }
        let entry = match op {
            Op::Accept(listener) => sqe::accept(listener),
            Op::Connect(leg, address) => sqe::connect(leg, self.arguments.address(address)),
            Op::Receive { leg, how: Receive::Multishot { .. } } if !self.multishot => {
                sqe::receive(leg, Receive::Once)
            }
            Op::Receive { leg, how } => sqe::receive(leg, how),
            Op::Send { leg, chunk } => sqe::send(leg, self.buffers.bytes(chunk), chunk.len()),
            Op::Cancel(target) => sqe::cancel(target),
            Op::Bell => sqe::read_bell(self.bell, self.arguments.bell()),
        };
        self.push(&entry.user_data(token.pack()));
    }

    fn next_completion(&mut self) -> Option<(Token, Outcome)> {
        if self.taken == ANSWERS_PER_TURN_MAX {
            return None;
        }
        if let Some((token, ready)) = self.watches.take() {
            self.taken += 1;
            return Some((token, Outcome::Ready(ready)));
        }
        let entry = self.ring.completion().next()?;
        self.counts.completions += 1;
        self.batch.count();
        let bits = entry.user_data();
        let token = Token::unpack(bits).expect("the kernel gives back what it was given");
        if token == Token::Watches {
            self.watches.look();
            self.poll_watches();
            return self.next_completion();
        }
        self.taken += 1;
        let outcome = cqe::decode(token, entry.result(), entry.flags());
        if let Some(buffer) = cqe::buffer(entry.flags()) {
            self.buffers.taken(buffer, cqe::holds_bytes(&outcome));
        }
        Some((token, outcome))
    }

    fn merge(&mut self, chunk: Chunk, into: BufferId, at: u16) {
        self.buffers.merge(chunk, into, at);
    }

    fn release(&mut self, buffer: BufferId) {
        self.buffers.release(buffer);
    }

    fn free_buffers(&self) -> FreeBuffers {
        self.buffers.free()
    }

    fn room(&mut self, leg: Leg) -> u32 {
        memory::room(leg)
    }

    fn open(&mut self, address: Address) -> Result<Leg, Errno> {
        socket::open(address)
    }

    fn bind(&mut self, leg: Leg, source: IpAddr, address: &SocketAddr) -> Result<(), Errno> {
        source::bind(leg.0, source, address)
    }

    fn limit_memory(&mut self, leg: Leg, bytes: u32) {
        memory::limit(leg, bytes);
    }

    fn peer(&mut self, leg: Leg) -> Option<SocketAddr> {
        socket::peer(leg)
    }

    fn local(&mut self, leg: Leg) -> Option<SocketAddr> {
        socket::own(leg)
    }

    fn peek(&mut self, leg: Leg, into: &mut [u8]) -> Result<usize, Errno> {
        peek::peek(leg, into)
    }

    fn discard(&mut self, leg: Leg, count: usize) -> Result<(), Errno> {
        peek::discard(leg, count)
    }

    fn wake_at(&mut self, leg: Leg, count: usize) {
        peek::wake_at(leg, count);
    }

    fn has_finished(&mut self, leg: Leg) -> bool {
        peek::has_finished(leg)
    }

    fn send_now(&mut self, leg: Leg, bytes: &[u8]) -> bool {
        socket::send_now(leg, bytes)
    }

    fn describe(&mut self, leg: Leg) -> Option<LegRow> {
        tcp_info::describe(leg)
    }

    fn is_gone(&mut self, leg: Leg) -> bool {
        socket::is_unconnected(leg)
    }

    fn has_met_itself(&mut self, leg: Leg, address: &SocketAddr) -> bool {
        if self.ports_read_at.plus_millis(PORTS_AGE_MS) <= self.woke_at {
            self.local_ports = socket::local_ports();
            self.ports_read_at = self.woke_at;
        }
        let port = address.port();
        let may_be = self.local_ports.as_ref().is_none_or(|ports| ports.contains(&port));
        may_be && socket::is_its_own_peer(leg, port)
    }

    fn stays_here(&mut self, leg: Leg, is_bound: bool) -> bool {
        socket::stays_here(leg) || (is_bound && source::leads_here(leg))
    }

    fn accept(&mut self, listener: Leg) -> Result<Leg, Errno> {
        socket::accept(listener)
    }

    fn queued(&mut self, listener: Leg) -> u32 {
        socket::queued(listener)
    }

    fn watch(&mut self, token: Token, leg: Leg, interest: Interest) {
        self.watches.add(token, leg, interest);
    }

    fn take_pipe(&mut self) -> Option<PipeId> {
        self.pipes.take()
    }

    fn return_pipe(&mut self, pipe: PipeId, empty: bool) {
        self.pipes.put_back(pipe, empty);
    }

    fn set_nonblocking(&mut self, leg: Leg, on: bool) {
        socket::set_nonblocking(leg, on);
    }

    fn peer_progress(&mut self, leg: Leg, closely: bool) -> PeerProgress {
        socket::peer_progress(leg, closely)
    }

    fn keep_alive(&mut self, leg: Leg, keepalive: Keepalive) {
        socket::keep_alive(leg, keepalive);
    }

    fn error(&mut self, leg: Leg) -> Option<Errno> {
        socket::error(leg)
    }

    fn splice(&mut self, request: SpliceRequest, bytes: u32) -> SpliceResult {
        self.pipes.splice(request, bytes)
    }

    fn finish(&mut self, leg: Leg) {
        socket::finish(leg);
    }

    fn close(&mut self, leg: Leg, how: How) {
        socket::close(leg, how);
    }

    fn listen(&mut self, socket: OwnedFd) -> Result<Leg, Errno> {
        let leg = Leg(socket.into_raw_fd());
        socket::set_nonblocking(leg, true); // `accept` must not wait
        socket::listen(leg).inspect_err(|_| socket::close(leg, How::Fin))?;
        Ok(leg)
    }

    fn steer(&mut self, listener: Leg, address: BindAddress, steering: Option<Steering>) {
        steer::steer(listener, &address, steering);
    }

    fn shutdown_listener(&mut self, listener: Leg) {
        socket::shutdown_listener(listener);
    }

    fn pause_listener(&mut self, listener: Leg) {
        socket::shutdown_listener(listener);
    }

    fn resume_listener(&mut self, listener: Leg) -> Result<(), Errno> {
        socket::listen(listener)
    }

    fn channel(&mut self, socket: OwnedFd) -> Leg {
        Leg(socket.into_raw_fd())
    }

    fn give(&mut self, channel: Leg, message: &[u8], descriptors: &[Leg]) -> Result<(), Errno> {
        rights::give(channel, message, descriptors)
    }

    fn take(
        &mut self,
        channel: Leg,
        message: &mut Vec<u8>,
        descriptors: &mut Vec<Leg>,
    ) -> Result<(), Errno> {
        rights::take(channel, message, descriptors)
    }

    fn let_go(&mut self, leg: Leg) {
        self.watches.remove(leg);
        rights::let_go(leg);
    }

    fn read(&mut self, chunk: Chunk, into: &mut Vec<u8>) {
        self.buffers.read(chunk, into);
    }

    fn fill(&mut self, bytes: &[u8]) -> Option<BufferId> {
        self.buffers.fill(bytes)
    }

    fn pipe_ends(&mut self, pipe: PipeId) -> [Leg; 2] {
        self.pipes.ends(pipe)
    }

    fn put_pipe(&mut self, ends: [Leg; 2]) -> PipeId {
        self.pipes.put(ends)
    }

    fn wait(&mut self, until: Option<Now>) {
        self.buffers.publish();
        let before = sys::now();
        if self.woke_at.nanos > 0 {
            self.counts.turned(before - self.woke_at);
        }
        self.taken = 0;
        let want = self.batch.want();
        // What the turn has left in the completion queue ends the wait by itself.
        match until {
            _ if self.watches.has_news() => self.enter(0, None),
            None => self.enter(want, None),
            Some(until) if until <= before => self.enter(0, None),
            Some(until) => self.enter(want, Some(Timespec::from(until - before))),
        }
        self.woke_at = sys::now();
        self.counts.waited += self.woke_at - before;
    }

    fn salvage(&mut self) -> Option<Leg> {
        self.buffers.keep_for_the_kernel();
        let accepted = |entry: cqueue::Entry| {
            let token = Token::unpack(entry.user_data());
            let is_leg = matches!(token, Some(Token::Accept { .. })) && entry.result() >= 0;
            is_leg.then(|| Leg(entry.result()))
        };
        self.ring.completion().find_map(accepted)
    }

    fn take_counts(&mut self) -> Counts {
        std::mem::take(&mut self.counts)
    }
}

#[cfg(test)]
mod tests;
