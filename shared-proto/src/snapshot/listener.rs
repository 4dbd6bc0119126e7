//! One listener of a snapshot.

use core::net::SocketAddr;
use std::collections::BTreeMap;
use std::sync::Arc;

use super::{Keepalive, PerSource, Pool, ProxyIn, Route, Snapshot};
use crate::bind_address::{BindAddress, Interface};
use crate::ids::ListenerId;
use crate::network::AccessLists;
use crate::spec::{
    Admin, ListenerSpec, Name, NoBackend, PerSourceSpec, Rate, RouteSpec, Span, Spec,
};

/// A listener of a snapshot.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Listener {
    pub id: ListenerId,
    pub name: Name,
    pub bind: Vec<SocketAddr>,
    /// Index into [`Snapshot::pools`].
    pub pool: usize,
    /// Whether its addresses are bound although this host does not have them.
    pub freebind: bool,
    /// Whether `[::]` takes IPv6 clients only.
    pub v6only: bool,
    /// Only clients that come in there.
    pub interface: Option<Interface>,
    pub max_sessions: Option<u32>,
    /// New sessions, over all shards.
    pub rate: Option<Rate>,
    /// The limits of each source, if there are some.
    pub per_source: Option<PerSource>,
    /// The clients that it serves.
    pub access: AccessLists,
    /// The fate of its clients while no backend takes sessions.
    pub no_backend: NoBackend,
    /// For its clients.
    pub keepalive: Keepalive,
    pub proxy: ProxyIn,
    /// How long a ClientHello may take, where routes ask for one.
    pub inspect_timeout_ms: u32,
    /// The sessions that go to another pool: the first that fits.
    pub routes: Arc<[Route]>,
    /// False while it drains: bound, but its sessions are let run out and no new ones are accepted.
    pub accepting: bool,
}

impl Listener {
    /// The listener of a spec that was checked. `pools` are the indices of the pools; what `before`
    /// had flattened is used again.
    pub(super) fn of(
        (id, name): (ListenerId, &Name),
        spec: &ListenerSpec,
        before: Option<&Listener>,
        pools: &BTreeMap<&Name, usize>,
    ) -> Listener {
        Listener {
            id,
            name: name.clone(),
            bind: spec.bind.clone(),
            pool: pools[&spec.pool],
            freebind: spec.freebind,
            v6only: spec.v6only,
            interface: spec.interface,
            max_sessions: spec.max_sessions,
            rate: spec.rate,
            per_source: PerSource::of(&spec.per_source),
            access: AccessLists::of(&spec.allow, &spec.deny, before.map(|before| &before.access)),
            no_backend: spec.no_backend,
            keepalive: Keepalive::of(&spec.keepalive),
            proxy: ProxyIn::of(&spec.proxy_protocol),
            // `check` has bounded it by a week, which fits.
            inspect_timeout_ms: u32::try_from(spec.inspect_timeout.millis).unwrap_or(u32::MAX),
            routes: routes(spec, before, pools),
            accepting: spec.state.is_ready(),
        }
    }

    /// The spec that it was built from, in a snapshot with these pools.
    pub(super) fn spec(&self, pools: &[Arc<Pool>]) -> ListenerSpec {
        let name = |pool: usize| pools[pool].name.clone();
        let routes = self.routes.iter();
        ListenerSpec {
            bind: self.bind.clone(),
            pool: name(self.pool),
            freebind: self.freebind,
            v6only: self.v6only,
            interface: self.interface,
            max_sessions: self.max_sessions,
            rate: self.rate,
            per_source: self.per_source.map_or_else(PerSourceSpec::default, |it| it.spec()),
            allow: self.access.allow.clone(),
            deny: self.access.deny.clone(),
            no_backend: self.no_backend,
            state: if self.accepting { Admin::Ready } else { Admin::Drain },
            keepalive: self.keepalive.spec(),
            proxy_protocol: self.proxy.spec(),
            inspect_timeout: Span::from_millis(self.inspect_timeout_ms.into()),
            route: routes.map(|route| route.spec(name(route.pool))).collect(),
        }
    }

    /// Where its sockets are bound.
    pub fn binds(&self) -> impl Iterator<Item = BindAddress> {
        BindAddress::all(&self.bind, self.v6only, self.interface)
    }

    /// The indices of its pool, then of those of its routes.
    pub fn pools(&self) -> impl Iterator<Item = usize> {
        core::iter::once(self.pool).chain(self.routes.iter().map(|route| route.pool))
    }
}

/// The routes of a listener; what one had flattened at the same place is used again.
fn routes(
    listener: &ListenerSpec,
    before: Option<&Listener>,
    pools: &BTreeMap<&Name, usize>,
) -> Arc<[Route]> {
    let of = |(place, route): (usize, &RouteSpec)| {
        let before = before.and_then(|before| before.routes.get(place));
        Route::of(route, pools[&route.pool], before)
    };
    listener.route.iter().enumerate().map(of).collect()
}

/// Who is which listener of the version before.
pub(super) fn heirs<'a>(spec: &'a Spec, previous: &Snapshot) -> BTreeMap<&'a Name, ListenerId> {
    let mut heirs = BTreeMap::new();
    let mut gone: Vec<&Listener> = Vec::new();
    for before in &previous.listeners {
        match spec.listener.get_key_value(&before.name) {
            Some((name, _)) => drop(heirs.insert(name, before.id)),
            None => gone.push(before),
        }
    }
    for (name, listener) in &spec.listener {
        let shares = |gone: &Listener| gone.bind.iter().any(|it| listener.bind.contains(it));
        if !heirs.contains_key(name)
            && let Some(place) = gone.iter().position(|gone| shares(gone))
        {
            heirs.insert(name, gone.swap_remove(place).id);
        }
    }
    heirs
}
