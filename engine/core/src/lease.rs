//! One shard's part of a limit that all shards share.
//!
//! ```text
//! control ──credits given──▶ held ──a session begins──▶ used ──it ends──▶ held
//!                              └──more than `keep`, or unused while others lack──▶ back to control
//! ```
//! A shard admits only while `used < held`. Control gives only what it has, so the shards together
//! never hold more than the limit. What is used is counted by the owner of the lease.

use weir_proto::order::Wish;

/// The credits of one shard under one limit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Lease {
    /// All that control has ever given, as far as this shard has heard.
    given: u64,
    held: u32,
    /// Somebody else lacks credits: what is unused goes back, and at the end of a session what is
    /// more than this goes back although a client waits here.
    keep: Option<u32>,
    /// Given for clients that wait here, and not used yet: these do not go back before.
    fresh: u32,
    /// It asks for credits before a client waits.
    ahead: bool,
    /// As control was told, and has not granted.
    wish: Wish,
    /// Control does not know this state yet.
    is_news: bool,
}

impl Lease {
    /// A lease over `used` sessions that are there already: nobody is cut, they count; and nobody
    /// comes for one who leaves before control has said whether there are too many.
    #[must_use]
    pub fn new(used: u32) -> Lease {
        let (keep, wish) = (Some(0), Wish::None);
        Lease { given: 0, held: used, keep, fresh: 0, ahead: false, wish, is_news: true }
    }

    /// The same of something that is chosen by whether it has room: it asks for a credit as soon as
    /// none is left, for no client would wait for it as long as there is another choice.
    #[must_use]
    pub fn ahead(used: u32) -> Lease {
        Lease { ahead: true, ..Lease::new(used) }
    }

    /// True if it asks for a credit as soon as none is left.
    #[must_use]
    pub fn asks_ahead(&self) -> bool {
        self.ahead
    }

    /// Credits that this shard holds, used ones included.
    #[must_use]
    pub fn held(&self) -> u32 {
        self.held
    }

    /// True if others lack credits.
    #[must_use]
    pub fn is_lacked(&self) -> bool {
        self.keep.is_some()
    }

    /// Unused credits that others lack: with no client waiting here they go back at once.
    #[must_use]
    pub fn owed(&self, used: u32) -> u32 {
        self.keep.map_or(0, |_| self.room(used))
    }

    /// How many more may be admitted.
    #[must_use]
    pub fn room(&self, used: u32) -> u32 {
        self.held.saturating_sub(used)
    }

    /// Control's word: the sum of all that it has given, and what is to be kept. Hearing it twice
    /// changes nothing.
    pub fn hear(&mut self, given: u64, keep: Option<u32>) {
        let more = u32::try_from(given.saturating_sub(self.given)).unwrap_or(u32::MAX);
        self.given = self.given.max(given);
        self.held = self.held.saturating_add(more);
        self.fresh = self.fresh.saturating_add(more);
        self.keep = keep;
        if more > 0 {
            // The wish has been granted; if it was not enough, it is said again.
            self.wish = Wish::None;
        }
    }

    /// The limit was lowered: until control says so nobody is admitted, not even for one who
    /// leaves.
    pub fn lower(&mut self, used: u32) {
        (self.held, self.fresh, self.keep) = (used, 0, Some(0));
    }

    /// A session has come from another shard: it counts, whether there is a credit for it or not.
    pub fn resume(&mut self, used: u32) {
        self.is_news |= used > self.held;
        self.held = self.held.max(used);
    }

    /// A new version is in use: control hears all of it again.
    pub fn tell_again(&mut self) {
        self.is_news = true;
    }

    /// Before clients are admitted: gives back what others lack. `waits`: a client waits here.
    pub fn give_back(&mut self, used: u32, waits: bool) {
        let Some(keep) = self.keep else { return };
        let unused = self.room(used);
        let spare = if waits {
            unused.saturating_sub(self.fresh).min(self.held.saturating_sub(keep))
        } else {
            unused
        };
        self.held -= spare;
        self.is_news |= spare > 0;
    }

    /// After clients were admitted: wants a credit if a client still waits. If none does, what was
    /// given and not needed goes back now: nothing else may happen here that would return it.
    pub fn settle(&mut self, used: u32, waits: bool) {
        self.fresh = if waits { self.fresh.min(self.room(used)) } else { 0 };
        if !waits {
            self.give_back(used, false);
        }
        let wish = match (self.room(used) == 0, waits) {
            (true, true) => Wish::Needed,
            (true, false) if self.ahead => Wish::Spare,
            // It stands until it is granted: to take it back would be a word for each session that
            // ends, and another one for the next.
            (false, _) if self.wish == Wish::Spare => Wish::Spare,
            _ => Wish::None,
        };
        self.is_news |= wish != self.wish;
        self.wish = wish;
    }

