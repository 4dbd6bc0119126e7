//! What becomes of a pending operation when the kernel gets round to it.

use weir_core::event::{Chunk, Completion, Errno, Leg, Receive};
use weir_engine::io::{Op, Outcome, Token};

use super::legs::Behind;
use super::{Answer, Kernel, OpState, key, leg_of};
use crate::net::{Mode, of_ip};

/// Six SYNs are sent; then ETIMEDOUT.
const SYN_TIMEOUT_NS: u64 = 127_000_000_000;

/// When the shard will take an answer is not known yet.
const NOT_TAKEN: u64 = u64::MAX;

const EHOSTUNREACH: Errno = Errno(113);

impl OpState {
    /// It has brought N bytes. From now on it is polled, and looks for a buffer when bytes
    /// come.
    fn waits_on(&mut self, brought: u16) {
        self.brought += u32::from(brought);
        self.nowait = false;
        self.polled = true;
    }
}

impl Kernel {
    /// The next instant at which the kernel does something by itself.
    #[must_use]
    pub fn next_instant(&self) -> Option<u64> {
        let connects = self.pending.iter().filter(|asked| matches!(asked.op, Op::Connect(..)));
        let connects = connects.map(|asked| asked.since + SYN_TIMEOUT_NS);
        connects.chain(self.net.gives_up_at()).min()
    }

    /// Tries the pending operation at `index`. True if it was answered.
    pub(super) fn attempt(&mut self, index: usize) -> bool {
        let asked = self.pending[index];
        let outcome = match asked.op {
            Op::Accept(leg) => self.try_accept(leg).map(Outcome::Accepted),
            Op::Connect(leg, _) => {
                self.try_connect(asked, leg).map(|r| Outcome::Session(Completion::Connected(r)))
            }
            Op::Receive { leg, how } => self.try_receive(asked, leg, how).map(Outcome::Session),
            Op::Send { leg, chunk } => self.try_send(asked, leg, chunk).map(Outcome::Session),
            Op::Cancel(target) => {
                self.cancel(index, target);
                return true;
            }
            Op::Bell => std::mem::take(&mut self.bell).then_some(Outcome::Rang),
        };
        let Some(outcome) = outcome.or_else(|| asked.doomed.then(|| canceled(asked.op))) else {
            self.pending[index].waits_on(0);
            return false;
        };
        match outcome {
            Outcome::Session(Completion::Received { length, last: false, .. }) => {
                let deaf = self.is_reset(asked.op) && self.rng.flip();
                self.pending[index].waits_on(length);
                self.pending[index].deaf_since = deaf.then_some(NOT_TAKEN);
            }
            _ => {
                self.pending.swap_remove(index);
            }
        }
        self.post(asked, outcome);
        true
    }

    /// True if nothing but an error can be received there.
    fn is_reset(&self, op: Op) -> bool {
        let conn = leg_of(op).and_then(|leg| self.legs.conn(leg)).map(|id| &self.net.conns[id]);
        conn.is_some_and(|conn| conn.weir_reset && conn.up.bytes.is_empty() && !conn.up.fin)
    }

    /// The shard takes bytes of the multishot receive with this number: that a reset lets nothing
    /// come behind them it can suspect from now on and not before.
    pub(super) fn last_bytes_taken(&mut self, number: u64) {
        let now = self.running_ns();
        let of_it = |answer: &Answer| answer.asked.number == number;
        if self.answers.iter().any(of_it) {
            return;
        }
        let mut pending = self.pending.iter_mut().filter(|asked| asked.number == number);
        if let Some(since) = pending.next().and_then(|asked| asked.deaf_since.as_mut()) {
            *since = now;
        }
    }

    /// True if a receive on this leg has been told nothing of a reset for more than `within_ns` in
    /// which the shard could run, and no answer on its leg waits for the shard: a send may have got
    /// the error.
    pub(crate) fn is_deaf(&self, leg: Leg, within_ns: u64) -> bool {
        let moment = self.running_ns().saturating_sub(within_ns);
        if self.answers.iter().any(|answer| leg_of(answer.asked.op) == Some(leg)) {
            return false;
        }
        let mut on_it = self.pending.iter().filter(|asked| leg_of(asked.op) == Some(leg));
        on_it.any(|asked| asked.deaf_since.is_some_and(|since| since < moment))
    }

