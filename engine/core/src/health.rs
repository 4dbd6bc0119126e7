//! Hysteresis: many results, few changes of mind. Says when a backend is up and when it is down.

mod parts;

use core::time::Duration;

use crate::base::clock::Now;
use crate::base::machine::enter;
use crate::machine;

pub use parts::HysteresisParts;

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
/// A backend is *unproven* if it was added while others served, and no check of it has succeeded
/// since.
///
/// A hold damps flapping. The n-th time that a backend goes down without a good stretch before it,
/// it is held for 10 s, doubled with each time, 300 s at most. The first time there is none: a
/// restart is no flapping, and checks see when it is over. Nor does an ejection need one then:
/// `rise` good checks that began after it contradict it, and if clients fail again that is the
/// second time. Where nothing is checked, only a hold can end an ejection: the first has one too.
///
/// A hold is about one backend among others. [`Hysteresis::relieve`] ends it where the others are
/// not there.
#[derive(Clone, Debug)]
pub struct Hysteresis {
    state: HealthState,
    /// The next result decides alone.
    pending: bool,
    /// Results in a row that speak against `state`.
    against: u32,
    /// Times that it went down without a good stretch between them.
    downs: u32,
    /// When it last came up; `None` if it has never been down.
    up_since: Option<Now>,
    /// While it is down: when it may come up again at the earliest.
    held_until: Option<Now>,
    /// When a shard last ejected it.
    ejected_at: Option<Now>,
}

/// Whether a backend can take sessions.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum HealthState {
    Up,
    Down,
    /// No check has succeeded since it was added beside others.
    Unproven,
}

machine! {
    /// Transitions of a backend's health.
    pub static HEALTH: HealthState = "health";
    states: Up, Down, Unproven;
    start => Up: "configured, and it counts as up until it is judged";
    start => Unproven: "added beside others that serve";
    Up => Down: "fall failures in a row, the first check, or an ejection";
    Down => Up: "rise successes in a row and the end of a hold, or no checks any more";
    Unproven => Up: "the first check, rise successes in a row, or no other is up";
    Up => Unproven: "checks begin, beside others that serve";
    Down => Unproven: "checks begin, beside others that serve";
}

impl Default for Hysteresis {
    fn default() -> Hysteresis {
        Hysteresis {
            state: HealthState::Up,
            pending: true,
            against: 0,
            downs: 0,
            up_since: None,
            held_until: None,
            ejected_at: None,
        }
    }
}

impl Hysteresis {
    /// One that waits for its first good check.
    #[must_use]
    pub fn unproven() -> Hysteresis {
        Hysteresis { state: HealthState::Unproven, ..Hysteresis::default() }
    }

    /// Whether the backend can take sessions. One that was never judged can, unless it is unproven.
    #[must_use]
    pub fn is_up(&self) -> bool {
        self.state == HealthState::Up
    }

    /// Whether no check has succeeded since it was added beside others.
    #[must_use]
    pub fn is_unproven(&self) -> bool {
        self.state == HealthState::Unproven
    }

    /// Whether the next result decides alone.
    #[must_use]
    pub fn is_pending(&self) -> bool {
        self.pending
    }

    /// Whether it is up and its last check did not fail.
    #[must_use]
    pub fn is_sound(&self) -> bool {
        self.is_up() && self.against == 0
    }

    /// Whether it is about to change its mind: the next result decides alone, or the last ones
    /// speak against its state, and there are not enough of them yet.
    #[must_use]
    pub fn is_changing(&self, rules: Rules) -> bool {
        let needed = if self.is_up() { rules.fall } else { rules.rise };
        self.pending || (1..needed).contains(&self.against)
    }

    /// When [`Hysteresis::on_time`] has something to do.
    #[must_use]
    pub fn held_until(&self) -> Option<Now> {
        self.held_until
    }

