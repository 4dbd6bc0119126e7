//! Is a shard stuck? Pure: what was seen and the time are arguments.

use std::time::Duration;

use weir_core::base::clock::Now;
use weir_engine::heartbeat::Beat;

/// A turn that takes longer, or a wait that is late by so much, is worth a line in the log.
pub(super) const WARN_AFTER: Duration = Duration::from_millis(100);
/// A shard whose turn takes longer must not draw new clients.
const FENCE_AFTER: Duration = Duration::from_millis(500);
/// A turn that takes longer does not end: whoever started weir starts it again.
const ABORT_AFTER: Duration = Duration::from_secs(30);
/// At most this much of the time between two looks counts, unless the shard has computed for it:
/// a watchdog that was itself retained from looking knows nothing of the time between.
const LOOK_MAX: Duration = Duration::from_millis(100);

/// What a thread was seen doing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum ThreadState {
    /// On a CPU, or ready for one.
    Runs,
    /// Asleep or in the kernel.
    Sleeps,
    /// Stopped by a signal or a debugger, or gone.
    Stopped,
}

/// One look at a shard.
#[derive(Clone, Copy, Debug)]
pub(super) struct Observation {
    pub(super) beat: Beat,
    /// The state of its thread and its CPU time in nanoseconds; `None` if they were not looked at,
    /// or there is no thread.
    pub(super) activity: Option<(ThreadState, u64)>,
}

/// What is to be done about a shard. Each is said once for one stuck turn.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum StallVerdict {
    Warn,
    Fence,
    Abort,
    /// It turns again, after a warning.
    Recovered,
}

/// How one shard has been doing.
#[derive(Clone, Debug, Default)]
pub(super) struct StallDetector {
    beat: Beat,
    looked: Now,
    cpu_ns: Option<u64>,
    /// For how long it could have made a turn and did not: the CPU time that it used, and the time
    /// that it slept outside of its ring, or inside it beyond the time that it had asked for. Time
    /// in which it was ready and others had the CPU is not its own fault: on a small machine, or
    /// one whose host takes the CPU away, that is everyday.
    stuck: Duration,
    said: Option<StallVerdict>,
}

impl StallDetector {
    /// True if this beat alone shows that the shard is well.
    pub(super) fn is_news(&self, beat: Beat, now: Now) -> bool {
        beat != self.beat || (beat.waits && !beat.is_overdue(now))
    }

    /// For how long the turn of the last look has been stuck.
    pub(super) fn stuck(&self) -> Duration {
        Duration::from_millis(u64::try_from(self.stuck.as_millis()).unwrap_or(u64::MAX))
    }

