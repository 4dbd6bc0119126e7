//! Who may name whom (docs/architecture.md, Layout). Imports only go down the list.
//!
//! The sources are read as text: comments and strings do not count, every path does.

use weir_tests::source::{self, File, Violation, code_only, expect_none, line_of, words};

/// Each crate's sources, and the crates of weir that they may name. What is in no row is free to
/// see everything (tests, benches).
const CRATES: &[(&str, &[&str])] = &[
    ("shared-proto/src/", &[]),
    ("engine/core/src/", &["weir_proto"]),
    ("engine/src/", &["weir_proto", "weir_core"]),
    // It tests the whole: nothing names it, so it may name everything.
    ("engine/sim/src/", &["weir_proto", "weir_core", "weir_engine", "weir_control", "weir_sim"]),
    ("control/daemon/src/main.rs", &["weir_control"]),
    ("control/daemon/src/", &["weir_proto", "weir_core", "weir_engine"]),
    ("control/cli/src/", &["weir_proto"]),
];

const WEIR: &[&str] =
    &["weir_proto", "weir_core", "weir_engine", "weir_control", "weir_sim", "weir_tests"];

/// Each module of the engine, and the modules beside it that it may name. `shard` is generic over
/// `Io` and must not know which one it has; only the door (lib.rs and start.rs) joins them.
const ENGINE: &[(&str, &[&str])] = &[
    ("io", &[]),
    ("sys", &["io"]),
    ("ring", &["io", "sys"]),
    ("failpoint", &["sys"]),
    ("heartbeat", &["failpoint", "sys"]),
    ("mailbox", &["heartbeat", "sys"]),
    ("shard", &["io", "mailbox"]),
    ("start", &["io", "mailbox", "ring", "shard", "sys"]),
];

/// A word that has its place, and nowhere else: word, places (prefixes of paths), why.
const PLACES: &[(&str, &[&str], &str)] = &[
    ("io_uring", &["engine/src/ring.rs", "engine/src/ring/", "benches/"], "the kernel's side"),
    ("glommio", &["control/daemon/src/rt.rs", "control/daemon/src/rt/"], "the seam of 60 lines"),
    ("tokio", &[], "no second executor"),
    ("bincode", &["shared-proto/src/frame.rs"], "the one codec module"),
    (
        "unsafe",
        &[
            "engine/src/ring.rs",
            "engine/src/ring/",
            "engine/src/sys.rs",
            "engine/src/sys/",
            "engine/src/mailbox.rs",
            "benches/src/sys.rs",
            "benches/src/sys/",
            "benches/src/ring.rs",
            "benches/src/ring/",
        ],
        "where the kernel is",
    ),
];

/// What is in the process that serves, and where a word of [`STREAMS`] may be in it. A write to a
/// standard stream can wait for ever, and `println!` panics when it fails: the log's thread alone
/// may meet that (docs/adr/0020). The simulator has no log, since the log is the process's: this
/// is what holds that control cannot wait for one.
const SILENT: &[(&str, &[&str])] = &[
    ("shared-proto/src/", &[]),
    ("engine/core/src/", &[]),
    ("engine/src/", &[]),
    ("control/daemon/src/", &["control/daemon/src/streams.rs"]),
    // It serves nobody, but a reader that leaves must not make it panic.
    ("control/cli/src/", &["control/cli/src/main.rs", "control/cli/src/top.rs"]),
];

/// Words that write to a standard stream, with what follows them.
const STREAMS: &[(&str, &str)] = &[
    ("print", "!"),
    ("println", "!"),
    ("eprint", "!"),
    ("eprintln", "!"),
    ("dbg", "!"),
    ("stdout", "()"),
    ("stderr", "()"),
    ("sd_notify", "::"),
];

fn crates(file: &File) -> Vec<Violation> {
    let row = CRATES.iter().find(|(prefix, _)| file.path.starts_with(prefix));
    let Some((prefix, allowed)) = row else { return Vec::new() };
    let code = code_only(&file.text);
    let mut violations = Vec::new();
    for name in WEIR.iter().filter(|name| !allowed.contains(name)) {
        for at in words(&code, name) {
            let what = format!("{prefix} may not name {name}; it may name {allowed:?}");
            violations.push(Violation::new(&file.path, line_of(&code, at), what));
        }
    }
    violations
}

