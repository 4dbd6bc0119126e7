//! Every path and method of the HTTP door, one row each. The router, `GET /`, /openapi.json and the
//! tests go by this table.

use serde_json::Value;
use weir_proto::answer::{
    BackendRow, Backends, ConfigText, Events, Explanation, History, Killed, Latency, ListenerRow,
    Listeners, PoolDetail, Pools, SessionDetail, Sessions, Shards, Stats, Status, TaskRow, Tasks,
    Versions,
};
use weir_proto::request::{ApplyMode, ChangeRequest, Code, Query, Refusal};
use weir_proto::settings;
use weir_proto::spec::Admin;

use super::body::{BodyKind, Content};
use super::openapi::shape;
use super::parameters::{DURATION, Parameter, ParameterForm, Parameters};
use super::sessions;
use super::target::{MakeChange, MakeQuery};

pub(super) use super::target::{Names, Operation, PlainPage, Streamed, Target};
pub(super) use super::verb::HttpVerb;

pub(super) const fn number(
    name: &'static str,
    (min, max): (u64, u64),
    help: &'static str,
) -> Parameter {
    Parameter { name, form: ParameterForm::Number { min, max }, help }
}

pub(super) const fn flag(name: &'static str, help: &'static str) -> Parameter {
    Parameter { name, form: ParameterForm::Flag, help }
}

pub(super) const fn text(
    name: &'static str,
    pattern: &'static str,
    help: &'static str,
) -> Parameter {
    Parameter { name, form: ParameterForm::Text { pattern }, help }
}

const DRY_RUN: Parameter = flag("dry-run", "Check, and only say what would change.");
const YES: Parameter = flag("yes", "Do it although traffic is lost.");
const FORCE: Parameter =
    flag("force", "Reset its sessions, and those of earlier backends of this name.");
const FORCE_WHOLE: Parameter =
    flag("force", "Do it although it takes away every listener or most of the backends.");
const OURS: Parameter = flag("ours", "Where it conflicts with what is in force, keep that.");
const THEIRS: Parameter = flag("theirs", "Where it conflicts with what is in force, take it.");
const REPLACE: Parameter = flag("replace", "Do not merge: it is the whole truth.");
const CONFIRM: Parameter = text(
    "confirm",
    DURATION,
    "Take it back by itself unless it is confirmed within that time: from 1s to 24h.",
);
const GUARD: Parameter = Parameter {
    name: "guard",
    form: ParameterForm::Guards,
    help: "With confirm: take it back as soon as connect-errors=1% or healthy=50% does not hold.",
};
const CHANGE: &[Parameter] = &[DRY_RUN, YES];
const LIMIT: Parameter =
    number("limit", (1, weir_proto::request::HISTORY_MAX), "The most versions of a page.");
const BEFORE: Parameter = number("before", (1, u64::MAX), "Only versions before this one.");

const fn page(path: &'static str, page: PlainPage, summary: &'static str) -> Operation {
    Operation { verb: HttpVerb::Get, path, summary, target: Target::PlainPage(page) }
}

