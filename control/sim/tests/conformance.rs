//! What the real ring does lies inside the simulated kernel's model: a hundred scripts in every
//! test run, in a network namespace if there is one; `weir-sim --conform 10000` is the long one.

use std::process::Command;

#[test]
fn what_the_real_ring_does_lies_inside_the_model() {
    let mut command = Command::new(env!("CARGO_BIN_EXE_weir-sim"));
    let output = command.args(["--conform", "100"]).output().expect("weir-sim runs");
    let said = String::from_utf8_lossy(&output.stdout);
    let error = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{said}\n{error}");
}
