//! A kernel that can be trusted with nothing but its contract: legs, a submission queue, operations
//! that are pending, a completion queue. Every rule that the shard must keep towards io_uring is
//! checked here.

mod ages;
mod answer;
mod buffers;
mod channels;
mod falls;
mod headers;
mod legs;
mod listeners;
mod pipes;
mod redispatch;
mod rules;
mod seen;
mod sources;
mod standings;
mod standstill;
mod watches;

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::net::SocketAddr;
use std::os::fd::RawFd;

use weir_core::event::{Completion, Errno, Leg, Side};
use weir_core::table::SessionId;
use weir_engine::io::{Kind, Op, Outcome, Token};
use weir_proto::ids::Version;

use crate::faults::Swarm;
use crate::net::{ConnId, Net};
use crate::rng::Rng;
use crate::trace::Trace;
use buffers::Buffers;
pub(crate) use headers::split;
use legs::{Behind, Legs};
use pipes::Pipes;
pub use seen::Seen;
use sources::Binds;
use standstill::Lateness;
use watches::Watch;

/// How long accepts rest after the kernel has run out of descriptors or memory.
const ACCEPT_PAUSE_NS: u64 = 100_000_000;

/// A session's identity as the kernel sees it: slot and generation.
pub type Key = (u32, u32);

/// An operation, from its submission to its answer.
#[derive(Clone, Copy, Debug)]
struct OpState {
    token: Token,
    op: Op,
    since: u64,
    /// Its place in the order of submission.
    number: u64,
    /// Bytes that a multishot receive has brought.
    brought: u32,
    /// A multishot receive is told nothing of a reset that came behind its last bytes, since the
    /// shard has taken these.
    deaf_since: Option<u64>,
    /// A cancel has found it too late to take it back at once: its own answer comes soon.
    doomed: bool,
    polled: bool, // tried and waits: it looks for a buffer when bytes come
    /// A send, which never waits; or a receive on a leg that was non-blocking when it was asked:
    /// that may be answered with EAGAIN at once, or wait in the ring anyway (6.18 does).
    nowait: bool,
}

/// An answer that the shard has not taken.
#[derive(Clone, Copy, Debug)]
struct Answer {
    asked: OpState,
    outcome: Outcome,
}

/// What is known of one session from its tokens.
#[derive(Clone, Debug, Default)]
pub struct Note {
    /// Operations that the shard has not heard of.
    pub inflight: u32,
    pub conns: [Option<ConnId>; 2],
    /// The backend of the last connect.
    pub address: Option<SocketAddr>,
    /// It has begun to close (what arrives now is only given back); one side has ended.
    pub closing: bool,
    pub half_closed: bool,
    /// When the last end of stream was told, or that a side takes nothing for now.
    pub deaf_at: u64,
    /// Nanoseconds that each flow has stood in the line though its sink takes bytes, until then.
    pub hungry_for: [u64; 2],
    pub looked_at: u64,
    /// This host has failed an operation of it.
    pub local_fault: bool,
    /// When something last moved, as far as the shard knows; news of watches since, from when on.
    pub moved_at: u64,
    pub told: (u32, u64),
    /// When a retry must be over, filled in after the turn in which it began; and which retry that
    /// is: when it began, and how many backends were tried before.
    pub retry_due: u64,
    pub retry: (u64, usize),
    /// When a turn first saw it connecting with a client that had reset; 0: none has.
    pub abandoned_at: u64,
    /// The last connect: when it began, after how many others; and whether its client had left.
    pub connect: Option<(u64, usize)>,
    pub for_nobody: bool,
    /// It comes to rest, to be handed over.
    pub leaving: bool,
    /// When it was handed over, the last time.
    pub came_at: u64,
    /// The version of the shard after the turn in which it was accepted.
    pub born: Option<Version>,
    /// Bytes were waiting for these peers at the last look.
    pub waits: [bool; 2],
    /// These peers could be given up at the last look.
    pub given_up: [bool; 2],
    /// By side: for how many milliseconds, at least and at most, it has taken nothing from look to
    /// look.
    pub blocked_ms: [(u64, u64); 2],
    pub looked_step: [u64; 2],
    pub looked_acked: [usize; 2],
    /// Up to which of its takes each peer takes nothing, and at which look that was first seen.
    pub stuck: [(u64, u64); 2],
    /// When it was accepted, and since when it relays; 0: it does not.
    pub accepted_at: Option<u64>,
    pub relays: u64,
    /// It was of age when it began to end.
    pub was_of_age: bool,
    /// Idle, half-close and stalled timeout, in milliseconds; filled in after a turn.
    pub timeouts: Option<[u32; 3]>,
}

