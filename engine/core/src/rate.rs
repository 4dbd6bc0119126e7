//! One shard's part of a rate that all shards share.
//!
//! A credit is a right to a share of the rate: with K of the C credits that a burst has, a shard
//! gains K/C of the rate in tokens and keeps K of them at most. A session costs one. Credits come
//! and go with a whole token each, and gain nothing on their way, so all shards together never let
//! in more than a burst and the rate times a span of time within it (docs/adr/0045).

use core::time::Duration;

use weir_proto::order::Wish;
use weir_proto::spec::Rate;

use crate::base::clock::Now;
use crate::lease::Lease;

/// A token, in the units in which they are counted.
const WHOLE: u64 = 1_000_000_000;
/// No credit takes longer to gain its token: a session a second is the lowest rate.
pub const GAIN_MAX: Duration = Duration::from_secs(1);

/// The credits of one shard under one rate, and their tokens.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RateLease {
    lease: Lease,
    rate: Rate,
    /// Of [`WHOLE`] each, as of `at`. Never more than there are credits, those aside that have come
    /// since.
    tokens: u64,
    at: Now,
    /// Credits that have come since `at`, with a token each.
    fresh: u32,
}

impl RateLease {
    /// A lease of a rate without a credit. Sessions that are there already do not count.
    #[must_use]
    pub fn new(rate: Rate) -> RateLease {
        RateLease { lease: Lease::new(0), rate, tokens: 0, at: Now::default(), fresh: 0 }
    }

    /// The same of something that is chosen by whether it has room, see [`Lease::ahead`].
    #[must_use]
    pub fn ahead(rate: Rate) -> RateLease {
        RateLease { lease: Lease::ahead(0), ..RateLease::new(rate) }
    }

    /// The same under a version in which it may be another one. A lower one leaves no token:
    /// control says first how many credits there are too many.
    #[must_use]
    pub fn under(mut self, rate: Rate) -> RateLease {
        if rate.burst() < self.rate.burst() {
            self.lease.lower(self.used());
            (self.tokens, self.fresh) = (self.tokens % WHOLE, 0);
        }
        self.rate = rate;
        self.lease.tell_again();
        self
    }

    /// Sessions that may begin now, as of the last [`RateLease::gain`].
    #[must_use]
    pub fn room(&self) -> u32 {
        u32::try_from(self.tokens / WHOLE).unwrap_or(u32::MAX)
    }

    /// Credits that this shard holds.
    #[must_use]
    pub fn held(&self) -> u32 {
        self.lease.held()
    }

    /// Credits with a whole token that others lack, at this moment.
    #[must_use]
    pub fn owed(mut self, now: Now) -> u32 {
        self.gain(now);
        self.lease.owed(self.used())
    }

    /// Control's word, as for any lease.
    pub fn hear(&mut self, given: u64, keep: Option<u32>) {
        let before = self.lease.held();
        self.lease.hear(given, keep);
        self.fresh += self.lease.held() - before;
    }

    /// Adds the tokens that time has brought.
    pub fn gain(&mut self, now: Now) {
        let old = u64::from(self.lease.held() - self.fresh);
        let elapsed = (now - self.at).min(GAIN_MAX).as_nanos();
        let gained = elapsed * u128::from(self.rate.events()) * u128::from(old)
            / u128::from(self.rate.burst());
        let gained = u64::try_from(gained).unwrap_or(u64::MAX);
        let tokens = self.tokens.saturating_add(gained).min(old * WHOLE);
        self.tokens = tokens + u64::from(self.fresh) * WHOLE;
        (self.at, self.fresh) = (now, 0);
    }

    /// A session begins, at the moment of the last [`RateLease::gain`].
    pub fn spend(&mut self) {
        debug_assert!(self.tokens >= WHOLE, "a session has a token");
        self.tokens = self.tokens.saturating_sub(WHOLE);
    }

    /// Before clients are admitted: gives back what others lack.
    pub fn give_back(&mut self, waits: bool) {
        self.on_lease(waits, Lease::give_back);
    }

    /// After clients were admitted. Returns when there is something to do here though nothing else
    /// happens: a client waits for a token, or others for a credit whose token is spent. Under a
    /// rate that asks ahead, when there is a token again.
    pub fn settle(&mut self, waits: bool) -> Option<Now> {
        self.on_lease(waits, Lease::settle);
        let is_awaited = if waits || self.lease.asks_ahead() {
            self.room() == 0
        } else {
            self.lease.is_lacked()
        };
        let held = u64::from(self.lease.held());
        let is_full = self.tokens >= held * WHOLE;
        (is_awaited && !is_full).then(|| {
            let missing = u128::from(WHOLE - self.tokens % WHOLE) * u128::from(self.rate.burst());
            let each = u128::from(self.rate.events()) * u128::from(held);
            let nanos = u64::try_from(missing.div_ceil(each)).unwrap_or(u64::MAX);
            Now::from_nanos(self.at.nanos.saturating_add(nanos))
        })
    }

