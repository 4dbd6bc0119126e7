//! Answers that grow with the configuration: made a slice at a time, so that one question does not
//! hold the control thread, and finished on another thread where that is possible.

use std::sync::Arc;

use weir_control_core::control::SearchRequest;
use weir_proto::answer::{
    Answer, BackendRow, Backends, ListenerRow, Listeners, PoolRow, Pools, Stats, Status,
};
use weir_proto::request::{Query, Refusal};
use weir_proto::snapshot::{Backend, Listener, Pool, Snapshot};

use super::answers::Queries;
use super::{Shared, past};
use crate::rt;
use weir_control_core::{planner, why};

/// Backends that are looked at in one turn.
pub(crate) const BACKENDS_SLICE: usize = 500;
/// Pools that are looked at in one turn. Each has three histograms.
pub(crate) const POOLS_SLICE: usize = 64;
/// Listeners that are looked at in one turn. Each has some forty settings.
const LISTENERS_SLICE: usize = 64;

impl Shared {
    /// Answers from what is known now. A long answer is of a moment's time, not of a moment: its
    /// configuration is of one version.
    ///
    /// # Errors
    /// There is no such object, or the disk could not be read.
    pub(crate) async fn query(&self, query: Query) -> Result<Answer, Refusal> {
        let snapshot = self.control().snapshot.clone();
        match query {
            Query::Status => {
                let mut status = self.status(&snapshot).await;
                // Live figures have a row for each backend instead.
                status.warnings.extend(self.now(|queries| queries.down_warning()));
                Ok(Answer::Status(status))
            }
            Query::ListenerList => {
                let listeners = self.listener_rows(&snapshot).await;
                Ok(Answer::Listeners(Listeners { listeners }))
            }
            Query::PoolList => {
                let pools = self.pool_rows(&snapshot).await;
                Ok(Answer::Pools(Pools { pools }))
            }
            Query::BackendList { pool: None } => {
                Ok(Answer::Backends(Backends { backends: self.all_backends(&snapshot).await }))
            }
            Query::Stats { subject } if subject.as_deref().unwrap_or_default().is_empty() => {
                Ok(Answer::Stats(self.stats_of_all(&snapshot).await))
            }
            Query::ConfigExport { version } => {
                let reader = self.control().reader();
                let text = move || past::text(&snapshot, version, &*reader);
                rt::blocking(text).await.map(Answer::Config)
            }
            Query::ConfigHistory { before, limit } => {
                let reader = self.control().reader();
                let page = move || past::history(before, limit, &*reader);
                rt::blocking(page).await.map(Answer::History)
            }
            Query::ConfigDiff { toml, origin } => {
                let (ids, load) = (self.control().ids(), self.control().load());
                let base = self.control().base.clone();
                let file =
                    move || planner::difference(&snapshot, ids, (&toml, &origin), &base, &load);
                rt::blocking(file).await.map(Answer::Difference)
            }
            Query::ConfigDrift => {
                let base = self.control().base.clone();
                let drift = rt::blocking(move || planner::drift_rows(&snapshot, &base)).await;
                Ok(Answer::Drift(drift))
            }
            Query::ConfigVersions => {
                let mut held = self.control().aggregate.held_by_version();
                let (current, reader) = (snapshot.version, self.control().reader());
                held.entry(current).or_default();
                let rows = move || past::with_sessions(held, current, &*reader);
                rt::blocking(rows).await.map(Answer::Versions)
            }
            Query::SessionList { filter, sort, limit } => {
                self.search(SearchRequest::List { filter, sort, limit }).await
            }
            Query::WhySession { id } => match self.search(SearchRequest::Show { id }).await? {
                Answer::Session(detail) => {
                    let why =
                        why::of_session(&self.control(), &detail, (self.hash_seed(), rt::now()))?;
                    Ok(Answer::Why(why.into()))
                }
                other => Ok(other),
            },
            Query::Live { history } => Ok(Answer::Live(self.live(history).await.into())),
            Query::SessionShow { id } => self.search(SearchRequest::Show { id }).await,
            query => self.now(|queries| queries.answer(query)),
        }
    }

    /// The state at this moment.
    pub(super) fn now<T>(&self, look: impl FnOnce(&Queries<'_>) -> T) -> T {
        let control = self.control();
        let hash_seed = self.hash_seed();
        look(&Queries { control: &control, now: rt::now(), hash_seed })
    }

    pub(super) async fn status(&self, snapshot: &Snapshot) -> Status {
        let mut status = self.now(|queries| queries.status());
        status.version = snapshot.version.0;
        status.listeners = self.listener_rows(snapshot).await;
        status.pools = self.pool_rows(snapshot).await;
        status
    }

    async fn listener_rows(&self, snapshot: &Snapshot) -> Vec<ListenerRow> {
        let row = |queries: &Queries<'_>, it: &Listener| queries.listener_row(snapshot, it);
        self.in_slices(&snapshot.listeners, LISTENERS_SLICE, row).await
    }

    async fn pool_rows(&self, snapshot: &Snapshot) -> Vec<PoolRow> {
        self.in_slices(&snapshot.pools, POOLS_SLICE, |queries, pool| queries.pool_row(pool)).await
    }

    async fn all_backends(&self, snapshot: &Snapshot) -> Vec<BackendRow> {
        let backends: Vec<(&Pool, &Backend)> = snapshot.backends().collect();
        let row =
            |queries: &Queries<'_>, (pool, it): &(&Pool, &Backend)| queries.backend_row(pool, it);
        let mut rows = self.in_slices(&backends, BACKENDS_SLICE, row).await;
        self.now(|queries| rows.extend(queries.gone_rows(None)));
        rows
    }

    async fn stats_of_all(&self, snapshot: &Snapshot) -> Stats {
        let mut stats = self.control().aggregate.stats_of_all();
        let row =
            |queries: &Queries<'_>, pool: &Arc<Pool>| queries.control.aggregate.pool_row(pool);
        stats.pools = self.in_slices(&snapshot.pools, POOLS_SLICE, row).await;
        stats
    }

    /// A row for each of these; at most `most` of them are looked at in one turn.
    pub(crate) async fn in_slices<T, R>(
        &self,
        all: &[T],
        most: usize,
        row: impl Fn(&Queries<'_>, &T) -> R,
    ) -> Vec<R> {
        // All of it at once: to move a hundred thousand rows as the list grows takes longer than a
        // slice.
        let mut rows = Vec::with_capacity(all.len());
        for slice in all.chunks(most) {
            if !rows.is_empty() {
                rt::give_way().await;
            }
            self.now(|queries| rows.extend(slice.iter().map(|it| row(queries, it))));
        }
        rows
    }
}
