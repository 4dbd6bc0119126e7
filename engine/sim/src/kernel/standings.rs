//! What weir's kernel knows of a peer that takes nothing, or that is gone: how much it has not
//! acknowledged, how often it was asked in vain, when it is given up.

use weir_core::event::{Errno, Leg, PeerProgress, Side};
use weir_engine::io::{Kind, Token};
use weir_proto::snapshot::Keepalive;

use super::{Kernel, Key, Note, key};
use crate::net::ConnId;

const MS: u64 = 1_000_000;
/// The steps in which weir counts time without progress.
const STEP_MS: u64 = 8;
/// The first retransmission; each following one takes twice as long.
const RTO_MS: u64 = 200;

impl Kernel {
    pub(crate) fn peer_progress(&mut self, leg: Leg, closely: bool) -> PeerProgress {
        let Some(id) = self.legs.conn(leg) else {
            self.fail(format!("{leg:?} is looked at, and is not connected"));
            return PeerProgress::default();
        };
        self.check_use(leg);
        self.learn_look(id);
        let conn = &self.net.conns[id];
        let unacked = u32::try_from(conn.unacked()).expect("windows are small");
        // A FIN counts as a byte, and is acknowledged after all others.
        let unacked = unacked + u32::from(unacked > 0 && conn.weir_finished);
        let closed = closely && unacked > 0 && conn.weir_reset;
        let progress = PeerProgress { unacked, closed, ..PeerProgress::default() };
        match conn.gone {
            _ if !closely || unacked == 0 => progress,
            Some((since, _)) => {
                let since_ms = |moment: u64| self.now.saturating_sub(moment) / MS;
                let waited_ms = since_ms(since.max(conn.taken_at));
                let tries = (0..16).take_while(|tries| RTO_MS * ((2 << tries) - 1) <= waited_ms);
                let unanswered = u8::try_from(tries.count()).expect("at most 16");
                let silent_ms = u32::try_from(since_ms(since)).unwrap_or(u32::MAX);
                PeerProgress { silent_ms, unanswered, ..progress }
            }
            // Its window is closed, and it answers each probe: they are up to 120 s apart.
            None => {
                let silent_ms = u32::try_from(self.rng.below(120_000)).expect("it is small");
                let unanswered = u8::try_from(self.rng.below(2)).expect("0 or 1");
                PeerProgress { silent_ms, unanswered, ..progress }
            }
        }
    }

    pub(crate) fn keep_alive(&mut self, leg: Leg, keepalive: Keepalive) {
        let Some(id) = self.legs.conn(leg) else {
            return self.fail(format!("keepalive on {leg:?}, which is not connected"));
        };
        self.check_use(leg);
        let Keepalive { idle_s, interval_s, count } = keepalive;
        let seconds = u64::from(idle_s) + u64::from(interval_s) * u64::from(count);
        self.net.conns[id].believes_ns = Some(seconds * 1000 * MS);
    }

    pub(crate) fn error(&mut self, leg: Leg) -> Option<Errno> {
        let id = self.legs.conn(leg)?;
        self.check_use(leg);
        self.note("error asked for (conn)", [id, 0]);
        self.net.conns[id].weir_error.take()
    }

    /// Time has passed: idle peers that are gone are given up.
    pub fn give_up(&mut self) {
        for id in 0..self.net.conns.len() {
            if self.net.conns[id].given_up_at().is_some_and(|at| at <= self.now) {
                self.note("given up (conn)", [id, 0]);
                let conn = &mut self.net.conns[id];
                conn.weir_reset = true;
                conn.weir_error = Some(Errno::ETIMEDOUT);
            }
        }
    }

    /// True if the shard has not heard of a send to that side.
    fn is_sending(&self, session: Key, side: Side) -> bool {
        let answers = self.answers.iter().map(|answer| &answer.asked);
        let mut asked = self.queue.iter().chain(&self.pending).chain(answers);
        asked.any(|asked| match asked.token {
            Token::Session { id, side: of, kind: Kind::Send } => key(id) == session && of == side,
            _ => false,
        })
    }

    fn conns_of(note: &Note) -> impl Iterator<Item = ConnId> + '_ {
        Side::ALL.into_iter().filter_map(|side| note.conns[side as usize])
    }

    /// True if bytes wait for one of the session's peers.
    #[must_use]
    pub fn has_unacked(&self, note: &Note) -> bool {
        Kernel::conns_of(note).any(|id| self.net.conns[id].unacked() > 0)
    }

    /// The shard hears whether bytes wait for a peer, and so whether it has taken the last of them.
    fn learn_look(&mut self, id: ConnId) {
        let running_ns = self.running_ns();
        let (session, side) = (self.net.conns[id].session, self.net.conns[id].side);
        let is_sending = session.is_some_and(|session| self.is_sending(session, side));
        let conn = &mut self.net.conns[id];
        let (side, waits, gone) = (conn.side as usize, conn.unacked() > 0, conn.gone.is_some());
        let (takes, acked) = (conn.takes, conn.acked());
        let stuck_ms = self.now.saturating_sub(conn.taken_at) / MS;
        let Some(note) = conn.session.and_then(|session| self.notes.get_mut(&session)) else {
            return;
        };
        // weir counts in steps, modulo 2^16, by the time at which its turn began.
        let step = self.now / (STEP_MS * MS);
        let span = step.wrapping_sub(note.looked_step[side]) % (1 << 16) * STEP_MS;
        note.looked_step[side] = step;
        let waited = note.waits[side] && waits;
        // Not `takes`, which also says that the peer is gone since.
        let took_none = note.looked_acked[side] == acked;
        note.looked_acked[side] = acked;
        let (least, most) = &mut note.blocked_ms[side];
        *most += if waited && took_none { span + STEP_MS } else { 0 };
        // A send that one look has counted already, and then was heard of, looks like bytes taken.
        let is_known = note.stuck[side].0 == takes && !is_sending;
        *least += if waited && is_known { span.saturating_sub(STEP_MS) } else { 0 };
        if note.closing {
            return; // it was given up before: this look only counts what is lost
        }
        if std::mem::replace(&mut note.waits[side], waits) && !waits {
            note.moved_at = self.now;
        }
        if waits && note.stuck[side].0 != takes {
            note.stuck[side] = (takes, running_ns);
        }
        let gives_up = |address| self.falls.may_give_up(address);
        let is_out = side == Side::Backend as usize && note.address.is_some_and(gives_up);
        let stalled_ms = note.timeouts.map_or(u64::MAX, |[_, _, stalled]| stalled.into());
        let stalled_ms = if is_out { stalled_ms.min(1_000) } else { stalled_ms };
        // A millisecond is what rounding may cost.
        note.given_up[side] = waits && (gone || stuck_ms + 1 >= stalled_ms);
    }

    /// The session's peers for which bytes wait, and when a look first saw that they had taken
    /// nothing since they last did, by `running_ns`.
    pub fn stuck(&self, note: &Note) -> impl Iterator<Item = (ConnId, Option<u64>)> {
        let conns = Kernel::conns_of(note).map(|id| (id, &self.net.conns[id]));
        let waiting = conns.filter(|(_, conn)| conn.unacked() > 0);
        waiting.map(|(id, conn)| {
            let (takes, seen_at) = note.stuck[conn.side as usize];
            (id, (takes == conn.takes).then_some(seen_at))
        })
    }
}
