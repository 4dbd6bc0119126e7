//! The session log's own thread: it makes lines of records and writes them. Control hands it
//! records and never waits; what it has no room for is dropped and counted.
//!
//! ```text
//! shard: box ──▶ control ──try_send──▶ weir-sessions: lines ──▶ stderr, a file or journald
//!   │ full: dropped and counted    │ full: the same     └─ refused: the same
//! ```

mod place;

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::thread;

use crossbeam_channel::{Receiver, Sender, TrySendError, bounded, select_biased};
use weir_control_core::session_log::{LineMaker, LoggedSessions, SessionLogSettings};

use crate::log;
use place::LogPlace;

/// Batches of records that may wait: a second of 32 shards.
const BATCHES_MAX: usize = 128;
/// The way to the log, for control.
#[derive(Debug)]
pub(crate) struct SessionLog {
    batches: Sender<LoggedSessions>,
    reopen: Sender<()>,
    counts: Arc<RecordCounts>,
}

/// Records since the start.
#[derive(Debug, Default)]
struct RecordCounts {
    written: AtomicU64,
    dropped: AtomicU64,
    /// Batches that are not written yet.
    waiting: AtomicUsize,
}

impl SessionLog {
    /// Opens the log and starts its thread.
    ///
    /// # Errors
    /// A sentence for the operator: the file cannot be opened, or there is no thread.
    pub(crate) fn start(settings: SessionLogSettings) -> Result<SessionLog, String> {
        let SessionLogSettings { to, format, .. } = settings;
        let place = LogPlace::open(to)?;
        let (batches, from) = bounded(BATCHES_MAX);
        let (reopen, reopens) = bounded(1);
        let counts = Arc::<RecordCounts>::default();
        let writer = LogThread {
            place,
            lines: LineMaker::new(format),
            from,
            reopens,
            counts: Arc::clone(&counts),
            is_refused: false,
        };
        let text = |error: io::Error| format!("the session log cannot have a thread: {error}");
        let run = move || writer.run();
        thread::Builder::new().name("weir-sessions".to_owned()).spawn(run).map_err(text)?;
        Ok(SessionLog { batches, reopen, counts })
    }

    /// Hands over some records. Never waits.
    pub(crate) fn put(&self, logged: LoggedSessions) {
        self.counts.waiting.fetch_add(1, Ordering::AcqRel);
        if let Err(TrySendError::Full(lost) | TrySendError::Disconnected(lost)) =
            self.batches.try_send(logged)
        {
            self.counts.waiting.fetch_sub(1, Ordering::AcqRel);
            self.counts.drop_some(lost.rows.len());
        }
    }

    /// Opens the file again, if it is one: it was moved away.
    pub(crate) fn reopen(&self) {
        let _ = self.reopen.try_send(()); // one that waits will do
    }

    /// Records that were written.
    pub(crate) fn written_total(&self) -> u64 {
        self.counts.written.load(Ordering::Acquire)
    }

    /// Records for which there was no room here, or that could not be written.
    pub(crate) fn dropped_total(&self) -> u64 {
        self.counts.dropped.load(Ordering::Acquire)
    }

    /// Waits until everything is written, a moment at most.
    pub(crate) fn finish(&self) {
        log::wait_for(|| self.counts.waiting.load(Ordering::Acquire) == 0);
    }
}

impl RecordCounts {
    fn drop_some(&self, records: usize) {
        self.dropped.fetch_add(records as u64, Ordering::AcqRel);
    }
}

/// The thread.
struct LogThread {
    place: LogPlace,
    lines: LineMaker,
    from: Receiver<LoggedSessions>,
    reopens: Receiver<()>,
    counts: Arc<RecordCounts>,
    /// The last batch could not be written, and that is in weir's log.
    is_refused: bool,
}

impl LogThread {
    /// Writes until control has gone.
    fn run(mut self) {
        loop {
            select_biased! {
                recv(self.reopens) -> _ => self.reopen(),
                recv(self.from) -> logged => match logged {
                    Ok(logged) => self.batch(logged),
                    Err(_) => return,
                },
            }
        }
    }

    fn batch(&mut self, logged: LoggedSessions) {
        let count = logged.rows.len();
        match self.place.write(&mut self.lines, logged) {
            Ok(()) => {
                self.counts.written.fetch_add(count as u64, Ordering::AcqRel);
                if std::mem::take(&mut self.is_refused) {
                    tracing::info!("the session log is written again");
                }
            }
            Err(refused) => {
                self.counts.drop_some(refused.records.min(count));
                let written = count.saturating_sub(refused.records);
                self.counts.written.fetch_add(written as u64, Ordering::AcqRel);
                if !std::mem::replace(&mut self.is_refused, true) {
                    tracing::warn!("the session log loses records: {}", refused.why);
                }
            }
        }
        self.counts.waiting.fetch_sub(1, Ordering::AcqRel);
    }

    fn reopen(&mut self) {
        match self.place.reopen() {
            Ok(true) => tracing::info!("the session log is opened again"),
            Ok(false) => {}
            Err(why) => tracing::error!("{why}; weir goes on with the file that it has"),
        }
    }
}
