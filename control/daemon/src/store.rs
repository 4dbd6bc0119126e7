//! Every version of the configuration that is kept, in redb: appended and fsynced before anybody is
//! told of it.
//!
//! A version is a few rows ([`rows`]): a whole spec now and then, and differences between. The file
//! appears under its name only when version 1 is in it, so that a file without versions is always
//! damage, never a beginning. Beside it a mark says which version was the newest ([`mark`]).
//!
//! One thread writes ([`thread`]); readers beside it never wait for a sync.

mod age;
mod aside;
mod base;
pub(crate) mod calls;
mod difference;
mod disk;
mod lend;
mod mark;
mod open;
mod read_only;
mod rows;
pub(crate) mod thread;
mod trim;
mod trust;

use std::collections::BTreeSet;
use std::fs::File;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::PathBuf;
use std::sync::{Arc, PoisonError, RwLock, RwLockReadGuard};

use redb::{Builder, Database, StorageBackend};
use weir_control_core::record::{Record, Retention};
use weir_proto::answer::VersionRow;
use weir_proto::complaint::Complaint;

use age::Age;
pub(crate) use aside::IN_USE_MAX;
use calls::Faults;
use disk::StateFile;
use mark::Mark;
pub use open::{Found, Opening, Vacant};
use read_only::ReadOnly;
use rows::{Tail, WriteError};

/// Pages that redb keeps in memory, in bytes. Its own default is a gigabyte.
const CACHE_BYTES: usize = 4 << 20;
/// How often a full disk is given room by giving up the older half of the versions.
const ROOM_TRIES: u32 = 8;

/// Opens the storage, again and again: redb wants that after every failed write.
type Opener = Box<dyn Fn() -> Result<Database, String> + Send>;

/// The kept versions. Its owner is the only writer.
pub struct Store {
    reader: Reader,
    opener: Opener,
    newest: u64,
    /// The newest version; `None` makes the next one a whole one.
    tail: Option<Tail>,
    retention: Retention,
    age: Age,
    /// The version that the newest one goes back to unless it is confirmed: it is kept.
    way_back: Option<u64>,
    /// Versions with live sessions: they are kept, too ([`aside`]).
    in_use: BTreeSet<u64>,
    /// Where it is in the file system. `None` in tests' storages and where nothing can be written.
    home: Option<Home>,
    /// Why no version is taken, until the state can be written.
    closed_for_changes: Option<ReadOnly>,
    /// Another process has it.
    is_lent: bool,
    /// News for the owner.
    news: Vec<String>,
}

/// The place of a state that can be written.
#[derive(Debug)]
struct Home {
    /// Locked for as long as this lives.
    _directory: File,
    path: PathBuf,
    file: StateFile,
    mark: Mark,
    /// It was said that the file has lost its name.
    misnamed: bool,
    #[cfg_attr(not(debug_assertions), expect(dead_code, reason = "a test sets them"))]
    faults: Faults,
}

impl core::fmt::Debug for Store {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        write!(f, "Store {{ place: {:?}, newest: {} }}", self.reader.place, self.newest)
    }
}

/// Reads versions, on any thread, beside the one that writes: redb's readers see the last commit
/// and take no lock that a sync holds.
#[derive(Clone)]
pub struct Reader {
    /// `None` after a failed write, until the storage could be opened again, and when the store is
    /// closed. Written for the moment of an exchange only.
    database: Arc<RwLock<Option<Database>>>,
    /// Where it is, for messages.
    place: Arc<str>,
}

impl Store {
    /// Opens the state in any storage: what the crash tests put in the place of the file. `mark` is
    /// the newest version that was ever durable, if it is known.
    ///
    /// # Errors
    /// As [`Store::open`].
    pub fn with_backend(
        backend: impl StorageBackend + Clone,
        mark: Option<u64>,
        retention: Retention,
    ) -> Result<(Store, Record), Complaint> {
        open::any(backend, mark, retention)
    }

