//! docs/reference.md and weir.toml(5) are what the tables of settings say.

use std::path::Path;

use weir_control_core::file::reference;

/// Compares a document with what is made; WEIR_WRITE_DOCS=1 writes it.
fn is_current(path: &str, made: &str) {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..").join(path);
    if std::env::var_os("WEIR_WRITE_DOCS").is_some() {
        std::fs::write(&path, made).expect("the document can be written");
    }
    let there = std::fs::read_to_string(&path).unwrap_or_default();
    assert!(
        there == made,
        "{} is not what the tables say: WEIR_WRITE_DOCS=1 cargo test -p weir --test reference",
        path.display()
    );
}

#[test]
fn the_reference_is_what_the_tables_say() {
    is_current("docs/reference.md", &reference::markdown());
}

#[test]
fn the_manual_page_is_what_the_tables_say() {
    let made = reference::man();
    is_current("packaging/man/weir.toml.5", &made);
    // A line that begins with an apostrophe is a request, an empty one a break.
    let begins_badly = |line: &&str| line.starts_with('\'') || line.is_empty();
    assert_eq!(made.lines().find(begins_badly), None);
}
