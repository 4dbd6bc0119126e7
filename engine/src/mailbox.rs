//! Orders in, reports out: two bounded channels that nobody waits on, an eventfd that wakes the
//! shard and a socket that wakes control.

#[cfg(not(loom))]
mod channel;
#[cfg(loom)]
#[path = "mailbox/loom_shim.rs"]
mod channel;
mod handoff;
#[cfg(all(test, loom))]
mod loom_tests;

use std::io;
use std::os::fd::{AsFd, BorrowedFd, RawFd};
use std::sync::atomic::{AtomicU32, Ordering};

use weir_proto::bind_address::BindAddress;
use weir_proto::order::{ListenerSocket, Order, Report};

use crate::heartbeat::{self, Heartbeat, HeartbeatMonitor};
use channel::{ControlBell, ControlEar, Receiver, Sender, ShardBell, TrySendError, bounded};
use handoff::{FdReceiver, FdSender, Handed};

/// Orders that may wait for one shard. Control coalesces beyond it.
const ORDERS_MAX: usize = 1024;
/// Reports of all shards that may wait for control.
const REPORTS_MAX: usize = 8192;

/// Control's end for one shard.
#[derive(Debug)]
pub struct ShardHandle {
    orders: Sender<Letter>,
    /// For a shard with a descriptor table of its own.
    fd_sender: Option<FdSender>,
    /// Which shard of this thread orders are for; see [`ShardHandle::address_next`].
    incarnation: AtomicU32,
    bell: ShardBell,
    monitor: HeartbeatMonitor,
}

/// The shard's end.
#[derive(Debug)]
pub struct Mailbox {
    orders: Receiver<Letter>,
    fd_receiver: Option<FdReceiver>,
    /// How many shards of this thread there were before.
    incarnation: u32,
    reporter: Reporter,
    bell: ShardBell,
    heartbeat: Heartbeat,
}

/// An order, and what it says of sockets that come beside it. `incarnation` is which shard of its
/// thread it is for: what was sent to one that has panicked must not reach the next one, which has
/// another snapshot to begin with.
#[derive(Debug)]
struct Letter {
    incarnation: u32,
    order: Order,
    beside: Option<Beside>,
}

/// Sockets that come beside an order.
#[derive(Debug)]
enum Beside {
    /// Those of these addresses.
    Listeners(Handed, Vec<BindAddress>),
    Channel(Handed),
}

/// The shard's way to report.
#[derive(Debug)]
struct Reporter {
    reports: Sender<Report>,
    control_bell: ControlBell,
}

/// Control's end for the reports of all shards.
#[derive(Debug)]
pub struct Inbox {
    reports: Receiver<Report>,
    sender: Sender<Report>,
    bell: ControlBell,
    ear: Option<ControlEar>,
    orders_max: usize,
}

impl Inbox {
    /// An inbox with no shard yet.
    ///
    /// # Errors
    /// Descriptors ran out.
    pub fn new() -> io::Result<Inbox> {
        Inbox::sized(ORDERS_MAX, REPORTS_MAX)
    }

    /// An inbox for N orders of each shard and reports of all: small ones are often full.
    ///
    /// # Errors
    /// Descriptors ran out.
    pub fn sized(orders_max: usize, reports_max: usize) -> io::Result<Inbox> {
        let (sender, reports) = bounded(reports_max);
        let (bell, ear) = ControlBell::new()?;
        Ok(Inbox { reports, sender, bell, ear: Some(ear), orders_max })
    }

    /// The oldest report.
    #[must_use]
    pub fn take(&self) -> Option<Report> {
        self.reports.try_recv().ok()
    }

