//! Waiting without an operation: a session in which nothing moves is *parked*. Its receives are
//! cancelled, and one watch per leg waits for bytes, room to send or a reset instead.
//!
//! An armed receive costs the kernel 865 bytes, a watch 192 (DESIGN.md, Memory); and a watch ends
//! with its leg, so a parked session closes without a cancel.

use crate::action::{Action, Actions, Pending};
use crate::base::clock::Now;
use crate::base::machine::enter;
use crate::event::{Errno, Interest, Leg, Ready, Side};
use crate::flow::{Flow, ResetCheck, Sink, Source};
use crate::limits::FRUITLESS_MAX;

use super::{Effects, Phase, Session};

/// The result of a look at a relaying session.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Activity {
    /// A source is neither waiting nor ended, bytes wait to be sent, or a pipe is held: look again
    /// after `quiescent_after_ms`.
    Active,
    /// None of that. Unless sent bytes are unacknowledged, no look is needed before the idle
    /// timeout.
    Quiescent,
}

impl Session {
    /// Looks at a relaying session: parks it if nothing has moved for `quiescent_after_ms`. Called
    /// about once in that time while something moves.
    pub fn activity(&mut self, now: Now, quiescent_after_ms: u32, out: &mut Actions) -> Activity {
        if self.moved_at.plus_millis(quiescent_after_ms) <= now {
            self.park(out);
        }
        let rests = |source| matches!(source, Source::Waiting | Source::Ended);
        let quiet = self
            .flows
            .iter()
            .all(|flow| rests(flow.source) && flow.pipe.is_none() && !flow.is_pending());
        if quiet { Activity::Quiescent } else { Activity::Active }
    }

    /// Cancels the receives, and returns empty pipes.
    fn park(&mut self, out: &mut Actions) {
        for side in Side::ALL {
            let flow = &self.flows[side as usize];
            if flow.is_receiving() {
                self.cancel_receive(side, out);
            } else if flow.source == Source::Waiting && !flow.is_pending() {
                self.demote(side, out);
            }
        }
    }

    /// Cancels the receive on `side` if it is the only operation in flight there and is not being
    /// cancelled already. Returns true if a cancel was submitted.
    pub(super) fn cancel_receive(&mut self, side: Side, out: &mut Actions) -> bool {
        let source = &mut self.flows[side as usize].source;
        let Source::Receiving { cancelling, .. } = source else { return false };
        if *cancelling || self.inflight[side as usize] != 1 {
            return false;
        }
        *cancelling = true;
        self.cancel(side, Pending::Receive, out);
        true
    }

    /// The reset check that is further along, of the two flows.
    #[must_use]
    pub fn reset_check(&self) -> ResetCheck {
        let [upload, download] = &self.flows;
        upload.reset_check().max(download.reset_check())
    }

    /// Advances the reset check of both sides, at a look. A side that has been quiet since the last
    /// look gets a watch, which also reports a reset that has happened before. Where a watch has
    /// reported one, the receive is cancelled: the receive after it brings the bytes that came
    /// before the reset, then the reset.
    pub fn probe_for_missed_reset(&mut self, out: &mut Actions) {
        for side in Side::ALL {
            let check = self.flows[side as usize].reset_check();
            let next = match check {
                ResetCheck::Armed => ResetCheck::Quiet,
                ResetCheck::Confirmed if !self.cancel_receive(side, out) => ResetCheck::Confirmed,
                ResetCheck::NotNeeded | ResetCheck::Quiet | ResetCheck::Confirmed => {
                    ResetCheck::NotNeeded
                }
            };
            if let Source::Receiving { reset_check, .. } = &mut self.flows[side as usize].source {
                *reset_check = next;
            }
            if check == ResetCheck::Quiet {
                let writable = self.flows[side.other() as usize].sink == Sink::Waiting;
                let interest = Interest { readable: false, writable };
                if let Some(leg) = self.legs.get(side) {
                    out.push(Action::Watch { side, leg, interest });
                }
            }
        }
    }

    /// Lets a watch wait if a receive has failed only because it was cancelled or would have to
    /// wait. Returns false for every other error.
    pub(super) fn waits_instead(&mut self, side: Side, errno: Errno) -> bool {
        // While relaying, only `cancel_receive` cancels receives. Its cancel may be late and hit
        // the receive after the one that it was meant for.
        if errno != Errno::ECANCELED && !errno.is_passing() {
            return false;
        }
        let flow = &mut self.flows[side as usize];
        enter(&mut flow.source, Source::Waiting);
        flow.more = false;
        self.relay_mut().rewatch[side as usize] = true;
        true
    }

