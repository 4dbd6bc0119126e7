//! What can be wrong with a spec that parses: every fault with its place and its fix.

mod agent;
mod health;

use core::net::SocketAddr;
use std::collections::BTreeMap;

use super::route::{fault_of_name, fault_of_protocol};
use super::{
    BACKENDS_MAX, BACKENDS_PER_POOL_MAX, BINDS_MAX, Fault, LISTENERS_MAX, NAMES_MAX, POOLS_MAX,
    ROUTES_MAX, Snapshot,
};
use crate::bind_address::{BindAddress, Interface};
use crate::listed::listed;
use crate::network::NETWORKS_MAX;
use crate::settings::{self, Setting};
use crate::spec::{
    Admin, CopyOnWrite, DISCOVERED_MAX, Failover, ListenerSpec, Name, PerSourceSpec, Percent,
    PoolSpec, Spec,
};
use agent::check_agent;
use health::check_health;

/// Collects faults.
struct Faults(Vec<Fault>);

impl Faults {
    fn add(&mut self, at: impl Into<String>, what: impl Into<String>, hint: impl Into<String>) {
        self.0.push(Fault::new(at, what, hint));
    }

    fn at_most(&mut self, at: &str, noun: &str, count: usize, most: usize) {
        if count > most {
            self.add(at, format!("{count} {noun}; at most {most} are possible"), "split them up");
        }
    }

    /// `name`, which stands in the key `pool` below `at`, is no pool.
    fn no_pool(&mut self, at: &str, name: &Name, spec: &Spec) {
        let hint = if spec.pool.is_empty() {
            format!("add a table [pool.{name}]")
        } else {
            format!("the pools are: {}", listed(spec.pool.keys(), POOLS_SHOWN, ", "))
        };
        self.add(format!("{at}.pool"), format!("there is no pool {:?}", name.as_str()), hint);
    }
}

/// The most pools that a fault counts up.
const POOLS_SHOWN: usize = 16;

/// Pools that are shared with `previous` are sound.
pub(super) fn check(spec: &Spec, previous: &Snapshot) -> Vec<Fault> {
    let mut faults = Faults(Vec::new());
    faults.at_most("listener", "listeners", spec.listener.len(), LISTENERS_MAX);
    faults.at_most("pool", "pools", spec.pool.len(), POOLS_MAX);
    let backends = spec.pool.values().map(|pool| backends_max(pool)).sum();
    faults.at_most("pool", "backends in all", backends, BACKENDS_MAX);
    let of_routes = |it: &ListenerSpec| it.route.iter().map(|it| it.from.len()).sum::<usize>();
    let of = |it: &ListenerSpec| it.allow.len() + it.deny.len() + of_routes(it);
    let lists = spec.listener.values().map(of).sum();
    faults.at_most("listener", "networks in all lists", lists, 2 * NETWORKS_MAX);
    let mut bound = BTreeMap::new();
    for (name, listener) in &spec.listener {
        check_binds(name, listener, &mut bound, &mut faults);
        check_listener(name, listener, spec, &mut faults);
    }
    let is_new = |(name, pool): &(&Name, &CopyOnWrite<PoolSpec>)| {
        previous.pool(name.as_str()).is_none_or(|before| !before.spec.is_shared_with(pool))
    };
    for (name, pool) in spec.pool.iter().filter(is_new) {
        check_pool(name, pool, &mut faults);
    }
    faults.0
}

fn check_listener(name: &Name, listener: &ListenerSpec, spec: &Spec, faults: &mut Faults) {
    let at = format!("listener.{name}");
    if !spec.pool.contains_key(&listener.pool) {
        faults.no_pool(&at, &listener.pool, spec);
    }
    check_routes(&at, listener, spec, faults);
    if listener.max_sessions == Some(0) {
        faults.add(
            format!("{at}.max-sessions"),
            "0 sessions would accept nobody",
            "leave the key out for no limit, or state = \"drain\" to accept nobody",
        );
    }
    if !listener.per_source.is_limited() && listener.per_source != PerSourceSpec::default() {
        faults.add(
            format!("{at}.per-source"),
            "prefix lengths without a limit limit nothing",
            "add sessions = 200, or rate = \"50/s\"",
        );
    }
    check_ranges(&at, settings::LISTENER, listener, faults);
    if listener.state == Admin::Maint {
        let hint = "use state = \"drain\", or remove it";
        faults.add(format!("{at}.state"), "a listener has no maint", hint);
    }
}

/// Where each address of a family is bound, and by which listener.
type BoundBy<'a> = BTreeMap<(SocketAddr, Option<Interface>), (BindAddress, &'a Name)>;

