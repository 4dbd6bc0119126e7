//! The disk fails while a change is made: it is refused and nothing has changed, or it is
//! acknowledged and durable. Traffic sees none of it, and the next change is taken once the disk
//! works again. (Each call with each error is a unit test of the store.)

use std::process::Command;

use weir_tests::clock;
use weir_tests::fault_test::FaultTest;
use weir_tests::namespace;
use weir_tests::net::Script;
use weir_tests::story::{Plan, Set};
use weir_tests::visitors::all_served_during;
use weir_tests::weir::Ran;

const FILES: [&str; 2] = ["state", "mark"];
const CALLS: [&str; 5] = ["write", "sync", "resize", "allocate", "read"];
const ERRORS: [&str; 6] = ["EIO", "ENOSPC", "EDQUOT", "EROFS", "short", "short-ENOSPC"];
/// Calls that still work before one fails.
const AFTER: [&str; 4] = ["0", "1", "3", "6"];
/// Faults from one kill of weir to the next.
const KILLED: u64 = 8;

/// One weir, and the changes that were made to it.
struct Operator {
    set: Set,
    /// Orders of this process.
    ordered: usize,
    weight: u64,
    version: u64,
    refused: u64,
    acknowledged: u64,
    kills: u64,
}

impl Operator {
    fn order(&mut self, order: &str) {
        self.set.weir.strike(&format!("store {order}"));
        self.ordered += 1;
        let is_heard = || self.set.weir.log().matches("failpoint: store").count() == self.ordered;
        clock::wait_for("the order", is_heard);
    }

    fn weigh(&self, weight: u64) -> Ran {
        self.set.weir.change(&["backend", "weight", "web/b1", &weight.to_string()])
    }

    fn weight_now(&self) -> u64 {
        self.set.weir.backend("web/b1")["weight"].as_u64().expect("a weight")
    }

    /// One change under a fault, and one after it. True if the second begins with a new process.
    fn change(&mut self, fault: &str, kill: bool) {
        self.order(fault);
        let weight = self.weight % 250 + 1;
        let ran = self.weigh(weight);
        let mut may_be = vec![self.weight];
        match ran.code {
            0 => {
                self.acknowledged += 1;
                may_be = vec![weight];
            }
            1 => {
                self.refused += 1;
                assert_eq!(self.weight_now(), self.weight, "{fault}: {ran}");
                if ran.stderr.contains("may be there") {
                    may_be.push(weight);
                }
            }
            _ => panic!("{fault}: {ran}"),
        }
        if kill {
            self.kills += 1;
            self.set.weir.kill();
            self.set.weir.run();
            self.ordered = 0;
            assert!(may_be.contains(&self.weight_now()), "{fault}: after a kill, {ran}");
        } else {
            self.order("heal");
        }
        let found = self.weight_now();
        self.version += u64::from(found != self.weight);
        assert_eq!(self.set.weir.version(), self.version, "{fault}: {ran}");
        self.weight = found % 250 + 1;
        self.version += 1;
        let _ = self.weigh(self.weight).expect_code(0);
        assert_eq!((self.weight_now(), self.set.weir.version()), (self.weight, self.version));
    }
}

#[test]
fn a_change_is_refused_or_durable_whatever_call_fails() {
    let mut test = FaultTest::begin(
        "T13",
        (24, "faults"),
        "each change is refused and changes nothing, or is acknowledged and durable; no client \
         fails; once the disk works again the next change is taken",
    );
    let set = Plan::new(1, Script::Banner).in_memory().failpoints().start();
    let version = set.weir.version();
    let (web, weight) = (set.weir.web, 1);
    let (refused, acknowledged, kills) = (0, 0, 0);
    let mut it = Operator { set, ordered: 0, weight, version, refused, acknowledged, kills };
    let (mut tried, mut visits) = (0, 0);
    while tried < test.count {
        // A kill is not for visitors: they come between two of them.
        visits += all_served_during(web, || {
            for _ in 1..KILLED.min(test.count - tried) {
                it.change(&fault(&mut test), false);
                tried += 1;
            }
        });
        it.change(&fault(&mut test), true);
        tried += 1;
    }
    test.counted(&format!(
        "{tried} faults: {} changes refused, {} acknowledged, {} kills, {visits} visits, 0 failed",
        it.refused, it.acknowledged, it.kills
    ));
    test.at_least(1, it.refused.min(it.acknowledged).min(it.kills), "of each outcome");
    test.at_least(tried, visits as u64, "visits");
    test.passed();
}

