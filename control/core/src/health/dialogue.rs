//! The conversation of one check, without a socket: bytes that came go in, the next move comes out.
//!
//! ```text
//! step() ──▶ Send(bytes) ──▶ write them, step() again
//!        ──▶ Receive     ──▶ read, receive(bytes) or end(), step() again
//!        ──▶ Part        ──▶ the outcome, and the bytes with which a guest leaves politely
//! ```
//!
//! Whatever a backend says, a dialogue ends: each move needs bytes that have not been looked at
//! yet, and there are [`ANSWER_MAX`] of them.

mod agent;
mod http;
mod mysql;
mod postgresql;
mod redis;
mod smtp;
mod steps;
mod tls;

use weir_proto::outside::cleaned;
use weir_proto::spec::Statuses;

use super::plan::{CheckOutcome, Talk};

pub use agent::{AGENT_LINE_MAX, AgentAnswer, AgentHealth};
pub(super) use postgresql::startup;
pub(super) use tls::client_hello;

/// The most bytes of a backend's answers that are read, in bytes.
pub const ANSWER_MAX: usize = 64 << 10;

/// The next thing to do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Move {
    Send(Vec<u8>),
    Receive,
    /// It is over. `farewell` is for the backend: whether it arrives changes nothing.
    Part {
        outcome: CheckOutcome,
        farewell: Vec<u8>,
    },
}

impl Move {
    fn good(farewell: &[u8]) -> Move {
        Move::Part { outcome: CheckOutcome::Good, farewell: farewell.to_vec() }
    }

    fn bad(why: impl Into<String>) -> Move {
        Move::Part { outcome: CheckOutcome::Bad(why.into()), farewell: Vec::new() }
    }

    /// The backend said something else than it should.
    fn unexpected(answer: &[u8]) -> Move {
        Move::bad(format!("unexpected answer {:?}", excerpt(answer)))
    }
}

/// One conversation.
#[derive(Debug)]
pub struct Dialogue<'a> {
    talk: Protocol<'a>,
    /// Sent before anything is heard; empty if the backend sends first.
    opening: &'a [u8],
    input: Heard,
    over: Option<Move>,
}

#[derive(Debug)]
enum Protocol<'a> {
    Agent,
    Silent,
    Http(&'a Statuses),
    Steps(steps::StepsTalk<'a>),
    Redis,
    Postgresql(postgresql::PostgresqlTalk),
    Mysql(mysql::MysqlTalk<'a>),
    Smtp(smtp::SmtpTalk<'a>),
    Tls,
}

/// The bytes of the backend that no step has taken yet.
#[derive(Debug, Default)]
struct Heard {
    bytes: Vec<u8>,
    /// All that ever came.
    seen: usize,
    has_ended: bool,
}

impl Heard {
    /// Takes the first `count` bytes away.
    fn skip(&mut self, count: usize) {
        self.bytes.drain(..count);
    }

    /// Takes a line without its end, if a whole one is there.
    fn line(&mut self) -> Option<Vec<u8>> {
        let end = self.bytes.iter().position(|byte| *byte == b'\n')?;
        let mut line: Vec<u8> = self.bytes.drain(..=end).collect();
        while line.pop_if(|byte| b"\r\n".contains(byte)).is_some() {}
        Some(line)
    }
}

impl<'a> Dialogue<'a> {
    #[must_use]
    pub fn new(talk: &'a Talk) -> Dialogue<'a> {
        let (opening, talk): (&[u8], _) = match talk {
            Talk::Agent { send } => (send, Protocol::Agent),
            Talk::Silent => (b"", Protocol::Silent),
            Talk::Http { request, expect } => (request, Protocol::Http(expect)),
            Talk::Steps(steps) => (b"", Protocol::Steps(steps::StepsTalk::new(steps))),
            Talk::Redis => (redis::PING, Protocol::Redis),
            Talk::Postgresql { startup } => (startup, Protocol::Postgresql(Default::default())),
            Talk::Mysql { user } => (b"", Protocol::Mysql(mysql::MysqlTalk::new(user))),
            Talk::Smtp { name } => (b"", Protocol::Smtp(smtp::SmtpTalk::new(name))),
            Talk::TlsHello { hello } => (hello, Protocol::Tls),
        };
        Dialogue { talk, opening, input: Heard::default(), over: None }
    }

    /// Bytes have come.
    pub fn receive(&mut self, bytes: &[u8]) {
        let room = ANSWER_MAX - self.input.seen.min(ANSWER_MAX);
        let taken = &bytes[..bytes.len().min(room)];
        self.input.seen += taken.len();
        self.input.bytes.extend_from_slice(taken);
    }

    /// The backend sends nothing more.
    pub fn end(&mut self) {
        self.input.has_ended = true;
    }

    /// The next move. One that is over stays so.
    pub fn step(&mut self) -> Move {
        if let Some(over) = &self.over {
            return over.clone();
        }
        let next = self.advance();
        if matches!(next, Move::Part { .. }) {
            self.over = Some(next.clone());
        }
        next
    }

    fn advance(&mut self) -> Move {
        let opening = core::mem::take(&mut self.opening);
        if !opening.is_empty() {
            return Move::Send(opening.to_vec());
        }
        let input = &mut self.input;
        let next = match &mut self.talk {
            Protocol::Agent => agent::step(input),
            Protocol::Silent => Some(Move::good(b"")),
            Protocol::Http(expect) => http::step(input, expect),
            Protocol::Steps(talk) => talk.step(input),
            Protocol::Redis => redis::step(input),
            Protocol::Postgresql(talk) => talk.step(input),
            Protocol::Mysql(talk) => talk.step(input),
            Protocol::Smtp(talk) => talk.step(input),
            Protocol::Tls => tls::step(input),
        };
        if let Some(next) = next {
            return next;
        }
        let input = &self.input;
        let heard = match &self.talk {
            Protocol::Steps(talk) => talk.heard(),
            _ => &input.bytes,
        };
        match (input.has_ended, heard.is_empty()) {
            (true, true) => Move::bad("closed"),
            (true, false) => Move::unexpected(heard),
            (false, _) if input.seen >= ANSWER_MAX => Move::unexpected(heard),
            (false, _) => Move::Receive,
        }
    }
}

/// The beginning of an answer, for people: printable, on one line.
fn excerpt(answer: &[u8]) -> String {
    let head = &answer[..answer.len().min(EXCERPT_MAX)];
    let text = head.split(|byte| b"\r\n".contains(byte)).find(|line| !line.is_empty());
    let text = String::from_utf8_lossy(text.unwrap_or_default());
    cleaned(text.trim(), EXCERPT_MAX)
}

/// Bytes of an answer that people see.
const EXCERPT_MAX: usize = 80;

#[cfg(test)]
mod tests;
