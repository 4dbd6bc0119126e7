//! F6: what a backend answers to a health check, cut into chunks of its choice: the verdict is the
//! same however it is cut, and once it is made more bytes do not change it.

use weir_control_core::health::dialogue::{Dialogue, Move};
use weir_control_core::health::reply::{STATUS_LINE_MAX, Seeker, StatusLine, status_line};
use weir_control_core::health::{CheckOutcome, CheckPlan};
use weir_proto::spec::{CheckStep, HealthKind, HealthSpec};

use crate::choices::Choices;

/// What backends say.
pub const WORDS: &[&[u8]] = &[
    b"HTTP/1.1 200 ",
    b"HTTP/1.0 503\r\n",
    b"+PONG\r\n",
    b"-NOAUTH x\r\n",
    b"abab",
    b"\r\n",
    b"HTTP/2 200",
    b"220-a\r\n220 b\r\n",
    b"250 c\r\n",
    b"R\0\0\0\x08\0\0\0\x05",
    b"E\0\0\0\x08Mno\0",
    b"\x16\x03\x03\0\x7a\x02",
    b"\x15\x03\x03\0\x02\x02",
    b"\x07\0\0\x02\0\0\0\x02\0\0\0",
    b"\x05\0\0\0\xff\x10\x04no",
];

/// A wanted string behind its length (one byte), then the answer.
///
/// # Panics
/// A promise is broken.
pub fn run(bytes: &[u8]) -> u64 {
    let mut choices = Choices::new(bytes);
    let count = usize::from(choices.byte() % 32);
    let wanted = choices.bytes(count);
    let answer = choices.rest();
    let verdict = check_status(answer);
    check_seeker(wanted, answer, bytes.len());
    verdict + check_dialogues(answer)
}

/// Every kind of check hears the answer in pieces of several sizes.
fn check_dialogues(answer: &[u8]) -> u64 {
    let steps = CheckStep::list("expect ab;send x;expect b;expect \\r\\n").expect("they are steps");
    let address = std::net::SocketAddr::from(([127, 0, 0, 1], 80)).into();
    let mut reached = 0;
    for kind in HealthKind::ALL {
        let spec = HealthSpec { kind, ..HealthSpec::default() };
        let steps = if kind == HealthKind::SendExpect { steps.clone() } else { Vec::new() };
        let plan = CheckPlan::new(&HealthSpec { steps, ..spec }, address);
        let whole = hold(Dialogue::new(&plan.talk), answer, answer.len().max(1));
        for size in [1, 2, 3, 7] {
            let cut = hold(Dialogue::new(&plan.talk), answer, size);
            // The words of one that is wrong from its first piece on are those of that piece.
            let is_good = |(outcome, _): &(CheckOutcome, u64)| *outcome == CheckOutcome::Good;
            let same = is_good(&cut) == is_good(&whole) && cut.1 == whole.1;
            assert!(same, "{kind:?} in pieces of {size}: {cut:?}, and {whole:?} in one");
        }
        reached = reached * 3 + u64::from(whole.0 == CheckOutcome::Good) + whole.1.min(1);
    }
    reached * 16
}

/// Holds a conversation with a backend that gives `answer` and ends. The outcome, and how many
/// times something was sent.
fn hold(mut dialogue: Dialogue<'_>, answer: &[u8], size: usize) -> (CheckOutcome, u64) {
    let mut chunks = answer.chunks(size);
    let mut sent = 0;
    for _ in 0..2 * answer.len() + 100 {
        match dialogue.step() {
            Move::Send(_) => sent += 1,
            Move::Receive => match chunks.next() {
                Some(chunk) => dialogue.receive(chunk),
                None => dialogue.end(),
            },
            Move::Part { outcome, .. } => {
                dialogue.receive(b"+PONG\r\n");
                let after = dialogue.step();
                assert!(matches!(&after, Move::Part { outcome: still, .. } if *still == outcome));
                if let CheckOutcome::Bad(why) = &outcome {
                    let is_legible = why.len() < 400 && !why.contains(char::is_control);
                    assert!(is_legible, "{why:?}");
                }
                return (outcome, sent);
            }
        }
    }
    panic!("the conversation does not end");
}

fn check_status(answer: &[u8]) -> u64 {
    let whole = status_line(answer);
    let mut decided = None;
    for cut in 0..=answer.len().min(STATUS_LINE_MAX * 2) {
        let verdict = status_line(&answer[..cut]);
        if verdict == StatusLine::Unfinished {
            assert_eq!(decided, None, "it was decided, and after {cut} bytes it is not");
        } else {
            let first = *decided.get_or_insert(verdict);
            assert_eq!(first, verdict, "after {cut} bytes it is something else");
        }
    }
    assert_eq!(decided.unwrap_or(StatusLine::Unfinished), whole);
    match whole {
        StatusLine::Unfinished => 1,
        StatusLine::Foreign => 2,
        StatusLine::Status(status) => {
            assert!((100..1000).contains(&status), "{status}");
            3 + u64::from(status / 100)
        }
    }
}

fn check_seeker(wanted: &[u8], answer: &[u8], step: usize) {
    let found = wanted.is_empty() || answer.windows(wanted.len()).any(|window| window == wanted);
    for size in [1, 2, 3, 7, 1 + step % 13, answer.len().max(1)] {
        let mut seeker = Seeker::new(wanted);
        let mut seen = seeker.feed(b"");
        for chunk in answer.chunks(size) {
            let now = seeker.feed(chunk);
            assert!(now || !seen, "what was seen is not seen any more");
            seen = now;
        }
        assert_eq!(seen, found, "chunks of {size}: {wanted:?} in {answer:?}");
    }
}
