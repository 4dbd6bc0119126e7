//! Control's ledger against shards that say what a test wants.

use super::*;
use weir_proto::ids::{IdSource, ListenerId, Version};
use weir_proto::spec::{BackendSpec, ListenerSpec, PoolSpec, Rate, Spec};

/// The snapshots of one listener whose limit changes.
struct LimitVersions {
    ids: IdSource,
    now: Snapshot,
}

impl LimitVersions {
    fn new() -> LimitVersions {
        LimitVersions { ids: IdSource::default(), now: Snapshot::empty() }
    }

    fn adopt(&mut self, leases: &mut Leases, max_sessions: Option<u32>) {
        let listener = ListenerSpec {
            max_sessions,
            ..ListenerSpec::new("web".parse().unwrap(), vec!["127.0.0.1:80".parse().unwrap()])
        };
        let spec = Spec {
            listener: [("web".parse().unwrap(), listener)].into(),
            pool: [("web".parse().unwrap(), PoolSpec::default().into())].into(),
        };
        let version = self.now.version.next();
        let next = Snapshot::build(&spec, version, &self.now, &mut self.ids).unwrap();
        leases.adopt(&next, &self.now);
        self.now = next;
    }

    fn of(&self) -> ListenerId {
        self.now.listeners[0].id
    }

    fn say(&self, leases: &mut Leases, shard: u16, (given, held, wants): (u64, u32, bool)) {
        let wish = if wants { Wish::Needed } else { Wish::None };
        let want = Want { of: Limited::Listener(self.of()), given, held, wish };
        leases.hear(ShardId(shard), self.now.edition(), &[want]);
    }
}

/// What a shard is sent: all that it was given, and what it is to keep.
fn sent(leases: &mut Leases, shard: u16) -> Option<(u64, Option<u32>)> {
    let mut sent = None;
    leases.flush(ShardId(shard), |order| {
        let Order::Credit(credits) = order else { panic!("{order:?}") };
        sent = Some((credits[0].given, credits[0].keep));
        Ok(())
    });
    sent
}

fn leased(leases: &Leases) -> u64 {
    leases.leased().map(|it| it.leased).sum()
}

/// A limit of `most` on `shards` shards, all of which have adopted it and hold nothing.
fn limited(most: u32, shards: u16) -> (Leases, LimitVersions) {
    let (mut leases, mut config) = (Leases::new(shards), LimitVersions::new());
    config.adopt(&mut leases, Some(most));
    for shard in 0..shards {
        config.say(&mut leases, shard, (0, 0, false));
    }
    (leases, config)
}

#[test]
fn who_wants_gets_half_of_what_is_free_and_never_more_than_there_is() {
    let (mut leases, config) = limited(4, 2);
    config.say(&mut leases, 0, (0, 0, true));
    assert_eq!(sent(&mut leases, 0), Some((2, None)));
    config.say(&mut leases, 0, (2, 2, true));
    assert_eq!(sent(&mut leases, 0), Some((3, None)));
    config.say(&mut leases, 1, (0, 0, true));
    assert_eq!(sent(&mut leases, 1), Some((1, None)));
    assert_eq!(leased(&leases), 4);
    // The first one has idle credits: they are wanted back.
    config.say(&mut leases, 1, (1, 1, true));
    assert_eq!(sent(&mut leases, 0), Some((3, Some(4))));
    config.say(&mut leases, 0, (3, 1, false));
    assert_eq!(sent(&mut leases, 1), Some((2, None)));
    assert_eq!(leased(&leases), 3, "one of the two is kept for the next");
    assert_eq!(sent(&mut leases, 0), Some((3, None)), "nobody lacks any more");
}

#[test]
fn one_credit_goes_from_shard_to_shard() {
    let (mut leases, config) = limited(1, 3);
    for shard in 0..3 {
        config.say(&mut leases, shard, (0, 0, true));
    }
    assert_eq!(sent(&mut leases, 0), Some((1, Some(0))));
    config.say(&mut leases, 0, (1, 1, true)); // it has another client
    for shard in [1, 2] {
        assert_eq!(sent(&mut leases, shard), Some((0, Some(0))));
    }
    config.say(&mut leases, 0, (1, 0, true)); // given back
    assert_eq!(sent(&mut leases, 1), Some((1, Some(0))), "it has waited longest");
    config.say(&mut leases, 1, (1, 0, false));
    assert_eq!(sent(&mut leases, 2).map(|it| it.0), Some(1));
    config.say(&mut leases, 2, (1, 0, false));
    assert_eq!(sent(&mut leases, 0).map(|it| it.0), Some(2));
}

