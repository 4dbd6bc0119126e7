//! What was asked for, what was answered, what is on disk: a change that was acknowledged is never
//! lost, and nothing is found that nobody asked for.

use std::collections::BTreeMap;

use weir_control::store::Store;
use weir_control_core::record::Record;
use weir_proto::request::{ChangeOptions, ChangeRequest};
use weir_proto::snapshot::Snapshot;
use weir_proto::spec::Spec;

use super::daemon::RETENTION;
use super::merges::{Made, base_after, check_merge};
use super::taken::check_taken;

/// Every version that was ever proposed.
#[derive(Debug, Default)]
pub(super) struct History {
    /// What was about to be made this version.
    proposed: BTreeMap<u64, Vec<Made>>,
    /// The last of these, or what was found on disk: where the next version begins.
    made: BTreeMap<u64, Made>,
    /// For every version that was proposed, the one before it if it waits for a confirmation. The
    /// last of these, or what was found on disk, is where the next version begins.
    terms: BTreeMap<u64, Vec<Option<u64>>>,
    /// Versions that somebody has been told are durable.
    kept: BTreeMap<u64, Made>,
    /// Answers that have not left the process: version, what it is, whether every shard uses it.
    leaving: Vec<(u64, Made, bool)>,
    /// The newest version that a client was told every shard uses.
    pub(super) acked: u64,
    /// Starts from disk that were checked.
    pub(super) recoveries: u64,
    pub(super) acks: u64,
}

impl History {
    /// The process is seeded with this, which is a file.
    pub(super) fn begin(&mut self, first: Made) {
        self.made.insert(1, first.clone());
        self.kept.insert(1, first);
    }

    /// Control is about to write this, for a request at version `before`.
    ///
    /// # Errors
    /// It loses what somebody has done.
    pub(super) fn propose(
        &mut self,
        next: &Snapshot,
        (request, options): (&ChangeRequest, &ChangeOptions),
        before: u64,
    ) -> Result<(), String> {
        self.check_terms(next.version.0, request, before, options.confirm.is_some())?;
        let was = self.made.get(&before).ok_or_else(|| format!("version {before} is unknown"))?;
        let base_of = |version| self.made.get(&version).and_then(|(_, base)| base.clone());
        let made = (next.spec(), base_after(request, &was.1, base_of));
        check_merge(request, was, &made)?;
        check_taken(request, &was.0, &made.0)?;
        self.proposed.entry(next.version.0).or_default().push(made.clone());
        self.made.insert(next.version.0, made);
        Ok(())
    }

    /// The proposed version waits for a confirmation, or it does not.
    ///
    /// # Errors
    /// It follows one that waits, and is neither its confirmation nor the way back.
    fn check_terms(
        &mut self,
        next: u64,
        request: &ChangeRequest,
        before: u64,
        waits: bool,
    ) -> Result<(), String> {
        self.terms.entry(next).or_default().push(waits.then_some(before));
        let terms = self.terms.get(&before).and_then(|all| all.last());
        let Some(Some(way_back)) = terms else { return Ok(()) };
        match request {
            ChangeRequest::Confirm => Ok(()),
            ChangeRequest::Rollback { version } if version == way_back => Ok(()),
            _ => Err(format!("version {before} waits for its confirmation, and {next} is made")),
        }
    }

    /// Control takes a version back by itself.
    ///
    /// # Errors
    /// It does not wait for a confirmation, or not to go back to that one.
    pub(super) fn check_way_back(&self, version: u64, to: u64) -> Result<(), String> {
        let terms = self.terms.get(&version).and_then(|all| all.last());
        if terms == Some(&Some(to)) {
            return Ok(());
        }
        Err(format!("version {version} is taken back to {to}, and has {terms:?}"))
    }

