//! Orders on their way to one shard. Nothing is lost when its channel is full, and nothing waits.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use weir_proto::bind_address::BindAddress;
use weir_proto::ids::BackendId;
use weir_proto::order::{BackendHealth, HealthWords, ListenerSocket, Order};
use weir_proto::snapshot::Snapshot;

use crate::sockets;

/// What still has to be said to one shard. A newer snapshot takes the place of an older one; its
/// sockets join those that were not yet handed over.
#[derive(Debug, Default)]
pub(crate) struct PendingOrders {
    adopt: Option<(Arc<Snapshot>, Vec<ListenerSocket>)>,
    /// Where the shard listens, by what it was handed: it keeps those sockets if a version without
    /// an address was never handed over.
    open: BTreeSet<BindAddress>,
    health: BTreeMap<BackendId, BackendHealth>,
    kills: BTreeSet<BackendId>,
    /// True if it shall accept nothing.
    drains: bool,
    /// True if it accepts nothing, by what it was handed.
    drains_there: bool,
    /// Its sockets are shut before it goes on.
    shuts: bool,
    stop: bool,
}

impl PendingOrders {
    /// Says: use this snapshot.
    pub(crate) fn adopt(&mut self, snapshot: Arc<Snapshot>, sockets: Vec<ListenerSocket>) {
        let (_, mut all) = self.adopt.take().unwrap_or_else(|| (snapshot.clone(), Vec::new()));
        // Bound once more by a drain that was taken back: one of the two is enough.
        let bound: BTreeSet<BindAddress> = sockets.iter().map(|it| it.address).collect();
        all.retain(|it| !bound.contains(&it.address));
        all.extend(sockets);
        // Addresses that came and went, or were drained, before the shard ever heard of them.
        let wanted = sockets::addresses(&snapshot);
        all.retain(|it| wanted.contains(&it.address) && !self.open.contains(&it.address));
        self.adopt = Some((snapshot, all));
    }

    /// Says: use this snapshot, with new sockets for all its addresses. Those that the shard had
    /// are shut, or it never had them.
    pub(crate) fn adopt_anew(&mut self, snapshot: Arc<Snapshot>, sockets: Vec<ListenerSocket>) {
        self.open.clear();
        self.adopt = None;
        self.adopt(snapshot, sockets);
    }

    /// Says what is known of these backends. The last word counts.
    pub(crate) fn health(&mut self, changes: &[(BackendId, BackendHealth)]) {
        self.health.extend(changes.iter().copied());
    }

    /// Says: reset this backend's sessions.
    pub(crate) fn kill(&mut self, backend: BackendId) {
        self.kills.insert(backend);
    }

    /// Says: accept nothing any more.
    pub(crate) fn drain(&mut self) {
        self.drains = true;
    }

    /// Says: accept again, with these sockets. A shard that never heard of the drain keeps those
    /// that it has, if they are for `all` addresses: clients that wait in their backlogs would be
    /// reset. Otherwise it would serve where no other shard does.
    pub(crate) fn serve(
        &mut self,
        snapshot: Arc<Snapshot>,
        sockets: Vec<ListenerSocket>,
        all: bool,
    ) {
        self.drains = false;
        if !all && !self.drains_there {
            self.shuts = true;
            self.open.clear();
        }
        // Sockets of before the drain, never handed over: what could not be bound now has none.
        self.adopt = None;
        self.adopt(snapshot, sockets);
    }

    /// Says: end everything.
    pub(crate) fn stop(&mut self) {
        self.stop = true;
    }

    /// True if everything was handed over.
    pub(crate) fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Orders that have not been handed over.
    pub(crate) fn len(&self) -> usize {
        usize::from(self.adopt.is_some())
            + usize::from(!self.health.is_empty())
            + self.kills.len()
            + usize::from(self.drains != self.drains_there)
            + usize::from(self.shuts)
            + usize::from(self.stop)
    }

