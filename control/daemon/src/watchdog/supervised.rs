//! The engine under its watchdog: every order passes here, so the watchdog holds the sockets of
//! each shard, and the newest snapshot outlives control.

use std::collections::BTreeSet;
use std::io;
use std::net::SocketAddr;
use std::os::fd::OwnedFd;
use std::sync::{Arc, Mutex};

use crossbeam_channel::{Sender, bounded};
use weir_control_core::control::{Fleet, ShardHistory};
use weir_control_core::sockets::{BindPlan, BoundSockets, addresses};
use weir_core::base::clock::Now;
use weir_engine::Engine;
use weir_proto::bind_address::BindAddress;
use weir_proto::ids::ShardId;
use weir_proto::order::{ListenerSocket, Order, Report};
use weir_proto::snapshot::Snapshot;

use super::{WatchdogState, lock, start};
use crate::listen;

/// An engine, its watchdog, and what was told last.
#[derive(Debug)]
pub(crate) struct SupervisedEngine {
    engine: Engine,
    board: Arc<WatchdogState>,
    newest: Mutex<Option<Newest>>,
    /// Dropped with this: the watchdog ends.
    _end: Sender<()>,
}

/// The newest snapshot that was sent to a shard.
#[derive(Clone, Debug)]
pub(crate) struct Newest {
    pub(crate) snapshot: Arc<Snapshot>,
    /// Its open addresses that a shard was given sockets for. The others could not be bound: who
    /// has them is somebody else.
    pub(crate) bound: BTreeSet<BindAddress>,
}

impl SupervisedEngine {
    /// Sets a watchdog on the shards.
    ///
    /// # Errors
    /// There was no thread available.
    pub(crate) fn new(engine: Engine) -> Result<Arc<SupervisedEngine>, String> {
        let board = Arc::new(WatchdogState::new(engine.monitors()));
        let (end, ended) = bounded(0);
        start(Arc::clone(&board), ended)
            .map_err(|error| format!("the watchdog cannot have a thread: {error}"))?;
        Ok(Arc::new(SupervisedEngine { engine, board, newest: Mutex::default(), _end: end }))
    }

    /// The newest snapshot that was sent to a shard.
    pub(crate) fn newest(&self) -> Option<Newest> {
        lock(&self.newest).clone()
    }

    /// The listening sockets of each shard once more, as far as there are descriptors for them.
    pub(crate) fn sockets(&self) -> Vec<Vec<ListenerSocket>> {
        let twin = |it: &ListenerSocket| {
            Some(ListenerSocket { address: it.address, socket: it.socket.try_clone().ok()? })
        };
        let of_post =
            |retained: &super::Retained| retained.sockets.iter().filter_map(twin).collect();
        self.board.posts.iter().map(|post| of_post(&lock(&post.retained))).collect()
    }

    /// Orders a fault; for tests.
    #[cfg(debug_assertions)]
    pub(crate) fn strike(&self, shard: ShardId, fault: weir_engine::failpoint::Fault) {
        if let Some(post) = self.board.posts.get(usize::from(shard.0)) {
            post.monitor.strike(fault);
        }
    }

    /// What is remembered of an order once the shard has it.
    fn keep(&self, shard: ShardId, retained: Remembered) {
        let Some(post) = self.board.posts.get(usize::from(shard.0)) else { return };
        let mut known = lock(&post.retained);
        match retained {
            Remembered::Nothing => {}
            Remembered::Closed => {
                known.sockets.clear();
                drop(known);
                // Another program may have them by the time that a drain is taken back.
                if let Some(newest) = lock(&self.newest).as_mut() {
                    newest.bound.clear();
                }
            }
            Remembered::Adopted(mut adopted) => {
                adopted.replace(&mut known.sockets);
                drop(known);
                let mut newest = lock(&self.newest);
                let before = newest.take();
                *newest = Some(adopted.follow(before));
            }
        }
    }
}

/// What stays of an order.
enum Remembered {
    Nothing,
    Adopted(AdoptedSockets),
    /// It has no listener any more, or none before the next adoption.
    Closed,
}

/// The sockets of a shard's order to adopt.
struct AdoptedSockets {
    snapshot: Arc<Snapshot>,
    /// Where the shard has got sockets.
    handed: BTreeSet<BindAddress>,
    /// The same sockets once more, as far as there were descriptors for them: a shard without
    /// cannot be fenced there, and serves anyway.
    twins: Vec<ListenerSocket>,
}

impl Remembered {
    /// `twin` makes a second descriptor for a socket.
    fn of(order: &Order, twin: impl Fn(&OwnedFd) -> io::Result<OwnedFd>) -> Remembered {
        match order {
            Order::Adopt { snapshot, sockets, .. } => {
                let twins = sockets.iter().filter_map(|it| {
                    let socket = twin(&it.socket).ok()?;
                    Some(ListenerSocket { address: it.address, socket })
                });
                let handed = sockets.iter().map(|it| it.address).collect();
                let (snapshot, twins) = (snapshot.clone(), twins.collect());
                Remembered::Adopted(AdoptedSockets { snapshot, handed, twins })
            }
            // Its sockets are another process's from then on: to shut them would shut that one's.
            Order::Give { most: None, .. } | Order::Drain | Order::Serve | Order::Stop => {
                Remembered::Closed
            }
            Order::Health(_)
            | Order::LoadElsewhere(_)
            | Order::Credit(_)
            | Order::Collect { .. }
            | Order::Kill(_)
            | Order::Search(_)
            | Order::Give { most: Some(_), .. }
            | Order::Take { .. }
            | Order::Shed { .. } => Remembered::Nothing,
        }
    }
}

