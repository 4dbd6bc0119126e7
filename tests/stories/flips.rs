//! One version of the configuration after the other while clients come: each session is served by
//! a backend of the version that it was accepted under, and once a change is acknowledged no shard
//! opens a session by an older one. (The simulator holds the same for every turn of every shard.)

use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use weir_tests::fault_test::FaultTest;
use weir_tests::net::{Peer, Script};
use weir_tests::story::{Plan, Set};

/// Each version has one of these and no other.
const BACKENDS: u64 = 4;
const CLIENTS: usize = 3;
/// Acknowledgements from one question about weir itself to the next.
const LOOKED_AT: u64 = 10;
/// Sessions for each flip that the long form needs.
const SESSIONS_MIN: u64 = 5;

/// The versions that may be in force.
#[derive(Debug)]
struct Window {
    /// Acknowledged: none before it.
    from: AtomicU64,
    /// Requested: none after it.
    to: AtomicU64,
    over: AtomicBool,
    faults: Mutex<Vec<String>>,
}

/// The backend of a version.
fn name_of(version: u64) -> String {
    format!("b{}", version % BACKENDS + 1)
}

/// Comes again and again; each session must be served by a version of the window. How many came.
fn come(set: &Set, window: &Window) -> u64 {
    let mut sessions = 0;
    while !window.over.load(Ordering::SeqCst) {
        let from = window.from.load(Ordering::SeqCst);
        let served = Peer::try_connect(set.weir.web).and_then(|mut peer| {
            let name = peer.try_line()?;
            peer.fin();
            Ok(name)
        });
        let to = window.to.load(Ordering::SeqCst);
        sessions += 1;
        let fault = match served {
            Ok(name) if (from..=to).any(|version| name_of(version) == name.trim()) => continue,
            Ok(name) => format!("versions {from} to {to} have no {name}"),
            Err(error) => error.to_string(),
        };
        window.faults.lock().expect("no client panics").push(fault);
    }
    sessions
}

/// Right after version `version` was acknowledged, while nothing else changes.
fn check_acknowledged(set: &Set, version: u64, looks: bool) {
    let (session, name) = set.session();
    assert_eq!(name, name_of(version), "version {version} was acknowledged");
    if looks {
        let status = set.weir.json(&["status"]);
        for shard in status["shards"].as_array().expect("a list") {
            assert_eq!(shard["version"], version, "{status}");
        }
        let answer = set.weir.json(&["config", "versions"]);
        let rows = answer["versions"].as_array().expect("a list");
        let own = rows.iter().find(|row| row["version"] == version);
        let sessions = own.and_then(|row| row["sessions"].as_u64());
        assert!(sessions >= Some(1), "a session of version {version} is open: {answer}");
    }
    drop(session);
}

/// Ends the clients also when a check fails.
struct Over<'a>(&'a AtomicBool);

impl Drop for Over<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::SeqCst);
    }
}

#[test]
fn each_session_is_of_one_version_and_none_is_of_a_version_before_the_acknowledged_one() {
    let test = FaultTest::begin(
        "T3",
        (100, "flips"),
        "no session at a backend that its version does not have; none of an older version once a \
         newer one is acknowledged; no shard goes back",
    );
    let plan = Plan::new(usize::try_from(BACKENDS).expect("few"), Script::Banner);
    let mut set = plan.in_memory().prepare();
    let addresses: Vec<_> = set.backends.iter().map(|it| it.address.to_string()).collect();
    let at = |version: u64| &*addresses[usize::try_from(version % BACKENDS).expect("few")];
    let only = format!("[pool.web.backend]\nx = {{ address = \"{}\" }}\n", at(1));
    let head = set.objects.split("[pool.web.backend]").next().expect("it begins with the others");
    set.weir.write(&format!("{head}{only}"));
    set.weir.run();
    let first = set.weir.version();
    assert_eq!(first, 1);
    let [from, to] = [AtomicU64::new(first), AtomicU64::new(first)];
    let (over, faults) = (AtomicBool::new(false), Mutex::default());
    let window = Window { from, to, over, faults };
    let sessions: u64 = std::thread::scope(|scope| {
        let stop = Over(&window.over);
        let clients: Vec<_> = (0..CLIENTS).map(|_| scope.spawn(|| come(&set, &window))).collect();
        for version in first + 1..=first + test.count {
            window.to.store(version, Ordering::SeqCst);
            let address = format!("address={}", at(version));
            let ran = set.weir.change(&["backend", "set", "web/x", &address]).expect_code(0);
            assert_eq!(set.weir.version(), version, "{ran}");
            window.from.store(version, Ordering::SeqCst);
            check_acknowledged(&set, version, version % LOOKED_AT == 0);
        }
        drop(stop);
        clients.into_iter().map(|client| client.join().expect("no client panics")).sum()
    });
    let faults = window.faults.into_inner().expect("no client panics");
    assert!(faults.is_empty(), "T3: {} of {sessions} sessions: {faults:?}", faults.len());
    let all = sessions + test.count;
    test.counted(&format!("{} flips, {all} sessions, 2 shards", test.count));
    let least = test.count * if test.is_long { SESSIONS_MIN } else { 1 };
    test.at_least(least, sessions, "sessions");
    test.passed();
}
