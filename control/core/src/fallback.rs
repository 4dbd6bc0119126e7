//! What goes on when the control thread has died: traffic, and as little else as it needs. Nothing
//! can be changed any more; the process ends when it is told to, with exit code 1.
//!
//! Control is not started again within the process: what it knew beside the disk (who is down, what
//! was counted, what each shard had still to be told) died with it. Whoever started weir starts it
//! again, at a time of their choosing.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use weir_core::base::clock::Now;
use weir_core::base::machine::enter;
use weir_core::machine;
use weir_proto::ids::{BackendId, ShardId};
use weir_proto::order::{BackendHealth, Order, Report};
use weir_proto::snapshot::Snapshot;
use weir_proto::stats::ShardStats;

use crate::control::Fleet;
use crate::deadlines::{DRAIN_MAX, PANICS_MAX, PANICS_WITHIN, STOP_MAX};
use crate::leases::Leases;

/// A backend that a shard has ejected is tried again after this long; nobody checks it any more.
const READMIT_AFTER: Duration = Duration::from_secs(10);

/// Signals that have come since the last look.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct SignalsSeen {
    pub interrupt: bool,
    pub terminate: bool,
    pub reload: bool,
}

/// What is being done.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum FallbackPhase {
    Serving,
    Draining { since: Now },
    Stopping { since: Now },
    Over,
}

machine! {
    /// Transitions of the process when its control thread has died.
    pub static FALLBACK: FallbackPhase = "fallback";
    states: Serving, Draining, Stopping, Over;
    start => Serving: "the control thread has panicked";
    Serving => Draining: "SIGTERM";
    Serving => Stopping: "SIGINT";
    Draining => Stopping: "no session is left, 30 s, SIGINT";
    Serving => Over: "three panics within 60 s, or no live shard";
    Draining => Over: "three panics within 60 s, or no live shard";
    Stopping => Over: "every shard has ended, or 5 s";
}

/// The one who is left.
#[derive(Debug)]
pub struct Fallback<F> {
    fleet: F,
    phase: FallbackPhase,
    /// Shards that have a thread.
    live: Vec<bool>,
    /// Sessions of each shard by its last figures, and the box for the next ones.
    sessions: Vec<u32>,
    spares: Vec<Option<Box<ShardStats>>>,
    /// Who was ejected where, and when; the oldest first.
    ejected: VecDeque<(ShardId, BackendId, Now)>,
    panics: Vec<Now>,
    /// Limits that all shards share.
    leases: Leases,
    /// The version by which shards say again what they hold of them, and who has not been sent it.
    again: Option<Arc<Snapshot>>,
    owed: Vec<bool>,
}

impl<F: Fleet> Fallback<F> {
    /// One that follows a control by which `newest` was the newest version that a shard was sent.
    pub fn after(fleet: F, newest: Option<&Snapshot>) -> Fallback<F> {
        let mut fallback = Fallback::new(fleet);
        if let Some(newest) = newest {
            fallback.take_over_leases(newest);
        }
        fallback
    }

    /// One that has heard nothing yet.
    fn new(fleet: F) -> Fallback<F> {
        let count = fleet.shards();
        Fallback {
            phase: FallbackPhase::Serving,
            live: vec![true; usize::from(count)],
            sessions: vec![0; usize::from(count)],
            spares: (0..count).map(|id| Some(Box::new(ShardStats::new(ShardId(id))))).collect(),
            ejected: VecDeque::new(),
            panics: Vec::new(),
            leases: Leases::new(count),
            again: None,
            owed: vec![false; usize::from(count)],
            fleet,
        }
    }

    /// Goes on with the limits that all shards share. What control knew of them died with it, so
    /// each shard is sent the same configuration once more, under the next number, and says under
    /// that what it holds: by then it has heard of everything that control had sent.
    fn take_over_leases(&mut self, newest: &Snapshot) {
        let again = Snapshot { version: newest.version.next(), ..newest.clone() };
        self.leases.take_over(&again);
        if self.leases.is_empty() {
            return;
        }
        self.again = Some(Arc::new(again));
        self.owed.fill(true);
    }

