//! The ledger of what is known of a backend beside its configuration: it is what orders and answers
//! have made it, whatever versions come in between.

use std::collections::BTreeMap;

use weir_core::view::{Figures, View};
use weir_proto::ids::BackendId;
use weir_proto::order::BackendHealth;
use weir_proto::snapshot::Snapshot;

use super::Ledger;

/// What was said of backends.
#[derive(Debug, Default)]
pub(super) struct Said {
    /// Sessions of the other shards.
    remote_sessions: BTreeMap<BackendId, u32>,
    recovered: BTreeMap<BackendId, Recovered>,
}

/// A backend that has recovered, or begun to get sessions beside others.
#[derive(Clone, Copy, Debug)]
struct Recovered {
    /// In nanoseconds.
    at: u64,
    /// The shortest slow start that its pool has had since; none is 0.
    ramp_ms: u64,
}

impl Said {
    pub(super) fn load(&mut self, list: &[(BackendId, u32)], snapshot: Option<&Snapshot>) {
        let Some(snapshot) = snapshot else { return };
        let known = |id: BackendId| snapshot.backends().any(|(_, backend)| backend.id == id);
        self.remote_sessions.extend(list.iter().copied().filter(|(id, _)| known(*id)));
    }

    /// Control says of a backend that was `before` what it is now.
    pub(super) fn health(
        &mut self,
        id: BackendId,
        (before, after): (BackendHealth, BackendHealth),
        now: u64,
    ) {
        if before == after {
            return;
        }
        self.recovered.remove(&id);
        if after == BackendHealth::Up {
            self.recovered.insert(id, Recovered { at: now, ramp_ms: u64::MAX });
        }
    }

    /// It is not known whether, and when, it has recovered.
    pub(super) fn forget(&mut self, id: BackendId) {
        self.recovered.remove(&id);
    }

    #[cfg(test)]
    pub(super) fn expects_a_ramp(&self, id: BackendId) -> bool {
        self.recovered.contains_key(&id)
    }

    pub(super) fn adopt(&mut self, before: Option<&Snapshot>, after: &Snapshot, now: u64) {
        let begins = super::shares::begins(before, after);
        let (mut remote_sessions, mut recovered) = (BTreeMap::new(), BTreeMap::new());
        for (_, backend) in after.backends() {
            remote_sessions.extend(self.remote_sessions.get_key_value(&backend.id));
            recovered.extend(self.recovered.get_key_value(&backend.id));
            if begins.contains(&backend.id) {
                recovered.insert(backend.id, Recovered { at: now, ramp_ms: u64::MAX });
            }
        }
        (self.remote_sessions, self.recovered) = (remote_sessions, recovered);
        self.follow(after);
    }

    /// A pick that finds a slow start over forgets it.
    fn follow(&mut self, snapshot: &Snapshot) {
        for (pool, backend) in snapshot.backends() {
            let ramp_ms = pool.health.slow_start.millis;
            if let Some(recovered) = self.recovered.get_mut(&backend.id) {
                recovered.ramp_ms = recovered.ramp_ms.min(ramp_ms);
            }
        }
    }
}

/// Each pool goes by what its version says.
fn check_settings(view: &View, snapshot: &Snapshot) -> Result<(), String> {
    for pool in &snapshot.pools {
        let row = view.pools().iter().find(|row| row.id == pool.id);
        let row = row.ok_or_else(|| format!("pool {} is not there", pool.name))?;
        let slow_start_ms = u32::try_from(pool.health.slow_start.millis).unwrap_or(u32::MAX);
        let health = (pool.health.panic, slow_start_ms);
        if (row.timeouts, row.retry, row.health_settings()) != (pool.timeouts, pool.retry, health) {
            return Err(format!("pool {} goes by older settings: {row:?}", pool.name));
        }
    }
    Ok(())
}

impl Ledger {
    /// Every figure of every backend is what was said and seen. `now` is in nanoseconds.
    ///
    /// # Errors
    /// What differs.
    pub fn check_figures(&mut self, view: &View, now: u64) -> Result<(), String> {
        if let Some(snapshot) = &self.snapshot {
            self.said.follow(snapshot);
            check_settings(view, snapshot)?;
        }
        view.figures().try_for_each(|figures| self.check_backend(figures, now))
    }

    fn check_backend(&self, figures: Figures, now: u64) -> Result<(), String> {
        let id = figures.id;
        let elsewhere = self.said.remote_sessions.get(&id).copied().unwrap_or(0);
        if figures.remote_sessions != elsewhere {
            let known = figures.remote_sessions;
            return Err(format!("backend {id} has {known} remote sessions; {elsewhere} were told"));
        }
        if !figures.is_stuck_as_it_should() {
            return Err(format!("whether backend {id} is stuck was forgotten: {figures:?}"));
        }
        let failures = self.failures.get(&id).copied().unwrap_or(0);
        if !self.fuzzy && u32::from(figures.failures) != failures.min(255) {
            return Err(format!("{failures} failures of backend {id} in a row: {figures:?}"));
        }
        let ramps = |recovered: &&Recovered| {
            (now / 1_000_000).saturating_sub(recovered.at / 1_000_000) < recovered.ramp_ms
        };
        let recovered = self.said.recovered.get(&id).filter(ramps);
        if let Some(recovered) = recovered
            && figures.ramps_since.map(|at| at.nanos) != Some(recovered.at)
        {
            return Err(format!("backend {id} has recovered, {recovered:?}: {figures:?}"));
        }
        Ok(())
    }
}
