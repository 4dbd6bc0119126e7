//! `kill -9` at any moment: what was acknowledged is there after the restart, nothing is invented.

use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use weir_tests::clock::{self, PATIENCE};
use weir_tests::net::{Script, noise, own_ip};
use weir_tests::story::{Plan, Set};
use weir_tests::weir::{Start, Weir};

/// What one writer knows about the weight of its backend.
#[derive(Clone, Copy, Debug)]
struct Written {
    /// The last weight that was acknowledged.
    acknowledged: u64,
    /// The weight whose request was on its way, if any: it may have become true or not.
    asked: u64,
    /// The version of the last acknowledgement.
    version: u64,
}

/// Sets one weight after the other until weir is gone.
fn write_on(set: &Set, backend: &str, written: &Mutex<Written>, stop: &AtomicBool) {
    while !stop.load(Ordering::SeqCst) {
        let weight = {
            let mut written = written.lock().expect("no writer panics");
            written.asked = written.acknowledged % 250 + 1;
            written.asked
        };
        let arguments = ["-o", "json", "backend", "weight", backend, &weight.to_string()];
        let ran = set.weir.ctl(&arguments);
        if ran.code == 0 {
            let mut written = written.lock().expect("no writer panics");
            written.acknowledged = weight;
            written.version = ran.json()["version"].as_u64().expect("a version");
        }
    }
}

/// Every acknowledged weight is there, and the versions have no gap.
fn check(set: &Set, all: &[Mutex<Written>]) {
    for (index, written) in all.iter().enumerate() {
        let name = format!("web/b{}", index + 1);
        let weight = set.weir.backend(&name)["weight"].as_u64().expect("a weight");
        let mut written = written.lock().expect("no writer panics");
        let possible = [written.acknowledged, written.asked];
        assert!(possible.contains(&weight), "{name} has weight {weight}, written: {written:?}");
        written.acknowledged = weight;
    }
    let history = set.weir.json(&["config", "history"]);
    let rows = history["versions"].as_array().expect("a list");
    let versions: Vec<u64> =
        rows.iter().map(|row| row["version"].as_u64().expect("a number")).collect();
    assert!(versions.windows(2).all(|pair| pair[0] == pair[1] + 1), "gaps in {versions:?}");
    let newest = all.iter().map(|written| written.lock().expect("no writer panics").version);
    let newest = newest.max().unwrap_or(0);
    assert!(versions[0] >= newest, "{} is the newest, {newest} was acknowledged", versions[0]);
    assert_eq!(versions[0], set.weir.version());
}

#[test]
fn acknowledged_changes_survive_twenty_five_kills() {
    const KILLS: u64 = 25;
    let mut set = Plan::new(2, Script::Banner).start();
    let one = Written { acknowledged: 1, asked: 1, version: 0 };
    let all = [Mutex::new(one), Mutex::new(one)];
    for round in 0..KILLS {
        let stop = AtomicBool::new(false);
        std::thread::scope(|scope| {
            let (set, all, stop) = (&set, &all, &stop);
            for (index, written) in all.iter().enumerate() {
                let name = format!("web/b{}", index + 1);
                scope.spawn(move || write_on(set, &name, written, stop));
            }
            // A random moment: 20 to 147 ms after the start of the writers.
            let moment = u64::from(noise(round, 1)[0] % 128);
            clock::park(Duration::from_millis(20 + moment));
            set.weir.signal(rustix::process::Signal::KILL);
            stop.store(true, Ordering::SeqCst);
        });
        set.weir.kill();
        set.weir.run();
        check(&set, &all);
        set.session().0.echo(b"it serves again").fin().expect_fin();
    }
    let written = all.iter().map(|written| written.lock().expect("no writer panics").version);
    assert!(written.max() > Some(KILLS), "too few changes to prove anything");
}

#[test]
fn the_file_does_not_come_back_over_what_was_changed_later() {
    let mut set = Plan::new(2, Script::Banner).start();
    set.weir.ok(&["backend", "remove", "web/b2"]);
    let bind = weir_tests::net::free(own_ip());
    set.weir.ok(&["listener", "add", "two", &bind.to_string(), "--pool", "web"]);
    let (version, exported) = (set.weir.version(), set.weir.ok(&["config", "export"]));
    set.weir.kill();
    set.weir.run();
    assert_eq!(set.weir.version(), version);
    assert_eq!(set.weir.ok(&["config", "export"]), exported);
    assert_eq!(set.spread(10, None), [10, 0]);
    let mut client = weir_tests::net::Peer::connect(bind);
    assert_eq!(client.line(), "b1", "the listener that was added is there");
}

