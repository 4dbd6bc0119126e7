//! A draft as the text of weir.toml.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write;
use std::net::SocketAddr;

use weir_control_core::{file, planner};
use weir_proto::network::NETWORKS_MAX;
use weir_proto::outside::cleaned;
use weir_proto::snapshot::{
    BACKENDS_MAX, BACKENDS_PER_POOL_MAX, BINDS_MAX, LISTENERS_MAX, POOLS_MAX, Snapshot,
};
use weir_proto::spec::{
    BackendSpec, DISCOVERED_MAX, DiscoverSpec, ListenerSpec, Name, RouteSpec, Spec,
};

use super::discover::discover;
use super::draft::{Draft, DraftAddress, DraftBackend, DraftListener, DraftPool, DraftRoute};
use super::note::{At, Notes, error, quoted, warning};
use super::routes::joined;

/// weir.toml, and how many listeners, pools and backends it has.
pub(super) struct Emitted {
    pub(super) toml: String,
    pub(super) counts: [usize; 3],
}

/// One object with its name, the comments above it and those behind the lines of its backends.
struct NamedObject {
    spec: Spec,
    head: Vec<String>,
    /// Comments in the table of the backends.
    behind: BTreeMap<String, String>,
    /// Lines that are comments, below it.
    tail: Vec<String>,
}

/// Writes `draft`; `None` if nothing is in it.
pub(super) fn write(name: &str, mut draft: Draft, notes: &mut Notes) -> Option<Emitted> {
    if draft.listeners.is_empty() && draft.pools.is_empty() {
        return None;
    }
    discover(&mut draft, notes);
    limit_pools(&mut draft, notes);
    let binds = unique_binds(&draft.listeners, notes);
    drop_loops(&mut draft, &binds, notes);
    let names = NameBook::of_all(draft.pools.iter().map(|pool| pool.wanted.as_str()));
    let pools: Vec<NamedObject> =
        draft.pools.iter().zip(&names).map(|(pool, name)| pool_object(pool, name, notes)).collect();
    let listeners = listener_objects(&draft, &binds, &names, notes);
    let mut toml = format!(
        "# Made by `weir init` from {}: read its notes, then `weir check` this file.\n",
        cleaned(name, super::note::FILE_NAME_MAX)
    );
    if let Some(shards) = draft.shards {
        let _ = write!(toml, "\n[weir]\nshards = {shards}\n");
    }
    let mut pools: Vec<Option<NamedObject>> = pools.into_iter().map(Some).collect();
    let mut counts = [listeners.len(), pools.len(), 0];
    for (pool, listener) in listeners {
        append(&mut toml, &listener);
        if let Some(pool) = pools[pool].take() {
            append(&mut toml, &pool);
        }
    }
    pools.iter().flatten().for_each(|pool| append(&mut toml, pool));
    // Whatever the peers' files say: what is printed is what weir takes.
    match file::parse(&toml, "weir.toml") {
        Ok(read) => {
            counts[2] = read.spec.pool.values().map(|pool| pool.backend.len()).sum();
            Some(Emitted { toml, counts })
        }
        Err(wrong) => {
            let why = wrong.first().map(|it| it.message.clone()).unwrap_or_default();
            let remark = error("weir would not read what was made of this file").because(why);
            notes.add(&At::line(name, 1), remark.instead("please report it"));
            None
        }
    }
}

/// The names that weir takes, each once.
struct NameBook {
    taken: BTreeSet<String>,
    /// The last number that was put behind a name.
    numbers: BTreeMap<String, usize>,
}

impl NameBook {
    fn new() -> NameBook {
        NameBook { taken: BTreeSet::new(), numbers: BTreeMap::new() }
    }

    fn of_all<'a>(wanted: impl Iterator<Item = &'a str>) -> Vec<Name> {
        let mut names = NameBook::new();
        wanted.map(|wanted| names.take(wanted)).collect()
    }

    fn take(&mut self, wanted: &str) -> Name {
        let legal = |letter: char| letter.is_ascii_alphanumeric() || "-_.".contains(letter);
        let clean: String =
            wanted.chars().take(NAME_MAX).map(|it| if legal(it) { it } else { '-' }).collect();
        let clean = clean.trim_start_matches(['-', '.']);
        let clean = if clean.is_empty() { "unnamed" } else { clean };
        let mut name = clean.to_owned();
        let number = self.numbers.entry(name.clone()).or_insert(1);
        while !self.taken.insert(name.clone()) {
            *number += 1;
            name = format!("{clean}-{number}");
        }
        name.parse().expect("only what a name may have is left")
    }
}

/// Leaves room for a number.
const NAME_MAX: usize = 50;

