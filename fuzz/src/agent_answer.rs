//! F14: the line of an agent, cut into chunks of its choice. No panic; the same words however it is
//! cut; no more is read than a line has; what people see is short and legible; and no words make
//! weir give a backend more than its operator has configured.

use weir_control_core::health::dialogue::{AGENT_LINE_MAX, AgentAnswer, Dialogue, Move};
use weir_control_core::health::{CheckOutcome, Talk};
use weir_proto::ids::{IdSource, Version};
use weir_proto::snapshot::{AgentMark, Snapshot, WEIGHT_MAX};
use weir_proto::spec::{Admin, BackendSpec, PoolSpec, Spec};

use crate::choices::Choices;

/// Words of agents.
pub const WORDS: &[&[u8]] = &[
    b"75%",
    b"0%",
    b"100%",
    b"256%",
    b"maxconn:",
    b"30",
    b"ready",
    b"drain",
    b"maint",
    b"up",
    b"down",
    b"failed",
    b"stopped",
    b"# why",
    b"\r\n",
    b"\n",
    b", ",
    b"\t",
    b"\0",
];

/// The configured weight, state and limit of two backends (one byte each), then what one agent
/// says.
///
/// # Panics
/// A promise is broken.
pub fn run(bytes: &[u8]) -> u64 {
    let mut choices = Choices::new(bytes);
    let settings = [choices.byte(), choices.byte()];
    let line = choices.rest();
    let whole = hold(line, line.len().max(1));
    for size in [1, 2, 3, 7] {
        assert_eq!(hold(line, size), whole, "in pieces of {size}");
    }
    match whole {
        CheckOutcome::Said(answer) => obey(settings, &answer),
        CheckOutcome::Bad(why) => {
            assert!(why == "closed" || why.starts_with("no end of a line"), "{why}");
            1
        }
        other => panic!("an agent has said {other:?}"),
    }
}

fn hold(line: &[u8], size: usize) -> CheckOutcome {
    let talk = Talk::Agent { send: Vec::new() };
    let mut dialogue = Dialogue::new(&talk);
    let (mut chunks, mut read) = (line.chunks(size), 0);
    for _ in 0..line.len() + 10 {
        match dialogue.step() {
            Move::Send(_) => panic!("there is nothing to send"),
            Move::Receive => match chunks.next() {
                Some(chunk) => {
                    read += chunk.len();
                    dialogue.receive(chunk);
                }
                None => dialogue.end(),
            },
            Move::Part { outcome, farewell } => {
                assert!(farewell.is_empty() && read < AGENT_LINE_MAX + size, "{read} bytes");
                dialogue.receive(b"drain\n");
                let after = dialogue.step();
                assert!(matches!(&after, Move::Part { outcome: still, .. } if *still == outcome));
                return outcome;
            }
        }
    }
    panic!("the conversation does not end");
}

fn obey(settings: [u8; 2], answer: &AgentAnswer) -> u64 {
    for text in [&answer.reason, &answer.unknown] {
        assert!(text.len() < 100 && !text.contains(char::is_control), "{text:?}");
    }
    let admins = [Admin::Ready, Admin::Drain, Admin::Maint];
    let mut pool = PoolSpec::default();
    pool.agent.port = Some(9);
    for (name, byte) in ["a", "b"].into_iter().zip(settings) {
        let address = ([10, 0, 0, 1], 1 + u16::from(byte)).into();
        let mut backend = BackendSpec::new(weir_proto::address::Address::Ip(address));
        backend.weight = u16::from(byte);
        backend.state = admins[usize::from(byte % 5).min(2) % 3];
        backend.max_sessions = (byte % 2 == 0).then(|| 1 + u32::from(byte));
        pool.backend.insert(name.parse().expect("a name"), backend);
    }
    let spec =
        Spec { pool: [("p".parse().expect("a name"), pool.into())].into(), ..Spec::default() };
    let first = Snapshot::build(&spec, Version(1), &Snapshot::empty(), &mut IdSource::default());
    let first = first.expect("it is sound");
    let mark = AgentMark {
        percent: answer.percent,
        admin: answer.admin.unwrap_or_default(),
        max_sessions: answer.max_sessions.filter(|most| *most > 0),
    };
    let next = first.remark(vec![(0, vec![mark, AgentMark::default()])]);
    assert_eq!(next.spec(), spec, "a mark is no configuration");
    for (_, it) in next.backends() {
        let own = it.configured;
        assert!(it.weight <= WEIGHT_MAX && (own.weight > 0 || it.weight == 0), "{it:?}");
        assert!(own.admin.is_ready() || it.admin == own.admin, "{it:?}");
        assert!(own.max_sessions.is_none_or(|own| it.max_sessions <= Some(own)), "{it:?}");
    }
    let said = [
        answer.percent.is_some(),
        answer.max_sessions.is_some(),
        answer.admin.is_some(),
        answer.health.is_some(),
        answer.reason.is_empty(),
        answer.unknown.is_empty(),
    ];
    let reached = said.iter().fold(1, |sum, it| sum * 2 + u64::from(*it));
    reached * 4 + u64::from(next.pools[0].backends[0].weight > 0)
}
