//! Credits of the limits that shards share, as they should be held.

use weir_core::base::clock::Now;
use weir_core::table::Table;
use weir_core::view::CreditsHeld;

use crate::kernel::Kernel;

/// Each session has one, and none is kept for nothing.
///
/// # Errors
/// It is not so.
pub(crate) fn check(table: &Table, kernel: &Kernel) -> Result<(), String> {
    check_leases(table, kernel)?;
    check_credits(table)
}

/// A shard that sleeps and where no client waits keeps no credit that another one lacks: nothing
/// may happen here for long that would return it.
fn check_leases(table: &Table, kernel: &Kernel) -> Result<(), String> {
    let clients = kernel.net.listening.iter().any(|it| it.open && !it.queue.is_empty());
    let rests = kernel.wait_until.is_none_or(|until| until > kernel.now);
    if clients || !rests || kernel.wakes() || kernel.stopping {
        return Ok(());
    }
    let now = Now::from_nanos(kernel.now);
    let views = table.view();
    let mut of_backends = views.backends().iter().flat_map(|it| it.credits(now));
    if table.iter().all(|(_, session)| !session.is_in_queue)
        && let Some(it) = of_backends.find(|it| it.owed > 0)
    {
        let CreditsHeld { of, owed, .. } = it;
        return Err(format!("{owed} credits of {of:?} stay although another shard lacks them"));
    }
    let owing = table.view().listeners().iter().find(|view| view.owed(now) > 0);
    owing.map_or(Ok(()), |view| {
        let (id, owed) = (view.id, view.owed(now));
        Err(format!("{owed} credits of listener {id} stay although another shard lacks them"))
    })
}

/// Every session under a limit has a credit: control counts by them.
fn check_credits(table: &Table) -> Result<(), String> {
    let view = table.view();
    let backends = view.backends().iter().flat_map(|it| it.credits(Now::default()));
    let backends = backends.map(|it| (format!("{:?}", it.of), it.used, it.held));
    let listeners = view.listeners().iter();
    let listeners =
        listeners.filter_map(|it| Some((format!("{:?}", it.id), it.sessions, it.held()?)));
    match backends.chain(listeners).find(|(_, sessions, held)| sessions > held) {
        Some((of, sessions, held)) => Err(format!("{sessions} are used of {of}, {held} credits")),
        None => Ok(()),
    }
}
