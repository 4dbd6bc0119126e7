//! One pool's backends, counted: how many are up, and whether there are enough.

use std::sync::Arc;

use weir_proto::snapshot::{Pool, panics};

use super::watched::WatchedBackend;

/// The backends of one pool that would get sessions if they were up: its *members*.
#[derive(Debug)]
pub(super) struct Group {
    /// As it was adopted.
    pub(super) pool: Arc<Pool>,
    /// The current version does not have the pool any more.
    pub(super) is_gone: bool,
    counts: Counts,
}

/// What one backend, or all of a pool, adds up to. Only members count.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Counts {
    members: usize,
    up: usize,
    /// Up, and the last check did not fail.
    sound: usize,
    unproven: usize,
    /// Down, though it might come up if it had to.
    kept: usize,
}

impl Counts {
    fn of(watched: &WatchedBackend) -> Counts {
        let hysteresis = &watched.hysteresis;
        let count = |it: bool| usize::from(watched.is_member && it);
        Counts {
            members: count(true),
            up: count(hysteresis.is_up()),
            sound: count(hysteresis.is_sound()),
            unproven: count(hysteresis.is_unproven()),
            kept: count(!hysteresis.is_up() && watched.is_kept()),
        }
    }

    fn each(self, other: Counts, with: impl Fn(usize, usize) -> usize) -> Counts {
        Counts {
            members: with(self.members, other.members),
            up: with(self.up, other.up),
            sound: with(self.sound, other.sound),
            unproven: with(self.unproven, other.unproven),
            kept: with(self.kept, other.kept),
        }
    }
}

impl Group {
    /// None of these is counted yet.
    pub(super) fn new(pool: Arc<Pool>) -> Group {
        Group { pool, is_gone: false, counts: Counts::default() }
    }

    /// Counts one more.
    pub(super) fn add(&mut self, watched: &WatchedBackend) {
        self.counts = self.counts.each(Counts::of(watched), |a, b| a + b);
    }

    /// Takes out what [`Group::add`] has counted of it.
    pub(super) fn subtract(&mut self, watched: &WatchedBackend) {
        self.counts = self.counts.each(Counts::of(watched), |a, b| a - b);
    }

    /// Members that are up, and all that count. Unproven ones count only if there is no other:
    /// they are not missing yet.
    pub(super) fn members(&self) -> (usize, usize) {
        let Counts { up, members, unproven, .. } = self.counts;
        (up, if unproven < members { members - unproven } else { members })
    }

    pub(super) fn is_in_panic(&self) -> bool {
        let (up, members) = self.members();
        panics(self.pool.health.panic, up, members)
    }

    /// No member is up.
    pub(super) fn is_empty(&self) -> bool {
        self.counts.up == 0
    }

    /// Some member is kept down that may have to come up: none other is sound, or too few are up.
    pub(super) fn needs_more(&self) -> bool {
        self.counts.kept > 0 && (self.counts.sound == 0 || self.is_in_panic())
    }
}
