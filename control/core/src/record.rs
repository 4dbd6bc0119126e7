//! One version as it is kept: who made it, when, and the whole spec, as JSON text.

use serde::{Deserialize, Serialize};
use weir_proto::answer::{Author, VersionRow};
use weir_proto::ids::Version;
use weir_proto::spec::Spec;

/// The format that this weir writes, and the newest that it reads. 2 added `health.panic`,
/// `health.slow-start` and `retry.within`; what a record of 1 does not say has its default, as in a
/// file.
const FORMAT: u32 = 2;
const FORMAT_OLDEST: u32 = 1;

/// One version of the configuration.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Record {
    format: u32,
    pub version: u64,
    /// RFC 3339, UTC.
    pub at: String,
    pub by: Author,
    pub summary: String,
    pub spec: Spec,
}

/// The versions that are durable, for reading. Control asks for an append by an output.
pub trait Versions {
    /// Reads them on another thread.
    fn reader(&self) -> Box<dyn PastVersions>;

    /// Every version, newest first.
    ///
    /// # Errors
    /// One cannot be read.
    fn history(&self) -> Result<Vec<VersionRow>, String>;
}

/// The same, for any thread.
pub trait PastVersions: Send {
    /// One version, if there is such a one.
    ///
    /// # Errors
    /// It cannot be read.
    fn get(&self, version: u64) -> Result<Option<Record>, String>;
}

/// The end of an append.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Appended {
    pub version: Version,
    /// `Ok`: the version is durable. `Err`: why it is not, and nothing was added.
    pub outcome: Result<(), String>,
}

/// The one field that every format has.
#[derive(Deserialize)]
struct Format {
    format: u32,
}

impl Record {
    /// A version that was made now.
    pub fn new(version: u64, at: String, by: Author, summary: String, spec: Spec) -> Record {
        Record { format: FORMAT, version, at, by, summary, spec }
    }

    /// Reads a record.
    ///
    /// # Errors
    /// It is not one, or a newer weir wrote it.
    pub fn parse(text: &str) -> Result<Record, String> {
        let Format { format } = serde_json::from_str(text).map_err(|error| error.to_string())?;
        if !(FORMAT_OLDEST..=FORMAT).contains(&format) {
            return Err(format!(
                "it has format {format}, and this weir ({}) reads formats \
                 {FORMAT_OLDEST} to {FORMAT}: start the weir that wrote it",
                env!("CARGO_PKG_VERSION")
            ));
        }
        serde_json::from_str(text).map_err(|error| error.to_string())
    }

    /// The text that [`Record::parse`] reads.
    ///
    /// # Errors
    /// It is not to be written as JSON, which does not happen.
    pub fn to_text(&self) -> Result<String, String> {
        serde_json::to_string(self).map_err(|error| error.to_string())
    }
}
