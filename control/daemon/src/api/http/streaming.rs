//! Server-sent events: answers that go on until the reader leaves.
//!
//! A stream is pulled: the next frame is made when the reader has taken the one before. Who reads
//! slowly is behind, and holds one frame at most.

use std::cell::RefCell;
use std::collections::VecDeque;
use std::rc::Rc;
use std::time::Duration;

use futures_lite::stream;
use hyper::body::Bytes;
use hyper::header::{self, HeaderValue};
use hyper::{HeaderMap, Response, StatusCode};
use serde::Serialize;
use weir_control_core::events::Events;
use weir_proto::answer::EventRow;
use weir_proto::answer::events::{EventFilter, EventId};
use weir_proto::json::{self, Layout};
use weir_proto::request::{Code, Refusal};

use super::answer::refused;
use super::connections::{ConnectionSlot, STREAMS_MAX};
use super::pieces::Outgoing;
use crate::api::gate::{Gate, Handler};
use crate::rt;

/// The type of a stream.
pub(super) const EVENT_STREAM: &str = "text/event-stream";
/// A stream is silent for so long at most: proxies cut silent connections.
pub(super) const KEEP_ALIVE: Duration = Duration::from_secs(15);
/// For a browser: how long it waits before it connects again, in milliseconds.
pub(super) const RETRY_MS: u64 = 2000;
/// Frames that are kept for streams that are not there yet.
const FRAMES_MAX: usize = 64;

/// Whether a stream is asked for.
pub(super) fn is_wanted(headers: &HeaderMap) -> bool {
    let said = headers.get_all(header::ACCEPT).iter().filter_map(|value| value.to_str().ok());
    let mut kinds = said.flat_map(|value| value.split(','));
    kinds.any(|kind| {
        let kind = kind.split(';').next().unwrap_or_default();
        kind.trim().eq_ignore_ascii_case(EVENT_STREAM)
    })
}

/// The answer that begins a stream, or says that there are too many.
pub(super) fn begin(
    slot: &ConnectionSlot,
    frames: impl stream::Stream<Item = Bytes> + 'static,
) -> Response<Outgoing> {
    if !slot.begin_stream(rt::now()) {
        let message = format!("{STREAMS_MAX} streams are open, and there can be no more");
        let hint = "close one, or ask without Accept: text/event-stream";
        let refusal = Refusal::new(Code::Failed, message, hint);
        return refused(StatusCode::SERVICE_UNAVAILABLE, &refusal).map(Outgoing::from);
    }
    let mut response = Response::new(Outgoing::Stream(Box::pin(frames)));
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(EVENT_STREAM));
    // Else nginx collects what it proxies.
    headers.insert("x-accel-buffering", HeaderValue::from_static("no"));
    response
}

/// One message: its lines, and the empty one that ends it.
pub(super) fn message(event: &str, data: &str) -> String {
    format!("event: {event}\ndata: {data}\n\n")
}

/// The latest frames of events, shared by all streams.
#[derive(Debug, Default)]
pub(super) struct EventFrames(RefCell<VecDeque<(u64, Bytes)>>);

impl EventFrames {
    fn of(&self, row: &EventRow, start: u64) -> Bytes {
        let mut frames = self.0.borrow_mut();
        if let Some((_, frame)) = frames.iter().rev().find(|(id, _)| *id == row.id) {
            return frame.clone();
        }
        let id = EventId { start, number: row.id };
        let data = json::document(row, Layout::Line);
        let frame = Bytes::from(format!("id: {id}\n{}", message(row.kind.word(), &data)));
        if frames.len() == FRAMES_MAX {
            frames.pop_front();
        }
        frames.push_back((row.id, frame.clone()));
        frame
    }
}

/// Events that a reader has missed.
#[derive(Serialize)]
struct Missed {
    /// How many events; `None` if that is not known.
    missing: Option<u64>,
    /// The reader knows those of an earlier process.
    restarted: bool,
}

