//! Why a session ended: who × during what × why, and the two letters that operators read in logs.

use serde::{Deserialize, Serialize};

/// Who ended the session.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum By {
    /// The client's side of the session.
    Client,
    /// The backend's side of the session.
    Backend,
    /// weir itself: a timeout, a limit, no backend.
    Weir,
    /// A person: a kill, a forced removal, a paced drain, a rebalance, a stop.
    Operator,
}

/// A side of a session.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Side {
    Client = 0,
    Backend = 1,
}

/// What the session was doing when it ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum During {
    /// The header or greeting that its listener wants had not come.
    Inspecting,
    /// It waited for a backend with room.
    Queued,
    /// No backend had answered yet.
    Connecting,
    /// Bytes could flow both ways.
    Relaying,
    /// One side had ended its direction; the other still ran.
    HalfClosed,
}

/// Why it ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Why {
    /// Both directions ended with a FIN and every byte was delivered.
    Complete,
    /// A side reset the connection (ECONNRESET, EPIPE).
    Reset,
    /// No backend could take the session.
    NoBackend,
    /// Every backend that was tried refused or did not answer in time.
    ConnectFailed,
    /// This host failed, not a peer: descriptors, ports or memory ran out.
    Local,
    /// Nothing moved for the pool's idle timeout.
    IdleTimeout,
    /// One direction had ended and nothing moved for the pool's half-close timeout.
    HalfCloseTimeout,
    /// Bytes waited for a side that took none for the pool's stalled timeout, though it was there.
    Stalled,
    /// A side acknowledged nothing any more: neither what was sent to it nor keepalive's questions
    /// (ETIMEDOUT, EHOSTUNREACH).
    Vanished,
    /// An operator killed it, or removed its backend by force.
    Killed,
    /// A drain's deadline passed, or weir was stopped.
    Stopped,
    /// A paced drain or a rebalance took its turn with it.
    Shed,
    /// The first bytes were not the PROXY header that the listener wants.
    BadHeader,
    /// It did not come in time.
    InspectTimeout,
    /// The client that a PROXY header told of is not among those whom the listener serves.
    Denied,
    /// Every backend was full for the pool's queue timeout.
    QueueTimeout,
    /// Every backend was full, and as many sessions waited as may.
    QueueFull,
    /// It was as old as a session of the pool may become.
    Lifetime,
    /// Its backend went down, and the pool ends such sessions.
    BackendDown,
    /// The source that a PROXY header told of has as many sessions as it may have.
    SourceLimit,
}

impl By {
    /// Every value, in the order of [`CloseReason::index`].
    pub const ALL: [By; 4] = [By::Client, By::Backend, By::Weir, By::Operator];

    /// The label in metrics.
    #[must_use]
    pub fn label(self) -> &'static str {
        match self {
            By::Client => "client",
            By::Backend => "backend",
            By::Weir => "weir",
            By::Operator => "operator",
        }
    }
}

impl Side {
    pub const ALL: [Side; 2] = [Side::Client, Side::Backend];

    /// Who has ended a session of which this side has failed.
    #[must_use]
    pub fn by(self) -> By {
        match self {
            Side::Client => By::Client,
            Side::Backend => By::Backend,
        }
    }

    #[must_use]
    pub fn other(self) -> Side {
        match self {
            Side::Client => Side::Backend,
            Side::Backend => Side::Client,
        }
    }

    /// The label in metrics.
    #[must_use]
    pub fn label(self) -> &'static str {
        self.by().label()
    }
}

impl During {
    /// Every value, in the order of [`CloseReason::index`].
    pub const ALL: [During; 5] = [
        During::Inspecting,
        During::Queued,
        During::Connecting,
        During::Relaying,
        During::HalfClosed,
    ];

    /// The label in metrics.
    #[must_use]
    pub fn label(self) -> &'static str {
        match self {
            During::Inspecting => "inspecting",
            During::Queued => "queued",
            During::Connecting => "connecting",
            During::Relaying => "relaying",
            During::HalfClosed => "half_closed",
        }
    }
}

impl Why {
    /// Every value, in the order of [`CloseReason::index`].
    pub const ALL: [Why; 20] = [
        Why::Complete,
        Why::Reset,
        Why::NoBackend,
        Why::ConnectFailed,
        Why::Local,
        Why::IdleTimeout,
        Why::HalfCloseTimeout,
        Why::Stalled,
        Why::Vanished,
        Why::Killed,
        Why::Stopped,
        Why::Shed,
        Why::BadHeader,
        Why::InspectTimeout,
        Why::Denied,
        Why::QueueTimeout,
        Why::QueueFull,
        Why::Lifetime,
        Why::BackendDown,
        Why::SourceLimit,
    ];

