//! Who may name whom (docs/architecture.md, Layout). Imports only go down the list.
//!
//! The sources are read as text: comments and strings do not count, every path does.

#[path = "layers/tables.rs"]
mod tables;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::LazyLock;

use tables::*;
use weir_tests::source::{self, File, Violation, code_only, expect_none, line_of, words};

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

fn pure(file: &File) -> Vec<Violation> {
    if !PURE.iter().any(|root| is_source(root, &file.path)) {
        return Vec::new();
    }
    let code = code_only(&file.text);
    let std = after_path(&code, "std").into_iter();
    let acting = std.filter(|(name, _)| ACTING.contains(&name.as_str()));
    let words = IMPURE.iter().flat_map(|word| {
        let places = words(&code, word).into_iter();
        places.map(|at| ((*word).to_owned(), at))
    });
    let found = acting.chain(words);
    let what = |name: &str| format!("{name} acts or reads a clock: hand it in, or hand it out");
    found.map(|(name, at)| Violation::new(&file.path, line_of(&code, at), what(&name))).collect()
}

/// The types whose machine this text declares.
fn machines_in(text: &str) -> Vec<String> {
    let bodies = text.split("machine! {").skip(1);
    let heads = bodies.filter_map(|body| body.split_once(" static ")?.1.split_once(": "));
    heads.map(|(_, rest)| first_word(rest)).collect()
}

/// The types whose machine is declared below each root of [`DECLARING`]: read once.
static DECLARED: LazyLock<BTreeMap<&str, BTreeSet<String>>> = LazyLock::new(|| {
    let files = source::files();
    let below = |root: &str| {
        let beside = files.iter().filter(|it| is_source(root, &it.path));
        beside.flat_map(|it| machines_in(&it.text)).collect()
    };
    DECLARING.iter().map(|root| (*root, below(root))).collect()
});

/// A state of a declared machine changes by `machine::enter`, which knows what is permitted.
fn states(file: &File) -> Vec<Violation> {
    let Some(root) = DECLARING.iter().find(|root| is_source(root, &file.path)) else {
        return Vec::new();
    };
    if RECORDING.contains(&file.path.as_str()) {
        return Vec::new();
    }
    let mut declared = DECLARED[root].clone();
    declared.extend(machines_in(&file.text));
    let code = code_without_tests(file);
    let mut violations = Vec::new();
    for (number, line) in code.lines().enumerate() {
        let is_new = ["let ", "const ", "static "].iter().any(|word| line.contains(word));
        let Some((_, value)) = line.split_once(" = ") else { continue };
        let of = first_word(value);
        let variant = value.strip_prefix(&format!("{of}::")).and_then(|it| it.chars().next());
        if !is_new && declared.contains(&of) && variant.is_some_and(char::is_uppercase) {
            let what = format!("a {of} is changed by machine::enter");
            violations.push(Violation::new(&file.path, number + 1, what));
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
fn the_core_of_control_acts_on_nothing() {
    all(pure);
}

#[test]
fn kernel_executor_codec_and_unsafe_have_one_place_each() {
    all(places);
}

#[test]
fn states_change_as_declared() {
    all(states);
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
        let text = "use weir_control::store;\n";
        assert_eq!(lines(crates, "engine/src/shard.rs", text), [1]);
        assert_eq!(lines(crates, "control/daemon/src/main.rs", text), NONE);
        assert_eq!(lines(crates, "engine/sim/src/lib.rs", text), [1]);
        assert_eq!(lines(crates, "control/sim/src/lib.rs", text), NONE);
        let text = "use weir_engine_sim::kernel;\nuse weir_sim::process;\n";
        assert_eq!(lines(crates, "engine/src/shard.rs", text), [1, 2]);
        assert_eq!(lines(crates, "engine/sim/src/driver.rs", text), [1, 2]);
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
        assert_eq!(lines(layers, path, "use crate::{rt, start};\n"), [1]);
        assert_eq!(lines(layers, path, "super::super::check::read();\n"), [1]);
        let path = "control/daemon/src/watchdog.rs";
        assert_eq!(lines(layers, path, "use crate::listen::bind_all;\n"), NONE);
        assert_eq!(lines(layers, path, "use crate::serve::Shared;\n"), [1]);
        let text = "use crate::rt;\n#[cfg(test)]\nmod tests {\n    use crate::serve::Shared;\n}\n";
        assert_eq!(lines(layers, path, text), NONE, "a test may");
        assert_eq!(lines(layers, "control/daemon/src/serve/tests.rs", "use crate::api;\n"), NONE);
        assert_eq!(lines(layers, "control/daemon/src/lib.rs", "use crate::start;\n"), NONE);
        assert_eq!(lines(layers, "control/daemon/src/new.rs", ""), [0], "it is not in the table");
        let path = "control/core/src/planner/pool.rs";
        assert_eq!(lines(layers, path, "use crate::file;\nuse crate::{control, fakes};\n"), [2, 2]);
    }

    #[test]
    fn a_core_that_acts() {
        let path = "control/core/src/control.rs";
        let text = "use std::{fs, time::Duration};\nuse std::net::{SocketAddr, TcpStream};\n\
                    // std::thread\nlet now = Instant::now();\nuse std::net::IpAddr;\n\
                    std::thread::spawn(f);\nasync fn f() {}\nuse std::io::Error;\n";
        let mut found = lines(pure, path, text);
        found.sort_unstable();
        assert_eq!(found, [1, 2, 4, 6, 7]);
        assert_eq!(lines(pure, "control/daemon/src/serve.rs", text), NONE);
        assert_eq!(lines(pure, "control/core/Cargo.toml", "redb = 1"), NONE);
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
    fn a_state_that_changes_by_itself() {
        let text = "machine! {\n    /// A lamp.\n    pub static LAMP: Lamp = \"lamp\";\n}\n\
                    let lamp = Lamp::On;\nif lamp == Lamp::Off {}\nself.lamp = Lamp::Off;\n\
                    self.lamp = Lamp::bought();\n\
                    self.flow.source = Source::Idle;\nenter(&mut lamp, Lamp::Off);\n";
        assert_eq!(machines_in(text), ["Lamp"]);
        assert_eq!(lines(states, "engine/core/src/lamp.rs", text), [7, 9]);
        assert_eq!(lines(states, "engine/core/src/flow/tests.rs", text), NONE);
        assert_eq!(lines(states, "control/cli/src/lamp.rs", text), NONE);
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
        assert_eq!(lines(streams, "control/sim/src/main.rs", text), NONE);
        assert_eq!(lines(streams, "tests/stories/log.rs", text), NONE);
    }
}
