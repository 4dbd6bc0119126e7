//! The simulated kernel behind the engine's seam.

use std::cell::RefCell;
use std::net::{IpAddr, SocketAddr};
use std::os::fd::{AsRawFd, OwnedFd};
use std::rc::Rc;

use weir_core::action::How;
use weir_core::base::clock::Now;
use weir_core::event::{BufferId, Chunk, Errno, Interest, Leg, PeerProgress, PipeId, SpliceResult};
use weir_core::session::SpliceRequest;
use weir_core::steering::Steering;
use weir_engine::io::{Counts, FreeBuffers, Io, Op, Outcome, Token};
use weir_proto::address::Address;
use weir_proto::bind_address::BindAddress;
use weir_proto::session::LegRow;
use weir_proto::snapshot::Keepalive;

use crate::kernel::Kernel;

/// One shard's handle on a kernel that the driver holds as well.
#[derive(Clone, Debug)]
pub struct SimIo(pub Rc<RefCell<Kernel>>);

/// The payload of a panic that the seed wanted: the shard dies in the middle of its turn.
#[derive(Debug)]
pub struct Struck;

impl SimIo {
    /// Panics, if the seed wants it here. No hook is called: nobody is to be told.
    fn strike(&self) {
        let strikes = self.0.borrow_mut().strikes();
        if strikes {
            std::panic::resume_unwind(Box::new(Struck));
        }
    }
}

impl Io for SimIo {
    fn now(&mut self) -> Now {
        let mut kernel = self.0.borrow_mut();
        kernel.turn_begins();
        Now::from_nanos(kernel.now)
    }

    fn submit(&mut self, token: Token, op: Op) {
        self.strike();
        self.0.borrow_mut().submit(token, op);
    }

    fn next_completion(&mut self) -> Option<(Token, Outcome)> {
        self.strike();
        self.0.borrow_mut().next_answer()
    }

    fn merge(&mut self, chunk: Chunk, into: BufferId, at: u16) {
        self.0.borrow_mut().merge(chunk, into, at);
    }

    fn release(&mut self, buffer: BufferId) {
        self.0.borrow_mut().release(buffer);
    }

    fn free_buffers(&self) -> FreeBuffers {
        self.0.borrow().free_buffers()
    }

    fn room(&mut self, leg: Leg) -> u32 {
        self.0.borrow_mut().room(leg)
    }

    fn open(&mut self, address: Address) -> Result<Leg, Errno> {
        self.0.borrow_mut().open(address)
    }

    fn bind(&mut self, leg: Leg, source: IpAddr, address: &SocketAddr) -> Result<(), Errno> {
        self.0.borrow_mut().bind_source(leg, source, address)
    }

    /// Windows are smaller than any limit.
    fn limit_memory(&mut self, _leg: Leg, _bytes: u32) {}

    fn peer(&mut self, leg: Leg) -> Option<SocketAddr> {
        self.0.borrow_mut().peer(leg)
    }

    fn local(&mut self, leg: Leg) -> Option<SocketAddr> {
        self.0.borrow_mut().local(leg)
    }

    fn peek(&mut self, leg: Leg, into: &mut [u8]) -> Result<usize, Errno> {
        self.0.borrow_mut().peek(leg, into)
    }

    fn discard(&mut self, leg: Leg, count: usize) -> Result<(), Errno> {
        self.0.borrow_mut().discard(leg, count)
    }

    fn wake_at(&mut self, leg: Leg, count: usize) {
        self.0.borrow_mut().wake_at(leg, count);
    }

    fn has_finished(&mut self, leg: Leg) -> bool {
        self.0.borrow_mut().has_finished(leg)
    }

    fn send_now(&mut self, leg: Leg, bytes: &[u8]) -> bool {
        self.0.borrow_mut().send_now(leg, bytes)
    }

    /// Its addresses are all that there is to tell.
    fn describe(&mut self, leg: Leg) -> Option<LegRow> {
        let peer = self.0.borrow_mut().peer(leg)?.to_string();
        Some(LegRow { peer, ..LegRow::default() })
    }

    fn is_gone(&mut self, leg: Leg) -> bool {
        self.0.borrow_mut().is_gone(leg)
    }

    fn has_met_itself(&mut self, leg: Leg, _address: &SocketAddr) -> bool {
        self.0.borrow().has_met_itself(leg)
    }

