//! Bugs that are planted in a copy of the source: kept as data in `engine/sim/mutants/`, put in all
//! at once, each of them asleep until its number is called.
//!
//! ```text
//! mutants/*.toml ─▶ plant: MUTANT becomes `active() == N` ─▶ one build ─▶ WEIR_MUTANT=N weir-sim
//! ```
//! The real source stays clean. `weir-mutants` makes the copy, builds it and runs it.

use std::collections::BTreeMap;
use std::path::Path;

use toml::Table;

/// In a replacement: a condition that is true while this bug is awake.
const WORD: &str = "MUTANT";

/// A planted bug.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Mutation {
    pub name: String,
    /// The real bug that it makes again.
    pub why: String,
    /// The path of the file from the root of the repository.
    pub file: String,
    /// Text that occurs exactly once in the file.
    pub find: String,
    /// What stands there instead.
    pub replace: String,
    /// Why the simulator cannot find it; it is planted, but does not count.
    pub unreachable: Option<String>,
    /// A seed that found it when this was written down: tried first. For those that take thousands.
    pub seed: Option<u64>,
}

/// Every planted bug, by file and place in it: the one at place 0 has the number 1.
///
/// # Errors
/// A file that is not what it should be, or a name that occurs twice.
pub fn load(directory: &Path) -> Result<Vec<Mutation>, String> {
    let entries = std::fs::read_dir(directory);
    let entries = entries.map_err(|error| format!("{}: {error}", directory.display()))?;
    let mut paths: Vec<_> = entries.filter_map(|entry| Some(entry.ok()?.path())).collect();
    paths.retain(|path| path.extension().is_some_and(|extension| extension == "toml"));
    paths.sort();
    let mut all: Vec<Mutation> = Vec::new();
    for path in paths {
        let complain = |what: String| format!("{}: {what}", path.display());
        let text = std::fs::read_to_string(&path).map_err(|error| complain(error.to_string()))?;
        for mutation in parse(&text).map_err(complain)? {
            if all.iter().any(|other| other.name == mutation.name) {
                return Err(complain(format!("{} is there twice", mutation.name)));
            }
            all.push(mutation);
        }
    }
    Ok(all)
}

fn parse(text: &str) -> Result<Vec<Mutation>, String> {
    let table: Table = text.parse().map_err(|error: toml::de::Error| error.to_string())?;
    let rows = table.get("mutant").and_then(|value| value.as_array());
    rows.ok_or("no [[mutant]]")?
        .iter()
        .map(|row| mutation(row.as_table().ok_or("a mutant is a table")?))
        .collect()
}

fn mutation(row: &Table) -> Result<Mutation, String> {
    const KEYS: [&str; 7] = ["name", "why", "file", "find", "replace", "unreachable", "seed"];
    let text = |key: &str| row.get(key).and_then(|value| value.as_str()).map(str::to_owned);
    let name = text("name").ok_or("a mutant without a name")?;
    let need = |key: &str| text(key).ok_or(format!("{name} has no {key}"));
    if let Some(strange) = row.keys().find(|key| !KEYS.contains(&key.as_str())) {
        return Err(format!("{name} has a {strange}"));
    }
    let mutation = Mutation {
        why: need("why")?,
        file: need("file")?,
        find: need("find")?,
        replace: need("replace")?,
        unreachable: text("unreachable"),
        seed: row.get("seed").and_then(toml::Value::as_integer).and_then(|it| it.try_into().ok()),
        name: name.clone(),
    };
    if mutation.find.trim().is_empty() || !mutation.replace.contains(WORD) {
        return Err(format!("{name} needs a text to find, and {WORD} in what replaces it"));
    }
    Ok(mutation)
}

/// The text of `file` with all of its bugs in it.
///
/// # Errors
/// A bug whose place is not there, is there twice, or is another one's place too.
pub fn plant(file: &str, text: &str, all: &[Mutation]) -> Result<String, String> {
    let mut places = BTreeMap::new();
    for (number, mutation) in (1..).zip(all).filter(|(_, mutation)| mutation.file == file) {
        let mut found = text.match_indices(&mutation.find);
        let (Some((start, _)), None) = (found.next(), found.next()) else {
            return Err(format!("{}: its text must be in {file} exactly once", mutation.name));
        };
        let end = start + mutation.find.len();
        if let Some((other, ..)) = places.insert(start, (mutation, end, number)) {
            return Err(format!("{} and {} have one place", mutation.name, other.name));
        }
    }
    let mut planted = String::with_capacity(text.len() * 2);
    let mut at = 0;
    for (start, (mutation, end, number)) in places {
        let between = text
            .get(at..start)
            .ok_or_else(|| format!("{} overlaps the one before it in {file}", mutation.name))?;
        planted.push_str(between);
        let awake = format!("(weir_proto::mutants::active() == {number})");
        planted.push_str(&mutation.replace.replace(WORD, &awake));
        at = end;
    }
    planted.push_str(&text[at..]);
    Ok(planted)
}

