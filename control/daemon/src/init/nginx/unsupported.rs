//! The directives of nginx's stream module that weir does not have.

use crate::init::note::{Level, Remark, quoted};
use crate::init::remarks::fits;

/// Name (what it begins with ends with `*`), level, reason, what to do instead.
type DirectiveRow = (&'static str, Level, &'static str, &'static str);

use Level::{Note, Warning};

const NFTABLES: &str = "filter by nftables (docs/operating.md, Limit each source)";
const LOG: &str = "weir logs to stderr";
const LOG_HINT: &str = "[weir] session-log has a line for each session";
const RESOLVER_HINT: &str = "discover.resolver of the pool is another one";
const NAMES: &str = "weir finds a name by the routes of a listener, and takes every name here";
const NAMES_HINT: &str = "route = [{ sni = \"NAME\", pool = \"POOL\" }]";
const TLS: &str = "weir neither decrypts nor encrypts";
const VARIABLES: &str = "weir has no variables; what uses them is named by itself";

/// Directives of `stream` and `server`.
pub(super) const DIRECTIVES: &[DirectiveRow] = &[
    ("limit_conn*", Warning, "weir counts by the client's address, and by nothing else", NFTABLES),
    ("access_log", Note, LOG, LOG_HINT),
    ("error_log", Note, LOG, LOG_HINT),
    ("log_format", Note, LOG, LOG_HINT),
    ("open_log_file_cache", Note, LOG, ""),
    ("proxy_download_rate", Warning, "weir does not limit the rate of bytes", "use tc"),
    ("proxy_upload_rate", Warning, "weir does not limit the rate of bytes", "use tc"),
    ("proxy_buffer_size", Note, "weir's buffers are [weir] buffers and socket-buffer", ""),
    ("proxy_requests", Note, "it is for UDP", ""),
    ("proxy_responses", Note, "it is for UDP", ""),
    ("proxy_session_drop", Warning, "weir leaves the sessions of such a backend alone", ""),
    ("proxy_ssl_*", Note, TLS, ""),
    ("ssl_*", Note, TLS, ""),
    ("server_name*", Warning, NAMES, NAMES_HINT),
    ("preread_*", Note, "weir waits for no bytes before it connects", ""),
    ("tcp_nodelay", Note, "weir never delays", ""),
    ("resolver*", Note, "weir asks the servers of /etc/resolv.conf", RESOLVER_HINT),
    ("map*", Note, VARIABLES, ""),
    ("geo*", Note, VARIABLES, ""),
    ("split_clients", Note, VARIABLES, ""),
    ("set", Note, VARIABLES, ""),
    ("variables_hash_*", Note, VARIABLES, ""),
    ("js_*", Warning, "weir runs no scripts", ""),
    ("status_zone", Note, "weir counts each listener", ""),
    ("zone_sync*", Note, "weir has nothing to share", ""),
    ("match", Note, "it is for checks that weir does not make", ""),
];

/// Directives of `upstream`.
pub(super) const OF_UPSTREAM: &[DirectiveRow] = &[
    ("zone", Note, "weir's shards always share load and health", ""),
    ("state", Note, "weir keeps what was changed at run time", ""),
    ("resolver*", Note, "weir asks the servers of /etc/resolv.conf", RESOLVER_HINT),
    ("ntlm", Note, "it is for HTTP", ""),
    ("keepalive*", Note, "it is for HTTP", ""),
    ("ip_hash", Warning, "it is for HTTP", "strategy = \"maglev\""),
    ("sticky*", Warning, "it is for HTTP", "strategy = \"maglev\""),
];

/// Parameters of a `server` in an upstream.
pub(super) const OF_SERVER: &[DirectiveRow] = &[
    ("resolve", Note, "weir always asks again when a TTL is over", ""),
    ("service", Warning, "weir finds no servers by DNS yet", "write each server with its address"),
    ("drain", Warning, "it is left out", "`weirctl backend drain P/B`"),
    ("route", Note, "it is for HTTP", ""),
];

/// Parameters of `listen`.
pub(super) const OF_LISTEN: &[DirectiveRow] = &[
    ("backlog", Note, "weir takes what the kernel allows (net.core.somaxconn)", ""),
    ("rcvbuf", Note, "weir's is socket-buffer of the pool", ""),
    ("sndbuf", Note, "weir's is socket-buffer of the pool", ""),
    ("fastopen", Note, "weir listens without TCP Fast Open", ""),
    ("reuseport", Note, "every shard of weir has a socket of its own", ""),
    ("bind", Note, "weir always binds each address", ""),
    ("setfib", Note, "it is for FreeBSD", ""),
    ("accept_filter", Note, "it is for FreeBSD", ""),
    ("deferred", Note, "weir accepts at once", ""),
    ("multipath", Warning, "weir listens without Multipath TCP", ""),
    ("default_server", Warning, NAMES, NAMES_HINT),
];

/// The remark on `name`, which a note calls `what`; `None` if the table does not have it.
pub(super) fn look_up(table: &[DirectiveRow], name: &str, what: &str) -> Option<Remark> {
    let (_, level, why, instead) = table.iter().find(|row| fits(row.0, name))?;
    Some(Remark::new(*level, what).because(why).instead(instead))
}

/// The remark on a word that no table has.
pub(super) fn unknown(what: &str) -> Remark {
    Remark::new(Warning, format!("{} is not known to weir", quoted(what))).because("it is left out")
}