/// Where a stream of events is.
pub(super) struct EventStream {
    filter: EventFilter,
    /// The number of the last event that was looked at.
    after: u64,
    /// Comes before all else.
    first: Option<Bytes>,
}

impl EventStream {
    /// Begins behind `last_id`, if the reader has one, else at `after`, or at the first event that
    /// the filter means by its age, or with the next one.
    pub(super) fn new(
        events: &Events,
        (last_id, after): (Option<EventId>, Option<u64>),
        filter: EventFilter,
        wall_ms: u64,
    ) -> EventStream {
        let mut first = format!("retry: {RETRY_MS}\n");
        let after = match last_id {
            Some(id) if id.start == events.start() => id.number.min(events.last()),
            Some(_) => {
                let missed = Missed { missing: None, restarted: true };
                first += &message("missing", &json::document(&missed, Layout::Line));
                0
            }
            None => {
                let is_old = after.is_some() || filter.since_ms.is_some();
                let after = after.unwrap_or(if is_old { 0 } else { u64::MAX });
                events.begin(after, &filter, wall_ms)
            }
        };
        // Who loses the connection before the first event goes on from here, too.
        first += &format!("id: {}\n\n", EventId { start: events.start(), number: after });
        EventStream { filter, after, first: Some(first.into()) }
    }

    /// The next frame, if there is one now.
    fn next(&mut self, events: &Events, frames: &EventFrames) -> Option<Bytes> {
        if let Some(first) = self.first.take() {
            return Some(first);
        }
        let next = events.next(self.after, &self.filter);
        let before = next.map_or(events.last() + 1, |row| row.id);
        let missing = events.missing_between(self.after, before);
        if missing > 0 {
            self.after = before - 1;
            let missed = Missed { missing: Some(missing), restarted: false };
            let text = message("missing", &json::document(&missed, Layout::Line));
            return Some(format!("{}{text}", self.id(events.start())).into());
        }
        let Some(row) = next else {
            self.after = events.last();
            return None;
        };
        self.after = row.id;
        Some(frames.of(row, events.start()))
    }

    fn id(&self, start: u64) -> String {
        format!("id: {}\n", EventId { start, number: self.after })
    }
}

