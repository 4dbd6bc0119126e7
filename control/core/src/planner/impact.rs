//! The effect of a change on listeners, backends and sessions, before it is made. The
//! counts are those that control knew when it was asked.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use weir_core::base::prng::Prng;
use weir_core::pick::{Candidate, Groups, Tried, identity};
use weir_core::priority::{self, GroupRule, GroupTally};
use weir_proto::change::{self, Change, Kind, Noun};
use weir_proto::ids::{BackendId, ListenerId, PoolId};
use weir_proto::impact::{BackendImpact, ChangeRow, Class, Impact, ListenerImpact, SessionImpact};
use weir_proto::listed::listed;
use weir_proto::order::BackendHealth;
use weir_proto::snapshot::{Backend, Listener, Pool, Snapshot};
use weir_proto::spec::{OnDown, Strategy};

/// Keys of clients that are asked for their backend, for each pool: one in a table of the largest
/// pool has four places.
const MAGLEV_KEYS: u64 = 16_384;
/// Objects that a warning names one by one.
const SHOWN_MAX: usize = 3;

/// The state of traffic at one moment.
#[derive(Clone, Debug, Default)]
pub struct Load {
    /// The sessions of backends that have any. Those of an earlier identity count for the backend
    /// that has its name and address now.
    pub backends: BTreeMap<BackendId, u64>,
    /// The sessions of listeners that have any.
    pub listeners: BTreeMap<ListenerId, u64>,
    /// All sessions.
    pub all: u64,
    /// Backends that are not up.
    pub down: BTreeSet<BackendId>,
    /// Backends whose sessions the change resets, beside those that the plan names.
    pub cut: Vec<BackendId>,
}

/// Every key that differs between `current` and `next`, and the effect of the change from one to
/// the other. `kills` are the backends whose sessions are reset.
#[must_use]
pub fn tell(
    (current, next): (&Snapshot, &Snapshot),
    kills: &[BackendId],
    load: &Load,
) -> (Vec<ChangeRow>, Impact) {
    let changes = change::diff(current, next);
    let (backends, drains) = backends(current, next);
    let fallen = fallen(current, next, load);
    let cut = load.cut.iter().chain(kills).chain(&fallen);
    let cut: BTreeSet<BackendId> = cut.copied().collect();
    let sessions = sessions(&drains, &cut, load);
    let listeners = listeners(current, next);
    let warnings = warnings((current, next), &backends.added, load);
    let maglev_keys_moved = maglev_keys_moved(current, next, &load.down);
    let row = |change| rows(change, (current, next), &cut);
    let rows = changes.iter().flat_map(row).collect();
    (rows, Impact { listeners, backends, sessions, maglev_keys_moved, warnings })
}

/// Backends that are down and whose pool ends such sessions from now on, unless it is in panic,
/// which shards decide.
fn fallen(current: &Snapshot, next: &Snapshot, load: &Load) -> Vec<BackendId> {
    let kills = |pool: &Pool| pool.spec.on_down == OnDown::Kill;
    let begins = |pool: &&Arc<Pool>| {
        kills(pool) && current.pool(pool.name.as_str()).is_some_and(|before| !kills(before))
    };
    let backends = next.pools.iter().filter(begins).flat_map(|pool| &pool.backends);
    backends.map(|backend| backend.id).filter(|id| load.down.contains(id)).collect()
}

/// The effect of resetting the sessions of these backends, which no version has any more.
#[must_use]
pub fn of_kill(load: &Load) -> Impact {
    let cut = load.cut.iter().copied().collect();
    Impact { sessions: sessions(&[], &cut, load), ..Impact::default() }
}

fn sessions(drains: &[BackendId], cut: &BTreeSet<BackendId>, load: &Load) -> SessionImpact {
    let count = |id: &BackendId| load.backends.get(id).copied().unwrap_or(0);
    let drain = drains.iter().filter(|id| !cut.contains(id)).map(count).sum();
    let cut = cut.iter().map(count).sum();
    // A shard's sessions and those of its backends come with one report, but other shards' do not.
    SessionImpact { stay: load.all.saturating_sub(drain).saturating_sub(cut), drain, cut }
}

fn listeners(current: &Snapshot, next: &Snapshot) -> ListenerImpact {
    let (before, after) = (accepting(current), accepting(next));
    let mut impact = ListenerImpact::default();
    for listener in next.listeners.iter().filter(|it| it.accepting) {
        let name = || listener.name.to_string();
        match before.get(&listener.id) {
            None => impact.open.push(name()),
            Some(before) if is_bound_alike(before, listener) => {}
            Some(_) => impact.rebind.push(name()),
        }
    }
    let closes = |it: &&Listener| it.accepting && !after.contains_key(&it.id);
    impact.close = current.listeners.iter().filter(closes).map(|it| it.name.to_string()).collect();
    impact
}

