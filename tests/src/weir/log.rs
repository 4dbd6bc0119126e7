//! What a weir says, and the one who reads it: who may also stop reading, or leave.

use std::io::{BufRead, BufReader, Read};
use std::os::fd::AsFd;
use std::sync::atomic::{AtomicU8, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

use crate::clock;

/// Bytes that a pipe of the log holds: the smallest one, so that it is soon full.
const PIPE: usize = 4096;

/// What the reader of the log does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Reader {
    Reads,
    /// Holds the pipe and takes nothing out of it.
    StandsStill,
    /// Has closed it.
    Gone,
}

/// What a process said on stdout and stderr.
#[derive(Debug, Default)]
pub(super) struct Log {
    lines: Mutex<Vec<String>>,
    /// A [`Reader`].
    reader: AtomicU8,
    followers: Mutex<Vec<JoinHandle<()>>>,
}

/// How long the last lines of a process that is gone are waited for: they are in the pipe, and only
/// this machine's load keeps them from being read.
const LAST_LINES: Duration = Duration::from_secs(10);

impl Log {
    pub(super) fn text(&self) -> String {
        self.lines.lock().unwrap_or_else(PoisonError::into_inner).join("\n")
    }

    pub(super) fn set(&self, reader: Reader) {
        self.reader.store(reader as u8, Ordering::SeqCst);
    }

    fn is(&self, reader: Reader) -> bool {
        self.reader.load(Ordering::SeqCst) == reader as u8
    }

    /// Collects in a thread of its own, to the end of the process.
    pub(super) fn follow(self: &Arc<Log>, stream: impl Read + AsFd + Send + 'static) {
        let log = Arc::clone(self);
        // A larger one would do, later.
        let _ = rustix::pipe::fcntl_setpipe_size(&stream, PIPE);
        let follower = std::thread::spawn(move || {
            for line in BufReader::new(stream).lines().map_while(Result::ok) {
                log.lines.lock().unwrap_or_else(PoisonError::into_inner).push(line);
                clock::wait_for_ever(|| !log.is(Reader::StandsStill));
                if log.is(Reader::Gone) {
                    return;
                }
            }
        });
        self.followers.lock().unwrap_or_else(PoisonError::into_inner).push(follower);
    }

    /// Waits until everything has been read that a process said before its end.
    pub(super) fn finish(&self) {
        let are_done = || {
            let followers = self.followers.lock().unwrap_or_else(PoisonError::into_inner);
            followers.iter().all(JoinHandle::is_finished).then_some(())
        };
        if self.is(Reader::Reads) {
            let _ = clock::try_wait(LAST_LINES, are_done);
        }
    }
}
