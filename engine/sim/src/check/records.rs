//! The session log: each session that a backend takes is opened once, each that ends is closed
//! once, and the records agree with the counters.

use std::collections::BTreeSet;

use weir_proto::reason::{By, CloseReason};
use weir_proto::session::SessionKey;
use weir_proto::session_log::{SessionEvent, SessionLogging, SessionRecord, SessionRecords};
use weir_proto::spec::Percent;
use weir_proto::stats::ShardStats;

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
}

impl Default for Records {
    fn default() -> Records {
        let none = || vec![0; CloseReason::COUNT];
        let (opened, connects) = (0, 0);
        Records { open: BTreeSet::new(), opened, connects, closed: none(), ended: none() }
    }
}

impl Records {
    /// A box has come: what it counts is what its records say.
    ///
    /// # Errors
    /// It is not.
    pub(super) fn came(&mut self, stats: &ShardStats) -> Result<(), String> {
        self.connects += stats.backends.iter().map(|row| row.counts.sessions).sum::<u64>();
        for (sum, count) in self.ended.iter_mut().zip(&stats.ends) {
            *sum += count;
        }
        self.read(&stats.session_log)?;
        if self.opened != self.connects {
            let (opened, connects) = (self.opened, self.connects);
            return Err(format!("{opened} sessions were logged as open, {connects} connected"));
        }
        if self.closed != self.ended {
            return Err("the log has other ends than the counters".into());
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
        let SessionRecord { event, session, connect_us, .. } = record;
        let wrong = |what: &str| Err(format!("{what}: {record:?}"));
        match event {
            SessionEvent::Open if !self.open.insert(session.key) => return wrong("opened twice"),
            SessionEvent::Open => self.opened += 1,
            SessionEvent::Update if connect_us.is_some() != self.open.contains(&session.key) => {
                return wrong("it is open, or it is not");
            }
            SessionEvent::Update => {}
            SessionEvent::Close(reason) => {
                self.closed[reason.index()] += 1;
                if self.open.remove(&session.key) != connect_us.is_some() {
                    return wrong("it was opened, or it was not");
                }
            }
        }
        // The kernel has forgotten the address of one that had reset before it could be asked.
        let may_have_reset = match event {
            SessionEvent::Open | SessionEvent::Update => false,
            SessionEvent::Close(reason) => reason.by == By::Client || connect_us.is_none(),
        };
        if session.client.is_none() && !may_have_reset { wrong("no client") } else { Ok(()) }
    }
}
