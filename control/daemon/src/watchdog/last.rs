//! The end of a process that must not go on, also when its watchdog gets stuck on the way: what
//! the watchdog needs to say why (memory, /proc) may be held by the shard that is stuck.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{self, Thread};
use std::time::Duration;

use crate::rt;

/// A thread that waits to be needed. It was made in good time, and needs nothing when it acts.
#[derive(Debug)]
pub(super) struct LastResort {
    armed: Arc<AtomicBool>,
    thread: Thread,
}

impl LastResort {
    /// Calls `end` this long after it was armed.
    ///
    /// # Errors
    /// There was no thread available.
    pub(super) fn new(
        after: Duration,
        end: impl FnOnce() + Send + 'static,
    ) -> std::io::Result<LastResort> {
        let armed = Arc::<AtomicBool>::default();
        let is_armed = Arc::clone(&armed);
        let run = move || {
            while !is_armed.load(Ordering::Acquire) {
                thread::park();
            }
            let began = rt::now();
            while rt::now() - began < after {
                thread::park_timeout(after);
            }
            end();
        };
        let thread = thread::Builder::new().name("weir-last".to_owned()).spawn(run)?;
        Ok(LastResort { armed, thread: thread.thread().clone() })
    }

    /// There is no way back.
    pub(super) fn arm(&self) {
        self.armed.store(true, Ordering::Release);
        self.thread.unpark();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crossbeam_channel::{RecvTimeoutError, bounded};

    #[test]
    fn it_acts_once_it_is_armed_and_not_before() {
        let (told, ended) = bounded(1);
        let last = LastResort::new(Duration::from_millis(50), move || {
            let _ = told.send(());
        })
        .unwrap();
        last.thread.unpark(); // a thread may wake for nothing
        let early = ended.recv_timeout(Duration::from_millis(200));
        assert_eq!(early, Err(RecvTimeoutError::Timeout));
        let began = rt::now();
        last.arm();
        assert_eq!(ended.recv_timeout(Duration::from_secs(10)), Ok(()));
        assert!(rt::now() - began >= Duration::from_millis(50));
    }
}
