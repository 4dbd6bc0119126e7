//! The client that a PROXY header has told of, and the header that a backend gets.

use alloc::boxed::Box;
use core::net::SocketAddr;

use super::{SessionId, Table};
use crate::action::{Action, Actions};
use crate::base::clock::Now;
use crate::client_hello::ClientHello;
use crate::proxy_header::{PassedOn, ProxyVersion, Told, passed_on};
use crate::session::Route;
use crate::slot::PoolSlot;

impl Table {
    /// The addresses that a header has told of.
    #[must_use]
    pub fn told(&self, id: SessionId) -> Option<Told> {
        self.told.get(id.slot).copied()
    }

    /// The client among them.
    #[must_use]
    pub fn told_client(&self, id: SessionId) -> Option<SocketAddr> {
        self.told(id).map(|told| told.source)
    }

    /// The fields that each backend of the session gets, beside those that weir makes.
    #[must_use]
    pub fn passed_fields(&self, id: SessionId) -> &[u8] {
        self.passed.get(id.slot).map_or(&[], Box::as_ref)
    }

    fn sends_fields(&self, pool: PoolSlot) -> bool {
        self.view.pools()[pool.index()].proxy == Some(ProxyVersion::V2)
    }

    /// A header has brought these fields: keeps those that a backend gets, if a pool that the
    /// session may go to sends any.
    pub(super) fn keep_told_fields(&mut self, id: SessionId, fields: &[u8]) {
        if fields.is_empty() {
            return;
        }
        let session = self.sessions.get(id).expect("it was there a moment ago");
        let Route { listener, pool, .. } = session.route;
        let listener = &self.view.listeners()[listener.index()];
        if self.sends_fields(pool) || listener.pools().any(|pool| self.sends_fields(pool)) {
            self.keep(id, passed_on(fields, ClientHello::default()));
        }
    }

    /// The hello of a session that has found its pool: keeps its name and protocol for backends,
    /// where no header has told them.
    pub(super) fn keep_hello_fields(&mut self, id: SessionId, hello: ClientHello<'_>) {
        let session = self.sessions.get(id).expect("it was there a moment ago");
        if self.sends_fields(session.route.pool) && hello != ClientHello::default() {
            let passed = passed_on(self.passed_fields(id), hello);
            self.keep(id, passed);
        }
    }

    fn keep(&mut self, id: SessionId, PassedOn { fields, dropped }: PassedOn) {
        self.counters.totals().proxy_fields_dropped += u64::from(dropped);
        match fields {
            Some(fields) => self.passed.note(id.slot, fields),
            None => self.passed.forget(id.slot),
        }
    }

    /// A backend is taking the session: tells it who the client is, if its pool wants that.
    pub(super) fn tell_client(&mut self, id: SessionId, out: &mut Actions) {
        let session = self.sessions.get_mut(id).expect("a backend is taking it");
        let Some(version) = self.view.pools()[session.route.pool.index()].proxy else { return };
        out.push(Action::SendHeader { legs: session.legs(), version });
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
}
