//! Watched legs, as an epoll with EPOLLONESHOT tells of them. A watch may outlive its leg: what
//! epoll has handed out stays handed out.

use weir_core::event::{Errno, Interest, Leg, Ready, Side};
use weir_engine::io::{Outcome, Token};

use super::legs::Behind;
use super::{ACCEPT_PAUSE_NS, Kernel, Seen, is_local, key};
use crate::net::ConnId;

/// News that a shard takes in one turn; with more of it, it goes in a circle.
const TOLD_MAX: u32 = 10_000;

/// News of one session that come to nothing in the time of one tick of the shard's timers, in which
/// there may be two looks: more of it is a circle through the kernel.
const VAIN_MAX: u32 = 30;
const VAIN_NS: u64 = 8_000_000;

/// What is watched.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum On {
    Conn(ConnId),
    /// Index into `Net::listening`.
    Listener(usize),
    /// An end of a channel.
    Channel(usize),
}

/// One watched leg.
#[derive(Clone, Copy, Debug)]
pub(super) struct Watch {
    leg: Leg,
    on: On,
    token: Token,
    interest: Interest,
}

impl Kernel {
    pub(crate) fn watch(&mut self, token: Token, leg: Leg, interest: Interest) {
        let on = match self.legs.behind(leg) {
            Some(Behind::Conn(conn)) => On::Conn(conn),
            Some(Behind::Listener(listener)) => On::Listener(listener),
            Some(Behind::Channel(end)) => On::Channel(end),
            _ => return self.fail(format!("a watch on {leg:?}, which is not connected")),
        };
        self.check_use(leg);
        if let Token::Session { id, .. } = token {
            self.meet(key(id), leg);
        }
        if let Token::Session { id, side: Side::Client, .. } = token
            && interest.readable
            && !self.swarm.routes
            && (!self.swarm.headers.come || !self.lacks_header(on))
            && self.notes.get(&key(id)).is_none_or(|note| note.conns[0].is_none())
        {
            return self.fail(format!("{id:?} is told of a FIN before it has a backend"));
        }
        self.watches.retain(|watch| (watch.leg, watch.on) != (leg, on));
        self.watches.push(Watch { leg, on, token, interest });
    }

    /// True if its header has not crossed.
    fn lacks_header(&self, on: On) -> bool {
        matches!(on, On::Conn(conn) if self.net.conns[conn].header.is_none())
    }

    /// A client is taken at once.
    pub(crate) fn accept(&mut self, leg: Leg) -> Result<Leg, Errno> {
        if self.now < self.accepts_rest_until {
            self.fail("a client is taken while there are no descriptors");
        }
        let open = self.is_open(leg);
        let result = self.try_accept(leg).unwrap_or(Err(Errno::EAGAIN));
        if result != Err(Errno::EAGAIN) {
            self.accepted(leg, open, result);
        }
        result
    }

    pub(crate) fn queued(&self, leg: Leg) -> u32 {
        let Some(Behind::Listener(listener)) = self.legs.behind(leg) else { return 0 };
        u32::try_from(self.net.listening[listener].queue.len()).unwrap_or(u32::MAX)
    }

    /// The shard hears what came of an accept.
    pub(super) fn accepted(&mut self, leg: Leg, open: bool, result: Result<Leg, Errno>) {
        if open && result.is_err_and(|errno| is_local(errno.0)) {
            self.accepts_rest_until = self.now + ACCEPT_PAUSE_NS;
        }
        let address = self.listens_on(leg);
        let client = result.ok().and_then(|client| self.peer(client)).map(|it| it.ip());
        self.seen.push(Seen::Accepted { ok: result.is_ok(), open, address, client });
    }

    /// Closing a leg ends its watch, unless its news has been handed out.
    pub(super) fn end_watch(&mut self, conn: ConnId) {
        if self.rng.flip() {
            self.watches.retain(|watch| watch.on != On::Conn(conn));
        }
    }

    /// A leg whose connection goes on elsewhere is watched no more; what there is to tell may have
    /// been handed out.
    pub(super) fn let_go_of_watch(&mut self, leg: Leg, conn: ConnId) {
        let (its, flip) = ((leg, On::Conn(conn)), self.rng.flip());
        let is_told = |it: &Watch| self.ready(it).is_some() && flip;
        let told: Vec<bool> = self.watches.iter().map(is_told).collect();
        let mut told = told.into_iter();
        self.watches.retain(|it| told.next() == Some(true) || (it.leg, it.on) != its);
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
        let is_its = |it: &&Watch| it.leg == leg && conn.map(On::Conn) == Some(it.on);
        let watch = self.watches.iter().find(is_its);
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
        let Watch { on, token, .. } = self.watches.swap_remove(index);
        let conn = match on {
            On::Conn(conn) => conn,
            On::Listener(other) | On::Channel(other) => other,
        };
        if let (Token::Session { id, side: Side::Client, .. }, On::Conn(_)) = (token, on)
            && self.net.conns[conn].weir_reset
            && self.net.conns[conn].session.is_none_or(|it| it == key(id))
        {
            self.seen.push(Seen::ClientLeft { session: key(id) });
        }
        let flags = [ready.readable, ready.writable, ready.reset];
        let bits = flags.iter().fold(0, |bits, flag| bits * 2 + usize::from(*flag));
        self.note("watch: ready (conn, bits)", [conn, bits]);
        if matches!(on, On::Conn(_)) {
            self.count_vain(conn);
        }
        (token, Outcome::Ready(ready))
    }

    /// A watch may tell in vain, but not again and again.
    fn count_vain(&mut self, conn: ConnId) {
        let now = self.now;
        let Some(session) = self.net.conns[conn].session else { return };
        let (count, since) = &mut self.notes.entry(session).or_default().told;
        if now >= *since + VAIN_NS {
            (*count, *since) = (0, now);
        }
        *count += 1;
        if *count > VAIN_MAX {
            self.fail(format!("{session:?} is told {VAIN_MAX} times in 8 ms and no byte moves"));
        }
    }

    /// EPOLLIN and EPOLLOUT if they are asked for, EPOLLERR and EPOLLHUP in any case.
    fn ready(&self, watch: &Watch) -> Option<Ready> {
        let conn = match watch.on {
            On::Conn(conn) => &self.net.conns[conn],
            On::Channel(end) => {
                let ready = Ready { readable: true, ..Ready::default() };
                return self.has_news(end).then_some(ready);
            }
            On::Listener(listener) => {
                let listening = &self.net.listening[listener];
                let waits = !listening.open || !listening.queue.is_empty();
                return waits.then_some(Ready { readable: true, ..Ready::default() });
            }
        };
        let hung_up = conn.weir_reset || (conn.weir_finished && conn.up.fin);
        let enough = conn.up.bytes.len() >= conn.up.wakes_at.max(1);
        let readable = enough || conn.up.fin || conn.weir_reset;
        let writable = conn.down.room() > 0 || conn.peer_closed || conn.weir_reset;
        let ready = Ready {
            readable: hung_up || (watch.interest.readable && readable),
            writable: watch.interest.writable && writable,
            reset: conn.weir_error.is_some(),
            error: None,
        };
        (ready != Ready::default()).then_some(ready)
    }
}
