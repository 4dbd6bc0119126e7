//! Boxes in, totals out.

use weir_proto::answer::Percentiles;
use weir_proto::ids::{Edition, IdSource};
use weir_proto::reason::{By, CloseReason, During, Why};
use weir_proto::snapshot::Snapshot;
use weir_proto::spec::{BackendSpec, ListenerSpec, PoolSpec, Spec};
use weir_proto::stats::{BackendStats, ListenerStats};

use super::*;

/// Snapshots of a listener `web` and a pool `web`, with identities that live on.
struct VersionChain {
    ids: IdSource,
    now: Snapshot,
}

impl VersionChain {
    fn new() -> VersionChain {
        VersionChain { ids: IdSource::default(), now: Snapshot::empty() }
    }

    /// The next version, with these backends of `web`.
    fn next(&mut self, backends: &[&str]) -> Snapshot {
        let backend = |name: &&str| {
            let address = format!("10.0.0.{}:80", &name[1..]).parse().unwrap();
            (name.parse().unwrap(), BackendSpec::new(address))
        };
        let pool =
            PoolSpec { backend: backends.iter().map(backend).collect(), ..PoolSpec::default() };
        let listener =
            ListenerSpec::new("web".parse().unwrap(), vec!["127.0.0.1:80".parse().unwrap()]);
        self.build(&Spec {
            listener: [("web".parse().unwrap(), listener)].into(),
            pool: [("web".parse().unwrap(), pool.into())].into(),
        })
    }

    fn build(&mut self, spec: &Spec) -> Snapshot {
        let version = self.now.version.next();
        self.now = Snapshot::build(spec, version, &self.now, &mut self.ids).unwrap();
        self.now.clone()
    }
}

fn at_ms(ms: u64) -> Now {
    Now { nanos: 1_000_000_000_000 + ms * 1_000_000 }
}

/// An empty box of a shard under a version.
fn empty(shard: u16, version: u64) -> Box<ShardStats> {
    let mut stats = Box::new(ShardStats::new(ShardId(shard)));
    stats.edition = Edition::of(Version(version));
    stats
}

fn row(id: BackendId, sessions_now: u32, sessions: u64, bytes: u64) -> BackendStats {
    BackendStats {
        id,
        sessions_now,
        connecting_now: 1,
        counts: BackendCounts {
            sessions,
            connect_failures: [1, 0, 0, 2, 0, 0],
            capped: [0, 1],
            early_closes: 3,
            received_bytes: bytes,
            sent_bytes: bytes * 2,
            blocked_ns: [7, 8],
            first_closes: [1, 2, 3, 4],
            undelivered_bytes: [5, 6],
        },
    }
}

fn backend_box(shard: u16, version: u64, rows: &[BackendStats]) -> Box<ShardStats> {
    let mut stats = empty(shard, version);
    stats.backends = rows.to_vec();
    stats.sessions_now = rows.iter().map(|row| row.sessions_now).sum();
    stats
}

