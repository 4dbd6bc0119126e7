//! How many of a peer's requests that come to nothing are written down: a token bucket each. The
//! rest is counted and said in one line, so that a flood of them does not cost others the log.

use std::collections::BTreeMap;
use std::time::Duration;

use weir_core::base::clock::Now;

/// Lines that a peer may cause at once.
const BURST: u32 = 20;
/// One more line after each of these.
const REFILL: Duration = Duration::from_secs(1);
/// How often those that were not written down are told.
pub(crate) const REPORT_EVERY: Duration = Duration::from_secs(5);
/// Peers with a bucket of their own. The users of a host that talk to weir at once are few.
const PEERS_MAX: usize = 64;

/// Who causes lines. All processes of a user are one: a pid costs nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Cause {
    Uid(u32),
    Http,
    /// Those who came when every bucket was in use.
    Others,
}

impl core::fmt::Display for Cause {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        match self {
            Cause::Uid(uid) => write!(f, "uid {uid}"),
            Cause::Http => f.write_str("http"),
            Cause::Others => f.write_str("others"),
        }
    }
}

#[derive(Clone, Copy, Debug)]
struct Bucket {
    tokens: u32,
    /// Until when `tokens` has been counted.
    since: Now,
    unwritten: u64,
}

impl Bucket {
    fn refill(&mut self, now: Now) {
        while self.tokens < BURST && now - self.since >= REFILL {
            self.tokens += 1;
            self.since = self.since + REFILL;
        }
        if self.tokens == BURST {
            self.since = now;
        }
    }
}

/// The buckets of all peers.
#[derive(Debug, Default)]
pub(crate) struct RefusalBudget {
    buckets: BTreeMap<Cause, Bucket>,
}

impl RefusalBudget {
    /// True if the next line of `cause` is to be written. Otherwise the line is counted.
    pub(crate) fn allows(&mut self, cause: Cause, now: Now) -> bool {
        let cause = self.place(cause, now);
        let full = Bucket { tokens: BURST, since: now, unwritten: 0 };
        let bucket = self.buckets.entry(cause).or_insert(full);
        bucket.refill(now);
        match bucket.tokens.checked_sub(1) {
            Some(tokens) => bucket.tokens = tokens,
            None => {
                bucket.unwritten += 1;
                return false;
            }
        }
        true
    }

    /// The lines that were not written since the last call, by their cause.
    pub(crate) fn take_unwritten(&mut self) -> Vec<(Cause, u64)> {
        let taken = self.buckets.iter_mut().filter(|(_, bucket)| bucket.unwritten > 0);
        taken.map(|(cause, bucket)| (*cause, core::mem::take(&mut bucket.unwritten))).collect()
    }

    /// Makes room for `cause` by the buckets that are full and have nothing to tell.
    fn place(&mut self, cause: Cause, now: Now) -> Cause {
        if self.buckets.contains_key(&cause) || self.buckets.len() < PEERS_MAX {
            return cause;
        }
        self.buckets.retain(|_, bucket| {
            bucket.refill(now);
            bucket.tokens < BURST || bucket.unwritten > 0
        });
        if self.buckets.len() < PEERS_MAX { cause } else { Cause::Others }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(millis: u64) -> Now {
        Now { nanos: millis * 1_000_000 }
    }

    #[test]
    fn a_flood_is_a_burst_and_then_a_line_a_second() {
        let mut budget = RefusalBudget::default();
        let (flood, other) = (Cause::Uid(1000), Cause::Uid(1001));
        let written = (0..100_000).filter(|_| budget.allows(flood, at(0))).count();
        assert_eq!(written, 20);
        assert!(budget.allows(other, at(0)), "each peer has its own");
        assert_eq!(budget.take_unwritten(), [(flood, 99_980)]);
        assert_eq!(budget.take_unwritten(), []);
        let mut written = 0;
        for millis in 1..=10_000 {
            written += u32::from(budget.allows(flood, at(millis)));
        }
        assert_eq!(written, 10);
        assert_eq!(budget.take_unwritten(), [(flood, 9_990)]);
        // After a rest it has its burst again, and no more than that.
        let written = (0..100).filter(|_| budget.allows(flood, at(1_000_000))).count();
        assert_eq!(written, 20);
    }

    #[test]
    fn peers_beyond_the_buckets_share_one() {
        let mut budget = RefusalBudget::default();
        let written = (0..10_000).filter(|uid| budget.allows(Cause::Uid(*uid), at(0))).count();
        assert_eq!(written, PEERS_MAX + 20);
        assert_eq!(budget.buckets.len(), PEERS_MAX + 1);
        budget.take_unwritten();
        // Those that rest make room.
        assert!(budget.allows(Cause::Uid(77_777), at(60_000)));
        assert!(budget.buckets.contains_key(&Cause::Uid(77_777)));
    }
}
