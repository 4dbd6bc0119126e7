//! Both ends of one session in the hand of one thread, for stories about how sessions end: nothing
//! blocks, every byte is checked, and the moment at which an end is seen is kept.

use std::io::{ErrorKind, Read, Write};
use std::net::{Shutdown, TcpStream};
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::net::{SendFlags, send};
use socket2::SockRef;

use crate::net::End;
use crate::payload::Payload;

/// One end of a session. What it sends is [`Payload`] of its key.
#[derive(Debug)]
pub struct Ending {
    /// `None` once it was reset by us.
    stream: Option<TcpStream>,
    says: Payload,
    hears: Payload,
    pub sent: u64,
    /// It sends up to here, as the socket takes it.
    pub goal: u64,
    pub received: u64,
    /// The byte at this place is sent as an urgent one (MSG_OOB).
    pub urgent_at: Option<u64>,
    /// False: it leaves what comes in the socket.
    pub reads: bool,
    /// It ends its direction when `goal` is reached.
    pub wants_fin: bool,
    pub fin_sent: bool,
    pub fin_at: Option<Instant>,
    pub rst_at: Option<Instant>,
    /// When the last byte came.
    pub heard_at: Option<Instant>,
    /// The first end that was seen here: a FIN leaves the other direction.
    pub fin_seen: Option<Instant>,
    pub rst_seen: Option<Instant>,
}

impl Ending {
    /// An end that says `key`'s bytes and hears `other`'s; `received` of them are read already.
    ///
    /// # Panics
    /// If the socket takes no options.
    #[must_use]
    pub fn new(stream: TcpStream, key: u64, other: u64) -> Ending {
        stream.set_nonblocking(true).expect("a socket can be non-blocking");
        stream.set_nodelay(true).expect("a socket takes TCP_NODELAY");
        Ending {
            stream: Some(stream),
            says: Payload(key),
            hears: Payload(other),
            sent: 0,
            goal: 0,
            received: 0,
            urgent_at: None,
            reads: true,
            wants_fin: false,
            fin_sent: false,
            fin_at: None,
            rst_at: None,
            heard_at: None,
            fin_seen: None,
            rst_seen: None,
        }
    }

    /// Whether anything can still happen here.
    #[must_use]
    pub fn is_open(&self) -> bool {
        self.stream.is_some() && self.rst_seen.is_none()
    }

    /// Ends the connection with a RST.
    ///
    /// # Panics
    /// If the socket takes no options.
    pub fn reset(&mut self, now: Instant) {
        let Some(stream) = self.stream.take() else { return };
        SockRef::from(&stream).set_linger(Some(Duration::ZERO)).expect("a socket takes SO_LINGER");
        self.rst_at = Some(now);
    }

    /// The first byte that was wrong, or an end that was: said by `Err`.
    ///
    /// # Errors
    /// What was wrong.
    pub fn step(&mut self, now: Instant) -> Result<(), String> {
        if self.is_open() {
            self.write(now);
        }
        if self.is_open() && self.reads {
            self.read(now)?;
        }
        Ok(())
    }

    /// Takes notice of an error of the socket, without reading.
    pub fn on_error(&mut self, now: Instant) {
        if let Some(stream) = &self.stream
            && stream.take_error().ok().flatten().is_some()
        {
            self.rst_seen.get_or_insert(now);
        }
    }

    fn write(&mut self, now: Instant) {
        let Some(mut stream) = self.stream.as_ref() else { return };
        let mut chunk = [0; 16 << 10];
        // A bounded number of writes: the other ends have their turn too.
        for _ in 0..16 {
            if self.sent >= self.goal {
                break;
            }
            let urgent = self.urgent_at == Some(self.sent);
            let stop = self.urgent_at.filter(|at| *at > self.sent).unwrap_or(self.goal);
            let left = usize::try_from(stop.min(self.goal) - self.sent).unwrap_or(usize::MAX);
            let part = &mut chunk[..if urgent { 1 } else { left.min(16 << 10) }];
            self.says.fill(self.sent, part);
            let written = if urgent {
                send(stream, part, SendFlags::OOB).map_err(std::io::Error::from)
            } else {
                stream.write(part)
            };
            match written {
                Ok(length) => self.sent += length as u64,
                Err(error) if error.kind() == ErrorKind::WouldBlock => break,
                Err(_) => {
                    self.rst_seen.get_or_insert(now);
                    return;
                }
            }
        }
        if self.wants_fin && !self.fin_sent && self.sent == self.goal {
            match stream.shutdown(Shutdown::Write) {
                Ok(()) => (self.fin_sent, self.fin_at) = (true, Some(now)),
                Err(_) => self.rst_seen = self.rst_seen.or(Some(now)),
            }
        }
    }

    fn read(&mut self, now: Instant) -> Result<(), String> {
        let Some(mut stream) = self.stream.as_ref() else { return Ok(()) };
        let mut chunk = [0; 32 << 10];
        for _ in 0..16 {
            if self.fin_seen.is_some() {
                return Ok(());
            }
            match stream.read(&mut chunk) {
                Ok(0) => self.fin_seen = Some(now),
                Ok(length) => {
                    if let Some(at) = self.hears.first_wrong(self.received, &chunk[..length]) {
                        return Err(format!("a wrong byte at {at}"));
                    }
                    self.received += length as u64;
                    self.heard_at = Some(now);
                }
                Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(()),
                Err(error) if error.kind() == ErrorKind::ConnectionReset => {
                    self.rst_seen.get_or_insert(now);
                    return Ok(());
                }
                Err(error) => return Err(format!("a read failed: {error}")),
            }
        }
        Ok(())
    }

    /// The last end that was seen: a RST after a FIN is a RST.
    #[must_use]
    pub fn seen(&self) -> Option<(End, Instant)> {
        let rst = self.rst_seen.map(|at| (End::Rst, at));
        rst.or(self.fin_seen.map(|at| (End::Fin, at)))
    }
}

/// Waits at most `limit` until one of the ends has something to do; notices their errors.
///
/// # Panics
/// If poll(2) fails.
pub fn wait(ends: &mut [&mut Ending], limit: Duration, now: impl Fn() -> Instant) {
    let mut polled = Vec::with_capacity(ends.len());
    let mut fds = Vec::with_capacity(ends.len());
    for (index, end) in ends.iter().enumerate() {
        let Some(stream) = end.stream.as_ref().filter(|_| end.is_open()) else { continue };
        let mut flags = PollFlags::empty();
        flags.set(PollFlags::IN, end.reads && end.fin_seen.is_none());
        flags.set(PollFlags::OUT, end.sent < end.goal);
        polled.push(index);
        fds.push(PollFd::new(stream, flags));
    }
    let nanos = i64::from(limit.subsec_nanos());
    let timeout = Timespec { tv_sec: 0, tv_nsec: nanos };
    match poll(&mut fds, Some(&timeout)) {
        Ok(_) | Err(rustix::io::Errno::INTR) => {}
        Err(error) => panic!("poll: {error}"),
    }
    let failed: Vec<usize> = std::iter::zip(polled, &fds)
        .filter(|(_, fd)| fd.revents().contains(PollFlags::ERR))
        .map(|(index, _)| index)
        .collect();
    drop(fds);
    let now = now();
    for index in failed {
        ends[index].on_error(now);
    }
}
