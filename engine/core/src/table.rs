//! All sessions of one shard: who may enter, who gets which backend, what each completion and timer
//! means.
//!
//! Pure: completions, timers and orders go in, [`Actions`] come out; time is an argument and chance
//! a seed. The shard (or the simulator) does what the actions say.

mod bulk;
mod by_slot;
mod connect;
mod credits;
mod handover;
mod inspect;
mod lifetime;
mod log;
mod on_down;
mod per_source;
mod queue;
mod redispatch;
mod search;
mod shed;
mod sources;
mod starved;
mod sweep;
mod time;
mod told;

use alloc::boxed::Box;
use alloc::vec::Vec;
use core::net::SocketAddr;

use weir_proto::ids::{BackendId, ShardId};
use weir_proto::order::BackendHealth;
use weir_proto::reason::{By, ConnectFault, During, Why};
use weir_proto::session_log::SessionLogging;
use weir_proto::snapshot::Snapshot;
use weir_proto::spec::Strategy;
use weir_proto::stats::ShardStats;

use crate::action::{Action, Actions};
use crate::base::clock::Now;
use crate::base::prng::Prng;
use crate::base::slab::Slab;
use crate::base::wheel::Wheel;
use crate::client_hello::ClientHello;
use crate::client_sources::{ClientSources, SourceKey};
use crate::counters::ShardCounters;
use crate::event::{Completion, Leg, Side};
use crate::generations::{Generation, Generations};
use crate::limits::{EJECTIONS_MAX, TICK_MS, Tuning};
use crate::proxy_header::Told;
use crate::session::{Connect, Effects, Route, Session, Step};
use crate::slot::{ListenerSlot, MemberIndex, PoolSlot};
use crate::sources::TriedSources;
use crate::view::{CountedConnect, View};
use crate::wait_queue::WaitQueue;
use by_slot::BySlot;
use inspect::TakenRoute;
use log::Logging;
use on_down::FallWalk;
use queue::Queues;
use search::Searching;
use shed::Shedding;
use sweep::Sweep;

pub use crate::base::slab::Key as SessionId;
pub use handover::Parts;
pub use queue::QueueWalk;
pub use search::{AskLegs, Found};

/// How a table is made.
#[derive(Clone, Copy, Debug)]
pub struct Setup {
    pub shard: ShardId,
    /// Slots: the sessions that are wanted and those that are accepted beyond it in one turn.
    pub slots: u32,
    pub tuning: Tuning,
    /// For picks that draw lots.
    pub seed: u64,
    pub now: Now,
    /// `None`: no session log.
    pub session_log: Option<SessionLogging>,
    /// For the hash of sources, secret towards clients.
    pub hash_seed: (u64, u64),
}

/// A client that was accepted.
#[derive(Clone, Copy, Debug)]
pub struct AcceptedClient {
    pub leg: Leg,
    pub listener: ListenerSlot,
    /// The hash of its address, where [`Table::wants_client_key`].
    pub key: u64,
    /// Its address, where [`Table::wants_client_address`].
    pub address: Option<SocketAddr>,
    /// The source that [`Table::begin_of_source`] has counted it for.
    pub source: Option<SourceKey>,
}

/// Every session of one shard, its view and its counters.
#[derive(Debug)]
pub struct Table {
    sessions: Slab<Session>,
    wheel: Wheel,
    /// Flows that wait for a buffer.
    starved_queue: WaitQueue,
    /// Few buffers are free: each flow holds one at most.
    buffers_short: bool,
    queues: Queues,
    /// Flows whose pipe has something to move.
    splice_queue: WaitQueue,
    tuning: Tuning,
    view: View,
    counters: ShardCounters,
    generations: Generations,
    prng: Prng,
    /// Backends that this shard has just ejected and control has not been told of.
    ejections: Vec<(BackendId, ConnectFault)>,
    sweeps: Vec<Sweep>,
    fall_walk: FallWalk,
    shedding: Shedding,
    searching: Searching,
    logging: Logging,
    /// Clients that headers have told of, and the fields that backends get with them.
    told: BySlot<Told>,
    passed: BySlot<Box<[u8]>>,
    /// How sessions on trial came to their backend, if others were tried or the key counts.
    trials: BySlot<Connect>,
    /// Where listeners have routes.
    taken: BySlot<TakenRoute>,
    /// Of connects that another address had no port for: those that were tried.
    tried_sources: BySlot<TriedSources>,
    /// Where listeners limit sources: what is known of them, and whose each session is.
    client_sources: ClientSources,
    source_of: BySlot<SourceKey>,
}

