//! F11: a peer's configuration. Any bytes are read as those of HAProxy or of nginx, or refused at a
//! place; what comes out is a file that weir reads, and that `weir check` takes.

use std::collections::BTreeMap;

use weir_control::init::{Level, Peer, Surroundings, Wanted, convert};
use weir_control_core::{file, planner};
use weir_proto::snapshot::Snapshot;

use crate::{feature, feature_of_message};

/// Pieces that files are made of.
pub const WORDS: &[&[u8]] = &[
    b"global\n",
    b"\ndefaults d from d\n",
    b"\nlisten l\n bind :80\n server s 10.0.0.1:80 check\n",
    b"\nfrontend f from d\n bind *:1-9\n default_backend b\n",
    b"\nbackend b\n server s 10.0.0.1 weight 9 backup\n",
    b"\nmode http\n",
    b"\nbalance source\n",
    b"\ntimeout client 1h\n",
    b"\noption tcp-check\ntcp-check send x\\x00\ntcp-check expect string y\n",
    b"\noption httpchk GET /\n",
    b"\noption mysql-check user u\n",
    b"\ndefault-server inter 1 port 2 maxconn 3\n",
    b"\n.if 1\n",
    b"\"${X}\"",
    b"stream {",
    b"upstream u { server 10.0.0.1:80 weight=9; }",
    b"server { listen 80; proxy_pass u; }",
    b"hash $remote_addr;",
    b"proxy_timeout 1h;",
    b"include self;",
    b"}",
    b"'",
    b"\\",
    b"#",
    b"\r\n",
    b"\xff",
];

/// A file that includes itself, and one variable.
struct Around;

impl Surroundings for Around {
    fn include(&self, pattern: &str) -> Result<Vec<(String, Vec<u8>)>, String> {
        match pattern {
            "self" => Ok(vec![("self".to_owned(), b"include self; include two;".to_vec())]),
            "two" => Ok(vec![("two".to_owned(), b"server { listen 81; proxy_pass u; }".to_vec())]),
            _ => Err("there is none".to_owned()),
        }
    }

    fn variable(&self, name: &str) -> Option<String> {
        (name == "X").then(|| "10.0.0.1:80".to_owned())
    }
}

/// The first byte says whose file it is to be.
///
/// # Panics
/// A promise is broken.
pub fn run(bytes: &[u8]) -> u64 {
    let (first, text) = bytes.split_first().unwrap_or((&0, &[]));
    let peer = [None, Some(Peer::Haproxy), Some(Peer::Nginx)][usize::from(first % 3)];
    let wanted = Wanted { peer, http_as_tcp: first & 128 != 0 };
    let made = convert("fuzz", text, wanted, &Around);
    for note in &made.notes {
        assert!(note.line >= 1 && !note.what.is_empty(), "{note:?}");
        assert!(!note.to_string().contains(['\n', '\u{1b}']), "{note}");
    }
    let reached = made.notes.iter().fold(1, |sum, note| sum ^ feature_of_message(&note.what));
    let Some(toml) = &made.toml else {
        assert!(made.exit_code() != 0, "{made:?}");
        return reached;
    };
    assert!(made.notes.iter().all(|note| note.level != Level::Error), "{made:?}");
    let read = file::parse(toml, "weir.toml");
    let read = read.unwrap_or_else(|wrong| panic!("weir refuses this: {wrong:?}\n{toml}"));
    let loops = planner::loops(&read.spec, &Snapshot::empty());
    assert!(loops.is_empty(), "weir check refuses this: {loops:?}\n{toml}");
    assert_eq!(convert("fuzz", text, wanted, &Around).toml.as_ref(), Some(toml), "it varies");
    let lines: BTreeMap<&str, &str> = toml.lines().filter_map(|it| it.split_once(" = ")).collect();
    let shape: Vec<&str> = lines.into_keys().take(20).collect();
    reached ^ feature(&shape.join(" "))
}
