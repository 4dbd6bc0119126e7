//! From a client to a backend that takes it: the first connect, the retries, and their bounds.
//!
//! A retry is safe, because no byte of the client's has been forwarded, or all of them are there to
//! be sent again ([`redispatch`](super::redispatch)). It goes to another backend,
//! at once if not too many do so (see [`MayRetry`]), and never later than the pool's `within` after
//! the accept: a client that no backend takes is reset by then.

use weir_proto::reason::{By, ConnectFault, Why};

use super::{SessionId, Table};
use crate::action::{Action, Actions};
use crate::base::clock::Now;
use crate::event::{Leg, NotOpened, Side};
use crate::limits::RETRY_WAIT_MS;
use crate::session::{Connect, Route};
use crate::slot::{BackendSlot, PoolSlot};
use crate::view::{CountedConnect, MayRetry, Picked, Verdict};

impl Table {
    /// The shard has asked for a connect on the leg that it opened, or could not.
    pub fn opened(
        &mut self,
        id: SessionId,
        opened: Result<Leg, NotOpened>,
        now: Now,
        out: &mut Actions,
    ) {
        match opened {
            Ok(leg) => self.connect_started(id, leg, now),
            Err(NotOpened::ClientGone) => self.end(id, By::Client, Why::Reset, now, out),
            Err(NotOpened::NoSocket) => {
                self.connect_failed(id, ConnectFault::Local, now, out);
            }
            Err(NotOpened::NoSource) => {
                self.connect_failed(id, ConnectFault::Source, now, out);
            }
        }
    }

    fn connect_started(&mut self, id: SessionId, leg: Leg, now: Now) {
        let session = self.sessions.get_mut(id).expect("it was told to connect");
        let pool = &self.view.pools()[session.route.pool.index()];
        let own = now.plus_millis(pool.timeouts.connect_ms);
        let deadline = match session.counted_retry {
            // The first one has its whole time, or a long timeout would mean nothing.
            Some(false) | None => own,
            Some(true) => own.min(session.retries_until(pool.retry.within_ms)),
        };
        session.connect_started(leg, now, deadline);
        self.schedule(id, now);
    }

    /// A connect has failed, or could not even be asked for.
    pub(super) fn connect_failed(
        &mut self,
        id: SessionId,
        fault: ConnectFault,
        now: Now,
        out: &mut Actions,
    ) {
        let session = self.sessions.get_mut(id).expect("it was told to connect");
        session.drop_backend_leg(out);
        self.wheel.cancel(id.slot);
        if session.leaves_unconnected() {
            return self.let_backend_go(id);
        }
        let Route { pool, index, .. } = session.route;
        let connect = session.connect_mut();
        connect.tried.add(index);
        let again = connect.attempts_left > 0;
        connect.attempts_left = connect.attempts_left.saturating_sub(1);
        let counts = !connect.cut_short;
        let backend = session.route.backend.take().expect("a backend was picked");
        let counted = session.counted_retry.take();
        self.view.session_released(backend);
        if let Some(is_retry) = counted {
            self.view.connect_abandoned(CountedConnect { pool, backend, is_retry });
        }
        self.counters.connect_failed(backend, fault);
        if counts {
            self.judge(pool, backend, fault);
        }
        if again {
            self.retry(id, fault, now, out);
        } else {
            self.give_up(id, fault, now, out);
        }
    }

    /// The session goes to another shard: its connect was taken back, which is no failure.
    fn let_backend_go(&mut self, id: SessionId) {
        let session = self.sessions.get_mut(id).expect("it leaves");
        let pool = session.route.pool;
        let Some(backend) = session.route.backend.take() else { return };
        let counted = session.counted_retry.take();
        self.view.session_released(backend);
        if let Some(is_retry) = counted {
            self.view.connect_abandoned(CountedConnect { pool, backend, is_retry });
        }
    }

    /// What a failed connect means for the backend's health.
    fn judge(&mut self, pool: PoolSlot, backend: BackendSlot, fault: ConnectFault) {
        let may_eject = self.ejections.len() < crate::limits::EJECTIONS_MAX;
        match self.view.connect_failed(backend, fault, may_eject) {
            Verdict::Noted => {}
            Verdict::Ejected => {
                self.ejections.push((self.view.backends()[backend.index()].id, fault));
            }
            Verdict::EjectionVetoed => self.counters.spared(pool),
        }
    }

