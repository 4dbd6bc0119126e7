//! The last things that happened, numbered: bounded rings for `weirctl events`. Changes and
//! refusals have rings of their own, so that neither a flood of requests that come to nothing nor a
//! day of flapping backends displaces what was done.

use std::collections::VecDeque;

use weir_proto::answer::{EventKind, EventRow};
use weir_proto::outside::cleaned;

use crate::timestamp::rfc3339;

/// How many events are kept of changes, which operators make.
pub const CHANGES_MAX: usize = 512;
/// How many are kept of requests that came to nothing.
pub const REFUSALS_MAX: usize = 128;
/// How many are kept of what happens by itself: health, shards, the process.
pub const NEWS_MAX: usize = 1024;

/// Bytes of a subject and of a text that are kept; the log has the whole.
const SUBJECT_MAX: usize = 160;
const TEXT_MAX: usize = 512;

/// The ring that keeps an event.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kept {
    Change,
    Refusal,
    News,
}

impl Kept {
    const fn most(self) -> usize {
        match self {
            Kept::Change => CHANGES_MAX,
            Kept::Refusal => REFUSALS_MAX,
            Kept::News => NEWS_MAX,
        }
    }
}

/// The last events of each ring, oldest first. Their numbers begin at 1 and grow by one, over all
/// rings.
#[derive(Debug, Default)]
pub struct Events {
    changes: VecDeque<EventRow>,
    refusals: VecDeque<EventRow>,
    news: VecDeque<EventRow>,
    last: u64,
}

impl Events {
    /// No event yet.
    pub fn new() -> Events {
        Events::default()
    }

    /// Adds an event at `wall_ms` milliseconds after 1970; the oldest one of its ring makes room.
    /// A new version is kept among the changes, everything else among the news.
    pub fn push(&mut self, kind: EventKind, subject: String, text: String, wall_ms: u64) {
        let kept = if kind == EventKind::Config { Kept::Change } else { Kept::News };
        self.keep(kept, (kind, &subject, &text), wall_ms);
    }

    /// Adds an event of the kind `audit`.
    pub fn audit(&mut self, kept: Kept, subject: &str, text: &str, wall_ms: u64) {
        self.keep(kept, (EventKind::Audit, subject, text), wall_ms);
    }

    fn keep(&mut self, kept: Kept, (kind, subject, text): (EventKind, &str, &str), wall_ms: u64) {
        self.last += 1;
        let (id, at) = (self.last, rfc3339(wall_ms));
        let ring = match kept {
            Kept::Change => &mut self.changes,
            Kept::Refusal => &mut self.refusals,
            Kept::News => &mut self.news,
        };
        if ring.len() == kept.most() {
            ring.pop_front();
        }
        let (subject, text) = (cleaned(subject, SUBJECT_MAX), cleaned(text, TEXT_MAX));
        ring.push_back(EventRow { id, at, kind, subject, text });
    }

    /// The events with a greater number than `id`, oldest first.
    pub fn after(&self, id: u64) -> Vec<EventRow> {
        let rings = [&self.changes, &self.refusals, &self.news];
        let newer = rings.iter().flat_map(|ring| {
            let start = ring.partition_point(|row| row.id <= id);
            ring.range(start..).cloned()
        });
        let mut rows: Vec<EventRow> = newer.collect();
        rows.sort_unstable_by_key(|row| row.id);
        rows
    }

    /// Events that had to make room for newer ones.
    pub fn dropped_total(&self) -> u64 {
        let kept = self.changes.len() + self.refusals.len() + self.news.len();
        self.last - kept as u64
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_go_on_while_the_oldest_fall_out() {
        let mut events = Events::new();
        assert_eq!(events.dropped_total(), 0);
        assert_eq!(events.after(0), []);
        let most = NEWS_MAX as u64;
        for number in 1..=most + 2 {
            events.push(EventKind::Health, "web/b1".to_owned(), format!("event {number}"), number);
        }
        let all = events.after(0);
        assert_eq!((all.len(), all[0].id, all[0].text.as_str()), (NEWS_MAX, 3, "event 3"));
        assert!(all.iter().zip(3..).all(|(row, id)| row.id == id));
        assert_eq!(events.dropped_total(), 2);
        let last = events.after(most + 1);
        assert_eq!(last.len(), 1);
        assert_eq!(
            last[0],
            EventRow {
                id: most + 2,
                at: "1970-01-01T00:00:01.026Z".to_owned(),
                kind: EventKind::Health,
                subject: "web/b1".to_owned(),
                text: format!("event {}", most + 2),
            }
        );
        assert_eq!(events.after(most + 2), []);
        assert_eq!(events.after(u64::MAX), []);
    }

    #[test]
    fn neither_refusals_nor_news_displace_what_was_done() {
        let mut events = Events::new();
        events.push(
            EventKind::Config,
            "version 2".to_owned(),
            "backend weight web/b1".to_owned(),
            1,
        );
        events.audit(Kept::Change, "uid 0", "backend weight web/b1 2: done", 1);
        for _ in 0..10_000 {
            events.audit(Kept::Refusal, "uid 1000", "stop: not permitted", 2);
            events.push(EventKind::Health, "web/b1".to_owned(), "down".to_owned(), 2);
        }
        events.audit(Kept::Change, "uid 0", "drain: done", 3);
        let all = events.after(0);
        assert_eq!(all.len(), 3 + REFUSALS_MAX + NEWS_MAX);
        let subjects = [all[0].subject.as_str(), all[1].subject.as_str()];
        assert_eq!(subjects, ["version 2", "uid 0"]);
        assert!(all.is_sorted_by_key(|row| row.id), "the rings are merged by their numbers");
        assert_eq!(
            all.last().map(|row| (row.id, row.text.as_str())),
            Some((20_003, "drain: done"))
        );
        assert_eq!(events.dropped_total(), 20_003 - all.len() as u64);
    }

    #[test]
    fn a_text_from_outside_is_clean_and_bounded() {
        let mut events = Events::new();
        let forged = format!("apply x\n2026-01-01 INFO audit: done\u{9b}2J{}", "x".repeat(1 << 20));
        events.push(EventKind::Config, forged.clone(), forged, 1);
        let row = &events.after(0)[0];
        assert!(row.text.starts_with("apply x·2026-01-01 INFO audit: done·2Jxx"), "{}", row.text);
        assert!(row.text.len() <= TEXT_MAX + 3 && row.subject.len() <= SUBJECT_MAX + 3);
    }
}
