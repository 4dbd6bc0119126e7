//! The store in a real directory: its lock, its name, its mark, and who may write.

use std::path::{Path, PathBuf};

use super::super::open::{FILE, FILE_NEW};
use super::super::{Complaint, Found, Opening, Store, Vacant};
use super::record;

/// A fresh directory that is removed at the end of the test.
pub(crate) struct Directory(pub(crate) PathBuf);

impl Directory {
    pub(crate) fn new(name: &str) -> Directory {
        let path = std::env::temp_dir().join(format!("weir-{name}-{}", std::process::id()));
        let _ = std::fs::remove_dir_all(&path);
        Directory(path)
    }
}

impl Drop for Directory {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

fn open(directory: &Path) -> Result<Found, Complaint> {
    Store::open(directory, Opening::default())
}

fn vacant(directory: &Path) -> Vacant {
    match open(directory).unwrap() {
        Found::Empty(vacant) => vacant,
        Found::State(_) => panic!("there is a state already"),
    }
}

#[test]
fn a_directory_is_made_seeded_locked_and_found_again() {
    use std::os::unix::fs::PermissionsExt;
    let directory = Directory::new("seed");
    let path = directory.0.join("deep");
    let mut store = vacant(&path).seed(&record(1)).unwrap();
    let mode = std::fs::metadata(&path).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o700);
    store.append(&record(2)).unwrap();
    let busy = open(&path).unwrap_err();
    assert!(busy.what.contains("another weir uses"), "{busy}");
    drop(store);
    let Found::State(found) = open(&path).unwrap() else { panic!("no state") };
    assert_eq!(found.1, record(2));
}

#[test]
fn an_interrupted_first_start_leaves_nothing_behind() {
    let directory = Directory::new("interrupted");
    drop(vacant(&directory.0));
    std::fs::write(directory.0.join(FILE_NEW), b"half a file").unwrap();
    let store = vacant(&directory.0).seed(&record(1)).unwrap();
    assert_eq!(store.newest(), 1);
    assert!(!directory.0.join(FILE_NEW).exists());
}

#[test]
fn a_file_that_is_not_a_state_is_never_taken_for_an_empty_one() {
    for bytes in [&b""[..], b"hello", &[0; 8192]] {
        let directory = Directory::new("foreign");
        drop(vacant(&directory.0));
        let path = directory.0.join(FILE);
        std::fs::write(&path, bytes).unwrap();
        let error = open(&directory.0).unwrap_err();
        assert!(error.what.contains(&path.display().to_string()), "{error}");
        assert!(error.hint.contains("mv "), "{error}");
        assert_eq!(std::fs::read(&path).unwrap(), bytes, "the file is left alone");
    }
}

fn state(directory: &Path) -> (Store, u64) {
    match open(directory).unwrap() {
        Found::State(found) => (found.0, found.1.version),
        Found::Empty(_) => panic!("there is no state"),
    }
}

/// A directory with versions 1 to 3, closed.
fn with_three(name: &str) -> Directory {
    let directory = Directory::new(name);
    let mut store = vacant(&directory.0).seed(&record(1)).unwrap();
    for version in 2..=3 {
        store.append(&record(version)).unwrap();
    }
    directory
}

