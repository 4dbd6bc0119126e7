//! How many sessions there may be after a turn: limits, kills and stops.

use std::collections::BTreeMap;

use weir_core::limits::SWEEP_PER_TURN_MAX;
use weir_core::session::Phase;
use weir_core::table::Table;
use weir_proto::ids::{BackendId, ListenerId};

use super::Ledger;

impl Ledger {
    /// The session limits of the shard and of each listener, after a turn. A limit that was lowered
    /// below the number of live sessions ends none of them, but admits no new one.
    ///
    /// # Errors
    /// More sessions than allowed.
    pub fn check_limits(&mut self, table: &Table, most: u32) -> Result<(), String> {
        if table.len() > most {
            return Err(format!("{} sessions; {most} are allowed", table.len()));
        }
        let rows = table.view().listeners();
        let now = rows.iter().map(|row| (row.id, row.sessions)).collect();
        let before = std::mem::replace(&mut self.before, now);
        self.check_backends(table)?;
        self.check_rates()?;
        self.check_caps()?;
        // While a session is on its way its place may be another one's.
        let all = self.snapshot.iter().filter(|_| !self.hands_over);
        for listener in all.flat_map(|snapshot| &snapshot.listeners) {
            let Some(most) = listener.max_sessions else { continue };
            let sessions = self.before.get(&listener.id).copied().unwrap_or(0);
            if sessions > most && before.get(&listener.id).is_none_or(|before| sessions > *before) {
                let id = listener.id;
                return Err(format!("{sessions} sessions of listener {id}; {most} are allowed"));
            }
        }
        Ok(())
    }

    /// No more sessions begin than the rates of listeners allow.
    fn check_rates(&mut self) -> Result<(), String> {
        let began = std::mem::replace(&mut self.admitted_before, self.admitted.clone());
        let rates = self.snapshot.iter().flat_map(|snapshot| &snapshot.listeners);
        let rates: Vec<_> = rates.filter_map(|it| Some((it.id, it.rate?))).collect();
        self.allowed.retain(|id| rates.iter().any(|(of, _)| *of == id));
        // When one who came late is let in is not known.
        for (id, rate) in rates.into_iter().filter(|_| self.late == 0) {
            let count = |all: &BTreeMap<_, u64>| all.get(&id).copied().unwrap_or(0);
            let count = count(&self.admitted) - count(&began);
            self.allowed.began((id, rate), count, self.now)?;
        }
        Ok(())
    }

    /// The same of each backend.
    fn check_backends(&mut self, table: &Table) -> Result<(), String> {
        let rows = table.view().backends();
        let now = rows.iter().map(|row| (row.id, row.sessions)).collect();
        let before: BTreeMap<BackendId, u32> = std::mem::replace(&mut self.loads_before, now);
        let all = self.snapshot.iter().filter(|_| !self.hands_over);
        for (_, backend) in all.flat_map(|snapshot| snapshot.backends()) {
            let Some(most) = backend.max_sessions else { continue };
            let sessions = self.loads_before.get(&backend.id).copied().unwrap_or(0);
            if sessions > most && sessions > before.get(&backend.id).copied().unwrap_or(0) {
                let name = &backend.name;
                return Err(format!("{sessions} sessions of backend {name}; {most} are allowed"));
            }
        }
        Ok(())
    }

    /// Clients of a listener that were let in; `None` if that is not known exactly.
    #[must_use]
    pub fn admitted(&self, id: ListenerId) -> Option<u64> {
        (self.late == 0).then(|| self.admitted.get(&id).copied().unwrap_or(0))
    }

    /// So many clients were accepted and had to wait for a session.
    pub fn parked(&mut self, count: u64) {
        self.late = self.late.max(count);
    }

    /// As many clients as have waited after their accept.
    #[must_use]
    pub fn late(&self) -> u64 {
        self.late
    }

    /// A kill and a stop end sessions in the same turn, as long as one batch is enough for them.
    /// `before`: sessions before the turn.
    ///
    /// # Errors
    /// A session that should be closing.
    pub fn check_cuts(&mut self, table: &Table, before: u32) -> Result<(), String> {
        let cuts = std::mem::take(&mut self.cut);
        // One that has just come may have been on its way.
        if cuts.is_empty() || self.has_renamed || before.max(table.len()) > SWEEP_PER_TURN_MAX / 2 {
            return Ok(());
        }
        for (id, session) in table.iter() {
            let on = session.route.backend.map(|slot| table.view().backends()[slot.index()].id);
            // Who came, or got the backend, after the kill in this turn is not meant.
            let since = session.connect_began_at().unwrap_or(session.accepted_at);
            let came_later = since.nanos == self.now;
            let is_cut = cuts.iter().any(|cut| cut.is_none() || *cut == on);
            if is_cut && !came_later && !matches!(session.phase(), Phase::Closing(_)) {
                return Err(format!("{id:?} on {on:?} goes on after {cuts:?} was cut"));
            }
        }
        Ok(())
    }
}
