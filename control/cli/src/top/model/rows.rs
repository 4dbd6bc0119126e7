//! The rows of the overview: listener → pool → backends, or backends alone; in which order, and
//! which of them.

use std::cmp::Reverse;

use weir_proto::answer::{LiveBackend, LiveFigures, LiveListener, LivePool};

/// The order of rows. Each has a word for the line of keys.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::top) enum Sort {
    Name,
    /// Those in trouble first.
    State,
    Sessions,
    NewSessions,
    Traffic,
    Failures,
}

impl Sort {
    pub(in crate::top) const ALL: [Sort; 6] =
        [Sort::Name, Sort::State, Sort::Sessions, Sort::NewSessions, Sort::Traffic, Sort::Failures];

    pub(in crate::top) const fn word(self) -> &'static str {
        match self {
            Sort::Name => "name",
            Sort::State => "state",
            Sort::Sessions => "sessions",
            Sort::NewSessions => "new/s",
            Sort::Traffic => "traffic",
            Sort::Failures => "failures",
        }
    }
}

/// The objects that have rows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::top) enum Form {
    /// Each pool below its listeners and above its backends.
    Tree,
    Pools,
    Backends,
}

impl Form {
    pub(in crate::top) const ALL: [Form; 3] = [Form::Tree, Form::Pools, Form::Backends];

    pub(in crate::top) const fn word(self) -> &'static str {
        match self {
            Form::Tree => "tree",
            Form::Pools => "pools",
            Form::Backends => "backends",
        }
    }
}

/// A row, as an index into the figures.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::top) enum Row {
    Listener(usize),
    Pool(usize),
    Backend {
        index: usize,
        /// It stands below its pool, whose name it need not repeat.
        is_below: bool,
    },
}

/// The object of a row: the cursor stays on it in whatever place it is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in crate::top) enum Subject {
    Listener(String),
    Pool(String),
    Backend {
        name: String,
        /// One that is gone and one that is there may have the same name.
        removed: bool,
    },
}

impl Row {
    pub(in crate::top) fn subject(self, figures: &LiveFigures) -> Subject {
        match self {
            Row::Listener(index) => Subject::Listener(figures.listeners[index].row.name.clone()),
            Row::Pool(index) => Subject::Pool(figures.pools[index].name.clone()),
            Row::Backend { index, .. } => {
                let row = &figures.backends[index].row;
                Subject::Backend { name: row.name.clone(), removed: row.removed }
            }
        }
    }
}

/// Larger first.
type Rank = Reverse<u64>;

/// The rows that have `filter` in what is shown of them.
pub(in crate::top) fn rows(
    figures: &LiveFigures,
    sort: Sort,
    form: Form,
    filter: &str,
) -> Vec<Row> {
    let filter = filter.to_lowercase();
    let mut order: Vec<usize> = (0..figures.backends.len()).collect();
    order.sort_by_cached_key(|index| {
        let backend = &figures.backends[*index];
        (backend_rank(backend, sort), backend.row.name.clone(), backend.row.removed)
    });
    let backend = |index: usize, is_below| Row::Backend { index, is_below };
    if form == Form::Backends {
        let shown = order.into_iter();
        let shown = shown.filter(|index| backend_has(&figures.backends[*index], &filter));
        return shown.map(|index| backend(index, false)).collect();
    }
    let mut pools: Vec<usize> = (0..figures.pools.len()).collect();
    pools.sort_by_cached_key(|index| {
        let pool = &figures.pools[*index];
        (pool_rank(pool, figures, sort), pool.name.clone())
    });
    let mut rows = Vec::new();
    let mut rest = order;
    for index in pools {
        let pool = &figures.pools[index];
        let (own, others): (Vec<usize>, Vec<usize>) =
            rest.into_iter().partition(|it| pool_of(&figures.backends[*it].row.name) == pool.name);
        rest = others;
        let of_pool = |listener: &&LiveListener| listener.row.pool == pool.name;
        let is_whole = pool_has(pool, &filter)
            || figures.listeners.iter().filter(of_pool).any(|it| listener_has(it, &filter));
        let shown =
            own.iter().filter(|it| is_whole || backend_has(&figures.backends[**it], &filter));
        let shown: Vec<Row> = shown.map(|it| backend(*it, true)).collect();
        if shown.is_empty() && !is_whole {
            continue;
        }
        if form == Form::Pools {
            rows.push(Row::Pool(index));
            continue;
        }
        let listeners = figures.listeners.iter().enumerate();
        rows.extend(listeners.filter(|(_, it)| of_pool(it)).map(|(at, _)| Row::Listener(at)));
        rows.push(Row::Pool(index));
        rows.extend(shown);
    }
    if form == Form::Pools {
        return rows;
    }
    // Those of a pool that is gone, or not among those that weir shows.
    let rest = rest.into_iter().filter(|it| backend_has(&figures.backends[*it], &filter));
    rows.extend(rest.map(|it| backend(it, false)));
    rows
}

/// The pool in `pool/backend`.
pub(in crate::top) fn pool_of(name: &str) -> &str {
    name.split_once('/').map_or(name, |(pool, _)| pool)
}

fn listener_has(listener: &LiveListener, filter: &str) -> bool {
    let row = &listener.row;
    has([row.name.as_str(), row.state.word()].into_iter(), filter)
        || has(row.bind.iter().map(String::as_str), filter)
}

fn pool_has(pool: &LivePool, filter: &str) -> bool {
    has([pool.name.as_str(), pool.strategy.word()].into_iter(), filter)
}

fn backend_has(backend: &LiveBackend, filter: &str) -> bool {
    let row = &backend.row;
    let check = row.check.result.as_str();
    has([row.name.as_str(), row.address.as_str(), row.state.word(), check].into_iter(), filter)
}

fn has<'a>(mut texts: impl Iterator<Item = &'a str>, filter: &str) -> bool {
    filter.is_empty() || texts.any(|text| text.to_lowercase().contains(filter))
}

fn pool_rank(pool: &LivePool, figures: &LiveFigures, sort: Sort) -> Rank {
    Reverse(match sort {
        Sort::Name => 0,
        Sort::State if pool.backends_up == 0 => 3,
        Sort::State if pool.panic => 2,
        Sort::State => u64::from(pool.backends_up < pool.backends),
        Sort::Sessions => pool.sessions,
        Sort::NewSessions => thousandths(pool.sessions_per_s),
        Sort::Traffic => thousandths(pool.received_bytes_per_s + pool.sent_bytes_per_s),
        Sort::Failures => {
            let rows = figures.backends.iter().map(|backend| &backend.row);
            rows.filter(|row| pool_of(&row.name) == pool.name)
                .map(|row| row.connect_failures_total)
                .sum()
        }
    })
}

fn backend_rank(backend: &LiveBackend, sort: Sort) -> Rank {
    use weir_proto::answer::BackendState;
    Reverse(match sort {
        Sort::Name => 0,
        Sort::State => match backend.row.state {
            BackendState::Down => 3,
            BackendState::Draining | BackendState::Maint => 2,
            BackendState::Up => 1,
            BackendState::Removed => 0,
        },
        Sort::Sessions => backend.row.sessions,
        Sort::NewSessions => thousandths(backend.sessions_per_s),
        Sort::Traffic => thousandths(backend.received_bytes_per_s + backend.sent_bytes_per_s),
        Sort::Failures => backend.row.connect_failures_total,
    })
}

/// Of a rate, so that it has an order.
fn thousandths(rate: f64) -> u64 {
    #[expect(clippy::cast_possible_truncation, reason = "it saturates")]
    let whole = (rate * 1e3) as u64;
    whole
}