/// A fault that the seed chooses.
fn fault(test: &mut FaultTest) -> String {
    let mut pick = |all: &[&'static str]| {
        let index = test.draw(all.len() as u64);
        all[usize::try_from(index).expect("it is small")]
    };
    let (file, call, after) = (pick(&FILES), pick(&CALLS), pick(&AFTER));
    let (error, lasts) = (pick(&ERRORS), pick(&["once", "lasting"]));
    // The mark is one write and one sync.
    let after = if file == "mark" { "0" } else { after };
    let call = if file == "mark" && call != "sync" { "write" } else { call };
    format!("{file} {call} {after} {error} {lasts}")
}

/// Bytes of the file system that gets full.
const ROOM: &str = "size=2m,mode=700";

/// A file system of 2 MiB, which somebody else fills to the last byte and empties again.
#[test]
fn a_full_file_system_costs_no_acknowledged_change_and_no_client() {
    namespace::with_mounts(
        "disk_faults::a_full_file_system_costs_no_acknowledged_change_and_no_client",
        full,
    );
}

fn full() {
    let mut set = Plan::new(1, Script::Banner).prepare();
    let state = set.weir.dir.path.join("state");
    std::fs::create_dir(&state).expect("it can be made");
    let mut mount = Command::new("mount");
    mount.args(["-t", "tmpfs", "-o", ROOM, "none"]).arg(&state);
    let _ = Ran::of(&mut mount).expect_code(0);
    set.weir.run();
    let ballast = state.join("ballast");
    let (mut refused, mut taken) = (0_u32, 0_u32);
    let visits = all_served_during(set.weir.web, || {
        for round in 1..=3 {
            fill(&ballast);
            // They find room in the file that is there, or none.
            let (weight, file) = ((10 + round).to_string(), large(&set, round));
            let small = ["backend", "weight", "web/b1", &*weight];
            let apply = ["config", "apply", &*file, "--theirs", "--force"];
            for change in [&small[..], &apply] {
                let (before, ran) = (set.weir.version(), set.weir.ctl(change));
                let is_taken = ran.code == 0;
                let is_full = ran.code == 1 && ran.stderr.contains("No space left on device");
                assert!(is_taken || is_full, "{ran}");
                assert_eq!(set.weir.version(), before + u64::from(is_taken), "{ran}");
                (refused, taken) = (refused + u32::from(is_full), taken + u32::from(is_taken));
            }
            std::fs::remove_file(&ballast).expect("it is there");
            let version = set.weir.version();
            let other = large(&set, 10 + round);
            set.weir.ok(&["config", "apply", &other, "--theirs", "--force"]);
            assert_eq!(set.weir.version(), version + 1, "there is room again");
        }
    });
    assert!(refused > 0, "void: a full file system took {taken} changes");
    let (version, exported) = (set.weir.version(), set.weir.ok(&["config", "export"]));
    set.weir.kill();
    set.weir.run();
    assert_eq!((set.weir.version(), set.weir.ok(&["config", "export"])), (version, exported));
    eprintln!("T13: full: {refused} changes refused, {taken} taken, {visits} visits, 0 failed");
}

/// Writes a file until there is no room left.
fn fill(path: &std::path::Path) {
    use std::io::Write;
    let mut file = std::fs::File::create(path).expect("there is an entry");
    for size in [4096, 1] {
        while file.write_all(&[1; 4096][..size]).is_ok() {}
    }
}

/// A configuration with as many backends as a pool may have, nearly; each round others.
fn large(set: &Set, round: u64) -> String {
    let mut text = format!("{}\n[pool.many]\n[pool.many.backend]\n", set.objects);
    for number in 0..1_000 {
        let address = format!("10.{}.{}.{}:80", round, number / 250, number % 250 + 1);
        text += &format!("m{round}-{number} = {{ address = \"{address}\" }}\n");
    }
    set.weir.dir.write("many.toml", &set.weir.with_settings(&text))
}
