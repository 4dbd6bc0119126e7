//! Where a session's connect comes from, if its pool says so.

use core::net::IpAddr;

use weir_proto::address::Address;

use super::{SessionId, Table};
use crate::base::clock::Now;
use crate::event::{Leg, Side};
use crate::session::Session;
use crate::slot::PoolSlot;

impl Table {
    /// The address that the session's connect comes from. `None`: none that its pool lists is of
    /// the backend's family, and the kernel chooses; a Unix socket has none.
    pub fn source(&mut self, id: SessionId, now: Now) -> Option<IpAddr> {
        let (pool, backend) = self.picked(id)?;
        self.tried_sources.forget(id.slot);
        self.view.sources(pool).next(backend.ip()?.ip(), now)
    }

    /// The session's connect could not come from `failed`, which had no port left or is not on this
    /// host: another address of its pool. `None`: the connect has failed.
    pub fn other_source(&mut self, id: SessionId, failed: IpAddr, now: Now) -> Option<IpAddr> {
        let (pool, backend) = self.picked(id)?;
        let mut tried = self.tried_sources.get(id.slot).copied().unwrap_or_default();
        let other = self.view.sources(pool).other(backend.ip()?.ip(), failed, &mut tried, now);
        self.tried_sources.note(id.slot, tried);
        other
    }

    /// The leg of a connect that may be asked for again, and its address: it was not taken back.
    #[must_use]
    pub fn may_connect_again(&self, id: SessionId) -> Option<(Leg, Address)> {
        let session = self.sessions.get(id).filter(|session| session.is_trying())?;
        let (_, address) = self.picked(id)?;
        Some((session.leg(Side::Backend)?, address))
    }

    /// The pool of a session and the address of the backend that was picked.
    fn picked(&self, id: SessionId) -> Option<(PoolSlot, Address)> {
        let Session { route, .. } = self.sessions.get(id)?;
        let backend = &self.view.backends()[route.backend?.index()];
        Some((route.pool, backend.address))
    }
}
