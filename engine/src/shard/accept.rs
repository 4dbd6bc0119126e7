//! The listening sockets of one shard, and how many accepts are asked for on each.
//!
//! Accepts are one-shot, a few for each socket: at the limit no new one is asked for, so the
//! backlog holds the clients that do not fit. An accept that is never taken back too late cannot
//! overrun it.

use weir_core::action::How;
use weir_core::base::clock::Now;
use weir_core::event::{Errno, Leg};
use weir_core::pick::client_key;
use weir_proto::ids::ListenerId;
use weir_proto::order::{ListenerSocket, Report};
use weir_proto::stats::Reject;

use super::{Shard, ShardSetup};
use crate::io::{Io, Op, Token};

/// Accepts that are asked for at once on one socket, if it is the only one.
const ARMED_MAX: u32 = 16;
/// Accepts that may still succeed after the limit was reached: as many as there are at once, which
/// is `ARMED_MAX`, or one for each socket if there are more of them (LISTENERS_MAX × BINDS_MAX).
pub(super) const OVERSHOOT_MAX: u32 = 4096;
/// How long accepts rest after the kernel has run out of descriptors or memory.
const PAUSE_MS: u32 = 100;

/// One listening socket.
///
/// ```text
/// Open ──gone from the snapshot, drained, stopped──▶ Fenced ──every accept answered──▶ closed
/// ```
struct Socket {
    leg: Leg,
    listener: ListenerId,
    /// Accepts at the kernel's.
    armed: u32,
    /// Cancels that have not answered.
    cancels: u32,
    fenced: bool,
}

/// All listening sockets of one shard. A socket's number is its place here.
#[derive(Default)]
pub(super) struct Sockets {
    places: Vec<Option<Socket>>,
    paused_until: Option<Now>,
    /// Something has changed since the accepts were last asked for.
    touched: bool,
}

impl Sockets {
    pub(super) fn is_empty(&self) -> bool {
        self.places.iter().all(Option::is_none)
    }

    /// When accepts go on after a pause.
    pub(super) fn paused_until(&self) -> Option<Now> {
        self.paused_until
    }

    pub(super) fn touch(&mut self) {
        self.touched = true;
    }

    pub(super) fn cancel_answered(&mut self, socket: u32) {
        let place = self.places[socket as usize].as_mut();
        place.expect("a socket waits for its answers").cancels -= 1;
        self.touched = true;
    }

    /// Stops and closes all of them, whatever is pending.
    pub(super) fn abandon(&mut self, io: &mut impl Io) {
        for socket in self.places.drain(..).flatten() {
            io.fence(socket.leg);
            io.close(socket.leg, How::Fin);
        }
    }

    fn add(&mut self, leg: Leg, listener: ListenerId) {
        let socket = Socket { leg, listener, armed: 0, cancels: 0, fenced: false };
        match self.places.iter_mut().find(|place| place.is_none()) {
            Some(place) => *place = Some(socket),
            None => self.places.push(Some(socket)),
        }
        self.touched = true;
    }

    fn open(&self) -> impl Iterator<Item = &Socket> {
        self.places.iter().flatten().filter(|socket| !socket.fenced)
    }
}

impl<I: Io> Shard<I> {
    /// Starts to listen on the sockets that came with a snapshot.
    pub(super) fn listen(&mut self, sockets: Vec<ListenerSocket>) {
        for ListenerSocket { listener, socket } in sockets {
            // Control has bound it; should listen(2) fail all the same, the other shards serve.
            if let Ok(leg) = self.io.listen(socket) {
                self.sockets.add(leg, listener);
            }
        }
    }

    /// Stops the sockets that `keep` does not want.
    pub(super) fn fence(&mut self, keep: impl Fn(ListenerId) -> bool) {
        for (number, place) in (0..).zip(&mut self.sockets.places) {
            let Some(socket) = place.as_mut().filter(|socket| !socket.fenced) else { continue };
            if keep(socket.listener) {
                continue;
            }
            socket.fenced = true;
            self.io.fence(socket.leg);
            if socket.armed > 0 {
                socket.cancels += 1;
                let cancel = Op::Cancel(Token::Accept { socket: number });
                self.io.submit(Token::CancelAccept { socket: number }, cancel);
            }
            self.sockets.touched = true;
        }
    }