/// No more than weir takes.
fn limit_pools(draft: &mut Draft, notes: &mut Notes) {
    if let Some(pool) = draft.pools.get(POOLS_MAX) {
        let remark = warning("pools from here on are left out");
        notes.add(&pool.at, remark.because(format!("weir has {POOLS_MAX} at most")));
        draft.pools.truncate(POOLS_MAX);
        draft.listeners.retain(|listener| listener.pool < POOLS_MAX);
        for listener in &mut draft.listeners {
            listener.routes.retain(|route| route.pool < POOLS_MAX);
        }
    }
    let mut left = BACKENDS_MAX;
    for pool in &mut draft.pools {
        let is_discovered = pool.settings.discover.source().is_some();
        if is_discovered && left < DISCOVERED_MAX {
            let why = format!("it may have {DISCOVERED_MAX} backends, and a weir {BACKENDS_MAX}");
            let remark = warning("the name that this pool has in DNS is left out");
            notes.add(&pool.at, remark.because(why));
            pool.settings.discover = DiscoverSpec::default();
        }
        let is_discovered = pool.settings.discover.source().is_some();
        let found = if is_discovered { DISCOVERED_MAX } else { 0 };
        left -= found;
        let most = left.min(BACKENDS_PER_POOL_MAX - found);
        if let Some(backend) = pool.backends.get(most) {
            let why = format!("a pool has {BACKENDS_PER_POOL_MAX} at most, a weir {BACKENDS_MAX}");
            let remark = warning("backends of this pool from here on are left out");
            notes.add(&backend.at, remark.because(why));
            pool.backends.truncate(most);
        }
        left -= pool.backends.len();
    }
}

/// The addresses of each listener that no listener before it has.
fn unique_binds(listeners: &[DraftListener], notes: &mut Notes) -> Vec<Vec<SocketAddr>> {
    let mut taken = BTreeSet::new();
    let mut unique = |listener: &DraftListener| {
        let mut kept = Vec::new();
        for bind in &listener.binds {
            let there = taken.range((*bind, None)..).take_while(|(at, _)| at == bind);
            let meets = |on: Option<_>| on.zip(listener.interface).is_none_or(|(a, b)| a == b);
            let is_free = there.map(|(_, on)| *on).all(|on| !meets(on));
            taken.insert((*bind, listener.interface));
            if is_free {
                kept.push(*bind);
            } else {
                let remark = warning(format!("the address {bind} is bound twice"));
                let why = "weir gives each address to one listener, the first";
                notes.add(&listener.at, remark.because(why));
            }
        }
        kept
    };
    listeners.iter().map(&mut unique).collect()
}

/// Takes out the backends that are listeners of the same weir.
fn drop_loops(draft: &mut Draft, binds: &[Vec<SocketAddr>], notes: &mut Notes) {
    let number = |prefix: &str, at: usize| -> Name {
        format!("{prefix}{at}").parse().expect("a letter and a number are a name")
    };
    let mut spec = Spec::default();
    for (at, binds) in binds.iter().enumerate() {
        let listener = ListenerSpec::new(number("p", draft.listeners[at].pool), binds.clone());
        spec.listener.insert(number("l", at), listener);
    }
    for (at, pool) in draft.pools.iter().enumerate() {
        let mut settings = pool.settings.without_backends();
        for (index, backend) in pool.backends.iter().enumerate() {
            if let Some(spec) = backend_spec(backend) {
                settings.backend.insert(number("b", index), spec);
            }
        }
        spec.pool.insert(number("p", at), settings.into());
    }
    for fault in planner::loops(&spec, &Snapshot::empty()) {
        let mut parts = fault.at.split('.').skip(1).step_by(2);
        let mut index = |prefix: char| parts.next()?.strip_prefix(prefix)?.parse::<usize>().ok();
        let backend = index('p')
            .zip(index('b'))
            .and_then(|(pool, backend)| draft.pools.get_mut(pool)?.backends.get_mut(backend));
        if let Some(backend) = backend
            && let DraftAddress::Known(address) = backend.address
        {
            let remark = warning(format!("the server {address} is left out"));
            let why = "it is a listener of this file: each session would open another";
            notes.add(&backend.at, remark.because(why).instead("write the server's own address"));
            backend.address = DraftAddress::Unusable(address.to_string());
        }
    }
}

fn backend_spec(backend: &DraftBackend) -> Option<BackendSpec> {
    let DraftAddress::Known(address) = backend.address else { return None };
    let DraftBackend { weight, priority, state, max_sessions, .. } = *backend;
    Some(BackendSpec { weight, priority, state, max_sessions, ..BackendSpec::new(address) })
}

fn pool_object(pool: &DraftPool, name: &Name, notes: &mut Notes) -> NamedObject {
    let mut settings = pool.settings.without_backends();
    let (mut behind, mut tail) = (BTreeMap::new(), Vec::new());
    let names = NameBook::of_all(pool.backends.iter().map(|backend| backend.wanted.as_str()));
    for (backend, name) in pool.backends.iter().zip(names) {
        renamed(&backend.at, &backend.wanted, &name, notes);
        if !backend.comment.is_empty() {
            behind.insert(name.to_string(), backend.comment.clone());
        }
        match (backend_spec(backend), &backend.address) {
            (Some(spec), _) => drop(settings.backend.insert(name, spec)),
            (None, DraftAddress::Unusable(text)) => {
                tail.push(format!("{name} = {{ address = \"{text}\" }}   # write its IP:PORT"));
            }
            (None, DraftAddress::Known(_) | DraftAddress::Named { .. }) => {}
        }
    }
    renamed(&pool.at, &pool.wanted, name, notes);
    let mut head = vec![format!("{} ({})", pool.title, pool.at.short())];
    head.extend(pool.comments.iter().cloned());
    let mut spec = Spec::default();
    spec.pool.insert(name.clone(), settings.into());
    NamedObject { spec, head, behind, tail }
}

