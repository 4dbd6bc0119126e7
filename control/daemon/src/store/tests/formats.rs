//! States of older weirs are read and changed, whatever happens to the disk; one of a newer weir is
//! refused.

use redb::{ReadableDatabase, ReadableTable};

use super::history::{kept, opened_with, small};
use super::*;

/// A state of format 2: seeded, a weight, a drain, a backend more, a rollback to version 2.
const FORMAT_2: &[u8] = include_bytes!("format-2.redb");

/// The five versions of [`FORMAT_2`].
fn check_five(store: &Store, newest: &Record) {
    assert_eq!(newest.version, 5);
    assert!(newest.summary.starts_with("rollback to 2"), "{newest:?}");
    let get = |version| store.reader().get(version).unwrap().unwrap();
    let weights = |version| -> Vec<u16> {
        get(version).spec.pool["web"].backend.values().map(|backend| backend.weight).collect()
    };
    assert_eq!(weights(1), [2, 1]);
    assert_eq!(weights(2), [9, 1]);
    assert_eq!(weights(4), [9, 1, 1]);
    assert_eq!(get(2).spec, newest.spec);
    assert_eq!(get(3).summary, "backend set web/b2 (state ready → drain)");
    assert_eq!(get(1).spec.listener["web"].max_sessions, Some(7));
    for version in 1..=5 {
        assert_eq!(get(version).base, Some(Arc::new(get(1).spec)), "version {version}");
    }
}

/// A state of format 3: seeded, a weight, another file with that weight, a drain.
const FORMAT_3: &[u8] = include_bytes!("format-3.redb");

/// The four versions of [`FORMAT_3`], each with the file that was the last one then.
fn check_four(store: &Store, newest: &Record) {
    assert_eq!(newest.version, 4);
    let get = |version| store.reader().get(version).unwrap().unwrap();
    let strategies = [1, 2, 3, 4].map(|version| get(version).spec.pool["web"].strategy.word());
    assert_eq!(strategies, ["round-robin", "round-robin", "random", "random"]);
    assert_eq!(get(4).summary, "backend set web/b2 (state ready → drain)");
    for (version, file) in [(1, 1), (2, 1), (3, 3), (4, 3)] {
        assert_eq!(get(version).base, Some(Arc::new(get(file).spec)), "version {version}");
    }
    assert_eq!((&newest.base, &newest.spec), (&get(4).base, &get(4).spec));
    assert_ne!(newest.base.as_deref(), Some(&newest.spec), "the drain is not in the file");
}

/// A file, and a check of what is read of it.
type OldState = (&'static [u8], fn(&Store, &Record));

/// States of older weirs, and what must be read of each.
const OLD: [OldState; 2] = [(FORMAT_2, check_five), (FORMAT_3, check_four)];

#[test]
fn a_state_of_format_2_is_read_and_goes_on() {
    let disk = Disk::of(FORMAT_2);
    let (mut store, newest) = opened(disk.clone()).unwrap();
    check_five(&store, &newest);
    store.append(&small(6)).unwrap();
    drop(store);
    let (store, newest) = opened(disk.clone()).unwrap();
    assert_eq!((newest, kept(&store)), (small(6), (1, 6)));
    // Only what is to be kept is taken over.
    let (store, newest) = opened_with(&Disk::of(FORMAT_2), 2);
    assert_eq!((newest.version, kept(&store)), (5, (4, 5)));
    drop(store);
    // The weir before reads each text under `versions`, from the first on, and refuses by it.
    let database = builder().create_with_backend(disk).unwrap();
    let transaction = database.begin_read().unwrap();
    let versions = transaction.open_table(VERSIONS).unwrap();
    let first = versions.first().unwrap().map(|(key, text)| (key.value(), text.value().to_owned()));
    assert_eq!(first, Some((1, "{\"format\":4}".to_owned())));
}

#[test]
fn a_state_of_format_3_is_read_and_goes_on() {
    let disk = Disk::of(FORMAT_3);
    let (mut store, newest) = opened(disk.clone()).unwrap();
    check_four(&store, &newest);
    let by_hand = Record { base: newest.base.clone(), ..small(5) };
    store.append(&by_hand).unwrap();
    drop(store);
    // The version of the file goes; what was applied last is still known.
    let (mut store, newest) = opened_with(&disk, 2);
    assert_eq!(newest, by_hand);
    store.tend(0);
    assert_eq!(kept(&store), (4, 5));
    drop(store);
    let (store, newest) = opened_with(&disk, 2);
    assert_eq!((newest, store.reader().get(3).unwrap()), (by_hand.clone(), None));
    assert_eq!(store.reader().get(4).unwrap().unwrap().base, by_hand.base);
}

/// Whenever the power goes while the format is changed, the next start changes it.
#[test]
fn losing_power_while_the_format_changes_loses_nothing() {
    for (old, check) in OLD {
        let disk = Disk::of(old);
        let moments = disk.moments(|| drop(opened(disk.clone()).unwrap()));
        assert!(moments.len() > 4, "it writes and syncs");
        for moment in &moments {
            for image in moment.images() {
                let (store, newest) = opened(Disk::of(&image)).unwrap();
                check(&store, &newest);
            }
        }
    }
}

/// A disk that fails at any operation of the change of format: the state is served as it was, and
/// the next start makes it.
#[test]
fn a_disk_that_fails_while_the_format_changes_loses_nothing() {
    for (old, check) in OLD {
        for operations in 0.. {
            let disk = Disk::of(old);
            disk.0.lock().unwrap().fails_after = Some(operations);
            let found = opened(disk.clone());
            let is_over = disk.0.lock().unwrap().fails_after != Some(0);
            let left = disk.bytes();
            drop(found);
            let (store, newest) = opened(Disk::of(&left)).unwrap();
            check(&store, &newest);
            if is_over {
                assert!(operations > 4);
                break;
            }
        }
    }
}

#[test]
fn a_newer_format_is_refused_and_left_to_the_byte() {
    for closed in [true, false] {
        let disk = Disk::of(&disk_with(3, true));
        let database = builder().create_with_backend(disk.clone()).unwrap();
        let transaction = database.begin_write().unwrap();
        let newer = "{\"format\":5,\"anything\":1}";
        transaction.open_table(VERSIONS).unwrap().insert(1, newer).unwrap();
        transaction.commit().unwrap();
        let killed = disk.bytes();
        drop(database);
        let bytes = if closed { disk.bytes() } else { killed };
        let disk = Disk::of(&bytes);
        let error = opened(disk.clone()).unwrap_err();
        assert!(error.what.contains("it has format 5, and this weir"), "{error}");
        assert!(error.what.contains("start the weir that wrote it"), "{error}");
        assert!(disk.bytes() == bytes, "the file is left as it was");
    }
}
