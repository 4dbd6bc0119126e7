//! `server` blocks of nginx's stream: listen, proxy_pass and timeouts.

use std::net::{Ipv4Addr, SocketAddr};

use weir_proto::network::Network;
use weir_proto::spec::{
    HealthSpec, KEEPALIVE_COUNT_MAX, KEEPALIVE_SECS_MAX, KeepaliveSpec, PoolSpec, ProxyVersion,
    RETRY_ATTEMPTS_MAX, RetrySpec, SourceSpec, Span, TimeoutSpec,
};

use super::parser::NginxDirective;
use super::per_source::ClientLimits;
use super::rules::AccessRules;
use super::unsupported::{DIRECTIVES, OF_LISTEN, look_up, unknown};
use crate::init::access::{DraftAccess, Served, served};
use crate::init::draft::time_for_retries;
use crate::init::note::{At, Notes, Remark, note, quoted, warning};
use crate::init::remarks::believes_everybody;
use crate::init::units::{self, bounded};

/// nginx's own `proxy_protocol_timeout`.
const HEADER_TIMEOUT: Span = Span::from_secs(30);
/// nginx's own `proxy_timeout`: 10 minutes.
const IDLE_MS: u64 = 600_000;

/// Settings that a server gets from `stream` and changes.
#[derive(Clone, Debug)]
pub(super) struct ServerSettings {
    pub(super) timeout: TimeoutSpec,
    pub(super) retry: RetrySpec,
    /// `proxy_next_upstream_timeout` is given.
    has_retry_time: bool,
    passes_half_closes: bool,
    pub(super) encrypts: bool,
    /// `proxy_protocol on`: its upstream gets a header.
    sends_header: bool,
    /// `set_real_ip_from`.
    balancers: Vec<Network>,
    header_timeout: Option<Span>,
    /// Some `set_real_ip_from` is a name, or nothing that weir takes.
    has_named_balancers: bool,
    /// Some `set_real_ip_from` is of this block, and not of the one around it.
    has_own_networks: bool,
    /// `health_check` of nginx Plus.
    pub(super) health: Option<HealthSpec>,
    pub(super) access: AccessRules,
    /// `ssl_preread on`.
    prereads: bool,
    /// `preread_timeout`, where it is given.
    pub(super) preread: Option<Span>,
    /// `proxy_bind`.
    source: Option<SourceSpec>,
    pub(super) clients: ClientLimits,
}

impl Default for ServerSettings {
    fn default() -> ServerSettings {
        let idle = Span::from_millis(IDLE_MS);
        let (retry, health) = (RetrySpec::default(), None);
        let timeout = TimeoutSpec { idle, ..TimeoutSpec::default() };
        ServerSettings {
            timeout,
            retry,
            has_retry_time: false,
            passes_half_closes: false,
            encrypts: false,
            sends_header: false,
            balancers: Vec::new(),
            header_timeout: None,
            has_named_balancers: false,
            has_own_networks: false,
            health,
            access: AccessRules::default(),
            prereads: false,
            preread: None,
            source: None,
            clients: ClientLimits::default(),
        }
    }
}

/// One `listen`.
pub(super) struct Listen {
    pub(super) at: At,
    pub(super) addresses: Vec<SocketAddr>,
    /// Clients use TLS.
    pub(super) is_tls: bool,
    /// Clients send a PROXY header first.
    pub(super) wants_header: bool,
}

/// One `server` block.
pub(super) struct StreamServer {
    pub(super) at: At,
    pub(super) settings: ServerSettings,
    pub(super) listens: Vec<Listen>,
    pub(super) keepalive: KeepaliveSpec,
    pub(super) proxy_pass: Option<(At, String)>,
}

