//! What the shard does to the kernel, and the rules that it must keep while it does.

use std::collections::BTreeSet;
use std::net::{IpAddr, SocketAddr};

use weir_core::action::How;
use weir_core::event::{BufferId, Chunk, Errno, Leg, Receive, Side};
use weir_core::limits::OPERATIONS_PER_SESSION_MAX;
use weir_engine::io::{FreeBuffers, Kind, Op, Token};

use super::legs::Behind;
use super::{Kernel, Key, Note, OpState, Seen, key, leg_of};
use weir_proto::address::Address;

use crate::net::{Conn, ConnId, of_ip, peer_of};

impl Kernel {
    pub(super) fn check_submit(&mut self, token: Token, op: Op) {
        if let Some(leg) = leg_of(op)
            && let Err(what) = self.legs.asked(leg, op)
        {
            return self.fail(what);
        }
        if let Op::Send { leg, chunk } = op {
            if let Err(what) = self.buffers.begin_send(chunk) {
                return self.fail(what);
            }
            if self.legs.conn(leg).is_some_and(|conn| self.net.conns[conn].weir_finished) {
                return self.fail(format!("{op:?} after the FIN"));
            }
        }
        if matches!(op, Op::Accept(_)) && self.now < self.accepts_rest_until {
            return self.fail("an accept is asked for while there are no descriptors");
        }
        let Token::Session { id, side, .. } = token else { return };
        let session = key(id);
        if let Some(leg) = leg_of(op) {
            self.check_use(leg);
            self.meet(session, leg);
        }
        let note = self.notes.entry(session).or_default();
        note.inflight += 1;
        if note.inflight > OPERATIONS_PER_SESSION_MAX {
            let count = note.inflight;
            return self.fail(format!("{count} operations of {session:?} in flight"));
        }
        match op {
            Op::Connect(leg, address) => {
                let address = of_ip(address);
                note.address = Some(address);
                note.conns[Side::Backend as usize] = None;
                // One that was inspected has come in earlier.
                let is_inspected = self.swarm.headers.come || self.swarm.routes;
                let fresh = note.timeouts.is_none() && !is_inspected;
                self.see_connect((session, fresh), leg, address);
            }
            Op::Cancel(Token::Session { kind: Kind::Connect, .. }) => {
                self.seen.push(Seen::CancelsConnect { session });
            }
            // Among answers only a session that ends takes back, or one that leaves and has nothing
            // else under way there; a parked one is told after the turn.
            Op::Cancel(target) => {
                let ends = self.taking && !(note.leaving && self.is_alone(target));
                self.notes.entry(session).or_default().closing |= ends;
                self.check_cancel(target);
            }
            Op::Receive { leg, .. } | Op::Send { leg, .. } => {
                if let Op::Receive { how, .. } = op {
                    self.seen.push(Seen::Receives { session, side });
                    self.check_reserved(session, side, how);
                }
                self.check_relay((session, side), leg, matches!(op, Op::Send { .. }));
            }
            Op::Accept(_) | Op::Bell => {}
        }
    }

    /// A session receives or sends on this leg.
    fn check_relay(&mut self, (session, side): (Key, Side), leg: Leg, sends: bool) {
        let Some(conn) = self.legs.conn(leg) else { return };
        let wants = match side {
            Side::Client => self.swarm.headers.come,
            Side::Backend => self.swarm.headers.go && sends,
        };
        if wants && self.net.conns[conn].header.is_none() {
            return self.fail(format!("{session:?} relays on {leg:?} before a header"));
        }
        if self.net.conns[conn].up.wakes_at > 1 {
            return self.fail(format!("{leg:?} relays, and waits for many bytes"));
        }
        if self.net.conns[conn].is_itself {
            return self.fail(format!("{session:?} talks to its own socket"));
        }
        self.bind(session, side, conn);
    }

    /// True if this receive is the only operation of its session on its side.
    fn is_alone(&self, receive: Token) -> bool {
        let Token::Session { id, side, kind: Kind::Receive } = receive else { return false };
        let answers = self.answers.iter().map(|answer| &answer.asked);
        let all = self.queue.iter().chain(&self.pending).chain(answers);
        let is_its = |asked: &&OpState| match asked.token {
            Token::Session { id: of, side: on, .. } => (of, on) == (id, side),
            _ => false,
        };
        let numbers: BTreeSet<u64> = all.filter(is_its).map(|asked| asked.number).collect();
        numbers.len() == 1
    }

