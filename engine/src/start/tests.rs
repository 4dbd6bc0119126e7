//! A shard that panics, at every place where it asks or tells its ring anything: its way out must
//! not panic, its clients are reset, and the one that is built in its place serves.

use std::cell::Cell;
use std::io::{self, Read, Write};
use std::net::{IpAddr, Shutdown, SocketAddr, TcpListener, TcpStream};
use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::thread::{self, JoinHandle};
use std::time::Duration;

use weir_core::action::How;
use weir_core::base::clock::Now;
use weir_core::event::{BufferId, Chunk, Errno, Interest, Leg, PeerProgress, PipeId, SpliceResult};
use weir_core::session::SpliceRequest;
use weir_core::steering::Steering;
use weir_proto::address::Address;
use weir_proto::bind_address::BindAddress;
use weir_proto::ids::{IdSource, Version};
use weir_proto::order::{ListenerSocket, Order};
use weir_proto::session::LegRow;
use weir_proto::snapshot::{Keepalive, Snapshot};
use weir_proto::spec::{BackendSpec, ListenerSpec, PoolSpec, Spec};

use super::*;
use crate::io::{Counts, FreeBuffers, Op, Token};
use crate::mailbox::ShardHandle;
use crate::sys;

/// A ring that is found broken at one of its calls, and stays so.
struct Brittle {
    ring: Ring,
    /// Calls until then; `None` when it has happened.
    left: Cell<Option<u32>>,
}

impl Brittle {
    fn new(bell: RawFd, good_calls: u32) -> io::Result<Brittle> {
        // So few completions that some have to be kept aside.
        let setup = RingSetup { buffers: 64, completions: 64, pipes: 2, bell };
        Ok(Brittle { ring: Ring::new(setup)?, left: Cell::new(Some(good_calls)) })
    }

    /// Panics when the good calls are over, and at each call after that.
    fn asks(&self) {
        match self.left.get() {
            Some(left) if left > 0 => self.left.set(Some(left - 1)),
            _ => {
                self.left.set(None);
                panic!("planted");
            }
        }
    }

    /// A call that the way out needs: it panics the first time only.
    fn lets_go(&self) {
        if self.left.get().is_some() {
            self.asks();
        }
    }
}

impl Io for Brittle {
    fn now(&mut self) -> Now {
        self.asks();
        self.ring.now()
    }

    fn submit(&mut self, token: Token, op: Op) {
        self.asks();
        self.ring.submit(token, op);
    }

    fn next_completion(&mut self) -> Option<(Token, crate::io::Outcome)> {
        self.asks();
        let next = self.ring.next_completion();
        self.asks(); // with an answer in its hands
        next
    }

    fn merge(&mut self, chunk: Chunk, into: BufferId, at: u16) {
        self.asks();
        self.ring.merge(chunk, into, at);
    }

    fn release(&mut self, buffer: BufferId) {
        self.asks();
        self.ring.release(buffer);
    }

    fn free_buffers(&self) -> FreeBuffers {
        self.asks();
        self.ring.free_buffers()
    }

    fn room(&mut self, leg: Leg) -> u32 {
        self.asks();
        self.ring.room(leg)
    }

    fn open(&mut self, address: Address) -> Result<Leg, Errno> {
        self.asks();
        let leg = self.ring.open(address);
        self.asks(); // with a socket in its hands
        leg
    }

    fn bind(&mut self, leg: Leg, source: IpAddr, address: &SocketAddr) -> Result<(), Errno> {
        self.asks();
        self.ring.bind(leg, source, address)
    }

    fn limit_memory(&mut self, leg: Leg, bytes: u32) {
        self.ring.limit_memory(leg, bytes);
    }

    fn peer(&mut self, leg: Leg) -> Option<SocketAddr> {
        self.asks();
        self.ring.peer(leg)
    }

    fn local(&mut self, leg: Leg) -> Option<SocketAddr> {
        self.asks();
        self.ring.local(leg)
    }

    fn peek(&mut self, leg: Leg, into: &mut [u8]) -> Result<usize, Errno> {
        self.asks();
        self.ring.peek(leg, into)
    }

    fn discard(&mut self, leg: Leg, count: usize) -> Result<(), Errno> {
        self.asks();
        self.ring.discard(leg, count)
    }

    fn wake_at(&mut self, leg: Leg, count: usize) {
        self.asks();
        self.ring.wake_at(leg, count);
    }

    fn has_finished(&mut self, leg: Leg) -> bool {
        self.asks();
        self.ring.has_finished(leg)
    }

    fn send_now(&mut self, leg: Leg, bytes: &[u8]) -> bool {
        self.asks();
        self.ring.send_now(leg, bytes)
    }

    fn describe(&mut self, leg: Leg) -> Option<LegRow> {
        self.asks();
        self.ring.describe(leg)
    }

    fn is_gone(&mut self, leg: Leg) -> bool {
        self.asks();
        self.ring.is_gone(leg)
    }

    fn has_met_itself(&mut self, leg: Leg, address: &SocketAddr) -> bool {
        self.asks();
        self.ring.has_met_itself(leg, address)
    }