#[test]
fn nobody_gets_any_before_each_shard_has_said_what_it_uses() {
    let (mut leases, mut config) = (Leases::new(3), LimitVersions::new());
    config.adopt(&mut leases, None);
    config.adopt(&mut leases, Some(10));
    config.say(&mut leases, 0, (0, 7, true));
    config.say(&mut leases, 1, (0, 2, false));
    assert_eq!(sent(&mut leases, 0), None);
    config.say(&mut leases, 2, (0, 0, false));
    assert_eq!(sent(&mut leases, 0), Some((1, None)));
    // A fenced one is not waited for; what it says later counts.
    config.adopt(&mut leases, None);
    leases.set_fenced(ShardId(2), true);
    config.adopt(&mut leases, Some(10));
    config.say(&mut leases, 0, (1, 8, false));
    config.say(&mut leases, 1, (0, 2, true));
    assert_eq!(leased(&leases), 10);
    config.say(&mut leases, 2, (0, 5, false));
    assert_eq!((leased(&leases), sent(&mut leases, 0)), (15, Some((1, Some(0)))));
}

#[test]
fn a_word_of_before_the_limit_is_not_about_it() {
    let (mut leases, mut config) = (Leases::new(1), LimitVersions::new());
    config.adopt(&mut leases, None);
    let before = config.now.version;
    config.adopt(&mut leases, Some(3));
    let want = Want { of: Limited::Listener(config.of()), given: 0, held: 0, wish: Wish::Needed };
    leases.hear(ShardId(0), Edition::of(before), &[want]);
    assert_eq!(sent(&mut leases, 0), None);
}

#[test]
fn credits_of_a_dead_shard_are_free_when_it_has_ended() {
    let (mut leases, config) = limited(1, 2);
    config.say(&mut leases, 0, (0, 0, true));
    assert_eq!(sent(&mut leases, 0), Some((1, None)));
    config.say(&mut leases, 1, (0, 0, true));
    assert_eq!(leased(&leases), 1);
    leases.ended(ShardId(0), Now::default());
    assert_eq!(sent(&mut leases, 1).map(|it| it.0), Some(1));
    // What the dead one has said comes too late, its successor begins again.
    config.say(&mut leases, 0, (1, 1, true));
    assert_eq!(leased(&leases), 1);
    leases.built_again(ShardId(0));
    config.say(&mut leases, 0, (0, 0, true));
    config.say(&mut leases, 1, (1, 0, false));
    assert_eq!(sent(&mut leases, 0).map(|it| it.0), Some(1));
}

#[test]
fn a_lower_limit_gives_nothing_until_enough_has_come_back() {
    let (mut leases, mut config) = limited(8, 2);
    config.say(&mut leases, 0, (0, 0, true));
    config.say(&mut leases, 1, (0, 0, true));
    assert_eq!(sent(&mut leases, 0), Some((4, None)));
    // What was not sent is not given under a lower limit.
    config.adopt(&mut leases, Some(2));
    assert_eq!(leased(&leases), 4);
    config.say(&mut leases, 0, (4, 4, true));
    config.say(&mut leases, 1, (0, 0, true));
    assert_eq!(sent(&mut leases, 0), Some((4, Some(0))), "not even for one who leaves");
    assert_eq!(sent(&mut leases, 1), Some((0, Some(0))));
    config.say(&mut leases, 0, (4, 2, true));
    assert_eq!(sent(&mut leases, 0), Some((4, Some(1))), "there are as many as may be");
    assert_eq!(sent(&mut leases, 1), Some((0, Some(1))));
    config.say(&mut leases, 0, (4, 1, true));
    assert_eq!(sent(&mut leases, 1).map(|it| it.0), Some(1));
    assert_eq!(leased(&leases), 2);
    // A higher one is there at once.
    config.adopt(&mut leases, Some(9));
    assert_eq!(sent(&mut leases, 0).map(|it| it.0), Some(8));
}