    /// Takes back what has `target`. Its own answer and the target's come in either order; the
    /// target may have been answered, or may still succeed. What was asked for after the cancel is
    /// not meant.
    fn cancel(&mut self, index: usize, target: Token) {
        let cancel = self.pending.swap_remove(index);
        self.note("cancel", [self.pending.len(), 0]);
        let answer = Outcome::Session(Completion::Canceled);
        let first = self.rng.flip();
        if first {
            self.post(cancel, answer);
        }
        let mut at = 0;
        while at < self.pending.len() {
            let OpState { token, number, doomed, .. } = self.pending[at];
            if token != target || number > cancel.number || doomed {
                at += 1;
            } else if self.rng.hits(self.swarm.late_cancels) {
                self.pending[at].doomed = true;
                at += 1;
            } else if self.rng.below(4) == 0 && self.attempt(at) {
                // It was quicker.
            } else {
                let asked = self.pending.swap_remove(at);
                self.post(asked, canceled(asked.op));
            }
        }
        if !first {
            self.post(cancel, answer);
        }
    }

    pub(super) fn try_accept(&mut self, leg: Leg) -> Option<Result<Leg, Errno>> {
        let Some(Behind::Listener(listener)) = self.legs.behind(leg) else { return None };
        if !self.net.listening[listener].open {
            return Some(Err(Errno::EINVAL));
        }
        let conn = *self.net.listening[listener].queue.front()?;
        if self.legs.count() >= self.swarm.legs || self.rng.hits(self.swarm.accept_errors) {
            self.note("accept: no descriptor", [listener, conn]);
            return Some(Err(self.rng.pick(&[Errno::EMFILE, Errno::ENFILE, Errno::ENOMEM])));
        }
        self.net.listening[listener].queue.pop_front();
        if self.net.conns[conn].weir_reset && self.rng.hits(self.swarm.aborted_accepts) {
            self.net.conns[conn].weir_closed = true;
            self.note("accept: aborted", [listener, conn]);
            return Some(Err(Errno::ECONNABORTED));
        }
        let leg = self.legs.open(Behind::Conn(conn));
        self.note("accepted (conn, leg)", [conn, leg.0.unsigned_abs() as usize]);
        Some(Ok(leg))
    }

    fn try_connect(&mut self, asked: OpState, leg: Leg) -> Option<Result<(), Errno>> {
        let Op::Connect(_, address) = asked.op else { return None };
        let address = of_ip(address);
        if self.rng.hits(self.swarm.local_connects) {
            self.note("connect: no port", [usize::from(address.port()), 0]);
            return Some(Err(self.local_error(leg)));
        }
        let mode = self.net.hosts.get(&address).copied().unwrap_or(Mode::Refuses);
        let failed = match mode {
            Mode::Listens => {
                let window = self.swarm.window;
                let side = weir_core::event::Side::Backend;
                let conn = self.net.connect(side, address, window, &mut self.rng);
                self.legs.connected(leg, conn);
                if let Token::Session { id, .. } = asked.token {
                    self.bind(key(id), side, conn);
                }
                self.note("connected (port, conn)", [usize::from(address.port()), conn]);
                return Some(Ok(()));
            }
            Mode::Silent if self.now < asked.since + SYN_TIMEOUT_NS => return None,
            Mode::Silent => Errno::ETIMEDOUT,
            Mode::Refuses if self.rng.hits(self.swarm.self_connects) => {
                let conn = self.net.meet_itself(address, &mut self.rng);
                self.legs.connected(leg, conn);
                self.note("met itself (port, conn)", [usize::from(address.port()), conn]);
                return Some(Ok(()));
            }
            Mode::Refuses => Errno::ECONNREFUSED,
            Mode::Unreachable => EHOSTUNREACH,
        };
        self.note(
            "connect failed (port, errno)",
            [address.port(), errno16(failed)].map(usize::from),
        );
        Some(Err(failed))
    }