/// The files of a state directory, largest first.
fn state_files(weir: &Weir) -> Vec<std::path::PathBuf> {
    let directory = weir.dir.path.join("state");
    let entries = std::fs::read_dir(directory).expect("the state directory is there");
    let mut files: Vec<_> = entries
        .filter_map(|entry| entry.ok().map(|entry| entry.path()))
        .filter(|path| path.is_file())
        .collect();
    let length = |path: &std::path::PathBuf| path.metadata().map_or(0, |data| data.len());
    files.sort_by_key(|path| std::cmp::Reverse(length(path)));
    files
}

#[test]
fn a_damaged_state_file_is_refused_with_a_way_out() {
    let mut set = Plan::new(1, Script::Banner).start();
    set.weir.ok(&["backend", "weight", "web/b1", "9"]);
    set.weir.kill();
    let file = state_files(&set.weir).remove(0);
    let length = usize::try_from(file.metadata().expect("it is there").len()).expect("small");
    std::fs::write(&file, noise(1, length)).expect("the file can be written");
    set.weir.spawn();
    assert_eq!(set.weir.wait_exit(PATIENCE), 1);
    clock::wait_for("the reason", || set.weir.log().contains(&*file.to_string_lossy()));
    assert!(set.weir.log().contains("hint"), "no way out in: {}", set.weir.log());
    assert_eq!(std::fs::read(&file).expect("it is there"), noise(1, length), "left as it was");
}

#[test]
fn an_empty_or_truncated_state_file_is_not_an_empty_configuration() {
    let mut set = Plan::new(1, Script::Banner).start();
    set.weir.kill();
    let file = state_files(&set.weir).remove(0);
    let bytes = std::fs::read(&file).expect("it is there");
    // More of it may be without anything but free pages: then the state is whole, and is served.
    for length in [8192, 100] {
        std::fs::write(&file, &bytes[..length]).expect("the file can be written");
        set.weir.spawn();
        assert_eq!(set.weir.wait_exit(PATIENCE), 1, "with {length} of {} bytes", bytes.len());
        clock::wait_for("the reason", || set.weir.log().contains(&*file.to_string_lossy()));
    }
    std::fs::write(&file, &bytes).expect("the file can be written");
    set.weir.run();
    set.session().0.echo(b"whole again");
}

#[test]
fn a_second_weir_on_the_same_state_or_address_refuses_clearly() {
    let set = Plan::new(1, Script::Banner).start();
    // The same file: the same state directory, control socket, admin address and listener.
    let mut second = Weir::prepare(set.weir.web, &set.objects, Start::default());
    second.file.clone_from(&set.weir.file);
    second.spawn();
    assert_eq!(second.wait_exit(PATIENCE), 1);
    clock::wait_for("the reason", || !second.log().is_empty());
    // A state directory of its own, but the same listener's address.
    let mut third = Weir::prepare(set.weir.web, &set.objects, Start::default());
    third.spawn();
    assert_eq!(third.wait_exit(PATIENCE), 1);
    clock::wait_for("the address", || third.log().contains(&set.weir.web.to_string()));
    set.session().0.echo(b"the first one is not disturbed");
    set.weir.ok(&["status"]);
}

#[test]
fn a_stale_control_socket_does_not_stand_in_the_way() {
    let mut set = Plan::new(1, Script::Banner).start();
    set.weir.kill();
    assert!(std::path::Path::new(&set.weir.socket).exists(), "kill -9 leaves the socket");
    set.weir.ctl(&["status"]).expect_code(5);
    set.weir.run();
    set.weir.ok(&["status"]);
}

#[test]
fn a_process_that_is_killed_resets_what_it_cuts() {
    let mut set = Plan::new(1, Script::ByHand).start();
    let mut pairs: Vec<_> = (0..10).map(|_| set.pair()).collect();
    let bytes = noise(1, 10_000);
    for (client, server) in &mut pairs {
        // Half an answer, and half an upload.
        server.send(&bytes);
        client.expect(&bytes).send(&bytes);
        server.expect(&bytes);
    }
    set.weir.kill();
    for (client, server) in &mut pairs {
        client.expect_rst();
        server.expect_rst();
    }
}
