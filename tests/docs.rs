//! Documents for operators against the sources: settings and tools that exist, lines that the log
//! can have, reasons that sessions end for. The commands and the metrics in them are a story
//! (docs.rs there).

use std::collections::BTreeSet;

use weir_tests::source::{self, File, Violation, expect_none, line_of};

/// A document, but for the manual pages, which are made from the tables.
fn is_document(file: &File) -> bool {
    source::is_document(file) && !file.path.contains("man/")
}

/// The text between two backticks, outside of blocks of code, with where it begins.
fn spans(text: &str) -> Vec<(usize, &str)> {
    let mut found = Vec::new();
    let (mut at, mut fenced) = (0, false);
    for line in text.split_inclusive('\n') {
        if line.trim_start().starts_with("```") {
            fenced = !fenced;
        } else if !fenced {
            let parts = line.split('`').enumerate().filter(|(index, _)| index % 2 == 1);
            let place = |span: &str| at + span.as_ptr().addr() - line.as_ptr().addr();
            found.extend(parts.map(|(_, span)| (place(span), span)));
        }
        at += line.len();
    }
    found
}

fn is_key(word: &str) -> bool {
    word.starts_with(|first: char| first.is_ascii_lowercase())
        && word.chars().all(|letter| letter.is_ascii_lowercase() || "-.".contains(letter))
}

/// The settings that a span names: `[weir] history = …` and `timeout.idle`.
fn settings_in(span: &str) -> Option<(&str, &str)> {
    const TABLES: &[&str] = &["health.", "timeout.", "retry.", "keepalive."];
    if let Some(rest) = span.strip_prefix("[weir] ") {
        let key = rest.split([' ', '=']).next().unwrap_or_default();
        return is_key(key).then_some(("weir", key));
    }
    let whole = span.split([' ', '=']).next().unwrap_or_default();
    let named = TABLES.iter().any(|table| whole.starts_with(table)) && !whole.ends_with(".rs");
    (named && is_key(whole)).then_some(("pool", whole))
}

/// Settings that the reference does not have.
fn settings(file: &File, reference: &str) -> Vec<Violation> {
    let (process, objects) = reference.split_once("## [listener").expect("two parts");
    let unknown = |(at, span): (usize, &str)| {
        let (part, key) = settings_in(span)?;
        let rows = if part == "weir" { process } else { objects };
        let there = rows.contains(&format!("\n| `{key}` |"));
        let what = format!("docs/reference.md has no setting {key}");
        (!there).then(|| Violation::new(&file.path, line_of(&file.text, at), what))
    };
    spans(&file.text).into_iter().filter_map(unknown).collect()
}

/// The text of the sources with strings that go over several lines joined.
fn joined(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    let mut parts = text.split("\\\n");
    out.push_str(parts.next().unwrap_or_default());
    for part in parts {
        out.push_str(part.trim_start());
    }
    out
}

/// The words of a documented line of the log that no value stands between: placeholders are in
/// capitals, numbers, names of examples, or `…`.
fn fixed_parts(line: &str) -> Vec<String> {
    let is_value = |word: &str| {
        let bare = word.trim_matches(|letter: char| !letter.is_alphanumeric());
        let capitals =
            bare.len() < 10 && bare.chars().all(|it| it.is_ascii_uppercase() || it == ':');
        let is_signal = word.starts_with("SIG");
        let is_example = bare.contains('/') || word.contains(['…', '[', '=', '\'']);
        let numbers = bare.starts_with(|first: char| first.is_ascii_digit());
        (capitals && !is_signal) || is_example || numbers || bare.is_empty()
    };
    let mut parts = vec![String::new()];
    for word in line.split(' ') {
        if is_value(word) {
            parts.push(String::new());
            continue;
        }
        let part = parts.last_mut().expect("never empty");
        if !part.is_empty() {
            part.push(' ');
        }
        part.push_str(word);
        // What follows a comma or colon may be a value in the source: `why: {error}`.
        if word.ends_with([':', ',', ';']) {
            parts.push(String::new());
        }
    }
    let ends = |part: String| part.trim_end_matches([':', ',', ';']).to_owned();
    parts.into_iter().map(ends).filter(|part| part.len() >= 8).collect()
}

/// Lines of the table `## The log` whose words are in no source.
fn log_lines(handbook: &File, sources: &[String]) -> Vec<Violation> {
    let start = handbook.text.find("## The log").expect("the handbook has the log");
    let table = &handbook.text[start..];
    let table = &table[..table.find("\n## ").unwrap_or(table.len())];
    let rows = table.lines().filter(|line| line.starts_with("| `"));
    let mut violations = Vec::new();
    for row in rows {
        let line = line_of(&handbook.text, start + (row.as_ptr().addr() - table.as_ptr().addr()));
        let cell = row.split(" | ").next().unwrap_or_default();
        for part in spans(cell).into_iter().flat_map(|(_, span)| fixed_parts(span)) {
            if !sources.iter().any(|source| source.contains(&part)) {
                let what = format!("no source writes {part:?}");
                violations.push(Violation::new(&handbook.path, line, what));
            }
        }
    }
    violations
}