    /// The leg of `side`, if its error must be read with SO_ERROR because no receive and no send of
    /// this session will report it.
    #[must_use]
    pub fn unreported_error_leg(&self, side: Side) -> Option<Leg> {
        let deaf = no_receive_due(&self.flows[side as usize]);
        if deaf && self.is_relaying() { self.legs.get(side) } else { None }
    }

    /// Handles a notification of a watch. What was waited for is tried; it may still fail.
    pub fn on_ready(&mut self, side: Side, ready: Ready, out: &mut Actions) -> Effects {
        if matches!(self.phase, Phase::Connecting(_)) {
            return self.on_ready_connecting(side, ready, out);
        }
        if !self.is_relaying() {
            return Effects::default();
        }
        let relay = self.relay_mut();
        relay.fruitless = relay.fruitless.saturating_add(1);
        let flow = &mut self.flows[side as usize];
        // It is watched again even if readable: if its queue is full, no receive follows.
        let waits_to_receive = flow.source == Source::Waiting;
        if waits_to_receive && (ready.readable || ready.reset) {
            enter(&mut flow.source, Source::Idle);
            flow.more = true;
        } else if ready.reset && no_receive_due(flow) {
            self.fail(side, ready.error.unwrap_or(Errno::ECONNRESET), out);
            return self.advance(out);
        } else if ready.reset
            && let Source::Receiving { reset_check, .. } = &mut flow.source
        {
            *reset_check = ResetCheck::Confirmed;
        }
        let sink = &mut self.flows[side.other() as usize].sink;
        if *sink == Sink::Waiting && (ready.writable || ready.reset) {
            enter(sink, Sink::Idle);
        }
        // A watch fires once, so what is still waited for is watched again. A side that is watched
        // for a reset only is readable only on EPOLLHUP: both FINs have passed, no reset can come.
        let waits = waits_to_receive || *sink == Sink::Waiting || !ready.readable;
        self.relay_mut().rewatch[side as usize] = waits;
        self.advance(out)
    }

    /// News before a backend has the session. Its client is watched for a reset only; other news
    /// was asked for while a backend had it that has closed before its first byte.
    fn on_ready_connecting(&mut self, side: Side, ready: Ready, out: &mut Actions) -> Effects {
        if side == Side::Client && ready.reset {
            self.fail(side, Errno::ECONNRESET, out);
        }
        self.advance(out)
    }

    /// True if watches have fired [`FRUITLESS_MAX`] times without a byte that moved: the kernel
    /// says "readable" or "writable", and the operation then fails with EAGAIN. No watch of a muted
    /// session is renewed before the next look.
    #[must_use]
    pub fn is_muted(&self) -> bool {
        self.relay().fruitless >= FRUITLESS_MAX
    }

    /// True if the latest notification has muted it.
    #[must_use]
    pub fn has_gone_mute(&self) -> bool {
        self.relay().fruitless == FRUITLESS_MAX
    }

    /// Renews the watches of a muted session, at a look.
    pub fn unmute(&mut self, out: &mut Actions) {
        if self.is_muted() {
            self.relay_mut().fruitless = 0;
            self.renew_watches(out);
        }
    }

    /// True if a side takes nothing for now, though bytes wait for it.
    #[must_use]
    pub fn is_blocked(&self) -> bool {
        self.flows.iter().any(|flow| flow.sink == Sink::Waiting)
    }

    /// From now on watches the sides that nothing is received from, because their FIN has come or
    /// because the other side takes nothing: no receive would report a reset there.
    pub fn watch(&mut self, out: &mut Actions) {
        let Phase::Relaying(relay) = &mut self.phase else { return };
        if core::mem::replace(&mut relay.watched, true) {
            return;
        }
        relay.rewatch = [true; 2];
        self.renew_watches(out);
    }

    /// Watches each leg for what is waited for there, if its watch has fired or no longer fits.
    pub(super) fn renew_watches(&mut self, out: &mut Actions) {
        if self.is_muted() {
            return;
        }
        for side in Side::ALL {
            if !core::mem::take(&mut self.relay_mut().rewatch[side as usize]) {
                continue;
            }
            let source = self.flows[side as usize].source;
            let interest = Interest {
                readable: source == Source::Waiting,
                writable: self.flows[side.other() as usize].sink == Sink::Waiting,
            };
            let reset = self.relay().watched && no_receive_due(&self.flows[side as usize]);
            if let Some(leg) = self.legs.get(side)
                && (reset || interest != Interest::default())
            {
                out.push(Action::Watch { side, leg, interest });
            }
        }
    }
}

/// True if neither a receive nor a watch for bytes is due that would report a reset of the side
/// that this flow reads: its FIN has come, or the sink is blocked and nothing is being received.
fn no_receive_due(flow: &Flow) -> bool {
    flow.source == Source::Ended || (flow.source == Source::Idle && flow.sink == Sink::Waiting)
}
