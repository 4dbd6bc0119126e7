//! A process that did not run for a while: the kernel did, and all that came in the meantime is
//! there when it goes on.

use weir_core::limits::{CATCH_UP_MS, LATE_TURNS_MAX, STOOD_STILL_MS};

use super::{Answer, Kernel, Key, Note, key};
use crate::net::ConnId;
use weir_core::event::Completion;
use weir_engine::io::{Outcome, Token};

const MS: u64 = 1_000_000;

/// How late the turns of the shard begin.
#[derive(Clone, Debug, Default)]
pub(super) struct Lateness {
    /// When the process went on after a standstill, until it has caught up; and whether the turn is
    /// the first one since.
    stood_still: Option<(u64, bool)>,
    /// Turns in a row that have begun late.
    late_turns: u8,
    /// When the last turn began, and by how much all turns so far were late, in nanoseconds.
    turned_at: u64,
    total: u64,
}

impl Kernel {
    /// The time in which the shard could run, in nanoseconds: what it must do within a time it
    /// cannot while it is not woken.
    pub(crate) fn running_ns(&self) -> u64 {
        self.now - self.lateness.total
    }

    /// A turn of the shard begins.
    pub(crate) fn turn_begins(&mut self) {
        let turned_at = std::mem::replace(&mut self.lateness.turned_at, self.now);
        let wanted = self.wait_until.filter(|_| turned_at > 0).map(|until| until.max(turned_at));
        let late = wanted.map_or(0, |wanted| self.now.saturating_sub(wanted));
        self.lateness.total += late;
        let due = self.wait_until.filter(|until| *until > 0);
        if due.is_some_and(|due| due + u64::from(STOOD_STILL_MS) * MS < self.now) {
            self.lateness.late_turns = self.lateness.late_turns.saturating_add(1);
            let still = self.lateness.late_turns <= LATE_TURNS_MAX;
            self.lateness.stood_still = still.then_some((self.now, true));
            self.note("the process stood still", [0, 0]);
            return self.work_through();
        }
        self.lateness.late_turns = 0;
        if let Some((_, first)) = &mut self.lateness.stood_still {
            *first = false;
        }
        self.work_through();
    }

    /// The shard goes to wait. What it has left undone it wants from now on: a moment that is past
    /// would make its next turn look late, and its timers wait for nothing.
    pub(super) fn check_wait(&mut self, until: Option<u64>) {
        if until.is_some_and(|until| until < self.now) {
            self.fail(format!("the shard waits until {until:?}, and it is {}", self.now));
        }
    }

    /// The shard finds no answer more in this turn: if it has found none at all it has caught up,
    /// unless the kernel was not asked since.
    pub(super) fn caught_up(&mut self) {
        if self.taken == 0 && self.lateness.stood_still.is_some_and(|(_, first)| !first) {
            self.lateness.stood_still = None;
        }
    }

    /// What can be answered is, while the shard catches up.
    pub(super) fn work_through(&mut self) {
        if self.catches_up() {
            self.step_all();
        }
    }

    /// True while timers may wait for what came during a standstill.
    #[must_use]
    pub fn catches_up(&self) -> bool {
        let within = u64::from(CATCH_UP_MS) * MS;
        self.lateness.stood_still.is_some_and(|(since, _)| self.now < since + within)
    }

    /// A session has begun to end in this turn.
    pub(crate) fn ends(&mut self, session: Key) {
        let is_its = |answer: &Answer| match answer.asked.token {
            Token::Session { id, .. } => key(id) == session,
            _ => false,
        };
        let has_unheard = self.answers.iter().any(is_its);
        let note = self.notes.get(&session);
        let was_of_age = note.is_some_and(|note| self.is_of_age(note, has_unheard));
        if let Some(note) = self.notes.get_mut(&session) {
            note.was_of_age = was_of_age;
        }
        let is_cut = |note: &&Note| self.is_cut(note) || self.is_overdue(note);
        let Some(note) = self.notes.get(&session).filter(|note| !is_cut(note)) else { return };
        if !self.check_quiet_end(session, note.conns) {
            self.fail(format!("{session:?} is idle after a standstill, but bytes wait"));
        }
    }

    /// A session may not end for being quiet while the bytes that came during a standstill wait for
    /// it to take them.
    pub(super) fn check_quiet_end(&self, session: Key, conns: [Option<ConnId>; 2]) -> bool {
        if !self.catches_up() {
            return true;
        }
        let brings = |answer: &Answer| {
            let of_it =
                matches!(answer.asked.token, Token::Session { id, .. } if key(id) == session);
            let bytes = matches!(answer.outcome, Outcome::Session(Completion::Received { .. }));
            of_it && bytes
        };
        let receives =
            |id: ConnId| !self.net.conns[id].up.bytes.is_empty() && self.legs.is_received_from(id);
        !self.answers.iter().any(brings) && !conns.into_iter().flatten().any(receives)
    }
}