    /// The reserve is for what the other side takes at once.
    fn check_reserved(&mut self, session: Key, side: Side, how: Receive) {
        let Receive::Reserved { bytes } = how else { return };
        let sink = self.notes.get(&session).and_then(|note| note.conns[side.other() as usize]);
        let Some(sink) = sink.map(|id| &self.net.conns[id]) else { return };
        let fails = sink.weir_reset || sink.peer_closed;
        if !fails && sink.down.room() < usize::from(bytes) {
            let room = sink.down.room();
            self.fail(format!("{session:?} reserves {bytes} bytes, its sink has room for {room}"));
        }
    }

    /// A receive is taken back when it is parked, and once more when its session ends.
    fn check_cancel(&mut self, target: Token) {
        let answers = self.answers.iter().map(|answer| &answer.asked);
        let all = self.queue.iter().chain(&self.pending).chain(answers);
        if all.filter(|asked| asked.op == Op::Cancel(target)).count() >= 2 {
            self.fail(format!("{target:?} is taken back a third time"));
        }
    }

    /// Sessions with an operation that has not been answered and that nobody has asked to take
    /// back.
    #[must_use]
    pub fn not_taken_back(&self) -> BTreeSet<Key> {
        let all = || self.queue.iter().chain(&self.pending);
        let target = |asked: &OpState| match asked.op {
            Op::Cancel(target) => Some(target.pack()),
            _ => None,
        };
        let targets: BTreeSet<u64> = all().filter_map(target).collect();
        let left = all().filter_map(|asked| match asked.token {
            Token::Session { kind: Kind::Cancel, .. } => None,
            token if asked.doomed || targets.contains(&token.pack()) => None,
            Token::Session { id, .. } => Some(key(id)),
            _ => None,
        });
        left.collect()
    }

    /// A session uses a connection: both must be each other's for life.
    pub(super) fn bind(&mut self, session: Key, side: Side, id: ConnId) {
        let note = self.notes.entry(session).or_default();
        let before = note.conns[side as usize].replace(id);
        let conn = &mut self.net.conns[id];
        let owner = conn.session.replace(session);
        let same = before.is_none_or(|before| before == id) && owner.is_none_or(|o| o == session);
        if !same || conn.side != side {
            return self
                .fail(format!("{session:?} uses the {side:?} connection {id} of {owner:?}"));
        }
        if let [Some(client), Some(backend)] = note.conns {
            self.net.conns[client].partner = Some(backend);
            self.net.conns[backend].partner = Some(client);
        }
    }

    pub(crate) fn merge(&mut self, chunk: Chunk, into: BufferId, at: u16) {
        self.note("merged (buffer, into)", [chunk.buffer.0, into.0].map(usize::from));
        if let Err(what) = self.buffers.merge(chunk, into, at) {
            self.fail(what);
        }
    }

    pub(crate) fn release(&mut self, buffer: BufferId) {
        self.note("released", [usize::from(buffer.0), 0]);
        if let Err(what) = self.buffers.release(buffer) {
            self.fail(what);
        }
    }

    pub(crate) fn free_buffers(&self) -> FreeBuffers {
        self.buffers.free()
    }

    /// True if this buffer is of the reserve.
    #[must_use]
    pub fn is_reserved(&self, buffer: BufferId) -> bool {
        self.buffers.is_reserved(buffer.0)
    }

    /// True if a send there takes bytes.
    #[must_use]
    pub fn takes(&self, leg: Leg) -> bool {
        self.legs.conn(leg).is_some_and(|id| self.net.conns[id].down.room() > 0)
    }

    /// What a send there would take at once.
    pub(crate) fn room(&mut self, leg: Leg) -> u32 {
        self.check_use(leg);
        let Some(id) = self.legs.conn(leg) else {
            self.fail(format!("{leg:?} is asked for its room, and is not connected"));
            return 0;
        };
        let conn = &self.net.conns[id];
        // The send says what is wrong.
        let fails = conn.weir_reset || conn.peer_closed || conn.weir_finished;
        let room = if fails { 1 } else { conn.down.room() };
        if let (0, Some(session)) = (room, conn.session) {
            self.notes.entry(session).or_default().deaf_at = self.now;
            self.seen.push(Seen::NoRoom { session, side: self.net.conns[id].side.other() });
        }
        self.note("room (conn, bytes)", [id, room]);
        u32::try_from(room).unwrap_or(u32::MAX)
    }

    pub(crate) fn open(&mut self, address: Address) -> Result<Leg, Errno> {
        let address = of_ip(address);
        if self.legs.count() >= self.swarm.legs || self.rng.hits(self.swarm.open_errors) {
            self.note("open: no descriptor", [usize::from(address.port()), 0]);
            self.seen.push(Seen::NotOpened { address });
            return Err(self.rng.pick(&[Errno::EMFILE, Errno::ENFILE, Errno::ENOBUFS]));
        }
        Ok(self.legs.open(Behind::Nothing))
    }

