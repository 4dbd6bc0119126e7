//! nginx.conf: its `stream` as a draft.

mod parser;
mod per_source;
mod rules;
mod server;
mod unsupported;
mod upstream;

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;

use weir_control_core::file::SHARDS_MAX;
use weir_proto::spec::{Admin, HealthKind, HealthSpec, PoolSpec, Span};

use super::Surroundings;
use super::access::DraftAccess;
use super::draft::{Draft, DraftListener, DraftPool, DraftRoute};
use super::note::{At, Notes, note, quoted, warning};
use super::remarks::{
    ADDRESSES_MAX, addresses_end_here, has_no_address, has_no_listener, is_two_listeners,
    tls_goes_through, tls_on_one_side,
};
use super::units::SPAN_MAX_MS;
use parser::NginxDirective;
use rules::{NameMap, NamedTarget};
use server::{Listen, ServerSettings, StreamServer};
use upstream::Upstream;

/// Reads a file into `draft`.
pub(super) fn read(
    name: &str,
    text: &[u8],
    around: &dyn Surroundings,
    draft: &mut Draft,
    notes: &mut Notes,
) {
    let tree = parser::read(name, text, around, notes);
    if notes.has_errors() {
        return;
    }
    let is_whole = tree.iter().any(|it| ["stream", "http", "mail", "events"].contains(&it.name()));
    let mut stream = StreamReader::new(draft, notes);
    // A file that another one includes, within its stream.
    if !is_whole {
        return stream.read(&tree);
    }
    for directive in &tree {
        let at = &directive.at;
        match directive.name() {
            "stream" => stream.read(directive.blocks()),
            "http" => {
                let remark = warning("the `http` block is left out");
                let hint = "a stream block relays the same ports without a look at requests";
                stream.notes.add(at, remark.because("weir relays TCP").instead(hint));
            }
            "mail" => {
                let remark = warning("the `mail` block is left out").because("weir relays TCP");
                stream.notes.add(at, remark.instead("a stream block relays the same ports"));
            }
            "worker_processes" => {
                let count = directive.argument().parse().ok();
                stream.draft.shards = count.filter(|count| (1..=SHARDS_MAX).contains(count));
            }
            "error_log" => {
                stream.notes.add(at, note("`error_log`").because("weir logs to stderr"));
            }
            _ => stream.notes.add(at, process_setting()),
        }
    }
}

fn process_setting() -> super::note::Remark {
    note("a setting of nginx's process").because("it means nothing to weir")
}

/// The servers and upstreams of `stream` blocks.
struct StreamReader<'a> {
    draft: &'a mut Draft,
    notes: &'a mut Notes,
    /// The number of each upstream's pool, and whether it has the settings of a server.
    pools: BTreeMap<String, (usize, bool)>,
    /// Maps of server names, by their variable.
    maps: BTreeMap<String, NameMap>,
    /// Names of listeners.
    names: BTreeSet<String>,
    addresses: usize,
}