/// The frames of a stream, as long as they are taken.
pub(super) fn events<H: Handler + 'static>(
    stream: EventStream,
    (gate, frames): (Rc<Gate<H>>, Rc<EventFrames>),
    slot: Rc<ConnectionSlot>,
) -> impl stream::Stream<Item = Bytes> {
    stream::unfold(stream, move |mut stream| {
        let (gate, frames, slot) = (gate.clone(), frames.clone(), slot.clone());
        async move {
            slot.took(rt::now());
            let frame = loop {
                if let Some(frame) = gate.with_events(|events| stream.next(events, &frames)) {
                    break frame;
                }
                if rt::timeout(KEEP_ALIVE, gate.events_after(stream.after)).await.is_none() {
                    let start = gate.with_events(Events::start);
                    break format!(":\n{}\n", stream.id(start)).into();
                }
            };
            Some((frame, stream))
        }
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use weir_control_core::events::NEWS_MAX;
    use weir_proto::answer::EventKind;

    const START: u64 = 1_796_000_000_000;

    fn health(events: &mut Events, text: &str) {
        events.push(EventKind::Health, "web/b1".to_owned(), text.to_owned(), 5_000);
    }

    fn three() -> Events {
        let mut events = Events::new(START);
        health(&mut events, "down");
        events.push(EventKind::Task, "web/b1".to_owned(), "began".to_owned(), 6_000);
        health(&mut events, "up");
        events
    }

    fn stream(events: &Events, at: (Option<EventId>, Option<u64>)) -> EventStream {
        EventStream::new(events, at, EventFilter::default(), 7_000)
    }

    /// Every frame that there is now.
    fn all(stream: &mut EventStream, events: &Events) -> Vec<String> {
        let frames = EventFrames::default();
        let frames = std::iter::from_fn(|| stream.next(events, &frames));
        frames.map(|frame| String::from_utf8(frame.to_vec()).unwrap()).collect()
    }

    #[test]
    fn a_stream_begins_with_the_next_event_or_where_it_is_told_to() {
        let mut events = three();
        let mut plain = stream(&events, (None, None));
        assert_eq!(all(&mut plain, &events), [format!("retry: 2000\nid: {START}-3\n\n")]);
        health(&mut events, "down");
        let frame = format!(
            "id: {START}-4\nevent: health\ndata: {{\"schema\":\"weir/v1\",\"id\":4,\
             \"at\":\"1970-01-01T00:00:05.000Z\",\"kind\":\"health\",\"subject\":\"web/b1\",\
             \"text\":\"down\"}}\n\n"
        );
        assert_eq!(all(&mut plain, &events), [frame]);
        let count = |at| all(&mut stream(&events, at), &events).len() - 1;
        let id = |number| Some(EventId { start: START, number });
        assert_eq!((count((None, Some(0))), count((None, Some(3)))), (4, 1));
        assert_eq!((count((id(0), None)), count((id(3), None)), count((id(9), None))), (4, 1, 0));
        assert_eq!(count((id(3), Some(0))), 1, "where it was counts for more");
    }

    #[test]
    fn a_stream_is_filtered_by_kind_and_age() {
        let events = three();
        let of = |kinds: &[EventKind], since_ms| {
            let filter = EventFilter { kinds: kinds.to_vec(), since_ms };
            all(&mut EventStream::new(&events, (None, None), filter, 7_000), &events)[1..].join("")
        };
        assert_eq!(of(&[], Some(60_000)).matches("data: ").count(), 3);
        assert_eq!(of(&[], Some(1_000)).matches("data: ").count(), 2);
        let tasks = of(&[EventKind::Task], Some(60_000));
        assert!(tasks.contains("event: task\n") && tasks.matches("data: ").count() == 1, "{tasks}");
    }

    #[test]
    fn what_is_missing_is_said() {
        let other = Some(EventId { start: START - 1, number: 2 });
        let events = three();
        let frames = all(&mut stream(&events, (other, None)), &events);
        let missing = "event: missing\ndata: {\"schema\":\"weir/v1\",\"missing\":null,\
                       \"restarted\":true}\n\n";
        assert!(frames[0].contains(missing) && frames.len() == 4, "{frames:?}");
        // A reader that is slower than the ring is long.
        let mut events = three();
        let mut slow = stream(&events, (None, Some(2)));
        assert_eq!(
            slow.next(&events, &EventFrames::default()).map(|frame| frame.len() > 9),
            Some(true)
        );
        for _ in 0..NEWS_MAX + 5 {
            health(&mut events, "flaps");
        }
        let frames = all(&mut slow, &events);
        let missing = format!(
            "id: {START}-8\nevent: missing\ndata: {{\"schema\":\"weir/v1\",\"missing\":6,\
             \"restarted\":false}}\n\n"
        );
        assert_eq!((frames.len(), &frames[0]), (NEWS_MAX + 1, &missing));
    }

    #[test]
    fn a_frame_is_made_once() {
        let events = three();
        let frames = EventFrames::default();
        let mut seen = Vec::new();
        for _ in 0..2 {
            let mut stream = stream(&events, (None, Some(0)));
            stream.first = None;
            seen.push(stream.next(&events, &frames).unwrap());
        }
        assert_eq!(seen[0].as_ptr(), seen[1].as_ptr());
    }

    #[test]
    fn a_stream_is_wanted_by_its_type() {
        let wanted = |text: &'static str| {
            is_wanted(&[(header::ACCEPT, HeaderValue::from_static(text))].into_iter().collect())
        };
        assert!(wanted("text/event-stream") && wanted("text/html, Text/Event-Stream;q=0.9"));
        assert!(!wanted("*/*") && !wanted("application/json") && !wanted("text/event-streams"));
    }
}
