//! Pools in panic: so few backends are up that every shard ignores their health. Control only tells
//! people of it; each shard sees for itself.

use weir_proto::answer::EventKind;
use weir_proto::snapshot::Pool;

use super::Control;

impl Control {
    /// True while so few backends of the pool are up that their health is ignored.
    pub fn is_in_panic(&self, pool: &Pool) -> bool {
        self.health.is_in_panic(pool.id)
    }

    /// As in `panic, 1 of 4 backends is up (below 50%): health is ignored`.
    pub fn panic_text(&self, pool: &Pool) -> String {
        let (up, all) = self.health.members(pool.id);
        format!("panic, {up} of {all} backends up (below {}): health is ignored", pool.health.panic)
    }

    /// Writes down which pools have entered panic, and which have left it, since the last call.
    /// Looks at these only: four times a second a walk over all pools is too much where there are
    /// thousands, each in a place of its own in memory.
    pub(super) fn watch_panic(&mut self, wall_ms: u64) {
        let now = self.health.panicking();
        if *now == self.panicking {
            return;
        }
        let now = now.clone();
        let before = std::mem::replace(&mut self.panicking, now);
        let snapshot = self.snapshot.clone();
        let mut ahead = Vec::new();
        for id in before.symmetric_difference(&self.panicking) {
            let Some(pool) = snapshot.pools.iter().find(|pool| pool.id == *id) else {
                ahead.push(*id);
                continue;
            };
            let panics = self.is_in_panic(pool);
            let text = if panics { self.panic_text(pool) } else { "panic is over".to_owned() };
            if panics {
                tracing::warn!("pool {}: {text}", pool.name);
            } else {
                tracing::info!("pool {}: {text}", pool.name);
            }
            self.events.push(EventKind::Health, pool.name.to_string(), text, wall_ms);
        }
        // Pools of the next version have their turn when it is the current one.
        for id in ahead {
            self.panicking.remove(&id);
        }
    }
}
