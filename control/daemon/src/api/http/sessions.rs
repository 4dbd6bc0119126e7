//! Live sessions and tasks over HTTP: how they are chosen and ended.

use serde_json::{Value, json};
use weir_proto::answer::{Killed, TaskRow};
use weir_proto::request::{Code, Command, Query, Refusal, Request, SessionKill, TaskRequest};
use weir_proto::session::{LISTED_DEFAULT, LISTED_MAX, SessionFilter, SessionSort};
use weir_proto::spec::Span;

use super::openapi::shape;
use super::operations::{Names, flag, number, text};
use super::parameters::{DURATION, NETWORK, Parameter, Parameters, whole};

const NAME: &str = "^[A-Za-z0-9_][A-Za-z0-9_.-]{0,62}$";
const NAMES: &str = "^[A-Za-z0-9_][A-Za-z0-9_.-]{0,62}/[A-Za-z0-9_][A-Za-z0-9_.-]{0,62}$";
/// An application protocol.
const PROTOCOL: &str = "^[!-~]{1,1000}$";
/// A name that a ClientHello may have (RFC 6066).
const SERVER_NAME: &str = "^[!-~]{1,253}$";
/// An address, with a port or without.
const ADDRESS: &str = r"^([0-9.]+(:[0-9]+)?|[0-9A-Fa-f.:]+|\[[0-9A-Fa-f.:]+\]:[0-9]+)$";
const SESSION: &str = "^[0-9]+[.][0-9]+[.][0-9]+$";
const SORTS: &str = "^(age|idle|bytes|rate)$";

const POOL: Parameter = text("pool", NAME, "Only those of this pool.");
const BACKEND: Parameter = text("backend", NAMES, "Only those on this backend, as web/b1.");
const LISTENER: Parameter = text("listener", NAME, "Only those of this listener.");
const CLIENT: Parameter =
    text("client", NETWORK, "Only those from this address or network, as 10.0.0.0/8.");
const OLDER: Parameter = text("older", DURATION, "Only those that are at least so old, as 10m.");
const IDLE: Parameter =
    text("idle", DURATION, "Only those in which nothing has moved for so long.");
const VERSION: Parameter =
    number("version", (1, u64::MAX), "Only those that were accepted under this version.");
const STALLED: Parameter = flag("stalled", "Only those in which a side takes nothing.");
const SORT: Parameter = text("sort", SORTS, "age, idle, bytes or rate.");
const LIMIT: Parameter = number("limit", (0, LISTED_MAX as u64), "The most rows; 0 only counts.");
const RATE: Parameter =
    number("rate", (1, u32::MAX as u64), "A task ends them, at most this many a second.");
const DRY_RUN: Parameter = flag("dry-run", "Only count them.");

/// The filter of `session list`, and its order.
pub(super) const LIST: &[Parameter] =
    &[POOL, BACKEND, LISTENER, CLIENT, OLDER, IDLE, VERSION, STALLED, SORT, LIMIT];

/// The filter of `session kill`, and its rate.
pub(super) const KILL: &[Parameter] =
    &[POOL, BACKEND, LISTENER, CLIENT, OLDER, IDLE, VERSION, STALLED, RATE, DRY_RUN];

/// `GET /api/v1/sessions`
pub(super) fn list(_: &Names<'_>, parameters: &Parameters<'_>) -> Result<Query, Refusal> {
    let filter = filter(parameters)?;
    let sort = parameters.text("sort").map(|text| text.parse::<SessionSort>()).transpose();
    let sort = sort.map_err(|why| Refusal::new(Code::Invalid, why, "sort=idle"))?;
    let limit = parameters.number("limit").unwrap_or(LISTED_DEFAULT.into());
    let limit = u32::try_from(limit).unwrap_or(u32::MAX);
    Ok(Query::SessionList { filter, sort: sort.unwrap_or_default(), limit })
}

/// `DELETE /api/v1/sessions`
pub(super) fn kill_all(_: &Names<'_>, parameters: &Parameters<'_>) -> Result<Request, Refusal> {
    let (ids, filter) = (Vec::new(), filter(parameters)?);
    if filter == SessionFilter::default() {
        let message = "which sessions: not all of them by leaving the parameters out";
        return Err(Refusal::new(Code::Invalid, message, "/api/v1/sessions?backend=web/b1"));
    }
    let dry_run = parameters.flag("dry-run");
    let command = match parameters.number("rate") {
        Some(per_s) if !dry_run => {
            let per_s = u32::try_from(per_s).unwrap_or(u32::MAX);
            Command::Task(TaskRequest::SessionKill { ids, filter: filter.into(), per_s })
        }
        Some(_) | None => Command::SessionKill(SessionKill { ids, filter, dry_run }),
    };
    Ok(command.into())
}

/// The schema of the answer to [`kill_all`]: the task, if there is a rate.
pub(super) fn killed() -> Value {
    json!({"anyOf": [shape::of::<Killed>(), shape::of::<TaskRow>()]})
}

fn filter(parameters: &Parameters<'_>) -> Result<SessionFilter, Refusal> {
    Ok(SessionFilter {
        pool: parameters.text("pool"),
        backend: parameters.text("backend"),
        listener: parameters.text("listener"),
        client: parameters.text("client"),
        older_ms: span(parameters, "older")?,
        idle_ms: span(parameters, "idle")?,
        version: parameters.number("version"),
        stalled: parameters.flag("stalled"),
    })
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
    text("listener", NAME, "Instead of the pool: the listener of a new session."),
    text("client", ADDRESS, "The address that it comes from."),
    text("sni", SERVER_NAME, "At a listener: the server name in its ClientHello."),
    text("alpn", PROTOCOL, "At a listener: the protocols in its ClientHello, with commas."),
    text("session", SESSION, "Instead of all of them: a live session."),
];

/// `GET /api/v1/why`
pub(super) fn why(_: &Names<'_>, parameters: &Parameters<'_>) -> Result<Query, Refusal> {
    let [pool, listener, client] = ["pool", "listener", "client"].map(|it| parameters.text(it));
    let hello = ["sni", "alpn"].map(|it| parameters.text(it));
    match (pool, listener, client, parameters.text("session")) {
        (Some(pool), None, Some(client), None) if hello == [None, None] => {
            Ok(Query::Why { pool, client })
        }
        (None, listener, Some(client), None) => {
            let [sni, alpn] = hello;
            Ok(Query::WhyListener { listener, client, sni, alpn })
        }
        (None, None, None, Some(id)) => Ok(Query::WhySession { id }),
        _ => {
            let message = "client with pool, or with listener, sni and alpn, or session alone";
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
