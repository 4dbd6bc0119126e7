//! A listener, a pool or a backend as the JSON of `before` and `after`; `null` if it is not there.

use serde_json::{Value, json};
use weir_proto::answer;
use weir_proto::snapshot::{Keepalive, Snapshot};
use weir_proto::spec::HealthKind;

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
    let seconds = |ms: u32| f64::from(ms) / 1000.0;
    json!({
        "name": name,
        "strategy": pool.strategy.word(),
        "health": {
            "kind": kind_word(pool.health.kind),
            "interval_s": span_s(pool.health.interval),
            "timeout_s": span_s(pool.health.timeout),
            "rise": pool.health.rise,
            "fall": pool.health.fall,
            "path": pool.health.path,
            "send": pool.health.send,
            "expect": pool.health.expect,
            "panic_percent": pool.health.panic.hundredths(),
            "slow_start_s": span_s(pool.health.slow_start),
        },
        "timeout": {
            "connect_s": seconds(pool.timeouts.connect_ms),
            "idle_s": seconds(pool.timeouts.idle_ms),
            "half_close_s": seconds(pool.timeouts.half_close_ms),
            "stalled_s": seconds(pool.timeouts.stalled_ms()),
        },
        "keepalive": keepalive(pool.keepalive),
        "retry": { "attempts": pool.retry.attempts, "within_s": seconds(pool.retry.within_ms) },
    })
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

/// The word that operators write for a kind of health check.
pub fn kind_word(kind: HealthKind) -> &'static str {
    match kind {
        HealthKind::Tcp => "tcp",
        HealthKind::Http => "http",
        HealthKind::SendExpect => "send-expect",
        HealthKind::None => "none",
    }
}

/// A span in seconds.
pub fn span_s(span: weir_proto::spec::Span) -> f64 {
    // Spans are checked to be at most a week: exact in a float.
    u32::try_from(span.millis).map_or(f64::INFINITY, f64::from) / 1000.0
}
