//! Hysteresis: many results, few changes of mind. Says when a backend is up and when it is down.

use crate::base::clock::Now;

/// How many results in a row change a backend's health. Both are at least 1.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rules {
    /// Successes in a row that bring it up.
    pub rise: u32,
    /// Failures in a row that take it down.
    pub fall: u32,
}

/// The health of one backend.
///
/// ```text
///            first result decides at once          `fall` failures, or an ejection
///   Pending ──────────────────────────▶ Up, Down        Up ──────────▶ Down
///   (counts as what it was, up at first)                Up ◀────────── Down
///                                `rise` successes and the end of a hold, if there is one
/// ```
/// A hold damps flapping. The n-th time that it goes down without a good stretch before it, it is
/// held for 10 s, doubled with each time, 300 s at most. The first time that checks take it down
/// there is none: a restart is no flapping, and they see when it is over. An ejection is held the
/// first time too, for checks may be blind to what clients see; if they fail as well they are not,
/// and it is as if they had taken it down.
#[derive(Clone, Debug)]
pub struct Hysteresis {
    up: bool,
    /// The next result decides alone.
    pending: bool,
    /// Results in a row that speak against `up`.
    against: u32,
    /// Times that it went down without a good stretch between them.
    downs: u32,
    /// When it last came up; `None` if it has never been down.
    up_since: Option<Now>,
    /// When it last went down.
    down_since: Now,
    /// While it is down: when it may come up again at the earliest.
    held_until: Option<Now>,
}

impl Default for Hysteresis {
    fn default() -> Hysteresis {
        Hysteresis {
            up: true,
            pending: true,
            against: 0,
            downs: 0,
            up_since: None,
            down_since: Now { nanos: 0 },
            held_until: None,
        }
    }
}

impl Hysteresis {
    /// Whether the backend can take sessions. One that was never judged can.
    #[must_use]
    pub fn is_up(&self) -> bool {
        self.up
    }

    /// Whether the next result decides alone.
    #[must_use]
    pub fn is_pending(&self) -> bool {
        self.pending
    }

    /// When [`Hysteresis::on_time`] has something to do.
    #[must_use]
    pub fn held_until(&self) -> Option<Now> {
        self.held_until
    }

    /// An active check has ended. A local fault is no result: it must not come here.
    /// Gives the new state if it changed.
    pub fn on_check(&mut self, good: bool, rules: Rules, now: Now) -> Option<bool> {
        let first = core::mem::replace(&mut self.pending, false);
        if good == self.up {
            self.against = 0;
            if !good {
                let seen = hold(self.downs.saturating_sub(1), self.down_since);
                self.held_until = self.held_until.min(seen);
            }
            return None;
        }
        self.against = self.against.saturating_add(1);
        let needed = if self.up { rules.fall } else { rules.rise };
        if !first && self.against < needed {
            return None;
        }
        if good {
            let is_held = self.held_until.is_some_and(|until| now < until);
            return (!is_held).then(|| self.turn(true, now));
        }
        self.count_down(now);
        self.held_until = hold(self.downs - 1, now);
        Some(self.turn(false, now))
    }

    /// A shard saw several connects in a row fail. Gives the new state if it changed.
    pub fn on_ejected(&mut self, now: Now) -> Option<bool> {
        self.pending = false;
        if !self.up {
            // Several shards see the same failure: it is one ejection, but it speaks against
            // rising.
            self.against = 0;
            return None;
        }
        self.count_down(now);
        self.held_until = hold(self.downs, now);
        Some(self.turn(false, now))
    }

    /// Time has passed: a hold may be over. Gives the new state if it changed.
    pub fn on_time(&mut self, now: Now) -> Option<bool> {
        if self.held_until.is_none_or(|until| now < until) {
            return None;
        }
        self.held_until = None;
        (!self.up).then(|| self.turn(true, now))
    }

