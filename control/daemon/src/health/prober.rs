//! The task that makes the checks: waits for the next one, starts it beside the others, tells what
//! changed.

use std::cell::RefCell;
use std::future::poll_fn;
use std::rc::Rc;
use std::task::Poll;
use std::time::Duration;

use super::check::check;
use super::{Check, Health, Transition};
use crate::rt;

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
    health.borrow_mut().on_checked(&due, outcome, started, rt::now());
}

/// Ends when something is due or `health` has changed.
async fn wait(health: &RefCell<Health>) {
    let next = health.borrow().next_due();
    let due = async {
        match next {
            Some(at) => {
                rt::sleep(Duration::from_nanos(at.nanos.saturating_sub(rt::now().nanos))).await;
            }
            None => futures_lite::future::pending().await,
        }
    };
    // The waker is set at the first poll, with nothing awaited since `next` was read.
    let mut asked = false;
    let changed = poll_fn(|cx| {
        if asked && health.borrow().waker.is_none() {
            return Poll::Ready(());
        }
        asked = true;
        health.borrow_mut().waker = Some(cx.waker().clone());
        Poll::Pending
    });
    futures_lite::future::or(changed, due).await;
}
