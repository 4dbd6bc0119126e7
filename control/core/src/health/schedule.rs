//! Which check begins when, and how many are in flight. Pure: time is an argument.
//!
//! A backend that says nothing keeps its check in flight until the timeout. So that it delays
//! nobody else, each pool has a share of its own of all that may be in flight, and only the rest is
//! for whoever comes first:
//!
//! ```text
//! total = pools × own + shared        own = total / (2 × pools), at least 1
//! ```
//! A pool whose backends answer needs few at once: `own` of them, of 1 ms each, are 1,000 × `own`
//! checks a second.

use std::collections::{BTreeMap, BTreeSet};

use weir_core::base::clock::Now;
use weir_proto::ids::{BackendId, PoolId};

/// The most checks in flight, whatever the descriptors allow: twice what 4,096 silent backends
/// need.
pub(super) const IN_FLIGHT_MAX: usize = 8192;

/// An unused part of the rate is kept for so long.
const BURST_NS: u64 = 10_000_000;

/// The checks of all pools.
#[derive(Debug)]
pub(super) struct Schedule {
    queues: BTreeMap<PoolId, CheckQueue>,
    /// The first due of each pool that has a place of its own, and of those that need a shared one.
    first_own: BTreeSet<(Now, PoolId)>,
    first_shared: BTreeSet<(Now, PoolId)>,
    /// The most in flight; the places of each pool.
    total: usize,
    own: usize,
    in_flight: usize,
    /// Of the shared places: those that are taken.
    shared_taken: usize,
    /// Pools of the snapshot: they share `total`.
    pools: usize,
    /// The most checks that begin in a second; when the next one may.
    rate: Option<u32>,
    gate: Now,
}

/// The backend that a check is of, or its agent.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct CheckTarget {
    pub(super) backend: BackendId,
    pub(super) is_agent: bool,
}

impl From<BackendId> for CheckTarget {
    fn from(backend: BackendId) -> CheckTarget {
        CheckTarget { backend, is_agent: false }
    }
}

/// The checks of one pool.
#[derive(Debug, Default)]
struct CheckQueue {
    due: BTreeSet<(Now, CheckTarget)>,
    in_flight: usize,
}

impl Schedule {
    pub(super) fn new() -> Schedule {
        Schedule {
            queues: BTreeMap::new(),
            first_own: BTreeSet::new(),
            first_shared: BTreeSet::new(),
            total: IN_FLIGHT_MAX,
            own: IN_FLIGHT_MAX / 2,
            in_flight: 0,
            shared_taken: 0,
            pools: 1,
            rate: None,
            gate: Now { nanos: 0 },
        }
    }

    /// At most `a_second` checks begin in a second, and no more at once than in [`BURST_NS`].
    pub(super) fn limit_rate(&mut self, a_second: Option<u32>) {
        self.rate = a_second.filter(|rate| *rate > 0);
    }

    /// The most checks that begin in a second.
    pub(super) fn rate(&self) -> Option<u32> {
        self.rate
    }

    /// At most `total` checks are in flight from now on, 1 to [`IN_FLIGHT_MAX`]. Those that are
    /// stay so.
    pub(super) fn bound(&mut self, total: usize) {
        self.total = total.clamp(1, IN_FLIGHT_MAX);
        self.share();
    }

    /// These are the pools of the snapshot.
    pub(super) fn pools(&mut self, pools: &BTreeSet<PoolId>) {
        self.pools = pools.len().max(1);
        self.queues
            .retain(|id, queue| pools.contains(id) || queue.in_flight > 0 || !queue.due.is_empty());
        self.share();
    }

    /// The pool is gone from the snapshot, and none of its backends is due.
    pub(super) fn forget(&mut self, pool: PoolId) {
        let idle = |queue: &CheckQueue| queue.in_flight == 0 && queue.due.is_empty();
        if self.queues.get(&pool).is_some_and(idle) {
            self.queues.remove(&pool);
        }
    }

    /// Works out every pool's places again.
    fn share(&mut self) {
        self.own = (self.total / (2 * self.pools)).max(1);
        let over = |queue: &CheckQueue| queue.in_flight.saturating_sub(self.own);
        self.shared_taken = self.queues.values().map(over).sum();
        self.first_own.clear();
        self.first_shared.clear();
        for (id, queue) in &self.queues {
            let Some((at, _)) = queue.due.first() else { continue };
            let own = queue.in_flight < self.own;
            let first = if own { &mut self.first_own } else { &mut self.first_shared };
            first.insert((*at, *id));
        }
    }

