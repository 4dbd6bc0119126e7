//! Snapshot × Snapshot → what changed, in the words that history and events show.

use std::collections::BTreeMap;
use std::sync::Arc;

use crate::settings::{BACKEND, LISTENER, POOL, Setting, Value};
use crate::snapshot::{Backend, Listener, Pool, Snapshot};
use crate::spec::Name;

/// One difference between two snapshots. `subject` is `web`, or `web/b1` for a backend.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Change {
    pub kind: Kind,
    pub noun: Noun,
    pub subject: String,
    /// For `Changed`: `key before → after`, joined by commas.
    pub detail: String,
    /// For `Changed`: those keys.
    pub keys: Vec<&'static str>,
}

/// What happened to the subject.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
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
        let noun = match self.noun {
            Noun::Listener => "listener",
            Noun::Pool => "pool",
            Noun::Backend => "backend",
        };
        write!(f, "{noun} {verb} {}", self.subject)?;
        if !self.detail.is_empty() {
            write!(f, " ({})", self.detail)?;
        }
        Ok(())
    }
}

/// Every difference between two snapshots: listeners, then pools with their backends, by name.
#[must_use]
pub fn diff(before: &Snapshot, after: &Snapshot) -> Vec<Change> {
    let mut changes = Vec::new();
    let listener_name = |listener: &Listener| listener.name.clone();
    compare(
        Noun::Listener,
        (&before.listeners, &after.listeners),
        listener_name,
        &mut changes,
        |a, b| detail(LISTENER, &before.listener_spec(a), &after.listener_spec(b)),
    );
    let pool_name = |pool: &Arc<Pool>| pool.name.clone();
    compare(Noun::Pool, (&before.pools, &after.pools), pool_name, &mut changes, |a, b| {
        if Arc::ptr_eq(a, b) {
            return Detail::default();
        }
        detail(POOL, &a.spec, &b.spec)
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
        if next.is_some_and(|next| same_backends(next, pool)) {
            continue;
        }
        let is_gone =
            |it: &&Backend| next.is_none_or(|next| next.backend(it.name.as_str()).is_none());
        let gone = pool.backends.iter().filter(is_gone);
        changes.extend(gone.map(|it| of_backend(Kind::Removed, (pool, it), Detail::default())));
    }
    changes
}

/// The backends of `after` that are not in `before`, or not the same.
fn other_backends(before: &Snapshot, after: &Snapshot) -> Vec<Change> {
    let mut changes = Vec::new();
    for pool in &after.pools {
        let past = before.pool(pool.name.as_str());
        if past.is_some_and(|past| same_backends(past, pool)) {
            continue;
        }
        for backend in &pool.backends {
            let Some(old) = past.and_then(|past| past.backend(backend.name.as_str())) else {
                changes.push(of_backend(Kind::Added, (pool, backend), Detail::default()));
                continue;
            };
            if old == backend {
                continue;
            }
            let detail = detail(BACKEND, &old.spec(), &backend.spec());
            if !detail.0.is_empty() {
                changes.push(of_backend(Kind::Changed, (pool, backend), detail));
            }
        }
    }
    changes
}

fn same_backends(a: &Pool, b: &Pool) -> bool {
    core::ptr::eq(a, b) || a.backends == b.backends
}

fn of_backend(kind: Kind, (pool, backend): (&Pool, &Backend), detail: Detail) -> Change {
    let (detail, keys) = detail;
    let subject = format!("{}/{}", pool.name, backend.name);
    Change { kind, noun: Noun::Backend, subject, detail, keys }
}

/// One line about `changes`: the first ones, and how many more there are.
#[must_use]
pub fn summary(changes: &[Change]) -> String {
    const SHOWN_MAX: usize = 3;
    if changes.is_empty() {
        return "no change".to_owned();
    }
    let shown: Vec<String> = changes.iter().take(SHOWN_MAX).map(ToString::to_string).collect();
    let more = changes.len().saturating_sub(SHOWN_MAX);
    let tail = if more > 0 { format!(" and {more} more") } else { String::new() };
    format!("{}{tail}", shown.join("; "))
}

fn compare<T>(
    noun: Noun,
    (old, new): (&[T], &[T]),
    name: impl Fn(&T) -> Name,
    changes: &mut Vec<Change>,
    detail: impl Fn(&T, &T) -> Detail,
) {
    let index = |list: &[T]| -> BTreeMap<Name, usize> {
        list.iter().enumerate().map(|(index, item)| (name(item), index)).collect()
    };
    let (were, are) = (index(old), index(new));
    let mut push = |kind, name: &Name, (detail, keys): Detail| {
        changes.push(Change { kind, noun, subject: name.to_string(), detail, keys });
    };
    for name in old.iter().map(&name).filter(|name| !are.contains_key(name)) {
        push(Kind::Removed, &name, Detail::default());
    }
    for item in new {
        let name = name(item);
        let Some(index) = were.get(&name) else {
            push(Kind::Added, &name, Detail::default());
            continue;
        };
        let detail = detail(&old[*index], item);
        if !detail.0.is_empty() {
            push(Kind::Changed, &name, detail);
        }
    }
}

/// Differences between two of the same name: the text and the keys of a [`Change`].
type Detail = (String, Vec<&'static str>);

/// Joins `key before → after` for every setting that differs.
fn detail<S>(table: &[Setting<S>], before: &S, after: &S) -> Detail {
    let differs = table.iter().filter(|setting| (setting.get)(before) != (setting.get)(after));
    let texts = differs.clone().map(|setting| {
        let [before, after] = [before, after].map(|of| text(setting, of));
        format!("{} {before} → {after}", setting.key)
    });
    (texts.collect::<Vec<_>>().join(", "), differs.map(|setting| setting.key).collect())
}

fn text<S>(setting: &Setting<S>, of: &S) -> String {
    match (setting.get)(of) {
        Some(Value::Addresses(addresses)) => {
            let texts: Vec<String> = addresses.iter().map(ToString::to_string).collect();
            texts.join(" ")
        }
        Some(value) => value.to_string(),
        None if (setting.fallback)(of).is_some() => "default".to_owned(),
        None => "none".to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ids::IdSource;
    use crate::spec::{Admin, BackendSpec, HealthKind, PoolSpec, Span, Spec, Strategy};

    #[test]
    fn a_diff_names_every_subject_and_field() {
        let backend = |address: &str, weight| BackendSpec {
            address: address.parse().unwrap(),
            weight,
            state: Admin::Ready,
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
