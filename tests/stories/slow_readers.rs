//! A thousand readers of 1 KiB a second with writers that never stop: weir's memory is bounded, and
//! those beside them feel little of it.

use std::net::SocketAddr;
use std::time::Duration;

use weir_tests::baseline::{count, percentile};
use weir_tests::clock;
use weir_tests::crowd::Crowd;
use weir_tests::crowd::pingers::Pingers;
use weir_tests::crowd::talker::{Talk, Talker};
use weir_tests::net::{self, Peer, Script};
use weir_tests::size;
use weir_tests::story::{Plan, Set};

/// What weir may hold of a session, in bytes: two directions of 64 KiB, and a tenth more.
const HELD_MAX: u64 = 2 * (64 << 10) * 11 / 10;

/// Memory growth of an idle weir without sessions: allocator, aggregate and the like.
const SLACK: u64 = 16 << 20;

type Slow = Talker<fn(u64) -> Talk>;

fn slow(number: u64) -> Talk {
    Talk { read_rate: Some(1 << 10), chunk: 32 << 10, ..Talk::plain(number, 0, u64::MAX) }
}

/// The listener `web` leads to writers in the crowd, the listener at the address to pingers.
fn two_pools(crowd: &mut Crowd<Slow>, plan: Plan) -> (Set, SocketAddr, Pingers) {
    let ip = net::own_ip();
    let [writers, echo] = [net::listener(ip), net::listener(ip)];
    let [to_writers, to_echo] =
        [&writers, &echo].map(|listener| listener.local_addr().expect("it is bound"));
    crowd.listen(writers, |_| Talker::server(slow as fn(u64) -> Talk));
    let mut set = plan.extern_backend("b1", to_writers).prepare();
    let ping = net::free(ip);
    set.weir.write(&format!(
        "{}\n[listener.ping]\nbind = \"{ping}\"\npool = \"ping\"\n[pool.ping]\n\
         health = {{ kind = \"none\" }}\n[pool.ping.backend]\ne1 = {{ address = \"{to_echo}\" }}\n",
        set.objects
    ));
    set.weir.run();
    (set, ping, Pingers::new(echo))
}

fn come(crowd: &mut Crowd<Slow>, to: SocketAddr, readers: u64) {
    for number in 0..readers {
        let stream = Peer::connect_narrow(to).into_stream();
        crowd.join(stream, Talker::client(number, slow as fn(u64) -> Talk));
        crowd.turn(Duration::ZERO);
    }
    // Until the writers are held back.
    let mut last = (0, clock::now());
    crowd.turn_until(Duration::from_secs(60), "the writers to be held back", |crowd| {
        let now: u64 = crowd.members().map(|talker| talker.sent).sum();
        if now > last.0 + readers * (4 << 10) {
            last = (now, clock::now());
        }
        clock::now() - last.1 > Duration::from_millis(500)
    });
}

/// Turns for a while; how long 99 of 100 pings took, at most.
fn p99(crowd: &mut Crowd<Slow>, pingers: &Pingers, span: Duration) -> Duration {
    let _ = pingers.take();
    crowd.turn_for(span);
    let mut rounds = pingers.take();
    assert!(rounds.len() > pingers.served(), "void: only {} pings", rounds.len());
    percentile(&mut rounds, 0.99)
}

#[test]
fn a_thousand_slow_readers_cost_bounded_memory() {
    let _alone = size::alone();
    let mut crowd = Crowd::new();
    let (set, ping, pingers) = two_pools(&mut crowd, Plan::new(0, Script::Silent));
    let normal = size::NORMAL_STREAMS.count();
    pingers.ping(ping, normal);
    let span = Duration::from_secs(size::SLOW_SECONDS.get());
    let before = p99(&mut crowd, &pingers, span / 3);
    let resident = set.weir.resident_bytes();
    let readers = size::SLOW_READERS.get();
    come(&mut crowd, set.weir.web, readers);
    let kept = set.weir.kept_waiting();
    let beside = p99(&mut crowd, &pingers, span);
    let kept = set.weir.kept_waiting() - kept;
    let grown = set.weir.resident_bytes().saturating_sub(resident);
    let most = readers * HELD_MAX + SLACK;
    eprintln!(
        "{readers} slow readers: {grown} bytes more; p99 {before:?}, beside them {beside:?} (weir \
         was kept waiting {kept:?})"
    );
    assert!(grown <= most, "{grown} bytes for {readers} slow readers, at most {most}");
    let limit = (before * 2).max(Duration::from_millis(20)) + kept / 20;
    assert!(beside <= limit, "p99 {before:?} without slow readers, {beside:?} beside them");
    assert_eq!(pingers.served(), normal, "nobody beside them was cut");
    let page = set.weir.get("/metrics").body;
    let ended = count(&page, "weir_session_ends_total", &[]);
    assert_eq!(ended, 0, "sessions ended, and nobody has ended any");
}

/// Slow readers hold buffers; whoever reads must not wait for those who do not. There is an end to
/// it: 16,384 of them on one shard (DESIGN.md, Limits).
#[test]
fn slow_readers_do_not_take_the_last_buffer() {
    let _alone = size::alone();
    let mut crowd = Crowd::new();
    let plan = Plan::new(0, Script::Silent).shards(1);
    let (set, ping, pingers) = two_pools(&mut crowd, plan);
    come(&mut crowd, set.weir.web, 600);
    pingers.ping(ping, 20);
}
