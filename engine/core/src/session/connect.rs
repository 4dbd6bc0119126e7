//! Connecting: one attempt after the other, until a backend takes the session.

use core::time::Duration;

use weir_proto::reason::ConnectFault;

use crate::action::{Action, Actions, How, Pending};
use crate::base::clock::Now;
use crate::base::machine::{enter, leave};
use crate::event::{Completion, Errno, Interest, Leg, Side};

use super::{Phase, Relay, Session, Step};
use crate::machine;
use crate::pick::Tried;

/// One connect to one backend.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Attempt {
    Trying,
    /// Every backend that could take the session is full: it waits in its pool's line.
    Queued,
    /// The deadline has passed and the connect is being cancelled; it may still succeed.
    Expired,
    /// It failed; once nothing is in flight, another backend is tried.
    Failed(ConnectFault),
    /// It failed, and the pool has too many retries under way: nothing of this session is in
    /// flight, and another backend is tried 10 to 20 ms later.
    Waiting(ConnectFault),
}

machine! {
    /// Transitions of an [`Attempt`].
    pub static ATTEMPT: Attempt = "connect";
    states: Trying, Queued, Expired, Failed, Waiting;
    start => Trying: "a backend was picked";
    Trying => Queued: "every backend is full";
    Failed => Queued: "every other backend is full";
    Waiting => Queued: "every other backend is full";
    Queued => Trying: "a backend has room, and none came before";
    Trying => Expired: "its deadline has passed, so it is cancelled";
    Trying => Failed: "it fails";
    Expired => Failed: "it fails";
    Failed => Trying: "nothing is in flight, another backend";
    Failed => Waiting: "too many retries at once";
    Trying => Waiting: "no socket for it, and too many retries at once";
    Waiting => Trying: "its turn, after 10 to 20 ms";
    Trying => end: "it succeeds";
    Expired => end: "it succeeds anyway";
}

/// A session that no backend has taken yet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Connect {
    pub attempt: Attempt,
    pub tried: Tried,
    /// Backends that may still be tried if a connect fails.
    pub attempts_left: u8,
    /// The client is watched for a reset, for the connect takes its time.
    pub(super) client_watched: bool,
    /// The connect was not given the pool's whole timeout: that it failed by it means nothing.
    pub cut_short: bool,
    /// It goes to another shard, which picks a backend for it.
    pub(super) leaving: bool,
    /// Keyed hash of the client's address.
    pub client_key: u64,
    /// How long it waited in the queue for its first backend, in milliseconds.
    pub queued_ms: u32,
    /// When the latest connect began, or when it joined the queue; before that, when the client was
    /// accepted.
    pub began_at: Now,
    /// When the connect, or the wait for a retry's turn or in the queue, is over.
    pub(super) until: Now,
}

impl Connect {
    /// A client that was just accepted.
    #[must_use]
    pub fn new(client_key: u64, attempts_left: u8, now: Now) -> Connect {
        Connect {
            attempt: Attempt::Trying,
            tried: Tried::NONE,
            attempts_left,
            client_watched: false,
            cut_short: false,
            leaving: false,
            client_key,
            queued_ms: 0,
            began_at: now,
            until: now,
        }
    }
}

impl Session {
    /// The shard has a socket for the backend and has asked for a connect on it, which must be over
    /// by `until`.
    pub fn connect_started(&mut self, backend: Leg, now: Now, until: Now) {
        assert!(self.legs.get(Side::Backend).is_none() && !self.uses_backend());
        let connect = self.connect_mut();
        enter(&mut connect.attempt, Attempt::Trying);
        connect.cut_short = false;
        (connect.began_at, connect.until) = (now, until);
        self.legs.set(Side::Backend, backend);
        self.inflight[Side::Backend as usize] = 1;
    }

    /// Asks for news of a reset of the client's, once: nothing is received from it before a backend
    /// has taken the session, so nothing else would tell. A FIN is no news, it is half a close.
    pub fn watch_client(&mut self, out: &mut Actions) {
        if core::mem::replace(&mut self.connect_mut().client_watched, true) {
            return;
        }
        let leg = self.legs.get(Side::Client).expect("a connecting session has its client");
        out.push(Action::Watch { side: Side::Client, leg, interest: Interest::default() });
    }

    /// True if an operation is in flight towards a backend.
    fn uses_backend(&self) -> bool {
        self.inflight[Side::Backend as usize] != 0
    }

    /// Another backend will be tried at `until`; the leg of the failed connect is gone. False if it
    /// has waited before.
    pub fn wait_for_retry(&mut self, fault: ConnectFault, until: Now) -> bool {
        assert!(!self.uses_backend(), "joined before it waits");
        let connect = self.connect_mut();
        connect.until = until;
        let waiting = Attempt::Waiting(fault);
        let is_first = connect.attempt != waiting;
        enter(&mut connect.attempt, waiting);
        is_first
    }

