//! The listening sockets of one shard: who is let in, and from which of them.
//!
//! A socket belongs to its address. Which listener has the address may change with a version; the
//! socket and who waits on it stay.
//!
//! While there is plenty of room accepts are one-shot operations, a few for each socket. An accept
//! that is asked for may succeed at any time and counts as a session until it is answered. Where
//! each place counts (a listener with a limit, or a shard near its own) none is asked for: the
//! socket is watched, and a client is taken when there is room for it (docs/adr/0024).

mod admit;

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::net::SocketAddr;

use weir_core::action::How;
use weir_core::base::clock::Now;
use weir_core::base::machine::enter;
use weir_core::event::{Interest, Leg};
use weir_core::machine;
use weir_core::slot::ListenerSlot;
use weir_core::steering::Steering;
use weir_proto::bind_address::BindAddress;
use weir_proto::ids::ListenerId;
use weir_proto::order::{ListenerSocket, Report};
use weir_proto::snapshot::Snapshot;
use weir_proto::stats::Reject;

use super::{Shard, ShardSetup};
use crate::io::{Io, Op, Token};

/// Accepts that are asked for at once on one socket, if it is the only one, on a large shard.
const ARMED_MAX: u32 = 16;
/// Clients of an address that goes which are still let in, for each socket.
const LAST_CLIENTS_MAX: u32 = 64;

/// Whether a listening socket lets clients in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum SocketState {
    Open,
    /// It is shut at the end of this turn.
    Leaving,
    /// Waits for the answers to its accepts.
    Shut,
    /// The same, and it goes on in another process.
    Handed,
}

machine! {
    /// Transitions of a listening socket.
    pub static LISTENING_SOCKET: SocketState = "listening socket";
    states: Open, Leaving, Shut, Handed;
    start => Open: "it came with a version";
    Open => Leaving: "a version takes its address, or has another socket for it";
    Leaving => Open: "a later version of the same turn has the address";
    Leaving => Shut: "end of the turn, its last clients are let in";
    Open => Shut: "the shard drains or stops, or the watchdog has shut it";
    Shut => end: "every accept has been answered";
    Open => Handed: "the shard gives its sessions to one of another process, which has the socket";
    Handed => end: "every accept has been answered, its last clients are let in";
}

/// One listening socket.
struct Socket {
    leg: Leg,
    address: BindAddress,
    /// Whose clients come out of it, and the slot of that one. When the address is gone this is the
    /// listener that had it last: it takes those that come late, if it is open.
    listener: ListenerId,
    slot: Option<ListenerSlot>,
    /// Accepts at the kernel's.
    armed: u32,
    /// Cancels that have not answered.
    cancels: u32,
    state: SocketState,
    /// It will be told when a client waits.
    watched: bool,
    /// A client waits, since this many others.
    ready: Option<u64>,
    /// It does not listen for now, as its listener has no backend and closes then.
    paused: bool,
    /// How the kernel was told to choose among the sockets of its address.
    steering: Option<Steering>,
}

impl Socket {
    fn is_shut(&self) -> bool {
        matches!(self.state, SocketState::Shut | SocketState::Handed)
    }
}

/// A client that an accept brought when there was no room for it any more.
struct Late {
    leg: Leg,
    listener: ListenerId,
}

/// All listening sockets of one shard. A socket's number is its place here.
#[derive(Default)]
pub(super) struct Sockets {
    places: Vec<Option<Socket>>,
    /// The first to be served when there is room.
    late: VecDeque<Late>,
    /// Clients that came late so far.
    parked: u64,
    /// Counts the times that a client was found waiting.
    tickets: u64,
    /// Kept for their memory: who waits in which order, and for which listener.
    line: Vec<(u64, usize)>,
    waits: Vec<bool>,
    /// So few sessions fit that accepts are not asked for.
    scarce: bool,
    paused_until: Option<Now>,
    /// When a rate lets the next client in, or has a credit to give back.
    token_at: Option<Now>,
    /// Something has changed since the accepts were last asked for.
    touched: bool,
}

impl Sockets {
    pub(super) fn is_empty(&self) -> bool {
        self.places.iter().all(Option::is_none) && self.late.is_empty()
    }

    /// When accepts go on after a pause.
    pub(super) fn paused_until(&self) -> Option<Now> {
        self.paused_until
    }

    /// When a rate has something to do.
    pub(super) fn token_at(&self) -> Option<Now> {
        self.token_at
    }

    pub(super) fn touch(&mut self) {
        self.touched = true;
    }

    /// A session has ended since accepts were last asked for.
    pub(super) fn is_touched(&self) -> bool {
        self.touched
    }

    pub(super) fn cancel_answered(&mut self, socket: u32) {
        let place = self.places[socket as usize].as_mut();
        place.expect("a socket waits for its answers").cancels -= 1;
        self.touched = true;
    }

    /// News of a watched socket; it may come after that one was closed.
    pub(super) fn client_waits(&mut self, socket: u32) {
        let Some(Some(socket)) = self.places.get_mut(socket as usize) else { return };
        self.tickets += 1;
        socket.watched = false;
        if !socket.paused {
            socket.ready.get_or_insert(self.tickets);
        }
        self.touched = true;
    }

