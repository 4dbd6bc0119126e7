//! How long a side may take nothing although bytes wait for it.
//!
//! A send that was answered is not delivered: its bytes are the kernel's until the peer has
//! acknowledged them, and a peer that is paused, or gone, leaves them there. So a session is
//! *looked at* about once a second (`quiescent_after_ms`) while anything moves or waits: how much
//! of what was sent on each leg is unacknowledged? What became less was taken, a byte at a time if
//! need be. A side that takes nothing for the pool's `timeout.stalled` is given up; one that does
//! not even acknowledge has vanished. The kernel's own timers (TCP_USER_TIMEOUT) do not tell a
//! closed window from a dead peer, so none is set (docs/adr/0021).

use weir_proto::handover::HandedSession;
use weir_proto::reason::{By, Why};
use weir_proto::snapshot::Keepalive;

use crate::action::{Action, Actions};
use crate::base::clock::{Now, ShortStamp, Stamp};
use crate::event::{PeerProgress, Side};
use crate::flow::Sink;
use crate::limits::{STALLED_LOOKS, STALLED_LOOKS_SPAN, UNANSWERED_MIN, WATCH_AFTER_MS};

use super::{Phase, Session, Trial};

/// A session that a backend has taken: how its peers stand, what its legs are watched for, and when
/// it is looked at.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Relay {
    /// Bytes that were sent to each side and not acknowledged at the last look, and those since.
    owed: [u32; 2],
    /// When each side last took some of them, or they began to wait.
    taken_at: [Stamp; 2],
    /// When it was looked at last, and when it is next.
    looked_at: ShortStamp,
    pub(super) look_at: Now,
    /// Both FINs have been passed on; only what the peers have not acknowledged is waited for.
    pub(super) delivering: bool,
    /// The kernel asks idle peers whether they are there.
    keepalive: bool,
    /// A side whose FIN has come is watched for a reset.
    pub(super) watched: bool,
    /// Sides whose watch does not fit what is waited for any more.
    pub(super) rewatch: [bool; 2],
    /// News of watches since a byte last moved, up to [`crate::limits::FRUITLESS_MAX`].
    pub(super) fruitless: u8,
    /// The legs answer EAGAIN where they would wait, because a pipe is used.
    pub(super) nonblocking: bool,
    /// It comes to rest, to go to another shard.
    pub(super) leaving: bool,
    pub(super) trial: Trial,
}

impl Relay {
    /// A session that was accepted then.
    #[must_use]
    pub fn new(accepted_at: Now) -> Relay {
        Relay {
            owed: [0; 2],
            taken_at: [accepted_at.stamp(); 2],
            looked_at: accepted_at.short_stamp(),
            look_at: Now::END,
            delivering: false,
            keepalive: false,
            watched: false,
            rewatch: [false; 2],
            fruitless: 0,
            nonblocking: false,
            leaving: false,
            trial: Trial::Over,
        }
    }

    /// That of a session that another shard has handed over: nothing is watched for yet.
    pub(super) fn handed(handed: &HandedSession, now: Now) -> Relay {
        Relay {
            owed: handed.peers.map(|peer| peer.owed),
            taken_at: handed.peers.map(|peer| Now::from_nanos(peer.taken_at).stamp()),
            looked_at: Now::from_nanos(handed.looked_at).short_stamp(),
            delivering: handed.delivering,
            keepalive: handed.keepalive,
            watched: handed.watched,
            rewatch: [true; 2],
            nonblocking: handed.nonblocking,
            ..Relay::new(now)
        }
    }

    /// Both FINs have been passed on.
    pub(super) fn is_delivering(&self) -> bool {
        self.delivering
    }

    /// The kernel asks idle peers whether they are there.
    pub(super) fn asks_peers(&self) -> bool {
        self.keepalive
    }

    /// Bytes that this side owes an acknowledgement for, and for how many milliseconds it has taken
    /// none of those that wait for it.
    pub(super) fn standing(&self, side: Side, now: Now) -> (u32, u32) {
        (self.owed[side as usize], self.taken_at[side as usize].age_ms(now))
    }

    /// By side: bytes that were not acknowledged at the last look, or sent since; and when that
    /// look was.
    pub(super) fn last_look(&self) -> ([u32; 2], ShortStamp) {
        (self.owed, self.looked_at)
    }

    /// Nothing may be received from that side for now: if a reset is watched for, a watch must say
    /// so.
    pub(super) fn watch_again_for_reset(&mut self, side: Side) {
        self.rewatch[side as usize] |= self.watched;
    }
}

