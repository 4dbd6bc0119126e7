//! The kernel's answers to the operations of a session.

use weir_proto::reason::{By, Why};

use crate::action::{Action, Actions, How};
use crate::base::machine::enter;
use crate::event::{Chunk, Completion, Errno, Side};
use crate::flow::{Sink, Source};

use super::{Effects, Session, Step};

impl Session {
    pub(super) fn on_relay(&mut self, side: Side, done: Completion, out: &mut Actions) -> Step {
        match done {
            Completion::Received { buffer, length, more, last } => {
                self.append(side, Chunk { buffer, start: 0, end: length }, (more, last), out);
                let relay = self.relay_mut();
                relay.fruitless = 0;
                // If no receive follows for now, only a watch can report a reset.
                relay.watch_again_for_reset(side);
                match side {
                    Side::Client => self.note_client_bytes(out),
                    Side::Backend => self.note_answer(out),
                }
                Step::Received { from: side, count: length, last }
            }
            Completion::Ended => {
                self.on_fin(side, out);
                Step::Ended
            }
            Completion::Starved => self.on_starved(side),
            Completion::Sent(count) => {
                self.note_sent(side, count);
                // The kernel never takes more than it was given, and a chunk's length is a u16.
                let count = u16::try_from(count).expect("a chunk is at most 65,535 bytes long");
                let flow = &mut self.flows[side.other() as usize];
                if let Some(empty) = flow.sent(count) {
                    self.give_up_chunk(empty, side, out);
                }
                if side == Side::Backend {
                    self.note_passed_on(out);
                }
                self.relay_mut().fruitless = 0;
                Step::Sent(side, count)
            }
            Completion::ReceiveFailed(errno) => {
                if !self.waits_instead(side, errno) {
                    enter(&mut self.flows[side as usize].source, Source::Idle);
                    self.fail(side, errno, out);
                    self.note_end_received(side);
                }
                Step::None
            }
            Completion::SendFailed(errno) if errno.is_passing() => {
                enter(&mut self.flows[side.other() as usize].sink, Sink::Waiting);
                let relay = self.relay_mut();
                relay.rewatch[side as usize] = true;
                relay.watch_again_for_reset(side.other());
                Step::Blocked
            }
            Completion::SendFailed(errno) => {
                enter(&mut self.flows[side.other() as usize].sink, Sink::Idle);
                self.fail(side, errno, out);
                Step::None
            }
            // The cancel of a connect that succeeded after its deadline, or of a receive.
            Completion::Canceled => Step::None,
            Completion::Connected(result) => unreachable!("connected {result:?} while relaying"),
        }
    }

    /// Handles the peer's FIN, unless another backend may get the session.
    fn on_fin(&mut self, side: Side, out: &mut Actions) {
        if side == Side::Backend && self.closes_early(How::Fin) {
            enter(&mut self.flows[side as usize].source, Source::Ended);
            return self.note_end_received(side);
        }
        if side == Side::Backend {
            self.end_trial(out); // it is its answer
        }
        self.on_end(side);
    }

    /// A receive has found no buffer.
    fn on_starved(&mut self, side: Side) -> Step {
        if self.receives_the_last(side) {
            enter(&mut self.flows[side as usize].source, Source::Idle);
            self.note_no_buffer(side);
            return Step::None;
        }
        if self.is_leaving() {
            enter(&mut self.flows[side as usize].source, Source::Idle);
            return Step::None;
        }
        self.relay_mut().watch_again_for_reset(side);
        let short = self.is_short(side);
        let waits = self.flows[side as usize].starved(short);
        if waits { Step::Starved(side) } else { Step::None }
    }

    /// Puts what came from this side into its queue; `more` and `last` are the receive's.
    fn append(&mut self, side: Side, chunk: Chunk, (more, last): (bool, bool), out: &mut Actions) {
        let flow = &mut self.flows[side as usize];
        if let Some(Chunk { buffer: into, end: at, .. }) = flow.append(chunk, last) {
            out.push(Action::Merge { chunk, into, at });
            out.push(Action::Release(chunk.buffer));
        }
        flow.more = more;
    }

    /// A receive from the client goes on while another backend is being connected to.
    pub(super) fn on_client(&mut self, done: Completion, out: &mut Actions) {
        let flow = &mut self.flows[Side::Client as usize];
        match done {
            Completion::Received { buffer, length, more, last } => {
                let chunk = Chunk { buffer, start: 0, end: length };
                self.append(Side::Client, chunk, (more, last), out);
            }
            Completion::Ended => {
                enter(&mut flow.source, Source::Ended);
                self.closed_first.get_or_insert(Side::Client);
            }
            Completion::Starved => enter(&mut flow.source, Source::Idle),
            Completion::ReceiveFailed(errno) => {
                enter(&mut flow.source, Source::Idle);
                if errno != Errno::ECANCELED && !errno.is_passing() {
                    self.fail(Side::Client, errno, out);
                }
            }
            Completion::Canceled => {}
            Completion::Sent(_) | Completion::SendFailed(_) | Completion::Connected(_) => {
                unreachable!("{done:?} of a client without a backend")
            }
        }
    }

    /// The backend has gone before it could be sent to.
    pub fn fail_at_once(&mut self, out: &mut Actions) -> Effects {
        if self.is_relaying() {
            self.fail(Side::Backend, Errno::ECONNRESET, out);
        }
        self.advance(out)
    }

    /// Releases buffers. A closing session begins nothing.
    pub(super) fn on_closing(&mut self, side: Side, done: Completion, out: &mut Actions) {
        match done {
            // A multishot receive may bring more before its cancel takes effect.
            Completion::Received { buffer, length, .. } => {
                self.closing_mut().received(side.other(), length.into());
                out.push(Action::Release(buffer));
            }
            Completion::Ended | Completion::Starved | Completion::ReceiveFailed(_) => {
                enter(&mut self.flows[side as usize].source, Source::Idle);
            }
            Completion::Sent(_) | Completion::SendFailed(_) => {
                if let Completion::Sent(count) = done {
                    self.closing_mut().sent(side, count);
                }
                let flow = &mut self.flows[side.other() as usize];
                enter(&mut flow.sink, Sink::Idle);
                let chunk = flow.pop().expect("what was being sent is still there");
                out.push(Action::Release(chunk.buffer));
            }
            // A connect that ended late, or a cancel's own completion: both legs will be closed.
            Completion::Connected(_) | Completion::Canceled => {}
        }
    }

    /// Handles the peer's FIN.
    pub(super) fn on_end(&mut self, side: Side) {
        let flow = &mut self.flows[side as usize];
        enter(&mut flow.source, Source::Ended);
        let relay = self.relay_mut();
        relay.fruitless = 0;
        relay.watch_again_for_reset(side);
        self.closed_first.get_or_insert(side);
    }

    pub(super) fn fail(&mut self, side: Side, errno: Errno, out: &mut Actions) {
        if errno.is_local() || errno.is_misuse() {
            return self.begin_close(By::Weir, Why::Local, out);
        }
        if side == Side::Backend && !errno.is_vanished() && self.closes_early(How::Reset) {
            return;
        }
        let by = side.by();
        let why = if errno.is_vanished() { Why::Vanished } else { Why::Reset };
        self.begin_close(by, why, out);
    }
}
