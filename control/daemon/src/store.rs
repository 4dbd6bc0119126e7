//! Every version of the configuration in redb: appended and fsynced before anybody is told of it.
//!
//! A version is one row, `version → JSON`. The file appears under its name only when version 1 is
//! in it, so that a file without versions is always damage, never a beginning.
//!
//! One thread writes ([`thread`]); readers beside it never wait for a sync.

pub(crate) mod thread;

use std::fs::{DirBuilder, File, OpenOptions};
use std::io;
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::sync::{Arc, PoisonError, RwLock, RwLockReadGuard};

use redb::{
    Builder, Database, Durability, ReadableDatabase, ReadableTable, StorageBackend, TableDefinition,
};
use rustix::fs::{FlockOperation, flock};
use weir_control_core::record::Record;
use weir_proto::answer::VersionRow;
use weir_proto::complaint::Complaint;

/// The file's name in the state directory.
const FILE: &str = "weir.redb";
/// Its name while its first version is being written.
const FILE_NEW: &str = "weir.redb.new";
const VERSIONS: TableDefinition<'static, u64, &'static str> = TableDefinition::new("versions");
/// Pages that redb keeps in memory, in bytes. Its own default is a gigabyte.
const CACHE_BYTES: usize = 4 << 20;

/// Opens the storage, again and again: redb wants that after every failed write.
type Opener = Box<dyn Fn() -> Result<Database, String> + Send>;

/// All versions, 1 to the newest. Its owner is the only writer.
pub struct Store {
    reader: Reader,
    opener: Opener,
    newest: u64,
    /// The state directory, locked for as long as this lives.
    directory: Option<File>,
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

/// What is in a state directory.
#[derive(Debug)]
pub enum Found {
    /// Versions 1 to n; the record is the newest.
    State(Box<(Store, Record)>),
    /// No state file.
    Empty(Vacant),
}

/// A locked state directory without a state file.
#[derive(Debug)]
pub struct Vacant {
    path: PathBuf,
    directory: File,
}

impl Store {
    /// Opens the state in `directory`, which is made (mode 0700) if it is not there.
    ///
    /// # Errors
    /// Another process uses it, it or its file is a symbolic link, it cannot be read, or what is
    /// there is not exactly versions 1 to n.
    pub fn open(directory: &Path) -> Result<Found, Complaint> {
        let lock = lock_directory(directory)?;
        let path = directory.join(FILE);
        no_link("the state file", &path)?;
        let file = match OpenOptions::new().read(true).write(true).open(&path) {
            Ok(file) => file,
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                let path = directory.to_owned();
                return Ok(Found::Empty(Vacant { path, directory: lock }));
            }
            Err(error) => return Err(unreadable(&path, &error)),
        };
        let place = path.display().to_string();
        let length = file.metadata().map_err(|error| unreadable(&path, &error))?.len();
        drop(file);
        if length == 0 {
            return Err(damaged(&place, "it is empty"));
        }
        let (mut store, record) = Store::check(place, file_opener(path))?;
        store.directory = Some(lock);
        Ok(Found::State(Box::new((store, record))))
    }

    /// Opens the state in any storage: what the crash tests put in the place of the file.
    ///
    /// # Errors
    /// As [`Store::open`].
    pub fn with_backend(
        backend: impl StorageBackend + Clone,
    ) -> Result<(Store, Record), Complaint> {
        let place = "the test's storage".to_owned();
        if backend.len().map_err(|error| damaged(&place, &error.to_string()))? == 0 {
            return Err(damaged(&place, "it is empty"));
        }
        Store::check(place, opener(backend))
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
        Store::create("the test's storage".to_owned(), opener(backend), first)
    }

    /// Makes a new state in an empty storage.
    fn create(place: String, opener: Opener, first: &Record) -> Result<Store, Complaint> {
        assert_eq!(first.version, 1, "a state begins with version 1");
        let failed = |what: String| Complaint {
            what: format!("{place}: cannot be made: {what}"),
            hint: "see that the disk has room and the directory can be written".to_owned(),
        };
        let reader = Reader::new(opener().map_err(failed)?, &place);
        let mut store = Store { reader, opener, newest: 0, directory: None };
        store.append(first).map_err(failed)?;
        Ok(store)
    }

