//! Clients in: by accepts that are asked for while there is plenty of room, one by one where each
//! place counts.

use std::net::IpAddr;

use weir_core::action::How;
use weir_core::base::clock::Now;
use weir_core::base::machine::leave;
use weir_core::client_sources::SourceKey;
use weir_core::event::{Errno, Leg};
use weir_core::pick::client_key;
use weir_core::slot::ListenerSlot;
use weir_core::table::AcceptedClient;
use weir_core::view::ListenerView;
use weir_proto::stats::{Reject, ShardStats};

use super::{ARMED_MAX, LAST_CLIENTS_MAX, Late, SocketState};
use crate::io::{Io, Op, Token};
use crate::shard::Shard;

/// How long accepts rest after the kernel has run out of descriptors or memory.
const PAUSE_MS: u32 = 100;
/// Clients that are taken from one watched socket in one turn.
const CLIENTS_PER_TURN_MAX: u32 = 64;

impl<I: Io> Shard<I> {
    /// Lets clients in where there is room, asks for accepts, and closes sockets that are shut and
    /// quiet.
    pub(in crate::shard) fn arm(&mut self) {
        if self.sockets.paused_until.is_some_and(|until| until <= self.now) {
            self.sockets.paused_until = None;
            self.sockets.touched = true;
        }
        if self.sockets.token_at.is_some_and(|at| at <= self.now) {
            self.sockets.token_at = None;
            self.sockets.touched = true;
        }
        if !self.sockets.touched {
            return;
        }
        self.sockets.touched = false;
        self.let_go();
        self.pause_and_resume();
        if self.sockets.paused_until.is_none() {
            self.ask_and_watch();
        }
        self.let_in();
        self.has_wants |= self.table.has_wants();
    }

    fn ask_and_watch(&mut self) {
        let count = u32::try_from(self.sockets.open().count()).unwrap_or(u32::MAX).max(1);
        let armed_max = (self.setup.sessions_max / 8).clamp(1, ARMED_MAX);
        self.judge_room(armed_max.max(count));
        for number in 0..self.sockets.places.len() {
            let Some(socket) = &self.sockets.places[number] else { continue };
            match socket.slot {
                _ if socket.is_shut() => self.close_if_quiet(number),
                _ if socket.paused => {}
                Some(slot) if self.counts_each(slot) => {
                    self.sockets.take_back(number, &mut self.io);
                    if self.sockets.at(number).ready.is_none() {
                        self.sockets.watch(number, &mut self.io);
                    }
                }
                Some(_) => self.ask(number, (armed_max / count).max(1)),
                None => {}
            }
        }
    }

    /// Accepts that are asked for may all succeed: where fewer than twice as many sessions fit,
    /// each client is taken by itself, until there is room again.
    fn judge_room(&mut self, pending_max: u32) {
        let taken = self.table.len() + self.on_their_way();
        let left = self.setup.sessions_max.saturating_sub(taken);
        let enough = if self.sockets.scarce { 3 } else { 2 };
        self.sockets.scarce = left < pending_max.saturating_mul(enough);
    }

    /// True if every place of this listener counts.
    fn counts_each(&self, slot: ListenerSlot) -> bool {
        self.sockets.scarce || self.table.view().listeners()[slot.index()].is_limited()
    }

    /// How many more sessions fit into the shard.
    fn room(&self) -> u32 {
        let taken = self.table.len() + self.sockets.pending() + self.on_their_way();
        self.setup.sessions_max.saturating_sub(taken)
    }

    /// Asks for accepts, up to `most` on this socket.
    fn ask(&mut self, number: usize, most: u32) {
        let socket = self.sockets.at(number);
        while socket.armed < most {
            socket.armed += 1;
            let number = u32::try_from(number).expect("sockets are bounded by the snapshot");
            self.io.submit(Token::Accept { socket: number }, Op::Accept(socket.leg));
        }
    }

    fn close_if_quiet(&mut self, number: usize) {
        let socket = self.sockets.at(number);
        if socket.armed > 0 || socket.cancels > 0 {
            return;
        }
        leave(&socket.state);
        let leg = socket.leg;
        if socket.state == SocketState::Handed {
            // The kernel wakes one of those who wait for a client: if that one had just been taken
            // back, none would be woken for it.
            self.let_last_in(number);
            self.io.let_go(leg);
        } else {
            self.io.close(leg, How::Fin);
        }
        self.sockets.places[number] = None;
    }