    /// Every backend is somewhere else.
    fn stays_here(&mut self, _leg: Leg, _is_bound: bool) -> bool {
        false
    }

    fn accept(&mut self, listener: Leg) -> Result<Leg, Errno> {
        self.strike();
        self.0.borrow_mut().accept(listener)
    }

    fn queued(&mut self, listener: Leg) -> u32 {
        self.0.borrow().queued(listener)
    }

    fn watch(&mut self, token: Token, leg: Leg, interest: Interest) {
        self.0.borrow_mut().watch(token, leg, interest);
    }

    fn take_pipe(&mut self) -> Option<PipeId> {
        self.0.borrow_mut().take_pipe()
    }

    fn return_pipe(&mut self, pipe: PipeId, empty: bool) {
        self.0.borrow_mut().return_pipe(pipe, empty);
    }

    fn set_nonblocking(&mut self, leg: Leg, on: bool) {
        self.0.borrow_mut().set_nonblocking(leg, on);
    }

    fn peer_progress(&mut self, leg: Leg, closely: bool) -> PeerProgress {
        self.0.borrow_mut().peer_progress(leg, closely)
    }

    fn keep_alive(&mut self, leg: Leg, keepalive: Keepalive) {
        self.0.borrow_mut().keep_alive(leg, keepalive);
    }

    fn error(&mut self, leg: Leg) -> Option<Errno> {
        self.0.borrow_mut().error(leg)
    }

    fn splice(&mut self, request: SpliceRequest, bytes: u32) -> SpliceResult {
        self.0.borrow_mut().splice(request, bytes)
    }

    fn finish(&mut self, leg: Leg) {
        self.0.borrow_mut().finish(leg);
    }

    fn close(&mut self, leg: Leg, how: How) {
        self.0.borrow_mut().close(leg, how);
    }

    fn listen(&mut self, socket: OwnedFd) -> Result<Leg, Errno> {
        self.0.borrow_mut().listen(socket.as_raw_fd())
    }

    fn steer(&mut self, _listener: Leg, address: BindAddress, steering: Option<Steering>) {
        self.0.borrow_mut().net.steer(address.address, steering);
    }

    fn shutdown_listener(&mut self, listener: Leg) {
        self.0.borrow_mut().shutdown_listener(listener);
    }

    fn pause_listener(&mut self, listener: Leg) {
        self.0.borrow_mut().pause_listener(listener);
    }

    fn resume_listener(&mut self, listener: Leg) -> Result<(), Errno> {
        self.0.borrow_mut().resume_listener(listener);
        Ok(())
    }

    fn channel(&mut self, socket: OwnedFd) -> Leg {
        self.0.borrow_mut().channel(socket.as_raw_fd())
    }

    fn give(&mut self, channel: Leg, message: &[u8], descriptors: &[Leg]) -> Result<(), Errno> {
        self.strike();
        self.0.borrow_mut().give(channel, message, descriptors)
    }

    fn take(
        &mut self,
        channel: Leg,
        message: &mut Vec<u8>,
        descriptors: &mut Vec<Leg>,
    ) -> Result<(), Errno> {
        self.strike();
        self.0.borrow_mut().take(channel, message, descriptors)
    }

    fn let_go(&mut self, leg: Leg) {
        self.0.borrow_mut().let_go(leg);
    }

    fn read(&mut self, chunk: Chunk, into: &mut Vec<u8>) {
        self.0.borrow_mut().read(chunk, into);
    }

    fn fill(&mut self, bytes: &[u8]) -> Option<BufferId> {
        self.0.borrow_mut().fill_buffer(bytes)
    }

    fn pipe_ends(&mut self, pipe: PipeId) -> [Leg; 2] {
        self.0.borrow_mut().pipe_ends(pipe)
    }

    fn put_pipe(&mut self, ends: [Leg; 2]) -> PipeId {
        self.0.borrow_mut().put_pipe(ends)
    }

    /// Does not wait: it is the driver who decides what moves next.
    fn wait(&mut self, until: Option<Now>) {
        self.0.borrow_mut().wait(until.map(|until| until.nanos));
    }

    fn salvage(&mut self) -> Option<Leg> {
        let mut kernel = self.0.borrow_mut();
        loop {
            if let (_, Outcome::Accepted(Ok(leg))) = kernel.next_answer()? {
                return Some(leg);
            }
        }
    }

    fn take_counts(&mut self) -> Counts {
        Counts::default()
    }
}
