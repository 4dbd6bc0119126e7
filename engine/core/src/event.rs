//! What the core is told: the last word of the kernel on one operation, already decoded.

pub use weir_proto::reason::Side;

use crate::client_hello::ClientHello;
use crate::proxy_header::Told;

/// What the shard calls a socket. The core never looks into it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Leg(pub i32);

/// Why no connect was asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NotOpened {
    /// The client has reset: in the backlog, or since the last try.
    ClientGone,
    /// This host has no socket for it, whatever the errno was.
    NoSocket,
    /// It could not be bound to what it should come from.
    NoSource,
}

/// The number of a buffer of this shard.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BufferId(pub u16);

/// The number of a pipe of this shard, for bulk.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PipeId(pub u16);

/// What a leg is watched for. A reset is always told.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Interest {
    pub readable: bool,
    pub writable: bool,
}

/// News of a watched leg. It is told once; then the leg must be watched again.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Ready {
    /// Bytes or the end can be received, or an error can.
    pub readable: bool,
    /// Bytes can be sent, or an error comes of it.
    pub writable: bool,
    /// The peer has reset the connection, or the kernel has given it up.
    pub reset: bool,
    /// With `reset`, where nobody else will be told: why (SO_ERROR, which tells it once).
    pub error: Option<Errno>,
}

/// How a peer stands with what was sent to it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct PeerProgress {
    /// Bytes that a send has taken and the peer has not acknowledged, a FIN counting as one.
    pub unacked: u32,
    /// Milliseconds since the peer last acknowledged anything. Asked for only when looking closely.
    pub silent_ms: u32,
    /// How often in a row the kernel has sent again, or probed a closed window, without an answer.
    /// Asked for only when looking closely.
    pub unanswered: u8,
    /// The connection was reset, or the kernel has given it up. Asked for only when looking
    /// closely.
    pub closed: bool,
}

/// The outcome of a look for a client's header.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum HeaderRead<'a> {
    /// It is whole, and was taken. `told` and `fields` as in
    /// [`Parsed::Header`](crate::proxy_header::Parsed::Header).
    Whole {
        told: Option<Told>,
        fields: &'a [u8],
    },
    /// More bytes must come; the leg is readable when they have.
    NotYet,
    Wrong,
    /// The client has sent its FIN before the header was whole.
    Ended,
    Failed,
}

/// The outcome of a look for a client's hello.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum HelloRead<'a> {
    Whole(ClientHello<'a>),
    /// More bytes must come; the leg is readable when they have. `is_marked`: the kernel was told
    /// to wake for no fewer.
    NotYet {
        is_marked: bool,
    },
    /// It is no TLS, or has not come in time.
    None,
    Failed,
}

/// What became of one try to move bytes from one leg through a pipe to the other.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct SpliceResult {
    /// Bytes that went into the pipe, and out of it.
    pub received: u32,
    pub sent: u32,
    /// The source has nothing for now: EAGAIN.
    pub dry: bool,
    /// The source gave nothing and will not say why: its end, or bytes that splice(2) does not move
    /// (it stops before an urgent one). Only a receive can tell.
    pub unsure: bool,
    /// The sink takes nothing for now.
    pub full: bool,
    pub receive_failed: Option<Errno>,
    pub send_failed: Option<Errno>,
}

/// Bytes `start..end` of one buffer, owned by one flow until they are sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Chunk {
    pub buffer: BufferId,
    pub start: u16,
    pub end: u16,
}

impl Chunk {
    /// How many bytes are left.
    // `len` without `is_empty`: an empty chunk does not exist.
    #[allow(clippy::len_without_is_empty)]
    #[must_use]
    pub fn len(self) -> u16 {
        self.end - self.start
    }
}

/// A failure as errno(3) numbers it.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Errno(pub i32);

