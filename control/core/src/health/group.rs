//! One pool's backends, counted: how many are up, whether there are enough, and which of its
//! priority groups take sessions.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use weir_core::priority::{self, GroupRule, GroupTally, WHOLE};
use weir_proto::order::BackendHealth;
use weir_proto::snapshot::Pool;
use weir_proto::spec::{Failover, Name};

use super::watched::WatchedBackend;

/// The backends of one pool that would get sessions if they were up: its *members*.
#[derive(Debug)]
pub(super) struct Group {
    /// As it was adopted.
    pub(super) pool: Arc<Pool>,
    /// The current version does not have the pool any more.
    pub(super) is_gone: bool,
    counts: Counts,
    /// Its priority groups, in rising order.
    priorities: Vec<PriorityGroup>,
    is_in_panic: bool,
}

/// One priority group of a pool.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct PriorityGroup {
    priority: u8,
    tally: GroupTally,
    /// Its part of the new sessions, of [`WHOLE`].
    share: u32,
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
        let count = |it: bool| usize::from(watched.is_member && it);
        Counts {
            members: count(true),
            up: count(watched.is_up()),
            sound: count(watched.is_sound()),
            unproven: count(watched.health() == BackendHealth::Unproven),
            kept: count(!watched.is_up() && watched.is_kept()),
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
        let (tally, share) = (GroupTally::default(), 0);
        let priorities = pool.priorities().into_iter();
        let priorities =
            priorities.map(|priority| PriorityGroup { priority, tally, share }).collect();
        Group { pool, is_gone: false, counts: Counts::default(), priorities, is_in_panic: false }
    }

    /// Counts one more.
    pub(super) fn add(&mut self, watched: &WatchedBackend) {
        self.counts = self.counts.each(Counts::of(watched), |a, b| a + b);
        self.tally(watched, |a, b| a + b);
    }

    /// Takes out what [`Group::add`] has counted of it.
    pub(super) fn subtract(&mut self, watched: &WatchedBackend) {
        self.counts = self.counts.each(Counts::of(watched), |a, b| a - b);
        self.tally(watched, |a, b| a - b);
    }

    fn tally(&mut self, watched: &WatchedBackend, with: impl Fn(u32, u32) -> u32) {
        if watched.leaves {
            return;
        }
        let one = GroupTally::one((watched.is_member, watched.weight), watched.health());
        if let Some(group) = self.priorities.iter_mut().find(|it| it.priority == watched.priority) {
            group.tally = group.tally.each(one, with);
        }
    }

    /// Works out again which priority groups take sessions, after backends were counted; `before`
    /// is the priority of the group that was in use.
    pub(super) fn share_out(&mut self, before: Option<u8>) {
        let tallies: Vec<GroupTally> = self.priorities.iter().map(|it| it.tally).collect();
        let mut shares = vec![0; tallies.len()];
        let rule = GroupRule::of(&self.pool);
        self.is_in_panic = priority::share_out(&tallies, rule, &mut shares);
        if self.stays() {
            let index = |priority| self.priorities.iter().position(|it| it.priority == priority);
            let kept = priority::keep(&tallies, rule, before.and_then(index));
            let is_kept = |index| kept == Some(index);
            shares = (0..shares.len()).map(|it| if is_kept(it) { WHOLE } else { 0 }).collect();
        }
        self.priorities.iter_mut().zip(shares).for_each(|(group, share)| group.share = share);
    }

    /// True if it has priority groups of which the one in use is kept.
    pub(super) fn stays(&self) -> bool {
        self.pool.spec.failover == Failover::Stay && self.priorities.len() > 1
    }

    /// The priority of the first group that takes sessions.
    pub(super) fn in_use(&self) -> Option<u8> {
        self.priorities.iter().find(|group| group.share > 0).map(|group| group.priority)
    }

    /// The priority that the group in use has in the next version of the pool. A group is its
    /// backends, not its number: it is where most of them are, by name.
    pub(super) fn in_use_next(&self, next: &Pool) -> Option<u8> {
        let in_use = self.in_use()?;
        if next.spec.failover != Failover::Stay {
            return Some(in_use); // it only counts where a group is kept
        }
        let members = self.pool.backends.iter().filter(|it| it.priority == in_use);
        let members: BTreeSet<&Name> = members.map(|it| &it.name).collect();
        let mut counts: BTreeMap<u8, usize> = BTreeMap::new();
        for backend in next.backends.iter().filter(|it| members.contains(&it.name)) {
            *counts.entry(backend.priority).or_default() += 1;
        }
        let most = counts.into_iter().rev().max_by_key(|(_, count)| *count);
        Some(most.map_or(in_use, |(priority, _)| priority))
    }

    /// The same, if the group in use is one that is kept now and in the next version.
    pub(super) fn kept_next(&self, next: &Pool) -> Option<u8> {
        if !self.stays() || next.spec.failover != Failover::Stay {
            return None;
        }
        self.in_use_next(next)
    }

    /// The priority of each group, what is up of it, and its part of the new sessions, of
    /// [`WHOLE`].
    pub(super) fn priorities(&self) -> impl Iterator<Item = (u8, GroupTally, u32)> + '_ {
        self.priorities.iter().map(|group| (group.priority, group.tally, group.share))
    }

    /// True if the backend belongs to a group that does not take sessions since another is kept.
    pub(super) fn is_aside(&self, watched: &WatchedBackend) -> bool {
        self.stays() && self.in_use().is_some_and(|priority| priority != watched.priority)
    }

    /// Members that are up, and all that count. Unproven ones count only if there is no other:
    /// they are not missing yet.
    pub(super) fn members(&self) -> (usize, usize) {
        let Counts { up, members, unproven, .. } = self.counts;
        (up, if unproven < members { members - unproven } else { members })
    }

    pub(super) fn is_in_panic(&self) -> bool {
        self.is_in_panic
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
