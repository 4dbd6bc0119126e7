//! Clients and backends as small programs: they write, read, pause, half-close, close and reset,
//! and check every byte that they get against what the partner has written.

use std::net::SocketAddr;

use weir_core::event::Side;
use weir_core::proxy_header::{Header, ProxyVersion};

use crate::faults::Swarm;
use crate::kernel::Kernel;
use crate::net::{ConnId, Read};
use crate::rng::{Rng, first_difference};

/// What a program does when it has written everything.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum End {
    /// A FIN; it goes on reading.
    Finish,
    /// A FIN, but only after the partner's.
    FinishLast,
    /// It closes its socket, whatever comes still.
    Close,
}

/// One program at the other end of one connection.
#[derive(Debug)]
pub struct Peer {
    pub conn: ConnId,
    /// Bytes of its header that it has still to write, before everything else.
    header: Vec<u8>,
    /// It sends no more of it, ever, and nothing else.
    is_mute: bool,
    /// Bytes to write.
    total: usize,
    chunk: usize,
    end: End,
    /// It resets after N bytes have moved.
    reset_after: Option<usize>,
    /// It closes its socket after N bytes have moved, in the middle of things.
    close_after: Option<usize>,
    received: usize,
    finished: bool,
    saw_end: bool,
    saw_reset: bool,
    done: bool,
    /// It neither reads nor writes before this.
    asleep_until: u64,
    /// It does not read before this.
    deaf_until: u64,
    rng: Rng,
}

impl Peer {
    /// A program for a new connection.
    #[must_use]
    pub fn new(conn: ConnId, side: Side, swarm: &Swarm, mut rng: Rng) -> Peer {
        let total = rng.between(0, swarm.bytes);
        let wants = swarm.headers.come && side == Side::Client;
        let header = if wants { header(swarm, &mut rng) } else { Vec::new() };
        let is_mute = wants && !swarm.clean && rng.below(16) == 0;
        let (header, total) = match wants && !swarm.clean && rng.below(8) == 0 {
            // It says half of it and goes.
            true => (header[..rng.below(header.len())].to_vec(), 0),
            false => (header, total),
        };
        let some_time =
            |rng: &mut Rng, rate: u32| rng.hits(rate).then(|| rng.between(0, swarm.bytes));
        let is_early = side == Side::Backend
            && swarm.early_closes > 0
            && Rng::new(rng.clone().draw()).hits(swarm.early_closes);
        let (reset_after, close_after) = if is_early {
            early_close(swarm, &mut rng)
        } else {
            let reset_after = some_time(&mut rng, swarm.peer_resets);
            (reset_after, some_time(&mut rng, swarm.peer_closes))
        };
        let end = match rng.below(4) {
            0 if !swarm.clean && swarm.peer_closes > 0 => End::Close,
            1 => End::FinishLast,
            _ => End::Finish,
        };
        Peer {
            conn,
            header,
            is_mute,
            total: if is_early { 0 } else { total },
            chunk: rng.pick(&[1, 7, 100, 1000, 5000]).max(total / 300),
            end,
            reset_after,
            close_after,
            received: 0,
            finished: false,
            saw_end: false,
            saw_reset: false,
            done: false,
            asleep_until: 0,
            deaf_until: 0,
            rng,
        }
    }

    /// True when the program has ended.
    #[must_use]
    pub fn is_done(&self) -> bool {
        self.done
    }

    /// When it does something by itself, if it waits for that.
    #[must_use]
    pub fn next_instant(&self, now: u64) -> Option<u64> {
        [self.asleep_until, self.deaf_until].into_iter().filter(|until| *until > now).min()
    }

    /// True if all went as it should: everything written, and the partner's end seen.
    #[must_use]
    pub fn is_complete(&self, kernel: &Kernel) -> bool {
        self.saw_end && kernel.net.conns[self.conn].written == self.total
    }

    /// One step of the program. `calm`: it comes to its end without delay. True if it did
    /// something.
    pub fn step(&mut self, kernel: &mut Kernel, calm: bool) -> bool {
        if self.done || (!calm && self.asleep_until > kernel.now) {
            return false;
        }
        if !calm && self.rng.hits(kernel.swarm.stalls) {
            return self.pause(kernel);
        }
        if !calm && self.rng.hits(kernel.swarm.vanishes) {
            kernel.note("peer vanishes (conn)", [self.conn, 0]);
            let now = kernel.now;
            kernel.net.conns[self.conn].vanish(now);
            return self.leave();
        }
        let moved = kernel.net.conns[self.conn].written + self.received;
        if self.reset_after.is_some_and(|after| moved >= after) {
            kernel.note("peer resets (conn)", [self.conn, 0]);
            kernel.net.conns[self.conn].peer_abort(&mut self.rng);
            return self.leave();
        }
        if self.close_after.is_some_and(|after| moved >= after) {
            kernel.note("peer closes (conn)", [self.conn, 0]);
            kernel.net.conns[self.conn].peer_close(&mut self.rng);
            return self.leave();
        }
        let write_first = self.rng.flip();
        let one = if write_first { self.write(kernel, calm) } else { self.read(kernel, calm) };
        if one && !calm {
            return true;
        }
        let other = if write_first { self.read(kernel, calm) } else { self.write(kernel, calm) };
        if !self.done && self.finished && self.saw_end {
            kernel.note("peer is done (conn)", [self.conn, 0]);
            kernel.net.conns[self.conn].peer_closed = true;
            return self.leave();
        }
        one || other
    }