/// The text of a file of bugs with these seeds in it: that of a bug stands behind its name.
#[must_use]
pub fn with_seeds(text: &str, found: &BTreeMap<String, u64>) -> String {
    let mut seed = None;
    let mut out = String::with_capacity(text.len());
    for line in text.split_inclusive('\n') {
        if seed.take().is_some() && line.starts_with("seed = ") {
            continue;
        }
        out.push_str(line);
        let name = line.strip_prefix("name = \"").and_then(|rest| rest.split('"').next());
        seed = name.and_then(|name| found.get(name));
        if let Some(seed) = seed {
            out.push_str(&format!("seed = {seed}\n"));
        }
    }
    out
}

/// What the copy needs so that a bug can be called: path, text to find ("" is the end of the file),
/// text to put in behind it. The number lives in the crate that all others see.
const WAKE: [(&str, &str, &str); 2] = [
    (
        "shared-proto/src/lib.rs",
        "",
        r"
extern crate self as weir_proto;

pub mod mutants {
    use core::sync::atomic::{AtomicU16, Ordering};

    static ACTIVE: AtomicU16 = AtomicU16::new(0);

    pub fn wake(number: u16) {
        ACTIVE.store(number, Ordering::Relaxed);
    }

    pub fn active() -> u16 {
        ACTIVE.load(Ordering::Relaxed)
    }
}
",
    ),
    (
        "control/sim/src/main.rs",
        "fn main() -> ExitCode {\n",
        r#"    let number = std::env::var("WEIR_MUTANT").expect("a copy with planted bugs");
    weir_proto::mutants::wake(number.parse().expect("the number of a planted bug"));
"#,
    ),
];

/// True if [`wire`] changes this file.
#[must_use]
pub fn is_wired(file: &str) -> bool {
    WAKE.iter().any(|(path, ..)| *path == file)
}

/// The text of `file` with what wakes a bug, if that belongs there.
///
/// # Errors
/// The place is not there.
pub fn wire(file: &str, text: String) -> Result<String, String> {
    let Some((_, after, added)) = WAKE.iter().find(|(path, ..)| *path == file) else {
        return Ok(text);
    };
    let at = if after.is_empty() { Some(text.len()) } else { text.find(after) };
    let at = at.ok_or_else(|| format!("{file} has no {after:?}"))? + after.len();
    Ok(format!("{}{added}{}", &text[..at], &text[at..]))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn mutation(name: &str, find: &str, replace: &str) -> Mutation {
        let [name, find, replace] = [name, find, replace].map(str::to_owned);
        let (why, file) = ("a test".to_owned(), "a.rs".to_owned());
        Mutation { name, why, file, find, replace, unreachable: None, seed: None }
    }

    #[test]
    fn bugs_are_planted_side_by_side() {
        let all = [
            mutation("b", "y < 2", "y < 2 && !MUTANT"),
            Mutation { file: "b.rs".into(), ..mutation("c", "x", "MUTANT") },
            mutation("a", "x > 1", "(x > 1 || MUTANT)"),
        ];
        let planted = plant("a.rs", "if x > 1 && y < 2 {", &all).unwrap();
        assert_eq!(
            planted,
            "if (x > 1 || (weir_proto::mutants::active() == 3)) && y < 2 && \
             !(weir_proto::mutants::active() == 1) {"
        );
        assert_eq!(plant("c.rs", "x", &all).unwrap(), "x");
    }

    #[test]
    fn a_place_that_is_not_one_is_refused() {
        let plant = |text: &str, all: &[Mutation]| plant("a.rs", text, all).unwrap_err();
        let one = [mutation("one", "x", "MUTANT")];
        assert!(plant("y", &one).contains("exactly once"));
        assert!(plant("x x", &one).contains("exactly once"));
        let same = [one[0].clone(), mutation("two", "x y", "MUTANT")];
        assert!(plant("x y", &same).contains("one place"));
        let over = [mutation("three", "x y", "MUTANT"), mutation("four", "y z", "MUTANT")];
        assert!(plant("x y z", &over).contains("overlaps"));
    }

    #[test]
    fn a_seed_is_written_behind_the_name() {
        let text = "# x\n[[mutant]]\nname = \"a\"\nwhy = \"w\"\n\n[[mutant]]\nname = \"b\"\n\
                    seed = 7\nwhy = \"w\"\n\n[[mutant]]\nname = \"c\"\nseed = 8\n";
        let found = [("a", 5), ("b", 6)].map(|(name, seed)| (name.to_owned(), seed));
        let with = with_seeds(text, &found.into());
        let expected = text.replace("\"a\"\n", "\"a\"\nseed = 5\n").replace("= 7", "= 6");
        assert_eq!(with, expected);
    }

    #[test]
    fn a_mutant_is_read_whole() {
        let text = "[[mutant]]\nname = 'n'\nwhy = 'w'\nfile = 'a.rs'\nfind = '''x\n y'''\n";
        let good = format!("{text}replace = 'MUTANT'\n");
        assert_eq!(parse(&good).unwrap()[0].find, "x\n y");
        for wrong in ["", "replace = 'x'", "replace = 'MUTANT'\nwhen = 'now'"] {
            assert!(parse(&format!("{text}{wrong}\n")).is_err(), "{wrong}");
        }
        assert!(parse("a = 1").is_err());
    }
}
