//! The last things that happened, numbered: bounded rings for `weirctl events`. Changes and
//! refusals have rings of their own, so that neither a flood of requests that come to nothing nor a
//! day of flapping backends displaces what was done.

use std::collections::VecDeque;

use serde::{Deserialize, Serialize};
use weir_proto::answer::events::EventFilter;
use weir_proto::answer::{self, EventKind, EventRow};
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
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Kept {
    Change,
    Refusal,
    News,
}

/// An event, and when it was, in milliseconds since 1970.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
struct Noted {
    at_ms: u64,
    row: EventRow,
}

/// Events of a process that has handed over what came before them.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(transparent)]
pub(crate) struct EventRest(Vec<(Kept, Noted)>);

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
/// rings, and over all processes of which one has taken the place of the other.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Events {
    changes: VecDeque<Noted>,
    refusals: VecDeque<Noted>,
    news: VecDeque<Noted>,
    last: u64,
    start: u64,
}

impl Events {
    /// No event yet, of a process that started `start` milliseconds after 1970.
    pub fn new(start: u64) -> Events {
        Events { start, ..Events::default() }
    }

    /// When the process started, in milliseconds since 1970; if it has taken the place of another,
    /// when the first of them did. Numbers of one start are never given twice.
    pub fn start(&self) -> u64 {
        self.start
    }

    /// The number of the newest event; 0 if there was none.
    pub fn last(&self) -> u64 {
        self.last
    }

    /// Adds an event at `wall_ms` milliseconds after 1970; the oldest one of its ring makes room.
    /// A new version is kept among the changes, everything else among the news.
    pub fn push(&mut self, kind: EventKind, subject: String, text: String, wall_ms: u64) {
        let kept = if kind == EventKind::Config { Kept::Change } else { Kept::News };
        self.keep(kept, (kind, &subject, &text), wall_ms);
    }

    /// Adds an event of this kind, subject and text to a ring.
    pub fn keep(
        &mut self,
        kept: Kept,
        (kind, subject, text): (EventKind, &str, &str),
        wall_ms: u64,
    ) {
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
        ring.push_back(Noted { at_ms: wall_ms, row: EventRow { id, at, kind, subject, text } });
    }

    /// The events after number `id`, oldest first, for the process that takes the place of this one
    /// and has had events of its own since.
    pub(crate) fn rest_after(&self, id: u64) -> EventRest {
        let rings = [Kept::Change, Kept::Refusal, Kept::News].into_iter().zip(self.newer(id));
        let all = rings.flat_map(|(kept, ring)| ring.map(move |event| (kept, event.clone())));
        let mut all: Vec<(Kept, Noted)> = all.collect();
        all.sort_unstable_by_key(|(_, event)| event.row.id);
        EventRest(all)
    }

    /// Adds events of the process before this one, with new numbers and their own times.
    pub(crate) fn inherit_rest(&mut self, rest: &EventRest) {
        for (kept, Noted { at_ms, row }) in &rest.0 {
            self.keep(*kept, (row.kind, &row.subject, &row.text), *at_ms);
        }
    }

    /// The events of each ring with a greater number than `id`, oldest first.
    fn newer(&self, id: u64) -> impl Iterator<Item = impl ExactSizeIterator<Item = &Noted>> {
        [&self.changes, &self.refusals, &self.news].into_iter().map(move |ring| {
            let start = ring.partition_point(|event| event.row.id <= id);
            ring.range(start..)
        })
    }

    /// The events after number `after` that the filter means, oldest first, at `wall_ms`
    /// milliseconds after 1970.
    pub fn page(&self, after: u64, filter: &EventFilter, wall_ms: u64) -> answer::Events {
        let after = self.begin(after, filter, wall_ms);
        let meant = self.newer(after).flatten().filter(|event| filter.takes(event.row.kind));
        let mut events: Vec<EventRow> = meant.map(|event| event.row.clone()).collect();
        events.sort_unstable_by_key(|row| row.id);
        let (start, last, missing) = (self.start, self.last, self.missing(after));
        answer::Events { events, start, last, missing }
    }

    /// All events after number `id`, oldest first.
    pub fn after(&self, id: u64) -> Vec<EventRow> {
        self.page(id, &EventFilter::default(), 0).events
    }

    /// Where who reads on from `after` begins: not before the first event that the filter means by
    /// its age. The clock may have been set since; better one too many.
    pub fn begin(&self, after: u64, filter: &EventFilter, wall_ms: u64) -> u64 {
        let after = after.min(self.last);
        let Some(since_ms) = filter.since_ms else { return after };
        let from = wall_ms.saturating_sub(since_ms);
        let young = self.newer(after).filter_map(|mut ring| ring.find(|it| it.at_ms >= from));
        young.map(|event| event.row.id - 1).min().unwrap_or(self.last)
    }

    /// The first event after number `after` that the filter means by its kind.
    pub fn next(&self, after: u64, filter: &EventFilter) -> Option<&EventRow> {
        let meant = |event: &&Noted| filter.takes(event.row.kind);
        let each = self.newer(after).filter_map(|mut ring| ring.find(meant));
        each.map(|event| &event.row).min_by_key(|row| row.id)
    }

