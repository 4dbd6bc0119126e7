//! The rate of a listener over shards that send their words with a delay: never above it, and all
//! of it however the clients are spread.

use std::collections::VecDeque;

use weir_core::rate::RateLease;
use weir_proto::ids::{IdSource, Version};
use weir_proto::spec::{ListenerSpec, PoolSpec, Spec};

use super::*;

/// 0.1 ms.
const TICK_NS: u64 = 100_000;
/// Ticks that a word takes from control to a shard, or back.
const DELAY: u64 = 3;

/// A shard, its backlog and what is on its way to it.
struct PlainShard {
    lease: RateLease,
    waiting: u64,
    /// Ticks from one client to the next; 0: none comes.
    each: u64,
    orders: VecDeque<(u64, Credit)>,
}

/// Sessions that begin in each tick of a run.
fn run(rate: u32, each: &[u64], ticks: u64) -> Vec<u64> {
    run_with(RateLease::new, rate, each, ticks)
}

/// The same with another kind of lease.
fn run_with(new: fn(Rate) -> RateLease, rate: u32, each: &[u64], ticks: u64) -> Vec<u64> {
    let listener = ListenerSpec {
        rate: Some(Rate::per_second(rate)),
        ..ListenerSpec::new("web".parse().unwrap(), vec!["127.0.0.1:80".parse().unwrap()])
    };
    let spec = Spec {
        listener: [("web".parse().unwrap(), listener)].into(),
        pool: [("web".parse().unwrap(), PoolSpec::default().into())].into(),
    };
    let before = Snapshot::empty();
    let snapshot = Snapshot::build(&spec, Version(1), &before, &mut IdSource::default()).unwrap();
    let of = Limited::Rate(snapshot.listeners[0].id);
    let mut leases = Leases::new(u16::try_from(each.len()).unwrap());
    leases.adopt(&snapshot, &before);
    let shard = |each: &u64| PlainShard {
        lease: new(Rate::per_second(rate)),
        waiting: 0,
        each: *each,
        orders: VecDeque::new(),
    };
    let mut shards: Vec<PlainShard> = each.iter().map(shard).collect();
    let mut words: VecDeque<(u64, ShardId, Want)> = VecDeque::new();
    let mut began = Vec::new();
    for tick in 0..ticks {
        let now = Now::from_nanos(1_000_000_000 + tick * TICK_NS);
        while words.front().is_some_and(|(at, ..)| *at <= tick) {
            let Some((_, shard, want)) = words.pop_front() else { break };
            leases.hear(shard, Edition::of(Version(1)), &[want]);
        }
        let mut count = 0;
        for (index, shard) in shards.iter_mut().enumerate() {
            let id = ShardId(u16::try_from(index).unwrap());
            leases.flush(id, |order| {
                let Order::Credit(credits) = order else { panic!("{order:?}") };
                shard.orders.push_back((tick + DELAY, credits[0]));
                Ok(())
            });
            count += shard.turn(tick, now);
            if let Some((given, held, wish)) = shard.lease.take_news() {
                words.push_back((tick + DELAY, id, Want { of, given, held, wish }));
            }
        }
        began.push(count);
    }
    began
}

impl PlainShard {
    /// How many sessions begin.
    fn turn(&mut self, tick: u64, now: Now) -> u64 {
        while self.orders.front().is_some_and(|(at, _)| *at <= tick) {
            let Some((_, Credit { given, keep, .. })) = self.orders.pop_front() else { break };
            self.lease.hear(given, keep);
        }
        self.waiting += u64::from(self.each > 0 && tick.is_multiple_of(self.each.max(1)));
        self.lease.gain(now);
        self.lease.give_back(self.waiting > 0);
        let count = self.waiting.min(self.lease.room().into());
        (0..count).for_each(|_| self.lease.spend());
        self.waiting -= count;
        self.lease.settle(self.waiting > 0);
        count
    }
}

/// Never more than a burst and the rate times the span within any span, by the bucket that says so.
fn check_bound(rate: u32, began: &[u64]) {
    let rate = Rate::per_second(rate);
    let full = u64::from(rate.burst()) * 1_000_000_000;
    let mut tokens = full;
    for (tick, count) in began.iter().enumerate() {
        tokens = (tokens + TICK_NS * u64::from(rate.events())).min(full);
        let left = tokens.checked_sub(count * 1_000_000_000);
        tokens = left.unwrap_or_else(|| panic!("{rate}: {count} begin in tick {tick}"));
    }
}

#[test]
fn the_whole_rate_is_reached_and_never_exceeded_however_clients_are_spread() {
    let (all, one): (&[u64], &[u64]) = (&[1; 8], &[1, 0, 0, 0, 0, 0, 0, 0]);
    let (skewed, few): (&[u64], &[u64]) = (&[1, 30, 30, 30, 30, 30, 30, 30], &[4, 4, 0, 0]);
    // The rate, how often clients come at each shard, the share of the rate in percent at least.
    for (rate, each, least) in [
        (2000, all, 98),
        (2000, one, 98),
        (2000, skewed, 97),
        (2000, few, 97),
        (100_000, &[1, 1][..], 10), // as many as come
        (1, all, 98),
        (1, one, 98),
        (7, skewed, 97),
        (50, all, 97),
        (101, skewed, 97),
    ] {
        let (seconds, ticks) = if rate < 10 { (40, 400_000) } else { (5, 50_000) };
        let began = run(rate, each, ticks);
        check_bound(rate, &began);
        let sum: u64 = began.iter().sum();
        let share = sum * 100 / (u64::from(rate) * seconds);
        assert!(share >= least, "{rate}/s, {each:?}: {sum} in {seconds} s, {share} %");
    }
}

/// As the connects of a backend, whose shards ask for credits before a session waits.
#[test]
fn the_same_of_leases_that_ask_ahead() {
    let (all, one): (&[u64], &[u64]) = (&[1; 8], &[1, 0, 0, 0, 0, 0, 0, 0]);
    for (rate, each, least) in
        [(2000, all, 98), (2000, one, 97), (1, all, 97), (1, one, 97), (50, all, 97), (7, one, 97)]
    {
        let (seconds, ticks) = if rate < 10 { (40, 400_000) } else { (5, 50_000) };
        let began = run_with(RateLease::ahead, rate, each, ticks);
        check_bound(rate, &began);
        let sum: u64 = began.iter().sum();
        let share = sum * 100 / (u64::from(rate) * seconds);
        assert!(share >= least, "{rate}/s, {each:?}: {sum} in {seconds} s, {share} %");
    }
}

/// A shard whose clients come seldom is not kept from the rate by one whose clients always wait.
#[test]
fn a_client_of_a_calm_shard_does_not_wait_for_the_crowd_of_another() {
    let began = run(2000, &[1, 500], 100_000);
    check_bound(2000, &began);
    let alone = run(20, &[1, 10_000], 300_000);
    check_bound(20, &alone);
}
