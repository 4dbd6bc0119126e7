//! Small files beside the state, of what no operator has made and a start goes on with: the
//! priority group that each pool with `failover = "stay"` uses (a restart of weir would be a
//! failback), and the backends that DNS has found (a restart while DNS is away would have none).
//! They are no versions.

use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::fs::{File, OpenOptions};
use std::io::{self, ErrorKind, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use weir_control_core::resolve::RememberedMembers;

use crate::paths;

const FORMAT: u32 = 1;

/// The priority group in use by the pool's name.
pub(crate) type GroupsInUse = BTreeMap<String, u8>;
/// The findings of DNS by the pool's name.
pub(crate) type MembersFound = BTreeMap<String, RememberedMembers>;

/// The content of such a file.
pub(crate) trait RememberedContent:
    Serialize + DeserializeOwned + Default + Send + 'static
{
    /// Its name in the state directory.
    const FILE: &'static str;
    /// The name that it has until it is whole.
    const NEXT: &'static str;
    /// The consequence for pools where it cannot be read, and where it cannot be written.
    const UNREAD: &'static str;
    const UNWRITTEN: &'static str;
}

impl RememberedContent for GroupsInUse {
    const FILE: &'static str = "weir.groups";
    const NEXT: &'static str = "weir.groups.next";
    const UNREAD: &'static str =
        "pools with failover = \"stay\" begin with their first priority group";
    const UNWRITTEN: &'static str =
        "after a restart pools with failover = \"stay\" may use another priority group than now";
}

impl RememberedContent for MembersFound {
    const FILE: &'static str = "weir.members";
    const NEXT: &'static str = "weir.members.next";
    const UNREAD: &'static str = "pools with discover have no backends until DNS answers";
    const UNWRITTEN: &'static str =
        "after a restart pools with discover begin with older backends until DNS answers";
}

#[derive(Serialize, Deserialize)]
#[serde(bound = "T: Serialize + DeserializeOwned")]
struct RememberedText<T> {
    format: u32,
    in_use: T,
}

/// The file, and what is to be written to it next.
#[derive(Debug)]
pub(crate) struct RememberedFile<T> {
    /// `None`: it is not written.
    directory: Option<PathBuf>,
    next: RefCell<Option<T>>,
    is_written: Cell<bool>,
}

impl<T> Default for RememberedFile<T> {
    fn default() -> RememberedFile<T> {
        RememberedFile { directory: None, next: RefCell::new(None), is_written: Cell::new(false) }
    }
}

impl<T: RememberedContent> RememberedFile<T> {
    /// The file in this directory.
    pub(crate) fn of(directory: &Path) -> RememberedFile<T> {
        RememberedFile { directory: Some(directory.to_owned()), ..RememberedFile::default() }
    }

    /// Returns what was in use when weir last ran. Nothing if that is not known; a file that cannot
    /// be read is warned of.
    pub(crate) fn read(&self) -> T {
        let Some(directory) = &self.directory else { return T::default() };
        read(directory).unwrap_or_else(|why| {
            let path = directory.join(T::FILE);
            tracing::warn!("{}: {why}: {}", path.display(), T::UNREAD);
            T::default()
        })
    }

    /// Takes note of what is to be written. True if the caller is to write it, with
    /// [`RememberedFile::take`] until there is no more; somebody does already otherwise.
    pub(crate) fn put(&self, content: T) -> bool {
        *self.next.borrow_mut() = Some(content);
        self.directory.is_some() && !self.is_written.replace(true)
    }

    /// The content that is to be written now, and where.
    pub(crate) fn take(&self) -> Option<(PathBuf, T)> {
        let next = self.directory.clone().zip(self.next.borrow_mut().take());
        self.is_written.set(next.is_some());
        next
    }
}

fn read<T: RememberedContent>(directory: &Path) -> Result<T, String> {
    let text = match std::fs::read_to_string(directory.join(T::FILE)) {
        Ok(text) => text,
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(T::default()),
        Err(error) => return Err(error.to_string()),
    };
    let content: RememberedText<T> =
        serde_json::from_str(&text).map_err(|error| error.to_string())?;
    if content.format != FORMAT {
        return Err(format!("it has format {}, and this weir reads {FORMAT}", content.format));
    }
    Ok(content.in_use)
}

/// Writes the file, which is whole and on disk when this returns.
///
/// # Errors
/// It is not; then the file is as it was.
pub(crate) fn write<T: RememberedContent>((directory, in_use): (&Path, T)) -> Result<(), String> {
    let (path, next) = (directory.join(T::FILE), directory.join(T::NEXT));
    if let Some(why) = paths::link("a file of what is remembered", &next) {
        return Err(why);
    }
    let content = RememberedText { format: FORMAT, in_use };
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
    use weir_proto::snapshot::Member;

    fn groups(list: &[(&str, u8)]) -> GroupsInUse {
        list.iter().map(|(name, priority)| ((*name).to_owned(), *priority)).collect()
    }

    #[test]
    fn what_was_written_is_read_and_damage_is_nothing() {
        let directory = Directory::new("groups");
        std::fs::create_dir_all(&directory.0).unwrap();
        let file = RememberedFile::<GroupsInUse>::of(&directory.0);
        assert_eq!(file.read(), GroupsInUse::new());
        for wanted in [groups(&[("db", 1), ("web", 0)]), groups(&[("db", 0)]), groups(&[])] {
            write((&directory.0, wanted.clone())).unwrap();
            assert_eq!(file.read(), wanted);
        }
        for damaged in ["", "{", r#"{"format":1}"#, r#"{"format":2,"in_use":{}}"#] {
            std::fs::write(directory.0.join(GroupsInUse::FILE), damaged).unwrap();
            assert!(read::<GroupsInUse>(&directory.0).is_err(), "{damaged}");
            assert_eq!(file.read(), GroupsInUse::new(), "{damaged}");
        }
        assert!(write((&directory.0.join("nowhere"), groups(&[]))).is_err());
    }

    #[test]
    fn members_are_kept_whole() {
        let directory = Directory::new("members");
        std::fs::create_dir_all(&directory.0).unwrap();
        let file = RememberedFile::<MembersFound>::of(&directory.0);
        let members = ["10.0.0.1:443", "[fd00::1]:443"].map(|it| Member::new(it.parse().unwrap()));
        let leaving = Member { leaves: true, weight: 7, priority: 2, ..members[0] };
        let of = RememberedMembers {
            source: "dns web.internal:443".to_owned(),
            members: vec![leaving, members[1]],
        };
        let wanted: MembersFound = [("web".to_owned(), of)].into();
        write((&directory.0, wanted.clone())).unwrap();
        assert_eq!(file.read(), wanted);
    }

    #[test]
    fn the_newest_is_written_by_one_at_a_time() {
        let file = RememberedFile::<GroupsInUse>::of(Path::new("/nowhere"));
        assert!(file.put(groups(&[("db", 1)])));
        assert_eq!(file.take().map(|(_, groups)| groups), Some(groups(&[("db", 1)])));
        assert!(!file.put(groups(&[("db", 2)])), "the first one writes this, too");
        assert!(!file.put(groups(&[("db", 3)])));
        assert_eq!(file.take().map(|(_, groups)| groups), Some(groups(&[("db", 3)])));
        assert_eq!(file.take(), None);
        assert!(file.put(groups(&[])));
        assert!(!RememberedFile::default().put(groups(&[])));
    }
}
