//! F3: weir.toml. Any text either is a configuration or gets its faults shown; what is one is
//! exported, read back as the same, and applied twice it changes something once.

use weir_control_core::file;
use weir_control_core::planner::{self, Sources};
use weir_proto::ids::IdSource;
use weir_proto::request::{ChangeOptions, ChangeRequest, Code, Refusal};
use weir_proto::snapshot::Snapshot;

use crate::{feature, feature_of_message};

/// What files are made of.
pub const WORDS: &[&[u8]] = &[
    b"[weir]\n",
    b"[listener.a]\n",
    b"[pool.a]\n",
    b"[pool.a.backend.b]\n",
    b"[pool.a.health]\n",
    b"bind = \"0.0.0.0:80\"\n",
    b"pool = \"a\"\n",
    b"address = \"[::1]:80\"\n",
    b"kind = \"send-expect\"\n",
    b"send = \"\\\\x00\"\n",
    b"expect = \"x\"\n",
    b"interval = \"1s\"\n",
    b"weight = 256\n",
    b"state = \"drain\"\n",
    b"strategy = \"maglev\"\n",
    b"\"\"\"",
    b"'",
    b"\xe2\x80\xa8",
];

/// Text, of which what is not UTF-8 is replaced.
///
/// # Panics
/// A promise is broken.
pub fn run(bytes: &[u8]) -> u64 {
    let text = String::from_utf8_lossy(bytes);
    let file = match file::parse(&text, "fuzz.toml") {
        Ok(file) => file,
        Err(wrong) => {
            assert!(!wrong.is_empty(), "it is refused, and nothing is wrong");
            for diagnostic in &wrong {
                assert!(diagnostic.line >= 1 && diagnostic.column >= 1, "{diagnostic:?}");
                assert!(!diagnostic.render(false).is_empty(), "{diagnostic:?} shows nothing");
            }
            return wrong.iter().fold(1, |sum, one| sum ^ feature_of_message(&one.message));
        }
    };
    let exported = file::export(&file.spec);
    let again = file::parse(&exported, "export").unwrap_or_else(|wrong| {
        panic!("what was exported is refused: {wrong:?}\n{exported}");
    });
    assert_eq!(again.spec, file.spec, "the export says something else:\n{exported}");
    assert_eq!(file::export(&again.spec), exported, "an export of an export differs");
    apply_twice(&text, &exported);
    let shape = exported.chars().filter(|letter| letter.is_ascii_alphabetic()).take(200);
    feature(&shape.collect::<String>())
}

fn apply_twice(text: &str, exported: &str) {
    let mut ids = IdSource::default();
    let past = |_: u64| Err(Refusal::new(Code::NotFound, "there is none", ""));
    let apply = |toml: &str| ChangeRequest::apply(toml, "fuzz.toml");
    let options = ChangeOptions::default();
    let first = planner::decide(
        &Snapshot::empty(),
        &apply(text),
        &options,
        Sources { ids: &mut ids, past: &past, base: &None },
    );
    // A loop through weir itself is seen only there.
    let Ok(plan) = first else { return };
    let Some(snapshot) = plan.snapshot else { return };
    for text in [text, exported] {
        let again = planner::decide(
            &snapshot,
            &apply(text),
            &options,
            Sources { ids: &mut ids, past: &past, base: &plan.base },
        );
        let again = again.expect("what could be applied once can be applied again");
        assert!(again.snapshot.is_none(), "the same file is another version: {}", again.summary);
    }
}