    /// Events after number `after` that are no longer kept.
    pub fn missing(&self, after: u64) -> u64 {
        let kept: usize = self.newer(after).map(|ring| ring.len()).sum();
        self.last.saturating_sub(after).saturating_sub(kept as u64)
    }

    /// Events after number `after` and before `before` that are no longer kept.
    pub fn missing_between(&self, after: u64, before: u64) -> u64 {
        self.missing(after).saturating_sub(self.missing(before.saturating_sub(1)))
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

    fn health(events: &mut Events, text: &str, wall_ms: u64) {
        events.push(EventKind::Health, "web/b1".to_owned(), text.to_owned(), wall_ms);
    }

    fn audit(events: &mut Events, kept: Kept, text: &str, wall_ms: u64) {
        events.keep(kept, (EventKind::Audit, "uid 0", text), wall_ms);
    }

    #[test]
    fn numbers_go_on_while_the_oldest_fall_out() {
        let mut events = Events::new(77);
        assert_eq!(events.dropped_total(), 0);
        assert_eq!(events.after(0), []);
        let most = NEWS_MAX as u64;
        for number in 1..=most + 2 {
            health(&mut events, &format!("event {number}"), number);
        }
        let kept = events.after(0);
        assert_eq!((kept.len(), kept[0].id, kept[0].text.as_str()), (NEWS_MAX, 3, "event 3"));
        assert!(kept.iter().zip(3..).all(|(row, id)| row.id == id));
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
        let none = events.page(u64::MAX, &EventFilter::default(), 0);
        let wanted = (0, 77, most + 2, 0);
        assert_eq!((none.events.len(), none.start, none.last, none.missing), wanted);
    }

    #[test]
    fn a_hole_in_the_numbers_is_told() {
        let mut events = Events::new(0);
        audit(&mut events, Kept::Change, "done", 1);
        for _ in 0..REFUSALS_MAX + 10 {
            audit(&mut events, Kept::Refusal, "no", 1);
        }
        let last = events.last();
        // The change is kept, and the ten refusals behind it are not.
        let cases = [(0, 10), (1, 10), (2, 9), (11, 0), (last, 0), (u64::MAX, 0)];
        for (after, missing) in cases {
            assert_eq!(events.missing(after), missing, "after {after}");
            assert_eq!(events.page(after, &EventFilter::default(), 1).missing, missing);
        }
        assert_eq!(events.missing_between(0, 1), 0, "the change itself is there");
        assert_eq!((events.missing_between(1, 12), events.missing_between(5, 12)), (10, 6));
    }

    #[test]
    fn events_are_found_by_kind_and_age() {
        let mut events = Events::new(0);
        health(&mut events, "old", 1_000);
        audit(&mut events, Kept::Change, "done", 2_000);
        health(&mut events, "young", 5_000);
        audit(&mut events, Kept::Refusal, "no", 6_000);
        let ids = |kinds: &[EventKind], since_ms| {
            let filter = EventFilter { kinds: kinds.to_vec(), since_ms };
            let page = events.page(0, &filter, 7_000);
            page.events.iter().map(|row| row.id).collect::<Vec<_>>()
        };
        let (health, audit) = (EventKind::Health, EventKind::Audit);
        assert_eq!(ids(&[], None), [1, 2, 3, 4]);
        assert_eq!(ids(&[health], None), [1, 3]);
        assert_eq!(ids(&[health, audit], None), [1, 2, 3, 4]);
        assert_eq!(ids(&[EventKind::Task], None), [0; 0]);
        assert_eq!(ids(&[], Some(5_000)), [2, 3, 4]);
        assert_eq!(ids(&[health], Some(2_000)), [3]);
        assert_eq!(ids(&[], Some(999)), [0; 0]);
        assert_eq!(ids(&[], Some(u64::MAX)), [1, 2, 3, 4]);
        let filter = EventFilter { kinds: vec![health], since_ms: None };
        let next = |after| events.next(after, &filter).map(|row| row.id);
        assert_eq!((next(0), next(1), next(3)), (Some(1), Some(3), None));
    }

    #[test]
    fn neither_refusals_nor_news_displace_what_was_done() {
        let mut events = Events::new(0);
        let (version, summary) = ("version 2".to_owned(), "backend weight web/b1".to_owned());
        events.push(EventKind::Config, version, summary, 1);
        audit(&mut events, Kept::Change, "backend weight web/b1 2: done", 1);
        for _ in 0..10_000 {
            audit(&mut events, Kept::Refusal, "stop: not permitted", 2);
            health(&mut events, "down", 2);
        }
        audit(&mut events, Kept::Change, "drain: done", 3);
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
        let mut events = Events::new(0);
        let forged = format!("apply x\n2026-01-01 INFO audit: done\u{9b}2J{}", "x".repeat(1 << 20));
        events.push(EventKind::Config, forged.clone(), forged, 1);
        let row = &events.after(0)[0];
        assert!(row.text.starts_with("apply x·2026-01-01 INFO audit: done·2Jxx"), "{}", row.text);
        assert!(row.text.len() <= TEXT_MAX + 3 && row.subject.len() <= SUBJECT_MAX + 3);
    }
}
