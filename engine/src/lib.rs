//! The data path: one thread per core, each with its own ring, listeners, sessions and view of the backends.
//!
//! [`Engine`] is the only door. Control sends [`Order`]s through it and takes [`Report`]s from it;
//! nobody ever waits in either direction.

use std::os::fd::OwnedFd;

use weir_proto::ids::ShardId;
use weir_proto::order::{Order, Report};

/// How the engine is started. Fixed for the life of the process.
#[derive(Clone, Debug)]
pub struct Options {
    /// How many shards, at least 1. Shard `n` is pinned to the n-th CPU that the process may use.
    pub shards: u16,
    /// The most sessions of one shard. `Limits` derives it from RLIMIT_NOFILE.
    pub sessions_max: u32,
    /// False leaves the threads unpinned (several shards on one core, in tests).
    pub pin: bool,
}

/// Why the engine did not start: what failed, and what to do about it.
#[derive(Debug)]
pub struct StartError {
    pub what: String,
    pub hint: String,
}

/// Whether a shard could start here: sets up a ring as a shard would, looks for the operations that
/// it needs, and takes it down again.
///
/// # Errors
/// What is missing, and what to do about it.
pub fn probe() -> Result<(), StartError> {
    Ok(())
}

/// All shards of the process, seen from control.
pub struct Engine {}

impl Engine {
    /// Starts every shard with an empty configuration; they accept nothing until [`Order::Adopt`].
    /// Returns when each has its ring.
    ///
    /// # Errors
    /// io_uring is not to be had, or memory or descriptors ran out.
    pub fn start(_options: &Options) -> Result<Engine, StartError> {
        Ok(Engine {})
    }

    /// How many shards there are.
    #[must_use]
    pub fn shards(&self) -> u16 {
        0
    }

    /// Hands `order` to a shard and wakes it. Never waits.
    ///
    /// # Errors
    /// Gives the order back if the shard's channel is full or its thread is gone.
    pub fn send(&self, _shard: ShardId, order: Order) -> Result<(), Order> {
        Err(order)
    }

    /// The oldest report that has not been taken, of any shard.
    #[must_use]
    pub fn take_report(&self) -> Option<Report> {
        None
    }

    /// A stream socket that becomes readable when there are new reports: read and drop what is in
    /// it, then call [`Engine::take_report`] until it gives `None`. Can be taken once.
    #[must_use]
    pub fn take_bell(&mut self) -> Option<OwnedFd> {
        None
    }

    /// Waits until every shard's thread is gone, after [`Order::Stop`] was sent to each.
    pub fn join(self) {}
}
