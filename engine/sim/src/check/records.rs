//! The session log: each session that a backend takes is opened once, each that ends is closed
//! once, and the records agree with the counters.

use std::collections::{BTreeMap, BTreeSet};

use weir_proto::reason::{By, CloseReason, During, SessionEnd, Side, Why};
use weir_proto::session::{ListedSession, SessionKey};
use weir_proto::session_log::{SessionEvent, SessionLogging, SessionRecord, SessionRecords};
use weir_proto::spec::Percent;
use weir_proto::stats::ShardStats;

use crate::kernel::{Key, Seen};

/// Every session is logged, so that every one can be checked.
pub const LOGGING: SessionLogging =
    SessionLogging { open: true, close: true, every_ms: Some(1_000), sample: Percent::new(100) };

/// The records of one shard.
#[derive(Debug)]
pub struct Records {
    /// Sessions that were opened and not closed.
    open: BTreeSet<SessionKey>,
    opened: u64,
    connects: u64,
    /// By [`CloseReason::index`]: records, and what was counted.
    closed: Vec<u64>,
    ended: Vec<u64>,
    standings: BTreeMap<Key, Standing>,
    /// Sessions that a backend has closed before its first byte.
    dropped: BTreeSet<Key>,
    /// Sessions that backends had and that are over: counted, and logged.
    left: u64,
    parted: u64,
    /// Other names, since when.
    names: BTreeMap<Key, (Key, u64)>,
}

/// The second opinion on one session's end.
#[derive(Clone, Copy, Debug, Default)]
struct Standing {
    /// The sides whose FIN came, in order.
    ended: [Option<Side>; 2],
    /// By side: bytes that it has not acknowledged, and for how long it took nothing, at least and
    /// at most.
    undelivered: [u64; 2],
    blocked_ms: [(u64, u64); 2],
}

impl Default for Records {
    fn default() -> Records {
        let none = || vec![0; CloseReason::COUNT];
        let (opened, connects) = (0, 0);
        Records {
            open: BTreeSet::new(),
            opened,
            connects,
            closed: none(),
            ended: none(),
            standings: BTreeMap::new(),
            dropped: BTreeSet::new(),
            left: 0,
            parted: 0,
            names: BTreeMap::new(),
        }
    }
}

impl Records {
    /// A box has come: what it counts is what its records say.
    ///
    /// # Errors
    /// It is not.
    pub(super) fn came(&mut self, stats: &ShardStats) -> Result<(), String> {
        self.connects += stats.backends.iter().map(|row| row.counts.sessions).sum::<u64>();
        for (reason, count) in stats.pools.iter().flat_map(|row| row.ends.iter()) {
            self.ended[reason.index()] += count;
        }
        let firsts = stats.backends.iter().flat_map(|row| row.counts.first_closes);
        self.left += firsts.sum::<u64>();
        self.read(&stats.session_log)?;
        if self.left != self.parted {
            let (left, parted) = (self.left, self.parted);
            return Err(format!("{left} sessions have left backends; {parted} were logged"));
        }
        if self.opened != self.connects {
            let (opened, connects) = (self.opened, self.connects);
            return Err(format!("{opened} sessions were logged as open, {connects} connected"));
        }
        if self.closed != self.ended {
            return Err("the log has other ends than the counters".into());
        }
        Ok(())
    }

    /// The shard has heard of a FIN, or closed a leg.
    pub(super) fn saw(&mut self, seen: Seen) {
        match seen {
            Seen::Ended { session, side } => {
                let standing = self.standings.entry(session).or_default();
                let place = usize::from(standing.ended[0].is_some());
                standing.ended[place] = Some(side);
            }
            // Its backend's does not count.
            Seen::Dropped { session } => {
                let standing = self.standings.entry(session).or_default();
                let client = standing.ended.contains(&Some(Side::Client));
                standing.ended = [client.then_some(Side::Client), None];
                self.dropped.insert(session);
            }
            Seen::Lost { session, side, bytes, blocked_ms } => {
                let standing = self.standings.entry(session).or_default();
                standing.undelivered[side as usize] = bytes as u64;
                standing.blocked_ms[side as usize] = blocked_ms;
            }
            other => unreachable!("{other:?} is not for the log"),
        }
    }

