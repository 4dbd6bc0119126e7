//! The backend: echo, http, source (download) or sink (upload), in one thread.

use std::io::{self, ErrorKind, Read, Write};
use std::net::{IpAddr, Ipv4Addr, Shutdown, SocketAddr, TcpListener, TcpStream};

use crate::clock::now_ns;
use crate::load::{BATCH, remaining};
use crate::pattern::{CHUNK_MAX, Pattern};
use crate::sys::{self, Epoll, READ, WRITE};

/// What the backend does with a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum Mode {
    /// Sends back what it gets.
    Echo,
    /// Answers every request head (no bodies) with a small 200.
    Http,
    /// Gets a length and a key (u64, big endian), sends that many bytes of that pattern, closes.
    Source,
    /// Gets a key, then the pattern until FIN; answers with the count and the count of wrong reads.
    Sink,
}

/// The length of a source's request: bytes, then key.
pub const SOURCE_REQUEST: usize = 16;
/// The length of a sink's answer: bytes, then wrong reads.
pub const SINK_ANSWER: usize = 16;
/// What the http mode answers.
pub const HTTP_ANSWER: &[u8] =
    b"HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nContent-Length: 6\r\n\r\nhello\n";
const HEAD_END: &[u8] = b"\r\n\r\n";
/// Tokens from here on are listeners.
const LISTENERS: usize = usize::MAX / 2;
/// How many addresses of one port there can be.
pub const ADDRESSES_MAX: u16 = 60_000;

/// What is known of one connection.
#[derive(Default)]
struct Progress {
    /// Bytes to send that the socket did not take yet.
    pending: Vec<u8>,
    /// Head bytes collected (source: request, sink: key).
    head: Vec<u8>,
    /// http: bytes of HEAD_END seen.
    matched: usize,
    /// source: bytes still to send; sink: bytes received.
    bytes: u64,
    key: u64,
    position: u64,
    wrong: u64,
    closing: bool,
    waits_for_write: bool,
}

struct ServedPeer {
    stream: TcpStream,
    progress: Progress,
}

/// What to do with the connection after an event.
#[derive(PartialEq, Eq)]
enum Next {
    Keep,
    Close,
}

/// A backend on its own listener.
pub struct Server {
    mode: Mode,
    listeners: Vec<TcpListener>,
    epoll: Epoll,
    peers: Vec<Option<ServedPeer>>,
    free: Vec<usize>,
    pattern: Pattern,
    buffer: Vec<u8>,
}

impl Server {
    /// Listens; port 0 lets the kernel choose, see `address`. More addresses than one: the same
    /// port on [`neighbour`]s of the first.
    pub fn new(address: SocketAddr, mode: Mode, addresses: u16) -> io::Result<Self> {
        let first = sys::listen(address)?;
        let bound = first.local_addr()?;
        let mut listeners = vec![first];
        for number in 1..addresses {
            listeners.push(sys::listen(neighbour(bound, number))?);
        }
        let epoll = Epoll::new()?;
        for (at, listener) in listeners.iter().enumerate() {
            epoll.add(listener, LISTENERS + at, READ)?;
        }
        Ok(Self {
            mode,
            listeners,
            epoll,
            peers: Vec::new(),
            free: Vec::new(),
            pattern: Pattern::new(),
            buffer: vec![0; CHUNK_MAX],
        })
    }

    pub fn address(&self) -> io::Result<SocketAddr> {
        self.listeners[0].local_addr()
    }

    /// Serves until the clock says `deadline_ns`.
    pub fn run(&mut self, deadline_ns: u64) -> io::Result<()> {
        let mut events = vec![sys::no_event(); BATCH];
        loop {
            let now = now_ns();
            if now >= deadline_ns {
                return Ok(());
            }
            let ready = self.epoll.wait(&mut events, remaining(deadline_ns, now))?;
            for event in &events[..ready] {
                match usize::try_from(event.u64).expect("tokens are ours") {
                    at if at >= LISTENERS => self.accept_all(at - LISTENERS)?,
                    at => self.serve(at),
                }
            }
        }
    }

