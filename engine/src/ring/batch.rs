//! How many answers one wait asks for: under load several, so that a turn is worth its
//! io_uring_enter(2); in quiet times one, so that nobody waits for company.
//!
//! The kernel also runs at most max(20, asked for) deferred completions in one pass
//! (IO_LOCAL_TW_DEFAULT_MAX, 6.13), so asking for more is what makes larger batches possible.

/// What is asked for at most.
const MOST: u32 = 64;

/// Mean answers of a turn below which a wait asks for one answer only.
const BUSY: u32 = 8;

/// How long a wait may hold answers back until it has as many as it asks for, in microseconds
/// (IORING_FEAT_MIN_TIMEOUT, 6.12; older kernels are asked for one).
pub(super) const MIN_WAIT_US: u32 = 20;

/// Remembers how many answers came lately.
pub(super) struct Batch {
    /// The mean of the last waits, times 8.
    mean: u32,
    /// Answers since the last wait.
    seen: u32,
    /// The kernel knows how to wait for several, but not for long.
    possible: bool,
}

impl Batch {
    pub(super) fn new(possible: bool) -> Batch {
        Batch { mean: 0, seen: 0, possible }
    }

    /// An answer has been taken.
    pub(super) fn count(&mut self) {
        self.seen += 1;
    }

    /// How many answers the wait that follows should ask for.
    pub(super) fn want(&mut self) -> u32 {
        self.mean = self.mean - self.mean / 8 + self.seen;
        self.seen = 0;
        let mean = self.mean / 8;
        if self.possible && mean >= BUSY { (mean / 2).min(MOST) } else { 1 }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn steady(batch: &mut Batch, each: u32) -> u32 {
        (0..100).fold(0, |_, _| {
            (0..each).for_each(|_| batch.count());
            batch.want()
        })
    }

    #[test]
    fn it_asks_for_several_only_under_load() {
        let mut batch = Batch::new(true);
        assert_eq!(batch.want(), 1);
        assert_eq!(steady(&mut batch, 2), 1);
        assert_eq!(steady(&mut batch, 40), 20);
        assert_eq!(steady(&mut batch, 1000), MOST);
        assert_eq!(steady(&mut batch, 1), 1, "and forgets when it gets quiet");
        assert_eq!(steady(&mut Batch::new(false), 1000), 1, "an older kernel");
    }
}
