//! When a session must be attended to if nothing comes of it before, and for what. One function
//! says so, and the table only schedules it. Bytes that move put no timer off: the deadline
//! compares when it fires.

use weir_proto::reason::{ConnectFault, Why};

use super::{Attempt, Connect, Inspect, Phase, Relay, Session};
use crate::base::clock::Now;
use crate::limits::WATCH_AFTER_MS;

/// The purpose of a deadline.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Timeout {
    /// The header or the hello has had its time.
    Inspection,
    /// No backend has got room for too long.
    Queue,
    /// A connect is not over soon: its client is to be watched for a reset.
    SlowConnect,
    /// A connect has had its time.
    Connect,
    /// It is the turn of a retry that had to wait.
    Retry(ConnectFault),
    /// A relaying session is to be looked at.
    Look,
    /// A side has taken nothing for too long, if the look at it says so, too
    /// ([`Session::gives_up`]).
    Stalled,
    /// Nothing has moved for too long.
    Quiet(Why),
}

impl Session {
    /// The next deadline, counted from `now` on. `None` while only the kernel's answers are waited
    /// for: what is being cancelled has no deadline.
    #[must_use]
    pub fn deadline(&self, now: Now) -> Option<(Now, Timeout)> {
        match self.phase {
            Phase::Inspecting(Inspect { until, .. }) => Some((until, Timeout::Inspection)),
            Phase::Connecting(Connect { attempt, client_watched, began_at, until, .. }) => {
                match attempt {
                    Attempt::Trying => {
                        // Most connects are over before they are looked at.
                        let look = began_at.plus_millis(WATCH_AFTER_MS);
                        let is_last = client_watched || until <= look.max(now);
                        let slow = (look, Timeout::SlowConnect);
                        Some(if is_last { (until, Timeout::Connect) } else { slow })
                    }
                    Attempt::Queued => Some((until, Timeout::Queue)),
                    Attempt::Waiting(fault) => Some((until, Timeout::Retry(fault))),
                    Attempt::Expired | Attempt::Failed(_) => None,
                }
            }
            Phase::Relaying(Relay { look_at, .. }) => {
                let (at, timeout) = self.patient_until(now);
                // The last look has not given it up.
                let hidden = timeout == Timeout::Stalled && at <= now;
                let is_look = hidden || look_at < at;
                Some(if is_look { (look_at, Timeout::Look) } else { (at, timeout) })
            }
            Phase::Closing(_) => None,
        }
    }

    /// A relaying session is looked at no later than that. Returns when it is.
    pub fn look_by(&mut self, at: Now) -> Now {
        let relay = self.relay_mut();
        relay.look_at = relay.look_at.min(at);
        relay.look_at
    }

    /// One whose time is over already goes on only because a send hid from the last look what its
    /// sink had taken ([`Session::gives_up`]): the next look comes soon, and not at once.
    pub fn look_behind_a_send(&mut self, now: Now) {
        if self.overdue(now).is_some() {
            self.look_by(now.plus_millis(WATCH_AFTER_MS));
        }
    }

    /// A relaying session was looked at, and is again then.
    pub fn look_next(&mut self, at: Now) {
        self.relay_mut().look_at = at;
    }

    /// Why a relaying session has had its time, if it has.
    #[must_use]
    pub fn overdue(&self, now: Now) -> Option<Timeout> {
        let (at, timeout) = self.patient_until(now);
        (at <= now).then_some(timeout)
    }

    /// When a relaying session is to be given up, if nothing changes. While bytes wait for a side
    /// no other timeout runs: they are not delivered, so the session is neither idle nor merely
    /// half closed.
    fn patient_until(&self, now: Now) -> (Now, Timeout) {
        if let Some(at) = self.stalled_at(now) {
            return (at, Timeout::Stalled);
        }
        let (wait_ms, why) = if self.has_fin() && self.half_close_ms < self.idle_ms {
            (self.half_close_ms, Why::HalfCloseTimeout)
        } else {
            (self.idle_ms, Why::IdleTimeout)
        };
        (self.moved_at.plus_millis(wait_ms), Timeout::Quiet(why))
    }
}

#[cfg(test)]
mod tests {
    use weir_proto::reason::By;

    use super::super::Route;
    use super::*;
    use crate::action::Actions;
    use crate::event::{Completion, Leg, PeerProgress, Side};
    use crate::slot::{BackendSlot, ListenerSlot, MemberIndex, PoolSlot};

    const START: Now = Now { nanos: 1_000_000_000 };

    fn after(ms: u32) -> Now {
        START.plus_millis(ms)
    }

