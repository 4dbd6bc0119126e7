//! The end of a session: its operations are cancelled and waited for (*join*). Then the kernel is
//! asked for the last time how much each side has not acknowledged, since a reset throws it away:
//!
//! ```text
//! relaying ──end──▶ cancelling ──nothing in flight──▶ look at both peers ──▶ closed
//! ```

use weir_proto::reason::{CloseReason, SessionEnd, Why};

use crate::action::{Action, Actions};
use crate::base::clock::{Now, ShortStamp};
use crate::event::{PeerProgress, Side};
use crate::flow::{Flow, Sink, Source};

use super::stall::Relay;
use super::{Effects, Phase, Session};

/// A session that ends, and the reason.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Closing {
    pub reason: CloseReason,
    /// By side: bytes for it that weir holds. After the look also those that the kernel holds.
    undelivered: [u32; 2],
    /// By side, as while it relayed: not acknowledged at the look before, or sent since.
    owed: [u32; 2],
    /// When the look before was.
    looked_at: ShortStamp,
    look: LastLook,
}

/// The look at both peers at the end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum LastLook {
    /// Once nothing is in flight.
    Due,
    Asked,
    /// It was, or nothing can be lost.
    Done,
}

impl Closing {
    /// One that has no backend. weir holds these numbers of bytes for the sides: what one that has
    /// closed before its first byte has left.
    pub(super) fn unconnected(
        reason: CloseReason,
        undelivered: [u32; 2],
        now: ShortStamp,
    ) -> Closing {
        let owed = [0; 2];
        Closing { reason, undelivered, owed, looked_at: now, look: LastLook::Done }
    }

    /// One that has relayed; weir holds these numbers of bytes for the sides, and may have a send
    /// of some of them in flight.
    pub(super) fn relayed(
        reason: CloseReason,
        relay: &Relay,
        held: [u32; 2],
        is_sending: bool,
    ) -> Closing {
        let (owed, looked_at) = relay.last_look();
        // Otherwise all that was sent is known to be acknowledged, as in a session at rest.
        let may_lose = reason.why != Why::Complete && (owed != [0; 2] || is_sending);
        let look = if may_lose { LastLook::Due } else { LastLook::Done };
        Closing { reason, undelivered: held, owed, looked_at, look }
    }

    /// The kernel has taken bytes for this side in spite of the cancel.
    pub(super) fn sent(&mut self, side: Side, count: u32) {
        let held = &mut self.undelivered[side as usize];
        *held = held.checked_sub(count).expect("what is sent was held");
        let owed = &mut self.owed[side as usize];
        *owed = owed.saturating_add(count);
    }

    /// Bytes for this side have come in spite of the cancel.
    pub(super) fn received(&mut self, side: Side, count: u32) {
        let held = &mut self.undelivered[side as usize];
        *held = held.saturating_add(count);
    }
}

impl Session {
    /// True if nothing is under way in a relaying session that has just been looked at: no byte is
    /// held, being sent or unacknowledged, both sides are waited for, and nothing has moved for
    /// `quiet_ms`.
    #[must_use]
    pub fn is_quiet(&self, now: Now, quiet_ms: u32) -> bool {
        let rests = |flow: &Flow| {
            let waits = matches!(flow.source, Source::Waiting | Source::Ended);
            let takes = matches!(flow.sink, Sink::Idle | Sink::Finished);
            (waits || flow.is_receiving()) && takes && !flow.is_pending()
        };
        self.moved_at.plus_millis(quiet_ms) <= now
            && !self.has_unacked()
            && !self.has_closed_early()
            && self.flows.iter().all(rests)
    }

    /// The end of a session that is over.
    #[must_use]
    pub fn end_record(&self) -> Option<SessionEnd> {
        let Phase::Closing(Closing { reason, undelivered, .. }) = self.phase else { return None };
        let first = self.closed_first.map_or(reason.by, Side::by);
        Some(SessionEnd { reason, first, undelivered_bytes: undelivered.map(u64::from) })
    }

    /// Bytes for `side` that weir has received and not sent. Those of a send in flight count.
    pub(super) fn held_for(&self, side: Side) -> u32 {
        let flow = &self.flows[side.other() as usize];
        let queued: u32 = flow.chunks().map(|chunk| u32::from(chunk.len())).sum();
        queued + flow.pipe.map_or(0, |pipe| pipe.held)
    }

    /// True if the session waits for the answer of its last look, which it asks for if it is due.
    pub(super) fn looks_at_end(&mut self, out: &mut Actions) -> bool {
        let Phase::Closing(closing) = &mut self.phase else { return false };
        if closing.look == LastLook::Due {
            closing.look = LastLook::Asked;
            let legs = self.legs.both();
            out.push(Action::InspectPeers { legs, closely: [false; 2] });
        }
        closing.look == LastLook::Asked
    }

    /// The last look has found this on one side. Returns for how many milliseconds before it the
    /// side had taken nothing.
    pub(super) fn inspected_at_end(&mut self, side: Side, progress: PeerProgress, now: Now) -> u32 {
        let flow = &self.flows[side.other() as usize];
        // weir's FIN is counted as a byte, and is the last one.
        let fin = u32::from(flow.sink == Sink::Finished);
        let waited = flow.undelivered;
        let Phase::Closing(closing) = &mut self.phase else {
            unreachable!("only a session that ends has a last look")
        };
        let undelivered = &mut closing.undelivered[side as usize];
        *undelivered = undelivered.saturating_add(progress.unacked.saturating_sub(fin));
        let takes_nothing = waited && progress.unacked >= closing.owed[side as usize];
        if takes_nothing { closing.looked_at.age_ms(now) } else { 0 }
    }

    /// The last look was answered for both sides.
    pub fn looked_at_end(&mut self, out: &mut Actions) -> Effects {
        if let Phase::Closing(closing) = &mut self.phase {
            closing.look = LastLook::Done;
        }
        self.advance(out)
    }
}
