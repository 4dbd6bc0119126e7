//! The thread that appends, so that control never waits for a sync (ADR 0029).
//!
//! ```text
//! control ──StoreTask::Append──▶ weir-store: write, fsync ──outcome, a byte on the bell──▶ control
//! ```

use std::cell::Cell;
use std::collections::BTreeSet;
use std::io::{self, Write};
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use crossbeam_channel::{Receiver, RecvTimeoutError, Sender, TryRecvError, bounded};
use weir_control_core::record::{Appended, PastVersions, Record, Versions};
use weir_proto::answer::VersionRow;
use weir_proto::ids::Version;

use super::{Reader, Store, supervised};

/// Tasks on their way: an append, of which there is one at a time, the versions in use, which are
/// only told when nothing else is on its way, and the end.
const TASKS_MAX: usize = 3;
/// How often what is to be done between appends is looked at: a storage that is closed since a
/// write failed, versions that are too old, the name of the file.
const TEND_EVERY: Duration = Duration::from_secs(1);
/// News that wait for control; more of them are only in the log.
const NEWS_MAX: usize = 8;

#[derive(Debug)]
enum StoreTask {
    Append(Box<Record>, BTreeSet<u64>),
    InUse(BTreeSet<u64>),
    /// Let another process have the state, and say when it can.
    Lend(Sender<()>),
    /// Have it again, and say what came of that.
    TakeBack(Sender<Result<(), String>>),
    End,
}

/// The thread. Dropping it waits until no append is under way and the file is closed.
#[derive(Debug)]
pub(crate) struct StoreThread {
    tasks: Sender<StoreTask>,
    thread: Option<JoinHandle<()>>,
}

/// Control's way to the thread.
#[derive(Clone, Debug)]
pub(crate) struct Appender {
    tasks: Sender<StoreTask>,
    record: Arc<WriteRecord>,
}

/// How writing goes, for the page of metrics. The thread writes it.
#[derive(Debug, Default)]
struct WriteRecord {
    refuses: AtomicBool,
    failures: AtomicU64,
}

/// The outcomes of appends, for control.
#[derive(Debug)]
pub(crate) struct StoreNews {
    events: Receiver<StoreEvent>,
    is_lost: Cell<bool>,
}

/// One piece of news.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum StoreEvent {
    Appended(Appended),
    /// Something that operators should know.
    Said(String),
    /// The thread has ended. It is the last event.
    Lost,
}

/// A started thread.
pub(crate) struct Started {
    pub(crate) thread: StoreThread,
    pub(crate) appender: Appender,
    /// The durable versions, for reading.
    pub(crate) versions: Box<dyn Versions>,
    pub(crate) news: StoreNews,
    /// Rings for news.
    pub(crate) bell: OwnedFd,
}

impl StoreThread {
    /// Starts the thread, which owns the store from now on. `clock` is Unix time in milliseconds.
    ///
    /// # Errors
    /// There is no thread or no socket available.
    pub(crate) fn start(store: Store, clock: fn() -> u64) -> io::Result<Started> {
        let reader = store.reader();
        let (tasks, inbox) = bounded(TASKS_MAX);
        let (tell, events) = bounded(NEWS_MAX);
        let (bell, heard) = UnixStream::pair()?;
        // An unheard bell must not hold the thread.
        bell.set_nonblocking(true)?;
        let record = Arc::<WriteRecord>::default();
        let kept = record.clone();
        let run = move || {
            work(store, &inbox, (&tell, &kept), (&bell, clock));
            kept.refuses.store(true, Ordering::Relaxed);
            // The end of the bell is read after the end of the news.
            drop(tell);
            drop(bell);
        };
        let thread = thread::Builder::new().name("weir-store".to_owned()).spawn(run)?;
        let appender = Appender { tasks: tasks.clone(), record };
        let news = StoreNews { events, is_lost: Cell::new(false) };
        let thread = StoreThread { tasks, thread: Some(thread) };
        let (versions, bell) = (Box::new(reader), heard.into());
        Ok(Started { thread, appender, versions, news, bell })
    }
}

