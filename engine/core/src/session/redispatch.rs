//! A backend that closes or resets a session before it has sent a byte: another one may get it.
//!
//! Until the first byte of a backend a session is *on trial*. All that was passed on stays in the
//! buffer that it came in, as far as the pool's `redispatch.replay` goes; what comes behind it is
//! copied there. So a session on trial holds one buffer, and only if something was sent, buffers
//! are not short and the pool wants it (docs/adr/0041).
//!
//! ```text
//! connected ──▶ on trial ──a byte, too much sent, too late──▶ this backend's
//!                 └──closed──▶ what is in flight ──join──▶ connecting, with what was sent in front
//! ```

use core::num::NonZeroU16;

use weir_proto::reason::ConnectFault;

use crate::action::{Action, Actions, How};
use crate::base::machine::enter;
use crate::event::{BufferId, Chunk, Errno, Side};
use crate::flow::{Flow, Source};

use super::{Attempt, Connect, Effects, Phase, Relay, Session};

/// The bytes that were passed on to a backend that has not sent one.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Trial {
    /// The session is this backend's: a byte came back, too much was sent, or it is too late.
    #[default]
    Over,
    /// All of it is in this buffer, and in the chunk that is being sent.
    Open(Option<Kept>),
    /// The backend has closed. Nothing is begun until nothing towards it is in flight.
    Closed(Closed),
}

/// A backend that has closed before its first byte.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Closed {
    kept: Option<Kept>,
    by: ClosedBy,
    /// Something was passed on that is not kept.
    spent: bool,
}

/// The sign by which a backend has closed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum ClosedBy {
    Fin,
    Reset,
    /// A send that failed. A receive must say whether a byte came before.
    Send,
}

/// Bytes that were sent, from the beginning of a buffer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Kept {
    buffer: BufferId,
    length: NonZeroU16,
}

impl Kept {
    pub(super) fn chunk(self) -> Chunk {
        Chunk { buffer: self.buffer, start: 0, end: self.length.get() }
    }
}

impl Closed {
    fn how(self) -> How {
        if self.by == ClosedBy::Fin { How::Fin } else { How::Reset }
    }
}

impl Trial {
    pub(super) fn kept(self) -> Option<Kept> {
        match self {
            Trial::Over => None,
            Trial::Open(kept) | Trial::Closed(Closed { kept, .. }) => kept,
        }
    }

    fn put(&mut self, new: Option<Kept>) {
        match self {
            Trial::Over => assert!(new.is_none(), "what is kept is kept for a trial"),
            Trial::Open(kept) | Trial::Closed(Closed { kept, .. }) => *kept = new,
        }
    }
}

impl Session {
    /// True if another backend may get the session because this one has not sent a byte.
    #[must_use]
    pub fn is_on_trial(&self) -> bool {
        matches!(self.trial(), Trial::Open(_))
    }

    /// True if its backend has closed before its first byte, and it is not known what comes of it.
    #[must_use]
    pub fn has_closed_early(&self) -> bool {
        matches!(self.trial(), Trial::Closed(_))
    }

    /// True if it holds a buffer with bytes that were sent.
    #[must_use]
    pub fn keeps_sent_bytes(&self) -> bool {
        self.trial().kept().is_some()
    }

    pub(super) fn trial(&self) -> Trial {
        match &self.phase {
            Phase::Relaying(relay) => relay.trial,
            _ => Trial::Over,
        }
    }

    /// The backend that has closed before its first byte, if it has.
    fn closed_mut(&mut self) -> Option<&mut Closed> {
        match &mut self.phase {
            Phase::Relaying(Relay { trial: Trial::Closed(closed), .. }) => Some(closed),
            _ => None,
        }
    }

    /// The trial of a session that a backend has just taken, and that may try N others.
    pub(super) fn begin_trial(&self, attempts_left: u8) -> Trial {
        // With none to be sent again it counts what was passed on, and that is nothing yet.
        let fits = |most: u16| most == 0 || self.sent_by_client() <= most.into();
        let is_open = attempts_left > 0 && self.replay_max.is_some_and(fits);
        if is_open { Trial::Open(None) } else { Trial::Over }
    }

