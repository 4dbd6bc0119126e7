//! Shedding: some sessions of a backend or a listener are ended, those first in which nothing has
//! moved for longest, and of these the oldest. Control says how many, so that many are ended at an
//! even rate and no storm of clients comes back at once.
//!
//! ```text
//! order ──every slot is looked at, some a turn; the best are kept──▶ chosen ──some a turn──▶ ended
//! ```

use alloc::collections::VecDeque;
use alloc::vec::Vec;

use weir_proto::order::SessionsOf;
use weir_proto::reason::{By, Why};

use super::{SessionId, Table};
use crate::action::Actions;
use crate::base::clock::Now;
use crate::base::least::Least;
use crate::limits::{SHED_LOOK_COST, SHED_MAX};

/// Sessions that are to be ended, of one backend or listener.
#[derive(Clone, Copy, Debug)]
struct Shed {
    of: SessionsOf,
    /// 1 to [`SHED_MAX`].
    count: u32,
}

/// A session that may be chosen. The least is ended first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct ShedCandidate {
    moved_at: Now,
    accepted_at: Now,
    id: SessionId,
}

/// The orders to shed, and how far the first of them has come.
#[derive(Debug)]
pub(super) struct Shedding {
    /// The first one's sessions are being looked for. There is one of a kind, beside that.
    orders: VecDeque<Shed>,
    next_slot: u32,
    /// The best so far.
    best: Least<ShedCandidate>,
    /// To be ended.
    chosen: Vec<SessionId>,
}

impl Shedding {
    /// Nothing is to be shed.
    pub(super) fn new() -> Shedding {
        Shedding {
            orders: VecDeque::new(),
            next_slot: 0,
            best: Least::with_capacity(SHED_MAX as usize),
            chosen: Vec::with_capacity(SHED_MAX as usize),
        }
    }

    /// True if something is to be shed.
    pub(super) fn is_due(&self) -> bool {
        !self.orders.is_empty() || !self.chosen.is_empty()
    }
}

impl Table {
    /// Starts to end `count` sessions of a backend or a listener with a reset, at most
    /// [`SHED_MAX`]. Only those count that relay; there may be fewer.
    pub fn shed(&mut self, of: SessionsOf, count: u32) {
        let orders = &mut self.shedding.orders;
        if let Some(waiting) = orders.iter_mut().skip(1).find(|it| it.of == of) {
            waiting.count = (waiting.count + count).min(SHED_MAX);
        } else if count > 0 {
            orders.push_back(Shed { of, count: count.min(SHED_MAX) });
        }
    }

    /// Ends the next session that was chosen, or goes on to choose. `scan` is how many slots may
    /// still be looked at in this turn.
    pub(super) fn shed_next(
        &mut self,
        now: Now,
        scan: &mut u32,
        out: &mut Actions,
    ) -> Option<SessionId> {
        loop {
            while let Some(id) = self.shedding.chosen.pop() {
                if self.sessions.get(id).is_some_and(|session| session.is_relaying()) {
                    self.end(id, By::Operator, Why::Shed, now, out);
                    return Some(id);
                }
            }
            let Shed { of, count } = *self.shedding.orders.front()?;
            while self.shedding.next_slot < self.sessions.used() {
                *scan = scan.checked_sub(SHED_LOOK_COST)?;
                if let Some(candidate) = self.candidate(self.shedding.next_slot, of) {
                    self.shedding.best.offer(candidate, count);
                }
                self.shedding.next_slot += 1;
            }
            let Shedding { orders, next_slot, best, chosen } = &mut self.shedding;
            orders.pop_front();
            *next_slot = 0;
            chosen.extend(best.drain().map(|it| it.id));
        }
    }

    /// The session in this slot, if it is one of these and relays.
    fn candidate(&self, slot: u32, of: SessionsOf) -> Option<ShedCandidate> {
        let id = self.sessions.at(slot)?;
        let session = self.sessions.get(id).expect("the slot is occupied");
        let is_meant = match of {
            SessionsOf::Backend(id) => self.backend_of(session) == Some(id),
            SessionsOf::Listener(id) => {
                self.view.listeners()[session.route.listener.index()].id == id
            }
        };
        let (moved_at, accepted_at) = (session.moved_at, session.accepted_at);
        (is_meant && session.is_relaying()).then_some(ShedCandidate { moved_at, accepted_at, id })
    }
}
