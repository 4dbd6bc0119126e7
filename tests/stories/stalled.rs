//! A side that takes nothing although bytes wait for it is given up when the pool says, and not
//! sooner; one that does not even acknowledge is told apart from one that only reads slowly.

use std::net::{IpAddr, Ipv4Addr};
use std::process::Command;
use std::time::Duration;

use weir_tests::baseline::count;
use weir_tests::clock;
use weir_tests::net::{self, End, Peer, Script, noise};
use weir_tests::story::{Plan, Set};
use weir_tests::weir::Ran;

/// How many sessions have ended like this.
fn ends(set: &Set, by: &str, why: &str) -> u64 {
    let page = set.weir.get("/metrics").body;
    let labels = [format!("by=\"{by}\""), format!("why=\"{why}\"")];
    count(&page, "weir_session_ends_total", &labels.each_ref().map(|label| &**label))
}

/// A pool whose other timeouts are short, so that what lives longer lives by `stalled`.
fn plan(timeout: &str) -> Plan {
    Plan::new(1, Script::ByHand).pool(&format!("timeout = {{ {timeout} }}"))
}

/// A client with a small receive buffer, and its server.
fn narrow(set: &Set) -> (Peer, Peer) {
    let client = Peer::connect_narrow(set.weir.web);
    (client, set.backends[0].accept())
}

#[test]
fn a_paused_reader_outlives_every_other_timeout_and_gets_everything() {
    let set = plan("idle = \"700ms\", half-close = \"300ms\", stalled = \"1h\"").start();
    let bytes = noise(1, 100_000);
    let (mut paused, mut server) = narrow(&set);
    server.send(&bytes);
    let (mut ended, mut its_server) = narrow(&set);
    its_server.send(&bytes).fin();
    let (mut its_client, mut stops) = narrow(&set);
    let much = noise(2, 30_000_000);
    let sent = its_client.send_until_blocked(&much, Duration::from_millis(500));
    assert!(sent < much.len(), "void: all of it fitted");
    // As often as an idle session ends beside them, their time would have come.
    for round in 1..=3 {
        let (mut idle, _other) = narrow(&set);
        idle.expect_rst();
        clock::wait_for("an idle session's end", || ends(&set, "weir", "idle_timeout") == round);
    }
    paused.expect(&bytes);
    ended.expect(&bytes).expect_fin();
    ended.send(b"bye").fin();
    its_server.expect(b"bye").expect_fin();
    stops.expect(&much[..sent]);
    assert_eq!(ends(&set, "weir", "half_close_timeout"), 0);
    for by in ["client", "backend"] {
        assert_eq!(ends(&set, by, "stalled"), 0);
    }
}

#[test]
fn a_crawling_reader_with_the_smallest_buffer_lives() {
    // On loopback its window is smaller than one segment, so that the kernel probes byte by byte.
    let set = plan("idle = \"2s\", half-close = \"1s\", stalled = \"8s\"").start();
    let mut crawler = Peer::connect_crawling(set.weir.web);
    let mut server = set.backends[0].accept();
    let bytes = noise(3, 16_000);
    server.send(&bytes).fin();
    for piece in bytes.chunks(100) {
        clock::park(Duration::from_millis(60)); // it is slow: 10 s in all
        crawler.expect(piece);
    }
    crawler.expect_fin();
}

#[test]
fn a_side_that_takes_nothing_is_given_up_when_the_pool_says_and_the_reason_is_true() {
    let set = plan("idle = \"1h\", stalled = \"1500ms\"").start();
    let much = noise(4, 30_000_000);
    let little = &much[..100_000];
    // Little: all of it is the kernel's, so that nothing is blocked in weir.
    let (mut client, mut server) = narrow(&set);
    let begun = clock::now();
    server.send(little);
    server.expect_rst();
    assert!(clock::now() - begun >= Duration::from_millis(1_400), "given up too soon");
    assert_eq!(client.rest().1, End::Rst);
    clock::wait_for("the client's reason", || ends(&set, "client", "stalled") == 1);
    // Much, while the other direction runs on: that is no sign that this one does.
    let (mut client, mut server) = narrow(&set);
    server.send_until_blocked(&much, Duration::from_millis(300));
    while client.send_until_blocked(b"x", Duration::from_secs(1)) == 1 {
        clock::park(Duration::from_millis(20));
    }
    clock::wait_for("the client's reason again", || ends(&set, "client", "stalled") == 2);
    // Both ways: nobody reads, so that only a watch would tell of an error.
    let pairs: Vec<_> = (0..20).map(|_| narrow(&set)).collect();
    for (mut client, mut server) in pairs.iter().map(|(a, b)| (a.twin(), b.twin())) {
        client.send_until_blocked(&much, Duration::from_millis(20));
        server.send_until_blocked(&much, Duration::from_millis(20));
    }
    let stalled = |by| ends(&set, by, "stalled");
    clock::wait_for("all of them", || stalled("client") + stalled("backend") == 22);
    assert_eq!(ends(&set, "client", "reset") + ends(&set, "backend", "reset"), 0);
    // It is a setting like any other.
    set.weir.ok(&["pool", "set", "web", "timeout.stalled=", "keepalive.count=3"]);
    let pool = set.weir.json(&["pool", "show", "web"]);
    assert_eq!(pool["timeout"]["stalled_s"], 3600.0);
    assert_eq!(pool["keepalive"]["count"], 3);
}

