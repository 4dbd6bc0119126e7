//! Searches: some sessions are listed, or ended, because of what they are. Every slot is looked at,
//! some a turn, so that no turn takes long however many sessions there are.
//!
//! ```text
//! search ──every slot is looked at──▶ the first ones are kept ──a page a turn──▶ told
//!                      └─of a kill: each that matches is ended
//! ```

use alloc::boxed::Box;
use alloc::collections::VecDeque;
use alloc::vec::Vec;
use core::net::SocketAddr;

use weir_proto::reason::{By, Why};
use weir_proto::session::{
    BlockedOn, LegRow, Legs, ListedSession, PAGE_MAX, SearchFor, SessionKey, SessionMatch,
    SessionPage, SessionSearch, SessionSort, SessionState,
};

use super::{SessionId, Table};
use crate::action::Actions;
use crate::base::clock::Now;
use crate::base::least::Least;
use crate::event::{Leg, Side};
use crate::limits::{DETAILS_COST, LISTED_COST, PEER_COST, SEARCH_LOOK_COST};
use crate::session::{Phase, Route, Session};

/// Asks the kernel about legs.
pub trait AskLegs {
    /// The other end's address, if the kernel still knows it.
    fn peer(&mut self, leg: Leg) -> Option<SocketAddr>;
    /// Its TCP_INFO, and both addresses.
    fn describe(&mut self, leg: Leg) -> Option<LegRow>;
}

/// The outcome of one step of a search.
#[derive(Debug)]
pub enum Found {
    /// Part of the answer.
    Page(Box<SessionPage>),
    /// This session was ended: its actions are to be done.
    Ended(SessionId),
}

/// A session that may be listed. The least comes first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct SearchCandidate {
    rank: u64,
    accepted_at: Now,
    id: SessionId,
}

/// The searches, and how far the first of them has come.
#[derive(Debug, Default)]
pub(super) struct Searching {
    queue: VecDeque<SessionSearch>,
    /// The next slot, or the next of the sessions that are named.
    next: u32,
    matched: u64,
    /// The first ones so far.
    best: Least<SearchCandidate>,
    /// To be told. `None` until every slot was looked at.
    chosen: Option<Vec<SearchCandidate>>,
}

impl Table {
    /// Begins to search.
    pub fn search(&mut self, search: SessionSearch) {
        self.searching.queue.push_back(search);
    }

    /// True while [`Table::search_next`] has something to do.
    #[must_use]
    pub fn is_searching(&self) -> bool {
        !self.searching.queue.is_empty()
    }

    /// Goes on with the first search. `scan` is how many slots may still be looked at in this turn.
    pub fn search_next(
        &mut self,
        now: Now,
        scan: &mut u32,
        ask: &mut impl AskLegs,
        out: &mut Actions,
    ) -> Option<Found> {
        let mut searching = core::mem::take(&mut self.searching);
        let found = searching.step(self, now, scan, (ask, out));
        self.searching = searching;
        found
    }

    /// The session's row.
    fn listed(&self, id: SessionId, now: Now, ask: &mut impl AskLegs) -> Option<ListedSession> {
        let session = self.sessions.get(id)?;
        let client = self.client_of(id, session, ask);
        Some(self.row((id, session), client, now))
    }

    /// The client: the one that a header told of, or the other end of the connection.
    fn client_of(
        &self,
        id: SessionId,
        session: &Session,
        ask: &mut impl AskLegs,
    ) -> Option<SocketAddr> {
        let peer = || session.leg(Side::Client).and_then(|leg| ask.peer(leg));
        self.told_client(id).or_else(peer)
    }

