//! Makes one check: connects, asks, says what came of it. Which check and when is decided in
//! [`weir_control_core::health`].

mod check;

use std::time::Duration;

use weir_control_core::health::{Check, CheckOutcome};

use crate::rt;
use check::check;

/// Makes a check.
pub(crate) async fn probe(due: &Check) -> CheckOutcome {
    let started = rt::now();
    let outcome = check(&due.plan).await;
    let took = rt::now() - started;
    if outlived(took, due.plan.timeout) { excuse(outcome) } else { outcome }
}

/// True if a check took so much longer than its timeout lets it that nobody was there to end it:
/// the process was stopped, or the machine paused.
fn outlived(took: Duration, timeout: Duration) -> bool {
    took >= timeout + LATE_MIN
}

/// What was bad about a check that nobody was there for says nothing about the backend.
fn excuse(outcome: CheckOutcome) -> CheckOutcome {
    match outcome {
        CheckOutcome::Bad(_) => CheckOutcome::Local("weir stood still".to_owned()),
        CheckOutcome::Good | CheckOutcome::Said(_) | CheckOutcome::Local(_) => outcome,
    }
}

/// So late may a timeout be on a busy host.
const LATE_MIN: Duration = Duration::from_millis(500);

#[cfg(test)]
mod tests;
