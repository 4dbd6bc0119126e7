//! Health checks: which are due, and what their results change. A prober makes them and knows
//! nothing else.
//!
//! ```text
//! Output::Check ──▶ prober: connects, asks ──▶ Input::Checked ──▶ up or down ──▶ shards, events
//! ```

use std::time::Duration;

use weir_core::base::clock::Now;
use weir_proto::answer::EventKind;
use weir_proto::order::HealthWords;
use weir_proto::spec::OnDown;

use super::{Clocks, Control};
use crate::health::{Check, CheckOutcome, Transition};

impl Control {
    /// The checks that are to begin now. Ends the holds that are over.
    pub(super) fn take_checks(&mut self, moment: Clocks) -> Vec<Check> {
        let checks = self.health.take_due(moment.now);
        self.tell_untold(moment);
        checks
    }

    /// When [`Control::take_checks`] has something to do; `None` if only another input can change
    /// that.
    pub(super) fn next_check(&self) -> Option<Now> {
        // What has come up by a new version is in the next turn of the prober.
        if self.health.has_untold() { Some(Now { nanos: 0 }) } else { self.health.next_due() }
    }

    /// Ends the hold of the backend of that name. How long it would have lasted; `None` if there
    /// was none.
    pub(super) fn end_hold_of(&mut self, name: &str, moment: Clocks) -> Option<Duration> {
        let (pool, backend) = name.split_once('/')?;
        let id = self.snapshot.pool(pool)?.backend(backend)?.id;
        let rest = self.health.hold_left(id, moment.now);
        let transition = self.health.end_hold(id, moment.now);
        if let Some(rest) = rest {
            let text = format!("a hold of {} s more was ended", rest.as_secs());
            tracing::info!("backend {name}: {text}");
            self.events.push(EventKind::Health, name.to_owned(), text, moment.wall_ms);
        }
        self.on_transitions(transition.as_slice(), moment.wall_ms);
        rest
    }

    /// A check that began at `started` has ended.
    pub(super) fn on_checked(
        &mut self,
        check: &Check,
        outcome: CheckOutcome,
        started: Now,
        moment: Clocks,
    ) {
        self.health.on_checked(check, outcome, started, moment.now);
        self.tell_agents(moment.wall_ms);
        self.tell_untold(moment);
    }

    fn tell_untold(&mut self, moment: Clocks) {
        let transitions = self.health.take_untold();
        self.on_transitions(&transitions, moment.wall_ms);
        self.tell_moved(moment.wall_ms);
    }

    /// The log's words on the sessions of a backend of this pool that goes down.
    fn ends_on_fall(&self, pool: &str) -> &'static str {
        let pool = self.snapshot.pool(pool).filter(|pool| !self.health.is_in_panic(pool.id));
        match pool.map_or(OnDown::Keep, |pool| pool.spec.on_down) {
            OnDown::Keep => "",
            OnDown::Stalled => "; its sessions end if they wait on it",
            OnDown::Kill => "; its sessions end",
        }
    }

    /// Health changed: tells every shard, writes it down.
    pub(super) fn on_transitions(&mut self, transitions: &[Transition], wall_ms: u64) {
        if transitions.is_empty() {
            return;
        }
        for Transition { pool, backend, up, reason, .. } in transitions {
            let name = format!("{pool}/{backend}");
            let ends = if *up { "" } else { self.ends_on_fall(pool) };
            let text = format!("{}: {reason}{ends}", if *up { "up" } else { "down" });
            if *up {
                tracing::info!("backend {name} is {text}");
            } else {
                tracing::warn!("backend {name} is {text}");
            }
            self.events.push(EventKind::Health, name, text, wall_ms);
        }
        let standing = |id| self.health.standing(id);
        let changes: HealthWords =
            transitions.iter().map(|change| (change.id, standing(change.id))).collect();
        self.each_live(|shard| shard.pending.health(&changes));
        self.tell_moved(wall_ms);
        self.flush();
        self.watch_panic(wall_ms);
    }
}
