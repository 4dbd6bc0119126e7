//! A new version: whom Health watches from now on.
//!
//! Whom it adds is watched before it is sent, a pool at a time; whom it no longer has is left alone
//! after it was sent, a pool at a time. In between is [`Health::settle`], which takes as long as
//! there are pools.

use std::collections::BTreeSet;
use std::rc::Rc;
use std::sync::Arc;

use weir_core::base::clock::Now;
use weir_proto::ids::{BackendId, PoolId};
use weir_proto::snapshot::{Backend, Pool, Snapshot};
use weir_proto::spec::Force;

use crate::batch::Batch;

use super::group::Group;
use super::plan::{CheckPlan, checked_address};
use super::watched::{Due, Follow, WatchedBackend};
use super::{Health, later, set_member};

/// Facts that all pools of a version have in common while they are prepared.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Scope {
    /// Each pool is looked into, also one that is as before.
    pub(crate) all: bool,
    /// See [`spread_ns`].
    spread: u64,
}

impl Health {
    /// Watches the backends of `snapshot` and no others. What is known of a backend is carried
    /// over; a changed health spec begins its schedule again. One that is new, or was not checked
    /// for a while, waits for its first good check if others of its pool serve. If one
    /// comes up because its checks were switched off, the change waits in `untold` for control.
    ///
    /// Only pools that are not the same as before are looked into: most changes are of one backend
    /// among many thousands.
    pub fn adopt(&mut self, snapshot: &Snapshot, now: Now) {
        let scope = self.begin(snapshot);
        snapshot.pools.iter().for_each(|pool| self.prepare(pool, scope, now));
        self.settle(snapshot, now);
        self.sweep(usize::MAX);
    }

    /// Begins with the next version.
    pub(crate) fn begin(&mut self, snapshot: &Snapshot) -> Scope {
        let wildcards = snapshot.wildcard_binds();
        let all = wildcards != self.wildcards;
        self.wildcards = wildcards;
        Scope { all, spread: spread_ns(snapshot) }
    }

    /// Watches the backends of a pool of the next version, if there is something to do about it.
    /// Those that the pool no longer has are watched on, and count no more.
    pub(crate) fn prepare(&mut self, pool: &Arc<Pool>, scope: Scope, now: Now) {
        let group = self.groups.get(&pool.id);
        if !scope.all && group.is_some_and(|group| group.pool.since == pool.since) {
            return;
        }
        let beside = self.serves(pool, |_| true);
        // Of a group that is kept, the others stand aside: they do not serve in its place.
        let kept = group.and_then(|group| group.kept_next(pool));
        let beside_kept = kept.is_some_and(|kept| self.serves(pool, |it| it.priority == kept));
        let was_member = |it: &Backend| self.watched.get(&it.id).is_some_and(|old| old.is_member);
        let stays = pool.backends.iter().any(|it| it.is_member() && was_member(it));
        let before = self.groups.remove(&pool.id);
        let mut group = Group::new(pool.clone());
        for backend in &pool.backends {
            let mut watched = self
                .watched
                .remove(&backend.id)
                .unwrap_or_else(|| WatchedBackend::new(pool, backend, now));
            let (mut was_up, mut was_forced) = (watched.is_up(), watched.force);
            let was_called = watched.is_called_down;
            if stays && backend.is_member() && !watched.is_member {
                watched.ramps_since = Some(now);
            }
            let may_be_weir = self.wildcards.takes(checked_address(&pool.health, backend.address));
            let plan = watched.plan.clone();
            let beside = if kept == Some(backend.priority) { beside_kept } else { beside };
            let follow = watched.follow(pool, backend, (beside, may_be_weir), now);
            let inherited = self.inherited.remove(&backend.id);
            if let Some(inherited) = &inherited {
                watched.take_legacy(inherited);
                (was_up, was_forced) = (watched.is_up(), watched.force);
            }
            match follow {
                Follow::Check(after) => {
                    self.give_plan(&mut watched, plan.as_ref(), after);
                    // At once, but a thousand new ones not in the same millisecond.
                    let soon = || later(now, self.prng.next_u64() % scope.spread);
                    let at = inherited.and_then(|it| it.due).unwrap_or_else(soon);
                    self.set_next(&mut watched, at, now);
                }
                Follow::Leave => {
                    if let Some(plan) = plan {
                        self.take_plan(&mut watched, &plan);
                    }
                    let end = watched.hysteresis.held_until().map(Due::EndOfHold);
                    self.set_due(&mut watched, end);
                }
                Follow::Nothing => {}
            }
            self.follow_agent((pool, backend), &mut watched, scope.spread, now);
            self.tell_other(pool.id, &mut watched, (was_up, was_forced, was_called), now);
            group.add(&watched);
            self.keep(watched);
        }
        self.share_out_next(&mut group, before.as_ref());
        set_member(&mut self.panicking, pool.id, group.is_in_panic());
        self.groups.insert(pool.id, group);
        if let Some(before) = before {
            self.leave_behind(before, pool);
        }
    }

