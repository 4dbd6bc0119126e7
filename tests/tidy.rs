//! The rules of style that a machine can hold. A rule without a check is a wish.
//!
//! Each rule is a pure function from a file to violations, and each has a test that plants one.

use weir_tests::source::{self, File, Violation, code_only, expect_none, line_of, resolve, words};

/// A file may have this many lines.
const LINES_SOFT: usize = 500;
/// And never more than this.
const LINES_HARD: usize = 800;
/// From `fn` to its closing brace.
const FUNCTION_LINES_MAX: usize = 70;
const COLUMNS_MAX: usize = 100;

/// The files over [`LINES_SOFT`], with the lines they had when they were entered. The list may only
/// shrink: a listed file may not grow, and leaves the list when it is short enough.
const LONG: &[(&str, usize)] = &[];

/// Words that say nothing, as names of files, modules and types.
const EMPTY_WORDS: &[&str] =
    &["util", "utils", "helper", "helpers", "manager", "managers", "common", "misc"];

/// What the data path does without (docs/architecture.md, invariants).
const NOT_IN_ENGINE: &[&str] = &[
    "async",
    "await",
    "Rc",
    "RefCell",
    "dyn",
    "Mutex",
    "RwLock",
    "Condvar",
    "fetch_add",
    "fetch_sub",
    "fetch_or",
    "fetch_and",
    "fetch_xor",
    "fetch_max",
    "fetch_min",
    "fetch_update",
    "compare_exchange",
    "compare_exchange_weak",
    "compare_and_swap",
];

/// Where the engine may have one of [`NOT_IN_ENGINE`] anyway: path, word, why.
const ALLOWED_IN_ENGINE: &[(&str, &str, &str)] = &[
    ("engine/src/mailbox/loom_shim.rs", "Mutex", "compiled for loom only"),
    ("engine/src/mailbox/loom_shim.rs", "Condvar", "compiled for loom only"),
];

fn is_rust(file: &File) -> bool {
    file.path.ends_with(".rs")
}

fn length(file: &File, long: &[(&str, usize)]) -> Vec<Violation> {
    let lines = file.text.lines().count();
    let listed = long.iter().find(|(path, _)| *path == file.path).map(|(_, lines)| *lines);
    let what = match listed {
        _ if lines > LINES_HARD => format!("{lines} lines; at most {LINES_HARD}: split it"),
        Some(_) if lines <= LINES_SOFT => "short enough: take it off LONG in tidy.rs".to_owned(),
        Some(most) if lines > most => format!("{lines} lines; it had {most} and may only shrink"),
        None if lines > LINES_SOFT => {
            format!("{lines} lines; {LINES_SOFT} are enough: split it, or enter it in LONG")
        }
        _ => return Vec::new(),
    };
    vec![Violation::new(&file.path, 0, what)]
}

fn columns(file: &File) -> Vec<Violation> {
    // A string that is one line in the world stays one line here; rustfmt leaves it alone too.
    let is_text = |line: &str| line.trim_end_matches([',', ';', ')']).ends_with('"');
    let wide = |(_, line): &(usize, &str)| {
        line.chars().count() > COLUMNS_MAX && !(is_text(line) || line.ends_with("\" }"))
    };
    let lines = file.text.lines().enumerate().filter(wide);
    lines
        .map(|(index, line)| {
            let what = format!("{} columns; at most {COLUMNS_MAX}", line.chars().count());
            Violation::new(&file.path, index + 1, what)
        })
        .collect()
}

fn functions(file: &File) -> Vec<Violation> {
    let code = code_only(&file.text);
    let mut violations = Vec::new();
    for at in words(&code, "fn") {
        let Some(end) = body_end(&code, at) else { continue };
        let lines = line_of(&code, end) - line_of(&code, at) + 1;
        if lines > FUNCTION_LINES_MAX {
            let what = format!("a function of {lines} lines; at most {FUNCTION_LINES_MAX}");
            violations.push(Violation::new(&file.path, line_of(&code, at), what));
        }
    }
    violations
}

/// The closing brace of the function whose `fn` is at `at`; `None` if it has no body.
fn body_end(code: &str, at: usize) -> Option<usize> {
    if code[at + 2..].trim_start().starts_with('(') {
        return None; // a type, such as `fn(u8) -> u8`
    }
    let (mut round, mut curly) = (0_i32, 0_i32);
    for (offset, byte) in code.as_bytes()[at..].iter().enumerate() {
        match byte {
            b'(' | b'[' => round += 1,
            b')' | b']' => round -= 1,
            b';' if round == 0 && curly == 0 => return None, // declared only
            b'{' => curly += 1,
            b'}' => {
                curly -= 1;
                if curly <= 0 {
                    return (curly == 0).then_some(at + offset);
                }
            }
            _ => {}
        }
    }
    None
}

