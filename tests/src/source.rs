//! Reads the sources of the workspace as text, for the tests of rules (tidy, layers).

use std::fs;
use std::path::{Path, PathBuf};

/// One file: its path from the root of the workspace, with `/`, and its text.
#[derive(Clone, Debug)]
pub struct File {
    pub path: String,
    pub text: String,
    /// The owner may run it.
    pub runnable: bool,
}

/// A broken rule: where, and what to do about it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Violation {
    pub path: String,
    /// From 1; 0 if it is about the file as a whole.
    pub line: usize,
    pub what: String,
}

impl Violation {
    #[must_use]
    pub fn new(path: &str, line: usize, what: impl Into<String>) -> Violation {
        Violation { path: path.to_owned(), line, what: what.into() }
    }
}

/// Fails the test with one line for each violation.
///
/// # Panics
/// If there is a violation.
#[track_caller]
pub fn expect_none(violations: &[Violation]) {
    let line = |v: &Violation| format!("{}:{}: {}", v.path, v.line, v.what);
    let lines: Vec<String> = violations.iter().map(line).collect();
    assert!(lines.is_empty(), "{} violations:\n{}", lines.len(), lines.join("\n"));
}

/// The root of the workspace.
///
/// # Panics
/// If this package is not one directory below it.
#[must_use]
pub fn root() -> PathBuf {
    let here = Path::new(env!("CARGO_MANIFEST_DIR"));
    here.parent().expect("tests/ is in the workspace").to_path_buf()
}

/// Every text file of the workspace but those that a build makes, in the order of their paths.
///
/// # Panics
/// If a directory cannot be read.
#[must_use]
pub fn files() -> Vec<File> {
    let root = root();
    let mut found = Vec::new();
    walk(&root, &root, &mut found);
    found.sort_by(|a, b| a.path.cmp(&b.path));
    assert!(found.iter().any(|file| file.path == "Cargo.toml"), "the walk finds nothing");
    found
}

fn walk(root: &Path, directory: &Path, found: &mut Vec<File>) {
    use std::os::unix::fs::PermissionsExt;
    for entry in fs::read_dir(directory).expect("the workspace can be read") {
        let path = entry.expect("the workspace can be read").path();
        let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
        let Ok(metadata) = fs::symlink_metadata(&path) else { continue };
        if metadata.is_dir() {
            if !["target", ".git"].contains(&name.as_str()) {
                walk(root, &path, found);
            }
        } else if metadata.is_file()
            && name != ".git"
            && let Ok(text) = fs::read_to_string(&path)
        {
            let path = path.strip_prefix(root).expect("the walk starts at the root");
            let path = path.to_string_lossy().into_owned();
            found.push(File { path, text, runnable: metadata.permissions().mode() & 0o100 != 0 });
        }
    }
}

/// Resolves a link from a directory: `docs/adr` and `../style.md` → `docs/style.md`.
#[must_use]
pub fn resolve(base: &str, target: &str) -> String {
    let mut steps: Vec<&str> = base.split('/').filter(|step| !step.is_empty()).collect();
    for step in target.split('/') {
        match step {
            "" | "." => {}
            ".." => drop(steps.pop()),
            _ => steps.push(step),
        }
    }
    steps.join("/")
}

/// The text without comments and without what is inside strings and characters: each such byte is
/// a blank, newlines stay, so that lines and columns still fit.
#[must_use]
pub fn code_only(text: &str) -> String {
    let bytes = text.as_bytes();
    let mut out = bytes.to_vec();
    let mut at = 0;
    while at < bytes.len() {
        let end = match bytes[at] {
            b'/' if bytes[at..].starts_with(b"//") => line_end(bytes, at),
            b'/' if bytes[at..].starts_with(b"/*") => block_comment_end(bytes, at),
            b'"' => string_end(bytes, at),
            b'r' | b'b' | b'c' if !in_word(bytes, at) => raw_string_end(bytes, at).unwrap_or(at),
            b'\'' => char_end(bytes, at).unwrap_or(at),
            _ => at,
        };
        for byte in &mut out[at..end] {
            if *byte != b'\n' {
                *byte = b' ';
            }
        }
        at = end.max(at + 1);
    }
    String::from_utf8_lossy(&out).into_owned()
}

fn in_word(bytes: &[u8], at: usize) -> bool {
    at > 0 && (bytes[at - 1].is_ascii_alphanumeric() || bytes[at - 1] == b'_')
}

