//! A script's world in the real kernel: the ring, and peers on loopback that are driven by hand.

use std::collections::{BTreeMap, VecDeque};
use std::io::{self, ErrorKind, Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::os::fd::OwnedFd;
use std::time::Duration;

use nix::sys::socket::{setsockopt, sockopt};
use rustix::net::{AddressFamily, SendFlags, SocketType, sockopt as options};
use weir_core::action::How;
use weir_core::base::clock::Now;
use weir_core::event::{Chunk, Completion, Errno, Leg};
use weir_core::session::SpliceRequest;
use weir_engine::io::{Io, Kind, Op, Outcome, Token};
use weir_engine::mailbox::{Inbox, Mailbox};
use weir_engine::ring::{Ring, RingSetup};

use super::model::{SPLICE_BYTES, asks, token};
use super::{CONNS, Heard, Host, Piece, Step};
use crate::rng::{first_difference, write_stream};

/// After so long without an answer a batch is taken to be over.
const QUIET_NS: u64 = 150_000;

/// The peer of one connection.
#[derive(Debug, Default)]
struct RealPeer {
    /// Where it listens; a client does not.
    listener: Option<TcpListener>,
    /// Keeps a port closed, or a backlog full.
    blocks: Vec<OwnedFd>,
    stream: Option<TcpStream>,
    /// A reset stays one, however often it is asked.
    reset: bool,
    written: usize,
    read: Vec<u8>,
}

/// One connection of the script.
#[derive(Debug, Default)]
struct RealConn {
    leg: Option<Leg>,
    queued: bool,
    narrow: bool,
    received: usize,
    /// Bytes of the peer's stream that were received.
    offset: usize,
    sending: Option<Piece>,
    /// What was sent: whose stream, from where, how much.
    sent: Vec<(usize, usize, usize)>,
    peer: RealPeer,
}

/// A piece that is held: its bytes, and where they are from.
#[derive(Clone, Copy, Debug)]
struct Held {
    chunk: Chunk,
    offset: usize,
}

/// A ring, and the owners of the bell that it was given; nobody rings it. Used for script after
/// script: the kernel gives a ring's memory back only some time after it was closed, and counts it
/// towards RLIMIT_MEMLOCK meanwhile.
pub(super) struct Kit {
    ring: Ring,
    _inbox: Inbox,
    _mailbox: Mailbox,
}

impl Kit {
    pub(super) fn new(buffers: u16) -> io::Result<Kit> {
        let inbox = Inbox::new()?;
        let (_, mailbox) = inbox.connect()?;
        let ring =
            Ring::new(RingSetup { buffers, completions: 1024, pipes: 1, bell: mailbox.bell() })?;
        Ok(Kit { ring, _inbox: inbox, _mailbox: mailbox })
    }
}

pub(super) struct Real<'k> {
    ring: &'k mut Ring,
    listener: Leg,
    address: SocketAddr,
    places: Vec<RealConn>,
    pieces: BTreeMap<Piece, Held>,
    heard: Vec<Heard>,
}

fn loopback() -> SocketAddr {
    SocketAddr::from((Ipv4Addr::LOCALHOST, 0))
}

/// A bound socket that does not listen, and its address.
fn bound() -> io::Result<(OwnedFd, SocketAddr)> {
    let socket = rustix::net::socket(AddressFamily::INET, SocketType::STREAM, None)?;
    rustix::net::bind(&socket, &loopback())?;
    let name = rustix::net::getsockname(&socket)?;
    let address = SocketAddr::try_from(name).map_err(io::Error::from)?;
    Ok((socket, address))
}

