//! Binds the sockets of listeners: one for each address and shard, not yet listening.

use std::collections::BTreeSet;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, UdpSocket};
use std::os::fd::OwnedFd;

use rustix::io::Errno;
use rustix::net::{AddressFamily, SocketFlags, SocketType, bind, ipproto, socket_with, sockopt};
use socket2::SockRef;
use weir_control_core::sockets::{BindError, BindPlan, BoundSockets, open_in};
use weir_proto::bind_address::BindAddress;
use weir_proto::snapshot::{Listener, Snapshot};

/// True if `address` is one of this host's at this moment, as routes say it: a connect to it would
/// come from it. Nothing is sent. (Asking for the interfaces takes netlink, which the unit's
/// RestrictAddressFamilies forbids; a trial bind is fooled by ip_nonlocal_bind.)
pub(crate) fn is_own_address(address: SocketAddr) -> bool {
    let address = SocketAddr::new(address.ip().to_canonical(), address.port());
    let any: IpAddr =
        if address.is_ipv4() { Ipv4Addr::UNSPECIFIED.into() } else { Ipv6Addr::UNSPECIFIED.into() };
    let from = || {
        let socket = UdpSocket::bind((any, 0))?;
        socket.connect(address)?;
        socket.local_addr()
    };
    address.ip().is_loopback() || from().is_ok_and(|own: SocketAddr| own.ip() == address.ip())
}

/// Binds what can be bound of a plan, for `shards` shards.
pub(crate) fn bind_plan(plan: &BindPlan<'_>, shards: u16) -> BoundSockets {
    let mut bound = BoundSockets::nothing(shards);
    for listener in open_in(plan.snapshot) {
        for address in listener.binds() {
            let sockets = if plan.wanted.contains(&address) {
                bind_for_all(plan, listener, address, shards)
            } else if plan.tried.contains(&address) {
                open(address, true, false).map(|_| Vec::new())
            } else {
                continue;
            };
            bound.add(address, sockets.map_err(|error| fail(listener, address, error)));
        }
    }
    bound
}

/// One socket at this address for each shard.
fn bind_for_all(
    plan: &BindPlan<'_>,
    listener: &Listener,
    address: BindAddress,
    shards: u16,
) -> Result<Vec<OwnedFd>, Errno> {
    // SO_REUSEPORT would let us in beside another weir of the same user, which would then get a
    // part of our sessions. So somebody else's listener is looked for without it.
    for family in address.families() {
        let alone = BindAddress { address: family, takes_ipv4: false, ..address };
        if !plan.held.iter().any(|held| held.overlaps(&alone)) {
            open(alone, false, listener.freebind)?;
        }
    }
    (0..shards).map(|_| open(address, true, listener.freebind)).collect()
}

/// Binds for one shard those addresses of a snapshot that are wanted: other shards have them, or
/// this one had them before it ended.
pub(crate) fn bind_beside(snapshot: &Snapshot, wanted: &BTreeSet<BindAddress>) -> BoundSockets {
    let mut bound = BoundSockets::nothing(1);
    for listener in open_in(snapshot) {
        for address in listener.binds().filter(|address| wanted.contains(address)) {
            let socket = open(address, true, listener.freebind);
            let socket = socket.map_err(|error| fail(listener, address, error));
            bound.add(address, socket.map(|socket| vec![socket]));
        }
    }
    bound
}

/// The listener that has this address open.
pub(crate) fn open_at(snapshot: &Snapshot, address: BindAddress) -> Option<&Listener> {
    open_in(snapshot).find(|listener| listener.binds().any(|bind| bind == address))
}

/// One more socket at an address that this host's weir has.
///
/// # Errors
/// It cannot be bound.
pub(crate) fn bind_one(listener: &Listener, address: BindAddress) -> Result<OwnedFd, BindError> {
    open(address, true, listener.freebind).map_err(|error| fail(listener, address, error))
}

fn fail(listener: &Listener, address: BindAddress, error: Errno) -> BindError {
    BindError { listener: listener.name.to_string(), address, error: error.into() }
}