impl Table {
    #[must_use]
    pub fn new(setup: Setup) -> Table {
        Table {
            sessions: Slab::new(setup.slots),
            wheel: Wheel::new(setup.slots, TICK_MS, setup.now),
            starved_queue: WaitQueue::new(setup.slots * 2),
            buffers_short: false,
            queues: Queues::new(setup.slots),
            splice_queue: WaitQueue::new(setup.slots * 2),
            tuning: setup.tuning,
            view: View::default(),
            counters: ShardCounters::new(setup.shard),
            generations: Generations::default(),
            prng: Prng::new(setup.seed),
            ejections: Vec::with_capacity(EJECTIONS_MAX),
            sweeps: Vec::new(),
            fall_walk: FallWalk::default(),
            shedding: Shedding::new(),
            searching: Searching::default(),
            logging: Logging::new(setup.session_log, setup.now),
            told: BySlot::default(),
            passed: BySlot::default(),
            trials: BySlot::default(),
            taken: BySlot::default(),
            tried_sources: BySlot::default(),
            client_sources: ClientSources::new(setup.slots, setup.hash_seed),
            source_of: BySlot::default(),
        }
    }

    #[must_use]
    pub fn view(&self) -> &View {
        &self.view
    }

    pub fn counters(&mut self) -> &mut ShardCounters {
        &mut self.counters
    }

    /// How many sessions there are.
    #[must_use]
    pub fn len(&self) -> u32 {
        self.sessions.len()
    }

    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// A session, if that identity still means one.
    #[must_use]
    pub fn session(&self, id: SessionId) -> Option<&Session> {
        self.sessions.get(id)
    }

    /// Every session with its identity.
    pub fn iter(&self) -> impl Iterator<Item = (SessionId, &Session)> {
        self.sessions.iter()
    }

    /// Its sessions by the version under which they were accepted.
    #[must_use]
    pub fn generations(&self) -> &Generations {
        &self.generations
    }

    /// True if a pool of the listener picks by the client's address.
    #[must_use]
    pub fn wants_client_key(&self, listener: ListenerSlot) -> bool {
        let mut pools = self.view.listeners()[listener.index()].pools();
        pools.any(|pool| self.picks_by_client(pool))
    }

    fn picks_by_client(&self, pool: PoolSlot) -> bool {
        self.view.pools()[pool.index()].strategy() == Strategy::Maglev
    }

    /// True if the client's address is to be noted.
    #[must_use]
    pub fn wants_client_address(&self) -> bool {
        self.logging.is_on()
    }

    /// Uses a new snapshot from now on. Sessions keep their backend.
    pub fn adopt(&mut self, snapshot: &Snapshot, now: Now) {
        let given = self.view.adopt(snapshot, &mut self.prng, now);
        self.counters.follow(&self.view, &given);
        self.follow_lifetimes();
        self.follow_falls();
    }

    /// Control says what it knows of a backend's health.
    pub fn set_health(&mut self, backend: BackendId, health: BackendHealth, now: Now) {
        self.view.set_health(backend, health, now);
        self.follow_falls();
    }

    /// Control says how many sessions the other shards hold on a backend.
    pub fn set_remote_sessions(&mut self, backend: BackendId, sessions: u32) {
        self.view.set_remote_sessions(backend, sessions);
    }

