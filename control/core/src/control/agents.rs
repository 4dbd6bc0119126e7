//! Words of agents on their way to the shards.
//!
//! ```text
//! Input::Checked ──▶ other marks ──between two changes──▶ an edition of the snapshot ──▶ shards
//! ```
//! A mark is no configuration and no version (ADR 0049): the disk never hears of it. The health
//! that an agent names goes the way of every other word on health.

use std::sync::Arc;
use std::time::Duration;

use weir_core::base::clock::Now;
use weir_proto::answer::EventKind;
use weir_proto::snapshot::{AgentMark, Pool};

use super::{Clocks, Control};
use crate::health::AgentNews;

/// The first word goes to the shards at once, what comes within this time after it together: a
/// thousand agents that name other weights each second are ten editions, not a thousand.
const EDITION_GAP: Duration = Duration::from_millis(100);

impl Control {
    /// When an edition with other marks may be sent; `None`: there is none to send, or a change is
    /// under way.
    pub(super) fn next_remark(&self) -> Option<Now> {
        let is_due = self.health.has_remarked() && !self.changes.is_busy();
        is_due.then_some(self.marks_from)
    }

    /// Sends the next edition, with the pools of which agents have said something else: as many as
    /// a slice has backends, the rest with the next one.
    pub(super) fn remark(&mut self, moment: Clocks) {
        if moment.now < self.marks_from || !self.health.has_remarked() {
            return;
        }
        let (mut remarked, mut backends) = (Vec::new(), 0);
        while backends < self.slice.max(1)
            && let Some(id) = self.health.take_remarked()
        {
            let place = self.snapshot.pools.iter().position(|pool| pool.id == id);
            let Some(place) = place else { continue };
            let pool = &self.snapshot.pools[place];
            let marks = self.marks_of(pool);
            if pool.backends.iter().map(|it| it.mark).ne(marks.iter().copied()) {
                backends += marks.len();
                remarked.push((place, marks));
            }
        }
        if remarked.is_empty() {
            return;
        }
        let places: Vec<usize> = remarked.iter().map(|(place, _)| *place).collect();
        let next = Arc::new(self.snapshot.remark(remarked));
        self.publish_edition(next, &places, moment);
        self.marks_from = moment.now + EDITION_GAP;
    }

    /// The words of a pool's agents, in the order of its backends.
    fn marks_of(&self, pool: &Pool) -> Vec<AgentMark> {
        let mark = |id| self.health.agent(id).map(|agent| agent.mark).unwrap_or_default();
        let is_asked = pool.spec.agent.is_asked();
        let marks = pool.backends.iter();
        marks.map(|it| if is_asked { mark(it.id) } else { AgentMark::default() }).collect()
    }

    /// Tells people what is new about agents.
    pub(super) fn tell_agents(&mut self, wall_ms: u64) {
        for AgentNews { backend, is_bad, text } in self.health.take_agent_news() {
            if is_bad {
                tracing::warn!("backend {backend}: {text}");
            } else {
                tracing::info!("backend {backend}: {text}");
            }
            self.events.push(EventKind::Health, backend, text, wall_ms);
        }
    }
}
