//! Rates by plain arithmetic: a bucket of tokens over everything.

use std::collections::BTreeMap;

use weir_proto::ids::ListenerId;
use weir_proto::spec::Rate;

/// A token, in the units that come with time: one for each nanosecond and each event a second.
const WHOLE: i128 = 1_000_000_000;

/// How many sessions each rate allows now.
#[derive(Debug, Default)]
pub struct RateBuckets {
    of: BTreeMap<ListenerId, Bucket>,
}

#[derive(Debug)]
struct Bucket {
    rate: Rate,
    tokens: i128,
    at: u64,
}

impl RateBuckets {
    /// `count` sessions of a listener with this rate have begun since the last time. The first time
    /// under a rate anything up to a burst is right.
    ///
    /// # Errors
    /// More than the rate allows.
    pub fn began(
        &mut self,
        (id, rate): (ListenerId, Rate),
        count: u64,
        now: u64,
    ) -> Result<(), String> {
        let full = i128::from(rate.burst()) * WHOLE;
        let fresh = || Bucket { rate, tokens: full, at: now };
        let bucket = self.of.entry(id).or_insert_with(fresh);
        if bucket.rate != rate {
            *bucket = fresh();
        }
        let elapsed = i128::from(now.saturating_sub(bucket.at));
        let tokens = (bucket.tokens + elapsed * i128::from(rate.events())).min(full);
        (bucket.tokens, bucket.at) = (tokens - i128::from(count) * WHOLE, now);
        if bucket.tokens < 0 {
            let allowed = tokens / WHOLE;
            return Err(format!(
                "{count} sessions of listener {id} begin, {rate} allows {allowed}"
            ));
        }
        Ok(())
    }

    /// Forgets the rates of other listeners than these.
    pub fn retain(&mut self, is_known: impl Fn(ListenerId) -> bool) {
        self.of.retain(|id, _| is_known(*id));
    }
}
