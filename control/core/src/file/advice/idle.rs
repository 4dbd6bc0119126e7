//! Settings that are legal and do nothing, since something that they need is not there.

use std::collections::BTreeSet;

use weir_proto::network::NetworkList;
use weir_proto::spec::{
    Failover, HealthKind, ListenerSpec, Name, NoBackend, OnDown, PoolSpec, ProxyInSpec, QueueSpec,
    Spec,
};

/// Longer lists are not compared with each other: it takes the product of both lengths.
const COMPARED_MAX: usize = 1_000;

pub(super) fn of_listener(name: &Name, listener: &ListenerSpec, warnings: &mut Vec<String>) {
    let at = format!("listener.{name}");
    let ProxyInSpec { from, timeout } = &listener.proxy_protocol;
    if from.is_empty() && *timeout != ProxyInSpec::default().timeout {
        warnings.push(format!(
            "{at}.proxy-protocol.timeout: no header is waited for without proxy-protocol.from"
        ));
    }
    if is_within(&listener.allow, &listener.deny) {
        warnings.push(format!(
            "{at}: deny has all that allow has, and counts first: every client is turned away"
        ));
    }
}

pub(super) fn of_pool(spec: &Spec, name: &Name, pool: &PoolSpec, warnings: &mut Vec<String>) {
    let at = format!("pool.{name}");
    let may_wait = |it: &ListenerSpec| {
        matches!(it.no_backend, NoBackend::Hold(_)) && it.pools().any(|pool| pool == name)
    };
    let has_full = pool.backend.values().any(|it| {
        it.max_sessions.is_some() || it.connecting.is_some() || it.connect_rate.is_some()
    });
    if pool.queue != QueueSpec::default() && !has_full && !spec.listener.values().any(may_wait) {
        warnings.push(format!(
            "{at}.queue: no backend has max-sessions, connecting or connect-rate, so that none is \
             ever full and no session waits"
        ));
    }
    for (backend, spec) in &pool.backend {
        if let (Some(most), Some(connecting)) = (spec.max_sessions, spec.connecting)
            && connecting >= most
        {
            warnings.push(format!(
                "{at}.backend.{backend}.connecting: a connect is a session, and max-sessions \
                 allows no more than {most}"
            ));
        }
    }
    let priorities: BTreeSet<u8> = pool.backend.values().map(|it| it.priority).collect();
    if priorities.len() == 1 {
        if !pool.spill.is_zero() {
            warnings.push(format!(
                "{at}.spill: all backends have one priority, so that there is no other group"
            ));
        }
        if pool.failover != Failover::Auto {
            warnings.push(format!(
                "{at}.failover: all backends have one priority, so that there is no other group"
            ));
        }
    }
    if pool.on_down != OnDown::Keep && pool.health.kind == HealthKind::None {
        warnings.push(format!(
            "{at}.on-down: without checks a backend goes down by force = \"down\" alone"
        ));
    }
}

/// True if each network of `some`, which is not empty, lies in one of `all`.
fn is_within(some: &NetworkList, all: &NetworkList) -> bool {
    let lies_in_one = |it: &weir_proto::network::Network| {
        let (first, last) = it.bounds();
        all.iter().any(|around| around.contains(first) && around.contains(last))
    };
    let is_short = (1..=COMPARED_MAX).contains(&some.len()) && all.len() <= COMPARED_MAX;
    is_short && some.iter().all(lies_in_one)
}
