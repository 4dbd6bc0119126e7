//! Each system call of an append fails in each way: the change is refused and nothing has changed,
//! or it is acknowledged and durable; and when the disk works again the next change is taken.
//!
//! `scripts/faults` runs every combination, the usual tests one of some ([`usual`]).

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use super::super::calls::{Call, Failure, Fault, Which};
use super::super::{Found, Opening};
use super::files::Directory;
use super::history::large;
use super::*;

const FAILURES: [Failure; 7] = [
    Failure::Errno(libc::EIO),
    Failure::Errno(libc::ENOSPC),
    Failure::Errno(libc::EDQUOT),
    Failure::Errno(libc::EROFS),
    Failure::Errno(libc::EINTR),
    Failure::Short,
    Failure::ShortThen(libc::ENOSPC),
];

fn open(directory: &Path) -> (Store, Record) {
    match Store::open(directory, Opening::default()).unwrap() {
        Found::State(found) => *found,
        Found::Empty(_) => panic!("there is no state"),
    }
}

/// In memory where that is possible: an append waits for its disk four times.
fn place() -> PathBuf {
    let memory = Path::new("/dev/shm");
    if memory.is_dir() { memory.to_owned() } else { std::env::temp_dir() }
}

fn copy(from: &Path, to: &Path) {
    let _ = std::fs::remove_dir_all(to);
    std::fs::create_dir_all(to).unwrap();
    for entry in std::fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        std::fs::copy(entry.path(), to.join(entry.file_name())).unwrap();
    }
}

/// A state with three versions, and the next one, which finds room or needs more of the file.
struct Scene {
    template: Directory,
    work: Directory,
    killed: Directory,
    next: Record,
}

/// The combinations that were tried, by outcome.
#[derive(Debug, Default)]
struct FaultCounts {
    tried: u32,
    refused: u32,
    acknowledged: u32,
    /// Refused, and the disk would not even take it back: the refusal says that it may be there.
    in_doubt: u32,
}

impl Scene {
    fn new(name: &str, next: Record) -> Scene {
        let directory = |part: &str| {
            let name = format!("weir-faults-{name}-{part}-{}", std::process::id());
            Directory(place().join(name))
        };
        let template = directory("template");
        let Found::Empty(vacant) = Store::open(&template.0, Opening::default()).unwrap() else {
            panic!("it is empty");
        };
        let mut store = vacant.seed(&record(1)).unwrap();
        store.append(&record(2)).unwrap();
        store.append(&record(3)).unwrap();
        drop(store);
        Scene { template, work: directory("work"), killed: directory("killed"), next }
    }

    fn begin(&self) -> Store {
        copy(&self.template.0, &self.work.0);
        open(&self.work.0).0
    }

    /// The calls of an append in which nothing fails.
    fn calls(&self) -> BTreeMap<(Which, Call), u32> {
        let mut store = self.begin();
        let faults = store.faults().unwrap();
        faults.set(None);
        store.append(&self.next).unwrap();
        faults.made()
    }

    /// The state that a process finds that starts now, after this one was killed.
    fn found_after_a_kill(&self) -> Record {
        copy(&self.work.0, &self.killed.0);
        open(&self.killed.0).1
    }

    fn check(&self, fault: Fault, counts: &mut FaultCounts) {
        let mut store = self.begin();
        let faults = store.faults().unwrap();
        faults.set(Some(fault));
        let appended = store.append(&self.next);
        assert!(faults.struck() > 0, "{fault:?} never struck");
        counts.tried += 1;
        // Readers go on, or say that they cannot; they never see a version that was refused.
        let seen = store.reader().get(4);
        match &appended {
            Ok(()) => {
                counts.acknowledged += 1;
                assert_eq!(self.found_after_a_kill(), self.next, "{fault:?}");
                assert_eq!(store.newest(), 4);
            }
            Err(why) => {
                counts.refused += 1;
                assert!(!matches!(seen, Ok(Some(_))), "{fault:?}: refused, and there");
                assert_eq!(store.newest(), 3);
                let found = self.found_after_a_kill();
                let is_in_doubt = why.contains("may be there");
                counts.in_doubt += u32::from(is_in_doubt);
                let is_before = found == record(3);
                assert!(is_before || (is_in_doubt && found == self.next), "{fault:?}: {why}");
            }
        }
        faults.set(None);
        let mut next = small_after(store.newest());
        next.summary = "when it works again".into();
        store.append(&next).unwrap();
        assert_eq!(store.reader().get(3).unwrap(), Some(record(3)));
        drop(store);
        let (store, found) = open(&self.work.0);
        assert_eq!(found, next, "{fault:?}");
        assert_eq!(store.newest(), next.version);
    }
}

/// The version after that one.
fn small_after(version: u64) -> Record {
    super::history::small(version + 1)
}

/// Every `step`-th combination, from `first` on.
fn sweep(first: usize, step: usize) -> FaultCounts {
    let (mut counts, mut number) = (FaultCounts::default(), first);
    for (name, next) in [("small", record(4)), ("large", large(4))] {
        let scene = Scene::new(name, next);
        let calls = scene.calls();
        for ((which, call), count) in calls {
            let each = (0..count).flat_map(|after| FAILURES.map(|failure| (after, failure)));
            for (after, failure) in each {
                let is_partial =
                    failure == Failure::Short || failure == Failure::Errno(libc::EINTR);
                for lasts in [false, true] {
                    let applies = match failure {
                        Failure::Errno(_) => true,
                        Failure::Short | Failure::ShortThen(_) => call == Call::Write,
                    };
                    // A call that is interrupted again and again never ends.
                    if !applies || (lasts && is_partial) {
                        continue;
                    }
                    number += 1;
                    if number % step == 0 {
                        scene.check(Fault { which, call, after, lasts, failure }, &mut counts);
                    }
                }
            }
        }
    }
    counts
}

#[test]
fn each_call_of_an_append_that_fails_refuses_it_or_changes_nothing() {
    let number = |name: &str| std::env::var(name).ok().map(|text| text.parse::<usize>().unwrap());
    let is_long = number("WEIR_FAULT_COUNT").is_some();
    let (first, step) = (number("WEIR_FAULT_SEED").unwrap_or(1), if is_long { 1 } else { 7 });
    let counts = sweep(first, step);
    crate::streams::err(&format!("T13: calls: seed {first}, each {step}th: {counts:?}"));
    let least = if is_long { 500 } else { 50 };
    assert!(counts.tried >= least, "void: {counts:?}, {least} are needed");
    assert!(counts.refused > 0 && counts.acknowledged > 0, "void: {counts:?}");
}
