//! The verbs of pools.

use core::str::FromStr;

use weir_proto::request::{Code, Refusal};
use weir_proto::snapshot::Snapshot;
use weir_proto::spec::{HealthKind, HealthSpec, Percent, PoolSpec, Span, Strategy};

use super::{Edit, Subject, names};

/// The keys of `pool set`, as in the file.
const KEYS: [&str; 20] = [
    "strategy",
    "health.kind",
    "health.interval",
    "health.timeout",
    "health.rise",
    "health.fall",
    "health.path",
    "health.send",
    "health.expect",
    "health.panic",
    "health.slow-start",
    "timeout.connect",
    "timeout.idle",
    "timeout.half-close",
    "timeout.stalled",
    "keepalive.idle",
    "keepalive.interval",
    "keepalive.count",
    "retry.attempts",
    "retry.within",
];

/// `pool add NAME [--strategy S]`
pub(super) fn add(current: &Snapshot, name: &str, strategy: Option<&str>) -> Result<Edit, Refusal> {
    let key = names::parse(name)?;
    if current.pool(name).is_some() {
        return Err(Refusal::new(
            Code::Exists,
            format!("there is a pool {name:?} already"),
            format!("weirctl pool show {name}"),
        ));
    }
    let strategy = strategy.map(parse_strategy).transpose()?.unwrap_or_default();
    let mut spec = current.spec();
    spec.pool.insert(key, PoolSpec { strategy, ..PoolSpec::default() });
    let mut edit = Edit::new(spec, Subject::Pool(name.to_owned()));
    edit.undo = Some(format!("weirctl pool remove {name}"));
    Ok(edit)
}

/// `pool remove NAME`
pub(super) fn remove(current: &Snapshot, name: &str) -> Result<Edit, Refusal> {
    let pool = names::pool(current, name)?;
    let users =
        current.listeners.iter().filter(|listener| current.pools[listener.pool].id == pool.id);
    let users: Vec<&str> = users.map(|listener| listener.name.as_str()).collect();
    if let Some(first) = users.first() {
        let noun = if users.len() == 1 { "listener" } else { "listeners" };
        return Err(Refusal::new(
            Code::Invalid,
            format!("pool {name:?} is used by {noun} {}", users.join(", ")),
            format!("weirctl listener remove {first}"),
        ));
    }
    let mut spec = current.spec();
    let removed = spec.pool.remove(name);
    let mut edit = Edit::new(spec, Subject::Pool(name.to_owned()));
    // `add` makes an empty pool with every default; anything else comes back by a rollback.
    let plain = PoolSpec { strategy: pool.strategy, ..PoolSpec::default() };
    if removed == Some(plain) {
        edit.undo = Some(format!("weirctl pool add {name} --strategy {}", pool.strategy));
    }
    Ok(edit)
}

/// `pool set NAME KEY=VALUE…`
pub(super) fn set(
    current: &Snapshot,
    name: &str,
    pairs: &[(String, String)],
) -> Result<Edit, Refusal> {
    names::pool(current, name)?;
    if pairs.is_empty() {
        let hint = format!("weirctl pool set {name} strategy=least-conn");
        return Err(Refusal::new(Code::Invalid, "nothing to set", hint));
    }
    let mut spec = current.spec();
    if let Some(pool) = spec.pool.get_mut(name) {
        let kind_before = pool.health.kind;
        for (key, value) in pairs {
            set_one(pool, key, value)?;
        }
        if pool.health.kind != kind_before {
            drop_stray(&mut pool.health, pairs);
        }
    }
    Ok(Edit::new(spec, Subject::Pool(name.to_owned())))
}

