//! Answers from the versions on disk. They are read, and made into text, on another thread: a large
//! one would hold control for a quarter of a second.

use std::collections::BTreeMap;

use weir_control_core::control::{failed, past};
use weir_control_core::file;
use weir_control_core::record::PastVersions;
use weir_proto::answer::{ConfigText, History, LiveVersionRow, Versions};
use weir_proto::ids::Version;
use weir_proto::request::{Code, HISTORY_MAX, Refusal};
use weir_proto::snapshot::Snapshot;

/// `weirctl config export [VERSION]`
pub(super) fn text(
    current: &Snapshot,
    version: Option<u64>,
    versions: &dyn PastVersions,
) -> Result<ConfigText, Refusal> {
    let (version, spec) = match version {
        None => (current.version.0, current.spec()),
        Some(version) => (version, past(versions, version)?.spec),
    };
    Ok(ConfigText { version, toml: file::export(&spec) })
}

/// `weirctl config history [--limit N] [--before VERSION]`
pub(super) fn history(
    before: Option<u64>,
    limit: Option<u64>,
    versions: &dyn PastVersions,
) -> Result<History, Refusal> {
    if before == Some(0) {
        let message = "there is no version before 0: versions begin at 1";
        return Err(Refusal::new(Code::Invalid, message, "weirctl config history"));
    }
    let limit = limit.unwrap_or(HISTORY_MAX);
    if !(1..=HISTORY_MAX).contains(&limit) {
        let message = format!("limit {limit}: at least 1 and at most {HISTORY_MAX} versions");
        let hint = "read the older ones with another question: before=VERSION";
        return Err(Refusal::new(Code::Invalid, message, hint));
    }
    let most = usize::try_from(limit).unwrap_or(usize::MAX);
    // One more than is shown: then older ones are kept.
    let mut versions = versions.history(before, most + 1).map_err(failed)?;
    let has_older = versions.len() > most;
    versions.truncate(most);
    let next_before = versions.last().filter(|_| has_older).map(|oldest| oldest.version);
    Ok(History { versions, next_before })
}

/// Each version that has sessions, with its row of history if that is kept.
pub(super) fn with_sessions(
    held: BTreeMap<Version, u64>,
    current: Version,
    past: &dyn PastVersions,
) -> Result<Versions, Refusal> {
    let row = |(version, sessions): (Version, u64)| {
        let found = past.history(Some(version.0 + 1), 1).map_err(failed)?;
        let kept = found.into_iter().find(|row| row.version == version.0);
        let (at, summary) = kept.map(|row| (row.at, row.summary)).unzip();
        let current = version == current;
        Ok(LiveVersionRow { version: version.0, sessions, current, at, summary })
    };
    let versions = held.into_iter().rev().map(row).collect::<Result<_, Refusal>>()?;
    Ok(Versions { versions })
}
