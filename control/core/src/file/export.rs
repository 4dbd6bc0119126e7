//! A spec as TOML, in the style of the manual: what reads back as the same spec.

use std::fmt::{Display, Write};

use weir_proto::spec::{
    Admin, BackendSpec, HealthKind, HealthSpec, KeepaliveSpec, ListenerSpec, PoolSpec, RetrySpec,
    Spec, TimeoutSpec,
};

/// `spec` as the text of a file. Tables that say only the defaults are left out.
pub fn export(spec: &Spec) -> String {
    let mut out = String::new();
    for (name, listener) in &spec.listener {
        write_listener(&mut out, &key(name.as_str()), listener);
    }
    for (name, pool) in &spec.pool {
        write_pool(&mut out, &key(name.as_str()), pool);
    }
    out
}

fn write_listener(out: &mut String, name: &str, listener: &ListenerSpec) {
    head(out, &format!("listener.{name}"));
    let addresses: Vec<String> =
        listener.bind.iter().map(|address| quote(&address.to_string())).collect();
    match addresses.as_slice() {
        [one] => line(out, "bind", one),
        many => line(out, "bind", format!("[{}]", many.join(", "))),
    }
    line(out, "pool", quote(listener.pool.as_str()));
    if let Some(count) = listener.max_sessions {
        line(out, "max-sessions", count);
    }
    if listener.state != Admin::Ready {
        line(out, "state", quote(listener.state.word()));
    }
    write_keepalive(out, &listener.keepalive);
}

fn write_keepalive(out: &mut String, keepalive: &KeepaliveSpec) {
    if !keepalive.is_default() {
        let fields = [
            ("idle", quote(&keepalive.idle.to_string())),
            ("interval", quote(&keepalive.interval.to_string())),
            ("count", keepalive.count.to_string()),
        ];
        line(out, "keepalive", inline(&fields));
    }
}

fn write_pool(out: &mut String, name: &str, pool: &PoolSpec) {
    head(out, &format!("pool.{name}"));
    line(out, "strategy", quote(pool.strategy.word()));
    if pool.health != HealthSpec::default() {
        line(out, "health", health(&pool.health));
    }
    if pool.timeout != TimeoutSpec::default() {
        let TimeoutSpec { connect, idle, half_close, stalled } = &pool.timeout;
        let mut fields = vec![
            ("connect", quote(&connect.to_string())),
            ("idle", quote(&idle.to_string())),
            ("half-close", quote(&half_close.to_string())),
        ];
        fields.extend(stalled.map(|span| ("stalled", quote(&span.to_string()))));
        line(out, "timeout", inline(&fields));
    }
    if pool.retry != RetrySpec::default() {
        line(out, "retry", retry(&pool.retry));
    }
    write_keepalive(out, &pool.keepalive);
    if !pool.backend.is_empty() {
        head(out, &format!("pool.{name}.backend"));
        for (name, spec) in &pool.backend {
            line(out, &key(name.as_str()), backend(spec));
        }
    }
}

fn health(health: &HealthSpec) -> String {
    let mut fields = vec![
        ("kind", quote(kind_word(health.kind))),
        ("interval", quote(&health.interval.to_string())),
        ("timeout", quote(&health.timeout.to_string())),
        ("rise", health.rise.to_string()),
        ("fall", health.fall.to_string()),
    ];
    for (key, text) in [("path", &health.path), ("send", &health.send), ("expect", &health.expect)]
    {
        fields.extend(text.as_ref().map(|text| (key, quote(text))));
    }
    let default = HealthSpec::default();
    if health.panic != default.panic {
        fields.push(("panic", quote(&health.panic.to_string())));
    }
    if health.slow_start != default.slow_start {
        fields.push(("slow-start", quote(&health.slow_start.to_string())));
    }
    inline(&fields)
}

fn retry(retry: &RetrySpec) -> String {
    let mut fields = vec![("attempts", retry.attempts.to_string())];
    if retry.within != RetrySpec::default().within {
        fields.push(("within", quote(&retry.within.to_string())));
    }
    inline(&fields)
}

fn backend(backend: &BackendSpec) -> String {
    let mut fields = vec![("address", quote(&backend.address.to_string()))];
    if backend.weight != 1 {
        fields.push(("weight", backend.weight.to_string()));
    }
    if backend.state != Admin::Ready {
        fields.push(("state", quote(backend.state.word())));
    }
    inline(&fields)
}

/// The word that operators write.
pub(super) fn kind_word(kind: HealthKind) -> &'static str {
    match kind {
        HealthKind::Tcp => "tcp",
        HealthKind::Http => "http",
        HealthKind::SendExpect => "send-expect",
        HealthKind::None => "none",
    }
}

fn head(out: &mut String, path: &str) {
    if !out.is_empty() {
        out.push('\n');
    }
    out.push_str(&format!("[{path}]\n"));
}

fn line(out: &mut String, key: &str, value: impl Display) {
    // Writing to a string does not fail.
    let _ = writeln!(out, "{key} = {value}");
}

fn inline(fields: &[(&str, String)]) -> String {
    let fields: Vec<String> =
        fields.iter().map(|(key, value)| format!("{key} = {value}")).collect();
    format!("{{ {} }}", fields.join(", "))
}

/// A name as a key: bare, unless it has a dot.
fn key(name: &str) -> String {
    let bare = name.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-_".contains(&byte));
    if bare && !name.is_empty() { name.to_owned() } else { quote(name) }
}

/// A TOML basic string.
fn quote(text: &str) -> String {
    let mut out = String::with_capacity(text.len() + 2);
    out.push('"');
    for character in text.chars() {
        match character {
            '"' => out.push_str("\\\""),
            '\\' => out.push_str("\\\\"),
            control if control.is_control() => {
                let _ = write!(out, "\\u{:04X}", u32::from(control));
            }
            plain => out.push(plain),
        }
    }
    out.push('"');
    out
}
