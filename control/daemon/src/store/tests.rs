//! The store against a disk that fails, loses power, and garbles.

use std::collections::BTreeMap;
use std::sync::{Arc, Condvar, Mutex, MutexGuard};

use weir_proto::spec::{BackendSpec, PoolSpec, Spec};

use weir_proto::answer::Author;

use super::*;

/// A disk: what was written, and what of it is durable.
#[derive(Clone, Debug, Default)]
pub(crate) struct Disk(Arc<Mutex<Platter>>, Arc<Condvar>);

#[derive(Debug, Default)]
struct Platter {
    written: Vec<u8>,
    /// The bytes as of the last sync.
    durable: Vec<u8>,
    /// Pages written since the last sync, each with what it held: a crash may lose any of them.
    unsynced: Vec<(usize, Vec<u8>)>,
    /// Every write and sync fails from now on.
    full: bool,
    /// So many writes and syncs still work, then every one fails.
    fails_after: Option<usize>,
    /// Only one fails then.
    fails_once: bool,
    /// Every state of the disk after a write or a sync: the places where the power may go.
    moments: Vec<CrashPoint>,
    record_moments: bool,
    /// Syncs wait until they are released.
    holds: bool,
    /// One waits now.
    is_held: bool,
}

/// What a crash can find: the durable bytes and the writes after them.
#[derive(Clone, Debug)]
struct CrashPoint {
    durable: Vec<u8>,
    unsynced: Vec<(usize, Vec<u8>)>,
    length: usize,
}

impl Disk {
    fn of(bytes: &[u8]) -> Disk {
        let platter =
            Platter { written: bytes.to_vec(), durable: bytes.to_vec(), ..Platter::default() };
        Disk(Arc::new(Mutex::new(platter)), Arc::default())
    }

    /// Every write fails, or works again.
    pub(crate) fn set_full(&self, full: bool) {
        self.0.lock().unwrap().full = full;
    }

    /// From now on a sync does not end before [`Disk::release`].
    pub(crate) fn hold(&self) {
        self.0.lock().unwrap().holds = true;
    }

    /// Returns when a sync waits.
    pub(crate) fn wait_until_held(&self) {
        let platter = self.0.lock().unwrap();
        drop(self.1.wait_while(platter, |platter| !platter.is_held).unwrap());
    }

    /// Syncs take no time any more.
    pub(crate) fn release(&self) {
        self.0.lock().unwrap().holds = false;
        self.1.notify_all();
    }

    fn after_hold(&self) -> MutexGuard<'_, Platter> {
        let mut platter = self.0.lock().unwrap();
        platter.is_held = platter.holds;
        self.1.notify_all();
        let mut platter = self.1.wait_while(platter, |platter| platter.holds).unwrap();
        platter.is_held = false;
        platter
    }

    fn bytes(&self) -> Vec<u8> {
        self.0.lock().unwrap().written.clone()
    }
}

impl Platter {
    fn note(&mut self) {
        if self.record_moments {
            self.moments.push(CrashPoint {
                durable: self.durable.clone(),
                unsynced: self.unsynced.clone(),
                length: self.written.len(),
            });
        }
    }

    fn check(&mut self) -> Result<(), io::Error> {
        let worn_out = self.fails_after == Some(0);
        self.fails_after = match self.fails_after {
            Some(0) if self.fails_once => None,
            left => left.map(|left| left.saturating_sub(1)),
        };
        if self.full || worn_out {
            Err(io::Error::from(io::ErrorKind::StorageFull))
        } else {
            Ok(())
        }
    }
}

impl StorageBackend for Disk {
    fn len(&self) -> Result<u64, io::Error> {
        Ok(self.0.lock().unwrap().written.len() as u64)
    }

    fn read(&self, offset: u64, out: &mut [u8]) -> Result<(), io::Error> {
        let platter = self.0.lock().unwrap();
        let start = usize::try_from(offset).unwrap();
        let Some(bytes) = platter.written.get(start..start + out.len()) else {
            return Err(io::Error::from(io::ErrorKind::UnexpectedEof));
        };
        out.copy_from_slice(bytes);
        Ok(())
    }

