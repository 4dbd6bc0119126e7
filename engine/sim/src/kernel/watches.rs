//! Watched legs, as an epoll with EPOLLONESHOT tells of them. A watch may outlive its leg: what
//! epoll has handed out stays handed out.

use weir_core::event::{Interest, Leg, Ready, Side};
use weir_engine::io::{Outcome, Token};

use super::{Kernel, Seen, key};
use crate::net::ConnId;

/// News that a shard takes in one turn; with more of it, it goes in a circle.
const TOLD_MAX: u32 = 10_000;

/// One watched connection.
#[derive(Clone, Copy, Debug)]
pub(super) struct Watch {
    conn: ConnId,
    token: Token,
    interest: Interest,
}

impl Kernel {
    pub(crate) fn watch(&mut self, token: Token, leg: Leg, interest: Interest) {
        let Some(conn) = self.legs.conn(leg) else {
            return self.fail(format!("a watch on {leg:?}, which is not connected"));
        };
        if let Token::Session { id, side: Side::Client, .. } = token
            && interest.readable
            && self.notes.get(&key(id)).is_none_or(|note| note.conns[0].is_none())
        {
            return self.fail(format!("{id:?} is told of a FIN before it has a backend"));
        }
        self.watches.retain(|watch| watch.conn != conn);
        self.watches.push(Watch { conn, token, interest });
    }

    /// Closing a leg ends its watch, unless its news has been handed out.
    pub(super) fn end_watch(&mut self, conn: ConnId) {
        if self.chance.flip() {
            self.watches.retain(|watch| watch.conn != conn);
        }
    }

    /// True if both ends of a leg have sent their FIN.
    pub(crate) fn is_over(&self, leg: Leg) -> bool {
        let conn = self.legs.conn(leg).map(|conn| &self.net.conns[conn]);
        conn.is_some_and(|conn| conn.weir_finished && conn.up.fin)
    }

    /// True if the peer of this leg has reset it.
    pub(crate) fn is_abandoned(&self, leg: Leg) -> bool {
        self.legs.conn(leg).is_some_and(|conn| self.net.conns[conn].weir_reset)
    }

    /// What the shard is waiting for on a leg: an answer to a receive, to a send, news.
    pub(crate) fn waits_on(&self, leg: Leg) -> (bool, bool, Option<Interest>) {
        let conn = self.legs.conn(leg);
        let watch = self.watches.iter().find(|watch| Some(watch.conn) == conn);
        let interest = watch.map(|watch| watch.interest);
        (self.legs.is_receiving(leg), self.legs.is_sending(leg), interest)
    }

    /// A watch that has something to tell.
    pub(super) fn news(&self) -> Option<usize> {
        if self.told > TOLD_MAX {
            return None;
        }
        self.watches.iter().position(|watch| self.ready(watch).is_some())
    }

    pub(super) fn tell(&mut self, index: usize) -> (Token, Outcome) {
        self.told += 1;
        if self.told > TOLD_MAX {
            self.fail(format!("the shard is told {TOLD_MAX} times in a turn, and watches again"));
        }
        let ready = self.ready(&self.watches[index]).unwrap_or_default();
        let Watch { conn, token, .. } = self.watches.swap_remove(index);
        if let Token::Session { id, side: Side::Client, .. } = token
            && self.net.conns[conn].weir_reset
        {
            self.seen.push(Seen::ClientLeft { session: key(id) });
        }
        let flags = [ready.readable, ready.writable, ready.reset];
        let bits = flags.iter().fold(0, |bits, flag| bits * 2 + usize::from(*flag));
        self.note("watch: ready (conn, bits)", [conn, bits]);
        (token, Outcome::Ready(ready))
    }

    /// EPOLLIN and EPOLLOUT if they are asked for, EPOLLERR and EPOLLHUP in any case.
    fn ready(&self, watch: &Watch) -> Option<Ready> {
        let conn = &self.net.conns[watch.conn];
        let hung_up = conn.weir_reset || (conn.weir_finished && conn.up.fin);
        let readable = !conn.up.bytes.is_empty() || conn.up.fin || conn.weir_reset;
        let writable = conn.down.room() > 0 || conn.peer_closed || conn.weir_reset;
        let ready = Ready {
            readable: hung_up || (watch.interest.readable && readable),
            writable: watch.interest.writable && writable,
            reset: conn.weir_error.is_some(),
        };
        (ready != Ready::default()).then_some(ready)
    }
}
