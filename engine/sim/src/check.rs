//! The ledger: a second, simple opinion on configuration, health and counters, kept from the orders
//! that the shard has obeyed and the answers that it has heard, and compared with what it does and
//! reports.

mod access;
mod ages;
mod bounds;
mod caps;
mod connects;
mod falls;
mod figures;
mod groups;
mod handover;
mod headers;
pub mod per_source;
pub mod rates;
mod records;
mod shares;
mod sheds;
mod sources;

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::net::SocketAddr;
use std::sync::Arc;

use weir_proto::ids::{BackendId, Edition, ListenerId, PoolId};
use weir_proto::order::{BackendHealth, HealthWords, Report};
use weir_proto::snapshot::{Backend, Pool, Snapshot};
use weir_proto::spec::Admin;
use weir_proto::stats::ShardStats;

use crate::kernel::{Key, Seen};
use crate::net::of_ip;
use crate::operator::Sent;
use rates::RateBuckets;
pub use records::{LOGGING, Records};
use shares::Shares;
pub use sheds::{Sheds, Stood};
use sources::Sources;

/// What one backend's counters should say.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Tally {
    received: usize,
    sent: usize,
    connects: usize,
    failures: usize,
}

/// Everything that is counted.
#[derive(Clone, Debug, Default)]
struct Counts {
    /// What was in use when they were asked for.
    edition: Edition,
    accepted: usize,
    /// Sessions that were on their way.
    away: usize,
    /// Failed accepts, and clients that came out of a listener after it was shut down.
    not_accepted: usize,
    /// Clients that headers have told of, and that their listener does not serve.
    denied: usize,
    /// Fields that had no room in the header of a backend.
    fields_dropped: usize,
    backends: BTreeMap<BackendId, Tally>,
}

/// A connect that has not been answered, or whose cancel has not.
#[derive(Clone, Debug, Default)]
struct Attempt {
    /// Backends that this session has tried, this one included.
    tried: Vec<BackendId>,
    /// Connects so far, under any version.
    count: usize,
    backend: Option<BackendId>,
    waits_for: u32,
    failed: Option<i32>,
    /// The client has left while it was not connected: what comes of it counts for nothing.
    left: bool,
    /// Under which version it began.
    edition: Edition,
    /// The pool, and since when, while its connect has not ended.
    live: Option<PoolId>,
    asked_at: u64,
    /// When the first of its connects was asked for.
    first_at: u64,
    /// It was taken back before the pool's timeout for connects had passed.
    cut_short: bool,
}

/// What is expected of the shard.
#[derive(Debug, Default)]
pub struct Ledger {
    /// Reports may come later than the turn that they tell of: control's channel is small.
    pub patient: bool,
    /// A backend has come back under another identity: bytes are not known by address any more.
    readdressed: bool,
    snapshot: Option<Arc<Snapshot>>,
    ids: BTreeMap<SocketAddr, BackendId>,
    /// Those of them whose last failure was a close before the first byte.
    closes: BTreeSet<BackendId>,
    /// Sessions of which a byte of the backend's has come.
    answered: BTreeSet<Key>,
    /// What was last said of each, or seen; absent: it is up.
    health: BTreeMap<BackendId, BackendHealth>,
    failures: BTreeMap<BackendId, u32>,
    said: figures::Said,
    attempts: BTreeMap<Key, Attempt>,
    /// Backends that some session has tried without a socket: who has tried them is not known.
    unopened: BTreeSet<BackendId>,
    ejected: Vec<BackendId>,
    /// Backends that are down by this shard's own doing, and control has said nothing of since.
    own_ejections: BTreeSet<BackendId>,
    /// Whose share grows, and what it got.
    shares: Shares,
    /// A kill or a stop was obeyed: which connects still count is not known exactly any more.
    fuzzy: bool,
    counts: Counts,
    /// Who listens at each address, or did last.
    listens: BTreeMap<SocketAddr, ListenerId>,
    /// Clients that have waited for a place after their accept: when one counts is not known
    /// exactly, and whether it does neither, for its listener may close before.
    late: u64,
    /// No client is let in any more.
    draining: bool,
    /// Where the last client came in, if nothing was seen since.
    came_in: Option<SocketAddr>,
    /// What the answers to `Collect` should say.
    collected: VecDeque<Counts>,
    /// What the answers did say.
    accepted: u64,
    rejected: u64,
    /// Sessions that ended because a header told of a client that is not served.
    denied: u64,
    headers: headers::SentHeaders,
    /// Sessions whose client was found to be served.
    served: BTreeSet<Key>,
    ended: u64,
    folded: BTreeMap<BackendId, Tally>,
    adopted: Edition,
    /// A snapshot that was adopted has not been given back.
    kept: u32,
    /// Orders to kill a backend's sessions, or all (`None`), that were obeyed in the last turn.
    cut: Vec<Option<BackendId>>,
    pub sheds: Sheds,
    sources: Sources,
    pub records: Records,
    ages: ages::Ages,
    outs: falls::Outs,
    expected_editions: VecDeque<Edition>,
    /// Clients of each listener that were let in.
    admitted: BTreeMap<ListenerId, u64>,
    admitted_before: BTreeMap<ListenerId, u64>,
    allowed: RateBuckets<ListenerId>,
    limited: per_source::Limited,
    known_sources: per_source::KnownSources,
    /// When the last turn was.
    now: u64,
    /// A session was handed over in it, or ever.
    has_renamed: bool,
    hands_over: bool,
    /// Sessions of each listener after the turn before.
    before: BTreeMap<ListenerId, u32>,
    /// The same of each backend.
    loads_before: BTreeMap<BackendId, u32>,
    caps: caps::Caps,
    /// Times that each kind of check had something to check.
    pub connects_checked: u64,
    pub ejections_checked: u64,
}

