//! Events: what one is, which are asked for, and how one is named over a restart of weir.

use core::fmt;
use core::str::FromStr;

use serde::{Deserialize, Serialize};

use super::EventKind;

/// `weirctl events`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Events {
    pub events: Vec<EventRow>,
    /// The process that they are of, by when it started (milliseconds since 1970): each process
    /// numbers its events from 1.
    pub start: u64,
    /// The number of the newest event of all, shown or not: what comes is after it.
    pub last: u64,
    /// Events after the one that was asked for, of whatever kind, that are no longer kept.
    pub missing: u64,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct EventRow {
    /// Grows by one with every event.
    pub id: u64,
    /// RFC 3339, UTC.
    pub at: String,
    pub kind: EventKind,
    pub subject: String,
    pub text: String,
}

/// Which events are meant. Empty: all of them.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct EventFilter {
    /// Of these kinds; none: of every kind.
    pub kinds: Vec<EventKind>,
    /// No older than this, in milliseconds.
    pub since_ms: Option<u64>,
}

impl EventFilter {
    /// True if events of this kind are meant.
    #[must_use]
    pub fn takes(&self, kind: EventKind) -> bool {
        self.kinds.is_empty() || self.kinds.contains(&kind)
    }
}

/// The name of an event: the process that it is of, and its number there. As text `START-NUMBER`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct EventId {
    /// When the process started, in milliseconds since 1970: each has another.
    pub start: u64,
    pub number: u64,
}

impl fmt::Display for EventId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}-{}", self.start, self.number)
    }
}

impl FromStr for EventId {
    type Err = String;

    fn from_str(text: &str) -> Result<EventId, String> {
        // Not "+1", which Rust takes.
        let whole = |digits: &str| {
            let is_plain = digits.bytes().all(|byte| byte.is_ascii_digit());
            digits.parse().ok().filter(|_| is_plain)
        };
        let halves = text.split_once('-');
        let read = halves.and_then(|(start, number)| {
            Some(EventId { start: whole(start)?, number: whole(number)? })
        });
        read.ok_or_else(|| "the id of an event is START-NUMBER, as in 1796000000000-17".to_owned())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_id_is_its_text() {
        let id = EventId { start: 1_796_000_000_000, number: 17 };
        assert_eq!(id.to_string(), "1796000000000-17");
        assert_eq!("1796000000000-17".parse(), Ok(id));
        for wrong in ["", "17", "-", "1-", "-1", "1-2-3", "+1-2", "1-+2", "a-1", " 1-2"] {
            assert!(wrong.parse::<EventId>().is_err(), "{wrong:?}");
        }
    }

    #[test]
    fn no_kind_is_every_kind() {
        let mut filter = EventFilter::default();
        assert!(filter.takes(EventKind::Health));
        filter.kinds = vec![EventKind::Task, EventKind::Limit];
        assert!(filter.takes(EventKind::Limit) && !filter.takes(EventKind::Health));
    }
}
