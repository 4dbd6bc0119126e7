//! What a mutation did: before → after, the version it made, and the command that takes it back.

use serde_json::{Map, Value};
use weir_proto::answer::{Changed, UnconfirmedRow};
use weir_proto::settings::ShownSettings;

use super::human::plain;
use super::impact::impact;
use super::{Style, Tone};

/// The lines about a change.
pub(crate) fn changed(changed: &Changed, style: Style) -> String {
    let mut text = format!("{}\n", plain(&changed.summary));
    for line in differences(&value(&changed.before), &value(&changed.after)) {
        text += &format!("  {}\n", plain(&line));
    }
    for warning in &changed.warnings {
        text += &format!("{} {}\n", style.paint("warning:", Tone::Warn), plain(warning));
    }
    if let Some(told) = &changed.impact {
        text += &impact(told, style);
    }
    if changed.dry_run {
        text += "dry run: nothing was changed\n";
        return text;
    }
    if let Some(terms) = &changed.unconfirmed {
        let line = plain(&waits(terms));
        text += &format!("{} {line}\n", style.paint("not confirmed:", Tone::Warn));
    }
    let (adopted, shards) = (changed.shards_adopted, changed.shards);
    let tone = if adopted < shards { Tone::Warn } else { Tone::Plain };
    let line = format!("version {} on {adopted}/{shards} shards", changed.version);
    text += &format!("{}\n", style.paint(&line, tone));
    if !changed.undo.is_empty() {
        text += &format!("undo: {}\n", plain(&changed.undo));
    }
    text
}

/// Until when a version waits for its confirmation, and how it gets it.
pub(crate) fn waits(terms: &UnconfirmedRow) -> String {
    let UnconfirmedRow { version, rolls_back_to, left_s, guards } = terms;
    let guards =
        if guards.is_empty() { String::new() } else { format!(" (guards: {})", guards.join(", ")) };
    format!(
        "version {version} is rolled back to {rolls_back_to} in {left_s:.0} s{guards}; \
         to keep it: weirctl config confirm"
    )
}

/// The value in JSON. Settings are strings and numbers: there is nothing in them that JSON cannot
/// say.
pub(crate) fn value(shown: &Option<ShownSettings>) -> Value {
    serde_json::to_value(shown).unwrap_or_default()
}

/// One line for each leaf that differs: `key: before → after`.
fn differences(before: &Value, after: &Value) -> Vec<String> {
    let mut lines = Vec::new();
    match (before, after) {
        // A whole object that came or went is told in one line; its parts would be noise.
        (Value::Null, Value::Null) => {}
        (Value::Null, after) => lines.push(format!("(nothing) → {}", brief(after))),
        (before, Value::Null) => lines.push(format!("{} → (nothing)", brief(before))),
        (before, after) => compare("", before, after, &mut lines),
    }
    lines
}

fn compare(path: &str, before: &Value, after: &Value, lines: &mut Vec<String>) {
    if before == after {
        return;
    }
    if let (Value::Object(old), Value::Object(new)) = (before, after) {
        let keys = old.keys().chain(new.keys().filter(|key| !old.contains_key(*key)));
        for key in keys {
            let path = if path.is_empty() { key.clone() } else { format!("{path}.{key}") };
            let side = |map: &Map<String, Value>| map.get(key).cloned().unwrap_or(Value::Null);
            let (old, new) = (side(old), side(new));
            compare(&path, &old, &new, lines);
        }
        return;
    }
    let key = if path.is_empty() { String::new() } else { format!("{path}: ") };
    lines.push(format!("{key}{} → {}", brief(before), brief(after)));
}

/// A value in one line: strings bare, objects as `key=value`.
fn brief(value: &Value) -> String {
    match value {
        Value::Null => "(nothing)".to_owned(),
        Value::String(text) => text.clone(),
        Value::Array(items) => items.iter().map(brief).collect::<Vec<_>>().join(", "),
        Value::Object(map) => {
            let parts =
                map.iter().filter(|(_, value)| !value.is_null()).map(|(key, value)| match value {
                    Value::Object(_) => format!("{key}={{{}}}", brief(value)),
                    Value::Array(_) => format!("{key}=[{}]", brief(value)),
                    _ => format!("{key}={}", brief(value)),
                });
            parts.collect::<Vec<_>>().join(" ")
        }
        other => other.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::render::views::tests as sample;

    #[test]
    fn a_change_tells_before_after_version_and_undo() {
        assert_eq!(
            changed(&sample::changed(), Style::default()),
            "backend set web/b1 (state ready → drain)\n  \
             state: ready → drain\n\
             version 8 on 2/2 shards\n\
             undo: weirctl backend ready web/b1\n"
        );
    }

    #[test]
    fn a_dry_run_says_that_nothing_was_changed() {
        let mut dry = sample::changed();
        dry.dry_run = true;
        let text = changed(&dry, Style::default());
        let wanted = "  state: ready → drain\n\
                      dry run: nothing was changed\n";
        assert!(text.ends_with(wanted), "{text}");
    }

    #[test]
    fn objects_that_come_and_go_take_one_line() {
        let parsed = |text: &str| serde_json::from_str(text).unwrap();
        let line = |before, after| differences(&parsed(before), &parsed(after)).join("|");
        assert_eq!(
            line("null", r#"{"address":"10.0.0.1:1","weight":2,"bind":["a","b"],"x":{"y":1}}"#),
            "(nothing) → address=10.0.0.1:1 bind=[a, b] weight=2 x={y=1}"
        );
        assert_eq!(line(r#"{"weight":2}"#, "null"), "weight=2 → (nothing)");
        assert_eq!(line("null", "null"), "");
        assert_eq!(
            line(r#"{"a":{"b":1,"c":2},"d":[1]}"#, r#"{"a":{"b":3,"c":2},"d":[1,2],"e":true}"#),
            "a.b: 1 → 3|d: 1 → 1, 2|e: (nothing) → true"
        );
        assert_eq!(line(r#""ready""#, r#""drain""#), "ready → drain");
    }
}
