//! The clients that listeners serve: a client beyond its lists gets no backend, and no other is
//! refused. The lists are looked through one by one, where the shard has ranges.

use std::net::{IpAddr, SocketAddr};

use weir_core::event::Side;
use weir_core::session::{Phase, Session};
use weir_core::table::Table;
use weir_proto::reason::Why;
use weir_proto::snapshot::Listener;
use weir_proto::spec::RouteSpec;
use weir_proto::stats::ShardStats;

use super::{Counts, Ledger};
use crate::kernel::Kernel;

impl Ledger {
    /// The listener that has this address, or had it last.
    fn listener_at(&self, address: Option<SocketAddr>) -> Option<&Listener> {
        let id = address.and_then(|address| self.listens.get(&address))?;
        let mut all = self.snapshot.iter().flat_map(|snapshot| &snapshot.listeners);
        all.find(|listener| listener.id == *id)
    }

    /// True if the listener there serves this client. One that is gone already is let be.
    pub(super) fn serves(&self, at: Option<SocketAddr>, client: Option<IpAddr>) -> bool {
        let refuses = |listener: &Listener| {
            client.is_some_and(|client| listener.access.refuses(client).is_some())
        };
        !self.listener_at(at).is_some_and(refuses)
    }

    /// True if the listener there takes a connection from this client; where it wants headers, they
    /// decide.
    pub(super) fn takes(&self, at: Option<SocketAddr>, client: Option<IpAddr>) -> bool {
        let waits = |listener: &Listener| !listener.proxy.from.is_empty();
        self.listener_at(at).is_some_and(waits) || self.serves(at, client)
    }

    /// A header has told of this client. One that is not served needs no fields.
    pub(super) fn told(&mut self, at: SocketAddr, client: Option<IpAddr>, dropped: usize) {
        if self.serves(Some(at), client) {
            self.counts.fields_dropped += dropped;
        } else {
            self.counts.denied += 1;
        }
    }

    /// Sessions that ended because of whom a header told are those whose client is not served, and
    /// the fields that had no room are counted.
    pub(super) fn heard_of_clients(
        &mut self,
        stats: &ShardStats,
        expected: &Counts,
    ) -> Result<(), String> {
        let ends = stats.pools.iter().flat_map(|row| row.ends.iter());
        let denied = ends.filter(|(reason, _)| reason.why == Why::Denied);
        self.denied += denied.map(|(_, count)| count).sum::<u64>();
        if self.denied != expected.denied as u64 {
            let (denied, expected) = (self.denied, expected.denied);
            return Err(format!("{denied} told clients were denied; it should be {expected}"));
        }
        self.headers.dropped += stats.counts.proxy_fields_dropped;
        if self.headers.dropped != expected.fields_dropped as u64 {
            let (dropped, expected) = (self.headers.dropped, expected.fields_dropped);
            return Err(format!("{dropped} fields had no room; it should be {expected}"));
        }
        Ok(())
    }

    /// It is of the pool of the first route that fits, of those that ask for no hello.
    fn check_route(
        &self,
        table: &Table,
        session: &Session,
        (at, client): (Option<SocketAddr>, Option<IpAddr>),
    ) -> Result<(), String> {
        let row = &table.view().listeners()[session.route.listener.index()];
        let listener = self.listener_at(at).filter(|it| it.id == row.id && !it.routes.is_empty());
        let (Some(listener), Some(snapshot)) = (listener, &self.snapshot) else { return Ok(()) };
        let spec = snapshot.listener_spec(listener);
        let fits = |route: &&RouteSpec| {
            let networks = client.map(|ip| route.from.iter().any(|network| network.contains(ip)));
            !route.reads_hello() && networks.unwrap_or(false)
        };
        let pool = spec.route.iter().find(fits).map_or(&spec.pool, |route| &route.pool);
        let expected = snapshot.pool(pool.as_str()).map(|pool| pool.id);
        let taken = table.view().pools()[session.route.pool.index()].id;
        match expected == Some(taken) {
            true => Ok(()),
            false => {
                Err(format!("{client:?} should be of {pool}, and is of {taken:?}: {session:?}"))
            }
        }
    }

    /// Each session that has got a backend in this turn has a client that its listener serves.
    ///
    /// # Errors
    /// One has not.
    pub fn check_access(&mut self, table: &Table, kernel: &Kernel) -> Result<(), String> {
        if !kernel.swarm.lists && !kernel.swarm.routes {
            return Ok(());
        }
        let mut served = std::mem::take(&mut self.served);
        served.retain(|(slot, _)| table.iter().any(|(id, _)| id.slot == *slot));
        for (id, session) in table.iter() {
            let is_new = matches!(session.phase(), Phase::Connecting(_) | Phase::Relaying(_))
                && served.insert((id.slot, id.generation));
            let Some(leg) = session.leg(Side::Client).filter(|_| is_new) else { continue };
            let (at, client, arrived) = kernel.arrival(leg);
            if arrived.is_none() {
                continue; // it has reset, and weir may not have known who it was
            }
            if !self.serves(at, client) {
                return Err(format!("{client:?} is served at {at:?}, and should not: {session:?}"));
            }
            self.check_route(table, session, (at, client))?;
        }
        self.served = served;
        Ok(())
    }
}
