//! A [`Member`] that sends one stream of [`Payload`], checks another, and ends both.
//!
//! The client begins with its number; both sides know from it what comes and in which order the
//! directions end.

use std::io::{ErrorKind, Read, Write};
use std::net::{Shutdown, TcpStream};
use std::time::{Duration, Instant};

use crate::crowd::{Member, Ready, Wish};
use crate::payload::{Dice, Payload};

/// Bytes of the number that a client begins with.
const HEAD: u64 = 8;

/// Which side a talker is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    Client,
    Server,
}

/// Whose FIN comes first.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Order {
    Client,
    Server,
    /// Each ends when it has said everything.
    Any,
}

/// What two talkers say to each other.
#[derive(Clone, Copy, Debug)]
pub struct Talk {
    pub key: u64,
    /// Bytes from the client after its number, and from the server; `u64::MAX` never ends.
    pub up: u64,
    pub down: u64,
    pub order: Order,
    /// Most bytes of one write or read; each is 1 to this.
    pub chunk: u64,
    /// Before one write in N there is a pause; 0 for none.
    pub pause_once_in: u64,
    pub pause_max: Duration,
    /// Bytes that the client reads in a second at most.
    pub read_rate: Option<u64>,
    /// Bytes that a side moves each way before the others have their turn.
    pub turn_bytes: u64,
}

impl Talk {
    /// So many bytes each way, as fast as it goes.
    #[must_use]
    pub fn plain(key: u64, up: u64, down: u64) -> Talk {
        let (order, chunk) = (Order::Any, 64 << 10);
        let (pause_once_in, pause_max, read_rate) = (0, Duration::ZERO, None);
        let turn_bytes = 128 << 10;
        Talk { key, up, down, order, chunk, pause_once_in, pause_max, read_rate, turn_bytes }
    }
}

/// One side of a [`Talk`].
#[derive(Debug)]
pub struct Talker<F> {
    role: Role,
    number: Option<u64>,
    /// Number → talk.
    plan: F,
    talk: Option<Talk>,
    head: Vec<u8>,
    dice: Dice,
    /// Bytes sent and received, the client's number not counted.
    pub sent: u64,
    pub received: u64,
    head_sent: u64,
    pub fin_sent: bool,
    pub fin_seen: bool,
    /// Set: ends its direction at the next chance, however much is left to say.
    pub enough: bool,
    paused_until: Option<Instant>,
    /// With a read rate: when reading began.
    began: Option<Instant>,
    /// When the last byte came.
    pub heard_at: Option<Instant>,
    buffer: Vec<u8>,
}

impl<F: Fn(u64) -> Talk> Talker<F> {
    /// A client with its number.
    #[must_use]
    pub fn client(number: u64, plan: F) -> Talker<F> {
        let talk = plan(number);
        Talker { talk: Some(talk), ..Talker::new(Role::Client, Some(number), plan) }
    }

    /// A server, which learns the number from its client.
    #[must_use]
    pub fn server(plan: F) -> Talker<F> {
        Talker::new(Role::Server, None, plan)
    }

    fn new(role: Role, number: Option<u64>, plan: F) -> Talker<F> {
        let dice = Dice::new(number.unwrap_or(0));
        Talker {
            role,
            number,
            plan,
            talk: None,
            head: Vec::new(),
            dice,
            sent: 0,
            received: 0,
            head_sent: 0,
            fin_sent: false,
            fin_seen: false,
            enough: false,
            paused_until: None,
            began: None,
            heard_at: None,
            buffer: Vec::new(),
        }
    }

    /// Whether it is a client.
    #[must_use]
    pub fn is_client(&self) -> bool {
        self.role == Role::Client
    }

    /// The number, as far as it is known.
    #[must_use]
    pub fn number(&self) -> Option<u64> {
        self.number
    }

    /// Both directions have ended, and everything was said and heard.
    #[must_use]
    pub fn is_done(&self) -> bool {
        self.fin_sent && self.fin_seen
    }

    fn fail(&self, what: &str) -> ! {
        let Talker { role, number, sent, received, fin_sent, fin_seen, .. } = self;
        let talk = self.talk;
        panic!(
            "{role:?} {number:?} {what}; sent {sent}, received {received}, fin sent {fin_sent}, \
             seen {fin_seen}, {talk:?}"
        )
    }

    /// (what this side sends, what it hears)
    fn payloads(talk: &Talk, role: Role) -> (Payload, Payload) {
        let (up, down) = (Payload(talk.key), Payload(!talk.key));
        if role == Role::Client { (up, down) } else { (down, up) }
    }

