//! docs/reference.md and weir.toml(5), made from the tables of settings.

use std::fmt::Write;

use weir_proto::roff::escape;
use weir_proto::settings::{self, Setting};
use weir_proto::spec::{BackendSpec, ListenerSpec, PoolSpec};

/// A setting of the process, in `[weir]`: read at start, not versioned.
pub(super) struct ProcessSetting {
    pub(super) key: &'static str,
    noun: &'static str,
    default: &'static str,
    range: &'static str,
    help: &'static str,
}

/// The settings of `[weir]`, in the order of the reference.
pub(super) const PROCESS: [ProcessSetting; 12] = [
    ProcessSetting {
        key: "shards",
        noun: "number or word",
        default: "\"auto\"",
        range: "1 to 1024, or \"auto\" for one per core",
        help: "Threads that serve sessions, each on a core of its own.",
    },
    ProcessSetting {
        key: "control",
        noun: "path",
        default: "\"/run/weir/control.sock\"",
        range: "at most 107 bytes",
        help: "The Unix socket for weirctl.",
    },
    ProcessSetting {
        key: "control-roles",
        noun: "table",
        default: "root and weir's own user are admins, who else may open the socket an operator",
        range: "admin, operator, viewer = [\"user:NAME\", \"group:NAME\", \"uid:N\", \"anyone\"]",
        help: "Who may do what on the control socket.",
    },
    ProcessSetting {
        key: "admin",
        noun: "address",
        default: "none",
        range: "IP:PORT",
        help: "Where to answer HTTP: metrics, health, the API.",
    },
    ProcessSetting {
        key: "admin-hosts",
        noun: "list of names",
        default: "[]",
        range: "host names without a port",
        help: "Names by which HTTP may be called, beside localhost and addresses. Another Host is \
               refused, against pages that let their own name lead here.",
    },
    ProcessSetting {
        key: "buffers",
        noun: "size",
        default: "a quarter of the cgroup's memory limit; 1 GiB a shard if it has none",
        range: "2 MiB a shard or more; above 1 GiB a shard it means nothing",
        help: "The most memory that receive buffers take, of all shards together. Sessions that \
               find none free wait for one.",
    },
    ProcessSetting {
        key: "hash-key",
        noun: "text",
        default: "a constant that is no secret",
        range: "32 hexadecimal digits",
        help: "Keys maglev's hash of client addresses. Weirs with the same key and pool send a \
               client to the same backend; clients that know it can choose theirs.",
    },
    ProcessSetting {
        key: "state",
        noun: "path",
        default: "\"/var/lib/weir\"",
        range: "a directory",
        help: "Where the versions of the configuration are kept.",
    },
    ProcessSetting {
        key: "history",
        noun: "table",
        default: "{ keep = 1000, days = 365 }",
        range: "keep: 1 to 100000; days: 1 to 36500",
        help: "How many versions are kept, and for how long; the newest always is, and so are \
               those under which sessions live (at most 1,000 more, and 64 MiB). On a full disk \
               older ones are given up sooner.",
    },
    ProcessSetting {
        key: "admin-token-file",
        noun: "path",
        default: "none",
        range: "a file that only weir's user can read",
        help: "The bearer token of changes over HTTP, 16 characters or more, read for each change. \
               HTTP only reads if absent.",
    },
    ProcessSetting {
        key: "session-log",
        noun: "table",
        default: "none; at = [\"open\", \"close\"], format = \"json\", sample = \"100%\"",
        range: "to: \"stderr\", \"journald\" or a path; format: json, logfmt or ecs; at: open, \
                close; every: 1s to 24h; sample: 1% to 100%",
        help: "A line for each session that a backend takes, at its end, and now and then while it \
               lives (every). A file is opened again at SIGUSR1. What there is no room for is \
               dropped and counted: no session waits for its log.",
    },
    ProcessSetting {
        key: "checks",
        noun: "rate",
        default: "none",
        range: "\"1/s\" to \"1000000/s\"",
        help: "The most health checks that begin in a second, over all pools. If the intervals ask \
               for more, checks are late, the longest due first, and `status` and `pool show` say \
               within which time a failure is noticed.",
    },
];

/// One setting as the reference shows it.
struct Row {
    key: &'static str,
    noun: String,
    default: String,
    range: String,
    help: String,
    effect: &'static str,
}

/// A table of weir.toml.
struct Chapter {
    title: &'static str,
    about: &'static str,
    rows: Vec<Row>,
}