    fn leave(&mut self) -> bool {
        self.done = true;
        true
    }

    /// Sleeps, or stops to read, for up to 100 ms, or for a while that is longer than an idle
    /// timeout.
    fn pause(&mut self, kernel: &mut Kernel) -> bool {
        let ms = match self.rng.below(4) {
            0 => kernel.swarm.idle_ms.min(2000) * 2,
            _ => self.rng.between(1, 100),
        };
        let until = kernel.now + ms as u64 * 1_000_000;
        if self.rng.flip() {
            self.asleep_until = until;
        } else {
            self.deaf_until = until;
        }
        kernel.note("peer pauses (conn, ms)", [self.conn, ms]);
        true
    }

    fn write(&mut self, kernel: &mut Kernel, calm: bool) -> bool {
        let conn = &mut kernel.net.conns[self.conn];
        if self.finished || (self.is_mute && !calm) {
            return false;
        }
        if !self.header.is_empty() {
            let most = if calm { usize::MAX } else { self.rng.between(1, self.chunk) };
            let Some(count) = conn.peer_write_raw(&self.header[..most.min(self.header.len())])
            else {
                return self.saw_end && self.leave();
            };
            self.header.drain(..count);
            if count > 0 {
                kernel.note("peer writes of its header (conn, bytes)", [self.conn, count]);
            }
            return count > 0;
        }
        if conn.written < self.total {
            let most = if calm { self.total } else { self.rng.between(1, self.chunk) };
            let Some(count) = conn.peer_write(most.min(self.total - conn.written)) else {
                // EPIPE. What has arrived before the reset is still read.
                return self.saw_end && self.leave();
            };
            if count > 0 && self.rng.hits(kernel.swarm.urgent) {
                conn.peer_marks();
                kernel.note("peer writes, the last byte urgent (conn, bytes)", [self.conn, count]);
            } else if count > 0 {
                kernel.note("peer writes (conn, bytes)", [self.conn, count]);
            }
            return count > 0;
        }
        if self.end == End::FinishLast && !self.saw_end && !calm {
            return false;
        }
        if self.end == End::Close {
            conn.peer_close(&mut self.rng);
            kernel.note("peer closes (conn)", [self.conn, 0]);
            return self.leave();
        }
        conn.peer_finish();
        self.finished = true;
        kernel.note("peer finishes (conn)", [self.conn, 0]);
        true
    }

    fn read(&mut self, kernel: &mut Kernel, calm: bool) -> bool {
        if self.saw_end || self.done || (!calm && self.deaf_until > kernel.now) {
            return false;
        }
        let most = if calm { usize::MAX } else { self.rng.between(1, self.chunk) };
        let now = kernel.now;
        let mut bytes = Vec::new();
        match kernel.net.conns[self.conn].peer_read(most, &mut bytes, now) {
            Read::Nothing => return false,
            Read::Bytes(count) => {
                kernel.note("peer reads (conn, bytes)", [self.conn, count]);
                self.check_bytes(kernel, &bytes);
                self.received += count;
            }
            Read::End => {
                kernel.note("peer sees the end (conn)", [self.conn, 0]);
                self.saw_end = true;
                self.check_end(kernel);
            }
            Read::Reset => {
                kernel.note("peer sees a reset (conn)", [self.conn, 0]);
                self.saw_reset = true;
                if kernel.swarm.clean {
                    kernel.fail(format!("connection {} is reset in a clean world", self.conn));
                }
                kernel.net.conns[self.conn].peer_closed = true;
                return self.leave();
            }
        }
        true
    }

    /// What came is what the partner wrote, from the place where the last bytes stopped.
    fn check_bytes(&self, kernel: &mut Kernel, bytes: &[u8]) {
        let id = self.conn;
        let Some(partner) = kernel.net.conns[id].partner else {
            return kernel.fail(format!("connection {id} gets bytes from nobody"));
        };
        let from = &kernel.net.conns[partner];
        if self.received + bytes.len() > from.written {
            return kernel.fail(format!("connection {id} gets more than {partner} has written"));
        }
        if let Some(place) = first_difference(from.stream, self.received, bytes) {
            kernel
                .fail(format!("connection {id}: byte {place} is not the one that {partner} wrote"));
        }
    }