    /// Hands the statistics over and goes on with `spare`.
    #[must_use]
    pub fn collect(&mut self, spare: Box<ShardStats>) -> Box<ShardStats> {
        let mut full = self.counters.hand_over(spare, &self.view);
        for (slot, row) in full.pools.iter_mut().enumerate().take(self.view.pools().len()) {
            row.queued_now = self.queues.waiting_in(PoolSlot::at(slot));
        }
        full.sessions_now = self.sessions.len();
        full.counts.sources_forgotten += self.client_sources.take_forgotten();
        full.generations.extend(self.generations.iter());
        full
    }

    /// A backend that was ejected since the last call.
    pub fn take_ejection(&mut self) -> Option<(BackendId, ConnectFault)> {
        self.ejections.pop()
    }

    /// A client was accepted. `None` if there is no slot: the leg must be closed.
    pub fn accept(
        &mut self,
        client: AcceptedClient,
        now: Now,
        out: &mut Actions,
    ) -> Option<SessionId> {
        let AcceptedClient { leg, listener, key, address, source } = client;
        let pool = self.view.listeners()[listener.index()].pool;
        let view = &self.view.pools()[pool.index()];
        let route = Route { listener, pool, backend: None, index: MemberIndex::FIRST };
        let connect = Connect::new(key, view.retry.attempts, now);
        let mut session = Session::new(leg, route, connect, now);
        session.go_by(&view.timeouts, view.retry);
        session.bulk_bytes = self.tuning.bulk_bytes;
        session.multishot_bytes = self.tuning.multishot_bytes;
        let born = Generation::of(self.view.version());
        session.born = born;
        let client = address.map(|it| it.ip());
        let inspects = self.view.listeners()[listener.index()].inspects(client);
        if let Some((awaited, ms)) = inspects {
            session = session.inspecting(awaited, now.plus_millis(ms));
        }
        let id = self.sessions.insert(session)?;
        self.logging.begin(id, address);
        if let Some(source) = source {
            self.source_of.note(id.slot, source);
        }
        self.counters.accepted(listener);
        self.generations.opened(born);
        self.view.session_opened(listener, pool);
        if inspects.is_some() {
            self.schedule(id, now);
            self.sessions.get(id).expect("it has just come").look(out);
        } else {
            self.take_route(id, client, ClientHello::default());
            self.try_backend(id, None, now, out);
        }
        Some(id)
    }

    /// The kernel has answered an operation of a session.
    pub fn on_completion(
        &mut self,
        id: SessionId,
        side: Side,
        done: Completion,
        now: Now,
        out: &mut Actions,
    ) {
        if done == Completion::Connected(Ok(())) {
            self.taken(id, out);
        }
        self.check_trial(id, now, out);
        let session = self.sessions.get_mut(id).expect("completions are joined, never stale");
        session.buffers_short = self.buffers_short;
        let effects = session.on_completion(side, done, out);
        let Route { pool, backend, .. } = session.route;
        match (effects.step, backend) {
            (Step::None, _) => {}
            (Step::Starved(from), _) => self.starved_queue.push(id.slot * 2 + from as u32),
            (Step::ConnectFailed(fault), _) => return self.connect_failed(id, fault, now, out),
            (Step::Connected { began_at }, Some(backend)) => {
                self.counters.connected(pool, backend, now - began_at);
                let is_retry = session.counted_retry.take().expect("it was connecting");
                let connect = CountedConnect { pool, backend, is_retry };
                self.view.connect_succeeded(connect, now);
                session.moved_at = now;
                session.look_next(now.plus_millis(self.tuning.quiescent_after_ms));
                if session.has_fin() {
                    session.watch(out); // it came before this backend
                }
                self.look_by_lifetime(id, now);
                self.schedule(id, now);
                self.log_open(id, now);
            }
            (Step::Received { from, count, last }, Some(backend)) => {
                session.moved_at = now;
                if from == Side::Backend {
                    session.traffic.receive(count.into(), now);
                    self.counters.received(backend, count.into());
                    if !session.first_byte_seen {
                        session.first_byte_seen = true;
                        self.counters.first_byte(pool, backend, now - session.accepted_at);
                        self.view.first_byte(backend);
                    }
                }
                if !last {
                    self.reset_check(id, now);
                }
            }
            (Step::Ended, _) => self.half_closed(id, now),
            (Step::Blocked, _) => self.blocked(id, now),
            (Step::Sent(side, count), Some(backend)) => {
                session.moved_at = now;
                if side == Side::Backend {
                    session.traffic.send(count.into(), now);
                    self.counters.sent(backend, count.into());
                    if session.keeps_sent_bytes() {
                        self.look_at_trial_end(id, now);
                    }
                }
            }
            (step @ Step::PipeRefused, _) => unreachable!("{step:?} by a completion"),
            (step, None) => unreachable!("{step:?} without a backend"),
        }
        self.apply(id, effects, now, out);
    }

