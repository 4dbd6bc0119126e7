//! `weirctl config edit`: an editor that is a script, with and without a terminal.

use std::os::fd::AsFd;
use std::process::{Command, Stdio};
use std::time::Duration;

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use serde_json::json;
use weir_tests::clock;
use weir_tests::net::Script;
use weir_tests::story::{Plan, Set};
use weir_tests::weir::ctl::Ran;

use crate::terminal::pseudo_terminal;

/// `config edit` with this script as the editor; `$1` is the file.
fn command(set: &Set, script: &str, flags: &[&str]) -> Command {
    let path = set.weir.dir.write("editor", script);
    let mut command = set.weir.command(&[&["config", "edit"], flags].concat());
    command.env("EDITOR", format!("/bin/sh {path}")).env_remove("VISUAL");
    command.env("TMPDIR", set.weir.dir.entry(""));
    command
}

fn edit(set: &Set, script: &str, flags: &[&str]) -> Ran {
    Ran::of(&mut command(set, script, flags))
}

/// The texts that were kept, and no others are left.
fn kept(set: &Set) -> Vec<String> {
    let entries = std::fs::read_dir(set.weir.dir.entry("")).expect("a directory");
    let mut texts = Vec::new();
    for path in entries.map(|entry| entry.expect("an entry").path()) {
        let name = path.file_name().and_then(|name| name.to_str()).unwrap_or_default();
        if name.starts_with("weir-") && name.ends_with(".toml") {
            texts.push(std::fs::read_to_string(&path).expect("it is ours"));
            std::fs::remove_file(&path).expect("it is ours");
        }
    }
    texts
}

#[test]
fn an_edited_configuration_is_one_change_of_the_version_that_was_edited() {
    let set = Plan::new(2, Script::Banner).start();
    set.weir.ok(&["backend", "weight", "web/b1", "7"]);
    let ran = edit(&set, "true", &[]).expect_code(0);
    assert!(ran.stderr.contains("nothing has changed"), "{ran}");
    assert_eq!((set.weir.version(), kept(&set).len()), (2, 0));
    let ran = edit(&set, "sed -i 's/round-robin/maglev/; s/weight = 7/weight = 9/' $1", &[]);
    assert!(ran.expect_code(0).stdout.contains("version 3"));
    assert_eq!(set.weir.json(&["pool", "show", "web"])["strategy"], "maglev");
    assert_eq!((set.weir.backend("web/b1")["weight"].clone(), kept(&set).len()), (json!(9), 0));
    let row = set.weir.json(&["config", "history", "--limit", "1"])["versions"][0].clone();
    assert!(row["summary"].as_str().is_some_and(|it| it.starts_with("edit: ")), "{row}");
    // It is the act of an operator: the file that was applied stays the one to be merged against.
    assert_eq!(set.weir.json(&["status"])["drift_keys"], 2);
    set.weir.ok(&["config", "apply", &set.weir.dir.entry("weir.toml")]);
    assert_eq!(set.weir.version(), 3);
    // Checked and not made.
    edit(&set, "sed -i s/maglev/random/ $1", &["--dry-run"]).expect_code(0);
    assert_eq!((set.weir.version(), kept(&set).len()), (3, 1));
}

#[test]
fn a_text_that_is_refused_is_kept() {
    let set = Plan::new(2, Script::Banner).start();
    let weight = |weight: u8| format!("{} backend weight web/b1 {weight}", ctl(&set));
    let meanwhile = format!("echo '# mine' >> $1; {}", weight(5));
    for (script, flags, code, words) in [
        ("echo 'nonsense = 1' >> $1", &[][..], 1, "nonsense must be a table"),
        ("echo > $1", &[], 2, "no listener would be left"),
        ("sed -i s/round-robin/random/ $1; exit 7", &[], 1, "exit status: 7"),
        (meanwhile.as_str(), &[], 7, "is at version 2, not 1"),
    ] {
        let ran = edit(&set, script, flags).expect_code(code);
        assert!(ran.stderr.contains(words), "{ran}");
        assert!(ran.stderr.contains("the text is kept in "), "{ran}");
        assert_eq!(kept(&set).len(), 1, "{script}");
    }
    let version = set.weir.version();
    let meanwhile = weight(6);
    for (script, flags, code) in [
        ("exit 1", &[][..], 1),
        ("true", &["--if-version", "1"], 7),
        // What somebody else does meanwhile is no matter if nothing is to change.
        (meanwhile.as_str(), &[], 0),
    ] {
        edit(&set, script, flags).expect_code(code);
        assert_eq!(kept(&set).len(), 0, "{script}");
    }
    assert_eq!(set.weir.version(), version + 1);
    let ran = Ran::of(command(&set, "true", &[]).env_remove("EDITOR")).expect_code(2);
    assert!(ran.stderr.contains("no terminal for an editor"), "{ran}");
    Ran::of(set.weir.command(&["config", "edit"]).env("VISUAL", "/nowhere/vi")).expect_code(1);
}

/// weirctl as a script calls it.
fn ctl(set: &Set) -> String {
    let command = set.weir.command(&[]);
    let words = core::iter::once(command.get_program()).chain(command.get_args());
    words.map(|word| word.to_string_lossy().into_owned()).collect::<Vec<_>>().join(" ")
}

#[test]
fn on_a_terminal_a_text_that_is_refused_can_be_edited_again() {
    let set = Plan::new(2, Script::Banner).start();
    let script = "if grep -q nonsense $1; then sed -i '/nonsense/d; s/round-robin/maglev/' $1\n\
                  else echo 'nonsense = 1' >> $1; fi";
    for (answer, code, version) in [("n\n", 1, 1), ("y\n", 0, 2)] {
        let (near, far) = pseudo_terminal();
        let end = || Stdio::from(far.try_clone().expect("a descriptor"));
        let mut command = command(&set, script, &[]);
        let mut child =
            command.stdin(end()).stdout(end()).stderr(end()).spawn().expect("weirctl starts");
        let mut seen = String::new();
        let mut read = || {
            let mut ends = [PollFd::new(&near, PollFlags::IN)];
            let at_once = Timespec { tv_sec: 0, tv_nsec: 0 };
            if poll(&mut ends, Some(&at_once)).is_ok_and(|ready| ready > 0) {
                let mut bytes = [0; 4096];
                let count = rustix::io::read(near.as_fd(), &mut bytes).unwrap_or(0);
                seen += &String::from_utf8_lossy(&bytes[..count]);
            }
            seen.contains("Edit it again?")
        };
        clock::wait_for("the question", &mut read);
        rustix::io::write(near.as_fd(), answer.as_bytes()).expect("an answer");
        let status = clock::wait_within(Duration::from_secs(60), "weirctl to end", || {
            read();
            child.try_wait().expect("it is our child")
        });
        assert!(seen.contains("nonsense must be a table"), "{seen}");
        assert_eq!((status.code(), set.weir.version()), (Some(code), version), "{seen}");
        assert_eq!(kept(&set).len(), usize::from(code == 1), "{seen}");
    }
    assert_eq!(set.weir.json(&["pool", "show", "web"])["strategy"], "maglev");
}