    /// Makes a new state in any storage, which must be empty.
    ///
    /// # Errors
    /// As [`Vacant::seed`].
    ///
    /// # Panics
    /// If `first` is not version 1.
    pub fn seed_backend(
        backend: impl StorageBackend + Clone,
        first: &Record,
    ) -> Result<Store, Complaint> {
        let place = "the test's storage".to_owned();
        Store::create(place, opener(backend), first, Retention::default())
    }

    /// Makes a new state in an empty storage.
    fn create(
        place: String,
        opener: Opener,
        first: &Record,
        retention: Retention,
    ) -> Result<Store, Complaint> {
        assert_eq!(first.version, 1, "a state begins with version 1");
        let failed = |what: String| Complaint {
            what: format!("{place}: cannot be made: {what}"),
            hint: "see that the disk has room and the directory can be written".to_owned(),
        };
        let reader = Reader::new(opener().map_err(failed)?, &place);
        let mut store = Store::new(reader, opener, (0, None), retention);
        store.append(first).map_err(failed)?;
        Ok(store)
    }

    fn new(
        reader: Reader,
        opener: Opener,
        (newest, tail): (u64, Option<Tail>),
        retention: Retention,
    ) -> Store {
        Store {
            reader,
            opener,
            newest,
            tail,
            retention,
            age: Age::default(),
            way_back: None,
            in_use: BTreeSet::new(),
            home: None,
            closed_for_changes: None,
            is_lent: false,
            news: Vec::new(),
        }
    }

    /// The same store, whose newest version is this one.
    fn at(mut self, newest: &Record) -> Store {
        self.way_back = way_back(newest);
        self
    }

    /// The newest version.
    #[must_use]
    pub fn newest(&self) -> u64 {
        self.newest
    }

    /// Why no version can be added until the state can be written. `None`: they can.
    #[must_use]
    pub fn closed_for_changes(&self) -> Option<&str> {
        self.closed_for_changes.as_ref().map(ReadOnly::why)
    }

    /// True if a version that came now would be refused, as far as that is known beforehand.
    #[must_use]
    pub fn refuses(&self) -> bool {
        self.closed_for_changes.is_some() || self.is_closed() || self.misnamed().is_some()
    }

    /// Adds a version, and gives up old ones as the retention says. On a full disk more of them are
    /// given up until there is room. It is on disk, and the file has its name, when this returns.
    ///
    /// # Errors
    /// What the disk said. Nothing was added then, and what could not be added never comes back;
    /// only if the disk refuses that too, and the process ends before it works again, it may.
    ///
    /// # Panics
    /// If the version is not the next one.
    pub fn append(&mut self, record: &Record) -> Result<(), String> {
        assert_eq!(record.version, self.newest + 1, "versions have no gaps");
        self.open_for_changes();
        if let Some(why) = self.closed_for_changes() {
            return Err(why.to_owned());
        }
        self.open_again()?;
        if let Some(why) = self.misnamed() {
            return Err(why);
        }
        let mut written = self.write(record);
        for tried in 0..=ROOM_TRIES {
            let Err(WriteError::Full(_)) = written else { break };
            self.reopened(record.version, &written)?;
            // The first time without: it may have been full for a moment only.
            if tried > 0 && !self.make_room() {
                break;
            }
            self.open_again()?;
            written = self.write(record);
        }
        // What is durable is acknowledged only if a start would find it, too.
        let written = written.and_then(|tail| self.seal(record.version).map(|()| tail));
        self.reopened(record.version, &written)?;
        let tail = written.map_err(|why| self.reader.failed(&why.to_string()))?;
        (self.newest, self.tail) = (record.version, Some(tail));
        self.way_back = way_back(record);
        Ok(())
    }