#[test]
fn differences_of_all_shards_become_totals() {
    let snapshot = VersionChain::new().next(&["b1", "b2"]);
    let (listener, pool) = (snapshot.listeners[0].id, snapshot.pools[0].id);
    let (b1, b2) = (snapshot.pools[0].backends[0].id, snapshot.pools[0].backends[1].id);
    let mut aggregate = Aggregate::new(2);
    aggregate.adopt(&snapshot);
    for (shard, time) in [(0, 0), (1, 10), (0, 250), (1, 260)] {
        let mut stats = backend_box(shard, 1, &[row(b1, 3, 5, 100), row(b2, 1, 1, 10)]);
        stats.listeners = vec![ListenerStats {
            id: listener,
            sessions_now: 4,
            waiting_now: 5,
            counts: ListenerCounts { accepted: 7, rejected: [1, 2, 0, 0] },
        }];
        let mut counted = PoolStats::new(pool);
        (counted.counts.picks, counted.counts.no_backend, counted.counts.retries) = (9, 1, 2);
        counted.connect.record(1000);
        let complete =
            CloseReason { by: By::Client, during: During::HalfClosed, why: Why::Complete };
        (0..6).for_each(|_| counted.ends.count(complete));
        stats.pools = vec![counted];
        (stats.counts.turns, stats.counts.enters, stats.counts.completions) = (10, 20, 30);
        (stats.counts.cq_overflow, stats.counts.starved, stats.buffers_free_now) = (1, 2, 50);
        let back = aggregate.fold(stats, at_ms(time));
        assert_eq!(
            (back.counts.turns, back.pools[0].ends.iter().count(), back.pools[0].counts.picks),
            (0, 0, 0)
        );
    }
    assert_eq!(
        aggregate.backend(b1),
        BackendTotals {
            sessions: 6,
            connecting: 2,
            counts: BackendCounts {
                sessions: 20,
                connect_failures: [4, 0, 0, 8, 0, 0],
                capped: [0, 4],
                early_closes: 12,
                received_bytes: 400,
                sent_bytes: 800,
                blocked_ns: [28, 32],
                first_closes: [4, 8, 12, 16],
                undelivered_bytes: [20, 24],
            },
        }
    );
    assert_eq!(aggregate.backend(b1).connect_failures_total(), 12);
    assert_eq!(
        aggregate.listener(listener),
        ListenerTotals {
            sessions: 8,
            waiting: 10,
            counts: ListenerCounts { accepted: 28, rejected: [4, 8, 0, 0] },
        }
    );
    let totals = aggregate.pool(pool).unwrap();
    assert_eq!((totals.counts.picks, totals.counts.no_backend, totals.counts.retries), (36, 4, 8));
    assert_eq!(
        (totals.backends.sessions, totals.backends.received_bytes, totals.backends.sent_bytes),
        (24, 440, 880)
    );
    assert_eq!((totals.connect.count(), totals.connect.sum_s()), (4, 0.004));
    assert_eq!((aggregate.sessions(), aggregate.pool_sessions(pool)), (8, 8));
    let shard = aggregate.shard(ShardId(1));
    assert_eq!((shard.edition.version.0, shard.sessions, shard.buffers_free), (1, 4, 50));
    assert_eq!((shard.counts.turns, shard.counts.enters, shard.counts.completions), (20, 40, 60));
    assert_eq!((shard.counts.cq_overflow, shard.counts.starved), (2, 4));
    assert_eq!(aggregate.ends().map(|(_, count)| count).sum::<u64>(), 24);
}

#[test]
fn the_load_elsewhere_is_the_sum_of_the_others_and_falls_back_to_zero() {
    let snapshot = VersionChain::new().next(&["b1", "b2"]);
    let b1 = snapshot.pools[0].backends[0].id;
    let mut aggregate = Aggregate::new(3);
    aggregate.adopt(&snapshot);
    for (shard, sessions) in [(0, 1), (1, 10), (2, 100)] {
        aggregate.fold(backend_box(shard, 1, &[row(b1, sessions, 0, 0)]), at_ms(0));
    }
    assert_eq!(aggregate.load_elsewhere(ShardId(0)), [(b1, 110)]);
    assert_eq!(aggregate.load_elsewhere(ShardId(2)), [(b1, 11)]);
    // A box without the row says that the shard has no session of it.
    aggregate.fold(backend_box(1, 1, &[]), at_ms(1));
    assert_eq!(aggregate.load_elsewhere(ShardId(0)), [(b1, 100)]);
    aggregate.ended(ShardId(2));
    // Said again until the shard has been handed it.
    for _ in 0..2 {
        assert_eq!(aggregate.load_elsewhere(ShardId(0)), [(b1, 0)]);
    }
    aggregate.told_load(ShardId(0));
    assert_eq!(aggregate.load_elsewhere(ShardId(0)), []);
    assert_eq!((aggregate.backend(b1).sessions, aggregate.sessions()), (1, 1));
}

#[test]
fn a_removed_backend_lingers_until_every_shard_is_done_with_it() {
    let mut config = VersionChain::new();
    let first = config.next(&["b1", "b2"]);
    let (pool, b1) = (first.pools[0].id, first.pools[0].backends[0].id);
    let mut aggregate = Aggregate::new(2);
    aggregate.adopt(&first);
    aggregate.fold(backend_box(0, 1, &[row(b1, 2, 2, 10)]), at_ms(0));
    aggregate.fold(empty(1, 1), at_ms(0));
    assert_eq!(aggregate.lingering().count(), 0);
    let second = config.next(&["b2"]);
    aggregate.adopt(&second);
    let lingering: Vec<Lingering> = aggregate.lingering().collect();
    assert_eq!(lingering.len(), 1);
    assert_eq!((lingering[0].id, lingering[0].name.as_str()), (b1, "web/b1"));
    assert_eq!((lingering[0].sessions, lingering[0].totals.counts.received_bytes), (2, 10));
    assert_eq!(lingering[0].address, "10.0.0.1:80".parse().unwrap());
    assert_eq!(aggregate.stats(&second, Some("web/b1")).unwrap().sessions, 2);
    // Shard 0 is done with it, but shard 1 is still under the old version: its last counts
    // come.
    aggregate.fold(backend_box(0, 2, &[row(b1, 0, 0, 5)]), at_ms(1));
    assert_eq!(aggregate.lingering().count(), 0);
    aggregate.fold(backend_box(1, 1, &[row(b1, 1, 1, 7)]), at_ms(2));
    assert_eq!(
        (aggregate.lingering().count(), aggregate.backend(b1).counts.received_bytes),
        (1, 22)
    );
    aggregate.fold(backend_box(1, 2, &[row(b1, 0, 0, 1)]), at_ms(3));
    assert_eq!(aggregate.backend(b1), BackendTotals::default(), "it is forgotten");
    let totals = aggregate.pool(pool).unwrap();
    assert_eq!(
        (totals.backends.sessions, totals.backends.received_bytes),
        (3, 23),
        "its pool is not"
    );
    assert!(aggregate.stats(&second, Some("web/b1")).is_none());
}

