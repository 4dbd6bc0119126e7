//! Headers of the PROXY protocol: what a client has sent is looked at before it is taken.

use weir_core::client_hello::{self, Looked};
use weir_core::event::{Errno, Leg};
use weir_core::proxy_header::{Parsed, Told, parse};
use weir_core::session::Awaited;

use super::{Kernel, Seen};
use crate::net::ConnId;
use crate::net::peer_of;

/// The fields of a header as they came: kind and value.
pub(crate) fn split(mut fields: &[u8]) -> Vec<(u8, &[u8])> {
    let mut all = Vec::new();
    while let [kind, high, low, rest @ ..] = fields {
        let (value, rest) = rest.split_at(usize::from(*high) * 256 + usize::from(*low));
        all.push((*kind, value));
        fields = rest;
    }
    all
}

/// The fields that a backend gets of those that came, and how many have no room in its header of
/// 536 bytes beside its addresses, its checksum and a unique id of weir's.
fn passed_on(fields: &[u8]) -> (Vec<(u8, Vec<u8>)>, usize) {
    let came = split(fields);
    let is_right = |kind: u8, value: &[u8]| match kind {
        5 => !value.is_empty() && value.len() <= 128,
        0x20 => value.len() >= 5,
        _ => !value.is_empty(),
    };
    let first = |kind: u8| {
        let found = came.iter().find(|(its, value)| *its == kind && is_right(kind, value));
        found.map(|(kind, value)| (*kind, value.to_vec()))
    };
    let customs = came.iter().filter(|(kind, _)| (0xe0..=0xef).contains(kind));
    let customs = customs.map(|(kind, value)| (*kind, value.to_vec()));
    let mut room = 536 - 16 - 36 - 7 - if first(5).is_some() { 0 } else { 47 };
    let (mut passed, mut dropped) = (Vec::new(), 0);
    for (kind, value) in [5, 2, 1, 0x20].into_iter().filter_map(first).chain(customs) {
        match usize::checked_sub(room, 3 + value.len()) {
            Some(left) => room = left,
            None => {
                dropped += 1;
                continue;
            }
        }
        passed.push((kind, value));
    }
    (passed, dropped)
}

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

    /// The connection that a leg is an end of.
    #[must_use]
    pub fn conn(&self, leg: Leg) -> Option<ConnId> {
        self.legs.conn(leg)
    }

    /// The fields and addresses that a backend is to be told of this client.
    pub(crate) fn to_be_told(&self, client: ConnId) -> (Told, Vec<(u8, Vec<u8>)>) {
        let conn = &self.net.conns[client];
        let own = Told { source: peer_of(client), destination: conn.address };
        match conn.header.as_deref().map(parse) {
            Some(Parsed::Header { told, fields, .. }) => (told.unwrap_or(own), passed_on(fields).0),
            _ => (own, Vec::new()),
        }
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
        if let Parsed::Header { told, fields, .. } = parsed {
            let source = told.map(|told| told.source);
            conn.told = source.map(|source| source.ip());
            let client = source.or(peer).map(|client| client.ip());
            // Without a pool that sends them none is picked.
            let dropped = if self.swarm.headers.go { passed_on(fields).1 } else { 0 };
            self.seen.push(Seen::Told { address: conn.address, client, dropped });
        }
        let header = bytes[..count.min(bytes.len())].to_vec();
        let is_first = conn.header.replace(header).is_none() && conn.up.taken == 0;
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
        let is_first = conn.header.replace(bytes.to_vec()).is_none() && conn.given == 0;
        let is_taken = !conn.weir_reset;
        self.note("header sent (conn, bytes)", [id, bytes.len()]);
        if !is_right || !is_first {
            self.fail(format!("connection {id} gets a wrong header, or gets it late"));
        }
        is_taken
    }
}
