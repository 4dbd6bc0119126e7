//! A state that could be read at the start and not written: it is served and takes no change, until
//! it can be written. That is tried once a second, and with each change.

use std::fs::OpenOptions;
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use weir_control_core::record::Record;

use super::mark::{self, Reading};
use super::open::{self, FILE, Lock, Writable};
use super::{Store, trust};

/// Why nothing can be written, and what to try again.
#[derive(Debug)]
pub(super) struct ReadOnly {
    /// As it was said.
    text: String,
    directory: PathBuf,
    lock: Lock,
}

impl ReadOnly {
    pub(super) fn new(why: &str, directory: &Path, lock: Lock, newest: u64) -> ReadOnly {
        let text = format!(
            "the state cannot be written: {why}. weir serves version {newest} and takes no change; \
             make {} writable for weir, which tries it again every second",
            directory.display()
        );
        ReadOnly { text, directory: directory.to_owned(), lock }
    }

    pub(super) fn why(&self) -> &str {
        &self.text
    }

    /// Locks the directory that has the name now, if it is not that one which is locked.
    fn lock_again(&mut self) -> Result<(), String> {
        let facts = |facts: std::fs::Metadata| (facts.dev(), facts.ino());
        let said = |error: io::Error| error.to_string();
        let named = std::fs::metadata(&self.directory).map(facts).map_err(said)?;
        let is_locked = self.lock.as_ref().is_ok_and(|lock| {
            let own = lock.metadata().map(facts);
            own.is_ok_and(|own| own == named)
        });
        if !is_locked {
            self.lock = Err("it is not locked".to_owned());
            self.lock = open::lock_directory(&self.directory).map_err(|refused| refused.what)?;
        }
        Ok(())
    }
}

impl Store {
    /// Takes no change from now on, and says why.
    pub(super) fn close_for_changes(&mut self, closed: ReadOnly) {
        self.say(closed.text.clone());
        self.closed_for_changes = Some(closed);
    }

    /// Opens a state that could only be read, if it can be written now, and says so.
    pub(super) fn open_for_changes(&mut self) {
        let Some(mut closed) = self.closed_for_changes.take() else { return };
        match self.write_into(&mut closed) {
            Ok(()) => self.say("the state can be written again: changes are taken".to_owned()),
            // Why it is closed was said.
            Err(_) => self.closed_for_changes = Some(closed),
        }
    }

    /// Opens the state in the directory, which must be the one that is served: another one is left
    /// as it is, to the byte.
    fn write_into(&mut self, closed: &mut ReadOnly) -> Result<(), String> {
        closed.lock_again()?;
        let directory = &closed.directory;
        let refused = |complaint: weir_proto::complaint::Complaint| complaint.what;
        open::no_link("the state file", &directory.join(FILE)).map_err(refused)?;
        trust::check(directory, &[FILE, mark::FILE]).map_err(refused)?;
        if let Reading::Newest(mark) = mark::read(directory)
            && mark > self.newest
        {
            return Err(format!("version {mark} was acknowledged"));
        }
        may_be_written(directory)?;
        let there = open::newest(directory)?;
        let served = self.reader.get(self.newest)?;
        let same = |it: &Record| (it.version, &it.spec) == (there.version, &there.spec);
        if !served.as_ref().is_some_and(same) {
            return Err("another state is in its place".to_owned());
        }
        let Writable { database, record, tail, opener, home } =
            open::writable(directory, &closed.lock, self.newest, self.retention)?;
        self.reader.set(Some(database));
        self.way_back = super::way_back(&record);
        (self.opener, self.tail, self.home) = (opener, Some(tail), Some(home));
        Ok(())
    }
}

/// Opens what is to be written, and writes nothing. Most often this fails still, and it takes less
/// time than to read the state.
fn may_be_written(directory: &Path) -> Result<(), String> {
    for name in [FILE, mark::FILE] {
        let path = directory.join(name);
        let said = |error: io::Error| format!("{}: {error}", path.display());
        match OpenOptions::new().write(true).open(&path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound && name == mark::FILE => {
                let access = rustix::fs::access(directory, rustix::fs::Access::WRITE_OK);
                access.map_err(|error| said(error.into()))?;
            }
            opened => drop(opened.map_err(said)?),
        }
    }
    Ok(())
}
