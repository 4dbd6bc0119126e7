//! The network between weir and its peers: connections as two pipes with small windows, FIN, RST,
//! hosts.
//!
//! What a reset does is Linux's: bytes that have arrived stay readable, then the error is told
//! *once*, to whichever operation asks first; a FIN that came before the reset still reads as the
//! end.

use std::collections::{BTreeMap, VecDeque};
use std::net::{IpAddr, SocketAddr};

use weir_core::event::{Errno, Side};
use weir_core::steering::Steering;

use weir_proto::address::Address;

use crate::rng::{Rng, mix, write_stream};

/// A connection's place in [`Net::conns`].
pub type ConnId = usize;

/// One direction of a connection: the receive queue at its end.
#[derive(Clone, Debug, Default)]
pub struct Pipe {
    pub bytes: VecDeque<u8>,
    /// The most bytes that wait unread.
    pub window: usize,
    /// The FIN has arrived behind the bytes.
    pub fin: bool,
    /// How many bytes are before the last urgent one, if that has not been read. TCP has one mark:
    /// a later one takes its place.
    pub mark: Option<usize>,
    /// Times that splice(2) has stopped there.
    pub stops: u32,
    /// How many bytes were taken out.
    pub taken: usize,
    /// With fewer bytes it is not readable (SO_RCVLOWAT).
    pub wakes_at: usize,
}

impl Pipe {
    fn new(window: usize) -> Pipe {
        Pipe { window, ..Pipe::default() }
    }

    /// How many bytes still fit.
    #[must_use]
    pub fn room(&self) -> usize {
        self.window.saturating_sub(self.bytes.len())
    }

    /// The first bytes, which are read. A read may stop at the mark, and begins on it: the caller
    /// says how many.
    pub fn take(&mut self, count: usize) -> impl Iterator<Item = u8> + '_ {
        self.stops = 0;
        self.taken += count;
        self.mark = self.mark.and_then(|before| before.checked_sub(count));
        self.bytes.drain(..count)
    }

    /// How many bytes a receive gets at most: it stops before an urgent byte, and begins with it.
    #[must_use]
    pub fn readable(&self) -> usize {
        let before = self.mark.filter(|before| *before > 0);
        before.unwrap_or(usize::MAX).min(self.bytes.len())
    }

    /// How many bytes splice(2) moves at most: it stops before an urgent byte, and stays there.
    #[must_use]
    pub fn spliceable(&self) -> usize {
        self.mark.unwrap_or(usize::MAX).min(self.bytes.len())
    }

    /// What was still on the wire when the reset overtook it is lost.
    fn lose(&mut self, rng: &mut Rng) {
        if rng.flip() {
            self.bytes.truncate(rng.between(0, self.bytes.len()));
            self.mark = self.mark.filter(|before| *before < self.bytes.len());
            self.fin = false;
        }
    }
}

/// A connection between weir and one of its peers.
#[derive(Clone, Debug)]
pub struct Conn {
    /// Whom weir sees there.
    pub side: Side,
    pub address: SocketAddr,
    /// Names the bytes that the peer writes.
    pub stream: u64,
    /// Peer → weir, and weir → peer.
    pub up: Pipe,
    pub down: Pipe,
    /// Bytes that the peer's program has written, and that weir's kernel has taken for it.
    pub written: usize,
    pub given: usize,
    /// Of these, bytes that the peer's host has thrown away, because its program had closed.
    pub thrown: usize,
    /// The peer's program has sent its FIN.
    pub ended: bool,
    /// The peer's program has no socket any more.
    pub peer_closed: bool,
    /// An RST has arrived at the peer.
    pub peer_reset: bool,
    /// weir has closed its leg.
    pub weir_closed: bool,
    /// weir has sent its FIN.
    pub weir_finished: bool,
    /// An RST has arrived at weir, and the error that it has not been told yet.
    pub weir_reset: bool,
    pub weir_error: Option<Errno>,
    /// A connect has met itself: the peer is this very socket.
    pub is_itself: bool,
    /// Since when the peer is gone without a word, and how much of `down` it had acknowledged.
    pub gone: Option<(u64, usize)>,
    /// When the peer last took some of what waited for it, or that began to wait.
    pub taken_at: u64,
    /// How often that has changed, or whether it is there.
    pub takes: u64,
    /// How long weir's kernel believes an idle peer that says nothing, in nanoseconds.
    pub believes_ns: Option<u64>,
    /// The header that came before its bytes, once that has crossed.
    pub header: Option<Vec<u8>>,
    /// When it was taken; 0: none was.
    pub header_at: u64,
    /// The client that it told of.
    pub told: Option<IpAddr>,
    /// The other connection of its session.
    pub partner: Option<ConnId>,
    /// Slot and generation of its session.
    pub session: Option<(u32, u32)>,
    /// When it came to a listener of weir's, in nanoseconds.
    pub arrived_at: u64,
}