fn work(
    mut store: Store,
    inbox: &Receiver<StoreTask>,
    (tell, record): (&Sender<StoreEvent>, &WriteRecord),
    (mut bell, clock): (&UnixStream, fn() -> u64),
) {
    store.begin_clock(clock());
    loop {
        record.refuses.store(store.refuses(), Ordering::Relaxed);
        match inbox.recv_timeout(TEND_EVERY) {
            Ok(StoreTask::Append(asked, in_use)) => {
                store.set_in_use(in_use);
                let version = Version(asked.version);
                // A panic in the database is a refusal, too; what it has left is opened again.
                let outcome = supervised(|| store.append(&asked));
                record.refuses.store(store.refuses(), Ordering::Relaxed);
                record.failures.fetch_add(outcome.is_err().into(), Ordering::Relaxed);
                let event = StoreEvent::Appended(Appended { version, outcome });
                if tell.send(event).is_err() {
                    return;
                }
            }
            Ok(StoreTask::Lend(lent)) => {
                store.lend();
                let _ = lent.send(());
            }
            Ok(StoreTask::TakeBack(taken)) => {
                let _ = taken.send(store.take_back());
            }
            Ok(StoreTask::InUse(versions)) => {
                store.set_in_use(versions);
                store.tend(clock());
            }
            // Until it works again nothing can be read, and the next append says why.
            Err(RecvTimeoutError::Timeout) => store.tend(clock()),
            Ok(StoreTask::End) | Err(RecvTimeoutError::Disconnected) => return,
        }
        for text in store.take_news() {
            // It is in the log.
            let _ = tell.try_send(StoreEvent::Said(text));
        }
        if !tell.is_empty() {
            // A full bell has been rung already.
            let _ = bell.write(&[1]);
        }
    }
}

impl Drop for StoreThread {
    fn drop(&mut self) {
        // It may have ended by itself, which control was told.
        let _ = self.tasks.send(StoreTask::End);
        // When control panics the fallback serves on, and must not wait for a disk that hangs.
        if !thread::panicking()
            && let Some(thread) = self.thread.take()
        {
            let _ = thread.join();
        }
    }
}

impl StoreNews {
    /// The next event, if there is one.
    pub(crate) fn next(&self) -> Option<StoreEvent> {
        match self.events.try_recv() {
            Ok(event) => Some(event),
            Err(TryRecvError::Empty) => None,
            Err(TryRecvError::Disconnected) => {
                (!self.is_lost.replace(true)).then_some(StoreEvent::Lost)
            }
        }
    }
}

impl Appender {
    /// False while a version that came now would be refused; looked at once a second.
    pub(crate) fn can_write(&self) -> bool {
        !self.record.refuses.load(Ordering::Relaxed)
    }

    /// Versions that could not be written since the start.
    pub(crate) fn failures(&self) -> u64 {
        self.record.failures.load(Ordering::Relaxed)
    }

    /// Says under which versions sessions live: those are kept. Dropped while the thread is busy:
    /// it is said again.
    pub(crate) fn in_use(&self, versions: BTreeSet<u64>) {
        if self.tasks.is_empty() {
            let _ = self.tasks.try_send(StoreTask::InUse(versions));
        }
    }

    /// Lets another process have the state; waits until it can. To be called on a thread that may
    /// wait, when no append is under way.
    pub(crate) fn lend(&self) {
        let (lent, wait) = bounded(1);
        if self.tasks.send(StoreTask::Lend(lent)).is_ok() {
            // An error: the thread has ended, and has closed it.
            let _ = wait.recv();
        }
    }

    /// Takes the state back; waits for it, as [`Appender::lend`].
    ///
    /// # Errors
    /// Another process has it; the next append tries again.
    pub(crate) fn take_back(&self) -> Result<(), String> {
        let ended = |_| "the thread that writes the state has ended".to_owned();
        let (taken, wait) = bounded(1);
        self.tasks.send(StoreTask::TakeBack(taken)).map_err(|_| ended(()))?;
        wait.recv().map_err(|_| ended(()))?
    }

    /// Begins to add the next version, and does not wait. The news brings its end. Sessions live
    /// under the versions in `in_use`.
    ///
    /// # Errors
    /// The end, if it cannot begin: the thread has ended.
    pub(crate) fn append(&self, record: Record, in_use: BTreeSet<u64>) -> Result<(), Appended> {
        let version = Version(record.version);
        let sent = self.tasks.try_send(StoreTask::Append(record.into(), in_use));
        sent.map_err(|_| {
            let why = "the thread that writes the state has ended".to_owned();
            Appended { version, outcome: Err(why) }
        })
    }
}

impl Versions for Reader {
    fn reader(&self) -> Box<dyn PastVersions> {
        Box::new(self.clone())
    }
}

impl PastVersions for Reader {
    fn history(&self, before: Option<u64>, most: usize) -> Result<Vec<VersionRow>, String> {
        Reader::history(self, before, most)
    }

    fn get(&self, version: u64) -> Result<Option<Record>, String> {
        Reader::get(self, version)
    }

    fn oldest(&self) -> Result<u64, String> {
        Reader::oldest(self)
    }
}

#[cfg(test)]
mod tests;