    /// A new version is in use: control hears all of it again.
    pub fn tell_again(&mut self) {
        self.lease.tell_again();
    }

    /// The news for control, as of any lease.
    pub fn take_news(&mut self) -> Option<(u64, u32, Wish)> {
        self.lease.take_news()
    }

    /// True if [`RateLease::take_news`] has something to tell.
    #[must_use]
    pub fn is_news(&self) -> bool {
        self.lease.is_news()
    }

    /// Credits whose token is spent.
    fn used(&self) -> u32 {
        (self.lease.held() - self.fresh).saturating_sub(self.room())
    }

    fn on_lease(&mut self, waits: bool, work: fn(&mut Lease, u32, bool)) {
        let before = self.lease.held();
        let used = self.used();
        work(&mut self.lease, used, waits);
        self.tokens -= u64::from(before - self.lease.held()) * WHOLE;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(ms: u64) -> Now {
        Now::from_nanos(1_000_000_000 + ms * 1_000_000)
    }

    /// A lease of this rate with this many credits, at 0 ms.
    fn lease(rate: u32, held: u32) -> RateLease {
        let mut lease = RateLease::new(Rate::per_second(rate));
        lease.hear(held.into(), None);
        lease.gain(at(0));
        lease.settle(false);
        lease.take_news();
        lease
    }

    fn spend(lease: &mut RateLease, count: u32) {
        (0..count).for_each(|_| lease.spend());
    }

    #[test]
    fn tokens_come_with_time_as_credits_have_a_share_of_the_rate() {
        // A burst is 10 of 100/s: half of the credits are 50/s.
        let mut half = lease(100, 5);
        assert_eq!(half.room(), 5, "each credit comes with a token");
        spend(&mut half, 5);
        for (ms, room) in [(19, 0), (20, 1), (40, 2), (99, 4), (100, 5), (5000, 5)] {
            half.gain(at(ms));
            assert_eq!(half.room(), room, "after {ms} ms");
        }
        let mut one = lease(1, 1);
        one.spend();
        for (ms, room) in [(999, 0), (1000, 1)] {
            one.gain(at(ms));
            assert_eq!(one.room(), room, "after {ms} ms");
        }
    }

    #[test]
    fn a_credit_gains_nothing_before_it_has_come() {
        let mut lease = lease(100, 5);
        spend(&mut lease, 5);
        lease.hear(10, None);
        assert_eq!(lease.room(), 0, "it counts from the next look on");
        lease.gain(at(20));
        assert_eq!(lease.room(), 6, "one by time, and one of each that came");
    }

    #[test]
    fn whole_tokens_go_back_with_their_credits_and_the_others_when_they_are_whole() {
        let mut lease = lease(100, 4);
        spend(&mut lease, 3);
        lease.hear(4, Some(0));
        lease.give_back(false);
        assert_eq!((lease.held(), lease.room()), (3, 0));
        // Three credits gain one token in 33.4 ms.
        assert_eq!(lease.settle(false), Some(Now::from_nanos(at(33).nanos + 333_334)));
        lease.gain(at(34));
        assert_eq!(lease.owed(at(34)), 1);
        lease.give_back(false);
        assert_eq!((lease.held(), lease.room()), (2, 0));
        lease.take_news();
        assert_eq!(lease.owed(at(5000)), 2);
    }

    #[test]
    fn a_client_that_waits_wakes_the_shard_when_its_token_is_there() {
        let mut lease = lease(10, 1);
        assert_eq!(lease.settle(true), None, "there is room");
        lease.spend();
        let until = lease.settle(true).unwrap();
        assert_eq!(until, at(100));
        assert_eq!(lease.take_news(), Some((1, 1, Wish::Needed)));
        lease.gain(until);
        assert_eq!(lease.room(), 1);
        let mut none = RateLease::new(Rate::per_second(10));
        assert_eq!(none.settle(true), None, "control gives the first");
    }

    #[test]
    fn a_lower_rate_leaves_no_token_before_control_has_said_how_many_there_are() {
        let mut lease = lease(100, 10).under(Rate::per_second(10));
        lease.gain(at(0));
        assert_eq!((lease.held(), lease.room()), (0, 0), "all were unused");
        let mut used = self::lease(100, 10);
        spend(&mut used, 10);
        let mut used = used.under(Rate::per_second(10));
        assert_eq!(used.held(), 10);
        used.gain(at(50));
        used.give_back(true);
        assert_eq!(used.room(), 0, "none of what is too much lets anybody in");
        let same = self::lease(100, 10).under(Rate::per_second(200));
        assert_eq!((same.held(), same.room()), (10, 10));
    }
}