/// What a peer's program reads.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Read {
    Bytes(usize),
    End,
    Reset,
    Nothing,
}

impl Conn {
    /// The peer writes up to `count` bytes. `None`: the connection was reset.
    pub fn peer_write(&mut self, count: usize) -> Option<usize> {
        if self.peer_reset || self.weir_closed {
            self.peer_reset = true;
            return None;
        }
        let count = count.min(self.up.room());
        write_stream(self.stream, self.written, count, &mut self.up.bytes);
        self.written += count;
        Some(count)
    }

    /// The peer writes some of these bytes, which are not of its stream. `None`: the connection was
    /// reset.
    pub fn peer_write_raw(&mut self, bytes: &[u8]) -> Option<usize> {
        if self.peer_reset || self.weir_closed {
            self.peer_reset = true;
            return None;
        }
        let count = bytes.len().min(self.up.room());
        self.up.bytes.extend(&bytes[..count]);
        Some(count)
    }

    /// The last byte that the peer has written was an urgent one (MSG_OOB).
    pub fn peer_marks(&mut self) {
        self.up.mark = self.up.bytes.len().checked_sub(1);
    }

    /// Bytes that weir's kernel has taken and the peer's has not acknowledged. Half of the window
    /// is the peer's receive buffer, which acknowledges what it takes; what is behind that waits.
    #[must_use]
    pub fn unacked(&self) -> usize {
        let acked = self.gone.map_or(self.down.window / 2, |(_, acked)| acked);
        self.down.bytes.len().saturating_sub(acked) + self.thrown
    }

    /// The peer is gone: no word comes from it any more.
    pub fn vanish(&mut self, now: u64) {
        self.takes += 1;
        self.gone = Some((now, self.down.bytes.len() - (self.unacked() - self.thrown)));
    }

    /// weir's kernel takes bytes for the peer.
    pub fn take(&mut self, bytes: impl Iterator<Item = u8>, now: u64) {
        self.begin_to_wait(now);
        let before = self.down.bytes.len();
        self.down.bytes.extend(bytes);
        self.given += self.down.bytes.len() - before;
    }

    fn begin_to_wait(&mut self, now: u64) {
        if self.unacked() == 0 {
            self.taken_at = now;
            self.takes += 1;
        }
    }

    /// weir's kernel takes bytes for a peer that has closed: its host answers with an RST.
    pub fn throw(&mut self, count: usize, now: u64) {
        self.begin_to_wait(now);
        self.given += count;
        self.thrown += count;
        self.reset_weir();
    }

    /// Bytes that the peer's kernel has acknowledged.
    #[must_use]
    pub fn acked(&self) -> usize {
        self.given - self.unacked()
    }

    /// When weir's kernel gives the peer up by itself.
    #[must_use]
    pub fn given_up_at(&self) -> Option<u64> {
        let (since, _) = self.gone.filter(|_| self.unacked() == 0 && !self.weir_reset)?;
        if self.weir_closed {
            return None;
        }
        Some(since.max(self.taken_at) + self.believes_ns?)
    }

    /// The peer reads up to `count` bytes into `into`.
    pub fn peer_read(&mut self, count: usize, into: &mut Vec<u8>, now: u64) -> Read {
        into.clear();
        if !self.down.bytes.is_empty() {
            let count = count.min(self.down.bytes.len());
            let waited = self.unacked() > 0;
            into.extend(self.down.bytes.drain(..count));
            if waited {
                self.taken_at = now;
                self.takes += 1;
            }
            Read::Bytes(count)
        } else if self.down.fin {
            Read::End
        } else if self.peer_reset {
            Read::Reset
        } else {
            Read::Nothing
        }
    }

