//! A version that waits for its confirmation. It is taken back when its time is over, or when a
//! guard trips; the way back is a rollback like any other, which the shell asks for.
//!
//! ```text
//! apply --confirm ──durable──▶ waits ──config confirm──▶ a version like it, which does not wait
//!                                └──time, guard──▶ Output::RollBack ──▶ the version before it
//! ```
//! That it waits stands in its record: a start after a crash goes on waiting, or goes back at once.

use std::collections::BTreeSet;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use weir_core::base::clock::Now;
use weir_proto::answer::{EventKind, TaskKind, TaskRow, TaskState, UnconfirmedRow};
use weir_proto::confirm::{Guard, Guarded, WITHIN};
use weir_proto::ids::PoolId;
use weir_proto::order::BackendHealth;
use weir_proto::request::{ChangeOptions, ChangeRequest, Code, Refusal};
use weir_proto::snapshot::Pool;
use weir_proto::spec::Span;

use super::{Clocks, Control, Output};
use crate::legacy::{maybe_moment, moment};
use crate::record::Unconfirmed;

/// How long after a rollback was asked for it is asked for again, if it was refused.
const AGAIN: Duration = Duration::from_secs(5);
/// Fewer connects are no sample.
const CONNECTS_MIN: u64 = 10;

/// The version that waits; it is the current one.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(super) struct Waiting {
    terms: Unconfirmed,
    /// Its number among the tasks.
    task: u64,
    #[serde(with = "moment")]
    since: Now,
    #[serde(with = "moment")]
    until: Now,
    /// Connects and failed ones until it was sent.
    connects: (u64, u64),
    /// Pools that were below the bound of a guard before.
    unhealthy: BTreeSet<PoolId>,
    /// When the way back was last asked for.
    #[serde(with = "maybe_moment")]
    asked: Option<Now>,
}

impl Control {
    /// The current version waits for a confirmation on these terms.
    pub(super) fn wait_for_confirmation(&mut self, terms: Unconfirmed, moment: Clocks) {
        // A clock that was set back while weir was not there gives no more time than was asked for.
        let left = terms.until_ms.saturating_sub(moment.wall_ms).min(terms.within_ms);
        let healthy = terms.guards.iter().filter(|guard| guard.what == Guarded::Healthy);
        let unhealthy =
            healthy.flat_map(|guard| self.pools_below(*guard)).map(|it| it.id).collect();
        self.unconfirmed = Some(Waiting {
            task: self.tasks.number(),
            since: moment.now,
            until: moment.now + Duration::from_millis(left),
            connects: self.connects(),
            unhealthy,
            asked: None,
            terms,
        });
    }

    /// The version that waits for its confirmation.
    #[must_use]
    pub fn unconfirmed(&self, now: Now) -> Option<UnconfirmedRow> {
        let waiting = self.unconfirmed.as_ref()?;
        Some(UnconfirmedRow {
            version: self.snapshot.version.0,
            rolls_back_to: waiting.terms.previous,
            left_s: (waiting.until - now).as_secs_f64(),
            guards: waiting.terms.guards.iter().map(ToString::to_string).collect(),
        })
    }

    /// The same as a task with its end in sight.
    #[must_use]
    pub fn confirmation(&self, now: Now) -> Option<TaskRow> {
        let waiting = self.unconfirmed.as_ref()?;
        Some(TaskRow {
            id: waiting.task,
            kind: TaskKind::ConfigConfirm,
            subject: format!("version {}", self.snapshot.version),
            since_s: (now - waiting.since).as_secs_f64(),
            done: 0,
            total: 0,
            eta_s: Some((waiting.until - now).as_secs_f64()),
            state: TaskState::Running,
        })
    }

    /// A task as it stands, the wait for a confirmation among them.
    ///
    /// # Errors
    /// There is none of that number, or it ended long ago.
    pub fn task(&self, id: u64, now: Now) -> Result<TaskRow, Refusal> {
        let waits = self.confirmation(now).filter(|it| it.id == id);
        waits.map_or_else(|| Ok(self.tasks.get(id)?.row(now)), Ok)
    }

    /// Counts the tasks that have not ended, in the order of [`TaskKind::ALL`].
    #[must_use]
    pub fn tasks_by_kind(&self) -> [usize; TaskKind::ALL.len()] {
        let mut counts = self.tasks.running_by_kind();
        counts[TaskKind::ConfigConfirm as usize] += usize::from(self.unconfirmed.is_some());
        counts
    }

    /// Refuses to cancel the wait for a confirmation: both of its ends change the configuration.
    pub(super) fn refuse_to_cancel(&self, id: u64) -> Result<(), Refusal> {
        if self.unconfirmed.as_ref().is_none_or(|waiting| waiting.task != id) {
            return Ok(());
        }
        let version = self.snapshot.version;
        let message = format!("task {id} waits for the confirmation of version {version}");
        let hint = "weirctl config confirm keeps it; weirctl config rollback takes it back";
        Err(Refusal::new(Code::Invalid, message, hint))
    }

