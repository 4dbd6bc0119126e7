//! What is in the release tree: no banned crate, no licence that deny.toml does not allow.
//!
//! deny.toml is the list and cargo-deny its reader; this test holds the two rules that matter most
//! on machines that have no cargo-deny, or one that is too old for the file.

use std::process::Command;

use weir_tests::source;

/// The output of `cargo tree`; `None` if it has nothing to print.
fn cargo_tree(arguments: &[&str]) -> Option<String> {
    let cargo = std::env::var("CARGO").unwrap_or_else(|_| "cargo".to_owned());
    let tree = Command::new(cargo)
        .args(["tree", "--locked"])
        .args(arguments)
        .current_dir(source::root())
        .output()
        .expect("cargo runs");
    let text = String::from_utf8_lossy(&tree.stdout).into_owned();
    let error = String::from_utf8_lossy(&tree.stderr).into_owned();
    let absent = error.contains("did not match any packages");
    assert!(tree.status.success() || absent, "{error}");
    (!text.trim().is_empty()).then_some(text)
}

/// Name, version and licence of every crate that goes into `weir` and `weirctl`.
fn release_tree() -> Vec<[String; 3]> {
    let text = cargo_tree(&[
        "-e",
        "normal",
        "--prefix",
        "none",
        "--no-dedupe",
        "--format",
        "{p}|{l}",
        "-p",
        "weir",
        "-p",
        "weirctl",
    ]);
    let text = text.expect("weir depends on something");
    let mut rows: Vec<[String; 3]> = text.lines().filter_map(row).collect();
    rows.sort();
    rows.dedup();
    assert!(rows.iter().any(|[name, ..]| name == "weir-proto"), "a strange tree:\n{text}");
    rows
}

/// `serde v1.0.0 (proc-macro)|MIT OR Apache-2.0` → its three parts.
fn row(line: &str) -> Option<[String; 3]> {
    let (package, licence) = line.split_once('|')?;
    let mut words = package.split_whitespace();
    let (name, version) = (words.next()?, words.next()?.strip_prefix('v')?);
    Some([name.to_owned(), version.to_owned(), licence.trim_end_matches(" (*)").to_owned()])
}

/// The strings of the list `key = [ … ]`, line by line, without those that carry a condition.
fn list(text: &str, key: &str) -> Vec<String> {
    let body = text.split_once(&format!("\n{key} = [")).expect("deny.toml has the list").1;
    let body = body.split_once("\n]").expect("the list ends on a line of its own").0;
    let lines = body.lines().map(|line| line.split('#').next().unwrap_or_default());
    let plain = lines.filter(|line| !line.contains("version") && !line.contains("wrappers"));
    plain.filter_map(|line| line.split('"').nth(1).map(str::to_owned)).collect()
}

/// Whether a licence expression can be met with what is allowed: OR over AND, as SPDX reads it.
fn is_allowed(expression: &str, allowed: &[String]) -> bool {
    let spaced = expression.replace('/', " OR ").replace('(', " ( ").replace(')', " ) ");
    let words: Vec<&str> = spaced.split_whitespace().collect();
    let (met, rest) = either(&words, allowed);
    met && rest.is_empty()
}

fn either<'a, 'b>(words: &'a [&'b str], allowed: &[String]) -> (bool, &'a [&'b str]) {
    let (mut met, mut rest) = both(words, allowed);
    while let Some(("OR", after)) = rest.split_first().map(|(word, after)| (*word, after)) {
        let (other, after) = both(after, allowed);
        met |= other;
        rest = after;
    }
    (met, rest)
}

fn both<'a, 'b>(words: &'a [&'b str], allowed: &[String]) -> (bool, &'a [&'b str]) {
    let (mut met, mut rest) = one(words, allowed);
    while let Some(("AND", after)) = rest.split_first().map(|(word, after)| (*word, after)) {
        let (other, after) = one(after, allowed);
        met &= other;
        rest = after;
    }
    (met, rest)
}

fn one<'a, 'b>(words: &'a [&'b str], allowed: &[String]) -> (bool, &'a [&'b str]) {
    match words {
        ["(", inside @ ..] => {
            let (met, rest) = either(inside, allowed);
            (met, rest.get(1..).unwrap_or_default())
        }
        [licence, "WITH", exception, rest @ ..] => {
            (allowed.contains(&format!("{licence} WITH {exception}")), rest)
        }
        [licence, rest @ ..] => (allowed.contains(&(*licence).to_owned()), rest),
        [] => (false, words),
    }
}

