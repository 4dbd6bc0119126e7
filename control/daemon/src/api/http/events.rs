//! Events over HTTP: which of them are asked for. Pure.

use hyper::HeaderMap;
use weir_proto::answer::events::{EventFilter, EventId};
use weir_proto::request::{Code, Query, Refusal};

use super::operations::{number, text};
use super::parameters::{DURATION, Parameter, ParameterForm, Parameters};
use super::sessions::span;

/// The pattern of an event's id.
pub(super) const ID: &str = "^[0-9]+-[0-9]+$";

/// Those of a question about events.
pub(super) const PARAMETERS: &[Parameter] = &[
    number("after", (0, u64::MAX), "Only events after the one with this number."),
    Parameter {
        name: "kind",
        form: ParameterForm::Kinds,
        help: "Only events of this kind; may be there several times.",
    },
    text("since", DURATION, "Only events of the last DURATION, as 10m."),
    text("last-event-id", ID, "Only events after the one with this id, as Last-Event-ID."),
];

/// A question about events.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct AskedEvents {
    /// The last event that the asker knows, and the number that it may have said instead.
    pub(super) from: (Option<EventId>, Option<u64>),
    pub(super) filter: EventFilter,
}

impl AskedEvents {
    /// Reads the parameters and the header of a browser that connects again.
    ///
    /// # Errors
    /// An id or a duration that cannot be read.
    pub(super) fn read(
        parameters: &Parameters<'_>,
        headers: &HeaderMap,
    ) -> Result<AskedEvents, Refusal> {
        let said = headers.get("last-event-id").map(|value| value.to_str().unwrap_or("?"));
        let said = said.filter(|text| !text.is_empty()).map(str::to_owned);
        let id = said.or_else(|| parameters.text("last-event-id"));
        let id = id.map(|text| text.parse::<EventId>()).transpose().map_err(|why| {
            Refusal::new(Code::Invalid, why, "leave it out, and the stream begins with what comes")
        })?;
        let since_ms = span(parameters, "since")?;
        let filter = EventFilter { kinds: parameters.kinds(), since_ms };
        Ok(AskedEvents { from: (id, parameters.number("after")), filter })
    }

    /// The same as a question to control, of the process that started at `start`.
    pub(super) fn query(self, start: u64) -> Query {
        let AskedEvents { from: (id, after), filter } = self;
        let known = id.map(|id| if id.start == start { id.number } else { 0 });
        Query::Events { after: known.or(after).unwrap_or(0), filter }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use hyper::header::HeaderValue;
    use weir_proto::answer::EventKind;

    fn read(query: &str, header: Option<&'static str>) -> Result<AskedEvents, Refusal> {
        let mut headers = HeaderMap::new();
        if let Some(text) = header {
            headers.insert("last-event-id", HeaderValue::from_static(text));
        }
        let parameters = Parameters::read("/api/v1/events", Some(query), PARAMETERS)?;
        AskedEvents::read(&parameters, &headers)
    }

    fn query(text: &str) -> Query {
        read(text, None).unwrap().query(7)
    }

    fn events(after: u64, kinds: &[EventKind], since_ms: Option<u64>) -> Query {
        Query::Events { after, filter: EventFilter { kinds: kinds.to_vec(), since_ms } }
    }

    #[test]
    fn events_are_asked_for_by_number_kind_and_age() {
        let (health, task) = (EventKind::Health, EventKind::Task);
        assert_eq!(query(""), events(0, &[], None));
        assert_eq!(query("after=2&"), events(2, &[], None));
        assert_eq!(query("kind=health"), events(0, &[health], None));
        let all = "since=10m&kind=task&kind=health&after=3";
        assert_eq!(query(all), events(3, &[task, health], Some(600_000)));
        let refusal = read("kind=helth", None).unwrap_err();
        assert_eq!((refusal.code, refusal.did_you_mean), (Code::Invalid, vec!["health".into()]));
        assert!(refusal.hint.contains("reload"), "{}", refusal.hint);
        for wrong in [
            "kind=",
            "since=soon",
            "since=1s&since=2s",
            "kind=health,task",
            "after=-1",
            "afer=2",
            "after=2&x",
            "last-event-id=7",
        ] {
            assert_eq!(read(wrong, None).unwrap_err().code, Code::Invalid, "{wrong}");
        }
        let long = "after=".to_owned() + &"x".repeat(8_000);
        assert!(read(&long, None).unwrap_err().message.len() < 250);
    }

    #[test]
    fn an_id_is_of_one_process() {
        assert_eq!(query("last-event-id=7-12&after=3"), events(12, &[], None));
        assert_eq!(query("last-event-id=6-12"), events(0, &[], None), "of an earlier one");
        let header = read("last-event-id=7-1", Some("7-12")).unwrap();
        assert_eq!(header.from.0, Some(EventId { start: 7, number: 12 }));
        assert_eq!(read("", Some("")).unwrap().from.0, None);
        assert_eq!(read("", Some("x")).unwrap_err().code, Code::Invalid);
    }
}