    fn write(&self, record: &Record) -> Result<Tail, WriteError> {
        // As many as are kept stay beside the new one, which may yet have to be taken back; `tend`
        // gives up the one too many.
        let first = record.version.saturating_sub(self.retention.versions);
        let first = first.min(way_back(record).unwrap_or(first));
        // `tend` sets those aside that are in use.
        let oldest = self.reader.oldest().unwrap_or(0);
        let first = self.in_use.range(oldest..).next().map_or(first, |version| first.min(*version));
        self.reader.write(|database| rows::append(database, record, self.tail.as_ref(), first))
    }

    /// Says that `version` is the newest, if the file is still the one that has the name.
    fn seal(&self, version: u64) -> Result<(), WriteError> {
        let Some(home) = &self.home else { return Ok(()) };
        if let Some(why) = self.misnamed() {
            return Err(WriteError::Other(why));
        }
        home.mark.write(version).map_err(|why| {
            // It may say this version already.
            let _ = home.mark.write(self.newest);
            WriteError::Other(why)
        })
    }

    /// redb refuses everything after a failed write until it is opened again; and what was written
    /// of that must not be found by the next start.
    fn reopened<T>(&mut self, version: u64, written: &Result<T, WriteError>) -> Result<(), String> {
        let Err(why) = written else { return Ok(()) };
        self.close();
        self.open_again().map_err(|still| {
            format!(
                "{why}; it could not be taken back either ({still}): if weir ends before the disk \
                 works again, version {version} may be there"
            )
        })
    }

    /// Says once that the file has lost its name.
    fn watch_name(&mut self) {
        let misnamed = self.misnamed();
        let Some(home) = &mut self.home else { return };
        let was_said = core::mem::replace(&mut home.misnamed, misnamed.is_some());
        if let (Some(why), false) = (misnamed, was_said) {
            self.say(why);
        }
    }

    /// The faults that a test can order, unless the state is in no file or only read.
    #[cfg(debug_assertions)]
    pub(crate) fn faults(&self) -> Option<Faults> {
        self.home.as_ref().map(|home| home.faults.clone())
    }

    /// The news since the last call.
    pub fn take_news(&mut self) -> Vec<String> {
        core::mem::take(&mut self.news)
    }

    /// Writes into the log, and into the events when there are some.
    pub fn say(&mut self, text: String) {
        tracing::warn!("{text}");
        self.news.push(text);
    }

    /// Why a start would not find this state: its file has lost its name.
    fn misnamed(&self) -> Option<String> {
        let home = self.home.as_ref()?;
        let why = home.file.misnamed(&home.path)?;
        Some(format!(
            "{} is not the state that weir has open: {why}. No change is taken, a start would not \
             find it; traffic goes on with version {}. Put the file back, or keep what is in force \
             with `weirctl config export > FILE` and start weir again with it",
            home.path.display(),
            self.newest
        ))
    }

    /// Reads these versions on another thread, or while this one writes.
    #[must_use]
    pub fn reader(&self) -> Reader {
        self.reader.clone()
    }

    /// True after a failed write, until [`Store::open_again`] succeeds.
    #[must_use]
    pub fn is_closed(&self) -> bool {
        self.reader.open().is_none()
    }

    /// Opens the storage if a write had failed. That write may have reached the disk anyway: it was
    /// refused, so it is taken away.
    ///
    /// # Errors
    /// The disk still fails. Reads fail too until it works.
    pub fn open_again(&mut self) -> Result<(), String> {
        if !self.is_closed() {
            return Ok(());
        }
        if self.is_lent {
            return Err(self.reader.failed("another weir takes over"));
        }
        let reopened = supervised(|| self.reopen());
        let (database, tail) = reopened.map_err(|why| self.reader.failed(&why))?;
        self.tail = tail;
        self.reader.set(Some(database));
        Ok(())
    }

    /// Lets the storage go, here and for every reader.
    fn close(&self) {
        self.reader.set(None);
    }