    /// An active check that began at `started` has ended. A local fault is no result: it must not
    /// come here. Gives the new state if it changed.
    pub fn on_check(&mut self, good: bool, started: Now, rules: Rules, now: Now) -> Option<bool> {
        if good && self.ejected_at.is_some_and(|ejected| started < ejected) {
            // It says nothing about what clients have seen since.
            return None;
        }
        let first = core::mem::replace(&mut self.pending, false);
        if good == self.is_up() {
            self.against = 0;
            return None;
        }
        self.against = self.against.saturating_add(1);
        let needed = if self.is_up() { rules.fall } else { rules.rise };
        if first {
            self.against = self.against.max(needed);
        }
        if self.against < needed {
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

    /// A shard saw several connects in a row fail. `checked`: checks are made, and will tell when
    /// it is over. Gives the new state if it changed.
    pub fn on_ejected(&mut self, checked: bool, now: Now) -> Option<bool> {
        self.pending = false;
        self.ejected_at = Some(now);
        if !self.is_up() {
            // Several shards see the same failure: it is one ejection, but it speaks against
            // rising.
            self.against = 0;
            return None;
        }
        self.count_down(now);
        self.held_until = hold(self.downs - u32::from(checked), now);
        Some(self.turn(false, now))
    }

    /// Time has passed: a hold may be over. Gives the new state if it changed.
    pub fn on_time(&mut self, now: Now) -> Option<bool> {
        if self.held_until.is_none_or(|until| now < until) {
            return None;
        }
        self.held_until = None;
        (!self.is_up()).then(|| self.turn(true, now))
    }

    /// The pool has too few others: a hold ends, and it comes up if enough checks in a row were
    /// good. `alone`: it has none at all; then it comes up also if no check has judged it, or none
    /// is made (`checked` is false). Gives the new state if it changed.
    pub fn relieve(&mut self, rules: Rules, checked: bool, alone: bool, now: Now) -> Option<bool> {
        if self.is_up() || !(checked || alone) {
            return None;
        }
        self.held_until = None;
        let is_good = checked && self.against >= rules.rise;
        let is_unjudged = !checked || (self.is_unproven() && self.pending);
        (is_good || (alone && is_unjudged)).then(|| self.turn(true, now))
    }

    /// Its operator says that it is ready: a hold ends, and how often it went down is forgotten.
    /// Checks that fail keep it down. Gives the new state if it changed.
    pub fn forgive(&mut self, rules: Rules, checked: bool, now: Now) -> Option<bool> {
        self.downs = 0;
        let was_held = self.held_until.take().is_some();
        let is_good = if checked { self.against >= rules.rise } else { was_held };
        (!self.is_up() && is_good).then(|| self.turn(true, now))
    }

    /// Checks begin, after none were made for a while: the next result decides alone. `beside`
    /// others that serve, it is unproven until then; else what it was stands.
    pub fn on_checks_begin(&mut self, beside: bool) {
        self.pending = true;
        self.against = 0;
        self.held_until = None;
        if beside {
            enter(&mut self.state, HealthState::Unproven);
        }
    }

    /// Nothing will check this backend any more. If it is down it comes up, for nothing else would
    /// bring it up again; an ejection's hold goes on. Gives the new state if it changed.
    pub fn on_checks_end(&mut self, now: Now) -> Option<bool> {
        self.pending = true;
        self.against = 0;
        (!self.is_up() && self.held_until.is_none()).then(|| self.turn(true, now))
    }

    /// It goes down: after a good stretch for the first time, else once more.
    fn count_down(&mut self, now: Now) {
        let good_stretch = self.up_since.is_none_or(|since| now - since >= HOLD_MAX);
        self.downs = if good_stretch { 1 } else { self.downs.saturating_add(1) };
    }

    fn turn(&mut self, up: bool, now: Now) -> bool {
        enter(&mut self.state, if up { HealthState::Up } else { HealthState::Down });
        self.against = 0;
        if up {
            self.up_since = Some(now);
            self.held_until = None;
        }
        up
    }
}

/// When the `n`-th hold in a row ends that begins at `since`; there is none for 0.
fn hold(n: u32, since: Now) -> Option<Now> {
    let times = 1_u32.checked_shl(n.checked_sub(1)?);
    let doubled = times.and_then(|times| HOLD.checked_mul(times)).unwrap_or(HOLD_MAX);
    Some(since + doubled.min(HOLD_MAX))
}

/// How long the first hold lasts; each one in a row lasts twice as long as the one before.
const HOLD: Duration = Duration::from_secs(10);

/// The longest hold, and how long a backend must be up for the next time that it goes down to count
/// as the first.
const HOLD_MAX: Duration = Duration::from_secs(300);

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
            *slot = match health.on_check(result == b'+', at(0), RULES, at(0)) {
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

    /// A good check that began and ended at `secs`.
    fn good(health: &mut Hysteresis, secs: u64) -> Option<bool> {
        health.on_check(true, at(secs), RULES, at(secs))
    }

    fn bad(health: &mut Hysteresis, secs: u64) -> Option<bool> {
        health.on_check(false, at(secs), RULES, at(secs))
    }

    #[test]
    fn rise_good_checks_that_began_after_an_ejection_contradict_it() {
        let mut health = Hysteresis::default();
        assert_eq!(health.on_ejected(true, at(10)), Some(false));
        assert_eq!(health.held_until(), None);
        for _ in 0..9 {
            assert_eq!(health.on_check(true, at(9), RULES, at(11)), None, "it began before");
        }
        assert_eq!(good(&mut health, 12), None, "the first no longer decides alone");
        assert_eq!(health.on_ejected(true, at(13)), None, "another shard starts the count again");
        assert_eq!(health.on_check(true, at(12), RULES, at(13)), None, "it began before that");
        assert_eq!(good(&mut health, 14), None);
        assert_eq!(good(&mut health, 16), Some(true));
    }

    #[test]
    fn clients_that_fail_again_are_believed_for_longer() {
        let mut health = Hysteresis::default();
        let mut now = 0;
        for rest in [0, 10, 20, 40, 80, 160, 300, 300] {
            assert_eq!(health.on_ejected(true, at(now)), Some(false));
            assert_eq!(good(&mut health, now + 1), None);
            let mut came_up = None;
            for secs in now + 2..=now + 301 {
                if good(&mut health, secs).is_some() {
                    came_up = Some(secs - now);
                    break;
                }
            }
            assert_eq!(came_up, Some(rest.max(2)));
            now += rest.max(2) + 5;
        }
    }

    #[test]
    fn a_hold_ends_where_nobody_else_is_there() {
        let held = || {
            let mut health = Hysteresis::default();
            for secs in [0, 5] {
                for _ in 0..3 {
                    bad(&mut health, secs);
                }
                assert!(!health.is_up());
                for _ in 0..2 {
                    good(&mut health, secs + 1);
                }
            }
            assert!(!health.is_up() && health.held_until().is_some());
            health
        };
        assert_eq!(held().relieve(RULES, true, false, at(7)), Some(true));
        assert_eq!(held().forgive(RULES, true, at(7)), Some(true));
        // One more good check is needed.
        for relieve in [true, false] {
            let mut health = held();
            bad(&mut health, 7);
            good(&mut health, 8);
            let change = match relieve {
                true => health.relieve(RULES, true, true, at(8)),
                false => health.forgive(RULES, true, at(8)),
            };
            assert_eq!((change, health.held_until()), (None, None));
            assert_eq!(good(&mut health, 9), Some(true));
        }
    }

    #[test]
    fn without_checks_only_the_last_one_is_relieved() {
        let ejected = || {
            let mut health = Hysteresis::default();
            health.on_ejected(false, at(0));
            assert_eq!(health.held_until(), Some(at(10)));
            health
        };
        assert_eq!(ejected().relieve(RULES, false, false, at(1)), None);
        assert_eq!(ejected().relieve(RULES, false, true, at(1)), Some(true));
        assert_eq!(ejected().forgive(RULES, false, at(1)), Some(true));
    }

    #[test]
    fn an_unproven_one_comes_up_by_its_first_good_check() {
        let mut health = Hysteresis::unproven();
        assert!(!health.is_up() && health.is_unproven());
        assert_eq!(good(&mut health, 1), Some(true));
        assert!(!health.is_unproven());

        let mut health = Hysteresis::unproven();
        assert_eq!(bad(&mut health, 1), None);
        assert!(health.is_unproven(), "no check has succeeded");
        assert_eq!(health.relieve(RULES, true, true, at(1)), None, "it was judged");
        assert_eq!(good(&mut health, 2), None, "the first was bad: `rise` decides");
        assert_eq!(good(&mut health, 3), Some(true));

        let mut health = Hysteresis::unproven();
        assert_eq!(health.relieve(RULES, true, false, at(1)), None);
        assert_eq!(health.relieve(RULES, true, true, at(1)), Some(true), "nobody else is there");
        assert_eq!(bad(&mut health, 2), Some(false), "still the first result decides alone");
    }

    #[test]
    fn holds_double_with_each_ejection_in_a_row_up_to_a_cap() {
        let mut health = Hysteresis::default();
        let mut now = 0;
        for n in 0..40 {
            assert_eq!(health.on_ejected(false, at(now)), Some(false));
            let hold = (10 << n.min(10)).min(300);
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

    /// T22: up for half a second, down for half a second, for ten minutes. Checked every `every`
    /// milliseconds, or ejected whenever it is up and does not answer.
    fn flap(rules: Rules, every: u64, ejects: bool) -> u32 {
        let (mut health, mut changes) = (Hysteresis::default(), 0);
        for ms in 0..600_000 {
            let (now, answers) = (Now { nanos: ms * 1_000_000 }, ms / 500 % 2 == 0);
            let checked = every > 0 && ms % every == 0;
            if checked {
                changes += u32::from(health.on_check(answers, now, rules, now).is_some());
            }
            if ejects && !answers && health.is_up() {
                changes += u32::from(health.on_ejected(every > 0, now).is_some());
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
        bad(&mut health, 0);
        health.on_checks_begin(false);
        assert!(!health.is_up());
        assert_eq!(good(&mut health, 1), Some(true));
        health.on_checks_begin(true);
        assert!(!health.is_up() && health.is_unproven(), "others serve meanwhile");
        assert_eq!(good(&mut health, 2), Some(true));
    }

    #[test]
    fn nothing_stays_down_when_checks_end() {
        let mut health = Hysteresis::default();
        bad(&mut health, 0);
        assert_eq!(health.on_checks_end(at(1)), Some(true));
        health.on_ejected(false, at(2));
        assert_eq!(health.on_checks_end(at(3)), None, "a hold ends by itself");
        assert_eq!(health.on_time(at(22)), Some(true), "the second time in a row");
        let mut health = Hysteresis::unproven();
        assert_eq!(health.on_checks_end(at(1)), Some(true));
    }
}
