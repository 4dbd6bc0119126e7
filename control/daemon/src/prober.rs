//! The task that makes the checks: waits for the next one, starts it beside the others, tells what
//! changed.

mod check;

use std::cell::RefCell;
use std::future::poll_fn;
use std::rc::Rc;
use std::task::Poll;
use std::time::Duration;

use weir_control_core::health::{Check, CheckOutcome, Health, Transition};

use crate::rt;
use check::check;

/// Checks the backends of `health` for ever, one check at a time of each, and calls `on_change`
/// with what changed. `health` is never borrowed while it waits or while `on_change` runs.
pub(crate) async fn prober(
    health: Rc<RefCell<Health>>,
    on_change: impl Fn(Vec<Transition>) + 'static,
) {
    loop {
        let checks = health.borrow_mut().take_due(rt::now());
        for check in checks {
            rt::spawn(make(check, Rc::clone(&health)));
        }
        let changes = health.borrow_mut().take_untold();
        if !changes.is_empty() {
            on_change(changes);
            continue; // It may have changed what is due.
        }
        wait(&health).await;
    }
}

async fn make(due: Check, health: Rc<RefCell<Health>>) {
    let started = rt::now();
    let outcome = check(&due.plan).await;
    let now = rt::now();
    let took = now - started;
    let outcome = if outlived(took, due.plan.timeout) { excuse(outcome) } else { outcome };
    health.borrow_mut().on_checked(&due, outcome, started, now);
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

/// Ends when something is due or `health` has changed.
async fn wait(health: &RefCell<Health>) {
    let next = health.borrow().next_due();
    let due = async {
        match next {
            Some(at) => {
                rt::sleep(at - rt::now()).await;
            }
            None => futures_lite::future::pending().await,
        }
    };
    // The waker is set at the first poll, with nothing awaited since `next` was read.
    let mut asked = false;
    let changed = poll_fn(|cx| {
        if asked && health.borrow().has_woken() {
            return Poll::Ready(());
        }
        asked = true;
        health.borrow_mut().on_change(cx.waker().clone());
        Poll::Pending
    });
    futures_lite::future::or(changed, due).await;
}

#[cfg(test)]
mod tests;