    /// Sends what shards had no room for.
    fn lend(&mut self) {
        let Fallback { fleet, leases, again, owed, live, .. } = self;
        for (index, owed) in owed.iter_mut().enumerate().filter(|(index, _)| live[*index]) {
            let shard = ShardId(u16::try_from(index).unwrap_or(u16::MAX));
            if let Some(snapshot) = again.as_ref().filter(|_| *owed) {
                let order = Order::Adopt {
                    snapshot: Arc::clone(snapshot),
                    sockets: Vec::new(),
                    health: Vec::new(),
                };
                *owed = fleet.send(shard, order).is_err();
            }
            leases.flush(shard, |order| fleet.send(shard, order));
        }
    }

    /// One look at everything. `newest` is what a shard without listeners is told. True while it
    /// serves on.
    pub fn look(
        &mut self,
        signals: SignalsSeen,
        newest: &dyn Fn() -> Option<Order>,
        now: Now,
    ) -> bool {
        self.act(signals, newest, now);
        self.phase != FallbackPhase::Over
    }

    fn act(&mut self, signals: SignalsSeen, newest: &dyn Fn() -> Option<Order>, now: Now) {
        if signals.reload {
            tracing::warn!("SIGHUP: the control thread has died, nothing can be changed");
        }
        if signals.terminate && self.phase == FallbackPhase::Serving {
            enter(&mut self.phase, FallbackPhase::Draining { since: now });
            tracing::info!("draining");
            self.tell_all(|| Order::Drain);
            // Figures of before the drain say nothing.
            self.sessions.fill(u32::MAX);
        }
        if signals.interrupt {
            self.stop(now);
        }
        while let Some(report) = self.fleet.take_report() {
            self.on_report(report, newest, now);
        }
        self.readmit(now);
        self.leases.look(now);
        if self.phase == FallbackPhase::Serving {
            self.lend();
        }
        match self.phase {
            FallbackPhase::Draining { since } => {
                if now - since >= DRAIN_MAX || self.sessions.iter().all(|it| *it == 0) {
                    return self.stop(now);
                }
                self.collect();
            }
            FallbackPhase::Stopping { since } if now - since >= STOP_MAX => {
                enter(&mut self.phase, FallbackPhase::Over);
            }
            FallbackPhase::Serving | FallbackPhase::Stopping { .. } | FallbackPhase::Over => {}
        }
    }

    fn on_report(&mut self, report: Report, newest: &dyn Fn() -> Option<Order>, now: Now) {
        match report {
            Report::Started { shard, .. } => {
                if !std::mem::replace(&mut self.live[usize::from(shard.0)], true) {
                    self.leases.built_again(shard);
                }
                tracing::info!("shard {shard} serves again");
                if let (FallbackPhase::Serving, Some(order)) = (self.phase, newest()) {
                    self.tell(shard, order);
                }
            }
            Report::Ended { shard, panic } => {
                let index = usize::from(shard.0);
                (self.live[index], self.sessions[index]) = (false, 0);
                self.leases.ended(shard, now);
                if let Some(panic) = panic {
                    // What comes now is for the shard that is built in its place.
                    self.fleet.address_next(shard);
                    tracing::error!("shard {shard} ended by a panic: {panic}");
                    self.panics.retain(|since| now - *since < PANICS_WITHIN);
                    self.panics.push(now);
                }
                let none_left = !self.live.contains(&true) && self.panics.is_empty();
                if none_left || self.panics.len() >= PANICS_MAX {
                    enter(&mut self.phase, FallbackPhase::Over);
                }
            }
            Report::Ejected { shard, backend, .. } => {
                tracing::warn!("backend {backend} is ejected by shard {shard}");
                self.ejected.push_back((shard, backend, now));
            }
            Report::Stats(stats) => {
                let index = usize::from(stats.shard.0);
                // The first figures after the drain may have been asked for before it; the ones
                // asked for here have a box of ours.
                self.sessions[index] = stats.sessions_now;
                self.spares[index] = Some(stats);
            }
            Report::Want { shard, edition, wants } => self.leases.hear(shard, edition, &wants),
            Report::Adopted { .. }
            | Report::Retired(_)
            | Report::Sessions { .. }
            | Report::Gave { .. }
            | Report::Took { .. }
            | Report::SessionLog { .. } => {}
        }
    }

