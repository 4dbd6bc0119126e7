//! Answers and refusals as JSON documents, for weirctl and HTTP alike: `{"schema":"weir/v1",…}`,
//! then the keys of answer.rs in their order.

use serde::Serialize;

use crate::answer::{Answer, SCHEMA};
use crate::conflict::Conflict;
use crate::outside::steers;
use crate::request::{Code, Refusal};

/// How a document is laid out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Layout {
    /// One line, for programs.
    Line,
    /// Indented, for people.
    Indented,
}

/// Returns an answer as a document, without a line's end.
#[must_use]
pub fn answer(answer: &Answer, layout: Layout) -> String {
    match answer {
        Answer::Status(it) => document(it, layout),
        Answer::Shards(it) => document(it, layout),
        Answer::Listeners(it) => document(it, layout),
        Answer::Listener(it) => document(it, layout),
        Answer::Pools(it) => document(it, layout),
        Answer::Pool(it) => document(it, layout),
        Answer::Backends(it) => document(it, layout),
        Answer::Backend(it) => document(it, layout),
        Answer::Stats(it) => document(it, layout),
        Answer::Latency(it) => document(it, layout),
        Answer::Events(it) => document(it, layout),
        Answer::Config(it) => document(it, layout),
        Answer::History(it) => document(it, layout),
        Answer::Versions(it) => document(it, layout),
        Answer::Difference(it) => document(it, layout),
        Answer::Drift(it) => document(it, layout),
        Answer::Changed(it) => document(it, layout),
        Answer::Tasks(it) => document(it, layout),
        Answer::Task(it) => document(it, layout),
        Answer::Sessions(it) => document(it, layout),
        Answer::Session(it) => document(it, layout),
        Answer::Killed(it) => document(it, layout),
        Answer::Live(it) => document(it, layout),
        Answer::Why(it) => document(it, layout),
        Answer::Said(it) => document(it, layout),
    }
}

/// A refusal as JSON has it.
#[derive(Clone, Copy, Debug, Serialize)]
pub struct RefusalBody<'a> {
    code: Code,
    message: &'a str,
    hint: &'a str,
    did_you_mean: &'a [String],
    #[serde(skip_serializing_if = "<[_]>::is_empty")]
    conflicts: &'a [Conflict],
}

impl<'a> From<&'a Refusal> for RefusalBody<'a> {
    fn from(refusal: &'a Refusal) -> RefusalBody<'a> {
        let Refusal { code, message, hint, did_you_mean, conflicts } = refusal;
        RefusalBody { code: *code, message, hint, did_you_mean, conflicts }
    }
}

/// Returns a refusal as a document of one line, without its end.
#[must_use]
pub fn refusal(refusal: &Refusal) -> String {
    #[derive(Serialize)]
    struct RefusalDocument<'a> {
        error: RefusalBody<'a>,
    }
    document(&RefusalDocument { error: refusal.into() }, Layout::Line)
}

/// Returns any plain struct as a document, without a line's end.
#[must_use]
pub fn document(body: &impl Serialize, layout: Layout) -> String {
    #[derive(Serialize)]
    struct Document<'a, T> {
        schema: &'static str,
        #[serde(flatten)]
        body: &'a T,
    }
    let document = Document { schema: SCHEMA, body };
    let text = match layout {
        Layout::Line => serde_json::to_string(&document),
        Layout::Indented => serde_json::to_string_pretty(&document),
    };
    // Answers are plain structs with string keys: there is nothing in them that JSON cannot say.
    let text =
        text.unwrap_or_else(|error| format!("{{\"schema\":\"{SCHEMA}\",\"error\":\"{error}\"}}"));
    escaped(text)
}

/// Escapes what serde_json leaves in strings and a terminal would obey: DEL, C1, the line
/// separators and the marks of bidirectional text. The document means what it meant.
#[must_use]
pub fn escaped(document: String) -> String {
    // The only such letters outside strings are the ends of lines of an indented document.
    let is_bare = |letter: char| steers(letter) && letter != '\n';
    if !document.contains(is_bare) {
        return document;
    }
    let mut text = String::with_capacity(document.len() + 64);
    for letter in document.chars() {
        if is_bare(letter) {
            text += &format!("\\u{:04x}", u32::from(letter));
        } else {
            text.push(letter);
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::answer::{Changed, Said, ShardRow, Shards};
    use crate::request::Code;
    use crate::settings::{ShownSettings, ShownValue};

    #[test]
    fn an_answer_has_its_schema_first_and_no_wrapper() {
        let row = ShardRow { id: 0, version: 7, sessions: 2, sessions_max: 9, busy: 0.5 };
        assert_eq!(
            answer(&Answer::Shards(Shards { shards: vec![row] }), Layout::Line),
            concat!(
                r#"{"schema":"weir/v1","shards":[{"id":0,"version":7,"sessions":2,"#,
                r#""sessions_max":9,"busy":0.5}]}"#
            )
        );
        let said = Answer::Said(Said { text: "done".to_owned() });
        assert_eq!(answer(&said, Layout::Line), r#"{"schema":"weir/v1","text":"done"}"#);
    }

    #[test]
    fn before_and_after_are_values() {
        let mut after = ShownSettings::default();
        after.put("weight", ShownValue::Number(2));
        let changed = Changed {
            version: 3,
            before: None,
            after: Some(after),
            summary: "backend add web/b1".to_owned(),
            undo: "weirctl backend remove web/b1".to_owned(),
            dry_run: false,
            warnings: Vec::new(),
            unconfirmed: None,
            changes: Vec::new(),
            impact: None,
            shards_adopted: 2,
            shards: 2,
        };
        let text = answer(&Answer::Changed(changed), Layout::Line);
        let start = r#"{"schema":"weir/v1","version":3,"before":null,"after":{"weight":2},"#;
        assert!(text.starts_with(start), "{text}");
    }

    #[test]
    fn an_indented_document_has_a_key_a_line() {
        let said = Answer::Said(Said { text: "done".to_owned() });
        let wanted = "{\n  \"schema\": \"weir/v1\",\n  \"text\": \"done\"\n}";
        assert_eq!(answer(&said, Layout::Indented), wanted);
    }

    #[test]
    fn a_document_steers_no_terminal_and_means_the_same() {
        let text = "a\u{7f}\u{9b}2J\u{202e}\u{1b}\né".to_owned();
        let said = Answer::Said(Said { text: text.clone() });
        for layout in [Layout::Line, Layout::Indented] {
            let document = answer(&said, layout);
            assert!(document.contains(r"a\u007f\u009b2J\u202e\u001b\né"), "{document}");
            let read: serde_json::Value = serde_json::from_str(&document).unwrap();
            assert_eq!(read["text"], text);
        }
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