impl<'a> StreamReader<'a> {
    fn new(draft: &'a mut Draft, notes: &'a mut Notes) -> StreamReader<'a> {
        let (pools, names, maps) = (BTreeMap::new(), BTreeSet::new(), BTreeMap::new());
        StreamReader { draft, notes, pools, maps, names, addresses: 0 }
    }

    fn read(&mut self, directives: &[NginxDirective]) {
        let mut settings = ServerSettings::default();
        let is_http = |it: &NginxDirective| ["location", "server_name"].contains(&it.name());
        for directive in directives {
            match directive.name() {
                "upstream" => {
                    let upstream = Upstream::of(directive, self.notes);
                    let name = upstream.name.clone();
                    let number = self.pool(upstream, format!("upstream {name}"));
                    self.pools.entry(name).or_insert((number, false));
                }
                "server" => {}
                "map" => match NameMap::of(directive, self.notes) {
                    Some((variable, map)) => drop(self.maps.insert(variable, map)),
                    None => settings.take(directive, self.notes),
                },
                _ => settings.take(directive, self.notes),
            }
        }
        for directive in directives.iter().filter(|it| it.name() == "server") {
            let children = directive.blocks();
            let has_pass = children.iter().any(|it| it.name() == "proxy_pass");
            if !has_pass && children.iter().any(is_http) {
                let remark = warning("a server of HTTP is left out");
                self.notes.add(&directive.at, remark.because("weir relays TCP"));
                continue;
            }
            let server = StreamServer::of(directive, &settings, self.notes);
            self.server(&server);
        }
        for (name, (number, is_used)) in &self.pools {
            if !is_used {
                let remark = has_no_listener(&format!("upstream {name}"));
                self.notes.add(&self.draft.pools[*number].at, remark);
            }
        }
    }

    /// Makes a pool; its number.
    fn pool(&mut self, upstream: Upstream, title: String) -> usize {
        // nginx has no checks.
        let mut health = HealthSpec { kind: HealthKind::None, ..HealthSpec::default() };
        if let Some(millis) = upstream.slow_start_ms {
            health.slow_start = Span::from_millis(millis.min(SPAN_MAX_MS));
        }
        let strategy = upstream.strategy;
        let mut settings = PoolSpec { strategy, health, ..PoolSpec::default() };
        // Until a server says something else.
        ServerSettings::default().apply(&mut settings, true, &upstream.at, self.notes);
        self.draft.pools.push(DraftPool {
            wanted: upstream.name,
            at: upstream.at,
            title,
            comments: vec!["nginx has no checks: health = { kind = \"tcp\" } makes some".into()],
            settings,
            backends: upstream.backends,
        });
        self.draft.pools.len() - 1
    }

    fn server(&mut self, server: &StreamServer) {
        let Some((at, target)) = &server.proxy_pass else {
            let remark = warning("a server is left out");
            self.notes.add(&server.at, remark.because("it has no proxy_pass"));
            return;
        };
        let map = self.maps.get(target).cloned();
        if target.contains('$') && map.is_none() {
            let remark =
                warning(format!("the server with proxy_pass {} is left out", quoted(target)));
            let hint = "give each upstream a listener with an address of its own";
            let why = "weir has no variables but server names by a map";
            self.notes.add(at, remark.because(why).instead(hint));
            return;
        }
        let Some((target, named)) = self.targets(server, at, (target, map.unwrap_or_default()))
        else {
            return;
        };
        let (plain, with_header) = self.binds(server);
        let Some(port) = plain.first().or(with_header.first()).map(SocketAddr::port) else {
            self.notes.add(&server.at, has_no_address("a server"));
            return;
        };
        let pool = self.pool_of(server, at, (&target, port));
        let mut pools = BTreeMap::from([(target, pool)]);
        let mut routes = Vec::new();
        for (at, sni, target) in named {
            let pool = match pools.get(&target) {
                Some(pool) => *pool,
                None => {
                    let pool = self.pool_of(server, &at, (&target, port));
                    pools.insert(target, pool);
                    pool
                }
            };
            let (alpn, from) = (Vec::new(), Vec::new());
            routes.push(DraftRoute { at, sni, alpn, from, pool });
        }
        if !plain.is_empty() && !with_header.is_empty() {
            self.notes.add(&server.at, is_two_listeners("a server"));
        }
        for (binds, access) in [plain, with_header].into_iter().zip(server.access()) {
            let Some(access) = access else { continue };
            self.listener(server, (pool, &routes), binds, access);
        }
    }

    /// Where a server leads, and by what names elsewhere. `None`: nowhere.
    fn targets(
        &mut self,
        server: &StreamServer,
        at: &At,
        (target, mut map): (&str, NameMap),
    ) -> Option<(String, Vec<NamedTarget>)> {
        if !target.contains('$') {
            return Some((target.to_owned(), Vec::new()));
        }
        if !server.reads_names() {
            let why = "nginx reads no name, as `ssl_preread on` is missing or TLS ends at it: all \
                       sessions go where those without a name go";
            self.notes.add(at, note(quoted(target)).because(why));
            map.routes.clear();
        }
        let first = map.routes.first().map(|(_, _, target)| target);
        let Some(without_name) = map.without_name().or(first).cloned() else {
            let remark = warning(format!("the server with proxy_pass {}", quoted(target)));
            let why = "it is left out: no name of its map leads anywhere";
            self.notes.add(at, remark.because(why));
            return None;
        };
        // Names that no other route has, where those go elsewhere that ask for none.
        if let Some((at, _)) = &map.nameless
            && let Some(default) = map.default.clone().filter(|default| *default != without_name)
            && server.reads_names()
        {
            map.routes.push((at.clone(), vec!["*".to_owned()], default));
        } else if map.default.is_none() && server.reads_names() {
            let remark = warning(format!("the map of {} has no default", quoted(target)));
            let why = "nginx closes clients that no name of it takes, and weir's listener has a \
                       pool for them: that of the clients without a name, or of the first name";
            self.notes.add(at, remark.because(why));
        }
        Some((without_name, map.routes))
    }

    /// The number of the pool behind a `proxy_pass`, which gets the settings of the server.
    fn pool_of(&mut self, server: &StreamServer, at: &At, (target, port): (&str, u16)) -> usize {
        let (pool, is_used) = match self.pools.get_mut(target) {
            Some((number, is_used)) => (*number, std::mem::replace(is_used, true)),
            None => {
                let name = format!("port-{port}");
                let upstream = Upstream::direct(name, at, target, self.notes);
                (self.pool(upstream, format!("proxy_pass {target}")), false)
            }
        };
        let draft = &mut self.draft.pools[pool];
        server.settings.apply(&mut draft.settings, !is_used, &server.at, self.notes);
        if draft.settings.health.kind != HealthKind::None {
            draft.comments.clear();
        }
        pool
    }

    fn listener(
        &mut self,
        server: &StreamServer,
        (pool, routes): (usize, &[DraftRoute]),
        binds: Vec<SocketAddr>,
        DraftAccess { proxy_protocol, lists: [allow, deny] }: DraftAccess,
    ) {
        let Some(port) = binds.first().map(SocketAddr::port) else { return };
        let mut wanted = self.draft.pools[pool].wanted.clone();
        if !self.names.insert(wanted.clone()) {
            wanted = format!("{wanted}-{port}");
        }
        self.draft.listeners.push(DraftListener {
            wanted,
            at: server.at.clone(),
            title: "server".to_owned(),
            binds,
            pool,
            max_sessions: None,
            rate: None,
            per_source: server.settings.clients.spec(),
            freebind: false,
            interface: None,
            state: Admin::Ready,
            keepalive: server.keepalive.clone(),
            proxy_protocol,
            allow,
            deny,
            routes: routes.to_vec(),
            inspect_timeout: server.settings.preread.filter(|_| !routes.is_empty()),
        });
    }

    /// The addresses of a server that weir can serve, without and with a PROXY header.
    fn binds(&mut self, server: &StreamServer) -> (Vec<SocketAddr>, Vec<SocketAddr>) {
        let (mut plain, mut with_header) = (Vec::new(), Vec::new());
        for Listen { at, addresses, is_tls, wants_header } in &server.listens {
            if *is_tls != server.settings.encrypts {
                let whats = ["`listen … ssl`", "a listen before `proxy_ssl on`"];
                self.notes.add(at, tls_on_one_side(*is_tls, whats));
                continue;
            }
            if *is_tls {
                self.notes.add(at, tls_goes_through());
            }
            if self.addresses + addresses.len() > ADDRESSES_MAX {
                self.notes.add(at, addresses_end_here());
                break;
            }
            self.addresses += addresses.len();
            if *wants_header {
                self.notes.add(at, server.header_remark());
            }
            let binds = if *wants_header { &mut with_header } else { &mut plain };
            binds.extend(addresses);
        }
        (plain, with_header)
    }
}