    fn stays_here(&mut self, leg: Leg, is_bound: bool) -> bool {
        self.asks();
        self.ring.stays_here(leg, is_bound)
    }

    fn accept(&mut self, listener: Leg) -> Result<Leg, Errno> {
        self.asks();
        self.ring.accept(listener)
    }

    fn queued(&mut self, listener: Leg) -> u32 {
        self.asks();
        self.ring.queued(listener)
    }

    fn watch(&mut self, token: Token, leg: Leg, interest: Interest) {
        self.asks();
        self.ring.watch(token, leg, interest);
    }

    fn take_pipe(&mut self) -> Option<PipeId> {
        self.asks();
        self.ring.take_pipe()
    }

    fn return_pipe(&mut self, pipe: PipeId, empty: bool) {
        self.asks();
        self.ring.return_pipe(pipe, empty);
    }

    fn set_nonblocking(&mut self, leg: Leg, on: bool) {
        self.asks();
        self.ring.set_nonblocking(leg, on);
    }

    fn peer_progress(&mut self, leg: Leg, closely: bool) -> PeerProgress {
        self.asks();
        self.ring.peer_progress(leg, closely)
    }

    fn keep_alive(&mut self, leg: Leg, keepalive: Keepalive) {
        self.asks();
        self.ring.keep_alive(leg, keepalive);
    }

    fn error(&mut self, leg: Leg) -> Option<Errno> {
        self.asks();
        self.ring.error(leg)
    }

    fn splice(&mut self, request: SpliceRequest, bytes: u32) -> SpliceResult {
        self.asks();
        self.ring.splice(request, bytes)
    }

    fn finish(&mut self, leg: Leg) {
        self.asks();
        self.ring.finish(leg);
    }

    fn close(&mut self, leg: Leg, how: How) {
        self.lets_go();
        self.ring.close(leg, how);
    }

    fn listen(&mut self, socket: OwnedFd) -> Result<Leg, Errno> {
        self.asks();
        self.ring.listen(socket)
    }

    fn steer(&mut self, listener: Leg, address: BindAddress, steering: Option<Steering>) {
        self.ring.steer(listener, address, steering);
    }

    fn shutdown_listener(&mut self, listener: Leg) {
        self.lets_go();
        self.ring.shutdown_listener(listener);
    }

    fn pause_listener(&mut self, listener: Leg) {
        self.asks();
        self.ring.pause_listener(listener);
    }

    fn resume_listener(&mut self, listener: Leg) -> Result<(), Errno> {
        self.asks();
        self.ring.resume_listener(listener)
    }

    fn channel(&mut self, socket: OwnedFd) -> Leg {
        self.ring.channel(socket)
    }

    fn give(&mut self, channel: Leg, message: &[u8], descriptors: &[Leg]) -> Result<(), Errno> {
        self.ring.give(channel, message, descriptors)
    }

    fn take(
        &mut self,
        channel: Leg,
        message: &mut Vec<u8>,
        descriptors: &mut Vec<Leg>,
    ) -> Result<(), Errno> {
        self.ring.take(channel, message, descriptors)
    }

    fn let_go(&mut self, leg: Leg) {
        self.ring.let_go(leg);
    }

    fn read(&mut self, chunk: Chunk, into: &mut Vec<u8>) {
        self.ring.read(chunk, into);
    }

    fn fill(&mut self, bytes: &[u8]) -> Option<BufferId> {
        self.ring.fill(bytes)
    }

    fn pipe_ends(&mut self, pipe: PipeId) -> [Leg; 2] {
        self.ring.pipe_ends(pipe)
    }

    fn put_pipe(&mut self, ends: [Leg; 2]) -> PipeId {
        self.ring.put_pipe(ends)
    }

    fn wait(&mut self, until: Option<Now>) {
        self.asks();
        self.ring.wait(until);
    }

    fn salvage(&mut self) -> Option<Leg> {
        self.lets_go();
        self.ring.salvage()
    }

    fn take_counts(&mut self) -> Counts {
        self.asks();
        self.ring.take_counts()
    }
}

/// One shard on a thread of its own, and its end of everything.
struct Rig {
    inbox: Inbox,
    handle: ShardHandle,
    thread: JoinHandle<()>,
    snapshot: Arc<Snapshot>,
    address: SocketAddr,
}

impl Rig {
    /// The first ring is good for N calls, the next one for ever.
    fn start(backend: SocketAddr, good_calls: u32) -> Rig {
        let inbox = Inbox::new().unwrap();
        let (handle, mailbox) = inbox.connect_apart().unwrap();
        let setup = ShardSetup {
            id: ShardId(0),
            shards: 1,
            sessions_max: 64,
            tuning: Tuning::default(),
            seed: 1,
            hash_seed: (2, 3),
            session_log: None,
        };
        let thread = thread::spawn(move || {
            table::leave(&mailbox.descriptors()).unwrap();
            let bell = mailbox.bell();
            let first = Brittle::new(bell, good_calls).unwrap();
            let reporter = mailbox.again().unwrap();
            live_on(setup, (first, mailbox, reporter), || Brittle::new(bell, u32::MAX));
        });
        // Free when the kernel gives it; the tests of this crate bind no port by number.
        let address = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
        let snapshot = Arc::new(snapshot(address, backend));
        Rig { inbox, handle, thread, snapshot, address }
    }

