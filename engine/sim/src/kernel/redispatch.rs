//! Backends that close before their first byte: when a session may be taken from one.

use weir_core::event::Side;
use weir_proto::spec::RedispatchSpec;

use super::{Kernel, Seen};
use crate::net::ConnId;

impl Kernel {
    /// True if this is a backend's connection whose session goes on.
    pub(super) fn is_dropped(&self, id: ConnId) -> bool {
        let conn = &self.net.conns[id];
        let client = conn.partner.filter(|client| !self.is_closed_late(*client));
        let client = client.map(|client| &self.net.conns[client]);
        // A script's legs are sessions of their own.
        let goes_on =
            client.is_some_and(|client| client.session == conn.session && !client.weir_closed);
        conn.side == Side::Backend && !conn.is_itself && goes_on
    }

    /// A session leaves a backend only if that one has closed, has sent no byte, and was sent no
    /// more than may be sent again.
    pub(super) fn check_drop(&self, id: ConnId) -> Result<(), String> {
        let conn = &self.net.conns[id];
        let most = match self.swarm.redispatch {
            RedispatchSpec::Off => return Err(format!("connection {id} is not for another one")),
            RedispatchSpec::Unsent => 0,
            RedispatchSpec::Replay(size) => size.bytes() as usize,
        };
        let had_answered = conn.up.taken > 0 || !conn.up.bytes.is_empty();
        let has_closed = conn.up.fin || conn.weir_reset;
        if had_answered || !has_closed || conn.given > most {
            let (given, taken) = (conn.given, conn.up.taken);
            return Err(format!(
                "connection {id} loses its session, closed: {has_closed}, after {given} bytes to \
                 it of at most {most}, and {taken} from it"
            ));
        }
        Ok(())
    }

    /// The session has no backend for now.
    pub(super) fn drop_backend(&mut self, id: ConnId) {
        let Some(session) = self.net.conns[id].session else { return };
        let note = self.notes.entry(session).or_default();
        let side = Side::Backend as usize;
        note.conns[side] = None;
        (note.waits[side], note.given_up[side], note.stuck[side]) = (false, false, (0, 0));
        if let Some(client) = self.net.conns[id].partner {
            self.net.conns[client].partner = None;
        }
        self.seen.push(Seen::Dropped { session });
    }
}
