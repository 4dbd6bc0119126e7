//! The taker: puts together what comes, as far as it has slots and buffers.

use std::collections::VecDeque;

use weir_core::action::How;
use weir_core::event::{BufferId, Chunk, Interest, Leg};
use weir_core::flow::QUEUE_MAX;
use weir_core::session::Holdings;
use weir_core::table::SessionId;
use weir_proto::handover::{HandedClient, HandedSession, HandoverMessage};
use weir_proto::order::Report;

use super::{Giving, Progress, encoded, hear, may_go_later};
use crate::io::{Io, Token};
use crate::shard::Shard;

/// The channel of a shard that gives, among those that it takes from.
pub(super) const GIVER: u32 = u32::MAX;
/// How soon sessions that have come are tried again when there were no buffers for them.
const AGAIN_MS: u32 = 1;

/// A session that has come and is not in the table yet.
enum Arrived {
    Session { handed: HandedSession, legs: Vec<Leg>, bytes: Vec<u8> },
    Client { handed: HandedClient, leg: Leg },
}

impl Arrived {
    fn into_legs(self) -> Vec<Leg> {
        match self {
            Arrived::Session { legs, .. } => legs,
            Arrived::Client { leg, .. } => vec![leg],
        }
    }
}

/// A channel that sessions come from.
pub(in crate::shard) struct Taking {
    channel: Leg,
    arrived: VecDeque<Arrived>,
    /// The giver has not heard of it, for want of room in the channel.
    answer: Option<HandoverMessage>,
    taken: u64,
    /// Nothing more comes.
    over: Option<Progress>,
    is_watched: bool,
}

impl Taking {
    /// Those that wait for a slot and buffers.
    pub(super) fn sessions(&self) -> usize {
        self.arrived.len()
    }

    /// True if some have no room yet, or the giver has not heard of them.
    fn waits(&self) -> bool {
        !self.arrived.is_empty() || self.answer.is_some()
    }

    /// Takes no more. What the giver has not heard of stays the giver's.
    pub(super) fn stop(&mut self, io: &mut impl Io) {
        self.over = self.over.or(Some(Progress::Broken));
        if self.answer.take().is_some() {
            let legs = self.arrived.drain(..).flat_map(Arrived::into_legs);
            legs.for_each(|leg| io.let_go(leg));
        }
    }
}

impl<I: Io> Shard<I> {
    /// Sessions come through this channel.
    pub(in crate::shard) fn begin_to_take(&mut self, channel: Leg) {
        let taking = Taking {
            channel,
            arrived: VecDeque::new(),
            answer: None,
            taken: 0,
            over: self.stopping.then_some(Progress::Broken),
            is_watched: false,
        };
        match self.taking.iter_mut().find(|place| place.is_none()) {
            Some(place) => *place = Some(taking),
            None => self.taking.push(Some(taking)),
        }
    }

    /// There is news in a channel.
    pub(in crate::shard) fn heard_of_channel(&mut self, number: u32) {
        if number == GIVER {
            return self.heard_of_taker();
        }
        if let Some(Some(taking)) = self.taking.get_mut(number as usize) {
            taking.is_watched = false;
        }
    }

    /// When what has come is tried again.
    pub(in crate::shard) fn takes_again_at(&self) -> Option<weir_core::base::clock::Now> {
        let waits = self.taking.iter().flatten().any(Taking::waits);
        waits.then(|| self.now.plus_millis(AGAIN_MS))
    }

    /// Takes what has come.
    pub(in crate::shard) fn take_over(&mut self) {
        for number in 0..self.taking.len() {
            let Some(mut taking) = self.taking[number].take() else { continue };
            self.take_from(&mut taking);
            if let (Some(over), false) = (taking.over, taking.waits()) {
                self.io.let_go(taking.channel);
                let (shard, is_whole) = (self.setup.id, over == Progress::Whole);
                let report = Report::Took { shard, sessions: taking.taken, is_whole };
                self.pending_reports.push_back(report);
                continue;
            }
            // What comes next waits until there is room for it, and would be told of at once.
            if !taking.waits() && !std::mem::replace(&mut taking.is_watched, true) {
                let channel = u32::try_from(number).expect("a shard takes from a few others");
                let interest = Interest { readable: true, writable: false };
                self.io.watch(Token::Channel { channel }, taking.channel, interest);
            }
            self.taking[number] = Some(taking);
        }
    }

    fn take_from(&mut self, taking: &mut Taking) {
        let is_heard = taking.answer.take().is_none_or(|answer| self.answer(taking, answer));
        if taking.arrived.is_empty() && taking.over.is_none() && is_heard {
            self.hear_giver(taking);
        }
        // Until the giver has heard of them, they are the giver's.
        if taking.answer.is_some() {
            return;
        }
        let before = taking.taken;
        self.install(taking);
        if self.stopping && taking.taken > before {
            self.table.stop();
        }
    }

    /// Puts what has come into the table, as far as there are slots and buffers.
    fn install(&mut self, taking: &mut Taking) {
        while self.has_slot()
            && let Some(arrived) = taking.arrived.pop_front()
        {
            let id = match arrived {
                Arrived::Client { handed, leg } => self.put_client(&handed, leg),
                Arrived::Session { handed, legs, bytes } => {
                    let Some(holdings) = self.holdings(&handed, &legs, &bytes) else {
                        taking.arrived.push_front(Arrived::Session { handed, legs, bytes });
                        return;
                    };
                    self.put_session(&handed, &holdings)
                }
            };
            taking.taken += 1;
            self.sockets.touch(); // limits may have been used
            if let Some(id) = id {
                self.perform(id);
            }
        }
    }

