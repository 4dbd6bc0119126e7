//! Sessions of backends that are out (`on-down` of their pool): all of them are ended, or those for
//! which the backend takes nothing.
//!
//! ```text
//! a backend falls ──every slot is looked at, some a turn──▶ kill: ended
//!                                                           stalled: its peers are looked at
//! while it is out ──at each look──▶ stalled: ended if the backend takes nothing
//! ```

use weir_proto::reason::{By, Why};
use weir_proto::spec::OnDown;

use super::{SessionId, Table};
use crate::action::Actions;
use crate::base::clock::Now;
use crate::event::Side;
use crate::limits::RESCHEDULE_COST;
use crate::session::Session;

/// A walk over the slots: one for all backends that have fallen, so that many at once take no
/// longer.
#[derive(Debug, Default)]
pub(super) struct FallWalk {
    next_slot: u32,
    /// Slots that were not looked at since the last fall.
    left: u32,
}

impl FallWalk {
    pub(super) fn is_under_way(&self) -> bool {
        self.left > 0
    }

    fn next(&mut self, used: u32) -> u32 {
        let slot = if self.next_slot < used { self.next_slot } else { 0 };
        (self.next_slot, self.left) = (slot + 1, self.left - 1);
        slot
    }
}

impl Table {
    /// Looks through the sessions of backends that have fallen since, if any have.
    pub(super) fn follow_falls(&mut self) {
        if self.view.take_new_falls() {
            self.fall_walk.left = self.sessions.used();
        }
    }

    /// Goes on with the walk, up to the next session that it ends.
    pub(super) fn end_fallen(
        &mut self,
        now: Now,
        scan: &mut u32,
        out: &mut Actions,
    ) -> Option<SessionId> {
        while self.fall_walk.is_under_way() {
            *scan = scan.checked_sub(1)?;
            let slot = self.fall_walk.next(self.sessions.used());
            if let Some(id) = self.sessions.at(slot) {
                match self.fate(id) {
                    Some(OnDown::Kill) => {
                        self.end(id, By::Backend, Why::BackendDown, now, out);
                        return Some(id);
                    }
                    Some(OnDown::Stalled) => {
                        *scan = scan.saturating_sub(RESCHEDULE_COST);
                        self.look_now(id, now);
                    }
                    Some(OnDown::Keep) | None => {}
                }
            }
            if !self.fall_walk.is_under_way() {
                self.view.fallen();
            }
        }
        None
    }

    /// The consequence of its backend's fall for a session. One that is still connecting tries
    /// others if that fails.
    fn fate(&self, id: SessionId) -> Option<OnDown> {
        let session = self.sessions.get(id).expect("the slot is occupied");
        let backend = session.route.backend.filter(|_| session.is_relaying())?;
        self.view.falling(backend)
    }

    fn look_now(&mut self, id: SessionId, now: Now) {
        self.sessions.get_mut(id).expect("it relays").look_by(now);
        self.schedule_sooner(id, now);
    }

    /// True if a relaying session ends unless its backend, which is out, takes what waits for it.
    pub(super) fn waits_on_fallen(&self, id: SessionId) -> bool {
        let session = self.sessions.get(id).expect("its deadline has passed");
        self.is_out_if_stalled(session) && session.has_unacked()
    }

    fn is_out_if_stalled(&self, session: &Session) -> bool {
        let out = session.route.backend.and_then(|backend| self.view.out(backend));
        out == Some(OnDown::Stalled)
    }

    /// Ends a session that has just been looked at, if its backend is out and takes nothing. True
    /// if it has.
    pub(super) fn ends_as_stalled(&mut self, id: SessionId, now: Now, out: &mut Actions) -> bool {
        let session = self.sessions.get(id).expect("it was looked at");
        let ends = self.is_out_if_stalled(session) && session.is_surely_stuck(Side::Backend, now);
        if ends {
            self.end(id, By::Backend, Why::BackendDown, now, out);
        }
        ends
    }
}