/// The listeners that accept, by identity: one that has another name may be the same.
fn accepting(snapshot: &Snapshot) -> BTreeMap<ListenerId, &Listener> {
    let accepting = snapshot.listeners.iter().filter(|it| it.accepting);
    accepting.map(|it| (it.id, it)).collect()
}

fn is_bound_alike(a: &Listener, b: &Listener) -> bool {
    let addresses = |it: &Listener| it.binds().collect::<BTreeSet<_>>();
    a.freebind == b.freebind && addresses(a) == addresses(b)
}

/// Backends that come, go or get no new sessions, and the ids of the last two kinds.
fn backends(current: &Snapshot, next: &Snapshot) -> (BackendImpact, Vec<BackendId>) {
    let (mut impact, mut drains) = (BackendImpact::default(), Vec::new());
    for pool in &current.pools {
        let after = next.pool(pool.name.as_str());
        for backend in others(pool, after) {
            let after = after.and_then(|it| same(it, backend));
            let ceases = backend.is_member() && after.is_some_and(|after| !after.is_member());
            match after {
                None => impact.removed.push(format!("{}/{}", pool.name, backend.name)),
                Some(_) if ceases => impact.drained.push(format!("{}/{}", pool.name, backend.name)),
                Some(_) => continue,
            }
            drains.push(backend.id);
        }
    }
    for pool in &next.pools {
        let before = current.pool(pool.name.as_str());
        let new = others(pool, before).filter(|it| before.and_then(|old| same(old, it)).is_none());
        impact.added.extend(new.map(|it| format!("{}/{}", pool.name, it.name)));
    }
    (impact, drains)
}

/// The backends of `pool`; none if the pool is the same in the other version.
fn others<'a>(pool: &'a Pool, other: Option<&Pool>) -> impl Iterator<Item = &'a Backend> {
    let is_other = other.is_none_or(|other| !other.has_backends_of(pool));
    pool.backends.iter().filter(move |_| is_other)
}

/// The same backend in another version of its pool: sessions that it has are those of this one.
fn same<'a>(pool: &'a Pool, backend: &Backend) -> Option<&'a Backend> {
    pool.backend(backend.name.as_str()).filter(|it| it.id == backend.id)
}

fn rows(
    change: &Change,
    (current, next): (&Snapshot, &Snapshot),
    cut: &BTreeSet<BackendId>,
) -> Vec<ChangeRow> {
    let [before, after] = [current, next].map(|snapshot| backend(snapshot, change));
    let ceases = before.is_some_and(Backend::is_member) && !after.is_some_and(Backend::is_member);
    let is_cut = before.is_some_and(|it| cut.contains(&it.id));
    let pool = || next.pool(&change.subject);
    let cuts = || pool().is_some_and(|it| it.backends.iter().any(|it| cut.contains(&it.id)));
    let class = |key: &str| match (change.noun, change.kind, key) {
        (Noun::Backend, Kind::Removed, _) if is_cut => Class::Cut,
        (Noun::Pool, Kind::Changed, "on-down") if cuts() => Class::Cut,
        (Noun::Backend, Kind::Removed, _) | (Noun::Backend, Kind::Changed, "address") => {
            Class::Drain
        }
        (Noun::Backend, Kind::Changed, "state" | "weight") if ceases => Class::Drain,
        (Noun::Listener, Kind::Added | Kind::Removed, _)
        | (Noun::Listener, _, "bind" | "freebind" | "v6only" | "interface" | "state") => {
            Class::Rebind
        }
        _ => Class::Hot,
    };
    let row = |key: &str, before: Option<&String>, after: Option<&String>| ChangeRow {
        object: format!("{} {}", change.noun, change.subject),
        kind: change.kind,
        key: key.to_owned(),
        before: before.cloned(),
        after: after.cloned(),
        class: class(key),
    };
    match change.kind {
        Kind::Added => vec![row("", None, Some(&change.brief))],
        Kind::Removed => vec![row("", Some(&change.brief), None)],
        Kind::Changed => {
            let keys = change.keys.iter();
            keys.map(|it| row(it.key, Some(&it.before), Some(&it.after))).collect()
        }
    }
}

/// The backend that a change is about, if it is about one and that is in the snapshot.
fn backend<'a>(snapshot: &'a Snapshot, change: &Change) -> Option<&'a Backend> {
    let (pool, name) = change.subject.split_once('/')?;
    snapshot.pool(pool)?.backend(name)
}

