//! Answers as JSON, each with its line's end: see [`weir_proto::json`].

use serde::Serialize;
use weir_proto::answer::Answer;
use weir_proto::json::{self, Layout};

use super::Style;

/// One JSON document: a line in a pipe, indented on a terminal.
pub(crate) fn document(body: &impl Serialize, style: Style) -> String {
    json::document(body, layout(style)) + "\n"
}

/// The document of an answer.
pub(crate) fn answer(answer: &Answer, style: Style) -> String {
    json::answer(answer, layout(style)) + "\n"
}

fn layout(style: Style) -> Layout {
    if style.human { Layout::Indented } else { Layout::Line }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::render::views::tests as sample;
    use serde_json::Value;
    use weir_proto::answer::{Author, Backends, History, VersionRow};

    fn value(text: &str) -> Value {
        serde_json::from_str(text).unwrap()
    }

    fn line(what: Answer) -> String {
        answer(&what, Style::default())
    }

    /// The keys of a JSON object, sorted.
    fn keys(value: &Value) -> Vec<&str> {
        value.as_object().unwrap().keys().map(String::as_str).collect()
    }

    fn assert_has(value: &Value, wanted: &[&str]) {
        for key in wanted {
            assert!(value.get(key).is_some(), "no {key} in {value}");
        }
    }

    #[test]
    fn status_has_the_keys_of_the_contract() {
        let text = line(Answer::Status(sample::status()));
        assert!(text.starts_with("{\"schema\":\"weir/v1\",\"version\":7,\"uptime_s\":"), "{text}");
        assert_eq!(text.lines().count(), 1);
        let json = value(&text);
        assert_has(&json, &["schema", "version", "uptime_s", "shards", "listeners", "pools"]);
        assert_has(&json["shards"][0], &["id", "version", "sessions"]);
        assert_has(&json["listeners"][0], &["name", "bind", "pool", "state", "sessions"]);
        assert_has(&json["pools"][0], &["name", "strategy", "backends_up", "backends"]);
    }

    #[test]
    fn backends_pools_and_stats_have_the_keys_of_the_contract() {
        const BACKEND: [&str; 10] = [
            "name",
            "address",
            "state",
            "weight",
            "sessions",
            "sessions_total",
            "connect_failures_total",
            "received_bytes_total",
            "sent_bytes_total",
            "check",
        ];
        let backends = Backends { backends: vec![sample::backend()] };
        let json = value(&line(Answer::Backends(backends)));
        assert_has(&json["backends"][0], &BACKEND);
        assert_eq!(keys(&json["backends"][0]["check"]), ["hold_s", "result", "since_s"]);
        let json = value(&line(Answer::Pool(sample::pool())));
        assert_has(&json, &["schema", "name", "strategy", "health", "timeout", "backends"]);
        assert_has(&json["backends"][0], &BACKEND);
        let json = value(&line(Answer::Stats(sample::stats())));
        let wanted = [
            "sessions",
            "sessions_total",
            "session_rate_per_s",
            "received_bytes_total",
            "sent_bytes_total",
            "connect_duration_s",
            "pools",
        ];
        assert_has(&json, &wanted);
        assert_has(&json["connect_duration_s"], &["p50", "p99", "p999"]);
    }

    #[test]
    fn history_names_the_author() {
        let by = Author::new(0, 42);
        let row = VersionRow {
            version: 2,
            at: "now".into(),
            by,
            summary: "s".into(),
            message: None,
            claimed_command: Some("weirctl".into()),
            parent: Some(1),
        };
        assert_eq!(
            line(Answer::History(History { versions: vec![row], next_before: Some(2) })),
            "{\"schema\":\"weir/v1\",\"versions\":[{\"version\":2,\"at\":\"now\",\
             \"by\":{\"uid\":0,\"pid\":42,\"login\":null,\"role\":null,\"from\":null},\
             \"summary\":\"s\",\
             \"message\":null,\"claimed_command\":\"weirctl\",\"parent\":1}],\"next_before\":2}\n"
        );
    }

    #[test]
    fn before_and_after_are_values() {
        let json = value(&line(Answer::Changed(sample::changed())));
        assert_eq!(json["before"], serde_json::json!({"state": "ready", "weight": 1}));
        assert_eq!(json["after"]["state"], "drain");
        assert_eq!(json["version"], 8);
        let added = weir_proto::answer::Changed { before: None, ..sample::changed() };
        let json = value(&line(Answer::Changed(added)));
        assert_eq!(json["before"], Value::Null);
    }

    #[test]
    fn a_terminal_gets_indented_json() {
        let text = answer(&Answer::Status(sample::status()), Style { human: true, colour: false });
        assert!(text.starts_with("{\n  \"schema\": \"weir/v1\",\n"), "{text}");
    }
}
