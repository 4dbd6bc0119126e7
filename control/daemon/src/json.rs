//! Answers and refusals as JSON documents: `{"schema":"weir/v1",…}` and the keys of answer.rs.

use serde::Serialize;
use serde_json::Value;
use weir_proto::answer::{Answer, Changed, SCHEMA};
use weir_proto::request::Refusal;

/// An answer as one line of JSON.
pub(crate) fn answer(answer: &Answer) -> String {
    match answer {
        Answer::Status(it) => document(it),
        Answer::Shards(it) => document(it),
        Answer::Listeners(it) => document(it),
        Answer::Listener(it) => document(it),
        Answer::Pools(it) => document(it),
        Answer::Pool(it) => document(it),
        Answer::Backends(it) => document(it),
        Answer::Backend(it) => document(it),
        Answer::Stats(it) => document(it),
        Answer::Events(it) => document(it),
        Answer::Config(it) => document(it),
        Answer::History(it) => document(it),
        Answer::Changed(it) => document(ChangedValues::from(it)),
        Answer::Said(it) => document(it),
    }
}

/// A refusal as one line of JSON.
pub(crate) fn refusal(refusal: &Refusal) -> String {
    #[derive(Serialize)]
    struct Error<'a> {
        error: &'a Refusal,
    }
    document(Error { error: refusal })
}

fn document(body: impl Serialize) -> String {
    #[derive(Serialize)]
    struct Document<T> {
        schema: &'static str,
        #[serde(flatten)]
        body: T,
    }
    let document = Document { schema: SCHEMA, body };
    serde_json::to_string(&document).expect("plain data with string keys becomes JSON")
}

/// [`Changed`] with `before` and `after` as values, not as text.
#[derive(Serialize)]
struct ChangedValues<'a> {
    version: u64,
    before: Value,
    after: Value,
    summary: &'a str,
    undo: &'a str,
    dry_run: bool,
    shards_adopted: u16,
    shards: u16,
}

impl<'a> From<&'a Changed> for ChangedValues<'a> {
    fn from(changed: &'a Changed) -> ChangedValues<'a> {
        // A text that is no JSON is shown as it is rather than lost.
        let value = |text: &str| {
            serde_json::from_str(text).unwrap_or_else(|_| Value::String(text.to_owned()))
        };
        ChangedValues {
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
    use weir_proto::answer::{Said, ShardRow, Shards};
    use weir_proto::request::Code;

    #[test]
    fn an_answer_has_its_schema_first_and_no_wrapper() {
        let row = ShardRow { id: 0, version: 7, sessions: 2, sessions_max: 9, busy: 0.5 };
        assert_eq!(
            answer(&Answer::Shards(Shards { shards: vec![row] })),
            concat!(
                r#"{"schema":"weir/v1","shards":[{"id":0,"version":7,"sessions":2,"#,
                r#""sessions_max":9,"busy":0.5}]}"#
            )
        );
        let said = Answer::Said(Said { text: "done".to_owned() });
        assert_eq!(answer(&said), r#"{"schema":"weir/v1","text":"done"}"#);
    }

    #[test]
    fn before_and_after_become_values() {
        let changed = Changed {
            version: 3,
            before: "null".to_owned(),
            after: r#"{"weight":2}"#.to_owned(),
            summary: "backend add web/b1".to_owned(),
            undo: "weirctl backend remove web/b1".to_owned(),
            dry_run: false,
            shards_adopted: 2,
            shards: 2,
        };
        let text = answer(&Answer::Changed(changed));
        let start = r#"{"schema":"weir/v1","version":3,"before":null,"after":{"weight":2},"#;
        assert!(text.starts_with(start), "{text}");
    }

    #[test]
    fn a_refusal_is_an_error() {
        let mut no = Refusal::new(Code::NotFound, "no pool \"wbe\"", "weirctl pool list");
        no.did_you_mean.push("web".to_owned());
        assert_eq!(
            refusal(&no),
            concat!(
                r#"{"schema":"weir/v1","error":{"code":"not_found","message":"no pool \"wbe\"","#,
                r#""hint":"weirctl pool list","did_you_mean":["web"]}}"#
            )
        );
    }
}
