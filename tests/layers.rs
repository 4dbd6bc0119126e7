//! Who may name whom (docs/architecture.md, Layout). Imports only go down the list.
//!
//! The sources are read as text: comments and strings do not count, every path does.

use std::collections::{BTreeMap, BTreeSet};

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

/// A module, and the modules beside it that it may name.
type Row = (&'static str, &'static [&'static str]);

/// A crate whose modules have layers: its sources, a row for each module, and whether tests obey
/// the rows, too.
struct Layers {
    root: &'static str,
    rows: &'static [Row],
    with_tests: bool,
}

const LAYERED: &[Layers] = &[
    Layers { root: "engine/src/", rows: ENGINE, with_tests: true },
    // A test of the prober has a disk, one of the API a whole process.
    Layers { root: "control/daemon/src/", rows: CONTROL, with_tests: false },
];

/// `shard` is generic over `Io` and must not know which one it has; only the door (lib.rs and
/// start.rs) joins them.
const ENGINE: &[Row] = &[
    ("io", &[]),
    ("sys", &["io"]),
    ("ring", &["io", "sys"]),
    ("failpoint", &["sys"]),
    ("heartbeat", &["failpoint", "sys"]),
    ("mailbox", &["heartbeat", "sys"]),
    ("shard", &["io", "mailbox"]),
    ("start", &["io", "mailbox", "ring", "shard", "sys"]),
];

/// Modules that decide are below those that act; `start` joins them. `watchdog` and `fallback` need
/// nothing of `serve`: they are there when it has died.
const CONTROL: &[Row] = &[
    ("aggregate", &[]),
    ("file", &[]),
    ("json", &[]),
    ("leases", &[]),
    ("limits", &[]),
    ("listen", &[]),
    ("paths", &[]),
    ("rollout", &[]),
    ("rt", &[]),
    ("streams", &[]),
    ("systemd", &[]),
    ("events", &["rt"]),
    ("health", &["rt"]),
    ("planner", &["file"]),
    ("signals", &["rt"]),
    ("store", &["paths"]),
    (
        "control",
        &["aggregate", "events", "health", "leases", "listen", "planner", "rollout", "rt", "store"],
    ),
    ("log", &["control", "rt", "streams"]),
    ("watchdog", &["control", "listen", "rt"]),
    ("failpoint", &["watchdog"]),
    ("fallback", &["control", "leases", "listen", "rt", "signals", "systemd", "watchdog"]),
    (
        "serve",
        &[
            "aggregate",
            "control",
            "failpoint",
            "file",
            "health",
            "planner",
            "rt",
            "signals",
            "systemd",
        ],
    ),
    ("api", &["aggregate", "control", "file", "json", "paths", "rt", "serve"]),
    ("check", &["api", "file", "streams"]),
    ("demo", &["file", "streams"]),
    ("doctor", &["file", "limits", "listen", "rt", "streams"]),
    (
        "start",
        &[
            "api",
            "check",
            "control",
            "failpoint",
            "fallback",
            "file",
            "health",
            "limits",
            "listen",
            "log",
            "planner",
            "rt",
            "serve",
            "signals",
            "store",
            "streams",
            "systemd",
            "watchdog",
        ],
    ),
];

/// Crates in which no module may lead back to itself. Those of [`LAYERED`] are among them.
const ACYCLIC: &[&str] = &[
    "shared-proto/src/",
    "engine/core/src/",
    "engine/src/",
    "engine/sim/src/",
    "control/daemon/src/",
    "control/cli/src/",
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

/// The module of a crate that a file belongs to, and how deep it is in it. The crate's own file
/// (lib.rs, main.rs) belongs to none: it joins them.
fn module_of<'a>(root: &str, path: &'a str) -> Option<(&'a str, usize)> {
    let steps: Vec<&str> = path.strip_prefix(root)?.split('/').collect();
    let module = steps.first()?.trim_end_matches(".rs");
    (!["lib", "main"].contains(&module)).then_some((module, steps.len()))
}

/// The words that a file at this depth has after the path of its crate, with their places.
fn named_beside(code: &str, depth: usize) -> Vec<(String, usize)> {
    let mut named = after_path(code, "crate");
    // From the top of a module one `super` is the crate, one deeper it takes two, and so on.
    let supers = vec!["super"; depth].join("::");
    named.extend(after_path(code, &supers));
    named
}

/// The code of a file without its tests: `tests.rs`, `tests/`, and a `mod tests` at the end.
fn code_without_tests(file: &File) -> String {
    let is_test = |step: &str| step == "tests" || step == "tests.rs";
    if file.path.split('/').any(is_test) {
        return String::new();
    }
    let mut code = code_only(&file.text);
    let tests = words(&code, "tests").into_iter().find(|at| {
        let before = code[..*at].trim_end();
        before.ends_with("mod") && code[at + "tests".len()..].trim_start().starts_with('{')
    });
    code.truncate(tests.unwrap_or(code.len()));
    code
}

fn layers(file: &File) -> Vec<Violation> {
    let Some(of) = LAYERED.iter().find(|of| is_source(of.root, &file.path)) else {
        return Vec::new();
    };
    let Some((module, depth)) = module_of(of.root, &file.path) else { return Vec::new() };
    let Some((_, allowed)) = of.rows.iter().find(|(name, _)| *name == module) else {
        let what = format!("{module} is not in the table of layers.rs: give it its place");
        return vec![Violation::new(&file.path, 0, what)];
    };
    let code = if of.with_tests { code_only(&file.text) } else { code_without_tests(file) };
    let mut violations = Vec::new();
    for (name, at) in named_beside(&code, depth) {
        let known = of.rows.iter().any(|(module, _)| *module == name);
        if known && name != module && !allowed.contains(&name.as_str()) {
            let what = format!("{module} may not name {name}; it may name {allowed:?}");
            violations.push(Violation::new(&file.path, line_of(&code, at), what));
        }
    }
    violations
}

/// True if `path` is a Rust source of the crate at `root`.
fn is_source(root: &str, path: &str) -> bool {
    path.starts_with(root) && path.ends_with(".rs")
}

/// Which modules of a crate each module names.
type Edges = BTreeMap<String, BTreeSet<String>>;

/// Returns a violation if a module of the crate at `root` leads back to itself.
fn cycles(root: &str, files: &[File]) -> Vec<Violation> {
    let sources = files.iter().filter(|file| is_source(root, &file.path));
    let of_modules = sources.filter_map(|file| Some((file, module_of(root, &file.path)?)));
    let of_modules: Vec<_> = of_modules.collect();
    let modules: BTreeSet<&str> = of_modules.iter().map(|(_, (module, _))| *module).collect();
    let mut edges = Edges::new();
    for (file, (module, depth)) in &of_modules {
        let named = named_beside(&code_without_tests(file), *depth).into_iter();
        let beside = named.map(|(name, _)| name);
        let beside = beside.filter(|name| name != module && modules.contains(name.as_str()));
        edges.entry((*module).to_owned()).or_default().extend(beside);
    }
    let is_in_cycle = |module: &&String| reaches(&edges, module, module);
    let inside: Vec<&String> = edges.keys().filter(is_in_cycle).collect();
    if inside.is_empty() {
        return Vec::new();
    }
    vec![Violation::new(root, 0, format!("these modules lead back to themselves: {inside:?}"))]
}

/// True if `from` names `to`, or something that does.
fn reaches(edges: &Edges, from: &str, to: &str) -> bool {
    let mut seen = BTreeSet::new();
    let mut open = vec![from];
    while let Some(module) = open.pop() {
        for next in edges.get(module).into_iter().flatten() {
            if next == to {
                return true;
            }
            if seen.insert(next) {
                open.push(next);
            }
        }
    }
    false
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
fn modules_name_only_what_is_below_them() {
    all(layers);
}

#[test]
fn no_module_leads_back_to_itself() {
    let files = source::files();
    let found: Vec<_> = ACYCLIC.iter().flat_map(|root| cycles(root, &files)).collect();
    expect_none(&found);
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
        assert_eq!(lines(layers, path, "use crate::io::Io;\nuse crate::ring::Ring;\n"), [2]);
        assert_eq!(lines(layers, path, "use crate::{io::{Io, Op}, mailbox, ring};\n"), [1]);
        assert_eq!(lines(layers, path, "fn f() {\n    super::super::ring::go();\n}\n"), [2]);
        assert_eq!(lines(layers, "engine/src/ring.rs", "use crate::shard::Shard;\n"), [1]);
        assert_eq!(lines(layers, "engine/src/ring/cqe.rs", "use crate::io::Token;\n"), NONE);
        assert_eq!(lines(layers, "engine/src/lib.rs", "use crate::{ring, shard};\n"), NONE);
        assert_eq!(lines(layers, "engine/src/clever.rs", ""), [0], "it is not in the table");
    }

    #[test]
    fn a_module_of_control_that_looks_up() {
        let path = "control/daemon/src/serve/change.rs";
        assert_eq!(lines(layers, path, "use crate::rt;\nuse crate::api::socket::Door;\n"), [2]);
        assert_eq!(lines(layers, path, "use crate::{control, start};\n"), [1]);
        assert_eq!(lines(layers, path, "super::super::log::say();\n"), [1]);
        let path = "control/daemon/src/watchdog.rs";
        assert_eq!(lines(layers, path, "use crate::control::Fleet;\n"), NONE);
        assert_eq!(lines(layers, path, "use crate::serve::Shared;\n"), [1]);
        let text = "use crate::rt;\n#[cfg(test)]\nmod tests {\n    use crate::serve::Shared;\n}\n";
        assert_eq!(lines(layers, path, text), NONE, "a test may");
        assert_eq!(lines(layers, "control/daemon/src/serve/tests.rs", "use crate::api;\n"), NONE);
        assert_eq!(lines(layers, "control/daemon/src/lib.rs", "use crate::start;\n"), NONE);
        assert_eq!(lines(layers, "control/daemon/src/new.rs", ""), [0], "it is not in the table");
    }

    #[test]
    fn modules_that_lead_back_to_themselves() {
        let file = |path: &str, text: &str| File {
            path: path.to_owned(),
            text: text.to_owned(),
            runnable: false,
        };
        let a = file("control/cli/src/a.rs", "use crate::b::B;\n");
        let b = file("control/cli/src/b/deep.rs", "use super::super::c::C;\n");
        let c = file("control/cli/src/c.rs", "use crate::{a::A, d};\n");
        let d = file(
            "control/cli/src/d.rs",
            "use crate::e;\n#[cfg(test)]\nmod tests { use crate::d; }",
        );
        let e = file("control/cli/src/e.rs", "// crate::d\nuse crate::e::deep;\n");
        let root = file("control/cli/src/main.rs", "use crate::a;\n");
        let found = cycles("control/cli/src/", &[a.clone(), b.clone(), c, d, e, root]);
        assert_eq!(found.len(), 1);
        assert!(found[0].what.ends_with("[\"a\", \"b\", \"c\"]"), "{}", found[0].what);
        assert_eq!(cycles("control/cli/src/", &[a, b]), []);
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