    /// It stands in its pool's line from now on, until then. Of a session that another backend has
    /// closed, something may be in flight at its client.
    pub fn wait_in_queue(&mut self, now: Now, until: Now) {
        assert!(!self.uses_backend(), "joined before it waits");
        self.is_in_queue = true;
        let connect = self.connect_mut();
        enter(&mut connect.attempt, Attempt::Queued);
        (connect.began_at, connect.until) = (now, until);
    }

    /// It has been given a backend. Returns for how long it has waited.
    pub fn leave_queue(&mut self, now: Now) -> Duration {
        self.is_in_queue = false;
        let connect = self.connect_mut();
        enter(&mut connect.attempt, Attempt::Trying);
        let waited = now - connect.began_at;
        if connect.tried.is_empty() {
            connect.queued_ms = u32::try_from(waited.as_millis()).unwrap_or(u32::MAX);
        }
        waited
    }

    /// No other backend is tried from then on: that long after the accept, the time in the queue
    /// not counted.
    #[must_use]
    pub fn retries_until(&self, within_ms: u32) -> Now {
        let queued_ms = match &self.phase {
            Phase::Connecting(connect) => connect.queued_ms,
            Phase::Inspecting(_) | Phase::Relaying(_) | Phase::Closing(_) => 0,
        };
        self.accepted_at.plus_millis(within_ms.saturating_add(queued_ms))
    }

    /// The state of a connecting session.
    ///
    /// # Panics
    /// It relays, or is closing.
    pub fn connect_mut(&mut self) -> &mut Connect {
        match &mut self.phase {
            Phase::Connecting(connect) => connect,
            other => unreachable!("only a connecting session connects: {other:?}"),
        }
    }

    #[must_use]
    pub fn is_connecting(&self) -> bool {
        matches!(self.phase, Phase::Connecting(_))
    }

    /// When the latest connect of a connecting session began. For checkers.
    #[must_use]
    pub fn connect_began_at(&self) -> Option<Now> {
        match &self.phase {
            Phase::Connecting(connect) => Some(connect.began_at),
            Phase::Inspecting(_) | Phase::Relaying(_) | Phase::Closing(_) => None,
        }
    }

    /// How many backends did not take the session; 0 once one has. For checkers.
    #[must_use]
    pub fn tries(&self) -> usize {
        match &self.phase {
            Phase::Connecting(connect) => connect.tried.len(),
            Phase::Inspecting(_) | Phase::Relaying(_) | Phase::Closing(_) => 0,
        }
    }

    /// True if a connect may be in flight and is not being cancelled.
    #[must_use]
    pub fn is_trying(&self) -> bool {
        matches!(self.phase, Phase::Connecting(Connect { attempt: Attempt::Trying, .. }))
    }

    /// Forgets the leg of a failed connect; the shard closes it.
    pub fn drop_backend_leg(&mut self, out: &mut Actions) {
        assert!(!self.uses_backend(), "joined before it is closed");
        if let Some(leg) = self.legs.take(Side::Backend) {
            out.push(Action::Close { leg, how: How::Reset });
        }
    }

    /// The connect's deadline has passed.
    pub fn expire_connect(&mut self, out: &mut Actions) {
        if self.is_trying() {
            enter(&mut self.connect_mut().attempt, Attempt::Expired);
            self.cancel(Side::Backend, Pending::Connect, out);
        }
    }

    pub(super) fn on_connect(&mut self, attempt: Attempt, done: Completion) -> Step {
        let attempt = match (attempt, done) {
            (Attempt::Trying | Attempt::Expired, Completion::Connected(Ok(()))) => {
                leave(&attempt);
                let Connect { began_at, attempts_left, .. } = *self.connect_mut();
                let trial = self.begin_trial(attempts_left);
                let mut relay = Relay::new(self.accepted_at);
                relay.trial = trial;
                enter(&mut self.phase, Phase::Relaying(relay));
                return Step::Connected { began_at };
            }
            (Attempt::Trying, Completion::Connected(Err(errno))) => Attempt::Failed(fault(errno)),
            (Attempt::Expired, Completion::Connected(Err(errno))) => {
                let fault =
                    if errno.is_local() { ConnectFault::Local } else { ConnectFault::Timeout };
                Attempt::Failed(fault)
            }
            (attempt, Completion::Canceled) => attempt,
            (attempt, other) => unreachable!("{other:?} while connecting, {attempt:?}"),
        };
        enter(&mut self.connect_mut().attempt, attempt);
        match attempt {
            Attempt::Failed(fault) if !self.uses_backend() => Step::ConnectFailed(fault),
            _ => Step::None, // the rest is waited for
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
