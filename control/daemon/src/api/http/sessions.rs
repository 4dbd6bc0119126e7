//! Live sessions and tasks over HTTP: how they are chosen and ended.

use weir_proto::request::{Code, Command, Query, Refusal, Request, SessionKill, TaskRequest};
use weir_proto::session::{LISTED_DEFAULT, LISTED_MAX, SessionFilter, SessionSort};
use weir_proto::spec::Span;

use super::operations::{Names, flag, number, text};
use super::parameters::{Parameter, Parameters, whole};

const NAME: &str = "^[A-Za-z0-9_][A-Za-z0-9_.-]{0,62}$";
const NAMES: &str = "^[A-Za-z0-9_][A-Za-z0-9_.-]{0,62}/[A-Za-z0-9_][A-Za-z0-9_.-]{0,62}$";
const NETWORK: &str = "^[0-9A-Fa-f.:]+(/[0-9]+)?$";
pub(super) const DURATION: &str = "^[0-9]+(ms|s|m|h|d)$";
const SESSION: &str = "^[0-9]+[.][0-9]+[.][0-9]+$";
const SORT: &str = "^(age|idle|bytes|rate)$";

/// The filter of `session list`, and its order.
pub(super) const PARAMETERS: &[Parameter] = &[
    text("pool", NAME, "Only those of this pool."),
    text("backend", NAMES, "Only those on this backend, as web/b1."),
    text("listener", NAME, "Only those of this listener."),
    text("client", NETWORK, "Only those from this address or network, as 10.0.0.0/8."),
    text("older", DURATION, "Only those that are at least so old, as 10m."),
    text("idle", DURATION, "Only those in which nothing has moved for so long."),
    number("version", (1, u64::MAX), "Only those that were accepted under this version."),
    flag("stalled", "Only those in which a side takes nothing."),
    text("sort", SORT, "age, idle, bytes or rate."),
    number("limit", (0, LISTED_MAX as u64), "The most rows; 0 only counts."),
];

/// `GET /api/v1/sessions`
pub(super) fn list(_: &Names<'_>, parameters: &Parameters<'_>) -> Result<Query, Refusal> {
    let filter = SessionFilter {
        pool: parameters.text("pool"),
        backend: parameters.text("backend"),
        listener: parameters.text("listener"),
        client: parameters.text("client"),
        older_ms: span(parameters, "older")?,
        idle_ms: span(parameters, "idle")?,
        version: parameters.number("version"),
        stalled: parameters.flag("stalled"),
    };
    let sort = parameters.text("sort").map(|text| text.parse::<SessionSort>()).transpose();
    let sort = sort.map_err(|why| Refusal::new(Code::Invalid, why, "sort=idle"))?;
    let limit = parameters.number("limit").unwrap_or(LISTED_DEFAULT.into());
    let limit = u32::try_from(limit).unwrap_or(u32::MAX);
    Ok(Query::SessionList { filter, sort: sort.unwrap_or_default(), limit })
}

/// A duration in milliseconds; `None` if it is not there.
pub(super) fn span(parameters: &Parameters<'_>, name: &str) -> Result<Option<u64>, Refusal> {
    let text = parameters.text(name);
    let span = text.map(|text| text.parse::<Span>().map(|span| span.millis));
    span.transpose().map_err(|why| Refusal::new(Code::Invalid, why, format!("{name}=10m")))
}

/// The client of a pool, or a session.
pub(super) const WHY: &[Parameter] = &[
    text("pool", NAME, "The pool of a new session."),
    text("client", NETWORK, "The address that it comes from."),
    text("session", SESSION, "Instead of both: a live session."),
];

/// `GET /api/v1/why`
pub(super) fn why(_: &Names<'_>, parameters: &Parameters<'_>) -> Result<Query, Refusal> {
    let [pool, client, session] = ["pool", "client", "session"].map(|it| parameters.text(it));
    match (pool, client, session) {
        (Some(pool), Some(client), None) => Ok(Query::Why { pool, client }),
        (None, None, Some(id)) => Ok(Query::WhySession { id }),
        _ => {
            let message = "either pool and client, or session";
            Err(Refusal::new(Code::Invalid, message, "/api/v1/why?pool=web&client=203.0.113.7"))
        }
    }
}

/// `DELETE /api/v1/sessions/ID`
pub(super) fn kill(names: &Names<'_>, parameters: &Parameters<'_>) -> Result<Request, Refusal> {
    let (ids, dry_run) = (vec![names.one()], parameters.flag("dry-run"));
    let filter = SessionFilter::default();
    Ok(Command::SessionKill(SessionKill { ids, filter, dry_run }).into())
}

/// `DELETE /api/v1/tasks/ID`
pub(super) fn cancel(names: &Names<'_>, parameters: &Parameters<'_>) -> Result<Request, Refusal> {
    let id = whole("task", &names.one(), "7")?;
    Ok(match parameters.flag("dry-run") {
        true => Query::TaskShow { id }.into(),
        false => Command::Task(TaskRequest::Cancel { id }).into(),
    })
}