    /// Lets in who waits, the longest waiting first, as far as there is room.
    fn let_in(&mut self) {
        self.sockets.token_at = None;
        let limited = self.table.view().listeners().iter().any(|view| view.is_limited());
        if !limited && !self.sockets.scarce && self.sockets.late.is_empty() {
            return;
        }
        self.each_limit(|view, waits, now| {
            view.give_back(waits, now);
            None
        });
        for _ in 0..self.sockets.late.len() {
            let Some(Late { leg, listener }) = self.sockets.late.pop_front() else { break };
            match self.table.view().listener_slot(listener) {
                Some(slot) if self.table.room(slot) > 0 => self.admit_one(leg, slot),
                _ => self.sockets.late.push_back(Late { leg, listener }),
            }
        }
        let mut line = std::mem::take(&mut self.sockets.line);
        self.line_up(&mut line);
        let mut behind = u32::try_from(line.len()).unwrap_or(u32::MAX);
        for (_, number) in line.drain(..) {
            let Some(slot) = self.sockets.at(number).slot else { continue };
            let room = self.room().min(self.table.room(slot));
            let most = (room / behind).clamp(1, CLIENTS_PER_TURN_MAX);
            behind -= 1;
            let rests = room == 0 || self.sockets.paused_until.is_some();
            if rests || !self.take_clients(number, slot, most) {
                continue;
            }
            // Whether another client waits is told at once.
            self.sockets.at(number).ready = None;
            self.sockets.watch(number, &mut self.io);
        }
        self.sockets.line = line;
        self.sockets.token_at = self.each_limit(|view, waits, _| view.settle(waits));
    }

    /// The sockets where a client waits for a place, in the order in which that was found.
    fn line_up(&self, line: &mut Vec<(u64, usize)>) {
        for (number, place) in self.sockets.places.iter().enumerate() {
            let Some(socket) = place.as_ref().filter(|socket| !socket.is_shut()) else { continue };
            if let (Some(ticket), Some(slot)) = (socket.ready, socket.slot)
                && self.counts_each(slot)
            {
                line.push((ticket, number));
            }
        }
        line.sort_unstable();
    }

    /// Does something with the limits of each listener that has some, by whether a client waits
    /// there. Returns the earliest moment that comes of it.
    fn each_limit(&mut self, work: fn(&mut ListenerView, bool, Now) -> Option<Now>) -> Option<Now> {
        let mut waits = std::mem::take(&mut self.sockets.waits);
        waits.clear();
        waits.resize(self.table.view().listeners().len(), false);
        for socket in self.sockets.open().filter(|socket| socket.ready.is_some()) {
            if let Some(slot) = socket.slot {
                waits[slot.index()] = true;
            }
        }
        for late in &self.sockets.late {
            if let Some(slot) = self.table.view().listener_slot(late.listener) {
                waits[slot.index()] = true;
            }
        }
        let mut first = None;
        for (slot, waits) in waits.iter().enumerate() {
            let view = self.table.limits_of(ListenerSlot::at(slot));
            if view.is_limited() {
                let at = work(view, *waits, self.now);
                first = at.into_iter().chain(first).min();
            }
        }
        self.sockets.waits = waits;
        first
    }

    /// Takes up to `most` clients from a socket, which there is room for. False if it must not be
    /// asked again before something else happens.
    fn take_clients(&mut self, number: usize, slot: ListenerSlot, most: u32) -> bool {
        let leg = self.sockets.at(number).leg;
        for _ in 0..most {
            match self.io.accept(leg) {
                Ok(client) => self.admit_one(client, slot),
                Err(Errno::EAGAIN) => return true,
                // This client has left the queue.
                Err(Errno::ECONNABORTED) => {}
                // A watchdog has shut it: heeded in the next turn.
                Err(Errno::EINVAL) => {
                    self.sockets.at(number).ready = None;
                    return false;
                }
                Err(_) => {
                    self.pause(Some(slot));
                    return false;
                }
            }
        }
        true
    }

