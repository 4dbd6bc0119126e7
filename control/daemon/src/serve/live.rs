//! Figures once a second for those who look on: made once for all of them, with a bounded number of
//! rows, however large the configuration is. Their order is found and their text made on another
//! thread.

use std::cell::RefCell;
use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet};
use std::future::Future;
use std::sync::Arc;

use weir_control_core::aggregate::Aggregate;
use weir_proto::answer::{
    BackendRow, Live, LiveBackend, LiveFigures, LiveListener, LivePercentiles, LivePool,
    Percentiles, PoolRow, PoolStatsRow,
};
use weir_proto::ids::BackendId;
use weir_proto::json::{self, Layout};
use weir_proto::snapshot::{Backend, Snapshot};

use super::Shared;
use super::answers::{Queries, gone_row};
use super::notify::TaskLock;
use super::slices::{BACKENDS_SLICE, POOLS_SLICE};
use crate::rt;

/// The most rows of pools and of backends. There are no more listeners than rows of theirs.
const POOLS_MAX: usize = 256;
const BACKENDS_MAX: usize = 512;
/// The most removed backends that have sessions.
const GONE_MAX: usize = 64;

/// A text or a value that is made once for each point of the history.
#[derive(Debug)]
pub(super) struct OncePerPoint<T> {
    made: RefCell<Option<(u64, Arc<T>)>>,
    lock: TaskLock,
}

impl<T> Default for OncePerPoint<T> {
    fn default() -> OncePerPoint<T> {
        OncePerPoint { made: RefCell::default(), lock: TaskLock::default() }
    }
}

impl<T> OncePerPoint<T> {
    async fn get(&self, point: impl Fn() -> u64, make: impl Future<Output = T>) -> Arc<T> {
        let _turn = self.lock.enter().await;
        let now = point();
        if let Some((of, text)) = &*self.made.borrow()
            && *of == now
        {
            return text.clone();
        }
        let text = Arc::new(make.await);
        *self.made.borrow_mut() = Some((now, text.clone()));
        text
    }
}

/// Where a backend stands in the snapshot: its pool, and its place there.
type Place = (usize, usize);

impl Shared {
    /// How many points of the history there have been.
    pub(crate) fn live_points(&self) -> u64 {
        self.control().live.count()
    }

    /// Ends when there are more points than `seen`.
    pub(crate) async fn live_points_after(&self, seen: u64) {
        self.notify.until(|| (self.live_points() > seen).then_some(())).await;
    }

    /// The history as JSON.
    pub(crate) async fn live_history(&self) -> Arc<String> {
        let make = async {
            let history = self.control().live.all(rt::now(), rt::wall_ms());
            rt::blocking(move || json::document(&history, Layout::Line)).await
        };
        self.live_history.get(|| self.live_points(), make).await
    }

    /// The figures of this second as JSON.
    pub(crate) async fn live_figures(&self) -> Arc<String> {
        let make = async {
            let figures = self.live_values().await;
            rt::blocking(move || json::document(&*figures, Layout::Line)).await
        };
        self.live_figures.get(|| self.live_points(), make).await
    }

    async fn live_values(&self) -> Arc<LiveFigures> {
        self.live_values.get(|| self.live_points(), self.figures()).await
    }

    /// The figures of this second, for the control socket.
    pub(super) async fn live(&self, history: bool) -> Live {
        let history = history.then(|| self.control().live.all(rt::now(), rt::wall_ms()));
        Live { history, figures: (*self.live_values().await).clone() }
    }