    /// Clients that were accepted and had to wait for a session, so far. For checkers.
    pub(super) fn parked(&self) -> u64 {
        self.parked
    }

    /// Stops and closes all of them, whatever is pending.
    pub(super) fn abandon(&mut self, io: &mut impl Io) {
        for socket in self.places.drain(..).flatten() {
            io.shutdown_listener(socket.leg);
            io.close(socket.leg, How::Fin);
        }
        for late in self.late.drain(..) {
            io.close(late.leg, How::Reset);
        }
    }

    fn add(&mut self, socket: Socket) {
        match self.places.iter_mut().find(|place| place.is_none()) {
            Some(place) => *place = Some(socket),
            None => self.places.push(Some(socket)),
        }
        self.touched = true;
    }

    fn open(&self) -> impl Iterator<Item = &Socket> {
        self.places.iter().flatten().filter(|socket| !socket.is_shut())
    }

    fn at(&mut self, number: usize) -> &mut Socket {
        self.places[number].as_mut().expect("the caller has just seen it")
    }

    /// Sessions that may still come of accepts.
    pub(super) fn pending(&self) -> u32 {
        let armed: u32 = self.places.iter().flatten().map(|socket| socket.armed).sum();
        armed + u32::try_from(self.late.len()).unwrap_or(u32::MAX)
    }

    /// Asks the kernel to take the accepts of a socket back.
    fn take_back(&mut self, number: usize, io: &mut impl Io) {
        let socket = self.at(number);
        if socket.armed > 0 && socket.cancels == 0 {
            socket.cancels += 1;
            let number = u32::try_from(number).expect("sockets are bounded by the snapshot");
            let cancel = Op::Cancel(Token::Accept { socket: number });
            io.submit(Token::CancelAccept { socket: number }, cancel);
        }
    }

    /// Wants to be told when a client waits.
    fn watch(&mut self, number: usize, io: &mut impl Io) {
        let socket = self.at(number);
        if !socket.watched && !socket.is_shut() {
            socket.watched = true;
            let leg = socket.leg;
            let number = u32::try_from(number).expect("sockets are bounded by the snapshot");
            let interest = Interest { readable: true, writable: false };
            io.watch(Token::Client { socket: number }, leg, interest);
        }
    }
}

impl<I: Io> Shard<I> {
    /// Brings the sockets to what a new snapshot, which the table uses already, has for addresses.
    /// One that stays keeps its socket. New ones listen before any is shut, at the end of the turn.
    pub(super) fn follow_addresses(&mut self, snapshot: &Snapshot, sockets: Vec<ListenerSocket>) {
        let open = snapshot.listeners.iter().filter(|listener| listener.accepting);
        let owners: BTreeMap<BindAddress, ListenerId> =
            open.flat_map(|it| it.binds().map(|address| (address, it.id))).collect();
        for socket in self.sockets.places.iter_mut().flatten() {
            socket.listener = owners.get(&socket.address).copied().unwrap_or(socket.listener);
            socket.slot = self.table.view().listener_slot(socket.listener);
        }
        // Sockets for an address that is open already take the place of those that it has.
        let again: BTreeSet<BindAddress> = sockets.iter().map(|it| it.address).collect();
        let goes = |socket: &Socket| {
            !socket.is_shut()
                && (!owners.contains_key(&socket.address) || again.contains(&socket.address))
        };
        for socket in self.sockets.places.iter_mut().flatten() {
            if goes(socket) {
                enter(&mut socket.state, SocketState::Leaving);
            } else if !socket.is_shut() {
                enter(&mut socket.state, SocketState::Open);
            }
        }
        if !self.draining {
            self.listen(sockets, &owners);
        }
        self.steer(snapshot);
        self.drop_late();
        self.sockets.touch();
    }

    /// Starts to listen on the sockets that came with a snapshot.
    fn listen(&mut self, sockets: Vec<ListenerSocket>, owners: &BTreeMap<BindAddress, ListenerId>) {
        for ListenerSocket { address, socket } in sockets {
            let Some(listener) = owners.get(&address).copied() else { continue };
            let slot = self.table.view().listener_slot(listener);
            // Control has bound it; should listen(2) fail anyway, the other shards serve.
            let Ok(leg) = self.io.listen(socket) else { continue };
            self.sockets.add(Socket {
                leg,
                address,
                listener,
                slot,
                armed: 0,
                cancels: 0,
                state: SocketState::Open,
                watched: false,
                ready: None,
                paused: false,
                steering: None,
            });
        }
    }

