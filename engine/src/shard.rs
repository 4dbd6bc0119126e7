//! One core's loop: orders and answers in, decisions by the core, operations out. The only place
//! where the two worlds meet.

mod accept;
mod handover;
mod header;
mod orders;
mod perform;
mod source;
mod standstill;

use std::collections::VecDeque;

use weir_core::action::{Actions, How};
use weir_core::base::clock::Now;
use weir_core::event::{Completion, Errno, Ready, Side};
use weir_core::limits::{
    BESIDE_MS, MOVE_BYTES_BESIDE, MOVE_BYTES_MAX, MOVES_PER_TURN_MAX, RESUMES_PER_TURN_MAX,
    SCANNED_PER_TURN_MAX, SWEEP_PER_TURN_MAX, Tuning,
};
use weir_core::session::Resumed;
use weir_core::table::{SessionId, Setup, Table};
use weir_proto::ids::ShardId;
use weir_proto::order::Report;
use weir_proto::session_log::SessionLogging;

use crate::io::{FreeBuffers, Io, Kind, Op, Outcome, Token};
use crate::mailbox::Mailbox;
pub use accept::LISTENING_SOCKET;
use accept::Sockets;
use handover::{Giving, Taking};
use standstill::Standstill;

/// How a shard is made.
#[derive(Clone, Copy, Debug)]
pub struct ShardSetup {
    pub id: ShardId,
    /// How many there are of them.
    pub shards: u16,
    /// The most sessions at once; beyond it the backlog holds.
    pub sessions_max: u32,
    pub tuning: Tuning,
    /// For picks that draw lots.
    pub seed: u64,
    /// For the hash of client addresses; the same on every shard, secret towards clients.
    pub hash_seed: (u64, u64),
    /// `None`: no session log.
    pub session_log: Option<SessionLogging>,
}

/// One shard: its sessions, its listening sockets, its end of the mailbox, its world.
pub struct Shard<I: Io> {
    setup: ShardSetup,
    io: I,
    table: Table,
    sockets: Sockets,
    mailbox: Mailbox,
    /// Reports that control had no room for yet. Bounded: one of each kind for each order.
    pending_reports: VecDeque<Report>,
    now: Now,
    /// When an operation of a session was last answered: small ones have them, bulk has none.
    answered_at: Now,
    actions: Actions,
    bell_rang: bool,
    /// Control has not heard how it stands with some lease.
    has_wants: bool,
    /// No listener is opened any more.
    draining: bool,
    stopping: bool,
    collected_at: Now,
    /// No step of a search is made before.
    search_after: Now,
    standstill: Standstill,
    /// For hellos that are looked at, and messages of other shards. Has its memory from the first
    /// one on.
    scratch: Vec<u8>,
    /// Its sessions go to another shard.
    giving: Option<Giving>,
    /// Sessions come from other shards.
    taking: Vec<Option<Taking>>,
}

impl<I: Io> Shard<I> {
    /// A shard with an empty view.
    pub fn new(setup: ShardSetup, mut io: I, mailbox: Mailbox) -> Shard<I> {
        let now = io.now();
        let table = Table::new(Setup {
            shard: setup.id,
            slots: setup.sessions_max,
            tuning: setup.tuning,
            seed: setup.seed,
            now,
            session_log: setup.session_log,
            hash_seed: setup.hash_seed,
        });
        io.submit(Token::Bell, Op::Bell);
        let pending_reports =
            [Report::Started { shard: setup.id, sessions_max: setup.sessions_max }].into();
        Shard {
            setup,
            io,
            table,
            sockets: Sockets::default(),
            mailbox,
            pending_reports,
            now,
            answered_at: now,
            actions: Actions::default(),
            has_wants: false,
            bell_rang: true, // orders may have come before the bell was armed
            draining: false,
            stopping: false,
            collected_at: now,
            search_after: now,
            standstill: Standstill::default(),
            scratch: Vec::new(),
            giving: None,
            taking: Vec::new(),
        }
    }

    /// Turns until it is told to stop and its last session is over.
    pub fn run(&mut self) {
        while self.turn() {}
    }

    /// One pass: orders, answers, timers, operations, one wait. False when the shard is done.
    pub fn turn(&mut self) -> bool {
        self.now = self.io.now();
        self.standstill.wakes(self.now);
        self.acknowledge_fence();
        self.take_orders();
        self.table.gain_tokens(self.now);
        self.table.set_buffers_short(self.io.free_buffers().low);
        let answers = self.take_answers();
        if self.standstill.is_over(answers, self.now) {
            self.take_timers();
        }
        self.sweep();
        self.search();
        let mut scan = SCANNED_PER_TURN_MAX;
        self.table.log_updates(self.now, &mut scan);
        self.resume();
        self.move_bulk();
        self.report_ejections();
        self.arm();
        self.take_over();
        self.give();
        self.serve_queue();
        self.post();
        self.table.counters().totals().turns += 1;
        let is_over = self.table.is_empty() && self.sockets.is_empty() && !self.hands_over();
        if self.stopping && is_over {
            self.post_last_records();
            return false;
        }
        // Timers that this turn has left may be due since long: they are wanted from now on, and a
        // next turn that is late for them is no standstill.
        let until = self.next_deadline().map(|until| until.max(self.now));
        self.standstill.waits(until);
        self.mailbox.heartbeat().rest(until);
        self.io.wait(until);
        self.mailbox.heartbeat().wake();
        true
    }