impl Ledger {
    /// The shard has obeyed these orders before anything else in its turn at `now` (nanoseconds).
    pub fn obeyed(&mut self, orders: Vec<Sent>, now: u64) {
        for order in orders {
            match order {
                Sent::Load(list) => self.said.load(&list, self.snapshot.as_deref()),
                Sent::Adopt(snapshot, words) => {
                    self.adopt(snapshot, now);
                    self.hear_health(words, now);
                }
                Sent::Health(words) => self.hear_health(words, now),
                Sent::Collect => self.collected.push_back(self.counts.clone()),
                Sent::Kill(backend) => {
                    self.fuzzy = true;
                    self.cut.push(Some(backend));
                }
                Sent::Shed(of, count) => self.sheds.obeyed(of, count),
                Sent::Drain => self.draining = true,
                Sent::Serve => self.draining = false,
                Sent::Stop => {
                    (self.fuzzy, self.draining) = (true, true);
                    self.cut.push(None);
                }
                Sent::Other => {}
            }
        }
    }

    fn hear_health(&mut self, words: HealthWords, now: u64) {
        for (backend, health) in words {
            if self.backend(backend).is_none() {
                continue;
            }
            self.failures.insert(backend, 0);
            self.closes.remove(&backend);
            let was_own = self.own_ejections.remove(&backend);
            let before = self.health.insert(backend, health).unwrap_or(BackendHealth::Up);
            // After a kill not every ejection is known: it may have been up all along, or down.
            if self.fuzzy && (was_own || before == BackendHealth::Up) {
                self.said.forget(backend);
            } else {
                self.said.health(backend, (before, health), now);
            }
            self.shares.hear(backend, (before, health), now);
        }
    }

    fn adopt(&mut self, snapshot: Arc<Snapshot>, now: u64) {
        self.adopt_sources(&snapshot);
        self.said.adopt(self.snapshot.as_deref(), &snapshot, now);
        self.shares.adopt(self.snapshot.as_deref(), &snapshot, now);
        self.ages.adopt(&snapshot, now);
        self.expected_editions.push_back(snapshot.edition());
        self.counts.edition = snapshot.edition();
        for listener in &snapshot.listeners {
            if listener.accepting {
                let owned = listener.bind.iter().map(|address| (*address, listener.id));
                self.listens.extend(owned);
            }
        }
        for (_, backend) in snapshot.backends() {
            let before = self.ids.insert(of_ip(backend.address), backend.id);
            self.readdressed |= before.is_some_and(|before| before != backend.id);
        }
        self.snapshot = Some(snapshot);
        // What is gone is forgotten; an identity never comes back.
        let known: Vec<BackendId> = self.failures.keys().copied().collect();
        for id in known {
            if self.backend(id).is_none() {
                self.failures.remove(&id);
                self.own_ejections.remove(&id);
                self.health.remove(&id);
            }
        }
    }

    fn backend(&self, id: BackendId) -> Option<&Backend> {
        self.place(id).map(|(_, backend)| backend)
    }

    fn place(&self, id: BackendId) -> Option<(&Pool, &Backend)> {
        let mut all = self.snapshot.iter().flat_map(|snapshot| snapshot.backends());
        all.find(|(_, backend)| backend.id == id)
    }

    /// Backends that are up, and those that would get sessions if they were; one that has never
    /// been up beside others is not missed. Of one that stands aside control knows more.
    fn members(&self, pool: &Pool) -> (usize, usize) {
        let takes = |it: &&Backend| it.admin == Admin::Ready && it.weight > 0;
        let members: Vec<&Backend> = pool.backends.iter().filter(takes).collect();
        let count = |which: &dyn Fn(BackendHealth) -> bool| {
            members.iter().filter(|backend| which(self.health_of(backend.id))).count()
        };
        let up = count(&|health| matches!(health, BackendHealth::Up | BackendHealth::Aside));
        match count(&|health| health != BackendHealth::Unproven) {
            0 => (up, members.len()),
            proven => (up, proven),
        }
    }

