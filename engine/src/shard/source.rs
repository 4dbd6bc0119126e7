//! Connects that come from an address of the pool's choice.

use std::net::{IpAddr, SocketAddr};

use weir_core::action::{How, Origin};
use weir_core::event::{Completion, Errno, Leg, NotOpened, Side};
use weir_core::table::SessionId;
use weir_proto::address::Address;

use super::Shard;
use crate::io::{Io, Kind, Op, Token};

impl<I: Io> Shard<I> {
    /// Has the connect on a new leg come from where it should, or closes the leg.
    pub(super) fn come_from(
        &mut self,
        id: SessionId,
        leg: Leg,
        address: Address,
        origin: Origin,
    ) -> Result<(), NotOpened> {
        let (Origin::Listed, Some(address)) = (origin, address.ip()) else { return Ok(()) };
        let source = self.table.source(id, self.now);
        if source.is_none() || self.bind(id, leg, &address, source) {
            return Ok(());
        }
        self.io.close(leg, How::Reset);
        Err(NotOpened::NoSource)
    }

    /// Returns the answer as the session is to hear it; `None` if the connect goes on from another
    /// address of its pool. The one that it was to come from has no port left towards the backend
    /// (EADDRNOTAVAIL), or is not on this host, which is found so late where
    /// `net.ipv4.ip_nonlocal_bind` lets bind(2) take any address (EINVAL).
    pub(super) fn after_source(&mut self, id: SessionId, done: Completion) -> Option<Completion> {
        let Completion::Connected(Err(Errno::EADDRNOTAVAIL | Errno::EINVAL)) = done else {
            return Some(done);
        };
        if !self.is_bound(id) {
            return Some(done);
        }
        // Neither is the backend's fault.
        let failed = Completion::Connected(Err(Errno::EADDRNOTAVAIL));
        if self.connects_from_elsewhere(id) { None } else { Some(failed) }
    }

    /// Asks for a connect once more on its leg, from another address of the pool. False if there is
    /// none.
    fn connects_from_elsewhere(&mut self, id: SessionId) -> bool {
        let Some((leg, target)) = self.table.may_connect_again(id) else { return false };
        let Some(address) = target.ip() else { return false };
        // The pool may have got its list since: this connect was left to the kernel.
        let own = self.io.local(leg).filter(|own| !own.ip().is_unspecified());
        let Some(own) = own else { return false };
        let other = self.table.other_source(id, own.ip().to_canonical(), self.now);
        if !self.bind(id, leg, &address, other) {
            return false;
        }
        let token = Token::Session { id, side: Side::Backend, kind: Kind::Connect };
        self.io.submit(token, Op::Connect(leg, target));
        true
    }

    /// Binds a leg to `source`, or to another address of the pool if this host does not have it.
    fn bind(
        &mut self,
        id: SessionId,
        leg: Leg,
        address: &SocketAddr,
        source: Option<IpAddr>,
    ) -> bool {
        let mut next = source;
        while let Some(source) = next {
            if self.io.bind(leg, source, address).is_ok() {
                return true;
            }
            next = self.table.other_source(id, source, self.now);
        }
        false
    }

    /// True if the connect of this session comes from an address of its pool's choice.
    pub(super) fn is_bound(&self, id: SessionId) -> bool {
        let view = self.table.view();
        let pool = self.table.session(id).map(|session| session.route.pool);
        pool.is_some_and(|pool| view.pools()[pool.index()].sources.origin() != Origin::Any)
    }
}
