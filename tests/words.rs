//! Rules about language: documents that exist and are complete, names that mean one thing, phrases
//! to avoid.
//!
//! docs/style.md gives the reasons. Each rule is a pure function and has a planted violation.

use std::collections::BTreeMap;

use weir_tests::source::{self, File, Violation, code_only, expect_none, line_of, resolve, words};

/// Phrases that docs/style.md advises against, with how often they may still occur in comments and
/// documents. A ratchet: a count may only fall, and then its number here falls with it.
const BANNED: &[(&str, usize)] = &[
    ("all the same", 0),
    ("anew", 0),
    ("in peace", 2),
    ("is told", 28),
    ("mend", 0),
    ("mended", 0),
    ("nobody", 140),
    ("so many", 9),
    ("speaks", 7),
    ("the last word", 4),
    ("to be had", 0),
    ("whoever", 31),
];

/// Doc comments that begin with "What …" instead of a verb or the thing itself. A ratchet, too.
const HEADLESS_MAX: usize = 301;

/// History: what was written then stays as it was written.
const HISTORY: &[&str] = &["CHANGELOG.md", "docs/adr/", "tests/words.rs", "docs/style.md"];

/// Each crate's sources. A type's name is defined once in each of them.
const CRATES: &[&str] = &[
    "shared-proto/src/",
    "engine/core/src/",
    "engine/src/",
    "engine/sim/",
    "control/core/src/",
    "control/daemon/src/",
    "control/cli/",
    "control/sim/",
    "benches/",
    "fuzz/",
    "tests/",
];

/// Files that replace one another under `cfg`: they define the same names on purpose.
const STAND_INS: &[&str] = &["engine/src/mailbox/loom_shim.rs"];

/// Names that a trait prescribes.
const ASSOCIATED: &[&str] = &["Output", "Item", "Error", "Err", "Target", "Id"];

/// The decisions, and the page that lists them.
const RECORDS: &str = "docs/adr/";
const INDEX: &str = "docs/adr/README.md";

/// Where operators find every metric.
const OPERATING: &str = "docs/operating.md";

/// The first word of a decision's status.
const STATUSES: &[&str] = &["proposed", "accepted", "rejected", "superseded"];

/// Text in which words are counted: comments of Rust files, everything in documents.
fn prose_of(file: &File) -> String {
    if file.path.ends_with(".md") {
        return file.text.clone();
    }
    let comments = file.text.lines().filter_map(|line| line.split_once("//"));
    comments.map(|(_, comment)| comment).collect::<Vec<_>>().join("\n")
}

fn is_prose(file: &File) -> bool {
    let counts = file.path.ends_with(".rs") || file.path.ends_with(".md");
    counts && !HISTORY.iter().any(|path| file.path.starts_with(path))
}

fn occurrences(text: &str, phrase: &str) -> usize {
    let text = text.to_lowercase().replace(['\n', '\r'], " ");
    words(&text, phrase).len()
}

fn phrases(files: &[File], banned: &[(&str, usize)]) -> Vec<Violation> {
    let prose: Vec<String> = files.iter().filter(|file| is_prose(file)).map(prose_of).collect();
    let mut violations = Vec::new();
    for (phrase, most) in banned {
        let count: usize = prose.iter().map(|text| occurrences(text, phrase)).sum();
        if count > *most {
            let what =
                format!("{phrase:?} occurs {count} times, at most {most}: see docs/style.md");
            violations.push(Violation::new("BANNED", 0, what));
        } else if count < *most {
            let what = format!("{phrase:?} occurs {count} times: lower its number from {most}");
            violations.push(Violation::new("tests/words.rs", 0, what));
        }
    }
    violations
}

/// Lines of doc comments that begin with a clause that has no head ("What …").
fn headless(file: &File) -> Vec<usize> {
    let lines: Vec<&str> = file.text.lines().map(str::trim_start).collect();
    let begins = |index: usize| {
        let marker = if lines[index].starts_with("///") { "///" } else { "//!" };
        let first = index == 0 || !lines[index - 1].starts_with(marker);
        first && lines[index].strip_prefix(marker).is_some_and(|it| it.starts_with(" What "))
    };
    (0..lines.len()).filter(|index| begins(*index)).map(|index| index + 1).collect()
}

/// Every `*.md` that a file names, with its line. A name is taken from the root, from the file's
/// own directory, from docs/ and from docs/adr/.
fn documents(file: &File, exists: impl Fn(&str) -> bool) -> Vec<Violation> {
    let base = file.path.rsplit_once('/').map_or("", |(base, _)| base);
    let mut violations = Vec::new();
    for (at, _) in file.text.match_indices(".md") {
        let next = file.text[at + 3..].chars().next();
        if next.is_some_and(|letter| letter.is_alphanumeric() || letter == '_') {
            continue;
        }
        let is_path = |letter: char| letter.is_ascii_alphanumeric() || "./_-".contains(letter);
        let start = file.text[..at].rfind(|letter: char| !is_path(letter)).map_or(0, |it| it + 1);
        let (name, outside) = (&file.text[start..at + 3], file.text[..start].ends_with(':'));
        if name.len() <= 3 || outside || name.contains("//") {
            continue; // an ending such as ".md", or an address
        }
        let places = ["", base, "docs", "docs/adr"];
        if !places.iter().any(|place| exists(&resolve(place, name))) {
            let what = format!("{name} does not exist");
            violations.push(Violation::new(&file.path, line_of(&file.text, at), what));
        }
    }
    violations
}