/// The kernel of one shard, and the net behind it.
#[derive(Clone, Debug)]
pub struct Kernel {
    pub now: u64, // CLOCK_MONOTONIC, in nanoseconds
    pub rng: Rng,
    pub swarm: Swarm,
    pub net: Net,
    pub trace: Trace,
    /// The first rule that was broken.
    pub violation: Option<String>,
    pub notes: BTreeMap<Key, Note>,
    pub seen: Vec<Seen>,
    /// When the shard wants to turn at the latest. `Some(0)` before its first wait.
    pub wait_until: Option<u64>,
    /// Sockets that control has bound, by the number of the descriptor that stands for them.
    pub bound: BTreeMap<RawFd, SocketAddr>,
    pub bell: bool,
    /// This host has run out of descriptors: no accept is asked for before this.
    accepts_rest_until: u64,
    /// Orders that were given: everything may be reset, or the sessions of these backends.
    pub stopping: bool,
    pub killed: BTreeSet<SocketAddr>,
    pub falls: falls::Falls,
    legs: Legs,
    binds: Binds,
    buffers: Buffers,
    queue: VecDeque<OpState>,
    pending: Vec<OpState>,
    watches: Vec<Watch>,
    /// News that the shard was told since its last wait.
    told: u32,
    /// A send was refused though there was room.
    pub has_refused: bool,
    pipes: Pipes,
    channels: channels::Channels,
    answers: VecDeque<Answer>,
    /// The shard is in the middle of the answers.
    taking: bool,
    pub(crate) submitted: u64,
    pub completed: u64,
    /// Its shard is gone: what still comes from it does nothing.
    pub dead: bool,
    /// After N operations the shard panics.
    pub strikes_in: Option<u32>,
    /// Answers that the shard has taken since its last wait.
    taken: usize,
    lateness: Lateness,
}

impl Kernel {
    #[must_use]
    pub fn new(mut rng: Rng, swarm: Swarm, print: bool) -> Kernel {
        Kernel {
            // Up to some days after boot.
            now: rng.draw() >> 16,
            buffers: Buffers::new(swarm.buffers, swarm.buffer_size),
            rng,
            swarm,
            net: Net::default(),
            trace: Trace::new(print),
            violation: None,
            notes: BTreeMap::new(),
            seen: Vec::new(),
            wait_until: Some(0),
            bound: BTreeMap::new(),
            bell: false,
            accepts_rest_until: 0,
            stopping: false,
            killed: BTreeSet::new(),
            falls: falls::Falls::default(),
            legs: Legs::default(),
            binds: Binds::default(),
            queue: VecDeque::new(),
            pending: Vec::new(),
            watches: Vec::new(),
            told: 0,
            has_refused: false,
            pipes: Pipes::default(),
            channels: channels::Channels::default(),
            answers: VecDeque::new(),
            taking: false,
            submitted: 0,
            completed: 0,
            dead: false,
            strikes_in: None,
            taken: 0,
            lateness: Lateness::default(),
        }
    }

    /// Swaps what is not one shard's alone: the net, the trace, the time. Of several kernels the
    /// one that runs has it.
    pub fn lend(&mut self, to: &mut Kernel) {
        std::mem::swap(&mut self.net, &mut to.net);
        std::mem::swap(&mut self.trace, &mut to.trace);
        to.now = self.now;
    }

    /// The shard is gone: its descriptors are closed with whatever is in flight.
    pub fn die(&mut self) {
        self.note("a shard is gone", [self.legs.count(), 0]);
        for behind in self.legs.drop_all() {
            match behind {
                Behind::Conn(id) if !self.net.conns[id].weir_closed => {
                    self.net.conns[id].weir_abort(&mut self.rng);
                }
                Behind::Listener(listener) => {
                    self.net.close_listener(listener, &mut self.rng);
                }
                _ => {}
            }
        }
        self.binds.clear();
        self.queue.clear();
        self.pending.clear();
        self.watches.clear();
        self.answers.clear();
        self.dead = true;
    }

