//! A version that becomes the current one.
//!
//! ```text
//! durable ──▶ prepared: whom it adds is counted and watched, a slice at a time
//!    ──▶ published: it is the current one and goes to every shard
//!    ──▶ swept: whom it no longer has is given up, a slice at a time
//! ```
//! A file may exchange all backends, of which there may be a hundred thousand. What is added and
//! what is gone is looked at in slices, and other inputs come in between: until a version is
//! published the one before is in force whole, and what is known of its backends stays.

use std::collections::BTreeMap;
use std::sync::Arc;

use weir_core::base::clock::Now;
use weir_proto::answer::{Author, EventKind};
use weir_proto::ids::{Edition, Version};
use weir_proto::order::HealthWords;
use weir_proto::request::{Code, Refusal};
use weir_proto::snapshot::{Pool, Snapshot};

use super::{Clocks, Control};
use crate::batch::Batch;
use crate::health::Scope;
use crate::rollout::Rollout;
use crate::sockets::{BoundSockets, Sockets};

/// Backends that are prepared, or swept, in one slice. A pool, which may have more, is not cut.
pub const BACKENDS_SLICE: usize = 1_024;

/// A durable version while control learns its backends.
#[derive(Debug)]
pub(super) struct Preparation {
    scope: Scope,
    /// The pools of the version before this one are prepared.
    next_pool: usize,
}

/// A version that is durable, on its way to every shard.
pub(super) struct Commit<'a> {
    pub(super) next: Arc<Snapshot>,
    pub(super) sockets: Sockets,
    pub(super) summary: &'a str,
    pub(super) by: Author,
}

impl Control {
    /// Begins to prepare a version.
    pub(super) fn begin_preparation(&mut self, next: &Snapshot) -> Preparation {
        Preparation { scope: self.health.begin(next), next_pool: 0 }
    }

    /// Prepares a slice of a version. True if there is more of it.
    pub(super) fn prepare(
        &mut self,
        next: &Snapshot,
        preparation: &mut Preparation,
        now: Now,
    ) -> bool {
        let (mut batch, current) = (Batch::of(self.slice), self.snapshot.clone());
        for pool in &next.pools[preparation.next_pool..] {
            // A pool that is as before costs next to nothing.
            let is_other = pool.since == next.edition();
            if (is_other || preparation.scope.all) && !batch.takes(pool.backends.len()) {
                return true;
            }
            let before = if is_other { current.pool(pool.name.as_str()) } else { Some(&**pool) };
            self.prepare_pool((before, pool), next.edition(), preparation.scope, now);
            preparation.next_pool += 1;
        }
        false
    }

    /// Control learns the backends of a pool of the next snapshot, which is this edition.
    /// `before`: the pool of its name in the current one.
    pub(super) fn prepare_pool(
        &mut self,
        (before, pool): (Option<&Pool>, &Arc<Pool>),
        edition: Edition,
        scope: Scope,
        now: Now,
    ) {
        self.aggregate.prepare(pool);
        self.health.prepare(pool, scope, now);
        self.leases.prepare(pool, before, edition);
    }

    /// Gives up a slice of what the current version no longer has. True if there is more of it.
    pub(super) fn sweep(&mut self) -> bool {
        let is_counted = self.aggregate.sweep(self.slice);
        let is_watched = self.health.sweep(self.slice);
        let is_limited = self.leases.sweep(self.slice);
        is_counted || is_watched || is_limited
    }

    /// Makes a version current, which is prepared, and sends it to every shard.
    pub(super) fn commit(&mut self, commit: Commit<'_>, moment: Clocks) {
        let Commit { next, sockets, summary, by } = commit;
        tracing::info!(version = next.version.0, uid = by.uid, pid = by.pid, "{summary}");
        let subject = format!("version {}", next.version);
        self.events.push(EventKind::Config, subject, summary.to_owned(), moment.wall_ms);
        self.publish(next, sockets, moment.now);
    }

    /// Sends the first version, whole: no client is served yet.
    pub(super) fn begin(&mut self, bound: BoundSockets, moment: Clocks) {
        self.begin_unbound(bound.failed, moment);
        let first = self.snapshot.clone();
        let scope = self.health.begin(&first);
        for pool in &first.pools {
            self.prepare_pool((None, pool), first.edition(), scope, moment.now);
        }
        // A pool of a later version is another one, whatever its name.
        self.health.remember(BTreeMap::new());
        self.publish(first, bound.sockets, moment.now);
        self.begin_as_heir(moment);
    }

    /// Gives the shards, which use the current version, their sockets.
    pub(super) fn listen(&mut self, bound: BoundSockets, moment: Clocks) {
        self.begin_unbound(bound.failed, moment);
        for (shard, sockets) in self.shards.iter_mut().zip(bound.sockets) {
            if shard.has_thread() {
                shard.pending.adopt(self.snapshot.clone(), sockets);
            }
        }
        self.flush();
    }

    /// Sends a snapshot, which is prepared, to every live shard; it is the current one from now on.
    pub(super) fn publish(&mut self, next: Arc<Snapshot>, sockets: Sockets, now: Now) {
        let before = core::mem::replace(&mut self.snapshot, next);
        self.aggregate.settle(&self.snapshot);
        // At the start the first one is sent, which is in place already.
        let sent = if before.edition() == self.snapshot.edition() { None } else { Some(&*before) };
        self.leases.settle(&self.snapshot, sent.unwrap_or(&Snapshot::empty()));
        self.remember_released(&before, now);
        self.forget_unbound();
        self.health.settle(&self.snapshot, now);
        self.remember_groups();
        self.resolve.adopt(&self.snapshot, now);
        self.remember_members();
        let (snapshot, mut down) = (self.snapshot.clone(), self.down());
        down.extend(self.take_restated());
        down.retain(|(id, _)| !self.health.leaves(*id));
        for (shard, sockets) in self.shards.iter_mut().zip(sockets) {
            if shard.has_thread() {
                shard.pending.adopt(snapshot.clone(), sockets);
                shard.pending.health(&down);
            }
        }
        let counting = self.shards.iter().filter(|shard| shard.counts());
        let waiting = counting.map(|shard| shard.id).collect();
        self.rollout = Rollout::sent(self.snapshot.edition(), waiting, now);
        self.flush();
    }

    /// Whether every live shard that is not fenced has adopted `version`, which must be the newest
    /// one. `None` if not yet, a refusal if it is late.
    pub fn adopted(&self, version: Version) -> Option<Result<(), Refusal>> {
        match (self.rollout.is_done(), self.rollout.is_late()) {
            (true, _) => Some(Ok(())),
            (false, false) => None,
            (false, true) => {
                let waiting = self.rollout.waiting();
                let message = format!(
                    "durable as version {version} but shards {waiting} have not adopted it yet"
                );
                let hint = "it takes effect there as soon as they answer; watch: weirctl shards";
                Some(Err(Refusal::new(Code::Failed, message, hint)))
            }
        }
    }

    /// Every backend that is not up, as an order says it. Shards overlook those that they do not
    /// know.
    pub(super) fn down(&self) -> HealthWords {
        let health = &self.health;
        health.down().chain(health.aside()).map(|id| (id, health.standing(id))).collect()
    }
}