fn deny_toml() -> String {
    std::fs::read_to_string(source::root().join("deny.toml")).expect("deny.toml is there")
}

#[test]
fn nothing_banned_is_in_the_tree() {
    let banned = list(&deny_toml(), "deny");
    assert!(banned.contains(&"async-std".to_owned()), "{banned:?}");
    let found: Vec<_> =
        release_tree().into_iter().filter(|[name, ..]| banned.contains(name)).collect();
    assert!(found.is_empty(), "deny.toml says why not: {found:?}");
}

/// The features of tokio that `cargo tree` shows, and who names it directly.
fn tokio_of(tree: &str) -> (Vec<&str>, Vec<&str>) {
    let lines = tree.lines().filter(|line| line.contains("tokio feature"));
    let features = lines.filter_map(|line| line.split('"').nth(1)).collect();
    let depth = |line: &&str| line.starts_with("├── ") || line.starts_with("└── ");
    let direct = tree.lines().filter(depth).map(|line| &line["├── ".len()..]);
    let users = direct.filter(|line| !line.starts_with("tokio feature")).collect();
    (features, users)
}

/// hyper 1 names tokio for its channels. A runtime, a socket or a timer of tokio never comes in.
#[test]
fn tokio_is_nothing_but_the_channels_of_hyper() {
    let tree = cargo_tree(&["-e", "normal,features", "-i", "tokio", "-p", "weir", "-p", "weirctl"]);
    let Some(tree) = tree else { return };
    let (features, users) = tokio_of(&tree);
    let strange: Vec<_> = features.iter().filter(|f| !["default", "sync"].contains(*f)).collect();
    assert!(strange.is_empty() && users.is_empty(), "{strange:?} {users:?} in\n{tree}");
    let direct = cargo_tree(&["-e", "normal", "-i", "tokio", "-p", "weir", "-p", "weirctl"]);
    let (_, users) = tokio_of(direct.as_deref().unwrap_or_default());
    assert!(users.iter().all(|user| user.starts_with("hyper v")), "{users:?}");
}

#[test]
fn every_licence_is_allowed() {
    let text = deny_toml();
    let allowed = list(&text, "allow");
    // `exceptions` allows one more licence for one crate.
    let excepted = |name: &str, licence: &str| {
        let allow = format!("{{ name = {name:?}, allow = [{:?}] }}", licence.trim_end_matches('+'));
        text.contains(&allow)
    };
    assert!(allowed.contains(&"MIT".to_owned()), "{allowed:?}");
    let refused: Vec<_> = release_tree()
        .into_iter()
        .filter(|[name, _, licence]| !is_allowed(licence, &allowed) && !excepted(name, licence))
        .collect();
    assert!(refused.is_empty(), "{refused:?}");
}

#[test]
fn planted_licences_and_bans() {
    let allowed = ["MIT", "Zlib", "Apache-2.0 WITH LLVM-exception"].map(str::to_owned);
    let good = [
        "MIT",
        "GPL-3.0 OR MIT",
        "MIT/GPL-3.0",
        "(GPL-3.0 OR MIT) AND Zlib",
        "Apache-2.0 WITH LLVM-exception OR GPL-3.0",
    ];
    for expression in good {
        assert!(is_allowed(expression, &allowed), "{expression}");
    }
    for expression in ["GPL-3.0", "", "MIT AND GPL-3.0", "(MIT AND GPL-3.0) OR LGPL-2.1", "MIT AND"]
    {
        assert!(!is_allowed(expression, &allowed), "{expression}");
    }
    let text =
        "\ndeny = [\n  { name = \"a\" }, # \"x\"\n  { name = \"b\", version = \"<1\" },\n]\n";
    assert_eq!(list(text, "deny"), ["a"]);
    let tree = "tokio v1\n├── tokio feature \"rt\"\n│   └── x v1\n└── hyper v1\n    └── weir v0\n";
    assert_eq!(tokio_of(tree), (vec!["rt"], vec!["hyper v1"]));
    assert_eq!(row("a v1.2.3 (proc-macro)|MIT (*)").unwrap(), ["a", "1.2.3", "MIT"]);
}