#[test]
fn a_shard_that_has_ended_holds_nothing_back() {
    let mut config = VersionChain::new();
    let first = config.next(&["b1"]);
    let b1 = first.pools[0].backends[0].id;
    let mut aggregate = Aggregate::new(2);
    aggregate.adopt(&first);
    aggregate.fold(backend_box(0, 1, &[row(b1, 2, 2, 10)]), at_ms(0));
    aggregate.fold(backend_box(1, 1, &[row(b1, 3, 3, 10)]), at_ms(0));
    aggregate.adopt(&config.next(&[]));
    aggregate.fold(backend_box(0, 2, &[]), at_ms(1));
    assert_eq!(aggregate.backend(b1).sessions, 3);
    aggregate.ended(ShardId(1));
    assert_eq!(aggregate.backend(b1), BackendTotals::default());
    assert_eq!(aggregate.shard(ShardId(1)).sessions, 0);
}

#[test]
fn totals_of_the_process_never_fall_when_a_pool_goes() {
    let mut config = VersionChain::new();
    let first = config.next(&["b1"]);
    let (pool, b1) = (first.pools[0].id, first.pools[0].backends[0].id);
    let mut aggregate = Aggregate::new(1);
    aggregate.adopt(&first);
    let mut stats = backend_box(0, 1, &[row(b1, 0, 4, 100)]);
    let mut counted = PoolStats::new(pool);
    counted.session.record(2_000_000);
    stats.pools = vec![counted];
    aggregate.fold(stats, at_ms(0));
    let none = config.build(&Spec::default());
    aggregate.adopt(&none);
    aggregate.fold(empty(0, 2), at_ms(1));
    assert!(aggregate.pool(pool).is_none() && aggregate.stats(&none, Some("web")).is_none());
    let all = aggregate.stats(&none, None).unwrap();
    assert_eq!((all.received_bytes_total, all.sent_bytes_total), (100, 200));
    assert_eq!(all.session_duration_s.unwrap().count, 1);
    assert_eq!(all.pools, []);
}

#[test]
fn rates_and_busy_are_over_the_last_second() {
    let snapshot = VersionChain::new().next(&["b1"]);
    let (listener, b1) = (snapshot.listeners[0].id, snapshot.pools[0].backends[0].id);
    let mut aggregate = Aggregate::new(2);
    aggregate.adopt(&snapshot);
    let fold = |aggregate: &mut Aggregate, shard, ms, accepted, bytes| {
        let mut stats = backend_box(shard, 1, &[row(b1, 0, accepted, bytes)]);
        stats.listeners = vec![ListenerStats { id: listener, ..Default::default() }];
        stats.listeners[0].counts.accepted = accepted;
        stats.counts.busy_ns = bytes * 1000;
        aggregate.fold(stats, at_ms(ms));
    };
    // What was counted before the first box is no rate.
    fold(&mut aggregate, 0, 0, 1_000_000, 1_000_000);
    fold(&mut aggregate, 1, 0, 1_000_000, 1_000_000);
    for quarter in 1..=4 {
        fold(&mut aggregate, 0, quarter * 250, 10, 100_000);
        let early = aggregate.stats(&snapshot, None).unwrap().session_rate_per_s;
        assert_eq!(early > 0.0, quarter == 4, "{early}");
    }
    fold(&mut aggregate, 1, 2000, 20, 2_000_000);
    let all = aggregate.stats(&snapshot, None).unwrap();
    assert_eq!(all.session_rate_per_s, 40.0 + 10.0);
    assert_eq!(all.received_bytes_per_s, 400_000.0 + 1_000_000.0);
    assert_eq!(all.sent_bytes_per_s, 800_000.0 + 2_000_000.0);
    for subject in ["web", "web/b1"] {
        let part = aggregate.stats(&snapshot, Some(subject)).unwrap();
        assert_eq!((part.subject.as_str(), part.session_rate_per_s), (subject, 50.0));
        assert_eq!(part.received_bytes_per_s, 1_400_000.0);
    }
    assert_eq!(aggregate.shard(ShardId(0)).busy, 0.4);
    assert_eq!(aggregate.shard(ShardId(1)).busy, 1.0);
    // A second in which nothing happens.
    fold(&mut aggregate, 0, 2000, 0, 0);
    fold(&mut aggregate, 1, 3000, 0, 0);
    assert_eq!(aggregate.stats(&snapshot, None).unwrap().session_rate_per_s, 0.0);
    assert_eq!(aggregate.shard(ShardId(1)).busy, 0.0);
}