impl StreamServer {
    pub(super) fn of(
        block: &NginxDirective,
        inherited: &ServerSettings,
        notes: &mut Notes,
    ) -> StreamServer {
        let mut server = StreamServer {
            at: block.at.clone(),
            settings: ServerSettings {
                has_own_networks: false,
                access: inherited.access.inherited(),
                ..inherited.clone()
            },
            listens: Vec::new(),
            keepalive: KeepaliveSpec::default(),
            proxy_pass: None,
        };
        for directive in block.blocks() {
            let at = &directive.at;
            match directive.name() {
                "listen" => server.listen(directive, notes),
                "proxy_pass" => {
                    server.proxy_pass = Some((at.clone(), directive.argument().to_owned()));
                }
                "return" | "pass" => {
                    let remark = warning(quoted(&directive.words.join(" ")));
                    notes.add(at, remark.because("weir relays to backends only"));
                }
                _ => server.settings.take(directive, notes),
            }
        }
        server
    }

    fn listen(&mut self, directive: &NginxDirective, notes: &mut Notes) {
        let at = &directive.at;
        let (mut v6only, mut is_tls, mut wants_header) = (true, false, false);
        for word in directive.arguments().skip(1) {
            let (name, value) = word.split_once('=').unwrap_or((word, ""));
            match name {
                "udp" => {
                    let remark = warning("`listen … udp` is left out");
                    notes.add(at, remark.because("weir relays TCP only"));
                    return;
                }
                "ssl" => is_tls = true,
                "proxy_protocol" => wants_header = true,
                "ipv6only" => v6only = value != "off",
                "so_keepalive" => self.so_keepalive(at, value, notes),
                _ => {
                    let remark = look_up(OF_LISTEN, name, &format!("`{name}` of listen"));
                    notes.add(at, remark.unwrap_or_else(|| unknown(word)));
                }
            }
        }
        let text = directive.argument();
        match addresses(text, v6only) {
            Ok(addresses) => {
                self.listens.push(Listen { at: at.clone(), addresses, is_tls, wants_header });
            }
            Err(why) => {
                let remark = warning(format!("listen {} is left out", quoted(text)));
                notes.add(at, remark.because(why));
            }
        }
    }

    /// Who is served where clients send no PROXY header, and where they do. `None`: that is not
    /// known.
    pub(super) fn access(&self) -> [Option<DraftAccess>; 2] {
        let settings = &self.settings;
        let rules = &settings.access.rules[..];
        let [plain, mut with_header] = match settings.balancers.is_empty() {
            // nginx goes by the address of the connection, whatever the header says.
            true => DraftAccess::of(rules, &[]),
            false => DraftAccess::of(&[], &[rules]),
        };
        if !settings.balancers.is_empty() {
            with_header.proxy_protocol.from = settings.balancers.clone().into();
        }
        with_header.proxy_protocol.timeout = settings.header_timeout;
        [Some(plain), Some(with_header).filter(|_| !self.has_unknown_balancers())]
    }

    fn has_unknown_balancers(&self) -> bool {
        self.settings.balancers.is_empty() && self.settings.has_named_balancers
    }

    /// True if nginx looks for a server name in what clients send.
    pub(super) fn reads_names(&self) -> bool {
        // It does not within TLS that it ends itself.
        self.settings.prereads && !self.settings.encrypts
    }

    /// Tells what differs from nginx where clients send a PROXY header.
    pub(super) fn header_remark(&self) -> Remark {
        let what = "`proxy_protocol` of listen";
        let hint = "proxy-protocol.from has those that it serves";
        if self.has_unknown_balancers() {
            let why = "it is left out: it is not known which addresses set_real_ip_from has";
            return warning(what).because(why).instead("write them instead of the names");
        }
        if !self.settings.balancers.is_empty() {
            let why = "weir refuses clients that are not in set_real_ip_from, and nginx serves \
                       them as if they had sent none";
            return warning(what).because(why).instead(hint);
        }
        match served(&[&self.settings.access.rules]) {
            Served::Everybody => {
                let unlike = "and nginx believes none without set_real_ip_from";
                believes_everybody(what, unlike)
            }
            Served::Nobody => note(what).because("`deny` refuses everybody"),
            Served::In(_) => {
                let why = "weir refuses the connections that `allow` and `deny` refuse, and \
                           believes the header of all others, as nginx does not without \
                           set_real_ip_from";
                warning(what).because(why).instead(hint)
            }
        }
    }

