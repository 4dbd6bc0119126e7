//! Versions with live sessions are kept beyond the retention.

use std::collections::BTreeSet;

use super::history::{opened_with, small};
use super::*;

/// Versions `from` to `to` behind those that there are.
fn appended(store: &mut Store, versions: core::ops::RangeInclusive<u64>) {
    for version in versions {
        store.append(&small(version)).unwrap();
    }
}

fn history(store: &Store) -> Vec<u64> {
    let rows = store.reader().history(None, usize::MAX).unwrap();
    rows.iter().map(|row| row.version).collect()
}

/// Until nothing is left to do.
fn tend(store: &mut Store) {
    for _ in 0..200 {
        store.tend(0);
    }
}

#[test]
fn a_version_stays_until_its_last_session_has_ended() {
    let disk = Disk::default();
    drop(seeded_with(&disk, &small(1)));
    let (mut store, _) = opened_with(&disk, 3);
    store.set_in_use(BTreeSet::from([1]));
    appended(&mut store, 2..=9);
    assert_eq!(history(&store)[8], 1, "an append gives up nothing that is in use");
    store.set_in_use(BTreeSet::from([1, 5]));
    tend(&mut store);
    assert_eq!(history(&store), [9, 8, 7, 5, 1]);
    assert_eq!(store.reader().oldest().unwrap(), 7);
    appended(&mut store, 10..=90);
    tend(&mut store);
    assert_eq!(history(&store), [90, 89, 88, 5, 1]);
    let page = |before, most| -> Vec<u64> {
        let rows = store.reader().history(Some(before), most).unwrap();
        rows.iter().map(|row| row.version).collect()
    };
    assert_eq!((page(89, 2), page(5, 9), page(1, 9)), (vec![88, 5], vec![1], vec![]));
    drop(store);
    let (mut store, newest) = opened_with(&disk, 3);
    assert_eq!(newest, small(90));
    for version in [1, 5, 88, 89] {
        assert_eq!(store.reader().get(version).unwrap(), Some(small(version)));
    }
    assert_eq!(store.reader().get(4).unwrap(), None);
    store.set_in_use(BTreeSet::from([5]));
    tend(&mut store);
    assert_eq!(history(&store), [90, 89, 88, 5]);
    store.set_in_use(BTreeSet::new());
    tend(&mut store);
    assert_eq!(history(&store), [90, 89, 88]);
    assert_eq!(store.reader().get(5).unwrap(), None);
}

#[test]
fn no_more_than_a_thousand_are_set_aside() {
    let disk = Disk::default();
    drop(seeded_with(&disk, &small(1)));
    let (mut store, _) = opened_with(&disk, 2000);
    appended(&mut store, 2..=1100);
    drop(store);
    let (mut store, _) = opened_with(&disk, 10);
    store.set_in_use((1..=1100).collect());
    tend(&mut store);
    assert_eq!(history(&store).len(), 10 + 1000);
    assert_eq!(store.reader().get(1000).unwrap(), Some(small(1000)));
    assert_eq!(store.reader().get(1001).unwrap(), None, "there were a thousand before");
}
