//! One version as it is kept: who made it, when, the whole spec, and its base; and how long it is
//! kept.

use std::sync::Arc;

use serde::{Deserialize, Serialize};
use weir_proto::answer::{Author, Note, VersionRow};
use weir_proto::confirm::Guard;
use weir_proto::ids::Version;
use weir_proto::spec::Spec;

/// The format that this weir writes, and the newest that it reads. 1 and 2 are a whole JSON text
/// for each version; 2 added `health.panic`, `health.slow-start` and `retry.within`. 3 is rows with
/// differences (ADR 0032). 4 has the base of each version, too (ADR 0034). What a record of 1 does
/// not say has its default, as in a file.
pub const FORMAT: u32 = 4;
const FORMAT_OLDEST: u32 = 1;

/// The file as it was last applied: what the next one is merged against. `None` if none was.
pub type Base = Option<Arc<Spec>>;

/// One version of the configuration.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Record {
    pub version: u64,
    /// RFC 3339, UTC.
    pub at: String,
    pub by: Author,
    pub summary: String,
    pub note: Note,
    pub spec: Spec,
    pub base: Base,
    /// Present if it waits for a confirmation.
    pub unconfirmed: Option<Unconfirmed>,
}

/// The terms of a version that is taken back by itself unless it is confirmed. They hold for as
/// long as it is the newest.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Unconfirmed {
    /// The version before it, which then comes back.
    pub previous: u64,
    pub within_ms: u64,
    /// Unix time.
    pub until_ms: u64,
    pub guards: Vec<Guard>,
}

/// The row of history of a version, without its number.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Head {
    at: String,
    by: Author,
    summary: String,
    /// Since format 4, as is `command`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    message: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    command: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    unconfirmed: Option<Unconfirmed>,
}

/// The first words of the summary of a version that a file has made: by `config apply` and SIGHUP,
/// or at the first start.
pub const APPLIED: &str = "apply ";
pub const SEEDED: &str = "seeded from ";
/// The same of a version that `config edit` or a partial file has made, which are no files to be
/// merged against.
pub const EDITED: &str = "edit: ";
pub const SET_IN_PART: &str = "set by ";

/// True if a version with this summary was made of a file.
#[must_use]
pub fn is_of_a_file(summary: &str) -> bool {
    [APPLIED, SEEDED].iter().any(|word| summary.starts_with(word))
}

/// How many versions are kept, and for how long: what is beyond either is given up. The newest one
/// always is kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Retention {
    /// 1 to [`Retention::VERSIONS_MAX`].
    pub versions: u64,
    /// 1 to [`Retention::DAYS_MAX`].
    pub days: u32,
}

impl Retention {
    pub const VERSIONS_MAX: u64 = 100_000;
    pub const DAYS_MAX: u32 = 36_500;
}

impl Default for Retention {
    fn default() -> Retention {
        Retention { versions: 1000, days: 365 }
    }
}

/// The versions that are durable, for reading. Control asks for an append by an output.
pub trait Versions {
    /// Reads them on another thread.
    fn reader(&self) -> Box<dyn PastVersions>;
}

/// The same, for any thread.
pub trait PastVersions: Send {
    /// One version, if it is kept.
    ///
    /// # Errors
    /// It cannot be read.
    fn get(&self, version: u64) -> Result<Option<Record>, String>;

    /// At most `most` versions before `before` (the newest ones if `None`), newest first. Reads no
    /// configuration.
    ///
    /// # Errors
    /// One cannot be read.
    fn history(&self, before: Option<u64>, most: usize) -> Result<Vec<VersionRow>, String>;

    /// The oldest version that is kept.
    ///
    /// # Errors
    /// It cannot be read.
    fn oldest(&self) -> Result<u64, String>;
}

/// The end of an append.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Appended {
    pub version: Version,
    /// `Ok`: the version is durable. `Err`: why it is not, and nothing was added.
    pub outcome: Result<(), String>,
}

/// The one field that every format has.
#[derive(Serialize, Deserialize)]
struct Format {
    format: u32,
}

/// A version as formats 1 and 2 have it.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Whole {
    #[serde(rename = "format")]
    _format: u32,
    version: u64,
    at: String,
    by: Author,
    summary: String,
    spec: Spec,
}

impl Record {
    /// A version that was made now, without a base.
    pub fn new(version: u64, at: String, by: Author, summary: String, spec: Spec) -> Record {
        let (note, base, unconfirmed) = (Note::default(), None, None);
        Record { version, at, by, summary, note, spec, base, unconfirmed }
    }

