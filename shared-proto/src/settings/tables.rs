//! The rows: settings of pools, listeners and backends, in the order of the reference.

use super::{Effect, Form, Setting, Value};
use crate::network::NetworkList;
use crate::spec::{
    Admin, BackendSpec, HealthKind, KEEPALIVE_COUNT_MAX, KEEPALIVE_SECS_MAX, ListenerSpec,
    PoolSpec, ProxyVersion, REPLAY_MAX, RETRY_ATTEMPTS_MAX, RedispatchSpec, SOCKET_BUFFER_MAX,
    SOCKET_BUFFER_MIN, Strategy, WEIGHT_MAX,
};

/// A week, which fits into 32 bits as milliseconds.
const WEEK_MS: u64 = 7 * 86_400_000;

const SPAN: Form = Form::Span { min_ms: 1, max_ms: WEEK_MS, step_ms: 1, range: "1ms to 7 days" };
const SPAN_OR_NONE: Form =
    Form::Span { min_ms: 0, max_ms: WEEK_MS, step_ms: 1, range: "0s for none, up to 7 days" };
const SECONDS: Form = Form::Span {
    min_ms: 1000,
    max_ms: KEEPALIVE_SECS_MAX as u64 * 1000,
    step_ms: 1000,
    range: "whole seconds, 1s to 9h",
};
const IN_A_ROW: Form = Form::Count { min: 1, max: 100 };

/// How a field is read and written, whose type is that of `$variant` of [`Value`].
macro_rules! field {
    ($variant:ident, $($field:ident).+) => {
        (
            |of| Some(Value::$variant(of.$($field).+.clone())),
            |of, value| {
                if let Some(Value::$variant(it)) = value {
                    of.$($field).+ = it;
                }
            },
        )
    };
}

/// The same for a field that may be absent: an absent value takes it away.
macro_rules! optional {
    ($variant:ident, $($field:ident).+) => {
        (
            |of| of.$($field).+.clone().map(Value::$variant),
            |of, value| match value {
                Some(Value::$variant(it)) => of.$($field).+ = Some(it),
                None => of.$($field).+ = None,
                Some(_) => {}
            },
        )
    };
}

/// The same for a list of networks: an empty one is absent.
macro_rules! networks {
    ($($field:ident).+) => {
        (
            |of| (!of.$($field).+.is_empty()).then(|| Value::Networks(of.$($field).+.clone())),
            |of, value| match value {
                Some(Value::Networks(it)) => of.$($field).+ = it,
                None => of.$($field).+ = NetworkList::default(),
                Some(_) => {}
            },
        )
    };
}

/// The same for a field that is one of a few words.
macro_rules! word {
    ($all:expr, $($field:ident).+) => {
        (
            |of| Some(Value::Text(of.$($field).+.word().to_owned())),
            |of, value| {
                let named = |text: &str| $all.into_iter().find(|it| it.word() == text);
                if let Some(Value::Text(text)) = value
                    && let Some(it) = named(&text)
                {
                    of.$($field).+ = it;
                }
            },
        )
    };
}

/// How a setting is read and written.
type Access<S> = (fn(&S) -> Option<Value>, fn(&mut S, Option<Value>));

const fn row<S>(
    (key, json): (&'static str, &'static str),
    form: Form,
    effect: Effect,
    (get, set): Access<S>,
    help: &'static str,
) -> Setting<S> {
    let (required, always_exported) = (false, false);
    Setting { key, json, form, help, effect, get, set, required, always_exported, fallback: none }
}

/// Neither has a default.
const fn required<S>(setting: Setting<S>) -> Setting<S> {
    Setting { required: true, always_exported: true, ..setting }
}

fn none<S>(_of: &S) -> Option<Value> {
    None
}

/// Written by an export whenever its table is.
const fn always<S>(setting: Setting<S>) -> Setting<S> {
    Setting { always_exported: true, ..setting }
}

const STRATEGIES: Form = Form::Word {
    noun: "a strategy",
    words: &["round-robin", "least-conn", "two-choices", "random", "maglev"],
};
const KINDS: Form =
    Form::Word { noun: "a kind of check", words: &["tcp", "http", "send-expect", "none"] };
const STATES: Form = Form::Word { noun: "a state", words: &["ready", "drain", "maint"] };
const ADMINS: [Admin; 3] = [Admin::Ready, Admin::Drain, Admin::Maint];
const KEEPALIVE_COUNT: Form = Form::Count { min: 1, max: KEEPALIVE_COUNT_MAX as u32 };

const fn keepalive_idle<S>(access: Access<S>, help: &'static str) -> Setting<S> {
    let names = ("keepalive.idle", "keepalive.idle_s");
    always(row(names, SECONDS, Effect::NewSessions, access, help))
}

