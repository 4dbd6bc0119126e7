//! Versions of the past, as they are on disk.

use weir_proto::answer::VersionRow;
use weir_proto::request::{Code, Refusal};

use super::Control;
use crate::record::{PastVersions, Record};

impl Control {
    /// A version that is on disk.
    pub fn past(&self, version: u64) -> Result<Record, Refusal> {
        past(&*self.versions.reader(), version)
    }

    /// Reads versions on another thread.
    pub fn reader(&self) -> Box<dyn PastVersions> {
        self.versions.reader()
    }

    /// At most `most` versions before `before` (the newest ones if `None`), newest first.
    pub fn history(&self, before: Option<u64>, most: usize) -> Result<Vec<VersionRow>, Refusal> {
        self.versions.reader().history(before, most).map_err(failed)
    }
}

/// One version, or a refusal that says which are kept.
///
/// # Errors
/// It is not kept, or cannot be read.
pub fn past(versions: &dyn PastVersions, version: u64) -> Result<Record, Refusal> {
    let found = versions.get(version).map_err(failed)?;
    found.ok_or_else(|| {
        let oldest = versions.oldest().unwrap_or(0);
        let message = if (1..oldest).contains(&version) {
            format!(
                "version {version} is not kept any more ([weir] history): {oldest} is the oldest"
            )
        } else {
            format!("there is no version {version}")
        };
        Refusal::new(Code::NotFound, message, "weirctl config history")
    })
}

/// The refusal of what the disk did not do.
pub fn failed(why: String) -> Refusal {
    Refusal::new(
        Code::Failed,
        why,
        "nothing has changed; see the disk of the state directory: df -h, then try again",
    )
}
