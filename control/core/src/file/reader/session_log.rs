//! The table `session-log` of `[weir]`.

use std::path::PathBuf;

use weir_proto::session_log::SessionLogging;
use weir_proto::spec::{Percent, Span};

use super::{Reader, Section, span_of};
use crate::session_log::{LogFormat, LogTarget, SessionLogSettings};

const HINT: &str = "session-log = { to = \"/var/log/weir/sessions.log\", at = [\"close\"] }";
/// How often a session that lives may be logged, in milliseconds.
const EVERY_MIN_MS: u64 = 1_000;
const EVERY_MAX_MS: u64 = 86_400_000;

impl Reader {
    /// `session-log = { to = "journald", format = "json", at = ["open", "close"], every = "5m",
    /// sample = "100%" }`
    pub(super) fn session_log(&mut self, log: Section<'_>) -> Option<SessionLogSettings> {
        self.no_others(log.table, &["to", "format", "at", "every", "sample"]);
        self.need(log, "to", HINT);
        let to = self.log_target(log);
        let words = LogFormat::ALL.map(LogFormat::word);
        let format = log.table.get("format").and_then(|it| self.one_of(it, "a format", &words));
        let format = LogFormat::ALL.into_iter().find(|it| Some(it.word()) == format.as_deref());
        let (open, close) = self.moments(log);
        let every_ms = self.every(log);
        let sample: Option<Percent> = self.take(log, "sample", "1% to 100%, in quotes");
        if sample == Some(Percent::ZERO) {
            let hint = "1% to 100%, or leave session-log out";
            self.add(span_of(log.table, "sample"), "this logs no session", hint);
        }
        if !open && !close && every_ms.is_none() {
            let message = "this logs nothing: at is empty, and there is no every";
            self.add(span_of(log.table, "at"), message, HINT);
        }
        let sample = sample.unwrap_or(Percent::new(100));
        let logging = SessionLogging { open, close, every_ms, sample };
        Some(SessionLogSettings { to: to?, format: format.unwrap_or_default(), logging })
    }

    fn log_target(&mut self, log: Section<'_>) -> Option<LogTarget> {
        let value = log.table.get("to")?;
        let text = value.get_ref().as_str().unwrap_or_default();
        if text.starts_with('/') {
            return Some(LogTarget::File(PathBuf::from(text)));
        }
        let words = ["stderr", "journald", "a path that begins with /"];
        match self.one_of(value, "a place for a log", &words)?.as_str() {
            "stderr" => Some(LogTarget::Stderr),
            "journald" => Some(LogTarget::Journald),
            _ => None,
        }
    }

    /// Whether sessions are logged at their begin, and at their end.
    fn moments(&mut self, log: Section<'_>) -> (bool, bool) {
        let Some(value) = log.table.get("at") else { return (true, true) };
        let Some(items) = value.get_ref().as_array() else {
            self.add(value.span(), "at must be a list", "at = [\"open\", \"close\"]");
            return (true, true);
        };
        let words: Vec<String> = items
            .iter()
            .filter_map(|item| self.one_of(item, "a moment of a session", &["open", "close"]))
            .collect();
        let has = |word: &str| words.iter().any(|it| it == word);
        (has("open"), has("close"))
    }

    fn every(&mut self, log: Section<'_>) -> Option<u32> {
        let every: Span = self.take(log, "every", "a duration in quotes, like \"5m\"")?;
        if (EVERY_MIN_MS..=EVERY_MAX_MS).contains(&every.millis) {
            return u32::try_from(every.millis).ok();
        }
        self.add(span_of(log.table, "every"), "this is out of range for every", "1s to 24h");
        None
    }
}