    /// A session has another name: what is logged from now on has that.
    pub(super) fn renamed(&mut self, from: Key, to: Key, now: u64) {
        self.names.insert(from, (to, now));
        if let Some(standing) = self.standings.remove(&from) {
            self.standings.insert(to, standing);
        }
        if self.dropped.remove(&from) {
            self.dropped.insert(to);
        }
        let [from, to] = [from, to].map(|(slot, generation)| SessionKey { slot, generation });
        if self.open.remove(&from) {
            self.open.insert(to);
        }
    }

    /// The name that a session has now which had this one in a record of that moment.
    fn name_of(&self, key: SessionKey, at: u64) -> Result<SessionKey, String> {
        let mut name = (key.slot, key.generation);
        while let Some((to, since)) = self.names.get(&name) {
            if at > *since && name == (key.slot, key.generation) {
                return Err(format!(
                    "{key:?} has been {to:?} since {since}, and is logged at {at}"
                ));
            }
            name = *to;
        }
        Ok(SessionKey { slot: name.0, generation: name.1 })
    }

    /// The last record of a session says who closed first, what was lost, and for how long each
    /// side has kept the other waiting.
    fn blames(
        &mut self,
        SessionKey { slot, generation }: SessionKey,
        end: &SessionEnd,
        session: &ListedSession,
    ) -> Result<(), String> {
        let standing = self.standings.remove(&(slot, generation)).unwrap_or_default();
        let CloseReason { by, during, why } = end.reason;
        // A FIN that came while the session was ending already does not count.
        let has_fin = during == During::HalfClosed || why == Why::Complete;
        let first = standing.ended[0].filter(|_| has_fin).map_or(by, Side::by);
        let wrong = |what: &str| Err(format!("{what}: {standing:?}, but {end:?} {session:?}"));
        if end.undelivered_bytes != standing.undelivered {
            return wrong("other bytes were not delivered");
        }
        // While no backend has it, its client's FIN may have come before or behind its end.
        let may_be =
            during == During::Connecting && standing.ended[0].map(Side::by) == Some(end.first);
        if end.first != first && !may_be {
            return wrong("another side closed first");
        }
        let mut said = session.blocked_ms.into_iter().zip(standing.blocked_ms);
        if said.any(|(said, (least, most))| said < least || said > most) {
            return wrong("it was blocked for another time");
        }
        Ok(())
    }

    /// True if each session that was opened was closed.
    #[must_use]
    pub fn is_all_closed(&self) -> bool {
        self.open.is_empty()
    }

    /// The shard has said this.
    ///
    /// # Errors
    /// It should not have.
    pub(super) fn read(&mut self, records: &SessionRecords) -> Result<(), String> {
        if records.dropped > 0 {
            return Err(format!("{} records were dropped", records.dropped));
        }
        records.rows.iter().try_for_each(|record| self.record(record))
    }

    fn record(&mut self, record: &SessionRecord) -> Result<(), String> {
        let SessionRecord { event, session, connect_us, at_nanos } = record;
        let key = self.name_of(session.key, *at_nanos)?;
        let wrong = |what: &str| Err(format!("{what}: {record:?}"));
        match event {
            SessionEvent::Open => {
                let name = (key.slot, key.generation);
                if !self.open.insert(key) && !self.dropped.contains(&name) {
                    return wrong("opened twice");
                }
                self.opened += 1;
            }
            SessionEvent::Update if connect_us.is_some() && !self.open.contains(&key) => {
                return wrong("it was not opened");
            }
            SessionEvent::Update => {}
            SessionEvent::Close(end) => {
                self.closed[end.reason.index()] += 1;
                self.blames(key, end, session)?;
                let has_backend = connect_us.is_some();
                self.parted += u64::from(has_backend);
                // One that has none any more was opened, too.
                let was_opened = self.open.remove(&key);
                let was_dropped = self.dropped.remove(&(key.slot, key.generation));
                if was_opened != (has_backend || was_dropped) {
                    return wrong("it was opened, or it was not");
                }
            }
        }
        // The kernel has forgotten the address of one that had reset before it could be asked.
        let may_have_reset = match event {
            SessionEvent::Open | SessionEvent::Update => false,
            SessionEvent::Close(end) => end.reason.by == By::Client || connect_us.is_none(),
        };
        if session.client.is_none() && !may_have_reset { wrong("no client") } else { Ok(()) }
    }
}