/// A bound TCP socket. Accepted sockets inherit TCP_NODELAY from it. With `freebind` this host need
/// not have the address.
fn open(at: BindAddress, reuse_port: bool, freebind: bool) -> Result<OwnedFd, Errno> {
    let address = at.address;
    let family = if address.is_ipv6() { AddressFamily::INET6 } else { AddressFamily::INET };
    let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
    let socket = socket_with(family, SocketType::STREAM, flags, Some(ipproto::TCP))?;
    // Sessions of a listener that was there before hold the port until they end.
    sockopt::set_socket_reuseaddr(&socket, true)?;
    if reuse_port {
        sockopt::set_socket_reuseport(&socket, true)?;
    }
    if address.is_ipv6() {
        sockopt::set_ipv6_v6only(&socket, !at.takes_ipv4)?;
    }
    if let Some(interface) = at.interface {
        SockRef::from(&socket)
            .bind_device(Some(interface.as_str().as_bytes()))
            .map_err(|error| Errno::from_io_error(&error).unwrap_or(Errno::IO))?;
    }
    match (freebind, address.is_ipv6()) {
        (false, _) => {}
        (true, false) => sockopt::set_ip_freebind(&socket, true)?,
        (true, true) => sockopt::set_ipv6_freebind(&socket, true)?,
    }
    sockopt::set_tcp_nodelay(&socket, true)?;
    bind(&socket, &address)?;
    Ok(socket)
}

