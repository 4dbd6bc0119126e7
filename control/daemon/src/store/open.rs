//! From a directory to its state: locked, read without a write, compared with the mark, and only
//! then opened to be written. What can be read but not written is served, and takes no change.

use std::fs::{DirBuilder, File, OpenOptions};
use std::io;
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use redb::{Database, StorageBackend};
use rustix::fs::{FlockOperation, flock};
use rustix::io::Errno;
use weir_control_core::record::{Record, Retention};
use weir_proto::complaint::Complaint;

use super::calls::Faults;
use super::disk::{Overlay, StateFile};
use super::mark::{self, Mark, Reading};
use super::read_only::ReadOnly;
use super::rows::{self, Tail};
use super::{Home, Opener, Reader, Store, opener, supervised, trust};

/// The file's name in the state directory.
pub(super) const FILE: &str = "weir.redb";
/// Its name while its first version is being written.
pub(super) const FILE_NEW: &str = "weir.redb.new";

/// How a state is to be opened.
#[derive(Clone, Copy, Debug, Default)]
pub struct Opening {
    pub retention: Retention,
    /// This version may be the newest, whatever the mark says.
    pub accept: Option<u64>,
}

/// The content of a state directory.
#[derive(Debug)]
pub enum Found {
    /// The kept versions; the record is the newest.
    State(Box<(Store, Record)>),
    /// No state file.
    Empty(Vacant),
}

/// A locked state directory without a state file.
#[derive(Debug)]
pub struct Vacant {
    path: PathBuf,
    directory: File,
    retention: Retention,
    /// The newest version of a state that was here, if the mark says so.
    lost: Option<u64>,
}

/// A locked directory, or why it could not be locked.
pub(super) type Lock = Result<File, String>;

/// A state that is open to be written.
pub(super) struct Writable {
    pub(super) database: Database,
    /// The newest version.
    pub(super) record: Record,
    pub(super) tail: Tail,
    pub(super) opener: Opener,
    pub(super) home: Home,
}

impl Store {
    /// Opens the state in `directory`, which is made (mode 0700) if it is not there. A state that
    /// can be read and not written is opened, too, and takes no change. A state that is refused is
    /// left as it is, to the byte.
    ///
    /// # Errors
    /// Another process uses it, it or its file is a symbolic link, somebody else may write it, it
    /// cannot be read, it is not what a weir has written, a newer weir has, or a version is gone
    /// that was acknowledged.
    pub fn open(directory: &Path, opening: Opening) -> Result<Found, Complaint> {
        let lock = lock_directory(directory)?;
        let path = directory.join(FILE);
        no_link("the state file", &path)?;
        for warning in trust::check(directory, &[FILE, mark::FILE])? {
            tracing::warn!("{warning}");
        }
        let file = match File::open(&path) {
            Ok(file) => file,
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                return vacant(directory, lock, opening.retention).map(Found::Empty);
            }
            Err(error) => return Err(unreadable(&path, &error)),
        };
        let place = path.display().to_string();
        let length = file.metadata().map_err(|error| unreadable(&path, &error))?.len();
        if length == 0 {
            return Err(damaged(&place, "it is empty"));
        }
        let (copy, record, tail) = look(&place, StateFile::for_reading(file))?;
        let news = compare(&place, record.version, mark::read(directory), opening.accept)?;
        let (newest, retention) = (record.version, opening.retention);
        let (mut store, record, closed) = match writable(directory, &lock, newest, retention) {
            Ok(Writable { database, record, tail, opener, home }) => {
                let reader = Reader::new(database, &place);
                let store = Store::new(reader, opener, (newest, Some(tail)), retention);
                let mut store = store.at(&record);
                store.home = Some(home);
                (store, record, None)
            }
            Err(why) => (reading(&place, copy, (newest, tail), retention), record, Some(why)),
        };
        news.into_iter().for_each(|text| store.say(text));
        if let Some(why) = closed {
            store.close_for_changes(ReadOnly::new(&why, directory, lock, newest));
        }
        Ok(Found::State(Box::new((store, record))))
    }
}

/// A state that is only read, from the layer over it.
fn reading(
    place: &str,
    copy: Database,
    (newest, tail): (u64, Tail),
    retention: Retention,
) -> Store {
    let never = Box::new(|| Err("it is only read".to_owned()));
    Store::new(Reader::new(copy, place), never, (newest, Some(tail)), retention)
}