    pub(crate) fn peer(&mut self, leg: Leg) -> Option<SocketAddr> {
        let Some(conn) = self.legs.conn(leg) else {
            self.fail(format!("{leg:?} is asked for its peer"));
            return None;
        };
        (!self.net.conns[conn].weir_reset).then_some(peer_of(conn))
    }

    /// Where a client came in, and who it is: as its header says, or by its address.
    pub(crate) fn client(&self, leg: Leg) -> (Option<SocketAddr>, Option<IpAddr>) {
        let Some(conn) = self.legs.conn(leg) else { return (None, None) };
        let Conn { told, address, .. } = &self.net.conns[conn];
        (Some(*address), told.or(Some(peer_of(conn).ip())))
    }

    /// The address at which a client came, who it is, as far as it was told, and when it came.
    pub(crate) fn arrival(&self, leg: Leg) -> (Option<SocketAddr>, Option<IpAddr>, Option<u64>) {
        let (at, client) = self.client(leg);
        // One that has reset may have been gone when it was accepted: who it was is not known.
        let conn = self.legs.conn(leg).map(|conn| &self.net.conns[conn]);
        (at, client, conn.filter(|conn| !conn.weir_reset).map(|conn| conn.arrived_at))
    }

    /// weir's own end.
    pub(crate) fn local(&mut self, leg: Leg) -> Option<SocketAddr> {
        let bound = self.binds.source(leg).map(|source| SocketAddr::from((source, 0)));
        self.legs.conn(leg).map(|conn| self.net.conns[conn].address).or(bound)
    }

    pub(crate) fn is_gone(&mut self, leg: Leg) -> bool {
        let Some(conn) = self.legs.conn(leg) else {
            self.fail(format!("{leg:?}, which is not connected, is asked whether it is gone"));
            return false;
        };
        self.net.conns[conn].weir_reset
    }

    pub(crate) fn has_met_itself(&self, leg: Leg) -> bool {
        self.legs.conn(leg).is_some_and(|conn| self.net.conns[conn].is_itself)
    }

    pub(crate) fn finish(&mut self, leg: Leg) {
        let Some(id) = self.legs.conn(leg) else {
            return self.fail(format!("a FIN on {leg:?}, which is not connected"));
        };
        self.check_use(leg);
        self.note("finish (conn)", [id, 0]);
        if self.legs.is_sending(leg) {
            return self.fail(format!("a FIN on {leg:?} under a send"));
        }
        let conn = &mut self.net.conns[id];
        if std::mem::replace(&mut conn.weir_finished, true) {
            return self.fail(format!("a second FIN on {leg:?}"));
        }
        if !conn.weir_reset {
            conn.down.fin = true;
        }
        // The end of a backend that has sent nothing may have been held back until it was sure that
        // no other one gets the session: it counts from now on.
        if conn.side == Side::Client
            && conn.given == 0
            && let Some(session) = conn.session
        {
            // With one that comes from another shard it may come late.
            let (now, comes) = (self.now, self.is_unnamed(id));
            let note = self.notes.entry(session).or_default();
            note.moved_at = if comes { note.moved_at } else { now };
        }
    }

    pub(crate) fn close(&mut self, leg: Leg, how: How) {
        if self.dead {
            return;
        }
        self.check_use(leg);
        let behind = match self.legs.close(leg) {
            Ok(behind) => behind,
            Err(what) => return self.fail(what),
        };
        let id = match behind {
            Behind::Conn(id) => id,
            Behind::Listener(listener) if self.net.listening[listener].is_used() => {
                return self.fail("a listener is closed before it is shut down");
            }
            Behind::Nothing | Behind::Listener(_) => return self.unbind(leg),
            other => return self.fail(format!("{other:?} is closed as a socket")),
        };
        self.unbind(leg);
        self.note(if how == How::Fin { "close (conn)" } else { "abort (conn)" }, [id, 0]);
        let is_dropped = self.is_dropped(id);
        let checked = if is_dropped { self.check_drop(id) } else { self.check_close(id, how) };
        if let Err(what) = checked {
            self.fail(what);
        }
        self.end_watch(id);
        if is_dropped {
            self.drop_backend(id)
        } else {
            self.see_lost(id)
        }
        if !self.closes_late(id, how) {
            self.closed(id, how);
        }
    }

    /// Nobody has the connection any more.
    pub(super) fn closed(&mut self, id: ConnId, how: How) {
        let conn = &mut self.net.conns[id];
        match how {
            How::Reset => conn.weir_abort(&mut self.rng),
            // close(2) with bytes unread is a reset; otherwise it sends the FIN that was not sent.
            How::Fin if !conn.up.bytes.is_empty() => conn.weir_abort(&mut self.rng),
            How::Fin => (conn.weir_closed, conn.down.fin) = (true, true),
        }
    }