    fn accept_all(&mut self, listener: usize) -> io::Result<()> {
        loop {
            match sys::accept(&self.listeners[listener]) {
                Ok(stream) => {
                    let at = self.free.pop().unwrap_or_else(|| {
                        self.peers.push(None);
                        self.peers.len() - 1
                    });
                    self.epoll.add(&stream, at, READ)?;
                    self.peers[at] = Some(ServedPeer { stream, progress: Progress::default() });
                }
                Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(()),
                // The client was gone before it was taken: fine.
                Err(error) if error.kind() == ErrorKind::ConnectionAborted => {}
                Err(error) => return Err(error),
            }
        }
    }

    fn serve(&mut self, at: usize) {
        // A report of this batch can be of a connection closed earlier in it: fine.
        let Some(peer) = self.peers.get_mut(at).and_then(Option::as_mut) else { return };
        let step = step(self.mode, peer, &self.pattern, &mut self.buffer);
        let next = step.and_then(|next| {
            let waits = !peer.progress.pending.is_empty()
                || (self.mode == Mode::Source && peer.progress.bytes > 0);
            if waits != peer.progress.waits_for_write {
                peer.progress.waits_for_write = waits;
                let interest = if waits { WRITE } else { READ };
                self.epoll.modify(&peer.stream, at, interest)?;
            }
            Ok(next)
        });
        // A reset by the client ends its connection and nothing else.
        if !matches!(next, Ok(Next::Keep)) {
            self.peers[at] = None;
            self.free.push(at);
        }
    }
}

/// Address `number` of a row that begins with `first`: the same port, 250 addresses of each /24 of
/// 127.0.0.0/8 and on.
#[must_use]
pub fn neighbour(first: SocketAddr, number: u16) -> SocketAddr {
    let IpAddr::V4(start) = first.ip() else { return first };
    let step = u32::from(number / 250) * 256 + u32::from(number % 250);
    SocketAddr::new(IpAddr::V4(Ipv4Addr::from(u32::from(start) + step)), first.port())
}

fn step(
    mode: Mode,
    peer: &mut ServedPeer,
    pattern: &Pattern,
    buffer: &mut [u8],
) -> io::Result<Next> {
    let ServedPeer { stream, progress } = peer;
    if !progress.pending.is_empty() {
        let sent = send_some(stream, &progress.pending)?;
        progress.pending.drain(..sent);
        let done = progress.pending.is_empty() && progress.closing;
        return Ok(if done { Next::Close } else { Next::Keep });
    }
    if mode == Mode::Source && progress.bytes > 0 {
        return source(stream, progress, pattern);
    }
    let length = match stream.read(buffer) {
        Ok(length) => length,
        Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(Next::Keep),
        Err(error) => return Err(error),
    };
    let got = &buffer[..length];
    match (mode, length) {
        (Mode::Sink, 0) => sink_answer(stream, progress),
        (_, 0) => Ok(Next::Close),
        (Mode::Echo, _) => answer(stream, progress, got),
        (Mode::Http, _) => http(stream, progress, got),
        (Mode::Source, _) => {
            progress.head.extend_from_slice(got);
            if progress.head.len() < SOURCE_REQUEST {
                return Ok(Next::Keep);
            }
            progress.bytes = number(&progress.head[..8]);
            progress.key = number(&progress.head[8..SOURCE_REQUEST]);
            source(stream, progress, pattern)
        }
        (Mode::Sink, _) => {
            sink(progress, pattern, got);
            Ok(Next::Keep)
        }
    }
}

fn answer(stream: &mut TcpStream, progress: &mut Progress, bytes: &[u8]) -> io::Result<Next> {
    let sent = send_some(stream, bytes)?;
    progress.pending.extend_from_slice(&bytes[sent..]);
    Ok(Next::Keep)
}

fn http(stream: &mut TcpStream, progress: &mut Progress, got: &[u8]) -> io::Result<Next> {
    let heads = count_heads(&mut progress.matched, got);
    match heads {
        0 => Ok(Next::Keep),
        1 => answer(stream, progress, HTTP_ANSWER),
        more => answer(stream, progress, &HTTP_ANSWER.repeat(more)),
    }
}

