//! What the mailbox is made of under loom: the same calls, on loom's mutexes.
//!
//! crossbeam's channel cannot run under loom, so a queue behind a mutex stands for it: each of its
//! calls happens at one moment. The bells stand for the kernel: an eventfd that counts, a socket
//! that is full at once. What is checked is mailbox.rs, which joins them; not crossbeam, and not
//! the kernel.

use std::collections::VecDeque;
use std::io;
use std::os::fd::{AsRawFd, OwnedFd, RawFd};

use loom::sync::{Arc, Condvar, Mutex};

use crate::sys::eventfd;

#[derive(Debug)]
struct Channel<T> {
    queue: VecDeque<T>,
    capacity: usize,
    senders: usize,
    receivers: usize,
}

#[derive(Debug)]
pub(super) struct Sender<T>(Arc<Mutex<Channel<T>>>);

#[derive(Debug)]
pub(super) struct Receiver<T>(Arc<Mutex<Channel<T>>>);

#[derive(Debug)]
pub(super) enum TrySendError<T> {
    Full(T),
    Disconnected(T),
}

pub(super) fn bounded<T>(capacity: usize) -> (Sender<T>, Receiver<T>) {
    let channel = Channel { queue: VecDeque::new(), capacity, senders: 1, receivers: 1 };
    let channel = Arc::new(Mutex::new(channel));
    (Sender(Arc::clone(&channel)), Receiver(channel))
}

impl<T> Sender<T> {
    pub(super) fn try_send(&self, value: T) -> Result<(), TrySendError<T>> {
        let mut channel = self.0.lock().unwrap();
        if channel.receivers == 0 {
            return Err(TrySendError::Disconnected(value));
        }
        if channel.queue.len() == channel.capacity {
            return Err(TrySendError::Full(value));
        }
        channel.queue.push_back(value);
        Ok(())
    }

    pub(super) fn is_full(&self) -> bool {
        let channel = self.0.lock().unwrap();
        channel.queue.len() == channel.capacity
    }

    pub(super) fn len(&self) -> usize {
        self.0.lock().unwrap().queue.len()
    }
}

impl<T> Receiver<T> {
    pub(super) fn try_recv(&self) -> Result<T, ()> {
        self.0.lock().unwrap().queue.pop_front().ok_or(())
    }
}

impl<T> Clone for Sender<T> {
    fn clone(&self) -> Sender<T> {
        self.0.lock().unwrap().senders += 1;
        Sender(Arc::clone(&self.0))
    }
}

impl<T> Clone for Receiver<T> {
    fn clone(&self) -> Receiver<T> {
        self.0.lock().unwrap().receivers += 1;
        Receiver(Arc::clone(&self.0))
    }
}

impl<T> Drop for Sender<T> {
    fn drop(&mut self) {
        self.0.lock().unwrap().senders -= 1;
    }
}

impl<T> Drop for Receiver<T> {
    fn drop(&mut self) {
        let mut channel = self.0.lock().unwrap();
        channel.receivers -= 1;
        if channel.receivers == 0 {
            channel.queue.clear(); // as crossbeam does
        }
    }
}

/// A count, and somebody who waits for it.
#[derive(Clone, Debug)]
struct Bell(Arc<(Mutex<u64>, Condvar)>);

impl Bell {
    fn new() -> Bell {
        Bell(Arc::new((Mutex::new(0), Condvar::new())))
    }

    fn ring(&self) {
        *self.0.0.lock().unwrap() += 1;
        self.0.1.notify_one();
    }

    /// Takes all rings, if there are any.
    fn take(&self) -> bool {
        std::mem::take(&mut *self.0.0.lock().unwrap()) > 0
    }

    /// Waits until it was rung, and takes all rings.
    fn wait(&self) {
        let mut count = self.0.0.lock().unwrap();
        while *count == 0 {
            count = self.0.1.wait(count).unwrap();
        }
        *count = 0;
    }
}

/// The eventfd is there for the watchdog only; loom does not see it.
#[derive(Clone, Debug)]
pub(super) struct ShardBell(Bell, std::sync::Arc<OwnedFd>);

impl ShardBell {
    pub(super) fn new() -> io::Result<ShardBell> {
        Ok(ShardBell(Bell::new(), std::sync::Arc::new(eventfd::new()?)))
    }

    pub(super) fn ring(&self) {
        self.0.ring();
    }

    /// The ring's part: it reads the eventfd.
    pub(super) fn wait(&self) {
        self.0.wait();
    }

    pub(super) fn take(&self) -> bool {
        self.0.take()
    }

    pub(super) fn fd(&self) -> RawFd {
        self.1.as_raw_fd()
    }

    pub(super) fn share(&self) -> std::sync::Arc<OwnedFd> {
        std::sync::Arc::clone(&self.1)
    }
}

#[derive(Debug)]
pub(super) struct ControlBell(Bell);

#[derive(Debug)]
pub(crate) struct ControlEar(Bell);

impl ControlBell {
    pub(super) fn new() -> io::Result<(ControlBell, ControlEar)> {
        let bell = Bell::new();
        Ok((ControlBell(bell.clone()), ControlEar(bell)))
    }

    pub(super) fn fd(&self) -> RawFd {
        -1
    }

    pub(super) fn again(&self) -> io::Result<ControlBell> {
        Ok(ControlBell(self.0.clone()))
    }

    pub(super) fn ring(&mut self) {
        self.0.ring();
    }
}

impl ControlEar {
    pub(super) fn wait(&self) {
        self.0.wait();
    }
}