    /// Stops to listen where no backend takes the clients of a listener that closes then, and
    /// listens again where one does.
    fn pause_and_resume(&mut self) {
        for number in 0..self.sockets.places.len() {
            let Some(socket) = &mut self.sockets.places[number] else { continue };
            let is_open = socket.state == SocketState::Open;
            let Some(slot) = socket.slot.filter(|_| is_open) else { continue };
            let closes = self.table.is_closed(slot);
            if closes == socket.paused {
                continue;
            }
            if closes {
                (socket.paused, socket.ready) = (true, None);
                self.io.pause_listener(socket.leg);
            } else if self.io.resume_listener(socket.leg).is_ok() {
                socket.paused = false;
                // The group of its address may be another one, which was told nothing.
                if socket.steering.is_some() {
                    self.io.steer(socket.leg, socket.address, socket.steering);
                }
            } else {
                self.pause(None);
            }
        }
    }

    /// Its sockets that have not been shut: where, whether it is paused, and whether it should be.
    /// For checkers.
    pub fn pauses(&self) -> impl Iterator<Item = (SocketAddr, bool, bool)> {
        let open = self.sockets.open().filter(|socket| socket.state == SocketState::Open);
        open.map(|it| {
            (it.address.address, it.paused, it.slot.is_some_and(|slot| self.table.is_closed(slot)))
        })
    }

    /// Has the kernel choose among the sockets of an address as its listener wants: by the source
    /// of a client, where sources are counted. Every shard says the same.
    fn steer(&mut self, snapshot: &Snapshot) {
        let (shards, seed) = (self.setup.shards, self.setup.hash_seed);
        let steered = snapshot.listeners.iter();
        let steered = steered.filter_map(|it| Some((it.id, Steering::of(it, shards, seed)?)));
        let steered: BTreeMap<ListenerId, Steering> = steered.collect();
        for socket in self.sockets.places.iter_mut().flatten().filter(|socket| !socket.is_shut()) {
            let wanted = steered.get(&socket.listener).copied();
            if wanted != socket.steering {
                socket.steering = wanted;
                self.io.steer(socket.leg, socket.address, wanted);
            }
        }
    }

    /// Shuts the sockets whose address has gone.
    fn let_go(&mut self) {
        for number in 0..self.sockets.places.len() {
            let place = self.sockets.places[number].as_ref();
            if place.is_some_and(|socket| socket.state == SocketState::Leaving) {
                self.let_last_in(number);
                self.shutdown_listener(number);
            }
        }
    }

    fn shutdown_listener(&mut self, number: usize) {
        let socket = self.sockets.at(number);
        if socket.is_shut() {
            return;
        }
        enter(&mut socket.state, SocketState::Shut);
        socket.ready = None;
        self.io.shutdown_listener(socket.leg);
        self.sockets.take_back(number, &mut self.io);
        self.sockets.touched = true;
    }

    /// Stops every socket.
    pub(super) fn shutdown_listeners(&mut self) {
        for number in 0..self.sockets.places.len() {
            if self.sockets.places[number].is_some() {
                self.shutdown_listener(number);
            }
        }
        self.drop_late();
    }

    /// Takes accepts back, and leaves the sockets to the process that has them, too.
    pub(super) fn hand_listeners_over(&mut self) {
        for number in 0..self.sockets.places.len() {
            let Some(socket) = &mut self.sockets.places[number] else { continue };
            if socket.state == SocketState::Open {
                enter(&mut socket.state, SocketState::Handed);
                socket.ready = None;
                self.sockets.take_back(number, &mut self.io);
            }
        }
        self.sockets.touched = true;
    }

    /// Resets the clients that came late whose listener is not open any more.
    fn drop_late(&mut self) {
        for _ in 0..self.sockets.late.len() {
            let Some(late) = self.sockets.late.pop_front() else { return };
            let slot = self.table.view().listener_slot(late.listener);
            if slot.is_some_and(|slot| self.is_open(slot)) {
                self.sockets.late.push_back(late);
            } else {
                self.refuse(late.leg, late.listener);
            }
        }
    }

    /// A client cannot have a session: its listener is not open any more.
    fn refuse(&mut self, leg: Leg, listener: ListenerId) {
        self.io.close(leg, How::Reset);
        let rows = self.table.view().listeners();
        let slot = rows.iter().position(|row| row.id == listener);
        if let Some(slot) = slot.map(ListenerSlot::at) {
            self.table.counters().rejected(slot, Reject::Closing);
        }
    }

    /// A watchdog has found this shard stuck and shut its listeners. Lets go of them and says that
    /// it serves again: control sends new ones. What was ordered in the meantime comes first.
    pub(super) fn acknowledge_fence(&mut self) {
        if !self.mailbox.heartbeat().heed() {
            return;
        }
        for number in 0..self.sockets.places.len() {
            if self.sockets.places[number].is_some() {
                self.shutdown_listener(number);
            }
        }
        self.bell_rang = true;
        let ShardSetup { id: shard, sessions_max, .. } = self.setup;
        self.pending_reports.push_back(Report::Started { shard, sessions_max });
    }

    /// What counts is the listener, not the socket: one that a watchdog has shut, or that another
    /// one follows, may have had a client before.
    fn is_open(&self, listener: ListenerSlot) -> bool {
        !self.draining && self.table.view().listeners()[listener.index()].accepting
    }
}