/// Opens the state in any storage.
pub(super) fn any(
    backend: impl StorageBackend + Clone,
    mark: Option<u64>,
    retention: Retention,
) -> Result<(Store, Record), Complaint> {
    let place = "the test's storage".to_owned();
    if backend.len().map_err(|error| damaged(&place, &error.to_string()))? == 0 {
        return Err(damaged(&place, "it is empty"));
    }
    let (_, record, _) = look(&place, backend.clone())?;
    compare(&place, record.version, mark.map_or(Reading::Absent, Reading::Newest), None)?;
    let opened = to_write(backend.clone(), record.version, retention);
    let (database, record, tail) = opened.map_err(|why| damaged(&place, &why))?;
    let (reader, opener) = (Reader::new(database, &place), opener(backend));
    let newest = (record.version, Some(tail));
    Ok((Store::new(reader, opener, newest, retention).at(&record), record))
}

/// Reads the newest version, and writes nothing: redb writes into what it opens, and so does a
/// change of format, but here into memory. Of an old format the newest version is enough.
fn look(
    place: &str,
    backend: impl StorageBackend + Clone,
) -> Result<(Database, Record, Tail), Complaint> {
    let read = || {
        let layer = Overlay::new(backend).map_err(|error| error.to_string())?;
        let database = opener(layer)()?;
        if rows::old_format(&database)?.is_some() {
            rows::migrate(&database, 1).map_err(|why| why.to_string())?;
        }
        let (record, tail) = rows::newest(&database)?.ok_or("there is no version in it")?;
        Ok((database, record, tail))
    };
    supervised(read).map_err(|why| damaged(place, &why))
}

/// The newest version of the state in `directory`, which is only read.
///
/// # Errors
/// It cannot be read.
pub(super) fn newest(directory: &Path) -> Result<Record, String> {
    let path = directory.join(FILE);
    let file = File::open(&path).map_err(|error| unreadable(&path, &error).what)?;
    let looked = look(&path.display().to_string(), StateFile::for_reading(file));
    looked.map(|(_, record, _)| record).map_err(|complaint| complaint.what)
}

/// Opens what was looked at, to write into it.
fn to_write(
    backend: impl StorageBackend + Clone,
    newest: u64,
    retention: Retention,
) -> Result<(Database, Record, Tail), String> {
    supervised(|| {
        let opener = opener(backend);
        let mut database = opener()?;
        if let Some(format) = rows::old_format(&database)? {
            rows::migrate(&database, retention.versions).map_err(|why| why.to_string())?;
            // Most of a file before rows is copies. It is whole without that.
            if format < rows::ROWS && database.compact().is_err() {
                drop(database);
                database = opener()?;
            }
        }
        match rows::newest(&database)? {
            Some((record, tail)) if record.version == newest => Ok((database, record, tail)),
            _ => Err("it has changed while it was opened".to_owned()),
        }
    })
}

/// Opens the state to be written, whose newest version is `newest`.
///
/// # Errors
/// Why that is not possible.
pub(super) fn writable(
    directory: &Path,
    lock: &Lock,
    newest: u64,
    retention: Retention,
) -> Result<Writable, String> {
    let path = directory.join(FILE);
    let said = |error: io::Error| format!("{}: {error}", path.display());
    // The lock lasts for as long as one of the two is open.
    let lock = lock.as_ref().map_err(String::clone)?.try_clone().map_err(said)?;
    let file = OpenOptions::new().read(true).write(true).open(&path).map_err(said)?;
    let faults = Faults::default();
    let file = StateFile::new(file, &faults);
    let mark = Mark::open(directory, newest, &faults)?;
    lock.sync_all().map_err(said)?;
    let (database, record, tail) = to_write(file.clone(), newest, retention)?;
    let opener = opener(file.clone());
    let home = Home { _directory: lock, path, file, mark, misnamed: false, faults };
    Ok(Writable { database, record, tail, opener, home })
}