const fn keepalive_interval<S>(access: Access<S>) -> Setting<S> {
    let names = ("keepalive.interval", "keepalive.interval_s");
    always(row(names, SECONDS, Effect::NewSessions, access, "Between two such questions."))
}

const fn keepalive_count<S>(access: Access<S>, help: &'static str) -> Setting<S> {
    let names = ("keepalive.count", "keepalive.count");
    always(row(names, KEEPALIVE_COUNT, Effect::NewSessions, access, help))
}

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
];

/// Settings of a listener: `[listener.NAME]`.
pub static LISTENER: &[Setting<ListenerSpec>] = &[
    required(row(
        ("bind", "bind"),
        Form::Address { many: true },
        Effect::Placement,
        field!(Addresses, bind),
        "Where to listen. Required. New addresses are bound before the version is made; one that \
         goes is closed when every shard has the version, and resets who waits in its backlog.",
    )),
    required(row(
        ("pool", "pool"),
        Form::Name { of: "a pool" },
        Effect::Placement,
        (
            |it| Some(Value::Text(it.pool.as_str().to_owned())),
            |it, value| {
                if let Some(Value::Text(text)) = value
                    && let Ok(name) = text.parse()
                {
                    it.pool = name;
                }
            },
        ),
        "The pool that its sessions go to. Required. Another pool gets every session that begins \
         after the answer (blue/green).",
    )),
    row(
        ("freebind", "freebind"),
        Form::Flag,
        Effect::Placement,
        field!(Flag, freebind),
        "`true` listens on addresses also while this host does not have them, as a standby does \
         for the VIP of its cluster (IP_FREEBIND). `false` again is refused while the host does \
         not have them.",
    ),
    row(
        ("max-sessions", "max_sessions"),
        Form::Count { min: 0, max: u32::MAX },
        Effect::Admission,
        optional!(Count, max_sessions),
        "The most sessions at once, over all shards and addresses; more clients wait in the \
         backlog. No limit if absent; 0 is refused.",
    ),
    row(
        ("allow", "allow"),
        Form::Networks,
        Effect::Admission,
        networks!(allow),
        "The clients that are served: one of another network is reset, and counted as `denied`. \
         The client is the one that a PROXY header tells of, where listeners want one. At most \
         200,000 networks, and twice as many in all lists of all listeners. Absent: everybody.",
    ),
    row(
        ("deny", "deny"),
        Form::Networks,
        Effect::Admission,
        networks!(deny),
        "Clients that are not served, whatever `allow` says. As long as that at most.",
    ),
    row(
        ("state", "state"),
        Form::Word { noun: "a state", words: &["ready", "drain"] },
        Effect::Admission,
        word!(ADMINS, state),
        "`drain` accepts no new sessions.",
    ),
    keepalive_idle(
        field!(Span, keepalive.idle),
        "How long nothing comes from a client before the kernel asks whether it is there.",
    ),
    keepalive_interval(field!(Span, keepalive.interval)),
    keepalive_count(
        field!(Count, keepalive.count),
        "Questions without an answer after which the client has vanished.",
    ),
    row(
        ("proxy-protocol.from", "proxy_protocol.from"),
        Form::Networks,
        Effect::Admission,
        networks!(proxy_protocol.from),
        "Who sends a PROXY header first (version 1 or 2): balancers before this one. The client \
         that it tells of counts everywhere. A connection of theirs without one is reset, and so \
         is everybody else's. Absent: no header is wanted.",
    ),
    row(
        ("proxy-protocol.timeout", "proxy_protocol.timeout_s"),
        SPAN,
        Effect::NewSessions,
        field!(Span, proxy_protocol.timeout),
        "How long the header may take; later ones are reset.",
    ),
];

/// Settings of a backend: `[pool.NAME.backend]`, `NAME = { … }`.
pub static BACKEND: &[Setting<BackendSpec>] = &[
    required(row(
        ("address", "address"),
        Form::Address { many: false },
        Effect::Placement,
        (
            |it| Some(Value::Addresses(vec![it.address])),
            |it, value| {
                if let Some(Value::Addresses(addresses)) = value
                    && let [address] = addresses.as_slice()
                {
                    it.address = *address;
                }
            },
        ),
        "Where to connect to. Required. Another address makes it another backend: the old one is \
         shown as removed for as long as it has sessions.",
    )),
    row(
        ("weight", "weight"),
        Form::Count { min: 0, max: WEIGHT_MAX as u32 },
        Effect::Admission,
        (
            |it| Some(Value::Count(it.weight.into())),
            |it, value| {
                if let Some(Value::Count(count)) = value
                    && let Ok(weight) = u16::try_from(count)
                {
                    it.weight = weight;
                }
            },
        ),
        "Its share beside the others'. 0 takes no new sessions.",
    ),
    row(
        ("state", "state"),
        STATES,
        Effect::Admission,
        word!(ADMINS, state),
        "`drain` takes no new sessions; `maint` is not checked either.",
    ),
];
