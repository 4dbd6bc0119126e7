//! `weir-sim --conform`: the conformance run, on a loopback of its own.

use std::process::{Command, ExitCode};

use weir_engine_sim::conform::Conformance;

/// Set in the environment of the process that has a network namespace of its own.
const ISOLATED: &str = "WEIR_SIM_ISOLATED";

/// So many scripts meet resets, cancels, empty rings of buffers and full sockets.
const ENOUGH: u64 = 100;

/// Runs N scripts from `start` on; all must be explained.
pub(crate) fn run(start: u64, scripts: u64) -> ExitCode {
    isolated().unwrap_or_else(|| here(start, scripts))
}

/// This command again in a network namespace of its own, if one is available: its loopback is
/// nobody else's. `None`: here and now.
fn isolated() -> Option<ExitCode> {
    if std::env::var_os(ISOLATED).is_some() {
        return None;
    }
    let with = |then: &str| {
        let mut command = Command::new("unshare");
        // Root stays root: its rings are not counted towards RLIMIT_MEMLOCK.
        if !rustix::process::geteuid().is_root() {
            command.arg("--map-root-user");
        }
        command.args(["--net", "sh", "-c"]);
        command.arg(format!("ip link set lo up && {then}"));
        command
    };
    if !with("true").output().is_ok_and(|output| output.status.success()) {
        println!("no network namespace to be had: on this host's loopback");
        return None;
    }
    let own = std::env::current_exe().ok()?;
    let mut command = with("exec \"$0\" \"$@\"");
    let status =
        command.arg(own).args(std::env::args().skip(1)).env(ISOLATED, "1").status().ok()?;
    Some(if status.success() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// Scripts on the real ring; all must be explained.
fn here(start: u64, scripts: u64) -> ExitCode {
    let (mut conformance, mut failed) = (Conformance::default(), 0u64);
    let clock = super::start();
    for seed in start..start.saturating_add(scripts) {
        if let Err(what) = conformance.run(seed) {
            failed += 1;
            println!("{what}\n");
        }
    }
    let took = clock.elapsed();
    let covered = conformance.covered;
    println!("scripts={} failed={failed} took_s={:.1} {covered:?}", scripts, took.as_secs_f64());
    if scripts >= ENOUGH && !covered.is_enough() {
        println!(
            "these scripts hardly do anything, or this machine is too busy: the run says nothing"
        );
        return ExitCode::FAILURE;
    }
    if failed == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}