    /// The label in metrics.
    #[must_use]
    pub fn label(self) -> &'static str {
        match self {
            Why::Complete => "complete",
            Why::Reset => "reset",
            Why::NoBackend => "no_backend",
            Why::ConnectFailed => "connect_failed",
            Why::Local => "local",
            Why::IdleTimeout => "idle_timeout",
            Why::HalfCloseTimeout => "half_close_timeout",
            Why::Stalled => "stalled",
            Why::Vanished => "vanished",
            Why::Killed => "killed",
            Why::Stopped => "stopped",
            Why::Shed => "shed",
            Why::BadHeader => "bad_header",
            Why::InspectTimeout => "inspect_timeout",
            Why::Denied => "denied",
            Why::QueueTimeout => "queue_timeout",
            Why::QueueFull => "queue_full",
            Why::Lifetime => "lifetime",
            Why::BackendDown => "backend_down",
            Why::SourceLimit => "source_limit",
        }
    }
}

/// The end of one session.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct CloseReason {
    pub by: By,
    pub during: During,
    pub why: Why,
}

impl CloseReason {
    /// How many different reasons there are.
    pub const COUNT: usize = By::ALL.len() * During::ALL.len() * Why::ALL.len();

    /// A dense number below [`CloseReason::COUNT`], for arrays of counters.
    #[must_use]
    pub fn index(self) -> usize {
        (self.by as usize * During::ALL.len() + self.during as usize) * Why::ALL.len()
            + self.why as usize
    }

    /// Every reason, in the order of [`CloseReason::index`].
    pub fn all() -> impl Iterator<Item = CloseReason> {
        By::ALL.into_iter().flat_map(|by| {
            During::ALL.into_iter().flat_map(move |during| {
                Why::ALL.into_iter().map(move |why| CloseReason { by, during, why })
            })
        })
    }

    /// Two letters, who then when, as operators of HAProxy know them: `C` client, `S` server (the
    /// backend), `c`/`s` a timeout on that side, `P` proxy, `R` resources, `K` killed, `D` the
    /// backend went down, `A` its age, `L` a limit of its source; then `R` reading the first
    /// bytes, `Q` in the queue for a backend, `C` connecting, `D` data, `L` last data. A session
    /// that ended as it should is `--`.
    #[must_use]
    pub fn code(self) -> [u8; 2] {
        if self.why == Why::Complete {
            return *b"--";
        }
        let who = match (self.by, self.why) {
            (_, Why::Local) => b'R',
            (By::Operator, _) => b'K',
            (By::Backend, Why::Stalled | Why::Vanished) => b's',
            (_, Why::IdleTimeout | Why::HalfCloseTimeout | Why::Stalled | Why::Vanished) => b'c',
            (_, Why::InspectTimeout) => b'c',
            (_, Why::QueueTimeout) => b's',
            (_, Why::Lifetime) => b'A',
            (_, Why::BackendDown) => b'D',
            (_, Why::SourceLimit) => b'L',
            (_, Why::ConnectFailed) | (By::Backend, _) => b'S',
            (By::Client, _) => b'C',
            (By::Weir, _) => b'P',
        };
        let when = match self.during {
            During::Inspecting => b'R',
            During::Queued => b'Q',
            During::Connecting => b'C',
            During::Relaying => b'D',
            During::HalfClosed => b'L',
        };
        [who, when]
    }

    /// The same as text.
    #[must_use]
    pub fn code_text(self) -> String {
        self.code().map(char::from).iter().collect()
    }
}

/// The end of one session, and who is to be asked about it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SessionEnd {
    pub reason: CloseReason,
    /// The side whose FIN or reset came first; the one that ended the session if there was none.
    pub first: By,
    /// By [`Side`]: bytes for it that it had not acknowledged, a FIN not counted. They are lost.
    pub undelivered_bytes: [u64; 2],
}

