//! The giver: has its sessions come to rest, some at a time, and sends them.

use std::collections::VecDeque;

use weir_core::action::How;
use weir_core::base::clock::Now;
use weir_core::event::{Interest, Leg};
use weir_core::limits::SCANNED_PER_TURN_MAX;
use weir_core::session::Holdings;
use weir_core::table::{Parts, SessionId};
use weir_proto::handover::{DESCRIPTORS_MAX, HandedClient, HandedSession, HandoverMessage};
use weir_proto::order::Report;

use super::{OF_A_SESSION, Progress, chunks, descriptors, encoded, hear, may_go_later};
use crate::io::{Io, Token};
use crate::shard::Shard;

/// Sessions that come to rest at a time: as many as fit into a message.
const LEAVING_MAX: usize = DESCRIPTORS_MAX / 2;
/// Batches that the taker has not acknowledged.
const GIVEN_MAX: usize = 2;
/// A batch with this many bytes takes no more sessions: one may hold four buffers, and a message of
/// 200 KiB fits by the kernel's defaults.
const BATCH_BYTES: usize = 64 * 1024;
/// How soon sessions that cannot leave yet (they connect, say) are looked at again.
const AGAIN_MS: u32 = 5;
/// Sessions that have begun to leave and cannot, because the taker takes none or something of them
/// is under way, go on after that time, and try again later.
const STILL_MS: u32 = 100;

/// Sessions that the taker has not acknowledged, and the message that tells of them.
struct HandoverBatch {
    number: u64,
    message: Vec<u8>,
    descriptors: Vec<Leg>,
    sessions: Vec<(HandedSession, Holdings)>,
    clients: Vec<(HandedClient, Leg)>,
}

impl HandoverBatch {
    fn len(&self) -> u64 {
        (self.sessions.len() + self.clients.len()) as u64
    }
}

/// A shard that gives its sessions away.
pub(in crate::shard) struct Giving {
    channel: Leg,
    next_slot: u32,
    /// How many more are to leave; `None`: all, however long it takes.
    left: Option<u32>,
    leaving: Vec<SessionId>,
    /// Since when none of them has left.
    still_since: Option<Now>,
    /// The channel had no room for it.
    unsent: Option<HandoverBatch>,
    given: VecDeque<HandoverBatch>,
    number: u64,
    /// Those that the taker has.
    taken: u64,
    is_watched: bool,
}

impl Giving {
    /// Those that the taker has not acknowledged.
    pub(super) fn sessions(&self) -> usize {
        let batches = self.given.iter().chain(&self.unsent);
        batches.map(|batch| batch.sessions.len() + batch.clients.len()).sum()
    }
}

impl<I: Io> Shard<I> {
    /// Begins to give sessions away. Where all of them go, who connects from now on comes to
    /// the taker's sockets, which are the same.
    pub(in crate::shard) fn begin_to_give(&mut self, channel: Leg, most: Option<u32>) {
        if most.is_none() {
            self.hand_listeners_over();
        }
        self.giving = Some(Giving {
            channel,
            next_slot: 0,
            left: most,
            leaving: Vec::new(),
            still_since: None,
            unsent: None,
            given: VecDeque::new(),
            number: 0,
            taken: 0,
            is_watched: false,
        });
    }

    /// When a shard that gives its sessions away looks at them again.
    pub(in crate::shard) fn gives_again_at(&self) -> Option<Now> {
        self.giving.as_ref().map(|_| self.now.plus_millis(AGAIN_MS))
    }

    /// The taker has said something.
    pub(in crate::shard) fn heard_of_taker(&mut self) {
        if let Some(giving) = &mut self.giving {
            giving.is_watched = false;
        }
    }

    /// Some more of a hand-over.
    pub(in crate::shard) fn give(&mut self) {
        let Some(mut giving) = self.giving.take() else { return };
        let progress = match self.hear_taker(&mut giving) {
            Progress::GoesOn => self.give_some(&mut giving),
            other => other,
        };
        match progress {
            Progress::GoesOn => self.go_on_giving(giving),
            Progress::Whole => {
                match self.io.give(giving.channel, &encoded(&HandoverMessage::End), &[]) {
                    Err(errno) if may_go_later(errno) => self.go_on_giving(giving),
                    _ => self.end_giving(&giving, true),
                }
            }
            Progress::Broken => {
                // It may have acknowledged some before it has gone.
                self.hear_taker(&mut giving);
                self.take_back(&mut giving);
                self.end_giving(&giving, false);
            }
        }
    }

