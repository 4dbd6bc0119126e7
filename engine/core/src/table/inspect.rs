//! Sessions of listeners that want a header first: it is read, waited for, and believed.

use core::net::{IpAddr, SocketAddr};

use weir_proto::reason::{By, Reject, Why};
use weir_proto::snapshot::ProxyIn;

use super::{SessionId, Table};
use crate::action::{Action, Actions};
use crate::base::clock::Now;
use crate::event::HeaderRead;
use crate::session::Connect;
use crate::slot::ListenerSlot;

impl Table {
    /// The listener's terms for headers, if it wants any.
    #[must_use]
    pub fn wants_header(&self, listener: ListenerSlot) -> Option<&ProxyIn> {
        self.view.listeners()[listener.index()].proxy.as_ref()
    }

    /// True if the listener does not take connections from everywhere.
    #[must_use]
    pub fn is_choosy(&self, listener: ListenerSlot) -> bool {
        let view = &self.view.listeners()[listener.index()];
        view.proxy.is_some() || view.served.is_some()
    }

    /// True if the listener takes no connection from this address: it wants headers, and none from
    /// there; or it does not serve a client there. Of one that has gone meanwhile the address is
    /// not known: whatever it has sent, no backend is asked.
    #[must_use]
    pub fn refuses(&self, listener: ListenerSlot, ip: Option<IpAddr>) -> bool {
        let view = &self.view.listeners()[listener.index()];
        let takes = |ip| match &view.proxy {
            // Whether the client is served is asked when a header has told of it.
            Some(proxy) => proxy.trusts(ip),
            None => view.serves(ip),
        };
        ip.is_some_and(|ip| !takes(ip))
    }

    /// True if an inspected session goes on by the address of its client.
    #[must_use]
    pub fn asks_for_client(&self, id: SessionId) -> bool {
        let session = self.sessions.get(id).expect("it asked a moment ago");
        self.wants_key(id) || self.is_choosy(session.route.listener)
    }

    /// The client that a header has told of.
    #[must_use]
    pub fn told_client(&self, id: SessionId) -> Option<SocketAddr> {
        self.told.get(id.slot)
    }

    /// True if the session's pool picks by the client's address. It is the one that the listener
    /// had when the client came; meanwhile the listener may have another.
    #[must_use]
    pub fn wants_key(&self, id: SessionId) -> bool {
        let session = self.sessions.get(id).expect("it asked a moment ago");
        self.picks_by_client(session.route.pool)
    }

    /// A backend is taking the session: tells it who the client is, if its pool wants that.
    pub(super) fn tell_client(&mut self, id: SessionId, out: &mut Actions) {
        let session = self.sessions.get_mut(id).expect("a backend is taking it");
        let Some(version) = self.view.pools()[session.route.pool.index()].proxy else { return };
        let legs = session.legs();
        let told = self.told_client(id);
        out.push(Action::SendHeader { legs, version, told });
    }

    /// The header was sent to the backend, or could not be: its empty socket takes one at once.
    pub fn header_sent(&mut self, id: SessionId, is_sent: bool, now: Now, out: &mut Actions) {
        if is_sent {
            return;
        }
        if let Some(session) = self.sessions.get_mut(id) {
            let effects = session.fail_at_once(out);
            self.apply(id, effects, now, out);
        }
    }

    /// Somebody has looked for a session's header. `client` is the address that counts, where
    /// [`Table::asks_for_client`], and its hash.
    pub fn header_read(
        &mut self,
        id: SessionId,
        read: HeaderRead,
        (client, key): (Option<IpAddr>, u64),
        now: Now,
        out: &mut Actions,
    ) {
        let session = self.sessions.get_mut(id).expect("it asked a moment ago");
        match read {
            HeaderRead::NotYet => session.await_header(out),
            HeaderRead::Wrong => self.end(id, By::Weir, Why::BadHeader, now, out),
            // As a balancer's check does; nothing was asked for, so nothing is missing.
            HeaderRead::Ended => self.end(id, By::Client, Why::Complete, now, out),
            HeaderRead::Failed => self.end(id, By::Client, Why::Reset, now, out),
            HeaderRead::Whole { source } => {
                let listener = session.route.listener;
                if let Some(source) = source {
                    self.told.note(id.slot, source);
                }
                if client.is_some_and(|ip| !self.view.listeners()[listener.index()].serves(ip)) {
                    self.counters.rejected(listener, Reject::Denied);
                    return self.end(id, By::Weir, Why::Denied, now, out);
                }
                let pool = &self.view.pools()[session.route.pool.index()];
                session.inspected_header(Connect::new(key, pool.retry.attempts, now));
                self.wheel.cancel(id.slot);
                self.try_backend(id, None, now, out);
            }
        }
    }
}