    /// Hands over what the shard takes, in this order: serve, snapshot with health, health, kills,
    /// drain, stop. `send` gives an order back if the channel is full.
    pub(crate) fn flush(&mut self, mut send: impl FnMut(Order) -> Result<(), Order>) {
        let health: HealthWords = self.health.iter().map(|(id, health)| (*id, *health)).collect();
        if self.shuts {
            if send(Order::Drain).is_err() {
                return;
            }
            (self.shuts, self.drains_there) = (false, true);
        }
        if self.drains_there && !self.drains {
            // Before the sockets: who drains drops them.
            if send(Order::Serve).is_err() {
                return;
            }
            self.drains_there = false;
        }
        if let Some((snapshot, sockets)) = self.adopt.take() {
            let wanted = sockets::addresses(&snapshot);
            let handed: Vec<BindAddress> = sockets.iter().map(|it| it.address).collect();
            if let Err(order) = send(Order::Adopt { snapshot, sockets, health }) {
                if let Order::Adopt { snapshot, sockets, .. } = order {
                    self.adopt = Some((snapshot, sockets));
                }
                return;
            }
            if !self.drains_there {
                self.open.extend(handed);
            }
            self.open.retain(|address| wanted.contains(address));
            self.health.clear();
        } else if !self.health.is_empty() {
            if send(Order::Health(health)).is_err() {
                return;
            }
            self.health.clear();
        }
        while let Some(backend) = self.kills.first().copied() {
            if send(Order::Kill(backend)).is_err() {
                return;
            }
            self.kills.remove(&backend);
        }
        if self.drains && !self.drains_there {
            if send(Order::Drain).is_err() {
                return;
            }
            self.drains_there = true;
            self.open.clear();
        }
        if self.stop && send(Order::Stop).is_ok() {
            self.stop = false;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fakes::stands_for_a_socket;
    use weir_proto::ids::{Edition, ListenerId, PoolId, Version};
    use weir_proto::snapshot::{Listener, Pool};
    use weir_proto::spec::{NoBackend, PoolSpec, Strategy};

    fn address(port: u32) -> BindAddress {
        use std::net::SocketAddr;
        SocketAddr::from(([127, 0, 0, 1], u16::try_from(port).unwrap())).into()
    }

    fn socket(listener: u32) -> ListenerSocket {
        ListenerSocket { address: address(listener), socket: stands_for_a_socket() }
    }

    fn snapshot(version: u64, listeners: &[u32]) -> Arc<Snapshot> {
        let pool = Pool {
            id: PoolId(1),
            since: Edition::of(Version(1)),
            name: "web".parse().unwrap(),
            spec: PoolSpec::default().into(),
            strategy: Strategy::Random,
            health: PoolSpec::default().health,
            timeouts: weir_proto::snapshot::Timeouts {
                connect_ms: 1,
                idle_ms: 1,
                half_close_ms: 1,
                own_stalled_ms: None,
                queue_ms: 0,
                lifetime_ms: None,
            },
            keepalive: weir_proto::snapshot::Keepalive::default(),
            retry: weir_proto::snapshot::Retry { attempts: 0, within_ms: 1, replay_max: None },
            queue_size: 0,
            socket_buffer: None,
            backends: Vec::new(),
            members: Vec::new(),
        };
        let listener = |id: &u32| Listener {
            id: ListenerId(*id),
            name: format!("l{id}").parse().unwrap(),
            bind: vec![address(*id).address],
            pool: 0,
            freebind: false,
            v6only: true,
            interface: None,
            max_sessions: None,
            rate: None,
            per_source: None,
            access: weir_proto::network::AccessLists::default(),
            keepalive: weir_proto::snapshot::Keepalive::default(),
            proxy: weir_proto::snapshot::ProxyIn::default(),
            inspect_timeout_ms: 3000,
            no_backend: NoBackend::Reset,
            routes: Arc::default(),
            accepting: true,
        };
        Arc::new(Snapshot {
            version: Version(version),
            regroupings: 0,
            listeners: listeners.iter().map(listener).collect(),
            pools: vec![Arc::new(pool)],
        })
    }

    fn word(order: &Order) -> String {
        match order {
            Order::Adopt { snapshot, sockets, health } => {
                let ports: Vec<u16> = sockets.iter().map(|it| it.address.port()).collect();
                let health = if health.is_empty() { String::new() } else { format!(" {health:?}") };
                format!("adopt {} {ports:?}{health}", snapshot.version)
            }
            Order::Health(changes) => format!("health {changes:?}"),
            Order::Kill(backend) => format!("kill {backend}"),
            Order::Serve => "serve".into(),
            Order::Drain => "drain".into(),
            Order::Stop => "stop".into(),
            Order::LoadElsewhere(_)
            | Order::Collect { .. }
            | Order::Credit(_)
            | Order::Search(_)
            | Order::Give { .. }
            | Order::Take { .. }
            | Order::Shed { .. } => "not from here".into(),
        }
    }

    /// Flushes into a channel with room for `room` orders.
    fn flush(pending: &mut PendingOrders, mut room: usize) -> Vec<String> {
        let mut taken = Vec::new();
        pending.flush(|order| {
            if room == 0 {
                return Err(order);
            }
            room -= 1;
            taken.push(word(&order));
            Ok(())
        });
        taken
    }

    #[test]
    fn a_full_channel_loses_no_socket_and_no_word() {
        let mut pending = PendingOrders::default();
        pending.adopt(snapshot(2, &[1, 2]), vec![socket(1), socket(2)]);
        assert_eq!(flush(&mut pending, 0), [""; 0]);
        // Listener 2 goes again, 3 comes: the shard hears of 1 and 3 only, once.
        pending.adopt(snapshot(3, &[1, 3]), vec![socket(3)]);
        pending.health(&[(BackendId(7), BackendHealth::Down), (BackendId(8), BackendHealth::Down)]);
        pending.health(&[(BackendId(8), BackendHealth::Up)]);
        pending.kill(BackendId(9));
        pending.stop();
        pending.drain();
        assert_eq!(flush(&mut pending, 0), [""; 0]);
        let words = "[(BackendId(7), Down), (BackendId(8), Up)]";
        assert_eq!(flush(&mut pending, 1), [format!("adopt 3 [1, 3] {words}")]);
        assert_eq!(flush(&mut pending, 2), ["kill 9", "drain"]);
        assert!(!pending.is_empty());
        assert_eq!(flush(&mut pending, 9), ["stop"]);
        assert!(pending.is_empty());
        assert_eq!(flush(&mut pending, 9), [""; 0]);
    }

    #[test]
    fn an_address_that_goes_and_comes_back_unheard_of_keeps_its_socket() {
        let mut pending = PendingOrders::default();
        pending.adopt(snapshot(2, &[1]), vec![socket(1)]);
        assert_eq!(flush(&mut pending, 9), ["adopt 2 [1]"]);
        pending.adopt(snapshot(3, &[]), Vec::new());
        pending.adopt(snapshot(4, &[1, 2]), vec![socket(1), socket(2)]);
        assert_eq!(flush(&mut pending, 9), ["adopt 4 [2]"]);
        // Heard of, or shut by the watchdog: then it needs another one.
        pending.adopt(snapshot(5, &[2]), Vec::new());
        assert_eq!(flush(&mut pending, 9), ["adopt 5 []"]);
        pending.adopt(snapshot(6, &[1, 2]), vec![socket(1)]);
        pending.adopt_anew(snapshot(6, &[1, 2]), vec![socket(1), socket(2)]);
        assert_eq!(flush(&mut pending, 9), ["adopt 6 [1, 2]"]);
        // Its sockets could not be bound; those that can be later join what it got meanwhile.
        pending.adopt_anew(snapshot(6, &[1, 2]), Vec::new());
        pending.adopt(snapshot(7, &[1, 2, 3]), vec![socket(3)]);
        assert_eq!(flush(&mut pending, 9), ["adopt 7 [3]"]);
        pending.adopt(snapshot(7, &[1, 2, 3]), vec![socket(1), socket(2), socket(3)]);
        assert_eq!(flush(&mut pending, 9), ["adopt 7 [1, 2]"]);
    }

    #[test]
    fn a_drain_that_is_taken_back_opens_new_sockets() {
        let mut pending = PendingOrders::default();
        pending.adopt(snapshot(2, &[1]), vec![socket(1)]);
        pending.drain();
        assert_eq!(flush(&mut pending, 9), ["adopt 2 [1]", "drain"]);
        pending.serve(snapshot(2, &[1]), vec![socket(1)], true);
        assert_eq!(flush(&mut pending, 1), ["serve"]);
        assert_eq!(flush(&mut pending, 9), ["adopt 2 [1]"]);
        // What it was handed while it drained is dropped there.
        pending.drain();
        assert_eq!(flush(&mut pending, 9), ["drain"]);
        pending.adopt(snapshot(3, &[1]), vec![socket(1)]);
        assert_eq!(flush(&mut pending, 9), ["adopt 3 [1]"]);
        pending.serve(snapshot(3, &[1]), vec![socket(1)], true);
        pending.drain();
        assert!(!pending.is_empty(), "a snapshot");
        assert_eq!(flush(&mut pending, 9), ["adopt 3 [1]"]);
        pending.adopt(snapshot(4, &[1]), vec![socket(1)]);
        pending.serve(snapshot(4, &[1]), vec![socket(1)], true);
        assert_eq!(flush(&mut pending, 9), ["serve", "adopt 4 [1]"]);
    }

    #[test]
    fn a_drain_that_is_taken_back_unheard_of_shuts_no_socket() {
        let mut pending = PendingOrders::default();
        pending.adopt(snapshot(2, &[1]), vec![socket(1)]);
        assert_eq!(flush(&mut pending, 9), ["adopt 2 [1]"]);
        pending.drain();
        assert_eq!(flush(&mut pending, 0), [""; 0]);
        pending.serve(snapshot(2, &[1, 2]), vec![socket(1), socket(2)], true);
        assert_eq!(flush(&mut pending, 0), [""; 0]);
        // Drained again, and the channel has room for the snapshot alone.
        pending.drain();
        assert_eq!(flush(&mut pending, 1), ["adopt 2 [2]"]);
        assert_eq!(flush(&mut pending, 9), ["drain"]);
        assert!(pending.is_empty());
    }

    #[test]
    fn sockets_are_shut_if_not_every_address_could_be_bound() {
        let mut pending = PendingOrders::default();
        pending.adopt(snapshot(2, &[1, 2]), vec![socket(1), socket(2)]);
        assert_eq!(flush(&mut pending, 9), ["adopt 2 [1, 2]"]);
        pending.drain();
        pending.serve(snapshot(2, &[1, 2]), vec![socket(1)], false);
        assert_eq!(flush(&mut pending, 1), ["drain"]);
        assert_eq!(flush(&mut pending, 9), ["serve", "adopt 2 [1]"]);
        pending.adopt(snapshot(2, &[1, 2]), vec![socket(2)]);
        assert_eq!(flush(&mut pending, 9), ["adopt 2 [2]"]);
        assert!(pending.is_empty());
    }

    #[test]
    fn a_socket_of_before_a_drain_is_not_handed_over_behind_it() {
        let mut pending = PendingOrders::default();
        pending.adopt(snapshot(2, &[1, 2]), vec![socket(1), socket(2)]);
        pending.drain();
        assert_eq!(flush(&mut pending, 9), ["adopt 2 [1, 2]", "drain"]);
        pending.serve(snapshot(2, &[1, 2]), vec![socket(1), socket(2)], true);
        assert_eq!(flush(&mut pending, 0), [""; 0]);
        pending.drain();
        // Meanwhile 2 has been taken by another program.
        pending.serve(snapshot(2, &[1, 2]), vec![socket(1)], false);
        assert_eq!(flush(&mut pending, 9), ["serve", "adopt 2 [1]"]);
    }

    #[test]
    fn a_listener_that_is_drained_before_the_shard_hears_of_it_is_not_opened() {
        let mut pending = PendingOrders::default();
        pending.adopt(snapshot(2, &[1]), vec![socket(1)]);
        let mut drained = Snapshot::clone(&snapshot(3, &[1]));
        drained.listeners[0].accepting = false;
        pending.adopt(Arc::new(drained), Vec::new());
        assert_eq!(flush(&mut pending, 9), ["adopt 3 []"]);
    }
}
