//! The settings of a listener or a pool as lines for people: one for each table, one for each that
//! stands below none. A setting that has no sentence here is shown under its own name.

use weir_proto::answer::ListenerRow;
use weir_proto::listed::listed as listed_networks;
use weir_proto::settings::{ShownRoute, ShownSetting, ShownSettings, ShownValue};

use super::super::Style;
use super::super::human::{bytes, seconds};
use super::super::table::Cell;

/// Settings of `health` that are in its sentence, or have lines of their own.
const IN_HEALTH: [&str; 17] = [
    "kind",
    "port",
    "method",
    "path",
    "host",
    "user",
    "send",
    "expect",
    "steps",
    "interval_s",
    "fast_interval_s",
    "down_interval_s",
    "timeout_s",
    "rise",
    "fall",
    "panic_percent",
    "slow_start_s",
];

const SPILL: &str = "spill_percent";
/// The unit of a rate.
const PER_SECOND: &str = "_per_s";

/// Networks of one list that are shown; with `-o json` all are.
const NETWORKS_SHOWN: usize = 16;

/// The lines of every setting, each with its name.
pub(super) fn rows(settings: &ShownSettings, style: Style) -> Vec<(String, Cell)> {
    let rows = settings.tables().map(|(table, run)| match table {
        None if run[0].name == SPILL => ("spill".to_owned(), spill(settings).into()),
        None => (name_of(&run[0], " "), value_of(&run[0], style).into()),
        Some("health") => ("health".to_owned(), health(settings, run, style).into()),
        Some("keepalive") => ("keepalive".to_owned(), keepalive(settings, style).into()),
        Some("proxy_protocol") => {
            ("proxy protocol".to_owned(), proxy_protocol(settings, run, style).into())
        }
        Some("per_source") => ("per source".to_owned(), per_source(settings, run, style).into()),
        Some("agent") => ("agent".to_owned(), agent(settings, run, style).into()),
        Some("discover") => ("discover".to_owned(), discover(run, style).into()),
        Some("redispatch") => ("redispatch".to_owned(), redispatch(settings, style).into()),
        Some(table) => (table.to_owned(), listed(run, style).into()),
    });
    rows.collect()
}

/// When health is ignored.
pub(super) fn panic(settings: &ShownSettings) -> String {
    below(settings.get("health.panic_percent"), "up")
}

/// When a priority group gives sessions to the next one.
fn spill(settings: &ShownSettings) -> String {
    below(settings.get(SPILL), "of a group's weight up")
}

fn below(percent: Option<&ShownValue>, of: &str) -> String {
    match percent {
        None | Some(ShownValue::Number(0)) => "never".to_owned(),
        percent => format!("below {}% {of}", text_of(percent, Style::default())),
    }
}

pub(super) fn slow_start(settings: &ShownSettings, style: Style) -> String {
    match settings.get("health.slow_start_s") {
        None | Some(ShownValue::Seconds(0.0)) => "off".to_owned(),
        value => text_of(value, style),
    }
}

pub(super) fn max_sessions(listener: &ListenerRow) -> String {
    text_of(listener.settings.get("max_sessions"), Style::default())
}

/// As in `http path="/up" every 2s, timeout 500ms, rise 2, fall 3`.
fn health(settings: &ShownSettings, run: &[ShownSetting], style: Style) -> String {
    let value = |key: &str| settings.get(&format!("health.{key}"));
    let text = |key: &str| text_of(value(key), style);
    let mut check = text("kind");
    for key in ["port", "method", "path", "host", "user", "send", "expect", "steps"] {
        match value(key) {
            // It is the usual one, or there is nothing to ask.
            Some(ShownValue::Text(method)) if key == "method" && method == "GET" => {}
            Some(ShownValue::Text(value)) if key == "method" => check += &format!(" {value}"),
            Some(ShownValue::Text(value)) => check += &format!(" {key}={value:?}"),
            Some(ShownValue::Number(number)) => check += &format!(" {key}={number}"),
            Some(ShownValue::List(steps)) => check += &format!(" {key}={:?}", steps.join("; ")),
            _ => {}
        }
    }
    if check != "none" {
        let [every, timeout, rise, fall] = ["interval_s", "timeout_s", "rise", "fall"].map(text);
        check += &format!(" every {every}");
        for (key, when) in
            [("fast_interval_s", "while changing"), ("down_interval_s", "while down")]
        {
            if value(key) != value("interval_s") {
                check += &format!(" ({} {when})", text(key));
            }
        }
        check += &format!(", timeout {timeout}, rise {rise}, fall {fall}");
    }
    let others = run.iter().filter(|setting| !IN_HEALTH.contains(&setting.key()));
    let others: Vec<ShownSetting> = others.cloned().collect();
    if others.is_empty() { check } else { format!("{check}, {}", listed(&others, style)) }
}

