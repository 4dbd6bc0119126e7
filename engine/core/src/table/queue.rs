//! Sessions that wait for a backend with room: one line a pool, first come, first served.
//!
//! A session joins when every backend that could take it is full, or where its listener holds those
//! for which there is none (`no-backend`). Nothing is read from its client,
//! which is watched for a reset. It leaves when it is given a backend, when it has waited for too
//! long, or when it ends; a backend that goes down meanwhile does not end it, for it may come back
//! in time. A session that a backend has refused waits before all others, since its turn has been.

use alloc::vec::Vec;

use weir_proto::reason::{By, ConnectFault, Why};

use super::{SessionId, Table};
use crate::action::Actions;
use crate::base::clock::Now;
use crate::limits::{QUEUE_RETRIES_PER_TURN_MAX, QUEUE_SERVED_PER_TURN_MAX};
use crate::slot::{ListenerSlot, PoolSlot};
use crate::view::MayRetry;
use crate::wait_queue::{Line, Links};

/// The lines of all pools.
#[derive(Debug)]
pub(super) struct Queues {
    links: Links,
    /// By the slot of the pool.
    lines: Vec<Line>,
    /// Sessions in all of them.
    waiting: u32,
    /// As many as a turn may have were served, and more may be.
    is_behind: bool,
}

/// One turn's way along the lines.
#[derive(Debug, Default)]
pub struct QueueWalk {
    pool: usize,
    /// The last session that was passed over.
    after: Option<u32>,
    passed_over: u32,
    served: u32,
}

impl Queues {
    pub(super) fn new(slots: u32) -> Queues {
        Queues { links: Links::new(slots), lines: Vec::new(), waiting: 0, is_behind: false }
    }

    /// How many sessions wait in a pool.
    pub(super) fn waiting_in(&self, pool: PoolSlot) -> u32 {
        self.lines.get(pool.index()).map_or(0, Line::len)
    }

    fn join(&mut self, pool: PoolSlot, slot: u32, is_first: bool) {
        if self.lines.len() <= pool.index() {
            self.lines.resize(pool.index() + 1, Line::default());
        }
        let line = &mut self.lines[pool.index()];
        if is_first {
            line.push_front(&mut self.links, slot);
        } else {
            line.push(&mut self.links, slot);
        }
        self.waiting += 1;
    }

    fn leave(&mut self, pool: PoolSlot, slot: u32) {
        self.lines[pool.index()].remove(&mut self.links, slot);
        self.waiting -= 1;
    }
}

impl Table {
    /// Sessions of a pool that wait for a backend with room.
    #[must_use]
    pub fn queued(&self, pool: PoolSlot) -> u32 {
        self.queues.waiting_in(pool)
    }

    /// True if sessions are to be given a backend in the next turn, which is to come at once.
    #[must_use]
    pub fn is_queue_due(&self) -> bool {
        self.queues.is_behind
    }

    /// True if no backend of this session's pool is up and ready, and its listener lets it wait for
    /// one. It gets none of those that are down, as others do in panic.
    #[must_use]
    pub fn is_held(&self, id: SessionId) -> bool {
        let session = self.sessions.get(id).expect("it was there a moment ago");
        let listener = &self.view.listeners()[session.route.listener.index()];
        listener.hold_ms > 0 && !self.view.has_up(session.route.pool)
    }

    /// True if this listener does not listen now: no backend of its pools is up and ready, and it
    /// is to refuse clients then.
    #[must_use]
    pub fn is_closed(&self, listener: ListenerSlot) -> bool {
        let listener = &self.view.listeners()[listener.index()];
        listener.closes && !listener.pools().any(|pool| self.view.has_up(pool))
    }

    /// No backend that could take this session has room, or none takes any and its listener holds
    /// it: it waits, unless too many do. `failed` is what its last connect has failed by; it has
    /// waited for its turn before.
    pub(super) fn queue(
        &mut self,
        id: SessionId,
        failed: Option<ConnectFault>,
        now: Now,
        out: &mut Actions,
    ) {
        let is_held = failed.is_none() && self.is_held(id);
        let session = self.sessions.get_mut(id).expect("it is connecting");
        let slot = session.route.pool;
        let pool = &self.view.pools()[slot.index()];
        let hold_ms = self.view.listeners()[session.route.listener.index()].hold_ms;
        let wait_ms = if is_held { hold_ms } else { pool.timeouts.queue_ms };
        let mut until = now.plus_millis(wait_ms);
        if failed.is_some() {
            until = until.min(session.retries_until(pool.retry.within_ms));
        }
        if self.queues.waiting_in(slot) >= pool.queue_size {
            return match failed {
                Some(fault) => self.give_up(id, fault, now, out),
                None if is_held => self.end_without_backend(id, now, out),
                None => self.end(id, By::Weir, Why::QueueFull, now, out),
            };
        }
        session.watch_client(out);
        session.wait_in_queue(now, until);
        self.queues.join(slot, id.slot, failed.is_some());
        self.counters.queued(slot);
        if self.queues.waiting_in(slot) == 1 {
            self.view.touch_pool(slot);
        }
        // Those before it may have tried a backend that has room for this one.
        self.view.note_room();
        self.schedule(id, now);
    }

