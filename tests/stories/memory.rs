//! Sessions in which both sides write and neither reads: what they hold, in weir and in the kernel,
//! is bounded, and those beside them are answered all the time.

use std::time::Duration;

use weir_tests::baseline::{count, percentile};
use weir_tests::clock;
use weir_tests::crowd::pingers::Pingers;
use weir_tests::net::{self, Peer, Script};
use weir_tests::size;
use weir_tests::story::{Plan, Set};

/// More directions than there are pipes and buffers.
const STALLED: usize = 36;

/// How long a side writes nothing more before it counts as held back.
const HELD_BACK: Duration = Duration::from_millis(50);

/// Pairs of peers that write until nothing is taken any more.
fn stall(set: &Set, pairs: usize) -> Vec<(Peer, Peer)> {
    let noise = net::noise(7, 16 << 20);
    let mut stalled: Vec<(Peer, Peer)> = (0..pairs)
        .map(|_| {
            let mut client = Peer::connect_narrow(set.weir.web);
            client.send(b"hi");
            (client, set.backends[0].accept())
        })
        .collect();
    for (client, server) in &mut stalled {
        client.send_until_blocked(&noise, HELD_BACK);
        server.send_until_blocked(&noise, HELD_BACK);
    }
    stalled
}

#[test]
fn sessions_that_nobody_reads_leave_the_reserve_to_the_others() {
    let _alone = size::alone();
    let ip = net::own_ip();
    let echo = net::listener(ip);
    let to_echo = echo.local_addr().expect("it is bound");
    // 32 pipes: what goes through these holds no buffer.
    let plan = Plan::new(1, Script::ByHand).shards(1).nofile(256).env("WEIR_TEST_BUFFERS", "16");
    let mut set = plan.prepare();
    let ping = net::free(ip);
    set.weir.write(&format!(
        "{}\n[listener.ping]\nbind = \"{ping}\"\npool = \"ping\"\n[pool.ping]\n\
         health = {{ kind = \"none\" }}\n[pool.ping.backend]\ne1 = {{ address = \"{to_echo}\" }}\n",
        set.objects
    ));
    set.weir.run();
    let pingers = Pingers::new(echo);
    // Each of them could hold four of the sixteen buffers.
    let stalled = stall(&set, STALLED);
    let page = || set.weir.get("/metrics").body;
    let gauge = || count(&page(), "weir_pool_sessions_stalled", &["pool=\"web\""]);
    clock::wait_for("all to be counted as stalled", || gauge() == STALLED as u64);
    for clients in (4..=24).step_by(4) {
        pingers.ping(ping, 4);
        let mut rounds = pingers.take();
        clock::wait_for("more pings", || {
            rounds.append(&mut pingers.take());
            rounds.len() >= 100
        });
        let p99 = percentile(&mut rounds, 0.99);
        eprintln!("{clients} clients beside {STALLED} stalled sessions: p99 {p99:?}");
    }
    assert_eq!(gauge(), STALLED as u64, "they are stalled all the time");
    let reserved = count(&page(), "weir_shard_reserved_total", &[]);
    assert!(reserved > 0, "void: there was always a buffer");
    drop(stalled);
    clock::wait_for("nobody to be stalled", || gauge() == 0);
}