    /// True if no report waits. For the simulator.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.sender.len() == 0
    }

    /// See [`crate::Engine::take_bell`].
    pub(crate) fn take_bell(&mut self) -> Option<ControlEar> {
        self.ear.take()
    }

    /// A new pair of ends for one shard.
    ///
    /// # Errors
    /// Descriptors ran out.
    pub fn connect(&self) -> io::Result<(ShardHandle, Mailbox)> {
        let (send, orders) = bounded(self.orders_max);
        let bell = ShardBell::new()?;
        let control_bell = self.bell.again()?;
        let reporter = Reporter { reports: self.sender.clone(), control_bell };
        let (heartbeat, monitor) = heartbeat::pair(bell.share());
        let incarnation = AtomicU32::new(0);
        let handle =
            ShardHandle { orders: send, fd_sender: None, incarnation, bell: bell.clone(), monitor };
        Ok((
            handle,
            Mailbox { orders, incarnation: 0, fd_receiver: None, reporter, bell, heartbeat },
        ))
    }

    /// The same for a shard that will have a descriptor table of its own.
    ///
    /// # Errors
    /// Descriptors ran out.
    pub(crate) fn connect_apart(&self) -> io::Result<(ShardHandle, Mailbox)> {
        let (mut handle, mut mailbox) = self.connect()?;
        let (fd_sender, fd_receiver) = handoff::pair()?;
        (handle.fd_sender, mailbox.fd_receiver) = (Some(fd_sender), Some(fd_receiver));
        Ok((handle, mailbox))
    }
}

impl ShardHandle {
    /// Puts an order into the mailbox and rings.
    ///
    /// # Errors
    /// Gives the order back if the mailbox is full or the shard is gone.
    #[allow(clippy::result_large_err)] // the order itself is what the caller needs back
    pub fn send(&self, order: Order) -> Result<(), Order> {
        // Nobody else sends: a channel that has room now has room in a moment.
        if self.orders.is_full() {
            return Err(order);
        }
        let Some(fd_sender) = &self.fd_sender else { return self.post(order, None) };
        let given = match &order {
            Order::Adopt { sockets, .. } if !sockets.is_empty() => {
                let some: Vec<BorrowedFd<'_>> =
                    sockets.iter().map(|it| it.socket.as_fd()).collect();
                let addresses = sockets.iter().map(|it| it.address).collect();
                fd_sender.give(&some).map(|handed| Some(Beside::Listeners(handed, addresses)))
            }
            Order::Give { channel: Some(channel), .. } | Order::Take { channel: Some(channel) } => {
                fd_sender.give(&[channel.as_fd()]).map(|handed| Some(Beside::Channel(handed)))
            }
            _ => Ok(None),
        };
        match given {
            Ok(beside) => self.post(bare(order), beside),
            Err(_) => Err(order),
        }
    }

    #[allow(clippy::result_large_err)] // as above
    fn post(&self, order: Order, beside: Option<Beside>) -> Result<(), Order> {
        let incarnation = self.incarnation.load(Ordering::Relaxed); // only control changes it
        match self.orders.try_send(Letter { incarnation, order, beside }) {
            Ok(()) => {
                self.bell.ring();
                Ok(())
            }
            Err(TrySendError::Full(letter) | TrySendError::Disconnected(letter)) => {
                Err(letter.order)
            }
        }
    }

    /// The shard's heartbeat.
    #[must_use]
    pub fn monitor(&self) -> &HeartbeatMonitor {
        &self.monitor
    }

    /// The shard has ended and was built again: orders are for the new one from now on, and what
    /// the one before has not taken is dropped. To be called once for each shard that was built
    /// after a panic, and not for one that only turns again after a fence.
    pub fn address_next(&self) {
        let incarnation = self.incarnation.load(Ordering::Relaxed);
        self.incarnation.store(incarnation + 1, Ordering::Relaxed); // only control changes it
    }

    /// Orders that the shard has not taken yet.
    #[must_use]
    pub fn waiting(&self) -> usize {
        self.orders.len()
    }
}

/// The order without its sockets: their numbers mean nothing in the shard's table, and what was
/// sent lives on there.
fn bare(order: Order) -> Order {
    match order {
        Order::Adopt { snapshot, health, .. } => {
            Order::Adopt { snapshot, sockets: Vec::new(), health }
        }
        Order::Give { most, .. } => Order::Give { channel: None, most },
        Order::Take { .. } => Order::Take { channel: None },
        order => order,
    }
}

impl Mailbox {
    /// The eventfd that is rung when there are orders.
    #[must_use]
    pub fn bell(&self) -> RawFd {
        self.bell.fd()
    }