    /// Reads every version: none may be missing, and this weir must understand each.
    fn check(place: String, opener: Opener) -> Result<(Store, Record), Complaint> {
        let read = || {
            let database = opener()?;
            let record = check_all(&database)?.ok_or("there is no version in it")?;
            Ok((database, record))
        };
        let (database, record) = supervised(read).map_err(|why| damaged(&place, &why))?;
        let (reader, newest) = (Reader::new(database, &place), record.version);
        Ok((Store { reader, opener, newest, directory: None }, record))
    }

    /// The newest version.
    #[must_use]
    pub fn newest(&self) -> u64 {
        self.newest
    }

    /// Adds a version. It is on disk when this returns.
    ///
    /// # Errors
    /// What the disk said. Nothing was added then, and what could not be added never comes back;
    /// only if the disk refuses that too, and the process ends before it works again, it may.
    ///
    /// # Panics
    /// If the version is not the next one.
    pub fn append(&mut self, record: &Record) -> Result<(), String> {
        assert_eq!(record.version, self.newest + 1, "versions have no gaps");
        let text = record.to_text()?;
        self.open_again()?;
        let written = self.reader.with(|database| write(database, record.version, Some(&text)));
        if let Err(why) = written {
            // redb refuses everything after a failed write until it is opened again.
            self.close();
            // What was written of it must not be found by the next start.
            return match self.open_again() {
                Ok(()) => Err(why),
                Err(still) => Err(format!(
                    "{why}; it could not be taken back either ({still}): if weir ends before the \
                     disk works again, version {} may be there",
                    record.version
                )),
            };
        }
        self.newest = record.version;
        Ok(())
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
    pub fn open_again(&self) -> Result<(), String> {
        if !self.is_closed() {
            return Ok(());
        }
        let database = supervised(|| self.reopen()).map_err(|why| self.reader.failed(&why))?;
        self.reader.set(Some(database));
        Ok(())
    }

    /// Lets the storage go, here and for every reader.
    fn close(&self) {
        self.reader.set(None);
    }

    fn reopen(&self) -> Result<Database, String> {
        let database = (self.opener)()?;
        let newest = check_all(&database)?.map_or(0, |record| record.version);
        if newest < self.newest {
            return Err(format!("version {} is gone", self.newest));
        }
        for refused in (self.newest + 1..=newest).rev() {
            write(&database, refused, None)?;
        }
        Ok(database)
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

    /// One version, if there is such a one.
    ///
    /// # Errors
    /// It cannot be read.
    pub fn get(&self, version: u64) -> Result<Option<Record>, String> {
        let read = |database: &Database| -> Result<Option<String>, redb::Error> {
            let table = database.begin_read()?.open_table(VERSIONS)?;
            Ok(table.get(version)?.map(|text| text.value().to_owned()))
        };
        let text = self.with(|database| read(database).map_err(|error| error.to_string()))?;
        text.map(|text| Record::parse(&text)).transpose()
    }

    /// Every version, newest first.
    ///
    /// # Errors
    /// One cannot be read.
    pub fn history(&self) -> Result<Vec<VersionRow>, String> {
        let mut rows = Vec::new();
        self.with(|database| {
            each(database, |_, text| {
                let Record { version, at, by, summary, .. } = Record::parse(text)?;
                rows.push(VersionRow { version, at, by, summary });
                Ok(())
            })
        })?;
        rows.reverse();
        Ok(rows)
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

    fn failed(&self, why: &str) -> String {
        format!("{}: {why}", self.place)
    }
}

impl Vacant {
    /// Makes the state with its first version. It is on disk under its name when this returns.
    ///
    /// # Errors
    /// The disk is full or cannot be written.
    pub fn seed(self, first: &Record) -> Result<Store, Complaint> {
        let (new, path) = (self.path.join(FILE_NEW), self.path.join(FILE));
        let place = path.display().to_string();
        // What is left of a start that was interrupted; nobody was told of it.
        match std::fs::remove_file(&new) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => {
                return Err(unreadable(&new, &error));
            }
            _ => {}
        }
        let mut options = OpenOptions::new();
        options.read(true).write(true).create_new(true).mode(0o600);
        options.open(&new).map_err(|error| unreadable(&new, &error))?;
        let mut store = Store::create(place, new_file_opener(new.clone()), first)?;
        let named = std::fs::rename(&new, &path).and_then(|()| self.directory.sync_all());
        named.map_err(|error| unreadable(&path, &error))?;
        store.opener = file_opener(path);
        store.directory = Some(self.directory);
        Ok(store)
    }
}

fn file_opener(path: PathBuf) -> Opener {
    Box::new(move || builder().open(&path).map_err(|error| error.to_string()))
}

fn new_file_opener(path: PathBuf) -> Opener {
    Box::new(move || builder().create(&path).map_err(|error| error.to_string()))
}

fn opener(backend: impl StorageBackend + Clone) -> Opener {
    Box::new(move || {
        builder().create_with_backend(backend.clone()).map_err(|error| error.to_string())
    })
}

/// Writes, or with `None` removes, one row, durably.
fn write(database: &Database, version: u64, text: Option<&str>) -> Result<(), String> {
    let run = || -> Result<(), redb::Error> {
        let mut transaction = database.begin_write()?;
        transaction.set_durability(Durability::Immediate)?;
        // With one phase, a newest version whose pages went bad would silently become the one
        // before it at the next start; with two, that is an error.
        transaction.set_two_phase_commit(true);
        {
            let mut table = transaction.open_table(VERSIONS)?;
            match text {
                Some(text) => table.insert(version, text)?,
                None => table.remove(version)?,
            };
        }
        transaction.commit()?;
        Ok(())
    };
    run().map_err(|error| error.to_string())
}

/// Reads every version and gives the newest.
fn check_all(database: &Database) -> Result<Option<Record>, String> {
    let mut last: Option<Record> = None;
    each(database, |key, text| {
        let expected = last.as_ref().map_or(1, |record| record.version + 1);
        if key != expected {
            return Err(format!("version {expected} is missing"));
        }
        let record = Record::parse(text).map_err(|why| format!("version {key}: {why}"))?;
        if record.version != key {
            return Err(format!("version {key} says that it is version {}", record.version));
        }
        last = Some(record);
        Ok(())
    })?;
    Ok(last)
}

fn each(
    database: &Database,
    mut see: impl FnMut(u64, &str) -> Result<(), String>,
) -> Result<(), String> {
    let transaction = database.begin_read().map_err(|error| error.to_string())?;
    let table = match transaction.open_table(VERSIONS) {
        Ok(table) => table,
        Err(redb::TableError::TableDoesNotExist(_)) => return Ok(()),
        Err(error) => return Err(error.to_string()),
    };
    for row in table.iter().map_err(|error| error.to_string())? {
        let (key, text) = row.map_err(|error| error.to_string())?;
        see(key.value(), text.value())?;
    }
    Ok(())
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

fn damaged(place: &str, why: &str) -> Complaint {
    Complaint {
        what: format!("the state in {place} cannot be used: {why}"),
        hint: format!(
            "put a copy of the file back, or give up its history: mv {place} {place}.damaged, \
             then start again with weir run -c FILE, which seeds a new state from the file"
        ),
    }
}

fn unreadable(path: &Path, error: &io::Error) -> Complaint {
    Complaint {
        what: format!("{}: {error}", path.display()),
        hint: format!("see who owns it: ls -la {}", path.display()),
    }
}

fn no_link(what: &str, path: &Path) -> Result<(), Complaint> {
    crate::paths::link(what, path).map_or(Ok(()), |what| {
        let hint = "[weir] state = \"DIR\" names the state directory".to_owned();
        Err(Complaint { what, hint })
    })
}

/// Makes the directory if it is missing and locks it for this process.
fn lock_directory(directory: &Path) -> Result<File, Complaint> {
    let failed = |error: io::Error| Complaint {
        what: format!("the state directory {}: {error}", directory.display()),
        hint: "name another one: [weir] state = \"DIR\", or see who owns this one".to_owned(),
    };
    DirBuilder::new().recursive(true).mode(0o700).create(directory).map_err(failed)?;
    no_link("the state directory", directory)?;
    let file = File::open(directory).map_err(failed)?;
    match flock(&file, FlockOperation::NonBlockingLockExclusive) {
        Ok(()) => Ok(file),
        Err(rustix::io::Errno::WOULDBLOCK) => Err(Complaint {
            what: format!("another weir uses the state directory {}", directory.display()),
            hint: "stop it (weirctl stop), or give this one its own: [weir] state = \"DIR\""
                .to_owned(),
        }),
        Err(error) => Err(failed(error.into())),
    }
}

#[cfg(test)]
pub mod tests;
