//! The ledger of slow start: whose share grows since when, and whether it got more.

use std::collections::{BTreeMap, BTreeSet};

use weir_proto::ids::BackendId;
use weir_proto::order::BackendHealth;
use weir_proto::snapshot::{Pool, Snapshot};
use weir_proto::spec::Strategy;

/// Whoever gets sessions by this version and did not before, in a pool that has one who did.
pub(super) fn begins(before: Option<&Snapshot>, after: &Snapshot) -> BTreeSet<BackendId> {
    let was_member = |id: BackendId| {
        let mut all = before.iter().flat_map(|snapshot| snapshot.backends());
        all.any(|(_, old)| old.id == id && old.is_member())
    };
    let mut begin = BTreeSet::new();
    for pool in &after.pools {
        let members = || pool.backends.iter().filter(|backend| backend.is_member());
        if members().any(|backend| was_member(backend.id)) {
            let new = members().filter(|backend| !was_member(backend.id));
            begin.extend(new.map(|backend| backend.id));
        }
    }
    begin
}

/// For how long a share grows in this pool, pick by pick; 0 is not at all. Under maglev it grows
/// client by client: one that has gone over may come again and again.
pub(super) fn slow_start_ms(pool: &Pool) -> u64 {
    if pool.strategy == Strategy::Maglev { 0 } else { pool.health.slow_start.millis }
}

/// Backends whose share grows.
#[derive(Debug, Default)]
pub(super) struct Shares {
    growing: BTreeMap<BackendId, Growing>,
    /// Picks that were weighed.
    pub(super) checked: u64,
}

#[derive(Clone, Copy, Debug)]
struct Growing {
    since: u64,
    /// The shortest slow start of the versions that are over: a pick under it may have ended this.
    shortest_ms: u64,
    /// The sessions that it might have had at most, on average, and those that it got.
    due: f64,
    got: f64,
}

impl Growing {
    fn new(since: u64) -> Growing {
        Growing { since, shortest_ms: u64::MAX, due: 0.0, got: 0.0 }
    }
}

impl Shares {
    /// A new version: see [`begins`].
    pub(super) fn adopt(&mut self, before: Option<&Snapshot>, after: &Snapshot, now: u64) {
        for (pool, backend) in before.iter().flat_map(|snapshot| snapshot.backends()) {
            if let Some(growing) = self.growing.get_mut(&backend.id) {
                growing.shortest_ms = growing.shortest_ms.min(slow_start_ms(pool));
            }
        }
        for id in begins(before, after) {
            self.growing.insert(id, Growing::new(now));
        }
        self.growing.retain(|id, _| after.backends().any(|(_, backend)| backend.id == *id));
    }

    /// Control has said something of a backend's health.
    pub(super) fn hear(
        &mut self,
        id: BackendId,
        (before, after): (BackendHealth, BackendHealth),
        now: u64,
    ) {
        match (before == after, after) {
            (true, _) => {}
            (false, BackendHealth::Up) => drop(self.growing.insert(id, Growing::new(now))),
            (false, BackendHealth::Down | BackendHealth::Unproven | BackendHealth::Aside) => {
                self.forget(id);
            }
        }
    }

    pub(super) fn forget(&mut self, id: BackendId) {
        self.growing.remove(&id);
    }

    pub(super) fn grows(&self, id: BackendId) -> bool {
        self.growing.contains_key(&id)
    }

    /// A session goes to `picked`, and another one of the pool has all of its share.
    ///
    /// # Errors
    /// One whose share grows has got much more than it takes part in.
    pub(super) fn picked(
        &mut self,
        pool: &Pool,
        picked: BackendId,
        now: u64,
    ) -> Result<(), String> {
        let slow_start = slow_start_ms(pool);
        if slow_start == 0 {
            return Ok(());
        }
        for backend in &pool.backends {
            let Some(growing) = self.growing.get_mut(&backend.id) else { continue };
            let elapsed = (now / 1_000_000).saturating_sub(growing.since / 1_000_000);
            if elapsed >= slow_start {
                self.growing.remove(&backend.id);
                continue;
            }
            if elapsed >= growing.shortest_ms {
                continue;
            }
            self.checked += 1;
            growing.due += elapsed as f64 / slow_start as f64;
            growing.got += f64::from(u8::from(backend.id == picked));
            let Growing { due, got, .. } = *growing;
            // A sum of coins is beyond this once in 10^8 times.
            if got > due + 6.0 * due.sqrt() + 7.0 {
                let name = &backend.name;
                return Err(format!(
                    "{name} has {got} sessions {elapsed} ms after it began; {due:.1} are its share"
                ));
            }
        }
        Ok(())
    }
}