impl Session {
    pub(super) fn relay(&self) -> &Relay {
        match &self.phase {
            Phase::Relaying(relay) => relay,
            other => unreachable!("only a relaying session has peers: {other:?}"),
        }
    }

    pub(super) fn relay_mut(&mut self) -> &mut Relay {
        match &mut self.phase {
            Phase::Relaying(relay) => relay,
            other => unreachable!("only a relaying session has peers: {other:?}"),
        }
    }

    /// So many bytes are the kernel's, on their way to `side`.
    pub(super) fn note_sent(&mut self, side: Side, count: u32) {
        let owed = &mut self.relay_mut().owed[side as usize];
        *owed = owed.saturating_add(count);
    }

    /// True if bytes were waiting for `side` at the last look.
    fn waits(&self, side: Side) -> bool {
        self.flows[side.other() as usize].undelivered
    }

    /// True if bytes wait for `side` and it takes none: weir could not give them to the kernel, or
    /// the peer has not acknowledged one of them for a second.
    #[must_use]
    pub fn takes_nothing(&self, side: Side, now: Now) -> bool {
        self.flows[side.other() as usize].sink == Sink::Waiting || self.is_stuck(side, now)
    }

    /// True if bytes wait for `side`, and its peer has not acknowledged one of them for a second.
    #[must_use]
    pub fn is_stuck(&self, side: Side, now: Now) -> bool {
        self.waits(side) && self.relay().taken_at[side as usize].age_ms(now) >= 1_000
    }

    /// The same, unless a send may hide from the last look what the side took, as in
    /// [`Session::gives_up`].
    #[must_use]
    pub fn is_surely_stuck(&self, side: Side, now: Now) -> bool {
        self.is_stuck(side, now) && self.flows[side.other() as usize].sink != Sink::Sending
    }

    /// True if bytes that were sent may not have been acknowledged.
    #[must_use]
    pub fn has_unacked(&self) -> bool {
        self.relay().owed != [0; 2]
    }

    /// True if the last look was `quiescent_after_ms` ago or longer. (After a rest it may be wrong,
    /// and then the next look comes that much later.)
    #[must_use]
    pub fn inspection_due(&self, now: Now, quiescent_after_ms: u32) -> bool {
        self.relay().looked_at.age_ms(now) >= quiescent_after_ms
    }

    /// Asks how the peers stand; closely where bytes were waiting already.
    pub fn ask_inspection(&mut self, out: &mut Actions) {
        let legs = self.legs.both();
        out.push(Action::InspectPeers { legs, closely: Side::ALL.map(|side| self.waits(side)) });
    }

    /// Records the result of a look at both sides. Returns for how many milliseconds since the
    /// previous look each of them has taken nothing although bytes waited for it.
    pub fn inspected(&mut self, progress: [PeerProgress; 2], now: Now) -> [u32; 2] {
        let blocked_ms = Side::ALL.map(|side| {
            let progress = progress[side as usize];
            let ms = match self.phase {
                Phase::Relaying(_) => self.inspected_side(side, progress, now),
                _ => self.inspected_at_end(side, progress, now),
            };
            let blocked_ms = &mut self.blocked_ms[side as usize];
            *blocked_ms = blocked_ms.saturating_add(ms);
            ms
        });
        if let Phase::Relaying(relay) = &mut self.phase {
            relay.looked_at = now.short_stamp();
        }
        blocked_ms
    }

    /// By side: for how many milliseconds it has taken nothing although bytes waited for it. As
    /// exact as the looks are close: a stretch begins and ends up to a look too late.
    #[must_use]
    pub fn blocked_ms(&self) -> [u32; 2] {
        self.blocked_ms
    }

    fn inspected_side(&mut self, side: Side, progress: PeerProgress, now: Now) -> u32 {
        let waits = progress.unacked > 0;
        // A send that the kernel has taken and weir not heard of may hide what was acknowledged.
        let is_sending = self.flows[side.other() as usize].sink == Sink::Sending;
        let undelivered = &mut self.flows[side.other() as usize].undelivered;
        let waited = core::mem::replace(undelivered, waits);
        let relay = self.relay_mut();
        let owed = core::mem::replace(&mut relay.owed[side as usize], progress.unacked);
        // A send that was answered and not yet heard of is counted twice: for each of them the side
        // has the time until one more look. It may also hide what the side took just now: then the
        // look after it decides (`gives_up`).
        let takes_nothing = waited && progress.unacked >= owed;
        if !takes_nothing {
            relay.taken_at[side as usize] = now.stamp();
        }
        let blocked_ms = if takes_nothing && !is_sending { relay.looked_at.age_ms(now) } else { 0 };
        if waited && !waits {
            self.moved_at = now; // it took the last of it: the session is idle from here on
        }
        blocked_ms
    }