/// Why a connect to a backend failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ConnectFault {
    /// ECONNREFUSED: nobody listens there.
    Refused,
    /// No answer within the pool's connect timeout, or ETIMEDOUT.
    Timeout,
    /// EHOSTUNREACH, ENETUNREACH and what else the network says.
    Unreachable,
    /// EMFILE, ENFILE, ENOMEM, ENOBUFS, and EADDRNOTAVAIL of connect(2), which means that no port
    /// is left: this host's fault, never the backend's.
    Local,
    /// The backend took the session and closed or reset it before it had sent a byte.
    Closed,
    /// No address of the pool's `source` is on this host (EADDRNOTAVAIL of bind(2)): never the
    /// backend's fault either.
    Source,
}

impl ConnectFault {
    pub const ALL: [ConnectFault; 6] = [
        ConnectFault::Refused,
        ConnectFault::Timeout,
        ConnectFault::Unreachable,
        ConnectFault::Local,
        ConnectFault::Closed,
        ConnectFault::Source,
    ];

    /// True if it is this host's fault, and says nothing about the backend.
    #[must_use]
    pub const fn is_local(self) -> bool {
        matches!(self, ConnectFault::Local | ConnectFault::Source)
    }

    /// The label in metrics.
    #[must_use]
    pub fn label(self) -> &'static str {
        match self {
            ConnectFault::Refused => "refused",
            ConnectFault::Timeout => "timeout",
            ConnectFault::Unreachable => "unreachable",
            ConnectFault::Local => "local",
            ConnectFault::Closed => "closed",
            ConnectFault::Source => "source",
        }
    }
}

/// A limit of a backend's connects.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ConnectCap {
    /// As many are on their way as may be (`connecting`).
    Connecting,
    /// As many have begun as may (`connect-rate`).
    Rate,
}

impl ConnectCap {
    pub const ALL: [ConnectCap; 2] = [ConnectCap::Connecting, ConnectCap::Rate];

    /// The label in metrics.
    #[must_use]
    pub fn label(self) -> &'static str {
        match self {
            ConnectCap::Connecting => "connecting",
            ConnectCap::Rate => "connect_rate",
        }
    }
}

/// Why an accepted connection, or an attempt to accept one, did not become a session.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reject {
    /// accept(2) failed for want of descriptors or memory.
    Resources,
    /// The listener had just been drained or removed.
    Closing,
    /// It is not among those whom the listener serves.
    Denied,
    /// Its source has as many sessions as it may have, or as many as may begin have begun.
    Source,
}

impl Reject {
    pub const ALL: [Reject; 4] =
        [Reject::Resources, Reject::Closing, Reject::Denied, Reject::Source];

    /// The label in metrics.
    #[must_use]
    pub fn label(self) -> &'static str {
        match self {
            Reject::Resources => "resources",
            Reject::Closing => "closing",
            Reject::Denied => "denied",
            Reject::Source => "source",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_index_is_dense_and_in_the_order_of_all() {
        let all: Vec<_> = CloseReason::all().collect();
        assert_eq!(all.len(), CloseReason::COUNT);
        for (index, reason) in all.iter().enumerate() {
            assert_eq!(reason.index(), index, "{reason:?}");
        }
    }

    #[test]
    fn codes_tell_who_and_when() {
        let code = |by, during, why| CloseReason { by, during, why }.code();
        assert_eq!(&code(By::Client, During::HalfClosed, Why::Complete), b"--");
        assert_eq!(&code(By::Client, During::Relaying, Why::Reset), b"CD");
        assert_eq!(&code(By::Backend, During::Relaying, Why::Reset), b"SD");
        assert_eq!(&code(By::Weir, During::Connecting, Why::ConnectFailed), b"SC");
        assert_eq!(&code(By::Weir, During::Connecting, Why::NoBackend), b"PC");
        assert_eq!(&code(By::Weir, During::Relaying, Why::IdleTimeout), b"cD");
        assert_eq!(&code(By::Client, During::Relaying, Why::Vanished), b"cD");
        assert_eq!(&code(By::Backend, During::HalfClosed, Why::Stalled), b"sL");
        assert_eq!(&code(By::Operator, During::Relaying, Why::Killed), b"KD");
        assert_eq!(&code(By::Weir, During::Connecting, Why::Local), b"RC");
        assert_eq!(&code(By::Weir, During::Queued, Why::QueueTimeout), b"sQ");
        assert_eq!(&code(By::Weir, During::Queued, Why::QueueFull), b"PQ");
        assert_eq!(&code(By::Weir, During::Relaying, Why::Lifetime), b"AD");
        assert_eq!(&code(By::Backend, During::Relaying, Why::BackendDown), b"DD");
    }
}
