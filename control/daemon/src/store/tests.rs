//! The store against a disk that fails, loses power, and garbles.

mod aside;
mod disk;
#[cfg(debug_assertions)]
mod faults;
mod files;
mod formats;
mod history;
mod power;

use std::collections::BTreeMap;

use weir_proto::spec::{BackendSpec, PoolSpec, Spec};

use weir_control_core::record::{Unconfirmed, format_marker};
use weir_proto::answer::Author;

use super::rows::VERSIONS;
use super::*;

pub(crate) use disk::Disk;
pub(crate) use files::Directory;

/// A version of that number. Some have no base, some are as their file is, some are not.
pub(crate) fn record(version: u64) -> Record {
    let spec = spec(version);
    let by = Author::new(1000, 42);
    let base = match version % 3 {
        0 => None,
        1 => Some(Arc::new(spec.clone())),
        _ => Some(Arc::new(self::spec(version - 1))),
    };
    let summary = format!("change {version}");
    Record::new(version, "2026-11-24T10:00:00Z".into(), by, summary, spec).with_base(base)
}

fn spec(version: u64) -> Spec {
    let mut pool = PoolSpec::default();
    for n in 0..version {
        let address = format!("10.0.0.1:{}", n + 1).parse().unwrap();
        let backend = BackendSpec::new(address);
        pool.backend.insert(format!("b{n}").parse().unwrap(), backend);
    }
    let pool = [("web".parse().unwrap(), pool.into())].into();
    Spec { pool, listener: BTreeMap::default() }
}

/// Opens what is on a disk.
fn opened(disk: Disk) -> Result<(Store, Record), Complaint> {
    Store::with_backend(disk, None, Retention::default())
}

fn seeded(disk: &Disk) -> Store {
    seeded_with(disk, &record(1))
}

/// A new state on a disk.
pub(crate) fn seeded_with(disk: &Disk, first: &Record) -> Store {
    Store::seed_backend(disk.clone(), first).unwrap()
}

/// A disk with versions 1 to `count`, closed cleanly or not.
fn disk_with(count: u64, closed: bool) -> Vec<u8> {
    let disk = Disk::default();
    let mut store = seeded(&disk);
    for version in 2..=count {
        store.append(&record(version)).unwrap();
    }
    let killed = disk.bytes();
    drop(store);
    if closed { disk.bytes() } else { killed }
}

/// Opens a disk and says which state it gave: the newest version, if it was exactly that state.
fn newest_of(bytes: &[u8]) -> Option<u64> {
    let (store, newest) = opened(Disk::of(bytes)).ok()?;
    assert_eq!(newest, record(newest.version), "a state that nobody wrote");
    for version in 1..=newest.version {
        assert_eq!(store.reader().get(version).unwrap(), Some(record(version)));
    }
    assert_eq!(store.reader().get(newest.version + 1).unwrap(), None);
    Some(newest.version)
}

#[test]
fn every_version_is_kept() {
    for closed in [true, false] {
        let bytes = disk_with(5, closed);
        assert_eq!(newest_of(&bytes), Some(5));
        let (mut store, _) = opened(Disk::of(&bytes)).unwrap();
        store.append(&record(6)).unwrap();
        let history = store.reader().history(None, 99).unwrap();
        let versions: Vec<u64> = history.iter().map(|row| row.version).collect();
        assert_eq!(versions, [6, 5, 4, 3, 2, 1]);
        assert_eq!(history[1].summary, "change 5");
        assert_eq!(history[1].by, Author::new(1000, 42));
    }
}

#[test]
fn a_full_disk_refuses_the_change_and_keeps_the_state() {
    let disk = Disk::of(&disk_with(3, true));
    let (mut store, _) = opened(disk.clone()).unwrap();
    disk.set_full(true);
    assert!(store.append(&record(4)).is_err());
    assert_eq!(store.newest(), 3);
    assert!(store.append(&record(4)).is_err(), "still full");
    assert_eq!(newest_of(&disk.0.lock().unwrap().durable.clone()), Some(3));
    assert!(store.is_closed() && store.reader().get(3).is_err());
    disk.set_full(false);
    store.open_again().unwrap();
    assert_eq!(store.reader().get(3).unwrap(), Some(record(3)));
    store.append(&record(4)).unwrap();
    drop(store);
    assert_eq!(newest_of(&disk.bytes()), Some(4));
}