#[test]
fn a_change_is_refused_when_the_file_has_lost_its_name() {
    type Loss = fn(&Path);
    let losses: [(&str, Loss, &str); 5] = [
        ("removed", |path| std::fs::remove_file(path.join(FILE)).unwrap(), "removed or moved"),
        ("gone", |path| std::fs::remove_dir_all(path).unwrap(), "removed or moved"),
        (
            "moved",
            |path| std::fs::rename(path, path.with_extension("away")).unwrap(),
            "removed or moved",
        ),
        (
            "replaced",
            |path| {
                std::fs::copy(path.join(FILE), path.join("copy")).unwrap();
                std::fs::rename(path.join("copy"), path.join(FILE)).unwrap();
            },
            "another file",
        ),
        (
            "another-directory",
            |path| {
                std::fs::rename(path, path.with_extension("away")).unwrap();
                std::fs::create_dir(path).unwrap();
                std::fs::copy(path.with_extension("away").join(FILE), path.join(FILE)).unwrap();
            },
            "another file",
        ),
    ];
    for (name, lose, why) in losses {
        let directory = with_three(name);
        let path = directory.0.join("..").join(directory.0.file_name().unwrap());
        let away = Directory(directory.0.with_extension("away"));
        let (mut store, _) = state(&path);
        lose(&directory.0);
        let refused = store.append(&record(4)).unwrap_err();
        assert!(refused.contains(why) && refused.contains("config export"), "{name}: {refused}");
        assert_eq!(store.newest(), 3);
        assert_eq!(store.reader().get(3).unwrap(), Some(record(3)), "{name}: it serves on");
        // It is said once without a change, too.
        for most in [1, 0] {
            store.tend(0);
            assert_eq!(store.take_news().len(), most, "{name}");
        }
        if name == "moved" {
            std::fs::rename(&away.0, &directory.0).unwrap();
            store.append(&record(4)).unwrap();
            drop(store);
            assert_eq!(state(&directory.0).1, 4, "put back, it goes on");
        }
    }
}

/// One flipped bit of byte 9 makes redb take the older of its two commits.
#[test]
fn an_older_version_is_refused_by_the_mark_and_can_be_accepted() {
    let directory = with_three("mark-older");
    let path = directory.0.join(FILE);
    let whole = std::fs::read(&path).unwrap();
    let (mut store, _) = state(&directory.0);
    store.append(&record(4)).unwrap();
    let killed = std::fs::read(&path).unwrap();
    drop(store);
    let closed = std::fs::read(&path).unwrap();
    let mut refused = 0;
    for (bit, image) in (0..8).flat_map(|bit| [(bit, &killed), (bit, &closed)]) {
        let mut bytes = image.clone();
        bytes[9] ^= 1 << bit;
        std::fs::write(&path, &bytes).unwrap();
        match open(&directory.0) {
            Ok(Found::State(found)) => assert_eq!(found.1, record(4), "bit {bit}"),
            Ok(Found::Empty(_)) => panic!("it is not empty"),
            Err(error) => {
                refused += 1;
                assert_eq!(std::fs::read(&path).unwrap(), bytes, "it is left alone");
                assert!(!error.hint.is_empty());
            }
        }
    }
    assert!(refused > 0, "byte 9 means nothing any more");
    // The same by a copy that was put back.
    std::fs::write(&path, &whole).unwrap();
    let error = open(&directory.0).unwrap_err();
    assert!(error.what.contains("at version 3, but version 4 was acknowledged"), "{error}");
    assert!(error.hint.contains("--accept-version 3"), "{error}");
    let accept = |accept| {
        let opening = Opening { accept: Some(accept), ..Opening::default() };
        Store::open(&directory.0, opening)
    };
    assert!(accept(2).is_err(), "only what is there can be accepted");
    let Found::State(found) = accept(3).unwrap() else { panic!("no state") };
    let (mut store, record_3) = *found;
    assert_eq!(record_3, record(3));
    assert!(store.take_news()[0].contains("accepted"));
    drop(store);
    assert_eq!(state(&directory.0).1, 3, "from now on it counts");
}

#[test]
fn a_state_without_a_mark_gets_one_and_a_damaged_mark_is_said() {
    let directory = with_three("mark-absent");
    let mark = directory.0.join("weir.newest");
    let good = std::fs::read(&mark).unwrap();
    std::fs::remove_file(&mark).unwrap();
    let (mut store, _) = state(&directory.0);
    assert_eq!(store.take_news(), Vec::<String>::new());
    drop(store);
    assert_eq!(std::fs::read(&mark).unwrap(), good);
    std::fs::write(&mark, b"nonsense").unwrap();
    let (mut store, newest) = state(&directory.0);
    assert_eq!(newest, 3);
    assert!(store.take_news()[0].contains("weir.newest is damaged"));
    drop(store);
    assert_eq!(std::fs::read(&mark).unwrap(), good);
}

