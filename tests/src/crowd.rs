//! Many peers on one thread: an epoll(7), and for each connection a [`Member`] that says what it
//! does when its socket is ready or its time has come.

pub mod guest;
pub mod pingers;
pub mod talker;

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::io;
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::os::fd::{AsFd, OwnedFd};
use std::time::{Duration, Instant};

use rustix::event::epoll::{self, CreateFlags, Event, EventData, EventFlags};
use socket2::{Domain, SockAddr, SockRef, Socket, Type};

use crate::clock;

/// Listeners have numbers from here on, members below.
const LISTENERS: u64 = 1 << 32;

/// One end of a connection in a crowd.
pub trait Member {
    /// Its socket is ready, or its time has come: does what can be done without waiting.
    fn act(&mut self, stream: &TcpStream, ready: Ready, now: Instant) -> Wish;
}

/// What epoll says about a socket. All false: its time has come.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Ready {
    pub readable: bool,
    pub writable: bool,
    /// EPOLLERR: it was reset, or the connect failed.
    pub failed: bool,
}

/// What a member waits for next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Wish {
    Wait {
        read: bool,
        write: bool,
        until: Option<Instant>,
    },
    /// Close the socket; the member stays where it is, for the count.
    Done,
}

struct Seat<M> {
    stream: Option<TcpStream>,
    member: M,
    flags: EventFlags,
    /// Older alarms are void.
    alarm: Option<Instant>,
}

type Make<M> = Box<dyn FnMut(&TcpStream) -> M>;

/// Peers, and the listeners that more of them come from.
pub struct Crowd<M> {
    epoll: OwnedFd,
    seats: Vec<Seat<M>>,
    listeners: Vec<(TcpListener, Make<M>)>,
    alarms: BinaryHeap<Reverse<(Instant, usize)>>,
    open: usize,
    turns: u64,
    buffers: Option<usize>,
}

impl<M: Member> Default for Crowd<M> {
    fn default() -> Crowd<M> {
        Crowd::new()
    }
}

impl<M: Member> Crowd<M> {
    /// An empty one.
    ///
    /// # Panics
    /// If there is no descriptor.
    #[must_use]
    pub fn new() -> Crowd<M> {
        let epoll = epoll::create(CreateFlags::CLOEXEC).expect("there is a descriptor");
        let (seats, listeners) = (Vec::new(), Vec::new());
        let alarms = BinaryHeap::new();
        Crowd { epoll, seats, listeners, alarms, open: 0, turns: 0, buffers: None }
    }

    /// Members' sockets hold at most that many bytes each way (doubled by the kernel, socket(7)),
    /// so that a large crowd leaves the host's memory for TCP to weir: elsewhere peers are on other
    /// hosts.
    #[must_use]
    pub fn with_buffers(self, bytes: usize) -> Crowd<M> {
        Crowd { buffers: Some(bytes), ..self }
    }

    /// Connections of `listener` join with what `make` gives.
    ///
    /// # Panics
    /// If the listener cannot be watched.
    pub fn listen(&mut self, listener: TcpListener, make: impl FnMut(&TcpStream) -> M + 'static) {
        listener.set_nonblocking(true).expect("a socket can be non-blocking");
        let data = EventData::new_u64(LISTENERS + self.listeners.len() as u64);
        epoll::add(&self.epoll, listener.as_fd(), data, EventFlags::IN).expect("it can be watched");
        self.listeners.push((listener, Box::new(make)));
    }

    /// A connection joins; `member` acts in the next turn. Gives its number.
    ///
    /// # Panics
    /// If the socket cannot be watched.
    pub fn join(&mut self, stream: TcpStream, member: M) -> usize {
        stream.set_nonblocking(true).expect("a socket can be non-blocking");
        if let Some(bytes) = self.buffers {
            let socket = SockRef::from(&stream);
            socket.set_recv_buffer_size(bytes).expect("a buffer can be smaller");
            socket.set_send_buffer_size(bytes).expect("a buffer can be smaller");
        }
        let number = self.seats.len();
        let flags = EventFlags::IN | EventFlags::OUT;
        let data = EventData::new_u64(number as u64);
        epoll::add(&self.epoll, stream.as_fd(), data, flags).expect("it can be watched");
        self.seats.push(Seat { stream: Some(stream), member, flags, alarm: None });
        self.open += 1;
        number
    }

    /// Begins a connect to `to`, from `source` if there is one; what becomes of it `member` hears
    /// as ready to write, or failed.
    ///
    /// # Panics
    /// If descriptors ran out, or the connect fails at once.
    pub fn connect(&mut self, to: SocketAddr, source: Option<SocketAddr>, member: M) -> usize {
        let socket = Socket::new(Domain::for_address(to), Type::STREAM, None);
        let socket = socket.expect("there is a descriptor");
        socket.set_nonblocking(true).expect("a socket can be non-blocking");
        if let Some(source) = source {
            socket.bind(&SockAddr::from(source)).expect("the source address is this host's");
        }
        match socket.connect(&SockAddr::from(to)) {
            Err(error)
                if error.raw_os_error() != Some(rustix::io::Errno::INPROGRESS.raw_os_error()) =>
            {
                panic!("connect to {to}: {error}")
            }
            _ => self.join(socket.into(), member),
        }
    }