    /// Checks begin, after none were made for a while: the next result decides alone.
    pub fn on_checks_begin(&mut self) {
        self.pending = true;
        self.against = 0;
        self.held_until = None;
    }

    /// Nothing will check this backend any more. If it is down it comes up, for nothing else would
    /// bring it up again; an ejection's hold goes on. Gives the new state if it changed.
    pub fn on_checks_end(&mut self, now: Now) -> Option<bool> {
        self.pending = true;
        self.against = 0;
        (!self.up && self.held_until.is_none()).then(|| self.turn(true, now))
    }

    /// It goes down: after a good stretch for the first time, else once more.
    fn count_down(&mut self, now: Now) {
        let good_stretch =
            self.up_since.is_none_or(|since| now.nanos.saturating_sub(since.nanos) >= HOLD_MAX_NS);
        self.downs = if good_stretch { 1 } else { self.downs.saturating_add(1) };
    }

    fn turn(&mut self, up: bool, now: Now) -> bool {
        self.up = up;
        self.against = 0;
        if up {
            self.up_since = Some(now);
            self.held_until = None;
        } else {
            self.down_since = now;
        }
        up
    }
}

/// When the `n`-th hold in a row ends that begins at `since`; there is none for 0.
fn hold(n: u32, since: Now) -> Option<Now> {
    let doubled = HOLD_NS.checked_shl(n.checked_sub(1)?).filter(|_| n < 32).unwrap_or(HOLD_MAX_NS);
    Some(Now { nanos: since.nanos.saturating_add(doubled.min(HOLD_MAX_NS)) })
}

/// How long the first hold lasts; each one in a row lasts twice as long as the one before.
const HOLD_NS: u64 = 10_000_000_000;

/// The longest hold, and how long a backend must be up for the next time that it goes down to count
/// as the first.
const HOLD_MAX_NS: u64 = 300_000_000_000;

#[cfg(test)]
mod tests {
    use super::*;

    const RULES: Rules = Rules { rise: 2, fall: 3 };

    fn at(secs: u64) -> Now {
        Now { nanos: secs * 1_000_000_000 }
    }