fn set_one(pool: &mut PoolSpec, key: &str, value: &str) -> Result<(), Refusal> {
    let (health, timeout) = (&mut pool.health, &mut pool.timeout);
    match key {
        "strategy" => pool.strategy = parse_strategy(value)?,
        "health.kind" => health.kind = parse_kind(value)?,
        "health.interval" => health.interval = parse_span(key, value)?,
        "health.timeout" => health.timeout = parse_span(key, value)?,
        "health.rise" => health.rise = parse_count(key, value)?,
        "health.fall" => health.fall = parse_count(key, value)?,
        "health.path" => health.path = optional(value),
        "health.send" => health.send = optional(value),
        "health.expect" => health.expect = optional(value),
        "health.panic" => health.panic = parse_share(key, value)?,
        "health.slow-start" => health.slow_start = parse_span(key, value)?,
        "timeout.connect" => timeout.connect = parse_span(key, value)?,
        "timeout.idle" => timeout.idle = parse_span(key, value)?,
        "timeout.half-close" => timeout.half_close = parse_span(key, value)?,
        // An empty value: as long as `timeout.idle`.
        "timeout.stalled" if value.is_empty() => timeout.stalled = None,
        "timeout.stalled" => timeout.stalled = Some(parse_span(key, value)?),
        "keepalive.idle" => pool.keepalive.idle = parse_span(key, value)?,
        "keepalive.interval" => pool.keepalive.interval = parse_span(key, value)?,
        "keepalive.count" => pool.keepalive.count = parse_count(key, value)?,
        "retry.attempts" => pool.retry.attempts = parse_count(key, value)?,
        "retry.within" => pool.retry.within = parse_span(key, value)?,
        _ => {
            return Err(Refusal {
                did_you_mean: names::alike(key, KEYS.iter().map(ToString::to_string)),
                ..Refusal::new(
                    Code::Invalid,
                    format!("{key:?} is not a key of a pool"),
                    format!("the keys are: {}", KEYS.join(", ")),
                )
            });
        }
    }
    Ok(())
}

/// A new kind of check has no use for the old one's words, unless they were set with it.
fn drop_stray(health: &mut HealthSpec, pairs: &[(String, String)]) {
    let set_now = |key: &str| pairs.iter().any(|(set, _)| set == key);
    let (path, send, expect) = match health.kind {
        HealthKind::Tcp | HealthKind::None => (false, false, false),
        HealthKind::Http => (true, false, false),
        HealthKind::SendExpect => (false, true, false),
    };
    // `expect` means something else to each kind, so it never stays.
    if !path && !set_now("health.path") {
        health.path = None;
    }
    if !send && !set_now("health.send") {
        health.send = None;
    }
    if !expect && !set_now("health.expect") {
        health.expect = None;
    }
}

/// An empty value takes the key away.
fn optional(value: &str) -> Option<String> {
    (!value.is_empty()).then(|| value.to_owned())
}

fn parse_strategy(text: &str) -> Result<Strategy, Refusal> {
    text.parse().map_err(|why: String| {
        let words = Strategy::ALL.iter().map(|strategy| strategy.word().to_owned());
        Refusal {
            did_you_mean: names::alike(text, words),
            ..Refusal::new(Code::Invalid, why, "weirctl pool set POOL strategy=least-conn")
        }
    })
}

fn parse_kind(text: &str) -> Result<HealthKind, Refusal> {
    const WORDS: [(&str, HealthKind); 4] = [
        ("tcp", HealthKind::Tcp),
        ("http", HealthKind::Http),
        ("send-expect", HealthKind::SendExpect),
        ("none", HealthKind::None),
    ];
    let found = WORDS.iter().find(|(word, _)| *word == text);
    found.map(|(_, kind)| *kind).ok_or_else(|| Refusal {
        did_you_mean: names::alike(text, WORDS.iter().map(|(word, _)| (*word).to_owned())),
        ..Refusal::new(
            Code::Invalid,
            format!("{text:?} is not a kind of check: use one of tcp, http, send-expect, none"),
            "weirctl pool set POOL health.kind=tcp",
        )
    })
}

fn parse_span(key: &str, text: &str) -> Result<Span, Refusal> {
    text.parse().map_err(|why: String| {
        let hint = format!("weirctl pool set POOL {key}=2s");
        Refusal::new(Code::Invalid, format!("{key}: {why}"), hint)
    })
}

fn parse_share(key: &str, text: &str) -> Result<Percent, Refusal> {
    text.parse().map_err(|why: String| {
        let hint = format!("weirctl pool set POOL {key}=50%, or {key}=0% for never");
        Refusal::new(Code::Invalid, format!("{key}: {why}"), hint)
    })
}

fn parse_count<N: FromStr>(key: &str, text: &str) -> Result<N, Refusal> {
    text.parse().map_err(|_| {
        let hint = format!("weirctl pool set POOL {key}=2");
        Refusal::new(Code::Invalid, format!("{key}: {text:?} is not a count"), hint)
    })
}
