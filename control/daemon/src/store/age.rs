//! Whether the wall clock can be believed when it says that a version is too old. What is given up
//! is gone, and a clock that is wrong for a moment (a machine that starts with a bad one, a jump)
//! must not cost the history.

use core::time::Duration;

use weir_control_core::timestamp::rfc3339;

use super::{Store, rows};

/// A larger step from one look to the next, in either direction, is a jump. Looks are a second
/// apart; a machine that slept or was stopped may have jumped as well.
const JUMP: Duration = Duration::from_mins(10);
/// A clock is believed after it has gone without a jump for this long.
const STEADY: Duration = Duration::from_hours(1);

/// The wall clock, as it has gone so far.
#[derive(Debug, Default)]
pub(super) struct Age {
    last_ms: Option<u64>,
    steady_ms: u64,
}

/// The outcome of a look.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Look {
    /// Versions may be given up for their age.
    Steady,
    NotYet,
    /// It has jumped by this number of milliseconds.
    Jumped(i64),
}

impl Age {
    /// Looks at the clock: `now_ms` is Unix time.
    pub(super) fn look(&mut self, now_ms: u64) -> Look {
        let Some(last_ms) = self.last_ms.replace(now_ms) else { return Look::NotYet };
        let step = i64::try_from(i128::from(now_ms) - i128::from(last_ms)).unwrap_or(i64::MAX);
        if u128::from(step.unsigned_abs()) > JUMP.as_millis() {
            self.steady_ms = 0;
            return Look::Jumped(step);
        }
        // Small corrections in either direction are what a clock does.
        self.steady_ms = self.steady_ms.saturating_add(u64::try_from(step).unwrap_or(0));
        if u128::from(self.steady_ms) < STEADY.as_millis() { Look::NotYet } else { Look::Steady }
    }
}

impl Store {
    /// Jumps of the clock are seen from now on.
    pub(crate) fn begin_clock(&mut self, now_ms: u64) {
        self.age = Age::default();
        self.age.look(now_ms);
    }

    /// The oldest version that is not too old; 0 while the clock is not to be believed. `None`: it
    /// cannot be read.
    pub(super) fn first_young(&mut self, now_ms: u64) -> Option<u64> {
        match self.age.look(now_ms) {
            Look::Steady => {}
            Look::NotYet => return Some(0),
            Look::Jumped(by_ms) => {
                let hours = by_ms / 3_600_000;
                self.say(format!(
                    "the clock has jumped by {hours} h: for an hour no version is given up for \
                     its age"
                ));
                return Some(0);
            }
        }
        let span_ms = u64::from(self.retention.days) * 86_400_000;
        let since = rfc3339(now_ms.saturating_sub(span_ms));
        self.reader.with(|database| rows::first_since(database, &since)).ok()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MINUTE_MS: u64 = 60_000;
    const DAY_MS: u64 = 24 * 60 * MINUTE_MS;

    /// An hour, minute by minute: the last look.
    fn an_hour(age: &mut Age, from_ms: u64) -> Look {
        (1..=60).map(|minute| age.look(from_ms + minute * MINUTE_MS)).last().unwrap()
    }

    #[test]
    fn a_clock_is_believed_after_an_hour_without_a_jump() {
        let mut age = Age::default();
        assert_eq!(age.look(7 * DAY_MS), Look::NotYet, "a start may have a bad clock");
        assert_eq!(age.look(7 * DAY_MS + MINUTE_MS), Look::NotYet);
        assert_eq!(an_hour(&mut age, 7 * DAY_MS), Look::Steady);
        // A second back is no jump.
        assert_eq!(age.look(7 * DAY_MS + 60 * MINUTE_MS - 1000), Look::Steady);
    }

    #[test]
    fn a_jump_begins_the_hour_again() {
        for (to, jump) in [(8 * DAY_MS, 86_400_000), (6 * DAY_MS, -86_400_000)] {
            let mut age = Age::default();
            age.look(7 * DAY_MS - 60 * MINUTE_MS);
            assert_eq!(an_hour(&mut age, 7 * DAY_MS - 60 * MINUTE_MS), Look::Steady);
            assert_eq!(age.look(to), Look::Jumped(jump));
            assert_eq!(age.look(to + MINUTE_MS), Look::NotYet);
            assert_eq!(an_hour(&mut age, to + MINUTE_MS), Look::Steady);
        }
        let mut age = Age::default();
        age.look(0);
        assert_eq!(age.look(u64::MAX), Look::Jumped(i64::MAX));
    }
}
