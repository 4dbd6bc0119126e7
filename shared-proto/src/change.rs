//! Snapshot × Snapshot → what changed, in the words that history and events show.

use crate::snapshot::{Backend, Keepalive, Listener, Pool, Snapshot, Timeouts};

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
        |a, b| listener_detail((before, a), (after, b)),
    );
    let pool_key = |pool: &Pool| pool.name.to_string();
    compare(Noun::Pool, (&before.pools, &after.pools), pool_key, &mut changes, pool_detail);
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
        |a, b| backend_detail(&a.1, &b.1),
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

/// Joins `key before → after` for every field that differs.
fn fields(pairs: &[(&str, String, String)]) -> String {
    let differs = pairs.iter().filter(|(_, before, after)| before != after);
    let texts: Vec<_> =
        differs.map(|(key, before, after)| format!("{key} {before} → {after}")).collect();
    texts.join(", ")
}

fn listener_detail(
    (before, a): (&Snapshot, &Listener),
    (after, b): (&Snapshot, &Listener),
) -> String {
    let bind = |listener: &Listener| {
        let texts: Vec<_> = listener.bind.iter().map(ToString::to_string).collect();
        texts.join(" ")
    };
    let most = |listener: &Listener| {
        listener.max_sessions.map_or_else(|| "none".to_owned(), |most| most.to_string())
    };
    let pool =
        |snapshot: &Snapshot, listener: &Listener| snapshot.pools[listener.pool].name.to_string();
    let state = |listener: &Listener| if listener.accepting { "ready" } else { "drain" }.to_owned();
    fields(&[
        ("bind", bind(a), bind(b)),
        ("pool", pool(before, a), pool(after, b)),
        ("max-sessions", most(a), most(b)),
        ("state", state(a), state(b)),
        ("keepalive", keepalive(a.keepalive), keepalive(b.keepalive)),
    ])
}

fn keepalive(keepalive: Keepalive) -> String {
    let Keepalive { idle_s, interval_s, count } = keepalive;
    format!("{idle_s}s {interval_s}s × {count}")
}

fn pool_detail(a: &Pool, b: &Pool) -> String {
    let ms = |ms: u32| crate::spec::Span::from_millis(u64::from(ms)).to_string();
    let (health, timeouts) = ((&a.health, &b.health), (&a.timeouts, &b.timeouts));
    let stalled = |of: &Timeouts| of.own_stalled_ms.map_or_else(|| "as idle".to_owned(), ms);
    let size = |bytes: Option<u32>| {
        bytes.map_or_else(|| "none".to_owned(), |it| crate::spec::Size::from_bytes(it).to_string())
    };
    let text = |value: &Option<String>| value.clone().unwrap_or_else(|| "none".to_owned());
    fields(&[
        ("strategy", a.strategy.to_string(), b.strategy.to_string()),
        ("health.kind", format!("{:?}", health.0.kind), format!("{:?}", health.1.kind)),
        ("health.interval", health.0.interval.to_string(), health.1.interval.to_string()),
        ("health.timeout", health.0.timeout.to_string(), health.1.timeout.to_string()),
        ("health.rise", health.0.rise.to_string(), health.1.rise.to_string()),
        ("health.fall", health.0.fall.to_string(), health.1.fall.to_string()),
        ("health.path", text(&health.0.path), text(&health.1.path)),
        ("health.send", text(&health.0.send), text(&health.1.send)),
        ("health.expect", text(&health.0.expect), text(&health.1.expect)),
        ("health.panic", health.0.panic.to_string(), health.1.panic.to_string()),
        ("health.slow-start", health.0.slow_start.to_string(), health.1.slow_start.to_string()),
        ("timeout.connect", ms(timeouts.0.connect_ms), ms(timeouts.1.connect_ms)),
        ("timeout.idle", ms(timeouts.0.idle_ms), ms(timeouts.1.idle_ms)),
        ("timeout.half-close", ms(timeouts.0.half_close_ms), ms(timeouts.1.half_close_ms)),
        ("timeout.stalled", stalled(timeouts.0), stalled(timeouts.1)),
        ("keepalive", keepalive(a.keepalive), keepalive(b.keepalive)),
        ("retry.attempts", a.retry.attempts.to_string(), b.retry.attempts.to_string()),
        ("retry.within", ms(a.retry.within_ms), ms(b.retry.within_ms)),
        ("socket-buffer", size(a.socket_buffer), size(b.socket_buffer)),
    ])
}

fn backend_detail(a: &Backend, b: &Backend) -> String {
    fields(&[
        ("address", a.address.to_string(), b.address.to_string()),
        ("weight", a.weight.to_string(), b.weight.to_string()),
        ("state", a.admin.word().to_owned(), b.admin.word().to_owned()),
    ])
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ids::IdSource;
    use crate::spec::{Admin, BackendSpec, PoolSpec, Spec, Strategy};

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
        web.backend.remove("b1");
        web.backend.insert("b2".parse().unwrap(), backend("10.0.0.2:1", 7));
        web.backend.insert("b3".parse().unwrap(), backend("10.0.0.3:1", 1));
        spec.pool.insert("web".parse().unwrap(), web);
        let changes = diff(&before, &build(&spec));
        let texts: Vec<String> = changes.iter().map(ToString::to_string).collect();
        assert_eq!(
            texts,
            [
                "pool set web (strategy least-conn → maglev)",
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
