//! A new version: whom Health watches from now on.

use std::collections::BTreeSet;
use std::sync::Arc;

use weir_core::base::clock::Now;
use weir_proto::ids::{BackendId, PoolId};
use weir_proto::snapshot::{Pool, Snapshot};

use super::group::Group;
use super::watched::{Due, Follow, WatchedBackend};
use super::{Health, later, set_member};

impl Health {
    /// Watches the backends of `snapshot` and no others. What is known of a backend is carried
    /// over; a changed health spec begins its schedule again. One that is new, or was not checked
    /// for a while, waits for its first good check if others of its pool serve. If one
    /// comes up because its checks were switched off, the change waits in `untold` for control.
    ///
    /// Only pools that are not the same as before are looked into: most changes are of one backend
    /// among many thousands.
    pub fn adopt(&mut self, snapshot: &Snapshot, now: Now) {
        let wildcards = snapshot.wildcard_binds();
        let same_wildcards = wildcards == self.wildcards;
        self.wildcards = wildcards;
        let spread = spread_ns(snapshot);
        for pool in &snapshot.pools {
            let group = self.groups.get(&pool.id);
            if !(same_wildcards && group.is_some_and(|group| group.pool.since == pool.since)) {
                self.adopt_pool(pool, spread, now);
            }
        }
        let pools: BTreeSet<PoolId> = snapshot.pools.iter().map(|pool| pool.id).collect();
        let gone: Vec<PoolId> =
            self.groups.keys().copied().filter(|id| !pools.contains(id)).collect();
        for pool in gone {
            let group = self.groups.remove(&pool);
            self.panicking.remove(&pool);
            let backends = group.iter().flat_map(|group| &group.pool.backends);
            backends.for_each(|backend| self.leave(backend.id));
        }
        self.schedule.pools(&pools);
        pools.into_iter().for_each(|pool| self.relieve(pool, now));
    }

    fn adopt_pool(&mut self, pool: &Arc<Pool>, spread: u64, now: Now) {
        let beside = self.serves(pool);
        let before = self.groups.remove(&pool.id);
        let mut group = Group::new(pool.clone());
        for backend in &pool.backends {
            let mut watched = self
                .watched
                .remove(&backend.id)
                .unwrap_or_else(|| WatchedBackend::new(pool, backend, now));
            let was_up = watched.hysteresis.is_up();
            let may_be_weir = self.wildcards.takes(backend.address);
            match watched.follow(pool, backend, (beside, may_be_weir), now) {
                Follow::Check => {
                    // At once, but a thousand new ones not in the same millisecond.
                    let at = later(now, self.prng.next_u64() % spread);
                    self.set_due(&mut watched, Some(Due::Check(at)));
                }
                Follow::Leave => {
                    let end = watched.hysteresis.held_until().map(Due::EndOfHold);
                    self.set_due(&mut watched, end);
                }
                Follow::Nothing => {}
            }
            if watched.hysteresis.is_up() && !was_up {
                self.untold.push(watched.transition("not checked", now));
            }
            group.add(&watched);
            self.keep(watched);
        }
        set_member(&mut self.panicking, pool.id, group.is_in_panic());
        self.groups.insert(pool.id, group);
        let here: BTreeSet<BackendId> = pool.backends.iter().map(|backend| backend.id).collect();
        let were = before.iter().flat_map(|group| &group.pool.backends);
        were.filter(|old| !here.contains(&old.id)).for_each(|old| self.leave(old.id));
    }

    /// True if a backend of the pool serves already, and goes on.
    fn serves(&self, pool: &Pool) -> bool {
        pool.backends.iter().filter(|backend| backend.is_member()).any(|backend| {
            let before = self.watched.get(&backend.id);
            before.is_some_and(|old| old.is_member && old.hysteresis.is_up())
        })
    }

    /// It is gone from the configuration.
    fn leave(&mut self, id: BackendId) {
        self.down.remove(&id);
        if let Some(mut gone) = self.watched.remove(&id) {
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