/// A decision has its number in its title, then a status and a date; the index has a row with the
/// same title, status and date.
fn record(file: &File, index: &str) -> Vec<Violation> {
    let name = file.path.trim_start_matches(RECORDS);
    let number = name.split('-').next().unwrap_or_default();
    let mut lines = file.text.lines();
    let mut field = |prefix: &str| {
        let line = lines.find(|line| !line.is_empty()).unwrap_or_default();
        line.strip_prefix(prefix).map(str::trim)
    };
    let title = field(&format!("# ADR {number}: "));
    let status = field("- Status: ")
        .filter(|status| STATUSES.contains(&status.split([';', ' ']).next().unwrap_or_default()));
    let date = field("- Date: ").filter(|date| is_date(date));
    let mut violations = Vec::new();
    let mut add = |what: &str| violations.push(Violation::new(&file.path, 0, what));
    match (title, status, date) {
        (Some(title), Some(status), Some(date)) => {
            let row = format!("| [{number}]({name}) | {title} | {status} | {date} | ");
            if !index.lines().any(|line| line.starts_with(&row)) {
                add(&format!("{INDEX} has no row that begins {row:?}"));
            }
        }
        _ => add("it begins with `# ADR NNNN: title`, then `- Status: …`, then `- Date: …`"),
    }
    violations
}

/// Every name of a metric in the code, as a string, that the handbook does not have, with
/// its line. A row of the handbook may shorten a name to its end, as in `…_sent_bytes_total`.
fn metrics(file: &File, handbook: &str) -> Vec<Violation> {
    let mut violations = Vec::new();
    for (at, _) in file.text.match_indices("\"weir_") {
        let Some(name) = file.text[at + 1..].split('"').next() else { continue };
        let is_name = name.chars().all(|letter| letter.is_ascii_lowercase() || letter == '_');
        let ends = name.match_indices('_').map(|(start, _)| format!("`…{}`", &name[start..]));
        let whole = [format!("`{name}`")];
        if is_name && !whole.into_iter().chain(ends).any(|it| handbook.contains(&it)) {
            let what = format!("{OPERATING} does not explain {name}");
            violations.push(Violation::new(&file.path, line_of(&file.text, at), what));
        }
    }
    violations
}

/// True for a date such as 2026-11-24.
fn is_date(text: &str) -> bool {
    let digits = |(at, letter): (usize, char)| match at {
        4 | 7 => letter == '-',
        _ => letter.is_ascii_digit(),
    };
    text.len() == 10 && text.chars().enumerate().all(digits)
}

/// The types that a file defines, with their lines.
fn types(file: &File) -> Vec<(String, usize)> {
    let code = code_only(&file.text);
    let mut found = Vec::new();
    for keyword in ["struct", "enum", "trait", "type", "union"] {
        for at in words(&code, keyword) {
            let rest = code[at + keyword.len()..].trim_start();
            let is_name = |letter: char| letter.is_alphanumeric() || letter == '_';
            let name = rest.split(|letter| !is_name(letter)).next().unwrap_or_default();
            if name.starts_with(char::is_uppercase) && !ASSOCIATED.contains(&name) {
                found.push((name.to_owned(), line_of(&code, at)));
            }
        }
    }
    found
}

fn types_defined_twice(files: &[File]) -> Vec<Violation> {
    let mut violations = Vec::new();
    for prefix in CRATES {
        let mut seen: BTreeMap<String, String> = BTreeMap::new();
        let inside = |file: &&File| {
            file.path.starts_with(prefix)
                && file.path.ends_with(".rs")
                && !STAND_INS.contains(&file.path.as_str())
        };
        for file in files.iter().filter(inside) {
            for (name, line) in types(file) {
                let here = format!("{}:{line}", file.path);
                if let Some(first) = seen.insert(name.clone(), here) {
                    let what = format!("{name} is defined in {first}, too: one name, one thing");
                    violations.push(Violation::new(&file.path, line, what));
                }
            }
        }
    }
    violations
}

#[test]
fn banned_phrases_only_become_fewer() {
    expect_none(&phrases(&source::files(), BANNED));
}

#[test]
fn doc_comments_begin_with_a_verb_or_a_noun() {
    let files = source::files();
    let found = files.iter().filter(|file| file.path.ends_with(".rs")).map(headless);
    let count = found.map(|lines| lines.len()).sum::<usize>();
    assert_eq!(count, HEADLESS_MAX, "doc comments that begin with \"What\": see docs/style.md");
}