/// The module of the engine that a file belongs to, and how deep it is in it.
fn engine_module(path: &str) -> Option<(&str, usize)> {
    let steps: Vec<&str> = path.strip_prefix("engine/src/")?.split('/').collect();
    let module = steps.first()?.trim_end_matches(".rs");
    (module != "lib").then_some((module, steps.len()))
}

fn engine(file: &File) -> Vec<Violation> {
    let Some((module, depth)) = engine_module(&file.path) else { return Vec::new() };
    let Some((_, allowed)) = ENGINE.iter().find(|(name, _)| *name == module) else {
        let what = format!("{module} is not in the table of layers.rs: give it its place");
        return vec![Violation::new(&file.path, 0, what)];
    };
    let code = code_only(&file.text);
    let mut named = after_path(&code, "crate");
    // From the top of a module one `super` is the crate, one deeper it takes two, and so on.
    let supers = vec!["super"; depth].join("::");
    named.extend(after_path(&code, &supers));
    let mut violations = Vec::new();
    for (name, at) in named {
        let known = ENGINE.iter().any(|(module, _)| *module == name);
        if known && name != module && !allowed.contains(&name.as_str()) {
            let what = format!("{module} may not name {name}; it may name {allowed:?}");
            violations.push(Violation::new(&file.path, line_of(&code, at), what));
        }
    }
    violations
}

/// What stands after `path::`, also in braces: `crate::{io::Io, ring}` gives io and ring.
fn after_path(code: &str, path: &str) -> Vec<(String, usize)> {
    let mut found = Vec::new();
    for at in words(code, path) {
        let Some(rest) = code[at + path.len()..].trim_start().strip_prefix("::") else { continue };
        let rest = rest.trim_start();
        match rest.strip_prefix('{') {
            None => found.push((first_word(rest), at)),
            Some(group) => found.extend(group_heads(group).into_iter().map(|name| (name, at))),
        }
    }
    found
}

fn first_word(text: &str) -> String {
    text.chars().take_while(|letter| letter.is_alphanumeric() || *letter == '_').collect()
}

/// The first word of each entry of a `{…}` group, whose opening brace is gone.
fn group_heads(group: &str) -> Vec<String> {
    let mut heads = vec![first_word(group.trim_start())];
    let mut depth = 1;
    for (at, letter) in group.char_indices() {
        match letter {
            '{' => depth += 1,
            '}' if depth == 1 => break,
            '}' => depth -= 1,
            ',' if depth == 1 => heads.push(first_word(group[at + 1..].trim_start())),
            _ => {}
        }
    }
    heads
}

fn places(file: &File) -> Vec<Violation> {
    let code = code_only(&file.text);
    let mut violations = Vec::new();
    for (word, allowed, why) in PLACES {
        if allowed.iter().any(|place| file.path.starts_with(place)) {
            continue;
        }
        for at in words(&code, word) {
            let place = allowed.first().unwrap_or(&"no file");
            let what = format!("`{word}` has its place in {place} ({why})");
            violations.push(Violation::new(&file.path, line_of(&code, at), what));
        }
    }
    violations
}

fn streams(file: &File) -> Vec<Violation> {
    let row = SILENT.iter().find(|(prefix, _)| file.path.starts_with(prefix));
    let Some((_, allowed)) = row else { return Vec::new() };
    let code = code_only(&file.text);
    let mut violations = Vec::new();
    for (word, follows) in STREAMS {
        let is_macro = *follows == "!"; // which panics: nowhere
        if !is_macro && allowed.contains(&file.path.as_str()) {
            continue;
        }
        for at in words(&code, word) {
            if code[at + word.len()..].starts_with(follows) {
                let what = format!("{word}{follows} can wait for ever: use tracing, or streams.rs");
                violations.push(Violation::new(&file.path, line_of(&code, at), what));
            }
        }
    }
    violations
}

fn all(rule: fn(&File) -> Vec<Violation>) {
    let files = source::files();
    let rust = files.iter().filter(|file| file.path.ends_with(".rs"));
    expect_none(&rust.flat_map(rule).collect::<Vec<_>>());
}

