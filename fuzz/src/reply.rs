//! F6: what a backend answers to a health check, cut into chunks of its choice: the verdict is the
//! same however it is cut, and once it is made more bytes do not change it.

use weir_control_core::health::reply::{STATUS_LINE_MAX, Seeker, StatusLine, status_line};

use crate::choices::Choices;

/// What backends say.
pub const WORDS: &[&[u8]] =
    &[b"HTTP/1.1 200 ", b"HTTP/1.0 503\r\n", b"+PONG\r\n", b"abab", b"\r\n", b"HTTP/2 200"];

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
    verdict
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