impl AdoptedSockets {
    /// Makes of the sockets that the shard had those that it has now.
    fn replace(&mut self, known: &mut Vec<ListenerSocket>) {
        let open = addresses(&self.snapshot);
        known.retain(|it| open.contains(&it.address) && !self.handed.contains(&it.address));
        known.append(&mut self.twins);
    }

    /// The newest snapshot after this order, and what is bound of it.
    fn follow(self, before: Option<Newest>) -> Newest {
        let open = addresses(&self.snapshot);
        let mut bound = before.map(|it| it.bound).unwrap_or_default();
        bound.extend(self.handed);
        bound.retain(|address| open.contains(address));
        Newest { snapshot: self.snapshot, bound }
    }
}

impl Fleet for SupervisedEngine {
    fn shards(&self) -> u16 {
        self.engine.shards()
    }

    fn send(&self, shard: ShardId, order: Order) -> Result<(), Order> {
        let retained = Remembered::of(&order, OwnedFd::try_clone);
        self.engine.send(shard, order)?;
        self.keep(shard, retained);
        Ok(())
    }

    fn address_next(&self, shard: ShardId) {
        self.engine.address_next(shard);
    }

    fn take_report(&self) -> Option<Report> {
        self.engine.take_report()
    }

    fn watched(&self, shard: ShardId) -> ShardHistory {
        let post = self.board.posts.get(usize::from(shard.0));
        post.map(|post| lock(&post.retained).watched).unwrap_or_default()
    }

    fn ticks(&self, now: Now) {
        self.board.control_ticks(now);
    }

    fn bind(&self, plan: &BindPlan<'_>) -> BoundSockets {
        listen::bind_plan(plan, self.engine.shards())
    }

    fn is_own_address(&self, address: SocketAddr) -> bool {
        listen::is_own_address(address)
    }

    fn bind_again(
        &self,
        _shard: ShardId, // its sockets are like those of the others
        snapshot: &Snapshot,
        wanted: &BTreeSet<BindAddress>,
    ) -> BoundSockets {
        listen::bind_beside(snapshot, wanted)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use weir_control_core::fakes::{spec, stands_for_a_socket};
    use weir_proto::ids::{IdSource, Version};

    fn order(snapshot: &Arc<Snapshot>, at: &[SocketAddr]) -> Order {
        let socket = |address: &SocketAddr| ListenerSocket {
            address: (*address).into(),
            socket: stands_for_a_socket(),
        };
        let sockets = at.iter().map(socket).collect();
        Order::Adopt { snapshot: snapshot.clone(), sockets, health: Vec::new() }
    }

    /// Without descriptors there is no twin, and the shard has its socket nevertheless: who builds
    /// a shard again when control has died must know that the address is weir's.
    #[test]
    fn what_a_shard_was_handed_is_bound_also_where_the_watchdog_has_no_twin() {
        let (first, second) = ("192.0.2.1:1".parse().unwrap(), "192.0.2.1:2".parse().unwrap());
        let adopted = |snapshot: &Arc<Snapshot>, at: &[SocketAddr], twin: bool| {
            let none = || Err(io::Error::from_raw_os_error(24));
            let twin = |socket: &OwnedFd| if twin { socket.try_clone() } else { none() };
            match Remembered::of(&order(snapshot, at), twin) {
                Remembered::Adopted(adopted) => adopted,
                Remembered::Nothing | Remembered::Closed => panic!("it has sockets"),
            }
        };
        let snapshot = |bind: &[SocketAddr]| {
            let mut spec = spec(bind[0]);
            spec.listener.values_mut().for_each(|it| it.bind = bind.to_vec());
            let mut ids = IdSource::default();
            Arc::new(Snapshot::build(&spec, Version(1), &Snapshot::empty(), &mut ids).unwrap())
        };
        let both = snapshot(&[first, second]);
        let mut known = Vec::new();
        let at = |known: &[ListenerSocket]| -> Vec<SocketAddr> {
            known.iter().map(|it| it.address.address).collect()
        };
        let mut with = adopted(&both, &[first, second], true);
        with.replace(&mut known);
        assert_eq!(at(&known), [first, second]);
        assert_eq!(with.follow(None).bound, [first, second].map(BindAddress::from).into());
        // New sockets without twins: the old ones are not the shard's any more.
        let mut without = adopted(&both, &[second], false);
        without.replace(&mut known);
        assert_eq!(at(&known), [first]);
        let newest = without.follow(None);
        assert_eq!(newest.bound, [BindAddress::from(second)].into());
        let mut last = adopted(&snapshot(&[second]), &[], true);
        last.replace(&mut known);
        assert_eq!(
            (at(&known).len(), last.follow(Some(newest)).bound),
            (0, [BindAddress::from(second)].into())
        );
    }
}
