//! Pipes: which flow moves next, and what has moved.

use crate::action::Actions;
use crate::base::clock::Now;
use crate::event::{PipeId, Side, SpliceResult};
use crate::session::{SpliceRequest, Step};

use super::{SessionId, Table};

impl Table {
    /// How many flows have something to move.
    #[must_use]
    pub fn moves(&self) -> u32 {
        self.splice_queue.len()
    }

    /// The flow that has waited longest with something to move; [`Table::moved`] must follow.
    pub fn take_splice(&mut self) -> Option<(SessionId, Side, SpliceRequest)> {
        while let Some(index) = self.splice_queue.pop() {
            let (id, from) = self.waiter_at(index);
            let session = self.sessions.get_mut(id).expect("the slot is occupied");
            if let Some(order) = session.take_splice(from) {
                return Some((id, from, order));
            }
        }
        None
    }

    /// The shard has taken a pipe for the flow, or has none.
    pub fn promoted(
        &mut self,
        id: SessionId,
        from: Side,
        pipe: Option<PipeId>,
        now: Now,
        out: &mut Actions,
    ) {
        let session = self.sessions.get_mut(id).expect("it asked for a pipe a moment ago");
        if pipe.is_some() {
            self.counters.totals().promotions += 1;
        }
        session.buffers_short = self.buffers_short;
        let effects = session.promoted(from, pipe, out);
        self.apply(id, effects, now, out);
    }

    /// Records the result of a splice.
    pub fn moved(
        &mut self,
        id: SessionId,
        from: Side,
        moved: SpliceResult,
        now: Now,
        out: &mut Actions,
    ) {
        let session = self.sessions.get_mut(id).expect("its move was taken a moment ago");
        if moved.received > 0 || moved.sent > 0 {
            session.moved_at = now;
        }
        let backend = session.route.backend.expect("a relaying session has a backend");
        let bytes = match from {
            Side::Backend => {
                session.traffic.receive(moved.received, now);
                self.counters.received(backend, moved.received);
                moved.received
            }
            Side::Client => {
                session.traffic.send(moved.sent, now);
                self.counters.sent(backend, moved.sent);
                moved.sent
            }
        };
        self.counters.totals().spliced_bytes += u64::from(bytes);
        session.buffers_short = self.buffers_short;
        let effects = session.moved(from, moved, out);
        if effects.step == Step::PipeRefused {
            self.counters.totals().pipes_refused += 1;
        }
        if moved.full {
            self.blocked(id, now);
        }
        self.apply(id, effects, now, out);
    }
}