fn rows<S>(table: &'static [Setting<S>], plain: &S, required: &[&str]) -> Vec<Row> {
    let row = |setting: &Setting<S>| Row {
        key: setting.key,
        noun: setting.form.noun().to_owned(),
        default: match (setting.get)(plain) {
            _ if required.contains(&setting.key) => "required".to_owned(),
            Some(value) => value.to_string(),
            None => "none".to_owned(),
        },
        range: setting.form.range(),
        help: setting.help.to_owned(),
        effect: setting.effect.sentence(),
    };
    table.iter().map(row).collect()
}

fn sections() -> [Chapter; 4] {
    let process = PROCESS.iter().map(|setting| Row {
        key: setting.key,
        noun: setting.noun.to_owned(),
        default: setting.default.to_owned(),
        range: setting.range.to_owned(),
        help: setting.help.to_owned(),
        effect: "Takes effect at the next start.",
    });
    let listener = ListenerSpec::new("web".parse().expect("it is a name"), Vec::new());
    let backend = BackendSpec::new(std::net::SocketAddr::from(([192, 0, 2, 1], 1)).into());
    [
        Chapter {
            title: "[weir]",
            about: "The process. Not versioned; all of it may be absent.",
            rows: process.collect(),
        },
        Chapter {
            title: "[listener.NAME]",
            about: "Addresses whose sessions go to one pool. `weirctl listener set NAME KEY=VALUE` \
                    takes these keys.",
            rows: rows(settings::LISTENER, &listener, &["bind", "pool"]),
        },
        Chapter {
            title: "[pool.NAME]",
            about: "Backends with one strategy, one health check, and timeouts. `weirctl pool set \
                    NAME KEY=VALUE` takes these keys.",
            rows: rows(settings::POOL, &PoolSpec::default(), &[]),
        },
        Chapter {
            title: "[pool.NAME.backend]",
            about: "`NAME = { … }`, one line for each backend. `weirctl backend set POOL/NAME \
                    KEY=VALUE` takes these keys.",
            rows: rows(settings::BACKEND, &backend, &["address"]),
        },
    ]
}

/// docs/reference.md.
pub fn markdown() -> String {
    let mut out = String::from(
        "# Reference of weir.toml\n\nMade from the tables of settings in the source; a test \
         compares the two. A dotted key stands in a table: `health.interval` is `health = { \
         interval = … }`. Durations are written `\"500ms\"`, `\"2s\"`, `\"5m\"`, `\"1h\"` or \
         `\"7d\"`, shares `\"50%\"`. Every change is checked whole before anything of it is used, \
         and no change ends a session that exists.\n",
    );
    for section in sections() {
        // Writing to a string does not fail.
        let _ = write!(out, "\n## {}\n\n{}\n\n", section.title, section.about);
        out.push_str("| key | type | default | range | meaning |\n|---|---|---|---|---|\n");
        for Row { key, noun, default, range, help, effect } in section.rows {
            let (range, help) = (range.replace('|', "\\|"), help.replace('|', "\\|"));
            let _ = writeln!(out, "| `{key}` | {noun} | {default} | {range} | {help} {effect} |");
        }
    }
    out
}

/// The manual page weir.toml(5), as roff.
pub fn man() -> String {
    let mut out = String::from(
        ".TH WEIR.TOML 5 \"\" weir\n.SH NAME\nweir.toml \\- configuration of weir\n\
         .SH DESCRIPTION\nA file in TOML. It fills an empty state directory at the first start, \
         and is merged into what is in force by weirctl config apply or SIGHUP.\n",
    );
    for section in sections() {
        let _ = writeln!(out, ".SH {}\n{}", roff(section.title), roff(section.about));
        for Row { key, noun, default, range, help, effect } in section.rows {
            let value = format!("{noun}; default: {default}; range: {range}");
            let _ = writeln!(out, ".TP\n.B {}\n{}", roff(key), roff(&value));
            let _ = writeln!(out, ".br\n{} {}", roff(&help), roff(effect));
        }
    }
    out.push_str(".SH SEE ALSO\n.BR weir (1),\n.BR weirctl (1)\n");
    out
}

/// Text of the reference without its marks of code.
fn roff(text: &str) -> String {
    escape(&text.replace('`', ""))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_key_of_every_table_is_in_the_reference() {
        let text = markdown();
        let keys = settings::POOL.iter().map(|it| it.key);
        let keys = keys.chain(settings::LISTENER.iter().map(|it| it.key));
        for key in keys.chain(settings::BACKEND.iter().map(|it| it.key)) {
            assert!(text.contains(&format!("| `{key}` |")), "{key}");
        }
    }
}
