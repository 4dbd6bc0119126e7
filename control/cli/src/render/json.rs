//! Answers as JSON: `"schema"` first, then the answer's own keys in their order.

use serde::Serialize;
use serde_json::Value;
use weir_proto::answer::{Answer, Changed, SCHEMA};

use super::Style;

/// One JSON document: a line in a pipe, indented on a terminal. The line is ended.
pub(crate) fn document<T: Serialize>(body: &T, style: Style) -> String {
    let document = Document { schema: SCHEMA, body };
    let text = if style.human {
        serde_json::to_string_pretty(&document)
    } else {
        serde_json::to_string(&document)
    };
    // Answers are plain structs with string keys: there is nothing in them that JSON cannot say.
    text.unwrap_or_else(|error| format!("{{\"schema\":\"{SCHEMA}\",\"error\":\"{error}\"}}")) + "\n"
}

/// The document of an answer.
pub(crate) fn answer(answer: &Answer, style: Style) -> String {
    match answer {
        Answer::Status(body) => document(body, style),
        Answer::Shards(body) => document(body, style),
        Answer::Listeners(body) => document(body, style),
        Answer::Listener(body) => document(body, style),
        Answer::Pools(body) => document(body, style),
        Answer::Pool(body) => document(body, style),
        Answer::Backends(body) => document(body, style),
        Answer::Backend(body) => document(body, style),
        Answer::Stats(body) => document(body, style),
        Answer::Events(body) => document(body, style),
        Answer::Config(body) => document(body, style),
        Answer::History(body) => document(body, style),
        Answer::Changed(body) => document(&ChangedBody::from(body), style),
        Answer::Said(body) => document(body, style),
    }
}

/// JSON text as a value; text that is no JSON as a string.
pub(crate) fn value(text: &str) -> Value {
    serde_json::from_str(text).unwrap_or_else(|_| Value::String(text.to_owned()))
}

#[derive(Serialize)]
struct Document<'a, T: Serialize> {
    schema: &'static str,
    #[serde(flatten)]
    body: &'a T,
}

/// [`Changed`] with its JSON texts as values.
#[derive(Serialize)]
struct ChangedBody<'a> {
    version: u64,
    before: Value,
    after: Value,
    summary: &'a str,
    undo: &'a str,
    dry_run: bool,
    shards_adopted: u16,
    shards: u16,
}

impl<'a> From<&'a Changed> for ChangedBody<'a> {
    fn from(changed: &'a Changed) -> ChangedBody<'a> {
        ChangedBody {
            version: changed.version,
            before: value(&changed.before),
            after: value(&changed.after),
            summary: &changed.summary,
            undo: &changed.undo,
            dry_run: changed.dry_run,
            shards_adopted: changed.shards_adopted,
            shards: changed.shards,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::render::views::tests as sample;
    use weir_proto::answer::{Author, Backends, History, VersionRow};

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
        let by = Author { uid: 0, pid: 42 };
        let row = VersionRow { version: 2, at: "now".into(), by, summary: "s".into() };
        assert_eq!(
            line(Answer::History(History { versions: vec![row] })),
            "{\"schema\":\"weir/v1\",\"versions\":[{\"version\":2,\"at\":\"now\",\
             \"by\":{\"uid\":0,\"pid\":42},\"summary\":\"s\"}]}\n"
        );
    }

    #[test]
    fn before_and_after_are_values() {
        let json = value(&line(Answer::Changed(sample::changed())));
        assert_eq!(json["before"], serde_json::json!({"state": "ready", "weight": 1}));
        assert_eq!(json["after"]["state"], "drain");
        assert_eq!(json["version"], 8);
        let mut odd = sample::changed();
        odd.before = "null".into();
        odd.after = "not json".into();
        let json = value(&line(Answer::Changed(odd)));
        assert_eq!((&json["before"], &json["after"]), (&Value::Null, &"not json".into()));
    }

    #[test]
    fn a_terminal_gets_indented_json() {
        let text = answer(&Answer::Status(sample::status()), Style { human: true, colour: false });
        assert!(text.starts_with("{\n  \"schema\": \"weir/v1\",\n"), "{text}");
    }
}