    /// The same version on these terms.
    #[must_use]
    pub fn with_terms(self, unconfirmed: Option<Unconfirmed>) -> Record {
        Record { unconfirmed, ..self }
    }

    /// The same version with what its author says of it.
    #[must_use]
    pub fn with_note(self, note: Note) -> Record {
        Record { note, ..self }
    }

    /// The same version with a base.
    #[must_use]
    pub fn with_base(self, base: Base) -> Record {
        Record { base, ..self }
    }

    /// True if it was made of a file.
    pub fn is_of_a_file(&self) -> bool {
        is_of_a_file(&self.summary)
    }

    /// A version of its head and its spec, without a base.
    pub fn of(version: u64, head: Head, spec: Spec) -> Record {
        let Head { at, by, summary, message, command, unconfirmed } = head;
        let record = Record::new(version, at, by, summary, spec);
        record.with_note(Note { message, command }).with_terms(unconfirmed)
    }

    /// The row of history, without the number.
    pub fn head(&self) -> Head {
        let Note { message, command } = self.note.clone();
        let (at, summary) = (self.at.clone(), self.summary.clone());
        let unconfirmed = self.unconfirmed.clone();
        Head { at, by: self.by, summary, message, command, unconfirmed }
    }

    /// Reads a version as formats 1 and 2 have it.
    ///
    /// # Errors
    /// It is not one.
    pub fn parse_whole(text: &str) -> Result<Record, String> {
        format_of(text)?;
        let whole: Whole = serde_json::from_str(text).map_err(|error| error.to_string())?;
        let Whole { version, at, by, summary, spec, .. } = whole;
        Ok(Record::new(version, at, by, summary, spec))
    }
}

impl Head {
    /// The row that history shows.
    pub fn row(self, version: u64) -> VersionRow {
        let Head { at, by, summary, message, command: claimed_command, .. } = self;
        // Versions have no gap.
        let parent = version.checked_sub(1).filter(|parent| *parent > 0);
        VersionRow { version, at, by, summary, message, claimed_command, parent }
    }

    /// True if the version was made of a file.
    pub fn is_of_a_file(&self) -> bool {
        is_of_a_file(&self.summary)
    }

    /// When the version was made, RFC 3339.
    pub fn at(&self) -> &str {
        &self.at
    }
}

/// The text that says which format a state has.
#[must_use]
pub fn format_marker() -> String {
    format!("{{\"format\":{FORMAT}}}")
}

/// The format that a text says it has.
///
/// # Errors
/// It says none, or a newer weir wrote it.
pub fn format_of(text: &str) -> Result<u32, String> {
    let Format { format } = serde_json::from_str(text).map_err(|error| error.to_string())?;
    if (FORMAT_OLDEST..=FORMAT).contains(&format) {
        return Ok(format);
    }
    Err(format!(
        "it has format {format}, and this weir ({}) reads formats {FORMAT_OLDEST} to {FORMAT}: \
         start the weir that wrote it",
        env!("CARGO_PKG_VERSION")
    ))
}

#[cfg(test)]
mod tests {
    use super::*;
    use weir_proto::role::Role;

    #[test]
    fn a_head_of_format_3_is_read_and_has_no_note() {
        let old = r#"{"at":"then","by":{"uid":1000,"pid":7},"summary":"pool add web"}"#;
        let row = serde_json::from_str::<Head>(old).unwrap().row(7);
        assert_eq!((row.by, row.parent), (Author::new(1000, 7), Some(6)));
        assert_eq!((row.message, row.claimed_command), (None, None));
    }

    #[test]
    fn a_head_keeps_who_made_a_version_and_why() {
        let from = "192.0.2.7".parse().ok();
        let role = Some(Role::Operator);
        let by = Author { login: Some(1000), role, from, ..Author::new(0, 7) };
        let note = Note { message: Some("why".into()), command: Some("weirctl …".into()) };
        let record = Record::new(1, "then".into(), by, "s".into(), Spec::default());
        let record = record.with_note(note.clone());
        let text = serde_json::to_string(&record.head()).unwrap();
        let head: Head = serde_json::from_str(&text).unwrap();
        assert_eq!(Record::of(1, head.clone(), Spec::default()), record);
        let row = head.row(1);
        assert_eq!((row.by, row.parent, row.message), (by, None, note.message));
    }
}