    fn go_on_giving(&mut self, mut giving: Giving) {
        if !std::mem::replace(&mut giving.is_watched, true) {
            let interest = Interest { readable: true, writable: false };
            let token = Token::Channel { channel: super::taking::GIVER };
            self.io.watch(token, giving.channel, interest);
        }
        self.giving = Some(giving);
    }

    /// A session that has not left stays; for those that have, the taker's word is waited for.
    pub(super) fn stop_giving(&mut self) {
        let Some(mut giving) = self.giving.take() else { return };
        giving.left = Some(0);
        let given = std::mem::take(&mut giving.given);
        self.take_back(&mut giving);
        giving.given = given;
        self.giving = Some(giving);
    }

    fn end_giving(&mut self, giving: &Giving, is_whole: bool) {
        self.io.let_go(giving.channel);
        let (shard, sessions) = (self.setup.id, giving.taken);
        self.pending_reports.push_back(Report::Gave { shard, sessions, is_whole });
    }

    /// Lets go of the sessions that the taker has.
    fn hear_taker(&mut self, giving: &mut Giving) -> Progress {
        let (mut bytes, mut legs) = (std::mem::take(&mut self.scratch), Vec::new());
        let progress = loop {
            match hear(&mut self.io, giving.channel, (&mut bytes, &mut legs)) {
                Ok(None) => break Progress::GoesOn,
                Ok(Some(HandoverMessage::Taken { number })) => {
                    giving.is_watched = false;
                    if giving.given.front().is_none_or(|it| it.number != number) {
                        break Progress::Broken;
                    }
                    let batch = giving.given.pop_front().expect("it is there");
                    giving.taken += batch.len();
                    batch.sessions.iter().for_each(|(_, holdings)| self.forget(holdings));
                    batch.clients.iter().for_each(|(_, leg)| self.io.let_go(*leg));
                    self.sockets.touch(); // its slots are free
                }
                Ok(Some(_)) | Err(()) => break Progress::Broken,
            }
        };
        self.scratch = bytes;
        progress
    }

    /// Another shard has it: closes what this one has of it.
    fn forget(&mut self, holdings: &Holdings) {
        holdings.legs.into_iter().for_each(|leg| self.io.let_go(leg));
        for pipe in holdings.pipes.iter().flatten() {
            self.io.return_pipe(*pipe, false);
        }
        chunks(holdings).for_each(|chunk| self.io.release(chunk.buffer));
    }

    fn give_some(&mut self, giving: &mut Giving) -> Progress {
        if let Some(batch) = giving.unsent.take()
            && !self.send(giving, batch)
        {
            return Progress::Broken;
        }
        let has_room = giving.unsent.is_none() && giving.given.len() < GIVEN_MAX;
        if has_room {
            self.quiesce_some(giving);
            if let Some(batch) = self.pack(giving) {
                giving.still_since = None;
                if !self.send(giving, batch) {
                    return Progress::Broken;
                }
            }
        }
        self.let_still_go_on(giving);
        let is_under_way = !giving.given.is_empty() || giving.unsent.is_some();
        let is_done = !is_under_way
            && match giving.left {
                Some(left) => left == 0 && giving.leaving.is_empty(),
                None => self.table.is_empty() && self.sockets.is_empty(),
            };
        if is_done { Progress::Whole } else { Progress::GoesOn }
    }

    /// Has some more sessions come to rest.
    fn quiesce_some(&mut self, giving: &mut Giving) {
        // Each of them once in a turn at most.
        let mut scan = SCANNED_PER_TURN_MAX.min(self.table.slots_used());
        while giving.leaving.len() < LEAVING_MAX
            && giving.left != Some(0)
            && let Some(id) = self.table.next_session(&mut giving.next_slot, &mut scan)
        {
            let session = self.table.session(id).expect("it is there");
            // Where the listeners stay, those that no backend has stay with them.
            let may_go = giving.left.is_none() || session.is_relaying();
            let is_new = !giving.leaving.contains(&id);
            if is_new && may_go && self.table.begin_to_leave(id, &mut self.actions) {
                giving.leaving.push(id);
                giving.left = giving.left.map(|left| left - 1);
                self.perform(id);
            }
        }
        // All that could leave have begun to, or there is no more room for now.
        if giving.leaving.len() < LEAVING_MAX {
            giving.left = giving.left.map(|_| 0);
        }
    }