    /// The address of a socket goes, or another socket takes its place: who has connected already
    /// is let in, if a listener is open for them and as far as there is room.
    pub(super) fn let_last_in(&mut self, number: usize) {
        let Some(slot) = self.sockets.at(number).slot.filter(|slot| self.is_open(*slot)) else {
            return;
        };
        let most = self.room().min(self.table.room(slot)).min(LAST_CLIENTS_MAX);
        if self.sockets.paused_until.is_none() {
            self.take_clients(number, slot, most);
        }
    }

    /// Writes down how many clients wait for room at each listener.
    pub(in crate::shard) fn count_waiting(&mut self, stats: &mut ShardStats) {
        for socket in self.sockets.places.iter().flatten() {
            if socket.is_shut() || socket.ready.is_none() {
                continue;
            }
            if let Some(row) = stats.listeners.iter_mut().find(|row| row.id == socket.listener) {
                row.waiting_now += self.io.queued(socket.leg);
            }
        }
    }

    /// An accept has been answered.
    pub(in crate::shard) fn on_accept(&mut self, number: u32, result: Result<Leg, Errno>) {
        self.sockets.touched = true;
        let socket = self.sockets.places[number as usize].as_mut();
        let socket = socket.expect("a socket waits for its answers");
        socket.armed -= 1;
        let (is_shut, listener, slot) = (socket.is_shut(), socket.listener, socket.slot);
        match (result, slot) {
            (Ok(leg), Some(slot)) if self.is_open(slot) => {
                // Its listener has got a limit since this accept was asked for: others come first.
                if self.table.view().listeners()[slot.index()].is_limited() {
                    self.sockets.parked += 1;
                    return self.sockets.late.push_back(Late { leg, listener });
                }
                self.admit(leg, slot);
            }
            (Ok(leg), _) => self.refuse(leg, listener),
            // Taken back, shut, or the client has left the queue: nothing is wrong here.
            (Err(Errno::ECANCELED | Errno::ECONNABORTED), _) => {}
            (Err(_), _) if is_shut => {}
            // It did not listen for a while.
            (Err(Errno::EINVAL), Some(slot))
                if self.table.view().listeners()[slot.index()].closes => {}
            // Descriptors or memory ran out, or something that accept(2) does not foresee: asking
            // again at once could go on for ever.
            (Err(_), slot) => self.pause(slot),
        }
    }

    pub(super) fn pause(&mut self, slot: Option<ListenerSlot>) {
        if let Some(slot) = slot {
            self.table.counters().rejected(slot, Reject::Resources);
        }
        self.sockets.paused_until = Some(self.now.plus_millis(PAUSE_MS));
    }

    /// Admits a client that there is room for under its listener's limits. One that gets no session
    /// uses none of it.
    fn admit_one(&mut self, leg: Leg, listener: ListenerSlot) {
        if self.admit(leg, listener) {
            self.table.limits_of(listener).spend();
        }
    }

    /// Whether a listener that does not take everybody takes a client from there, and as which
    /// source it counts then.
    fn choose(
        &mut self,
        listener: ListenerSlot,
        ip: Option<IpAddr>,
    ) -> Result<Option<SourceKey>, Reject> {
        if self.table.refuses(listener, ip) {
            return Err(Reject::Denied);
        }
        self.table.begin_of_source(listener, ip, self.now).map_err(|_| Reject::Source)
    }

    /// False if the client gets no session.
    fn admit(&mut self, leg: Leg, listener: ListenerSlot) -> bool {
        let wants_key = self.table.wants_client_key(listener);
        let is_choosy = self.table.is_choosy(listener);
        let asks = wants_key || is_choosy || self.table.wants_client_address();
        let address = if asks { self.io.peer(leg) } else { None };
        let source = if is_choosy {
            match self.choose(listener, address.map(|it| it.ip())) {
                Ok(source) => source,
                Err(why) => {
                    self.io.close(leg, How::Reset);
                    self.table.counters().rejected(listener, why);
                    return false;
                }
            }
        } else {
            None
        };
        let key = address.filter(|_| wants_key);
        let key = key.map_or(0, |address| client_key(self.setup.hash_seed, address.ip()));
        let client = AcceptedClient { leg, listener, key, address, source };
        match self.table.accept(client, self.now, &mut self.actions) {
            Some(id) => {
                self.perform(id);
                true
            }
            None => {
                self.table.end_of_source(source, self.now);
                self.io.close(leg, How::Reset);
                self.table.counters().rejected(listener, Reject::Resources);
                false
            }
        }
    }
}
