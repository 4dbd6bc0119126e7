//! History has an end, costs little, and survives what happens to a disk.

use weir_control_core::timestamp::rfc3339;

use super::super::rows::{self, CUT_MAX};
use super::*;

/// A thousand backends, of which the version says which weighs what. The file has not changed.
pub(super) fn large(version: u64) -> Record {
    let base = Some(Arc::new(thousand(None)));
    let record = record(version % 2 + 1).numbered(version).with_base(base);
    Record { spec: thousand(Some(version % 1000)), ..record }
}

fn thousand(heavy: Option<u64>) -> Spec {
    let mut pool = PoolSpec::default();
    for n in 0..1000 {
        let address = format!("10.0.{}.{}:443", n / 250, n % 250 + 1).parse().unwrap();
        let weight = if heavy == Some(n) { 200 } else { 1 };
        let backend = BackendSpec { weight, ..BackendSpec::new(address) };
        pool.backend.insert(format!("backend-{n}").parse().unwrap(), backend);
    }
    let pool = [("web".parse().unwrap(), pool.into())].into();
    Spec { pool, listener: BTreeMap::default() }
}

trait Numbered {
    fn numbered(self, version: u64) -> Record;
}

impl Numbered for Record {
    fn numbered(self, version: u64) -> Record {
        Record { version, ..self }
    }
}

fn keeps(versions: u64) -> Retention {
    Retention { versions, ..Retention::default() }
}

pub(super) fn opened_with(disk: &Disk, versions: u64) -> (Store, Record) {
    Store::with_backend(disk.clone(), None, keeps(versions)).unwrap()
}

/// A small version of any number.
pub(super) fn small(version: u64) -> Record {
    record(version % 7 + 1).numbered(version)
}

pub(super) fn kept(store: &Store) -> (u64, u64) {
    let rows = store.reader().history(None, usize::MAX).unwrap();
    let (newest, oldest) = (rows[0].version, rows[rows.len() - 1].version);
    assert_eq!(rows.len() as u64, newest - oldest + 1);
    assert_eq!(store.reader().oldest().unwrap(), oldest);
    (oldest, newest)
}

#[test]
fn only_the_newest_are_kept_and_each_is_what_it_was() {
    let disk = Disk::default();
    drop(seeded_with(&disk, &small(1)));
    let (mut store, _) = opened_with(&disk, 100);
    for version in 2..=400 {
        store.append(&small(version)).unwrap();
        if version % 50 == 0 {
            drop(store);
            let newest;
            (store, newest) = opened_with(&disk, 100);
            assert_eq!(newest, small(version));
        }
    }
    assert_eq!(
        kept(&store),
        (300, 400),
        "an append that is taken back would leave as many as kept"
    );
    store.tend(0);
    assert_eq!(kept(&store), (301, 400));
    for version in 301..=400 {
        assert_eq!(store.reader().get(version).unwrap(), Some(small(version)));
    }
    assert_eq!(store.reader().get(300).unwrap(), None);
    // Pages of it, newest first.
    let page = |before, most| -> Vec<u64> {
        let rows = store.reader().history(before, most).unwrap();
        rows.iter().map(|row| row.version).collect()
    };
    assert_eq!(page(None, 3), [400, 399, 398]);
    assert_eq!(page(Some(398), 2), [397, 396]);
    assert_eq!(page(Some(302), 9), [301]);
    assert_eq!(page(Some(301), 9), [0; 0]);
}

#[test]
fn a_version_of_a_large_pool_costs_a_fiftieth_of_a_copy() {
    let disk = Disk::default();
    drop(seeded_with(&disk, &large(1)));
    let (mut store, _) = opened_with(&disk, 1000);
    let spec = serde_json::to_string(&large(1).spec).unwrap().len();
    for version in 2..=301 {
        store.append(&large(version)).unwrap();
    }
    assert_eq!(store.reader().get(77).unwrap(), Some(large(77)));
    drop(store);
    let each = disk.bytes().len() / 301;
    assert!(each * 10 < spec, "{each} bytes on disk a version, the spec has {spec}");
    let (store, newest) = opened_with(&disk, 1000);
    assert_eq!(newest, large(301));
    assert_eq!(store.reader().get(300).unwrap(), Some(large(300)));
}

#[test]
fn a_smaller_retention_is_reached_step_by_step() {
    let disk = Disk::default();
    drop(seeded_with(&disk, &small(1)));
    let (mut store, _) = opened_with(&disk, 1000);
    for version in 2..=700 {
        store.append(&small(version)).unwrap();
    }
    drop(store);
    let (mut store, _) = opened_with(&disk, 10);
    assert_eq!(kept(&store), (1, 700), "a start gives up nothing");
    store.tend(0);
    assert_eq!(kept(&store).0, 1 + CUT_MAX as u64);
    store.append(&small(701)).unwrap();
    assert_eq!(kept(&store).0, 1 + 2 * CUT_MAX as u64);
    store.tend(0);
    assert_eq!(kept(&store), (692, 701));
    for version in 692..=701 {
        assert_eq!(store.reader().get(version).unwrap(), Some(small(version)));
    }
}

/// Ends at `now_ms`.
fn tend_an_hour(store: &mut Store, now_ms: u64) {
    for minute in 0..=61 {
        store.tend(now_ms - (61 - minute) * 60_000);
    }
}

