//! Frontends, backends and listens as listeners and pools.

mod binds;

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use std::rc::Rc;

use weir_proto::spec::{Admin, Rate, WEIGHT_MAX};

use self::binds::FrontendBinds;
use super::address::{self, HaproxyAddress, Ports};
use super::lexer::{Variables, filled};
use super::proxy::{Mode, ProxyKind, ProxySection, ServerLine};
use super::rules::{RuleRoute, Rules};
use super::unsupported::Unsupported;
use super::{pools, unset_variable};
use crate::init::access::{DraftAccess, Served};
use crate::init::draft::{Draft, DraftAddress, DraftBackend, DraftListener, DraftPool, DraftRoute};
use crate::init::note::{At, Notes, Remark, note, warning};
use crate::init::remarks::{
    believes_everybody, has_no_address, has_no_listener, is_two_listeners, unix_server, unusable,
};
use crate::init::units::bounded;

/// Makes the draft of all sections of a file.
pub(super) fn join(
    proxies: &[ProxySection],
    http_as_tcp: bool,
    variables: Variables<'_>,
    draft: &mut Draft,
    notes: &mut Notes,
) {
    let carried: Vec<&ProxySection> =
        proxies.iter().filter(|proxy| is_carried(proxy, http_as_tcp, notes)).collect();
    let has_servers = |proxy: &ProxySection| match proxy.kind {
        ProxyKind::Backend => true,
        ProxyKind::Listen => !proxy.servers.is_empty(),
        ProxyKind::Frontend => false,
    };
    let backends: Vec<&ProxySection> =
        carried.iter().copied().filter(|proxy| has_servers(proxy)).collect();
    let mut numbers = BTreeMap::new();
    for (number, backend) in backends.iter().enumerate() {
        numbers.entry(backend.name.as_str()).or_insert(number);
    }
    let is_tls = |backend: &&ProxySection| backend.servers.iter().any(|it| it.options.is_tls);
    let tls = backends.iter().map(is_tls).collect();
    let mut joiner =
        Joiner { backends, tls, numbers, variables, notes, addresses: 0, is_full: false };
    let mut clients: Vec<Vec<&ProxySection>> = vec![Vec::new(); joiner.backends.len()];
    let mut binds: Vec<BTreeSet<u16>> = vec![BTreeSet::new(); joiner.backends.len()];
    for proxy in carried.iter().filter(|proxy| proxy.kind != ProxyKind::Backend) {
        joiner.lost(proxy);
        for listener in joiner.listeners(proxy) {
            let routes = listener.routes.iter().map(|route| route.pool);
            let pools: BTreeSet<usize> = routes.chain([listener.pool]).collect();
            for pool in pools {
                clients[pool].push(proxy);
                binds[pool].extend(listener.binds.iter().map(SocketAddr::port));
            }
            draft.listeners.push(listener);
        }
    }
    for (number, backend) in joiner.backends.clone().into_iter().enumerate() {
        if backend.kind == ProxyKind::Backend {
            joiner.lost(backend);
        }
        if clients[number].is_empty() {
            joiner.notes.add(&backend.at, has_no_listener(&title(backend)));
        }
        joiner.lists_of_backend(backend, &clients[number]);
        draft.pools.push(joiner.pool(backend, &clients[number], &binds[number]));
    }
}

/// Whether weir can do something for a section. Says so if not.
fn is_carried(proxy: &ProxySection, http_as_tcp: bool, notes: &mut Notes) -> bool {
    let name = title(proxy);
    let is_page = proxy.servers.is_empty() && proxy.has_stats;
    let (remark, carried) = match proxy.settings.mode {
        Mode::Tcp => return true,
        _ if is_page => {
            let remark = note(format!("{name} is HAProxy's page")).because("weir has its own");
            (remark.instead("[weir] admin = \"127.0.0.1:9650\""), false)
        }
        Mode::Http if http_as_tcp => {
            let remark = warning(format!("{name} is in mode http and relayed as TCP"));
            (remark.because("nothing of its requests is looked at or changed"), true)
        }
        Mode::Http => {
            let remark = warning(format!("{name} is in mode http and left out"));
            let hint = "--http-as-tcp relays it as TCP, without a look at requests";
            (remark.because("weir relays TCP").instead(hint), false)
        }
        Mode::Other => {
            let remark = warning(format!("{name} is left out"));
            (remark.because("its mode is neither tcp nor http"), false)
        }
    };
    notes.add(&proxy.at, remark);
    carried
}

