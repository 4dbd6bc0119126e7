//! The session log: records of sessions that a backend has taken, that live on, or that are over.
//! They wait in the box of the statistics and go to control with it; nothing here waits.

use alloc::vec::Vec;
use core::net::SocketAddr;

use weir_proto::handover::HandedLog;
use weir_proto::reason::SessionEnd;
use weir_proto::session_log::{SessionEvent, SessionLogging, SessionRecord};

use super::{SessionId, Table};
use crate::base::clock::Now;
use crate::base::prng::Prng;
use crate::session::Session;

/// The log of one shard.
#[derive(Debug, Default)]
pub(super) struct Logging {
    /// `None`: there is no log, and nothing is noted.
    wanted: Option<SessionLogging>,
    /// By slot; as long as slots were used.
    notes: Vec<Note>,
    round: Round,
}

/// Parts of a record that the session does not know.
#[derive(Clone, Copy, Debug, Default)]
struct Note {
    client: Option<SocketAddr>,
    connect_us: Option<u32>,
    is_logged: bool,
}

/// One walk over the sessions that live on.
#[derive(Clone, Copy, Debug, Default)]
struct Round {
    /// `None`: it waits for its time.
    next_slot: Option<u32>,
    due: Now,
}

impl Logging {
    pub(super) fn new(wanted: Option<SessionLogging>, now: Now) -> Logging {
        let round = Round { next_slot: None, due: now };
        let mut logging = Logging { wanted, round, ..Logging::default() };
        logging.end_round(now);
        logging
    }

    pub(super) fn is_on(&self) -> bool {
        self.wanted.is_some()
    }

    /// A session begins in this slot.
    pub(super) fn begin(&mut self, id: SessionId, client: Option<SocketAddr>) {
        let Some(SessionLogging { sample, .. }) = self.wanted else { return };
        let name = u64::from(id.slot) << 32 | u64::from(id.generation);
        let is_logged = Prng::new(name).next_u64() % 100 < sample.hundredths().into();
        let slot = id.slot as usize;
        if self.notes.len() <= slot {
            self.notes.resize(slot + 1, Note::default());
        }
        self.notes[slot] = Note { client, connect_us: None, is_logged };
    }

    /// A session leaves for another shard.
    pub(super) fn take(&mut self, id: SessionId) -> Option<HandedLog> {
        let Note { client, connect_us, is_logged } = *self.notes.get(id.slot as usize)?;
        self.wanted.map(|_| HandedLog { client, connect_us, is_logged })
    }

    /// A session comes from another shard.
    pub(super) fn resume(&mut self, id: SessionId, log: HandedLog) {
        let HandedLog { client, connect_us, is_logged } = log;
        self.begin(id, client);
        if let Some(note) = self.notes.get_mut(id.slot as usize) {
            *note = Note { client, connect_us, is_logged };
        }
    }

    fn note(&self, id: SessionId) -> Option<Note> {
        self.notes.get(id.slot as usize).copied().filter(|note| note.is_logged)
    }

    fn end_round(&mut self, now: Now) {
        let every = self.wanted.and_then(|wanted| wanted.every_ms);
        self.round.next_slot = None;
        self.round.due = every.map_or(Now::END, |ms| now.plus_millis(ms));
    }
}

impl Table {
    /// A backend has taken the session.
    pub(super) fn log_open(&mut self, id: SessionId, now: Now) {
        let Some(wanted) = self.logging.wanted else { return };
        let session = self.sessions.get(id).expect("a backend has just taken it");
        let took = now - session.accepted_at;
        if let Some(note) = self.logging.notes.get_mut(id.slot as usize) {
            note.connect_us = Some(u32::try_from(took.as_micros()).unwrap_or(u32::MAX));
        }
        if wanted.open {
            self.log(SessionEvent::Open, id, None, now);
        }
    }

    /// A backend has given the session back.
    pub(super) fn log_return(&mut self, id: SessionId) {
        if let Some(note) = self.logging.notes.get_mut(id.slot as usize) {
            note.connect_us = None;
        }
    }

    /// The session is over; its slot has been freed.
    pub(super) fn log_close(
        &mut self,
        (id, session): (SessionId, &Session),
        end: SessionEnd,
        now: Now,
    ) {
        if self.logging.wanted.is_some_and(|wanted| wanted.close) {
            self.log(SessionEvent::Close(end), id, Some(session), now);
        }
    }

    fn log(&mut self, event: SessionEvent, id: SessionId, over: Option<&Session>, now: Now) {
        let Some(Note { client, connect_us, .. }) = self.logging.note(id) else { return };
        let Some(session) = over.or_else(|| self.sessions.get(id)) else { return };
        let client = self.told_client(id).or(client);
        let session = self.row((id, session), client, now);
        let record = SessionRecord { event, at_nanos: now.nanos, session, connect_us };
        self.counters.session_log().put(record);
    }

    /// Logs some of the sessions that live on, if it is time. `scan` is how many slots may still
    /// be looked at in this turn. The rest waits while control has not taken what there is.
    pub fn log_updates(&mut self, now: Now, scan: &mut u32) {
        if self.logging.round.due > now {
            return;
        }
        let Some(every_ms) = self.logging.wanted.and_then(|wanted| wanted.every_ms) else { return };
        let mut slot = self.logging.round.next_slot.unwrap_or(0);
        while slot < self.sessions.used() {
            let has_room = self.counters.session_log().has_room();
            let Some(left) = scan.checked_sub(1).filter(|_| has_room) else {
                self.logging.round.next_slot = Some(slot);
                return;
            };
            *scan = left;
            if let Some(id) = self.sessions.at(slot)
                && let Some(session) = self.sessions.get(id)
                && session.accepted_at.plus_millis(every_ms) <= now
            {
                self.log(SessionEvent::Update, id, None, now);
            }
            slot += 1;
        }
        self.logging.end_round(now);
    }
}
