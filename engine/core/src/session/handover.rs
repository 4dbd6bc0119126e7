//! Leaving for another shard, and coming from one.
//!
//! ```text
//! relaying ──leaves: begins nothing, receives are cancelled──▶ at rest ──▶ taken apart
//!                                    another table: put together, watched ◀──┘
//! ```
//! At rest nothing of a session is the kernel's but its sockets and what is in them. What it waits
//! for is not carried: it comes with watches for whatever it may wait for, and the kernel says at
//! once what is ready by then.

use weir_proto::handover::{ClientStage, HandedPeer, HandedSession, HandedTerms};
use weir_proto::ids::{BackendId, ListenerId, PoolId};

use crate::action::Actions;
use crate::base::clock::Now;
use crate::base::machine::{enter, leave};
use crate::event::{Chunk, Leg, PipeId, Side};
use crate::flow::{Flow, QUEUE_MAX, Source};
use crate::generations::Generation;

use super::{Attempt, Connect, Effects, Phase, Relay, Route, Session, Traffic};

/// The sockets, buffers and pipes of a session.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Holdings {
    pub legs: [Leg; 2],
    /// By the side that each direction reads from, the first chunk first.
    pub chunks: [[Option<Chunk>; QUEUE_MAX]; 2],
    pub pipes: [Option<PipeId>; 2],
}

impl Session {
    /// Comes to rest, to go to another shard. False if it cannot go now: it ends, it is about to
    /// try another backend, or one may get what was sent to the one before.
    pub fn begin_to_leave(&mut self, out: &mut Actions) -> bool {
        let holds_nothing = self.inflight[Side::Client as usize] == 0
            && self.flows.iter().all(|flow| flow.chunks().next().is_none());
        let has_closed = self.has_closed_early();
        match &mut self.phase {
            Phase::Inspecting(_) => true,
            Phase::Connecting(connect) if holds_nothing => match connect.attempt {
                Attempt::Queued => true,
                Attempt::Trying => {
                    (connect.leaving, connect.cut_short) = (true, true);
                    self.expire_connect(out);
                    true
                }
                Attempt::Expired | Attempt::Failed(_) | Attempt::Waiting(_) => false,
            },
            Phase::Relaying(_) if !has_closed => {
                // What was kept for another backend does not travel.
                self.end_trial(out);
                self.relay_mut().leaving = true;
                // It waits for no buffer any more.
                for flow in self.flows.iter_mut().filter(|it| it.source == Source::Starved) {
                    enter(&mut flow.source, Source::Idle);
                }
                self.cancel_receives(out);
                true
            }
            Phase::Connecting(_) | Phase::Relaying(_) | Phase::Closing(_) => false,
        }
    }

    /// Stays after all: what was put off is begun.
    pub fn stay(&mut self, out: &mut Actions) -> Effects {
        match &mut self.phase {
            Phase::Relaying(relay) => (relay.leaving, relay.rewatch) = (false, [true; 2]),
            Phase::Connecting(connect) => connect.leaving = false,
            Phase::Inspecting(_) | Phase::Closing(_) => {}
        }
        self.advance(out)
    }

    /// True if it may be taken apart, or waits only for what is under way.
    #[must_use]
    pub fn is_leaving(&self) -> bool {
        match &self.phase {
            Phase::Inspecting(_) => true,
            Phase::Connecting(connect) => connect.leaving || connect.attempt == Attempt::Queued,
            Phase::Relaying(relay) => relay.leaving,
            Phase::Closing(_) => false,
        }
    }

    /// True if it begins nothing, because it goes to another shard.
    pub(super) fn begins_nothing(&self) -> bool {
        matches!(&self.phase, Phase::Relaying(relay) if relay.leaving)
    }

    /// True if its connect has ended without a backend, and none is tried here.
    #[must_use]
    pub fn leaves_unconnected(&self) -> bool {
        matches!(&self.phase, Phase::Connecting(connect) if connect.leaving)
    }

    /// True if it leaves and nothing of it is under way.
    #[must_use]
    pub fn is_at_rest(&self) -> bool {
        let is_idle = match &self.phase {
            Phase::Connecting(connect) => {
                matches!(connect.attempt, Attempt::Queued | Attempt::Failed(_))
                    && self.legs.get(Side::Backend).is_none()
            }
            Phase::Inspecting(_) | Phase::Relaying(_) => true,
            Phase::Closing(_) => false,
        };
        self.is_leaving() && is_idle && self.inflight == [0; 2]
    }

