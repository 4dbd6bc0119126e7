//! The sessions of a kill at a rate: who they are is settled when the task begins, and each is
//! looked at once more by its shard before it ends.

use std::collections::{BTreeMap, BinaryHeap};

use weir_core::limits::SHED_MAX;
use weir_proto::ids::ShardId;
use weir_proto::session::{ListedSession, SessionKey, SessionMatch};

/// The number of a search that a task has a shard make begins with this bit; the others are those
/// of operators.
const OF_TASK: u64 = 1 << 63;

/// A session that is to be ended. The greatest goes first: the longest idle, of these the oldest.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct IdleSession {
    idle_ms: u64,
    age_ms: u64,
    key: SessionKey,
}

/// Sessions that a shard was ordered to end, until it says how many it did.
#[derive(Clone, Debug)]
struct Ordered {
    shard: ShardId,
    sessions: Vec<IdleSession>,
}

/// The sessions of one task.
#[derive(Clone, Debug)]
pub struct KillList {
    /// They had to fit it when the task began, and have to when they are ended.
    of: SessionMatch,
    waiting: BTreeMap<ShardId, BinaryHeap<IdleSession>>,
    /// The oldest order first: a shard answers in order.
    ordered: Vec<Ordered>,
    killed: u64,
}

impl KillList {
    /// The sessions that were found.
    #[must_use]
    pub fn new(of: SessionMatch, found: &[(ShardId, ListedSession)]) -> KillList {
        let mut sessions: BTreeMap<ShardId, Vec<IdleSession>> = BTreeMap::new();
        for (shard, row) in found {
            let ListedSession { idle_ms, age_ms, key, .. } = *row;
            sessions.entry(*shard).or_default().push(IdleSession { idle_ms, age_ms, key });
        }
        // In linear time: control must not sort a hundred thousand at once.
        let waiting = sessions.into_iter().map(|(shard, all)| (shard, all.into())).collect();
        KillList { of, waiting, ordered: Vec::new(), killed: 0 }
    }

    /// One of which nothing is left.
    pub(super) fn over(killed: u64) -> KillList {
        let of = SessionMatch::default();
        KillList { of, waiting: BTreeMap::new(), ordered: Vec::new(), killed }
    }

    /// True if the same filter chose them. Sessions that were named are of one list only.
    pub(super) fn is_twin(&self, other: &KillList) -> bool {
        self.of == other.of && self.of != SessionMatch::default()
    }

    /// How many were ended.
    pub(super) const fn killed(&self) -> u64 {
        self.killed
    }

    /// How many are not ended yet, as far as is known.
    pub(super) fn left(&self) -> u64 {
        let ordered = self.ordered.iter().map(|it| it.sessions.len() as u64);
        self.waiting.values().map(|all| all.len() as u64).chain(ordered).sum()
    }

    /// Takes those that are to end next, of shards that take orders: what each is to look for.
    pub(super) fn take(
        &mut self,
        count: u64,
        takes: impl Fn(ShardId) -> bool,
    ) -> Vec<(ShardId, SessionMatch)> {
        let shards = self.waiting.keys().copied().filter(|shard| takes(*shard));
        let mut open: BTreeMap<ShardId, Vec<IdleSession>> =
            shards.map(|shard| (shard, Vec::new())).collect();
        for _ in 0..count {
            let has_room = open.iter().filter(|(_, taken)| taken.len() < SHED_MAX as usize);
            let next = has_room.filter_map(|(shard, _)| {
                let first = self.waiting.get(shard)?.peek()?;
                Some((*first, *shard))
            });
            let Some((_, shard)) = next.max() else { break };
            let session = self.waiting.get_mut(&shard).and_then(BinaryHeap::pop);
            open.entry(shard).or_default().extend(session);
        }
        self.waiting.retain(|_, all| !all.is_empty());
        let mut orders = Vec::new();
        for (shard, sessions) in open.into_iter().filter(|(_, taken)| !taken.is_empty()) {
            let only = Some(sessions.iter().map(|it| it.key).collect());
            orders.push((shard, SessionMatch { only, ..self.of.clone() }));
            self.ordered.push(Ordered { shard, sessions });
        }
        orders
    }

    /// The last order could not be handed to this shard. Returns how many sessions wait again.
    pub(super) fn not_sent(&mut self, shard: ShardId) -> u64 {
        let Some(at) = self.ordered.iter().rposition(|it| it.shard == shard) else { return 0 };
        let Ordered { sessions, .. } = self.ordered.remove(at);
        let count = sessions.len() as u64;
        self.waiting.entry(shard).or_default().extend(sessions);
        count
    }

    /// A shard has carried out its oldest order. Those that it did not end were over, or did not
    /// fit any more.
    pub(super) fn answered(&mut self, shard: ShardId, killed: u64) {
        if let Some(at) = self.ordered.iter().position(|it| it.shard == shard) {
            self.ordered.remove(at);
            self.killed += killed;
        }
    }

    /// A shard has ended, and its sessions with it.
    pub(super) fn shard_ended(&mut self, shard: ShardId) {
        self.waiting.remove(&shard);
        self.ordered.retain(|it| it.shard != shard);
    }
}

/// The number of the searches of a task.
#[must_use]
pub const fn search_of(task: u64) -> u64 {
    OF_TASK | task
}

/// The task that a search is of, if it is of one.
#[must_use]
pub const fn task_of(search: u64) -> Option<u64> {
    if search & OF_TASK == 0 { None } else { Some(search & !OF_TASK) }
}