    fn set_len(&self, len: u64) -> Result<(), io::Error> {
        let mut platter = self.0.lock().unwrap();
        platter.check()?;
        platter.written.resize(usize::try_from(len).unwrap(), 0);
        platter.note();
        Ok(())
    }

    fn sync_data(&self) -> Result<(), io::Error> {
        let mut platter = self.after_hold();
        platter.check()?;
        platter.durable = platter.written.clone();
        platter.unsynced.clear();
        platter.note();
        Ok(())
    }

    fn write(&self, offset: u64, data: &[u8]) -> Result<(), io::Error> {
        let mut platter = self.0.lock().unwrap();
        platter.check()?;
        let start = usize::try_from(offset).unwrap();
        platter.written[start..start + data.len()].copy_from_slice(data);
        platter.unsynced.push((start, data.to_vec()));
        platter.note();
        Ok(())
    }
}

pub(crate) fn record(version: u64) -> Record {
    let mut pool = PoolSpec::default();
    for n in 0..version {
        let address = format!("10.0.0.1:{}", n + 1).parse().unwrap();
        let backend = BackendSpec { address, weight: 1, state: Default::default() };
        pool.backend.insert(format!("b{n}").parse().unwrap(), backend);
    }
    let spec =
        Spec { pool: [("web".parse().unwrap(), pool)].into(), listener: BTreeMap::default() };
    let by = Author { uid: 1000, pid: 42 };
    Record::new(version, "2026-11-24T10:00:00Z".into(), by, format!("change {version}"), spec)
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
    let (store, newest) = Store::with_backend(Disk::of(bytes)).ok()?;
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
        let (mut store, _) = Store::with_backend(Disk::of(&bytes)).unwrap();
        store.append(&record(6)).unwrap();
        let history = store.reader().history().unwrap();
        let versions: Vec<u64> = history.iter().map(|row| row.version).collect();
        assert_eq!(versions, [6, 5, 4, 3, 2, 1]);
        assert_eq!(history[1].summary, "change 5");
        assert_eq!(history[1].by, Author { uid: 1000, pid: 42 });
    }
}

#[test]
fn a_full_disk_refuses_the_change_and_keeps_the_state() {
    let disk = Disk::of(&disk_with(3, true));
    let (mut store, _) = Store::with_backend(disk.clone()).unwrap();
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
        let (mut store, _) = Store::with_backend(disk.clone()).unwrap();
        disk.0.lock().unwrap().fails_after = Some(operations);
        let appended = store.append(&record(4));
        disk.0.lock().unwrap().fails_after = None;
        if appended.is_ok() {
            assert!(operations > 4, "an append writes and syncs");
            break;
        }
        store.open_again().unwrap();
        assert_eq!(store.reader().get(4).unwrap(), None, "after {operations} operations");
        assert_eq!(store.reader().history().unwrap().len(), 3);
        let mut other = record(4);
        other.summary = "another change".into();
        store.append(&other).unwrap();
        drop(store);
        let (store, newest) = Store::with_backend(Disk::of(&disk.bytes())).unwrap();
        assert_eq!((newest, store.newest()), (other, 4));
    }
}