    /// Where the shard says that it lives.
    pub(crate) fn heartbeat(&self) -> &Heartbeat {
        &self.heartbeat
    }

    /// The oldest order that is for this shard.
    pub fn take(&mut self) -> Option<Order> {
        loop {
            let Letter { incarnation, order, beside } = self.orders.try_recv().ok()?;
            let order = self.with_own(order, beside);
            // The sockets of one that is for another shard are closed with it.
            if incarnation == self.incarnation
                && let Some(order) = order
            {
                return Some(order);
            }
        }
    }

    /// The order with the sockets that came to this shard's table; `None`: it has no place for a
    /// channel, which is closed then.
    fn with_own(&self, order: Order, beside: Option<Beside>) -> Option<Order> {
        let take = |handed| self.fd_receiver.as_ref().map(|it| it.take(handed)).unwrap_or_default();
        let channel = |handed| Some(take(handed).pop()?.1);
        Some(match (order, beside) {
            (Order::Adopt { snapshot, health, .. }, Some(Beside::Listeners(handed, addresses))) => {
                let named = |(place, socket)| ListenerSocket { address: addresses[place], socket };
                let sockets = take(handed).into_iter().map(named).collect();
                Order::Adopt { snapshot, sockets, health }
            }
            (Order::Give { most, .. }, Some(Beside::Channel(handed))) => {
                Order::Give { channel: Some(channel(handed)?), most }
            }
            (Order::Take { .. }, Some(Beside::Channel(handed))) => {
                Order::Take { channel: Some(channel(handed)?) }
            }
            (order, _) => order,
        })
    }

    /// The descriptors that the shard needs of those that were opened before it had its own table.
    pub(crate) fn descriptors(&self) -> Vec<RawFd> {
        let fd_receiver = self.fd_receiver.as_ref().map(FdReceiver::fd);
        [self.bell(), self.reporter.control_bell.fd()].into_iter().chain(fd_receiver).collect()
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

    /// The end for the shard that is built after this one has panicked.
    ///
    /// # Errors
    /// Descriptors ran out.
    pub fn again(&self) -> io::Result<Mailbox> {
        let control_bell = self.reporter.control_bell.again()?;
        let reporter = Reporter { reports: self.reporter.reports.clone(), control_bell };
        let (orders, bell) = (self.orders.clone(), self.bell.clone());
        let fd_receiver = self.fd_receiver.clone();
        let (incarnation, heartbeat) = (self.incarnation + 1, self.heartbeat.clone());
        Ok(Mailbox { orders, incarnation, fd_receiver, reporter, bell, heartbeat })
    }
}

impl Reporter {
    #[allow(clippy::result_large_err)] // as above
    fn report(&mut self, report: Report) -> Result<(), Report> {
        match self.reports.try_send(report) {
            Ok(()) => {
                self.control_bell.ring();
                Ok(())
            }
            Err(TrySendError::Full(report)) => Err(report),
            Err(TrySendError::Disconnected(_)) => Ok(()), // nobody is left to be told
        }
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;

    #[test]
    fn what_was_sent_to_one_that_panicked_does_not_reach_the_next() {
        let inbox = Inbox::sized(8, 8).unwrap();
        let (handle, mailbox) = inbox.connect().unwrap();
        handle.send(Order::Drain).unwrap();
        let mut next = mailbox.again().unwrap();
        drop(mailbox);
        // Control has not heard of it yet.
        handle.send(Order::Health(Vec::new())).unwrap();
        handle.address_next();
        handle.send(Order::Stop).unwrap();
        assert!(matches!(next.take(), Some(Order::Stop)));
        assert!(next.take().is_none());
    }

    #[test]
    fn a_small_mailbox_is_soon_full() {
        let inbox = Inbox::sized(1, 1).unwrap();
        let (handle, mut mailbox) = inbox.connect().unwrap();
        handle.send(Order::Drain).unwrap();
        assert!(matches!(handle.send(Order::Stop), Err(Order::Stop)));
        assert!(matches!(mailbox.take(), Some(Order::Drain)));
        handle.send(Order::Stop).unwrap();
    }
}
