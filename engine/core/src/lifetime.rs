//! How old a session may become: a pool's `timeout.lifetime`, less up to a tenth that differs from
//! session to session, so that those that came together do not leave together.
//!
//! ```text
//! accepted ───────▶ cap ──quiet, or the grace is over──▶ reset
//! ```

use crate::base::clock::Now;
use crate::base::prng::mix;
use crate::limits::LIFETIME_GRACE_MS_MAX;

/// The lifetime of a pool's sessions.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Lifetime {
    most_ms: u32,
    /// When the pool got it. Sessions that were too old by then have a tenth of it from there on.
    since: Now,
}

/// The end of one session's life.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LifeEnd {
    /// From here on it ends once it is quiet.
    pub cap: Now,
    /// From here on it ends in any case.
    pub last: Now,
    /// Nothing has moved for so long in a quiet session.
    pub quiet_ms: u32,
}

impl Lifetime {
    /// A pool's lifetime from `now` on, if it has one; `before` is the one that it had.
    #[must_use]
    pub fn follow(most_ms: Option<u32>, before: Option<Lifetime>, now: Now) -> Option<Lifetime> {
        let most_ms = most_ms?;
        let same = before.filter(|before| before.most_ms == most_ms);
        same.or(Some(Lifetime { most_ms, since: now }))
    }

    /// The end of a session that was accepted then. `share` of 2^32 is its part of the tenth by
    /// which sessions differ.
    #[must_use]
    pub fn end_of(self, accepted_at: Now, share: u32) -> LifeEnd {
        let tenth_ms = self.most_ms / 10;
        let spread_ms = part(tenth_ms, share);
        let cap = accepted_at.plus_millis(self.most_ms - spread_ms);
        let cap = cap.max(self.since.plus_millis(spread_ms));
        let grace_ms = tenth_ms.min(LIFETIME_GRACE_MS_MAX);
        LifeEnd { cap, last: cap.plus_millis(grace_ms), quiet_ms: grace_ms / 10 }
    }
}

/// The share of a session: its own, and the same whenever it is asked for.
#[must_use]
pub fn share_of(accepted_at: Now, slot: u32, generation: u32) -> u32 {
    let name = u64::from(slot) << 32 | u64::from(generation);
    let [high, _] = halves(mix(mix(accepted_at.nanos) ^ name));
    high
}

fn part(of: u32, share: u32) -> u32 {
    let [high, _] = halves(u64::from(of) * u64::from(share));
    high
}

#[expect(clippy::cast_possible_truncation, reason = "each half has 32 bits")]
fn halves(word: u64) -> [u32; 2] {
    [(word >> 32) as u32, word as u32]
}

#[cfg(test)]
mod tests {
    use super::*;

    const START: Now = Now { nanos: 5_000_000_000 };
    const HOUR_MS: u32 = 3_600_000;

    fn lifetime(most_ms: u32) -> Lifetime {
        Lifetime::follow(Some(most_ms), None, START).unwrap()
    }

    #[test]
    fn a_session_has_up_to_a_tenth_less() {
        let born = START.plus_millis(7);
        let ms = |end: LifeEnd| (end.cap - born).as_millis();
        assert_eq!(ms(lifetime(HOUR_MS).end_of(born, 0)), 3_600_000);
        assert_eq!(ms(lifetime(HOUR_MS).end_of(born, 1 << 31)), 3_420_000);
        assert_eq!(ms(lifetime(HOUR_MS).end_of(born, u32::MAX)), 3_240_001);
    }

    #[test]
    fn those_that_came_together_do_not_leave_together() {
        let caps = (0..1_000).map(|slot| {
            let share = share_of(START, slot, 1);
            assert_eq!(share, share_of(START, slot, 1), "it is always the same");
            (lifetime(HOUR_MS).end_of(START, share).cap - START).as_secs()
        });
        // Of 360 s each tenth has about a tenth of the sessions.
        let mut tenths = [0; 10];
        caps.for_each(|cap| tenths[usize::try_from(cap - 3_240).unwrap() / 36] += 1);
        assert!(tenths.iter().all(|count| (60..=140).contains(count)), "{tenths:?}");
    }

    #[test]
    fn the_grace_is_a_tenth_and_10_seconds_at_most() {
        let grace = |most_ms| {
            let end = lifetime(most_ms).end_of(START, 0);
            ((end.last - end.cap).as_millis(), end.quiet_ms)
        };
        assert_eq!(grace(1_000), (100, 10));
        assert_eq!(grace(20_000), (2_000, 200));
        assert_eq!(grace(HOUR_MS), (10_000, 1_000));
    }

    #[test]
    fn those_that_are_too_old_when_it_comes_end_over_a_tenth_of_it() {
        let old = Now::from_nanos(0);
        let now = START.plus_millis(2 * HOUR_MS);
        let shorter = Lifetime::follow(Some(HOUR_MS), Some(lifetime(4 * HOUR_MS)), now).unwrap();
        let after = |share| (shorter.end_of(old, share).cap - now).as_millis();
        assert_eq!([after(0), after(1 << 31), after(u32::MAX)], [0, 180_000, 359_999]);
        let same = Lifetime::follow(Some(HOUR_MS), Some(shorter), now.plus_millis(9));
        assert_eq!(same, Some(shorter), "another key has changed");
        assert_eq!(Lifetime::follow(None, Some(shorter), now), None);
    }
}