    /// True if the shard is to panic now.
    pub(crate) fn strikes(&mut self) -> bool {
        let Some(left) = self.strikes_in.as_mut().filter(|_| !self.dead) else { return false };
        *left = left.saturating_sub(1);
        *left == 0 && self.strikes_in.take().is_some()
    }

    /// A rule was broken. Only the first one counts.
    pub fn fail(&mut self, what: impl Into<String>) {
        if self.violation.is_none() {
            self.violation = Some(what.into());
        }
    }

    pub fn note(&mut self, what: &'static str, values: [usize; 2]) {
        self.trace.note(self.now, what, values.map(|value| value as u64));
    }

    pub(crate) fn submit(&mut self, token: Token, op: Op) {
        self.submitted += 1;
        self.check_submit(token, op);
        let nowait = matches!(op, Op::Send { .. })
            || leg_of(op).is_some_and(|leg| self.legs.is_nonblocking(leg));
        let (since, number, brought, deaf_since) = (self.now, self.submitted, 0, None);
        let (doomed, polled) = (false, false);
        let new = OpState { token, op, since, number, brought, deaf_since, doomed, polled, nowait };
        self.queue.push_back(new);
        if self.rng.hits(self.swarm.flushes) {
            self.hand_over();
            self.step();
        }
    }

    /// What was submitted is the kernel's from now on.
    pub(crate) fn hand_over(&mut self) {
        self.pending.extend(self.queue.drain(..));
    }

    pub(crate) fn wait(&mut self, until: Option<u64>) {
        self.buffers.publish();
        self.hand_over();
        self.check_wait(until);
        self.wait_until = until;
        self.taken = 0;
        self.told = 0;
        self.work_through();
    }

    /// True if a waiting shard would be woken.
    #[must_use]
    pub fn wakes(&self) -> bool {
        !self.answers.is_empty()
            || self.news().is_some()
            || self.wait_until.is_some_and(|until| until <= self.now)
    }

    /// One pending operation, any of them, is tried. False if it waits on.
    pub fn step(&mut self) -> bool {
        if !self.channels.is_still() && self.rng.flip() {
            self.step_relays();
        }
        if self.pending.is_empty() {
            return false;
        }
        let index = self.rng.below(self.pending.len());
        self.attempt(index)
    }

    /// Every pending operation is tried once. True if one was answered.
    pub fn step_all(&mut self) -> bool {
        let before = self.completed;
        self.step_relays();
        for index in (0..self.pending.len()).rev() {
            if index < self.pending.len() {
                self.attempt(index);
            }
        }
        self.completed > before
    }

    /// The next answer. What does not fit into the completion queue is kept aside by the kernel and
    /// comes after the next wait.
    pub(crate) fn next_answer(&mut self) -> Option<(Token, Outcome)> {
        if self.dead || self.taken >= self.swarm.completions {
            self.taking = false;
            return None;
        }
        let Some(answer) = self.answer() else {
            self.caught_up();
            return None;
        };
        self.taken += 1;
        Some(answer)
    }

    fn answer(&mut self) -> Option<(Token, Outcome)> {
        self.taking = !self.answers.is_empty() || self.news().is_some();
        if let Some(index) = self.news()
            && (self.answers.is_empty() || self.rng.below(2) == 0)
        {
            return Some(self.tell(index));
        }
        let Answer { asked, outcome } = self.answers.pop_front()?;
        match asked.op {
            Op::Send { chunk, .. } => self.buffers.end_send(chunk.buffer),
            Op::Receive { .. } => {
                if let Outcome::Session(Completion::Received { buffer, .. }) = outcome {
                    self.buffers.answered(buffer);
                }
            }
            _ => {}
        }
        let goes_on = matches!(outcome, Outcome::Session(done) if !done.is_last());
        if goes_on {
            self.last_bytes_taken(asked.number);
        }
        if let Some(leg) = leg_of(asked.op).filter(|_| !goes_on) {
            self.legs.answered(leg, asked.op);
            if let Outcome::Accepted(result) = outcome {
                let open = self.is_open(leg);
                self.accepted(leg, open, result);
            }
        }
        let heard = match asked.op {
            Op::Connect(leg, _) => self.hear_bound(leg, outcome),
            _ => outcome,
        };
        if let (Token::Session { id, side, kind }, Outcome::Session(done)) = (asked.token, heard) {
            let met_itself = leg_of(asked.op).is_some_and(|leg| self.has_met_itself(leg));
            let refused = Completion::Connected(Err(Errno::ECONNREFUSED));
            self.learn(key(id), side, kind, if met_itself { refused } else { done });
        }
        Some((asked.token, outcome))
    }

