//! Headers of the PROXY protocol: what a client has sent is looked at before it is taken.

use weir_core::client_hello::{self, Looked};
use weir_core::event::{Errno, Leg};
use weir_core::proxy_header::{Parsed, parse};
use weir_core::session::Awaited;

use super::{Kernel, Seen};

impl Kernel {
    pub(crate) fn peek(&mut self, leg: Leg, into: &mut [u8]) -> Result<usize, Errno> {
        let Some(conn) = self.legs.conn(leg) else {
            self.fail(format!("a look at {leg:?}, which is not connected"));
            return Err(Errno::ECONNRESET);
        };
        let conn = &mut self.net.conns[conn];
        let count = into.len().min(conn.up.bytes.len());
        if count == 0 {
            return match conn.weir_error.take() {
                Some(error) => Err(error),
                None if conn.up.fin || conn.weir_reset => Ok(0),
                None => Err(Errno::EAGAIN),
            };
        }
        for (place, byte) in into.iter_mut().zip(&conn.up.bytes) {
            *place = *byte;
        }
        Ok(count)
    }

    /// True if the header or hello of this client is there, and the shard is not to hear of it.
    /// Bytes that are neither, but began like one, may go on until its time is over.
    #[must_use]
    pub fn is_overheard(&self, leg: Leg, awaited: Awaited) -> bool {
        let Some(conn) = self.legs.conn(leg) else { return false };
        let up = &self.net.conns[conn].up;
        let mut bytes: Vec<u8> = up.bytes.iter().copied().collect();
        let is_there = match awaited {
            Awaited::Header => matches!(parse(&bytes), Parsed::Header { .. }),
            Awaited::Hello => matches!(client_hello::parse(&mut bytes), Looked::Hello(_)),
        };
        is_there && bytes.len() < up.wakes_at.max(1) && !up.fin
    }

    /// When the header of this client was taken; 0: none was.
    #[must_use]
    pub fn header_taken_at(&self, leg: Leg) -> u64 {
        self.legs.conn(leg).map_or(0, |conn| self.net.conns[conn].header_at)
    }

    /// Takes bytes that are a header, and no others.
    pub(crate) fn discard(&mut self, leg: Leg, count: usize) -> Result<(), Errno> {
        let Some(id) = self.legs.conn(leg) else {
            self.fail(format!("{leg:?}, which is not connected, loses bytes"));
            return Err(Errno::ECONNRESET);
        };
        let peer = self.peer(leg);
        let conn = &mut self.net.conns[id];
        let bytes: Vec<u8> = conn.up.bytes.iter().copied().collect();
        let parsed = parse(&bytes);
        let is_right = matches!(parsed, Parsed::Header { length, .. } if length == count);
        if let Parsed::Header { source, .. } = parsed {
            conn.told = source.map(|source| source.ip());
            let client = source.or(peer).map(|client| client.ip());
            self.seen.push(Seen::Told { address: conn.address, client });
        }
        let is_first = conn.header.replace(count).is_none() && conn.up.taken == 0;
        conn.up.bytes.drain(..count.min(bytes.len()));
        conn.up.mark = conn.up.mark.and_then(|before| before.checked_sub(count));
        conn.header_at = self.now;
        self.note("header taken (conn, bytes)", [id, count]);
        if !is_right || !is_first {
            self.fail(format!("{count} bytes of connection {id} are no header, and are taken"));
        }
        Ok(())
    }

    /// The receive buffer grows to what is waited for (tcp_set_rcvlowat in net/ipv4/tcp.c).
    pub(crate) fn wake_at(&mut self, leg: Leg, count: usize) {
        if let Some(conn) = self.legs.conn(leg) {
            let up = &mut self.net.conns[conn].up;
            (up.wakes_at, up.window) = (count, up.window.max(count));
        }
    }

    pub(crate) fn has_finished(&mut self, leg: Leg) -> bool {
        let conn = self.legs.conn(leg).map(|conn| &self.net.conns[conn]);
        conn.is_some_and(|conn| conn.up.fin || conn.weir_reset)
    }

    /// A header for a backend, whose host reads it at once: it comes before everything else.
    pub(crate) fn send_now(&mut self, leg: Leg, bytes: &[u8]) -> bool {
        let Some(id) = self.legs.conn(leg) else {
            self.fail(format!("a header to {leg:?}, which is not connected"));
            return false;
        };
        let conn = &mut self.net.conns[id];
        let is_right =
            matches!(parse(bytes), Parsed::Header { length, .. } if length == bytes.len());
        let is_first = conn.header.replace(bytes.len()).is_none() && conn.given == 0;
        let is_taken = !conn.weir_reset;
        self.note("header sent (conn, bytes)", [id, bytes.len()]);
        if !is_right || !is_first {
            self.fail(format!("connection {id} gets a wrong header, or gets it late"));
        }
        is_taken
    }
}
