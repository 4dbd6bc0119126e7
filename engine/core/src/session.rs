//! One connection's life: a phase, two flows, and a count of the operations in flight.
//!
//! A buffer, a leg or a slot is released only when all operations that use it have completed
//! (*join*). The rest is in `session/`: the header in `inspect.rs`, the connect in `connect.rs`,
//! the kernel's answers in `answers.rs`, a backend that closes at once in `redispatch.rs`,
//! waiting without an operation in `wait.rs`, moving bytes without a buffer in `bulk.rs`, waiting
//! for a buffer in `starved.rs`, how long a side may take nothing in `stall.rs`, the timeouts in
//! `deadline.rs`, the last look at the peers in `end.rs`, the way from
//! shard to shard in `handover.rs`.

mod answers;
mod bulk;
mod connect;
mod deadline;
mod effects;
mod end;
mod handover;
mod inspect;
mod legs;
mod redispatch;
mod stall;
mod starved;
mod traffic;
mod wait;

use weir_proto::ids::Version;
use weir_proto::reason::{By, CloseReason, During, Why};
use weir_proto::snapshot::{Retry, Timeouts};

use crate::action::{Action, Actions, How, Pending};
use crate::base::clock::Now;
use crate::base::machine::{enter, leave};
use crate::event::{Chunk, Completion, Leg, Side};
use crate::flow::{Flow, Next, Pipe, Sink, Source};
use crate::generations::Generation;
use crate::machine;
use crate::slot::{BackendSlot, ListenerSlot, MemberIndex, PoolSlot};

pub use bulk::SpliceRequest;
pub use connect::{ATTEMPT, Attempt, Connect};
pub use deadline::Timeout;
pub use effects::{Effects, Step};
pub use end::Closing;
pub use handover::Holdings;
pub use inspect::{Awaited, Inspect};
use legs::SessionLegs;
pub use redispatch::Trial;
pub use stall::Relay;
pub use starved::Resumed;
pub use traffic::Traffic;
pub use wait::Activity;

/// Where a session stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Phase {
    /// The header that its listener wants, or the hello by which its routes go, has not come.
    Inspecting(Inspect),
    Connecting(Connect),
    Relaying(Relay),
    /// Operations that can be cancelled are being cancelled; all of them are waited for.
    Closing(Closing),
}

machine! {
    /// Transitions of a session's [`Phase`].
    pub static PHASE: Phase = "session";
    states: Inspecting, Connecting, Relaying, Closing;
    start => Connecting: "accepted";
    start => Inspecting: "accepted by a listener that wants a header or a hello";
    start => Relaying: "another shard has handed it over";
    Inspecting => Connecting: "its header has come, its hello has or need not";
    Inspecting => Closing: "a wrong header, too late, the client has gone, kill";
    Connecting => Relaying: "a backend has taken it";
    Connecting => Closing: "no backend is left, the client has gone, kill";
    Relaying => Connecting: "its backend has closed before its first byte, another one";
    Relaying => Closing: "complete, reset, timeout, kill";
    Relaying => end: "handed over to another shard";
    Closing => end: "nothing is in flight, the legs are closed";
}

/// The listener, pool and backend of a session, as slots of the view.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Route {
    pub listener: ListenerSlot,
    pub pool: PoolSlot,
    /// The backend that counts it; `None` between two attempts.
    pub backend: Option<BackendSlot>,
    /// The backend's index in its pool when it was picked.
    pub index: MemberIndex,
}

