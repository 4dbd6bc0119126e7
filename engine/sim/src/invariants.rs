//! What must hold between two turns: the table, its view and the kernel tell the same story.

use std::collections::BTreeMap;

use weir_core::base::clock::Now;
use weir_core::event::Side;
use weir_core::flow::{ResetCheck, Sink, Source};
use weir_core::limits::{
    RESET_CHECK_MS, RETRY_WAIT_MS, STALLED_LOOKS_SPAN, TICK_MS, WATCH_AFTER_MS,
};
use weir_core::session::{Attempt, Connect, Phase, Session};
use weir_core::table::Table;
use weir_proto::ids::Version;

use crate::kernel::{Kernel, Note};
use crate::operator::retries_within_max;

/// How long a flow whose sink takes bytes may stand in the line for a buffer, in nanoseconds...
const HUNGRY_NS_MAX: u64 = 1_000_000_000;

/// ...of which N count from one turn to the next: time may jump while nothing happens.
const HUNGER_NS_MAX: u64 = 10_000_000;

/// What the kernel's side notes of the sessions after a turn, before [`check`].
pub fn note_sessions(table: &Table, kernel: &mut Kernel) {
    let now = kernel.now;
    for (id, session) in table.iter() {
        let is_connecting = matches!(session.phase(), Phase::Connecting(_));
        let client = session.leg(Side::Client).filter(|_| is_connecting);
        let abandoned = client.is_some_and(|leg| kernel.is_abandoned(leg));
        let key = (id.slot, id.generation);
        if let Some(leg) = session.leg(Side::Client).filter(|_| session.is_relaying()) {
            kernel.meet(key, leg);
        }
        let takes = Side::ALL.map(|side| session.leg(side).is_some_and(|leg| kernel.takes(leg)));
        let note = kernel.notes.entry(key).or_default();
        // A shard takes a version over before it accepts.
        note.born.get_or_insert(table.view().version());
        let connect = session.connect_began_at().map(|at| (at.nanos, session.tries()));
        // Later in the same moment the pool may have got another bound: it is not for this one.
        if let Some(retry) = connect.filter(|it| it.0 == now && note.retry != *it)
            && session.counted_retry == Some(true)
        {
            note.retry = retry;
            let pool = &table.view().pools()[session.route.pool.index()];
            note.retry_due = session.retries_until(pool.retry.within_ms).nanos;
        }
        if abandoned && note.abandoned_at == 0 {
            note.abandoned_at = now;
        }
        // Peers do nothing while the shard turns: who has left by now had left before.
        if connect.is_some() && session.inflight() > 0 && note.connect != connect {
            note.connect = connect;
            note.for_nobody |= note.abandoned_at == now;
        }
        note.leaving = session.is_leaving();
        note.timeouts = Some([session.idle_ms, session.half_close_ms, session.stalled_ms]);
        if note.accepted_at.is_none() {
            note.accepted_at = Some(session.accepted_at.nanos);
        }
        note.relays = match session.is_relaying() {
            true if note.relays > 0 => note.relays,
            true => now,
            false => 0,
        };
        let before = note.closing;
        note.closing |= matches!(session.phase(), Phase::Closing(_));
        for side in Side::ALL {
            let hungry = session.is_relaying()
                && session.is_starved(side)
                && session.flow(side).sink == Sink::Idle
                && takes[side.other() as usize];
            let hunger = &mut note.hungry_for[side as usize];
            let more = now.saturating_sub(note.looked_at).min(HUNGER_NS_MAX);
            *hunger = if hungry { *hunger + more } else { 0 };
        }
        note.looked_at = now;
        if note.closing && !before {
            kernel.ends((id.slot, id.generation));
        }
    }
}