/// Programs under scripts/ and recipes of the justfile that a document names and that are missing.
fn tools(file: &File, exists: impl Fn(&str) -> bool, recipes: &str) -> Vec<Violation> {
    let is_name =
        |letter: char| letter.is_ascii_lowercase() || letter.is_ascii_digit() || letter == '-';
    let mut violations = Vec::new();
    for (prefix, is_script) in [("scripts/", true), ("`just ", false)] {
        for (at, _) in file.text.match_indices(prefix) {
            let rest = &file.text[at + prefix.len()..];
            let name = &rest[..rest.find(|letter| !is_name(letter)).unwrap_or(rest.len())];
            let there = match is_script {
                true => exists(&format!("scripts/{name}")),
                false => recipes.lines().any(|line| {
                    line.strip_prefix(name).is_some_and(|rest| rest.starts_with([':', ' ']))
                }),
            };
            if !name.is_empty() && !there {
                let what = format!("there is no {prefix}{name}");
                violations.push(Violation::new(&file.path, line_of(&file.text, at), what));
            }
        }
    }
    violations
}

fn file(files: &[File], path: &str) -> File {
    files.iter().find(|file| file.path == path).unwrap_or_else(|| panic!("no {path}")).clone()
}

#[test]
fn settings_that_documents_name_exist() {
    let files = source::files();
    let reference = file(&files, "docs/reference.md").text;
    let documents = files.iter().filter(|file| is_document(file));
    let violations: Vec<_> = documents.flat_map(|file| settings(file, &reference)).collect();
    expect_none(&violations);
}

#[test]
fn lines_of_the_log_that_are_explained_can_be_written() {
    let files = source::files();
    let is_source = |file: &&File| {
        let path = file.path.as_str();
        let ours = ["control/daemon/src", "control/core/src", "engine/", "shared-proto/src"];
        path.ends_with(".rs") && ours.iter().any(|it| path.starts_with(it))
    };
    let sources: Vec<String> = files.iter().filter(is_source).map(|it| joined(&it.text)).collect();
    expect_none(&log_lines(&file(&files, "docs/operating.md"), &sources));
}

#[test]
fn scripts_and_recipes_that_documents_name_exist() {
    let (files, root) = (source::files(), source::root());
    let recipes = file(&files, "justfile").text;
    let exists = |path: &str| root.join(path).exists();
    let documents = files.iter().filter(|file| is_document(file));
    let violations: Vec<_> = documents.flat_map(|it| tools(it, exists, &recipes)).collect();
    expect_none(&violations);
}

#[test]
fn documents_have_the_number_of_the_protocol() {
    let (files, number) = (source::files(), weir_proto::request::PROTOCOL);
    for (path, wanted) in [
        ("docs/operating.md", format!("the same protocol ({number})")),
        ("CHANGELOG.md", format!("Control socket: protocol {number}.")),
    ] {
        assert!(file(&files, path).text.contains(&wanted), "{path} has not {wanted:?}");
    }
}

/// The reasons of `reason.rs` are the rows of the handbook's table, each once.
#[test]
fn every_reason_that_a_session_ends_for_is_explained() {
    use weir_proto::reason::Why;
    let handbook = file(&source::files(), "docs/operating.md").text;
    let table = handbook.split("## Why sessions end").nth(1).expect("a section");
    let rows = table.split("| code |").next().unwrap_or_default().lines();
    let explained: BTreeSet<&str> =
        rows.filter_map(|row| row.strip_prefix("| `")?.split('`').next()).collect();
    let known: BTreeSet<&str> = Why::ALL.iter().map(|why| why.label()).collect();
    assert_eq!(explained.into_iter().filter(|it| *it != "why").collect::<BTreeSet<_>>(), known);
}

/// The other half: each rule finds what is planted.
mod planted {
    use super::*;

    fn page(text: &str) -> File {
        File { path: "README.md".to_owned(), text: text.to_owned(), runnable: false }
    }

    #[test]
    fn settings_that_do_not_exist() {
        let reference = "\n| `history` | \n## [listener.NAME]\n| `timeout.idle` | \n";
        let text = "`[weir] history = {}` and `timeout.idle`\n`[weir] histroy`\n`timeout.idel`\n\
                    ```\n`timeout.code`\n```\n`health.rs`\n";
        let found = settings(&page(text), reference);
        assert_eq!(found.iter().map(|it| it.line).collect::<Vec<_>>(), [2, 3]);
    }

    #[test]
    fn tools_that_do_not_exist() {
        let text = "`just story a` and ./scripts/demo\n`just stories`\n./scripts/demos\n";
        let found = tools(&page(text), |path| path == "scripts/demo", "story NAME:\n");
        assert_eq!(found.iter().map(|it| it.line).collect::<Vec<_>>(), [3, 2]);
    }

    #[test]
    fn a_line_that_no_source_writes() {
        let text = "x\n## The log\n| `shard N turns again` | a |\n| `shard N naps at work` | b |\n";
        let sources = [joined("say(\"shard {id} turns \\\n    again\")")];
        let found = log_lines(&page(text), &sources);
        assert_eq!(found.iter().map(|it| it.line).collect::<Vec<_>>(), [4], "{found:?}");
    }
}
