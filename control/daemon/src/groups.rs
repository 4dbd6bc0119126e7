//! The priority group that each pool with `failover = "stay"` uses, in a small file beside the
//! state: a start goes on with it, or a restart of weir would be a failback. It is no version: no
//! operator has made it.

use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::fs::{File, OpenOptions};
use std::io::{self, ErrorKind, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use crate::paths;

/// Its name in the state directory.
const FILE: &str = "weir.groups";
/// The name that it has until it is whole.
const NEXT: &str = "weir.groups.next";
const FORMAT: u32 = 1;

/// By the pool's name.
pub(crate) type GroupsInUse = BTreeMap<String, u8>;

#[derive(Serialize, Deserialize)]
struct GroupsText {
    format: u32,
    in_use: GroupsInUse,
}

/// The file, and what is to be written to it next.
#[derive(Debug, Default)]
pub(crate) struct GroupsFile {
    /// `None`: it is not written.
    directory: Option<PathBuf>,
    next: RefCell<Option<GroupsInUse>>,
    is_written: Cell<bool>,
}

impl GroupsFile {
    /// The file in this directory.
    pub(crate) fn of(directory: &Path) -> GroupsFile {
        GroupsFile { directory: Some(directory.to_owned()), ..GroupsFile::default() }
    }

    /// The groups in use when weir last ran. None if it is not known; a file that cannot be read is
    /// warned of.
    pub(crate) fn read(&self) -> GroupsInUse {
        let Some(directory) = &self.directory else { return GroupsInUse::new() };
        read(directory).unwrap_or_else(|why| {
            tracing::warn!(
                "{}: {why}: pools with failover = \"stay\" begin with their first priority group",
                directory.join(FILE).display()
            );
            GroupsInUse::new()
        })
    }

    /// Takes note of what is to be written. True if the caller is to write it, with
    /// [`GroupsFile::take`] until there is no more; somebody does already otherwise.
    pub(crate) fn put(&self, groups: GroupsInUse) -> bool {
        *self.next.borrow_mut() = Some(groups);
        self.directory.is_some() && !self.is_written.replace(true)
    }

    /// The groups that are to be written now, and where.
    pub(crate) fn take(&self) -> Option<(PathBuf, GroupsInUse)> {
        let next = self.directory.clone().zip(self.next.borrow_mut().take());
        self.is_written.set(next.is_some());
        next
    }
}

fn read(directory: &Path) -> Result<GroupsInUse, String> {
    let text = match std::fs::read_to_string(directory.join(FILE)) {
        Ok(text) => text,
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(GroupsInUse::new()),
        Err(error) => return Err(error.to_string()),
    };
    let content: GroupsText = serde_json::from_str(&text).map_err(|error| error.to_string())?;
    if content.format != FORMAT {
        return Err(format!("it has format {}, and this weir reads {FORMAT}", content.format));
    }
    Ok(content.in_use)
}

/// Writes the file, which is whole and on disk when this returns.
///
/// # Errors
/// It is not; then the file is as it was.
pub(crate) fn write((directory, in_use): (&Path, GroupsInUse)) -> Result<(), String> {
    let (path, next) = (directory.join(FILE), directory.join(NEXT));
    if let Some(why) = paths::link("the file of groups in use", &next) {
        return Err(why);
    }
    let content = GroupsText { format: FORMAT, in_use };
    let text = serde_json::to_string(&content).map_err(|error| error.to_string())?;
    let write = || -> io::Result<()> {
        let mut options = OpenOptions::new();
        let mut file = options.write(true).create(true).truncate(true).mode(0o600).open(&next)?;
        file.write_all(text.as_bytes())?;
        file.sync_all()?;
        std::fs::rename(&next, &path)?;
        File::open(directory)?.sync_all()
    };
    write().map_err(|error| format!("{}: {error}", path.display()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::tests::Directory;

    fn groups(list: &[(&str, u8)]) -> GroupsInUse {
        list.iter().map(|(name, priority)| ((*name).to_owned(), *priority)).collect()
    }

    #[test]
    fn what_was_written_is_read_and_damage_is_no_group() {
        let directory = Directory::new("groups");
        std::fs::create_dir_all(&directory.0).unwrap();
        let file = GroupsFile::of(&directory.0);
        assert_eq!(file.read(), GroupsInUse::new());
        for wanted in [groups(&[("db", 1), ("web", 0)]), groups(&[("db", 0)]), groups(&[])] {
            write((&directory.0, wanted.clone())).unwrap();
            assert_eq!(file.read(), wanted);
        }
        for damaged in ["", "{", r#"{"format":1}"#, r#"{"format":2,"in_use":{}}"#] {
            std::fs::write(directory.0.join(FILE), damaged).unwrap();
            assert!(read(&directory.0).is_err(), "{damaged}");
            assert_eq!(file.read(), GroupsInUse::new(), "{damaged}");
        }
        assert!(write((&directory.0.join("nowhere"), groups(&[]))).is_err());
    }

    #[test]
    fn the_newest_is_written_by_one_at_a_time() {
        let file = GroupsFile::of(Path::new("/nowhere"));
        assert!(file.put(groups(&[("db", 1)])));
        assert_eq!(file.take().map(|(_, groups)| groups), Some(groups(&[("db", 1)])));
        assert!(!file.put(groups(&[("db", 2)])), "the first one writes this, too");
        assert!(!file.put(groups(&[("db", 3)])));
        assert_eq!(file.take().map(|(_, groups)| groups), Some(groups(&[("db", 3)])));
        assert_eq!(file.take(), None);
        assert!(file.put(groups(&[])));
        assert!(!GroupsFile::default().put(groups(&[])));
    }
}
