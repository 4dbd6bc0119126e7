//! Sessions whose backend closes them before its first byte: they are tried elsewhere, within the
//! bounds of any retry.

use weir_proto::reason::ConnectFault;

use super::{SessionId, Table};
use crate::action::Actions;
use crate::base::clock::Now;
use crate::event::Side;
use crate::session::{Connect, Route};

impl Table {
    /// A backend is about to take the session.
    pub(super) fn taken(&mut self, id: SessionId, out: &mut Actions) {
        let session = self.sessions.get_mut(id).expect("completions are joined, never stale");
        if !session.is_connecting() {
            return;
        }
        let connect = *session.connect_mut();
        let is_plain = connect.client_key == 0 && connect.queued_ms == 0;
        let counts = !connect.tried.is_empty() || !is_plain;
        if session.replay_max.is_some() && counts {
            self.trials.note(id.slot, connect);
        }
        self.tell_client(id, out);
    }

    /// Until when another backend may get the session: the time in the queue does not count.
    fn trial_ends_at(&self, id: SessionId) -> Now {
        let session = self.sessions.get(id).expect("completions are joined, never stale");
        let pool = &self.view.pools()[session.route.pool.index()];
        let queued_ms = self.trials.get(id.slot).map_or(0, |connect| connect.queued_ms);
        session.accepted_at.plus_millis(pool.retry.within_ms.saturating_add(queued_ms))
    }

    /// A session on trial for too long is its backend's.
    pub(super) fn check_trial(&mut self, id: SessionId, now: Now, out: &mut Actions) {
        let session = self.sessions.get(id).expect("completions are joined, never stale");
        if session.is_on_trial() && self.trial_ends_at(id) <= now {
            self.sessions.get_mut(id).expect("it relays").end_trial(out);
        }
    }

    /// A session that keeps a buffer gives it back when its trial is over.
    pub(super) fn look_at_trial_end(&mut self, id: SessionId, now: Now) {
        let at = self.trial_ends_at(id).max(now);
        let at = self.sessions.get_mut(id).expect("it keeps a buffer").look_by(at);
        self.wheel.schedule_sooner(id.slot, at);
    }

    /// A backend has closed the session before its first byte: another one is tried, if there is
    /// one and all that was passed on is there; else the close goes to the client.
    pub(super) fn closed_early(&mut self, id: SessionId, now: Now, out: &mut Actions) {
        let session = self.sessions.get(id).expect("it has a backend");
        let Route { pool, index, .. } = session.route;
        let attempts = self.view.pools()[pool.index()].retry.attempts;
        let first = Connect::new(0, attempts, session.accepted_at);
        let connect = self.trials.get(id.slot).copied().unwrap_or(first);
        let mut tried = connect.tried;
        tried.add(index);
        let is_due = session.may_redispatch() && now < self.trial_ends_at(id);
        if !is_due || connect.attempts_left == 0 || !self.view.has_other(pool, tried) {
            let session = self.sessions.get_mut(id).expect("it has a backend");
            let effects = session.pass_close_on(out);
            if session.is_relaying() {
                session.watch(out); // its FIN may have come a while ago
                self.half_closed(id, now);
            }
            return self.apply(id, effects, now, out);
        }
        let session = self.sessions.get_mut(id).expect("it has a backend");
        for side in Side::ALL {
            if session.is_starved(side) {
                self.starved_queue.remove(id.slot * 2 + side as u32);
            }
        }
        session.redispatch(connect);
        self.log_return(id);
        self.count_stalled(id, now);
        self.connect_failed(id, ConnectFault::Closed, now, out);
    }
}