    fn adopt(&self) {
        // The ring of the one before lets go of its listener some time later.
        let until = sys::now().plus_millis(20_000);
        let socket = loop {
            match TcpListener::bind(self.address) {
                Ok(socket) => break socket.into(),
                Err(error) => assert!(sys::now() < until, "{error}"),
            }
            thread::yield_now();
        };
        let sockets = vec![ListenerSocket { address: self.address.into(), socket }];
        let order =
            Order::Adopt { snapshot: Arc::clone(&self.snapshot), sockets, health: Vec::new() };
        self.handle.send(order).expect("there is room");
    }

    /// Whether its end was a panic, if it has ended.
    fn ended(&self) -> Option<bool> {
        while let Some(report) = self.inbox.take() {
            if let Report::Ended { panic, .. } = report {
                return Some(panic.is_some());
            }
        }
        None
    }

    fn stop(&self) -> bool {
        self.handle.send(Order::Stop).expect("there is room");
        loop {
            match self.ended() {
                Some(ended) => return ended,
                None => thread::yield_now(),
            }
        }
    }
}

fn snapshot(address: SocketAddr, backend: SocketAddr) -> Snapshot {
    let mut pool = PoolSpec::default();
    let spec = BackendSpec::new(backend.into());
    pool.backend.insert("b".parse().unwrap(), spec);
    let listener = ListenerSpec::new("p".parse().unwrap(), vec![address]);
    let spec = Spec {
        listener: [("l".parse().unwrap(), listener)].into(),
        pool: [("p".parse().unwrap(), pool.into())].into(),
    };
    Snapshot::build(&spec, Version(1), &Snapshot::empty(), &mut IdSource::default()).unwrap()
}

/// A backend that answers every byte with itself, for ever.
fn echo() -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            thread::spawn(move || {
                let mut writer = stream.try_clone()?;
                io::copy(&mut &stream, &mut writer)?;
                stream.shutdown(Shutdown::Write)
            });
        }
    });
    address
}

fn connect(to: SocketAddr) -> io::Result<TcpStream> {
    let stream = TcpStream::connect(to)?;
    stream.set_read_timeout(Some(Duration::from_secs(20)))?;
    Ok(stream)
}

/// A client that sends a piece and gets it back.
fn echoed(to: SocketAddr, length: usize) -> io::Result<TcpStream> {
    let mut stream = connect(to)?;
    let piece = vec![7; length];
    stream.write_all(&piece)?;
    let mut got = vec![0; length];
    stream.read_exact(&mut got)?;
    assert!(got == piece);
    Ok(stream)
}

/// One client stays, some come and go, one has sent nothing, one moves bulk.
fn visit(to: SocketAddr) -> (Vec<TcpStream>, io::Result<()>) {
    let mut held = Vec::new();
    let mut visits = || {
        held.push(echoed(to, 4)?);
        held.push(connect(to)?);
        held.push(echoed(to, 300_000)?);
        let mut complete = echoed(to, 1)?;
        complete.shutdown(Shutdown::Write)?;
        complete.read_exact(&mut [0]).map_or_else(
            |error| if error.kind() == io::ErrorKind::UnexpectedEof { Ok(()) } else { Err(error) },
            |()| panic!("nothing was asked for"),
        )
    };
    let result = visits();
    (held, result)
}

/// How many calls it took until the end, if it was a panic.
fn round(backend: SocketAddr, good_calls: u32) -> bool {
    let rig = Rig::start(backend, good_calls);
    rig.adopt();
    let (held, _) = visit(rig.address);
    let panicked = rig.ended().unwrap_or_else(|| rig.stop());
    for mut client in held {
        // Neither silence nor what looks like a complete stream.
        let heard = client.read(&mut [0]).map_err(|error| error.kind());
        assert_eq!(heard, Err(io::ErrorKind::ConnectionReset), "after {good_calls} calls");
    }
    if panicked {
        rig.handle.address_next();
        rig.adopt();
        let (held, result) = visit(rig.address);
        result.unwrap_or_else(|error| panic!("built again after {good_calls} calls: {error}"));
        drop(held);
        assert!(!rig.stop(), "nothing is planted in the second one");
    }
    rig.thread.join().expect("the thread has caught every panic");
    panicked
}

#[test]
fn a_panic_at_any_call_is_survived_and_costs_that_shards_clients() {
    let backend = echo();
    // One beside it, in the same process.
    let other = Rig::start(backend, u32::MAX);
    other.adopt();
    let mut through_all = echoed(other.address, 4).unwrap();
    // At least this often; at most until one lives through it all. Then each place has had its
    // panic, since each run of the same visits takes about the same calls.
    let mut panics = 0;
    while round(backend, panics) {
        panics += 1;
        through_all.write_all(b"x").unwrap();
        through_all.read_exact(&mut [0]).unwrap();
    }
    assert!(panics > 100, "{panics} places are too few: the visits ask for more");
    assert!(!other.stop());
    other.thread.join().unwrap();
}
