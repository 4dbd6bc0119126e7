//! Sessions of listeners that want a header first, or have routes: what comes is read, waited for,
//! and believed, and a pool is found by it.

use alloc::boxed::Box;
use core::net::IpAddr;

use weir_proto::reason::{By, Reject, Why};
use weir_proto::snapshot::{self, ProxyIn};

use super::{SessionId, Table};
use crate::action::Actions;
use crate::base::clock::Now;
use crate::client_hello::ClientHello;
use crate::event::{HeaderRead, HelloRead};
use crate::session::{Connect, Phase, Route};
use crate::slot::ListenerSlot;

/// The route that a session has taken, and the name that its client has asked for.
#[derive(Debug)]
pub(super) struct TakenRoute {
    /// Its place in the listener's list; `None`: none fits.
    pub(super) place: Option<u32>,
    pub(super) server_name: Option<Box<str>>,
}

impl Table {
    /// The listener's terms for headers, if it wants any.
    #[must_use]
    pub fn wants_header(&self, listener: ListenerSlot) -> Option<&ProxyIn> {
        self.view.listeners()[listener.index()].proxy.as_ref()
    }

    /// True if the listener goes by the client's address: it does not take connections from
    /// everywhere, or has routes or limits by it.
    #[must_use]
    pub fn is_choosy(&self, listener: ListenerSlot) -> bool {
        let view = &self.view.listeners()[listener.index()];
        view.proxy.is_some()
            || view.served.is_some()
            || view.asks_for_source
            || view.per_source.is_some()
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

    /// True if the session's pool picks by the client's address. It is the one that the listener
    /// had when the client came; meanwhile the listener may have another.
    #[must_use]
    pub fn wants_key(&self, id: SessionId) -> bool {
        let session = self.sessions.get(id).expect("it asked a moment ago");
        let Route { listener, pool, .. } = session.route;
        self.picks_by_client(pool) || self.wants_client_key(listener)
    }

    /// Somebody has looked for a session's header. `client` is the address that counts, where
    /// [`Table::asks_for_client`], and its hash.
    pub fn header_read(
        &mut self,
        id: SessionId,
        read: HeaderRead<'_>,
        (client, key): (Option<IpAddr>, u64),
        now: Now,
        out: &mut Actions,
    ) {
        let session = self.sessions.get_mut(id).expect("it asked a moment ago");
        match read {
            HeaderRead::NotYet => session.await_more(true, out),
            HeaderRead::Wrong => self.end(id, By::Weir, Why::BadHeader, now, out),
            // As a balancer's check does; nothing was asked for, so nothing is missing.
            HeaderRead::Ended => self.end(id, By::Client, Why::Complete, now, out),
            HeaderRead::Failed => self.end(id, By::Client, Why::Reset, now, out),
            HeaderRead::Whole { told, fields } => {
                let listener = session.route.listener;
                if let Some(told) = told {
                    self.told.note(id.slot, told);
                }
                if client.is_some_and(|ip| !self.view.listeners()[listener.index()].serves(ip)) {
                    self.counters.rejected(listener, Reject::Denied);
                    return self.end(id, By::Weir, Why::Denied, now, out);
                }
                self.keep_told_fields(id, fields);
                if let Some(ip) = client
                    && let Err(_limit) = self.begin_told(id, listener, ip, now)
                {
                    self.counters.rejected(listener, Reject::Source);
                    return self.end(id, By::Weir, Why::SourceLimit, now, out);
                }
                let session = self.sessions.get_mut(id).expect("it asked a moment ago");
                let view = &self.view.listeners()[listener.index()];
                if let Some((_, ms)) = view.awaits_hello(client) {
                    session.awaits_hello_by(now.plus_millis(ms));
                    session.look(out);
                    return self.schedule(id, now);
                }
                self.inspected_all(id, (client, key), ClientHello::default(), now, out);
            }
        }
    }

    /// Somebody has looked for a session's hello. `client` and its hash as in
    /// [`Table::header_read`].
    pub fn hello_read(
        &mut self,
        id: SessionId,
        read: HelloRead<'_>,
        client: (Option<IpAddr>, u64),
        now: Now,
        out: &mut Actions,
    ) {
        let session = self.sessions.get_mut(id).expect("it asked a moment ago");
        match read {
            HelloRead::NotYet { is_marked } => session.await_more(is_marked, out),
            HelloRead::Failed => self.end(id, By::Client, Why::Reset, now, out),
            HelloRead::Whole(hello) => self.inspected_all(id, client, hello, now, out),
            HelloRead::None => {
                self.inspected_all(id, client, ClientHello::default(), now, out);
            }
        }
    }

    /// All that is looked at before a backend is picked was looked at.
    fn inspected_all(
        &mut self,
        id: SessionId,
        (client, key): (Option<IpAddr>, u64),
        hello: ClientHello<'_>,
        now: Now,
        out: &mut Actions,
    ) {
        self.take_route(id, client, hello);
        self.keep_hello_fields(id, hello);
        let session = self.sessions.get_mut(id).expect("it was there a moment ago");
        let pool = &self.view.pools()[session.route.pool.index()];
        session.was_inspected(Connect::new(key, pool.retry.attempts, now));
        self.wheel.cancel(id.slot);
        self.try_backend(id, None, now, out);
    }

    /// The session takes the first route that fits, or the listener's pool. One whose listener has
    /// no routes, or is gone, keeps the pool that it came for.
    pub(super) fn take_route(
        &mut self,
        id: SessionId,
        client: Option<IpAddr>,
        hello: ClientHello<'_>,
    ) {
        let session = self.sessions.get_mut(id).expect("it was there a moment ago");
        let Route { listener, pool: before, .. } = session.route;
        let view = &self.view.listeners()[listener.index()];
        if view.routes.is_empty() {
            return;
        }
        let fits = |route: &snapshot::Route| route.fits(client, hello.server_name, hello.alpn());
        let place = view.routes.iter().position(fits);
        let pool = view.pool_of(place);
        let server_name = hello.server_name.map(Box::from);
        let place = place.and_then(|place| u32::try_from(place).ok());
        self.taken.note(id.slot, TakenRoute { place, server_name });
        if pool != before {
            session.route.pool = pool;
            let view = &self.view.pools()[pool.index()];
            session.go_by(&view.timeouts, view.retry);
            if let Phase::Connecting(_) = session.phase() {
                session.connect_mut().attempts_left = view.retry.attempts;
            }
            self.view.session_rerouted(before, pool);
        }
    }
}
