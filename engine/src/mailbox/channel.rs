//! What the mailbox is made of: crossbeam's channels, an eventfd, a pair of sockets.

use std::io::{self, Write};
use std::os::fd::{AsRawFd, OwnedFd, RawFd};
use std::os::unix::net::UnixStream;
use std::sync::Arc;

pub(super) use crossbeam_channel::{Receiver, Sender, TrySendError, bounded};

use crate::sys::eventfd;

/// Wakes a shard: an eventfd that its ring reads.
#[derive(Clone, Debug)]
pub(super) struct ShardBell(Arc<OwnedFd>);

impl ShardBell {
    pub(super) fn new() -> io::Result<ShardBell> {
        Ok(ShardBell(Arc::new(eventfd::new()?)))
    }

    pub(super) fn ring(&self) {
        eventfd::ring(&self.0);
    }

    pub(super) fn fd(&self) -> RawFd {
        self.0.as_raw_fd()
    }

    /// For the watchdog, which rings it too.
    pub(super) fn share(&self) -> Arc<OwnedFd> {
        Arc::clone(&self.0)
    }
}

/// Wakes control: one end of a pair of sockets.
#[derive(Debug)]
pub(super) struct ControlBell(UnixStream);

/// The other end: readable when it was rung.
pub(super) type ControlEar = OwnedFd;

impl ControlBell {
    pub(super) fn new() -> io::Result<(ControlBell, ControlEar)> {
        let (write, read) = UnixStream::pair()?;
        write.set_nonblocking(true)?;
        Ok((ControlBell(write), read.into()))
    }

    pub(super) fn fd(&self) -> RawFd {
        self.0.as_raw_fd()
    }

    pub(super) fn again(&self) -> io::Result<ControlBell> {
        Ok(ControlBell(self.0.try_clone()?))
    }

    pub(super) fn ring(&mut self) {
        // A full socket is rung already; a closed one has nobody behind it.
        let _ = self.0.write(&[1]);
    }
}