    /// Reads what is there; gives the time at which more may be read, if the pace is the limit.
    fn read(&mut self, mut stream: &TcpStream, now: Instant) -> Option<Instant> {
        let mut moved = 0;
        let turn_bytes = self.talk.map_or(HEAD, |talk| talk.turn_bytes);
        while !self.fin_seen && moved < turn_bytes {
            let mut most = self
                .talk
                .map_or(HEAD - self.head.len() as u64, |talk| self.dice.below(talk.chunk) + 1);
            let rate = self.talk.and_then(|talk| talk.read_rate);
            if let Some(rate) = rate.filter(|_| self.role == Role::Client) {
                let span = now - *self.began.get_or_insert(now);
                let due = u64::try_from(span.as_millis()).unwrap_or(0) * rate / 1000;
                most = most.min(due.saturating_sub(self.received));
                if most == 0 {
                    return Some(now + Duration::from_millis(250));
                }
            }
            let mut buffer = self.buffer(most);
            let most = usize::try_from(most).expect("a chunk is small");
            let result = stream.read(&mut buffer[..most]);
            match result {
                Ok(0) => self.on_fin(),
                Ok(length) => {
                    moved += length as u64;
                    self.heard_at = Some(now);
                    self.on_bytes(&buffer[..length]);
                }
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) if error.kind() == ErrorKind::WouldBlock => moved = turn_bytes,
                Err(error) => self.fail(&format!("could not read: {error}")),
            }
            self.buffer = buffer;
        }
        None
    }

    /// The own buffer, at least so long; to be put back.
    fn buffer(&mut self, length: u64) -> Vec<u8> {
        let mut buffer = std::mem::take(&mut self.buffer);
        let length = usize::try_from(length).expect("a chunk is small");
        if buffer.len() < length {
            buffer.resize(length, 0);
        }
        buffer
    }

    fn on_bytes(&mut self, mut bytes: &[u8]) {
        if self.talk.is_none() {
            self.head.extend_from_slice(bytes);
            let Ok(head) = <[u8; 8]>::try_from(self.head.as_slice()) else { return };
            let number = u64::from_le_bytes(head);
            self.number = Some(number);
            self.dice = Dice::new(!number);
            self.talk = Some((self.plan)(number));
            bytes = &[];
        }
        let talk = self.talk.expect("known by now");
        let (_, hears) = Self::payloads(&talk, self.role);
        if let Some(at) = hears.first_wrong(self.received, bytes) {
            self.fail(&format!("got a wrong byte at {at}"));
        }
        self.received += bytes.len() as u64;
    }

    fn on_fin(&mut self) {
        self.fin_seen = true;
        let Some(talk) = self.talk else { self.fail("got a FIN before the number") };
        let (mine, whole) = if self.role == Role::Client {
            (Order::Client, talk.down)
        } else {
            (Order::Server, talk.up)
        };
        if self.received != whole && whole != u64::MAX {
            self.fail("got a FIN in the middle");
        }
        if talk.order == mine && !self.fin_sent {
            self.fail("got a FIN before its own, which was to come first");
        }
    }

    /// Writes what there is to say; true if the socket takes no more for now.
    fn write(&mut self, mut stream: &TcpStream, now: Instant) -> bool {
        let Some(talk) = self.talk else { return false };
        if self.role == Role::Client && self.head_sent < HEAD {
            let number = self.number.expect("a client has a number").to_le_bytes();
            let from = usize::try_from(self.head_sent).expect("below 8");
            match stream.write(&number[from..]) {
                Ok(length) => self.head_sent += length as u64,
                Err(error) if error.kind() == ErrorKind::WouldBlock => return true,
                Err(error) => self.fail(&format!("could not write its number: {error}")),
            }
        }
        let whole = if self.role == Role::Client { talk.up } else { talk.down };
        let (says, _) = Self::payloads(&talk, self.role);
        let mut moved = 0;
        while self.sent < whole && !self.enough && moved < talk.turn_bytes {
            if self.paused_until.is_some_and(|until| until > now) {
                return false;
            }
            self.paused_until = None;
            let most = (self.dice.below(talk.chunk) + 1).min(whole - self.sent);
            let mut buffer = self.buffer(most);
            let most = usize::try_from(most).expect("a chunk is small");
            says.fill(self.sent, &mut buffer[..most]);
            let result = stream.write(&buffer[..most]);
            self.buffer = buffer;
            match result {
                Ok(length) => {
                    self.sent += length as u64;
                    moved += length as u64;
                }
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) if error.kind() == ErrorKind::WouldBlock => return true,
                Err(error) => self.fail(&format!("could not write: {error}")),
            }
            if talk.pause_once_in > 0 && self.dice.once_in(talk.pause_once_in) {
                let millis = u64::try_from(talk.pause_max.as_millis()).unwrap_or(u64::MAX);
                self.paused_until = Some(now + Duration::from_millis(self.dice.below(millis)));
            }
        }
        if (self.sent == whole || self.enough) && !self.fin_sent && self.may_end(&talk) {
            match stream.shutdown(Shutdown::Write) {
                Ok(()) => self.fin_sent = true,
                Err(error) => self.fail(&format!("could not end: {error}")),
            }
        }
        self.sent < whole && !self.enough
    }

    fn may_end(&self, talk: &Talk) -> bool {
        match (talk.order, self.role) {
            (Order::Any, _) | (Order::Client, Role::Client) | (Order::Server, Role::Server) => true,
            _ => self.fin_seen,
        }
    }
}

impl<F: Fn(u64) -> Talk> Member for Talker<F> {
    fn act(&mut self, stream: &TcpStream, ready: Ready, now: Instant) -> Wish {
        if ready.failed && !self.is_done() {
            let error = stream.take_error().ok().flatten();
            self.fail(&format!("has lost its connection: {error:?}"));
        }
        if stream.peer_addr().is_err() && self.head_sent == 0 && self.role == Role::Client {
            return Wish::Wait { read: true, write: true, until: None }; // not connected yet
        }
        let rested = self.read(stream, now);
        let mut write = self.write(stream, now);
        if self.is_done() {
            return Wish::Done;
        }
        let paused = self.paused_until.filter(|until| *until > now);
        write &= paused.is_none();
        let until = [rested, paused].into_iter().flatten().min();
        Wish::Wait { read: !self.fin_seen && rested.is_none(), write, until }
    }
}
