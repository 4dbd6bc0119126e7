//! Waiting without an operation: a session in which nothing moves is *parked*. Its receives are
//! taken back, and one watch a leg waits for bytes, room or a reset instead.
//!
//! An armed receive costs the kernel 865 bytes, a watch 192 (DESIGN.md, Memory); and a watch ends
//! with its leg, so that a session that waits this way closes without a cancel.

use crate::action::{Action, Actions, Pending};
use crate::base::clock::Now;
use crate::base::machine::enter;
use crate::event::{Errno, Interest, Leg, Ready, Side};
use crate::flow::{Flow, ResetCheck, Sink, Source};
use crate::limits::FRUITLESS_MAX;

use super::{Effects, Phase, Session};

/// What a look at a relaying session has found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Activity {
    /// Something moves, or may soon: look again after a pulse.
    Active,
    /// Nothing is in the kernel's hands that needs a look before the idle timeout.
    Quiescent,
}

impl Session {
    /// A look at a relaying session, about once in `quiescent_after_ms` while something moves.
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

    /// Takes the receives back, and gives back pipes with nothing in them.
    fn park(&mut self, out: &mut Actions) {
        for side in Side::BOTH {
            let flow = &self.flows[side as usize];
            if flow.is_receiving() {
                self.take_back(side, out);
            } else if flow.source == Source::Waiting && !flow.is_pending() {
                self.demote(side, out);
            }
        }
    }

    /// Takes a receive back, if it is not on its way back already and the only operation of its
    /// side: so a cancel of this kind is never asked for twice.
    fn take_back(&mut self, side: Side, out: &mut Actions) -> bool {
        let source = &mut self.flows[side as usize].source;
        let Source::Receiving { cancelling, .. } = source else { return false };
        if *cancelling || self.inflight[side as usize] != 1 {
            return false;
        }
        *cancelling = true;
        self.cancel(side, Pending::Receive, out);
        true
    }

    /// What is doubted most, of both sides.
    #[must_use]
    pub fn reset_check(&self) -> ResetCheck {
        let [upload, download] = &self.flows;
        upload.reset_check().max(download.reset_check())
    }

    /// A look. Where nothing has come since the last one a watch is asked for a reset: it tells
    /// what is so already. Where it has told of one the receive is taken back: what came before the
    /// reset comes first.
    pub fn probe_for_missed_reset(&mut self, out: &mut Actions) {
        for side in Side::BOTH {
            let check = self.flows[side as usize].reset_check();
            let next = match check {
                ResetCheck::Armed => ResetCheck::Probing,
                ResetCheck::Confirmed if !self.take_back(side, out) => ResetCheck::Confirmed,
                ResetCheck::NotNeeded | ResetCheck::Probing | ResetCheck::Confirmed => {
                    ResetCheck::NotNeeded
                }
            };
            if let Source::Receiving { reset_check, .. } = &mut self.flows[side as usize].source {
                *reset_check = next;
            }
            if check == ResetCheck::Probing {
                let writable = self.flows[side.other() as usize].sink == Sink::Waiting;
                let interest = Interest { readable: false, writable };
                if let Some(leg) = self.legs[side as usize] {
                    out.push(Action::Watch { side, leg, interest });
                }
            }
        }
    }

    /// A receive has failed because it was parked or would have to wait: then a watch waits.
    pub(super) fn waits_instead(&mut self, side: Side, errno: Errno) -> bool {
        // A cancel is one that parks: it may be late and strike the receive after the one that it
        // was meant for.
        if errno != Errno::ECANCELED && !errno.is_passing() {
            return false;
        }
        let flow = &mut self.flows[side as usize];
        enter(&mut flow.source, Source::Waiting);
        flow.more = false;
        self.relay_mut().rewatch[side as usize] = true;
        true
    }

    /// The leg whose error nobody will be told of unless somebody asks for it: no receive and no
    /// send of this session will meet it.
    #[must_use]
    pub fn unreported_error_leg(&self, side: Side) -> Option<Leg> {
        let deaf = nobody_receives(&self.flows[side as usize]);
        if deaf && self.is_relaying() { self.legs[side as usize] } else { None }
    }

    /// A watched leg has news. What was waited for is tried; it may still fail.
    pub fn on_ready(&mut self, side: Side, ready: Ready, out: &mut Actions) -> Effects {
        if matches!(self.phase, Phase::Connecting(_)) {
            // Only a reset is told of a client before it has a backend.
            assert_eq!(side, Side::Client, "a backend is not watched before it has the session");
            self.fail(side, Errno::ECONNRESET, out);
            return self.advance(out);
        }
        if !self.is_relaying() {
            return Effects::default();
        }
        let relay = self.relay_mut();
        relay.fruitless = relay.fruitless.saturating_add(1);
        let flow = &mut self.flows[side as usize];
        // Watched again also if it is readable: its queue may be full, and then nobody receives.
        let waits_to_receive = flow.source == Source::Waiting;
        if waits_to_receive && (ready.readable || ready.reset) {
            enter(&mut flow.source, Source::Idle);
            flow.more = true;
        } else if ready.reset && nobody_receives(flow) {
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
        // It is told once: what is still waited for is watched again. A side that has ended is
        // readable only when our direction has ended as well: then no reset can come.
        let waits = waits_to_receive || *sink == Sink::Waiting || !ready.readable;
        self.relay_mut().rewatch[side as usize] = waits;
        self.advance(out)
    }

    /// True if watches tell again and again and nothing comes of it: whatever the reason, the
    /// kernel says "readable" or "writable" and the operation says EAGAIN. Then none is renewed
    /// before the next look.
    #[must_use]
    pub fn is_muted(&self) -> bool {
        self.relay().fruitless >= FRUITLESS_MAX
    }

    /// True if it is muted by the news that has just come.
    #[must_use]
    pub fn has_gone_mute(&self) -> bool {
        self.relay().fruitless == FRUITLESS_MAX
    }

    /// A look at a session that is muted: its watches are renewed.
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

    /// Asks for word of a reset from sides that nothing is received from, because their FIN has
    /// come or because the other side takes nothing: nothing else would tell.
    pub fn watch(&mut self, out: &mut Actions) {
        let Phase::Relaying(relay) = &mut self.phase else { return };
        if core::mem::replace(&mut relay.watched, true) {
            return;
        }
        relay.rewatch = [true; 2];
        self.renew_watches(out);
    }

    /// Watches each leg for what is waited for there, where that has changed.
    pub(super) fn renew_watches(&mut self, out: &mut Actions) {
        if self.is_muted() {
            return;
        }
        for side in Side::BOTH {
            if !core::mem::take(&mut self.relay_mut().rewatch[side as usize]) {
                continue;
            }
            let source = self.flows[side as usize].source;
            let interest = Interest {
                readable: source == Source::Waiting,
                writable: self.flows[side.other() as usize].sink == Sink::Waiting,
            };
            let reset = self.relay().watched && nobody_receives(&self.flows[side as usize]);
            if let Some(leg) = self.legs[side as usize]
                && (reset || interest != Interest::default())
            {
                out.push(Action::Watch { side, leg, interest });
            }
        }
    }
}

/// True if no receive and no watch for bytes would tell of a reset of the side that this flow
/// reads.
fn nobody_receives(flow: &Flow) -> bool {
    flow.source == Source::Ended || (flow.source == Source::Idle && flow.sink == Sink::Waiting)
}