    /// Refuses what would change the configuration while a version waits, and a confirmation while
    /// none does.
    pub(super) fn refuse_while_unconfirmed(
        &self,
        request: &ChangeRequest,
        options: &ChangeOptions,
        now: Now,
    ) -> Result<(), Refusal> {
        if let Some(confirm) = options.confirm.as_ref().filter(|it| !WITHIN.contains(&it.within_ms))
        {
            let message = format!("{confirm}: a version waits for 1s at least and 24h at most");
            return Err(Refusal::new(Code::Invalid, message, "as in --confirm 30s"));
        }
        let is_confirmation = matches!(request, ChangeRequest::Confirm);
        let Some(row) = self.unconfirmed(now) else {
            if !is_confirmation {
                return Ok(());
            }
            let message = "no version waits for a confirmation".to_owned();
            return Err(Refusal::new(Code::Invalid, message, "weirctl config history"));
        };
        let is_way_back = matches!(
            request, ChangeRequest::Rollback { version } if *version == row.rolls_back_to
        );
        if is_confirmation || is_way_back || options.dry_run {
            return Ok(());
        }
        let message = format!(
            "version {} is not confirmed yet: in {:.0} s it is rolled back to {}",
            row.version, row.left_s, row.rolls_back_to
        );
        let hint =
            format!("weirctl config confirm, or weirctl config rollback {}", row.rolls_back_to);
        Err(Refusal::new(Code::Conflict, message, hint))
    }

    /// Asks for the way back if it is time, or if a guard trips.
    pub(super) fn watch_unconfirmed(&mut self, moment: Clocks) {
        let now = moment.now;
        let Some(waiting) = &self.unconfirmed else { return };
        let was_asked = waiting.asked.is_some_and(|asked| now - asked < AGAIN);
        if was_asked || !self.is_serving() || self.is_handing_over() {
            return;
        }
        let tripped = waiting.terms.guards.iter().find_map(|guard| self.tripped(*guard, waiting));
        let (cause, why) = match tripped {
            Some(why) => (Cause::Guard, why),
            None if now >= waiting.until => {
                let within = Span::from_millis(waiting.terms.within_ms);
                (Cause::Time, format!("it was not confirmed within {within}"))
            }
            None => return,
        };
        let (version, to) = (self.snapshot.version.0, waiting.terms.previous);
        if waiting.asked.is_none() {
            self.rolled_back[cause as usize] += 1;
        }
        tracing::warn!("version {version} is rolled back to {to}: {why}");
        let text = format!("it is rolled back to {to}: {why}");
        self.events.push(EventKind::Config, format!("version {version}"), text, moment.wall_ms);
        if let Some(waiting) = &mut self.unconfirmed {
            waiting.asked = Some(now);
        }
        self.outputs.push(Output::RollBack { version, to, why });
    }

    /// Why the guard trips; `None` if it does not.
    fn tripped(&self, guard: Guard, waiting: &Waiting) -> Option<String> {
        match guard.what {
            Guarded::ConnectErrors => {
                let (all, failed) = self.connects();
                let all = all.saturating_sub(waiting.connects.0);
                let failed = failed.saturating_sub(waiting.connects.1);
                let is_more = failed * 100 > all * u64::from(guard.percent.hundredths());
                (all >= CONNECTS_MIN && is_more)
                    .then(|| format!("{failed} of {all} connects failed ({guard})"))
            }
            Guarded::Healthy => {
                let mut below = self.pools_below(guard);
                let pool = below.find(|pool| !waiting.unhealthy.contains(&pool.id))?;
                let down = self.down_of(pool);
                let all = pool.backends.len();
                Some(format!("{down} of {all} backends of pool {} are down ({guard})", pool.name))
            }
        }
    }

    /// Connects to backends since the start, and those of them that failed.
    fn connects(&self) -> (u64, u64) {
        let (served, failed) = self.aggregate.connects();
        (served + failed, failed)
    }

    /// Pools of which fewer than the guard allows are up.
    fn pools_below(&self, guard: Guard) -> impl Iterator<Item = &Pool> {
        let percent = usize::from(guard.percent.hundredths());
        self.snapshot.pools.iter().map(|pool| &**pool).filter(move |pool| {
            let (up, all) = self.health.members(pool.id);
            // Those that were not checked yet are not up, and not down either.
            up * 100 < all * percent && {
                let all = pool.backends.len();
                (all - self.down_of(pool)) * 100 < all * percent
            }
        })
    }

    fn down_of(&self, pool: &Pool) -> usize {
        let standings = pool.backends.iter().map(|it| self.health.standing(it.id));
        standings.filter(|standing| *standing == BackendHealth::Down).count()
    }
}

/// Why weir has rolled back by itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Cause {
    Time,
    Guard,
}