    /// The peer sends its FIN.
    pub fn peer_finish(&mut self) {
        self.ended = true;
        if !self.peer_reset {
            self.up.fin = true;
        }
    }

    /// The peer closes its socket: with bytes unread that is an RST, else a FIN.
    pub fn peer_close(&mut self, rng: &mut Rng) {
        if !self.down.bytes.is_empty() {
            return self.peer_abort(rng);
        }
        self.peer_finish();
        self.peer_closed = true;
    }

    /// The peer sends an RST.
    pub fn peer_abort(&mut self, rng: &mut Rng) {
        self.peer_closed = true;
        // Both FINs have passed: there is no connection any more that an RST could be about.
        let have_passed = self.ended && self.weir_finished && self.unacked() == 0;
        let is_over = have_passed && rng.flip();
        if !self.peer_reset && !self.weir_closed && !is_over {
            self.up.lose(rng);
            self.reset_weir();
        }
    }

    /// An RST arrives at weir.
    pub fn reset_weir(&mut self) {
        if !self.weir_reset {
            self.weir_reset = true;
            // CLOSE_WAIT: the FIN was first.
            self.weir_error = Some(if self.up.fin { Errno::EPIPE } else { Errno::ECONNRESET });
        }
    }

    /// weir closes with SO_LINGER 0, or its kernel drops a connection that was never accepted.
    pub fn weir_abort(&mut self, rng: &mut Rng) {
        self.weir_closed = true;
        if !self.peer_closed {
            self.down.lose(rng);
        }
        self.peer_reset = true;
    }
}

/// The address of a backend: worlds have none on Unix sockets, which differ only in the kernel.
///
/// # Panics
/// The backend has a path.
pub fn of_ip(address: Address) -> SocketAddr {
    address.ip().expect("worlds have backends of IP only")
}

/// The address that a connection comes from.
#[must_use]
pub fn peer_of(conn: ConnId) -> SocketAddr {
    let low = u8::try_from(conn % 200).unwrap_or(0);
    SocketAddr::from(([192, 0, 2, low], 1_024))
}

/// How a host takes connects.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mode {
    Listens,
    Refuses,
    /// Nothing ever comes back.
    Silent,
    Unreachable,
}

/// A listening socket of weir's.
#[derive(Clone, Debug)]
pub struct Listening {
    pub address: SocketAddr,
    /// False once it is shut down, and while it is paused.
    pub open: bool,
    pub paused: bool,
    pub queue: VecDeque<ConnId>,
}

impl Listening {
    /// True if it has not been shut for good.
    #[must_use]
    pub fn is_used(&self) -> bool {
        self.open || self.paused
    }
}

/// Everything outside weir's kernel.
#[derive(Clone, Debug, Default)]
pub struct Net {
    pub conns: Vec<Conn>,
    /// Backends by address.
    pub hosts: BTreeMap<SocketAddr, Mode>,
    pub listening: Vec<Listening>,
    /// The sockets of each address, in the places that its steering counts, and that one.
    pub groups: BTreeMap<SocketAddr, (Vec<usize>, Option<Steering>)>,
    /// Connections whose peer has no program yet.
    pub unattended: Vec<ConnId>,
    /// net.ipv4.tcp_migrate_req: who waits on a listener that closes moves to another one with its
    /// address.
    pub migrates: bool,
}

impl Net {
    /// A new connection with windows of 1 to `window_max` bytes.
    pub fn connect(
        &mut self,
        side: Side,
        address: SocketAddr,
        window_max: usize,
        rng: &mut Rng,
    ) -> ConnId {
        let id = self.conns.len();
        self.conns.push(Conn {
            side,
            address,
            stream: mix(rng.draw()),
            up: Pipe::new(rng.between(1, window_max)),
            down: Pipe::new(rng.between(1, window_max)),
            written: 0,
            given: 0,
            thrown: 0,
            ended: false,
            peer_closed: false,
            peer_reset: false,
            weir_closed: false,
            weir_finished: false,
            weir_reset: false,
            weir_error: None,
            is_itself: false,
            gone: None,
            taken_at: 0,
            takes: 0,
            believes_ns: None,
            header: None,
            header_at: 0,
            told: None,
            partner: None,
            session: None,
            arrived_at: 0,
        });
        self.unattended.push(id);
        id
    }

