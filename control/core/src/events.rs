//! The last things that happened, numbered: a bounded ring for `weirctl events`.

use std::collections::VecDeque;

use weir_proto::answer::{EventKind, EventRow};

use crate::timestamp::rfc3339;

/// How many events are kept.
pub const EVENTS_MAX: usize = 1024;

/// The last [`EVENTS_MAX`] events, oldest first. Their numbers begin at 1 and grow by one.
#[derive(Debug, Default)]
pub struct Events {
    rows: VecDeque<EventRow>,
    last: u64,
}

impl Events {
    /// No event yet.
    pub fn new() -> Events {
        Events::default()
    }

    /// Adds an event at `wall_ms` milliseconds after 1970; the oldest one makes room.
    pub fn push(&mut self, kind: EventKind, subject: String, text: String, wall_ms: u64) {
        if self.rows.len() == EVENTS_MAX {
            self.rows.pop_front();
        }
        self.last += 1;
        let (id, at) = (self.last, rfc3339(wall_ms));
        self.rows.push_back(EventRow { id, at, kind, subject, text });
    }

    /// The events with a greater number than `id`, oldest first.
    pub fn after(&self, id: u64) -> Vec<EventRow> {
        let start = self.rows.partition_point(|row| row.id <= id);
        self.rows.range(start..).cloned().collect()
    }

    /// Events that had to make room for newer ones.
    pub fn dropped_total(&self) -> u64 {
        self.last - self.rows.len() as u64
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
        let most = EVENTS_MAX as u64;
        for number in 1..=most + 2 {
            events.push(EventKind::Health, "web/b1".to_owned(), format!("event {number}"), number);
        }
        let all = events.after(0);
        assert_eq!((all.len(), all[0].id, all[0].text.as_str()), (EVENTS_MAX, 3, "event 3"));
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
}