/// One accepted client with its chosen backend.
#[derive(Debug)]
pub struct Session {
    /// Indexed by the side that a flow reads from: `flows[Client]` is the upload.
    flows: [Flow; 2],
    phase: Phase,
    /// Operations in flight, cancels included, by the side whose leg they use.
    inflight: [u8; 2],
    legs: SessionLegs,
    pub route: Route,
    /// Whether the connect that the view counts for it is a retry; `None` if it counts none.
    pub counted_retry: Option<bool>,
    pub first_byte_seen: bool,
    /// Few buffers were free when the table last handled an event of this session.
    pub buffers_short: bool,
    /// It is counted as stalled.
    pub counted_stalled: bool,
    /// It stands in its pool's line for a backend with room.
    pub is_in_queue: bool,
    /// The side whose FIN or reset came first.
    closed_first: Option<Side>,
    /// Bytes from which on a receive counts as large.
    pub bulk_bytes: u16,
    /// The most bytes that a multishot receive brings at a time; 0 if all receives are one-shot.
    pub multishot_bytes: u16,
    pub idle_ms: u32,
    pub half_close_ms: u32,
    /// How long a side may take nothing although bytes wait for it.
    pub stalled_ms: u32,
    /// Bytes that another backend gets again if one closes before its first byte. `None`: there is
    /// no other one then.
    pub replay_max: Option<u16>,
    /// The version under which it was accepted.
    pub born: Generation,
    pub accepted_at: Now,
    /// When bytes last moved, or a FIN came; before that, when a backend took the session.
    pub moved_at: Now,
    pub traffic: Traffic,
    /// By side: for how many milliseconds bytes have waited for it of which it took none.
    blocked_ms: [u32; 2],
}

const _: () = assert!(size_of::<Session>() <= 224, "a session's state stays small");

impl Session {
    /// A session that is about to connect.
    #[must_use]
    pub fn new(client: Leg, route: Route, connect: Connect, now: Now) -> Session {
        Session {
            flows: [Flow::default(), Flow::default()],
            phase: Phase::Connecting(connect),
            inflight: [0; 2],
            legs: SessionLegs::of_client(client),
            route,
            counted_retry: None,
            first_byte_seen: false,
            buffers_short: false,
            counted_stalled: false,
            is_in_queue: false,
            closed_first: None,
            bulk_bytes: u16::MAX,
            multishot_bytes: 0,
            idle_ms: u32::MAX,
            half_close_ms: u32::MAX,
            stalled_ms: u32::MAX,
            replay_max: None,
            born: Generation::of(Version(0)),
            accepted_at: now,
            moved_at: now,
            traffic: Traffic::new(now),
            blocked_ms: [0; 2],
        }
    }

    /// A session that a backend has already.
    fn relaying(legs: [Leg; 2], route: Route, relay: Relay, accepted_at: Now) -> Session {
        let [client, backend] = legs;
        let connect = Connect::new(0, 0, accepted_at);
        let mut session = Session::new(client, route, connect, accepted_at);
        session.legs.set(Side::Backend, backend);
        Session { phase: Phase::Relaying(relay), ..session }
    }

    /// Goes by these terms of a pool.
    pub fn go_by(&mut self, timeouts: &Timeouts, retry: Retry) {
        self.idle_ms = timeouts.idle_ms;
        self.half_close_ms = timeouts.half_close_ms;
        self.stalled_ms = timeouts.stalled_ms();
        self.replay_max = retry.replay_max;
    }

    #[must_use]
    pub fn phase(&self) -> Phase {
        self.phase
    }

    #[must_use]
    pub fn is_relaying(&self) -> bool {
        matches!(self.phase, Phase::Relaying(_))
    }

    /// The socket of that side, while it is open.
    #[must_use]
    pub fn leg(&self, side: Side) -> Option<Leg> {
        self.legs.get(side)
    }

    /// How many operations are in flight.
    #[must_use]
    pub fn inflight(&self) -> u32 {
        u32::from(self.inflight[0]) + u32::from(self.inflight[1])
    }

