//! What must hold between two turns: the table, its view and the kernel tell the same story.

use std::collections::BTreeMap;

use weir_core::base::clock::Now;
use weir_core::limits::{RETRY_WAIT_MS, TICK_MS};
use weir_core::session::{Attempt, Phase, Session};
use weir_core::table::Table;

use crate::kernel::Kernel;

/// Checks everything. `now` is when the last turn was.
///
/// # Errors
/// What does not fit.
pub fn check(table: &Table, kernel: &Kernel) -> Result<(), String> {
    check_counts(table)?;
    check_kernel(table, kernel)?;
    let now = Now::from_nanos(kernel.now);
    table.iter().try_for_each(|(_, session)| check_deadline(table, session, now))
}

/// Loads are the sessions that there are, no more and no less.
fn check_counts(table: &Table) -> Result<(), String> {
    let view = table.view();
    let mut listeners = vec![0; view.listeners().len()];
    let mut pools = vec![0; view.pools().len()];
    let mut backends = vec![0; view.backends().len()];
    for (_, session) in table.iter() {
        listeners[usize::from(session.route.listener)] += 1;
        pools[usize::from(session.route.pool)] += 1;
        if let Some(backend) = session.route.backend {
            backends[backend as usize] += 1;
        }
    }
    let counted: Vec<u32> = view.listeners().iter().map(|row| row.sessions).collect();
    if counted != listeners {
        return Err(format!("listeners count {counted:?} sessions; there are {listeners:?}"));
    }
    let counted: Vec<u32> = view.pools().iter().map(|row| row.sessions).collect();
    if counted != pools {
        return Err(format!("pools count {counted:?} sessions; there are {pools:?}"));
    }
    let counted: Vec<u32> = view.backends().iter().map(|row| row.sessions).collect();
    if counted != backends {
        return Err(format!("backends count {counted:?} sessions; there are {backends:?}"));
    }
    Ok(())
}

/// Operations in flight and buffers in use are the same on both sides of the seam.
fn check_kernel(table: &Table, kernel: &Kernel) -> Result<(), String> {
    let mut buffers = BTreeMap::new();
    for (id, session) in table.iter() {
        let key = (id.slot, id.generation);
        let inflight = kernel.notes.get(&key).map_or(0, |note| note.inflight);
        if inflight != session.inflight() {
            let counted = session.inflight();
            return Err(format!("{key:?} counts {counted} operations, the kernel {inflight}"));
        }
        for chunk in session.chunks() {
            if let Some(other) = buffers.insert(chunk.buffer.0, key) {
                return Err(format!("{chunk:?} is {key:?}'s and {other:?}'s"));
            }
        }
    }
    let pipes = table.iter().flat_map(|(_, session)| session.pipes());
    let mut pipes: Vec<_> = pipes.map(|pipe| (pipe.id.0, pipe.held as usize)).collect();
    pipes.sort_unstable();
    let used = kernel.pipes_held();
    if pipes != used {
        return Err(format!("pipes {used:?} are used, sessions know of {pipes:?}"));
    }
    let held = kernel.buffers_held();
    let in_queues: Vec<u16> = buffers.into_keys().collect();
    if held != in_queues {
        return Err(format!("buffers {held:?} are held, but {in_queues:?} are in queues"));
    }
    Ok(())
}

/// Nobody is left alone for longer than the timeouts say.
fn check_deadline(table: &Table, session: &Session, now: Now) -> Result<(), String> {
    let pool = &table.view().pools()[usize::from(session.route.pool)];
    let wait_ms = match session.phase() {
        // A pool may have got another timeout since the connect began.
        Phase::Connecting(Attempt::Trying) => pool.timeouts.connect_ms,
        Phase::Connecting(Attempt::Waiting(_)) => {
            let soon = now.plus_millis(2 * RETRY_WAIT_MS + 2 * TICK_MS);
            return match table.next_deadline() {
                Some(next) if next <= soon => Ok(()),
                next => Err(format!("nothing before {next:?}, now {now:?}, wakes {session:?}")),
            };
        }
        Phase::Relaying if session.is_half_closed() => session.idle_ms.min(session.half_close_ms),
        Phase::Relaying => session.idle_ms,
        Phase::Connecting(_) | Phase::Closing(_) => return Ok(()),
    };
    let due = session.moved_at.plus_millis(wait_ms).plus_millis(2 * TICK_MS);
    if due < now {
        return Err(format!("a deadline has passed at {due:?}, now {now:?}: {session:?}"));
    }
    Ok(())
}