    /// A watchdog has found this shard stuck and shut its listeners. Lets go of them and says that
    /// it serves again: control sends new ones. What was ordered in the meantime comes first.
    pub(super) fn heed_fence(&mut self) {
        if !self.mailbox.heart().heed() {
            return;
        }
        self.fence(|_| false);
        self.bell_rang = true;
        let ShardSetup { id: shard, sessions_max, .. } = self.setup;
        self.outbox.push_back(Report::Started { shard, sessions_max });
    }

    /// Asks for accepts where there is room, and closes fenced sockets that are quiet.
    pub(super) fn arm(&mut self) {
        if self.sockets.paused_until.is_some_and(|until| until <= self.now) {
            self.sockets.paused_until = None;
            self.sockets.touched = true;
        }
        if !self.sockets.touched || self.sockets.paused_until.is_some() {
            return;
        }
        self.sockets.touched = false;
        let count = u32::try_from(self.sockets.open().count()).unwrap_or(u32::MAX);
        let each = (ARMED_MAX / count.max(1)).max(1);
        let armed: u32 = self.sockets.open().map(|socket| socket.armed).sum();
        let limit = self.setup.sessions_max;
        let live = self.table.len();
        let mut room = limit.saturating_sub(live + armed);
        for number in 0..self.sockets.places.len() {
            let Some(socket) = &mut self.sockets.places[number] else { continue };
            if socket.fenced {
                if socket.armed == 0 && socket.cancels == 0 {
                    self.io.close(socket.leg, How::Fin);
                    self.sockets.places[number] = None;
                }
                continue;
            }
            let view = self.table.view().listeners();
            let Some(slot) = view.iter().position(|view| view.id == socket.listener) else {
                continue;
            };
            let slot = u16::try_from(slot).expect("snapshots have at most LISTENERS_MAX listeners");
            let most = each.min(self.table.room(slot));
            while socket.armed < most && (room > 0 || (socket.armed == 0 && live < limit)) {
                socket.armed += 1;
                room = room.saturating_sub(1);
                let number = u32::try_from(number).expect("OVERSHOOT_MAX bounds it");
                self.io.submit(Token::Accept { socket: number }, Op::Accept(socket.leg));
            }
        }
    }

    /// An accept has been answered.
    pub(super) fn on_accept(&mut self, number: u32, result: Result<Leg, Errno>) {
        self.sockets.touched = true;
        let socket = self.sockets.places[number as usize].as_mut();
        let socket = socket.expect("a socket waits for its answers");
        socket.armed -= 1;
        let (fenced, listener) = (socket.fenced, socket.listener);
        let slot = self.table.view().listeners().iter().position(|view| view.id == listener);
        let slot = slot.and_then(|slot| u16::try_from(slot).ok());
        match (result, slot) {
            (Ok(leg), Some(slot)) if self.is_open(slot) => self.admit(leg, slot),
            (Ok(leg), slot) => {
                self.io.close(leg, How::Reset);
                if let Some(slot) = slot {
                    self.table.meter().rejected(slot, Reject::Closing);
                }
            }
            // Taken back, fenced, or the client has left the queue: nothing is wrong here.
            (Err(Errno::ECANCELED | Errno::ECONNABORTED), _) => {}
            (Err(_), _) if fenced => {}
            // Descriptors or memory ran out, or something that accept(2) does not foresee: asking
            // again at once could go on for ever.
            (Err(_), slot) => {
                if let Some(slot) = slot {
                    self.table.meter().rejected(slot, Reject::Resources);
                }
                self.sockets.paused_until = Some(self.now.plus_millis(PAUSE_MS));
            }
        }
    }

    /// What counts is the listener, not the socket: one that a watchdog has shut, or that another
    /// one follows, may have had a client before.
    fn is_open(&self, listener: u16) -> bool {
        !self.draining && self.table.view().listeners()[usize::from(listener)].accepting
    }

    fn admit(&mut self, leg: Leg, listener: u16) {
        let key = if self.table.wants_client_key(listener) {
            let address = self.io.peer(leg);
            address.map_or(0, |address| client_key(self.setup.hash_seed, address))
        } else {
            0
        };
        let out = &mut self.actions;
        match self.table.accept(leg, listener, key, self.now, out) {
            Some(id) => self.perform(id),
            None => {
                self.io.close(leg, How::Reset);
                self.table.meter().rejected(listener, Reject::Resources);
            }
        }
    }
}