    async fn figures(&self) -> LiveFigures {
        let wall_ms = rt::wall_ms();
        let snapshot = self.control().snapshot.clone();
        let status = self.status(&snapshot).await;
        let mut figures = self.now(|queries| {
            let control = queries.control;
            LiveFigures {
                at: wall_ms as f64 / 1e3,
                point: control.live.newest(queries.now, wall_ms),
                pools: Vec::new(),
                listeners: Vec::new(),
                backends: Vec::new(),
                backends_total: 0,
                tasks: queries.tasks().tasks,
                unconfirmed: status.unconfirmed.clone(),
                last_event: control.events.last(),
                status,
            }
        });
        let aggregate = |id| self.control().aggregate.listener_rate(id);
        let rows = snapshot.listeners.iter().zip(&figures.status.listeners);
        figures.listeners = rows
            .map(|(listener, row)| LiveListener {
                row: row.clone(),
                sessions_per_s: aggregate(listener.id),
            })
            .collect();
        let chosen = chosen_pools(&figures.status.pools);
        let all = core::mem::take(&mut figures.status.pools);
        figures.status.pools = chosen.iter().map(|index| all[*index].clone()).collect();
        rt::give_way().await;
        let pools: Vec<(&usize, &PoolRow)> = chosen.iter().zip(&figures.status.pools).collect();
        let row = |queries: &Queries<'_>, (index, row): &(&usize, &PoolRow)| {
            let (pool, aggregate) = (&snapshot.pools[**index], &queries.control.aggregate);
            live_pool(row, aggregate.pool_row(pool), aggregate.pool_rate(pool.id))
        };
        figures.pools = self.in_slices(&pools, POOLS_SLICE, row).await;
        let places;
        (places, figures.backends_total) = self.chosen_backends(&snapshot).await;
        rt::give_way().await;
        let row = |queries: &Queries<'_>, (pool, index): &Place| {
            let pool = &snapshot.pools[*pool];
            let backend = &pool.backends[*index];
            let row = queries.backend_row(pool, backend);
            live_backend(row, &queries.control.aggregate, backend.id)
        };
        figures.backends = self.in_slices(&places, BACKENDS_SLICE, row).await;
        self.now(|queries| {
            let gone = queries.control.aggregate.lingering().take(GONE_MAX);
            figures.backends.extend(gone.map(|gone| {
                let id = gone.id;
                live_backend(gone_row(gone), &queries.control.aggregate, id)
            }));
        });
        figures
    }

    /// The places of the backends that are shown, and how many there are in all.
    async fn chosen_backends(&self, snapshot: &Arc<Snapshot>) -> (Vec<Place>, u64) {
        let (held, down): (Vec<_>, BTreeSet<_>) = {
            let control = self.control();
            (control.aggregate.held_rows(), control.health.down().collect())
        };
        let snapshot = snapshot.clone();
        rt::blocking(move || {
            let mut sessions: BTreeMap<BackendId, u64> = BTreeMap::new();
            for (id, count) in held {
                *sessions.entry(id).or_default() += u64::from(count);
            }
            let is_up = |it: &Backend| it.admin.is_ready() && !down.contains(&it.id);
            let held = |it: &Backend| sessions.get(&it.id).copied().unwrap_or(0);
            chosen_places(&snapshot, is_up, held)
        })
        .await
    }
}

fn chosen_places(
    snapshot: &Snapshot,
    is_up: impl Fn(&Backend) -> bool,
    held: impl Fn(&Backend) -> u64,
) -> (Vec<Place>, u64) {
    let mut ranked: Vec<(bool, Reverse<u64>, Place)> = Vec::new();
    for (pool, it) in snapshot.pools.iter().enumerate() {
        let rank = |(index, it)| (is_up(it), Reverse(held(it)), (pool, index));
        ranked.extend(it.backends.iter().enumerate().map(rank));
    }
    let total = ranked.len() as u64;
    ranked.sort_unstable();
    ranked.truncate(BACKENDS_MAX);
    (ranked.into_iter().map(|(_, _, place)| place).collect(), total)
}

/// The indices of the pools that are shown.
fn chosen_pools(rows: &[PoolRow]) -> Vec<usize> {
    let mut chosen: Vec<usize> = (0..rows.len()).collect();
    let rank = |index: &usize| {
        let row = &rows[*index];
        (row.backends_up > 0, !row.panic, Reverse(row.sessions), *index)
    };
    chosen.sort_unstable_by_key(rank);
    chosen.truncate(POOLS_MAX);
    chosen
}

fn live_backend(row: BackendRow, aggregate: &Aggregate, id: BackendId) -> LiveBackend {
    let rate = aggregate.backend_rate(id);
    let durations = aggregate.recent_durations(id);
    LiveBackend {
        row,
        sessions_per_s: rate.sessions,
        received_bytes_per_s: rate.received_bytes,
        sent_bytes_per_s: rate.sent_bytes,
        connect_s: durations.and_then(|it| live_percentiles(it.connect)),
        first_byte_s: durations.and_then(|it| live_percentiles(it.first_byte)),
    }
}

