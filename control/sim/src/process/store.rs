//! The store of a process and its thread: an append is written later than it was asked for, and its
//! outcome reaches control later than that.

use weir_control::store::Store;
use weir_control_core::record::{Appended, Record, Versions};
use weir_proto::ids::Version;

use super::{SimProcess, StepResult};

/// The thread of the store.
pub(super) struct SimStore {
    store: Store,
    asked: Option<Record>,
    /// Written or refused, and control has not heard of it.
    told_later: Option<Appended>,
}

impl SimStore {
    #[must_use]
    pub(super) fn new(store: Store) -> SimStore {
        SimStore { store, asked: None, told_later: None }
    }

    /// The versions for control.
    #[must_use]
    pub(super) fn versions(&self) -> Box<dyn Versions> {
        Box::new(self.store.reader())
    }

    /// Control wants this version to be written.
    pub(super) fn ask(&mut self, record: Record) {
        let before = self.asked.replace(record);
        assert!(before.is_none(), "control asks for one append at a time");
    }

    /// The newest version that the disk has taken.
    #[must_use]
    pub(super) fn newest(&self) -> u64 {
        self.store.newest()
    }

    /// One step of the thread. Gives what control is to hear.
    pub(super) fn step(&mut self) -> Option<Appended> {
        if let Some(appended) = self.told_later.take() {
            return Some(appended);
        }
        match self.asked.take() {
            Some(record) => {
                let outcome = self.store.append(&record);
                let version = Version(record.version);
                self.told_later = Some(Appended { version, outcome });
            }
            // As the thread does once a second; a disk that fails still is tried again.
            None => drop(self.store.open_again()),
        }
        None
    }

    /// Writes what it was asked for: the process waits for that before it exits.
    pub(super) fn finish(&mut self) {
        if let Some(record) = self.asked.take() {
            let _ = self.store.append(&record);
        }
    }
}

impl SimProcess {
    /// A shard uses nothing that a crash would take back. (The fallback makes no version: it sends
    /// the newest one under the next number.)
    pub(super) fn check_durable(&self, shard: usize, version: u64) -> StepResult {
        match &self.daemon {
            Some(daemon) if self.alone.is_none() && version > daemon.store.newest() => {
                let durable = daemon.store.newest();
                Err(format!("shard {shard} uses version {version}, {durable} is on disk"))
            }
            _ => Ok(()),
        }
    }
}