    /// `on`, `off`, or `[idle]:[interval]:[count]`.
    fn so_keepalive(&mut self, at: &At, value: &str, notes: &mut Notes) {
        let mut parts = value.split(':');
        let said = format!("`so_keepalive={value}`");
        match (value, parts.clone().count()) {
            ("on", _) => {}
            ("off", _) => {
                let remark = note(said).because("weir always asks clients that are silent");
                notes.add(at, remark);
            }
            (_, 3) => {
                let mut time = |field: &mut Span| {
                    let millis = parts.next().and_then(units::nginx_millis);
                    if let Some(millis) = millis {
                        let seconds = millis.div_ceil(1000).clamp(1, KEEPALIVE_SECS_MAX.into());
                        *field = Span::from_secs(seconds);
                    }
                };
                time(&mut self.keepalive.idle);
                time(&mut self.keepalive.interval);
                let count = parts.next().and_then(|count| count.parse().ok());
                let count = count.filter(|it| (1..=u32::from(KEEPALIVE_COUNT_MAX)).contains(it));
                self.keepalive.count = count.unwrap_or(self.keepalive.count);
            }
            _ => notes.add(at, warning(said).because("its value is none that nginx takes")),
        }
    }
}

impl ServerSettings {
    /// Takes a directive that `stream` may have, too.
    pub(super) fn take(&mut self, directive: &NginxDirective, notes: &mut Notes) {
        let (at, value) = (&directive.at, directive.argument());
        let is_on = value == "on";
        match directive.name() {
            "proxy_timeout" => {
                self.timeout.idle = time(directive, self.timeout.idle, notes);
            }
            "proxy_connect_timeout" => {
                self.timeout.connect = time(directive, self.timeout.connect, notes);
            }
            "proxy_next_upstream" if is_on => {}
            "proxy_next_upstream" => self.retry.attempts = 0,
            "proxy_next_upstream_tries" => self.tries(directive, notes),
            // 0 is no limit.
            "proxy_next_upstream_timeout" if value.trim_start_matches('0').is_empty() => {}
            "proxy_next_upstream_timeout" => {
                self.has_retry_time = true;
                self.retry.within = time(directive, self.retry.within, notes);
            }
            "proxy_half_close" => {
                self.passes_half_closes = is_on;
                if !is_on {
                    let why = "weir ends one direction at a time, as TCP does";
                    notes.add(at, note("`proxy_half_close off`").because(why));
                }
            }
            // weir's sockets always have keepalive.
            "proxy_socket_keepalive" => {}
            "proxy_ssl" => self.encrypts = is_on,
            "proxy_protocol" => self.sends_header = is_on,
            "proxy_protocol_timeout" => {
                let before = self.header_timeout.unwrap_or(HEADER_TIMEOUT);
                self.header_timeout = Some(time(directive, before, notes));
            }
            "set_real_ip_from" => self.real_ip_from(directive, notes),
            "proxy_bind" => self.source = proxy_bind(directive, notes),
            "limit_conn_zone" | "limit_conn" if self.clients.take(directive) => {}
            "allow" | "deny" => self.access.take(directive, notes),
            "ssl_preread" => {
                self.prereads = is_on;
                if is_on {
                    let why = "a route reads the ClientHello by itself";
                    notes.add(at, note("`ssl_preread`").because(why));
                }
            }
            "preread_timeout" => {
                self.preread = Some(time(directive, Span::from_secs(30), notes));
            }
            "health_check" => self.health_check(directive, notes),
            "health_check_timeout" => {
                let mut health = self.health.take().unwrap_or_default();
                health.timeout = time(directive, health.timeout, notes);
                self.health = Some(health);
            }
            name => {
                let remark = look_up(DIRECTIVES, name, &quoted(name));
                notes.add(at, remark.unwrap_or_else(|| unknown(name)));
            }
        }
    }

