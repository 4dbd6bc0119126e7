//! After a time in which the shard did not run, what has come in the meantime comes first: bytes
//! that wait in sockets are signs of life, and a deadline that looked before they were taken would
//! end whoever had sent them.

use weir_core::base::clock::Now;
use weir_core::limits::{CATCH_UP_MS, LATE_TURNS_MAX, STOOD_STILL_MS};

/// Whether the shard has to catch up.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Standstill {
    /// When the shard wanted to wake.
    due: Option<Now>,
    /// Until when timers may wait, and whether this is the first turn of it.
    behind: Option<(Now, bool)>,
    /// Late turns in a row.
    late: u8,
}

impl Standstill {
    /// The shard goes to wait until `due`.
    pub(super) fn waits(&mut self, due: Option<Now>) {
        self.due = due;
    }

    /// A turn begins.
    pub(super) fn wakes(&mut self, now: Now) {
        let is_late = self.due.is_some_and(|due| due.plus_millis(STOOD_STILL_MS) < now);
        self.late = if is_late { self.late.saturating_add(1) } else { 0 };
        self.behind = match is_late {
            true if self.late <= LATE_TURNS_MAX => Some((now.plus_millis(CATCH_UP_MS), true)),
            true => None,
            false => self.behind.map(|(until, _)| (until, false)),
        };
    }

    /// True if a turn that has taken this many `answers` may look at its timers. The first one may
    /// not: what the kernel has to say is asked for by the wait behind it.
    pub(super) fn is_over(&mut self, answers: u32, now: Now) -> bool {
        let waits = self.behind.is_some_and(|(until, first)| first || answers > 0 && now < until);
        if !waits {
            self.behind = None;
        }
        !waits
    }

    /// True while timers wait: the next turn comes at once.
    pub(super) fn is_behind(&self) -> bool {
        self.behind.is_some()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(ms: u64) -> Now {
        Now { nanos: ms * 1_000_000 }
    }

    /// A shard that wanted to wake after a second.
    fn woken_at(ms: u64) -> Standstill {
        let mut standstill = Standstill::default();
        standstill.waits(Some(at(1000)));
        standstill.wakes(at(ms));
        standstill
    }

    #[test]
    fn a_turn_that_is_late_by_a_tenth_of_a_second_and_not_less_waits_with_its_timers() {
        for (woken, over) in [(1000, true), (1050, true), (1100, true), (1101, false)] {
            assert_eq!(woken_at(woken).is_over(7, at(woken)), over, "at {woken}");
        }
        let mut idle = Standstill::default();
        idle.waits(None);
        idle.wakes(at(90_000));
        assert!(idle.is_over(0, at(90_000)), "it wanted nothing");
    }

    #[test]
    fn timers_wait_as_long_as_answers_come_and_no_longer_than_a_quarter_of_a_second() {
        let mut standstill = woken_at(9000);
        assert!(!standstill.is_over(0, at(9000)), "nobody has asked the kernel yet");
        standstill.waits(Some(at(9000)));
        standstill.wakes(at(9001));
        assert!(!standstill.is_over(3, at(9001)) && standstill.is_behind());
        let mut calm = standstill;
        calm.wakes(at(9002));
        assert!(calm.is_over(0, at(9002)) && !calm.is_behind());
        standstill.waits(Some(at(9200)));
        standstill.wakes(at(9249));
        assert!(!standstill.is_over(3, at(9249)));
        standstill.wakes(at(9250));
        assert!(standstill.is_over(3, at(9250)));
    }

    #[test]
    fn a_shard_whose_every_turn_is_late_has_timers_all_the_same() {
        let mut standstill = Standstill::default();
        standstill.waits(Some(at(0)));
        let over = |turn: u64| {
            let now = at(turn * 150);
            standstill.wakes(now);
            standstill.waits(Some(now));
            standstill.is_over(3, now)
        };
        assert_eq!((1..=8).map(over).collect::<Vec<_>>(), [[false; 4], [true; 4]].concat());
    }
}