/// A refused change is taken back before the refusal is told: a kill right after it finds nothing.
#[test]
fn a_kill_after_a_refusal_does_not_bring_the_change_back() {
    let bytes = disk_with(3, true);
    for operations in 0.. {
        let disk = Disk::of(&bytes);
        let (mut store, _) = Store::with_backend(disk.clone()).unwrap();
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
    let (mut store, _) = Store::with_backend(disk.clone()).unwrap();
    disk.0.lock().unwrap().record_moments = true;
    store.append(&record(3)).unwrap();
    let moments = std::mem::take(&mut disk.0.lock().unwrap().moments);
    assert!(moments.len() > 4, "an append writes and syncs");
    let acknowledged = moments.len() - 1;
    for (index, moment) in moments.iter().enumerate() {
        let count = moment.unsynced.len();
        // None of the writes; all of them; all but one.
        let mut kept: Vec<Vec<bool>> = vec![vec![false; count], vec![true; count]];
        for lost in 0..count {
            let mut but_one = vec![true; count];
            but_one[lost] = false;
            kept.push(but_one);
        }
        for keep in kept {
            let mut bytes = moment.durable.clone();
            bytes.resize(moment.length, 0);
            for ((start, data), _) in moment.unsynced.iter().zip(&keep).filter(|(_, keep)| **keep) {
                bytes[*start..*start + data.len()].copy_from_slice(data);
            }
            let newest = newest_of(&bytes);
            let good = newest == Some(3) || (newest == Some(2) && index < acknowledged);
            assert!(good, "moment {index} of {acknowledged}, kept {keep:?}: {newest:?}");
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
        for _ in 0..150 {
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
        Store::with_backend(Disk::of(&disk.bytes())).map(|_| ()).map_err(|error| error.what)
    };
    let text = |version| record(version).to_text().unwrap();
    assert!(write(&[(1, text(1)), (2, text(2))]).is_ok());
    let newer = text(2).replacen("\"format\":2", "\"format\":3", 1);
    let refused = |rows: &[(u64, String)], why: &str| {
        let error = write(rows).unwrap_err();
        assert!(error.contains(why), "{error}");
    };
    refused(&[(1, text(1)), (2, newer)], "version 2: it has format 3");
    refused(&[(1, text(1)), (3, text(3))], "version 2 is missing");
    refused(&[(2, text(2))], "version 1 is missing");
    refused(&[(1, text(2))], "version 1 says that it is version 2");
    refused(&[(1, "{}".into())], "version 1: missing field");
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
fn a_state_of_format_1_is_read_and_goes_on_in_format_2() {
    let old = Record::parse(FORMAT_1).unwrap();
    assert_eq!((old.version, old.by.pid), (1, 3761));
    let web = &old.spec.pool["web"];
    assert_eq!(web.strategy.word(), "maglev");
    assert_eq!((web.health.rise, web.health.path.as_deref()), (4, Some("/up")));
    assert_eq!((web.timeout.connect.millis, web.retry.attempts), (10_000, 1));
    assert_eq!(web.backend["b1"].weight, 2);
    let plain = &old.spec.pool["plain"];
    assert_eq!(*plain, PoolSpec::default(), "what it does not say has its default");
    assert_eq!(web.health.panic, plain.health.panic);
    assert_eq!(web.retry.within, plain.retry.within);

    let disk = Disk::default();
    let database = builder().create_with_backend(disk.clone()).unwrap();
    write(&database, 1, Some(FORMAT_1)).unwrap();
    drop(database);
    let (mut store, newest) = Store::with_backend(disk.clone()).unwrap();
    assert_eq!(newest, old);
    store.append(&record(2)).unwrap();
    drop(store);
    let (store, newest) = Store::with_backend(disk).unwrap();
    assert_eq!(newest, record(2));
    assert_eq!(store.reader().get(1).unwrap(), Some(old), "history is left as it was written");
    assert!(record(2).to_text().unwrap().starts_with("{\"format\":2,"));
}

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

fn vacant(directory: &Path) -> Vacant {
    match Store::open(directory).unwrap() {
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
    let busy = Store::open(&path).unwrap_err();
    assert!(busy.what.contains("another weir uses"), "{busy}");
    drop(store);
    let Found::State(found) = Store::open(&path).unwrap() else { panic!("no state") };
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
        let error = Store::open(&directory.0).unwrap_err();
        assert!(error.what.contains(&path.display().to_string()), "{error}");
        assert!(error.hint.contains("mv "), "{error}");
        assert_eq!(std::fs::read(&path).unwrap(), bytes, "the file is left alone");
    }
}
