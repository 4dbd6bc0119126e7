//! Orders in, reports out: two bounded channels that nobody waits on, an eventfd that wakes the
//! shard and a socket that wakes control.

use std::io::{self, Write};
use std::os::fd::{AsRawFd, OwnedFd, RawFd};
use std::os::unix::net::UnixStream;
use std::sync::Arc;

use crossbeam_channel::{Receiver, Sender, TrySendError, bounded};
use weir_proto::order::{Order, Report};

use crate::heartbeat::{self, Heart, Pulse};
use crate::sys::eventfd;

/// Orders that may wait for one shard. Control coalesces beyond it.
const ORDERS_MAX: usize = 1024;
/// Reports of all shards that may wait for control.
const REPORTS_MAX: usize = 8192;

/// Control's end for one shard.
#[derive(Debug)]
pub struct ShardDoor {
    orders: Sender<Order>,
    bell: Arc<OwnedFd>,
    pulse: Pulse,
}

/// The shard's end.
#[derive(Debug)]
pub struct Mailbox {
    orders: Receiver<Order>,
    reporter: Reporter,
    bell: Arc<OwnedFd>,
    heart: Heart,
}

/// The shard's way to report.
#[derive(Debug)]
struct Reporter {
    reports: Sender<Report>,
    control_bell: UnixStream,
}

/// Control's end for the reports of all shards.
#[derive(Debug)]
pub struct Inbox {
    reports: Receiver<Report>,
    sender: Sender<Report>,
    bell_write: UnixStream,
    bell_read: Option<OwnedFd>,
}

impl Inbox {
    /// An inbox with no shard yet.
    ///
    /// # Errors
    /// Descriptors ran out.
    pub fn new() -> io::Result<Inbox> {
        let (sender, reports) = bounded(REPORTS_MAX);
        let (bell_write, bell_read) = UnixStream::pair()?;
        bell_write.set_nonblocking(true)?;
        Ok(Inbox { reports, sender, bell_write, bell_read: Some(bell_read.into()) })
    }

    /// The oldest report.
    #[must_use]
    pub fn take(&self) -> Option<Report> {
        self.reports.try_recv().ok()
    }

    /// See [`crate::Engine::take_bell`].
    pub(crate) fn take_bell(&mut self) -> Option<OwnedFd> {
        self.bell_read.take()
    }

    /// A new pair of ends for one shard.
    ///
    /// # Errors
    /// Descriptors ran out.
    pub fn connect(&self) -> io::Result<(ShardDoor, Mailbox)> {
        let (send, orders) = bounded(ORDERS_MAX);
        let bell = Arc::new(eventfd::new()?);
        let control_bell = self.bell_write.try_clone()?;
        let reporter = Reporter { reports: self.sender.clone(), control_bell };
        let (heart, pulse) = heartbeat::pair(Arc::clone(&bell));
        let door = ShardDoor { orders: send, bell: Arc::clone(&bell), pulse };
        Ok((door, Mailbox { orders, reporter, bell, heart }))
    }
}

impl ShardDoor {
    /// Puts an order into the mailbox and rings.
    ///
    /// # Errors
    /// Gives the order back if the mailbox is full or the shard is gone.
    #[allow(clippy::result_large_err)] // the order itself is what the caller needs back
    pub fn send(&self, order: Order) -> Result<(), Order> {
        match self.orders.try_send(order) {
            Ok(()) => {
                eventfd::ring(&self.bell);
                Ok(())
            }
            Err(TrySendError::Full(order) | TrySendError::Disconnected(order)) => Err(order),
        }
    }

    /// The shard's heartbeat.
    #[must_use]
    pub fn pulse(&self) -> &Pulse {
        &self.pulse
    }

    /// Orders that the shard has not taken yet.
    #[must_use]
    pub fn waiting(&self) -> usize {
        self.orders.len()
    }
}

impl Mailbox {
    /// The eventfd that is rung when there are orders.
    #[must_use]
    pub fn bell(&self) -> RawFd {
        self.bell.as_raw_fd()
    }

    /// Where the shard says that it lives.
    pub(crate) fn heart(&self) -> &Heart {
        &self.heart
    }

    /// The oldest order.
    pub fn take(&mut self) -> Option<Order> {
        self.orders.try_recv().ok()
    }

    /// Reports to control.
    ///
    /// # Errors
    /// Gives the report back if control has fallen behind; try again later.
    // The report itself is what the caller needs back; boxing it would allocate on each.
    #[allow(clippy::result_large_err)]
    pub fn report(&mut self, report: Report) -> Result<(), Report> {
        self.reporter.report(report)
    }

    /// The same end again, for the shard that is built after a panic.
    ///
    /// # Errors
    /// Descriptors ran out.
    pub(crate) fn again(&self) -> io::Result<Mailbox> {
        let control_bell = self.reporter.control_bell.try_clone()?;
        let reporter = Reporter { reports: self.reporter.reports.clone(), control_bell };
        let (orders, bell) = (self.orders.clone(), Arc::clone(&self.bell));
        Ok(Mailbox { orders, reporter, bell, heart: self.heart.clone() })
    }
}

impl Reporter {
    #[allow(clippy::result_large_err)] // as above
    fn report(&mut self, report: Report) -> Result<(), Report> {
        match self.reports.try_send(report) {
            Ok(()) => {
                // A full socket is rung already; a closed one has nobody behind it.
                let _ = self.control_bell.write(&[1]);
                Ok(())
            }
            Err(TrySendError::Full(report)) => Err(report),
            Err(TrySendError::Disconnected(_)) => Ok(()), // nobody is left to be told
        }
    }
}
