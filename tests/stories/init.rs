//! `weir init`: what it makes of configurations of the kind that people run, and whether weir then
//! does what HAProxy or nginx does with them, for the same clients and the same backends.
//!
//! The configurations are in tests/configurations. Beside each is what `weir init` prints;
//! `WEIR_WRITE_DOCS=1 just story init::` writes that again, and the difference is to be read.

mod haproxy;
mod nginx;
mod stage;

use std::path::PathBuf;
use std::process::Command;

use weir_tests::source;
use weir_tests::weir::{Dir, Ran, binary};

fn place() -> PathBuf {
    source::root().join("tests/configurations")
}

/// `weir init` of a file in `within`; the one that is all HTTP is relayed as TCP.
fn init(file: &str, within: &str) -> Ran {
    let mut command = Command::new(binary("weir", "WEIR_BIN"));
    command.args(["init", "--from", file]).current_dir(within);
    if file == "web.cfg" {
        command.arg("--http-as-tcp");
    }
    Ran::of(&mut command)
}

/// The names of the configurations.
fn files() -> Vec<String> {
    let entries = place().read_dir().expect("there are configurations");
    let names = entries.map(|it| it.expect("it can be read").file_name().into_string());
    let mut names: Vec<String> = names.map(|name| name.expect("a plain name")).collect();
    names.retain(|name| name.ends_with(".cfg") || name.ends_with(".conf"));
    names.sort();
    names
}

#[test]
fn each_configuration_makes_this_file_and_these_notes() {
    let dir = Dir::new();
    let within = place().display().to_string();
    for file in files() {
        let ran = init(&file, &within).expect_code(0);
        for (ending, text) in [("toml", &ran.stdout), ("notes", &ran.stderr)] {
            let path = place().join(format!("{file}.{ending}"));
            if std::env::var_os("WEIR_WRITE_DOCS").is_some() {
                std::fs::write(&path, text).expect("it can be written");
            }
            let expected = std::fs::read_to_string(&path).unwrap_or_default();
            assert!(*text == expected, "{} is not:\n{text}", path.display());
        }
        let made = dir.write(&format!("{file}.toml"), &ran.stdout);
        let mut check = Command::new(binary("weir", "WEIR_BIN"));
        let _ = Ran::of(check.args(["check", &made])).expect_code(0);
    }
}

#[test]
fn each_configuration_runs_on_both() {
    let stories = [include_str!("init/haproxy.rs"), include_str!("init/nginx.rs")].concat();
    let files = files();
    assert!(files.len() >= 20, "{} configurations", files.len());
    for file in files {
        assert!(stories.contains(&format!("file: {file:?}")), "no story runs {file}");
    }
}

#[test]
fn what_cannot_be_read_is_said_and_has_its_exit_code() {
    let dir = Dir::new();
    let within = dir.entry("");
    dir.write("http.cfg", "frontend a\n mode http\n bind :80\n");
    dir.write("bad.cfg", "bind :80\n");
    dir.write("empty.cfg", "");
    std::fs::create_dir(dir.path.join("directory")).expect("there is room");
    for (file, code, says) in [
        ("nowhere.cfg", 1, "error: cannot read nowhere.cfg: No such file"),
        ("directory", 1, "error: directory is a directory: name the file in it"),
        ("empty.cfg", 1, "empty.cfg:1: error: the file is empty"),
        ("bad.cfg", 1, "bad.cfg:1: error: `bind` is in no section"),
        ("http.cfg", 3, "http.cfg:1: warning: frontend a is in mode http and left out"),
    ] {
        let ran = init(file, &within).expect_code(code);
        assert!(ran.stderr.starts_with(says) && ran.stdout.is_empty(), "{ran}");
    }
    let mut bare = Command::new(binary("weir", "WEIR_BIN"));
    let _ = Ran::of(bare.arg("init")).expect_code(2);
}
