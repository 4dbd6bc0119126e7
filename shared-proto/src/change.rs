//! Snapshot × Snapshot → what changed, in the words that history and events show.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use crate::listed::listed;
use crate::network::{Network, NetworkList};
use crate::settings::{BACKEND, Form, LISTENER, POOL, Setting, Value};
use crate::snapshot::{Backend, Listener, Pool, Snapshot};
use crate::spec::{Name, SourceSpec};

/// One difference between two snapshots. `subject` is `web`, or `web/b1` for a backend.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Change {
    pub kind: Kind,
    pub noun: Noun,
    pub subject: String,
    /// For `Changed`: the keys that differ.
    pub keys: Vec<KeyChange>,
    /// For the others: the addresses of a listener or a backend, the strategy of a pool.
    pub brief: String,
}

/// A setting that differs, as people read it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KeyChange {
    /// As in the file, dotted.
    pub key: &'static str,
    pub before: String,
    pub after: String,
}

/// What happened to the subject.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Kind {
    Added,
    Removed,
    Changed,
}

/// What the subject is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Noun {
    Listener,
    Pool,
    Backend,
}

impl core::fmt::Display for Change {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        let verb = match self.kind {
            Kind::Added => "add",
            Kind::Removed => "remove",
            Kind::Changed => "set",
        };
        write!(f, "{} {verb} {}", self.noun, self.subject)?;
        for (index, KeyChange { key, before, after }) in self.keys.iter().enumerate() {
            let sign = if index == 0 { " (" } else { ", " };
            write!(f, "{sign}{key} {before} → {after}")?;
        }
        if self.keys.is_empty() { Ok(()) } else { f.write_str(")") }
    }
}

impl core::fmt::Display for Noun {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.write_str(match self {
            Noun::Listener => "listener",
            Noun::Pool => "pool",
            Noun::Backend => "backend",
        })
    }
}

/// Every difference between two snapshots: listeners, then pools with their backends, by name.
#[must_use]
pub fn diff(before: &Snapshot, after: &Snapshot) -> Vec<Change> {
    let mut changes = Vec::new();
    let listener = |it: &Listener| (it.name.clone(), joined(&it.bind));
    compare(
        Noun::Listener,
        (&before.listeners, &after.listeners),
        listener,
        &mut changes,
        |a, b| keys(LISTENER, &before.listener_spec(a), &after.listener_spec(b)),
    );
    let pool = |it: &Arc<Pool>| (it.name.clone(), it.strategy.to_string());
    compare(Noun::Pool, (&before.pools, &after.pools), pool, &mut changes, |a, b| {
        if Arc::ptr_eq(a, b) {
            return Vec::new();
        }
        keys(POOL, &a.spec, &b.spec)
    });
    changes.extend(gone_backends(before, after));
    changes.extend(other_backends(before, after));
    changes
}

/// The backends of `before` that are not in `after`. There may be many thousands, nearly all of
/// them in pools that are the same.
fn gone_backends(before: &Snapshot, after: &Snapshot) -> Vec<Change> {
    let mut changes = Vec::new();
    for pool in &before.pools {
        let next = after.pool(pool.name.as_str());
        if next.is_some_and(|next| next.has_backends_of(pool)) {
            continue;
        }
        let is_gone =
            |it: &&Backend| next.is_none_or(|next| next.backend(it.name.as_str()).is_none());
        let gone = configured(pool).filter(is_gone);
        changes.extend(gone.map(|it| of_backend(Kind::Removed, (pool, it), Vec::new())));
    }
    changes
}

/// The backends of `after` that are not in `before`, or not the same.
fn other_backends(before: &Snapshot, after: &Snapshot) -> Vec<Change> {
    let mut changes = Vec::new();
    for pool in &after.pools {
        let past = before.pool(pool.name.as_str());
        if past.is_some_and(|past| past.has_backends_of(pool)) {
            continue;
        }
        for backend in configured(pool) {
            let Some(old) = past.and_then(|past| past.backend(backend.name.as_str())) else {
                changes.push(of_backend(Kind::Added, (pool, backend), Vec::new()));
                continue;
            };
            if old == backend {
                continue;
            }
            let keys = keys(BACKEND, &old.spec(), &backend.spec());
            if !keys.is_empty() {
                changes.push(of_backend(Kind::Changed, (pool, backend), keys));
            }
        }
    }
    changes
}

/// The backends that somebody has written down.
fn configured(pool: &Pool) -> impl Iterator<Item = &Backend> {
    pool.backends.iter().filter(|backend| !backend.is_discovered)
}

fn of_backend(kind: Kind, (pool, it): (&Pool, &Backend), keys: Vec<KeyChange>) -> Change {
    let subject = format!("{}/{}", pool.name, it.name);
    Change { kind, noun: Noun::Backend, subject, keys, brief: it.address.to_string() }
}

/// One line about `changes`: the first ones, and how many more there are.
#[must_use]
pub fn summary(changes: &[Change]) -> String {
    const SHOWN_MAX: usize = 3;
    if changes.is_empty() {
        return "no change".to_owned();
    }
    listed(changes.iter(), SHOWN_MAX, "; ")
}

