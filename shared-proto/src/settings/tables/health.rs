//! The rows below `health`.

use super::{SPAN, WEEK_MS, always, row};
use crate::settings::{Effect, Form, Setting, Value};
use crate::spec::{HealthKind, HttpMethod, PoolSpec};

const IN_A_ROW: Form = Form::Count { min: 1, max: 100 };
const SPAN_OR_NONE: Form =
    Form::Span { min_ms: 0, max_ms: WEEK_MS, step_ms: 1, range: "0s for none, up to 7 days" };
const KINDS: Form = Form::Word {
    noun: "a kind of check",
    words: &["tcp", "http", "send-expect", "redis", "postgresql", "mysql", "smtp", "tls", "none"],
};
const METHODS: Form = Form::Word { noun: "a method", words: &["GET", "HEAD", "OPTIONS"] };

pub(super) const KIND: Setting<PoolSpec> = always(row(
    ("health.kind", "health.kind"),
    KINDS,
    Effect::Checks,
    word!(HealthKind::ALL, health.kind),
    "What a health check does: `tcp` connects; `http` asks for `path` and expects a status of \
     `expect`, or any 2xx or 3xx; `send-expect` sends `send` and expects `expect` in the \
     answer, or goes through `steps`; `redis`, `postgresql`, `mysql`, `smtp` and `tls` say as \
     much of that protocol as shows that the server works, and part without an error in its \
     log; with `none` only failed connects of sessions count.",
));

pub(super) const INTERVAL: Setting<PoolSpec> = always(row(
    ("health.interval", "health.interval_s"),
    SPAN,
    Effect::Checks,
    field!(Span, health.interval),
    "From the start of one check to the start of the next, give or take 10 %.",
));

pub(super) const FAST_INTERVAL: Setting<PoolSpec> = Setting {
    fallback: |pool| Some(Value::Span(pool.health.interval)),
    ..row(
        ("health.fast-interval", "health.fast_interval_s"),
        SPAN,
        Effect::Checks,
        optional!(Span, health.fast_interval),
        "The interval while the last results speak against the backend's state, but not enough \
         of them yet, and until the first result. As `health.interval` if absent.",
    )
};

pub(super) const DOWN_INTERVAL: Setting<PoolSpec> = Setting {
    fallback: |pool| Some(Value::Span(pool.health.interval)),
    ..row(
        ("health.down-interval", "health.down_interval_s"),
        SPAN,
        Effect::Checks,
        optional!(Span, health.down_interval),
        "The interval while the backend is down and its checks fail. As `health.interval` if \
         absent.",
    )
};

pub(super) const TIMEOUT: Setting<PoolSpec> = always(row(
    ("health.timeout", "health.timeout_s"),
    SPAN,
    Effect::Checks,
    field!(Span, health.timeout),
    "A check that has no answer by then has failed.",
));

pub(super) const RISE: Setting<PoolSpec> = always(row(
    ("health.rise", "health.rise"),
    IN_A_ROW,
    Effect::Checks,
    field!(Count, health.rise),
    "Successful checks in a row that bring a backend up.",
));

pub(super) const FALL: Setting<PoolSpec> = always(row(
    ("health.fall", "health.fall"),
    IN_A_ROW,
    Effect::Checks,
    field!(Count, health.fall),
    "Failed checks in a row that take a backend down.",
));

pub(super) const PORT: Setting<PoolSpec> = row(
    ("health.port", "health.port"),
    Form::Count { min: 1, max: 65_535 },
    Effect::Checks,
    optional!(Count, health.port),
    "The port that checks connect to, at the backend's address. The backend's own if absent.",
);

pub(super) const METHOD: Setting<PoolSpec> = row(
    ("health.method", "health.method"),
    METHODS,
    Effect::Checks,
    word!(HttpMethod::ALL, health.method),
    "For `http`. Only the status is read.",
);

pub(super) const PATH: Setting<PoolSpec> = row(
    ("health.path", "health.path"),
    Form::Text { example: "\"/health\"" },
    Effect::Checks,
    optional!(Text, health.path),
    "For `http`: the path to ask for. `/` if absent.",
);

pub(super) const HOST: Setting<PoolSpec> = row(
    ("health.host", "health.host"),
    Form::Text { example: "\"www.example.com\"" },
    Effect::Checks,
    optional!(Text, health.host),
    "For `http` the Host header (the address if absent), for `tls` the name of the server \
     (SNI, none if absent), for `smtp` the name in EHLO (`weir` if absent).",
);

pub(super) const USER: Setting<PoolSpec> = row(
    ("health.user", "health.user"),
    Form::Text { example: "\"weir\"" },
    Effect::Checks,
    optional!(Text, health.user),
    "For `mysql`, where it is required, a user without rights and without a password; for \
     `postgresql` the user of the startup packet (`postgres` if absent).",
);

pub(super) const SEND: Setting<PoolSpec> = row(
    ("health.send", "health.send"),
    Form::Text { example: "\"PING\\r\\n\"" },
    Effect::Checks,
    optional!(Text, health.send),
    "For `send-expect`: the bytes to send, with the escapes \\r \\n \\t \\\\ \\xNN.",
);

pub(super) const EXPECT: Setting<PoolSpec> = row(
    ("health.expect", "health.expect"),
    Form::Text { example: "\"200\" or \"+PONG\"" },
    Effect::Checks,
    optional!(Text, health.expect),
    "For `http` status codes and ranges of them (`200-299,401`); for `send-expect` the bytes \
     that the answer must contain.",
);

pub(super) const STEPS: Setting<PoolSpec> = row(
    ("health.steps", "health.steps"),
    Form::Steps,
    Effect::Checks,
    list!(Steps, health.steps),
    "For `send-expect`, instead of `send` and `expect`: several of both in turn, with the same \
     escapes. What is expected is looked for behind what was found before it. One text with \
     `;` between steps on a command line.",
);

pub(super) const PANIC: Setting<PoolSpec> = row(
    ("health.panic", "health.panic_percent"),
    Form::Share,
    Effect::Admission,
    field!(Share, health.panic),
    "With a smaller share of the pool's members up, health is ignored. `0%`: never.",
);

pub(super) const SLOW_START: Setting<PoolSpec> = row(
    ("health.slow-start", "health.slow_start_s"),
    SPAN_OR_NONE,
    Effect::Admission,
    field!(Span, health.slow_start),
    "How long a backend that is new or has recovered takes to get its full share.",
);