    /// Judges what was seen at `now`.
    pub(super) fn look(&mut self, seen: Observation, now: Now) -> Option<StallVerdict> {
        let since = now - self.looked;
        self.looked = now;
        if self.is_news(seen.beat, now) {
            self.beat = seen.beat;
            self.cpu_ns = None;
            let was = self.said.take();
            if was.is_none() {
                self.stuck = Duration::ZERO;
            }
            return was.map(|_| StallVerdict::Recovered);
        }
        if self.said.is_none() && self.cpu_ns.is_none() {
            self.stuck = Duration::ZERO; // the turn's first look: the one before saw another turn
        }
        let (state, cpu_ns) = seen.activity?;
        let before = self.cpu_ns.replace(cpu_ns);
        let computed = Duration::from_nanos(before.map_or(0, |it| cpu_ns.saturating_sub(it)));
        self.stuck += match state {
            ThreadState::Runs | ThreadState::Stopped => computed,
            // Nobody knows when its time came, and this thread was perhaps retained from looking
            // since.
            ThreadState::Sleeps if seen.beat.waits && before.is_none() => Duration::ZERO,
            ThreadState::Sleeps => computed.max(since.min(LOOK_MAX)),
        };
        let verdict = if self.stuck >= ABORT_AFTER {
            StallVerdict::Abort
        } else if self.stuck >= FENCE_AFTER {
            StallVerdict::Fence
        } else if self.stuck >= WARN_AFTER {
            StallVerdict::Warn
        } else {
            return None;
        };
        // A warning goes before a fence, however long a look took.
        let next = match (self.said, verdict) {
            (None, _) => StallVerdict::Warn,
            (Some(StallVerdict::Warn), StallVerdict::Fence | StallVerdict::Abort) => {
                StallVerdict::Fence
            }
            (Some(StallVerdict::Fence), StallVerdict::Abort) => StallVerdict::Abort,
            _ => return None,
        };
        self.said = Some(next);
        Some(next)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const AWAKE: Beat = Beat { turn: 7, waits: false, due: None };
    const WAITS: Beat = Beat { turn: 7, waits: true, due: None };

    /// Looks at a shard every 25 ms that stays in one turn; `each` gives its state and the CPU
    /// milliseconds that it used since the look before. When what was said.
    fn looks(count: u64, each: impl Fn(u64) -> (ThreadState, u64)) -> Vec<(u64, StallVerdict)> {
        let mut stall_detector = StallDetector::default();
        let mut cpu_ms = 1_000;
        let mut said = Vec::new();
        for look in 0..count {
            let (state, used_ms) = each(look);
            cpu_ms += used_ms;
            let seen = Observation { beat: AWAKE, activity: Some((state, cpu_ms * 1_000_000)) };
            let now = Now { nanos: (100 + look) * 25_000_000 };
            said.extend(stall_detector.look(seen, now).map(|verdict| (look * 25, verdict)));
        }
        said
    }

    #[test]
    fn a_shard_that_computes_is_warned_of_then_fenced_then_the_end() {
        let said = looks(1_300, |_| (ThreadState::Runs, 25));
        let expected =
            [(125, StallVerdict::Warn), (525, StallVerdict::Fence), (30_025, StallVerdict::Abort)];
        assert_eq!(said, expected);
    }

    #[test]
    fn a_shard_that_sleeps_outside_of_its_ring_too() {
        let said = looks(1_300, |_| (ThreadState::Sleeps, 0));
        assert_eq!(
            said,
            [(100, StallVerdict::Warn), (500, StallVerdict::Fence), (30_000, StallVerdict::Abort)]
        );
    }

    #[test]
    fn a_shard_that_gets_no_cpu_is_not_stuck_and_one_that_gets_half_is_stuck_later() {
        assert_eq!(looks(4_000, |_| (ThreadState::Runs, 0)), []);
        assert_eq!(looks(4_000, |_| (ThreadState::Stopped, 0)), []);
        let said = looks(60, |look| (ThreadState::Runs, look % 2 * 25));
        assert_eq!(said, [(225, StallVerdict::Warn), (1_025, StallVerdict::Fence)]);
    }

    /// Looks every 25 ms at a shard that waits in its ring until 10 s and longer; milliseconds
    /// after that, and what was said.
    fn late(count: u64, state: ThreadState, used_ms: u64) -> Vec<(u64, StallVerdict)> {
        let at = |ms: u64| Now { nanos: ms * 1_000_000 };
        let beat = Beat { due: Some(at(10_000)), ..WAITS };
        let mut stall_detector = StallDetector::default();
        let mut said = Vec::new();
        for look in 0..400 + count {
            let seen = Observation { beat, activity: Some((state, look * used_ms * 1_000_000)) };
            let verdict = stall_detector.look(seen, at(look * 25));
            said.extend(verdict.map(|verdict| ((look * 25).saturating_sub(10_000), verdict)));
        }
        said
    }

    #[test]
    fn a_shard_that_is_late_in_its_ring_is_stuck_by_the_clock() {
        // The first look behind 10 s only notes it.
        let said = late(1_300, ThreadState::Sleeps, 0);
        assert_eq!(
            said,
            [(125, StallVerdict::Warn), (525, StallVerdict::Fence), (30_025, StallVerdict::Abort)]
        );
        let said = late(60, ThreadState::Runs, 25);
        assert_eq!(said, [(125, StallVerdict::Warn), (525, StallVerdict::Fence)]);
        // It is ready and others have the CPU; or it is stopped.
        assert_eq!(late(4_000, ThreadState::Runs, 0), []);
        assert_eq!(late(4_000, ThreadState::Stopped, 0), []);
    }

    #[test]
    fn one_whose_time_came_while_the_machine_stood_still_is_not_late() {
        let mut stall_detector = StallDetector::default();
        let beat = Beat { due: Some(Now { nanos: 1_000 }), ..WAITS };
        let seen = Observation { beat, activity: Some((ThreadState::Sleeps, 0)) };
        assert_eq!(stall_detector.look(seen, Now { nanos: 500 }), None);
        assert_eq!(stall_detector.look(seen, Now { nanos: 3_600_000_000_000 }), None);
        assert_eq!(stall_detector.stuck(), Duration::ZERO);
        let turns = Observation { beat: Beat { turn: 8, ..AWAKE }, activity: None };
        assert_eq!(stall_detector.look(turns, Now { nanos: 3_600_025_000_000 }), None);
    }

    #[test]
    fn turns_and_waiting_are_well() {
        let mut stall_detector = StallDetector::default();
        for look in 0..1_000 {
            let now = Now { nanos: look * 90_000_000 };
            let seen = Observation { beat: Beat { turn: look, ..AWAKE }, activity: None };
            assert_eq!(stall_detector.look(seen, now), None);
        }
        for look in 1_000..2_000 {
            let now = Now { nanos: look * 90_000_000 };
            let activity = Some((ThreadState::Sleeps, 5));
            assert_eq!(stall_detector.look(Observation { beat: WAITS, activity }, now), None);
        }
    }

    #[test]
    fn a_watchdog_that_was_away_does_not_count_the_time() {
        let mut stall_detector = StallDetector::default();
        let sleeps = Observation { beat: AWAKE, activity: Some((ThreadState::Sleeps, 0)) };
        assert_eq!(stall_detector.look(sleeps, Now { nanos: 0 }), None);
        // SIGSTOP for an hour.
        let now = Now { nanos: 3_600_000_000_000 };
        assert_eq!(stall_detector.look(sleeps, now), Some(StallVerdict::Warn));
        assert_eq!(stall_detector.stuck(), LOOK_MAX);
    }

    #[test]
    fn who_turns_again_begins_anew() {
        let mut stall_detector = StallDetector::default();
        let stuck = |turn, cpu_ms: u64| Observation {
            beat: Beat { turn, ..AWAKE },
            activity: Some((ThreadState::Runs, cpu_ms * 1_000_000)),
        };
        let mut at = 0;
        let mut look = |stall_detector: &mut StallDetector, seen| {
            at += 25_000_000;
            stall_detector.look(seen, Now { nanos: at })
        };
        assert_eq!(look(&mut stall_detector, stuck(1, 0)), None);
        assert_eq!(look(&mut stall_detector, stuck(1, 10)), None);
        assert_eq!(look(&mut stall_detector, stuck(1, 610)), Some(StallVerdict::Warn));
        assert_eq!(look(&mut stall_detector, stuck(1, 620)), Some(StallVerdict::Fence));
        assert_eq!(look(&mut stall_detector, stuck(2, 620)), Some(StallVerdict::Recovered));
        assert_eq!(stall_detector.stuck(), Duration::from_millis(610));
        assert_eq!(look(&mut stall_detector, stuck(2, 640)), None);
        assert_eq!(look(&mut stall_detector, stuck(2, 700)), None);
        assert_eq!(look(&mut stall_detector, stuck(2, 750)), Some(StallVerdict::Warn));
    }
}