    /// A backend is up, forced or called down otherwise than before the version.
    fn tell_other(
        &mut self,
        pool: PoolId,
        watched: &mut WatchedBackend,
        (was_up, was_forced, was_called): (bool, Option<Force>, bool),
        now: Now,
    ) {
        let is_forced = watched.force != was_forced;
        if watched.is_up() != was_up && (is_forced || !was_up) {
            let reason = match watched.force.filter(|_| is_forced) {
                Some(_) => "forced by hand",
                None if is_forced => "no longer forced by hand",
                None if was_called => "its agent is asked no more",
                None => "not checked",
            };
            self.untold.push(watched.transition(reason, now));
        }
        if is_forced {
            self.restate(pool);
        }
    }

    /// Backends that the pool no longer has count no more, and are swept later.
    fn leave_behind(&mut self, before: Group, pool: &Pool) {
        let mut is_any_gone = false;
        for Backend { id, .. } in before.pool.without(Some(pool)) {
            is_any_gone = true;
            if let Some(old) = self.watched.get_mut(id) {
                (old.is_member, old.leaves) = (false, true);
            }
        }
        if is_any_gone {
            self.swept.push(before.pool);
        }
    }

    /// The next version is the current one: all of its pools are prepared.
    pub(crate) fn settle(&mut self, snapshot: &Snapshot, now: Now) {
        let pools: BTreeSet<PoolId> = snapshot.pools.iter().map(|pool| pool.id).collect();
        let mut gone_ids = Vec::new();
        let gone = self.groups.iter_mut().filter(|(id, _)| !pools.contains(id));
        for (id, group) in gone {
            group.is_gone = true;
            self.panicking.remove(id);
            gone_ids.push(*id);
            self.swept.push(group.pool.clone());
        }
        gone_ids.into_iter().for_each(|id| self.forget_priorities(id));
        self.schedule.pools(&pools);
        pools.into_iter().for_each(|pool| self.relieve(pool, now));
    }

    /// Leaves alone backends that the current version no longer has: those of one pool, and of
    /// further ones as long as these had at most `most`. True if there are more.
    pub(crate) fn sweep(&mut self, most: usize) -> bool {
        let mut batch = Batch::of(most);
        while let Some(before) = self.swept.pop_if(|before| batch.takes(before.backends.len())) {
            let after = self.groups.get(&before.id).filter(|group| !group.is_gone);
            let after = after.map(|group| group.pool.clone());
            before.without(after.as_deref()).for_each(|it| self.leave(it.id));
            if after.is_none() {
                self.groups.remove(&before.id);
                self.schedule.forget(before.id);
            }
        }
        !self.swept.is_empty()
    }

    /// Since when a backend's share of new sessions grows, as shards know it too, whatever its pool
    /// makes of that.
    #[must_use]
    pub fn ramps_since(&self, id: BackendId) -> Option<Now> {
        self.watched.get(&id)?.ramps_since
    }

    /// True if one of these backends of the pool serves already, and goes on.
    fn serves(&self, pool: &Pool, is_one: impl Fn(&Backend) -> bool) -> bool {
        pool.backends.iter().filter(|it| it.is_member() && is_one(it)).any(|backend| {
            let before = self.watched.get(&backend.id);
            before.is_some_and(|old| old.is_member && old.is_up())
        })
    }

    /// The backend is checked by another plan, or begins to be checked.
    fn give_plan(
        &mut self,
        watched: &mut WatchedBackend,
        before: Option<&Rc<CheckPlan>>,
        plan: CheckPlan,
    ) {
        if let Some(before) = before {
            self.take_plan(watched, before);
        }
        watched.plan = Some(self.shared.join(plan, watched.id));
    }

    /// The backend is checked by this plan no longer. A check that it has begun goes on.
    fn take_plan(&mut self, watched: &mut WatchedBackend, plan: &Rc<CheckPlan>) {
        self.shared.leave(plan, watched.id);
        let is_own = watched.running.is_some_and(|running| running.leader == watched.id);
        watched.running = watched.running.filter(|_| is_own);
    }

    /// It is gone from the configuration.
    fn leave(&mut self, id: BackendId) {
        self.down.remove(&id);
        self.forced.remove(&id);
        self.forget_agent(id);
        if let Some(mut gone) = self.watched.remove(&id) {
            if let Some(plan) = gone.plan.take() {
                self.shared.leave(&plan, id);
            }
            self.set_due(&mut gone, None);
        }
    }
}

/// Over how long the first checks of a snapshot's backends are spread: 100 µs for each, at most a
/// second.
fn spread_ns(snapshot: &Snapshot) -> u64 {
    let backends: usize = snapshot.pools.iter().map(|pool| pool.backends.len()).sum();
    (backends as u64 * 100_000).clamp(1, 1_000_000_000)
}