#[test]
fn a_full_channel_loses_no_credit_and_says_only_the_last_word() {
    let (mut leases, config) = limited(8, 1);
    config.say(&mut leases, 0, (0, 0, true));
    leases.flush(ShardId(0), Err);
    config.say(&mut leases, 0, (0, 0, true)); // an old word: the answer is on its way
    leases.flush(ShardId(0), Err);
    assert_eq!(sent(&mut leases, 0), Some((4, None)));
    assert_eq!(sent(&mut leases, 0), None);
    config.say(&mut leases, 0, (4, 4, true));
    assert_eq!(sent(&mut leases, 0), Some((6, None)));
}

/// A pool with one backend, and its limit. `others` stays as it is.
fn with_backend(config: &mut LimitVersions, leases: &mut Leases, most: Option<u32>) -> Limited {
    let pool = |port: u16, max_sessions| {
        let address = std::net::SocketAddr::from(([127, 0, 0, 1], port)).into();
        let backend = BackendSpec { max_sessions, ..BackendSpec::new(address) };
        PoolSpec { backend: [("b1".parse().unwrap(), backend)].into(), ..PoolSpec::default() }
    };
    let mut spec = Spec::default();
    spec.pool.insert("others".parse().unwrap(), pool(1, Some(7)).into());
    spec.pool.insert("web".parse().unwrap(), pool(2, most).into());
    spec.share_with(&config.now.spec());
    let version = config.now.version.next();
    let next = Snapshot::build(&spec, version, &config.now, &mut config.ids).unwrap();
    leases.adopt(&next, &config.now);
    config.now = next;
    Limited::Backend(config.now.pool("web").unwrap().backends[0].id)
}

fn wish(
    config: &LimitVersions,
    leases: &mut Leases,
    (shard, of): (u16, Limited),
    (given, held, wish): (u64, u32, Wish),
) {
    leases.hear(ShardId(shard), config.now.edition(), &[Want { of, given, held, wish }]);
}

#[test]
fn spare_credits_are_shared_at_first_and_never_taken_from_another() {
    let (mut leases, mut config) = (Leases::new(2), LimitVersions::new());
    let of = with_backend(&mut config, &mut leases, Some(10));
    wish(&config, &mut leases, (0, of), (0, 0, Wish::Spare));
    assert_eq!(sent(&mut leases, 0), Some((5, None)), "an equal part");
    wish(&config, &mut leases, (1, of), (0, 0, Wish::Spare));
    assert_eq!(sent(&mut leases, 1), Some((5, None)));
    wish(&config, &mut leases, (0, of), (5, 5, Wish::Spare));
    assert_eq!((sent(&mut leases, 0), sent(&mut leases, 1)), (None, None), "none has to give");
    wish(&config, &mut leases, (0, of), (5, 5, Wish::Needed));
    assert_eq!(sent(&mut leases, 1), Some((5, Some(10))), "now the unused ones come back");
    wish(&config, &mut leases, (1, of), (5, 2, Wish::Spare));
    assert_eq!(sent(&mut leases, 0), Some((7, None)), "first the one who needs some");
    assert_eq!(sent(&mut leases, 1), Some((6, None)), "then who would like some");
    let of_web = leases.leased().find(|it| it.of == of).unwrap();
    assert_eq!((of_web.leased, of_web.most), (10, 10));
}

#[test]
fn a_version_looks_only_into_pools_that_it_changes() {
    let (mut leases, mut config) = (Leases::new(1), LimitVersions::new());
    let of = with_backend(&mut config, &mut leases, Some(10));
    wish(&config, &mut leases, (0, of), (0, 0, Wish::Spare));
    sent(&mut leases, 0);
    let mosts =
        |leases: &Leases| leases.leased().map(|it| (it.most, it.leased)).collect::<Vec<_>>();
    assert_eq!(mosts(&leases), [(7, 0), (10, 10)]);
    with_backend(&mut config, &mut leases, Some(3));
    assert_eq!(mosts(&leases), [(7, 0), (3, 10)], "no session is cut");
    with_backend(&mut config, &mut leases, None);
    assert_eq!(mosts(&leases), [(7, 0)]);
    with_backend(&mut config, &mut leases, Some(4));
    wish(&config, &mut leases, (0, of), (10, 4, Wish::Needed));
    assert_eq!(sent(&mut leases, 0), Some((10, Some(4))), "it has said what it uses: all");
}