/// The share of clients that get another backend in the pools that go by the client's address.
fn maglev_keys_moved(
    current: &Snapshot,
    next: &Snapshot,
    down: &BTreeSet<BackendId>,
) -> Option<f64> {
    let is_maglev = |pool: &&Arc<Pool>| pool.strategy == Strategy::Maglev;
    let before: BTreeMap<PoolId, &Pool> =
        current.pools.iter().filter(is_maglev).map(|pool| (pool.id, &**pool)).collect();
    let (mut moved, mut asked) = (0_u64, 0_u64);
    for after in next.pools.iter().filter(is_maglev) {
        let Some(before) = before.get(&after.id).filter(|it| !it.has_backends_of(after)) else {
            continue;
        };
        let (old, new) = (owners(before, down), owners(after, down));
        moved += old.zip(new).map(|(old, new)| u64::from(old != new)).sum::<u64>();
        asked += MAGLEV_KEYS;
    }
    // Both are counts of keys, far below 2^52.
    #[expect(clippy::cast_precision_loss, reason = "far below 2^52")]
    let share = (asked > 0).then(|| moved as f64 / asked as f64);
    share
}

/// The backend that each of [`MAGLEV_KEYS`] clients gets; they are spread evenly.
fn owners<'a>(
    pool: &'a Pool,
    down: &BTreeSet<BackendId>,
) -> impl Iterator<Item = Option<BackendId>> + 'a {
    let is_up = |it: &Backend| !down.contains(&it.id);
    // With so few up, health may be ignored; whether it is, shards decide.
    let has_any = pool.backends.iter().any(|it| it.is_member() && is_up(it));
    let candidate = |it: &Backend| Candidate {
        identity: identity(it.name.as_str()),
        weight: it.weight,
        load: 0,
        usable: it.admin.is_ready() && (is_up(it) || !has_any),
    };
    let candidates: Vec<(u8, Candidate)> =
        pool.backends.iter().map(|it| (it.priority, candidate(it))).collect();
    let mut prng = Prng::new(0); // maglev draws nothing
    let mut picker = Groups::new(Strategy::Maglev, &candidates, &mut prng);
    picker.set_shares(&shares(pool, down));
    let step = u64::MAX / MAGLEV_KEYS;
    (0..MAGLEV_KEYS).map(move |key| {
        let index = picker.pick(key * step, &mut prng, Tried::NONE)?;
        Some(pool.backends[index].id)
    })
}

/// The share of each priority group; which one of `failover = "stay"` is in use, shards decide.
fn shares(pool: &Pool, down: &BTreeSet<BackendId>) -> Vec<u32> {
    let priorities = pool.priorities();
    let mut tallies = vec![GroupTally::default(); priorities.len()];
    for backend in &pool.backends {
        let is_down = down.contains(&backend.id);
        let health = if is_down { BackendHealth::Down } else { BackendHealth::Up };
        let index = priorities.partition_point(|it| *it < backend.priority);
        tallies[index] = tallies[index].each(GroupTally::of(backend, health), |a, b| a + b);
    }
    let mut shares = vec![0; tallies.len()];
    priority::share_out(&tallies, GroupRule::of(pool), &mut shares);
    shares
}

/// Limits that are exceeded already, and what cannot be known before the change is made.
fn warnings((current, next): (&Snapshot, &Snapshot), added: &[String], load: &Load) -> Vec<String> {
    let mut warnings = Vec::new();
    for listener in &next.listeners {
        let sessions = load.listeners.get(&listener.id).copied().unwrap_or(0);
        let limit = listener.max_sessions.filter(|limit| u64::from(*limit) < sessions);
        let before = current.listeners.iter().find(|it| it.id == listener.id);
        if let Some(limit) = limit
            && before.is_some_and(|before| before.max_sessions != listener.max_sessions)
        {
            warnings.push(format!(
                "listener {} has {sessions} sessions, more than its new limit of {limit}: they \
                 stay, and new ones wait until there are fewer",
                listener.name
            ));
        }
    }
    let bound: BTreeSet<_> = current.listeners.iter().flat_map(|it| &it.bind).collect();
    let new = next.listeners.iter().flat_map(|it| &it.bind).filter(|it| !bound.contains(it));
    let new: Vec<_> = new.collect();
    if !new.is_empty() {
        let list = listed(new.iter(), SHOWN_MAX, ", ");
        warnings.push(format!("not tried before it is made: whether {list} can be bound"));
    }
    if !added.is_empty() {
        let list = listed(added.iter(), SHOWN_MAX, ", ");
        warnings.push(format!("not known before it is made: the health of {list}"));
    }
    warnings
}

#[cfg(test)]
mod tests;
