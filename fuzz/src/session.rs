//! F2: a conversation on the control socket: hello, then request after request. Whatever is said,
//! the configuration is always one that builds; a refusal changes nothing; a change makes exactly
//! the next version, and no identity is given twice.
//!
//! The reading of the socket itself (deadlines, 64 clients) is in stories: it is not bytes in,
//! state out.

use std::collections::BTreeSet;

use weir_control_core::planner::{self, Sources};
use weir_control_core::record::Base;
use weir_proto::frame;
use weir_proto::ids::IdSource;
use weir_proto::request::{
    ChangeOptions, ChangeRequest, Code, Command, Hello, PROTOCOL, Pairs, Refusal, Request,
};
use weir_proto::snapshot::Snapshot;
use weir_proto::spec::{Admin, Spec};

use crate::choices::Choices;
use crate::{feature, feature_of_message};

/// What operators say.
pub const WORDS: &[&[u8]] = &[
    b"web",
    b"web/b1",
    b"10.0.0.1:80",
    b"strategy",
    b"maglev",
    b"health.interval",
    b"timeout.idle",
    b"500ms",
    b"[pool.web]\n",
];

/// The most versions of one conversation.
const VERSIONS_MAX: usize = 64;

/// Everything that a client can move.
struct Talk {
    snapshot: Snapshot,
    ids: IdSource,
    /// The file as it was last applied.
    base: Base,
    /// The specs of all versions with their bases, from 1 on.
    past: Vec<(Spec, Base)>,
    used: BTreeSet<u32>,
}

/// Messages: a byte that says how the next request is written (a body with its length, or choices
/// of which one is made), then the request.
///
/// # Panics
/// A promise is broken.
pub fn run(bytes: &[u8]) -> u64 {
    let mut choices = Choices::new(bytes);
    let mut talk = Talk {
        snapshot: Snapshot::empty(),
        ids: IdSource::default(),
        base: None,
        past: Vec::new(),
        used: BTreeSet::new(),
    };
    let mut reached = 0;
    if choices.byte().is_multiple_of(4) && !is_greeting(&mut choices) {
        return 1;
    }
    while !choices.is_empty() && talk.past.len() < VERSIONS_MAX {
        let request = if choices.byte().is_multiple_of(2) {
            let count = usize::from(choices.short());
            match frame::decode::<Request>(choices.bytes(count)) {
                Ok(request) => request,
                // The daemon closes: nothing after a malformed frame is heard.
                Err(_) => return reached ^ 2,
            }
        } else {
            make(&mut choices)
        };
        reached = reached.rotate_left(5) ^ talk.hear(&request);
    }
    reached
}

fn is_greeting(choices: &mut Choices<'_>) -> bool {
    let count = usize::from(choices.short());
    let hello = frame::decode::<Hello>(choices.bytes(count));
    hello.is_ok_and(|hello| hello.protocol == PROTOCOL)
}

impl Talk {
    fn hear(&mut self, request: &Request) -> u64 {
        // It could have come in a frame.
        let said = frame::encode(request).and_then(|it| frame::decode(&it[frame::HEADER..]));
        assert_eq!(said.as_ref(), Ok(request));
        let Request::Command(Command::Change { change, options }) = request else { return 3 };
        let before = self.snapshot.clone();
        let past = |version: u64| {
            let index = usize::try_from(version).ok().and_then(|version| version.checked_sub(1));
            let spec = index.and_then(|index| self.past.get(index).cloned());
            spec.ok_or_else(|| Refusal::new(Code::NotFound, "there is no such version", ""))
        };
        let sources = Sources { ids: &mut self.ids, past: &past, base: &self.base };
        let decided = planner::decide(&before, change, options, sources);
        match decided {
            Err(refusal) => {
                assert!(!refusal.message.is_empty(), "a refusal says nothing: {refusal:?}");
                feature_of_message(&refusal.message)
            }
            Ok(plan) => {
                // Both cross the socket to weirctl.
                for shown in [&plan.before, &plan.after] {
                    let read =
                        frame::encode(shown).and_then(|it| frame::decode(&it[frame::HEADER..]));
                    assert_eq!(read.as_ref(), Ok(shown));
                }
                let Some(next) = plan.snapshot else {
                    assert_eq!(plan.before, plan.after, "nothing changes, and yet: {change:?}");
                    return 4;
                };
                assert!(!plan.undo.is_empty(), "no way back from {change:?}");
                if !options.dry_run {
                    self.base = plan.base;
                    self.adopt(next);
                }
                feature(&plan.summary.chars().filter(char::is_ascii_alphabetic).collect::<String>())
            }
        }
    }