    /// Ends one session for a reason of weir's or an operator's.
    pub fn end(&mut self, id: SessionId, by: By, why: Why, now: Now, out: &mut Actions) {
        if let Some(session) = self.sessions.get_mut(id) {
            let effects = session.end(by, why, out);
            self.apply(id, effects, now, out);
        }
    }

    /// The backend that counts the session.
    fn backend_of(&self, session: &Session) -> Option<BackendId> {
        session.route.backend.map(|slot| self.view.backends()[slot.index()].id)
    }

    /// Whose place in a line this is.
    fn waiter_at(&self, index: u32) -> (SessionId, Side) {
        let id = self.sessions.at(index / 2).expect("a session that ends leaves the line");
        (id, Side::ALL[(index % 2) as usize])
    }

    /// Does what an event means for the table, whatever its step was: the queue of pipes, the count
    /// of stalled sessions, the end.
    fn apply(&mut self, id: SessionId, effects: Effects, now: Now, out: &mut Actions) {
        for from in Side::ALL {
            if effects.splices[from as usize] {
                self.splice_queue.push(id.slot * 2 + from as u32);
            }
        }
        match effects.over {
            Some(_) => {
                self.forget(id, now);
                out.push(Action::Free);
            }
            None => {
                self.count_stalled(id, now);
                self.leave_queue_if_ending(id);
            }
        }
        if effects.closed_early {
            self.closed_early(id, now, out);
        }
    }

    /// A session that is here no more waits for nothing.
    fn leave_lines(&mut self, id: SessionId, session: &Session) {
        for side in Side::ALL {
            // Only if it stands there: the lines' memory is touched only for those who wait.
            if session.is_starved(side) {
                self.starved_queue.remove(id.slot * 2 + side as u32);
            }
            if session.is_queued(side) {
                self.splice_queue.remove(id.slot * 2 + side as u32);
            }
        }
    }

    fn forget(&mut self, id: SessionId, now: Now) {
        let session = self.sessions.remove(id).expect("a session is over once");
        assert_eq!(session.inflight(), 0, "a slot is never freed with an operation in flight");
        self.wheel.cancel(id.slot);
        self.leave_lines(id, &session);
        let end = session.end_record().expect("it is over");
        let Route { listener, pool, backend, .. } = session.route;
        if session.is_in_queue {
            self.drop_out_of_queue(id, pool);
        }
        if let Some(backend) = backend {
            self.view.session_released(backend);
            if end.reason.during != During::Connecting {
                self.counters.left(backend, &end);
            }
            if session.is_early_close(end.reason) {
                self.counters.closed_early(backend);
            }
            if let Some(is_retry) = session.counted_retry {
                self.view.connect_abandoned(CountedConnect { pool, backend, is_retry });
            }
        }
        self.log_close((id, &session), end, now);
        self.told.forget(id.slot);
        self.passed.forget(id.slot);
        self.trials.forget(id.slot);
        self.taken.forget(id.slot);
        if let Some(source) = self.source_of.take(id.slot) {
            self.client_sources.end(source, now);
        }
        self.generations.closed(session.born);
        self.view.session_closed(listener, pool);
        if session.counted_stalled {
            self.view.stall_ends(pool);
        }
        self.counters.ended(pool, end.reason, now - session.accepted_at);
    }
}

#[cfg(test)]
#[path = "table/tests.rs"]
mod tests;