impl Real<'_> {
    pub(super) fn new(kit: &mut Kit) -> io::Result<Real<'_>> {
        let ring = &mut kit.ring;
        let (socket, address) = bound()?;
        let refused = |errno: Errno| io::Error::from_raw_os_error(errno.0);
        let listener = ring.listen(socket).map_err(refused)?;
        let places = (0..CONNS).map(|_| RealConn::default()).collect();
        let (pieces, heard) = (BTreeMap::new(), Vec::new());
        Ok(Real { ring, listener, address, places, pieces, heard })
    }

    pub(super) fn now(&mut self) -> Now {
        self.ring.now()
    }

    /// Lets the ring work until nothing is heard for a while.
    pub(super) fn listen(&mut self) {
        loop {
            let until = self.ring.now().nanos + QUIET_NS;
            self.ring.wait(Some(Now::from_nanos(until)));
            let mut quiet = true;
            while let Some((token, outcome)) = self.ring.next_completion() {
                quiet = false;
                self.hear(token, outcome);
            }
            if quiet {
                return;
            }
        }
    }

    /// What was heard in this batch so far, in order of kinds.
    pub(super) fn heard(&self) -> Vec<Heard> {
        let mut heard = self.heard.clone();
        heard.push(Heard::Free(self.ring.free_buffers().shared));
        heard.sort_unstable();
        heard
    }

    pub(super) fn next_batch(&mut self) {
        self.heard.clear();
    }

    fn leg(&self, conn: usize) -> Leg {
        self.places[conn].leg.expect("scripts use open legs")
    }

    /// Does a step. The step as it came out: a peer may have written or read less.
    pub(super) fn act(&mut self, step: Step) -> Step {
        let chunk = |piece| self.pieces[&piece].chunk;
        if let Some((token, op)) = asks(step, self.listener, |conn| self.leg(conn), chunk) {
            self.ring.submit(token, op);
        }
        match step {
            Step::Accept | Step::Receive(..) | Step::Cancel(..) | Step::CancelAccepts => {}
            Step::Send(conn, piece) => self.places[conn].sending = Some(piece),
            Step::Connect(conn, host) => self.connect(conn, host).expect("loopback has sockets"),
            Step::Arrive(conn) => {
                let stream = TcpStream::connect(self.address).expect("the backlog has room");
                self.places[conn].attend(stream);
                self.places[conn].queued = true;
            }
            Step::Release(piece) => {
                let held = self.pieces.remove(&piece).expect("scripts release what they hold");
                self.ring.release(held.chunk.buffer);
            }
            Step::Finish(conn) => self.ring.finish(self.leg(conn)),
            Step::Watch(conn, interest) => {
                self.ring.watch(token(conn, Kind::Watch), self.leg(conn), interest);
            }
            Step::Nonblocking(conn, on) => self.ring.set_nonblocking(self.leg(conn), on),
            Step::Splice(from, to) => self.splice(from, to),
            Step::Close(conn, how) => {
                let leg = self.places[conn].leg.take().expect("scripts close open legs");
                self.ring.close(leg, how);
            }
            Step::ShutdownListener => self.ring.shutdown_listener(self.listener),
            Step::PeerSend(conn, count) => {
                return Step::PeerSend(conn, self.places[conn].write(conn, count));
            }
            Step::PeerUrgent(conn) => {
                if self.places[conn].write_urgent(conn) == 0 {
                    return Step::PeerSend(conn, 0);
                }
            }
            Step::PeerRead(conn, count) => {
                let heard = self.places[conn].read(conn, count);
                self.heard.extend(heard);
                let narrow = self.places[conn].narrow;
                return match heard {
                    Some(Heard::PeerRead(_, got)) if narrow => Step::PeerRead(conn, got),
                    None if narrow => Step::PeerRead(conn, 0),
                    _ => step,
                };
            }
            Step::PeerFin(conn) => self.places[conn].peer_finish(),
            Step::PeerReset(conn) => self.places[conn].peer_reset(),
            Step::PeerClose(conn) => self.places[conn].peer.stream = None,
        }
        step
    }

    fn splice(&mut self, from: usize, to: usize) {
        let pipe = self.ring.take_pipe().expect("one at a time");
        let request = SpliceRequest { from: self.leg(from), pipe, held: 0, to: self.leg(to) };
        let moved = self.ring.splice(request, SPLICE_BYTES);
        self.ring.return_pipe(pipe, moved.received == moved.sent);
        let offset = self.places[from].offset;
        self.places[from].offset += moved.received as usize;
        self.places[to].sent.push((from, offset, moved.sent as usize));
        self.heard.push(Heard::moved([from, to], &moved));
    }

    fn connect(&mut self, conn: usize, host: Host) -> io::Result<()> {
        let place = &mut self.places[conn];
        let (socket, address) = bound()?;
        match host {
            Host::Listens => {
                rustix::net::listen(&socket, 8)?;
                place.peer.listener = Some(socket.into());
            }
            Host::Narrow => {
                // A small window, and small segments, so that little is under way.
                place.narrow = true;
                options::set_socket_recv_buffer_size(&socket, 4096)?;
                setsockopt(&socket, sockopt::TcpMaxSeg, &536).map_err(io::Error::from)?;
                rustix::net::listen(&socket, 8)?;
                place.peer.listener = Some(socket.into());
            }
            Host::Refuses => place.peer.blocks = vec![socket],
            Host::Silent => {
                // A backlog of 0 holds one connection; the next SYN is dropped.
                rustix::net::listen(&socket, 0)?;
                let only = TcpStream::connect(address)?;
                place.peer.blocks = vec![socket, only.into()];
            }
        }
        let leg = self
            .ring
            .open(address.into())
            .map_err(|errno| io::Error::from_raw_os_error(errno.0))?;
        place.leg = Some(leg);
        self.ring.submit(token(conn, Kind::Connect), Op::Connect(leg, address.into()));
        Ok(())
    }

    fn hear(&mut self, token: Token, outcome: Outcome) {
        let heard = match (token, outcome) {
            (Token::Accept { .. }, Outcome::Accepted(result)) => {
                Heard::Accepted(result.map_err(|errno| errno.0).map(|leg| {
                    let number = self.places.iter().position(|place| place.queued);
                    let number = number.expect("somebody has arrived");
                    self.places[number].queued = false;
                    self.places[number].leg = Some(leg);
                    number
                }))
            }
            (Token::CancelAccept { .. }, _) => Heard::CanceledAccepts,
            (Token::Session { id, .. }, Outcome::Ready(ready)) => {
                Heard::Ready(id.slot as usize, [ready.readable, ready.writable, ready.reset])
            }
            (Token::Session { id, .. }, Outcome::Session(done)) => {
                self.done(id.slot as usize, done)
            }
            (token, outcome) => panic!("{outcome:?} answers {token:?}"),
        };
        self.heard.push(heard);
    }

    fn done(&mut self, conn: usize, done: Completion) -> Heard {
        let place = &mut self.places[conn];
        match done {
            Completion::Connected(result) => {
                if result.is_ok() {
                    let listener = place.peer.listener.as_ref().expect("it is one that listens");
                    let (stream, _) = listener.accept().expect("it has come through");
                    place.attend(stream);
                }
                Heard::Connected(conn, result.map_err(|errno| errno.0))
            }
            Completion::Received { buffer, length, more, last } => {
                let held =
                    Held { chunk: Chunk { buffer, start: 0, end: length }, offset: place.offset };
                self.pieces.insert((conn, place.received), held);
                place.received += 1;
                place.offset += usize::from(length);
                Heard::Received((conn, place.received - 1), length, [more, last])
            }
            Completion::Ended => Heard::Ended(conn),
            Completion::Starved => Heard::Starved(conn),
            Completion::ReceiveFailed(errno) => Heard::ReceiveFailed(conn, errno.0),
            Completion::Sent(count) => {
                let piece = place.sending.take().expect("a send was asked for");
                let held = self.pieces.get_mut(&piece).expect("what is sent is held");
                place.sent.push((piece.0, held.offset, count as usize));
                held.chunk.start += u16::try_from(count).expect("no more than was asked for");
                held.offset += count as usize;
                Heard::Sent(conn, count)
            }
            Completion::SendFailed(errno) => {
                place.sending = None;
                Heard::SendFailed(conn, errno.0)
            }
            Completion::Canceled => Heard::Canceled(conn),
        }
    }

    /// What every peer has read is what was sent to it, from the first byte on.
    pub(super) fn check_streams(&self) -> Result<(), String> {
        for (number, place) in self.places.iter().enumerate() {
            let mut rest = place.peer.read.as_slice();
            for (from, offset, count) in &place.sent {
                let (bytes, after) = rest.split_at(rest.len().min(*count));
                if let Some(at) = first_difference(*from as u64, *offset, bytes) {
                    return Err(format!("connection {number}: byte {at} of {from}'s is another"));
                }
                rest = after;
            }
            if !rest.is_empty() {
                return Err(format!("connection {number} got {} bytes from nowhere", rest.len()));
            }
        }
        Ok(())
    }
}