    /// Resets it if there is no slot.
    fn put_session(&mut self, handed: &HandedSession, holdings: &Holdings) -> Option<SessionId> {
        let id = self.table.arrive(handed, holdings, self.now, &mut self.actions);
        if id.is_none() {
            holdings.legs.into_iter().for_each(|leg| self.io.close(leg, How::Reset));
            super::chunks(holdings).for_each(|chunk| self.io.release(chunk.buffer));
            let pipes = holdings.pipes.into_iter().flatten();
            pipes.for_each(|pipe| self.io.return_pipe(pipe, false));
        }
        id
    }

    fn put_client(&mut self, handed: &HandedClient, leg: Leg) -> Option<SessionId> {
        let id = self.table.arrive_client(handed, leg, self.now, &mut self.actions);
        if id.is_none() {
            self.io.close(leg, How::Reset);
        }
        id
    }

    /// True if there is a slot that is not kept for another one: for a client that is accepted, or
    /// for a session that has left and may come back.
    fn has_slot(&self) -> bool {
        let given = self.giving.as_ref().map_or(0, Giving::sessions);
        let given = u32::try_from(given).unwrap_or(u32::MAX);
        self.table.len() + self.sockets.pending() + given < self.setup.sessions_max
    }

    /// One batch.
    fn hear_giver(&mut self, taking: &mut Taking) {
        let (mut bytes, mut legs) = (std::mem::take(&mut self.scratch), Vec::new());
        let heard = hear(&mut self.io, taking.channel, (&mut bytes, &mut legs));
        match heard {
            Ok(None) => {}
            Ok(Some(HandoverMessage::Sessions { number, sessions, clients })) => {
                taking.is_watched = false;
                match split(sessions, clients, (&legs, &bytes)) {
                    Some(arrived) => {
                        taking.arrived = arrived;
                        self.sockets.touch(); // accepts leave room for them
                        self.answer(taking, HandoverMessage::Taken { number });
                    }
                    None => {
                        legs.iter().for_each(|leg| self.io.let_go(*leg));
                        self.answer(taking, HandoverMessage::Refused { number });
                        taking.over = Some(Progress::Broken);
                    }
                }
            }
            Ok(Some(HandoverMessage::End)) => taking.over = Some(Progress::Whole),
            Ok(Some(_)) | Err(()) => taking.over = Some(Progress::Broken),
        }
        self.scratch = bytes;
    }

    /// False if the giver has not heard it yet.
    fn answer(&mut self, taking: &mut Taking, answer: HandoverMessage) -> bool {
        // A giver that is gone takes nothing back.
        let said = self.io.give(taking.channel, &encoded(&answer), &[]);
        let is_heard = !said.is_err_and(may_go_later);
        taking.answer = (!is_heard).then_some(answer);
        is_heard
    }

    /// Puts the bytes and pipes of a session into this shard's; `None` while there are not enough
    /// buffers for its bytes.
    fn holdings(&mut self, handed: &HandedSession, legs: &[Leg], bytes: &[u8]) -> Option<Holdings> {
        let mut chunks = [[None; QUEUE_MAX]; 2];
        let mut filled: Vec<BufferId> = Vec::new();
        let mut rest = bytes;
        for (from, flow) in handed.flows.iter().enumerate() {
            for (place, length) in flow.chunks.into_iter().filter(|it| *it > 0).enumerate() {
                let (these, behind) = rest.split_at(usize::from(length));
                let Some(buffer) = self.io.fill(these) else {
                    filled.into_iter().for_each(|buffer| self.io.release(buffer));
                    return None;
                };
                filled.push(buffer);
                chunks[from][place] = Some(Chunk { buffer, start: 0, end: length });
                rest = behind;
            }
        }
        let mut ends = legs[2..].chunks_exact(2);
        let pipes = handed.flows.map(|flow| {
            let ends = flow.pipe.and_then(|_| ends.next())?;
            Some(self.io.put_pipe([ends[0], ends[1]]))
        });
        Some(Holdings { legs: [legs[0], legs[1]], chunks, pipes })
    }
}

/// Each session with its own descriptors and bytes; `None` if there are more or fewer than they
/// say.
fn split(
    sessions: Vec<HandedSession>,
    clients: Vec<HandedClient>,
    (mut legs, mut bytes): (&[Leg], &[u8]),
) -> Option<VecDeque<Arrived>> {
    let mut arrived = VecDeque::with_capacity(sessions.len() + clients.len());
    for handed in sessions {
        let (own, others) = legs.split_at_checked(handed.descriptors())?;
        let length = handed.chunks().map(usize::from).sum();
        let (held, behind) = bytes.split_at_checked(length)?;
        arrived.push_back(Arrived::Session { handed, legs: own.to_vec(), bytes: held.to_vec() });
        (legs, bytes) = (others, behind);
    }
    for handed in clients {
        let (leg, others) = legs.split_first()?;
        arrived.push_back(Arrived::Client { handed, leg: *leg });
        legs = others;
    }
    (legs.is_empty() && bytes.is_empty()).then_some(arrived)
}