    /// The row of a session with that client.
    pub(super) fn row(
        &self,
        (id, session): (SessionId, &Session),
        client: Option<SocketAddr>,
        now: Now,
    ) -> ListedSession {
        ListedSession {
            key: key(id),
            listener: self.view.listeners()[session.route.listener.index()].id,
            pool: self.view.pools()[session.route.pool.index()].id,
            backend: self.backend_of(session),
            client,
            route: self.taken.get(id.slot).and_then(|taken| taken.place),
            server_name: self.taken.get(id.slot).and_then(|taken| taken.server_name.clone()),
            age_ms: millis(session.accepted_at, now),
            idle_ms: millis(session.moved_at, now),
            received_bytes: session.traffic.received,
            sent_bytes: session.traffic.sent,
            rate_bytes_per_s: session.traffic.rate(now).into(),
            state: session.state(),
            blocked_on: session.blocked_on(now),
            blocked_ms: session.blocked_ms().map(u64::from),
            version: session.born.version(),
            legs: None,
        }
    }

    fn matches(&self, session: &Session, of: &SessionMatch, now: Now) -> bool {
        let Route { listener, pool, .. } = session.route;
        let is_among = |ids: &Vec<_>| self.backend_of(session).is_some_and(|id| ids.contains(&id));
        of.version.is_none_or(|version| session.born.version() == version)
            && of.pool.is_none_or(|id| self.view.pools()[pool.index()].id == id)
            && of.listener.is_none_or(|id| self.view.listeners()[listener.index()].id == id)
            && of.backends.as_ref().is_none_or(is_among)
            && millis(session.accepted_at, now) >= of.older_ms
            && millis(session.moved_at, now) >= of.idle_ms
            && !(of.stalled && session.blocked_on(now).is_none())
    }
}

impl Searching {
    fn step(
        &mut self,
        table: &mut Table,
        now: Now,
        scan: &mut u32,
        (ask, out): (&mut impl AskLegs, &mut Actions),
    ) -> Option<Found> {
        let search = self.queue.pop_front()?;
        if self.chosen.is_none() {
            while let Some(id) = self.next_match(table, &search, (now, scan), ask) {
                self.matched += 1;
                match search.want {
                    SearchFor::Rows { sort, limit } => {
                        let session = table.sessions.get(id).expect("it has just matched");
                        self.best.offer(candidate(id, session, sort, now), limit);
                    }
                    SearchFor::Details => self.best.offer(plain(id), u32::MAX),
                    SearchFor::Kill => {
                        table.end(id, By::Operator, Why::Killed, now, out);
                        self.queue.push_front(search);
                        return Some(Found::Ended(id));
                    }
                }
            }
            if !self.has_looked_at_all(table, &search) {
                self.queue.push_front(search);
                return None; // as many as one turn may
            }
            // In no order: to sort a hundred thousand takes longer than a turn may, and control
            // puts the rows of all shards in order anyway.
            self.chosen = Some(self.best.take());
        }
        let page = self.page(table, &search, (now, scan), ask);
        match &page {
            Some(page) if page.is_last => {
                *self =
                    Searching { queue: core::mem::take(&mut self.queue), ..Searching::default() }
            }
            Some(_) | None => self.queue.push_front(search),
        }
        page.map(|page| Found::Page(Box::new(page)))
    }

    /// The next session that matches. `None`: there is no other, or this turn has looked at enough.
    fn next_match(
        &mut self,
        table: &Table,
        search: &SessionSearch,
        (now, scan): (Now, &mut u32),
        ask: &mut impl AskLegs,
    ) -> Option<SessionId> {
        let asks = search.of.client.is_some();
        let cost = if asks { SEARCH_LOOK_COST + PEER_COST } else { SEARCH_LOOK_COST };
        while !self.has_looked_at_all(table, search) {
            *scan = scan.checked_sub(cost)?;
            let place = self.next;
            self.next += 1;
            let id = match &search.of.only {
                Some(keys) => Some(id_of(keys[place as usize])),
                None => table.sessions.at(place),
            };
            let Some(id) = id else { continue };
            let Some(session) = table.sessions.get(id) else { continue };
            let is_over = matches!(session.phase(), Phase::Closing(_));
            if (is_over && search.want == SearchFor::Kill)
                || !table.matches(session, &search.of, now)
            {
                continue;
            }
            let Some(network) = search.of.client else { return Some(id) };
            let peer = table.client_of(id, session, ask);
            if peer.is_some_and(|peer| network.contains(peer.ip())) {
                return Some(id);
            }
        }
        None
    }