    fn reopen(&self) -> Result<(Database, Option<Tail>), String> {
        let database = (self.opener)()?;
        let mut found = rows::newest(&database)?;
        let newest = found.as_ref().map_or(0, |(record, _)| record.version);
        if newest < self.newest {
            return Err(format!("version {} is gone", self.newest));
        }
        if newest > self.newest {
            rows::take_back(&database, self.newest).map_err(|why| why.to_string())?;
            found = rows::newest(&database)?;
        }
        Ok((database, found.map(|(_, tail)| tail)))
    }
}

impl Drop for Store {
    /// Closes the file here, on the thread of the one who writes, whatever readers there are.
    fn drop(&mut self) {
        self.close();
    }
}

impl Reader {
    fn new(database: Database, place: &str) -> Reader {
        Reader { database: Arc::new(RwLock::new(Some(database))), place: Arc::from(place) }
    }

    /// One version, if it is kept.
    ///
    /// # Errors
    /// It cannot be read.
    pub fn get(&self, version: u64) -> Result<Option<Record>, String> {
        self.with(|database| rows::get(database, version))
    }

    /// At most `most` versions before `before` (the newest ones if `None`), newest first.
    ///
    /// # Errors
    /// One cannot be read.
    pub fn history(&self, before: Option<u64>, most: usize) -> Result<Vec<VersionRow>, String> {
        self.with(|database| rows::page(database, before, most))
    }

    /// The oldest version that is kept.
    ///
    /// # Errors
    /// It cannot be read.
    pub fn oldest(&self) -> Result<u64, String> {
        self.with(|database| Ok(rows::oldest(database)?.unwrap_or(0)))
    }

    fn open(&self) -> RwLockReadGuard<'_, Option<Database>> {
        self.database.read().unwrap_or_else(PoisonError::into_inner)
    }

    /// Exchanges the database. The old one is closed, which writes, when no lock is held any more.
    fn set(&self, database: Option<Database>) {
        let mut open = self.database.write().unwrap_or_else(PoisonError::into_inner);
        let before = core::mem::replace(&mut *open, database);
        drop(open);
        drop(before);
    }

    fn with<T>(&self, work: impl FnOnce(&Database) -> Result<T, String>) -> Result<T, String> {
        match self.open().as_ref() {
            Some(database) => work(database).map_err(|why| self.failed(&why)),
            None => Err(self.failed("it is closed since a write failed; weir opens it again")),
        }
    }

    fn write<T>(
        &self,
        work: impl FnOnce(&Database) -> Result<T, WriteError>,
    ) -> Result<T, WriteError> {
        let closed = || WriteError::Other("it is closed since a write failed".to_owned());
        self.open().as_ref().map_or_else(|| Err(closed()), work)
    }

    fn failed(&self, why: &str) -> String {
        format!("{}: {why}", self.place)
    }
}

fn way_back(record: &Record) -> Option<u64> {
    record.unconfirmed.as_ref().map(|terms| terms.previous)
}

fn opener(backend: impl StorageBackend + Clone) -> Opener {
    Box::new(move || {
        builder().create_with_backend(backend.clone()).map_err(|error| error.to_string())
    })
}

/// Enables the integrity check: redb skips it for a file that was closed cleanly.
fn builder() -> Builder {
    let mut builder = Database::builder();
    builder.set_cache_size(CACHE_BYTES).set_check_integrity_on_open(true);
    builder
}

/// Runs what reads a file that may be damaged: redb's debug builds panic where its release builds
/// return an error, and a file must never be able to end the process with a backtrace.
fn supervised<T>(read: impl FnOnce() -> Result<T, String>) -> Result<T, String> {
    catch_unwind(AssertUnwindSafe(read)).unwrap_or_else(|panic| {
        let text = panic.downcast_ref::<String>().map(String::as_str);
        let text = text.or_else(|| panic.downcast_ref::<&str>().copied());
        Err(text.unwrap_or("it makes no sense").to_owned())
    })
}

#[cfg(test)]
pub mod tests;