    /// Lets ejected backends have sessions again: three failures eject them again.
    fn readmit(&mut self, now: Now) {
        while let Some((shard, backend, since)) = self.ejected.front().copied() {
            if now - since < READMIT_AFTER {
                return;
            }
            self.ejected.pop_front();
            self.tell(shard, Order::Health(vec![(backend, BackendHealth::Up)]));
        }
    }

    fn collect(&mut self) {
        for index in 0..self.spares.len() {
            let Some(mut spare) = self.spares[index].take() else { continue };
            let shard = ShardId(u16::try_from(index).unwrap_or(u16::MAX));
            *spare = ShardStats::new(shard);
            if let Err(Order::Collect { spare }) = self.fleet.send(shard, Order::Collect { spare })
            {
                self.spares[index] = Some(spare);
            }
        }
    }

    fn stop(&mut self, now: Now) {
        if matches!(self.phase, FallbackPhase::Serving | FallbackPhase::Draining { .. }) {
            enter(&mut self.phase, FallbackPhase::Stopping { since: now });
            tracing::info!("stopping");
            self.tell_all(|| Order::Stop);
            self.panics.clear();
        }
    }

    fn tell_all(&mut self, order: impl Fn() -> Order) {
        for id in 0..self.fleet.shards() {
            self.tell(ShardId(id), order());
        }
    }

