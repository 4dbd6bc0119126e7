//! Flows that wait for a buffer, and sessions that keep theirs because a side takes nothing.

use crate::action::Actions;
use crate::base::clock::Now;
use crate::event::Leg;
use crate::event::Side;
use crate::session::Resumed;

use super::{SessionId, Table};

impl Table {
    /// How many flows wait for a buffer.
    #[must_use]
    pub fn starved(&self) -> u32 {
        self.starved_queue.len()
    }

    /// Few buffers are free, or enough again.
    pub fn set_buffers_short(&mut self, buffers_short: bool) {
        self.buffers_short = buffers_short;
    }

    /// Lets the first flow in the line receive: into a buffer that all may use if there is one
    /// (`shared`), else into one of the reserve if its sink takes bytes at once; `room` says how
    /// many.
    pub fn resume(
        &mut self,
        shared: bool,
        room: impl FnOnce(Leg) -> u32,
        now: Now,
        out: &mut Actions,
    ) -> Option<(SessionId, Resumed)> {
        let index = self.starved_queue.pop()?;
        let (id, side) = self.waiter_at(index);
        let session = self.sessions.get_mut(id).expect("the slot is occupied");
        if !session.is_starved(side) || !session.is_relaying() {
            return Some((id, Resumed::Blocked));
        }
        let (resumed, effects) = if shared {
            session.buffers_short = self.buffers_short;
            (Resumed::Shared, session.resume(side, out))
        } else {
            session.resume_reserved(side, room, out)
        };
        if resumed == Resumed::Blocked {
            self.blocked(id, now);
        }
        self.apply(id, effects, now, out);
        Some((id, resumed))
    }

    /// Counts a session that has begun or ceased to be stalled, as far as events and looks tell.
    pub(super) fn count_stalled(&mut self, id: SessionId, now: Now) {
        let Some(session) = self.sessions.get_mut(id) else { return };
        let stalled = session.is_relaying()
            && Side::ALL.into_iter().any(|side| session.takes_nothing(side, now));
        if core::mem::replace(&mut session.counted_stalled, stalled) != stalled {
            let pool = session.route.pool;
            if stalled { self.view.stall_begins(pool) } else { self.view.stall_ends(pool) }
        }
    }
}
