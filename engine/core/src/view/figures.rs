//! What a shard knows of backends and pools that is not configuration. For the simulator, which
//! compares it with what was done and said: a new version changes none of it.

use weir_proto::ids::BackendId;
use weir_proto::order::BackendHealth;
use weir_proto::spec::Percent;

use super::{BackendView, PoolView, View};
use crate::base::clock::Now;
use crate::limits::STUCK_CONNECTS;

/// The figures of one backend.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Figures {
    pub id: BackendId,
    /// Sessions of all other shards, as control last said.
    pub remote_sessions: u32,
    pub health: BackendHealth,
    /// Connects that failed in a row.
    pub failures: u8,
    /// Connects that have not been answered.
    pub waiting: u32,
    /// Since when too many of them wait.
    pub stuck_since: Option<Now>,
    /// Since when its share grows, until it has all of it.
    pub ramps_since: Option<Now>,
}

impl View {
    /// The figures of every backend of the current version.
    pub fn figures(&self) -> impl Iterator<Item = Figures> {
        self.backends.iter().filter(|backend| backend.place.is_some()).map(BackendView::figures)
    }

    /// The figures of one backend of the current version.
    #[must_use]
    pub fn figures_of(&self, id: BackendId) -> Option<Figures> {
        let backend = &self.backends[self.backend_slot(id)?.index()];
        backend.place.is_some().then(|| backend.figures())
    }
}

impl Figures {
    /// Whether too many connects wait and whether that is known must be the same.
    #[must_use]
    pub fn is_stuck_as_it_should(&self) -> bool {
        (self.waiting >= STUCK_CONNECTS) == self.stuck_since.is_some()
    }
}

impl BackendView {
    fn figures(&self) -> Figures {
        Figures {
            id: self.id,
            remote_sessions: self.remote_sessions,
            health: self.health,
            failures: self.failures,
            waiting: self.waiting,
            stuck_since: self.stuck_since,
            ramps_since: self.ramps_since,
        }
    }

    /// Connects of this shard to it that have not been answered.
    #[must_use]
    pub fn waiting(&self) -> u32 {
        self.waiting
    }
}

impl PoolView {
    /// The panic threshold, and the slow start in milliseconds.
    #[must_use]
    pub fn health_settings(&self) -> (Percent, u32) {
        (self.rule.panic, self.slow_start_ms)
    }

    /// Connects that have not been answered, and those of them that are retries.
    #[must_use]
    pub fn connects(&self) -> (u32, u32) {
        (self.connecting, self.retrying)
    }
}