    /// A request is done, and the version is the same.
    ///
    /// # Errors
    /// It was a file, and is not known as the one that was applied last.
    pub(super) fn check_unchanged(
        &self,
        request: &ChangeRequest,
        version: u64,
    ) -> Result<(), String> {
        let Some((_, base)) = self.made.get(&version) else { return Ok(()) };
        let base_of = |version| self.made.get(&version).and_then(|(_, base)| base.clone());
        if base_after(request, base, base_of) == *base {
            return Ok(());
        }
        Err(format!("a file was applied to version {version}, and another one is its base"))
    }

    /// It was refused: it must never be found.
    pub(super) fn withdraw(&mut self, next: &Snapshot) {
        let (all, spec) = (self.proposed.entry(next.version.0).or_default(), next.spec());
        if let Some(place) = all.iter().position(|(other, _)| *other == spec) {
            all.swap_remove(place);
        }
    }

    /// This version is durable, or so somebody was told.
    pub(super) fn keep(&mut self, version: u64) {
        if let Some(made) = self.made.get(&version) {
            self.kept.insert(version, made.clone());
        }
    }

    /// What a rollback should make.
    #[must_use]
    pub(super) fn rollback_target(&self, request: &ChangeRequest) -> Option<&Spec> {
        match request {
            ChangeRequest::Rollback { version } => self.kept.get(version).map(|(spec, _)| spec),
            _ => None,
        }
    }

    /// A client is to be told that `version` is durable, and perhaps that every shard uses it.
    pub(super) fn answer(&mut self, version: u64, everywhere: bool) {
        if let Some(made) = self.made.get(&version) {
            self.leaving.push((version, made.clone(), everywhere));
        }
    }

    /// The answers have left.
    pub(super) fn hear_answers(&mut self) {
        for (version, made, everywhere) in std::mem::take(&mut self.leaving) {
            self.kept.insert(version, made);
            if everywhere {
                self.acked = version;
                self.acks += 1;
            }
        }
    }

    /// The process is gone before its answers have left.
    pub(super) fn forget_answers(&mut self) {
        self.leaving.clear();
    }

    /// The newest version that somebody has been told is durable: the mark beside the disk.
    #[must_use]
    pub(super) fn newest_kept(&self) -> Option<u64> {
        self.kept.last_key_value().map(|(version, _)| *version)
    }

    /// A process has started from disk.
    ///
    /// # Errors
    /// A version is missing, or is not what it was, or nobody ever asked for it.
    pub(super) fn recovered(&mut self, store: &Store, record: &Record) -> Result<(), String> {
        self.recoveries += 1;
        let newest = record.version;
        if let Some((lost, _)) = self.kept.last_key_value().filter(|(kept, _)| **kept > newest) {
            return Err(format!(
                "version {lost} was acknowledged; after a restart {newest} is the \
                                newest"
            ));
        }
        let waits = record.unconfirmed.as_ref().map(|terms| terms.previous);
        let terms = self.terms.entry(newest).or_default();
        if !terms.is_empty() && !terms.contains(&waits) {
            return Err(format!("version {newest} waits to go back to {waits:?}, not {terms:?}"));
        }
        terms.push(waits);
        let reader = store.reader();
        let (oldest, kept) = (reader.oldest()?, RETENTION.versions.min(newest));
        if oldest > newest + 1 - kept {
            return Err(format!("{oldest} is the oldest version, of {newest} {kept} are kept"));
        }
        for version in oldest..=newest {
            let record = reader.get(version)?.ok_or(format!("version {version} is missing"))?;
            let known = self.kept.get(&version);
            let proposed = self.proposed.get(&version).map_or(&[][..], Vec::as_slice);
            let found = (record.spec, record.base);
            if known.is_some_and(|known| *known != found) {
                let what =
                    if known.is_some_and(|known| known.0 == found.0) { "the file of " } else { "" };
                return Err(format!("{what}version {version} is not what was acknowledged"));
            }
            if known.is_none() && !proposed.contains(&found) {
                return Err(format!("nobody has asked for version {version} as it is on disk"));
            }
            self.made.insert(version, found.clone());
            self.kept.insert(version, found);
        }
        Ok(())
    }
}
