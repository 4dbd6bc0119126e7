//! The list of planted bugs: each still has its place in the source, and none has gone. Whether
//! they are found is what `scripts/mutants` says.

use std::path::Path;

use weir_sim::mutants::{self, Mutation};

/// As many as there were: the list only grows. Raise it with each bug that is added.
const FEWEST: usize = 400;

fn load() -> Vec<Mutation> {
    let directory = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../engine/sim/mutants");
    mutants::load(&directory).unwrap_or_else(|what| panic!("{what}"))
}

#[test]
fn every_planted_bug_has_its_place() {
    let all = load();
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
    let mut misplaced = Vec::new();
    for Mutation { name, file, .. } in &all {
        let text = std::fs::read_to_string(root.join(file));
        let text = text.unwrap_or_else(|error| panic!("{name}: {file}: {error}"));
        let planted = mutants::plant(file, &text, &all).and_then(|it| mutants::wire(file, it));
        misplaced.extend(planted.err());
    }
    misplaced.dedup();
    assert!(misplaced.is_empty(), "{}", misplaced.join("\n"));
    for file in ["shared-proto/src/lib.rs", "control/sim/src/main.rs"] {
        assert!(mutants::is_wired(file), "{file}");
        let text = std::fs::read_to_string(root.join(file)).unwrap();
        let wired = mutants::wire(file, text.clone()).unwrap_or_else(|what| panic!("{what}"));
        assert!(wired.len() > text.len());
    }
}

#[test]
fn the_list_only_grows() {
    let count = load().iter().filter(|mutation| mutation.unreachable.is_none()).count();
    assert!(count >= FEWEST, "{count} planted bugs; there were {FEWEST}");
}
