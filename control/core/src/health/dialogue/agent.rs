//! The answer of an agent: one line of words, in any order.
//!
//! ```text
//! 75% maxconn:30, up # a reason
//! ```

use weir_proto::outside::cleaned;
use weir_proto::snapshot::AgentMark;
use weir_proto::spec::Admin;

use super::super::plan::CheckOutcome;
use super::{EXCERPT_MAX, Heard, Move};

/// The longest line, in bytes: one that has no end by then is none.
pub const AGENT_LINE_MAX: usize = 1024;

/// The words of one line. A setting that it leaves out stays as it is.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct AgentAnswer {
    pub percent: Option<u16>,
    /// 0: no limit any more.
    pub max_sessions: Option<u32>,
    pub admin: Option<Admin>,
    pub health: Option<AgentHealth>,
    /// Behind `#`, for people; may be empty.
    pub reason: String,
    /// The words that mean nothing to weir, for people; may be empty.
    pub unknown: String,
}

/// An agent's word on health.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AgentHealth {
    Up,
    Down,
    Failed,
    Stopped,
}

impl AgentHealth {
    #[must_use]
    pub fn word(self) -> &'static str {
        match self {
            AgentHealth::Up => "up",
            AgentHealth::Down => "down",
            AgentHealth::Failed => "failed",
            AgentHealth::Stopped => "stopped",
        }
    }
}

pub(super) fn step(input: &Heard) -> Option<Move> {
    let head = &input.bytes[..input.bytes.len().min(AGENT_LINE_MAX)];
    let end = head.iter().position(|byte| b"\r\n".contains(byte));
    let line = match end {
        Some(end) => &head[..end],
        None if head.len() == AGENT_LINE_MAX => {
            return Some(Move::bad(format!("no end of a line within {AGENT_LINE_MAX} bytes")));
        }
        None if input.has_ended && !head.is_empty() => head,
        None => return None,
    };
    let outcome = CheckOutcome::Said(Box::new(AgentAnswer::read(line)));
    Some(Move::Part { outcome, farewell: Vec::new() })
}

impl AgentAnswer {
    /// Reads a line. Of two words for the same thing the last one counts.
    #[must_use]
    pub fn read(line: &[u8]) -> AgentAnswer {
        let line = String::from_utf8_lossy(line);
        let (words, reason) = line.split_once('#').unwrap_or((&line, ""));
        let mut answer =
            AgentAnswer { reason: cleaned(reason.trim(), EXCERPT_MAX), ..AgentAnswer::default() };
        let mut unknown = Vec::new();
        for word in words.split([' ', '\t', ',']).filter(|word| !word.is_empty()) {
            if !answer.take(word) {
                unknown.push(word);
            }
        }
        answer.unknown = cleaned(&unknown.join(" "), EXCERPT_MAX);
        answer
    }

    /// Takes one word. False: it means nothing.
    fn take(&mut self, word: &str) -> bool {
        if let Some(percent) = word.strip_suffix('%') {
            let Some(percent) = count(percent) else { return false };
            let percent = u16::try_from(percent).unwrap_or(AgentMark::PERCENT_MAX);
            self.percent = Some(percent.min(AgentMark::PERCENT_MAX));
            return true;
        }
        let lower = word.to_ascii_lowercase();
        if let Some(most) = lower.strip_prefix("maxconn:") {
            let most = count(most);
            self.max_sessions = most.or(self.max_sessions);
            return most.is_some();
        }
        match lower.as_str() {
            "ready" => self.admin = Some(Admin::Ready),
            "drain" => self.admin = Some(Admin::Drain),
            "maint" => self.admin = Some(Admin::Maint),
            "up" => self.health = Some(AgentHealth::Up),
            "down" => self.health = Some(AgentHealth::Down),
            "failed" => self.health = Some(AgentHealth::Failed),
            "stopped" => self.health = Some(AgentHealth::Stopped),
            _ => return false,
        }
        true
    }
}

/// Digits alone; a number that does not fit is the greatest that does.
fn count(text: &str) -> Option<u32> {
    let is_number = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    is_number.then(|| text.parse().unwrap_or(u32::MAX))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(line: &str) -> AgentAnswer {
        AgentAnswer::read(line.as_bytes())
    }

    #[test]
    fn every_word_is_obeyed() {
        let none = AgentAnswer::default;
        let admin = |admin| AgentAnswer { admin: Some(admin), ..none() };
        let health = |health| AgentAnswer { health: Some(health), ..none() };
        let percent = |percent| AgentAnswer { percent: Some(percent), ..none() };
        let most = |most| AgentAnswer { max_sessions: Some(most), ..none() };
        for (line, answer) in [
            ("", none()),
            (" \t,, ", none()),
            ("ready", admin(Admin::Ready)),
            ("drain", admin(Admin::Drain)),
            ("MAINT", admin(Admin::Maint)),
            ("up", health(AgentHealth::Up)),
            ("Down", health(AgentHealth::Down)),
            ("failed", health(AgentHealth::Failed)),
            ("stopped", health(AgentHealth::Stopped)),
            ("75%", percent(75)),
            ("0%", percent(0)),
            ("100%", percent(100)),
            ("250%", percent(250)),
            ("99999%", percent(AgentMark::PERCENT_MAX)),
            ("99999999999999999999%", percent(AgentMark::PERCENT_MAX)),
            ("maxconn:30", most(30)),
            ("MaxConn:0", most(0)),
            ("maxconn:99999999999", most(u32::MAX)),
        ] {
            assert_eq!(read(line), answer, "{line:?}");
        }
    }

    #[test]
    fn several_words_are_one_answer_and_the_last_of_a_kind_counts() {
        let all = read("drain,75%\tup maxconn:30 ready 50%");
        let answer = AgentAnswer {
            percent: Some(50),
            max_sessions: Some(30),
            admin: Some(Admin::Ready),
            health: Some(AgentHealth::Up),
            ..AgentAnswer::default()
        };
        assert_eq!(all, answer);
    }

    #[test]
    fn a_reason_is_text_and_no_word() {
        let answer = read("down#drain, disk full\u{1b}[2J");
        assert_eq!(answer.health, Some(AgentHealth::Down));
        assert_eq!((answer.admin, answer.reason.as_str()), (None, "drain, disk full·[2J"));
        let long = read(&format!("up # {}", "x".repeat(500)));
        assert!(long.reason.len() < 100 && long.reason.ends_with('…'), "{}", long.reason);
    }

    #[test]
    fn unknown_words_are_reported_and_the_rest_obeyed() {
        for (line, unknown) in [
            ("hello 75% world", "hello world"),
            ("75% 7.5%", "7.5%"),
            ("75% -5%", "-5%"),
            ("75% +5%", "+5%"),
            ("75% %", "%"),
            ("75% 40", "40"),
            ("75% maxconn:", "maxconn:"),
            ("75% maxconn:-1", "maxconn:-1"),
            ("75% maxconn:3x", "maxconn:3x"),
            ("75% up\0", "up·"),
            ("75% \u{202e}nwod", "·nwod"),
        ] {
            let answer = read(line);
            assert_eq!((answer.percent, answer.unknown.as_str()), (Some(75), unknown), "{line:?}");
            assert_eq!((answer.max_sessions, answer.health), (None, None), "{line:?}");
        }
        let bytes = AgentAnswer::read(b"\xff\xfe 20% \0\0");
        assert_eq!((bytes.percent, bytes.unknown.is_empty()), (Some(20), false));
    }
}
