//! The life of the process and of its shards: draining, stopping, shards that end and come back.

use std::collections::BTreeSet;

use weir_core::base::clock::Now;
use weir_core::base::machine::enter;
use weir_proto::answer::{Answer, EventKind, Said};
use weir_proto::ids::ShardId;
use weir_proto::request::{Code, Refusal};

use super::handover::upgrading;
use super::unbound::UnboundAddresses;
use super::{ChangeId, Clocks, Control, Output, Phase, Shard, ShardStatus};
use crate::deadlines::{PANICS_MAX, PANICS_WITHIN};
use crate::sockets::BindPlan;

impl Control {
    /// Accepts nothing any more, and stops at `until` or as soon as no session is left.
    pub(super) fn drain(&mut self, until: Option<Now>, moment: Clocks) {
        match self.phase {
            Phase::Serving => {
                tracing::info!("draining: no new sessions, {} are open", self.aggregate.sessions());
                let text = "accepts no new sessions".to_owned();
                self.events.push(EventKind::Process, "drain".to_owned(), text, moment.wall_ms);
                enter(&mut self.phase, Phase::Draining { until });
                self.each_live(|shard| {
                    shard.pending.drain();
                    shard.want_fresh();
                });
                self.flush();
            }
            Phase::Draining { until: None } => enter(&mut self.phase, Phase::Draining { until }),
            // The earlier deadline counts.
            Phase::Draining { until: Some(before) } => {
                let until = until.map_or(before, |until| until.min(before));
                enter(&mut self.phase, Phase::Draining { until: Some(until) });
            }
            Phase::Stopping { .. } | Phase::Over { .. } => {}
        }
    }

    /// A drain was to be taken back.
    pub(super) fn ready(&mut self, id: ChangeId, moment: Clocks) {
        let result = match self.phase {
            _ if self.is_handing_over() => Err(upgrading()),
            Phase::Serving => Ok("weir serves already".to_owned()),
            Phase::Draining { until: None } => Ok(self.serve_again(moment)),
            Phase::Draining { until: Some(_) } | Phase::Stopping { .. } | Phase::Over { .. } => {
                let hint = "wait for its end, then start it again: weir run";
                Err(Refusal::new(Code::Failed, "weir was told to end".to_owned(), hint))
            }
        };
        let result = result.map(|text| Answer::Said(Said { text }));
        self.outputs.push(Output::Answered { id, result });
    }

    /// Binds every address again, which other programs may have taken meanwhile, and accepts.
    fn serve_again(&mut self, moment: Clocks) -> String {
        enter(&mut self.phase, Phase::Serving);
        let snapshot = self.snapshot.clone();
        let bound = self.fleet.bind(&BindPlan::first(&snapshot));
        self.unbound = UnboundAddresses::default();
        let all = bound.failed.is_empty();
        self.begin_unbound(bound.failed, moment);
        for (shard, sockets) in self.shards.iter_mut().zip(bound.sockets) {
            shard.missing.clear();
            if shard.has_thread() {
                shard.pending.serve(snapshot.clone(), sockets, all);
            }
        }
        self.flush();
        let text = match self.unbound() {
            0 => "the drain was taken back: new sessions are accepted".to_owned(),
            count => format!("the drain was taken back: addresses not bound: {count}"),
        };
        tracing::info!("{text}");
        self.events.push(EventKind::Process, "ready".to_owned(), text.clone(), moment.wall_ms);
        text
    }

    /// Ends every session and every shard now.
    pub(super) fn stop(&mut self, moment: Clocks) {
        if matches!(self.phase, Phase::Stopping { .. } | Phase::Over { .. }) {
            return;
        }
        tracing::info!("stopping: {} sessions are open", self.aggregate.sessions());
        enter(&mut self.phase, Phase::Stopping { since: moment.now });
        self.each_live(|shard| shard.pending.stop());
        self.flush();
        self.end_if_alone();
    }

    /// No session is left, by figures that are newer than the drain.
    pub(super) fn is_quiet(&mut self) -> bool {
        // Those that are on their way here are not counted yet.
        self.is_fresh() && self.aggregate.sessions() == 0 && !self.aggregate.keeps_all()
    }