/// `LoadBalancer_util` → load, balancer, util.
fn parts(name: &str) -> Vec<String> {
    let mut parts = vec![String::new()];
    for letter in name.chars() {
        if letter.is_uppercase() || !letter.is_alphanumeric() {
            parts.push(String::new());
        }
        if letter.is_alphanumeric()
            && let Some(last) = parts.last_mut()
        {
            last.extend(letter.to_lowercase());
        }
    }
    parts
}

fn says_nothing(name: &str) -> bool {
    parts(name).iter().any(|part| EMPTY_WORDS.contains(&part.as_str()))
}

fn names(file: &File) -> Vec<Violation> {
    let mut violations = Vec::new();
    for part in file.path.trim_end_matches(".rs").split('/') {
        if says_nothing(part) {
            violations.push(Violation::new(&file.path, 0, format!("{part:?} says nothing")));
        }
    }
    if file.path.ends_with("/mod.rs") {
        let what = "foo.rs beside foo/ instead of foo/mod.rs";
        violations.push(Violation::new(&file.path, 0, what));
    }
    let code = code_only(&file.text);
    for keyword in ["mod", "struct", "enum", "trait", "type", "union"] {
        for at in words(&code, keyword) {
            let rest = code[at + keyword.len()..].trim_start();
            let is_name = |letter: char| letter.is_alphanumeric() || letter == '_';
            let name = rest.split(|letter| !is_name(letter)).next().unwrap_or_default();
            if says_nothing(name) {
                let what = format!("{keyword} {name} says nothing");
                violations.push(Violation::new(&file.path, line_of(&code, at), what));
            }
        }
    }
    violations
}

fn leftovers(file: &File) -> Vec<Violation> {
    let code = code_only(&file.text);
    let mut violations = Vec::new();
    let mut add = |text: &str, at: usize, what: &str| {
        violations.push(Violation::new(&file.path, line_of(text, at), what));
    };
    for name in ["dbg", "todo", "unimplemented"] {
        for at in words(&code, name) {
            if code[at + name.len()..].starts_with('!') {
                add(&code, at, &format!("{name}! is for the desk, not for the repository"));
            }
        }
    }
    for marker in [concat!("FIX", "ME"), concat!("X", "XX"), concat!("TO", "DO")] {
        for at in words(&file.text, marker) {
            add(&file.text, at, &format!("{marker}: do it, or open an issue"));
        }
    }
    for (at, _) in code.match_indices("#[ignore") {
        add(&code, at, "a test that is ignored tests nothing: mend it or delete it");
    }
    for at in words(&code, "sleep") {
        // The bench runner waits for programs that it started; its one place to do so is clock.rs.
        if code[..at].ends_with("thread::") && file.path != "benches/src/clock.rs" {
            add(&code, at, "nothing sleeps on a thread: wait for something, with a deadline");
        }
    }
    violations
}

fn engine(file: &File, allowed: &[(&str, &str, &str)]) -> Vec<Violation> {
    let on_the_data_path =
        file.path.starts_with("engine/src/") || file.path.starts_with("engine/core/src/");
    if !on_the_data_path {
        return Vec::new();
    }
    let code = code_only(&file.text);
    let mut violations = Vec::new();
    for word in NOT_IN_ENGINE {
        if allowed.iter().any(|(path, allowed, _)| *path == file.path && allowed == word) {
            continue;
        }
        for at in words(&code, word) {
            let what =
                format!("`{word}` has no place in the engine (docs/architecture.md, invariants)");
            violations.push(Violation::new(&file.path, line_of(&code, at), what));
        }
    }
    violations
}

fn first_line(file: &File) -> Vec<Violation> {
    if file.text.starts_with("//! ") {
        return Vec::new();
    }
    vec![Violation::new(&file.path, 1, "the first line says what the file is for: `//! …`")]
}

/// The lines of a Markdown text that are not inside a fence, with their numbers from 1.
fn prose(text: &str) -> Vec<(usize, &str)> {
    let mut fenced = false;
    let mut lines = Vec::new();
    for (index, line) in text.lines().enumerate() {
        if line.trim_start().starts_with("```") {
            fenced = !fenced;
        } else if !fenced {
            lines.push((index + 1, line));
        }
    }
    lines
}

fn one_title(file: &File) -> Vec<Violation> {
    let titles = prose(&file.text).iter().filter(|(_, line)| line.starts_with("# ")).count();
    if titles == 1 {
        return Vec::new();
    }
    vec![Violation::new(&file.path, 0, format!("{titles} lines `# Title`; exactly one"))]
}