    /// A clean end means: the partner has ended, and not one byte is missing.
    fn check_end(&self, kernel: &mut Kernel) {
        let id = self.conn;
        let received = self.received;
        // One that has gone before it had said who it is has no partner.
        if kernel.swarm.headers.come && kernel.net.conns[id].header.is_none() {
            return;
        }
        let Some(partner) = kernel.net.conns[id].partner else {
            return kernel.fail(format!("connection {id} ends cleanly and never had a partner"));
        };
        let from = &kernel.net.conns[partner];
        let (ended, written) = (from.ended, from.written);
        if !ended || written != received {
            kernel.fail(format!(
                "connection {id} ends cleanly after {received} bytes, but {partner} wrote \
                 {written} (ended: {ended})"
            ));
        }
    }
}

/// A backend that resets or closes at once, or when it has read a little.
fn early_close(swarm: &Swarm, rng: &mut Rng) -> (Option<usize>, Option<usize>) {
    let after = if rng.flip() { 0 } else { rng.between(0, usize::from(swarm.buffer_size)) };
    if rng.flip() { (Some(after), None) } else { (None, Some(after)) }
}

/// A header of the PROXY protocol, now and then a wrong one.
fn header(swarm: &Swarm, rng: &mut Rng) -> Vec<u8> {
    let version = rng.pick(&ProxyVersion::ALL);
    let [source, destination] = [7, 9].map(|low| SocketAddr::from(([198, 51, 100, low], 1_000)));
    let mut beside = Rng::new(rng.clone().draw());
    let (header, local) = match rng.below(4) {
        0 => (Header::local(version), true),
        _ => (Header::of_client(version, source, destination), false),
    };
    let mut bytes = header.bytes().to_vec();
    if version == ProxyVersion::V2 && !local {
        add_fields(&mut bytes, &mut beside);
    }
    if !swarm.clean && rng.below(8) == 0 {
        let place = rng.below(bytes.len().min(6));
        bytes[place] ^= 0x20;
    }
    bytes
}

/// Fields of kinds that mean something, twice at times, and of others; now and then too much for
/// the header of a backend.
fn add_fields(bytes: &mut Vec<u8>, rng: &mut Rng) {
    let most = rng.pick(&[0, 3, 20, 20, 300]);
    for _ in 0..rng.below(5) {
        let kind = u8::try_from(rng.pick(&[1, 2, 4, 5, 5, 0x20, 0x30, 0xe0, 0xea, 0xef]));
        let value: Vec<u8> = (0..rng.between(0, most)).map(|at| at.to_le_bytes()[0]).collect();
        bytes.push(kind.unwrap_or(4));
        bytes.extend(u16::try_from(value.len()).unwrap_or(0).to_be_bytes());
        bytes.extend(value);
    }
    let length = u16::try_from(bytes.len() - 16).unwrap_or(0);
    bytes[14..16].copy_from_slice(&length.to_be_bytes());
}

/// Every program there is.
#[derive(Debug, Default)]
pub struct Peers {
    pub all: Vec<Peer>,
    /// Places of those that have not ended.
    live: Vec<usize>,
}

impl Peers {
    /// Gives each new connection its program.
    pub fn attend(&mut self, kernel: &mut Kernel, rng: &mut Rng) {
        while let Some(conn) = kernel.net.unattended.pop() {
            self.live.push(self.all.len());
            let side = kernel.net.conns[conn].side;
            self.all.push(Peer::new(conn, side, &kernel.swarm, rng.fork()));
        }
    }

    /// One step of one program.
    pub fn step(&mut self, kernel: &mut Kernel, rng: &mut Rng) -> bool {
        if self.live.is_empty() {
            return false;
        }
        let place = rng.below(self.live.len());
        let peer = &mut self.all[self.live[place]];
        let moved = peer.step(kernel, false);
        if peer.is_done() {
            self.live.swap_remove(place);
        }
        moved
    }

    /// A step of each towards its end. True if one did something.
    pub fn settle(&mut self, kernel: &mut Kernel) -> bool {
        let mut moved = false;
        for place in &self.live {
            moved |= self.all[*place].step(kernel, true);
        }
        let all = &self.all;
        self.live.retain(|place| !all[*place].is_done());
        moved
    }

    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.live.is_empty()
    }

    #[must_use]
    pub fn next_instant(&self, now: u64) -> Option<u64> {
        self.live.iter().filter_map(|place| self.all[*place].next_instant(now)).min()
    }

    /// How many of that side there were.
    #[must_use]
    pub fn count(&self, kernel: &Kernel, side: Side) -> usize {
        self.all.iter().filter(|peer| kernel.net.conns[peer.conn].side == side).count()
    }
}