/// A disk that fails at the n-th operation of an append, for every n: the change is refused, and
/// what was refused does not come back, neither now nor after the next change.
#[test]
fn a_refused_change_never_comes_back() {
    let bytes = disk_with(3, true);
    for operations in 0.. {
        let disk = Disk::of(&bytes);
        let (mut store, _) = opened(disk.clone()).unwrap();
        disk.0.lock().unwrap().fails_after = Some(operations);
        let appended = store.append(&record(4));
        disk.0.lock().unwrap().fails_after = None;
        if appended.is_ok() {
            assert!(operations > 4, "an append writes and syncs");
            break;
        }
        store.open_again().unwrap();
        assert_eq!(store.reader().get(4).unwrap(), None, "after {operations} operations");
        assert_eq!(store.reader().history(None, 99).unwrap().len(), 3);
        let mut other = record(4);
        other.summary = "another change".into();
        store.append(&other).unwrap();
        drop(store);
        let (store, newest) = opened(Disk::of(&disk.bytes())).unwrap();
        assert_eq!((newest, store.newest()), (other, 4));
    }
}

/// A refused change is taken back before the refusal is told: a kill right after it finds nothing.
#[test]
fn a_kill_after_a_refusal_does_not_bring_the_change_back() {
    let bytes = disk_with(3, true);
    for operations in 0.. {
        let disk = Disk::of(&bytes);
        let (mut store, _) = opened(disk.clone()).unwrap();
        disk.0.lock().unwrap().fails_once = true;
        disk.0.lock().unwrap().fails_after = Some(operations);
        let appended = store.append(&record(4));
        let killed = disk.bytes();
        if appended.is_ok() {
            assert!(operations > 4, "an append writes and syncs");
            break;
        }
        assert_eq!(newest_of(&killed), Some(3), "after {operations} operations");
    }
}

/// At every write and sync of an append the power goes, and any one of the writes since the last
/// sync, or all, or none of them, are lost: what comes back is the state before or after.
#[test]
fn losing_power_at_any_moment_gives_the_state_before_or_after() {
    let disk = Disk::of(&disk_with(2, true));
    let (mut store, _) = opened(disk.clone()).unwrap();
    let moments = disk.moments(|| store.append(&record(3)).unwrap());
    assert!(moments.len() > 4, "an append writes and syncs");
    let acknowledged = moments.len() - 1;
    for (index, moment) in moments.iter().enumerate() {
        for (number, image) in moment.images().iter().enumerate() {
            let newest = newest_of(image);
            let good = newest == Some(3) || (newest == Some(2) && index < acknowledged);
            assert!(good, "moment {index} of {acknowledged}, image {number}: {newest:?}");
        }
    }
}

#[test]
fn a_truncated_file_is_refused_or_exact() {
    for closed in [true, false] {
        let bytes = disk_with(4, closed);
        let mut refused = 0;
        for length in (0..bytes.len()).step_by(bytes.len() / 64).chain([1, 9, 64, 4095, 4096]) {
            match newest_of(&bytes[..length]) {
                None => refused += 1,
                Some(newest) => assert_eq!(newest, 4, "cut to {length}"),
            }
        }
        assert!(refused > 32, "a file that lost most of itself cannot be right");
    }
}

#[test]
fn a_garbled_file_is_refused_or_exact() {
    // xorshift: a fixed seed, so that a failure comes back.
    let mut state = 0x9E37_79B9_7F4A_7C15_u64;
    let mut random = |below: usize| {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        usize::try_from(state % below as u64).unwrap()
    };
    for closed in [true, false] {
        let bytes = disk_with(4, closed);
        let used = bytes.iter().rposition(|byte| *byte != 0).unwrap() + 1;
        let mut refused = 0;
        for _ in 0..300 {
            let mut garbled = bytes.clone();
            let (start, length) = (random(used), 1 + random(64));
            for byte in garbled.iter_mut().skip(start).take(length) {
                *byte ^= u8::try_from(1 + random(255)).unwrap();
            }
            match newest_of(&garbled) {
                None => refused += 1,
                Some(newest) => assert_eq!(newest, 4, "{length} bytes from {start}"),
            }
        }
        assert!(refused > 10, "only {refused} refusals: the garbling misses what matters");
    }
}