impl RealConn {
    fn attend(&mut self, stream: TcpStream) {
        stream.set_nonblocking(true).expect("a socket can be made non-blocking");
        stream.set_nodelay(true).expect("TCP has it");
        self.peer.stream = Some(stream);
    }

    fn write(&mut self, conn: usize, count: usize) -> usize {
        let mut bytes = VecDeque::new();
        write_stream(conn as u64, self.peer.written, count, &mut bytes);
        let Some(stream) = &mut self.peer.stream else { return 0 };
        let written = stream.write(bytes.make_contiguous());
        self.wrote(written)
    }

    /// The next byte, with MSG_OOB.
    fn write_urgent(&mut self, conn: usize) -> usize {
        let mut byte = VecDeque::new();
        write_stream(conn as u64, self.peer.written, 1, &mut byte);
        let Some(stream) = &mut self.peer.stream else { return 0 };
        let flags = SendFlags::OOB | SendFlags::NOSIGNAL;
        let written = rustix::net::send(stream, byte.make_contiguous(), flags);
        self.wrote(written.map_err(io::Error::from))
    }

    fn wrote(&mut self, written: io::Result<usize>) -> usize {
        // The kernel tells of a reset once, and this was it. EPIPE: there was a FIN before.
        let is_reset = |error: &io::Error| error.kind() == ErrorKind::ConnectionReset;
        self.peer.reset |= written.as_ref().is_err_and(is_reset);
        let written = written.unwrap_or(0);
        self.peer.written += written;
        written
    }