const INSIDE: &str = "WEIR_STORY_VANISHED";

/// Where peers live that will be gone: clients, and a backend.
const GONE: [Ipv4Addr; 2] = [Ipv4Addr::new(127, 8, 1, 1), Ipv4Addr::new(127, 8, 1, 2)];

/// No packet comes to or from `GONE` any more.
fn cut() {
    let [one, two] = GONE;
    let rules = format!(
        "add table ip weir_story\n\
         add chain ip weir_story in {{ type filter hook input priority 0; }}\n\
         add rule ip weir_story in ip saddr {{ {one}, {two} }} drop\n\
         add rule ip weir_story in ip daddr {{ {one}, {two} }} drop\n"
    );
    let ran = Ran::of(Command::new("nft").arg(rules));
    assert_eq!(ran.code, 0, "{ran}");
}

/// One session of each kind: idle, with little that waits, with more than fits. The first peer of
/// each pair vanishes, the other one sends and is told.
struct Three<'a> {
    pairs: Vec<[Peer; 2]>,
    set: &'a Set,
    by: &'a str,
}

impl<'a> Three<'a> {
    fn new(mut pairs: Vec<[Peer; 2]>, set: &'a Set, by: &'a str) -> Three<'a> {
        for [gone, other] in &mut pairs {
            gone.send(b"hi");
            other.expect(b"hi").send(b"yo");
            gone.expect(b"yo");
        }
        assert_eq!(ends(set, by, "vanished"), 0);
        Three { pairs, set, by }
    }

    /// At once after they were cut off: keepalive gives idle ones up after 4 s.
    fn send(&mut self) {
        let much = noise(5, 30_000_000);
        self.pairs[1][1].send(&much[..1_000]);
        self.pairs[2][1].send_until_blocked(&much, Duration::from_millis(200));
    }

    fn check(mut self) {
        for [_, other] in &mut self.pairs {
            other.expect_rst();
        }
        let ends = |why| ends(self.set, self.by, why);
        clock::wait_for("their reasons", || ends("vanished") == 3);
        assert_eq!(ends("reset") + ends("stalled"), 0);
    }
}

fn peers_vanish() {
    let [clients, backend] = GONE.map(IpAddr::V4);
    let keepalive = "keepalive = { idle = \"1s\", interval = \"1s\", count = 3 }";
    let pool = format!("{keepalive}\ntimeout = {{ idle = \"1h\" }}");
    let near = Plan::new(1, Script::ByHand).listener(keepalive).pool(&pool).start();
    let listener = net::listener(backend);
    let address = listener.local_addr().expect("it is bound");
    let far = Plan::new(0, Script::Silent).extern_backend("b1", address);
    let far = far.listener(keepalive).pool(&pool).health("{ kind = \"none\" }").start();
    let of_clients = (0..3).map(|_| {
        let client = Peer::connect_from(clients, near.weir.web);
        [client, near.backends[0].accept()]
    });
    let mut clients_gone = Three::new(of_clients.collect(), &near, "client");
    let of_backends = (0..3).map(|_| {
        let client = Peer::connect(far.weir.web);
        [Peer::new(listener.accept().expect("weir connects").0), client]
    });
    let mut backends_gone = Three::new(of_backends.collect(), &far, "backend");
    // A paused client beside them answers each probe of its closed window.
    let (mut paused, mut server) = narrow(&near);
    let bytes = noise(6, 100_000);
    server.send(&bytes);
    cut();
    clients_gone.send();
    backends_gone.send();
    clients_gone.check();
    backends_gone.check();
    paused.expect(&bytes);
}

#[test]
fn a_peer_that_vanishes_is_given_up_whatever_waits_for_it() {
    if std::env::var_os(INSIDE).is_some() {
        return peers_vanish();
    }
    let setup = "ip link set lo up && nft list tables && \
                 exec \"$0\" --exact \
                 stalled::a_peer_that_vanishes_is_given_up_whatever_waits_for_it --nocapture";
    let possible = Ran::of(Command::new("unshare").args([
        "--net",
        "--map-root-user",
        "sh",
        "-c",
        "nft list tables",
    ]));
    if possible.code != 0 {
        eprintln!("void: no network namespace with nft: {}", possible.stderr.trim());
        return;
    }
    let me = std::env::current_exe().expect("a test has a path");
    let mut command = Command::new("unshare");
    command.args(["--net", "--map-root-user", "sh", "-c", setup]).arg(me).env(INSIDE, "1");
    let ran = Ran::of(&mut command);
    eprintln!("{}", ran.stderr);
    assert_eq!(ran.code, 0, "{ran}");
}