/// As in `after 1m 0s, every 10s, 6 times`.
fn keepalive(settings: &ShownSettings, style: Style) -> String {
    let [idle, interval, count] = ["idle_s", "interval_s", "count"]
        .map(|key| text_of(settings.get(&format!("keepalive.{key}")), style));
    format!("after {idle}, every {interval}, {count} times")
}

/// As in `while nothing was sent` or `up to 4 KiB again`.
fn redispatch(settings: &ShownSettings, style: Style) -> String {
    let mode = settings.get("redispatch.mode");
    let is_off = mode == Some(&ShownValue::Text("off".to_owned()));
    match settings.get("redispatch.replay_bytes") {
        Some(replay) => format!("up to {} again", text_of(Some(replay), style)),
        None if is_off => "off".to_owned(),
        None => "while nothing was sent".to_owned(),
    }
}

/// As in `port 9999, interval 2s, timeout 1s`.
fn agent(settings: &ShownSettings, run: &[ShownSetting], style: Style) -> String {
    let is_asked = settings.get("agent.port").is_some();
    if is_asked { listed_set(run, style) } else { "-".to_owned() }
}

/// As in `dns web.internal:443, refresh 10s`.
fn discover(run: &[ShownSetting], style: Style) -> String {
    let is_set = run.iter().any(|setting| setting.value.is_some());
    if is_set { listed_set(run, style) } else { "-".to_owned() }
}

/// As in `from 10.0.0.0/8, timeout 3s`.
fn proxy_protocol(settings: &ShownSettings, run: &[ShownSetting], style: Style) -> String {
    let is_wanted = settings.get("proxy_protocol.from").is_some();
    if is_wanted { listed(run, style) } else { "-".to_owned() }
}

/// As in `sessions 200, rate 50/s, ipv4 32, ipv6 64`.
fn per_source(settings: &ShownSettings, run: &[ShownSetting], style: Style) -> String {
    let limits = ["per_source.sessions", "per_source.rate_per_s"];
    let is_limited = limits.iter().any(|name| settings.get(name).is_some());
    if is_limited { listed_set(run, style) } else { "-".to_owned() }
}

/// Those of them that are set.
fn listed_set(run: &[ShownSetting], style: Style) -> String {
    let set: Vec<ShownSetting> = run.iter().filter(|it| it.value.is_some()).cloned().collect();
    listed(&set, style)
}

/// As in `connect 3s, idle 1h 0m`.
fn listed(run: &[ShownSetting], style: Style) -> String {
    let parts =
        run.iter().map(|setting| format!("{} {}", name_of(setting, "-"), value_of(setting, style)));
    parts.collect::<Vec<_>>().join(", ")
}

/// The name without its unit, its words joined by `joint`.
fn name_of(setting: &ShownSetting, joint: &str) -> String {
    let key = setting.key();
    let without = [PER_SECOND, "_s", "_bytes"].iter().find_map(|unit| key.strip_suffix(unit));
    without.unwrap_or(key).replace('_', joint)
}

/// The value, a rate as in `2000/s`.
fn value_of(setting: &ShownSetting, style: Style) -> String {
    let text = text_of(setting.value.as_ref(), style);
    let is_rate = setting.value.is_some() && setting.key().ends_with(PER_SECOND);
    if is_rate { text + "/s" } else { text }
}

/// As in `1: sni db.example.com → db; 2: from 10.1.0.0/16 → inside`.
fn routes(routes: &[ShownRoute]) -> String {
    let route = |(place, route): (usize, &ShownRoute)| {
        let ShownRoute { sni, alpn, from, pool } = route;
        let mut parts = Vec::new();
        for (key, list) in [("sni", sni), ("alpn", alpn)] {
            if !list.is_empty() {
                parts.push(format!("{key} {}", list.join(", ")));
            }
        }
        if !from.is_empty() {
            parts.push(format!("from {}", listed_networks(from.iter(), NETWORKS_SHOWN, ", ")));
        }
        format!("{}: {} → {pool}", place + 1, parts.join(" "))
    };
    routes.iter().enumerate().map(route).collect::<Vec<_>>().join("; ")
}

fn text_of(value: Option<&ShownValue>, style: Style) -> String {
    match value {
        None => "-".to_owned(),
        Some(ShownValue::Seconds(spent)) => seconds(*spent, style),
        Some(ShownValue::Bytes(count)) => bytes(*count, style),
        Some(ShownValue::Number(number)) => number.to_string(),
        Some(ShownValue::Text(text)) => text.clone(),
        Some(ShownValue::List(list)) => list.join(", "),
        Some(ShownValue::Routes(list)) => routes(list),
        Some(ShownValue::Networks(list)) => listed_networks(list.iter(), NETWORKS_SHOWN, ", "),
        Some(ShownValue::Flag(true)) => "yes".to_owned(),
        Some(ShownValue::Flag(false)) => "no".to_owned(),
    }
}