    /// Checks of `pool` that are in flight.
    #[cfg(test)]
    pub(super) fn in_flight(&self) -> usize {
        self.in_flight
    }

    /// The check of `asked` was due at `before` and is at `after`; `None` is not at all.
    pub(super) fn set(
        &mut self,
        (pool, asked): (PoolId, impl Into<CheckTarget>),
        before: Option<Now>,
        after: Option<Now>,
    ) {
        let asked = asked.into();
        self.change(pool, |queue| {
            if let Some(at) = before {
                queue.due.remove(&(at, asked));
            }
            if let Some(at) = after {
                queue.due.insert((at, asked));
            }
        });
    }

    /// Takes the first check that is due and has a place; [`Schedule::give_back`] frees the place.
    pub(super) fn take(&mut self, now: Now) -> Option<CheckTarget> {
        let (at, pool) = self.next().filter(|(at, _)| *at <= now)?;
        if let Some(rate) = self.rate {
            if now < self.gate {
                return None;
            }
            let earliest = now.nanos.saturating_sub(BURST_NS);
            let gap = 1_000_000_000 / u64::from(rate);
            self.gate = Now { nanos: self.gate.nanos.max(earliest) + gap };
        }
        let mut taken = None;
        self.change(pool, |queue| {
            taken = queue.due.pop_first().map(|(_, asked)| asked);
            queue.in_flight += 1;
        });
        debug_assert!(taken.is_some(), "{pool:?} has nothing due at {at:?}");
        self.in_flight += 1;
        taken
    }

    /// A check of `pool` is over.
    pub(super) fn give_back(&mut self, pool: PoolId) {
        self.in_flight -= 1;
        self.change(pool, |queue| queue.in_flight -= 1);
    }

    /// When [`Schedule::take`] has something; `None` if only a call can change that.
    pub(super) fn next_due(&self) -> Option<Now> {
        let gate = self.rate.map(|_| self.gate);
        self.next().map(|(at, _)| gate.map_or(at, |gate| gate.max(at)))
    }

    /// The first check that has a place.
    fn next(&self) -> Option<(Now, PoolId)> {
        if self.in_flight >= self.total {
            return None;
        }
        let shared = self.total.saturating_sub(self.pools * self.own);
        let first_shared = self.first_shared.first().filter(|_| self.shared_taken < shared);
        first_shared.into_iter().chain(self.first_own.first()).min().copied()
    }