/// Why no session takes a route by names or protocols, if that is so.
fn never_taken(proxy: &ProxySection, rule: &RuleRoute, decrypts: bool) -> Option<&'static str> {
    if rule.sni.is_empty() && rule.alpn.is_empty() {
        return None;
    }
    match (rule.is_of_own_tls, decrypts) {
        (true, false) => {
            Some("no bind has `ssl`, so `ssl_fc_sni` is empty and no session takes it")
        }
        (false, true) => {
            Some("behind a bind with `ssl` there is no ClientHello: no session takes it")
        }
        (false, false) if !proxy.settings.rules.waits_for_hello() => Some(
            "without `tcp-request inspect-delay` and a `tcp-request content` that asks for bytes \
             of the client, HAProxy does not wait for the ClientHello: no session takes it",
        ),
        _ => None,
    }
}

/// Whom an `accept-proxy` believes.
fn header_remark(of_connection: &Served) -> Remark {
    let what = "`accept-proxy` of bind";
    match of_connection {
        Served::Everybody => believes_everybody(what, "as by HAProxy"),
        Served::Nobody => note(what).because("`tcp-request connection` refuses everybody"),
        Served::In(_) => {
            let why = "weir refuses the connections that `tcp-request connection` rejects";
            note(what).because(why).instead("proxy-protocol.from has those that it serves")
        }
    }
}

/// How the file calls a section.
fn title(proxy: &ProxySection) -> String {
    let kind = match proxy.kind {
        ProxyKind::Frontend => "frontend",
        ProxyKind::Backend => "backend",
        ProxyKind::Listen => "listen",
    };
    format!("{kind} {}", proxy.name)
}

struct Joiner<'a> {
    /// The sections that become pools, by their numbers.
    backends: Vec<&'a ProxySection>,
    /// Whether its servers want TLS.
    tls: Vec<bool>,
    numbers: BTreeMap<&'a str, usize>,
    variables: Variables<'a>,
    notes: &'a mut Notes,
    /// How many addresses listeners have so far.
    addresses: usize,
    /// There is no room for more.
    is_full: bool,
}

