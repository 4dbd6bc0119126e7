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
///                                          `rise` successes, or the end of a hold
/// ```
#[derive(Clone, Debug)]
pub struct Hysteresis {
    up: bool,
    /// The next result decides alone.
    pending: bool,
    /// Results in a row that speak against `up`.
    against: u32,
    /// Ejections without a good stretch between them.
    ejections: u32,
    /// When it last came up; `None` if it has never been down.
    up_since: Option<Now>,
    /// While it is ejected and nothing checks it: when it is tried again.
    held_until: Option<Now>,
}

impl Default for Hysteresis {
    fn default() -> Hysteresis {
        Hysteresis {
            up: true,
            pending: true,
            against: 0,
            ejections: 0,
            up_since: None,
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
            return None;
        }
        self.against += 1;
        let needed = if self.up { rules.fall } else { rules.rise };
        if !first && self.against < needed {
            return None;
        }
        Some(self.turn(good, now))
    }

    /// A shard saw several connects in a row fail. `checked` says whether active checks run and can
    /// bring the backend back; without them it is held down for a while, longer each time.
    /// Gives the new state if it changed.
    pub fn on_ejected(&mut self, checked: bool, now: Now) -> Option<bool> {
        self.pending = false;
        if !self.up {
            // Several shards see the same failure: it is one ejection, but it speaks against
            // rising.
            self.against = 0;
            return None;
        }
        let good_stretch =
            self.up_since.is_none_or(|since| now.nanos.saturating_sub(since.nanos) >= HOLD_MAX_NS);
        self.ejections = if good_stretch { 1 } else { self.ejections.saturating_add(1) };
        if !checked {
            let hold = HOLD_NS.saturating_mul(u64::from(self.ejections)).min(HOLD_MAX_NS);
            self.held_until = Some(Now { nanos: now.nanos.saturating_add(hold) });
        }
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

    fn turn(&mut self, up: bool, now: Now) -> bool {
        self.up = up;
        self.against = 0;
        if up {
            self.up_since = Some(now);
        }
        up
    }
}

/// How long the first ejection lasts; the n-th in a row lasts n times as long.
const HOLD_NS: u64 = 10_000_000_000;

/// The longest ejection, and how long a backend must be up for its next ejection to count as the
/// first.
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
    fn an_ejected_backend_comes_back_by_rise_checks() {
        let mut health = Hysteresis::default();
        assert_eq!(health.on_ejected(true, at(1)), Some(false));
        assert_eq!(health.held_until(), None);
        assert_eq!(
            health.on_check(true, RULES, at(2)),
            None,
            "the first result no longer decides alone"
        );
        assert_eq!(
            health.on_ejected(true, at(2)),
            None,
            "another shard's word starts the count again"
        );
        assert_eq!(health.on_check(true, RULES, at(3)), None);
        assert_eq!(health.on_check(true, RULES, at(4)), Some(true));
    }

    #[test]
    fn holds_grow_with_ejections_in_a_row_up_to_a_cap() {
        let mut health = Hysteresis::default();
        let mut now = 0;
        for n in 1..=40 {
            assert_eq!(health.on_ejected(false, at(now)), Some(false));
            let hold = (10 * n).min(300);
            assert_eq!(health.held_until(), Some(at(now + hold)));
            assert_eq!(health.on_ejected(false, at(now)), None);
            assert_eq!(health.held_until(), Some(at(now + hold)), "one failure, one ejection");
            assert_eq!(health.on_time(at(now + hold - 1)), None);
            assert_eq!(health.on_time(at(now + hold)), Some(true));
            now += hold + 5;
        }
        now += 300;
        assert_eq!(health.on_ejected(false, at(now)), Some(false));
        assert_eq!(health.held_until(), Some(at(now + 10)), "a good stretch forgives");
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
        health.on_ejected(false, at(2));
        assert_eq!(health.on_checks_end(at(3)), None, "a hold ends by itself");
        assert_eq!(health.on_time(at(12)), Some(true));
    }
}