    /// Closes every socket at once, with resets: for a shard that cannot go on. It may run while a
    /// panic unwinds, and a second one would end the process: nothing here trusts what the shard or
    /// the ring believes.
    fn abandon(&mut self) {
        self.sockets.abandon(&mut self.io);
        for (_, session) in self.table.iter() {
            for leg in Side::ALL.into_iter().filter_map(|side| session.leg(side)) {
                self.io.close(leg, How::Reset);
            }
        }
        // Clients whose accept was answered and not yet looked at: nobody else knows of them.
        while let Some(leg) = self.io.salvage() {
            self.io.close(leg, How::Reset);
        }
    }

    /// The table, for checkers.
    pub fn table(&self) -> &Table {
        &self.table
    }

    /// True if control has not been told everything, for checkers.
    #[must_use]
    pub fn has_reports(&self) -> bool {
        self.has_wants || !self.pending_reports.is_empty()
    }

    /// Clients that were accepted and had to wait for a session, so far, for checkers.
    #[must_use]
    pub fn parked(&self) -> u64 {
        self.sockets.parked()
    }

    /// The world, for checkers.
    pub fn io(&mut self) -> &mut I {
        &mut self.io
    }

    /// Takes the answers that there are, as far as one turn may, and says how many.
    fn take_answers(&mut self) -> u32 {
        let mut count = 0;
        // Once fenced, a shard may use a version that all others have left: orders come first then.
        while !self.mailbox.heartbeat().is_fenced()
            && let Some((token, outcome)) = self.io.next_completion()
        {
            count += 1;
            match (token, outcome) {
                (Token::Session { id, side, .. }, Outcome::Session(done)) => {
                    let Some(done) = self.after_source(id, done) else { continue };
                    let done = self.believe(id, done);
                    self.answered_at = self.now;
                    let out = &mut self.actions;
                    self.table.on_completion(id, side, done, self.now, out);
                    self.perform(id);
                }
                (Token::Session { id, side, kind: Kind::Watch }, Outcome::Ready(ready)) => {
                    // Nobody else will be told why, and it is told once.
                    let leg = self.table.unreported_error_leg(id, side).filter(|_| ready.reset);
                    let error = leg.and_then(|leg| self.io.error(leg));
                    let ready = Ready { error, ..ready };
                    self.table.on_ready(id, side, ready, self.now, &mut self.actions);
                    self.perform(id);
                }
                (Token::Accept { socket }, Outcome::Accepted(result)) => {
                    self.on_accept(socket, result);
                }
                (Token::Client { socket }, Outcome::Ready(_)) => self.sockets.client_waits(socket),
                (Token::Channel { channel }, Outcome::Ready(_)) => self.heard_of_channel(channel),
                (Token::CancelAccept { socket }, Outcome::Session(Completion::Canceled)) => {
                    self.sockets.cancel_answered(socket);
                }
                (Token::Bell, Outcome::Rang) => {
                    self.bell_rang = true;
                    self.io.submit(Token::Bell, Op::Bell);
                }
                (token, outcome) => unreachable!("{outcome:?} answers {token:?}"),
            }
        }
        count
    }

    /// A connect that has met itself was refused: nobody listens there. So was one that has arrived
    /// at weir's own listener, and one to a Unix socket whose backlog is full. What else the kernel
    /// says is believed.
    fn believe(&mut self, id: SessionId, done: Completion) -> Completion {
        let Completion::Connected(Ok(()) | Err(Errno::EAGAIN)) = done else { return done };
        let session = self.table.session(id);
        let leg = session.and_then(|session| session.leg(Side::Backend));
        let backend = session.and_then(|session| session.route.backend);
        if let (Some(leg), Some(backend)) = (leg, backend) {
            let backend = &self.table.view().backends()[backend.index()];
            let (address, may_be_weir) = (backend.address, backend.may_be_weir);
            if address.ip().is_none() {
                // Only its connect must not wait.
                self.io.set_nonblocking(leg, false);
                let is_full = done != Completion::Connected(Ok(()));
                return if is_full {
                    Completion::Connected(Err(Errno::ECONNREFUSED))
                } else {
                    done
                };
            }
            if done != Completion::Connected(Ok(())) {
                return done;
            }
            let leads_back = may_be_weir && {
                let is_bound = self.is_bound(id);
                self.io.stays_here(leg, is_bound)
            };
            // One of Unix has no port that a connect could take as its own.
            let met_itself = |address| self.io.has_met_itself(leg, &address);
            if leads_back || address.ip().is_some_and(met_itself) {
                return Completion::Connected(Err(Errno::ECONNREFUSED));
            }
        }
        done
    }

