//! One shard as control sees it: is it alive, what does it use, what still has to be said to it.

use std::collections::BTreeSet;

use serde::{Deserialize, Serialize};
use weir_core::machine;
use weir_proto::bind_address::BindAddress;
use weir_proto::ids::{ShardId, Version};
use weir_proto::order::Order;
use weir_proto::stats::ShardStats;

use super::pending_orders::PendingOrders;

/// What the watchdog has seen of one shard since the start.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct ShardHistory {
    /// Times that it made no turn for longer than the watchdog warns of.
    pub stuck: u64,
    /// Times that its listeners were shut under it.
    pub fences: u64,
}

impl ShardHistory {
    /// Both together, as each with each.
    pub(super) fn each(self, other: ShardHistory, with: impl Fn(u64, u64) -> u64) -> ShardHistory {
        ShardHistory {
            stuck: with(self.stuck, other.stuck),
            fences: with(self.fences, other.fences),
        }
    }
}

/// Is the shard's thread there, and does it turn?
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ShardStatus {
    Live,
    /// The watchdog has shut its listeners and it has not turned since: it gets its orders, and
    /// no version waits for it.
    Fenced,
    Ended,
}

machine! {
    /// Transitions of a shard, as control sees it.
    pub static SHARD: ShardStatus = "shard";
    states: Live, Fenced, Ended;
    start => Live: "the engine starts";
    Live => Fenced: "the watchdog has shut its listeners";
    Fenced => Live: "it turns again, and gets the current version with new sockets";
    Live => Ended: "its thread has ended";
    Fenced => Ended: "its thread has ended";
    Ended => Live: "built again after a panic, with the current version and new sockets";
}

/// One shard.
#[derive(Debug)]
pub struct Shard {
    pub id: ShardId,
    pub status: ShardStatus,
    /// What the watchdog had seen at the last tick, with that of the processes before this one.
    pub watched: ShardHistory,
    /// The part of them.
    pub(super) watched_before: ShardHistory,
    /// How often it was built again after a panic.
    pub restarts: u64,
    /// What it has adopted.
    pub version: Version,
    pub sessions_max: u32,
    pub(crate) pending: PendingOrders,
    /// Addresses that could not be bound for it when it was built again, or turned again, while
    /// other shards may have them: they are tried again.
    pub(crate) missing: BTreeSet<BindAddress>,
    /// The empty box for the next figures; `None` while the shard has it.
    spare: Option<Box<ShardStats>>,
    /// How often figures were asked for, and how often they came.
    asked: u64,
    answered: u64,
    /// `answered` must have reached this for the figures to be newer than a drain.
    fresh_from: u64,
}

impl Shard {
    /// A shard that has been told nothing.
    pub fn new(id: ShardId) -> Shard {
        Shard {
            id,
            status: ShardStatus::Live,
            watched: ShardHistory::default(),
            watched_before: ShardHistory::default(),
            restarts: 0,
            version: Version(0),
            sessions_max: 0,
            pending: PendingOrders::default(),
            missing: BTreeSet::new(),
            spare: Some(Box::new(ShardStats::new(id))),
            asked: 0,
            answered: 0,
            fresh_from: 0,
        }
    }

    /// The one that was built after this one had ended.
    pub(super) fn successor(&self) -> Shard {
        let Shard { id, watched, watched_before, restarts, .. } = *self;
        Shard { watched, watched_before, restarts: restarts + 1, ..Shard::new(id) }
    }

    /// True if a version waits for it, and a figure counts only with its own.
    pub fn counts(&self) -> bool {
        self.status == ShardStatus::Live
    }

    /// True if it takes orders.
    pub fn has_thread(&self) -> bool {
        self.status != ShardStatus::Ended
    }

    /// Asks for figures, unless it has been asked and has not answered. Behind everything else that
    /// has to be said: figures tell of what was said before them.
    pub fn collect(&mut self, send: impl FnOnce(Order) -> Result<(), Order>) {
        if self.status == ShardStatus::Ended || !self.pending.is_empty() {
            return;
        }
        let Some(spare) = self.spare.take() else { return };
        match send(Order::Collect { spare }) {
            Ok(()) => self.asked += 1,
            Err(Order::Collect { spare }) => self.spare = Some(spare),
            Err(_) => {}
        }
    }

    /// Figures came; `spare` is the box for the next ones.
    pub fn told(&mut self, spare: Box<ShardStats>) {
        self.answered += 1;
        self.spare = Some(spare);
    }

    /// How often figures were asked for, and how often they came.
    pub fn boxes(&self) -> (u64, u64) {
        (self.asked, self.answered)
    }

    /// From now on only figures count that are asked for later than now.
    pub fn want_fresh(&mut self) {
        self.fresh_from = self.asked + 1;
    }

    /// True if the newest figures were asked for after [`Shard::want_fresh`].
    pub fn is_fresh(&self) -> bool {
        self.answered >= self.fresh_from
    }
}