    /// A session that was accepted at the start and whose connect must be over by `until`.
    fn connecting(until: Now) -> Session {
        let route = Route {
            listener: ListenerSlot::FIRST,
            pool: PoolSlot::FIRST,
            backend: Some(BackendSlot::FIRST),
            index: MemberIndex::FIRST,
        };
        let mut session = Session::new(Leg(10), route, Connect::new(0, 0, START), START);
        session.connect_started(Leg(11), START, until);
        session
    }

    /// One that relays since the start, idle for 10 s at most and half closed for 2 s.
    fn relaying(out: &mut Actions) -> Session {
        let mut session = connecting(after(1_000));
        (session.idle_ms, session.half_close_ms) = (10_000, 2_000);
        session.stalled_ms = 5_000;
        let _ = session.on_completion(Side::Backend, Completion::Connected(Ok(())), out);
        session
    }

    #[test]
    fn a_connect_is_looked_at_once_unless_it_is_over_sooner() {
        let out = &mut Actions::default();
        let mut session = connecting(after(1_000));
        let slow = (after(WATCH_AFTER_MS), Timeout::SlowConnect);
        assert_eq!(session.deadline(START), Some(slow));
        let over = (after(1_000), Timeout::Connect);
        assert_eq!(session.deadline(after(1_000)), Some(over), "both are due: it is over");
        session.watch_client(out);
        assert_eq!(session.deadline(after(48)), Some(over));
        let soon = connecting(after(30));
        assert_eq!(soon.deadline(START), Some((after(30), Timeout::Connect)));
        session.expire_connect(out);
        assert_eq!(session.deadline(after(1_000)), None, "the kernel answers");
        session.connect_mut().attempt = Attempt::Waiting(ConnectFault::Refused);
        let retry = Timeout::Retry(ConnectFault::Refused);
        assert_eq!(session.deadline(after(1_000)), Some((after(1_000), retry)));
    }

    #[test]
    fn a_relaying_session_is_looked_at_until_its_time_is_over() {
        let out = &mut Actions::default();
        let mut session = relaying(out);
        let idle = Timeout::Quiet(Why::IdleTimeout);
        assert_eq!(session.deadline(START), Some((after(10_000), idle)), "without a look");
        session.look_by(after(1_000));
        assert_eq!(session.deadline(START), Some((after(1_000), Timeout::Look)));
        session.look_by(after(3_000));
        assert_eq!(session.deadline(START), Some((after(1_000), Timeout::Look)), "never later");
        session.look_next(after(3_000));
        assert_eq!(session.deadline(START), Some((after(3_000), Timeout::Look)));
        let _ = session.on_completion(Side::Client, Completion::Ended, out);
        let half_closed = Timeout::Quiet(Why::HalfCloseTimeout);
        assert_eq!(session.deadline(START), Some((after(2_000), half_closed)));
        assert_eq!(session.overdue(after(1_999)), None);
        assert_eq!(session.overdue(after(2_000)), Some(half_closed));
        let _ = session.end(By::Operator, Why::Killed, out);
        assert_eq!(session.deadline(after(9_000)), None, "what is cancelled has none");
    }

    #[test]
    fn while_a_side_takes_nothing_no_other_timeout_runs() {
        let mut session = relaying(&mut Actions::default());
        let one = PeerProgress { unacked: 7, ..Default::default() };
        session.inspected([one, PeerProgress::default()], START);
        assert_eq!(session.deadline(after(1_000)), Some((after(5_000), Timeout::Stalled)));
        session.look_next(after(5_040));
        assert_eq!(session.deadline(after(4_999)), Some((after(5_000), Timeout::Stalled)));
        assert_eq!(session.overdue(after(5_000)), Some(Timeout::Stalled));
        // The look has not said so: a send hides what the side took.
        assert_eq!(session.deadline(after(5_000)), Some((after(5_040), Timeout::Look)));
    }

    /// Weir's FIN is a byte to be acknowledged, too (SIOCOUTQ): what the side took while it went
    /// out must not be hidden by it. Simulator seed 66703.
    #[test]
    fn a_fin_hides_no_byte_that_a_side_took() {
        let out = &mut Actions::default();
        let mut session = relaying(out);
        let one = PeerProgress { unacked: 1, ..Default::default() };
        session.inspected([PeerProgress::default(), one], START);
        let _ = session.on_completion(Side::Client, Completion::Ended, out);
        session.inspected([PeerProgress::default(), one], after(4_000));
        assert_eq!(session.gives_up(Side::Backend, one, u32::MAX, after(8_999)), None);
        let stalled = Some(Why::Stalled);
        assert_eq!(session.gives_up(Side::Backend, one, u32::MAX, after(9_000)), stalled);
    }
}