    /// The stage of a session that no backend has.
    pub(crate) fn client_stage(&self) -> Option<ClientStage> {
        match &self.phase {
            Phase::Inspecting(inspect) => Some(inspect.stage()),
            Phase::Connecting(Connect { client_key, attempts_left, .. }) => {
                let (key, attempts_left) = (*client_key, *attempts_left);
                Some(ClientStage::Connecting { key, attempts_left })
            }
            Phase::Relaying(_) | Phase::Closing(_) => None,
        }
    }

    /// While it leaves nothing is begun; a receive can be taken back once nothing else is under way
    /// on its side.
    pub(super) fn cancel_receives(&mut self, out: &mut Actions) {
        for side in Side::ALL {
            self.cancel_receive(side, out);
        }
    }

    /// Takes a session of these objects apart that is at rest.
    ///
    /// # Panics
    /// It is not.
    pub(crate) fn take_apart(
        self,
        (listener, pool, backend): (ListenerId, PoolId, BackendId),
        now: Now,
    ) -> (HandedSession, Holdings) {
        assert!(
            self.is_relaying() && self.is_at_rest(),
            "something of it is under way: {:?}",
            self.phase
        );
        leave(&self.phase);
        let legs = self.legs.both();
        let chunks = [0, 1].map(|from: usize| self.flows[from].held());
        let pipes = [0, 1].map(|from: usize| self.flows[from].pipe.map(|pipe| pipe.id));
        let relay = self.relay();
        let peers = Side::ALL.map(|side| self.handed_peer(side, now));
        let handed = HandedSession {
            listener,
            pool,
            backend,
            born: self.born.version(),
            accepted_at: self.accepted_at.nanos,
            looked_at: now.minus_millis(relay.last_look().1.age_ms(now)).nanos,
            moved_at: self.moved_at.nanos,
            flows: [self.flows[0].handed(), self.flows[1].handed()],
            peers,
            terms: HandedTerms {
                idle_ms: self.idle_ms,
                half_close_ms: self.half_close_ms,
                stalled_ms: self.stalled_ms,
            },
            received: self.traffic.received,
            sent: self.traffic.sent,
            closed_first: self.closed_first,
            first_byte_seen: self.first_byte_seen,
            delivering: relay.is_delivering(),
            keepalive: relay.asks_peers(),
            watched: relay.watched,
            nonblocking: relay.nonblocking,
            notes: None,
        };
        (handed, Holdings { legs, chunks, pipes })
    }

    /// One that no backend has goes to another shard.
    pub(crate) fn leaves(self) {
        assert!(self.is_at_rest(), "something of it is under way: {:?}", self.phase);
        leave(&self.phase);
    }

    /// Puts a session together that another shard has taken apart.
    pub(crate) fn put_together(
        handed: &HandedSession,
        holdings: &Holdings,
        route: Route,
        now: Now,
    ) -> Session {
        let relay = Relay::handed(handed, now);
        let [client, backend] = holdings.legs;
        let accepted_at = Now::from_nanos(handed.accepted_at);
        let mut session = Session::relaying([client, backend], route, relay, accepted_at);
        session.moved_at = Now::from_nanos(handed.moved_at);
        session.born = Generation::of(handed.born);
        (session.closed_first, session.first_byte_seen) =
            (handed.closed_first, handed.first_byte_seen);
        let HandedTerms { idle_ms, half_close_ms, stalled_ms } = handed.terms;
        (session.idle_ms, session.half_close_ms) = (idle_ms, half_close_ms);
        session.stalled_ms = stalled_ms;
        session.traffic = Traffic::carried(handed.received, handed.sent, now);
        session.blocked_ms = handed.peers.map(|peer| peer.blocked_ms);
        for side in Side::ALL {
            let (flow, at) = (&handed.flows[side as usize], side as usize);
            session.flows[at] = Flow::put_together(flow, holdings.chunks[at], holdings.pipes[at]);
        }
        session
    }

    /// It has come to this shard: goes on with what it holds, and waits for the rest.
    pub(crate) fn arrive(&mut self, out: &mut Actions) -> Effects {
        // If both FINs can be passed on at once, its peers are looked at soon.
        let are_over = self.flows.iter().all(|it| it.source == Source::Ended && !it.is_pending());
        self.relay_mut().delivering |= are_over;
        self.advance(out)
    }

    fn handed_peer(&self, side: Side, now: Now) -> HandedPeer {
        let (owed, takes_nothing_ms) = self.relay().standing(side, now);
        let taken_at = now.minus_millis(takes_nothing_ms).nanos;
        HandedPeer { owed, taken_at, blocked_ms: self.blocked_ms[side as usize] }
    }
}