    /// A connect to a port where nobody listens meets itself.
    pub fn meet_itself(&mut self, address: SocketAddr, rng: &mut Rng) -> ConnId {
        let id = self.connect(Side::Backend, address, 1, rng);
        self.unattended.pop();
        self.conns[id].is_itself = true;
        id
    }

    /// When weir's kernel next gives a silent peer up.
    #[must_use]
    pub fn gives_up_at(&self) -> Option<u64> {
        self.conns.iter().filter_map(Conn::given_up_at).min()
    }

    /// A socket of weir's begins to listen.
    pub fn listen(&mut self, address: SocketAddr) -> usize {
        let listener = self.listening.len();
        self.listening.push(Listening { address, open: true, paused: false, queue: [].into() });
        self.groups.entry(address).or_default().0.push(listener);
        listener
    }

    /// A paused listener is the last of its group now.
    pub fn listen_again(&mut self, listener: usize) {
        let listening = &mut self.listening[listener];
        (listening.open, listening.paused) = (true, false);
        self.groups.entry(listening.address).or_default().0.push(listener);
    }

    /// weir's sockets at an address get another steering, or none.
    pub fn steer(&mut self, address: SocketAddr, steering: Option<Steering>) {
        if let Some(group) = self.groups.get_mut(&address) {
            group.1 = steering;
        }
    }

    /// The socket that a client from there is steered to. Where there is none in that place the
    /// kernel chooses as if it had no steering.
    fn steered(&self, address: SocketAddr, client: IpAddr) -> Option<usize> {
        let (sockets, steering) = self.groups.get(&address)?;
        sockets.get(usize::from(steering.as_ref()?.place(client))).copied()
    }

    /// A client connects to one of weir's addresses. `None`: refused.
    pub fn arrive(
        &mut self,
        address: SocketAddr,
        window_max: usize,
        now: u64,
        rng: &mut Rng,
    ) -> Option<ConnId> {
        let client = peer_of(self.conns.len()).ip();
        let index = self.steered(address, client).or_else(|| self.in_group(address, rng))?;
        let id = self.connect(Side::Client, address, window_max, rng);
        self.conns[id].arrived_at = now;
        self.listening[index].queue.push_back(id);
        Some(id)
    }

    /// One of the open listeners with this address: the hash that SO_REUSEPORT makes is anybody's.
    fn in_group(&self, address: SocketAddr, rng: &mut Rng) -> Option<usize> {
        let open = |listening: &Listening| listening.open && listening.address == address;
        let places = self.listening.iter().enumerate();
        let group: Vec<usize> =
            places.filter(|(_, listening)| open(listening)).map(|(index, _)| index).collect();
        match group.len() {
            0 => None,
            1 => Some(group[0]),
            _ => Some(rng.pick(&group)),
        }
    }

    /// A listener closes: who waits on it is reset, or moves to another one of its group.
    pub fn close_listener(&mut self, listener: usize, rng: &mut Rng) {
        let listening = &mut self.listening[listener];
        (listening.open, listening.paused) = (false, false);
        let address = listening.address;
        if let Some((sockets, _)) = self.groups.get_mut(&address) {
            // The last one takes its place.
            if let Some(place) = sockets.iter().position(|it| *it == listener) {
                sockets.swap_remove(place);
            }
            if sockets.is_empty() {
                self.groups.remove(&address);
            }
        }
        for conn in std::mem::take(&mut listening.queue) {
            let heir = if self.migrates { self.in_group(address, rng) } else { None };
            match heir {
                Some(heir) => self.listening[heir].queue.push_back(conn),
                None => self.conns[conn].weir_abort(rng),
            }
        }
    }
}