    /// Everybody who is ready acts; waits at most `limit` for the first.
    ///
    /// # Panics
    /// If a member does.
    pub fn turn(&mut self, limit: Duration) {
        self.turns += 1;
        let mut wait = limit;
        if let Some(Reverse((next, _))) = self.alarms.peek() {
            wait = wait.min(next.saturating_duration_since(clock::now()));
        }
        let timeout = rustix::event::Timespec {
            tv_sec: i64::try_from(wait.as_secs()).unwrap_or(i64::MAX),
            tv_nsec: i64::from(wait.subsec_nanos()),
        };
        let mut events: Vec<Event> = Vec::with_capacity(1024);
        let spare = rustix::buffer::spare_capacity(&mut events);
        match epoll::wait(&self.epoll, spare, Some(&timeout)) {
            Ok(_) | Err(rustix::io::Errno::INTR) => {}
            Err(error) => panic!("epoll_wait: {error}"),
        }
        let now = clock::now();
        for event in events {
            let (number, flags) = (event.data.u64(), event.flags);
            if number >= LISTENERS {
                self.accept(usize::try_from(number - LISTENERS).expect("it was an index"));
                continue;
            }
            let has = |flag| flags.contains(flag);
            let hung = has(EventFlags::HUP) || has(EventFlags::RDHUP);
            let ready = Ready {
                readable: has(EventFlags::IN) || hung,
                writable: has(EventFlags::OUT),
                failed: has(EventFlags::ERR),
            };
            self.act(usize::try_from(number).expect("it was an index"), ready, now);
        }
        while let Some(Reverse((at, number))) = self.alarms.peek().copied()
            && at <= now
        {
            self.alarms.pop();
            if self.seats[number].alarm == Some(at) {
                self.seats[number].alarm = None;
                self.act(number, Ready::default(), now);
            }
        }
    }

    /// Turns until `over` says so.
    ///
    /// # Panics
    /// If it has not within `limit`; `what` says what was waited for.
    pub fn turn_until(
        &mut self,
        limit: Duration,
        what: &str,
        mut over: impl FnMut(&mut Crowd<M>) -> bool,
    ) {
        let end = clock::now() + limit;
        while !over(self) {
            assert!(clock::now() < end, "waited {limit:?} in vain for: {what}");
            self.turn(Duration::from_millis(20));
        }
    }

    /// Turns for a while: load that must last so long.
    pub fn turn_for(&mut self, span: Duration) {
        let end = clock::now() + span;
        loop {
            let left = end.saturating_duration_since(clock::now());
            if left.is_zero() {
                return;
            }
            self.turn(left.min(Duration::from_millis(20)));
        }
    }

    /// Lets a member act now, whatever it waits for: after it was told something.
    pub fn nudge(&mut self, number: usize) {
        self.act(number, Ready::default(), clock::now());
    }

    /// Everybody who ever joined, those who are done too.
    pub fn members(&self) -> impl Iterator<Item = &M> {
        self.seats.iter().map(|seat| &seat.member)
    }

    /// A member by its number.
    ///
    /// # Panics
    /// If there is none.
    pub fn member(&mut self, number: usize) -> &mut M {
        &mut self.seats[number].member
    }

    /// The socket of a member, while it is open.
    #[must_use]
    pub fn stream(&self, number: usize) -> Option<&TcpStream> {
        self.seats[number].stream.as_ref()
    }

    /// How many ever joined.
    #[must_use]
    pub fn len(&self) -> usize {
        self.seats.len()
    }

    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.seats.is_empty()
    }

    /// Connections that are open.
    #[must_use]
    pub fn open(&self) -> usize {
        self.open
    }

    /// Turns so far. Two of them look at up to 2,048 sockets.
    #[must_use]
    pub fn turns(&self) -> u64 {
        self.turns
    }

    /// Closes a member's socket.
    pub fn drop_stream(&mut self, number: usize) -> Option<TcpStream> {
        let stream = self.seats[number].stream.take()?;
        self.open -= 1;
        let _ = epoll::delete(&self.epoll, stream.as_fd());
        Some(stream)
    }

    fn accept(&mut self, listener: usize) {
        // A batch a turn: those who are here already have their turn too.
        for _ in 0..256 {
            let (socket, make) = &mut self.listeners[listener];
            match socket.accept() {
                Ok((stream, _)) => {
                    let _ = stream.set_nodelay(true);
                    let member = make(&stream);
                    self.join(stream, member);
                }
                // Whoever is gone before it is accepted (ECONNABORTED) is no reason to stop.
                Err(error) if error.kind() == io::ErrorKind::ConnectionAborted => {}
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return,
                Err(error) => panic!("a backend accepts: {error}"),
            }
        }
    }

    fn act(&mut self, number: usize, ready: Ready, now: Instant) {
        let seat = &mut self.seats[number];
        let Some(stream) = &seat.stream else { return };
        match seat.member.act(stream, ready, now) {
            Wish::Done => {
                self.drop_stream(number);
            }
            Wish::Wait { read, write, until } => {
                let mut flags = EventFlags::empty();
                flags.set(EventFlags::IN, read);
                flags.set(EventFlags::OUT, write);
                if flags != seat.flags {
                    seat.flags = flags;
                    let data = EventData::new_u64(number as u64);
                    epoll::modify(&self.epoll, stream.as_fd(), data, flags).expect("it is watched");
                }
                if until != seat.alarm {
                    seat.alarm = until;
                    self.alarms.extend(until.map(|until| Reverse((until, number))));
                }
            }
        }
    }
}