    pub(super) fn on_started(&mut self, id: ShardId, sessions_max: u32, moment: Clocks) {
        self.acknowledge_fences(moment); // it may have been fenced and be back within one tick
        let snapshot = self.snapshot.clone();
        let down = self.down();
        let draining = !self.is_serving();
        let stopping = matches!(self.phase, Phase::Stopping { .. });
        // While weir drains, another program may have taken them.
        let wanted = if draining { BTreeSet::new() } else { self.bound_addresses() };
        let Some(shard) = self.shards.get_mut(usize::from(id.0)) else { return };
        shard.sessions_max = sessions_max;
        let text = match shard.status {
            ShardStatus::Live => return,
            // It was stuck: it gets all that it was told, and has no socket.
            ShardStatus::Fenced => {
                self.leases.set_fenced(id, false);
                enter(&mut shard.status, ShardStatus::Live);
                "turns again"
            }
            // It was built again after it had ended: it knows nothing and has no socket, and what
            // was said to the one before is not for it.
            ShardStatus::Ended => {
                enter(&mut shard.status, ShardStatus::Live);
                *shard = shard.successor();
                self.leases.built_again(id);
                "was built again"
            }
        };
        shard.sessions_max = sessions_max;
        let bound = self.fleet.bind_again(id, &snapshot, &wanted);
        for error in &bound.failed {
            tracing::error!("shard {id} goes without: {}", error.refusal().message);
        }
        shard.missing = bound.failed.iter().map(|error| error.address).collect();
        shard.pending.adopt_anew(snapshot, bound.into_first());
        shard.pending.health(&down);
        if draining {
            shard.pending.drain();
        }
        if stopping {
            shard.pending.stop();
        }
        tracing::info!("shard {id} {text}");
        self.events.push(EventKind::Shard, id.to_string(), text.to_owned(), moment.wall_ms);
        self.flush();
    }

    /// What the watchdog has seen since the last look becomes news; it has acted already.
    pub(super) fn acknowledge_fences(&mut self, moment: Clocks) {
        for shard in &mut self.shards {
            let before = shard.watched;
            let watched = self.fleet.watched(shard.id);
            shard.watched = shard.watched_before.each(watched, u64::saturating_add);
            let mut tell = |text: &str| {
                self.events.push(
                    EventKind::Shard,
                    shard.id.to_string(),
                    text.to_owned(),
                    moment.wall_ms,
                );
            };
            if shard.watched.stuck > before.stuck {
                tell("has made no turn for 100 ms");
            }
            if shard.watched.fences > before.fences {
                tell("is stuck: the others take its clients");
                if shard.has_thread() {
                    enter(&mut shard.status, ShardStatus::Fenced);
                }
                self.rollout.on_ended(shard.id, moment.now);
                self.leases.set_fenced(shard.id, true);
            }
        }
    }

    pub(super) fn on_ended(&mut self, id: ShardId, panic: Option<String>, moment: Clocks) {
        if let Some(shard) = self.shard(id) {
            enter(&mut shard.status, ShardStatus::Ended);
        }
        if panic.is_some() {
            // With each panic, not with each start: one that panics before its first report has
            // gone out is followed by another one anyway.
            self.fleet.address_next(id);
        }
        self.aggregate.ended(id);
        self.searched_shard_ended(id, moment);
        self.leases.ended(id, moment.now);
        self.rollout.on_ended(id, moment.now);
        let text = match (&panic, self.phase) {
            (Some(panic), _) => format!("ended by a panic: {panic}"),
            (None, Phase::Stopping { .. }) => return self.end_if_alone(),
            (None, _) => "ended".to_owned(),
        };
        tracing::error!("shard {id} {text}");
        self.events.push(EventKind::Shard, id.to_string(), text, moment.wall_ms);
        if panic.is_none() || matches!(self.phase, Phase::Stopping { .. }) {
            return self.end_if_alone();
        }
        // The engine builds it again; but what panics over and over is not to be lived with.
        self.panics.retain(|since| moment.now - *since < PANICS_WITHIN);
        self.panics.push(moment.now);
        if self.panics.len() >= PANICS_MAX {
            tracing::error!("{PANICS_MAX} panics within {PANICS_WITHIN:?}: giving up");
            enter(&mut self.phase, Phase::Over { code: 1 });
        }
    }

    /// Without a live shard there is nothing left to do.
    fn end_if_alone(&mut self) {
        if self.shards.iter().any(Shard::has_thread) {
            return;
        }
        match self.phase {
            Phase::Stopping { .. } => enter(&mut self.phase, Phase::Over { code: 0 }),
            Phase::Serving | Phase::Draining { .. } => {
                tracing::error!("every shard has ended");
                enter(&mut self.phase, Phase::Over { code: 1 });
            }
            Phase::Over { .. } => {}
        }
    }
}