/// Checks everything. `now` is when the last turn was.
///
/// # Errors
/// What does not fit.
pub fn check(table: &Table, kernel: &Kernel) -> Result<(), String> {
    check_counts(table)?;
    check_stalled(table, Now::from_nanos(kernel.now))?;
    if let Some(backend) = table.view().picked_by_old_figures() {
        return Err(format!("picks go by old figures of {backend:?}"));
    }
    check_kernel(table, kernel)?;
    check_generations(table, kernel)?;
    let free = kernel.free_buffers();
    if table.starved() > 0
        && (free.shared > 0 || free.reserved > 0)
        && kernel.wait_until.is_none_or(|until| until > kernel.now)
    {
        return Err(format!("the shard waits, but of the buffers are free: {free:?}"));
    }
    crate::credits::check(table, kernel)?;
    crate::queue::check(table, kernel)?;
    // It has left a part of its work for the next turn, which begins at once.
    let behind = kernel.wait_until.is_some_and(|until| until <= kernel.now);
    let not_taken_back = kernel.not_taken_back();
    table.iter().try_for_each(|(id, session)| {
        let note = kernel.notes.get(&(id.slot, id.generation));
        let note = note.ok_or_else(|| format!("the kernel knows nothing of {id:?}"))?;
        if !behind && !kernel.catches_up() {
            check_deadline(table, session, note, kernel)?;
            check_patience(table, session, note, kernel)?;
        }
        check_client(session, note, kernel, behind)?;
        let closing = matches!(session.phase(), Phase::Closing(_));
        if closing && not_taken_back.contains(&(id.slot, id.generation)) {
            return Err(format!("{id:?} ends and does not take everything back: {session:?}"));
        }
        // One that leaves begins nothing.
        if !session.is_relaying() || behind || session.is_leaving() {
            return Ok(());
        }
        check_kept(session, kernel)?;
        check_reserve(session, kernel)?;
        check_hunger(session, note)?;
        if session.is_muted() {
            // Its watches told in vain and rest, but not for long.
            let look = Now::from_nanos(kernel.now).plus_millis(WATCH_AFTER_MS + 2 * TICK_MS);
            let comes = table.next_deadline().is_some_and(|at| at <= look);
            return comes.then_some(()).ok_or_else(|| format!("{id:?} is muted for ever"));
        }
        // Nothing begins before it is known what comes of it.
        if session.has_closed_early() {
            return Ok(());
        }
        Side::ALL.into_iter().try_for_each(|side| check_waits(session, side, note, kernel))
    })
}

/// Each session counts for the version under which it was accepted.
fn check_generations(table: &Table, kernel: &Kernel) -> Result<(), String> {
    let mut there = BTreeMap::new();
    for (id, _) in table.iter() {
        let note = kernel.notes.get(&(id.slot, id.generation));
        let born = note.and_then(|note| note.born).ok_or_else(|| format!("{id:?} came unseen"))?;
        *there.entry(born).or_default() += 1;
    }
    let counted: BTreeMap<Version, u32> = table.generations().iter().collect();
    if counted == there {
        return Ok(());
    }
    Err(format!("versions count {counted:?} sessions; there are {there:?}"))
}

/// A session that a look or an event has found stalled counts as such until another one has not.
fn check_stalled(table: &Table, now: Now) -> Result<(), String> {
    let view = table.view();
    let mut stalled = vec![0; view.pools().len()];
    for (id, session) in table.iter().filter(|(_, session)| session.counted_stalled) {
        stalled[session.route.pool.index()] += 1;
        let takes_nothing = |side| session.takes_nothing(side, now);
        if !session.is_relaying() || !Side::ALL.into_iter().any(takes_nothing) {
            return Err(format!("{id:?} counts as stalled: {session:?}"));
        }
    }
    let blocked = |session: &Session| session.is_relaying() && session.is_blocked();
    if let Some((id, _)) = table.iter().find(|(_, it)| blocked(it) && !it.counted_stalled) {
        return Err(format!("{id:?} is blocked and does not count as stalled"));
    }
    let counted: Vec<u32> = view.pools().iter().map(|row| row.stalled).collect();
    if counted != stalled {
        return Err(format!("pools count {counted:?} stalled sessions; there are {stalled:?}"));
    }
    Ok(())
}

