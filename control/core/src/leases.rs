//! Limits that all shards share, as credits that are leased to each of them. Pure.
//!
//! What shards hold and what is on its way to them is never more than the limit, whatever is lost:
//! a shard's credits are free again when it has given them back, or when it has ended. Where more
//! was used already when a limit came or was lowered, nobody gets any until that has passed.

mod of_snapshot;
mod predecessor;
mod spent;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use weir_core::base::clock::Now;
use weir_core::base::machine::enter;
use weir_core::machine;
use weir_proto::ids::{Edition, ListenerId, PoolId, ShardId};
use weir_proto::order::{Credit, Limited, Order, Want, Wish};
use weir_proto::snapshot::{Backend, Pool, Snapshot};
use weir_proto::spec::Rate;

use of_snapshot::limits_of;
pub use of_snapshot::limits_of_backend;
use spent::SpentCredits;

use crate::batch::Batch;

/// All limits and who holds how much of them.
#[derive(Clone, Debug)]
pub struct Leases {
    limits: BTreeMap<Limited, Limit>,
    /// For each shard: is its thread there, and may others wait for its word?
    shards: Vec<ShardLease>,
    /// For each shard: limits of which it has not been sent everything.
    news: Vec<BTreeSet<Limited>>,
    /// Counts wants, so that of two the older one is served first.
    wanted: u64,
    /// The edition that the shards are sent.
    edition: Edition,
    /// Pools that it no longer has, whose limits are still here.
    swept: Vec<Arc<Pool>>,
    /// When credits of a shard that has ended are free.
    free_at: Option<Now>,
    /// The process before this one, which counts as a shard that may use any number.
    predecessor: Option<ShardId>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct ShardLease {
    is_live: bool,
    counts: bool,
}

/// One limit.
#[derive(Clone, Debug)]
struct Limit {
    most: u32,
    /// The edition with which it came: what shards said under an older one is not about it.
    since: Edition,
    holders: Vec<Holder>,
    spent: SpentCredits,
    /// Credits that were ever given. For checkers.
    granted: u64,
}

/// How it stands with one limit, for checkers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Leased {
    pub of: Limited,
    pub most: u32,
    /// What all shards hold, with what is on its way.
    pub leased: u64,
    /// Credits that were ever given.
    pub granted: u64,
}

impl Leased {
    /// True if credits were given since `before` although there were none.
    #[must_use]
    pub fn is_broken(&self, before: &Leased) -> bool {
        let same = self.most >= before.most;
        same && self.leased > u64::from(self.most) && self.granted > before.granted
    }
}

/// One shard under one limit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Holder {
    state: LeaseState,
    /// All that was ever given to it, and how much of that it was sent.
    given: u64,
    sent: u64,
    /// By its last word: what it had been given, and what it held.
    heard: u64,
    held: u32,
    /// Since when it wants a credit.
    wants: Option<u64>,
    /// It would use one that is free.
    is_spare_welcome: bool,
    keep: Option<u32>,
    /// It has not been sent all of this.
    is_news: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum LeaseState {
    /// It may use any number.
    Unknown,
    /// It has no session and has not spoken.
    Fresh,
    Holds,
    Gone,
}

machine! {
    /// Transitions of a shard under a limit.
    pub static LEASE: LeaseState = "lease";
    states: Unknown, Fresh, Holds, Gone;
    start => Unknown: "a limit for a listener that had none";
    start => Fresh: "a new listener";
    start => Gone: "the shard has ended before";
    Unknown => Holds: "it reports, by the limit's first version or a newer one";
    Fresh => Holds: "it reports";
    Unknown => Gone: "its thread has ended";
    Fresh => Gone: "its thread has ended";
    Holds => Gone: "its thread has ended";
    Gone => Fresh: "it was built again";
    Gone => Unknown: "it was built again, by the version before the limit's first one";
}

impl Holder {
    fn new(state: LeaseState) -> Holder {
        Holder {
            state,
            given: 0,
            sent: 0,
            heard: 0,
            held: 0,
            wants: None,
            is_spare_welcome: false,
            keep: None,
            is_news: false,
        }
    }

    /// What it holds at most, with what is on its way.
    fn leased(&self) -> u64 {
        match self.state {
            LeaseState::Holds => u64::from(self.held) + (self.given - self.heard),
            LeaseState::Unknown | LeaseState::Fresh | LeaseState::Gone => 0,
        }
    }
}