    /// What control should hear, if it does not know it: the credits that it has given as far as
    /// they were heard of, those held, and whether more are wanted.
    pub fn take_news(&mut self) -> Option<(u64, u32, Wish)> {
        core::mem::take(&mut self.is_news).then_some((self.given, self.held, self.wish))
    }

    /// True if [`Lease::take_news`] has something to tell.
    #[must_use]
    pub fn is_news(&self) -> bool {
        self.is_news
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lease(held: u32) -> Lease {
        let mut lease = Lease::new(0);
        lease.hear(u64::from(held), None);
        lease.settle(0, false);
        lease.take_news();
        lease
    }

    #[test]
    fn a_credit_is_given_once_however_often_it_is_said() {
        let mut lease = Lease::new(0);
        assert_eq!(lease.take_news(), Some((0, 0, Wish::None)));
        lease.hear(3, None);
        lease.hear(3, None);
        lease.hear(2, None);
        assert_eq!((lease.held(), lease.room(2)), (3, 1));
    }

    #[test]
    fn a_client_that_waits_without_a_credit_is_told_once() {
        let mut lease = lease(1);
        lease.settle(1, true);
        assert_eq!(lease.take_news(), Some((1, 1, Wish::Needed)));
        lease.settle(1, true);
        assert_eq!(lease.take_news(), None);
        lease.settle(1, false); // it has left
        assert_eq!(lease.take_news(), Some((1, 1, Wish::None)));
        lease.settle(1, true);
        lease.take_news();
        lease.hear(2, None);
        lease.settle(2, true); // one was not enough
        assert_eq!(lease.take_news(), Some((2, 2, Wish::Needed)));
    }

    #[test]
    fn what_others_lack_goes_back() {
        for (held, used, keep, waits, back) in [
            (5, 2, None, false, 0),
            (5, 2, Some(0), false, 3), // unused
            (5, 2, Some(5), false, 3), // unused, whatever may be kept
            (5, 4, Some(2), true, 1),  // a session has just ended: the other shard's turn
            (5, 4, Some(5), true, 0),  // this shard's own client is served
            (5, 5, Some(0), true, 0),  // nobody is cut
        ] {
            let mut lease = lease(held);
            lease.hear(u64::from(held), keep);
            lease.give_back(used, waits);
            assert_eq!(held - lease.held(), back, "{held} {used} {keep:?} {waits}");
            assert_eq!(lease.is_news(), back > 0);
        }
    }

    #[test]
    fn a_credit_that_was_given_for_a_client_is_used_before_it_goes_back() {
        let mut lease = lease(0);
        lease.hear(1, Some(0));
        lease.give_back(0, true);
        assert_eq!(lease.room(0), 1, "it was given for the client that waits");
        lease.settle(1, true); // admitted; another one waits
        lease.give_back(0, true); // the first one has ended
        assert_eq!(lease.held(), 0);
        lease.hear(2, Some(0));
        lease.settle(0, false); // the client has left
        lease.give_back(0, false);
        assert_eq!(lease.held(), 0);
    }

    #[test]
    fn what_was_given_beyond_the_need_goes_back_in_the_same_turn() {
        let mut lease = lease(20);
        lease.hear(23, Some(24)); // two clients wait here, one at another shard
        lease.give_back(20, true);
        lease.settle(22, false);
        assert_eq!(lease.take_news(), Some((23, 22, Wish::None)));
    }

    #[test]
    fn one_that_asks_ahead_says_so_once_however_often_its_last_credit_comes_and_goes() {
        let mut lease = Lease::ahead(0);
        lease.settle(0, false);
        assert_eq!(lease.take_news(), Some((0, 0, Wish::Spare)));
        lease.hear(2, None);
        for used in [1, 2] {
            lease.settle(used, false);
        }
        assert_eq!(lease.take_news(), Some((2, 2, Wish::Spare)));
        for used in [1, 2, 1, 2] {
            lease.give_back(used, false);
            lease.settle(used, false);
        }
        assert_eq!(lease.take_news(), None, "none is lacked: an end and a begin are no news");
        lease.settle(2, true);
        assert_eq!(lease.take_news(), Some((2, 2, Wish::Needed)));
        lease.hear(2, Some(0));
        lease.give_back(1, false); // another shard lacks what has become free
        lease.settle(1, false);
        assert_eq!(lease.take_news(), Some((2, 1, Wish::Spare)));
    }

    #[test]
    fn a_lower_limit_leaves_what_is_used() {
        let mut lease = lease(9);
        lease.lower(4);
        assert_eq!((lease.held(), lease.room(4)), (4, 0));
        lease.give_back(3, true); // one has left, another one waits
        assert_eq!((lease.held(), lease.room(3)), (3, 0));
        lease.hear(10, None);
        assert_eq!(lease.room(3), 1);
    }
}
