//! One shard's turn as its kernel has seen it, for the checks that come after it.

use std::net::{IpAddr, SocketAddr};

use weir_core::event::Side;

use super::Key;

/// An event of one turn of the shard: something it did or learnt.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Seen {
    /// `open`: its listener had not been shut down before.
    Accepted {
        ok: bool,
        open: bool,
        /// Where it listens.
        address: Option<SocketAddr>,
        /// Where it comes from, if the kernel still knows.
        client: Option<IpAddr>,
    },
    /// A header was taken; of the client that counts, there. `dropped`: fields that do not fit
    /// into a backend's header beside the others.
    Told {
        address: SocketAddr,
        client: Option<IpAddr>,
        dropped: usize,
    },
    /// A receive has found no buffer.
    Starved {
        session: Key,
        side: Side,
    },
    /// The sink of this flow takes nothing, so it leaves the line without a buffer.
    NoRoom {
        session: Key,
        side: Side,
    },
    Receives {
        session: Key,
        side: Side,
    },
    Asked {
        session: Key,
        address: SocketAddr,
        /// The session has begun in this turn.
        fresh: bool,
    },
    /// Where the connect comes from that was asked for. `again`: it had no port, and goes on.
    From {
        session: Key,
        address: SocketAddr,
        source: Option<IpAddr>,
        again: bool,
    },
    /// The address that a connect should come from is not on this host. `first`: it has tried none
    /// before.
    NoSource {
        address: SocketAddr,
        source: IpAddr,
        first: bool,
    },
    /// There was no socket for a connect to this address.
    NotOpened {
        address: SocketAddr,
    },
    CancelsConnect {
        session: Key,
    },
    /// The shard learns that the session's client has reset.
    ClientLeft {
        session: Key,
    },
    Answered {
        session: Key,
        connected: Option<Result<(), i32>>,
    },
    Received {
        session: Key,
        address: SocketAddr,
        count: usize,
    },
    /// The shard takes a session from a backend that has closed before its first byte.
    Dropped {
        session: Key,
    },
    Sent {
        address: SocketAddr,
        count: usize,
    },
    /// A session was handed over, and has another name.
    Renamed {
        from: Key,
        to: Key,
    },
    /// The shard hears of a side's FIN.
    Ended {
        session: Key,
        side: Side,
    },
    /// A leg of the session was closed: these bytes for this side did not reach its kernel, and
    /// for so long it had taken nothing from look to look.
    Lost {
        session: Key,
        side: Side,
        bytes: usize,
        /// At least and at most.
        blocked_ms: (u64, u64),
    },
}