impl Leases {
    /// No limit yet, and N shards.
    #[must_use]
    pub fn new(shards: u16) -> Leases {
        let (shard, shards) = (ShardLease { is_live: true, counts: true }, usize::from(shards));
        Leases {
            limits: BTreeMap::new(),
            shards: vec![shard; shards],
            news: vec![BTreeSet::new(); shards],
            wanted: 0,
            edition: Edition::default(),
            swept: Vec::new(),
            free_at: None,
            predecessor: None,
        }
    }

    /// A new snapshot goes to the shards, all at once. `before` is the one before it.
    pub fn adopt(&mut self, snapshot: &Snapshot, before: &Snapshot) {
        for pool in &snapshot.pools {
            self.prepare(pool, before.pool(pool.name.as_str()), snapshot.edition());
        }
        self.settle(snapshot, before);
        self.sweep(usize::MAX);
    }

    /// Learns the limits of a pool of `edition`, the next one, which goes to the shards after this.
    /// `before` is the pool of that name in the current one. To learn them early gives no shard
    /// more than the version allows, which is durable.
    pub fn prepare(&mut self, pool: &Pool, before: Option<&Pool>, edition: Edition) {
        if before.is_some_and(|before| core::ptr::eq(before, pool)) {
            return;
        }
        for backend in &pool.backends {
            let was_known = before.is_some_and(|before| before.has(backend));
            for (of, most) in limits_of_backend(backend) {
                self.learn(of, (most, was_known), edition);
            }
        }
        if !self.limits.is_empty() {
            let gone = before.into_iter().flat_map(|before| before.without(Some(pool)));
            gone.for_each(|backend| self.forget_backend(backend));
        }
    }

    /// The next version is the current one: the limits of all its pools are known.
    pub fn settle(&mut self, snapshot: &Snapshot, before: &Snapshot) {
        let known: BTreeSet<ListenerId> = before.listeners.iter().map(|it| it.id).collect();
        let now: BTreeSet<ListenerId> = snapshot.listeners.iter().map(|it| it.id).collect();
        for id in known.difference(&now) {
            self.forget(Limited::Listener(*id));
            self.forget(Limited::Rate(*id));
        }
        for listener in &snapshot.listeners {
            let (id, was_known) = (listener.id, known.contains(&listener.id));
            let most = (listener.max_sessions, was_known);
            self.learn(Limited::Listener(id), most, snapshot.edition());
            let most = (listener.rate.map(Rate::burst), was_known);
            self.learn(Limited::Rate(id), most, snapshot.edition());
        }
        let pools: BTreeSet<PoolId> = snapshot.pools.iter().map(|pool| pool.id).collect();
        let gone = before.pools.iter().filter(|pool| !pools.contains(&pool.id));
        self.swept.extend(gone.cloned());
        self.edition = snapshot.edition();
    }

    /// Gives up the limits of pools that are gone: of one, and of further ones as long as these had
    /// at most `most` backends. True if there are more.
    pub fn sweep(&mut self, most: usize) -> bool {
        let mut batch = Batch::of(most);
        while let Some(pool) = self.swept.pop_if(|pool| batch.takes(pool.backends.len())) {
            pool.backends.iter().for_each(|it| self.forget_backend(it));
        }
        !self.swept.is_empty()
    }

    /// The limit of something in the next version. `was_known`: it is in the current one as well.
    fn learn(&mut self, of: Limited, (most, was_known): (Option<u32>, bool), edition: Edition) {
        let Some(most) = most else {
            if was_known {
                self.forget(of);
            }
            return;
        };
        match self.limits.get_mut(&of) {
            Some(limit) if limit.most == most => {}
            Some(limit) => {
                limit.set_most(most);
                limit.settle(&self.shards);
                self.tell(of);
            }
            None => {
                let state = if was_known { LeaseState::Unknown } else { LeaseState::Fresh };
                let limit = self.new_limit(most, edition, state);
                self.limits.insert(of, limit);
            }
        }
    }

    fn forget(&mut self, of: Limited) {
        if self.limits.remove(&of).is_some() {
            for news in &mut self.news {
                news.remove(&of);
            }
        }
    }

    fn forget_backend(&mut self, backend: &Backend) {
        limits_of_backend(backend).into_iter().for_each(|(of, _)| self.forget(of));
    }

