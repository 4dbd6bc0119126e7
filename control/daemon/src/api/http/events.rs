//! Events over HTTP: how they are chosen.

use weir_proto::events::EventFilter;
use weir_proto::request::{Query, Refusal};

use super::operations::{Names, number, text};
use super::parameters::{Parameter, ParameterForm, Parameters};
use super::sessions::{DURATION, span};

const KIND: Parameter = Parameter {
    name: "kind",
    form: ParameterForm::Kinds,
    help: "Only events of this kind; may be there several times.",
};

/// Those of a question about events.
pub(super) const PARAMETERS: &[Parameter] = &[
    number("after", (0, u64::MAX), "Only events after the one with this number."),
    KIND,
    text("since", DURATION, "Only events of the last DURATION, as 10m."),
];

/// `GET /api/v1/events`
pub(super) fn query(_: &Names<'_>, parameters: &Parameters<'_>) -> Result<Query, Refusal> {
    let filter = EventFilter { kinds: parameters.kinds(), since_ms: span(parameters, "since")? };
    Ok(Query::Events { after: parameters.number("after").unwrap_or(0), filter })
}