    /// Notes the bytes that weir has read from one peer and the other one has not acknowledged.
    fn see_lost(&mut self, id: ConnId) {
        let conn = &self.net.conns[id];
        let Some(note) = conn.session.and_then(|session| self.notes.get(&session)) else { return };
        if let (Some(session), Side::Client, [_, None]) = (conn.session, conn.side, note.conns) {
            // No backend has what it has sent.
            let (side, bytes) = (Side::Backend, conn.up.taken);
            let blocked_ms = note.blocked_ms[side as usize];
            self.seen.push(Seen::Lost { session, side, bytes, blocked_ms });
        }
        let conn = &self.net.conns[id];
        let other = conn.partner.map(|other| &self.net.conns[other]);
        if let (Some(session), Some(other)) = (conn.session, other) {
            // Of a script that sends what it has not received it means nothing.
            let bytes = other.up.taken.saturating_sub(conn.acked());
            let side = conn.side;
            let note = self.notes.get(&session);
            let blocked_ms = note.map_or((0, 0), |note| note.blocked_ms[side as usize]);
            self.seen.push(Seen::Lost { session, side, bytes, blocked_ms });
        }
    }

    /// Nobody is cut without a reason, and nothing is ended that is not over.
    fn check_close(&self, id: ConnId, how: How) -> Result<(), String> {
        let conn = &self.net.conns[id];
        // One that ends before it has said who it is has asked for nothing.
        if how == How::Fin && self.swarm.headers.come && conn.header.is_none() && conn.up.fin {
            return Ok(());
        }
        if how == How::Fin {
            let over = conn.weir_finished && conn.up.bytes.is_empty();
            let over = over && (conn.up.fin || conn.weir_reset);
            if over && conn.unacked() > 0 && !conn.weir_reset {
                return Err(format!(
                    "connection {id} is closed with {} bytes unread",
                    conn.unacked()
                ));
            }
            return if over { Ok(()) } else { Err(format!("connection {id} is closed too early")) };
        }
        // Before it relays, a session may end for want of a backend.
        let Some(note) = conn.session.and_then(|session| self.notes.get(&session)) else {
            return Ok(());
        };
        if note.inflight > 0 {
            return Err(format!("connection {id} is closed with {} in flight", note.inflight));
        }
        if note.conns.contains(&None) {
            return Ok(());
        }
        let idle_ms = self.now.saturating_sub(note.moved_at) / 1_000_000;
        let timed_out = note.timeouts.is_some_and(|[idle, half_close, _]| {
            let quiet = idle_ms >= idle.into() || note.half_closed && idle_ms >= half_close.into();
            quiet && !note.waits.contains(&true)
        });
        if self.is_cut(note) || note.given_up.contains(&true) {
            return Ok(());
        }
        if note.was_of_age || self.is_of_age(note, false) {
            return Ok(());
        }
        if timed_out {
            let over = conn.session.is_none_or(|it| self.check_quiet_end(it, note.conns));
            let what = format!("connection {id} is idle after a standstill, but bytes wait");
            return if over { Ok(()) } else { Err(what) };
        }
        Err(format!("connection {id} is reset without a cause: {note:?}, quiet for {idle_ms} ms"))
    }

    /// Fails if anything of the shard's is left: a buffer, a leg that is no listener, an operation
    /// of a session.
    pub fn check_quiet(&mut self, may_listen: bool) {
        if !self.buffers.all_free() {
            self.fail("buffers are missing at the end");
        }
        if !self.pipes.in_use().is_empty() {
            self.fail("pipes are missing at the end");
        }
        if let Some(left) = self.legs.left(may_listen) {
            self.fail(format!("legs are still open at the end: {left}"));
        }
        let of_session = |asked: &&OpState| matches!(asked.token, Token::Session { .. });
        let left = self.pending.iter().chain(&self.queue).filter(of_session).count();
        if left > 0 {
            self.fail(format!("{left} operations of sessions are still pending at the end"));
        }
    }

    /// True if a session has a cause to end that is no timeout: a peer's reset, an order, a fault
    /// of this host.
    pub(super) fn is_cut(&self, note: &Note) -> bool {
        let is_reset = |id: ConnId| self.net.conns[id].weir_reset;
        let by_peer = note.conns.into_iter().flatten().any(is_reset);
        let killed = |a| self.killed.contains(&a) || self.falls.may_kill(a);
        let ordered = self.stopping || note.address.is_some_and(killed);
        by_peer || ordered || note.local_fault
    }
}