    /// Tries another backend, lets the session wait for its turn to, or gives up.
    pub(super) fn retry(
        &mut self,
        id: SessionId,
        fault: ConnectFault,
        now: Now,
        out: &mut Actions,
    ) {
        let session = self.sessions.get_mut(id).expect("it is connecting");
        let pool = session.route.pool;
        let within_ms = self.view.pools()[pool.index()].retry.within_ms;
        let last = session.retries_until(within_ms);
        match self.view.may_retry(pool) {
            MayRetry::Now if now < last => self.try_backend(id, Some(fault), now, out),
            MayRetry::Later if now < last => {
                session.watch_client(out);
                let wait_ms = RETRY_WAIT_MS + self.prng.below(RETRY_WAIT_MS + 1);
                if session.wait_for_retry(fault, now.plus_millis(wait_ms).min(last)) {
                    self.counters.retry_waits(pool);
                }
                self.schedule(id, now);
            }
            _ => self.give_up(id, fault, now, out),
        }
    }

    /// No backend took the session; the last one that was tried failed by `fault`.
    pub(super) fn give_up(
        &mut self,
        id: SessionId,
        fault: ConnectFault,
        now: Now,
        out: &mut Actions,
    ) {
        let (by, why) = match fault {
            fault if fault.is_local() => (By::Weir, Why::Local),
            _ => (By::Backend, Why::ConnectFailed),
        };
        self.end(id, by, why, now, out);
    }

    /// Picks a backend and asks for a connect; lets the session wait if all are full, and ends it
    /// if there is none. `failed` is what the connect before has failed by.
    pub(super) fn try_backend(
        &mut self,
        id: SessionId,
        failed: Option<ConnectFault>,
        now: Now,
        out: &mut Actions,
    ) {
        let session = self.sessions.get_mut(id).expect("it was there a moment ago");
        let Route { pool, .. } = session.route;
        let Connect { client_key: key, tried, .. } = *session.connect_mut();
        // Who came before is served before.
        let is_behind = self.queues.waiting_in(pool) > 0 && self.view.has_candidates(pool);
        if failed.is_none() && (is_behind || self.is_held(id)) {
            return self.queue(id, None, now, out);
        }
        match (self.view.pick(pool, key, &mut self.prng, tried, now), failed) {
            (Some(picked), _) => self.connect_to(id, picked, failed.is_some(), now, out),
            (None, _) if self.view.is_full(pool, tried) => self.queue(id, failed, now, out),
            (None, Some(fault)) => self.give_up(id, fault, now, out),
            (None, None) => self.end_without_backend(id, now, out),
        }
    }

    /// No backend takes sessions.
    pub(super) fn end_without_backend(&mut self, id: SessionId, now: Now, out: &mut Actions) {
        let session = self.sessions.get(id).expect("it was there a moment ago");
        self.counters.no_backend(session.route.pool);
        self.end(id, By::Weir, Why::NoBackend, now, out);
    }

    /// Asks for a connect to the backend that was picked.
    pub(super) fn connect_to(
        &mut self,
        id: SessionId,
        picked: Picked,
        is_retry: bool,
        now: Now,
        out: &mut Actions,
    ) {
        let session = self.sessions.get_mut(id).expect("it was there a moment ago");
        let pool = session.route.pool;
        session.route.backend = Some(picked.backend);
        session.route.index = picked.index;
        session.counted_retry = Some(is_retry);
        let connect = CountedConnect { pool, backend: picked.backend, is_retry };
        if let Some(is_last) = self.view.connect_begins(connect, now) {
            self.counters.capped(picked.backend, is_last);
        }
        self.view.session_assigned(picked.backend);
        self.counters.picked(pool, is_retry);
        let client = session.leg(Side::Client).expect("a connecting session has one");
        let address = self.view.backends()[picked.backend.index()].address;
        let pool = &self.view.pools()[pool.index()];
        let (buffer, origin) = (pool.socket_buffer, pool.sources.origin());
        out.push(Action::Connect { client, address, buffer, origin });
    }
}
