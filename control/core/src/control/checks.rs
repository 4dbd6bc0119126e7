//! Health checks: which are due, and what their results change. A prober makes them and knows
//! nothing else.
//!
//! ```text
//! take_checks ──▶ prober: connects, asks ──▶ on_checked ──▶ up or down ──▶ every shard, the events
//! ```

use std::net::SocketAddr;

use weir_core::base::clock::Now;
use weir_proto::answer::EventKind;
use weir_proto::order::HealthWords;

use super::{Clocks, Control};
use crate::health::{Check, CheckOutcome, Transition};

impl Control {
    /// Checks may have N of this process's descriptors: one each while they are in flight.
    pub fn bound_checks(&mut self, descriptors: usize) {
        self.health.bound_checks(descriptors);
    }

    /// The checks that are to begin now. Ends the holds that are over.
    pub fn take_checks(&mut self, moment: Clocks) -> Vec<Check> {
        let checks = self.health.take_due(moment.now);
        self.tell_untold(moment);
        checks
    }

    /// When [`Control::take_checks`] has something to do; `None` if only another call can change
    /// that.
    pub fn next_check(&self) -> Option<Now> {
        // What has come up by a new version is in the next turn of the prober.
        if self.health.has_untold() { Some(Now { nanos: 0 }) } else { self.health.next_due() }
    }

    /// A check that began at `started` has ended.
    pub fn on_checked(
        &mut self,
        check: &Check,
        outcome: CheckOutcome,
        started: Now,
        moment: Clocks,
    ) {
        self.health.on_checked(check, outcome, started, moment.now);
        self.tell_untold(moment);
    }

    /// Makes every check that is due, at once: for a world without sockets. `probe` says whether
    /// the address takes connections.
    pub fn check_all(&mut self, moment: Clocks, probe: impl FnMut(SocketAddr) -> bool) {
        let transitions = self.health.check_all(moment.now, probe);
        self.on_transitions(&transitions, moment.wall_ms);
    }

    fn tell_untold(&mut self, moment: Clocks) {
        let transitions = self.health.take_untold();
        self.on_transitions(&transitions, moment.wall_ms);
    }

    /// Health changed: tells every shard, writes it down.
    pub(super) fn on_transitions(&mut self, transitions: &[Transition], wall_ms: u64) {
        if transitions.is_empty() {
            return;
        }
        for Transition { pool, backend, up, reason, .. } in transitions {
            let name = format!("{pool}/{backend}");
            let text = format!("{}: {reason}", if *up { "up" } else { "down" });
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
        self.flush();
        self.watch_panic(wall_ms);
    }
}
