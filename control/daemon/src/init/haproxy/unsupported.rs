//! The words of HAProxy that weir does not have, each with the reason and what to do instead.

use crate::init::note::{Level, Remark, quoted};
use crate::init::remarks::fits;

/// A word behind the address of a server or of a bind.
pub(super) struct OptionWord {
    /// A beginning of words ends with `*`.
    word: &'static str,
    /// How many words behind it belong to it.
    pub(super) values: usize,
    /// `None`: nothing is lost.
    level: Option<Level>,
    why: &'static str,
    instead: &'static str,
}

impl OptionWord {
    pub(super) fn fits(&self, word: &str) -> bool {
        fits(self.word, word)
    }

    pub(super) fn remark(&self, of: &str) -> Option<Remark> {
        let of = if of == "server" { "a server" } else { of };
        let what = format!("{} of {of}", quoted(self.word));
        let remark = |level| Remark::new(level, what).because(self.why).instead(self.instead);
        self.level.map(remark)
    }
}

type OptionRow = (&'static str, usize, Option<Level>, &'static str, &'static str);

const fn row((word, values, level, why, instead): OptionRow) -> OptionWord {
    OptionWord { word, values, level, why, instead }
}

const WARN: Option<Level> = Some(Level::Warning);
const NOTE: Option<Level> = Some(Level::Note);
const TLVS: &str = "weir passes on the fields that a header from before it has, and makes none of \
                    its own but a unique id and a checksum";
const TLS: &str = "weir does not encrypt";
const PASSED: &str = "it belongs to TLS of HAProxy's own, which weir does not do";
const HTTP_ONLY: &str = "it is for HTTP";

/// Words of `server` and `default-server` that are not carried over.
pub(super) const SERVER_WORDS: &[OptionWord] = &[
    row((
        "send-proxy-v2-ssl*",
        0,
        WARN,
        "weir does not decrypt, so its PROXY header has fields of TLS only if one before it had: \
         proxy-protocol = \"v2\" is taken",
        "let the server do without these fields",
    )),
    row((
        "check-send-proxy",
        0,
        NOTE,
        "weir's checks send a header of their own (LOCAL) where the pool sends one",
        "",
    )),
    row(("set-proxy-v2-tlv-fmt*", 1, NOTE, TLVS, "")),
    row(("minconn", 1, NOTE, "weir's max-sessions of a backend does not move with the load", "")),
    row((
        "on-marked-up",
        1,
        WARN,
        "weir leaves the sessions of other backends alone when one comes up",
        "`weirctl pool rebalance P` moves them",
    )),
    row(("observe", 1, NOTE, "weir takes failed connects of sessions into account by itself", "")),
    row(("on-error", 1, NOTE, "weir takes failed connects of sessions into account by itself", "")),
    row(("error-limit", 1, NOTE, "weir decides by itself after how many failed connects", "")),
    row((
        "track",
        1,
        WARN,
        "weir has no such word; checks of one address and the same settings are made once",
        "give this pool the health of the other",
    )),
    row((
        "usesrc",
        1,
        WARN,
        "weir has no transparent mode yet: the server sees weir's address",
        "",
    )),
    row(("interface", 1, WARN, "weir does not bind to an interface", "use a route to the server")),
    row(("namespace", 1, WARN, "weir connects from its own network namespace", "")),
    row(("resolvers", 1, NOTE, "weir asks the servers of /etc/resolv.conf", RESOLVER_HINT)),
    row(("resolve-*", 1, NOTE, "weir takes every address that a name has", "")),
    row(("init-addr", 1, NOTE, "weir begins with what DNS said when it last ran", "")),
    row(("init-state", 1, NOTE, "a new pool of weir is up until a check says otherwise", "")),
    row((
        "tcp-ut",
        1,
        NOTE,
        "weir gives a peer up after keepalive.interval times keepalive.count",
        "",
    )),
    row(("tfo", 0, NOTE, "weir makes its connects without TCP Fast Open", "")),
    row(("socks4", 1, WARN, "weir knows no SOCKS proxies", "")),
    row(("cookie", 1, NOTE, HTTP_ONLY, "")),
    row(("redir", 1, NOTE, HTTP_ONLY, "")),
    row(("proto", 1, NOTE, HTTP_ONLY, "")),
    row(("check-proto", 1, NOTE, HTTP_ONLY, "")),
    row(("ws", 1, NOTE, HTTP_ONLY, "")),
    row(("pool-*", 1, NOTE, HTTP_ONLY, "")),
    row(("max-reuse", 1, NOTE, HTTP_ONLY, "")),
    row(("log-*", 1, NOTE, "weir relays no logs", "")),
    row(("id", 1, NOTE, "weir numbers nothing: its names are enough", "")),
    row(("guid", 1, NOTE, "weir numbers nothing: its names are enough", "")),
    row(("hash-key", 1, NOTE, "maglev hashes the backend's name and address", "")),
    row(("shard", 1, NOTE, "it is for peers", "")),
    row(("stick", 0, NOTE, "weir has no stick tables", "")),
    row(("non-stick", 0, NOTE, "weir has no stick tables", "")),
    row(("alpn", 1, NOTE, TLS, "")),
    row(("npn", 1, NOTE, TLS, "")),
    row(("check-alpn", 1, NOTE, TLS, "")),
    row(("check-sni", 1, NOTE, TLS, "")),
    row(("sni", 1, NOTE, TLS, "")),
    row(("verify", 1, NOTE, TLS, "")),
    row(("verifyhost", 1, NOTE, TLS, "")),
    row(("ca-file", 1, NOTE, TLS, "")),
    row(("crl-file", 1, NOTE, TLS, "")),
    row(("crt", 1, NOTE, TLS, "")),
    row(("ciphers", 1, NOTE, TLS, "")),
    row(("ciphersuites", 1, NOTE, TLS, "")),
    row(("curves", 1, NOTE, TLS, "")),
    row(("sigalgs", 1, NOTE, TLS, "")),
    row(("client-sigalgs", 1, NOTE, TLS, "")),
    row(("ssl-max-ver", 1, NOTE, TLS, "")),
    row(("ssl-min-ver", 1, NOTE, TLS, "")),
    row(("ssl-reuse", 0, NOTE, TLS, "")),
    row(("no-*", 0, NOTE, TLS, "")),
    row(("force-*", 0, NOTE, TLS, "")),
    row(("tls-tickets", 0, NOTE, TLS, "")),
    row(("allow-0rtt", 0, NOTE, TLS, "")),
    row(("check-via-socks4", 0, WARN, "weir knows no SOCKS proxies", "")),
];

/// Words of `bind` that are not carried over.
pub(super) const BIND_WORDS: &[OptionWord] = &[
    row((
        "accept-netscaler-cip",
        1,
        WARN,
        "weir reads no such header: it goes on to the servers as the first bytes",
        "",
    )),
    row(("namespace", 1, WARN, "weir listens in its own network namespace", "")),
    row((
        "maxconn",
        1,
        WARN,
        "weir limits a listener, not one of its addresses",
        "set max-sessions",
    )),
    row(("backlog", 1, NOTE, "weir takes what the kernel allows (net.core.somaxconn)", "")),
    row(("name", 1, NOTE, "weir's names are those of listeners", "")),
    row(("id", 1, NOTE, "weir numbers nothing: its names are enough", "")),
    row(("guid-prefix", 1, NOTE, "weir numbers nothing: its names are enough", "")),
    row(("process", 1, NOTE, "every shard of weir listens at every address", "")),
    row(("thread", 1, NOTE, "every shard of weir listens at every address", "")),
    row(("shards", 1, NOTE, "every shard of weir listens at every address", "")),
    row(("nice", 1, NOTE, "all sessions of weir count the same", "")),
    row(("defer-accept", 0, NOTE, "weir accepts at once", "")),
    row(("tfo", 0, NOTE, "weir listens without TCP Fast Open", "")),
    row(("mss", 1, WARN, "weir takes what the kernel negotiates", "set the mss on the route")),
    row((
        "tcp-ut",
        1,
        NOTE,
        "weir gives a peer up after keepalive.interval times keepalive.count",
        "",
    )),
    row(("tcp-ss", 1, NOTE, "weir does not save SYNs", "")),
    row(("tcp-md5sig", 1, WARN, "weir signs no segments", "")),
    row(("cc", 1, NOTE, "weir takes the kernel's congestion control", "")),
    row(("idle-ping", 1, NOTE, HTTP_ONLY, "")),
    row(("quic-*", 1, NOTE, "weir relays TCP only", "")),
    row(("mode", 1, NOTE, "it is for Unix sockets", "")),
    row(("user", 1, NOTE, "it is for Unix sockets", "")),
    row(("group", 1, NOTE, "it is for Unix sockets", "")),
    row(("uid", 1, NOTE, "it is for Unix sockets", "")),
    row(("gid", 1, NOTE, "it is for Unix sockets", "")),
    row(("level", 1, NOTE, "it is for the stats socket", "")),
    row(("expose-fd", 1, NOTE, "it is for the stats socket", "")),
    row(("severity-output", 1, NOTE, "it is for the stats socket", "")),
    row(("proto", 1, NOTE, HTTP_ONLY, "")),
    row(("alpn", 1, NOTE, PASSED, "")),
    row(("npn", 1, NOTE, PASSED, "")),
    row(("ca-*", 1, NOTE, PASSED, "")),
    row(("crl-file", 1, NOTE, PASSED, "")),
    row(("crt", 1, NOTE, PASSED, "")),
    row(("crt-*", 1, NOTE, PASSED, "")),
    row(("default-crt", 1, NOTE, PASSED, "")),
    row(("ciphers", 1, NOTE, PASSED, "")),
    row(("ciphersuites", 1, NOTE, PASSED, "")),
    row(("curves", 1, NOTE, PASSED, "")),
    row(("ecdhe", 1, NOTE, PASSED, "")),
    row(("sigalgs", 1, NOTE, PASSED, "")),
    row(("client-sigalgs", 1, NOTE, PASSED, "")),
    row(("ssl-max-ver", 1, NOTE, PASSED, "")),
    row(("ssl-min-ver", 1, NOTE, PASSED, "")),
    row(("tls-ticket-keys", 1, NOTE, PASSED, "")),
    row(("verify", 1, NOTE, PASSED, "")),
    row(("no-*", 0, NOTE, PASSED, "")),
    row(("force-*", 0, NOTE, PASSED, "")),
    row(("allow-0rtt", 0, NOTE, PASSED, "")),
    row(("generate-certificates", 0, NOTE, PASSED, "")),
    row(("strict-sni", 0, NOTE, PASSED, "")),
    row(("prefer-client-ciphers", 0, NOTE, PASSED, "")),
];

/// A directive of a proxy, or an option, that is not carried over.
pub(super) struct Directive {
    name: &'static str,
    /// `None`: HAProxy uses it in `mode http` only.
    level: Option<Level>,
    why: &'static str,
    instead: &'static str,
}

const fn directive(
    name: &'static str,
    level: Option<Level>,
    why: &'static str,
    instead: &'static str,
) -> Directive {
    Directive { name, level, why, instead }
}

const HTTP: Option<Level> = None;
const ACL_WHY: &str = "weir has lists of networks, and no such rule: it refuses nobody";
const ACL_HINT: &str = "filter by nftables (docs/operating.md, Limit each source)";
const LOG: &str = "weir logs to stderr";
const RESOLVER_HINT: &str = "discover.resolver of the pool is another one";
const LOG_HINT: &str = "[weir] session-log has a line for each session";
const STICK: &str = "weir has no stick tables";
const STICK_HINT: &str = "strategy = \"maglev\" keeps a client's address at its backend";
const METRICS: &str = "weir's figures are at its admin address";
const METRICS_HINT: &str = "[weir] admin = \"127.0.0.1:9650\"";

/// Directives of frontends, backends, listens and defaults.
pub(super) const DIRECTIVES: &[Directive] = &[
    directive("acl", NOTE, "what uses it, and is not a route or a list, is named by itself", ""),
    directive("tcp-response", WARN, "weir has no rules on what servers send", ""),
    directive("stick-table", WARN, STICK, STICK_HINT),
    directive("stick", WARN, STICK, STICK_HINT),
    directive(
        "use-server",
        WARN,
        "weir has routes to pools, and no rules on servers: the strategy decides",
        "",
    ),
    directive(
        "hash-balance-factor",
        WARN,
        "maglev spreads clients without looking at the load",
        "",
    ),
    directive("hash-preserve-affinity", NOTE, "maglev takes the next backend for a client", ""),
    directive("fullconn", NOTE, "weir has no limit of sessions for one backend yet", ""),
    directive("backlog", NOTE, "weir takes what the kernel allows (net.core.somaxconn)", ""),
    directive("rate-limit", WARN, "weir limits sessions a second, nothing else", ACL_HINT),
    directive("log", NOTE, LOG, LOG_HINT),
    directive("log-*", NOTE, LOG, LOG_HINT),
    directive("error-log-format", NOTE, LOG, LOG_HINT),
    directive("unique-id-*", NOTE, "weir gives each session an id of its own", ""),
    directive("stats", NOTE, METRICS, METRICS_HINT),
    directive(
        "monitor-net",
        WARN,
        "weir treats checks from above as clients",
        "ask /readyz of the admin address",
    ),
    directive("monitor*", NOTE, "it is for HTTP", "ask /readyz of the admin address"),
    directive("grace", NOTE, "`weirctl drain` takes weir out of service", ""),
    directive("persist", WARN, "it is for RDP cookies, which weir does not read", STICK_HINT),
    directive("external-check", WARN, "weir runs no programs", ""),
    directive("email-alert", NOTE, "packaging/prometheus has alerts", ""),
    directive("load-server-state-from-file", NOTE, "weir keeps what was changed at run time", ""),
    directive("server-state-file-name", NOTE, "weir keeps what was changed at run time", ""),
    directive(
        "server-template",
        WARN,
        "it has a prefix, a number and an address",
        "set discover of the pool",
    ),
    directive("transparent", WARN, "weir connects to its backends only", ""),
    directive("dispatch", WARN, "weir connects to its backends only", "write a server line"),
    directive("bind-process", NOTE, "every shard of weir listens at every address", ""),
    directive("description", NOTE, "weir has names only", "keep it as a comment"),
    directive("id", NOTE, "weir numbers nothing: its names are enough", ""),
    directive("guid", NOTE, "weir numbers nothing: its names are enough", ""),
    directive("filter", WARN, "weir has no filters: bytes pass as they are", ""),
    directive("declare", NOTE, "weir captures nothing", ""),
    directive("max-session-srv-conns", HTTP, "", ""),
    directive("max-keep-alive-queue", HTTP, "", ""),
    directive("capture", HTTP, "", ""),
    directive("cookie", HTTP, "", ""),
    directive("compression", HTTP, "", ""),
    directive("errorfile*", HTTP, "", ""),
    directive("errorloc*", HTTP, "", ""),
    directive("force-persist", HTTP, "", ""),
    directive("ignore-persist", HTTP, "", ""),
    directive("http-*", HTTP, "", ""),
    directive("redirect", HTTP, "", ""),
    directive("req*", HTTP, "", ""),
    directive("rsp*", HTTP, "", ""),
    directive("block", HTTP, "", ""),
    directive("retry-on", HTTP, "", ""),
    directive("tune.*", NOTE, "weir sizes itself", ""),
];

/// Words behind `tcp-request`, with spaces.
pub(super) const TCP_REQUESTS: &[Directive] = &[
    directive("content accept*", NOTE, "a route waits for a whole ClientHello by itself", ""),
    directive("connection accept*", NOTE, "a client that no list refuses is accepted anyway", ""),
    directive("session accept*", NOTE, "a client that no list refuses is accepted anyway", ""),
    directive(
        "connection expect-proxy*",
        WARN,
        "all clients of a listener of weir send a PROXY header, or none",
        "write the networks of its condition into proxy-protocol.from of a listener for them",
    ),
    directive("content capture*", NOTE, "weir captures nothing", ""),
    directive("content set-*", NOTE, "weir has no variables", ""),
    directive("connection set-*", NOTE, "weir has no variables", ""),
    directive("session set-*", NOTE, "weir has no variables", ""),
    directive("*", WARN, ACL_WHY, ACL_HINT),
];

/// Words behind `option`.
pub(super) const OPTIONS: &[Directive] = &[
    directive("tcplog", NOTE, LOG, LOG_HINT),
    directive("dontlog*", NOTE, LOG, LOG_HINT),
    directive("logasap", NOTE, LOG, "session-log = { at = [\"open\", \"close\"], … }"),
    directive("log-*", NOTE, LOG, LOG_HINT),
    directive("socket-stats", NOTE, "weir counts each listener", ""),
    directive("contstats", NOTE, "weir counts bytes while a session is open", ""),
    directive("splice-*", NOTE, "weir decides by itself when to splice", ""),
    directive("nolinger", WARN, "a reset of weir is always one that a peer or a limit caused", ""),
    directive("tcp-smart-*", NOTE, "weir acknowledges as the kernel does", ""),
    directive("independent-streams", NOTE, "weir has one idle timeout for both directions", ""),
    directive("persist", NOTE, "weir connects to no server that is down", ""),
    directive("transparent", WARN, "weir connects to its backends only", ""),
    directive("external-check", WARN, "weir runs no programs", "choose another check"),
    directive("spop-check", WARN, "weir does not know this check", ""),
    directive("log-health-checks", NOTE, "weir's events have each change of health", ""),
    directive("srvtcpka", NOTE, "weir always asks idle backends", ""),
    directive("abortonclose", NOTE, "weir has no queue", ""),
    directive("http*", HTTP, "", ""),
    directive("forwardfor", HTTP, "", ""),
    directive("forwarded", HTTP, "", ""),
    directive("originalto", HTTP, "", ""),
    directive("accept-*", HTTP, "", ""),
    directive("checkcache", HTTP, "", ""),
    directive("disable-h2-upgrade", HTTP, "", ""),
    directive("h1-*", HTTP, "", ""),
    directive("idle-close-on-response", HTTP, "", ""),
    directive("ignore-persist", HTTP, "", ""),
    directive("prefer-last-server", HTTP, "", ""),
    directive("redispatch-*", HTTP, "", ""),
    directive("restrict-req-*", HTTP, "", ""),
];

/// A line that weir has nothing for.
pub(super) enum Unsupported {
    Always(Remark),
    /// The remark is for a section in mode http.
    Http(Remark),
}

/// The remark on a directive or an option (`words` has its name as notes quote it); `None` if it
/// is not in the table.
pub(super) fn look_up(table: &[Directive], name: &str, words: &str) -> Option<Unsupported> {
    let known = table.iter().find(|known| fits(known.name, name))?;
    let Some(level) = known.level else {
        let remark = Remark::new(Level::Warning, quoted(words));
        return Some(Unsupported::Http(remark.because("weir does not look into HTTP")));
    };
    let remark = Remark::new(level, quoted(words)).because(known.why).instead(known.instead);
    Some(Unsupported::Always(remark))
}