/// Loads are the sessions that there are, no more and no less.
fn check_counts(table: &Table) -> Result<(), String> {
    let view = table.view();
    let mut listeners = vec![0; view.listeners().len()];
    let mut pools = vec![0; view.pools().len()];
    let mut backends = vec![0; view.backends().len()];
    let mut connects = vec![(0, 0); pools.len()];
    let mut waiting = backends.clone();
    for (_, session) in table.iter() {
        listeners[session.route.listener.index()] += 1;
        pools[session.route.pool.index()] += 1;
        if let Some(backend) = session.route.backend {
            backends[backend.index()] += 1;
        }
        if let (Some(is_retry), Some(backend)) = (session.counted_retry, session.route.backend) {
            let (all, retries) = &mut connects[session.route.pool.index()];
            (*all, *retries) = (*all + 1, *retries + u32::from(is_retry));
            waiting[backend.index()] += 1;
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
    let counted: Vec<u32> = view.backends().iter().map(|row| row.waiting()).collect();
    if counted != waiting {
        return Err(format!("backends count {counted:?} connects; there are {waiting:?}"));
    }
    let counted: Vec<(u32, u32)> = view.pools().iter().map(|row| row.connects()).collect();
    if counted != connects {
        return Err(format!("pools count {counted:?} connects and retries; not {connects:?}"));
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
    let mut used = kernel.pipes_held();
    used.retain(|pipe| pipes.contains(pipe) || !kernel.may_be_given(pipe.0));
    if pipes != used {
        return Err(format!("pipes {used:?} are used, sessions know of {pipes:?}"));
    }
    let mut held = kernel.buffers_held();
    let in_queues: Vec<u16> = buffers.into_keys().collect();
    held.retain(|buffer| in_queues.contains(buffer) || !kernel.is_read(*buffer));
    if held != in_queues {
        return Err(format!("buffers {held:?} are held, but {in_queues:?} are in queues"));
    }
    Ok(())
}

/// Nobody is left alone for longer than the timeouts say.
fn check_deadline(
    table: &Table,
    session: &Session,
    note: &Note,
    kernel: &Kernel,
) -> Result<(), String> {
    let now = Now::from_nanos(kernel.now);
    let pool = &table.view().pools()[session.route.pool.index()];
    let client = session.leg(Side::Client);
    let is_overheard = |awaited| client.is_some_and(|leg| kernel.is_overheard(leg, awaited));
    if session.awaited().is_some_and(is_overheard) {
        return Err(format!("what was waited for has come, and more is: {session:?}"));
    }
    let wait_ms = match session.phase() {
        // Either may be the one that is waited for, and both have the same time.
        Phase::Inspecting(_) => u32::try_from(kernel.swarm.headers.within_ms).unwrap_or(u32::MAX),
        Phase::Connecting(Connect { attempt: Attempt::Queued, .. }) => {
            let hold_ms = table.view().listeners()[session.route.listener.index()].hold_ms;
            pool.timeouts.queue_ms.max(hold_ms)
        }
        // A pool may have got another timeout since the connect began.
        Phase::Connecting(Connect { attempt: Attempt::Trying, .. }) => pool.timeouts.connect_ms,
        Phase::Connecting(Connect { attempt: Attempt::Waiting(_), .. }) => {
            let soon = now.plus_millis(2 * RETRY_WAIT_MS + 2 * TICK_MS);
            return match table.next_deadline() {
                Some(next) if next <= soon => Ok(()),
                next => Err(format!("nothing before {next:?}, now {now:?}, wakes {session:?}")),
            };
        }
        // What waits for a side is not delivered: another timeout runs.
        Phase::Relaying(_) if kernel.has_unacked(note) || note.waits.contains(&true) => {
            return Ok(());
        }
        Phase::Relaying(_) if session.has_fin() => session.idle_ms.min(session.half_close_ms),
        Phase::Relaying(_) => session.idle_ms,
        Phase::Connecting(_) | Phase::Closing(_) => return Ok(()),
    };
    // When something moved is the kernel's word, not the session's own.
    let since = match session.phase() {
        Phase::Relaying(_) => Now::from_nanos(note.moved_at),
        // A hello has its own time, from the header before it on.
        Phase::Inspecting(_) => {
            let header_at = client.map_or(0, |leg| kernel.header_taken_at(leg));
            session.accepted_at.max(Now::from_nanos(header_at))
        }
        _ => session.connect_began_at().unwrap_or(session.accepted_at),
    };
    let mut due = since.plus_millis(wait_ms);
    if session.counted_retry == Some(true) {
        due = due.min(Now::from_nanos(note.retry_due));
    }
    // What was due on its way is done when it has come.
    let due = due.max(Now::from_nanos(note.came_at)).plus_millis(2 * TICK_MS);
    if due < now {
        return Err(format!("a deadline has passed at {due:?}, now {now:?}: {session:?}"));
    }
    Ok(())
}

/// A client that has reset has no session for long, and never gets a connect.
fn check_client(
    session: &Session,
    note: &Note,
    kernel: &Kernel,
    behind: bool,
) -> Result<(), String> {
    if note.for_nobody {
        return Err(format!("a connect for a client that has reset: {session:?}"));
    }
    if !matches!(session.phase(), Phase::Connecting(_)) || note.abandoned_at == 0 {
        return Ok(());
    }
    // What was cancelled is the kernel's until it has answered: the client is looked at then.
    if matches!(session.phase(), Phase::Connecting(Connect { attempt: Attempt::Expired, .. })) {
        return Ok(());
    }
    // Neither can it know what a watch has not reported yet.
    let client = session.leg(Side::Client);
    if client.is_some_and(|leg| kernel.waits_on(leg).2.is_some()) {
        return Ok(());
    }
    let (since, now) = (Now::from_nanos(note.abandoned_at), Now::from_nanos(kernel.now));
    let late = since.plus_millis(WATCH_AFTER_MS + 2 * TICK_MS) < now;
    if late && !behind {
        return Err(format!("its client has reset before {since:?}, now {now:?}: {session:?}"));
    }
    Ok(())
}

/// Bytes that were sent are kept only while another backend may get it, and not for long.
fn check_kept(session: &Session, kernel: &Kernel) -> Result<(), String> {
    // The pool may have got another bound since.
    let within = retries_within_max(&kernel.swarm) + kernel.swarm.rooms.queued_ms_max();
    let within_ms = u32::try_from(within).unwrap_or(u32::MAX);
    let until = session.accepted_at.plus_millis(within_ms.saturating_add(2 * TICK_MS));
    let is_late = until < Now::from_nanos(kernel.now) && !kernel.catches_up();
    if session.keeps_sent_bytes() && (is_late || session.first_byte_seen) {
        return Err(format!("bytes are kept that are not sent again: {session:?}"));
    }
    Ok(())
}

/// A buffer of the reserve is never held for a side that takes nothing.
fn check_reserve(session: &Session, kernel: &Kernel) -> Result<(), String> {
    // Where the host was short of memory for TCP, room was no promise.
    if kernel.has_refused {
        return Ok(());
    }
    for flow in Side::ALL.map(|side| session.flow(side)) {
        let reserved = flow.chunks().find(|chunk| kernel.is_reserved(chunk.buffer));
        if let (Some(chunk), Sink::Waiting) = (reserved, flow.sink) {
            return Err(format!("{chunk:?} of the reserve waits for a reader: {session:?}"));
        }
    }
    Ok(())
}

/// Sessions that are stalled keep nobody waiting for a buffer whose bytes would go out at once.
fn check_hunger(session: &Session, note: &Note) -> Result<(), String> {
    for side in Side::ALL {
        let hunger = note.hungry_for[side as usize];
        if hunger > HUNGRY_NS_MAX {
            return Err(format!("no buffer for {hunger} ns for {side:?}: {session:?}"));
        }
    }
    Ok(())
}

/// A side for which bytes wait is looked at again and again; one that takes nothing is given up
/// when its time is over, and one that is gone sooner.
fn check_patience(
    table: &Table,
    session: &Session,
    note: &Note,
    kernel: &Kernel,
) -> Result<(), String> {
    if !session.is_relaying() {
        return Ok(());
    }
    let quiescent_after_ms = kernel.swarm.tuning.quiescent_after_ms;
    // The first look comes within a look of the last send that was heard of, or with the one after
    // a FIN; later ones take longer.
    let look_ms = quiescent_after_ms * (STALLED_LOOKS_SPAN + 1) + WATCH_AFTER_MS + 2 * TICK_MS;
    let looks = Now::from_nanos(kernel.now).plus_millis(look_ms).nanos;
    let pool = &table.view().pools()[session.route.pool.index()];
    // Three retransmissions have gone unanswered by then.
    let silence_ms = pool.keepalive.silence_ms().max(1_500);
    for (conn, seen_at) in kernel.stuck(note) {
        if kernel.wait_until.is_none_or(|until| until > looks) {
            return Err(format!("bytes wait for {conn:?} and nobody looks: {session:?}"));
        }
        let gone = kernel.net.conns[conn].gone.is_some();
        let limit = if gone { silence_ms.min(session.stalled_ms) } else { session.stalled_ms };
        let Some(seen_at) = seen_at else { continue };
        let stuck_ms = (kernel.running_ns() - seen_at) / 1_000_000;
        let has_just_come = Now::from_nanos(note.came_at).plus_millis(look_ms);
        if note.came_at > 0 && has_just_come > Now::from_nanos(kernel.now) {
            continue;
        }
        // A send that was not heard of hides from a look what was taken: the next one decides.
        let hidden_ms = WATCH_AFTER_MS + TICK_MS;
        if stuck_ms > u64::from(limit + look_ms + hidden_ms) {
            return Err(format!(
                "conn {conn} has taken nothing for {stuck_ms} ms (gone: {gone}): {session:?}"
            ));
        }
    }
    Ok(())
}

/// Whoever waits, waits for something: an answer, news, a buffer, its turn. `from` names the flow.
fn check_waits(session: &Session, from: Side, note: &Note, kernel: &Kernel) -> Result<(), String> {
    let flow = session.flow(from);
    let on = |side| session.leg(side).map(|leg| kernel.waits_on(leg)).unwrap_or_default();
    let ((receives, _, at_source), (_, sending, at_sink)) = (on(from), on(from.other()));
    // A multishot receive may miss a reset: then a watch must be there soon.
    let soon = u64::from(2 * RESET_CHECK_MS + 3 * TICK_MS) * 1_000_000;
    let missed = session.leg(from).is_some_and(|leg| kernel.is_deaf(leg, soon));
    let taken_back = matches!(
        flow.source,
        Source::Receiving { cancelling: true, .. }
            | Source::Receiving { reset_check: ResetCheck::Confirmed, .. }
    );
    let looked_at = at_source.is_some() || taken_back;
    let receiving = receives && (!missed || looked_at);
    let (wants_bytes, wants_room) = (
        at_source.is_some_and(|interest| interest.readable),
        at_sink.is_some_and(|interest| interest.writable),
    );
    if flow.is_pending() && !(sending || wants_room || flow.queued) {
        return Err(format!("bytes wait and nobody waits for room: {flow:?} in {session:?}"));
    }
    let arrives = receiving || wants_bytes || flow.queued || flow.source == Source::Starved;
    // Without a buffer it asks for one when its sink takes bytes again.
    let later = flow.sink == Sink::Waiting && wants_room;
    if flow.source != Source::Ended && !flow.is_pending() && !arrives && !later {
        return Err(format!("nobody waits for bytes: {flow:?} in {session:?}"));
    }
    // A reset of a side that has ended, or is not read because the other one takes nothing, comes
    // as news; unless both FINs have come, for then none can, or have been passed on: then the
    // looks see it, and `check_patience` holds them.
    let deaf = match flow.source {
        Source::Ended => !session.is_delivering(),
        Source::Idle => flow.sink == Sink::Waiting,
        _ => false,
    };
    let late = note.deaf_at + u64::from(WATCH_AFTER_MS + 2 * TICK_MS) * 1_000_000;
    let (_, sending_there, _) = on(from);
    let over = session.leg(from).is_some_and(|leg| kernel.is_over(leg));
    if deaf && !over && kernel.now > late && !(sending_there || at_source.is_some()) {
        return Err(format!("nobody waits for a reset from {from:?}: {session:?}"));
    }
    Ok(())
}