fn check_binds<'a>(
    name: &'a Name,
    listener: &ListenerSpec,
    bound: &mut BoundBy<'a>,
    faults: &mut Faults,
) {
    let at = format!("listener.{name}.bind");
    if listener.bind.is_empty() {
        faults.add(&at, "no address to bind", "bind = \"0.0.0.0:443\"");
    }
    faults.at_most(&at, "addresses", listener.bind.len(), BINDS_MAX);
    for bind in listener.binds() {
        if bind.port() == 0 {
            faults.add(&at, "port 0 cannot be bound", "name a port, 1 to 65535");
        }
        for family in bind.families() {
            let key = (without_scope(family), bind.interface);
            let there = bound.range((key.0, None)..).take_while(|((at, _), _)| *at == key.0);
            // Of one with and one without an interface the kernel takes whichever came last.
            let meets = |on: Option<Interface>| on.zip(key.1).is_none_or(|(on, here)| on == here);
            let there = there.filter(|((_, on), _)| meets(*on)).map(|(_, it)| *it).next();
            bound.insert(key, (bind, name));
            let Some((other, by)) = there else { continue };
            let of = if by == name { "this listener".to_owned() } else { format!("listener {by}") };
            if bind.interface != other.interface {
                let what = format!("{bind} is bound twice: {other} of {of} has no other interface");
                faults.add(&at, what, "interface = \"eth0\", another one below each listener");
            } else if bind.takes_ipv4 == other.takes_ipv4 {
                let what = format!("{bind} is bound twice: {of} has it, too");
                faults.add(&at, what, "give each listener its own address");
            } else {
                let what = format!("{bind} is bound twice: {other} of {of} has its IPv4 clients");
                faults.add(&at, what, "v6only = true below the listener of [::]");
            }
            break;
        }
    }
    if !listener.v6only && !listener.binds().any(|bind| bind.takes_ipv4) {
        let at = format!("listener.{name}.v6only");
        let hint =
            format!("bind = \"[::]:{}\"", listener.bind.first().map_or(443, SocketAddr::port));
        faults.add(at, "only [::] takes IPv4 clients, too, and it is not bound", hint);
    }
}

fn check_routes(at: &str, listener: &ListenerSpec, spec: &Spec, faults: &mut Faults) {
    let at = format!("{at}.route");
    faults.at_most(&at, "routes", listener.route.len(), ROUTES_MAX);
    for (place, route) in (1..).zip(&listener.route) {
        let at = format!("{at}.{place}");
        if !spec.pool.contains_key(&route.pool) {
            faults.no_pool(&at, &route.pool, spec);
        }
        if !route.reads_hello() && route.from.is_empty() {
            let hint = "sni, alpn or from; the pool for the rest is that of the listener";
            faults.add(&at, "this route asks for nothing, so every session takes it", hint);
        }
        for (key, list) in [("sni", &route.sni), ("alpn", &route.alpn)] {
            faults.at_most(&format!("{at}.{key}"), "names", list.len(), NAMES_MAX);
        }
        for name in &route.sni {
            if let Some(fault) = fault_of_name(name) {
                let hint = "db.example.com, *.db.example.com, or * for any name";
                faults.add(format!("{at}.sni"), format!("{name:?}: {fault}"), hint);
            }
        }
        if let Some(wrong) = route.alpn.iter().find(|it| fault_of_protocol(it).is_some()) {
            let hint = "as in h2, http/1.1 or postgresql";
            faults.add(format!("{at}.alpn"), format!("{wrong:?} is no protocol"), hint);
        }
        if let Some(complaint) =
            settings::Form::Networks.fault(&settings::Value::Networks(route.from.clone()))
            && !route.from.is_empty()
        {
            faults.0.push(Fault { at: format!("{at}.from"), complaint });
        }
    }
}

/// Two spellings of one socket address are equal. A scope counts for link-local addresses only.
fn without_scope(mut address: SocketAddr) -> SocketAddr {
    if let SocketAddr::V6(v6) = &mut address
        && !v6.ip().is_unicast_link_local()
    {
        v6.set_scope_id(0);
    }
    if let SocketAddr::V6(v6) = &mut address {
        v6.set_flowinfo(0);
    }
    address
}

/// The most backends that a pool may come to have.
fn backends_max(pool: &PoolSpec) -> usize {
    let discovered = if pool.discover.source().is_some() { DISCOVERED_MAX } else { 0 };
    pool.backend.len() + discovered
}

fn check_pool(name: &Name, pool: &PoolSpec, faults: &mut Faults) {
    let at = format!("pool.{name}");
    faults.at_most(&format!("{at}.backend"), "backends", backends_max(pool), BACKENDS_PER_POOL_MAX);
    check_ranges(&at, settings::POOL, pool, faults);
    check_health(&at, pool, faults);
    check_agent(&at, pool, faults);
    if let Some((key, what, hint)) = pool.discover.fault() {
        faults.add(format!("{at}.discover.{key}"), what, hint);
    }
    if pool.failover == Failover::Stay && pool.spill != Percent::ZERO {
        let what = "spill shares sessions between groups, and failover = \"stay\" wants one group";
        let hint = "leave spill out, or use failover = \"auto\"";
        faults.add(format!("{at}.spill"), what, hint);
    }
    for (name, backend) in &pool.backend {
        let at = format!("{at}.backend.{name}");
        if backend.address.port() == Some(0) {
            let hint = "name a port, 1 to 65535";
            faults.add(format!("{at}.address"), "port 0 cannot be connected to", hint);
        }
        check_ranges(&at, settings::BACKEND, backend, faults);
    }
}

/// Every setting that is out of its range.
fn check_ranges<S>(at: &str, table: &[Setting<S>], of: &S, faults: &mut Faults) {
    for setting in table {
        if let Some(complaint) = setting.fault(of) {
            faults.0.push(Fault { at: format!("{at}.{}", setting.key), complaint });
        }
    }
}
