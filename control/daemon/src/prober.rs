//! The task that makes the checks: waits until some are due, starts each beside the others, gives
//! the results back. Which and when is decided in [`weir_control_core::health`].

mod check;

use std::rc::Rc;
use std::time::Duration;

use weir_control_core::health::{Check, CheckOutcome};
use weir_core::base::clock::Now;

use crate::rt;
use check::check;

/// Gives the checks that are to be made, and takes their results.
pub(crate) trait CheckSource {
    /// The checks that are to begin now.
    fn take_due(&self) -> Vec<Check>;
    /// A check that began at `started` has ended now.
    fn on_checked(&self, check: &Check, outcome: CheckOutcome, started: Now);
    /// Ends when [`CheckSource::take_due`] may give something.
    async fn wait_until_due(&self);
}

/// Runs the checks of `source` concurrently. Never returns.
pub(crate) async fn prober(source: Rc<impl CheckSource + 'static>) {
    loop {
        for check in source.take_due() {
            rt::spawn("check", make(check, Rc::clone(&source)));
        }
        source.wait_until_due().await;
    }
}

async fn make(due: Check, source: Rc<impl CheckSource>) {
    let started = rt::now();
    let outcome = check(&due.plan).await;
    let took = rt::now() - started;
    let outcome = if outlived(took, due.plan.timeout) { excuse(outcome) } else { outcome };
    source.on_checked(&due, outcome, started);
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
        CheckOutcome::Good | CheckOutcome::Local(_) => outcome,
    }
}

/// So late may a timeout be on a busy host.
const LATE_MIN: Duration = Duration::from_millis(500);

#[cfg(test)]
mod tests;