    fn read(&mut self, conn: usize, count: usize) -> Option<Heard> {
        let mut bytes = vec![0; count];
        match self.peer.stream.as_mut()?.read(&mut bytes) {
            Ok(0) if self.peer.reset => Some(Heard::PeerReset(conn)),
            Ok(0) => Some(Heard::PeerEnd(conn)),
            Ok(got) => {
                self.peer.read.extend(&bytes[..got]);
                Some(Heard::PeerRead(conn, got))
            }
            Err(error) if error.kind() == ErrorKind::WouldBlock => None,
            Err(_) => {
                self.peer.reset = true;
                Some(Heard::PeerReset(conn))
            }
        }
    }

    fn peer_finish(&mut self) {
        // After a reset there is nothing to finish.
        let _ = self.peer.stream.as_ref().map(|stream| stream.shutdown(std::net::Shutdown::Write));
    }

    fn peer_reset(&mut self) {
        if let Some(stream) = self.peer.stream.take() {
            let _ = options::set_socket_linger(&stream, Some(Duration::ZERO));
        }
    }
}

impl Drop for Real<'_> {
    /// Legs are numbers: nobody else closes them.
    fn drop(&mut self) {
        self.ring.shutdown_listener(self.listener);
        let legs: Vec<Leg> = self.places.iter_mut().filter_map(|place| place.leg.take()).collect();
        for leg in legs.into_iter().chain([self.listener]) {
            self.ring.close(leg, How::Reset);
        }
    }
}
