//! Sessions in which both sides write and neither reads: what they hold, in weir and in the kernel,
//! is bounded, and those beside them are answered all the time.

use std::time::Duration;

use socket2::SockRef;
use weir_tests::baseline::{count, percentile};
use weir_tests::clock;
use weir_tests::crowd::pingers::Pingers;
use weir_tests::namespace;
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

/// A session of narrow peers: what one of them sends is held by weir's legs and between them, but
/// for [`OWN`].
fn narrow_pair(set: &Set) -> (Peer, Peer) {
    let mut client = Peer::connect_narrow(set.weir.web);
    client.send(b"hi");
    let server = set.backends[0].accept().into_stream();
    SockRef::from(&server).set_send_buffer_size(32 << 10).expect("it is open");
    (client, Peer::new(server))
}

/// Bytes that the peers' own sockets hold at most, of one direction.
const OWN: usize = 128 << 10;

/// What the kernel holds for a reader that has read nothing: TCP_NOTSENT_LOWAT, as much in a pipe,
/// and a receive buffer that has grown by what weir took at first. After reading N bytes in one
/// round trip it is 2 N and 16 of the largest segments (tcp_rcv_space_adjust), which are 64 KiB on
/// the loopback interface. 4.6 MiB before.
const HELD_AT_FIRST: usize = (128 + 128 + 2 * 256 + 16 * 64) << 10;

/// And for one that has read a lot: 4 MiB on each leg and a pipe. 37 MiB before, here.
const HELD_LATER: usize = 10 << 20;

#[test]
fn a_reader_that_reads_nothing_holds_little_in_the_kernel() {
    let _alone = size::alone();
    let set = Plan::new(1, Script::ByHand).shards(1).start();
    let noise = net::noise(7, 16 << 20);
    let mut most = 0;
    let mut pairs: Vec<(Peer, Peer)> = (0..20).map(|_| narrow_pair(&set)).collect();
    for (_, server) in &mut pairs {
        most = most.max(server.send_until_blocked(&noise, HELD_BACK * 4));
    }
    eprintln!("a reader that reads nothing: {most} bytes, the peers' own sockets included");
    assert!(most > OWN / 2, "void: nothing was sent");
    assert!(most <= HELD_AT_FIRST + OWN, "{most} bytes are held for a reader that reads nothing");
}

/// Sends `noise` to a client that reads all of it and then stops; returns the bytes that the server
/// got rid of behind it.
fn sent_behind(noise: &[u8], client: &mut Peer, mut server: Peer) -> usize {
    std::thread::scope(|scope| {
        let sent = scope.spawn(move || {
            server.send(noise);
            server.send_until_blocked(noise, HELD_BACK * 4)
        });
        for expected in noise.chunks(1 << 20) {
            assert!(client.take(expected.len()) == expected, "every byte in its place");
        }
        sent.join().expect("the server only writes")
    })
}

/// With a `socket-buffer` of 64 KiB: that on each leg, which counts the kernel's own structures
/// too, and a pipe that takes 128 KiB at once.
const HELD_WHERE_LIMITED: usize = 256 << 10;

#[test]
fn a_pool_that_limits_its_socket_buffers_holds_no_more_in_the_kernel() {
    let _alone = size::alone();
    let set = Plan::new(1, Script::ByHand).shards(1).start();
    set.weir.ok(&["pool", "set", "web", "socket-buffer=64KiB"]);
    let (mut client, server) = narrow_pair(&set);
    // A reader of a lot may otherwise make the kernel hold a lot.
    let sent = sent_behind(&net::noise(7, 16 << 20), &mut client, server);
    eprintln!(
        "a reader that stops, of a pool with small buffers: {sent} bytes, the peers' included"
    );
    assert!(sent > OWN / 2, "void: nothing was held");
    assert!(sent <= HELD_WHERE_LIMITED + OWN, "{sent} bytes are held");
}

#[test]
fn a_reader_that_stops_holds_a_bounded_amount_in_the_kernel() {
    let _alone = size::alone();
    let set = Plan::new(1, Script::ByHand).shards(1).start();
    let mut client = Peer::connect(set.weir.web);
    client.send(b"hi");
    let sent = sent_behind(&net::noise(7, 64 << 20), &mut client, set.backends[0].accept());
    // The peers' own sockets are the kernel's to size: what they hold is known.
    let client = client.into_stream();
    let unread = rustix::io::ioctl_fionread(&client).expect("it is open");
    let unread = usize::try_from(unread).expect("it fits");
    let held = sent.saturating_sub(unread);
    eprintln!(
        "a reader that stops: {held} bytes, the server's own socket included ({unread} unread)"
    );
    assert!(held > 0, "void: nothing was held");
    assert!(held <= HELD_LATER + (4 << 20), "{held} bytes are held for a reader that has stopped");
}

/// In a namespace of users even its root is unprivileged, as fs.pipe-user-pages-soft sees it.
#[test]
fn pipes_that_an_unprivileged_user_gets_too_small_are_not_used() {
    namespace::story(
        "memory::pipes_that_an_unprivileged_user_gets_too_small_are_not_used",
        &[],
        || {
            let soft = std::fs::read_to_string("/proc/sys/fs/pipe-user-pages-soft");
            let soft = soft.ok().and_then(|text| text.trim().parse::<u64>().ok());
            let Some(pages @ 256..=16_384) = soft else {
                return eprintln!("void: fs.pipe-user-pages-soft is {soft:?}");
            };
            let set = Plan::new(1, Script::ByHand).shards(1).start();
            let noise = net::noise(7, 16 << 20);
            let readers = usize::try_from(pages / 256 + 24).expect("it is small");
            let mut pairs: Vec<(Peer, Peer)> = (0..readers).map(|_| narrow_pair(&set)).collect();
            for (_, server) in &mut pairs {
                assert!(server.send_until_blocked(&noise, HELD_BACK) > OWN, "it becomes bulk");
            }
            let count = |name| count(&set.weir.get("/metrics").body, name, &[]);
            let promoted = count("weir_shard_promotions_total");
            eprintln!("{readers} stalled readers, {promoted} have a pipe");
            assert!(promoted <= pages / 256, "{promoted} pipes; {pages} pages are {}", pages / 256);
            // The others go on through buffers: every byte arrives.
            let (mut client, mut server) = pairs.pop().expect("there are many");
            let (_, sent) = (client.patient(Duration::from_secs(30)), server.send(b"").fin());
            let _ = sent;
            assert!(client.rest().0.len() > OWN);
        },
    );
}
