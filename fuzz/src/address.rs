//! F9: what operators type: addresses, names, durations, escapes. What is read is written so that
//! it reads back as the same. (weir has no lists of networks yet; their parser belongs here.)

use weir_control_core::planner::{self, Sources};
use weir_proto::address::Address;
use weir_proto::ids::IdSource;
use weir_proto::request::{ChangeOptions, ChangeRequest, Code, Refusal};
use weir_proto::snapshot::{Snapshot, unescape};
use weir_proto::spec::{Name, Span, Strategy};

use crate::feature_of_message;

/// What addresses and durations are made of.
pub const WORDS: &[&[u8]] = &[
    b"127.0.0.1:80",
    b"[::1]:80",
    b"[fe80::1%1]:80",
    b"[::ffff:10.0.0.1]:65535",
    b"%4294967295",
    b"18446744073709551615ms",
    b"500ms",
    b"\\x7f",
    b"round-robin",
];

/// One word, tried as everything.
///
/// # Panics
/// A promise is broken.
pub fn run(bytes: &[u8]) -> u64 {
    let text = String::from_utf8_lossy(bytes);
    let mut reached = backend(&text);
    if let Ok(name) = text.parse::<Name>() {
        assert_eq!(name.to_string(), text, "a name is what was typed");
        reached ^= 1;
    }
    if let Ok(span) = text.parse::<Span>() {
        let written = span.to_string();
        assert_eq!(written.parse::<Span>(), Ok(span), "{text:?} is written as {written:?}");
        reached ^= 2;
    }
    if let Ok(strategy) = text.parse::<Strategy>() {
        assert_eq!(strategy.to_string(), text);
        reached ^= 4;
    }
    if let Some(bytes) = unescape(&text) {
        assert!(bytes.len() <= text.len(), "an escape is never shorter than its byte");
        reached ^= 8;
    }
    if let Ok((pool, backend)) = planner::split(&text) {
        assert_eq!(format!("{pool}/{backend}"), text);
        reached ^= 16;
    }
    reached
}

/// As the address of a backend: what was typed is what is in the configuration.
fn backend(text: &str) -> u64 {
    let mut ids = IdSource::default();
    let past = |_: u64| Err(Refusal::new(Code::NotFound, "there is none", ""));
    let options = ChangeOptions::default();
    let add = ChangeRequest::PoolAdd { name: "web".into(), pairs: Vec::new() };
    let sources = Sources { ids: &mut ids, past: &past, base: &None };
    let plan = planner::decide(&Snapshot::empty(), &add, &options, sources);
    let pools = plan.ok().and_then(|plan| plan.snapshot).expect("a pool can be added");
    let (name, address) = ("web/b".to_owned(), text.to_owned());
    let add = ChangeRequest::BackendAdd { name, address, pairs: Vec::new() };
    let sources = Sources { ids: &mut ids, past: &past, base: &None };
    match planner::decide(&pools, &add, &options, sources) {
        Err(refusal) => feature_of_message(&refusal.message),
        Ok(plan) => {
            let snapshot = plan.snapshot.expect("a new backend is a change");
            let (_, backend) = snapshot.backends().next().expect("it was added");
            assert_eq!(text.parse::<Address>(), Ok(backend.address));
            let written = backend.address.to_string();
            assert_eq!(written.parse::<Address>(), Ok(backend.address), "{written:?}");
            32 + u64::from(backend.address.ip().is_none_or(|it| it.is_ipv6()))
        }
    }
}
