//! Sessions that leave for another shard, and those that come from one. Nothing of it is an end or
//! a beginning: no counter of either moves, only the gauges do.

use alloc::boxed::Box;

use weir_proto::handover::{
    ClientStage, HandedClient, HandedLog, HandedNotes, HandedRoute, HandedSession,
};

use super::{SessionId, Table};
use crate::action::Actions;
use crate::base::clock::Now;
use crate::client_sources::SourceKey;
use crate::event::{Leg, Side};
use crate::generations::Generation;
use crate::limits::WATCH_AFTER_MS;
use crate::proxy_header::Told;
use crate::session::{Connect, Holdings, Route, Session};
use crate::slot::MemberIndex;
use crate::view::Places;

use super::inspect::TakenRoute;

/// A session that was taken apart, with what it holds.
#[derive(Debug)]
pub enum Parts {
    /// A backend has it.
    Session(HandedSession, Holdings),
    /// None has it yet.
    Client(HandedClient, Leg),
}

impl Table {
    /// True if there is no slot for one more session.
    #[must_use]
    pub fn is_full(&self) -> bool {
        self.sessions.is_full()
    }

    /// How many slots have ever had a session.
    #[must_use]
    pub fn slots_used(&self) -> u32 {
        self.sessions.used()
    }

    /// The next session from this slot on, around to the first one. `scan` is how many slots may
    /// still be looked at.
    pub fn next_session(&self, slot: &mut u32, scan: &mut u32) -> Option<SessionId> {
        while let Some(left) = scan.checked_sub(1) {
            *scan = left;
            let at = *slot;
            let used = self.sessions.used();
            *slot = if at + 1 < used { at + 1 } else { 0 };
            if let Some(id) = self.sessions.at(at) {
                return Some(id);
            }
        }
        None
    }

    /// Has a session come to rest, to leave for another shard. False if it cannot leave now.
    pub fn begin_to_leave(&mut self, id: SessionId, out: &mut Actions) -> bool {
        let Some(session) = self.sessions.get_mut(id) else { return false };
        let starved = Side::ALL.map(|side| session.is_starved(side));
        let leaves = session.begin_to_leave(out);
        for side in Side::ALL.into_iter().filter(|side| leaves && starved[*side as usize]) {
            self.starved_queue.remove(id.slot * 2 + side as u32);
        }
        leaves
    }

    /// A session that was to leave stays.
    pub fn stay(&mut self, id: SessionId, now: Now, out: &mut Actions) {
        let Some(session) = self.sessions.get_mut(id) else { return };
        let is_unconnected = session.leaves_unconnected() && session.is_at_rest();
        let effects = session.stay(out);
        if is_unconnected {
            return self.try_backend(id, None, now, out);
        }
        if session.is_relaying() {
            session.look_by(now.plus_millis(self.tuning.quiescent_after_ms));
            self.schedule_sooner(id, now);
        }
        self.apply(id, effects, now, out);
    }

    /// True if it leaves and nothing of it is under way: it can be taken apart.
    #[must_use]
    pub fn is_at_rest(&self, id: SessionId) -> bool {
        self.sessions.get(id).is_some_and(Session::is_at_rest)
    }

    /// Takes a session apart that is at rest. What it holds is the caller's from now on.
    pub fn take_apart(&mut self, id: SessionId, now: Now) -> Option<Parts> {
        if !self.is_at_rest(id) {
            return None;
        }
        let session = self.sessions.get(id)?;
        if session.is_in_queue {
            let pool = session.route.pool;
            self.drop_out_of_queue(id, pool);
        }
        let notes = self.take_notes(id, now);
        let session = self.sessions.remove(id)?;
        self.wheel.cancel(id.slot);
        self.leave_lines(id, &session);
        let Route { listener, pool, backend, .. } = session.route;
        if let Some(backend) = backend {
            self.view.session_released(backend);
        }
        self.view.session_closed(listener, pool);
        if session.counted_stalled {
            self.view.stall_ends(pool);
        }
        self.generations.closed(session.born);
        let listener = self.view.listeners()[listener.index()].id;
        let pool = self.view.pools()[pool.index()].id;
        let (born, accepted_at) = (session.born.version(), session.accepted_at.nanos);
        Some(match session.client_stage() {
            Some(stage) => {
                let leg = session.leg(Side::Client).expect("it has its client");
                session.leaves();
                let client = HandedClient { listener, pool, born, accepted_at, stage, notes };
                Parts::Client(client, leg)
            }
            None => {
                let backend = backend.expect("a backend has it");
                let ids = (listener, pool, self.view.backends()[backend.index()].id);
                let (handed, holdings) = session.take_apart(ids, now);
                Parts::Session(HandedSession { notes, ..handed }, holdings)
            }
        })
    }