fn links(file: &File, exists: impl Fn(&str) -> bool) -> Vec<Violation> {
    let mut violations = Vec::new();
    for (number, line) in prose(&file.text) {
        for (at, _) in line.match_indices("](") {
            let target = line[at + 2..].split([')', ' ']).next().unwrap_or_default();
            let target = target.split('#').next().unwrap_or_default();
            let outside = target.contains("://") || target.starts_with("mailto:");
            if target.is_empty() || outside {
                continue;
            }
            let base = file.path.rsplit_once('/').map_or("", |(base, _)| base);
            if !exists(&resolve(base, target)) {
                let what = format!("the link to {target} leads nowhere");
                violations.push(Violation::new(&file.path, number, what));
            }
        }
    }
    violations
}

fn machine_paths(file: &File) -> Vec<Violation> {
    let mut violations = Vec::new();
    for path in [concat!("/wo", "rk/"), concat!("/tmp", "/wt"), concat!("/ro", "ot/")] {
        for (at, _) in file.text.match_indices(path) {
            let what = format!("{path} exists on one machine only");
            violations.push(Violation::new(&file.path, line_of(&file.text, at), what));
        }
    }
    violations
}

fn run_bit(file: &File) -> Vec<Violation> {
    let script = file.path.starts_with("scripts/") || file.path == ".ci/run";
    if !script || file.runnable || !file.text.starts_with("#!") {
        return Vec::new();
    }
    vec![Violation::new(&file.path, 0, "a script that cannot be run: chmod +x")]
}

/// Applies a rule to every file that `wanted` picks.
fn all(wanted: impl Fn(&File) -> bool, rule: impl Fn(&File) -> Vec<Violation>) {
    let violations: Vec<_> =
        source::files().iter().filter(|file| wanted(file)).flat_map(rule).collect();
    expect_none(&violations);
}

#[test]
fn files_are_short() {
    all(is_rust, |file| length(file, LONG));
    let files = source::files();
    for (path, _) in LONG {
        assert!(files.iter().any(|file| file.path == *path), "LONG names {path}, which is gone");
    }
}

#[test]
fn lines_are_short() {
    all(is_rust, columns);
}

#[test]
fn functions_are_short() {
    all(is_rust, functions);
}

#[test]
fn names_say_something() {
    all(is_rust, names);
}

#[test]
fn nothing_is_left_over() {
    all(is_rust, leftovers);
}

#[test]
fn the_engine_has_no_locks_and_no_futures() {
    all(is_rust, |file| engine(file, ALLOWED_IN_ENGINE));
}

#[test]
fn every_file_says_what_it_is_for() {
    all(is_rust, first_line);
}

#[test]
fn links_lead_somewhere_and_documents_have_one_title() {
    let root = source::root();
    all(
        |file| file.path.ends_with(".md"),
        |file| {
            let mut violations = links(file, |path| root.join(path).exists());
            violations.extend(one_title(file));
            violations
        },
    );
}

#[test]
fn no_file_names_a_machine() {
    all(|_| true, machine_paths);
}

#[test]
fn scripts_can_be_run() {
    all(|_| true, run_bit);
}

/// The name of the test program that a file begins: `tests/NAME.rs` or `tests/NAME/main.rs` of a
/// crate.
fn test_program(path: &str) -> Option<&str> {
    let rest = match path.split_once("/tests/") {
        Some((before, rest)) if !before.contains("/src") => rest,
        _ => path.strip_prefix("tests/")?,
    };
    rest.strip_suffix("/main.rs").or(rest.strip_suffix(".rs")).filter(|name| !name.contains('/'))
}

/// They are named one by one, and one that is not named would never run.
#[test]
fn every_test_program_is_run() {
    let files = source::files();
    let gate = files.iter().filter(|file| ["scripts/check", "scripts/test"].contains(&&*file.path));
    let gate = gate.map(|file| file.text.as_str()).collect::<String>();
    let words: Vec<&str> = gate.split_whitespace().collect();
    let named: Vec<&str> =
        words.windows(2).filter(|pair| pair[0] == "--test").map(|pair| pair[1]).collect();
    let programs = files.iter().filter_map(|file| test_program(&file.path));
    let forgotten: Vec<&str> = programs.filter(|name| !named.contains(name)).collect();
    assert_eq!(forgotten, [""; 0], "scripts/check or scripts/test must name them");
}

/// The other half: each rule finds what is planted, and lets the good neighbour be.
mod planted {
    #[test]
    fn test_programs_have_their_names() {
        let program = super::test_program;
        assert_eq!(program("tests/tidy.rs"), Some("tidy"));
        assert_eq!(program("tests/stories/main.rs"), Some("stories"));
        assert_eq!(program("control/cli/tests/cli/main.rs"), Some("cli"));
        assert_eq!(program("engine/tests/zero_alloc.rs"), Some("zero_alloc"));
        for path in ["tests/src/lib.rs", "engine/tests/support/rig.rs", "engine/src/x/tests/y.rs"] {
            assert_eq!(program(path), None, "{path}");
        }
    }