    /// A session has waited for too long.
    pub(super) fn queue_expired(&mut self, id: SessionId, now: Now, out: &mut Actions) {
        let session = self.sessions.get(id).expect("it waited");
        if session.tries() == 0 && self.is_held(id) {
            self.end_without_backend(id, now, out);
        } else {
            self.end(id, By::Weir, Why::QueueTimeout, now, out);
        }
    }

    /// A session stands in its pool's line no longer.
    pub(super) fn leave_queue(&mut self, id: SessionId, pool: PoolSlot) {
        self.queues.leave(pool, id.slot);
        if self.queues.waiting_in(pool) == 0 {
            self.view.touch_pool(pool);
        }
    }

    /// The same of a session that ends. Too many may have stood before those behind it.
    pub(super) fn drop_out_of_queue(&mut self, id: SessionId, pool: PoolSlot) {
        self.leave_queue(id, pool);
        self.view.note_room();
    }

    /// A session that ends while something is in flight at its client waits for that, but not for
    /// a backend.
    pub(super) fn leave_queue_if_ending(&mut self, id: SessionId) {
        let session = self.sessions.get_mut(id).expect("it is not over");
        if session.is_in_queue && !session.is_connecting() {
            session.is_in_queue = false;
            let pool = session.route.pool;
            self.drop_out_of_queue(id, pool);
        }
    }

    /// Begins to give sessions that wait a backend: what other shards lack goes back first. `None`
    /// if nothing has changed for them.
    pub fn begin_to_serve(&mut self, now: Now) -> Option<QueueWalk> {
        let has_news = self.view.take_room_news() || self.queues.is_behind;
        let is_due = self.view.has_touched() || has_news && self.queues.waiting > 0;
        self.queues.is_behind = false;
        let Table { view, queues, .. } = self;
        view.give_credits_back(|pool| queues.waiting_in(pool) > 0, now);
        is_due.then(QueueWalk::default)
    }

    /// Gives the next session that waits a backend, if there is one with room.
    pub fn serve_queue(
        &mut self,
        walk: &mut QueueWalk,
        now: Now,
        out: &mut Actions,
    ) -> Option<SessionId> {
        while self.queues.waiting > 0 && walk.pool < self.queues.lines.len() {
            if walk.served >= QUEUE_SERVED_PER_TURN_MAX {
                self.queues.is_behind = true;
                return None;
            }
            let line = &self.queues.lines[walk.pool];
            let next = match walk.after {
                None => line.front(),
                Some(index) => self.queues.links.behind(index),
            };
            let next = next.filter(|_| walk.passed_over < QUEUE_RETRIES_PER_TURN_MAX);
            let Some(index) = next else {
                *walk =
                    QueueWalk { pool: walk.pool + 1, served: walk.served, ..Default::default() };
                continue;
            };
            let id = self.sessions.at(index).expect("a session that ends leaves the line");
            if self.leaves_queue(id, now, out) {
                walk.served += 1;
                return Some(id);
            }
            let session = self.sessions.get(id).expect("it waits still");
            if session.tries() == 0 && !self.is_held(id) {
                // There is nothing for those behind it either.
                walk.passed_over = QUEUE_RETRIES_PER_TURN_MAX;
            }
            walk.after = Some(index);
            walk.passed_over += 1;
        }
        None
    }

    /// Gives a session that waits a backend, if one has room for it.
    fn leaves_queue(&mut self, id: SessionId, now: Now, out: &mut Actions) -> bool {
        let session = self.sessions.get(id).expect("it stands in a line");
        let pool = session.route.pool;
        let is_retry = session.tries() > 0;
        if !is_retry && self.is_held(id) {
            return false;
        }
        let session = self.sessions.get_mut(id).expect("it stands in a line");
        let connect = *session.connect_mut();
        let within_ms = self.view.pools()[pool.index()].retry.within_ms;
        let is_late = now >= session.retries_until(within_ms);
        if is_retry && (is_late || self.view.may_retry(pool) == MayRetry::Later) {
            return false;
        }
        let picked = self.view.pick(pool, connect.client_key, &mut self.prng, connect.tried, now);
        let Some(picked) = picked else { return false };
        let session = self.sessions.get_mut(id).expect("it stands in a line");
        let waited = session.leave_queue(now);
        self.counters.waited(pool, waited);
        self.leave_queue(id, pool);
        self.connect_to(id, picked, is_retry, now, out);
        true
    }

    /// Wants what is lacked after all that. True if control is to hear of it.
    pub fn settle_credits(&mut self) -> bool {
        let Table { view, queues, .. } = self;
        view.settle_credits(|pool| queues.waiting_in(pool) > 0)
    }
}