    /// A client that no backend has yet has come from another shard. `None` as of
    /// [`Table::arrive`].
    pub fn arrive_client(
        &mut self,
        handed: &HandedClient,
        leg: Leg,
        now: Now,
        out: &mut Actions,
    ) -> Option<SessionId> {
        let (listener, pool) =
            self.view.places_of_client((handed.listener, handed.pool), &mut self.prng);
        self.counters.follow(&self.view, &[]);
        let accepted_at = Now::from_nanos(handed.accepted_at);
        let route = Route { listener, pool, backend: None, index: MemberIndex::FIRST };
        let connect = match handed.stage {
            ClientStage::Connecting { key, attempts_left } => {
                Connect::new(key, attempts_left, accepted_at)
            }
            ClientStage::Inspecting { .. } => Connect::new(0, 0, accepted_at),
        };
        let mut session = Session::new(leg, route, connect, accepted_at);
        let view = &self.view.pools()[pool.index()];
        session.go_by(&view.timeouts, view.retry);
        session.bulk_bytes = self.tuning.bulk_bytes;
        session.multishot_bytes = self.tuning.multishot_bytes;
        session.born = Generation::of(handed.born);
        let is_inspected = matches!(handed.stage, ClientStage::Inspecting { .. });
        if let ClientStage::Inspecting { hello, is_marked, until } = handed.stage {
            session = session.inspecting_on(hello, is_marked, Now::from_nanos(until));
        }
        let id = self.sessions.insert(session)?;
        self.generations.resumed(Generation::of(handed.born));
        self.view.session_opened(listener, pool);
        self.view.session_resumed(listener, None);
        self.put_notes(id, handed.notes.as_deref(), now);
        if is_inspected {
            self.schedule(id, now);
            self.sessions.get(id).expect("it has just come").look(out);
        } else {
            self.try_backend(id, None, now, out);
        }
        Some(id)
    }

    /// A session has come from another shard. `None` if there is no slot for it: what it holds
    /// stays the caller's.
    pub fn arrive(
        &mut self,
        handed: &HandedSession,
        holdings: &Holdings,
        now: Now,
        out: &mut Actions,
    ) -> Option<SessionId> {
        if self.sessions.is_full() {
            return None;
        }
        let ids = (handed.listener, handed.pool, handed.backend);
        let places = self.view.places(ids, handed.terms, &mut self.prng);
        let given = [places.backend];
        self.counters.follow(&self.view, if places.is_new { &given } else { &[] });
        let Places { listener, pool, backend, index, .. } = places;
        let route = Route { listener, pool, backend: Some(backend), index };
        let mut session = Session::put_together(handed, holdings, route, now);
        session.bulk_bytes = self.tuning.bulk_bytes;
        session.multishot_bytes = self.tuning.multishot_bytes;
        session.buffers_short = self.buffers_short;
        let id = self.sessions.insert(session)?;
        self.generations.resumed(Generation::of(handed.born));
        self.view.session_opened(listener, pool);
        self.view.session_assigned(backend);
        self.view.session_resumed(listener, Some(backend));
        self.put_notes(id, handed.notes.as_deref(), now);
        let session = self.sessions.get_mut(id).expect("it has just come");
        let effects = session.arrive(out);
        let soon = session.is_delivering() || session.has_fin();
        let look_ms = if soon { WATCH_AFTER_MS } else { self.tuning.quiescent_after_ms };
        session.look_next(now.plus_millis(look_ms));
        self.look_by_lifetime(id, now);
        self.schedule(id, now);
        self.apply(id, effects, now, out);
        Some(id)
    }

    fn take_notes(&mut self, id: SessionId, now: Now) -> Option<Box<HandedNotes>> {
        self.trials.forget(id.slot);
        let source = self.source_of.take(id.slot);
        if let Some(source) = source {
            self.client_sources.end(source, now);
        }
        let told = self.told.take(id.slot).map(|told| (told.source, told.destination));
        let route = self.taken.take(id.slot);
        let route =
            route.map(|TakenRoute { place, server_name }| HandedRoute { place, server_name });
        let notes = HandedNotes {
            told,
            passed: self.passed.take(id.slot),
            route,
            source: source.map(SourceKey::hash),
            log: self.logging.take(id),
        };
        (notes != HandedNotes::default()).then(|| Box::new(notes))
    }

    fn put_notes(&mut self, id: SessionId, notes: Option<&HandedNotes>, now: Now) {
        let none = HandedNotes::default();
        let HandedNotes { told, passed, route, source, log } = notes.unwrap_or(&none);
        if let Some((source, destination)) = *told {
            self.told.note(id.slot, Told { source, destination });
        }
        if let Some(passed) = passed {
            self.passed.note(id.slot, passed.clone());
        }
        if let Some(HandedRoute { place, server_name }) = route.clone() {
            self.taken.note(id.slot, TakenRoute { place, server_name });
        }
        if let Some(key) = source.map(SourceKey::of_hash) {
            self.client_sources.resume(key, now);
            self.source_of.note(id.slot, key);
        }
        self.logging.resume(id, log.unwrap_or(HandedLog::default()));
    }
}
