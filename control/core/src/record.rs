//! One version as it is kept: who made it, when, and the whole spec; and how long it is kept.

use serde::{Deserialize, Serialize};
use weir_proto::answer::{Author, VersionRow};
use weir_proto::ids::Version;
use weir_proto::spec::Spec;

/// The format that this weir writes, and the newest that it reads. 1 and 2 are a whole JSON text
/// for each version; 2 added `health.panic`, `health.slow-start` and `retry.within`. 3 is rows with
/// differences (ADR 0032). What a record of 1 does not say has its default, as in a file.
pub const FORMAT: u32 = 3;
const FORMAT_OLDEST: u32 = 1;

/// One version of the configuration.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Record {
    pub version: u64,
    /// RFC 3339, UTC.
    pub at: String,
    pub by: Author,
    pub summary: String,
    pub spec: Spec,
}

/// The row of history of a version, without its number.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Head {
    at: String,
    by: Author,
    summary: String,
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
    /// A version that was made now.
    pub fn new(version: u64, at: String, by: Author, summary: String, spec: Spec) -> Record {
        Record { version, at, by, summary, spec }
    }

    /// A version of its head and its spec.
    pub fn of(version: u64, head: Head, spec: Spec) -> Record {
        let Head { at, by, summary } = head;
        Record { version, at, by, summary, spec }
    }

    /// The row of history, without the number.
    pub fn head(&self) -> Head {
        Head { at: self.at.clone(), by: self.by, summary: self.summary.clone() }
    }

    /// Reads a version as formats 1 and 2 have it.
    ///
    /// # Errors
    /// It is not one.
    pub fn parse_whole(text: &str) -> Result<Record, String> {
        format_of(text)?;
        let whole: Whole = serde_json::from_str(text).map_err(|error| error.to_string())?;
        let Whole { version, at, by, summary, spec, .. } = whole;
        Ok(Record { version, at, by, summary, spec })
    }
}

impl Head {
    /// The row that history shows.
    pub fn row(self, version: u64) -> VersionRow {
        let Head { at, by, summary } = self;
        VersionRow { version, at, by, summary }
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