#[cfg(test)]
pub(crate) mod tests {
    use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, TcpListener};

    use super::*;
    use weir_control_core::sockets::{Sockets, addresses};
    use weir_proto::ids::{IdSource, Version};
    use weir_proto::order::ListenerSocket;
    use weir_proto::spec::{ListenerSpec, PoolSpec, Spec};

    /// A port of `host` that nobody else gets before this process ends. A port that is only free
    /// now is soon another test's, or the source port of a connection. Here a socket stays bound
    /// to it, on all addresses, without listening: the kernel gives the port away to no connect and
    /// to no bind that leaves the choice to it, and whoever has SO_REUSEADDR may bind beside it.
    pub(crate) fn free(host: &str) -> SocketAddr {
        let host: IpAddr = host.parse().unwrap();
        let all: IpAddr = match host {
            IpAddr::V4(_) => Ipv4Addr::UNSPECIFIED.into(),
            IpAddr::V6(_) => Ipv6Addr::UNSPECIFIED.into(),
        };
        let guard = open(SocketAddr::new(all, 0).into(), false, false).unwrap();
        let bound = rustix::net::getsockname(&guard).unwrap();
        std::mem::forget(guard);
        SocketAddr::new(host, SocketAddr::try_from(bound).unwrap().port())
    }

    fn snapshot(
        listeners: &[(&str, &[SocketAddr])],
        before: &Snapshot,
        ids: &mut IdSource,
    ) -> Snapshot {
        let listener = listeners.iter().map(|(name, bind)| {
            let spec = ListenerSpec::new("web".parse().unwrap(), bind.to_vec());
            (name.parse().unwrap(), spec)
        });
        let spec = Spec {
            listener: listener.collect(),
            pool: [("web".parse().unwrap(), PoolSpec::default().into())].into(),
        };
        Snapshot::build(&spec, Version(before.version.0 + 1), before, ids).unwrap()
    }

    /// Binds all that a change needs, or nothing.
    fn bind_new(before: &Snapshot, after: &Snapshot, shards: u16) -> Result<Sockets, BindError> {
        bind_plan(&BindPlan::of_change(before, after, |_| false), shards).all()
    }

    /// How many sockets a shard that was built again gets.
    fn count_beside(snapshot: &Snapshot) -> usize {
        let bound = bind_beside(snapshot, &addresses(snapshot));
        assert!(bound.failed.is_empty(), "{bound:?}");
        bound.into_first().len()
    }

    #[test]
    fn every_shard_gets_a_socket_for_every_new_address() {
        let (v4, v6) = (free("127.0.0.1"), free("::1"));
        let mut ids = IdSource::default();
        let empty = Snapshot::empty();
        let first = snapshot(&[("a", &[v4, v6])], &empty, &mut ids);
        let sockets = bind_new(&empty, &first, 3).unwrap();
        assert_eq!(sockets.iter().map(Vec::len).collect::<Vec<_>>(), [2, 2, 2]);
        for socket in sockets.iter().flatten() {
            assert!([v4, v6].contains(&socket.address.address));
            assert!(sockopt::tcp_nodelay(&socket.socket).unwrap());
            assert!(sockopt::socket_reuseport(&socket.socket).unwrap());
            assert!(!sockopt::socket_acceptconn(&socket.socket).unwrap(), "not yet listening");
        }
        assert!(sockopt::ipv6_v6only(&sockets[2][1].socket).unwrap());
        // Only what is new is bound for the next version, also on an address that we hold.
        let other = SocketAddr::new("0.0.0.0".parse().unwrap(), v4.port());
        let second = snapshot(&[("a", &[v4, v6]), ("b", &[other])], &first, &mut ids);
        for socket in sockets.iter().flatten() {
            rustix::net::listen(&socket.socket, 8).unwrap();
        }
        let more = bind_new(&first, &second, 1).unwrap();
        assert_eq!(more.len(), 1);
        assert_eq!(more[0].len(), 1);
        assert_eq!(more[0][0].address, other.into());
        assert_eq!(count_beside(&second), 3);
        // An address keeps its sockets under another listener, and beside new ones.
        let new = free("127.0.0.1");
        let third = snapshot(&[("c", &[v4, new]), ("b", &[other])], &second, &mut ids);
        let more = bind_new(&second, &third, 2).unwrap();
        let at: Vec<_> = more.iter().flatten().map(|socket| socket.address.address).collect();
        assert_eq!(at, [new, new]);
    }

    #[test]
    fn an_address_that_somebody_else_listens_on_is_refused() {
        let (mine, theirs) = (free("127.0.0.1"), free("127.0.0.1"));
        // Somebody else with SO_REUSEPORT: another weir, say.
        let other = open(theirs.into(), true, false).unwrap();
        rustix::net::listen(&other, 8).unwrap();
        let mut ids = IdSource::default();
        let empty = Snapshot::empty();
        let after = snapshot(&[("a", &[mine]), ("b", &[theirs])], &empty, &mut ids);
        let error = bind_new(&empty, &after, 2).unwrap_err();
        assert!(error.is_in_use());
        let refusal = error.refusal();
        assert_eq!(refusal.message, format!("listener b: cannot bind {theirs}: address in use"));
        assert!(refusal.hint.contains(&theirs.port().to_string()), "{}", refusal.hint);
        // What had been bound before the failure is free again.
        drop(TcpListener::bind(mine).unwrap());
    }

    #[test]
    fn what_can_be_bound_is_bound_and_the_rest_later() {
        let [mine, theirs] = [free("127.0.0.1"), free("127.0.0.1")];
        let other = open(theirs.into(), true, false).unwrap();
        rustix::net::listen(&other, 8).unwrap();
        let after =
            snapshot(&[("a", &[mine, theirs])], &Snapshot::empty(), &mut IdSource::default());
        let mut bound = bind_plan(&BindPlan::first(&after), 2);
        let at = |bound: &BoundSockets| -> Vec<Vec<SocketAddr>> {
            let shard = |it: &Vec<ListenerSocket>| it.iter().map(|it| it.address.address).collect();
            bound.sockets.iter().map(shard).collect()
        };
        assert_eq!(at(&bound), [[mine], [mine]], "no shard has a part of the other");
        assert_eq!(bound.failed.len(), 1);
        for socket in bound.sockets.iter().flatten() {
            rustix::net::listen(&socket.socket, 8).unwrap();
        }
        let again = || {
            let wanted = BTreeSet::from([theirs.into()]);
            bind_plan(&BindPlan::again(&after, wanted, |it| it.address == theirs), 2)
        };
        // Its owner lets us in beside it, and is looked for anyway.
        assert_eq!(again().failed[0].address, theirs.into());
        drop(other);
        bound.merge(again());
        assert_eq!(at(&bound), [[mine, theirs], [mine, theirs]]);
        assert!(bound.failed.is_empty());
        // A change does not depend on what is unbound already.
        let is_unbound = |it: &BindAddress| it.address == theirs;
        let plan = BindPlan::of_change(&after, &after, is_unbound);
        assert_eq!((plan.held, plan.wanted.len()), (BTreeSet::from([mine.into()]), 0));
    }

    #[test]
    fn an_address_of_another_host_is_refused_in_words() {
        let mut ids = IdSource::default();
        let empty = Snapshot::empty();
        let after = snapshot(&[("a", &["192.0.2.1:1".parse().unwrap()])], &empty, &mut ids);
        let refusal = bind_new(&empty, &after, 1).unwrap_err().refusal();
        assert!(refusal.message.contains("no interface"), "{refusal:?}");
        assert!(refusal.hint.contains("freebind = true below [listener.a]"), "{refusal:?}");
    }

    #[test]
    fn a_socket_is_on_its_interface_and_one_that_is_not_there_is_named() {
        let at = free("127.0.0.1");
        let empty = Snapshot::empty();
        let on = |interface: &str| {
            let mut after = snapshot(&[("a", &[at])], &empty, &mut IdSource::default());
            after.listeners[0].interface = Some(interface.parse().unwrap());
            after
        };
        let bound = bind_new(&empty, &on("lo"), 1).unwrap();
        let device = SockRef::from(&bound[0][0].socket).device().unwrap();
        assert_eq!(device.as_deref(), Some(&b"lo"[..]));
        assert_eq!(bound[0][0].address.interface.unwrap().as_str(), "lo");
        let refusal = bind_new(&empty, &on("not-there"), 1).unwrap_err().refusal();
        assert!(refusal.message.contains("this host has no interface not-there"), "{refusal:?}");
        assert!(refusal.hint.contains("ip -br link"), "{refusal:?}");
    }

    #[test]
    fn a_program_that_has_the_ipv4_half_is_seen() {
        let mine = free("::");
        let theirs = SocketAddr::from(([0; 4], mine.port()));
        let other = open(theirs.into(), true, false).unwrap();
        rustix::net::listen(&other, 8).unwrap();
        let empty = Snapshot::empty();
        let first = snapshot(&[("a", &[mine])], &empty, &mut IdSource::default());
        bind_new(&empty, &first, 1).unwrap();
        // We hold the IPv6 half already, and the probe is for the other one.
        let mut both = first.clone();
        both.listeners[0].v6only = false;
        assert!(bind_new(&first, &both, 1).unwrap_err().is_in_use());
        drop(other);
        let bound = bind_new(&first, &both, 1).unwrap();
        assert!(!sockopt::ipv6_v6only(&bound[0][0].socket).unwrap());
    }

    #[test]
    fn an_address_that_this_host_does_not_have_yet_is_bound_freely() {
        let empty = Snapshot::empty();
        let addresses = ["192.0.2.1:1024", "[2001:db8::1]:1024"].map(|it| it.parse().unwrap());
        let with = |freebind: bool, before: &Snapshot| {
            let mut after = snapshot(&[("a", &addresses)], before, &mut IdSource::default());
            after.listeners[0].freebind = freebind;
            after
        };
        let free = with(true, &empty);
        let sockets = bind_new(&empty, &free, 2).unwrap();
        assert_eq!(sockets.iter().map(Vec::len).collect::<Vec<_>>(), [2, 2]);
        assert_eq!(count_beside(&free), 2);
        // Without it the next start would not come up: it is refused while it serves.
        let refusal = bind_new(&free, &with(false, &free), 2).unwrap_err().refusal();
        assert!(refusal.message.contains("cannot bind 192.0.2.1:1024"), "{refusal:?}");
        // A host that has the address keeps its sockets either way.
        let own = free_port_of_loopback(&empty);
        let kept = bind_new(&empty, &own, 1).unwrap();
        let mut strict = own.clone();
        strict.listeners[0].freebind = false;
        for socket in kept.iter().flatten() {
            rustix::net::listen(&socket.socket, 8).unwrap();
        }
        assert!(bind_new(&own, &strict, 1).unwrap()[0].is_empty());
        assert!(bind_new(&strict, &own, 1).unwrap()[0].is_empty());
    }

    fn free_port_of_loopback(before: &Snapshot) -> Snapshot {
        let at = free("127.0.0.1");
        let mut own = snapshot(&[("a", &[at])], before, &mut IdSource::default());
        own.listeners[0].freebind = true;
        own
    }
}
