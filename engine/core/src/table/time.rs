//! What happens because time has passed, or because a watched leg has news.

use weir_proto::reason::{By, Why};

#[cfg(doc)]
use crate::action::Action;
use crate::action::Actions;
use crate::base::clock::Now;
use crate::base::wheel::Work;
use crate::event::{Leg, PeerProgress, Ready, Side};
use crate::flow::ResetCheck;
use crate::limits::{RESET_CHECK_MS, WATCH_AFTER_MS};
use crate::session::{Activity, Attempt, Phase, Route, Session};

use super::{SessionId, Table};

impl Table {
    /// The next session whose deadline has passed, with what is to be done about it. `None` also
    /// when `work`, which is this turn's, is used up.
    pub fn on_time(&mut self, now: Now, work: &mut Work, out: &mut Actions) -> Option<SessionId> {
        loop {
            let slot = self.wheel.pop_expired(now, work)?;
            let id = self.sessions.at(slot);
            let id = id.expect("a session that ends takes its deadline with it");
            let session = self.sessions.get_mut(id).expect("the slot is occupied");
            match session.phase() {
                Phase::Connecting(Attempt::Trying) if now < session.connect_deadline() => {
                    session.watch_client(out);
                    self.wait_for_connect(id, now);
                }
                Phase::Connecting(Attempt::Trying) => {
                    let pool = &self.view.pools()[session.route.pool.index()];
                    let whole = session.moved_at.plus_millis(pool.timeouts.connect_ms);
                    session.cut_short = now < whole;
                    session.expire_connect(out);
                }
                Phase::Connecting(Attempt::Waiting(fault)) => self.retry(id, fault, now, out),
                Phase::Relaying => {
                    let due = patient_until(session, now).0;
                    let quiescent_after_ms = self.tuning.quiescent_after_ms;
                    if due <= now
                        || session.is_delivering()
                        || session.inspection_due(now, quiescent_after_ms)
                    {
                        session.ask_inspection(now, out);
                    } else {
                        self.attend(id, now, out);
                    }
                }
                // Being cancelled already; the join has no deadline, the kernel answers.
                Phase::Connecting(Attempt::Expired | Attempt::Failed(_)) | Phase::Closing(_) => {}
            }
            if !out.as_slice().is_empty() {
                return Some(id);
            }
        }
    }

    /// How both peers of a session stand: what [`Action::InspectPeers`] has asked.
    pub fn inspected(
        &mut self,
        id: SessionId,
        progress: [PeerProgress; 2],
        now: Now,
        out: &mut Actions,
    ) {
        let session = self.sessions.get_mut(id).expect("it asked a moment ago");
        let Route { listener, pool, .. } = session.route;
        let keepalive = [
            self.view.listeners()[listener.index()].keepalive,
            self.view.pools()[pool.index()].keepalive,
        ];
        for side in Side::BOTH {
            session.inspected(side, progress[side as usize], now);
        }
        if let Some((by, why)) = session.delivered(progress) {
            return self.end(id, by, why, now, out);
        }
        for side in Side::BOTH {
            let silence_ms = keepalive[side as usize].silence_ms();
            let why = session.gives_up(side, progress[side as usize], silence_ms, now);
            if let Some(why) = why {
                return self.end(id, side.by(), why, now, out);
            }
        }
        session.keep_alive(keepalive, out);
        let (due, why) = patient_until(session, now);
        match why {
            Some(why) if due <= now => self.end(id, By::Weir, why, now, out),
            _ => self.attend(id, now, out),
        }
    }

    /// A relaying session that has time left: is it to be parked, watched, looked at again?
    fn attend(&mut self, id: SessionId, now: Now, out: &mut Actions) {
        let session = self.sessions.get_mut(id).expect("its deadline has passed");
        let due = next_verdict(session, now);
        session.unmute(out);
        // Once both FINs have crossed a watch would fire at once; each look sees a reset.
        let deaf = !session.is_delivering() && (session.is_half_closed() || session.is_blocked());
        let beat_ms = match session.activity(now, self.tuning.quiescent_after_ms, out) {
            // What was sent since the last look may wait.
            Activity::Quiescent if !session.has_unacked() => None,
            Activity::Quiescent | Activity::Active => Some(self.tuning.quiescent_after_ms),
        };
        let look_ms = session.inspect_again_ms(now, self.tuning.quiescent_after_ms).or(beat_ms);
        let mut next = look_ms.map_or(due, |ms| due.min(now.plus_millis(ms)));
        session.probe_for_missed_reset(out);
        if session.reset_check() != ResetCheck::NotNeeded {
            next = next.min(now.plus_millis(RESET_CHECK_MS));
        }
        if deaf {
            session.watch(out);
        }
        self.wheel.schedule(id.slot, next);
    }

