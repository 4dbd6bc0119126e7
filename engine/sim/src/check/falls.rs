//! Backends that are down: their pool's `on-down` says which of their sessions end, and none else
//! does.

use std::collections::{BTreeMap, BTreeSet};

use weir_core::event::Side;
use weir_core::limits::{STALLED_LOOKS_SPAN, TICK_MS, WATCH_AFTER_MS};
use weir_core::table::Table;
use weir_proto::ids::BackendId;
use weir_proto::order::BackendHealth;
use weir_proto::reason::Why;
use weir_proto::session_log::{SessionEvent, SessionRecords};
use weir_proto::spec::OnDown;

use super::Ledger;
use crate::kernel::Kernel;
use crate::operator::Sent;

/// Backends that are out: control calls them down, and their pool is not in panic.
#[derive(Debug, Default)]
pub(super) struct Outs {
    now: BTreeMap<BackendId, Out>,
    /// Those that may ever have been out.
    ever: BTreeSet<BackendId>,
}

/// Since when a backend is out: by the clock, and by the time in which the shard could run.
#[derive(Clone, Copy, Debug)]
struct Out {
    policy: OnDown,
    since: u64,
    running: u64,
}

impl Sent {
    /// Tells the kernel which sessions the shard may end because of it.
    pub fn foretell(&self, kernel: &mut Kernel) {
        match self {
            Sent::Adopt(snapshot, words) => {
                kernel.falls.note_snapshot(snapshot);
                kernel.falls.note_words(words);
            }
            Sent::Health(words) => kernel.falls.note_words(words),
            _ => {}
        }
    }
}

impl Outs {
    /// A session whose end says so had a backend that was out.
    pub(super) fn read(&self, records: &SessionRecords) -> Result<(), String> {
        for record in &records.rows {
            let SessionEvent::Close(end) = record.event else { continue };
            let of = record.session.backend;
            if end.reason.why == Why::BackendDown && of.is_none_or(|of| !self.ever.contains(&of)) {
                return Err(format!("its backend never went down: {record:?}"));
            }
        }
        Ok(())
    }
}

impl Ledger {
    /// After a turn: of a backend that is out, and whose pool kills, no session is left that it had
    /// when it went down; and none for which it takes nothing.
    ///
    /// # Errors
    /// One is left.
    pub fn check_falls(&mut self, table: &Table, kernel: &Kernel) -> Result<(), String> {
        if !kernel.swarm.on_down {
            return Ok(());
        }
        self.follow_outs(kernel);
        let behind = kernel.wait_until.is_some_and(|until| until <= kernel.now);
        // After a kill not every ejection is known, and so not every panic.
        if table.is_sweeping() || behind || kernel.catches_up() || self.fuzzy {
            return Ok(());
        }
        for (id, session) in table.iter().filter(|(_, session)| session.is_relaying()) {
            let slot = session.route.backend.expect("it relays");
            let backend = table.view().backends()[slot.index()].id;
            let Some(out) = self.outs.now.get(&backend) else { continue };
            let note = kernel.notes.get(&(id.slot, id.generation));
            let note = note.ok_or_else(|| format!("the kernel knows nothing of {id:?}"))?;
            // One that was on its way when the backend fell lives on.
            let since = note.relays.max(note.came_at);
            if out.policy == OnDown::Kill && since < out.since {
                return Err(format!(
                    "{id:?} goes on, {backend} is down since {out:?}: {session:?}"
                ));
            }
            if out.policy != OnDown::Stalled {
                continue;
            }
            let looks = kernel.swarm.tuning.quiescent_after_ms * (STALLED_LOOKS_SPAN + 1);
            let most_ms = u64::from(1_000 + looks + 2 * WATCH_AFTER_MS + 3 * TICK_MS);
            for (conn, seen_at) in kernel.stuck(note) {
                let Some(seen_at) = seen_at else { continue };
                let stuck_ms = (kernel.running_ns() - seen_at.max(out.running)) / 1_000_000;
                if note.came_at + most_ms * 1_000_000 > kernel.now {
                    continue; // it has just been handed over
                }
                if kernel.net.conns[conn].side == Side::Backend && stuck_ms > most_ms {
                    return Err(format!(
                        "{backend} is down and has taken nothing for {stuck_ms} ms: {session:?}"
                    ));
                }
            }
        }
        Ok(())
    }

    fn follow_outs(&mut self, kernel: &Kernel) {
        let Some(snapshot) = self.snapshot.clone() else { return };
        let mut now = BTreeMap::new();
        for pool in snapshot.pools.iter().filter(|pool| pool.spec.on_down != OnDown::Keep) {
            let is_called_down = |id: &BackendId| {
                self.health_of(*id) == BackendHealth::Down && !self.own_ejections.contains(id)
            };
            let called = pool.backends.iter().map(|it| it.id).filter(is_called_down);
            let called: Vec<BackendId> = called.collect();
            if called.is_empty() {
                continue;
            }
            let panics = self.is_in_panic(pool);
            // An ejection of this turn may have begun a panic after sessions were ended.
            if !panics || self.fuzzy || !self.own_ejections.is_empty() {
                self.outs.ever.extend(&called);
            }
            let fresh =
                Out { policy: pool.spec.on_down, since: kernel.now, running: kernel.running_ns() };
            for id in called.into_iter().filter(|_| !panics) {
                let before = self.outs.now.get(&id).filter(|it| it.policy == fresh.policy);
                now.insert(id, before.copied().unwrap_or(fresh));
            }
        }
        self.outs.now = now;
    }
}