    /// The chunks of both queues, the one that is being sent included, and what was sent and is
    /// kept. For checkers.
    pub fn chunks(&self) -> impl Iterator<Item = Chunk> + '_ {
        let kept = self.trial().kept().map(|kept| kept.chunk());
        self.flows.iter().flat_map(Flow::chunks).chain(kept)
    }

    /// The direction that is read from this side. For checkers.
    #[must_use]
    pub fn flow(&self, from: Side) -> &Flow {
        &self.flows[from as usize]
    }

    /// The pipes that it uses, with what is in them. For checkers.
    pub fn pipes(&self) -> impl Iterator<Item = Pipe> + '_ {
        self.flows.iter().filter_map(|flow| flow.pipe)
    }

    /// True if the backend took the session and ended it before it had sent a byte.
    #[must_use]
    pub fn is_early_close(&self, reason: CloseReason) -> bool {
        let closed = matches!(reason.why, Why::Complete | Why::Reset);
        reason.by == By::Backend
            && closed
            && reason.during != During::Connecting
            && !self.first_byte_seen
    }

    /// True if at least one side has sent its FIN; still true while the session is delivering.
    #[must_use]
    pub fn has_fin(&self) -> bool {
        self.flows.iter().any(|flow| flow.source == Source::Ended)
    }

    /// Handles a completion of an operation on `side`'s leg.
    pub fn on_completion(&mut self, side: Side, done: Completion, out: &mut Actions) -> Effects {
        let inflight = &mut self.inflight[side as usize];
        let over = u8::from(done.is_last());
        *inflight = inflight.checked_sub(over).expect("a completion answers an operation");
        let step = match self.phase {
            Phase::Inspecting(_) => {
                unreachable!("nothing is in flight before the header: {done:?}")
            }
            Phase::Connecting(Connect { attempt, .. }) if side == Side::Backend => {
                self.on_connect(attempt, done)
            }
            Phase::Connecting(_) => {
                self.on_client(done, out);
                Step::None
            }
            Phase::Relaying(_) => self.on_relay(side, done, out),
            Phase::Closing(_) => {
                self.on_closing(side, done, out);
                Step::None
            }
        };
        Effects { step, ..self.advance(out) }
    }

    /// True if the flow from this side is in the splice queue.
    #[must_use]
    pub fn is_queued(&self, from: Side) -> bool {
        self.flows[from as usize].queued
    }

    /// Ends the session for a reason other than a failed operation, such as a timeout or a kill.
    /// Does nothing if it is closing already.
    pub fn end(&mut self, by: By, why: Why, out: &mut Actions) -> Effects {
        if matches!(self.phase, Phase::Closing(_)) {
            return Effects::default();
        }
        self.begin_close(by, why, out);
        self.advance(out)
    }

    /// Starts whatever the flows want, or ends a closing session that has nothing in flight.
    fn advance(&mut self, out: &mut Actions) -> Effects {
        let mut effects = Effects::default();
        if self.is_leaving() {
            self.cancel_receives(out);
            return effects;
        }
        if self.has_closed_early() {
            self.receive_the_last(out);
            effects.closed_early = self.has_left_backend();
            return effects;
        }
        if self.is_relaying() {
            for source in Side::ALL {
                while let Some(next) = self.flows[source as usize].next(self.is_short(source)) {
                    effects.splices[source as usize] |= next == Next::Splice;
                    self.start(source, next, out);
                }
            }
            if self.flows.iter().all(|flow| flow.sink == Sink::Finished) {
                self.deliver(out);
            } else {
                self.renew_watches(out);
            }
            return effects;
        }
        let Phase::Closing(Closing { reason, .. }) = self.phase else { return effects };
        // join: wait for every last completion, and for the last look
        if self.inflight != [0; 2] || self.looks_at_end(out) {
            return effects;
        }
        let how = if reason.why == Why::Complete { How::Fin } else { How::Reset };
        for side in Side::ALL {
            if let Some(leg) = self.legs.take(side) {
                out.push(Action::Close { leg, how });
            }
        }
        leave(&self.phase);
        effects.over = Some(reason);
        effects
    }

    fn start(&mut self, source: Side, next: Next, out: &mut Actions) {
        let legs = self.legs.both();
        let [from, to] = [source, source.other()].map(|side| legs[side as usize]);
        let sink = source.other();
        let nonblocking = self.relay().nonblocking;
        let multishot_bytes = if self.keeps(source) { 0 } else { self.multishot_bytes };
        let flow = &mut self.flows[source as usize];
        match next {
            Next::Receive => {
                self.inflight[source as usize] += 1;
                let how = flow.receive(nonblocking, self.bulk_bytes, multishot_bytes);
                out.push(Action::Receive { from: source, leg: from, how });
            }
            Next::Send(chunk) => {
                enter(&mut flow.sink, Sink::Sending);
                self.inflight[sink as usize] += 1;
                out.push(Action::Send { to: sink, leg: to, chunk });
            }
            Next::Finish => {
                enter(&mut flow.sink, Sink::Finished);
                // SIOCOUTQ counts a FIN as one byte that is not acknowledged.
                self.note_sent(sink, 1);
                out.push(Action::Finish(to));
            }
            Next::TakePipe => {
                enter(&mut flow.source, Source::Promoting);
                // Bulk is not sent again.
                self.end_trial(out);
                out.push(Action::TakePipe { from: source, legs: [from, to] });
            }
            Next::Splice => flow.queued = true,
        }
    }

    /// Cancels the operations in flight, and releases the buffers and pipes that none of them uses.
    fn begin_close(&mut self, by: By, why: Why, out: &mut Actions) {
        let during = match self.phase {
            Phase::Inspecting(_) => During::Inspecting,
            Phase::Connecting(_) if self.is_in_queue || why == Why::QueueFull => During::Queued,
            Phase::Connecting(_) => During::Connecting,
            Phase::Relaying(_) if self.has_fin() && why != Why::Complete => During::HalfClosed,
            Phase::Relaying(_) => During::Relaying,
            Phase::Closing(closing) => unreachable!("closing twice, first: {closing:?}"),
        };
        if why == Why::Reset {
            let side = Side::ALL.into_iter().find(|side| side.by() == by);
            self.closed_first = self.closed_first.or(side);
        }
        if self.is_trying() && self.inflight[Side::Backend as usize] != 0 {
            self.cancel(Side::Backend, Pending::Connect, out);
        }
        if self.is_relaying() {
            self.end_trial(out);
        }
        let held = Side::ALL.map(|side| self.held_for(side));
        let reason = CloseReason { by, during, why };
        let closing = match &self.phase {
            Phase::Relaying(relay) => {
                let is_sending = self.flows.iter().any(|flow| flow.sink == Sink::Sending);
                Closing::relayed(reason, relay, held, is_sending)
            }
            _ => Closing::unconnected(reason, held, self.accepted_at.short_stamp()),
        };
        enter(&mut self.phase, Phase::Closing(closing));
        for source in Side::ALL {
            let flow = &mut self.flows[source as usize];
            let sending = flow.sink == Sink::Sending;
            let receiving = flow.is_receiving();
            flow.give_back(|chunk| out.push(Action::Release(chunk.buffer)));
            if let Some(pipe) = flow.pipe.take() {
                out.push(Action::ReturnPipe { pipe: pipe.id, empty: pipe.held == 0 });
            }
            if receiving {
                self.cancel(source, Pending::Receive, out);
            }
            if sending {
                self.cancel(source.other(), Pending::Send, out);
            }
        }
    }

    fn closing_mut(&mut self) -> &mut Closing {
        match &mut self.phase {
            Phase::Closing(closing) => closing,
            other => unreachable!("it ends: {other:?}"),
        }
    }

    fn cancel(&mut self, side: Side, what: Pending, out: &mut Actions) {
        self.inflight[side as usize] += 1;
        out.push(Action::Cancel { side, what });
    }
}

#[cfg(test)]
#[path = "session/tests.rs"]
mod tests;