fn live_pool(
    row: &PoolRow,
    stats: PoolStatsRow,
    rate: weir_control_core::aggregate::Rate,
) -> LivePool {
    LivePool {
        name: stats.name,
        strategy: row.strategy,
        backends_up: row.backends_up,
        backends: row.backends,
        panic: row.panic,
        groups: row.groups.clone(),
        sessions: stats.sessions,
        sessions_stalled: stats.sessions_stalled,
        sessions_queued: stats.sessions_queued,
        sessions_total: stats.sessions_total,
        received_bytes_total: stats.received_bytes_total,
        sent_bytes_total: stats.sent_bytes_total,
        no_backend_total: stats.no_backend_total,
        retries_total: stats.retries_total,
        retry_budget_exhausted_total: stats.retry_budget_exhausted_total,
        sessions_per_s: rate.sessions,
        received_bytes_per_s: rate.received_bytes,
        sent_bytes_per_s: rate.sent_bytes,
        connect_s: live_percentiles(stats.connect_duration_s),
    }
}

/// `None` if nothing was counted.
fn live_percentiles(of: Percentiles) -> Option<LivePercentiles> {
    of.p50.zip(of.p99).map(|(p50, p99)| LivePercentiles { p50, p99 })
}

#[cfg(test)]
mod tests {
    use super::*;
    use weir_proto::ids::{IdSource, Version};
    use weir_proto::spec::Strategy;

    fn row(name: &str, backends_up: u64, sessions: u64, panic: bool) -> PoolRow {
        let (name, strategy) = (name.to_owned(), Strategy::Random);
        PoolRow { name, strategy, backends_up, backends: 3, sessions, panic, groups: Vec::new() }
    }

    #[test]
    fn pools_in_trouble_come_first_and_few_are_shown() {
        let rows = [
            row("quiet", 3, 0, false),
            row("busy", 3, 9, false),
            row("panic", 1, 0, true),
            row("empty", 0, 0, false),
        ];
        assert_eq!(chosen_pools(&rows), [3, 2, 1, 0]);
        let many: Vec<_> = (0..1024).map(|count| row("x", 1, count, false)).collect();
        let chosen = chosen_pools(&many);
        assert_eq!((chosen.len(), chosen[0], chosen[255]), (POOLS_MAX, 1023, 768));
    }

    #[test]
    fn backends_that_are_not_up_come_first_and_few_are_shown() {
        let mut text = "[listener.web]\nbind = \"127.0.0.1:1\"\npool = \"web\"\n".to_owned();
        text += "[pool.web.backend]\n";
        for number in 0..600 {
            text += &format!("b{number} = {{ address = \"127.0.1.1:{}\" }}\n", number + 1);
        }
        let spec = weir_control_core::file::parse(&text, "weir.toml").unwrap().spec;
        let mut ids = IdSource::default();
        let snapshot = Snapshot::build(&spec, Version(1), &Snapshot::empty(), &mut ids).unwrap();
        let named = |it: &Backend, name: &str| it.name.to_string() == name;
        let is_up = |it: &Backend| !named(it, "b599");
        let held = |it: &Backend| u64::from(named(it, "b7")) * 3;
        let (places, total) = chosen_places(&snapshot, is_up, held);
        let name = |place: Place| snapshot.pools[place.0].backends[place.1].name.to_string();
        assert_eq!((places.len(), total), (BACKENDS_MAX, 600));
        assert_eq!((name(places[0]), name(places[1])), ("b599".to_owned(), "b7".to_owned()));
    }

    #[test]
    fn a_text_is_made_once_a_point() {
        rt::run(|| async {
            let (text, point, made) =
                (OncePerPoint::default(), std::cell::Cell::new(1), std::cell::Cell::new(0));
            let get = || {
                let make = async {
                    rt::pause().await;
                    made.set(made.get() + 1);
                    made.get().to_string()
                };
                text.get(|| point.get(), make)
            };
            let (one, two) = futures_lite::future::zip(get(), get()).await;
            assert_eq!((one.as_str(), two.as_str(), made.get()), ("1", "1", 1));
            point.set(2);
            assert_eq!(get().await.as_str(), "2");
        })
        .unwrap();
    }
}