    /// No session stands still for long because others do not leave.
    fn let_still_go_on(&mut self, giving: &mut Giving) {
        if giving.leaving.is_empty() {
            giving.still_since = None;
            return;
        }
        let since = *giving.still_since.get_or_insert(self.now);
        if self.now < since.plus_millis(STILL_MS) {
            return;
        }
        let count = u32::try_from(giving.leaving.len()).unwrap_or(u32::MAX);
        giving.left = giving.left.map(|left| left.saturating_add(count));
        self.let_stay(giving);
    }

    fn let_stay(&mut self, giving: &mut Giving) {
        for id in giving.leaving.drain(..) {
            self.table.stay(id, self.now, &mut self.actions);
            self.perform(id);
        }
    }

    /// Takes sessions apart that are at rest, as many as fit into one message.
    fn pack(&mut self, giving: &mut Giving) -> Option<HandoverBatch> {
        let (mut sessions, mut clients) = (Vec::new(), Vec::new());
        let (mut bytes, mut legs) = (Vec::new(), Vec::new());
        let (table, io, now) = (&mut self.table, &mut self.io, self.now);
        giving.leaving.retain(|id| {
            let Some(session) = table.session(*id).filter(|session| session.is_leaving()) else {
                return false; // it has ended, or a backend has it now
            };
            let most = DESCRIPTORS_MAX - OF_A_SESSION - clients.len();
            if !session.is_at_rest() || bytes.len() >= BATCH_BYTES || legs.len() > most {
                return true;
            }
            match table.take_apart(*id, now).expect("it is at rest") {
                Parts::Session(handed, holdings) => {
                    chunks(&holdings).for_each(|chunk| io.read(chunk, &mut bytes));
                    legs.extend(descriptors(io, &holdings));
                    sessions.push((handed, holdings));
                }
                Parts::Client(handed, leg) => clients.push((handed, leg)),
            }
            false
        });
        if sessions.is_empty() && clients.is_empty() {
            return None;
        }
        legs.extend(clients.iter().map(|(_, leg)| *leg));
        self.sockets.touch(); // there is room under the limits
        giving.number += 1;
        let number = giving.number;
        let mut message = encoded(&HandoverMessage::Sessions {
            number,
            sessions: sessions.iter().map(|(handed, _)| handed.clone()).collect(),
            clients: clients.iter().map(|(handed, _)| handed.clone()).collect(),
        });
        message.append(&mut bytes);
        Some(HandoverBatch { number, message, descriptors: legs, sessions, clients })
    }

    /// False if the taker is gone; then the batch is among those that come back.
    fn send(&mut self, giving: &mut Giving, batch: HandoverBatch) -> bool {
        match self.io.give(giving.channel, &batch.message, &batch.descriptors) {
            Ok(()) => {
                giving.given.push_back(HandoverBatch { message: Vec::new(), ..batch });
                true
            }
            Err(errno) => {
                giving.unsent = Some(batch);
                // Its acknowledgements, which come, make room.
                may_go_later(errno)
            }
        }
    }

    /// The taker is gone: what it has not acknowledged is this shard's as before.
    fn take_back(&mut self, giving: &mut Giving) {
        self.let_stay(giving);
        for batch in giving.given.drain(..).chain(giving.unsent.take()) {
            self.put_back(batch);
        }
        if self.stopping {
            self.table.stop();
        }
    }

    /// The slots of the sessions were kept for them.
    fn put_back(&mut self, batch: HandoverBatch) {
        for (handed, holdings) in batch.sessions {
            match self.table.arrive(&handed, &holdings, self.now, &mut self.actions) {
                Some(id) => self.perform(id),
                None => {
                    holdings.legs.into_iter().for_each(|leg| self.io.close(leg, How::Reset));
                    chunks(&holdings).for_each(|chunk| self.io.release(chunk.buffer));
                    let pipes = holdings.pipes.into_iter().flatten();
                    pipes.for_each(|pipe| self.io.return_pipe(pipe, false));
                }
            }
        }
        for (handed, leg) in batch.clients {
            match self.table.arrive_client(&handed, leg, self.now, &mut self.actions) {
                Some(id) => self.perform(id),
                None => self.io.close(leg, How::Reset),
            }
        }
    }
}