    /// Feeds results (`+` good, `-` bad) and gives a letter for each: U, D for a change, `.` for
    /// none.
    fn run<'a>(health: &mut Hysteresis, results: &str, out: &'a mut [u8]) -> &'a str {
        for (slot, result) in out.iter_mut().zip(results.bytes()) {
            *slot = match health.on_check(result == b'+', RULES, at(0)) {
                Some(true) => b'U',
                Some(false) => b'D',
                None => b'.',
            };
        }
        core::str::from_utf8(&out[..results.len()]).unwrap()
    }

    #[test]
    fn results_in_a_row_decide_and_the_first_one_alone() {
        let cases = [
            ("+--+---", "......D"),
            ("-+-++--", "D...U.."),
            ("-++", "D.U"),
            ("+----+-+-++", "...D......U"),
            ("", ""),
        ];
        for (results, changes) in cases {
            let mut out = [0; 16];
            assert_eq!(run(&mut Hysteresis::default(), results, &mut out), changes, "{results}");
        }
    }

    #[test]
    fn one_never_judged_is_up() {
        let health = Hysteresis::default();
        assert!(health.is_up() && health.is_pending());
    }

    #[test]
    fn an_ejected_backend_comes_back_by_rise_checks_after_its_hold() {
        let mut health = Hysteresis::default();
        assert_eq!(health.on_ejected(at(1)), Some(false));
        assert_eq!(health.held_until(), Some(at(11)));
        assert_eq!(health.on_check(true, RULES, at(2)), None, "the first no longer decides alone");
        assert_eq!(health.on_ejected(at(2)), None, "another shard's word starts the count again");
        assert_eq!(health.on_check(true, RULES, at(4)), None);
        assert_eq!(health.on_check(true, RULES, at(6)), None, "enough, but it is held");
        assert_eq!(health.on_check(true, RULES, at(11)), Some(true));
    }

    #[test]
    fn checks_that_see_what_the_clients_see_need_no_hold_the_first_time() {
        let mut health = Hysteresis::default();
        assert_eq!(health.on_ejected(at(1)), Some(false));
        assert_eq!(health.on_check(false, RULES, at(2)), None);
        assert_eq!(health.held_until(), None);
        assert_eq!(health.on_check(true, RULES, at(3)), None);
        assert_eq!(health.on_check(true, RULES, at(4)), Some(true));
        assert_eq!(health.on_ejected(at(5)), Some(false));
        assert_eq!(health.held_until(), Some(at(25)));
        assert_eq!(health.on_check(false, RULES, at(6)), None);
        assert_eq!(health.held_until(), Some(at(15)), "the second time there is one");
    }

    #[test]
    fn holds_double_with_each_ejection_in_a_row_up_to_a_cap() {
        let mut health = Hysteresis::default();
        let mut now = 0;
        for n in 0..40 {
            assert_eq!(health.on_ejected(at(now)), Some(false));
            let hold = (10 << n.min(10)).min(300);
            assert_eq!(health.held_until(), Some(at(now + hold)));
            assert_eq!(health.on_ejected(at(now)), None);
            assert_eq!(health.held_until(), Some(at(now + hold)), "one failure, one ejection");
            assert_eq!(health.on_time(at(now + hold - 1)), None);
            assert_eq!(health.on_time(at(now + hold)), Some(true));
            now += hold + 5;
        }
        now += 300;
        assert_eq!(health.on_ejected(at(now)), Some(false));
        assert_eq!(health.held_until(), Some(at(now + 10)), "a good stretch forgives");
    }

    /// T22: up for half a second, down for half a second, for ten minutes. Checked every `every`
    /// milliseconds, or ejected whenever it is up and does not answer.
    fn flap(rules: Rules, every: u64, ejects: bool) -> u32 {
        let (mut health, mut changes) = (Hysteresis::default(), 0);
        for ms in 0..600_000 {
            let (now, answers) = (Now { nanos: ms * 1_000_000 }, ms / 500 % 2 == 0);
            let checked = every > 0 && ms % every == 0;
            if checked {
                changes += u32::from(health.on_check(answers, rules, now).is_some());
            }
            if ejects && !answers && health.is_up() {
                changes += u32::from(health.on_ejected(now).is_some());
            }
            if every == 0 {
                changes += u32::from(health.on_time(now).is_some());
            }
        }
        changes
    }

    #[test]
    fn one_that_flaps_changes_at_most_twice_a_minute() {
        let nervous = Rules { rise: 1, fall: 1 };
        for (rules, every, ejects) in
            [(nervous, 100, false), (nervous, 100, true), (nervous, 0, true), (RULES, 130, true)]
        {
            let changes = flap(rules, every, ejects);
            assert!((4..=20).contains(&changes), "{changes}: {rules:?} {every} {ejects}");
        }
    }

    #[test]
    fn one_restart_is_no_flapping() {
        let mut health = Hysteresis::default();
        let mut out = [0; 16];
        assert_eq!(run(&mut health, "+---++", &mut out), "...D.U");
    }

    #[test]
    fn checks_that_begin_keep_the_state_and_decide_at_once() {
        let mut health = Hysteresis::default();
        health.on_check(false, RULES, at(0));
        health.on_checks_begin();
        assert!(!health.is_up());
        assert_eq!(health.on_check(true, RULES, at(1)), Some(true));
    }

    #[test]
    fn nothing_stays_down_when_checks_end() {
        let mut health = Hysteresis::default();
        health.on_check(false, RULES, at(0));
        assert_eq!(health.on_checks_end(at(1)), Some(true));
        health.on_ejected(at(2));
        assert_eq!(health.on_checks_end(at(3)), None, "a hold ends by itself");
        assert_eq!(health.on_time(at(22)), Some(true), "the second time in a row");
    }
}