/// `describe` gives the name and the brief of an item.
fn compare<T>(
    noun: Noun,
    (old, new): (&[T], &[T]),
    describe: impl Fn(&T) -> (Name, String),
    changes: &mut Vec<Change>,
    keys: impl Fn(&T, &T) -> Vec<KeyChange>,
) {
    let index = |list: &[T]| -> BTreeMap<Name, usize> {
        list.iter().enumerate().map(|(index, item)| (describe(item).0, index)).collect()
    };
    let (were, are) = (index(old), index(new));
    let mut push = |kind, item: &T, keys: Vec<KeyChange>| {
        let (name, brief) = describe(item);
        changes.push(Change { kind, noun, subject: name.to_string(), keys, brief });
    };
    for item in old.iter().filter(|it| !are.contains_key(&describe(it).0)) {
        push(Kind::Removed, item, Vec::new());
    }
    for item in new {
        let Some(index) = were.get(&describe(item).0) else {
            push(Kind::Added, item, Vec::new());
            continue;
        };
        let keys = keys(&old[*index], item);
        if !keys.is_empty() {
            push(Kind::Changed, item, keys);
        }
    }
}

/// Every setting that differs between two of the same name.
fn keys<S>(table: &[Setting<S>], before: &S, after: &S) -> Vec<KeyChange> {
    let differs = table.iter().filter(|setting| (setting.get)(before) != (setting.get)(after));
    let change = |setting: &Setting<S>| {
        let [before, after] = match (lists(setting, before), lists(setting, after)) {
            (Some(before), Some(after)) if before.len().max(after.len()) > NETWORKS_SHOWN => {
                [other_networks(&before, &after), other_networks(&after, &before)]
            }
            _ => [before, after].map(|of| text(setting, of)),
        };
        KeyChange { key: setting.key, before, after }
    };
    differs.map(change).collect()
}

/// Of a longer list, only those that another one does not have are shown, and no more.
const NETWORKS_SHOWN: usize = 16;

/// A list of networks; an absent one is empty.
fn lists<S>(setting: &Setting<S>, of: &S) -> Option<NetworkList> {
    match (setting.get)(of) {
        Some(Value::Networks(networks)) => Some(networks),
        None if setting.form == Form::Networks => Some(NetworkList::default()),
        _ => None,
    }
}

/// As in `100000 networks, of which 192.0.2.0/24 and 3 more are not in the other`.
fn other_networks(list: &NetworkList, other: &NetworkList) -> String {
    let known: BTreeSet<&Network> = other.iter().collect();
    let own: Vec<&Network> = list.iter().filter(|network| !known.contains(network)).collect();
    let count = list.len();
    match own.as_slice() {
        [] => format!("{count} networks"),
        own => {
            let own = listed(own.iter(), NETWORKS_SHOWN, " ");
            format!("{count} networks, of which {own} are in this list only")
        }
    }
}

fn joined<T: ToString>(addresses: &[T]) -> String {
    addresses.iter().map(ToString::to_string).collect::<Vec<_>>().join(" ")
}

fn text<S>(setting: &Setting<S>, of: &S) -> String {
    match (setting.get)(of) {
        Some(Value::Addresses(addresses)) => joined(&addresses),
        Some(Value::Networks(networks)) => joined(&networks),
        Some(Value::Source(SourceSpec::Addresses(addresses))) => joined(&addresses),
        Some(value) => value.to_string(),
        None if (setting.fallback)(of).is_some() => "default".to_owned(),
        None => "none".to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ids::IdSource;
    use crate::spec::{BackendSpec, HealthKind, PoolSpec, Span, Spec, Strategy};

    #[test]
    fn a_diff_names_every_subject_and_field() {
        let backend = |address: &str, weight| BackendSpec {
            weight,
            ..BackendSpec::new(address.parse().unwrap())
        };
        let build = |spec: &Spec| {
            let mut ids = IdSource::default();
            Snapshot::build(spec, crate::ids::Version(1), &Snapshot::empty(), &mut ids).unwrap()
        };
        let mut web = PoolSpec::default();
        web.backend.insert("b1".parse().unwrap(), backend("10.0.0.1:1", 1));
        web.backend.insert("b2".parse().unwrap(), backend("10.0.0.2:1", 1));
        let mut spec = Spec::default();
        spec.pool.insert("web".parse().unwrap(), web.clone().into());
        let before = build(&spec);
        web.strategy = Strategy::Maglev;
        web.health.kind = HealthKind::None;
        web.timeout.stalled = Some(Span::from_secs(60));
        web.backend.remove("b1");
        web.backend.insert("b2".parse().unwrap(), backend("10.0.0.2:1", 7));
        web.backend.insert("b3".parse().unwrap(), backend("10.0.0.3:1", 1));
        spec.pool.insert("web".parse().unwrap(), web.into());
        let changes = diff(&before, &build(&spec));
        let texts: Vec<String> = changes.iter().map(ToString::to_string).collect();
        assert_eq!(
            texts,
            [
                "pool set web (strategy least-conn → maglev, health.kind tcp → none, \
                 timeout.stalled default → 1m)",
                "backend remove web/b1",
                "backend set web/b2 (weight 1 → 7)",
                "backend add web/b3",
            ]
        );
        assert!(summary(&changes).ends_with(" and 1 more"));
        assert_eq!(diff(&before, &before), []);
        assert_eq!(summary(&[]), "no change");
    }
}
