//! Bulk: a flow whose receives are large in a row goes through a pipe, by splice(2), and not
//! through buffers. Its bytes never come into this process.
//!
//! ```text
//! queue ──4 large receives, all sent──▶ pipe ──nothing moved for a while, or refused──▶ queue
//! ```
//! A pipe never decides that a stream has ended: splice(2) says 0 at the end and also before an
//! urgent byte behind which the FIN has come, and EAGAIN before an urgent byte although the socket
//! is readable. At either answer (*refused*) the flow goes back to buffers, and a receive tells.
//!
//! The order of the bytes holds across both changes: a pipe is taken only when the queue is empty
//! and nothing is in flight in that direction, and given back only when it is empty itself.

use crate::action::{Action, Actions};
use crate::base::machine::enter;
use crate::event::{Leg, PipeId, Side, SpliceResult};
use crate::flow::{Sink, Source};

use super::{Effects, Session, Step};

/// One try to move bytes: what [`SpliceResult`] answers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SpliceRequest {
    pub from: Leg,
    pub pipe: PipeId,
    /// Bytes that are in the pipe already.
    pub held: u32,
    pub to: Leg,
}

impl Session {
    /// The shard has taken a pipe, or has none.
    pub fn promoted(&mut self, from: Side, pipe: Option<PipeId>, out: &mut Actions) -> Effects {
        if !self.is_relaying() {
            if let Some(pipe) = pipe {
                out.push(Action::ReturnPipe { pipe, empty: true });
            }
            return Effects::default();
        }
        self.flows[from as usize].promoted(pipe);
        self.relay_mut().nonblocking |= pipe.is_some();
        self.advance(out)
    }

    /// The flow from this side is the first in the line. `None` if it has ended since.
    pub fn take_splice(&mut self, from: Side) -> Option<SpliceRequest> {
        if !core::mem::take(&mut self.flows[from as usize].queued) || !self.is_relaying() {
            return None;
        }
        let pipe = self.flows[from as usize].pipe?;
        let [from, to] = [from, from.other()].map(|side| self.legs.get(side));
        Some(SpliceRequest { from: from?, pipe: pipe.id, held: pipe.held, to: to? })
    }

    /// Records the result of a splice. Returns [`Step::PipeRefused`] if the pipe must not be used
    /// for this source.
    pub fn moved(&mut self, from: Side, moved: SpliceResult, out: &mut Actions) -> Effects {
        if moved.received > 0 || moved.sent > 0 {
            self.relay_mut().fruitless = 0;
        }
        let flow = &mut self.flows[from as usize];
        let pipe = flow.pipe.as_mut().expect("a flow that moves has a pipe");
        pipe.held = (pipe.held + moved.received)
            .checked_sub(moved.sent)
            .expect("nothing comes out of a pipe that has not gone in");
        self.note_sent(from.other(), moved.sent);
        let flow = &mut self.flows[from as usize];
        if moved.full {
            enter(&mut flow.sink, Sink::Waiting);
            let relay = self.relay_mut();
            relay.rewatch[from.other() as usize] = true;
            relay.watch_again_for_reset(from);
        }
        let flow = &mut self.flows[from as usize];
        let refused = flow.is_refused(&moved);
        if refused {
            enter(&mut flow.source, Source::Idle);
            flow.more = true; // the receive tries first
            self.demote(from, out);
        } else {
            enter(&mut flow.source, if moved.dry { Source::Waiting } else { Source::Idle });
            flow.more = false;
            self.relay_mut().rewatch[from as usize] |= moved.dry;
        }
        match (moved.send_failed, moved.receive_failed) {
            (Some(errno), _) => self.fail(from.other(), errno, out),
            (None, Some(errno)) => self.fail(from, errno, out),
            (None, None) => {}
        }
        let step = if refused && !moved.unsure { Step::PipeRefused } else { Step::None };
        Effects { step, ..self.advance(out) }
    }

    /// Gives the flow's pipe back, if it has one; it must be empty.
    pub(super) fn demote(&mut self, from: Side, out: &mut Actions) {
        let Some(pipe) = self.flows[from as usize].pipe.take() else { return };
        assert!(pipe.held == 0, "a pipe is given back when it is empty");
        out.push(Action::ReturnPipe { pipe: pipe.id, empty: true });
        if self.flows.iter().all(|flow| flow.pipe.is_none()) {
            self.relay_mut().nonblocking = false;
            out.push(Action::SetBlocking { legs: self.legs.both() });
        }
    }
}
