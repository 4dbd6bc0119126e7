//! The heartbeat of a shard: plain stores that say where its thread is, and what a watchdog makes
//! of them.
//!
//! ```text
//! shard:    wake ── a turn ── rest ── waits in the ring ── wake ── …      heed, once it was fenced
//! watchdog: beat, task, cpu_ns                                            fence
//! ```
//! One writer for each word, so nothing is ever read, changed and written back.

use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::sync::atomic::{AtomicI32, AtomicU64, Ordering};

use weir_core::base::clock::Now;

#[cfg(debug_assertions)]
use crate::failpoint::{Fault, Where};
use crate::sys::{eventfd, thread};

/// The shard waits for news, however long it takes.
const NEVER: u64 = u64::MAX;

/// What the shard writes: a line of its own, twice the usual size because lines come in pairs.
#[derive(Debug, Default)]
#[repr(align(128))]
struct Own {
    /// Turns, doubled; odd while the shard waits in its ring.
    beat: AtomicU64,
    /// Until when it waits there, in nanoseconds of the monotonic clock; [`NEVER`] for news only.
    due: AtomicU64,
    /// The thread's number in /proc; 0 before it has its ring and after it has ended.
    task: AtomicI32,
    /// The fence that the shard has heeded last.
    heeded: AtomicU64,
}

/// What others write.
#[derive(Debug, Default)]
#[repr(align(128))]
struct Told {
    /// How often the shard's listeners were shut under it.
    fences: AtomicU64,
    /// A fault that a test has asked for.
    #[cfg(debug_assertions)]
    fault: AtomicU64,
}

#[derive(Debug, Default)]
struct Lines {
    own: Own,
    told: Told,
}

/// The shard's end.
#[derive(Clone, Debug)]
pub(crate) struct Heartbeat(Arc<Lines>);

/// The watchdog's end.
#[derive(Clone, Debug)]
pub struct HeartbeatMonitor {
    lines: Arc<Lines>,
    bell: Arc<OwnedFd>,
}

/// Where a shard's thread was.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Beat {
    /// Grows with each turn.
    pub turn: u64,
    /// It waits in its ring.
    pub waits: bool,
    /// Until when, if it waits; `None` for as long as there is no news.
    pub due: Option<Now>,
}

impl Beat {
    /// True if it waits in its ring although it had to come back before `now`.
    #[must_use]
    pub fn is_overdue(self, now: Now) -> bool {
        self.waits && self.due.is_some_and(|due| due < now)
    }
}

/// A pair of ends. `bell` wakes the shard.
pub(crate) fn pair(bell: Arc<OwnedFd>) -> (Heartbeat, HeartbeatMonitor) {
    let lines = Arc::new(Lines::default());
    (Heartbeat(Arc::clone(&lines)), HeartbeatMonitor { lines, bell })
}

impl Heartbeat {
    /// The calling thread is the shard's from now on.
    pub(crate) fn begin(&self) {
        self.0.own.task.store(thread::id(), Ordering::Relaxed);
    }

    /// The thread ends.
    pub(crate) fn end(&self) {
        self.0.own.task.store(0, Ordering::Relaxed);
    }

    /// The shard goes to wait in its ring, until then at most.
    pub(crate) fn rest(&self, until: Option<Now>) {
        self.0.own.due.store(until.map_or(NEVER, |until| until.nanos), Ordering::Relaxed);
        let beat = self.0.own.beat.load(Ordering::Relaxed);
        // Release: who sees that it waits sees until when.
        self.0.own.beat.store(beat | 1, Ordering::Release);
        #[cfg(debug_assertions)]
        self.fail(Where::Resting);
    }

    /// A turn begins.
    pub(crate) fn wake(&self) {
        let beat = self.0.own.beat.load(Ordering::Relaxed);
        self.0.own.beat.store((beat | 1).wrapping_add(1), Ordering::Relaxed);
        #[cfg(debug_assertions)]
        self.fail(Where::Turning);
    }

    /// True if the shard's listeners were shut under it, and it has not heeded that yet.
    pub(crate) fn is_fenced(&self) -> bool {
        is_fenced(&self.0)
    }

    /// True once after each fence: what was shut is to be let go, and new listeners asked for.
    pub(crate) fn heed(&self) -> bool {
        // Acquire: what the watchdog wrote down before the fence is there for whoever hears of it.
        let fences = self.0.told.fences.load(Ordering::Acquire);
        let is_new = fences != self.0.own.heeded.load(Ordering::Relaxed);
        if is_new {
            self.0.own.heeded.store(fences, Ordering::Relaxed);
        }
        is_new
    }

    #[cfg(debug_assertions)]
    fn fail(&self, at: Where) {
        let fault = Fault::unpack(self.0.told.fault.load(Ordering::Acquire));
        if let Some(fault) = fault.filter(|fault| fault.strikes() == at) {
            self.0.told.fault.store(0, Ordering::Relaxed);
            fault.strike();
        }
    }
}

