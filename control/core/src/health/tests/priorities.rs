//! Priority groups as control sees them: which one is kept, and who stands aside.

use BackendHealth::{Aside, Down, Up};

use super::damping::{DampedPool, at};
use super::*;
use weir_proto::spec::Failover;

/// Three backends of priorities 0, 1 and 2, of which one is kept. The pool is called web.
fn writer_and_two(kind: HealthKind) -> DampedPool {
    let mut pool = DampedPool::new(3, 50, kind);
    pool.change(|spec| {
        spec.failover = Failover::Stay;
        (0..).zip(spec.backend.values_mut()).for_each(|(priority, it)| it.priority = priority);
    });
    pool.seconds(3);
    pool
}

fn standings(pool: &DampedPool) -> [BackendHealth; 3] {
    ["b1", "b2", "b3"].map(|name| pool.standing(name))
}

fn remembered(pool: &DampedPool) -> Vec<u8> {
    pool.health.to_remember().into_values().collect()
}

#[test]
fn a_group_is_kept_until_it_fails() {
    let mut pool = writer_and_two(HealthKind::Tcp);
    assert_eq!(standings(&pool), [Up, Aside, Aside]);
    pool.health.take_moved();
    pool.health.take_restated();
    pool.good = ["b2", "b3"].into();
    pool.seconds(4);
    assert_eq!((standings(&pool), remembered(&pool)), ([Aside, Up, Aside], vec![1]));
    assert_eq!(pool.health.take_moved().len(), 1);
    assert_eq!(pool.health.take_restated().len(), 3, "shards hear of each");
    pool.good = ["b1", "b2", "b3"].into();
    pool.seconds(20);
    assert_eq!(standings(&pool), [Aside, Up, Aside], "the old writer is back");
    assert!(pool.health.take_moved().is_empty());
    pool.good = ["b1", "b3"].into();
    pool.seconds(4);
    assert_eq!(standings(&pool), [Up, Aside, Aside], "the first, not the next");
    // One after the other fails; when none is up, it stays where it was.
    pool.good.clear();
    pool.seconds(4);
    assert_eq!((standings(&pool), remembered(&pool)), ([Aside, Aside, Down], vec![2]));
}

#[test]
fn a_pool_with_one_group_has_no_news_of_groups() {
    let mut pool = DampedPool::new(2, 0, HealthKind::Tcp);
    pool.seconds(3);
    pool.good.clear();
    pool.seconds(20);
    assert_eq!([pool.standing("b1"), pool.standing("b2")], [Down, Down]);
    pool.good = ["b1", "b2"].into();
    pool.seconds(20);
    assert_eq!([pool.standing("b1"), pool.standing("b2")], [Up, Up]);
    assert!(pool.health.take_moved().is_empty());
}

#[test]
fn an_ejection_moves_the_writer_and_a_drain_does() {
    let mut pool = writer_and_two(HealthKind::None);
    assert!(pool.eject("b1"));
    assert_eq!(standings(&pool), [Aside, Up, Aside]);
    pool.change(|spec| spec.backend.values_mut().nth(1).unwrap().state = Admin::Drain);
    assert_eq!(standings(&pool), [Aside, Aside, Up], "b1 is held down still");
    pool.change(|spec| spec.backend.values_mut().nth(1).unwrap().state = Admin::Ready);
    assert_eq!(standings(&pool), [Aside, Aside, Up]);
}

/// The group of b2 is in use, and b1, the old writer, is back.
fn second_is_in_use() -> DampedPool {
    let mut pool = writer_and_two(HealthKind::Tcp);
    pool.good = ["b2", "b3"].into();
    pool.seconds(4);
    pool.good = ["b1", "b2", "b3"].into();
    pool.seconds(20);
    assert_eq!(standings(&pool), [Aside, Up, Aside]);
    pool
}

fn numbered(pool: &mut DampedPool, priorities: [u8; 3]) {
    pool.change(|spec| {
        spec.backend.values_mut().zip(priorities).for_each(|(it, number)| it.priority = number);
    });
}

