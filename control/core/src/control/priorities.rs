//! Pools whose sessions go to another priority group than before: shards, people and the disk are
//! told. Each shard works out the groups of `failover = "auto"` for itself; a group that is kept
//! (`stay`) must be the same on all of them, so control says which backends stand aside.

use weir_core::priority::{GroupTally, WHOLE};
use weir_proto::answer::{EventKind, GroupRow};
use weir_proto::order::HealthWords;
use weir_proto::snapshot::Pool;
use weir_proto::spec::Failover;

use super::{Control, Output};

impl Control {
    /// The words that shards have to hear of backends that stand aside, or do no longer.
    pub(super) fn take_restated(&mut self) -> HealthWords {
        let ids = self.health.take_restated().into_iter();
        ids.map(|id| (id, self.health.standing(id))).collect()
    }

    /// Tells everybody of the groups that take sessions now, if they are others.
    pub(super) fn tell_moved(&mut self, wall_ms: u64) {
        let words = self.take_restated();
        if !words.is_empty() {
            self.each_live(|shard| shard.pending.health(&words));
            self.flush();
        }
        let moved = self.health.take_moved();
        self.remember_groups();
        if moved.is_empty() {
            return;
        }
        let snapshot = self.snapshot.clone();
        for pool in snapshot.pools.iter().filter(|pool| moved.contains(&pool.id)) {
            let text = self.groups_text(pool);
            if self.is_first_group_enough(pool) {
                tracing::info!("pool {}: {text}", pool.name);
            } else {
                tracing::warn!("pool {}: {text}", pool.name);
            }
            self.events.push(EventKind::Health, pool.name.to_string(), text, wall_ms);
        }
    }

    /// The disk keeps the groups in use, if they are others.
    pub(super) fn remember_groups(&mut self) {
        if !self.health.take_remember_news() {
            return;
        }
        let in_use = self.health.to_remember();
        if in_use != self.remembered {
            self.remembered.clone_from(&in_use);
            self.outputs.push(Output::Remember(in_use));
        }
    }

    /// The priority groups of a pool; none if it has one group only.
    pub fn group_rows(&self, pool: &Pool) -> Vec<GroupRow> {
        let groups = self.health.groups_of(pool.id);
        if groups.len() < 2 {
            return Vec::new();
        }
        groups.into_iter().map(row).collect()
    }

    /// True if all sessions of the pool go to its first priority group.
    pub fn is_first_group_enough(&self, pool: &Pool) -> bool {
        let groups = self.health.groups_of(pool.id);
        groups.len() < 2 || groups[0].2 == WHOLE
    }

    /// As in `sessions go to priority 1: priority 0 has 0 of 1 backends up`, or `sessions go to
    /// priorities 0 (71 %), 1 (29 %): priority 0 has 5 of its weight of 10 up`.
    pub fn groups_text(&self, pool: &Pool) -> String {
        let groups = self.group_rows(pool);
        let taking: Vec<&GroupRow> = groups.iter().filter(|group| group.share > 0.0).collect();
        let to = match taking.as_slice() {
            [] => return "no priority group can take sessions".to_owned(),
            [group] => format!("priority {}", group.priority),
            several => {
                let part = |it: &&GroupRow| format!("{} ({:.0} %)", it.priority, it.share * 100.0);
                format!("priorities {}", several.iter().map(part).collect::<Vec<_>>().join(", "))
            }
        };
        let first = &groups[0];
        if taking[0].priority == first.priority && taking.len() == 1 {
            return format!("sessions go to {to}");
        }
        let stays = pool.spec.failover == Failover::Stay && first.backends_up > 0;
        let kept = if stays { ", which is kept (failover = \"stay\")" } else { "" };
        let GroupRow { priority, backends_up, backends, weight_up, weight, .. } = first;
        // What was taken out by hand is missing where groups spill, and nowhere else.
        let up = if pool.spec.spill.is_zero() {
            format!("{backends_up} of {backends} backends up")
        } else {
            format!("{weight_up} of its weight of {weight} up")
        };
        format!("sessions go to {to}{kept}: priority {priority} has {up}")
    }
}

fn row((priority, tally, share): (u8, GroupTally, u32)) -> GroupRow {
    let ((backends_up, backends), (weight_up, weight)) = (tally.members(), tally.weights());
    let share = f64::from(share) / f64::from(WHOLE);
    GroupRow { priority, share, backends_up, backends, weight_up, weight }
}
