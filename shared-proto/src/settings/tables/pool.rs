//! Settings of a pool.

use super::super::{Effect, Form, Setting, Value};
use super::{
    LIFETIME, REFRESH, SPAN, always, health, keepalive_count, keepalive_idle, keepalive_interval,
    row,
};
use crate::spec::{
    Failover, OnDown, PoolSpec, ProxyVersion, QUEUE_SIZE_MAX, REPLAY_MAX, RETRY_ATTEMPTS_MAX,
    RedispatchSpec, SOCKET_BUFFER_MAX, SOCKET_BUFFER_MIN, Strategy,
};

const STRATEGIES: Form = Form::Word {
    noun: "a strategy",
    words: &["round-robin", "least-conn", "two-choices", "random", "maglev"],
};

/// Settings of a pool: `[pool.NAME]`.
pub static POOL: &[Setting<PoolSpec>] = &[
    always(row(
        ("strategy", "strategy"),
        STRATEGIES,
        Effect::Placement,
        word!(Strategy::ALL, strategy),
        "How a backend is picked for a new session.",
    )),
    health::KIND,
    health::INTERVAL,
    health::FAST_INTERVAL,
    health::DOWN_INTERVAL,
    health::TIMEOUT,
    health::RISE,
    health::FALL,
    health::PORT,
    health::METHOD,
    health::PATH,
    health::HOST,
    health::USER,
    health::SEND,
    health::EXPECT,
    health::STEPS,
    health::PANIC,
    health::SLOW_START,
    row(
        ("agent.port", "agent.port"),
        Form::Count { min: 1, max: 65_535 },
        Effect::Checks,
        optional!(Count, agent.port),
        "Where each backend's agent listens: weir connects to it again and again and reads one \
         line, by which the backend sets its own weight (`75%`), lower limit of sessions \
         (`maxconn:30`), state (`ready`, `drain`, `maint`) and health (`up`, `down`, `failed`, \
         `stopped`, with `# reason`). That counts until the agent says otherwise, and is no \
         version; an operator's word goes before it. Absent: none is asked, and what they have \
         said is forgotten.",
    ),
    row(
        ("agent.address", "agent.address"),
        Form::Text { example: "\"10.0.0.9\"" },
        Effect::Checks,
        optional!(Text, agent.address),
        "The host of one agent for all backends of the pool. Absent: each backend's own.",
    ),
    row(
        ("agent.interval", "agent.interval_s"),
        SPAN,
        Effect::Checks,
        field!(Span, agent.interval),
        "From the start of one question to the start of the next, give or take a tenth.",
    ),
    row(
        ("agent.timeout", "agent.timeout_s"),
        SPAN,
        Effect::Checks,
        field!(Span, agent.timeout),
        "For the connect and the answer together. An agent that gives none changes nothing.",
    ),
    row(
        ("agent.send", "agent.send"),
        Form::Text { example: "\"web\\n\"" },
        Effect::Checks,
        optional!(Text, agent.send),
        "Sent to the agent after the connect, with the escapes of `health.send`. Absent: nothing.",
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
    row(
        ("timeout.queue", "timeout.queue_s"),
        SPAN,
        Effect::NewSessions,
        field!(Span, timeout.queue),
        "How long a session waits for a backend with room while every one that could take it is \
         at its `max-sessions`; then it is reset (`queue_timeout`).",
    ),
    row(
        ("timeout.lifetime", "timeout.lifetime_s"),
        LIFETIME,
        Effect::AllSessions,
        optional!(Span, timeout.lifetime),
        "The greatest age of a session, counted from the accept; each session has up to a tenth \
         less, so that those that came together do not leave together. Then it is reset as soon \
         as it is quiet: nothing waits in weir or is unacknowledged, and nothing has moved for a \
         hundredth of the lifetime, 1 s at most. One that is not quiet within a tenth of the \
         lifetime, 10 s at most, is reset then. When a lifetime is set or shortened, sessions \
         that are too old already end over a tenth of it. Absent: none.",
    ),
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
        "From the accept, the time in the queue not counted: no other backend is tried later.",
    ),
    row(
        ("queue.size", "queue.size"),
        Form::Count { min: 0, max: QUEUE_SIZE_MAX },
        Effect::Admission,
        field!(Count, queue.size),
        "The most sessions that wait at once on each shard while every backend is full, first \
         come, first served; a shard resets those beyond that (`queue_full`). Nothing is read \
         from a client that waits. `0`: none waits.",
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
        ("source", "source"),
        Form::Source,
        Effect::NewSessions,
        optional!(Source, source),
        "The address of this host that connections to backends come from, those of checks too. Of \
         several, sessions take one of the backend's family by turns, on each shard, and pass over \
         one that has no port left or is not on this host; checks take the first that is. A \
         backend of a family that none is of is reached from an address of the kernel's choice, as \
         all are if absent.",
    ),
    row(
        ("proxy-protocol", "proxy_protocol"),
        Form::Word { noun: "a version of the PROXY protocol", words: &["v1", "v2"] },
        Effect::NewSessions,
        optional_word!(ProxyVersion::ALL, proxy_protocol),
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
    row(
        ("on-down", "on_down"),
        Form::Word {
            noun: "an answer to a backend that goes down",
            words: &["keep", "stalled", "kill"],
        },
        Effect::AllSessions,
        word!(OnDown::ALL, on_down),
        "The sessions of a backend that goes down, by its checks, as ejected or by `force`: `keep` \
         leaves them alone, `kill` resets all that it has then, `stalled` those for which it \
         acknowledges nothing of what waits for it for a second, for as long as it is down. In \
         panic health is not believed, and nothing ends.",
    ),
    row(
        ("discover.dns", "discover.dns"),
        Form::Text { example: "\"web.internal:443\"" },
        Effect::Placement,
        optional!(Text, discover.dns),
        "A host and a port: the addresses that DNS has for the host (A and AAAA) are backends \
         beside those of the configuration, each named by its address. /etc/hosts comes first. End \
         the name with a dot, or the search list of /etc/resolv.conf is tried. At most 256.",
    ),
    row(
        ("discover.srv", "discover.srv"),
        Form::Text { example: "\"_web._tcp.internal\"" },
        Effect::Placement,
        optional!(Text, discover.srv),
        "The same by SRV records, which name hosts and ports: a record's priority is the \
         backend's (the lowest is 0), its weight the weight.",
    ),
    row(
        ("discover.resolver", "discover.resolver"),
        Form::Address { many: false },
        Effect::Placement,
        (
            |of| of.discover.resolver.map(|it| Value::Addresses(vec![it])),
            |of, value| match value {
                Some(Value::Addresses(several)) => {
                    of.discover.resolver = several.first().copied();
                }
                None => of.discover.resolver = None,
                Some(_) => {}
            },
        ),
        "The server that is asked. Absent: those of /etc/resolv.conf, in turn.",
    ),
    row(
        ("discover.refresh", "discover.refresh_s"),
        REFRESH,
        Effect::Placement,
        optional!(Span, discover.refresh),
        "How often DNS is asked, whatever the records say. Absent: when the shortest TTL of an \
         answer is over, 1 s to 1 h, give or take a tenth.",
    ),
    row(
        ("discover.keep-last", "discover.keep_last_s"),
        LIFETIME,
        Effect::Placement,
        optional!(Span, discover.keep_last),
        "How long backends stay when no good answer comes; then they get no new sessions. Absent: \
         for ever. An answer that names no address, a refusal, an error and silence are not good.",
    ),
];