    fn health_of(&self, id: BackendId) -> BackendHealth {
        self.health.get(&id).copied().unwrap_or(BackendHealth::Up)
    }

    fn is_healthy(&self, id: BackendId) -> bool {
        self.health_of(id) == BackendHealth::Up
    }

    /// What the shard did and heard after it had obeyed, in a turn at `now` (nanoseconds).
    ///
    /// # Errors
    /// What it should not have done.
    pub fn saw(&mut self, seen: &[Seen], now: u64) -> Result<(), String> {
        self.now = now;
        self.came_in = None;
        self.has_renamed = false;
        for seen in seen {
            if !matches!(seen, Seen::Asked { .. }) {
                self.came_in = None;
            }
            self.check_sources(seen, now)?;
            match *seen {
                Seen::Accepted { ok: true, address, client, .. }
                    if self.lets_in(address) && self.takes(address, client) =>
                {
                    self.counts.accepted += 1;
                    let id = address.and_then(|address| self.listens.get(&address));
                    *self.admitted.entry(id.copied().unwrap_or_default()).or_default() += 1;
                    self.came_in = address;
                }
                Seen::Accepted { .. } => self.counts.not_accepted += 1,
                Seen::Told { address, client, dropped } => self.told(address, client, dropped),
                // The line's.
                Seen::Starved { .. } | Seen::NoRoom { .. } | Seen::Receives { .. } => {}
                Seen::From { .. } | Seen::NoSource { .. } => {}
                Seen::Asked { session, address, fresh } => {
                    self.asked((session, fresh), address, now)?;
                }
                Seen::NotOpened { address } => self.unopened.extend(self.ids.get(&address)),
                Seen::CancelsConnect { session } => {
                    self.cancelled(session, now);
                }
                Seen::ClientLeft { session } => self.client_left(session),
                Seen::Answered { session, connected } => self.answered(session, connected),
                Seen::Received { session, address, count } => {
                    self.tally(address).received += count;
                    self.first_byte(session);
                }
                Seen::Dropped { session } => {
                    self.dropped(session);
                    self.records.saw(Seen::Dropped { session });
                }
                Seen::Sent { address, count } => self.tally(address).sent += count,
                Seen::Renamed { from, to } => self.renamed(from, to, now),
                seen @ (Seen::Ended { .. } | Seen::Lost { .. }) => self.records.saw(seen),
            }
        }
        self.settle_sources(now)
    }

    /// A client gets in if the listener that has the address, or had it last, is open; also out of
    /// a socket that is shut down.
    fn lets_in(&self, address: Option<SocketAddr>) -> bool {
        let id = address.and_then(|address| self.listens.get(&address));
        let mut all = self.snapshot.iter().flat_map(|snapshot| &snapshot.listeners);
        all.any(|listener| listener.accepting && Some(&listener.id) == id) && !self.draining
    }

    fn tally(&mut self, address: SocketAddr) -> &mut Tally {
        let id = self.ids.get(&address).copied().unwrap_or_default();
        self.counts.backends.entry(id).or_default()
    }

    fn edition(&self) -> Edition {
        self.snapshot.as_ref().map_or_else(Edition::default, |snapshot| snapshot.edition())
    }

    /// What the shard said after a turn.
    ///
    /// # Errors
    /// What it should not have said, or should have.
    pub fn reported(&mut self, reports: &[Report]) -> Result<(), String> {
        let mut ejected = Vec::new();
        for report in reports {
            match report {
                Report::Adopted { edition, .. } => {
                    // Control says the newest one again when it comes with more sockets.
                    let again = self.patient && *edition == self.adopted;
                    if *edition <= self.adopted && !again {
                        return Err(format!("{edition:?} after {:?}", self.adopted));
                    }
                    self.adopted = *edition;
                    self.kept += 1;
                    if self.expected_editions.pop_front() != Some(*edition) {
                        return Err(format!("{edition:?} is not the one that was given"));
                    }
                }
                Report::Stats(stats) => self.compare(stats)?,
                Report::SessionLog { records, .. } => {
                    self.ages.read(records)?;
                    self.outs.read(records)?;
                    self.records.read(records)?;
                }
                Report::Ejected { backend, .. } => ejected.push(*backend),
                Report::Retired(_) => self.kept = self.kept.saturating_sub(1),
                Report::Started { .. }
                | Report::Ended { .. }
                | Report::Sessions { .. }
                | Report::Gave { .. }
                | Report::Took { .. }
                | Report::Want { .. } => {}
            }
        }
        if self.patient {
            return self.ejections_in_time(&ejected);
        }
        if !self.expected_editions.is_empty() {
            return Err(format!("versions {:?} are not confirmed", self.expected_editions));
        }
        if self.kept > 0 {
            return Err(format!("{} snapshots are not given back", self.kept));
        }
        let mut expected = std::mem::take(&mut self.ejected);
        self.ejections_checked += expected.len() as u64;
        expected.sort();
        ejected.sort();
        if expected != ejected && !self.fuzzy {
            return Err(format!("ejected {ejected:?}, expected {expected:?}"));
        }
        Ok(())
    }

