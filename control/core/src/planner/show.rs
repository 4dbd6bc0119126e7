//! A listener, a pool or a backend as `before` and `after` show it, with its names in order; `None`
//! if it is not there.

use weir_proto::answer::ListenerState;
use weir_proto::settings::{self, ShownSettings, ShownValue};
use weir_proto::snapshot::Snapshot;

/// A listener by name.
pub(super) fn listener(snapshot: &Snapshot, name: &str) -> Option<ShownSettings> {
    let listener = snapshot.listener(name)?;
    let mut shown = ShownSettings::of(settings::LISTENER, &snapshot.listener_spec(listener));
    let state = ListenerState::of(listener.accepting).word();
    shown.put("state", ShownValue::Text(state.to_owned()));
    Some(named(name.to_owned(), shown))
}

/// A pool by name, without its backends.
pub(super) fn pool(snapshot: &Snapshot, name: &str) -> Option<ShownSettings> {
    let pool = snapshot.pool(name)?;
    Some(named(name.to_owned(), ShownSettings::of(settings::POOL, &pool.spec)))
}

/// A backend by its two names.
pub(super) fn backend(snapshot: &Snapshot, pool: &str, name: &str) -> Option<ShownSettings> {
    let backend = snapshot.pool(pool)?.backend(name)?;
    let shown = ShownSettings::of(settings::BACKEND, &backend.spec());
    Some(named(format!("{pool}/{name}"), shown))
}

/// The whole configuration: its version, and what a change makes of it.
pub(super) fn whole(version: u64, changes: Option<Vec<String>>) -> ShownSettings {
    let mut shown = ShownSettings::default();
    if let Some(changes) = changes {
        shown.put("changes", ShownValue::List(changes));
    }
    shown.put("version", ShownValue::Number(version));
    shown
}

fn named(name: String, mut shown: ShownSettings) -> ShownSettings {
    shown.put("name", ShownValue::Text(name));
    shown.0.sort_by(|a, b| a.name.cmp(&b.name));
    shown
}