    fn has_looked_at_all(&self, table: &Table, search: &SessionSearch) -> bool {
        let count = search.of.only.as_ref().map(Vec::len);
        self.next as usize >= count.unwrap_or(table.sessions.used() as usize)
    }

    /// Tells some of the chosen. `None`: this turn has done enough.
    fn page(
        &mut self,
        table: &Table,
        search: &SessionSearch,
        (now, scan): (Now, &mut u32),
        ask: &mut impl AskLegs,
    ) -> Option<SessionPage> {
        let chosen = self.chosen.as_mut().expect("all were looked at");
        let details = search.want == SearchFor::Details;
        let cost = if details { DETAILS_COST } else { LISTED_COST };
        let mut page = SessionPage { number: search.number, ..SessionPage::default() };
        while page.rows.len() < PAGE_MAX
            && let Some(SearchCandidate { id, .. }) = chosen.last().copied()
        {
            let Some(left) = scan.checked_sub(cost) else { break };
            *scan = left;
            chosen.pop();
            let Some(mut row) = table.listed(id, now, ask) else { continue };
            if details {
                let session = table.sessions.get(id).expect("it has just been listed");
                let [client, backend] =
                    Side::ALL.map(|side| session.leg(side).and_then(|leg| ask.describe(leg)));
                row.legs = Some(Box::new(Legs { client, backend }));
            }
            page.rows.push(row);
        }
        page.is_last = chosen.is_empty();
        page.matched = self.matched;
        (page.is_last || !page.rows.is_empty()).then_some(page)
    }
}

fn plain(id: SessionId) -> SearchCandidate {
    SearchCandidate { rank: 0, accepted_at: Now::from_nanos(0), id }
}

fn candidate(id: SessionId, session: &Session, sort: SessionSort, now: Now) -> SearchCandidate {
    let rank = match sort {
        SessionSort::Age => 0,
        SessionSort::Idle => session.moved_at.nanos,
        SessionSort::Bytes => u64::MAX - session.traffic.total(),
        SessionSort::Rate => u64::MAX - u64::from(session.traffic.rate(now)),
    };
    SearchCandidate { rank, accepted_at: session.accepted_at, id }
}

fn key(SessionId { slot, generation }: SessionId) -> SessionKey {
    SessionKey { slot, generation }
}

fn id_of(SessionKey { slot, generation }: SessionKey) -> SessionId {
    SessionId { slot, generation }
}

/// Whole milliseconds from then to now.
fn millis(then: Now, now: Now) -> u64 {
    now.millis().saturating_sub(then.millis())
}

impl Session {
    /// Its phase in the words of a list.
    fn state(&self) -> SessionState {
        match self.phase() {
            Phase::Inspecting(_) => SessionState::Inspecting,
            Phase::Connecting(_) if self.is_in_queue => SessionState::Queued,
            Phase::Connecting(_) => SessionState::Connecting,
            Phase::Relaying(_) if self.has_fin() => SessionState::HalfClosed,
            Phase::Relaying(_) => SessionState::Relaying,
            Phase::Closing(_) => SessionState::Closing,
        }
    }

    fn blocked_on(&self, now: Now) -> Option<BlockedOn> {
        let blocked = Side::ALL.map(|side| self.is_relaying() && self.takes_nothing(side, now));
        match blocked {
            [true, true] => Some(BlockedOn::Both),
            [true, false] => Some(BlockedOn::Client),
            [false, true] => Some(BlockedOn::Backend),
            [false, false] => None,
        }
    }
}