    /// True if nothing is limited.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.limits.is_empty()
    }

    fn new_limit(&self, most: u32, since: Edition, state: LeaseState) -> Limit {
        let holder = |(index, shard): (u16, &ShardLease)| {
            if !shard.is_live {
                return Holder::new(LeaseState::Gone);
            }
            let is_before = self.predecessor == Some(ShardId(index));
            Holder::new(if is_before { LeaseState::Unknown } else { state })
        };
        let holders = (0..).zip(&self.shards).map(holder).collect();
        Limit { most, since, holders, spent: SpentCredits::default(), granted: 0 }
    }

    /// A shard's word.
    pub fn hear(&mut self, shard: ShardId, edition: Edition, wants: &[Want]) {
        for want in wants {
            let Some(limit) = self.limits.get_mut(&want.of) else { continue };
            let Some(holder) = limit.holders.get_mut(usize::from(shard.0)) else { continue };
            if edition < limit.since || holder.state == LeaseState::Gone {
                continue;
            }
            if holder.state != LeaseState::Holds {
                // What it was given under a limit that is gone counts as held, if it has it still.
                (holder.given, holder.sent) = (want.given, want.given);
                enter(&mut holder.state, LeaseState::Holds);
            }
            (holder.heard, holder.held) = (want.given, want.held);
            let is_old = want.given < holder.given; // there is an answer to it on its way
            holder.is_spare_welcome = want.wish == Wish::Spare && !is_old;
            holder.wants = match (want.wish == Wish::Needed && !is_old, holder.wants) {
                (false, _) => None,
                (true, Some(since)) => Some(since),
                (true, None) => {
                    self.wanted += 1;
                    Some(self.wanted)
                }
            };
            limit.settle(&self.shards);
            self.tell(want.of);
        }
    }

    /// Notes whom there is something to be sent about this limit.
    fn tell(&mut self, of: Limited) {
        let Some(limit) = self.limits.get(&of) else { return };
        for (news, holder) in self.news.iter_mut().zip(&limit.holders) {
            if holder.is_news {
                news.insert(of);
            }
        }
    }

    /// A shard's thread has ended, and all its sessions with it.
    pub fn ended(&mut self, shard: ShardId, now: Now) {
        self.set_apart(shard, now);
        self.set(shard, ShardLease { is_live: false, counts: false }, Some(LeaseState::Gone));
    }

    /// It was built again.
    pub fn built_again(&mut self, shard: ShardId) {
        self.set(shard, ShardLease { is_live: true, counts: true }, Some(LeaseState::Fresh));
    }

    /// Nobody waits for a shard that is fenced. What it holds it keeps: it may use it.
    pub fn set_fenced(&mut self, shard: ShardId, is_fenced: bool) {
        let is_live = self.shards.get(usize::from(shard.0)).is_some_and(|shard| shard.is_live);
        self.set(shard, ShardLease { is_live, counts: is_live && !is_fenced }, None);
    }

    fn set(&mut self, shard: ShardId, to: ShardLease, state: Option<LeaseState>) {
        let index = usize::from(shard.0);
        let Some(place) = self.shards.get_mut(index) else { return };
        *place = to;
        if state.is_some() {
            self.news[index].clear();
        }
        for limit in self.limits.values_mut() {
            if let (Some(state), Some(holder)) = (state, limit.holders.get_mut(index)) {
                // It is built with the current version, which knows nothing of a limit of the next.
                let may_use_any = state == LeaseState::Fresh && limit.since > self.edition;
                let state = if may_use_any { LeaseState::Unknown } else { state };
                enter(&mut holder.state, state);
                *holder = Holder::new(state);
            }
            limit.settle(&self.shards);
        }
        let changed = self.limits.iter().filter(|(_, limit)| limit.has_news());
        let changed: Vec<Limited> = changed.map(|(of, _)| *of).collect();
        changed.into_iter().for_each(|of| self.tell(of));
    }

    /// Sends a shard what it has not been sent. `send` gives the order back if its channel is full.
    pub fn flush(&mut self, shard: ShardId, send: impl FnOnce(Order) -> Result<(), Order>) {
        let index = usize::from(shard.0);
        let Some(news) = self.news.get(index).filter(|news| !news.is_empty()) else { return };
        let limits = news.iter().filter_map(|of| Some((*of, self.limits.get(of)?)));
        let credit = |(of, limit): (Limited, &Limit)| {
            let Holder { given, keep, .. } = limit.holders[index];
            Credit { of, given, keep }
        };
        if send(Order::Credit(limits.map(credit).collect())).is_err() {
            return;
        }
        for of in core::mem::take(&mut self.news[index]) {
            let Some(limit) = self.limits.get_mut(&of) else { continue };
            let holder = &mut limit.holders[index];
            (holder.sent, holder.is_news) = (holder.given, false);
        }
    }

    /// How it stands with each limit, for checkers.
    pub fn leased(&self) -> impl Iterator<Item = Leased> {
        self.limits.iter().map(|(of, limit)| Leased {
            of: *of,
            most: limit.most,
            leased: limit.leased(),
            granted: limit.granted,
        })
    }
}