#[test]
fn what_is_too_old_is_given_up_but_never_the_newest() {
    const DAY_MS: u64 = 86_400_000;
    let dated = |version: u64| {
        let at = rfc3339(version * DAY_MS);
        Record { at, ..small(version) }
    };
    let disk = Disk::default();
    drop(seeded_with(&disk, &dated(1)));
    let retention = Retention { days: 5, ..Retention::default() };
    let (mut store, _) = Store::with_backend(disk, None, retention).unwrap();
    for version in 2..=20 {
        store.append(&dated(version)).unwrap();
    }
    assert_eq!(kept(&store), (1, 20));
    tend_an_hour(&mut store, 20 * DAY_MS + 1);
    assert_eq!(kept(&store), (16, 20));
    // A clock that is wrong, in either direction and for less than an hour, costs nothing.
    for jump in [1000 * DAY_MS, 2 * DAY_MS, 20 * DAY_MS, 21 * DAY_MS] {
        store.tend(jump);
        store.tend(jump + 1);
        assert_eq!(kept(&store), (16, 20));
        assert!(store.take_news().pop().unwrap().contains("jumped"));
    }
    tend_an_hour(&mut store, 1000 * DAY_MS);
    assert_eq!(kept(&store), (20, 20));
    assert_eq!(store.reader().get(20).unwrap(), Some(dated(20)));
}

/// Neither number nor age gives up the version to which an unconfirmed one goes back.
#[test]
fn the_way_back_is_kept() {
    let waits = |version: u64| {
        let (previous, guards) = (version - 1, vec!["healthy=50%".parse().unwrap()]);
        let terms = Unconfirmed { previous, within_ms: 30_000, until_ms: 1, guards };
        small(version).with_terms(Some(terms))
    };
    let disk = Disk::default();
    drop(seeded_with(&disk, &small(1)));
    let retention = Retention { versions: 1, days: 1 };
    let (mut store, _) = Store::with_backend(disk.clone(), None, retention).unwrap();
    store.append(&waits(2)).unwrap();
    tend_an_hour(&mut store, u64::MAX / 2);
    assert_eq!(kept(&store), (1, 2));
    drop(store);
    let (mut store, newest) = Store::with_backend(disk, None, retention).unwrap();
    assert_eq!(newest, waits(2));
    tend_an_hour(&mut store, u64::MAX / 2);
    assert_eq!(kept(&store), (1, 2), "after a start, too");
    store.append(&small(3)).unwrap();
    tend_an_hour(&mut store, u64::MAX / 2);
    assert_eq!(kept(&store), (3, 3));
}

/// The disk is full of history, and a change goes through.
#[test]
fn a_full_disk_gives_up_history_and_takes_the_change() {
    const LAST: u64 = 500;
    let filled = |room: Option<usize>| {
        let disk = Disk::default();
        drop(seeded_with(&disk, &large(1)));
        disk.0.lock().unwrap().room = room;
        let (mut store, _) = opened_with(&disk, 100_000);
        let mut given_up = 0;
        for version in 2..=LAST {
            let appended = store.append(&large(version));
            let news = store.take_news();
            assert_eq!(appended, Ok(()), "version {version}, room for {room:?}: {news:?}");
            given_up += news.iter().filter(|text| text.contains("the disk is full")).count();
        }
        (disk, store, given_up)
    };
    let (disk, _, given_up) = filled(None);
    assert_eq!(given_up, 0);
    let whole = disk.bytes().len();
    for room in [whole * 7 / 10, whole * 9 / 10] {
        let (disk, store, given_up) = filled(Some(room));
        let (oldest, newest) = kept(&store);
        assert!((1..40).contains(&given_up), "{given_up} times, room for {room} of {whole}");
        assert_eq!(newest, LAST);
        for version in [oldest, (oldest + newest) / 2, newest] {
            assert_eq!(store.reader().get(version).unwrap(), Some(large(version)));
        }
        drop(store);
        assert_eq!(opened_with(&disk, 100_000).1, large(newest));
    }
}

/// The power goes at every write and sync while versions are given up: all of the newest ones are
/// there, and each is what it was.
#[test]
fn losing_power_while_versions_are_given_up_loses_none_that_is_kept() {
    let disk = Disk::default();
    drop(seeded_with(&disk, &small(1)));
    let (mut store, _) = opened_with(&disk, 200);
    for version in 2..=150 {
        store.append(&small(version)).unwrap();
    }
    drop(store);
    let (mut store, _) = opened_with(&disk, 20);
    let moments = disk.moments(|| store.tend(0));
    assert!(moments.len() > 4, "it writes and syncs");
    assert_eq!(kept(&store), (131, 150));
    for (index, moment) in moments.iter().enumerate() {
        for image in moment.images() {
            let (store, newest) = opened_with(&Disk::of(&image), 20);
            assert_eq!(newest, small(150), "moment {index}");
            let (oldest, _) = kept(&store);
            assert!([1, 131].contains(&oldest), "moment {index}: {oldest} is the oldest");
            for version in [oldest, 131, 140, 149] {
                assert_eq!(store.reader().get(version).unwrap(), Some(small(version)));
            }
        }
    }
}

#[test]
fn a_gap_is_damage() {
    let disk = Disk::of(&disk_with(4, true));
    let database = builder().create_with_backend(disk.clone()).unwrap();
    let transaction = database.begin_write().unwrap();
    let heads: rows::Rows = rows::Rows::new("heads");
    transaction.open_table(heads).unwrap().remove(2).unwrap();
    transaction.commit().unwrap();
    drop(database);
    let error = opened(disk).unwrap_err();
    assert!(error.what.contains("a version between 1 and 4 is missing"), "{error}");
}