    fn try_receive(&mut self, asked: OpState, leg: Leg, how: Receive) -> Option<Completion> {
        if asked.deaf_since.is_some() {
            return None;
        }
        let more = matches!(how, Receive::AtOnce | Receive::Reserved { .. }) && !asked.polled;
        let id = self.legs.conn(leg)?;
        let conn = &mut self.net.conns[id];
        let ready = !conn.up.bytes.is_empty() || conn.up.fin || conn.weir_reset;
        // Asked to poll first, it would wait whatever there is.
        if asked.nowait && (!ready || !more) && self.rng.flip() {
            return Some(Completion::ReceiveFailed(Errno::EAGAIN));
        }
        // Asked not to poll first, the kernel looks for a buffer before it looks for bytes, once.
        let reserved = matches!(how, Receive::Reserved { .. });
        if (ready || more) && !self.buffers.any_offered(reserved) {
            self.note("receive: no buffer", [id, 0]);
            return Some(Completion::Starved);
        }
        if !ready {
            // The ack of our FIN wakes it too: it looks for a buffer again, and finds neither.
            let woken = conn.weir_finished && !self.buffers.any_offered(reserved);
            return (woken && self.rng.below(8) == 0).then_some(Completion::Starved);
        }
        if self.rng.hits(self.swarm.memory_errors) {
            self.note("receive: no memory", [id, 0]);
            return Some(Completion::ReceiveFailed(Errno::ENOMEM));
        }
        if conn.up.bytes.is_empty() {
            let error = if conn.up.fin { None } else { conn.weir_error.take() };
            self.note("receive: end or error", [id, error.map_or(0, |e| errno16(e).into())]);
            return Some(error.map_or(Completion::Ended, Completion::ReceiveFailed));
        }
        let most = match how {
            Receive::Multishot { bytes } | Receive::Reserved { bytes } => usize::from(bytes),
            Receive::Once | Receive::AtOnce => usize::MAX,
        };
        let mut length = conn.up.readable().min(self.buffers.size()).min(most);
        if self.rng.hits(self.swarm.short_receives) {
            length = self.rng.between(1, length);
        }
        let (buffer, memory) = self.buffers.take(reserved)?;
        for (place, byte) in memory.iter_mut().zip(conn.up.take(length)) {
            *place = byte;
        }
        let more = !conn.up.bytes.is_empty() || conn.up.fin;
        self.note("received (conn, bytes)", [id, length]);
        // It ends when it has brought enough, or when the kernel likes.
        let one_shot = !matches!(how, Receive::Multishot { .. });
        let enough = one_shot || asked.brought as usize + length >= most;
        let last = enough || self.rng.hits(self.swarm.short_shots);
        let length = u16::try_from(length).expect("a buffer's size is a u16");
        Some(Completion::Received { buffer, length, more, last })
    }

    fn try_send(&mut self, asked: OpState, leg: Leg, chunk: Chunk) -> Option<Completion> {
        let id = self.legs.conn(leg)?;
        let conn = &mut self.net.conns[id];
        if let Some(errno) = conn.weir_error.take() {
            self.note("send: error", [id, errno16(errno).into()]);
            return Some(Completion::SendFailed(errno));
        }
        if conn.weir_reset || conn.weir_finished {
            return Some(Completion::SendFailed(Errno::EPIPE));
        }
        if self.rng.hits(self.swarm.memory_errors) {
            self.note("send: no memory", [id, 0]);
            return Some(Completion::SendFailed(Errno::ENOBUFS));
        }
        if self.rng.hits(self.swarm.refused_sends) {
            self.has_refused = true;
            return Some(Completion::SendFailed(Errno::EAGAIN));
        }
        let bytes = self.buffers.bytes(chunk);
        if conn.peer_closed {
            // Taken, thrown away at the other end, and answered with an RST.
            let count = bytes.len().min(conn.down.room().max(1));
            conn.throw(count, self.now);
            self.note("sent to a closed peer", [id, count]);
            return Some(Completion::Sent(u32::try_from(count).expect("at most a chunk")));
        }
        let mut count = bytes.len().min(conn.down.room());
        if count == 0 {
            return asked.nowait.then_some(Completion::SendFailed(Errno::EAGAIN));
        }
        if self.rng.hits(self.swarm.short_sends) {
            count = self.rng.between(1, count);
        }
        conn.take(bytes[..count].iter().copied(), self.now);
        self.note("sent (conn, bytes)", [id, count]);
        Some(Completion::Sent(u32::try_from(count).expect("at most a chunk")))
    }
}

fn errno16(errno: Errno) -> u16 {
    u16::try_from(errno.0).unwrap_or(0)
}

/// The answer of an operation that was taken back.
fn canceled(op: Op) -> Outcome {
    let errno = Errno::ECANCELED;
    match op {
        Op::Accept(_) => Outcome::Accepted(Err(errno)),
        Op::Connect(..) => Outcome::Session(Completion::Connected(Err(errno))),
        Op::Receive { .. } => Outcome::Session(Completion::ReceiveFailed(errno)),
        Op::Send { .. } => Outcome::Session(Completion::SendFailed(errno)),
        Op::Cancel(_) | Op::Bell => unreachable!("nobody takes back {op:?}"),
    }
}
