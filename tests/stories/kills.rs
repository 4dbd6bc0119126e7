//! `kill -9` at random moments while four clients write: what was acknowledged is there after the
//! restart, nothing is invented, and weir serves again at once.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use weir_tests::clock::{self, PATIENCE};
use weir_tests::fault_test::FaultTest;
use weir_tests::net::Script;
use weir_tests::story::{Plan, Set};

/// Clients that write, each the weight of a backend of its own.
const WRITERS: usize = 4;
/// Changes that a round sees acknowledged at most before the kill.
const CHANGES: u64 = 12;
/// The kill comes up to so long after them, in microseconds: between two steps of a change.
const SPREAD_US: u64 = 20_000;
/// Changes a second that the long form needs.
const RATE_MIN: u64 = 50;
/// Restarts, of which one is killed, too.
const KILLED_STARTS: u64 = 4;
/// After a restart, in the long form, the first client is served within this time.
const SERVES_WITHIN: Duration = Duration::from_secs(1);

/// A writer, with the weights of its backend that it knows of.
#[derive(Debug)]
struct Writer {
    backend: String,
    /// The last weight that was acknowledged.
    weight: u64,
    /// The weight whose request was on its way: it may have become true or not.
    asked: u64,
    /// Acknowledged since the last start: versions with their weights.
    acknowledged: Vec<(u64, u64)>,
}

impl Writer {
    fn new(number: usize) -> Writer {
        let backend = format!("web/b{}", number + 1);
        Writer { backend, weight: 1, asked: 1, acknowledged: Vec::new() }
    }

    /// Sets one weight after the other until weir is gone.
    fn write(&mut self, set: &Set, acknowledged: &AtomicU64, stop: &AtomicBool) {
        while !stop.load(Ordering::SeqCst) {
            self.asked = self.weight % 250 + 1;
            let weight = self.asked.to_string();
            let ran = set.weir.ctl(&["-o", "json", "backend", "weight", &self.backend, &weight]);
            if ran.code == 0 {
                let version = ran.json()["version"].as_u64().expect("a version");
                self.weight = self.asked;
                self.acknowledged.push((version, self.weight));
                acknowledged.fetch_add(1, Ordering::SeqCst);
            }
        }
    }
}

/// The sums over all rounds.
#[derive(Debug, Default)]
struct KillCounts {
    acknowledged: u64,
    /// Changes that were found without an acknowledgement.
    added: u64,
    writing: Duration,
    slowest_start: Duration,
}

/// All clients write until weir is killed.
fn write_and_kill(set: &Set, writers: &mut [Writer], changes: u64, spread_us: u64) -> Duration {
    let (acknowledged, stop) = (AtomicU64::new(0), AtomicBool::new(false));
    let begin = clock::now();
    std::thread::scope(|scope| {
        for writer in writers {
            let (acknowledged, stop) = (&acknowledged, &stop);
            scope.spawn(move || writer.write(set, acknowledged, stop));
        }
        let enough = || (acknowledged.load(Ordering::SeqCst) >= changes).then_some(());
        let wrote = clock::try_wait(PATIENCE, enough);
        clock::park(Duration::from_micros(spread_us));
        set.weir.signal(rustix::process::Signal::KILL);
        stop.store(true, Ordering::SeqCst);
        assert!(wrote.is_some(), "void: no {changes} changes within {PATIENCE:?}");
    });
    clock::now() - begin
}

/// Starts weir; gives how long it took until the first client was served.
fn start(set: &mut Set) -> Duration {
    let begin = clock::now();
    set.weir.run();
    set.session().0.echo(b"it serves again").fin().expect_fin();
    clock::now() - begin
}

/// Every acknowledged change is there as what it was, at most one more of each client is, and no
/// version is missing. Gives the newest version, and how many were added.
fn check(set: &Set, writers: &mut [Writer], before: u64) -> (u64, u64) {
    let history = set.weir.json(&["config", "history"]);
    let rows = history["versions"].as_array().expect("a list");
    let versions: Vec<u64> =
        rows.iter().map(|row| row["version"].as_u64().expect("a number")).collect();
    assert!(versions.windows(2).all(|pair| pair[0] == pair[1] + 1), "gaps in {versions:?}");
    let newest = versions[0];
    assert_eq!(newest, set.weir.version(), "the newest is in force");
    let mut all = 0;
    for writer in writers {
        let weight = set.weir.backend(&writer.backend)["weight"].as_u64().expect("a weight");
        assert!([writer.weight, writer.asked].contains(&weight), "weight {weight}: {writer:?}");
        all += writer.acknowledged.len() as u64;
        for (version, weight) in writer.acknowledged.drain(..) {
            let index = newest.checked_sub(version).and_then(|it| usize::try_from(it).ok());
            let row = index.and_then(|index| rows.get(index));
            let row = row.unwrap_or_else(|| panic!("version {version} is lost, {newest} is there"));
            let summary = row["summary"].as_str().expect("a summary");
            let is_its_own =
                summary.contains(&*writer.backend) && summary.contains(&*format!("{weight})"));
            assert!(is_its_own, "version {version} set {} to {weight}: {row}", writer.backend);
        }
        (writer.weight, writer.asked) = (weight, weight);
    }
    let (made, most) = (newest - before, all + WRITERS as u64);
    assert!((all..=most).contains(&made), "{made} versions after {before}, {all} acknowledged");
    (newest, made - all)
}

#[test]
fn acknowledged_changes_survive_kills() {
    let mut test = FaultTest::begin(
        "T1",
        (25, "kills"),
        "every acknowledged change is there after kill -9, at most one more of each client, no \
         version is missing, and weir serves again within a second",
    );
    let mut set = Plan::new(WRITERS, Script::Banner).in_memory().start();
    let mut writers: Vec<_> = (0..WRITERS).map(Writer::new).collect();
    let (mut newest, mut counts) = (set.weir.version(), KillCounts::default());
    for _ in 0..test.count {
        let (changes, spread) = (test.draw(CHANGES) + 1, test.draw(SPREAD_US));
        counts.writing += write_and_kill(&set, &mut writers, changes, spread);
        counts.acknowledged += writers.iter().map(|it| it.acknowledged.len() as u64).sum::<u64>();
        set.weir.kill();
        if test.draw(KILLED_STARTS) == 0 {
            set.weir.spawn();
            clock::park(Duration::from_micros(test.draw(10 * SPREAD_US)));
            set.weir.kill();
        }
        counts.slowest_start = counts.slowest_start.max(start(&mut set));
        let added;
        (newest, added) = check(&set, &mut writers, newest);
        counts.added += added;
    }
    let KillCounts { acknowledged, added, writing, slowest_start } = counts;
    let rate = acknowledged * 1000 / u64::try_from(writing.as_millis()).unwrap_or(u64::MAX).max(1);
    test.counted(&format!(
        "{} kills, {acknowledged} changes acknowledged ({rate} a second), {added} more were there, \
         the slowest start served after {slowest_start:?}",
        test.count
    ));
    test.at_least(test.count, acknowledged, "acknowledged changes");
    if test.is_long {
        test.at_least(RATE_MIN, rate, "changes a second");
        assert!(slowest_start <= SERVES_WITHIN, "a start took {slowest_start:?} until it served");
    }
    test.passed();
}