#[test]
fn stats_show_percentiles_ends_and_pools() {
    let snapshot = VersionChain::new().next(&["b1"]);
    let pool = snapshot.pools[0].id;
    let mut aggregate = Aggregate::new(1);
    aggregate.adopt(&snapshot);
    let mut stats = empty(0, 1);
    let mut counted = PoolStats::new(pool);
    for ms in 1..=1000 {
        counted.connect.record(ms * 1000);
    }
    (counted.counts.no_backend, counted.counts.retries) = (3, 4);
    let reason = CloseReason { by: By::Backend, during: During::Relaying, why: Why::Reset };
    (0..5).for_each(|_| counted.ends.count(reason));
    stats.pools = vec![counted];
    stats.listeners = vec![ListenerStats { id: snapshot.listeners[0].id, ..Default::default() }];
    stats.listeners[0].counts.accepted = 8;
    aggregate.fold(stats, at_ms(0));
    let all = aggregate.stats(&snapshot, Some("")).unwrap();
    let near = |value: Option<f64>, wanted: f64| (value.unwrap() / wanted - 1.0).abs() < 0.01;
    let connect = all.connect_duration_s.unwrap();
    assert_eq!(connect.count, 1000);
    assert!(near(connect.p50, 0.5) && near(connect.p99, 0.99), "{connect:?}");
    assert!(near(connect.p999, 0.999), "{connect:?}");
    let none = Percentiles { count: 0, p50: None, p99: None, p999: None };
    assert_eq!(all.first_byte_duration_s, Some(none), "what was not counted is no 0");
    assert_eq!(all.sessions_total, 8);
    let ends = all.ends.unwrap();
    assert_eq!(ends.len(), 1);
    let end = &ends[0];
    assert_eq!((end.by, end.during, end.why), (By::Backend, During::Relaying, Why::Reset));
    assert_eq!((end.code.as_str(), end.count), ("SD", 5));
    assert_eq!((all.pools[0].name.as_str(), all.pools[0].no_backend_total), ("web", 3));
    assert_eq!((all.pools[0].retries_total, all.pools[0].connect_duration_s), (4, connect));
    assert_eq!(aggregate.stats(&snapshot, Some("web")).unwrap().ends, Some(ends));
    let backend = aggregate.stats(&snapshot, Some("web/b1")).unwrap();
    let kept = (backend.connect_duration_s, backend.session_duration_s, backend.ends);
    assert_eq!(kept, (None, None, None), "what is not kept for a backend is no 0");
    assert_eq!(aggregate.name_of(snapshot.pools[0].backends[0].id), Some("web/b1"));
    assert_eq!(aggregate.name_of(BackendId(99)), None);
    let none = ["wbe", "web/b2", "/", "web/", "/b1"];
    assert!(none.iter().all(|subject| aggregate.stats(&snapshot, Some(subject)).is_none()));
}

#[test]
fn buckets_hold_what_is_at_most_as_long_as_they_say() {
    let mut shard = PoolStats::new(PoolId(1));
    let mut durations = Durations::default();
    assert_eq!(durations.at_most(&[100, 1000]), [0, 0]);
    for us in [1, 100, 101, 999, 1000, 1020, 5_000_000_000] {
        shard.connect.record(us);
    }
    for _ in 0..2 {
        durations.add(&shard.connect);
    }
    assert_eq!(durations.at_most(&[100, 1000, 2500, 1_000_000]), [4, 10, 12, 12]);
    assert_eq!(durations.count(), 14);
    assert_eq!(durations.sum_s(), 10_000.006_442, "the longest counts with all of it");
}

