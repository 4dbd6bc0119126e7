//! Sessions that ping all the time, with their backend, on a thread of their own: how those feel
//! who have nothing to do with what a story does.

use std::net::{SocketAddr, TcpListener};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::mpsc::{Sender, channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

use crate::clock;
use crate::crowd::Crowd;
use crate::crowd::guest::Guest;

/// Running pingers; they end when they are dropped.
#[derive(Debug)]
pub struct Pingers {
    begin: Sender<(SocketAddr, usize)>,
    shared: Arc<PingerShared>,
    thread: Option<JoinHandle<()>>,
}

#[derive(Debug, Default)]
struct PingerShared {
    rounds: Mutex<Vec<Duration>>,
    served: AtomicUsize,
    stop: AtomicBool,
}

impl Pingers {
    /// A backend on `listener`; nobody pings yet.
    #[must_use]
    pub fn new(listener: TcpListener) -> Pingers {
        let (begin, wanted) = channel::<(SocketAddr, usize)>();
        let shared = Arc::new(PingerShared::default());
        let seen = Arc::clone(&shared);
        let run = move || {
            let mut crowd = Crowd::new();
            crowd.listen(listener, |_| Guest::server());
            while !seen.stop.load(Ordering::SeqCst) {
                for (to, count) in wanted.try_iter() {
                    for _ in 0..count {
                        crowd.connect(to, None, Guest::pinging());
                    }
                }
                crowd.turn(Duration::from_millis(10));
                let mut rounds = seen.rounds.lock().unwrap_or_else(PoisonError::into_inner);
                for number in 0..crowd.len() {
                    rounds.append(&mut crowd.member(number).rounds);
                }
                let served = crowd.members().filter(|guest| guest.is_served()).count();
                seen.served.store(served, Ordering::SeqCst);
            }
        };
        Pingers { begin, shared, thread: Some(std::thread::spawn(run)) }
    }

    /// `count` clients come to `to` and ping from now on. Waits until each is served.
    ///
    /// # Panics
    /// If one is not.
    pub fn ping(&self, to: SocketAddr, count: usize) {
        let all = self.served() + count;
        let _ = self.begin.send((to, count));
        clock::wait_for("the pingers to be served", || self.served() == all);
    }

    /// How many are served now.
    #[must_use]
    pub fn served(&self) -> usize {
        self.shared.served.load(Ordering::SeqCst)
    }

    /// How long each ping took since the last call.
    #[must_use]
    pub fn take(&self) -> Vec<Duration> {
        let mut rounds = self.shared.rounds.lock().unwrap_or_else(PoisonError::into_inner);
        std::mem::take(&mut *rounds)
    }
}

impl Drop for Pingers {
    fn drop(&mut self) {
        self.shared.stop.store(true, Ordering::SeqCst);
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}
