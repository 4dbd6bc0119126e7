//! Where connects come from: bind(2) without a port, which may be done again after a connect that
//! found none.

use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr};

use weir_core::event::{Completion, Errno, Leg};
use weir_engine::io::Outcome;

use super::legs::Behind;
use super::{Kernel, Key, Seen};

/// The legs that were bound, or should have been.
#[derive(Clone, Debug, Default)]
pub(super) struct Binds(BTreeMap<i32, Bound>);

#[derive(Clone, Copy, Debug)]
struct Bound {
    source: IpAddr,
    address: SocketAddr,
    state: BoundState,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum BoundState {
    /// This host does not have the address; no connect was asked for.
    Refused,
    Bound,
    Asked,
    /// Its connect had no port.
    Failed,
    /// Bound once more after that.
    Again,
}

impl Binds {
    pub(super) fn source(&self, leg: Leg) -> Option<IpAddr> {
        self.0.get(&leg.0).filter(|it| it.state != BoundState::Refused).map(|it| it.source)
    }

    /// The leg is gone, and its connection goes on elsewhere.
    pub(super) fn forget(&mut self, leg: Leg) {
        self.0.remove(&leg.0);
    }

    pub(super) fn clear(&mut self) {
        self.0.clear();
    }
}

/// The address of a connect that should not have been made from there, or EADDRNOTAVAIL's.
const NO_ADDRESS: Errno = Errno::EADDRNOTAVAIL;

impl Kernel {
    pub(crate) fn bind_source(
        &mut self,
        leg: Leg,
        source: IpAddr,
        address: &SocketAddr,
    ) -> Result<(), Errno> {
        let before = self.binds.0.get(&leg.0).map(|it| it.state);
        if self.legs.behind(leg) != Some(Behind::Nothing)
            || matches!(before, Some(BoundState::Asked | BoundState::Bound | BoundState::Again))
        {
            self.fail(format!("{leg:?} is bound to {source}, and was {before:?}"));
            return Err(Errno::EINVAL);
        }
        if source.is_ipv4() != address.is_ipv4() {
            self.fail(format!("{leg:?} is bound to {source} on its way to {address}"));
            return Err(Errno::EINVAL);
        }
        let is_here = !self.rng.hits(self.swarm.local_connects);
        let state = match (is_here, before) {
            (true, Some(BoundState::Failed)) => BoundState::Again,
            (true, _) => BoundState::Bound,
            (false, Some(BoundState::Failed)) => BoundState::Failed,
            (false, _) => BoundState::Refused,
        };
        self.binds.0.insert(leg.0, Bound { source, address: *address, state });
        if is_here {
            return Ok(());
        }
        self.note("bind: not here", [usize::from(address.port()), 0]);
        self.seen.push(Seen::NoSource { address: *address, source, first: before.is_none() });
        Err(NO_ADDRESS)
    }

    /// A connect is asked for on this leg. True if it is one that goes on from another address.
    fn asked_from(&mut self, session: Key, leg: Leg, address: SocketAddr) -> bool {
        let bound = self.binds.0.get_mut(&leg.0);
        let state = bound.map(|it| (std::mem::replace(&mut it.state, BoundState::Asked), *it));
        let Some((before, Bound { source, address: towards, .. })) = state else {
            return false;
        };
        if towards != address || !matches!(before, BoundState::Bound | BoundState::Again) {
            self.fail(format!("a connect to {address}: {before:?} to {source} for {towards}"));
        }
        if before != BoundState::Again {
            return false;
        }
        let failed = Seen::Answered { session, connected: Some(Err(NO_ADDRESS.0)) };
        match self.seen.iter().rposition(|seen| *seen == failed) {
            Some(place) => drop(self.seen.remove(place)),
            None => self.fail(format!("{session:?} connects again, and has heard nothing")),
        }
        true
    }

    /// A connect is asked for: notes it, and where it comes from.
    pub(super) fn see_connect(
        &mut self,
        (session, fresh): (Key, bool),
        leg: Leg,
        address: SocketAddr,
    ) {
        let again = self.asked_from(session, leg, address);
        if !again {
            self.seen.push(Seen::Asked { session, address, fresh });
        }
        let source = self.binds.source(leg);
        if self.swarm.sources || source.is_some() {
            self.seen.push(Seen::From { session, address, source, again });
        }
    }

    /// The shard hears an answer on this leg: what it means where the leg is bound.
    pub(super) fn hear_bound(&mut self, leg: Leg, outcome: Outcome) -> Outcome {
        let Outcome::Session(Completion::Connected(Err(errno))) = outcome else { return outcome };
        let Some(bound) = self.binds.0.get_mut(&leg.0) else { return outcome };
        // Where any address may be bound, connect(2) finds that this host does not have it.
        if errno != NO_ADDRESS && errno != Errno::EINVAL {
            return outcome;
        }
        bound.state = BoundState::Failed;
        Outcome::Session(Completion::Connected(Err(NO_ADDRESS)))
    }

    /// A leg without a connection is closed.
    pub(super) fn unbind(&mut self, leg: Leg) {
        let Some(bound) = self.binds.0.remove(&leg.0) else { return };
        match bound.state {
            BoundState::Refused => self.seen.push(Seen::NotOpened { address: bound.address }),
            BoundState::Asked | BoundState::Failed => {}
            state => self.fail(format!("{leg:?} is closed, and was {state:?}: {bound:?}")),
        }
    }

    /// Why a connect of this leg fails on this host.
    pub(super) fn local_error(&mut self, leg: Leg) -> Errno {
        const ALL: [Errno; 3] = [Errno::EADDRNOTAVAIL, Errno::ENOBUFS, Errno::EINVAL];
        let count = if self.binds.source(leg).is_some() { 3 } else { 2 };
        self.rng.pick(&ALL[..count])
    }
}