    use super::*;

    fn file(path: &str, text: &str) -> File {
        File { path: path.to_owned(), text: text.to_owned(), runnable: false }
    }

    fn lines(violations: &[Violation]) -> Vec<usize> {
        violations.iter().map(|violation| violation.line).collect()
    }

    #[test]
    fn long_files() {
        let text = |lines: usize| "x\n".repeat(lines);
        let check = |lines, long: &[(&str, usize)]| length(&file("a.rs", &text(lines)), long).len();
        assert_eq!([check(500, &[]), check(501, &[]), check(801, &[])], [0, 1, 1]);
        let list = [("a.rs", 600)];
        let checks = [check(600, &list), check(601, &list), check(500, &list)];
        assert_eq!(checks, [0, 1, 1], "listed: it may stay, not grow, and must leave when short");
        assert_eq!(check(801, &[("a.rs", 900)]), 1, "the list does not lift the hard limit");
    }

    #[test]
    fn wide_lines() {
        let text = format!("{}\n{}\n", "ä".repeat(100), "b".repeat(101));
        assert_eq!(lines(&columns(&file("a.rs", &text))), [2]);
    }

    #[test]
    fn long_functions() {
        let function = |lines: usize| format!("fn f(a: [u8; 4]) {{\n{}}}\n", "x;\n".repeat(lines));
        let text = format!("trait T {{ fn g(&self); }}\n{}{}", function(68), function(69));
        assert_eq!(lines(&functions(&file("a.rs", &text))), [72]);
        let pointers = format!("struct S {{ f: fn(u8) -> u8, g: fn() }}\n{}", function(10));
        assert_eq!(functions(&file("a.rs", &pointers)), []);
    }

    #[test]
    fn empty_names() {
        let text = "struct PoolManager;\nmod misc {}\nstruct Pool; // a helper\nenum Utility {}\n";
        assert_eq!(lines(&names(&file("engine/src/a.rs", text))), [2, 1]);
        assert_eq!(names(&file("engine/src/net_util.rs", "")).len(), 1);
        assert_eq!(names(&file("engine/src/ring/mod.rs", "")).len(), 1);
        assert_eq!(names(&file("engine/src/common/a.rs", "")).len(), 1);
    }

    #[test]
    fn things_left_over() {
        let marker = concat!("FIX", "ME");
        let text = format!(
            "// {marker} later\nfn f() {{ {}!(1) }}\n#[ignore]\nfn g() {{}}\nthread::{}(d);\n\
             \"todo!()\";\nlet todo = 1;\n",
            "dbg", "sleep"
        );
        assert_eq!(lines(&leftovers(&file("a.rs", &text))), [2, 1, 3, 5]);
    }

    #[test]
    fn locks_in_the_engine() {
        let text = "use std::sync::Mutex;\nlet x: &dyn Io = y; // no Mutex\na.fetch_add(1);\n";
        let inside = file("engine/src/shard.rs", text);
        let mut found = lines(&engine(&inside, &[]));
        found.sort_unstable();
        assert_eq!(found, [1, 2, 3]);
        let allowed = [("engine/src/shard.rs", "Mutex", "planted")];
        assert_eq!(engine(&inside, &allowed).len(), 2);
        assert_eq!(engine(&file("control/daemon/src/rt.rs", text), &[]), []);
    }

    #[test]
    fn a_first_line_that_says_nothing() {
        assert_eq!(first_line(&file("a.rs", "use x;\n")).len(), 1);
        assert_eq!(first_line(&file("a.rs", "//! What it is for.\n")), []);
    }

    #[test]
    fn documents() {
        let text = "# A\n[x](../there.md#part) [y](gone.md) [z](https://a.b/c)\n```\n# not\n```\n";
        let document = file("docs/adr/a.md", text);
        let exists = |path: &str| path == "docs/there.md";
        assert_eq!(lines(&links(&document, exists)), [2]);
        assert_eq!(one_title(&document), []);
        assert_eq!(one_title(&file("a.md", "# A\n# B\n")).len(), 1);
        assert_eq!(one_title(&file("a.md", "text\n")).len(), 1);
    }

    #[test]
    fn paths_of_a_machine() {
        let text = format!("a\nsee {}shared\n", concat!("/wo", "rk/"));
        assert_eq!(lines(&machine_paths(&file("README.md", &text))), [2]);
        assert_eq!(machine_paths(&file("README.md", "network/working/roots\n")), []);
    }

    #[test]
    fn scripts_without_the_run_bit() {
        let script = file("scripts/test", "#!/bin/sh\n");
        assert_eq!(run_bit(&script).len(), 1);
        assert_eq!(run_bit(&File { runnable: true, ..script }), []);
        assert_eq!(run_bit(&file("scripts/lib.sh", "# sourced\n")), []);
    }
}