    fn take_timers(&mut self) {
        let mut work = self.setup.tuning.timers;
        while let Some(id) = self.table.on_time(self.now, &mut work, &mut self.actions) {
            self.perform(id);
        }
    }

    /// Ends some of the sessions that a kill, a stop or shedding is about; a batch a turn.
    fn sweep(&mut self) {
        let mut scan = SCANNED_PER_TURN_MAX;
        for _ in 0..SWEEP_PER_TURN_MAX {
            let out = &mut self.actions;
            let Some(id) = self.table.sweep(self.now, &mut scan, out) else { return };
            self.perform(id);
        }
    }

    /// Lets flows that wait for a buffer go on, as many as there are buffers; those of the reserve
    /// when there are no others.
    fn resume(&mut self) {
        if self.table.starved() == 0 {
            return;
        }
        let FreeBuffers { mut shared, mut reserved, low } = self.io.free_buffers();
        self.table.set_buffers_short(low);
        for _ in 0..self.table.starved().min(RESUMES_PER_TURN_MAX) {
            if shared == 0 && reserved == 0 {
                return;
            }
            let (io, out) = (&mut self.io, &mut self.actions);
            let resumed = self.table.resume(shared > 0, |leg| io.room(leg), self.now, out);
            let Some((id, resumed)) = resumed else { return };
            let totals = self.table.counters().totals();
            totals.starved += 1;
            match resumed {
                Resumed::Shared => shared -= 1,
                Resumed::Reserved => {
                    totals.reserved += 1;
                    reserved -= 1;
                }
                Resumed::Blocked => {}
            }
            self.perform(id);
        }
    }

    /// Lets some pipes move some bytes, in turn: what is left waits for the next turn, so that bulk
    /// does not keep small sessions waiting.
    fn move_bulk(&mut self) {
        let alone = self.answered_at.plus_millis(BESIDE_MS) <= self.now;
        let bytes = if alone { MOVE_BYTES_MAX } else { MOVE_BYTES_BESIDE };
        for _ in 0..MOVES_PER_TURN_MAX.min(self.table.moves()) {
            let Some((id, from, order)) = self.table.take_splice() else { return };
            let moved = self.io.splice(order, bytes);
            self.table.moved(id, from, moved, self.now, &mut self.actions);
            self.perform(id);
        }
    }

    /// Gives sessions that wait for a backend with room one, where credits or ends have made some.
    fn serve_queue(&mut self) {
        let Some(mut walk) = self.table.begin_to_serve(self.now) else { return };
        while let Some(id) = self.table.serve_queue(&mut walk, self.now, &mut self.actions) {
            self.perform(id);
        }
        self.has_wants |= self.table.settle_credits();
    }

    fn has_buffers(&self) -> bool {
        let FreeBuffers { shared, reserved, .. } = self.io.free_buffers();
        shared > 0 || reserved > 0
    }

    fn next_deadline(&self) -> Option<Now> {
        let at_once = self.table.is_sweeping()
            || self.bell_rang
            || self.standstill.is_behind()
            || self.table.is_queue_due()
            || self.sockets.is_touched()
            || self.table.moves() > 0
            || (self.table.starved() > 0 && self.has_buffers());
        if at_once {
            return Some(self.now);
        }
        // Control has fallen behind: it does not ring when it has caught up, so look again soon.
        let pending_reports = (!self.pending_reports.is_empty()).then(|| self.now.plus_millis(10));
        let search = self.may_search().then_some(self.search_after);
        let paused = self.sockets.paused_until();
        let tokens = self.sockets.token_at().into_iter().chain(self.table.token_at()).min();
        let handover = self.gives_again_at().into_iter().chain(self.takes_again_at()).min();
        let own = self.table.next_deadline();
        let deadlines = [own, paused, tokens, pending_reports, search, handover];
        deadlines.into_iter().flatten().min()
    }

    /// Does what the core has asked for, for one session.
    fn perform(&mut self, id: SessionId) {
        let mut index = 0;
        // A connect that cannot be asked for makes more actions: the list grows while it is done.
        while let Some(action) = self.actions.get(index) {
            self.act(id, action);
            index += 1;
        }
        self.actions.clear();
    }
}

impl<I: Io> Drop for Shard<I> {
    /// In peace there is nothing left to close. After a panic this is what keeps its clients from
    /// waiting for ever, and its listeners from drawing new ones: legs are numbers, nobody else
    /// closes them. The ring goes next and lets go of the files that its operations still hold.
    fn drop(&mut self) {
        let is_over = self.table.is_empty() && self.sockets.is_empty();
        if std::thread::panicking() || !is_over {
            self.abandon();
        }
    }
}