fn line_end(bytes: &[u8], at: usize) -> usize {
    bytes[at..].iter().position(|byte| *byte == b'\n').map_or(bytes.len(), |offset| at + offset)
}

fn block_comment_end(bytes: &[u8], start: usize) -> usize {
    let (mut at, mut depth) = (start, 0);
    while at < bytes.len() {
        if bytes[at..].starts_with(b"/*") {
            depth += 1;
            at += 2;
        } else if bytes[at..].starts_with(b"*/") {
            depth -= 1;
            at += 2;
            if depth == 0 {
                return at;
            }
        } else {
            at += 1;
        }
    }
    bytes.len()
}

/// The end of a string that starts with the quote at `at`.
fn string_end(bytes: &[u8], at: usize) -> usize {
    let mut at = at + 1;
    while at < bytes.len() {
        match bytes[at] {
            b'\\' => at += 2,
            b'"' => return at + 1,
            _ => at += 1,
        }
    }
    bytes.len()
}

/// The end of `r"…"`, `br#"…"#`, `cr"…"` at `at`, if there is one.
fn raw_string_end(bytes: &[u8], at: usize) -> Option<usize> {
    let mut quote = at;
    if bytes[quote] != b'r' {
        quote += 1;
    }
    if bytes.get(quote) != Some(&b'r') {
        return None;
    }
    quote += 1;
    let hashes = bytes[quote..].iter().take_while(|byte| **byte == b'#').count();
    quote += hashes;
    if bytes.get(quote) != Some(&b'"') {
        return None;
    }
    let closing: Vec<u8> = core::iter::once(b'"').chain(vec![b'#'; hashes]).collect();
    let body = &bytes[quote + 1..];
    let length = body.windows(closing.len()).position(|window| window == closing)?;
    Some(quote + 1 + length + closing.len())
}

/// The end of a character literal at `at`; `None` for a lifetime.
fn char_end(bytes: &[u8], at: usize) -> Option<usize> {
    if bytes.get(at + 1) == Some(&b'\\') {
        let rest = &bytes[at + 3..];
        return rest.iter().position(|byte| *byte == b'\'').map(|offset| at + 4 + offset);
    }
    // One character of up to four bytes.
    (2..=5).find(|length| bytes.get(at + length) == Some(&b'\'')).and_then(|length| {
        let inside = core::str::from_utf8(&bytes[at + 1..at + length]).ok()?;
        (inside.chars().count() == 1).then_some(at + length + 1)
    })
}

/// Every place where `word` stands in `code` on its own, as a byte offset.
#[must_use]
pub fn words(code: &str, word: &str) -> Vec<usize> {
    let is_word =
        |byte: Option<&u8>| byte.is_some_and(|byte| byte.is_ascii_alphanumeric() || *byte == b'_');
    let bytes = code.as_bytes();
    let free = |at: usize| {
        let before = at.checked_sub(1).and_then(|before| bytes.get(before));
        !is_word(before) && !is_word(bytes.get(at + word.len()))
    };
    code.match_indices(word).map(|(at, _)| at).filter(|at| free(*at)).collect()
}

/// The line of a byte offset, from 1.
#[must_use]
pub fn line_of(text: &str, at: usize) -> usize {
    text.as_bytes()[..at].iter().filter(|byte| **byte == b'\n').count() + 1
}

/// True for a document for operators, or a file of packaging. Decisions are history; the changelog
/// too.
#[must_use]
pub fn is_document(file: &File) -> bool {
    let path = file.path.as_str();
    let written = path.ends_with(".md") || path.starts_with("packaging/");
    written && !path.starts_with("docs/adr/") && path != "CHANGELOG.md"
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn comments_strings_and_characters_are_blanked() {
        let text = "a // x\nb /* y /* z */ */ c \"s\\\"t\" r#\"u\"v\"# 'w' '\\n' &'life d '\\'' e";
        let code = code_only(text);
        assert_eq!(code.len(), text.len());
        for gone in ["x", "y", "z", "s", "t", "u", "v", "w", "n"] {
            assert!(words(&code, gone).is_empty(), "{gone} in {code}");
        }
        for kept in ["a", "b", "c", "life", "d", "e"] {
            assert_eq!(words(&code, kept).len(), 1, "{kept} in {code}");
        }
    }

    #[test]
    fn a_word_stands_alone() {
        assert_eq!(words("io_uring io uring io::x _io", "io"), [9, 18]);
        assert_eq!(line_of("a\nb\nc", 4), 3);
    }
}
