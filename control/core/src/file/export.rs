//! A spec as TOML, in the style of the manual: what reads back as the same spec.

use std::fmt::{Display, Write};

use weir_proto::settings::{self, Setting, Value};
use weir_proto::spec::{BackendSpec, ListenerSpec, PoolSpec, RouteSpec, SourceSpec, Spec};

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
    let plain = ListenerSpec::new(listener.pool.clone(), Vec::new());
    for (key, value) in lines(settings::LISTENER, listener, &plain) {
        line(out, key, value);
    }
}

fn write_pool(out: &mut String, name: &str, pool: &PoolSpec) {
    head(out, &format!("pool.{name}"));
    for (key, value) in lines(settings::POOL, pool, &PoolSpec::default()) {
        line(out, key, value);
    }
    if !pool.backend.is_empty() {
        head(out, &format!("pool.{name}.backend"));
        for (name, backend) in &pool.backend {
            let plain = BackendSpec::new(backend.address);
            line(out, &key(name.as_str()), inline(&lines(settings::BACKEND, backend, &plain)));
        }
    }
}

/// The lines of a table: its settings in their order, those below a table as one inline table. A
/// table in which everything is as in `plain` is left out.
fn lines<S>(table: &'static [Setting<S>], of: &S, plain: &S) -> Vec<(&'static str, String)> {
    let mut lines: Vec<(&'static str, String)> = Vec::new();
    let mut done: Vec<&str> = Vec::new();
    for setting in table {
        let (above, name) = setting.split();
        let Some(above) = above else {
            lines.extend(field(setting, of, plain).map(|value| (name, value)));
            continue;
        };
        if done.contains(&above) {
            continue;
        }
        done.push(above);
        let rows = || table.iter().filter(|setting| setting.split().0 == Some(above));
        if rows().any(|setting| (setting.get)(of) != (setting.get)(plain)) {
            let fields = rows().filter_map(|it| Some((it.split().1, field(it, of, plain)?)));
            lines.push((above, inline(&fields.collect::<Vec<_>>())));
        }
    }
    lines
}

/// A setting's value as it is written, if it is written.
fn field<S>(setting: &Setting<S>, of: &S, plain: &S) -> Option<String> {
    let value = (setting.get)(of)?;
    let is_written = setting.always_exported || Some(&value) != (setting.get)(plain).as_ref();
    is_written.then(|| written(&value))
}

fn written(value: &Value) -> String {
    match value {
        Value::Count(_) | Value::Flag(_) => value.to_string(),
        Value::Span(_)
        | Value::Size(_)
        | Value::Share(_)
        | Value::Text(_)
        | Value::Rate(_)
        | Value::NoBackend(_) => quote(&value.to_string()),
        Value::Addresses(addresses) => list(addresses),
        Value::Target(address) => quote(&address.to_string()),
        Value::Networks(networks) => list(networks),
        Value::Source(SourceSpec::Addresses(addresses)) => list(addresses),
        Value::Steps(steps) => list(steps),
        Value::Routes(routes) => {
            let routes: Vec<String> = routes.iter().map(route).collect();
            format!("[\n  {},\n]", routes.join(",\n  "))
        }
    }
}

/// A route as an inline table.
fn route(route: &RouteSpec) -> String {
    let RouteSpec { sni, alpn, from, pool } = route;
    let lists = [("sni", list(sni)), ("alpn", list(alpn)), ("from", list(from))];
    let lists = lists.into_iter().filter(|(_, list)| list != "[]");
    let pool = ("pool", quote(pool.as_str()));
    inline(&lists.chain([pool]).collect::<Vec<_>>())
}

/// A longer list has a line for each item.
const IN_ONE_LINE_MAX: usize = 16;

/// One alone, or several in brackets.
fn list<T: ToString>(items: &[T]) -> String {
    let texts: Vec<String> = items.iter().map(|item| quote(&item.to_string())).collect();
    match texts.as_slice() {
        [one] => one.clone(),
        many if many.len() > IN_ONE_LINE_MAX => format!("[\n  {},\n]", many.join(",\n  ")),
        many => format!("[{}]", many.join(", ")),
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
