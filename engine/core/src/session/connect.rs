//! Connecting: one attempt after the other, until a backend takes the session.

use weir_proto::reason::ConnectFault;

use crate::action::{Action, Actions, How, Pending};
use crate::base::clock::Now;
use crate::event::{Completion, Errno, Interest, Leg, Side};

use super::{Attempt, Phase, Session, Step};

impl Session {
    /// The shard has a socket for the backend and has asked for a connect on it.
    pub fn connect_started(&mut self, backend: Leg, now: Now) {
        assert!(matches!(self.phase, Phase::Connecting(_)), "only a connecting session connects");
        assert!(self.legs[Side::Backend as usize].is_none() && self.inflight == [0; 2]);
        self.phase = Phase::Connecting(Attempt::Trying);
        self.legs[Side::Backend as usize] = Some(backend);
        self.inflight[Side::Backend as usize] = 1;
        self.cut_short = false;
        self.moved_at = now;
    }

    /// Asks for news of a reset of the client's, once: nothing is received from it before a backend
    /// has taken the session, so nothing else would tell. A FIN is no news, it is half a close.
    pub fn watch_client(&mut self, out: &mut Actions) {
        if core::mem::replace(&mut self.client_watched, true) {
            return;
        }
        let leg = self.legs[Side::Client as usize].expect("a connecting session has its client");
        out.push(Action::Watch { side: Side::Client, leg, interest: Interest::default() });
    }

    #[must_use]
    pub fn is_client_watched(&self) -> bool {
        self.client_watched
    }

    /// When the connect that was asked for last must be over.
    #[must_use]
    pub fn connect_deadline(&self) -> Now {
        self.moved_at.plus_millis(self.connect_ms)
    }

    /// Another backend will be tried a moment later; the leg of the failed connect is gone. False
    /// if that was so before.
    pub fn wait_for_retry(&mut self, fault: ConnectFault) -> bool {
        assert_eq!(self.inflight, [0; 2], "joined before it waits");
        let waiting = Phase::Connecting(Attempt::Waiting(fault));
        let before = core::mem::replace(&mut self.phase, waiting);
        assert!(matches!(before, Phase::Connecting(_)), "only a connecting session retries");
        before != self.phase
    }

    /// Forgets the leg of a failed connect; the shard closes it.
    pub fn drop_backend_leg(&mut self, out: &mut Actions) {
        assert_eq!(self.inflight, [0; 2], "joined before it is closed");
        if let Some(leg) = self.legs[Side::Backend as usize].take() {
            out.push(Action::Close { leg, how: How::Reset });
        }
    }

    /// The connect's deadline has passed.
    pub fn expire_connect(&mut self, out: &mut Actions) {
        if self.phase == Phase::Connecting(Attempt::Trying) {
            self.phase = Phase::Connecting(Attempt::Expired);
            self.cancel(Side::Backend, Pending::Connect, out);
        }
    }

    pub(super) fn on_connect(&mut self, attempt: Attempt, done: Completion) -> Step {
        match (attempt, done) {
            (Attempt::Trying | Attempt::Expired, Completion::Connected(Ok(()))) => {
                self.phase = Phase::Relaying;
                return Step::Connected;
            }
            (Attempt::Trying, Completion::Connected(Err(errno))) => {
                self.phase = Phase::Connecting(Attempt::Failed(fault(errno)));
            }
            (Attempt::Expired, Completion::Connected(Err(errno))) => {
                let fault =
                    if errno.is_local() { ConnectFault::Local } else { ConnectFault::Timeout };
                self.phase = Phase::Connecting(Attempt::Failed(fault));
            }
            (_, Completion::Canceled) => {}
            (attempt, other) => unreachable!("{other:?} while connecting, {attempt:?}"),
        }
        match self.phase {
            Phase::Connecting(Attempt::Failed(fault)) if self.inflight == [0; 2] => {
                Step::ConnectFailed(fault)
            }
            _ => Step::None,
        }
    }
}

/// What a failed connect says about the backend.
fn fault(errno: Errno) -> ConnectFault {
    match errno {
        // A passing one would be the kernel's own doing, too (connect(2)).
        local if local.is_local() || local.is_passing() => ConnectFault::Local,
        Errno::ECONNREFUSED | Errno::ECONNRESET => ConnectFault::Refused,
        Errno::ETIMEDOUT | Errno::ECANCELED => ConnectFault::Timeout,
        _ => ConnectFault::Unreachable,
    }
}
