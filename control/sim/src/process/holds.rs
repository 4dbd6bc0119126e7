//! What control makes of health: a backend that its pool needs is not kept down, one that was
//! removed is not watched, and one check is made for all backends that share it.

pub(super) mod kept;

use weir_control_core::control::Control;
use weir_control_core::health::Check;
use weir_core::base::clock::Now;
use weir_proto::snapshot::Backend;

use super::StepResult;

/// A hold is about one backend among others.
///
/// # Errors
/// It keeps a backend down that its pool needs.
pub(super) fn check_holds(control: &Control, now: Now) -> StepResult {
    let health = &control.health;
    for pool in &control.snapshot.pools {
        let members = || pool.backends.iter().filter(|backend| backend.is_member());
        if members().any(|backend| health.is_up(backend.id)) {
            continue;
        }
        let held = members().find(|backend| health.row(backend.id, now).hold_s > 0.0);
        if let Some(held) = held {
            return Err(format!("{}/{} is held, and no other backend is up", pool.name, held.name));
        }
    }
    Ok(())
}

/// A backend whose health an operator has forced is what it was forced to be.
///
/// # Errors
/// It is not.
pub(super) fn check_forced(control: &Control) -> StepResult {
    if control.changes_waiting() > 0 {
        return Ok(());
    }
    let is_other =
        |it: &Backend| it.force.is_some() && control.health.is_up(it.id) != it.is_up(false);
    let other = control.snapshot.backends().find(|(_, backend)| is_other(backend));
    other.map_or(Ok(()), |(pool, backend)| {
        Err(format!("{}/{} is not {:?} by force", pool.name, backend.name, backend.force))
    })
}

/// One check is made for all backends that it is the same for.
///
/// # Errors
/// It is made twice.
pub(super) fn check_shared(checks: &[Check]) -> StepResult {
    for (index, check) in checks.iter().enumerate() {
        if checks[..index].iter().any(|before| before.plan == check.plan) {
            return Err(format!("{} is checked twice at once", check.plan.address));
        }
    }
    Ok(())
}

/// Each backend that is checked will be again: no check is on its way, as they take no time.
///
/// # Errors
/// One is not.
pub(super) fn check_due(control: &Control) -> StepResult {
    let forgotten = control.health.without_due();
    forgotten.map_or(Ok(()), |id| Err(format!("no check of {id} is due, ever")))
}

/// While no change is made, everybody of whom something is known is in the configuration.
///
/// # Errors
/// One is down who is gone.
pub(super) fn check_watched(control: &Control) -> StepResult {
    if control.changes_waiting() > 0 {
        return Ok(());
    }
    let here = |id| control.snapshot.backends().any(|(_, backend)| backend.id == id);
    let gone = control.health.down().find(|id| !here(*id));
    gone.map_or(Ok(()), |id| Err(format!("{id} is gone, and watched for ever")))
}
