//! Rates by plain arithmetic: a bucket of tokens over everything.

use std::collections::BTreeMap;
use std::fmt::Debug;

use weir_proto::spec::Rate;

/// A token, in the units that come with time: one for each nanosecond and each event a second.
const WHOLE: i128 = 1_000_000_000;

/// A bucket of tokens.
#[derive(Clone, Copy, Debug)]
pub struct Tokens {
    count: i128,
    at: u64,
}

impl Tokens {
    /// `most` of them, at the beginning of time.
    #[must_use]
    pub fn full(most: u32) -> Tokens {
        Tokens { count: i128::from(most) * WHOLE, at: 0 }
    }

    /// `count` events happen at `now` (nanoseconds). False if the rate, with `most` at once, does
    /// not allow them.
    pub fn take(&mut self, rate: Rate, most: u32, count: u64, now: u64) -> bool {
        let elapsed = i128::from(now.saturating_sub(self.at));
        let gained = self.count + elapsed * i128::from(rate.events());
        let left = gained.min(i128::from(most) * WHOLE) - i128::from(count) * WHOLE;
        *self = Tokens { count: left, at: now };
        left >= 0
    }
}

/// How many sessions, or connects, each rate of a listener or backend allows now.
#[derive(Debug)]
pub struct RateBuckets<Id> {
    of: BTreeMap<Id, (Rate, Tokens)>,
}

impl<Id> Default for RateBuckets<Id> {
    fn default() -> RateBuckets<Id> {
        RateBuckets { of: BTreeMap::new() }
    }
}

impl<Id: Ord + Copy + Debug> RateBuckets<Id> {
    /// `count` of what this rate limits have begun since the last time. The first time under a rate
    /// anything up to a burst is right.
    ///
    /// # Errors
    /// More than the rate allows.
    pub fn began(&mut self, (id, rate): (Id, Rate), count: u64, now: u64) -> Result<(), String> {
        let fresh = || (rate, Tokens::full(rate.burst()));
        let bucket = self.of.entry(id).or_insert_with(fresh);
        if bucket.0 != rate {
            *bucket = fresh();
        }
        let is_allowed = bucket.1.take(rate, rate.burst(), count, now);
        let what = || format!("{count} begin of {id:?}, more than {rate} allows");
        is_allowed.then_some(()).ok_or_else(what)
    }

    /// Forgets the rates of others than these.
    pub fn retain(&mut self, is_known: impl Fn(Id) -> bool) {
        self.of.retain(|id, _| is_known(*id));
    }
}
