//! Namespaces of a story's own: the test starts itself again inside. There it may set sysctls, use
//! any port and mount file systems, beside whatever else runs on this host.

use std::process::Command;

use crate::weir::Ran;

/// Set inside.
const INSIDE: &str = "WEIR_STORY_INSIDE";

/// Runs `story` in a network namespace of its own, as its root, with loopback up and these sysctls
/// (file under /proc/sys/net/ipv4, value). `test` is the test's whole name, as `file::function`.
/// Says so and does nothing where this host has no namespace to give.
///
/// # Panics
/// If the story fails.
pub fn story(test: &str, sysctls: &[(&str, &str)], story: impl FnOnce()) {
    within(test, "--net", || {
        let up = Ran::of(Command::new("ip").args(["link", "set", "lo", "up"]));
        assert_eq!(up.code, 0, "{up}");
        for (name, value) in sysctls {
            set(name, value);
        }
        story();
    });
}

/// Runs `story` where it may mount file systems; otherwise as [`story`].
///
/// # Panics
/// If the story fails.
pub fn with_mounts(test: &str, story: impl FnOnce()) {
    within(test, "--mount", story);
}

fn within(test: &str, namespace: &str, story: impl FnOnce()) {
    if std::env::var_os(INSIDE).is_some() {
        return story();
    }
    // The namespace of users lets those in who are not root.
    let possible = Ran::of(Command::new("unshare").args([namespace, "--map-root-user", "true"]));
    if possible.code != 0 {
        eprintln!("void: no namespace ({namespace}) to be had here: {}", possible.stderr.trim());
        return;
    }
    let me = std::env::current_exe().expect("a test has a path");
    let mut command = Command::new("unshare");
    command.args([namespace, "--map-root-user"]).arg(me);
    let ran = Ran::of(command.args(["--exact", test, "--nocapture"]).env(INSIDE, "1"));
    eprintln!("{}", ran.stderr);
    assert_eq!(ran.code, 0, "{ran}");
    assert!(ran.stdout.contains("1 passed"), "{test} is not the name of a test: {ran}");
}

/// Sets a sysctl of this namespace.
///
/// # Panics
/// If it cannot be set.
pub fn set(name: &str, value: &str) {
    let path = format!("/proc/sys/net/ipv4/{name}");
    std::fs::write(&path, value).unwrap_or_else(|error| panic!("{path}: {error}"));
}