#[test]
fn crates_name_only_what_is_below_them() {
    all(crates);
}

#[test]
fn modules_of_the_engine_name_only_what_is_below_them() {
    all(engine);
}

#[test]
fn kernel_executor_codec_and_unsafe_have_one_place_each() {
    all(places);
}

#[test]
fn the_process_that_serves_prints_nothing() {
    all(streams);
}

/// The other half: each rule finds what is planted, and lets the good neighbour be.
mod planted {
    use super::*;

    const NONE: [usize; 0] = [];

    fn lines(rule: fn(&File) -> Vec<Violation>, path: &str, text: &str) -> Vec<usize> {
        let file = File { path: path.to_owned(), text: text.to_owned(), runnable: false };
        rule(&file).iter().map(|violation| violation.line).collect()
    }

    #[test]
    fn a_crate_that_looks_up() {
        let text = "// weir_engine\nuse weir_proto::ids;\nlet x = weir_core::pick();\n";
        assert_eq!(lines(crates, "control/cli/src/ask.rs", text), [3]);
        assert_eq!(lines(crates, "engine/core/src/pick.rs", text), [3]);
        assert_eq!(lines(crates, "shared-proto/src/ids.rs", text), [2, 3]);
        assert_eq!(lines(crates, "engine/src/shard.rs", text), NONE);
        let text = "use weir_control::planner;\n";
        assert_eq!(lines(crates, "engine/src/shard.rs", text), [1]);
        assert_eq!(lines(crates, "control/daemon/src/main.rs", text), NONE);
        assert_eq!(lines(crates, "engine/sim/src/lib.rs", text), NONE);
        assert_eq!(lines(crates, "benches/src/main.rs", text), NONE);
    }

    #[test]
    fn a_module_that_looks_up() {
        let path = "engine/src/shard/accept.rs";
        assert_eq!(lines(engine, path, "use crate::io::Io;\nuse crate::ring::Ring;\n"), [2]);
        assert_eq!(lines(engine, path, "use crate::{io::{Io, Op}, mailbox, ring};\n"), [1]);
        assert_eq!(lines(engine, path, "fn f() {\n    super::super::ring::go();\n}\n"), [2]);
        assert_eq!(lines(engine, "engine/src/ring.rs", "use crate::shard::Shard;\n"), [1]);
        assert_eq!(lines(engine, "engine/src/ring/cqe.rs", "use crate::io::Token;\n"), NONE);
        assert_eq!(lines(engine, "engine/src/lib.rs", "use crate::{ring, shard};\n"), NONE);
        assert_eq!(lines(engine, "engine/src/clever.rs", ""), [0], "it is not in the table");
    }

    #[test]
    fn a_word_out_of_its_place() {
        let text = "use io_uring::opcode;\nunsafe { f() }\n// glommio\nuse glommio::Task;\n";
        assert_eq!(lines(places, "engine/src/ring/sqe.rs", text), [4]);
        assert_eq!(lines(places, "control/daemon/src/rt.rs", text), [1, 2]);
        assert_eq!(lines(places, "control/cli/src/ask.rs", "use bincode::config;\n"), [1]);
        assert_eq!(lines(places, "shared-proto/src/frame.rs", "use bincode::config;\n"), NONE);
        assert_eq!(lines(places, "engine/src/lib.rs", "#![deny(unsafe_code)]\n"), NONE);
    }

    #[test]
    fn a_word_to_a_standard_stream() {
        let text = "// println!()\nprintln!(\"eprintln!()\");\nlet e = io::stderr().lock();\n\
                    command.stderr(Stdio::null());\nfn print() {}\neprint!();\n";
        for path in ["control/daemon/src/serve.rs", "engine/src/shard.rs", "control/cli/src/run.rs"]
        {
            assert_eq!(lines(streams, path, text), [2, 6, 3], "{path}");
        }
        assert_eq!(lines(streams, "control/daemon/src/streams.rs", text), [2, 6]);
        assert_eq!(lines(streams, "engine/sim/src/main.rs", text), NONE);
        assert_eq!(lines(streams, "tests/stories/log.rs", text), NONE);
    }
}