const fn get(
    path: &'static str,
    summary: &'static str,
    (parameters, make): (&'static [Parameter], MakeQuery),
    answer: fn() -> Value,
) -> Operation {
    Operation {
        verb: HttpVerb::Get,
        path,
        summary,
        target: Target::Query { parameters, make, answer },
    }
}

const fn streamed(
    path: &'static str,
    summary: &'static str,
    (of, parameters): (Streamed, &'static [Parameter]),
    answer: fn() -> Value,
) -> Operation {
    let target = Target::Stream { of, parameters, answer };
    Operation { verb: HttpVerb::Get, path, summary, target }
}

const fn change(
    (verb, path): (HttpVerb, &'static str),
    summary: &'static str,
    body: BodyKind,
    make: MakeChange,
) -> Operation {
    Operation { verb, path, summary, target: Target::Change { parameters: CHANGE, body, make } }
}

/// One of three paths that change the state of a backend.
const fn state(path: &'static str, summary: &'static str, make: MakeChange) -> Operation {
    change((HttpVerb::Post, path), summary, BodyKind::None, make)
}

fn set_state(names: &Names<'_>, body: &Content, state: Admin) -> Result<ChangeRequest, Refusal> {
    body.nothing()?;
    Ok(ChangeRequest::BackendState { name: names.both(), state })
}

/// `PUT /api/v1/config`
fn apply(
    _: &Names<'_>,
    parameters: &Parameters<'_>,
    body: Content,
) -> Result<ChangeRequest, Refusal> {
    let modes = [ApplyMode::Ours, ApplyMode::Theirs, ApplyMode::Replace];
    let mut said = modes.into_iter().filter(|mode| parameters.flag(mode.word()));
    let mode = match (said.next(), said.next()) {
        (mode, None) => mode.unwrap_or(ApplyMode::Merge),
        (_, Some(_)) => {
            let message = "of ours, theirs and replace only one can be true";
            return Err(Refusal::new(Code::Invalid, message, "GET / lists the parameters"));
        }
    };
    let (toml, origin) = (body.config()?, APPLIED_AS.to_owned());
    Ok(ChangeRequest::Apply { toml, origin, mode, force: parameters.flag("force") })
}

/// The name of a file that has none.
const APPLIED_AS: &str = "the request";

const LISTENER: &str = "/api/v1/listeners/{listener}";
const POOL: &str = "/api/v1/pools/{pool}";
const TASK: &str = "/api/v1/tasks/{task}";
const SESSION: &str = "/api/v1/sessions/{session}";
const BACKEND: &str = "/api/v1/backends/{pool}/{backend}";

/// All of them, in the order in which `GET /` shows them.
pub(super) static OPERATIONS: &[Operation] = &[
    page("/", PlainPage::Index, "The dashboard for a browser, this list for others."),
    page("/dashboard/{build}/{file}", PlainPage::Part, "Parts of the dashboard."),
    page("/metrics", PlainPage::Metrics, "Prometheus text."),
    page("/healthz", PlainPage::Healthz, "200 while weir serves."),
    page("/readyz", PlainPage::Readyz, "503 while it drains, is full, or a pool has no backend."),
    page("/openapi.json", PlainPage::OpenApi, "These paths for programs."),
    get(
        "/api/v1/status",
        "Everything on one screen.",
        (&[], |_, _| Ok(Query::Status)),
        shape::of::<Status>,
    ),
    get(
        "/api/v1/shards",
        "The threads that carry the sessions.",
        (&[], |_, _| Ok(Query::Shards)),
        shape::of::<Shards>,
    ),
    get(
        "/api/v1/listeners",
        "Every listener.",
        (&[], |_, _| Ok(Query::ListenerList)),
        shape::of::<Listeners>,
    ),
    get(
        LISTENER,
        "One listener.",
        (&[], |names, _| Ok(Query::ListenerShow { name: names.one() })),
        shape::of::<ListenerRow>,
    ),
    get("/api/v1/pools", "Every pool.", (&[], |_, _| Ok(Query::PoolList)), shape::of::<Pools>),
    get(
        POOL,
        "One pool with its settings and backends.",
        (&[], |names, _| Ok(Query::PoolShow { name: names.one() })),
        shape::of::<PoolDetail>,
    ),
    get(
        "/api/v1/backends",
        "Every backend.",
        (&[], |_, _| Ok(Query::BackendList { pool: None })),
        shape::of::<Backends>,
    ),
    get(
        "/api/v1/backends/{pool}",
        "The backends of a pool.",
        (&[], |names, _| Ok(Query::BackendList { pool: Some(names.one()) })),
        shape::of::<Backends>,
    ),
    get(
        BACKEND,
        "One backend.",
        (&[], |names, _| Ok(Query::BackendShow { name: names.both() })),
        shape::of::<BackendRow>,
    ),
    get(
        "/api/v1/stats",
        "Counters, rates and percentiles of all.",
        (&[], |_, _| Ok(Query::Stats { subject: None })),
        shape::of::<Stats>,
    ),
    get(
        "/api/v1/stats/{pool}",
        "The same of a pool.",
        (&[], |names, _| Ok(Query::Stats { subject: Some(names.one()) })),
        shape::of::<Stats>,
    ),
    get(
        "/api/v1/stats/{pool}/{backend}",
        "The same of a backend.",
        (&[], |names, _| Ok(Query::Stats { subject: Some(names.both()) })),
        shape::of::<Stats>,
    ),
    get(
        "/api/v1/latency",
        "Histograms of durations of all.",
        (&[], |_, _| Ok(Query::Latency { pool: None })),
        shape::of::<Latency>,
    ),
    get(
        "/api/v1/latency/{pool}",
        "The same of a pool.",
        (&[], |names, _| Ok(Query::Latency { pool: Some(names.one()) })),
        shape::of::<Latency>,
    ),
    streamed(
        "/api/v1/live",
        "The last 15 minutes and this second; with Accept: text/event-stream each second.",
        (Streamed::Live, &[]),
        shape::live,
    ),
    streamed(
        "/api/v1/events",
        "Events; with Accept: text/event-stream as they come.",
        (Streamed::Events, super::events::PARAMETERS),
        shape::of::<Events>,
    ),
    get(
        "/api/v1/config",
        "The configuration as TOML.",
        (&[], |_, _| Ok(Query::ConfigExport { version: None })),
        shape::of::<ConfigText>,
    ),
    get(
        "/api/v1/config/history",
        "The versions that are kept, the newest first.",
        (&[LIMIT, BEFORE], |_, parameters| {
            let (limit, before) = (parameters.number("limit"), parameters.number("before"));
            Ok(Query::ConfigHistory { before, limit })
        }),
        shape::of::<History>,
    ),
    get(
        "/api/v1/config/versions",
        "The versions of open sessions, and the one in force.",
        (&[], |_, _| Ok(Query::ConfigVersions)),
        shape::of::<Versions>,
    ),
    get(
        "/api/v1/config/versions/{version}",
        "The configuration of a version.",
        (&[], |names, _| {
            let version = super::parameters::whole("version", names.0[0], "12")?;
            Ok(Query::ConfigExport { version: Some(version) })
        }),
        shape::of::<ConfigText>,
    ),
    get(
        "/api/v1/tasks",
        "Drains, rebalances and kills that run, and the latest that have ended.",
        (&[], |_, _| Ok(Query::TaskList)),
        shape::of::<Tasks>,
    ),
    get(
        TASK,
        "One of them.",
        (&[], |names, _| {
            let id = super::parameters::whole("task", names.0[0], "7")?;
            Ok(Query::TaskShow { id })
        }),
        shape::of::<TaskRow>,
    ),
    Operation {
        verb: HttpVerb::Delete,
        path: TASK,
        summary: "Cancel a task; what it has done stays.",
        target: Target::Act {
            parameters: &[DRY_RUN],
            make: sessions::cancel,
            answer: shape::of::<TaskRow>,
        },
    },
    get(
        "/api/v1/why",
        "The backend that a client would get in a pool, or that a session has, and why.",
        (sessions::WHY, sessions::why),
        shape::of::<Explanation>,
    ),
    get(
        "/api/v1/sessions",
        "Live sessions.",
        (sessions::LIST, sessions::list),
        shape::of::<Sessions>,
    ),
    get(
        SESSION,
        "One of them, with both of its legs.",
        (&[], |names, _| Ok(Query::SessionShow { id: names.one() })),
        shape::of::<SessionDetail>,
    ),
    Operation {
        verb: HttpVerb::Delete,
        path: "/api/v1/sessions",
        summary: "End those that the parameters mean with a reset.",
        target: Target::Act {
            parameters: sessions::KILL,
            make: sessions::kill_all,
            answer: sessions::killed,
        },
    },
    Operation {
        verb: HttpVerb::Delete,
        path: SESSION,
        summary: "End a live session with a reset.",
        target: Target::Act {
            parameters: &[DRY_RUN],
            make: sessions::kill,
            answer: shape::of::<Killed>,
        },
    },
    change(
        (HttpVerb::Put, LISTENER),
        "Make a listener, or give one these settings and no others.",
        BodyKind::Listener,
        |names, _, body| {
            let pairs = body.pairs(settings::LISTENER)?;
            Ok(ChangeRequest::ListenerPut { name: names.one(), pairs })
        },
    ),
    change(
        (HttpVerb::Patch, LISTENER),
        "Change these settings of a listener.",
        BodyKind::Listener,
        |names, _, body| {
            let pairs = body.pairs(settings::LISTENER)?;
            Ok(ChangeRequest::ListenerSet { name: names.one(), pairs })
        },
    ),
    change((HttpVerb::Delete, LISTENER), "Remove a listener.", BodyKind::None, |names, _, body| {
        body.nothing()?;
        Ok(ChangeRequest::ListenerRemove { name: names.one() })
    }),
    change(
        (HttpVerb::Put, POOL),
        "Make a pool, or give one these settings and no others. It keeps its backends.",
        BodyKind::Pool,
        |names, _, body| {
            let pairs = body.pairs(settings::POOL)?;
            Ok(ChangeRequest::PoolPut { name: names.one(), pairs })
        },
    ),
    change(
        (HttpVerb::Patch, POOL),
        "Change these settings of a pool.",
        BodyKind::Pool,
        |names, _, body| {
            let pairs = body.pairs(settings::POOL)?;
            Ok(ChangeRequest::PoolSet { name: names.one(), pairs })
        },
    ),
    change(
        (HttpVerb::Delete, POOL),
        "Remove a pool with its backends.",
        BodyKind::None,
        |names, _, body| {
            body.nothing()?;
            Ok(ChangeRequest::PoolRemove { name: names.one() })
        },
    ),
    change(
        (HttpVerb::Put, BACKEND),
        "Make a backend, or give one these settings and no others.",
        BodyKind::Backend,
        |names, _, body| {
            let pairs = body.pairs(settings::BACKEND)?;
            Ok(ChangeRequest::BackendPut { name: names.both(), pairs })
        },
    ),
    change(
        (HttpVerb::Patch, BACKEND),
        "Change these settings of a backend.",
        BodyKind::Backend,
        |names, _, body| {
            let pairs = body.pairs(settings::BACKEND)?;
            Ok(ChangeRequest::BackendSet { name: names.both(), pairs })
        },
    ),
    Operation {
        verb: HttpVerb::Delete,
        path: BACKEND,
        summary: "Remove a backend; its sessions run on.",
        target: Target::Change {
            parameters: &[DRY_RUN, YES, FORCE],
            body: BodyKind::None,
            make: |names, parameters, body| {
                body.nothing()?;
                let force = parameters.flag("force");
                Ok(ChangeRequest::BackendRemove { name: names.both(), force })
            },
        },
    },
    state(
        "/api/v1/backends/{pool}/{backend}/drain",
        "No new sessions; those that are open run on, checks go on.",
        |names, _, body| set_state(names, &body, Admin::Drain),
    ),
    state(
        "/api/v1/backends/{pool}/{backend}/maint",
        "No new sessions, no checks.",
        |names, _, body| set_state(names, &body, Admin::Maint),
    ),
    state(
        "/api/v1/backends/{pool}/{backend}/ready",
        "Sessions again after drain or maint.",
        |names, _, body| set_state(names, &body, Admin::Ready),
    ),
    Operation {
        verb: HttpVerb::Put,
        path: "/api/v1/config",
        summary: "Merge a whole configuration into what is in force, as config apply does.",
        target: Target::Change {
            parameters: &[DRY_RUN, YES, FORCE_WHOLE, OURS, THEIRS, REPLACE, CONFIRM, GUARD],
            body: BodyKind::Config,
            make: apply,
        },
    },
    Operation {
        verb: HttpVerb::Patch,
        path: "/api/v1/config",
        summary: "Set some keys of some objects in one version; null takes away; all else stays.",
        target: Target::Change {
            parameters: &[DRY_RUN, YES, FORCE_WHOLE, CONFIRM, GUARD],
            body: BodyKind::PartialConfig,
            make: |_, parameters, body| {
                let (toml, origin) = (body.part()?, APPLIED_AS.to_owned());
                let force = parameters.flag("force");
                Ok(ChangeRequest::Apply { toml, origin, mode: ApplyMode::Partial, force })
            },
        },
    },
    change(
        (HttpVerb::Post, "/api/v1/config/confirm"),
        "The version that waits for it stays.",
        BodyKind::None,
        |_, _, body| body.nothing().map(|()| ChangeRequest::Confirm),
    ),
    change(
        (HttpVerb::Post, "/api/v1/config/rollback"),
        "Make an older version the next one.",
        BodyKind::Version,
        |_, _, body| Ok(ChangeRequest::Rollback { version: body.version()? }),
    ),
];
