//! The ledger of limits of connects: how many are on their way to a backend, and how often one
//! begins.

use std::collections::BTreeMap;

use weir_proto::ids::BackendId;
use weir_proto::snapshot::Backend;

use super::rates::RateBuckets;
use super::{Attempt, Ledger};

/// Connects by backend.
#[derive(Debug, Default)]
pub(super) struct Caps {
    /// That were asked for so far, and until the last turn.
    begun: BTreeMap<BackendId, u64>,
    begun_before: BTreeMap<BackendId, u64>,
    allowed: RateBuckets<BackendId>,
    /// That had no answer after the last turn.
    on_their_way: BTreeMap<BackendId, u32>,
}

impl Caps {
    /// A connect is asked for.
    pub(super) fn begins(&mut self, backend: Option<BackendId>) {
        *self.begun.entry(backend.unwrap_or_default()).or_default() += 1;
    }
}

impl Ledger {
    /// No more connects are on their way, and no more begin, than a backend may have. Of one whose
    /// limit was lowered only fewer are on their way.
    pub(super) fn check_caps(&mut self) -> Result<(), String> {
        let mut now: BTreeMap<BackendId, u32> = BTreeMap::new();
        // The cancel of a connect that has succeeded anyway may be answered later.
        let is_on_its_way = |it: &&Attempt| it.waits_for > 0 && it.live.is_some();
        for attempt in self.attempts.values().filter(is_on_its_way) {
            *now.entry(attempt.backend.unwrap_or_default()).or_default() += 1;
        }
        let before = std::mem::replace(&mut self.caps.on_their_way, now);
        let count = |all: &BTreeMap<_, u32>, id| all.get(&id).copied().unwrap_or(0);
        let Some(snapshot) = self.snapshot.clone() else { return Ok(()) };
        for (_, Backend { id, name, connecting, .. }) in snapshot.backends() {
            let now = count(&self.caps.on_their_way, *id);
            if let Some(most) = connecting.filter(|most| now > *most)
                && now > count(&before, *id)
            {
                return Err(format!("{now} connects to {name} are on their way; {most} may be"));
            }
        }
        let rates = snapshot.backends();
        let rates: Vec<_> = rates.filter_map(|(_, it)| Some((it.id, it.connect_rate?))).collect();
        self.caps.allowed.retain(|id| rates.iter().any(|(of, _)| *of == id));
        for (id, rate) in rates {
            let begun = self.connects_begun(id);
            let before = self.caps.begun_before.get(&id).copied().unwrap_or(0);
            self.caps.allowed.began((id, rate), begun - before, self.now)?;
        }
        self.caps.begun_before.clone_from(&self.caps.begun);
        Ok(())
    }

    /// Connects to a backend that were asked for so far.
    #[must_use]
    pub fn connects_begun(&self, id: BackendId) -> u64 {
        self.caps.begun.get(&id).copied().unwrap_or(0)
    }
}

/// It has a limit.
pub(super) fn may_be_full(backend: &Backend) -> bool {
    backend.max_sessions.is_some() || backend.connecting.is_some() || backend.connect_rate.is_some()
}
