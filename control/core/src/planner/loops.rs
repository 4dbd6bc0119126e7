//! Backends that are one of weir's own listeners: each session would open another, without end.

use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr};

use weir_proto::bind_address::BindAddress;
use weir_proto::snapshot::{Fault, Listener, Snapshot};
use weir_proto::spec::{CopyOnWrite, ListenerSpec, Name, PoolSpec, Spec};

/// Every backend that is one of weir's own listeners. If listeners are bound as in `previous`, only
/// pools that are not shared with it are looked into.
pub fn loops(spec: &Spec, previous: &Snapshot) -> Vec<Fault> {
    let bound = Bound::of(spec);
    let binds = previous.listeners.iter().flat_map(Listener::binds);
    let same_binds = spec.listener.values().flat_map(ListenerSpec::binds).eq(binds);
    let is_known = |(name, pool): &(&Name, &CopyOnWrite<PoolSpec>)| {
        let before = previous.pool(name.as_str()).filter(|_| same_binds);
        before.is_some_and(|before| before.spec.is_shared_with(pool))
    };
    let mut faults = Vec::new();
    for (pool_name, pool) in spec.pool.iter().filter(|pool| !is_known(pool)) {
        for (name, backend) in &pool.backend {
            let reached = backend.address.ip().and_then(|address| bound.reached_by(address));
            if let Some(listener) = reached {
                faults.push(Fault::new(
                    format!("pool.{pool_name}.backend.{name}.address"),
                    format!("{} is weir's own listener {listener}", backend.address),
                    "give the address of the server behind weir",
                ));
            }
        }
    }
    faults
}

/// True if a listener is bound to this very address.
#[must_use]
pub fn is_listener(snapshot: &Snapshot, address: SocketAddr) -> bool {
    let same = |bind: &SocketAddr| {
        bind.port() == address.port() && bind.ip().to_canonical() == address.ip().to_canonical()
    };
    snapshot.listeners.iter().any(|listener| listener.bind.iter().any(same))
}

/// Where listeners are bound, by port: thousands of addresses may have the port of a hundred
/// thousand backends.
#[derive(Default)]
struct Bound<'a> {
    exact: BTreeMap<(u16, IpAddr), &'a Name>,
    /// On every address, and on one of loopback, by port and whether it is IPv4.
    every: BTreeMap<(u16, bool), &'a Name>,
    loopback: BTreeMap<(u16, bool), &'a Name>,
}

impl<'a> Bound<'a> {
    fn of(spec: &'a Spec) -> Bound<'a> {
        let mut bound = Bound::default();
        for (name, listener) in &spec.listener {
            let binds = listener.binds().filter(BindAddress::takes_own_connects);
            for bind in binds.flat_map(|bind| bind.families()) {
                let (port, ip) = (bind.port(), bind.ip().to_canonical());
                bound.exact.entry((port, ip)).or_insert(name);
                let family = (port, ip.is_ipv4());
                if ip.is_unspecified() {
                    bound.every.entry(family).or_insert(name);
                }
                if ip.is_loopback() {
                    bound.loopback.entry(family).or_insert(name);
                }
            }
        }
        bound
    }

    /// The first listener at which a connect to `address` certainly arrives.
    fn reached_by(&self, address: SocketAddr) -> Option<&'a Name> {
        let (port, ip) = (address.port(), address.ip().to_canonical());
        let family = (port, ip.is_ipv4());
        // A connect to 0.0.0.0 or [::] goes to this host's loopback.
        let here = ip.is_loopback() || ip.is_unspecified();
        let exact = self.exact.get(&(port, ip));
        let every = if here { self.every.get(&family) } else { None };
        let loopback = if ip.is_unspecified() { self.loopback.get(&family) } else { None };
        exact.into_iter().chain(every).chain(loopback).min().copied()
    }
}
