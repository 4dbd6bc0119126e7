//! The thread with a disk that is slow, full, or makes it panic.

use super::*;
use crate::store::tests::{Disk, record, seeded_with};
use std::io::Read;

struct Fixture {
    disk: Disk,
    thread: StoreThread,
    appender: Appender,
    versions: Box<dyn Versions>,
    news: StoreNews,
    bell: UnixStream,
}

fn started() -> Fixture {
    let disk = Disk::default();
    let store = seeded_with(&disk, &record(1));
    let started = StoreThread::start(store, || 0).unwrap();
    let Started { thread, appender, versions, news, bell } = started;
    let bell = UnixStream::from(bell);
    Fixture { disk, thread, appender, versions, news, bell }
}

impl Fixture {
    /// Waits for the bell, then takes the one event.
    fn next(&mut self) -> Option<StoreEvent> {
        self.bell.read_exact(&mut [0]).ok();
        self.news.next()
    }

    fn outcome(&mut self) -> Result<(), String> {
        match self.next() {
            Some(StoreEvent::Appended(Appended { outcome, .. })) => outcome,
            other => panic!("{other:?}"),
        }
    }
}

#[test]
fn versions_are_read_while_a_sync_takes_its_time() {
    let mut it = started();
    // A file that grows is synced under a lock of redb: it is large enough after these.
    for version in 2..=5 {
        it.appender.append(record(version), BTreeSet::new()).unwrap();
        assert_eq!(it.outcome(), Ok(()));
    }
    it.disk.hold();
    it.appender.append(record(6), BTreeSet::new()).unwrap();
    it.disk.wait_until_held();
    assert_eq!(it.versions.reader().get(5).unwrap(), Some(record(5)));
    assert_eq!(it.versions.reader().get(6).unwrap(), None, "it is not durable");
    assert_eq!(it.versions.reader().history(None, 9).unwrap().len(), 5);
    assert_eq!(it.news.next(), None);
    it.disk.release();
    assert_eq!(it.outcome(), Ok(()));
    assert_eq!(it.versions.reader().get(6).unwrap(), Some(record(6)));
}

#[test]
fn a_full_disk_is_a_refusal_and_the_next_append_works() {
    let mut it = started();
    it.disk.set_full(true);
    it.appender.append(record(2), BTreeSet::new()).unwrap();
    assert!(it.outcome().is_err());
    assert_eq!(it.appender.failures(), 1);
    it.disk.set_full(false);
    it.appender.append(record(2), BTreeSet::new()).unwrap();
    assert_eq!(it.outcome(), Ok(()));
    assert!(it.appender.can_write() && it.appender.failures() == 1);
}

#[test]
fn a_panic_in_an_append_is_a_refusal_and_not_the_end() {
    let mut it = started();
    it.appender.append(record(7), BTreeSet::new()).unwrap();
    let why = it.outcome().unwrap_err();
    assert!(why.contains("versions have no gaps"), "{why}");
    it.appender.append(record(2), BTreeSet::new()).unwrap();
    assert_eq!(it.outcome(), Ok(()));
}

#[test]
fn a_thread_that_is_gone_is_an_error_and_never_a_success() {
    let mut it = started();
    it.appender.append(record(2), BTreeSet::new()).unwrap();
    assert_eq!(it.outcome(), Ok(()));
    it.thread.tasks.send(StoreTask::End).unwrap();
    it.thread.thread.take().unwrap().join().unwrap();
    assert_eq!(it.next(), Some(StoreEvent::Lost), "the bell rings for it, too");
    assert_eq!(it.next(), None, "it comes once");
    assert!(
        it.appender
            .append(record(3), BTreeSet::new())
            .unwrap_err()
            .outcome
            .unwrap_err()
            .contains("has ended")
    );
    assert!(it.versions.reader().history(None, 9).unwrap_err().contains("closed"));
}

#[test]
fn dropping_the_thread_waits_for_the_append_and_closes_the_file() {
    let it = started();
    let Fixture { disk, thread, appender, news, .. } = it;
    appender.append(record(2), BTreeSet::new()).unwrap();
    drop(thread);
    let appended = Appended { version: Version(2), outcome: Ok(()) };
    assert_eq!(news.next(), Some(StoreEvent::Appended(appended)));
    let (_, newest) = Store::with_backend(disk, None, Default::default()).unwrap();
    assert_eq!(newest, record(2));
}