#[test]
fn what_this_weir_does_not_understand_is_refused() {
    let write = |rows: &[(u64, String)]| {
        let disk = Disk::default();
        let database = builder().create_with_backend(disk.clone()).unwrap();
        let transaction = database.begin_write().unwrap();
        for (key, text) in rows {
            let mut table = transaction.open_table(VERSIONS).unwrap();
            table.insert(*key, text.as_str()).unwrap();
        }
        transaction.commit().unwrap();
        drop(database);
        opened(Disk::of(&disk.bytes())).map(|_| ()).map_err(|error| error.what)
    };
    let text = |version| {
        let spec = serde_json::to_string(&record(version).spec).unwrap();
        let by = r#"{"uid":1000,"pid":42}"#;
        format!(
            r#"{{"format":2,"version":{version},"at":"","by":{by},"summary":"","spec":{spec}}}"#
        )
    };
    assert!(write(&[(1, text(1)), (2, text(2))]).is_ok());
    let newer = text(1).replacen("\"format\":2", "\"format\":5", 1);
    let refused = |rows: &[(u64, String)], why: &str| {
        let error = write(rows).unwrap_err();
        assert!(error.contains(why), "{error}");
    };
    refused(&[(1, newer)], "version 1: it has format 5, and this weir");
    refused(&[(1, text(1)), (3, text(3))], "version 2 is missing");
    refused(&[(2, text(2))], "version 1 is missing");
    refused(&[(1, text(2))], "version 1: it says that it is version 2");
    refused(&[(1, r#"{"format":2}"#.into())], "version 1: missing field");
    refused(&[(1, "{}".into())], "version 1: missing field");
    refused(&[(1, format_marker())], "there is no version in it");
    refused(&[], "there is no version in it");
}

/// What weir wrote into its state on 2026-11-24, before format 2.
const FORMAT_1: &str = concat!(
    r#"{"format":1,"version":1,"at":"2026-11-24T17:39:12.608Z","by":{"uid":0,"pid":3761},"#,
    r#""summary":"seeded from weir.toml","spec":{"listener":{"web":{"bind":"127.9.9.1:18081","#,
    r#""pool":"web","max-sessions":7}},"pool":{"plain":{"strategy":"least-conn","health":"#,
    r#"{"kind":"tcp","interval":"2s","timeout":"500ms","rise":2,"fall":3},"timeout":"#,
    r#"{"connect":"3s","idle":"1h","half-close":"1m"},"retry":{"attempts":2},"backend":{}},"#,
    r#""web":{"strategy":"maglev","health":{"kind":"http","interval":"1500ms","timeout":"1m","#,
    r#""rise":4,"fall":5,"path":"/up"},"timeout":{"connect":"10s","idle":"2h","#,
    r#""half-close":"3s"},"retry":{"attempts":1},"backend":{"b1":{"address":"#,
    r#""10.0.0.11:443","weight":2}}}}}}"#,
);

#[test]
fn a_state_of_format_1_is_read_and_goes_on_in_format_4() {
    let old = Record::parse_whole(FORMAT_1).unwrap();
    assert_eq!((old.version, old.by.pid), (1, 3761));
    let web = &old.spec.pool["web"];
    assert_eq!(web.strategy.word(), "maglev");
    assert_eq!((web.health.rise, web.health.path.as_deref()), (4, Some("/up")));
    assert_eq!((web.timeout.connect.millis, web.retry.attempts), (10_000, 1));
    assert_eq!(web.backend["b1"].weight, 2);
    let plain = &old.spec.pool["plain"];
    assert_eq!(*plain, PoolSpec::default().into(), "what it does not say has its default");
    assert_eq!(web.health.panic, plain.health.panic);
    assert_eq!(web.retry.within, plain.retry.within);

    let disk = Disk::default();
    let database = builder().create_with_backend(disk.clone()).unwrap();
    let transaction = database.begin_write().unwrap();
    transaction.open_table(VERSIONS).unwrap().insert(1, FORMAT_1).unwrap();
    transaction.commit().unwrap();
    drop(database);
    let (mut store, newest) = opened(disk.clone()).unwrap();
    // It was made of a file, which is its base.
    let base = Some(Arc::new(old.spec.clone()));
    let old = old.with_base(base);
    assert_eq!(newest, old);
    store.append(&record(2)).unwrap();
    drop(store);
    let (store, newest) = opened(disk).unwrap();
    assert_eq!(newest, record(2));
    assert_eq!(store.reader().get(1).unwrap(), Some(old), "history is what it was");
}
