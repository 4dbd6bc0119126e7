//! F13: what a server of DNS sends. No panic; what is taken answers the question; an answer that
//! was cut is never used; what was found is bounded, can be connected to, and never empties a pool.

use std::net::SocketAddr;

use weir_control_core::resolve::{
    Fault, Found, HeardMessage, Lookup, LookupStep, Query, QueryKind, Records, Resolution, Resolve,
    SystemFiles,
};
use weir_core::base::clock::Now;
use weir_proto::ids::{IdSource, Version};
use weir_proto::snapshot::Snapshot;
use weir_proto::spec::{DISCOVERED_MAX, DiscoverSpec, PoolSpec, Spec};

use crate::feature;

/// Parts of answers.
pub const WORDS: &[&[u8]] = &[
    b"\xc0\x0c",
    b"\0\x01\0\x01",
    b"\0\x1c\0\x01",
    b"\0\x21\0\x01",
    b"\0\x05\0\x01",
    b"\0\0\0\x3c\0\x04\x0a\0\0\x01",
    b"\x01a\x04test\0",
    b"\0\0\x29\x04\xd0\0\0\0\0\0\0",
];

/// The questions that the bytes are tried as answers to: the first byte says which is asked.
const KINDS: [QueryKind; 3] = [QueryKind::A, QueryKind::Aaaa, QueryKind::Srv];
/// The number of each question.
const ID: u16 = 7;

/// Reads the bytes behind the first one as the answer to every question of a look-up.
///
/// # Panics
/// If a rule is broken.
#[must_use]
pub fn run(bytes: &[u8]) -> u64 {
    let (kind, message) = bytes.split_first().map_or((0, bytes), |(first, rest)| (*first, rest));
    let kind = KINDS[usize::from(kind) % KINDS.len()];
    let query = Query { id: ID, name: "a.test".to_owned(), kind, has_edns: true };
    let heard = query.hear(message);
    let other = Query { id: ID + 1, ..query.clone() };
    if heard != HeardMessage::Stranger {
        assert_eq!(other.hear(message), HeardMessage::Stranger, "it has another number");
    }
    if message.get(2).is_some_and(|flags| flags & 2 != 0) {
        assert!(
            matches!(heard, HeardMessage::Truncated | HeardMessage::Stranger),
            "it was cut: {heard:?}"
        );
    }
    let source = match kind {
        QueryKind::Srv => ("srv", "a.test."),
        QueryKind::A | QueryKind::Aaaa => ("dns", "a.test.:443"),
    };
    look_up(source, message);
    feature(&match &heard {
        HeardMessage::Answer(Ok(Records::Addresses { addresses, .. })) => {
            format!("{kind:?} {}", addresses.len().min(4))
        }
        HeardMessage::Answer(Ok(Records::Services { services, beside, .. })) => {
            format!("services {} {}", services.len().min(4), beside.len().min(4))
        }
        heard => format!("{heard:?}"),
    })
}

/// Makes a look-up in which each question is answered by this message, as far as it is one.
fn look_up((key, name): (&str, &str), message: &[u8]) {
    let mut pool = PoolSpec::default();
    let name = Some(name.to_owned());
    pool.discover = match key {
        "srv" => DiscoverSpec { srv: name, ..DiscoverSpec::default() },
        _ => DiscoverSpec { dns: name, ..DiscoverSpec::default() },
    };
    let mut spec = Spec::default();
    spec.pool.insert("web".parse().expect("a name"), pool.into());
    let mut ids = IdSource::default();
    let built = Snapshot::build(&spec, Version(1), &Snapshot::empty(), &mut ids);
    let snapshot = built.expect("it is sound");
    let (mut resolve, mut now) = (Resolve::seeded(1), Now { nanos: 0 });
    resolve.adopt(&snapshot, now);
    let lookup = resolve.take(now).expect("it is due");
    let mut good = Found::new(1);
    let address: SocketAddr = "10.9.9.9:443".parse().expect("an address");
    good.extend([weir_control_core::resolve::FoundAddress::new(address.ip(), address.port())]);
    resolve.heard(&lookup, Ok(good), |_| true, now);
    now = resolve.next_due().expect("it is asked again");
    let lookup = resolve.take(now).expect("it is due");
    let outcome = outcome_of(&lookup, message);
    resolve.heard(&lookup, outcome, |_| true, now);
    let _ = resolve.take_regrouped();
    let known = resolve.to_remember().remove("web").expect("it is known");
    let takes = known.members.iter().filter(|it| !it.leaves).count();
    assert!(takes > 0, "one answer empties a pool: {known:?}");
    assert!(known.members.len() <= DISCOVERED_MAX, "{} members", known.members.len());
    for it in &known.members {
        let ip = it.address.ip();
        assert!(!ip.is_unspecified() && !ip.is_multicast(), "{ip}");
        assert!(it.weight > 0, "{it:?}");
    }
}

fn outcome_of(lookup: &Lookup, message: &[u8]) -> Result<Found, Fault> {
    let mut resolution = Resolution::new(lookup, SystemFiles::default());
    for _ in 0..10_000 {
        match resolution.step(ID) {
            LookupStep::Done(outcome) => return outcome,
            LookupStep::Ask { query, .. } => match query.hear(message) {
                HeardMessage::NoEdns => resolution.leave_edns(),
                HeardMessage::Answer(answer) => resolution.hear(answer),
                HeardMessage::Truncated | HeardMessage::Stranger => {
                    resolution.hear(Err(Fault::Timeout))
                }
            },
        }
    }
    panic!("the look-up does not end");
}