/// Refuses a state that has lost what was acknowledged. Gives what is to be said of it.
fn compare(
    place: &str,
    newest: u64,
    mark: Reading,
    accept: Option<u64>,
) -> Result<Option<String>, Complaint> {
    match mark {
        Reading::Newest(mark) if mark > newest && accept == Some(newest) => Ok(Some(format!(
            "version {newest} was accepted as the newest of {place}, though version {mark} was \
             acknowledged"
        ))),
        Reading::Newest(mark) if mark > newest => Err(Complaint {
            what: format!(
                "the state in {place} is at version {newest}, but version {mark} was acknowledged: \
                 the file is damaged, or an older copy"
            ),
            hint: format!(
                "put a copy with version {mark} in its place; or see what version {newest} is and \
                 accept it: weir run --accept-version {newest}"
            ),
        }),
        Reading::Newest(_) | Reading::Absent => Ok(None),
        Reading::Unknown(why) => Ok(Some(format!(
            "the mark of the newest version cannot be used: {why}. Version {newest} of {place} \
             counts"
        ))),
    }
}

fn vacant(directory: &Path, lock: Lock, retention: Retention) -> Result<Vacant, Complaint> {
    let failed = |what| Complaint {
        what: format!("the state directory {}: {what}", directory.display()),
        hint: OTHER_DIRECTORY.to_owned(),
    };
    let lost = match mark::read(directory) {
        Reading::Newest(newest) => Some(newest),
        Reading::Absent | Reading::Unknown(_) => None,
    };
    Ok(Vacant { path: directory.to_owned(), directory: lock.map_err(failed)?, retention, lost })
}

impl Vacant {
    /// The newest version of a state that was here and is gone.
    #[must_use]
    pub fn lost(&self) -> Option<u64> {
        self.lost
    }

    /// Where it is.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Makes the state with its first version. It is on disk under its name when this returns.
    ///
    /// # Errors
    /// The disk is full or cannot be written.
    pub fn seed(self, first: &Record) -> Result<Store, Complaint> {
        let (new, path) = (self.path.join(FILE_NEW), self.path.join(FILE));
        let place = path.display().to_string();
        // Left over from a start that was interrupted before it acknowledged anything.
        match std::fs::remove_file(&new) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => {
                return Err(unreadable(&new, &error));
            }
            _ => {}
        }
        let mut options = OpenOptions::new();
        options.read(true).write(true).create_new(true).mode(0o600);
        let file = options.open(&new).map_err(|error| unreadable(&new, &error))?;
        let faults = Faults::default();
        let file = StateFile::new(file, &faults);
        let mut store = Store::create(place, opener(file.clone()), first, self.retention)?;
        // Before the name: an older mark would refuse the new state.
        let mark = Mark::open(&self.path, first.version, &faults)
            .map_err(|what| Complaint { what, hint: OTHER_DIRECTORY.to_owned() })?;
        let named = std::fs::rename(&new, &path).and_then(|()| self.directory.sync_all());
        named.map_err(|error| unreadable(&path, &error))?;
        let (_directory, misnamed) = (self.directory, false);
        store.home = Some(Home { _directory, path, file, mark, misnamed, faults });
        Ok(store)
    }
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

pub(super) fn no_link(what: &str, path: &Path) -> Result<(), Complaint> {
    crate::paths::link(what, path).map_or(Ok(()), |what| {
        let hint = "[weir] state = \"DIR\" names the state directory".to_owned();
        Err(Complaint { what, hint })
    })
}

const OTHER_DIRECTORY: &str = "name another one: [weir] state = \"DIR\", or see who owns this one";

/// Makes the directory if it is missing and locks it for this process. One that cannot be locked,
/// though it is free, is no error yet.
pub(super) fn lock_directory(directory: &Path) -> Result<Lock, Complaint> {
    let failed = |error: io::Error| Complaint {
        what: format!("the state directory {}: {error}", directory.display()),
        hint: OTHER_DIRECTORY.to_owned(),
    };
    DirBuilder::new().recursive(true).mode(0o700).create(directory).map_err(failed)?;
    no_link("the state directory", directory)?;
    let file = File::open(directory).map_err(failed)?;
    match flock(&file, FlockOperation::NonBlockingLockExclusive) {
        Ok(()) => Ok(Ok(file)),
        Err(Errno::WOULDBLOCK) => Err(Complaint {
            what: format!("another weir uses the state directory {}", directory.display()),
            hint: "stop it (weirctl stop), or give this one its own: [weir] state = \"DIR\""
                .to_owned(),
        }),
        Err(error) => Ok(Err(format!("it cannot be locked: {error}"))),
    }
}