impl Joiner<'_> {
    /// Notes every line of a section that is lost, and those of its defaults.
    fn lost(&mut self, proxy: &ProxySection) {
        let is_http = proxy.settings.mode == Mode::Http;
        let mut all = vec![&proxy.lost];
        let mut defaults = proxy.defaults.as_ref();
        let inherited = defaults.map(|it| &it.settings.default_server);
        if inherited.is_none_or(|it| !Rc::ptr_eq(it, &proxy.settings.default_server)) {
            self.notes.extend(&proxy.settings.default_server.remarks);
        }
        while let Some(section) = defaults.filter(|section| !section.is_noted.replace(true)) {
            self.notes.extend(&section.settings.default_server.remarks);
            all.push(&section.lost);
            defaults = section.parent.as_ref();
        }
        for (at, lost) in all.into_iter().flat_map(|lost| &lost.0) {
            let remark = match lost {
                Unsupported::Always(remark) => remark.clone(),
                Unsupported::Http(remark) if is_http => remark.clone(),
                Unsupported::Http(remark) => {
                    remark.as_note().because("HAProxy does not use it in mode tcp")
                }
            };
            self.notes.add(at, remark);
        }
    }

    /// One, or one for the addresses without `accept-proxy` and one for those with it.
    fn listeners(&mut self, proxy: &ProxySection) -> Vec<DraftListener> {
        let routes = self.routes(proxy);
        let Some(pool) = self.pool_of(proxy, &routes) else { return Vec::new() };
        let FrontendBinds { plain, with_header, freebind, interface } = self.binds(proxy, pool);
        if plain.is_empty() && with_header.is_empty() {
            if !self.is_full {
                self.notes.add(&proxy.at, has_no_address(&title(proxy)));
            }
            return Vec::new();
        }
        if !plain.is_empty() && !with_header.is_empty() {
            self.notes.add(&proxy.at, is_two_listeners(&title(proxy)));
        }
        let settings = &proxy.settings;
        let limit = settings.maxconn.as_ref().map(|(_, limit)| *limit).filter(|limit| *limit > 0);
        let rate = settings.rate_limit.as_ref().map(|(_, rate)| *rate).filter(|rate| *rate > 0);
        let rate = rate.map(|rate| u32::try_from(rate).unwrap_or(u32::MAX));
        if settings.is_disabled {
            let remark = note(format!("{} is disabled", title(proxy)));
            let hint = "`weirctl listener ready NAME` opens it";
            self.notes.add(&proxy.at, remark.because("its listener is drained").instead(hint));
        }
        let access = self.access(proxy, pool, &routes);
        let parts = [plain, with_header].into_iter().zip(access);
        let parts = parts.filter(|(binds, _)| !binds.is_empty());
        let listener =
            |(binds, DraftAccess { proxy_protocol, lists: [allow, deny] })| DraftListener {
                wanted: proxy.name.clone(),
                at: proxy.at.clone(),
                title: title(proxy),
                binds,
                pool,
                max_sessions: limit.map(|limit| u32::try_from(limit).unwrap_or(u32::MAX)),
                rate: rate.map(Rate::per_second),
                per_source: settings.sources.limits,
                freebind,
                interface,
                state: if settings.is_disabled { Admin::Drain } else { Admin::Ready },
                keepalive: settings.client_keepalive.clone(),
                proxy_protocol,
                allow,
                deny,
                inspect_timeout: settings
                    .rules
                    .inspect_ms
                    .filter(|_| routes.iter().any(|route| !route.sni.is_empty()))
                    .map(|ms| bounded(ms).0),
                routes: routes.clone(),
            };
        parts.map(listener).collect()
    }

    /// Who is served at the addresses without a PROXY header, and at those with one.
    fn access(
        &mut self,
        proxy: &ProxySection,
        pool: usize,
        routes: &[DraftRoute],
    ) -> [DraftAccess; 2] {
        let Rules { connection, session, content, .. } = &proxy.settings.rules;
        let backend = self.backends[pool];
        // Those of a listen are its own; and behind a route there are other backends.
        let of_pool = match backend.kind == ProxyKind::Backend && routes.is_empty() {
            true => &backend.settings.rules.content.rules[..],
            false => &[],
        };
        let told = [&session.rules[..], &content.rules[..], of_pool];
        DraftAccess::of(&connection.rules, &told)
    }

    /// Lists of backends, which weir has for listeners only.
    fn lists_of_backend(&mut self, backend: &ProxySection, clients: &[&ProxySection]) {
        let is_for_all = |client: &&ProxySection| client.settings.rules.routes.is_empty();
        if backend.kind == ProxyKind::Backend && !clients.iter().all(is_for_all) {
            for at in &backend.settings.rules.content.lines {
                let remark = warning("`tcp-request content` of a backend behind a `use_backend`");
                let why = "weir's lists are those of listeners: it refuses nobody here";
                self.notes.add(
                    at,
                    remark
                        .because(why)
                        .instead("allow or deny of the listener, or `from` of its routes"),
                );
            }
        }
    }

    /// The routes of a frontend or a listen whose backends are there, and that a client can take.
    fn routes(&mut self, proxy: &ProxySection) -> Vec<DraftRoute> {
        let mut routes = Vec::new();
        let decrypts = proxy.binds.iter().any(|(_, _, options)| options.is_tls);
        for (at, rule) in &proxy.settings.rules.routes {
            let RuleRoute { sni, alpn, from, backend, .. } = rule.clone();
            if let Some(why) = never_taken(proxy, rule, decrypts) {
                let remark = warning(format!("use_backend {backend} is left out"));
                let hint = "a route in weir.toml waits for the name by itself";
                self.notes.add(at, remark.because(why).instead(hint));
                continue;
            }
            match self.numbers.get(&*backend) {
                Some(pool) => {
                    routes.push(DraftRoute { at: at.clone(), sni, alpn, from, pool: *pool });
                }
                None => {
                    let remark = warning(format!("use_backend {backend} is left out"));
                    let why = format!("backend {backend} is not there, or is left out");
                    self.notes.add(at, remark.because(why));
                }
            }
        }
        routes
    }

    /// The number of the pool that takes the sessions of a frontend or a listen which no route
    /// takes.
    fn pool_of(&mut self, proxy: &ProxySection, routes: &[DraftRoute]) -> Option<usize> {
        let settings = &proxy.settings;
        let named = settings.use_backend.as_ref().or(settings.default_backend.as_ref());
        let mut left_out = |at: &At, why: String| {
            let remark = warning(format!("{} is left out", title(proxy)));
            self.notes.add(at, remark.because(why));
            None
        };
        match named {
            Some((at, name)) => match self.numbers.get(&**name) {
                Some(number) => Some(*number),
                None => left_out(at, format!("backend {name} is not there, or is left out")),
            },
            None if !proxy.servers.is_empty() => self.numbers.get(proxy.name.as_str()).copied(),
            None => match routes.first() {
                Some(first) => {
                    let remark = warning(format!("{} has no default_backend", title(proxy)));
                    let why = "weir's listener has a pool for what no route takes: that of the \
                               first route; HAProxy closes such clients";
                    self.notes.add(&proxy.at, remark.because(why));
                    Some(first.pool)
                }
                None => left_out(&proxy.at, "it has no default_backend".to_owned()),
            },
        }
    }

    fn address(&mut self, at: &At, text: &str) -> HaproxyAddress {
        let mut unset = BTreeSet::new();
        let text = filled(text, self.variables, &mut unset);
        unset.iter().for_each(|name| self.notes.add(at, unset_variable(name)));
        text.map_or(HaproxyAddress::Wrong, |text| address::read(&text))
    }

    fn pool(
        &mut self,
        backend: &ProxySection,
        clients: &[&ProxySection],
        ports: &BTreeSet<u16>,
    ) -> DraftPool {
        let settings = pools::settings(backend, clients, self.notes);
        let mut comments = Vec::new();
        if backend.servers.iter().any(|server| server.options.is_checked) {
            comments.push("panic = \"0%\": as in HAProxy, a server that is down gets none".into());
        }
        let mut backups = 0_u8;
        let line = |server: &ServerLine| {
            let priority = match (server.options.is_backup, backend.settings.all_backups) {
                (false, _) => 0,
                (true, true) => 1,
                // HAProxy uses the first that is up.
                (true, false) => {
                    backups = backups.saturating_add(1);
                    backups
                }
            };
            self.backend(server, priority, ports)
        };
        let backends = backend.servers.iter().map(line).collect();
        let (wanted, at, title) = (backend.name.clone(), backend.at.clone(), title(backend));
        DraftPool { wanted, at, title, comments, settings, backends }
    }

    fn backend(
        &mut self,
        server: &ServerLine,
        priority: u8,
        ports: &BTreeSet<u16>,
    ) -> DraftBackend {
        self.notes.extend(&server.options.remarks);
        let mut comment = String::new();
        let mut state = Admin::Ready;
        if server.options.is_disabled {
            "disabled".clone_into(&mut comment);
            state = Admin::Maint;
        }
        let weight = server.options.weight.unwrap_or(1);
        if weight > u64::from(WEIGHT_MAX) {
            let remark = note(format!("the weight {weight}"));
            self.notes.add(&server.at, remark.because(format!("weir has {WEIGHT_MAX} at most")));
        }
        DraftBackend {
            wanted: server.name.clone(),
            at: server.at.clone(),
            address: self.server_address(server, ports),
            weight: u16::try_from(weight).unwrap_or(WEIGHT_MAX).min(WEIGHT_MAX),
            priority,
            state,
            max_sessions: server.options.max_sessions(),
            comment,
        }
    }

    fn server_address(&mut self, server: &ServerLine, ports: &BTreeSet<u16>) -> DraftAddress {
        let read = self.address(&server.at, &server.address);
        let why = match read {
            HaproxyAddress::Ip(ip, written) => match port(written, ports) {
                Some(port) => return DraftAddress::Known(SocketAddr::new(ip, port).into()),
                None => "its port follows from the client's, and is not one",
            },
            HaproxyAddress::Named(name, Ports::Absent) if name.starts_with('_') => {
                return DraftAddress::Named { name, port: None };
            }
            HaproxyAddress::Named(name, written) => match port(written, ports) {
                Some(port) => return DraftAddress::Named { name, port: Some(port) },
                None => "its port follows from the client's, and is not one",
            },
            HaproxyAddress::Any { .. } => "the address that the client came to is not one",
            HaproxyAddress::Unix(path) => {
                let text = format!("unix:{path}");
                return unix_server(&server.at, (&text, &server.address), self.notes);
            }
            HaproxyAddress::Other(_) => "weir connects by TCP and to Unix sockets with a path",
            HaproxyAddress::Wrong => "it is no address",
        };
        unusable(&server.at, &server.address, why, self.notes)
    }
}

/// The port of a server; one that is not written is that of the listener, if there is one.
fn port(written: Ports, ports: &BTreeSet<u16>) -> Option<u16> {
    let client = || match ports.len() {
        1 => ports.first().copied(),
        _ => None,
    };
    match written {
        Ports::Range(first, last) => (first == last).then_some(first),
        Ports::Absent => client(),
        Ports::Offset(offset) => {
            let port = i32::from(client()?).checked_add(offset)?;
            u16::try_from(port).ok().filter(|port| *port > 0)
        }
    }
}