    /// Networks of balancers; those of a block take the place of those around it.
    fn real_ip_from(&mut self, directive: &NginxDirective, notes: &mut Notes) {
        if !std::mem::replace(&mut self.has_own_networks, true) {
            self.balancers.clear();
            self.has_named_balancers = false;
        }
        match directive.argument().parse() {
            Ok(network) => self.balancers.push(network),
            Err(_) => {
                // None that comes over a Unix socket is a client of weir.
                self.has_named_balancers |= directive.argument() != "unix:";
                let remark = warning(quoted(&directive.words.join(" ")));
                let hint = "write the balancers' addresses into proxy-protocol.from";
                let why = "it is left out: weir takes addresses and networks";
                notes.add(&directive.at, remark.because(why).instead(hint));
            }
        }
    }

    fn tries(&mut self, directive: &NginxDirective, notes: &mut Notes) {
        let most = u32::from(RETRY_ATTEMPTS_MAX);
        match directive.argument().parse::<u32>() {
            // 0 is no limit.
            Ok(0) => self.retry.attempts = most,
            Ok(tries) => {
                self.retry.attempts = (tries - 1).min(most);
                if tries - 1 > most {
                    let remark = note(quoted(&directive.words.join(" ")));
                    let why = format!("weir tries {most} other backends at most");
                    notes.add(&directive.at, remark.because(why));
                }
            }
            Err(_) => notes.add(&directive.at, no_value(directive)),
        }
    }

    fn health_check(&mut self, directive: &NginxDirective, notes: &mut Notes) {
        let mut health = self.health.take().unwrap_or_default();
        (health.interval, health.timeout) = (Span::from_secs(5), Span::from_secs(5));
        (health.rise, health.fall) = (1, 1);
        let in_a_row = |value: &str| value.parse::<u32>().ok().map(|count| count.clamp(1, 100));
        for word in directive.arguments() {
            match word.split_once('=').unwrap_or((word, "")) {
                ("interval", value) => {
                    let millis = units::nginx_millis(value).map(|millis| bounded(millis).0);
                    health.interval = millis.unwrap_or(health.interval);
                }
                ("passes", value) => health.rise = in_a_row(value).unwrap_or(health.rise),
                ("fails", value) => health.fall = in_a_row(value).unwrap_or(health.fall),
                ("jitter", _) => {}
                (name, _) => {
                    let remark = warning(format!("`{name}` of health_check"));
                    let why = "weir connects to the port that it relays to";
                    notes.add(&directive.at, remark.because(why).instead("set health.kind"));
                }
            }
        }
        self.health = Some(health);
    }

    /// As the settings of a pool; a second server before the same upstream has the longer times.
    pub(super) fn apply(&self, pool: &mut PoolSpec, is_first: bool, at: &At, notes: &mut Notes) {
        let mut timeout = self.timeout.clone();
        timeout.half_close = match self.passes_half_closes {
            true => timeout.idle,
            false => timeout.half_close.min(timeout.idle),
        };
        let mut retry = self.retry.clone();
        if !self.has_retry_time {
            time_for_retries(&timeout, &mut retry);
        }
        if !is_first && (pool.timeout != timeout || pool.retry != retry) {
            let remark = note("two servers before one upstream have other timeouts or retries");
            notes.add(at, remark.because("a pool of weir has one of each, the longer"));
            timeout.idle = timeout.idle.max(pool.timeout.idle);
            timeout.connect = timeout.connect.max(pool.timeout.connect);
            timeout.half_close = timeout.half_close.max(pool.timeout.half_close);
            retry.attempts = retry.attempts.max(pool.retry.attempts);
            retry.within = retry.within.max(pool.retry.within);
        }
        (pool.timeout, pool.retry) = (timeout, retry);
        let version = self.sends_header.then_some(ProxyVersion::V1);
        if is_first {
            pool.proxy_protocol = version;
        } else if pool.proxy_protocol != version {
            let remark = warning("one of two servers before one upstream has `proxy_protocol on`");
            let why = "a pool of weir sends a PROXY header always or never: as the first server";
            notes.add(at, remark.because(why).instead("give the other one a pool of its own"));
        }
        if is_first {
            pool.source.clone_from(&self.source);
        } else if pool.source != self.source {
            let remark = warning("two servers before one upstream have another `proxy_bind`");
            let why = "a pool of weir has one list of addresses: that of the first server";
            notes.add(at, remark.because(why).instead("give the other one a pool of its own"));
        }
        if let Some(health) = &self.health {
            pool.health = health.clone();
        }
    }
}

