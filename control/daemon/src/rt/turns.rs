//! How long a task holds the control thread: the processor time of each of its turns, from the
//! moment at which the executor gives it the thread to the one at which it gives it back.
//!
//! Processor time, not time of day: what others do on the machine is no fault of a task.

use core::cell::RefCell;
use core::future::{Future, poll_fn};
use core::time::Duration;

use rustix::time::{ClockId, clock_gettime};
use weir_core::base::clock::Now;

/// No turn is to be longer: everybody else on the thread waits for its end.
pub(crate) const HELD_MAX: Duration = Duration::from_millis(20);
/// Turns that are shorter are not in the log of level debug.
const TOLD_MIN: Duration = Duration::from_millis(1);
/// At most one warning in this time.
const QUIET: Duration = Duration::from_mins(1);
/// [`longest`] looks back on one to two of these.
const SPAN: Duration = Duration::from_mins(1);

thread_local! {
    static TURNS: RefCell<Turns> = const { RefCell::new(Turns::new()) };
}

/// Turns of one thread.
#[derive(Debug)]
struct Turns {
    /// The longest one of this span of time, and of the one before.
    longest: Duration,
    before: Duration,
    /// When this span began.
    since: Now,
    warned: Option<Now>,
}

impl Turns {
    const fn new() -> Turns {
        let since = Now { nanos: 0 };
        Turns { longest: Duration::ZERO, before: Duration::ZERO, since, warned: None }
    }

    /// Begins a new span if this one is over.
    fn advance(&mut self, now: Now) {
        let age = now - self.since;
        if age < SPAN {
            return;
        }
        self.before = if age < 2 * SPAN { self.longest } else { Duration::ZERO };
        (self.longest, self.since) = (Duration::ZERO, now);
    }

    /// A turn has ended. True if people are to be warned of it.
    fn ended(&mut self, took: Duration, now: Now) -> bool {
        self.advance(now);
        self.longest = self.longest.max(took);
        let is_quiet = self.warned.is_none_or(|at| now - at >= QUIET);
        let is_due = took > HELD_MAX && is_quiet;
        if is_due {
            self.warned = Some(now);
        }
        is_due
    }
}

/// Runs `future` and measures its turns. `name` says in the log whose they are.
pub(super) fn measured<F: Future>(
    name: &'static str,
    future: F,
) -> impl Future<Output = F::Output> {
    let mut future = Box::pin(future);
    poll_fn(move |context| {
        let before = processor_time();
        let polled = future.as_mut().poll(context);
        note(name, processor_time().saturating_sub(before));
        polled
    })
}

/// The longest turn of this thread's tasks in the last one to two minutes.
pub(crate) fn longest() -> Duration {
    TURNS.with_borrow_mut(|turns| {
        turns.advance(super::now());
        turns.longest.max(turns.before)
    })
}

fn note(name: &'static str, took: Duration) {
    let is_due = TURNS.with_borrow_mut(|turns| turns.ended(took, super::now()));
    let held_us = u64::try_from(took.as_micros()).unwrap_or(u64::MAX);
    if is_due {
        tracing::warn!(task = name, held_us, "control was held for longer than {HELD_MAX:?}");
    } else if took >= TOLD_MIN {
        tracing::debug!(task = name, held_us, "control was held");
    }
}

/// The processor time that this thread has used.
fn processor_time() -> Duration {
    let time = clock_gettime(ClockId::ThreadCPUTime);
    let secs = u64::try_from(time.tv_sec).unwrap_or(0);
    Duration::new(secs, u32::try_from(time.tv_nsec).unwrap_or(0))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(secs: u64) -> Now {
        Now { nanos: secs * 1_000_000_000 }
    }

    #[test]
    fn the_longest_turn_is_remembered_for_one_to_two_minutes() {
        let mut turns = Turns::new();
        let ms = Duration::from_millis;
        turns.ended(ms(7), at(1));
        turns.ended(ms(3), at(2));
        assert_eq!(turns.longest, ms(7));
        turns.ended(ms(1), at(61));
        assert_eq!((turns.longest, turns.before), (ms(1), ms(7)));
        turns.advance(at(122));
        assert_eq!((turns.longest, turns.before), (ms(0), ms(1)));
        turns.ended(ms(9), at(123));
        turns.advance(at(400));
        assert_eq!((turns.longest, turns.before), (ms(0), ms(0)));
    }

    #[test]
    fn people_are_warned_once_a_minute() {
        let mut turns = Turns::new();
        let long = HELD_MAX + Duration::from_nanos(1);
        assert!(!turns.ended(HELD_MAX, at(1)));
        assert!(turns.ended(long, at(2)));
        assert!(!turns.ended(long, at(61)));
        assert!(turns.ended(long, at(62)));
    }

    #[test]
    fn a_turn_is_what_the_task_used_and_not_what_it_waited_for() {
        let ran = super::super::run(|| async {
            super::super::spawn("test", async {
                let began = processor_time();
                while processor_time() - began < Duration::from_millis(5) {}
            });
            super::super::sleep(Duration::from_millis(30)).await;
            longest()
        });
        let longest = ran.unwrap();
        assert!(longest >= Duration::from_millis(5), "{longest:?}");
    }
}
