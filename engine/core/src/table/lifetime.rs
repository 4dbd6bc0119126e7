//! Sessions that are as old as their pool allows: ended at a quiet moment, or when the grace is
//! over.

use weir_proto::reason::{By, Why};

use super::sweep::SweepWork;
use super::{SessionId, Table};
use crate::action::Actions;
use crate::base::clock::Now;
use crate::lifetime::{LifeEnd, share_of};
use crate::session::Session;

impl Table {
    /// The end of a session's life, if its pool has set one.
    fn life_end(&self, id: SessionId, session: &Session) -> Option<LifeEnd> {
        let lifetime = self.view.pools()[session.route.pool.index()].lifetime?;
        let share = share_of(session.accepted_at, id.slot, id.generation);
        Some(lifetime.end_of(session.accepted_at, share))
    }

    /// True if a relaying session is to be ended once it is quiet.
    pub(super) fn is_past_cap(&self, id: SessionId, now: Now) -> bool {
        let session = self.sessions.get(id).expect("its deadline has passed");
        self.life_end(id, session).is_some_and(|end| end.cap <= now)
    }

    /// Ends a session that has just been looked at, if it is of age and quiet, or its grace is
    /// over. True if it has.
    pub(super) fn ends_of_age(&mut self, id: SessionId, now: Now, out: &mut Actions) -> bool {
        let session = self.sessions.get(id).expect("it was looked at");
        let Some(end) = self.life_end(id, session).filter(|end| end.cap <= now) else {
            return false;
        };
        let is_over = end.last <= now || session.is_quiet(now, end.quiet_ms);
        if is_over {
            self.end(id, By::Weir, Why::Lifetime, now, out);
        }
        is_over
    }

    /// A relaying session is looked at when it is of age, and from then on whenever it may be
    /// quiet.
    pub(super) fn look_by_lifetime(&mut self, id: SessionId, now: Now) {
        let session = self.sessions.get(id).expect("it relays");
        let Some(LifeEnd { cap, last, quiet_ms }) = self.life_end(id, session) else { return };
        let may_be_quiet = session.moved_at.plus_millis(quiet_ms);
        let at = match cap > now {
            true => cap,
            // It has just been looked at, and something else than time is waited for.
            false if may_be_quiet <= now => now.plus_millis(quiet_ms).min(last),
            false => may_be_quiet.min(last),
        };
        self.sessions.get_mut(id).expect("it relays").look_by(at);
    }

    /// The same for a session whose pool has another lifetime since it was scheduled.
    pub(super) fn look_at_lifetime(&mut self, id: SessionId, now: Now) {
        let session = self.sessions.get(id).expect("it is there");
        if session.is_relaying() {
            self.look_by_lifetime(id, now);
            self.schedule_sooner(id, now);
        }
    }

    /// Sessions of pools that have got another lifetime are scheduled by it.
    pub(super) fn follow_lifetimes(&mut self) {
        if self.view.take_new_lifetimes() {
            self.sweeps.retain(|sweep| sweep.work != SweepWork::Reschedule);
            // Orders to end sessions come first.
            self.sweeps.insert(0, SweepWork::Reschedule.begin());
        }
    }
}
