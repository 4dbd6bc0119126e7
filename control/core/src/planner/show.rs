//! A listener, a pool or a backend as the JSON of `before` and `after`; `null` if it is not there.

use serde_json::{Value, json};
use weir_proto::answer;
use weir_proto::settings::{self, Setting};
use weir_proto::snapshot::{Keepalive, Snapshot};

/// A listener by name.
pub(super) fn listener(snapshot: &Snapshot, name: &str) -> Value {
    let Some(listener) = snapshot.listener(name) else { return Value::Null };
    json!({
        "name": name,
        "bind": listener.bind.iter().map(ToString::to_string).collect::<Vec<_>>(),
        "pool": snapshot.pools[listener.pool].name.as_str(),
        "max_sessions": listener.max_sessions,
        "state": if listener.accepting { "open" } else { "draining" },
        "keepalive": keepalive(listener.keepalive),
    })
}

/// Keepalive in the units of answers.
pub fn keepalive(keepalive: Keepalive) -> answer::PoolKeepalive {
    let [idle_s, interval_s] = [keepalive.idle_s, keepalive.interval_s].map(f64::from);
    answer::PoolKeepalive { idle_s, interval_s, count: keepalive.count }
}

/// A pool by name, without its backends.
pub(super) fn pool(snapshot: &Snapshot, name: &str) -> Value {
    let Some(pool) = snapshot.pool(name) else { return Value::Null };
    let mut shown = json!({ "name": name });
    add_settings(&mut shown, settings::POOL, &pool.spec());
    shown
}

/// Adds every setting under its name in answers; those below a table in an object of their own.
fn add_settings<S>(shown: &mut Value, table: &[Setting<S>], of: &S) {
    for setting in table {
        let value = setting.effective(of).map_or(Value::Null, |value| in_json(&value));
        match setting.json.split_once('.') {
            Some((above, name)) => shown[above][name] = value,
            None => shown[setting.json] = value,
        }
    }
}

/// A span in seconds, a share in hundredths.
fn in_json(value: &settings::Value) -> Value {
    match value {
        settings::Value::Span(span) => span_s(*span).into(),
        settings::Value::Count(count) => (*count).into(),
        settings::Value::Size(size) => size.bytes().into(),
        settings::Value::Share(share) => share.hundredths().into(),
        settings::Value::Text(text) => text.as_str().into(),
        settings::Value::Addresses(addresses) => {
            addresses.iter().map(ToString::to_string).collect::<Vec<_>>().into()
        }
    }
}

/// A backend by its two names.
pub(super) fn backend(snapshot: &Snapshot, pool: &str, name: &str) -> Value {
    let found = snapshot.pool(pool).and_then(|pool| pool.backend(name));
    let Some(backend) = found else { return Value::Null };
    json!({
        "name": format!("{pool}/{name}"),
        "address": backend.address.to_string(),
        "weight": backend.weight,
        "state": backend.admin.word(),
    })
}

/// A span in seconds.
pub fn span_s(span: weir_proto::spec::Span) -> f64 {
    // Spans are checked to be at most a week: exact in a float.
    u32::try_from(span.millis).map_or(f64::INFINITY, f64::from) / 1000.0
}