    /// Why `side` is to be given up, if it is. A peer has vanished when it has acknowledged nothing
    /// for `silence_ms` (or for as long as it may take nothing), whatever was sent to it.
    #[must_use]
    pub fn gives_up(
        &self,
        side: Side,
        progress: PeerProgress,
        silence_ms: u32,
        now: Now,
    ) -> Option<Why> {
        // A send that was taken and not yet heard of may have filled up again what the side took:
        // the next look tells.
        if !self.waits(side) || self.flows[side.other() as usize].sink == Sink::Sending {
            return None;
        }
        let limit = silence_ms.min(self.stalled_ms);
        let stuck = self.relay().taken_at[side as usize].age_ms(now);
        let unanswered = progress.unanswered >= UNANSWERED_MIN;
        if unanswered && progress.silent_ms >= limit && stuck >= limit {
            return Some(Why::Vanished);
        }
        (stuck >= self.stalled_ms).then_some(Why::Stalled)
    }

    /// When the side that has waited longest will have taken nothing for too long; `None` if no
    /// bytes wait.
    #[must_use]
    pub(super) fn stalled_at(&self, now: Now) -> Option<Now> {
        let stuck = self.stuck_ms(now)?;
        Some(now.plus_millis(self.stalled_ms.saturating_sub(stuck)))
    }

    /// When a side that takes nothing is to be looked at again, in milliseconds: the longer it has
    /// not, the later.
    #[must_use]
    pub fn inspect_again_ms(&self, now: Now, quiescent_after_ms: u32) -> Option<u32> {
        let stuck = self.stuck_ms(now)?;
        // The end of a session is most often an acknowledgement away.
        let least_ms = if self.relay().delivering { WATCH_AFTER_MS } else { quiescent_after_ms };
        let most_ms = (quiescent_after_ms * STALLED_LOOKS_SPAN).max(least_ms);
        Some((stuck / STALLED_LOOKS).clamp(least_ms, most_ms))
    }

    /// Both FINs have been passed on. A close now would leave what is not acknowledged to the
    /// kernel, which gives it up when *it* has waited long enough, and no figure would show it.
    pub(super) fn deliver(&mut self, out: &mut Actions) {
        if !core::mem::replace(&mut self.relay_mut().delivering, true) {
            let legs = self.legs.both();
            out.push(Action::InspectPeers { legs, closely: [false; 2] });
        }
    }

    /// True if both FINs have been passed on and not all bytes were acknowledged at the last look.
    #[must_use]
    pub fn is_delivering(&self) -> bool {
        matches!(&self.phase, Phase::Relaying(relay) if relay.delivering)
    }

    /// How a session that is delivering ends, if it does: complete once all but a FIN on each side
    /// is acknowledged, reset by a side whose connection is gone.
    #[must_use]
    pub fn delivered(&self, progress: [PeerProgress; 2]) -> Option<(By, Why)> {
        if !self.relay().delivering {
            return None;
        }
        let gone = Side::ALL.into_iter().find(|side| progress[*side as usize].closed);
        if let Some(side) = gone {
            return Some((side.by(), Why::Reset));
        }
        let by = self.closed_first.unwrap_or(Side::Client).by();
        progress.iter().all(|it| it.unacked <= 1).then_some((by, Why::Complete))
    }

    fn stuck_ms(&self, now: Now) -> Option<u32> {
        let waiting = Side::ALL.into_iter().filter(|side| self.waits(*side));
        waiting.map(|side| self.relay().taken_at[side as usize].age_ms(now)).max()
    }

    /// Turns keepalive on, once; sessions that end before the first look do not pay for it.
    pub fn keep_alive(&mut self, keepalive: [Keepalive; 2], out: &mut Actions) {
        if core::mem::replace(&mut self.relay_mut().keepalive, true) {
            return;
        }
        for (leg, keepalive) in self.legs.both().into_iter().zip(keepalive) {
            out.push(Action::KeepAlive { leg, keepalive });
        }
    }
}
