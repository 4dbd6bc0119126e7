//! The engine under its watchdog: every order passes here, so the watchdog holds the sockets of
//! each shard, and the newest snapshot outlives control.

use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};

use crossbeam_channel::{Sender, bounded};
use weir_control_core::control::{Fleet, ShardHistory};
use weir_control_core::sockets::{BindPlan, BoundSockets, addresses};
use weir_core::base::clock::Now;
use weir_engine::Engine;
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
    pub(crate) bound: BTreeSet<SocketAddr>,
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
            Remembered::Adopted(snapshot, sockets) => {
                let open = addresses(&snapshot);
                let again: BTreeSet<_> = sockets.iter().map(|it| it.address).collect();
                let stays = |it: &ListenerSocket| {
                    open.contains(&it.address) && !again.contains(&it.address)
                };
                known.sockets.retain(stays);
                known.sockets.extend(sockets);
                drop(known);
                let mut newest = lock(&self.newest);
                let mut bound = newest.take().map(|it| it.bound).unwrap_or_default();
                bound.extend(again);
                bound.retain(|address| open.contains(address));
                *newest = Some(Newest { snapshot, bound });
            }
        }
    }
}

/// What stays of an order.
enum Remembered {
    Nothing,
    Adopted(Arc<Snapshot>, Vec<ListenerSocket>),
    /// It has no listener any more, or none before the next adoption.
    Closed,
}

impl Remembered {
    fn of(order: &Order) -> Remembered {
        match order {
            Order::Adopt { snapshot, sockets, .. } => {
                // Without descriptors left this shard cannot be fenced: it serves anyway.
                let twins = sockets.iter().filter_map(|it| {
                    let socket = it.socket.try_clone().ok()?;
                    Some(ListenerSocket { address: it.address, socket })
                });
                Remembered::Adopted(snapshot.clone(), twins.collect())
            }
            Order::Drain | Order::Serve | Order::Stop => Remembered::Closed,
            Order::Health(_)
            | Order::LoadElsewhere(_)
            | Order::Credit(_)
            | Order::Collect { .. }
            | Order::Kill(_)
            | Order::Search(_)
            | Order::Shed { .. } => Remembered::Nothing,
        }
    }
}

impl Fleet for SupervisedEngine {
    fn shards(&self) -> u16 {
        self.engine.shards()
    }

    fn send(&self, shard: ShardId, order: Order) -> Result<(), Order> {
        let retained = Remembered::of(&order);
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
        wanted: &BTreeSet<SocketAddr>,
    ) -> BoundSockets {
        listen::bind_beside(snapshot, wanted)
    }
}
