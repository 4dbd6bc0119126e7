//! Settings of a pool.

use super::super::{Effect, Form, Setting, Value};
use super::{
    IN_A_ROW, SPAN, SPAN_OR_NONE, always, keepalive_count, keepalive_idle, keepalive_interval, row,
};
use crate::spec::{
    Failover, HealthKind, PoolSpec, ProxyVersion, REPLAY_MAX, RETRY_ATTEMPTS_MAX, RedispatchSpec,
    SOCKET_BUFFER_MAX, SOCKET_BUFFER_MIN, Strategy,
};

const STRATEGIES: Form = Form::Word {
    noun: "a strategy",
    words: &["round-robin", "least-conn", "two-choices", "random", "maglev"],
};
const KINDS: Form =
    Form::Word { noun: "a kind of check", words: &["tcp", "http", "send-expect", "none"] };

/// Settings of a pool: `[pool.NAME]`.
pub static POOL: &[Setting<PoolSpec>] = &[
    always(row(
        ("strategy", "strategy"),
        STRATEGIES,
        Effect::Placement,
        word!(Strategy::ALL, strategy),
        "How a backend is picked for a new session.",
    )),
    always(row(
        ("health.kind", "health.kind"),
        KINDS,
        Effect::Checks,
        word!(HealthKind::ALL, health.kind),
        "What a health check does: `tcp` connects; `http` asks for `path` and expects the status \
         `expect`, or any 2xx or 3xx; `send-expect` sends `send` and expects `expect` in the \
         answer; with `none` only failed connects of sessions count.",
    )),
    always(row(
        ("health.interval", "health.interval_s"),
        SPAN,
        Effect::Checks,
        field!(Span, health.interval),
        "From the start of one check to the start of the next, give or take 10 %.",
    )),
    always(row(
        ("health.timeout", "health.timeout_s"),
        SPAN,
        Effect::Checks,
        field!(Span, health.timeout),
        "A check that has no answer by then has failed.",
    )),
    always(row(
        ("health.rise", "health.rise"),
        IN_A_ROW,
        Effect::Checks,
        field!(Count, health.rise),
        "Successful checks in a row that bring a backend up.",
    )),
    always(row(
        ("health.fall", "health.fall"),
        IN_A_ROW,
        Effect::Checks,
        field!(Count, health.fall),
        "Failed checks in a row that take a backend down.",
    )),
    row(
        ("health.path", "health.path"),
        Form::Text { example: "\"/health\"" },
        Effect::Checks,
        optional!(Text, health.path),
        "For `http`: the path to ask for. `/` if absent.",
    ),
    row(
        ("health.send", "health.send"),
        Form::Text { example: "\"PING\\r\\n\"" },
        Effect::Checks,
        optional!(Text, health.send),
        "For `send-expect`: the bytes to send, with the escapes \\r \\n \\t \\\\ \\xNN.",
    ),
    row(
        ("health.expect", "health.expect"),
        Form::Text { example: "\"200\" or \"+PONG\"" },
        Effect::Checks,
        optional!(Text, health.expect),
        "For `http` the status code; for `send-expect` the bytes that the answer must contain.",
    ),
    row(
        ("health.panic", "health.panic_percent"),
        Form::Share,
        Effect::Admission,
        field!(Share, health.panic),
        "With a smaller share of the pool's members up, health is ignored. `0%`: never.",
    ),
    row(
        ("health.slow-start", "health.slow_start_s"),
        SPAN_OR_NONE,
        Effect::Admission,
        field!(Span, health.slow_start),
        "How long a backend that is new or has recovered takes to get its full share.",
    ),
    always(row(
        ("timeout.connect", "timeout.connect_s"),
        SPAN,
        Effect::NewSessions,
        field!(Span, timeout.connect),
        "For one connect to one backend.",
    )),
    always(row(
        ("timeout.idle", "timeout.idle_s"),
        SPAN,
        Effect::NewSessions,
        field!(Span, timeout.idle),
        "A session in which no byte moves for so long is reset.",
    )),
    always(row(
        ("timeout.half-close", "timeout.half_close_s"),
        SPAN,
        Effect::NewSessions,
        field!(Span, timeout.half_close),
        "The same once one direction has ended.",
    )),
    Setting {
        fallback: |pool| Some(Value::Span(pool.timeout.idle)),
        ..row(
            ("timeout.stalled", "timeout.stalled_s"),
            SPAN,
            Effect::NewSessions,
            optional!(Span, timeout.stalled),
            "A side that takes none of the bytes that wait for it for so long is given up. As long \
             as `timeout.idle` if absent.",
        )
    },
    always(row(
        ("retry.attempts", "retry.attempts"),
        Form::Count { min: 0, max: RETRY_ATTEMPTS_MAX as u32 },
        Effect::NewSessions,
        field!(Count, retry.attempts),
        "How many other backends are tried when a connect fails, before any byte has crossed.",
    )),
    row(
        ("retry.within", "retry.within_s"),
        SPAN,
        Effect::NewSessions,
        field!(Span, retry.within),
        "From the accept: no other backend is tried later.",
    ),
    Setting {
        fallback: |_| Some(Value::Text("on".to_owned())),
        ..row(
            ("redispatch", "redispatch.mode"),
            Form::Word { noun: "a way to redispatch", words: &["on", "off"] },
            Effect::NewSessions,
            (
                |it| match it.redispatch {
                    RedispatchSpec::Off => Some(Value::Text("off".to_owned())),
                    RedispatchSpec::Unsent => Some(Value::Text("on".to_owned())),
                    RedispatchSpec::Replay(_) => None,
                },
                |it, value| match value {
                    Some(Value::Text(text)) if text == "off" => {
                        it.redispatch = RedispatchSpec::Off;
                    }
                    Some(Value::Text(_)) | None => it.redispatch = RedispatchSpec::default(),
                    Some(_) => {}
                },
            ),
            "A backend that takes a session and closes or resets it before it has sent a byte \
             counts as a failed connect, and another one is tried, within `retry.attempts` and \
             `retry.within`; as long as nothing of the client's was passed on, unless \
             `redispatch.replay` says more. `off`: the close goes to the client.",
        )
    },
    row(
        ("redispatch.replay", "redispatch.replay_bytes"),
        Form::Size { min: 1, max: REPLAY_MAX as u32 },
        Effect::NewSessions,
        (
            |it| match it.redispatch {
                RedispatchSpec::Replay(size) => Some(Value::Size(size)),
                RedispatchSpec::Off | RedispatchSpec::Unsent => None,
            },
            |it, value| match (value, it.redispatch) {
                (Some(Value::Size(size)), _) => it.redispatch = RedispatchSpec::Replay(size),
                (None, RedispatchSpec::Replay(_)) => it.redispatch = RedispatchSpec::default(),
                _ => {}
            },
        ),
        "The other backend gets what the client has sent so far, its end included, if it is no \
         more than this. Until the first byte of a backend, for `retry.within` at most, such a \
         session holds one buffer. Only for requests that may be made twice: the first backend \
         may have worked on one before it closed.",
    ),
    keepalive_idle(
        field!(Span, keepalive.idle),
        "How long nothing comes from a backend before the kernel asks whether it is there.",
    ),
    keepalive_interval(field!(Span, keepalive.interval)),
    keepalive_count(
        field!(Count, keepalive.count),
        "Questions without an answer after which the backend has vanished.",
    ),
    row(
        ("socket-buffer", "socket_buffer_bytes"),
        Form::Size { min: SOCKET_BUFFER_MIN, max: SOCKET_BUFFER_MAX },
        Effect::NewSessions,
        optional!(Size, socket_buffer),
        "The most that the kernel keeps for one socket in one direction, received or to be sent. \
         A connection then carries no more than about half of it in a round trip. If absent the \
         kernel decides: a peer makes it keep about as much as it has read before, up to 4 MiB to \
         be sent.",
    ),
    row(
        ("proxy-protocol", "proxy_protocol"),
        Form::Word { noun: "a version of the PROXY protocol", words: &["v1", "v2"] },
        Effect::NewSessions,
        (
            |it| it.proxy_protocol.map(|version| Value::Text(version.word().to_owned())),
            |it, value| match value {
                Some(Value::Text(text)) => {
                    let mut all = ProxyVersion::ALL.into_iter();
                    it.proxy_protocol = all.find(|version| version.word() == text);
                }
                None => it.proxy_protocol = None,
                Some(_) => {}
            },
        ),
        "The PROXY header that each backend gets before the first byte, with the client's address. \
         Checks send one, too, which says that they are weir's own (LOCAL, UNKNOWN). Absent: none.",
    ),
    row(
        ("spill", "spill_percent"),
        Form::Share,
        Effect::Admission,
        field!(Share, spill),
        "With a smaller share of a priority group's weight up, the next group takes the rest: at \
         `70%`, a group with half of its weight up keeps 71 % of the sessions. `0%`: a group takes \
         all or none.",
    ),
    row(
        ("failover", "failover"),
        Form::Word { noun: "a failover", words: &["auto", "stay"] },
        Effect::Admission,
        word!(Failover::ALL, failover),
        "`auto` uses the first priority group that can take sessions. `stay` keeps the one in use \
         until it fails, also when an earlier one is back: for databases with a single writer.",
    ),
];