    /// Counters against what was seen when the order to collect was obeyed.
    fn compare(&mut self, stats: &ShardStats) -> Result<(), String> {
        let Some(expected) = self.collected.pop_front() else {
            return Err("statistics that nobody asked for".into());
        };
        if stats.edition != expected.edition {
            let (edition, expected) = (stats.edition, expected.edition);
            return Err(format!("statistics of {edition:?}; {expected:?} is in use"));
        }
        let accepted: u64 = stats.listeners.iter().map(|row| row.counts.accepted).sum();
        self.accepted += accepted;
        self.rejected += stats.listeners.iter().flat_map(|row| row.counts.rejected).sum::<u64>();
        self.heard_of_clients(stats, &expected)?;
        self.limited.read(stats);
        self.ended += stats.pools.iter().flat_map(|it| it.ends.iter()).map(|it| it.1).sum::<u64>();
        let generations: u32 = stats.generations.iter().map(|(_, sessions)| sessions).sum();
        if generations != stats.sessions_now {
            let now = stats.sessions_now;
            return Err(format!("{now} sessions, and {:?} by version", stats.generations));
        }
        self.sheds.ended(stats)?;
        self.ages.read(&stats.session_log)?;
        self.outs.read(&stats.session_log)?;
        self.records.came(stats)?;
        let now = u64::from(stats.sessions_now) + expected.away as u64;
        if self.accepted != self.ended + now {
            let (accepted, ended) = (self.accepted, self.ended);
            let away = expected.away;
            return Err(format!("{accepted} accepted, but {ended} ended and {now} live ({away})"));
        }
        let heard = (expected.accepted, expected.not_accepted);
        let (early, limited) = (self.limited.early(), self.limited.rejected);
        let rejected = self.rejected - self.denied - limited;
        let differ = self.accepted + early != heard.0 as u64 || rejected > heard.1 as u64;
        if differ && self.late == 0 {
            let (accepted, rejected) = (self.accepted, self.rejected);
            return Err(format!("{accepted} accepted, {rejected} rejected; heard {heard:?}"));
        }
        for row in &stats.backends {
            let tally = self.folded.entry(row.id).or_default();
            let add = |sum: &mut usize, count: u64| *sum += usize::try_from(count).unwrap_or(0);
            add(&mut tally.received, row.counts.received_bytes);
            add(&mut tally.sent, row.counts.sent_bytes);
            add(&mut tally.connects, row.counts.sessions);
            add(&mut tally.failures, row.counts.connect_failures.iter().sum());
        }
        self.compare_backends(&expected)
    }

    fn compare_backends(&self, expected: &Counts) -> Result<(), String> {
        if self.readdressed {
            return Ok(());
        }
        let ids = expected.backends.keys().chain(self.folded.keys());
        for id in ids {
            let counted = self.folded.get(id).copied().unwrap_or_default();
            let heard = expected.backends.get(id).copied().unwrap_or_default();
            let bytes = (counted.received, counted.sent) == (heard.received, heard.sent);
            // A socket that could not be opened counts as a failure too, but nobody hears of it.
            let exact = counted.connects == heard.connects && counted.failures >= heard.failures;
            if !bytes || !(exact || self.fuzzy) {
                return Err(format!("backend {id} counted {counted:?}, but it was {heard:?}"));
            }
        }
        Ok(())
    }

    /// True if a backend is down by this shard's own doing.
    #[must_use]
    pub fn holds_ejected(&self) -> bool {
        !self.own_ejections.is_empty()
    }

    /// Connections that the shard has been given.
    #[must_use]
    pub fn accepted(&self) -> usize {
        self.counts.accepted - usize::try_from(self.limited.early()).unwrap_or(0)
    }

    /// True if every session that was accepted has ended, as far as statistics tell.
    #[must_use]
    pub fn all_ended(&self) -> bool {
        self.accepted == self.ended && self.collected.is_empty()
    }
}

#[cfg(test)]
#[path = "check/tests.rs"]
mod tests;
