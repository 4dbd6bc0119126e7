//! Notes: what could not be carried over, why, and what to write instead.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::rc::Rc;

use weir_proto::outside::cleaned;

/// How much a note matters.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Level {
    /// The file cannot be read.
    Error,
    /// weir will do something else than the peer did.
    Warning,
    /// There is nothing to do about it.
    Note,
}

/// Bytes of the name of a file that are shown.
pub(super) const FILE_NAME_MAX: usize = 4096;
/// Bytes of one part of a note that are shown: they may quote the file.
const TEXT_MAX: usize = 400;
/// Notes that are kept, and lines of each.
const NOTES_MAX: usize = 1000;
const LINES_MAX: usize = 10;

/// A line of a file.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct At {
    /// The order in which files were read.
    order: usize,
    file: Rc<str>,
    line: usize,
}

impl At {
    pub(super) fn line(file: &str, line: usize) -> At {
        At { order: 0, file: cleaned(file, FILE_NAME_MAX).into(), line }
    }

    /// The same file, another line.
    pub(super) fn on(&self, line: usize) -> At {
        At { line, ..self.clone() }
    }

    /// The first line of the file that is the `order`th.
    pub(super) fn file(order: usize, file: &str) -> At {
        At { order, ..At::line(file, 1) }
    }

    pub(super) fn number(&self) -> usize {
        self.line
    }

    /// As a comment of weir.toml names it: without the file if that is the main one.
    pub(super) fn short(&self) -> String {
        match self.order {
            0 => format!("line {}", self.line),
            _ => format!("{}:{}", self.file, self.line),
        }
    }
}

/// One thing, in one line or in several.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Note {
    pub file: String,
    /// From 1.
    pub line: usize,
    pub level: Level,
    /// The thing.
    pub what: String,
    /// May be empty.
    pub why: String,
    /// The thing to do or to write; may be empty.
    pub instead: String,
    /// Further lines that have the same, and how many there are beyond them.
    pub lines: Vec<usize>,
    pub more_lines: usize,
}

impl fmt::Display for Note {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let word = match self.level {
            Level::Error => "error",
            Level::Warning => "warning",
            Level::Note => "note",
        };
        write!(f, "{}:{}: {word}: {}", self.file, self.line, self.what)?;
        if !self.why.is_empty() {
            write!(f, ": {}", self.why)?;
        }
        if !self.instead.is_empty() {
            write!(f, "; {}", self.instead)?;
        }
        if let [first, rest @ ..] = self.lines.as_slice() {
            let noun = if rest.is_empty() && self.more_lines == 0 { "line" } else { "lines" };
            write!(f, " (also {noun} {first}")?;
            rest.iter().try_for_each(|line| write!(f, ", {line}"))?;
            if self.more_lines > 0 {
                write!(f, " and {} more", self.more_lines)?;
            }
            f.write_str(")")?;
        }
        Ok(())
    }
}

/// A note before it is known whether other lines have the same.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Remark {
    level: Level,
    what: String,
    why: String,
    instead: String,
}

pub(super) fn error(what: impl AsRef<str>) -> Remark {
    Remark::new(Level::Error, what)
}

pub(super) fn warning(what: impl AsRef<str>) -> Remark {
    Remark::new(Level::Warning, what)
}

pub(super) fn note(what: impl AsRef<str>) -> Remark {
    Remark::new(Level::Note, what)
}

impl Remark {
    pub(super) fn new(level: Level, what: impl AsRef<str>) -> Remark {
        let what = cleaned(what.as_ref(), TEXT_MAX);
        Remark { level, what, why: String::new(), instead: String::new() }
    }

    /// The same where nothing is lost.
    pub(super) fn as_note(&self) -> Remark {
        Remark { level: Level::Note, ..self.clone() }
    }

    pub(super) fn because(mut self, why: impl AsRef<str>) -> Remark {
        self.why = cleaned(why.as_ref(), TEXT_MAX);
        self
    }

    pub(super) fn instead(mut self, instead: impl AsRef<str>) -> Remark {
        self.instead = cleaned(instead.as_ref(), TEXT_MAX);
        self
    }
}

/// Collects them.
#[derive(Clone, Debug, Default)]
pub(super) struct Notes {
    seen: BTreeMap<(usize, Remark), BTreeSet<At>>,
    more: usize,
    has_errors: bool,
}

impl Notes {
    pub(super) fn add(&mut self, at: &At, remark: Remark) {
        self.has_errors |= remark.level == Level::Error;
        let key = (at.order, remark);
        // Errors find room behind any number of warnings.
        let most = if key.1.level == Level::Error { 2 * NOTES_MAX } else { NOTES_MAX };
        if self.seen.len() < most || self.seen.contains_key(&key) {
            self.seen.entry(key).or_default().insert(at.clone());
        } else {
            self.more += 1;
        }
    }

    /// All of `others` too.
    pub(super) fn extend<'a>(&mut self, others: impl IntoIterator<Item = &'a (At, Remark)>) {
        others.into_iter().for_each(|(at, remark)| self.add(at, remark.clone()));
    }

    pub(super) fn has_errors(&self) -> bool {
        self.has_errors
    }

    pub(super) fn keep_errors(&mut self) {
        self.seen.retain(|(_, remark), _| remark.level == Level::Error);
        self.more = 0;
    }

    /// In the order of the files, and how many there was no room for.
    pub(super) fn sorted(self) -> (Vec<Note>, usize) {
        let mut notes: Vec<(At, Note)> = self.seen.into_iter().filter_map(grouped).collect();
        notes.sort_by(|(one, _), (other, _)| one.cmp(other));
        (notes.into_iter().map(|(_, note)| note).collect(), self.more)
    }
}

fn grouped(((_, remark), lines): ((usize, Remark), BTreeSet<At>)) -> Option<(At, Note)> {
    let first = lines.first()?.clone();
    let others: Vec<usize> = lines.iter().skip(1).map(At::number).collect();
    let Remark { level, what, why, instead } = remark;
    let note = Note {
        file: first.file.to_string(),
        line: first.line,
        level,
        what,
        why,
        instead,
        more_lines: others.len().saturating_sub(LINES_MAX),
        lines: others.into_iter().take(LINES_MAX).collect(),
    };
    Some((first, note))
}

/// A word of a file as a note quotes it.
pub(super) fn quoted(text: &str) -> String {
    format!("`{}`", cleaned(text, QUOTE_MAX))
}

/// Bytes of a word of the file that a note quotes.
const QUOTE_MAX: usize = 80;
