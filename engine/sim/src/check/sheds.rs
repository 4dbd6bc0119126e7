//! Sessions that are shed: as many as were ordered, never more, and those that have been idle for
//! longest.

use std::collections::BTreeMap;

use weir_core::limits::SWEEP_PER_TURN_MAX;
use weir_core::session::{Phase, Session};
use weir_core::table::{SessionId, Table};
use weir_proto::ids::{BackendId, ListenerId};
use weir_proto::order::SessionsOf;
use weir_proto::reason::Why;
use weir_proto::stats::ShardStats;

/// A session that relayed before a turn.
#[derive(Clone, Copy, Debug)]
pub struct Stood {
    id: SessionId,
    backend: Option<BackendId>,
    listener: ListenerId,
}

impl Stood {
    /// Every session that relays now.
    #[must_use]
    pub fn all(table: &Table) -> Vec<Stood> {
        let relaying = table.iter().filter(|(_, session)| session.is_relaying());
        relaying.map(|(id, session)| Stood::of(table, id, session)).collect()
    }

    fn of(table: &Table, id: SessionId, session: &Session) -> Stood {
        let view = table.view();
        let backend = session.route.backend.map(|slot| view.backends()[slot.index()].id);
        Stood { id, backend, listener: view.listeners()[session.route.listener.index()].id }
    }

    /// True if it relays with the same backend as before. One whose backend has closed in this turn
    /// may have got another.
    fn is_left(&self, table: &Table) -> bool {
        table.session(self.id).is_some_and(|session| {
            let backend = Stood::of(table, self.id, session).backend;
            session.is_relaying() && backend == self.backend
        })
    }

    fn is_one(&self, of: SessionsOf) -> bool {
        match of {
            SessionsOf::Backend(id) => self.backend == Some(id),
            SessionsOf::Listener(id) => self.listener == id,
        }
    }
}

/// Orders to shed.
#[derive(Debug, Default)]
pub struct Sheds {
    ordered: u64,
    ended: u64,
    /// Those that were obeyed in the last turn.
    latest: BTreeMap<SessionsOf, usize>,
}

impl Sheds {
    /// The shard has obeyed this order.
    pub(super) fn obeyed(&mut self, of: SessionsOf, count: u32) {
        self.ordered += u64::from(count);
        *self.latest.entry(of).or_default() += count as usize;
    }

    /// No more are counted than were ordered.
    pub(super) fn ended(&mut self, stats: &ShardStats) -> Result<(), String> {
        let reasons = stats.pools.iter().flat_map(|row| row.ends.iter());
        let shed = reasons.filter(|(reason, _)| reason.why == Why::Shed);
        self.ended += shed.map(|(_, count)| count).sum::<u64>();
        if self.ended > self.ordered {
            return Err(format!("{} sessions shed; ordered: {}", self.ended, self.ordered));
        }
        Ok(())
    }

    /// After a turn, if all was shed in it. `before`: what stood before the turn.
    ///
    /// # Errors
    /// Too few were shed, or others than those that were idle for longest.
    pub fn check(&mut self, before: &[Stood], table: &Table) -> Result<(), String> {
        let latest = std::mem::take(&mut self.latest);
        if table.is_sweeping() || before.len() > SWEEP_PER_TURN_MAX as usize / 2 {
            return Ok(());
        }
        for (of, count) in &latest {
            check_order(*of, *count, before, table)?;
        }
        // Where two orders meet, one may take what was left by the other.
        match latest.first_key_value() {
            Some((of, _)) if latest.len() == 1 => check_choice(*of, before, table),
            _ => Ok(()),
        }
    }
}

fn is_shed(session: &Session) -> bool {
    matches!(session.phase(), Phase::Closing(end) if end.reason.why == Why::Shed)
}

/// As many are gone as were ordered.
fn check_order(
    of: SessionsOf,
    count: usize,
    before: &[Stood],
    table: &Table,
) -> Result<(), String> {
    let meant: Vec<&Stood> = before.iter().filter(|it| it.is_one(of)).collect();
    let left = meant.iter().filter(|it| it.is_left(table)).count();
    // One that was connected in this turn may have come before another that has moved in it.
    let new = table.iter().filter(|(id, session)| {
        is_shed(session)
            && Stood::of(table, *id, session).is_one(of)
            && !meant.iter().any(|it| it.id == *id)
    });
    let count = count.saturating_sub(new.count());
    if left + count.min(meant.len()) > meant.len() {
        let all = meant.len();
        return Err(format!("{count} of the {all} sessions of {of:?} are to go; {left} are left"));
    }
    Ok(())
}

/// None that was shed had moved later than one that was left. What is left may have moved since.
fn check_choice(of: SessionsOf, before: &[Stood], table: &Table) -> Result<(), String> {
    let meant = || before.iter().filter(|it| it.is_one(of));
    let shed = meant().filter_map(|it| table.session(it.id)).filter(|it| is_shed(it));
    let left = meant().filter(|it| it.is_left(table)).filter_map(|it| table.session(it.id));
    let last = shed.map(|it| it.moved_at).max();
    let first = left.map(|it| it.moved_at).min();
    match (last, first) {
        (Some(last), Some(first)) if first < last => {
            Err(format!("a session of {of:?} is left, idle since {first:?}; shed: {last:?}"))
        }
        _ => Ok(()),
    }
}
