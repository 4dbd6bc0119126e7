//! Which priority groups of a pool take sessions, and who has to be told when that changes.

use std::collections::{BTreeMap, BTreeSet};

use weir_core::priority::GroupTally;
use weir_proto::ids::{BackendId, PoolId};

use super::Health;
use super::group::Group;

/// Pools with several priority groups.
#[derive(Debug, Default)]
pub(super) struct Priorities {
    /// The groups that pools with `failover = "stay"` used when weir last ran, by the pool's name.
    remembered: BTreeMap<String, u8>,
    /// Pools in which a group is kept.
    staying: BTreeSet<PoolId>,
    /// Pools of which other backends may stand aside, or be forced, than shards know.
    restated: BTreeSet<PoolId>,
    /// Pools whose sessions go to other groups than people know.
    moved: BTreeSet<PoolId>,
    /// [`Health::to_remember`] may say something else than before.
    is_news: bool,
}

impl Health {
    /// Goes on with the groups that pools used, by name, when weir last ran. Those of pools that
    /// the first version does not have are forgotten by an empty list after it.
    pub fn remember(&mut self, in_use: BTreeMap<String, u8>) {
        self.priorities.remembered = in_use;
    }

    /// The group in use of every pool that keeps it, by the pool's name.
    #[must_use]
    pub fn to_remember(&self) -> BTreeMap<String, u8> {
        let staying = self.priorities.staying.iter().filter_map(|id| self.groups.get(id));
        let staying = staying.filter(|group| !group.is_gone);
        staying.filter_map(|group| Some((group.pool.name.to_string(), group.in_use()?))).collect()
    }

    /// Works out again which groups of a pool take sessions, after one of its backends changed.
    pub(super) fn share_out(&mut self, id: PoolId) {
        let Some(group) = self.groups.get_mut(&id) else { return };
        let before: Vec<u32> = group.priorities().map(|(_, _, share)| share).collect();
        let in_use = group.in_use();
        group.share_out(in_use);
        if group.priorities().map(|(_, _, share)| share).eq(before) {
            return;
        }
        // Whether a pool with one group has anybody up is no matter of groups.
        if group.priorities().count() > 1 {
            self.priorities.moved.insert(id);
        }
        if group.stays() {
            self.priorities.restated.insert(id);
            self.priorities.is_news = true;
        }
    }

    /// The same for a pool of the next version, which takes the place of `before`.
    pub(super) fn share_out_next(&mut self, group: &mut Group, before: Option<&Group>) {
        let Priorities { remembered, staying, restated, moved, is_news } = &mut self.priorities;
        let last = remembered.remove(group.pool.name.as_str());
        let (id, is_new) = (group.pool.id, before.is_none());
        let in_use = before.map_or(last, |before| before.in_use_next(&group.pool));
        group.share_out(in_use);
        super::set_member(staying, id, group.stays());
        if group.stays() || before.is_some_and(Group::stays) {
            restated.insert(id);
            *is_news = true;
        }
        let is_first =
            group.priorities().next().is_none_or(|first| Some(first.0) == group.in_use());
        let shares = |group: &Group| {
            let shares = group.priorities().map(|(priority, _, share)| (priority, share));
            shares.filter(|(_, share)| *share > 0).collect::<Vec<_>>()
        };
        let has_moved = before.is_some_and(|before| shares(before) != shares(group));
        if group.priorities().count() > 1 && (has_moved || (is_new && !is_first)) {
            moved.insert(id);
        }
    }

    /// Shards hear again of each backend of the pool.
    pub(super) fn restate(&mut self, id: PoolId) {
        self.priorities.restated.insert(id);
    }

    pub(super) fn forget_priorities(&mut self, id: PoolId) {
        self.priorities.is_news |= self.priorities.staying.remove(&id);
        self.priorities.restated.remove(&id);
        self.priorities.moved.remove(&id);
    }

    /// The priority of each group of a pool, what is up of it, and its part of the new sessions, of
    /// [`WHOLE`](weir_core::priority::WHOLE).
    pub fn groups_of(&self, pool: PoolId) -> Vec<(u8, GroupTally, u32)> {
        self.groups.get(&pool).map_or(Vec::new(), |group| group.priorities().collect())
    }

    /// Every backend that stands aside since another group of its pool is kept.
    pub fn aside(&self) -> impl Iterator<Item = BackendId> {
        let staying = self.priorities.staying.iter().filter_map(|id| self.groups.get(id));
        let all = staying.flat_map(|group| group.pool.backends.iter().map(|backend| backend.id));
        all.filter(|id| self.is_aside(*id))
    }

    /// True if the backend stands aside: another group of its pool is kept.
    pub fn is_aside(&self, id: BackendId) -> bool {
        let Some(watched) = self.watched.get(&id).filter(|watched| !watched.leaves) else {
            return false;
        };
        self.groups.get(&watched.pool_id).is_some_and(|group| group.is_aside(watched))
    }

    /// True if shards may not know of everybody who stands aside.
    pub fn has_restated(&self) -> bool {
        !self.priorities.restated.is_empty()
    }

    /// Takes the backends of the pools in which others may stand aside than shards know.
    pub(crate) fn take_restated(&mut self) -> Vec<BackendId> {
        let pools = std::mem::take(&mut self.priorities.restated);
        let groups = pools.iter().filter_map(|id| self.groups.get(id));
        groups.flat_map(|group| group.pool.backends.iter().map(|backend| backend.id)).collect()
    }

    /// True if [`Health::to_remember`] may say something else than when this was asked last.
    pub(crate) fn take_remember_news(&mut self) -> bool {
        std::mem::take(&mut self.priorities.is_news)
    }

    /// Takes the pools whose sessions go to other groups than before.
    pub(crate) fn take_moved(&mut self) -> BTreeSet<PoolId> {
        std::mem::take(&mut self.priorities.moved)
    }
}
