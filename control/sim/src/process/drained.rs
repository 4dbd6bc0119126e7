//! Somebody drains the process, and takes that back: while it drains no shard listens.

use weir_control_core::control::{ChangeId, Input, Phase};
use weir_engine_sim::rng::Rng;
use weir_proto::ids::ShardId;

use super::{SimProcess, StepResult, daemon};

/// The name of everything that is asked for here. Changes count from 1 on.
pub(super) const READY: ChangeId = ChangeId(0);

/// Somebody who drains.
#[derive(Debug)]
pub(super) struct Drainer {
    /// A generator of its own: the other draws of a seed are as they were without it.
    rng: Rng,
    acts: bool,
}

impl Drainer {
    /// `from` draws nothing.
    #[must_use]
    pub(super) fn beside(from: &Rng) -> Drainer {
        let mut rng = Rng::new(from.clone().draw());
        let acts = rng.below(4) == 0;
        Drainer { rng, acts }
    }
}

impl SimProcess {
    /// Drains now and then, or takes that back.
    pub(super) fn drain_some(&mut self) {
        if !self.drainer.acts || self.alone.is_some() {
            return;
        }
        if self.is_draining() {
            if self.drainer.rng.below(8) == 0 {
                self.take_drain_back();
            }
        } else if self.drainer.rng.below(32) == 0
            && let Some(daemon) = &mut self.daemon
        {
            self.street.note("drains", [0, 0]);
            self.wires.borrow_mut().drained = true;
            daemon.give(Input::Drain { until: None }, daemon::moment(self.street.now));
        }
    }

    pub(super) fn is_draining(&self) -> bool {
        let phase = self.daemon.as_ref().map(|daemon| daemon.control.phase);
        phase == Some(Phase::Draining { until: None })
    }

    /// Ends a drain, if there is one.
    pub(super) fn take_drain_back(&mut self) {
        if !self.is_draining() {
            return;
        }
        if let Some(daemon) = &mut self.daemon {
            self.street.note("is ready again", [0, 0]);
            daemon.give(Input::Ready { id: READY }, daemon::moment(self.street.now));
        }
    }

    /// Who has heard of a drain listens nowhere.
    ///
    /// # Errors
    /// A shard does.
    pub(super) fn check_drained(&self) -> StepResult {
        let Some(daemon) = self.daemon.as_ref().filter(|_| self.is_draining()) else {
            return Ok(());
        };
        let wires = self.wires.borrow();
        for ((number, cell), wire) in (0..).zip(&self.cells).zip(&wires.all) {
            let told = daemon.control.has_told(ShardId(number)) && wire.is_taken();
            if told && cell.is_live() && cell.is_known() && cell.listens() {
                return Err(format!("shard {number} listens while the process drains"));
            }
        }
        Ok(())
    }
}