fn is_fenced(lines: &Lines) -> bool {
    lines.told.fences.load(Ordering::Relaxed) != lines.own.heeded.load(Ordering::Relaxed)
}

impl HeartbeatMonitor {
    /// Where the shard is.
    #[must_use]
    pub fn beat(&self) -> Beat {
        let beat = self.lines.own.beat.load(Ordering::Acquire);
        let waits = beat % 2 == 1;
        // One that has woken and rested again meanwhile has a later time.
        let due = self.lines.own.due.load(Ordering::Relaxed);
        let due = (waits && due != NEVER).then_some(Now { nanos: due });
        Beat { turn: beat / 2, waits, due }
    }

    /// The number of the shard's thread in /proc/self/task, while there is one.
    #[must_use]
    pub fn task(&self) -> Option<i32> {
        let task = self.lines.own.task.load(Ordering::Relaxed);
        (task != 0).then_some(task)
    }

    /// Nanoseconds of CPU time that the shard's thread has had.
    #[must_use]
    pub fn cpu_ns(&self) -> Option<u64> {
        self.task().and_then(thread::cpu_ns)
    }

    /// Tells the shard that its listeners were shut. For one watchdog, which shuts them after this:
    /// a shard that sees a shut listener finds out why.
    pub fn fence(&self) {
        let fences = self.lines.told.fences.load(Ordering::Relaxed);
        self.lines.told.fences.store(fences.wrapping_add(1), Ordering::Release);
        eventfd::ring(&self.bell); // it may have gone to wait just now
    }

    /// True until the shard has heeded the last fence.
    #[must_use]
    pub fn is_fenced(&self) -> bool {
        is_fenced(&self.lines)
    }

    /// Makes the shard fail when it wakes, whatever wakes it. Not there in a release build.
    #[cfg(debug_assertions)]
    pub fn prime(&self, fault: Fault) {
        self.lines.told.fault.store(fault.pack(), Ordering::Release);
    }

    /// Makes the shard fail at once.
    #[cfg(debug_assertions)]
    pub fn strike(&self, fault: Fault) {
        self.prime(fault);
        eventfd::ring(&self.bell);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ends() -> (Heartbeat, HeartbeatMonitor) {
        pair(Arc::new(eventfd::new().unwrap()))
    }

    #[test]
    fn a_turn_is_seen_and_so_is_waiting() {
        let (heartbeat, monitor) = ends();
        assert_eq!(monitor.beat(), Beat::default());
        heartbeat.rest(None);
        assert_eq!(monitor.beat(), Beat { turn: 0, waits: true, due: None });
        heartbeat.rest(None);
        heartbeat.wake();
        assert_eq!(monitor.beat(), Beat { turn: 1, waits: false, due: None });
        // The one that is built after a panic goes on counting.
        heartbeat.clone().wake();
        assert_eq!(monitor.beat(), Beat { turn: 2, waits: false, due: None });
    }

    #[test]
    fn one_that_waits_for_longer_than_it_asked_for_is_overdue() {
        let (heartbeat, monitor) = ends();
        let at = |nanos| Now { nanos };
        heartbeat.rest(Some(at(50)));
        assert_eq!(monitor.beat(), Beat { turn: 0, waits: true, due: Some(at(50)) });
        assert_eq!(
            [49, 50, 51].map(|now| monitor.beat().is_overdue(at(now))),
            [false, false, true]
        );
        heartbeat.wake();
        assert!(!monitor.beat().is_overdue(at(51)), "it turns");
        heartbeat.rest(None);
        assert!(!monitor.beat().is_overdue(at(u64::MAX)), "it waits for news");
    }

    #[test]
    fn a_thread_is_known_by_its_number_while_it_lives() {
        let (heartbeat, monitor) = ends();
        assert_eq!((monitor.task(), monitor.cpu_ns()), (None, None));
        heartbeat.begin();
        let before = monitor.cpu_ns().expect("this thread is there");
        assert!((0..10_000).map(std::hint::black_box).sum::<u64>() > 0);
        assert!(monitor.cpu_ns().expect("it still is") > before);
        let path = format!("/proc/self/task/{}/comm", monitor.task().unwrap());
        assert!(std::fs::exists(path).unwrap());
        heartbeat.end();
        assert_eq!(monitor.task(), None);
    }

    #[test]
    fn a_fence_is_heeded_once() {
        let (heartbeat, monitor) = ends();
        assert!(!heartbeat.heed() && !heartbeat.is_fenced());
        monitor.fence();
        assert!(heartbeat.is_fenced() && monitor.is_fenced());
        monitor.fence();
        assert!(heartbeat.heed() && !heartbeat.heed());
        assert!(!heartbeat.is_fenced() && !monitor.is_fenced());
    }
}