    fn adopt(&mut self, next: Snapshot) {
        assert_eq!(next.version, self.snapshot.version.next(), "versions have no gaps");
        let spec = next.spec();
        let again = Snapshot::build(&spec, next.version, &next, &mut IdSource::default());
        assert_eq!(again.as_ref(), Ok(&next), "a version is not what its own spec builds");
        assert!(
            planner::loops(&spec, &Snapshot::empty()).is_empty(),
            "a backend is weir's own listener: {spec:?}"
        );
        // What is new is new: no number was anybody's before.
        let known = ids(&self.snapshot);
        for id in ids(&next).difference(&known) {
            assert!(self.used.insert(*id), "identity {id} is given twice");
        }
        self.past.push((spec, self.base.clone()));
        self.snapshot = next;
    }
}

fn ids(snapshot: &Snapshot) -> BTreeSet<u32> {
    let listeners = snapshot.listeners.iter().map(|listener| listener.id.0);
    let pools = snapshot.pools.iter().map(|pool| pool.id.0);
    let backends = snapshot.backends().map(|(_, backend)| backend.id.0);
    listeners.chain(pools).chain(backends).collect()
}

const NAMES: [&str; 8] = ["web", "db", "a", "b1", "b2", "web/b1", "db/b2", ""];
const KEYS: [&str; 12] = [
    "strategy",
    "health.kind",
    "health.interval",
    "health.rise",
    "timeout.idle",
    "retry.attempts",
    "redispatch",
    "redispatch.replay",
    "health.send",
    "health.steps",
    "health.port",
    "nonsense",
];
const VALUES: [&str; 12] = [
    "maglev",
    "random",
    "tcp",
    "send-expect",
    "http",
    "1s",
    "0s",
    "3",
    "7d",
    "\\x00",
    "send a\\x3b;expect b",
    "99999999999999999999h",
];

/// Up to two settings.
fn pairs(choices: &mut Choices<'_>) -> Pairs {
    let count = choices.byte() % 3;
    let pair = |_| (choices.pick(&KEYS).to_owned(), choices.pick(&VALUES).to_owned());
    (0..count).map(pair).collect()
}

/// A request of choices.
fn make(choices: &mut Choices<'_>) -> Request {
    let name = |choices: &mut Choices<'_>| match choices.byte() {
        byte @ 0..200 => NAMES[usize::from(byte) % NAMES.len()].to_owned(),
        _ => choices.text(),
    };
    let address = |choices: &mut Choices<'_>| {
        let (host, port) = (choices.byte() % 4, choices.short() % 4);
        format!("10.0.0.{host}:{port}")
    };
    let state =
        |choices: &mut Choices<'_>| choices.pick(&[Admin::Ready, Admin::Drain, Admin::Maint]);
    let change = match choices.byte() % 14 {
        0 => {
            let bind = (0..choices.byte() % 3).map(|_| address(choices)).collect();
            let pairs = pairs(choices);
            ChangeRequest::ListenerAdd { name: name(choices), bind, pool: name(choices), pairs }
        }
        1 => ChangeRequest::ListenerRemove { name: name(choices) },
        2 => ChangeRequest::ListenerState { name: name(choices), state: state(choices) },
        3 => ChangeRequest::PoolAdd { name: name(choices), pairs: pairs(choices) },
        4 => ChangeRequest::PoolRemove { name: name(choices) },
        5 => ChangeRequest::PoolSet { name: name(choices), pairs: pairs(choices) },
        6 | 7 => {
            let name = format!("{}/{}", name(choices), name(choices));
            let address = address(choices);
            ChangeRequest::BackendAdd { name, address, pairs: pairs(choices) }
        }
        8 => {
            let name = format!("{}/{}", name(choices), name(choices));
            ChangeRequest::BackendRemove { name, force: choices.byte().is_multiple_of(2) }
        }
        9 => ChangeRequest::BackendState { name: name(choices), state: state(choices) },
        10 => ChangeRequest::BackendWeight { name: name(choices), weight: choices.short() % 300 },
        11 => ChangeRequest::ListenerSet { name: name(choices), pairs: pairs(choices) },
        12 => {
            let name = format!("{}/{}", name(choices), name(choices));
            ChangeRequest::BackendSet { name, pairs: pairs(choices) }
        }
        _ => ChangeRequest::Rollback { version: u64::from(choices.byte() % 8) },
    };
    let options = ChangeOptions {
        dry_run: choices.byte().is_multiple_of(8),
        if_version: (choices.byte().is_multiple_of(8)).then(|| u64::from(choices.byte() % 4)),
        yes: false,
        ..ChangeOptions::default()
    };
    Command::Change { change, options }.into()
}
