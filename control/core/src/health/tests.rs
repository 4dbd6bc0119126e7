//! Schedules on paper.

mod agents;
mod damping;
mod priorities;
mod schedule;
mod sharing;

use super::*;
use crate::fakes::HealthFixture;
use weir_proto::spec::{Admin, BackendSpec, HealthKind, HealthSpec, Span};

fn tcp() -> HealthSpec {
    HealthSpec::default()
}

impl Health {
    /// Makes every check that is due, at once. `probe` says whether the address takes connections.
    /// Gives the changes.
    fn check_all(
        &mut self,
        now: Now,
        mut probe: impl FnMut(std::net::SocketAddr) -> bool,
    ) -> Vec<Transition> {
        for check in self.take_due(now) {
            let good = probe(check.plan.address.ip().expect("of IP"));
            let outcome =
                if good { CheckOutcome::Good } else { CheckOutcome::Bad("refused".to_owned()) };
            self.on_checked(&check, outcome, now, now);
        }
        self.take_untold()
    }
}