/// `off`, or the address that nginx connects from.
fn proxy_bind(directive: &NginxDirective, notes: &mut Notes) -> Option<SourceSpec> {
    let value = directive.argument();
    if value == "off" {
        return None;
    }
    let remark = warning(quoted(&directive.words.join(" ")));
    if directive.arguments().any(|word| word == "transparent") {
        let why = "weir has no transparent mode yet: the server sees weir's address";
        notes.add(&directive.at, remark.because(why));
        return None;
    }
    let address = units::host(value.trim_end_matches(":0")).filter(|it| !it.is_unspecified());
    if address.is_none() {
        let why = "weir takes an address without a port: it is left out";
        notes.add(&directive.at, remark.because(why).instead("set source of the pool"));
    }
    address.map(|address| SourceSpec::Addresses(vec![address]))
}

fn no_value(directive: &NginxDirective) -> Remark {
    let remark = warning(quoted(&directive.words.join(" ")));
    remark.because("its value is none that nginx takes").instead("it is left out")
}

/// The time of a directive, or `before` if it has none.
fn time(directive: &NginxDirective, before: Span, notes: &mut Notes) -> Span {
    let value = directive.arguments().collect::<Vec<_>>().join(" ");
    let Some(millis) = units::nginx_millis(&value) else {
        notes.add(&directive.at, no_value(directive));
        return before;
    };
    let (span, is_other) = bounded(millis);
    if is_other {
        let remark = note(quoted(&directive.words.join(" ")));
        notes.add(&directive.at, remark.because(format!("weir takes 1ms to 168h: {span}")));
    }
    span
}

/// The addresses of a `listen`: `PORT`, `*:PORT`, `IP:PORT`, `[IPv6]:PORT`, or a range of ports.
fn addresses(text: &str, v6only: bool) -> Result<Vec<SocketAddr>, &'static str> {
    if text.starts_with("unix:") {
        return Err("a Unix socket is not TCP over IP");
    }
    let (host, ports) = match text.rsplit_once(':').filter(|_| !text.ends_with(']')) {
        Some((host, ports)) => (host, ports),
        None => ("*", text),
    };
    let ports = units::port_range(ports).ok_or("it has no port, or a long range of ports")?;
    let ip = match host {
        "*" => Ipv4Addr::UNSPECIFIED.into(),
        host => units::host(host).ok_or("weir listens on addresses: write IP:PORT")?,
    };
    Ok(units::sockets(ip, ports, v6only))
}

#[cfg(test)]
mod tests {
    #[test]
    fn listens_are_what_nginx_listens_on() {
        for (text, v6only, expected) in [
            ("80", true, vec!["0.0.0.0:80"]),
            ("*:80", true, vec!["0.0.0.0:80"]),
            ("[::]:80", true, vec!["[::]:80"]),
            ("[::]:80", false, vec!["0.0.0.0:80", "[::]:80"]),
            ("10.0.0.1:80-81", true, vec!["10.0.0.1:80", "10.0.0.1:81"]),
            ("localhost:80", true, vec!["127.0.0.1:80"]),
        ] {
            let read = super::addresses(text, v6only).unwrap();
            let read: Vec<String> = read.iter().map(ToString::to_string).collect();
            assert_eq!(read, expected, "{text}");
        }
        for text in ["", "unix:/run/a", "10.0.0.1", "db:80", "*:0", "*:1-65535", "[::]"] {
            assert!(super::addresses(text, true).is_err(), "{text}");
        }
    }
}
