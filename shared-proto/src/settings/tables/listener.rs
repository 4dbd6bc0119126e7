//! Settings of a listener.

use super::super::{Effect, Form, Setting, Value};
use super::{ADMINS, SPAN, keepalive_count, keepalive_idle, keepalive_interval, required, row};
use crate::spec::ListenerSpec;

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
        ("v6only", "v6only"),
        Form::Flag,
        Effect::Placement,
        field!(Flag, v6only),
        "`true`: IPv6 addresses take IPv6 clients only. `false`: `[::]` takes IPv4 clients, too, \
         who are IPv4 clients everywhere, as in lists of networks. A change binds new sockets.",
    ),
    row(
        ("interface", "interface"),
        Form::Interface,
        Effect::Placement,
        (
            |it| it.interface.map(|name| Value::Text(name.to_string())),
            |it, value| match value {
                Some(Value::Text(text)) => it.interface = text.parse().ok(),
                None => it.interface = None,
                Some(_) => {}
            },
        ),
        "Only clients that come in by this network interface (SO_BINDTODEVICE). Other listeners \
         may have the same addresses on other interfaces, but none on every interface. While this \
         host has no such interface the listener is as with an address that the host does not \
         have. A change binds new sockets. Any interface if absent.",
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
        ("rate", "rate_per_s"),
        Form::Rate,
        Effect::Admission,
        optional!(Rate, rate),
        "New sessions for each second, over all shards and addresses; more clients wait in the \
         backlog. At once may come what a tenth of a second allows, rounded up: never more than \
         that and the rate times a span of time begin within it. No limit if absent.",
    ),
    row(
        ("allow", "allow"),
        Form::Networks,
        Effect::Admission,
        list!(Networks, allow),
        "The clients that are served: one of another network is reset, and counted as `denied`. \
         The client is the one that a PROXY header tells of, where listeners want one. At most \
         200,000 networks, and twice as many in all lists of all listeners. Absent: everybody.",
    ),
    row(
        ("deny", "deny"),
        Form::Networks,
        Effect::Admission,
        list!(Networks, deny),
        "Clients that are not served, whatever `allow` says. As long as that at most.",
    ),
    row(
        ("no-backend", "no_backend"),
        Form::NoBackend,
        Effect::NewSessions,
        field!(NoBackend, no_backend),
        "What becomes of a client while no backend of its pool is up and ready: `reset`; `hold \
         5s`: it waits in the pool's queue (`queue.size`) for so long at most, and is served as \
         soon as a backend is back; or `close`: its connect is refused, since no shard listens \
         while neither the pool nor one of the routes' has a backend that is up and ready.",
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
        ("per-source.sessions", "per_source.sessions"),
        Form::Count { min: 1, max: u32::MAX },
        Effect::Admission,
        optional!(Count, per_source.sessions),
        "The most sessions of one source at once; more are reset, and counted as `source`. The \
         kernel brings all clients of a source to one shard, so the count is exact; the limit is \
         for each address that the listener binds. Where listeners want PROXY headers the source \
         is the client that they tell of, and one shard takes all of the listener's clients.",
    ),
    row(
        ("per-source.rate", "per_source.rate_per_s"),
        Form::Rate,
        Effect::Admission,
        optional!(Rate, per_source.rate),
        "New sessions of one source for each second, of which a second's may begin at once; more \
         are reset, and counted as `source`.",
    ),
    row(
        ("per-source.ipv4", "per_source.ipv4"),
        Form::Count { min: 0, max: 32 },
        Effect::Admission,
        field!(Count, per_source.ipv4),
        "The length of the prefix by which IPv4 clients are one source.",
    ),
    row(
        ("per-source.ipv6", "per_source.ipv6"),
        Form::Count { min: 0, max: 128 },
        Effect::Admission,
        field!(Count, per_source.ipv6),
        "The same for IPv6: a host has a /64 at least.",
    ),
    row(
        ("proxy-protocol.from", "proxy_protocol.from"),
        Form::Networks,
        Effect::Admission,
        list!(Networks, proxy_protocol.from),
        "Who sends a PROXY header first (version 1 or 2): balancers before this one. The client \
         that it tells of counts everywhere. A connection of theirs without one is reset, and so \
         is everybody else's. Absent: no header is wanted.",
    ),
    Setting {
        fallback: |listener| Some(Value::Span(listener.inspect_timeout)),
        ..row(
            ("proxy-protocol.timeout", "proxy_protocol.timeout_s"),
            SPAN,
            Effect::NewSessions,
            optional!(Span, proxy_protocol.timeout),
            "How long the header may take; later ones are reset. As long as `inspect-timeout` if \
             absent.",
        )
    },
    row(
        ("inspect-timeout", "inspect_timeout_s"),
        SPAN,
        Effect::NewSessions,
        field!(Span, inspect_timeout),
        "How long a PROXY header may take, if it has no time of its own, and after it a \
         ClientHello, where a route asks for one. A client without a hello by then takes the \
         listener's pool, as every client of a protocol does in which the server sends first.",
    ),
    row(
        ("route", "route"),
        Form::Routes,
        Effect::Placement,
        list!(Routes, route),
        "Sessions that go to another `pool`: the first route fits of which all that is there fits, \
         one of the server names `sni` (`*.example.com`: every name below, `*`: any), one of the \
         protocols `alpn`, one of the networks `from`. For names and protocols the ClientHello of \
         TLS is read, and nothing is decrypted. What fits none, and what is no TLS, takes the \
         listener's pool. At most 256 routes with 64 names each.",
    ),
];