#[test]
fn a_state_that_is_gone_is_known_when_the_next_one_is_made() {
    let directory = with_three("lost");
    std::fs::remove_file(directory.0.join(FILE)).unwrap();
    let vacant = vacant(&directory.0);
    assert_eq!(vacant.lost(), Some(3));
    drop(vacant.seed(&record(1)).unwrap());
    assert_eq!(state(&directory.0).1, 1);
}

#[test]
fn a_state_that_cannot_be_written_is_served_and_takes_no_change() {
    let directory = with_three("read-only");
    let path = directory.0.join(FILE);
    // What is in the mark's place cannot be opened, not even by root.
    let mark = directory.0.join("weir.newest");
    std::fs::remove_file(&mark).unwrap();
    std::fs::create_dir(&mark).unwrap();
    let bytes = std::fs::read(&path).unwrap();
    let (mut store, newest) = state(&directory.0);
    assert_eq!(newest, 3);
    let said = store.take_news().pop().unwrap();
    assert!(said.contains("cannot be written") && said.contains("weir.newest"), "{said}");
    assert_eq!(store.append(&record(4)).unwrap_err(), said);
    assert_eq!(store.closed_for_changes(), Some(said.as_str()));
    assert_eq!(store.reader().get(2).unwrap(), Some(record(2)));
    store.tend(0);
    assert_eq!(store.take_news(), [""; 0], "it was said");
    assert_eq!(std::fs::read(&path).unwrap(), bytes, "the file is as it was");
    // Those who read see what is written from now on.
    let reader = store.reader();
    std::fs::remove_dir(&mark).unwrap();
    store.tend(0);
    assert!(store.take_news().pop().unwrap().contains("can be written again"));
    assert_eq!(store.closed_for_changes(), None);
    store.append(&record(4)).unwrap();
    assert_eq!(reader.get(4).unwrap(), Some(record(4)));
    assert_eq!(reader.get(2).unwrap(), Some(record(2)));
    drop(store);
    assert_eq!(state(&directory.0).1, 4);
}

#[test]
fn a_state_that_is_another_one_by_then_is_not_written() {
    let directory = with_three("read-only-other");
    let mark = directory.0.join("weir.newest");
    std::fs::remove_file(&mark).unwrap();
    std::fs::create_dir(&mark).unwrap();
    let (mut store, _) = state(&directory.0);
    store.take_news();
    // Its mark says that a version more was acknowledged, by another weir.
    std::fs::remove_dir(&mark).unwrap();
    let other = with_three("read-only-newer");
    state(&other.0).0.append(&record(4)).unwrap();
    std::fs::copy(other.0.join("weir.newest"), &mark).unwrap();
    store.tend(0);
    assert!(store.closed_for_changes().is_some());
    // Or the file is another one, newer or older: it is left as it is, and gets no mark.
    let older = Directory::new("read-only-older");
    drop(vacant(&older.0).seed(&record(1)).unwrap());
    for another in [&other, &older] {
        let (path, newer) = (directory.0.join(FILE), another.0.join(FILE));
        let _ = std::fs::remove_file(&mark);
        // The one that is served stays open, without a name.
        std::fs::remove_file(&path).unwrap();
        std::fs::copy(&newer, &path).unwrap();
        assert!(store.append(&record(4)).is_err());
        assert_eq!(store.reader().get(4).unwrap(), None);
        assert_eq!(std::fs::read(&path).unwrap(), std::fs::read(&newer).unwrap());
        assert!(!mark.exists());
    }
}