    /// True if what was received from this side may be sent again.
    pub(super) fn keeps(&self, from: Side) -> bool {
        from == Side::Client && self.is_on_trial() && self.replay_max != Some(0)
    }

    /// True if the flow from this side may hold one buffer and no more: few are free, or another
    /// one is kept.
    pub(super) fn is_short(&self, from: Side) -> bool {
        self.buffers_short || (from == Side::Client && self.keeps_sent_bytes())
    }

    /// Bytes of the client's since it came, while all of them are there.
    fn sent_by_client(&self) -> u32 {
        let queued = self.flows[Side::Client as usize].chunks();
        let kept = self.trial().kept().map(Kept::chunk);
        queued.chain(kept).map(|chunk| u32::from(chunk.end)).sum()
    }

    /// No other backend will get the session: gives up what was kept for it.
    pub fn end_trial(&mut self, out: &mut Actions) {
        let trial = core::mem::take(&mut self.relay_mut().trial);
        if let Some(kept) = trial.kept() {
            out.push(Action::Release(kept.buffer));
        }
    }

    /// Bytes of the client's have come: there may be too many for another backend.
    pub(super) fn note_client_bytes(&mut self, out: &mut Actions) {
        let most = self.replay_max.unwrap_or(0).into();
        if self.keeps(Side::Client) && self.sent_by_client() > most {
            self.end_trial(out);
        }
    }

    /// Bytes of the backend's have come. If a send has told before that it has gone, they do not
    /// save the session.
    pub(super) fn note_answer(&mut self, out: &mut Actions) {
        let had_gone = self.has_closed_early();
        self.end_trial(out);
        if had_gone {
            self.fail(Side::Backend, Errno::ECONNRESET, out);
        }
    }

    /// No buffer is free for the receive that says whether a byte came: it is taken for one.
    pub(super) fn note_no_buffer(&mut self, side: Side) {
        if let Some(closed) = self.closed_mut().filter(|_| side == Side::Backend) {
            (closed.by, closed.spent) = (ClosedBy::Reset, true);
        }
    }

    /// A receive from this side has met its end: nothing came before it.
    pub(super) fn note_end_received(&mut self, side: Side) {
        let closed = self.closed_mut().filter(|_| side == Side::Backend);
        if let Some(closed) = closed.filter(|closed| closed.by == ClosedBy::Send) {
            closed.by = ClosedBy::Reset;
        }
    }

    /// Some of the client's bytes were passed on, which is the end of a trial that keeps none.
    pub(super) fn note_passed_on(&mut self, out: &mut Actions) {
        if self.replay_max == Some(0) {
            self.note_spent(out);
        }
    }

    /// Something was passed on that is not kept: another backend cannot get it.
    fn note_spent(&mut self, out: &mut Actions) {
        match self.closed_mut() {
            Some(closed) => closed.spent = true,
            None => self.end_trial(out),
        }
    }

    /// All of this chunk was sent: its buffer is free, unless another backend may need the bytes.
    pub(super) fn give_up_chunk(&mut self, sent: Chunk, to: Side, out: &mut Actions) {
        let trial = self.trial();
        if to == Side::Client || trial == Trial::Over || self.replay_max == Some(0) {
            return out.push(Action::Release(sent.buffer));
        }
        let kept = match trial.kept() {
            Some(kept) => {
                let chunk = Chunk { start: 0, ..sent };
                let length = kept.length.checked_add(chunk.len());
                out.push(Action::Merge { chunk, into: kept.buffer, at: kept.length.get() });
                out.push(Action::Release(sent.buffer));
                Kept { length: length.expect("at most replay_max"), ..kept }
            }
            // Others wait for a buffer: none is kept for a backend that may close.
            None if self.buffers_short => {
                out.push(Action::Release(sent.buffer));
                return self.note_spent(out);
            }
            None => {
                let length = NonZeroU16::new(sent.end).expect("a chunk is not empty");
                Kept { buffer: sent.buffer, length }
            }
        };
        self.relay_mut().trial.put(Some(kept));
    }

