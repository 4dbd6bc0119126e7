//! Want of buffers: flows that have found none stand in a line, first come, first served.
//!
//! Buffers that stalled flows hold come back only when a peer reads. So below a mark a flow holds
//! one (`buffers_short`, [`Flow::next`](crate::flow::Flow::next)), and when no other buffer is free
//! a flow gets one of the reserve, if its sink takes at once what it brings: the reserve is never
//! held for a peer that does not read, and new sessions are answered whatever the others do.

use crate::action::{Action, Actions};
use crate::base::machine::enter;
use crate::event::{Leg, Side};
use crate::flow::{Sink, Source};
use crate::limits::RESERVED_BYTES;

use super::{Effects, Session};

/// What became of a flow that was the first in the line.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Resumed {
    /// It receives into a buffer of those that all may use, or wants none any more.
    Shared,
    /// It receives into a buffer of the reserve.
    Reserved,
    /// Its sink takes nothing for now, so it gets no buffer; it asks again when that changes.
    Blocked,
}

impl Session {
    /// True if this flow waits in the line for a buffer.
    #[must_use]
    pub fn is_starved(&self, from: Side) -> bool {
        self.flows[from as usize].source == Source::Starved
    }

    /// A buffer is free and this flow is the first in the line.
    pub fn resume(&mut self, from: Side, out: &mut Actions) -> Effects {
        let flow = &mut self.flows[from as usize];
        assert_eq!(flow.source, Source::Starved, "only a starved flow waits in the line");
        enter(&mut flow.source, Source::Idle);
        // Its sink may take nothing since: then it receives nothing, and a watch must tell of a
        // reset.
        self.relay_mut().watch_again_for_reset(from);
        self.advance(out)
    }

    /// Only the reserve has buffers and this flow is the first in the line. `room` says how many
    /// bytes a leg takes at once.
    pub fn resume_reserved(
        &mut self,
        from: Side,
        room: impl FnOnce(Leg) -> u32,
        out: &mut Actions,
    ) -> (Resumed, Effects) {
        self.buffers_short = true;
        let is_left = self.has_closed_early();
        let to = from.other();
        let legs = self.legs.both();
        let [source, sink] = [from, to].map(|side| legs[side as usize]);
        let flow = &mut self.flows[from as usize];
        if flow.sink == Sink::Idle && !(is_left && from == Side::Client) {
            let bytes = room(sink).min(RESERVED_BYTES.into());
            if bytes > 0 {
                let bytes = u16::try_from(bytes).expect("RESERVED_BYTES is a u16");
                let how = flow.receive_reserved(bytes, self.bulk_bytes);
                self.inflight[from as usize] += 1;
                out.push(Action::Receive { from, leg: source, how });
                if from == Side::Client && self.is_on_trial() {
                    // The reserve keeps nothing for another backend, which may have less room.
                    self.end_trial(out);
                }
                return (Resumed::Reserved, Effects::default());
            }
            // As if a send had been told EAGAIN.
            enter(&mut flow.sink, Sink::Waiting);
            self.relay_mut().rewatch[to as usize] = true;
        }
        (Resumed::Blocked, self.resume(from, out))
    }
}