    /// The shard hears an answer of a session.
    fn learn(&mut self, session: Key, side: Side, kind: Kind, done: Completion) {
        let now = self.now;
        let note = self.notes.entry(session).or_default();
        note.inflight = note.inflight.saturating_sub(u32::from(done.is_last()));
        let moved = match done {
            Completion::Received { length, .. } => usize::from(length),
            Completion::Sent(count) => count as usize,
            _ => 0,
        };
        match done {
            Completion::Ended => {
                (note.half_closed, note.deaf_at) = (true, now);
                self.seen.push(Seen::Ended { session, side });
            }
            Completion::SendFailed(Errno::EAGAIN) => note.deaf_at = now,
            // A look before may have counted these bytes: then the next one takes them for taken.
            Completion::Sent(_) => note.stuck[side as usize] = (0, 0),
            Completion::ReceiveFailed(errno) | Completion::SendFailed(errno) => {
                note.local_fault |= is_local(errno.0);
                // Its session ends: what comes of a connect for it counts for nothing.
                let is_over = errno != Errno::ECANCELED && !errno.is_passing();
                note.closing |= is_over && note.leaving;
                if is_over && side == Side::Client {
                    self.seen.push(Seen::ClientLeft { session });
                }
            }
            _ => {}
        }
        let news = moved > 0 || matches!(done, Completion::Connected(Ok(())) | Completion::Ended);
        if news && !note.closing {
            (note.moved_at, note.told) = (now, (0, now));
        }
        if done == Completion::Starved {
            self.seen.push(Seen::Starved { session, side });
        }
        if let (true, Some(address), Side::Backend) =
            (moved > 0 && !note.closing, note.address, side)
        {
            self.seen.push(match kind {
                Kind::Receive => Seen::Received { session, address, count: moved },
                _ => Seen::Sent { address, count: moved },
            });
        }
        if side == Side::Backend && matches!(kind, Kind::Connect | Kind::Cancel) {
            let connected = match done {
                Completion::Connected(result) => Some(result.map_err(|errno| errno.0)),
                _ => None,
            };
            self.seen.push(Seen::Answered { session, connected });
        }
    }

    /// Puts an answer into the queue, sometimes before others; answers on one leg keep their order.
    fn post(&mut self, asked: OpState, outcome: Outcome) {
        self.completed += 1;
        let leg = leg_of(asked.op);
        let mut place = self.answers.len();
        while place > 0
            && self.rng.hits(self.swarm.reorders)
            && (leg.is_none() || leg != leg_of(self.answers[place - 1].asked.op))
        {
            place -= 1;
        }
        self.answers.insert(place, Answer { asked, outcome });
    }

    /// True if no answer waits for the shard, no client waits for an accept, no peer for its
    /// program.
    #[must_use]
    pub fn is_quiet(&self) -> bool {
        let waits = self.net.listening.iter().any(|listening| !listening.queue.is_empty());
        // The bell may ring after the shard has left.
        let answered = self.answers.iter().all(|answer| answer.asked.op == Op::Bell);
        answered && self.net.unattended.is_empty() && !waits
    }

    /// Numbers of the buffers that sessions own, in order.
    #[must_use]
    pub fn buffers_held(&self) -> Vec<u16> {
        self.buffers.held()
    }

    /// Numbers of the pipes that sessions use and how much is in each, in order.
    #[must_use]
    pub fn pipes_held(&self) -> Vec<(u16, usize)> {
        self.pipes.in_use()
    }
}

/// True if no peer is to blame for this errno. The simulator's own list, so that the core's is
/// checked.
#[must_use]
pub fn is_local(errno: i32) -> bool {
    matches!(errno, 12 | 23 | 24 | 99 | 105)
}

pub(crate) fn key(id: SessionId) -> Key {
    (id.slot, id.generation)
}

fn leg_of(op: Op) -> Option<Leg> {
    match op {
        Op::Accept(leg) | Op::Connect(leg, _) => Some(leg),
        Op::Receive { leg, .. } | Op::Send { leg, .. } => Some(leg),
        Op::Cancel(_) | Op::Bell => None,
    }
}