    /// The backend has closed. True if the session is on trial: then nothing begins until
    /// [`Effects::closed_early`].
    pub(super) fn closes_early(&mut self, how: How) -> bool {
        let kept = match self.trial() {
            Trial::Open(kept) if self.is_worth_another(how) => kept,
            Trial::Open(_) | Trial::Over => return false,
            Trial::Closed(closed) => {
                // What was said once by an error is not said again.
                if how == How::Reset && closed.by == ClosedBy::Fin {
                    self.relay_mut().trial =
                        Trial::Closed(Closed { by: ClosedBy::Reset, ..closed });
                }
                return true;
            }
        };
        let by = if how == How::Fin { ClosedBy::Fin } else { ClosedBy::Send };
        self.relay_mut().trial = Trial::Closed(Closed { kept, by, spent: false });
        if how == How::Fin {
            self.closed_first.get_or_insert(Side::Backend);
        }
        true
    }

    /// A client that has ended and sent nothing wants nothing of a backend; and one that has ended
    /// and gets nothing but an end has its answer.
    fn is_worth_another(&self, how: How) -> bool {
        let upload = &self.flows[Side::Client as usize];
        let has_sent = self.keeps_sent_bytes() || upload.is_pending();
        upload.source != Source::Ended || (has_sent && how == How::Reset)
    }

    /// True if only one receive is left that says whether a byte had come.
    pub(super) fn receives_the_last(&self, from: Side) -> bool {
        from == Side::Backend && self.has_closed_early()
    }

    /// Where a send has told that the backend has gone, a receive says whether it had sent a byte
    /// before.
    pub(super) fn receive_the_last(&mut self, out: &mut Actions) {
        let Trial::Closed(Closed { by: ClosedBy::Send, .. }) = self.trial() else { return };
        let leg = self.legs.both()[Side::Backend as usize];
        let flow = &mut self.flows[Side::Backend as usize];
        if matches!(flow.source, Source::Idle | Source::Waiting) {
            enter(&mut flow.source, Source::Idle);
            flow.more = true;
            self.inflight[Side::Backend as usize] += 1;
            let how = flow.receive(false, self.bulk_bytes, 0);
            out.push(Action::Receive { from: Side::Backend, leg, how });
        }
    }

    /// True if nothing towards a backend that has closed early is in flight.
    pub(super) fn has_left_backend(&self) -> bool {
        let Trial::Closed(closed) = self.trial() else { return false };
        closed.by != ClosedBy::Send && self.inflight[Side::Backend as usize] == 0
    }

    /// True if what was passed on to a backend that has closed early is there to be sent again.
    #[must_use]
    pub fn may_redispatch(&self) -> bool {
        let Trial::Closed(closed) = self.trial() else { return false };
        !closed.spent && self.is_worth_another(closed.how())
    }

    /// Another backend is to be tried: what was passed on comes first in the queue again.
    pub fn redispatch(&mut self, connect: Connect) {
        let kept = self.trial().kept();
        assert!(self.has_left_backend(), "joined before it leaves: {:?}", self.phase);
        let upload = &mut self.flows[Side::Client as usize];
        // It leaves the line for a buffer, and its watch will not be the last one.
        if matches!(upload.source, Source::Starved | Source::Waiting) {
            enter(&mut upload.source, Source::Idle);
        }
        upload.send_again(kept.map(Kept::chunk));
        let has_ended = upload.source == Source::Ended;
        self.flows[Side::Backend as usize] = Flow::default();
        self.traffic.sent = 0;
        self.closed_first = has_ended.then_some(Side::Client);
        let attempt = Attempt::Failed(ConnectFault::Closed);
        enter(&mut self.phase, Phase::Connecting(Connect { attempt, ..connect }));
    }

    /// There is no other backend: the close goes to the client as it is.
    pub fn pass_close_on(&mut self, out: &mut Actions) -> Effects {
        let Trial::Closed(closed) = self.trial() else { return Effects::default() };
        self.end_trial(out);
        match closed.how() {
            How::Fin => self.on_end(Side::Backend),
            How::Reset => self.fail(Side::Backend, Errno::ECONNRESET, out),
        }
        self.advance(out)
    }
}
