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
use crate::session::{Activity, Awaited, Route, Session, Timeout};

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
            match session.deadline(now).map(|(_, timeout)| timeout) {
                Some(Timeout::Inspection) => match session.awaited() {
                    Some(Awaited::Hello) => session.look_last(out),
                    _ => self.end(id, By::Weir, Why::InspectTimeout, now, out),
                },
                Some(Timeout::SlowConnect) => {
                    session.watch_client(out);
                    self.schedule(id, now);
                }
                Some(Timeout::Connect) => {
                    let pool = &self.view.pools()[session.route.pool.index()];
                    let connect = session.connect_mut();
                    let whole = connect.began_at.plus_millis(pool.timeouts.connect_ms);
                    connect.cut_short = now < whole;
                    session.expire_connect(out);
                }
                Some(Timeout::Queue) => self.queue_expired(id, now, out),
                Some(Timeout::Retry(fault)) => self.retry(id, fault, now, out),
                Some(Timeout::Look | Timeout::Stalled | Timeout::Quiet(_)) => {
                    let quiescent_after_ms = self.tuning.quiescent_after_ms;
                    if session.overdue(now).is_some()
                        || session.is_delivering()
                        || session.inspection_due(now, quiescent_after_ms)
                        || self.is_past_cap(id, now)
                        || self.waits_on_fallen(id)
                    {
                        self.sessions.get_mut(id).expect("it is there").ask_inspection(out);
                    } else {
                        self.attend(id, now, out);
                    }
                }
                // Being cancelled already; the join has no deadline, the kernel answers.
                None => {}
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
        let Route { listener, pool, backend, .. } = session.route;
        let blocked_ms = session.inspected(progress, now);
        if let Some(backend) = backend {
            self.counters.blocked(backend, blocked_ms);
        }
        if !session.is_relaying() {
            let effects = session.looked_at_end(out);
            return self.apply(id, effects, now, out);
        }
        let keepalive = [
            self.view.listeners()[listener.index()].keepalive,
            self.view.pools()[pool.index()].keepalive,
        ];
        if let Some((by, why)) = session.delivered(progress) {
            return self.end(id, by, why, now, out);
        }
        for side in Side::ALL {
            let silence_ms = keepalive[side as usize].silence_ms();
            let why = session.gives_up(side, progress[side as usize], silence_ms, now);
            if let Some(why) = why {
                return self.end(id, side.by(), why, now, out);
            }
        }
        session.keep_alive(keepalive, out);
        if self.ends_as_stalled(id, now, out) || self.ends_of_age(id, now, out) {
            return;
        }
        let session = self.sessions.get(id).expect("it lives on");
        match session.overdue(now) {
            Some(Timeout::Quiet(why)) => self.end(id, By::Weir, why, now, out),
            _ => self.attend(id, now, out),
        }
    }

    /// A relaying session that has time left: is it to be parked, watched, looked at again?
    fn attend(&mut self, id: SessionId, now: Now, out: &mut Actions) {
        self.check_trial(id, now, out);
        let session = self.sessions.get_mut(id).expect("its deadline has passed");
        session.unmute(out);
        // Once both FINs have crossed a watch would fire at once; each look sees a reset.
        let deaf = !session.is_delivering() && (session.has_fin() || session.is_blocked());
        let beat_ms = match session.activity(now, self.tuning.quiescent_after_ms, out) {
            // What was sent since the last look may wait.
            Activity::Quiescent if !session.has_unacked() => None,
            Activity::Quiescent | Activity::Active => Some(self.tuning.quiescent_after_ms),
        };
        let look_ms = session.inspect_again_ms(now, self.tuning.quiescent_after_ms).or(beat_ms);
        session.look_next(look_ms.map_or(Now::END, |ms| now.plus_millis(ms)));
        session.probe_for_missed_reset(out);
        if session.reset_check() != ResetCheck::NotNeeded {
            session.look_by(now.plus_millis(RESET_CHECK_MS));
        }
        if deaf {
            session.watch(out);
        }
        session.look_behind_a_send(now);
        if session.keeps_sent_bytes() {
            self.look_at_trial_end(id, now);
        }
        self.look_by_lifetime(id, now);
        self.schedule(id, now);
        self.count_stalled(id, now);
    }

    /// Schedules what the session says, whatever was scheduled before.
    pub(super) fn schedule(&mut self, id: SessionId, now: Now) {
        let session = self.sessions.get(id).expect("it has just been asked");
        if let Some((at, _)) = session.deadline(now) {
            self.wheel.schedule(id.slot, at);
        }
    }

    /// Schedules what the session says if that is sooner than what was scheduled before.
    pub(super) fn schedule_sooner(&mut self, id: SessionId, now: Now) {
        let session = self.sessions.get(id).expect("it has just been asked");
        if let Some((at, _)) = session.deadline(now) {
            self.wheel.schedule_sooner(id.slot, at);
        }
    }

    /// Looks at a relaying session after `wait_ms` at the latest. Its other times stay as they are:
    /// this is asked with each receive.
    fn look_within(&mut self, id: SessionId, wait_ms: u32, now: Now) {
        let session = self.sessions.get_mut(id).expect("it relays");
        self.wheel.schedule_sooner(id.slot, session.look_by(now.plus_millis(wait_ms)));
    }

    /// A multishot receive goes on: if it stays quiet, somebody must look for a reset.
    pub(super) fn reset_check(&mut self, id: SessionId, now: Now) {
        let relaying = |it: &&Session| it.is_relaying();
        match self
            .sessions
            .get(id)
            .filter(relaying)
            .map_or(ResetCheck::NotNeeded, Session::reset_check)
        {
            ResetCheck::NotNeeded => {}
            ResetCheck::Confirmed => self.look_within(id, 0, now),
            ResetCheck::Armed | ResetCheck::Quiet => self.look_within(id, RESET_CHECK_MS, now),
        }
    }

    /// A side that takes nothing may go on not to: then the other side's reset is watched for.
    pub(super) fn blocked(&mut self, id: SessionId, now: Now) {
        let blocked = |it: &&Session| it.is_blocked() && it.is_relaying();
        if self.sessions.get(id).filter(blocked).is_some() {
            self.look_within(id, WATCH_AFTER_MS, now);
        }
    }

    /// A side has sent its FIN.
    pub(super) fn half_closed(&mut self, id: SessionId, now: Now) {
        let session = self.sessions.get_mut(id).expect("its FIN has come while it relays");
        session.moved_at = now;
        session.look_by(now.plus_millis(WATCH_AFTER_MS));
        self.schedule_sooner(id, now);
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
        if session.is_inspecting() {
            return session.look(out);
        }
        session.buffers_short = self.buffers_short;
        let effects = session.on_ready(side, ready, out);
        if session.is_relaying() {
            session.look_by(now.plus_millis(self.tuning.quiescent_after_ms));
            session.look_behind_a_send(now);
            if session.is_muted() {
                self.counters.totals().fruitless_watches += u64::from(session.has_gone_mute());
                session.look_by(now.plus_millis(WATCH_AFTER_MS));
            }
            self.schedule_sooner(id, now);
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
