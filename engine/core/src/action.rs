//! What the core wants done. The shard does it, in order.

use weir_proto::address::Address;
use weir_proto::snapshot::Keepalive;

use crate::event::{BufferId, Chunk, Interest, Leg, PipeId, Receive, Side};
use crate::proxy_header::ProxyVersion;

/// What one session asks of the shard.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Action {
    /// Unless the client has reset, open a socket and connect it to a backend; then call
    /// `opened`. The kernel may keep `buffer` bytes for each leg and direction, or as many as it
    /// likes. `origin` is where the connect comes from.
    Connect { client: Leg, address: Address, buffer: Option<u32>, origin: Origin },
    /// Look at what the client has sent without taking it, and take the header if it is whole; then
    /// call `header_read`.
    ReadHeader { client: Leg },
    /// Look for a ClientHello in what the client has sent, and leave it there; then call
    /// `hello_read`. The `last` look decides.
    ReadHello { client: Leg, last: bool },
    /// Say to the backend who the client is, at once; then call `header_sent`. A header that has
    /// come tells that ([`Table::told`](crate::table::Table::told)).
    SendHeader { legs: [Leg; 2], version: ProxyVersion },
    /// Receive from this side into any free buffer.
    Receive { from: Side, leg: Leg, how: Receive },
    /// Copy the chunk's bytes into that buffer, from byte `at` on.
    Merge { chunk: Chunk, into: BufferId, at: u16 },
    /// Send this chunk, or a part of it, to this side.
    Send { to: Side, leg: Leg, chunk: Chunk },
    /// Send a FIN; nothing is in flight towards that side. Takes no time, has no completion.
    Finish(Leg),
    /// Tell once when this side is ready for what it is watched for, or has reset (`on_ready`).
    /// Replaces an earlier watch. No operation: nothing is in flight for it, and it ends with the
    /// leg.
    Watch { side: Side, leg: Leg, interest: Interest },
    /// Ask how both peers stand, these ones closely, then call `inspected`.
    InspectPeers { legs: [Leg; 2], closely: [bool; 2] },
    /// Have the kernel ask an idle peer from time to time whether it is still there.
    KeepAlive { leg: Leg, keepalive: Keepalive },
    /// Take a pipe for the flow from this side, if there is one, and make both legs non-blocking;
    /// then call `promoted`.
    TakePipe { from: Side, legs: [Leg; 2] },
    /// The pipe is free again. One that is not `empty` must not be used again.
    ReturnPipe { pipe: PipeId, empty: bool },
    /// No pipe is used any more: operations may wait in the kernel again.
    SetBlocking { legs: [Leg; 2] },
    /// Take back the operation of this kind on this side.
    Cancel { side: Side, what: Pending },
    /// The buffer is free again.
    Release(BufferId),
    /// Nothing is in flight: close the leg.
    Close { leg: Leg, how: How },
    /// The session is over and its slot is free: a listener that was full may accept again.
    Free,
}

/// Where a connect comes from.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Origin {
    /// The kernel chooses.
    #[default]
    Any,
    /// From an address of the pool's list, if one is of the backend's family.
    Listed,
}

/// An operation that can be taken back.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Pending {
    Connect,
    Receive,
    Send,
}

/// How a leg is closed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum How {
    /// The FIN has been sent, or may be.
    Fin,
    /// SO_LINGER with 0 seconds: what is cut must not look complete.
    Reset,
}

/// The most actions that one event asks for. Checked in simulation; the array refuses the next one.
pub const ACTIONS_MAX: usize = 16;

/// The actions of one event, in order.
#[derive(Debug)]
pub struct Actions {
    list: [Action; ACTIONS_MAX],
    length: usize,
}

impl Default for Actions {
    fn default() -> Actions {
        Actions { list: [Action::Release(BufferId(0)); ACTIONS_MAX], length: 0 }
    }
}

impl Actions {
    pub fn push(&mut self, action: Action) {
        assert!(self.length < ACTIONS_MAX, "an event asks for at most {ACTIONS_MAX} actions");
        self.list[self.length] = action;
        self.length += 1;
    }

    /// Returns the action at `index`, if there are that many.
    #[must_use]
    pub fn get(&self, index: usize) -> Option<Action> {
        self.as_slice().get(index).copied()
    }

    /// The actions so far.
    #[must_use]
    pub fn as_slice(&self) -> &[Action] {
        &self.list[..self.length]
    }

    pub fn clear(&mut self) {
        self.length = 0;
    }
}