    /// Changes one queue and keeps what is known of it.
    fn change(&mut self, pool: PoolId, change: impl FnOnce(&mut CheckQueue)) {
        let own = self.own;
        let queue = self.queues.entry(pool).or_default();
        let known = |queue: &CheckQueue| {
            let first = queue.due.first().map(|(at, _)| (*at, pool));
            (first, queue.in_flight < own, queue.in_flight.saturating_sub(own))
        };
        let before = known(queue);
        change(queue);
        let after = known(queue);
        self.shared_taken = self.shared_taken - before.2 + after.2;
        if let (Some(first), is_own, _) = before {
            let firsts = if is_own { &mut self.first_own } else { &mut self.first_shared };
            firsts.remove(&first);
        }
        if let (Some(first), is_own, _) = after {
            let firsts = if is_own { &mut self.first_own } else { &mut self.first_shared };
            firsts.insert(first);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MS: u64 = 1_000_000;

    fn at(ms: u64) -> Now {
        Now { nanos: ms * MS }
    }

    /// Pools by the number of their backends and how long a check of one takes.
    struct PoolsFixture {
        schedule: Schedule,
        pools: Vec<(u32, u64)>,
        /// Ends of checks: when, whose, when it was due.
        ends: BTreeSet<(Now, u32, BackendId, Now)>,
        due: BTreeMap<BackendId, Now>,
        /// The latest that a check began after it was due, for each pool, in milliseconds.
        latest: Vec<u64>,
        most: usize,
    }

    const INTERVAL: u64 = 2000;

    impl PoolsFixture {
        fn new(total: usize, pools: &[(u32, u64)]) -> PoolsFixture {
            let mut schedule = Schedule::new();
            schedule.bound(total);
            schedule.pools(&(0..).map(PoolId).take(pools.len()).collect());
            let (ends, due) = (BTreeSet::new(), BTreeMap::new());
            let (pools, latest) = (pools.to_vec(), vec![0; pools.len()]);
            let mut world = PoolsFixture { schedule, pools, ends, due, latest, most: 0 };
            for (pool, (backends, _)) in (0..).zip(world.pools.clone()) {
                for number in 0..backends {
                    let id = BackendId(pool * 10_000 + number);
                    world.set(id, at(u64::from(number) * INTERVAL / u64::from(backends)));
                }
            }
            world
        }

        fn set(&mut self, id: BackendId, due: Now) {
            self.schedule.set((PoolId(id.0 / 10_000), id), None, Some(due));
            self.due.insert(id, due);
        }

        fn run(&mut self, until: u64) {
            for ms in 0..until {
                while let Some(end) = self.ends.first().copied().filter(|end| end.0 <= at(ms)) {
                    self.ends.remove(&end);
                    let (_, pool, id, due) = end;
                    self.schedule.give_back(PoolId(pool));
                    self.set(id, Now { nanos: (due.nanos + INTERVAL * MS).max(ms * MS) });
                }
                while let Some(asked) = self.schedule.take(at(ms)) {
                    let id = asked.backend;
                    let (pool, due) = (id.0 / 10_000, self.due[&id]);
                    let late = ms - due.nanos / MS;
                    let latest = &mut self.latest[pool as usize];
                    *latest = late.max(*latest);
                    let takes = self.pools[pool as usize].1;
                    self.ends.insert((at(ms + takes), pool, id, at(ms)));
                }
                self.most = self.most.max(self.ends.len());
            }
        }
    }

    #[test]
    fn silent_backends_delay_nobody() {
        let silent = (1024, 5000);
        let pools = [silent, silent, silent, silent, (100, 2), (1024, 2)];
        let mut world = PoolsFixture::new(IN_FLIGHT_MAX, &pools);
        world.run(30_000);
        let most = INTERVAL / 10;
        assert!(world.latest.iter().all(|late| *late <= most), "{:?}", world.latest);
        assert!(world.most >= 4096, "all of them are in flight: {}", world.most);

        // With few descriptors they wait for each other, and still for nobody else.
        for total in [512, 1024] {
            let mut world = PoolsFixture::new(total, &pools);
            world.run(30_000);
            assert!(world.latest[4..].iter().all(|late| *late <= most), "{:?}", world.latest);
            assert!(world.latest[0] > most && world.most <= total, "{:?}", world.most);
        }
    }

    #[test]
    fn no_more_checks_begin_than_the_rate_allows() {
        let mut schedule = Schedule::new();
        schedule.limit_rate(Some(100));
        for id in 0..1000 {
            schedule.set((PoolId(1), BackendId(id)), None, Some(at(5)));
        }
        let mut taken = Vec::new();
        for ms in 1000..6000 {
            while schedule.take(at(ms)).is_some() {
                taken.push(ms);
            }
            assert!(schedule.next_due().is_none_or(|next| next > at(ms)), "it says when");
        }
        assert!((500..=502).contains(&taken.len()), "{}", taken.len());
        let in_a_second =
            |from: u64| taken.iter().filter(move |ms| (from..from + 1000).contains(ms));
        assert!((1000..5000).all(|from| in_a_second(from).count() <= 102));
    }

    #[test]
    fn a_pool_alone_has_all_places() {
        let mut world = PoolsFixture::new(64, &[(64, 5000)]);
        world.run(20_000);
        assert_eq!((world.latest[0], world.most), (0, 64));
    }

    #[test]
    fn the_longest_due_comes_first_and_none_is_forgotten() {
        let mut schedule = Schedule::new();
        schedule.pools(&[PoolId(1), PoolId(2)].into());
        schedule.bound(2);
        for (pool, id, ms) in [(1, 1, 5), (1, 2, 3), (2, 3, 4), (2, 4, 9)] {
            schedule.set((PoolId(pool), BackendId(id)), None, Some(at(ms)));
        }
        assert_eq!(schedule.take(at(2)), None);
        assert_eq!(schedule.next_due(), Some(at(3)));
        assert_eq!(schedule.take(at(9)), Some(BackendId(2).into()));
        assert_eq!(schedule.take(at(9)), Some(BackendId(3).into()));
        assert_eq!((schedule.take(at(9)), schedule.next_due()), (None, None));
        schedule.give_back(PoolId(2));
        assert_eq!(schedule.take(at(9)), Some(BackendId(4).into()), "pool 1 has its place in use");
        schedule.give_back(PoolId(1));
        schedule.set((PoolId(1), BackendId(1)), Some(at(5)), Some(at(20)));
        assert_eq!((schedule.take(at(9)), schedule.next_due()), (None, Some(at(20))));
    }
}