#[test]
fn every_document_that_is_named_exists() {
    let root = source::root();
    // These two plant names of documents that do not exist.
    let is_real = |file: &&File| !["tests/words.rs", "tests/tidy.rs"].contains(&&*file.path);
    let files = source::files();
    let violations = files.iter().filter(is_real);
    let violations = violations.flat_map(|file| documents(file, |path| root.join(path).exists()));
    expect_none(&violations.collect::<Vec<_>>());
}

#[test]
fn every_decision_has_a_status_a_date_and_a_row_in_the_index() {
    let files = source::files();
    let index = files.iter().find(|file| file.path == INDEX).expect("there is an index");
    let is_record = |file: &&File| file.path.starts_with(RECORDS) && file.path != INDEX;
    let violations = files.iter().filter(is_record).flat_map(|file| record(file, &index.text));
    expect_none(&violations.collect::<Vec<_>>());
}

#[test]
fn every_metric_is_in_the_operators_handbook() {
    let files = source::files();
    let handbook = files.iter().find(|file| file.path == OPERATING).expect("it exists");
    let exports = |file: &&File| {
        (file.path.starts_with("control/") || file.path.starts_with("shared-proto/"))
            && file.path.ends_with(".rs")
            && !file.path.contains("tests")
    };
    let violations = files.iter().filter(exports).flat_map(|file| metrics(file, &handbook.text));
    expect_none(&violations.collect::<Vec<_>>());
}

#[test]
fn a_type_name_is_defined_once_in_a_crate() {
    expect_none(&types_defined_twice(&source::files()));
}

/// The other half: each rule finds what is planted, and leaves its good neighbour alone.
mod planted {
    use super::*;

    fn file(path: &str, text: &str) -> File {
        File { path: path.to_owned(), text: text.to_owned(), runnable: false }
    }

    #[test]
    fn phrases_above_and_below_their_number() {
        let files = [file("a.rs", "// Nobody is\nlet nobody = 1; // and nobody\n")];
        assert_eq!(phrases(&files, &[("nobody", 2)]), []);
        assert_eq!(phrases(&files, &[("nobody", 1)]).len(), 1, "more than before");
        assert_eq!(phrases(&files, &[("nobody", 3)]).len(), 1, "fewer: the number must fall");
        assert_eq!(phrases(&[file("CHANGELOG.md", "nobody")], &[("nobody", 0)]), []);
    }

    #[test]
    fn headless_doc_comments() {
        let text = "//! The file.\n/// What it is.\n/// What follows.\nfn a() {}\n/// Gives it.\n";
        assert_eq!(headless(&file("a.rs", text)), [2]);
    }

    #[test]
    fn documents_that_do_not_exist() {
        let exists = |path: &str| path == "docs/there.md";
        let text = "see there.md and ../docs/there.md,\nnot gone.md; https://a.b/c.md and *.md\n";
        let found = documents(&file("engine/a.rs", text), exists);
        assert_eq!(found.iter().map(|it| it.line).collect::<Vec<_>>(), [2]);
        assert!(found[0].what.contains("gone.md"), "{found:?}");
    }

    #[test]
    fn decisions_without_a_status_a_date_or_a_row() {
        let index = "| [0007](0007-a.md) | a title | accepted; see 0008 | 2026-11-24 | why |\n";
        let check = |text: &str| record(&file("docs/adr/0007-a.md", text), index).len();
        let good = "# ADR 0007: a title\n\n- Status: accepted; see 0008\n- Date: 2026-11-24\n\nx";
        assert_eq!(check(good), 0);
        assert_eq!(check(&good.replace("ADR 0007", "ADR 0008")), 1, "another number");
        assert_eq!(check(&good.replace("- Status: accepted; see 0008\n", "")), 1, "no status");
        assert_eq!(check(&good.replace("accepted", "done")), 1, "not a status");
        assert_eq!(check(&good.replace("2026-11-24", "November")), 1, "no date");
        assert_eq!(check(&good.replace("11-24", "11-25")), 1, "the index has another date");
        assert_eq!(check(&good.replace("see 0008", "see 0009")), 1, "the index is stale");
        assert_eq!(record(&file("docs/adr/0008-b.md", good), index).len(), 1, "no row");
    }

    #[test]
    fn a_metric_that_the_handbook_lacks() {
        let handbook = "| `weir_shard_turns_total`, `…_enters_total` | shard |";
        let text = "a(\"weir_shard_turns_total\");\nb(\"weir_shard_enters_total\");\n\
                    c(\"weir_shard_rests_total\", \"weir_{x}\");\n";
        let found = metrics(&file("control/daemon/src/a.rs", text), handbook);
        assert_eq!(found.iter().map(|it| it.line).collect::<Vec<_>>(), [3]);
    }

    #[test]
    fn a_type_defined_twice() {
        let files = [
            file("engine/src/a.rs", "pub struct Shard;\nstruct Other;\n"),
            file("engine/src/b.rs", "enum Shard {}\n// struct Other\ntype Output = u8;\n"),
            file("engine/core/src/c.rs", "struct Shard;\n"),
        ];
        assert_eq!(types_defined_twice(&files).len(), 1);
    }
}
