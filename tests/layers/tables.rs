//! The tables of layers.rs: who may name whom, and which word has its place where.

/// Each crate's sources, and the crates of weir that they may name. What is in no row is free to
/// see everything (tests, benches).
pub(crate) const CRATES: &[(&str, &[&str])] = &[
    ("shared-proto/src/", &[]),
    ("engine/core/src/", &["weir_proto"]),
    ("engine/src/", &["weir_proto", "weir_core"]),
    // Its operator keeps the ledger of credits that control keeps: the real one.
    ("engine/sim/src/", &["weir_proto", "weir_core", "weir_engine", "weir_control_core"]),
    // It tests the whole: nothing names it, so it may name everything.
    (
        "control/sim/src/",
        &[
            "weir_proto",
            "weir_core",
            "weir_engine",
            "weir_engine_sim",
            "weir_control_core",
            "weir_control",
            "weir_sim",
        ],
    ),
    ("control/core/src/", &["weir_proto", "weir_core"]),
    ("control/daemon/src/main.rs", &["weir_control"]),
    ("control/daemon/src/", &["weir_proto", "weir_core", "weir_engine", "weir_control_core"]),
    ("control/cli/src/", &["weir_proto"]),
];

pub(crate) const WEIR: &[&str] = &[
    "weir_proto",
    "weir_core",
    "weir_engine",
    "weir_engine_sim",
    "weir_control_core",
    "weir_control",
    "weir_sim",
    "weir_tests",
];

