//! Snapshot × Snapshot → what changed, in the words that history and events show.

use crate::settings::{BACKEND, LISTENER, POOL, Setting, Value};
use crate::snapshot::{Backend, Listener, Pool, Snapshot};

/// One difference between two snapshots. `subject` is `web`, or `web/b1` for a backend.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Change {
    pub kind: Kind,
    pub noun: Noun,
    pub subject: String,
    /// For `Changed`: `key before → after`, joined by commas.
    pub detail: String,
}

/// What happened to the subject.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    Added,
    Removed,
    Changed,
}

/// What the subject is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
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
    let listener_key = |listener: &Listener| listener.name.to_string();
    compare(
        Noun::Listener,
        (&before.listeners, &after.listeners),
        listener_key,
        &mut changes,
        |a, b| detail(LISTENER, &before.listener_spec(a), &after.listener_spec(b)),
    );
    let pool_key = |pool: &Pool| pool.name.to_string();
    compare(Noun::Pool, (&before.pools, &after.pools), pool_key, &mut changes, |a, b| {
        detail(POOL, &a.spec(), &b.spec())
    });
    let backends = |snapshot: &Snapshot| -> Vec<(String, Backend)> {
        let named = |(pool, backend): (&Pool, &Backend)| {
            (format!("{}/{}", pool.name, backend.name), backend.clone())
        };
        snapshot.backends().map(named).collect()
    };
    let (old, new) = (backends(before), backends(after));
    compare(
        Noun::Backend,
        (&old, &new),
        |entry| entry.0.clone(),
        &mut changes,
        |a, b| detail(BACKEND, &a.1.spec(), &b.1.spec()),
    );
    changes
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

fn compare<T: PartialEq>(
    noun: Noun,
    (old, new): (&[T], &[T]),
    key: impl Fn(&T) -> String,
    changes: &mut Vec<Change>,
    detail: impl Fn(&T, &T) -> String,
) {
    let find = |list: &[T], name: &str| list.iter().position(|item| key(item) == name);
    let mut push = |kind, subject, detail| changes.push(Change { kind, noun, subject, detail });
    for item in old {
        if find(new, &key(item)).is_none() {
            push(Kind::Removed, key(item), String::new());
        }
    }
    for item in new {
        match find(old, &key(item)) {
            None => push(Kind::Added, key(item), String::new()),
            Some(index) => {
                let detail = detail(&old[index], item);
                if !detail.is_empty() {
                    push(Kind::Changed, key(item), detail);
                }
            }
        }
    }
}

/// Joins `key before → after` for every setting that differs.
fn detail<S>(table: &[Setting<S>], before: &S, after: &S) -> String {
    let differs = table.iter().filter(|setting| (setting.get)(before) != (setting.get)(after));
    let texts = differs.map(|setting| {
        let [before, after] = [before, after].map(|of| text(setting, of));
        format!("{} {before} → {after}", setting.key)
    });
    texts.collect::<Vec<_>>().join(", ")
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
        spec.pool.insert("web".parse().unwrap(), web.clone());
        let before = build(&spec);
        web.strategy = Strategy::Maglev;
        web.health.kind = HealthKind::None;
        web.timeout.stalled = Some(Span::from_secs(60));
        web.backend.remove("b1");
        web.backend.insert("b2".parse().unwrap(), backend("10.0.0.2:1", 7));
        web.backend.insert("b3".parse().unwrap(), backend("10.0.0.3:1", 1));
        spec.pool.insert("web".parse().unwrap(), web);
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