#[test]
fn a_group_that_is_kept_is_its_backends_and_not_its_number() {
    let mut pool = second_is_in_use();
    numbered(&mut pool, [0, 9, 2]);
    assert_eq!((standings(&pool), remembered(&pool)), ([Aside, Up, Aside], vec![9]));
    numbered(&mut pool, [9, 0, 2]);
    assert_eq!((standings(&pool), remembered(&pool)), ([Aside, Up, Aside], vec![0]));
    // Two groups become one: it is where the one in use has gone.
    numbered(&mut pool, [1, 3, 3]);
    assert_eq!(standings(&pool), [Aside, Up, Up]);
}

#[test]
fn the_only_backend_of_a_kept_group_keeps_it_under_another_address() {
    let mut pool = writer_and_two(HealthKind::Tcp);
    let moved = |pool: &mut DampedPool, address: &str| {
        let address = address.parse().unwrap();
        pool.change(|spec| spec.backend.values_mut().next().unwrap().address = address);
    };
    moved(&mut pool, "127.0.0.1:7001");
    assert_eq!(standings(&pool), [Up, Aside, Aside], "nobody serves in its place");
    pool.seconds(4);
    assert_eq!((standings(&pool), remembered(&pool)), ([Up, Aside, Aside], vec![0]));
    pool.good = ["b2", "b3"].into();
    moved(&mut pool, "127.0.0.1:7002");
    assert_eq!(standings(&pool), [Up, Aside, Aside]);
    pool.seconds(4);
    assert_eq!(standings(&pool), [Aside, Up, Aside], "its checks fail");
}

#[test]
fn each_change_of_the_group_in_use_is_remembered() {
    let mut pool = second_is_in_use();
    assert!(pool.health.take_remember_news());
    assert!(!pool.health.take_remember_news(), "it is told once");
    pool.change(|spec| spec.failover = Failover::Auto);
    assert!(pool.health.take_remember_news() && remembered(&pool).is_empty());
    pool.change(|spec| spec.failover = Failover::Stay);
    assert!(pool.health.take_remember_news() && remembered(&pool) == [0]);
}

#[test]
fn auto_for_a_moment_is_the_way_back() {
    let mut pool = writer_and_two(HealthKind::Tcp);
    pool.good = ["b2", "b3"].into();
    pool.seconds(4);
    pool.good = ["b1", "b2", "b3"].into();
    pool.seconds(20);
    pool.health.take_restated();
    pool.change(|spec| spec.failover = Failover::Auto);
    assert_eq!((standings(&pool), remembered(&pool)), ([Up, Up, Up], vec![]));
    assert_eq!(pool.health.take_restated().len(), 3);
    pool.change(|spec| spec.failover = Failover::Stay);
    assert_eq!((standings(&pool), remembered(&pool)), ([Up, Aside, Aside], vec![0]));
}

#[test]
fn a_start_goes_on_with_the_group_that_was_in_use() {
    let pool = writer_and_two(HealthKind::Tcp);
    let snapshot = &pool.world.snapshot;
    let name = snapshot.pools[0].name.to_string();
    for (priority, expected) in [(1, [Aside, Up, Aside]), (7, [Up, Aside, Aside])] {
        let mut health = Health::new();
        health.remember([(name.clone(), priority), ("gone".to_owned(), 3)].into());
        health.adopt(snapshot, at(0));
        let ids = ["b1", "b2", "b3"].map(|name| pool.world.id(name));
        assert_eq!(ids.map(|id| health.standing(id)), expected, "{priority} was in use");
    }
}

#[test]
fn shares_follow_health_where_groups_spill() {
    let mut pool = DampedPool::new(4, 50, HealthKind::Tcp);
    pool.change(|spec| {
        spec.spill = weir_proto::spec::Percent::new(70);
        spec.backend.values_mut().skip(2).for_each(|it| it.priority = 1);
    });
    pool.seconds(3);
    let shares = |pool: &DampedPool| {
        let groups = pool.health.groups_of(pool.world.snapshot.pools[0].id);
        groups.iter().map(|(priority, _, share)| (*priority, *share)).collect::<Vec<_>>()
    };
    assert_eq!(shares(&pool), [(0, 10_000), (1, 0)]);
    pool.good = ["b2", "b3", "b4"].into();
    pool.seconds(4);
    assert_eq!(shares(&pool), [(0, 7_143), (1, 2_857)]);
    let all = ["b1", "b2", "b3", "b4"].map(|name| pool.standing(name));
    assert_eq!(all, [Down, Up, Up, Up], "none stands aside");
}