#[test]
fn what_was_never_heard_of_is_zero() {
    let mut aggregate = Aggregate::new(1);
    aggregate.fold(backend_box(0, 1, &[row(BackendId(9), 3, 3, 3)]), at_ms(0));
    assert_eq!(aggregate.backend(BackendId(9)), BackendTotals::default());
    assert_eq!(aggregate.listener(ListenerId(9)), ListenerTotals::default());
    assert_eq!(aggregate.shard(ShardId(9)), ShardTotals::default());
    assert_eq!(aggregate.stats(&Snapshot::empty(), None).unwrap().received_bytes_total, 3);
}

#[test]
fn one_that_is_added_again_takes_over_the_sessions_of_its_name_and_address() {
    let mut config = VersionChain::new();
    let first = config.next(&["b1", "b2"]);
    let old = first.pools[0].backends[0].id;
    let mut aggregate = Aggregate::new(1);
    aggregate.adopt(&first);
    aggregate.fold(backend_box(0, 1, &[row(old, 2, 5, 10)]), at_ms(0));
    aggregate.adopt(&config.next(&["b2"]));
    assert_eq!((aggregate.lingering().count(), aggregate.removed_named("web/b1")), (1, vec![old]));
    let third = config.next(&["b1", "b2"]);
    let new = third.pool("web").unwrap().backend("b1").unwrap().id;
    assert_ne!(new, old);
    aggregate.adopt(&third);
    assert_eq!(aggregate.lingering().count(), 0, "no twin");
    aggregate.fold(backend_box(0, 3, &[row(old, 2, 0, 1), row(new, 1, 1, 4)]), at_ms(1));
    let seen = aggregate.backend(new);
    assert_eq!((seen.sessions, seen.counts.sessions, seen.counts.received_bytes), (3, 6, 15));
    assert_eq!(aggregate.stats(&third, Some("web/b1")).unwrap().sessions, 3);
    // The last session of the old one ends: its counts stay.
    aggregate.fold(backend_box(0, 3, &[row(old, 0, 0, 1), row(new, 1, 0, 0)]), at_ms(2));
    let seen = aggregate.backend(new);
    assert_eq!((seen.sessions, seen.counts.sessions, seen.counts.received_bytes), (1, 6, 16));
    assert_eq!(aggregate.removed_named("web/b1"), []);
}

#[test]
fn one_that_is_removed_twice_is_one_row_until_the_last_session() {
    let mut config = VersionChain::new();
    let first = config.next(&["b1", "b2"]);
    let old = first.pools[0].backends[0].id;
    let mut aggregate = Aggregate::new(1);
    aggregate.adopt(&first);
    aggregate.fold(backend_box(0, 1, &[row(old, 2, 2, 0)]), at_ms(0));
    aggregate.adopt(&config.next(&["b2"]));
    aggregate.adopt(&config.next(&["b1", "b2"]));
    aggregate.adopt(&config.next(&["b2"]));
    // Nothing runs on the second one, and it keeps the row of the first.
    aggregate.fold(backend_box(0, 4, &[row(old, 2, 0, 0)]), at_ms(1));
    let sessions: Vec<u64> = aggregate.lingering().map(|it| it.sessions).collect();
    assert_eq!((sessions, aggregate.removed_named("web/b1").len()), (vec![2], 2));
    aggregate.fold(empty(0, 4), at_ms(2));
    aggregate.fold(empty(0, 4), at_ms(3));
    assert_eq!((aggregate.lingering().count(), aggregate.removed_named("web/b1")), (0, vec![]));
}

#[test]
fn a_backend_that_ends_sessions_early_is_named_for_two_minutes() {
    let snapshot = VersionChain::new().next(&["b1", "b2"]);
    let [b1, b2] = [0, 1].map(|index| snapshot.pools[0].backends[index].id);
    let mut aggregate = Aggregate::new(1);
    aggregate.adopt(&snapshot);
    let names = |aggregate: &Aggregate| {
        let (count, names) = aggregate.ending_early(8);
        assert_eq!(count, names.len());
        names.into_iter().map(str::to_owned).collect::<Vec<_>>()
    };
    let mut early = row(b1, 0, 12, 0);
    early.counts.early_closes = 11;
    aggregate.fold(backend_box(0, 1, &[early, row(b2, 0, 100, 0)]), at_ms(0));
    assert_eq!(names(&aggregate), ["web/b1"]);
    assert_eq!(aggregate.take_early(), [("web/b1".to_owned(), 11, 12)]);
    assert_eq!(names(&aggregate), ["web/b1"], "an event is told once, a warning stands");
    aggregate.fold(backend_box(0, 1, &[]), at_ms(119_000));
    assert_eq!(names(&aggregate), ["web/b1"]);
    aggregate.fold(backend_box(0, 1, &[]), at_ms(121_000));
    assert_eq!(names(&aggregate), [""; 0]);
}