impl Limit {
    /// Gives it another bound. What a lower one has not sent is not given.
    fn set_most(&mut self, most: u32) {
        if most < self.most {
            for holder in &mut self.holders {
                holder.given = holder.sent.max(holder.heard);
            }
        }
        self.most = most;
    }

    /// True if a shard is to be sent something.
    fn has_news(&self) -> bool {
        self.holders.iter().any(|holder| holder.is_news)
    }

    /// All that shards hold, with what is on its way to them, and what is not free yet.
    fn leased(&self) -> u64 {
        self.holders.iter().map(Holder::leased).sum::<u64>() + self.spent.count()
    }

    /// Gives what is free to those who want it, and says what the others are
    /// to keep as long as there is not enough.
    fn settle(&mut self, shards: &[ShardLease]) {
        let is_unknown = |(holder, shard): (&Holder, &ShardLease)| {
            holder.state == LeaseState::Unknown && shard.is_live && shard.counts
        };
        if self.holders.iter().zip(shards).any(is_unknown) {
            return;
        }
        let leased = self.leased();
        let mut free = u64::from(self.most).saturating_sub(leased);
        // Who has least, and then who has waited longest.
        let mut line: Vec<(u64, u64, usize)> = (0..)
            .zip(&self.holders)
            .filter_map(|(index, holder)| Some((holder.leased(), holder.wants?, index)))
            .collect();
        line.sort_unstable();
        // Something is left for the next one, if that is possible.
        let each = free.div_ceil(line.len() as u64 + 1);
        for (_, _, index) in line {
            let gets = each.min(free);
            if gets == 0 {
                break;
            }
            free -= gets;
            let holder = &mut self.holders[index];
            holder.given += gets;
            self.granted += gets;
            (holder.wants, holder.is_news) = (None, true);
        }
        self.give_spare(free, shards);
        let is_over = leased > u64::from(self.most);
        self.share(is_over);
    }

    /// Gives what is free and no shard lacks to those that ask ahead: an equal part of all at
    /// first,
    /// so that sessions can go by other reasons than by which shard has credits; then a part of
    /// what is left.
    fn give_spare(&mut self, mut free: u64, shards: &[ShardLease]) {
        if free == 0 {
            return;
        }
        let live = shards.iter().filter(|shard| shard.is_live).count() as u64;
        let fair = u64::from(self.most).div_ceil(live.max(1));
        let welcome = |(_, holder): &(usize, &Holder)| holder.is_spare_welcome;
        let line = (0..).zip(&self.holders).filter(welcome);
        let mut line: Vec<(u64, usize)> = line.map(|(at, it)| (it.leased(), at)).collect();
        line.sort_unstable();
        let each = free.div_ceil(line.len() as u64 + 1);
        for (leased, index) in line {
            let gets = fair.saturating_sub(leased).max(each).min(free);
            if gets == 0 {
                break;
            }
            free -= gets;
            let holder = &mut self.holders[index];
            holder.given += gets;
            self.granted += gets;
            (holder.is_spare_welcome, holder.is_news) = (false, true);
        }
    }

    /// While somebody lacks credits each keeps a like share of them, if its own clients wait too.
    /// `is_over`: all of them together hold too many, and nobody keeps any.
    fn share(&mut self, is_over: bool) {
        let among = self.holders.iter().filter(|holder| holder.wants.is_some()).count();
        let share = u32::try_from(among).ok().and_then(|among| self.most.checked_div(among));
        let keep = if is_over { Some(0) } else { share };
        for holder in self.holders.iter_mut().filter(|holder| holder.state == LeaseState::Holds) {
            holder.is_news |= holder.keep != keep;
            holder.keep = keep;
        }
    }
}

#[cfg(test)]
mod rate_tests;
#[cfg(test)]
mod tests;