/// Says that the peer's name is another one, if it is.
fn renamed(at: &At, wanted: &str, name: &Name, notes: &mut Notes) {
    if name.as_str() != wanted && !wanted.is_empty() {
        let remark = super::note::note(format!("{} is called {name}", quoted(wanted)));
        let why = "a name of weir is one of its kind and has letters, digits, - _ and .";
        notes.add(at, remark.because(why));
    }
}

/// The listeners with the numbers of their pools; one of many addresses becomes several.
fn listener_objects(
    draft: &Draft,
    binds: &[Vec<SocketAddr>],
    pools: &[Name],
    notes: &mut Notes,
) -> Vec<(usize, NamedObject)> {
    let mut names = NameBook::new();
    let mut objects = Vec::new();
    for (listener, binds) in draft.listeners.iter().zip(binds) {
        let Some(pool) = pools.get(listener.pool) else { continue };
        if has_long_lists(listener, notes) {
            continue;
        }
        let routes = joined(&listener.routes, notes);
        for (part, binds) in binds.chunks(BINDS_MAX).enumerate() {
            if objects.len() == LISTENERS_MAX {
                let remark = warning("listeners from here on are left out");
                let why = format!("weir has {LISTENERS_MAX} at most");
                notes.add(&listener.at, remark.because(why));
                return objects;
            }
            let name = names.take(&listener.wanted);
            if part == 0 {
                renamed(&listener.at, &listener.wanted, &name, notes);
            }
            let mut spec = Spec::default();
            let plain = ListenerSpec::new(pool.clone(), binds.to_vec());
            let listener_spec = ListenerSpec {
                max_sessions: listener.max_sessions,
                rate: listener.rate,
                per_source: listener.per_source,
                freebind: listener.freebind,
                interface: listener.interface,
                state: listener.state,
                keepalive: listener.keepalive.clone(),
                proxy_protocol: listener.proxy_protocol.clone(),
                allow: listener.allow.clone().into(),
                deny: listener.deny.clone().into(),
                route: routes.iter().filter_map(|it| route_spec(it, pools)).collect(),
                inspect_timeout: listener.inspect_timeout.unwrap_or(plain.inspect_timeout),
                ..plain
            };
            spec.listener.insert(name, listener_spec);
            let title = format!("{} ({})", listener.title, listener.at.short());
            let head = vec![if part == 0 { title } else { format!("{title}, more addresses") }];
            let (behind, tail) = (BTreeMap::new(), Vec::new());
            objects.push((listener.pool, NamedObject { spec, head, behind, tail }));
        }
    }
    objects
}

/// Without a list that weir cannot have, a listener would serve others.
fn has_long_lists(listener: &DraftListener, notes: &mut Notes) -> bool {
    let DraftListener { allow, deny, proxy_protocol, .. } = listener;
    let longest = allow.len().max(deny.len()).max(proxy_protocol.from.len());
    if longest > NETWORKS_MAX {
        let remark = warning(format!("{} is left out", listener.title));
        let why = format!("its lists have {longest} networks, and weir's {NETWORKS_MAX} at most");
        notes.add(&listener.at, remark.because(why).instead("join neighbours"));
    }
    longest > NETWORKS_MAX
}

fn route_spec(route: &DraftRoute, pools: &[Name]) -> Option<RouteSpec> {
    let DraftRoute { sni, alpn, from, pool, at: _ } = route.clone();
    Some(RouteSpec { sni, alpn, from: from.into(), pool: pools.get(pool)?.clone() })
}

/// The export of one object, with its comments.
fn append(toml: &mut String, object: &NamedObject) {
    toml.push('\n');
    for comment in &object.head {
        comment_line(toml, comment);
    }
    let mut in_backends = false;
    for line in file::export(&object.spec).lines() {
        in_backends |= line.ends_with(".backend]");
        toml.push_str(line);
        let name = line.split(" = ").next().unwrap_or_default().trim_matches('"');
        if let Some(comment) = object.behind.get(name).filter(|_| in_backends) {
            let _ = write!(toml, "   # {}", cleaned(comment, COMMENT_MAX));
        }
        toml.push('\n');
    }
    for comment in &object.tail {
        comment_line(toml, comment);
    }
}

fn comment_line(toml: &mut String, comment: &str) {
    let _ = writeln!(toml, "# {}", cleaned(comment, COMMENT_MAX));
}

/// Bytes of a comment.
const COMMENT_MAX: usize = 300;