/// Counts ends of request heads; `matched` carries a half-seen end from one read to the next.
fn count_heads(matched: &mut usize, bytes: &[u8]) -> usize {
    let mut heads = 0;
    for &byte in bytes {
        *matched = match byte {
            _ if byte == HEAD_END[*matched] => *matched + 1,
            b'\r' => 1,
            _ => 0,
        };
        if *matched == HEAD_END.len() {
            *matched = 0;
            heads += 1;
        }
    }
    heads
}

fn source(stream: &mut TcpStream, progress: &mut Progress, pattern: &Pattern) -> io::Result<Next> {
    let length = usize::try_from(progress.bytes).unwrap_or(CHUNK_MAX).min(CHUNK_MAX);
    let sent = send_some(stream, pattern.slice(progress.key, progress.position, length))?;
    progress.position += sent as u64;
    progress.bytes -= sent as u64;
    Ok(if progress.bytes == 0 { Next::Close } else { Next::Keep })
}

fn sink(progress: &mut Progress, pattern: &Pattern, mut got: &[u8]) {
    if progress.head.len() < 8 {
        let (head, rest) = got.split_at(got.len().min(8 - progress.head.len()));
        progress.head.extend_from_slice(head);
        got = rest;
        if progress.head.len() < 8 {
            return;
        }
        progress.key = number(&progress.head);
    }
    if !pattern.matches(progress.key, progress.bytes, got) {
        progress.wrong += 1;
    }
    progress.bytes += got.len() as u64;
}

fn sink_answer(stream: &mut TcpStream, progress: &mut Progress) -> io::Result<Next> {
    let mut said = [0; SINK_ANSWER];
    said[..8].copy_from_slice(&progress.bytes.to_be_bytes());
    said[8..].copy_from_slice(&progress.wrong.to_be_bytes());
    progress.closing = true;
    answer(stream, progress, &said)?;
    if !progress.pending.is_empty() {
        return Ok(Next::Keep);
    }
    stream.shutdown(Shutdown::Write)?;
    Ok(Next::Close)
}

/// Sends what the socket takes now.
pub(crate) fn send_some(stream: &mut TcpStream, bytes: &[u8]) -> io::Result<usize> {
    match stream.write(bytes) {
        Err(error) if error.kind() == ErrorKind::WouldBlock => Ok(0),
        other => other,
    }
}

/// Eight bytes, big endian.
pub(crate) fn number(bytes: &[u8]) -> u64 {
    bytes.iter().fold(0, |sum, byte| sum << 8 | u64::from(*byte))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn heads_are_counted_however_they_are_cut() {
        let text = b"GET / HTTP/1.1\r\nHost: a\r\n\r\nGET / HTTP/1.1\r\n\r\n";
        for cut in 0..text.len() {
            let mut matched = 0;
            let heads =
                count_heads(&mut matched, &text[..cut]) + count_heads(&mut matched, &text[cut..]);
            assert_eq!((heads, matched), (2, 0), "cut at {cut}");
        }
        assert_eq!(count_heads(&mut 0, b"\r\n\n\r\r\n\r\n"), 1);
    }

    #[test]
    fn a_sink_reads_its_key_byte_by_byte_and_sees_damage() {
        let pattern = Pattern::new();
        let mut progress = Progress::default();
        for byte in 7_u64.to_be_bytes() {
            sink(&mut progress, &pattern, &[byte]);
        }
        sink(&mut progress, &pattern, pattern.slice(7, 0, 100));
        assert_eq!((progress.key, progress.bytes, progress.wrong), (7, 100, 0));
        sink(&mut progress, &pattern, pattern.slice(7, 101, 10));
        assert_eq!(progress.wrong, 1);
    }

    #[test]
    fn neighbours_are_all_different_loopback_addresses() {
        let first: SocketAddr = "127.0.0.1:7".parse().expect("address");
        let all: std::collections::BTreeSet<SocketAddr> =
            (0..1_000).map(|number| neighbour(first, number)).collect();
        assert_eq!(all.len(), 1_000);
        assert!(all.iter().all(|address| address.ip().is_loopback() && address.port() == 7));
        assert_eq!(neighbour(first, 251), "127.0.1.2:7".parse().expect("address"));
    }

    #[test]
    fn numbers_are_big_endian() {
        assert_eq!(number(&0x0102_0304_0506_0708_u64.to_be_bytes()), 0x0102_0304_0506_0708);
    }
}
