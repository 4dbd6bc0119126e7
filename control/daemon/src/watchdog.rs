//! The watchdog: a thread of its own that looks whether each shard still turns, shuts the listeners
//! of one that does not, and ends the process if that does not help.
//!
//! Not a task of control: control waits for the disk when a change is made, and it may be the one
//! that has died. The fence is all that cannot wait, and it needs nobody but this thread.

mod dump;
mod last;
mod stall_detector;
mod supervised;

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::Duration;

use crossbeam_channel::{Receiver, RecvTimeoutError};
use weir_core::base::clock::Now;
use weir_engine::heartbeat::HeartbeatMonitor;
use weir_proto::order::ListenerSocket;

use crate::rt;
use last::LastResort;
use stall_detector::{Observation, StallDetector, StallVerdict};
pub(crate) use supervised::{Newest, SupervisedEngine};
use weir_control_core::control::ShardHistory;

/// Between two looks.
const STEP: Duration = Duration::from_millis(25);
/// Control is said to be silent after this long without a tick.
const SILENT_AFTER: Duration = Duration::from_secs(5);

/// What is to be said before the process is aborted may take this long.
const LAST_AFTER: Duration = Duration::from_secs(3);

/// One shard, as far as the watchdog is concerned.
#[derive(Debug)]
struct ShardEntry {
    monitor: HeartbeatMonitor,
    retained: Mutex<Retained>,
}

#[derive(Debug, Default)]
struct Retained {
    watched: ShardHistory,
    /// The shard's listening sockets once more: shutdown(2) acts on the socket, whoever holds it.
    sockets: Vec<ListenerSocket>,
}

/// What the watchdog shares with control. Locked for a moment at a time, never by a shard.
#[derive(Debug)]
pub(crate) struct WatchdogState {
    posts: Vec<ShardEntry>,
    control: Mutex<Option<(i32, Now)>>,
}

impl WatchdogState {
    fn new(monitors: Vec<HeartbeatMonitor>) -> WatchdogState {
        let post = |monitor| ShardEntry { monitor, retained: Mutex::default() };
        WatchdogState { posts: monitors.into_iter().map(post).collect(), control: Mutex::default() }
    }

    /// Control's thread says that it lives.
    fn control_ticks(&self, now: Now) {
        let task = rustix::thread::gettid().as_raw_nonzero().get();
        *lock(&self.control) = Some((task, now));
    }
}

impl ShardEntry {
    /// Shuts the listeners, so that the other shards get the new clients and, where
    /// `tcp_migrate_req` is 1, those that wait.
    fn fence(&self) -> usize {
        let mut retained = lock(&self.retained);
        retained.watched.fences += 1; // before the shard can know
        self.monitor.fence();
        let sockets = std::mem::take(&mut retained.sockets);
        for ListenerSocket { socket, .. } in &sockets {
            // ENOTCONN: the shard itself has shut it meanwhile.
            let _ = rustix::net::shutdown(socket, rustix::net::Shutdown::Read);
        }
        sockets.len()
    }
}

/// Whoever held it when it panicked left a list or a count, and both are whole at any time.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Starts the thread. It ends when the other end of `end` is dropped.
fn start(board: Arc<WatchdogState>, end: Receiver<()>) -> std::io::Result<()> {
    let last = LastResort::new(LAST_AFTER, || std::process::abort())?;
    let run = move || {
        let mut judges = vec![StallDetector::default(); board.posts.len()];
        let mut silent = false;
        while end.recv_timeout(STEP) == Err(RecvTimeoutError::Timeout) {
            look(&board, &mut judges, &last);
            look_at_control(&board, &mut silent);
        }
    };
    thread::Builder::new().name("weir-watchdog".to_owned()).spawn(run).map(drop)
}

fn look(board: &WatchdogState, judges: &mut [StallDetector], last: &LastResort) {
    for (number, (post, stall_detector)) in board.posts.iter().zip(judges).enumerate() {
        let (beat, now) = (post.monitor.beat(), rt::now());
        let seen = if stall_detector.is_news(beat, now) {
            Observation { beat, activity: None } // what most looks see: nothing more has to be read
        } else {
            let activity = post.monitor.task().zip(post.monitor.cpu_ns());
            Observation { beat, activity: activity.map(|(task, cpu)| (dump::state(task), cpu)) }
        };
        let Some(verdict) = stall_detector.look(seen, now) else { continue };
        let stuck = stall_detector.stuck();
        let what = if beat.waits { "is late in its ring by" } else { "has made no turn for" };
        match verdict {
            StallVerdict::Warn => {
                lock(&post.retained).watched.stuck += 1;
                tracing::warn!("shard {number} {what} {stuck:?}");
            }
            StallVerdict::Fence if others_serve(board, number) => {
                let listeners = post.fence();
                tracing::error!(
                    "shard {number} {what} {stuck:?}: its {listeners} listeners are shut, the \
                     other shards take its clients\n{}",
                    dump::thread(post.monitor.task())
                );
            }
            // Its clients would be refused where now they wait.
            StallVerdict::Fence => tracing::error!(
                "shard {number} {what} {stuck:?}; no other shard could take its clients\n{}",
                dump::thread(post.monitor.task())
            ),
            StallVerdict::Recovered => {
                tracing::info!("shard {number} turns again, after {stuck:?}")
            }
            StallVerdict::Abort => {
                last.arm(); // whatever keeps this thread from reaching the abort
                tracing::error!(
                    "shard {number} {what} {stuck:?}: ending the process\n{}",
                    dump::all()
                );
                std::process::abort();
            }
        }
    }
}

/// True if some other shard has its thread and its listeners.
fn others_serve(board: &WatchdogState, number: usize) -> bool {
    let mut others = board.posts.iter().enumerate().filter(|(other, _)| *other != number);
    others.any(|(_, post)| post.monitor.task().is_some() && !post.monitor.is_fenced())
}

fn look_at_control(board: &WatchdogState, silent: &mut bool) {
    let Some((task, since)) = *lock(&board.control) else { return };
    let is_silent = rt::now() - since >= SILENT_AFTER;
    if is_silent && !*silent {
        let thread = dump::thread(Some(task));
        tracing::error!(
            "the control thread has not ticked for {SILENT_AFTER:?}; traffic goes on\n{thread}"
        );
    } else if !is_silent && *silent {
        tracing::info!("the control thread ticks again");
    }
    *silent = is_silent;
}