impl Errno {
    pub const EINTR: Errno = Errno(4);
    pub const EAGAIN: Errno = Errno(11);
    pub const EBADF: Errno = Errno(9);
    pub const ENOMEM: Errno = Errno(12);
    pub const EACCES: Errno = Errno(13);
    pub const EINVAL: Errno = Errno(22);
    pub const EFAULT: Errno = Errno(14);
    pub const ENFILE: Errno = Errno(23);
    pub const EMFILE: Errno = Errno(24);
    pub const EPIPE: Errno = Errno(32);
    pub const EOPNOTSUPP: Errno = Errno(95);
    pub const EADDRNOTAVAIL: Errno = Errno(99);
    pub const ECONNABORTED: Errno = Errno(103);
    pub const ECONNRESET: Errno = Errno(104);
    pub const ENOBUFS: Errno = Errno(105);
    pub const ETOOMANYREFS: Errno = Errno(109);
    pub const ETIMEDOUT: Errno = Errno(110);
    pub const ECONNREFUSED: Errno = Errno(111);
    pub const EHOSTDOWN: Errno = Errno(112);
    pub const EHOSTUNREACH: Errno = Errno(113);
    pub const ENETUNREACH: Errno = Errno(101);
    pub const ECANCELED: Errno = Errno(125);

    /// True if the operation has met nothing but a bad moment, and may be asked for again.
    #[must_use]
    pub fn is_passing(self) -> bool {
        matches!(self, Errno::EAGAIN | Errno::EINTR)
    }

    /// True if an operation of a relaying session was asked for wrongly, or of a kernel that does
    /// not have it: no peer can cause that, so none is to be blamed.
    #[must_use]
    pub fn is_misuse(self) -> bool {
        matches!(
            self,
            Errno::EBADF | Errno::EACCES | Errno::EFAULT | Errno::EINVAL | Errno::EOPNOTSUPP
        )
    }

    /// True if this host ran out of something; no peer is to blame for it.
    #[must_use]
    pub fn is_local(self) -> bool {
        matches!(
            self,
            Errno::ENOMEM | Errno::ENFILE | Errno::EMFILE | Errno::EADDRNOTAVAIL | Errno::ENOBUFS
        )
    }
}

impl Errno {
    /// True if the kernel has given a peer up that acknowledges nothing any more; with what the
    /// network said of it, if it said anything (`sk_err_soft`).
    #[must_use]
    pub fn is_vanished(self) -> bool {
        matches!(
            self,
            Errno::ETIMEDOUT | Errno::EHOSTDOWN | Errno::EHOSTUNREACH | Errno::ENETUNREACH
        )
    }
}

impl core::fmt::Debug for Errno {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        write!(f, "errno {}", self.0)
    }
}

/// How a receive is asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Receive {
    /// Waits for bytes.
    Once,
    /// Bytes are known to be waiting: tries first.
    AtOnce,
    /// Waits for bytes again and again, up to `bytes` of them each time and until it has had so
    /// many in all: twice that, less one, at most. It may end sooner without a reason.
    Multishot { bytes: u16 },
    /// Tries first, for at most `bytes` of them, into a buffer of the reserve: only for a flow
    /// whose sink takes them at once.
    Reserved { bytes: u16 },
}

/// The kernel's word on one operation of a session: the last one, but for a multishot receive that
/// goes on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Completion {
    Connected(Result<(), Errno>),
    /// `buffer` holds `length` bytes (1 or more); `more` is true if the socket holds still more.
    /// Unless it is the `last` word, the receive goes on.
    Received {
        buffer: BufferId,
        length: u16,
        more: bool,
        last: bool,
    },
    /// The peer's FIN.
    Ended,
    /// A receive found no free buffer.
    Starved,
    ReceiveFailed(Errno),
    /// So many bytes were taken; 1 to the length of the chunk.
    Sent(u32),
    SendFailed(Errno),
    /// A cancel has done what it can; what it was for completes on its own.
    Canceled,
}

impl Completion {
    /// True if the operation is over.
    #[must_use]
    pub fn is_last(self) -> bool {
        !matches!(self, Completion::Received { last: false, .. })
    }
}