    /// A channel that is full belongs to a shard that is stuck: the watchdog deals with it.
    fn tell(&mut self, shard: ShardId, order: Order) {
        if self.fleet.send(shard, order).is_err() {
            tracing::error!("shard {shard} takes no orders");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fakes::{FakeShards, spec};
    use weir_proto::ids::Edition;
    use weir_proto::ids::{IdSource, Version};
    use weir_proto::order::{Limited, Want, Wish};
    use weir_proto::reason::ConnectFault;

    fn at(ms: u64) -> Now {
        Now { nanos: ms * 1_000_000 }
    }

    fn empty() -> Option<Order> {
        let (snapshot, sockets, health) = (Arc::new(Snapshot::empty()), Vec::new(), Vec::new());
        Some(Order::Adopt { snapshot, sockets, health })
    }

    struct Rig {
        fallback: Fallback<FakeShards>,
        shards: FakeShards,
        signals: SignalsSeen,
    }

    impl Rig {
        fn new() -> Rig {
            let shards = FakeShards::new(2);
            let fallback = Fallback::new(shards.clone());
            Rig { fallback, shards, signals: SignalsSeen::default() }
        }

        fn look(&mut self, ms: u64) -> Vec<String> {
            self.fallback.look(std::mem::take(&mut self.signals), &empty, at(ms));
            self.shards.take_sent()
        }
    }

    #[test]
    fn an_ejected_backend_is_tried_again_and_a_rebuilt_shard_listens_again() {
        let mut rig = Rig::new();
        let (shard, backend) = (ShardId(1), BackendId(5));
        let ejected = Report::Ejected { shard, backend, fault: ConnectFault::Refused };
        rig.shards.report(ejected);
        assert_eq!(rig.look(0), [""; 0]);
        assert_eq!(rig.look(9_999), [""; 0]);
        assert_eq!(rig.look(10_000), ["1 health [(BackendId(5), Up)]"]);
        rig.shards.report(Report::Ended { shard, panic: Some("oh".into()) });
        rig.shards.report(Report::Started { shard, sessions_max: 1 });
        assert_eq!(rig.look(20_000), ["1 next", "1 adopt 0 +0"]);
    }

    #[test]
    fn limits_are_kept_by_what_the_shards_say_anew() {
        let mut rig = Rig::new();
        let mut limited = spec("127.0.0.1:9".parse().unwrap());
        limited.listener.values_mut().for_each(|listener| listener.max_sessions = Some(2));
        let mut ids = IdSource::default();
        let newest = Snapshot::build(&limited, Version(7), &Snapshot::empty(), &mut ids).unwrap();
        let of = Limited::Listener(newest.listeners[0].id);
        rig.fallback.take_over_leases(&newest);
        let say = |rig: &Rig, shard, version, given, held, wants| {
            let wish = if wants { Wish::Needed } else { Wish::None };
            let wants = vec![Want { of, given, held, wish }];
            rig.shards.report(Report::Want {
                shard,
                edition: Edition::of(Version(version)),
                wants,
            });
        };
        // What was said before may not know of credits that were on their way.
        say(&rig, ShardId(0), 7, 0, 0, true);
        assert_eq!(rig.look(0), ["0 adopt 8 +0", "1 adopt 8 +0"]);
        say(&rig, ShardId(0), 8, 1, 1, true);
        assert_eq!(rig.look(50), [""; 0], "the other shard may hold the rest");
        say(&rig, ShardId(1), 8, 0, 0, false);
        let credit = |given, keep: &str| {
            format!("0 credit [Credit {{ of: {of:?}, given: {given}, keep: {keep} }}]")
        };
        assert_eq!(rig.look(100), [credit(2, "None")]);
        // A rebuilt shard begins with nothing; what the dead one held is free.
        say(&rig, ShardId(1), 8, 0, 0, true);
        rig.shards.report(Report::Ended { shard: ShardId(0), panic: Some("oh".into()) });
        let sent = rig.look(150);
        assert!(
            sent.iter().any(|it| it.contains("1 credit") && it.contains("given: 1")),
            "{sent:?}"
        );
    }

    #[test]
    fn a_shard_that_was_built_again_before_the_first_look_says_what_it_holds_too() {
        let mut rig = Rig::new();
        let mut limited = spec("127.0.0.1:9".parse().unwrap());
        limited.listener.values_mut().for_each(|listener| listener.max_sessions = Some(2));
        let mut ids = IdSource::default();
        let newest = Snapshot::build(&limited, Version(7), &Snapshot::empty(), &mut ids).unwrap();
        rig.fallback.take_over_leases(&newest);
        let shard = ShardId(0);
        rig.shards.report(Report::Ended { shard, panic: Some("oh".into()) });
        rig.shards.report(Report::Started { shard, sessions_max: 9 });
        // What the rebuilt shard is given first is an older number: nobody was sent the new one.
        assert_eq!(rig.look(0), ["0 next", "0 adopt 0 +0", "0 adopt 8 +0", "1 adopt 8 +0"]);
    }

    #[test]
    fn a_signal_drains_and_then_ends_it() {
        let mut rig = Rig::new();
        rig.shards.set_sessions(&[(BackendId(5), 2)]);
        rig.signals.terminate = true;
        assert_eq!(rig.look(0), ["0 drain", "1 drain"]);
        assert_eq!(rig.look(50), [""; 0]);
        rig.shards.set_sessions(&[]);
        assert_eq!(rig.look(100), [""; 0]);
        assert_eq!(rig.look(150), ["0 stop", "1 stop"]);
        rig.look(200);
        assert_eq!(rig.fallback.phase, FallbackPhase::Over);
    }

    #[test]
    fn the_drain_has_a_deadline_and_so_has_the_stop() {
        let mut rig = Rig::new();
        rig.shards.set_deaf(&[0, 1]);
        rig.signals.terminate = true;
        rig.look(0);
        assert_eq!(rig.look(29_999), [""; 0]);
        assert_eq!(rig.look(30_000), ["0 stop", "1 stop"]);
        rig.look(34_999);
        assert!(matches!(rig.fallback.phase, FallbackPhase::Stopping { .. }));
        rig.look(35_000);
        assert_eq!(rig.fallback.phase, FallbackPhase::Over);
    }

    #[test]
    fn three_panics_within_a_minute_end_it() {
        let mut rig = Rig::new();
        for time in 0..3 {
            assert_eq!(rig.fallback.phase, FallbackPhase::Serving);
            rig.shards.report(Report::Ended { shard: ShardId(0), panic: Some("oh".into()) });
            rig.shards.report(Report::Started { shard: ShardId(0), sessions_max: 1 });
            rig.look(time * 20_000);
        }
        assert_eq!(rig.fallback.phase, FallbackPhase::Over);
    }
}
