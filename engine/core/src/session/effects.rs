//! The meaning of an event for the table: counters, queues, the end of a session. Requests to the
//! shard are in [`Actions`](crate::action::Actions), and no action is the table's.

use weir_proto::reason::{CloseReason, ConnectFault};

use crate::base::clock::Now;
use crate::event::Side;

/// The meaning of an event on a session for the table.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[must_use = "the table has its queues, counters and slots to keep"]
pub struct Effects {
    pub step: Step,
    /// Flows, by the side that they read from, whose pipe has something to move: they join the
    /// splice queue, then `take_splice`.
    pub splices: [bool; 2],
    /// The backend has closed before its first byte, and nothing towards it is in flight: another
    /// one may get the session (`redispatch`), or the close goes to the client (`pass_close_on`).
    pub closed_early: bool,
    /// Nothing is in flight and both legs are to be closed: the session is over.
    pub over: Option<CloseReason>,
}

/// The meaning of a completion or a move for the session as a whole.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Step {
    /// Nothing that the table must know.
    #[default]
    None,
    /// The backend took the session; its connect began then.
    Connected { began_at: Now },
    /// The backend did not take it, and nothing is in flight: the leg can be closed.
    ConnectFailed(ConnectFault),
    /// `count` bytes came `from` this side; the receive goes on unless they were its `last`.
    Received { from: Side, count: u16, last: bool },
    /// A side has sent its FIN.
    Ended,
    /// The flow from this side has found no free buffer: it joins the queue for one, then `resume`.
    Starved(Side),
    /// N bytes went to this side.
    Sent(Side, u16),
    /// A side takes no bytes for now.
    Blocked,
    /// A flow goes back to buffers, because its pipe gave nothing though its source was readable.
    PipeRefused,
}
