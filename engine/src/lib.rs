//! The data path: one thread per core, each with its own ring, listeners, sessions and view of the
//! backends.
//!
//! [`Engine`] is the only entry point. Control sends [`Order`]s through it and takes [`Report`]s
//! from it; nobody ever waits in either direction. [`io`], [`mailbox`], [`ring`] and [`shard`] are
//! open for the simulator, which runs the same shard on a kernel of its own and compares that with
//! the ring.

#[cfg(debug_assertions)]
pub mod failpoint;
pub mod heartbeat;
pub mod io;
pub mod mailbox;
pub mod ring;
pub mod shard;
mod start;
mod sys;

use std::net::{IpAddr, SocketAddr};
#[cfg(not(loom))]
use std::os::fd::OwnedFd;
use std::os::fd::{AsRawFd, BorrowedFd};
use std::thread::JoinHandle;

use weir_proto::complaint::Complaint;
use weir_proto::ids::ShardId;
use weir_proto::order::{Order, Report};
use weir_proto::session_log::SessionLogging;

pub use ring::BUFFER_BYTES;
pub use start::{BUFFERS_MAX, locked_bytes};

use heartbeat::HeartbeatMonitor;
use mailbox::{Inbox, ShardHandle};

/// How the engine is started. Fixed for the life of the process.
#[derive(Clone, Debug)]
pub struct Options {
    /// How many shards, at least 1. Shard `n` is pinned to the n-th CPU that the process may use.
    pub shards: u16,
    /// The most sessions of one shard, at most 2^24.
    pub sessions_max: u32,
    /// Pipes for bulk on each shard at most, 0 to 256: two descriptors each.
    pub pipes_max: u16,
    /// Receive buffers of each shard, of [`BUFFER_BYTES`] each: a power of two, 64 to
    /// [`BUFFERS_MAX`]. They take memory only as far as sessions hold bytes at the same time.
    pub buffers: u16,
    /// False leaves the threads unpinned (several shards on one core, in tests).
    pub pin: bool,
    /// Keys the hash of client addresses (maglev). The same seed on several hosts sends a client to
    /// the same backend from each of them.
    pub hash_seed: (u64, u64),
    /// For strategies that draw lots.
    pub seed: u64,
    /// `None`: no session log.
    pub session_log: Option<SessionLogging>,
}

/// All shards of the process, seen from control.
#[derive(Debug)]
pub struct Engine {
    handles: Vec<ShardHandle>,
    inbox: Inbox,
    threads: Vec<JoinHandle<()>>,
}

impl Engine {
    /// Starts every shard with an empty configuration; they accept nothing until [`Order::Adopt`].
    /// Returns when each has its ring.
    ///
    /// # Errors
    /// io_uring is unavailable, or memory or descriptors ran out.
    pub fn start(options: &Options) -> Result<Engine, Complaint> {
        start::start(options)
    }

    /// How many shards there are.
    #[must_use]
    pub fn shards(&self) -> u16 {
        u16::try_from(self.handles.len()).expect("Options::shards is a u16")
    }

    /// Hands `order` to a shard and wakes it. Never waits.
    ///
    /// # Errors
    /// Gives the order back if the shard's channel is full or its thread is gone.
    // The order itself is what the caller needs back; boxing it would allocate on each send.
    #[allow(clippy::result_large_err)]
    pub fn send(&self, shard: ShardId, order: Order) -> Result<(), Order> {
        match self.handles.get(usize::from(shard.0)) {
            Some(handle) => handle.send(order),
            None => Err(order),
        }
    }

    /// The heartbeat of each shard, in order.
    #[must_use]
    pub fn monitors(&self) -> Vec<HeartbeatMonitor> {
        self.handles.iter().map(|handle| handle.monitor().clone()).collect()
    }

    /// Orders to this shard are for the one that was built after it had panicked; what the one
    /// before has not taken is dropped. To be called for each [`Report::Started`] after the first.
    pub fn address_next(&self, shard: ShardId) {
        if let Some(handle) = self.handles.get(usize::from(shard.0)) {
            handle.address_next();
        }
    }

    /// The oldest report that has not been taken, of any shard.
    #[must_use]
    pub fn take_report(&self) -> Option<Report> {
        self.inbox.take()
    }

    /// A stream socket that becomes readable when there are new reports: read and drop what is in
    /// it, then call [`Engine::take_report`] until it gives `None`. Can be taken once.
    #[cfg(not(loom))]
    #[must_use]
    pub fn take_bell(&mut self) -> Option<OwnedFd> {
        self.inbox.take_bell()
    }

    /// Waits until every shard's thread is gone, after [`Order::Stop`] was sent to each.
    pub fn join(self) {
        for thread in self.threads {
            // A shard's panic has been caught and reported on its own thread.
            let _ = thread.join();
        }
    }
}

/// Both ends of a channel for [`Order::Give`] and [`Order::Take`].
///
/// # Errors
/// Descriptors ran out.
pub fn handover_channel() -> std::io::Result<(std::os::fd::OwnedFd, std::os::fd::OwnedFd)> {
    sys::rights::channel()
}

/// Whether this host has the io_uring that weir needs.
///
/// # Errors
/// What is missing and what to do about it.
pub fn probe() -> Result<(), Complaint> {
    ring::probe()
}

/// Lets the log be written before SIGABRT ends the process, whoever raises it: it
/// waits until `is_written` says so, for a second at most. `is_written` is called in a signal
/// handler: it may read atomics and nothing else.
pub fn linger_before_abort(is_written: fn() -> bool) {
    sys::abort::linger(is_written);
}

/// The supplementary groups of a Unix socket's peer, as they were when it connected. Here because
/// no crate that control uses has the call, and only this one may make calls of its own.
///
/// # Errors
/// What getsockopt(2) said about SO_PEERGROUPS.
pub fn peer_groups(socket: BorrowedFd<'_>) -> std::io::Result<Vec<u32>> {
    sys::peer::groups(socket)
}

/// Has a connect of `socket` to `address` come from `source`, of the same family, with a port that
/// is chosen when the connect is made. As for [`peer_groups`], only this crate may make the call.
///
/// # Errors
/// The error of bind(2): EADDRNOTAVAIL if this host does not have the address.
pub fn bind_source(
    socket: BorrowedFd<'_>,
    source: IpAddr,
    address: &SocketAddr,
) -> std::io::Result<()> {
    let bound = sys::source::bind(socket.as_raw_fd(), source, address);
    bound.map_err(|errno| std::io::Error::from_raw_os_error(errno.0))
}