#[test]
fn a_limit_of_the_next_version_is_known_before_shards_have_it() {
    let (mut leases, mut config) = (Leases::new(2), LimitVersions::new());
    let spec = |config: &mut LimitVersions, limit: Option<u32>, names: &[&str]| {
        let spec_of = |name: &&str| {
            let backend = BackendSpec {
                max_sessions: limit,
                ..BackendSpec::new("127.0.0.1:1".parse().unwrap())
            };
            (name.parse().unwrap(), backend)
        };
        let backend = names.iter().map(spec_of).collect();
        let pool = PoolSpec { backend, ..PoolSpec::default() };
        let spec = Spec { pool: [("web".parse().unwrap(), pool.into())].into(), ..Spec::default() };
        Snapshot::build(&spec, config.now.version.next(), &config.now, &mut config.ids).unwrap()
    };
    let mosts = |leases: &Leases| leases.leased().map(|it| it.most).collect::<Vec<_>>();
    let first = spec(&mut config, None, &["a", "b"]);
    leases.adopt(&first, &config.now);
    config.now = first;
    let next = spec(&mut config, Some(2), &["a"]);
    let pool = next.pool("web").unwrap();
    leases.prepare(pool, config.now.pool("web"), next.edition());
    assert_eq!(mosts(&leases), [2]);
    // It is built by the version that knows no limit: it may use any number until it says more.
    leases.ended(ShardId(1), Now::default());
    leases.built_again(ShardId(1));
    leases.settle(&next, &config.now);
    config.now = next;
    let of = Limited::Backend(config.now.pool("web").unwrap().backends[0].id);
    wish(&config, &mut leases, (0, of), (0, 0, Wish::Needed));
    assert_eq!(sent(&mut leases, 0), None);
    wish(&config, &mut leases, (1, of), (0, 2, Wish::None));
    assert_eq!(sent(&mut leases, 0), Some((0, Some(2))), "both are in use");
    // A pool that is gone takes its limits along, at last.
    let none =
        Snapshot::build(&Spec::default(), config.now.version.next(), &config.now, &mut config.ids);
    leases.settle(&none.unwrap(), &config.now);
    assert_eq!((leases.sweep(1), mosts(&leases)), (false, vec![]));
}

#[test]
fn credits_of_a_rate_that_a_dead_shard_had_are_free_a_second_later() {
    let (mut leases, mut config) = (Leases::new(2), LimitVersions::new());
    let listener = ListenerSpec {
        rate: Some(Rate::per_second(20)),
        ..ListenerSpec::new("web".parse().unwrap(), vec!["127.0.0.1:80".parse().unwrap()])
    };
    let spec = Spec {
        listener: [("web".parse().unwrap(), listener)].into(),
        pool: [("web".parse().unwrap(), PoolSpec::default().into())].into(),
    };
    let next = Snapshot::build(&spec, Version(1), &config.now, &mut config.ids).unwrap();
    leases.adopt(&next, &config.now);
    config.now = next;
    let of = Limited::Rate(config.of());
    wish(&config, &mut leases, (0, of), (0, 0, Wish::Needed));
    assert_eq!(sent(&mut leases, 0), Some((1, None)), "half of a burst of two");
    wish(&config, &mut leases, (1, of), (0, 0, Wish::Needed));
    assert_eq!(sent(&mut leases, 1), Some((1, None)));
    let at = |ms: u64| Now::from_nanos(ms * 1_000_000);
    leases.ended(ShardId(0), at(5000));
    wish(&config, &mut leases, (1, of), (1, 1, Wish::Needed));
    leases.look(at(5999));
    assert_eq!(leased(&leases), 2);
    assert_eq!(sent(&mut leases, 1), Some((1, Some(2))), "it may have been used just now");
    leases.look(at(6000));
    assert_eq!(sent(&mut leases, 1).map(|it| it.0), Some(2));
    leases.look(at(9000));
    assert_eq!(leased(&leases), 2);
}