    /// A multishot receive goes on: if it stays quiet, somebody must look for a reset.
    pub(super) fn reset_check(&mut self, id: SessionId, now: Now) {
        let relaying = |it: &&Session| it.phase() == Phase::Relaying;
        match self
            .sessions
            .get(id)
            .filter(relaying)
            .map_or(ResetCheck::NotNeeded, Session::reset_check)
        {
            ResetCheck::NotNeeded => {}
            ResetCheck::Confirmed => self.wheel.schedule_sooner(id.slot, now),
            ResetCheck::Armed | ResetCheck::Probing => {
                self.wheel.schedule_sooner(id.slot, now.plus_millis(RESET_CHECK_MS));
            }
        }
    }

    /// A side that takes nothing may go on not to: then the other side's reset is watched for.
    pub(super) fn blocked(&mut self, id: SessionId, now: Now) {
        let blocked = |it: &&Session| it.is_blocked() && it.phase() == Phase::Relaying;
        if self.sessions.get(id).filter(blocked).is_some() {
            self.wheel.schedule_sooner(id.slot, now.plus_millis(WATCH_AFTER_MS));
        }
    }

    /// A side has sent its FIN.
    pub(super) fn half_closed(&mut self, id: SessionId, now: Now) {
        let session = self.sessions.get_mut(id).expect("its FIN has come while it relays");
        session.moved_at = now;
        let first_look = quiet_until(session).0.min(now.plus_millis(WATCH_AFTER_MS));
        self.wheel.schedule_sooner(id.slot, first_look);
    }

    /// The leg behind news of a reset, if its error must be asked for before [`Table::on_ready`].
    #[must_use]
    pub fn unreported_error_leg(&self, id: SessionId, side: Side) -> Option<Leg> {
        self.sessions.get(id)?.unreported_error_leg(side)
    }

    /// A watched leg has news. Old news of a session that is over is ignored: unlike an operation,
    /// a watch is not joined.
    pub fn on_ready(
        &mut self,
        id: SessionId,
        side: Side,
        ready: Ready,
        now: Now,
        out: &mut Actions,
    ) {
        let Some(session) = self.sessions.get_mut(id) else { return };
        session.lean = self.lean;
        let effects = session.on_ready(side, ready, out);
        if session.phase() == Phase::Relaying {
            let next =
                next_verdict(session, now).min(now.plus_millis(self.tuning.quiescent_after_ms));
            self.wheel.schedule_sooner(id.slot, next);
            if session.is_muted() {
                self.counters.totals().fruitless_watches += u64::from(session.has_gone_mute());
                self.wheel.schedule_sooner(id.slot, now.plus_millis(WATCH_AFTER_MS));
            }
            self.reset_check(id, now);
        }
        self.apply(id, effects, now, out);
    }

    /// When [`Table::on_time`] should be asked next.
    #[must_use]
    pub fn next_deadline(&self) -> Option<Now> {
        self.wheel.next_deadline()
    }
}

/// When a session is to be given up, if nothing changes; and what that is called, unless it is up
/// to the side that takes nothing (`Session::gives_up`). While bytes wait for a side no other
/// timeout runs: they are not delivered, so the session is neither idle nor merely half
/// closed.
fn patient_until(session: &Session, now: Now) -> (Now, Option<Why>) {
    if let Some(at) = session.stalled_at(now) {
        return (at, None);
    }
    let (at, why) = quiet_until(session);
    (at, Some(why))
}

/// When the next look may give a session up. One whose time is over already goes on only because a
/// send hid from the last look what its sink had taken (`Session::gives_up`).
fn next_verdict(session: &Session, now: Now) -> Now {
    let due = patient_until(session, now).0;
    if due <= now { now.plus_millis(WATCH_AFTER_MS) } else { due }
}

/// When a session will have been quiet for too long, and what that is called.
fn quiet_until(session: &Session) -> (Now, Why) {
    let (wait_ms, why) = if session.is_half_closed() && session.half_close_ms < session.idle_ms {
        (session.half_close_ms, Why::HalfCloseTimeout)
    } else {
        (session.idle_ms, Why::IdleTimeout)
    };
    (session.moved_at.plus_millis(wait_ms), why)
}