/// A module, and the modules beside it that it may name.
pub(crate) type Row = (&'static str, &'static [&'static str]);

/// A crate whose modules have layers: its sources, a row for each module, and whether tests obey
/// the rows, too.
pub(crate) struct Layers {
    pub(crate) root: &'static str,
    pub(crate) rows: &'static [Row],
    pub(crate) with_tests: bool,
}

pub(crate) const LAYERED: &[Layers] = &[
    Layers { root: "engine/src/", rows: ENGINE, with_tests: true },
    // Tests have fakes; a test of the prober has a disk, one of the API a whole process.
    Layers { root: "control/core/src/", rows: CONTROL_CORE, with_tests: false },
    Layers { root: "control/daemon/src/", rows: CONTROL, with_tests: false },
];

/// `shard` is generic over `Io` and must not know which one it has; only the door (lib.rs and
/// start.rs) joins them.
pub(crate) const ENGINE: &[Row] = &[
    ("io", &[]),
    ("sys", &["io"]),
    ("ring", &["io", "sys"]),
    ("failpoint", &["sys"]),
    ("heartbeat", &["failpoint", "sys"]),
    ("mailbox", &["heartbeat", "sys"]),
    ("shard", &["io", "mailbox"]),
    ("start", &["io", "mailbox", "ring", "shard", "sys"]),
];

/// Modules that decide about configuration, health and figures.
pub(crate) const CONTROL_CORE: &[Row] = &[
    ("sessions", &[]),
    ("batch", &[]),
    ("legacy", &[]),
    ("aggregate", &["batch", "legacy", "sessions"]),
    ("deadlines", &[]),
    ("record", &[]),
    ("resolve", &["legacy"]),
    ("timestamp", &[]),
    ("session_log", &["sessions", "timestamp"]),
    ("file", &["record", "session_log"]),
    ("health", &["batch", "legacy"]),
    ("leases", &["batch"]),
    ("live", &["aggregate", "legacy"]),
    ("rollout", &[]),
    ("sockets", &[]),
    ("tasks", &["legacy"]),
    ("events", &["timestamp"]),
    ("planner", &["file", "record"]),
    (
        "control",
        &[
            "aggregate",
            "batch",
            "deadlines",
            "events",
            "health",
            "leases",
            "legacy",
            "live",
            "planner",
            "record",
            "resolve",
            "rollout",
            "session_log",
            "sessions",
            "sockets",
            "tasks",
            "timestamp",
        ],
    ),
    ("why", &["control", "health", "planner"]),
    ("fakes", &["control", "record", "sockets"]),
    ("fallback", &["control", "deadlines", "leases"]),
];

/// Modules that act on it; `start` joins them. `watchdog` and `fallback` need nothing of `serve`,
/// since they are there when it has died.
pub(crate) const CONTROL: &[Row] = &[
    ("limits", &[]),
    ("listen", &[]),
    ("paths", &[]),
    ("rt", &[]),
    ("sources", &["listen"]),
    ("streams", &[]),
    ("systemd", &[]),
    ("demo", &["streams"]),
    ("doctor", &["limits", "listen", "rt", "sources", "streams"]),
    ("init", &["streams"]),
    ("log", &["rt", "streams"]),
    ("manual", &[]),
    ("session_log", &["log", "rt"]),
    ("prober", &["listen", "rt"]),
    ("signals", &["rt"]),
    ("store", &["paths"]),
    ("watchdog", &["listen", "rt"]),
    ("remembered", &["paths"]),
    ("resolver", &["rt"]),
    ("upgrade", &["listen", "rt", "streams", "watchdog"]),
    ("failpoint", &["rt", "store", "watchdog"]),
    ("fallback", &["listen", "rt", "signals", "systemd", "watchdog"]),
    (
        "serve",
        &[
            "failpoint",
            "log",
            "prober",
            "remembered",
            "resolver",
            "rt",
            "session_log",
            "signals",
            "store",
            "systemd",
            "upgrade",
            "watchdog",
        ],
    ),
    ("api", &["log", "paths", "rt", "serve"]),
    ("check", &["api", "sources", "streams"]),
    (
        "start",
        &[
            "api",
            "check",
            "failpoint",
            "fallback",
            "limits",
            "listen",
            "log",
            "remembered",
            "rt",
            "serve",
            "session_log",
            "signals",
            "store",
            "streams",
            "systemd",
            "upgrade",
            "watchdog",
        ],
    ),
];

/// Crates in which no module may lead back to itself. Those of [`LAYERED`] are among them.
pub(crate) const ACYCLIC: &[&str] = &[
    "shared-proto/src/",
    "engine/core/src/",
    "engine/src/",
    "engine/sim/src/",
    "control/core/src/",
    "control/daemon/src/",
    "control/cli/src/",
    "control/sim/src/",
];

/// Crates that declare state machines, whose states change by `machine::enter`.
pub(crate) const DECLARING: &[&str] = &["engine/core/src/", "engine/src/", "control/core/src/"];

/// Files that take a state out while they work on it, and record the change by `machine::entered`.
pub(crate) const RECORDING: &[&str] = &["control/core/src/control/change.rs"];

/// A word that has its place, and nowhere else: word, places (prefixes of paths), why.
pub(crate) const PLACES: &[(&str, &[&str], &str)] = &[
    ("io_uring", &["engine/src/ring.rs", "engine/src/ring/", "benches/"], "the kernel's side"),
    ("glommio", &["control/daemon/src/rt.rs", "control/daemon/src/rt/"], "the seam of 60 lines"),
    ("tokio", &[], "no second executor"),
    ("bincode", &["shared-proto/src/frame.rs"], "the one codec module"),
    (
        "simple_dns",
        &["control/core/src/resolve/wire.rs", "control/core/src/resolve/wire/", "fuzz/"],
        "decoded once, at the edge",
    ),
    (
        "unsafe",
        &[
            "engine/src/ring.rs",
            "engine/src/ring/",
            "engine/src/sys.rs",
            "engine/src/sys/",
            "engine/src/mailbox.rs",
            "benches/src/sys.rs",
            "benches/src/sys/",
            "benches/src/ring.rs",
            "benches/src/ring/",
        ],
        "where the kernel is",
    ),
];

/// Crates that act on nothing: no file, socket, thread, clock or lock. `engine/core` needs no row,
/// it is `no_std`. An address, a descriptor and `io::Error` are values and may pass.
pub(crate) const PURE: &[&str] = &["control/core/src/"];

/// Modules of `std` that act.
pub(crate) const ACTING: &[&str] = &["env", "fs", "process", "thread"];

/// Words for what acts, wherever it comes from.
pub(crate) const IMPURE: &[&str] = &[
    "Instant",
    "Mutex",
    "RwLock",
    "SystemTime",
    "TcpListener",
    "TcpStream",
    "UdpSocket",
    "UnixDatagram",
    "UnixListener",
    "UnixStream",
    "async",
    "crossbeam_channel",
    "hyper",
    "libc",
    "nix",
    "redb",
    "rustix",
    "socket2",
];

/// What is in the process that serves, and where a word of [`STREAMS`] may be in it. A write to a
/// standard stream can wait for ever, and `println!` panics when it fails: the log's thread alone
/// may meet that (docs/adr/0020). The simulator has no log, since the log is the process's: this
/// is what holds that control cannot wait for one.
pub(crate) const SILENT: &[(&str, &[&str])] = &[
    ("shared-proto/src/", &[]),
    ("engine/core/src/", &[]),
    ("engine/src/", &[]),
    ("control/core/src/", &[]),
    ("control/daemon/src/", &["control/daemon/src/streams.rs"]),
    // It serves nobody, but a reader that leaves must not make it panic.
    ("control/cli/src/", &["control/cli/src/main.rs", "control/cli/src/top.rs"]),
];

/// Words that write to a standard stream, with what follows them.
pub(crate) const STREAMS: &[(&str, &str)] = &[
    ("print", "!"),
    ("println", "!"),
    ("eprint", "!"),
    ("eprintln", "!"),
    ("dbg", "!"),
    ("stdout", "()"),
    ("stderr", "()"),
    ("sd_notify", "::"),
];
