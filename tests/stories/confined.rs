//! weir where it may do less: under the filter of its unit, with a limited address space, on a
//! state that is mounted read-only.

use std::collections::BTreeSet;
use std::process::Command;

use weir_tests::clock::{self, PATIENCE};
use weir_tests::net::Script;
use weir_tests::source;
use weir_tests::story::Plan;
use weir_tests::weir::Ran;

/// The values of a key of packaging/weir.service.
fn unit(key: &str) -> String {
    let file = source::files().into_iter().find(|file| file.path == "packaging/weir.service");
    let text = file.expect("weir has a unit").text;
    let mut values = text.lines().filter_map(|line| line.strip_prefix(key)?.strip_prefix('='));
    let value = values.next().unwrap_or_else(|| panic!("the unit has no {key}")).to_owned();
    assert_eq!(values.next(), None, "{key} is there once");
    value
}

/// The calls of a set of systemd's, those of the sets in it included.
fn calls_of(set: &str) -> BTreeSet<String> {
    let ran = Ran::of(Command::new("systemd-analyze").args(["syscall-filter", set]));
    let words = ran.expect_code(0).stdout;
    let words = words.lines().skip(1).map(str::trim);
    let words = words.filter(|word| !word.is_empty() && !word.starts_with('#'));
    words
        .flat_map(|word| {
            if word.starts_with('@') { calls_of(word) } else { BTreeSet::from([word.to_owned()]) }
        })
        .collect()
}

/// The command that becomes another one under the unit's filter, `without` this call.
fn filter(without: &str) -> Vec<String> {
    assert_eq!(unit("SystemCallErrorNumber"), "EPERM");
    assert_eq!(unit("MemoryDenyWriteExecute"), "yes");
    // systemd itself allows @default beside what a list allows.
    let sets = format!("@default {}", unit("SystemCallFilter"));
    let mut calls: BTreeSet<String> = sets.split_whitespace().flat_map(calls_of).collect();
    assert!(calls.len() > 200, "{calls:?}");
    assert!(without.is_empty() || calls.remove(without), "{without} is in the filter");
    let calls: Vec<String> = calls.into_iter().collect();
    let families = unit("RestrictAddressFamilies").replace(' ', ",");
    let script = concat!(env!("CARGO_MANIFEST_DIR"), "/stories/unit_filter.py");
    ["python3", script, &calls.join(","), &families].map(str::to_owned).to_vec()
}

fn words(command: &[String]) -> Vec<&str> {
    command.iter().map(String::as_str).collect()
}

#[test]
fn the_filter_of_the_unit_lets_weir_do_all_of_its_work() {
    let mut set = Plan::new(2, Script::Banner).health("{ interval = \"100ms\" }").prepare();
    set.weir.under(&words(&filter("")));
    set.weir.run();
    let status = std::fs::read_to_string(format!("/proc/{}/status", set.weir.pid()));
    assert!(status.expect("weir runs").contains("\nSeccomp:\t2\n"), "it runs under a filter");
    set.weir.wait_state("web/b1", "up");
    set.session().0.echo(b"it relays").fin().expect_fin();
    // Each way to change something, and what it writes to the disk.
    set.weir.ok(&["backend", "drain", "web/b1"]);
    set.weir.ok(&["backend", "remove", "web/b1", "--force"]);
    set.weir.ok(&["listener", "drain", "web", "--yes"]);
    set.weir.ok(&["config", "rollback", "1", "--yes"]);
    let version = set.weir.version();
    let file = set.weir.with_settings(&set.objects).replace("round-robin", "random");
    set.weir.dir.write("weir.toml", &file);
    set.weir.signal(rustix::process::Signal::HUP);
    clock::wait_for("the new version", || set.weir.version() == version + 1);
    assert_eq!(set.weir.get("/readyz").status, 200);
    assert_eq!(set.weir.get("/metrics").status, 200);
    let (client, _) = set.session();
    set.weir.ok(&["stop", "--yes"]);
    drop(client);
    assert_eq!(set.weir.wait_exit(PATIENCE), 0);
    assert!(!set.weir.log().contains("not permitted"), "{}", set.weir.log());
}

/// The filter is one: without a call that weir needs, weir does not start, and says which.
#[test]
fn a_filter_without_io_uring_is_said_in_words() {
    let mut set = Plan::new(1, Script::Banner).prepare();
    set.weir.under(&words(&filter("io_uring_setup")));
    set.weir.spawn();
    assert_eq!(set.weir.wait_exit(PATIENCE), 1);
    let log = set.weir.log();
    assert!(log.contains("io_uring") && log.contains("hint: "), "{log}");
    assert!(!log.contains("panicked"), "{log}");
}

#[test]
fn a_limited_address_space_is_named_where_it_is_the_cause() {
    let mut set = Plan::new(1, Script::Banner).prepare();
    set.weir.under(&["prlimit", "--as=400000000"]);
    set.weir.spawn();
    assert_eq!(set.weir.wait_exit(PATIENCE), 1);
    let log = set.weir.log();
    assert!(log.contains("hint: take RLIMIT_AS away"), "{log}");
    set.weir.under(&[]);
    set.weir.run();
    set.session().0.echo(b"it serves").fin().expect_fin();
}

/// A mount is read-only for root, too.
#[test]
fn a_state_on_a_read_only_mount_is_served_and_changes_are_refused() {
    let mut set = Plan::new(1, Script::Banner).start();
    set.weir.ok(&["backend", "weight", "web/b1", "2"]);
    set.weir.kill();
    let mount = "mount --bind \"$0\" \"$0\" && mount -o remount,bind,ro \"$0\" && exec \"$@\"";
    let user = if rustix::process::geteuid().is_root() { &[][..] } else { &["--map-root-user"] };
    let state = set.weir.dir.entry("state");
    let mut words = [&["unshare", "--mount"][..], user].concat();
    words.extend(["sh", "-c", mount, &state]);
    let possible = Ran::of(Command::new(words[0]).args(&words[1..]).arg("true"));
    if possible.code != 0 {
        eprintln!("void: no mount namespace to be had here: {}", possible.stderr.trim());
        return;
    }
    set.weir.under(&words);
    set.weir.run();
    let log = set.weir.log();
    assert!(log.contains("the state cannot be written: "), "{log}");
    assert!(log.contains("Read-only file system"), "{log}");
    assert_eq!(set.weir.backend("web/b1")["weight"], 2);
    set.session().0.echo(b"it serves").fin().expect_fin();
    let refused = set.weir.ctl(&["backend", "weight", "web/b1", "3"]).expect_code(1);
    assert!(refused.stderr.contains("the state cannot be written"), "{refused}");
    set.weir.kill();
    set.weir.under(&[]);
    set.weir.run();
    set.weir.ok(&["backend", "weight", "web/b1", "3"]);
}
