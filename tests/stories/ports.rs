//! Source ports run out towards one backend: that is this host's fault and nobody else's, other
//! pools do not notice, and it is over as soon as a port is free.
//!
//! In a network namespace of its own, where ports are few: the test starts itself again inside.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::process::Command;
use std::time::Duration;

use weir_tests::baseline::count;
use weir_tests::clock;
use weir_tests::crowd::Crowd;
use weir_tests::crowd::guest::Guest;
use weir_tests::net::{self, Script};
use weir_tests::size;
use weir_tests::story::{Plan, Set};
use weir_tests::weir::Ran;

/// Set inside the namespace.
const INSIDE: &str = "WEIR_STORY_INSIDE";

/// The ports of the namespace: a hundred.
const PORTS: &str = "40000 40099";
const PORT_COUNT: usize = 100;

/// The listener `web` and two more of its pool: clients' own ports are not what runs out.
struct Doors {
    set: Set,
    web: [SocketAddr; 3],
    other: SocketAddr,
}

fn clients(crowd: &mut Crowd<Guest>, to: &[SocketAddr], count: usize) -> Vec<usize> {
    let to = to.iter().cycle().take(count);
    to.map(|to| crowd.connect(*to, None, Guest::client())).collect()
}

/// Waits until each of them was greeted or has ended; gives how many were greeted.
fn settle(crowd: &mut Crowd<Guest>, numbers: &[usize]) -> usize {
    crowd.turn_until(clock::PATIENCE, "everybody to know", |crowd| {
        numbers.iter().all(|number| {
            let guest = crowd.member(*number);
            guest.served_at.is_some() || guest.ended.is_some()
        })
    });
    numbers.iter().filter(|number| crowd.member(**number).is_served()).count()
}

fn start(crowd: &mut Crowd<Guest>) -> Doors {
    let ips = [Ipv4Addr::new(127, 8, 0, 1), Ipv4Addr::new(127, 8, 0, 2)].map(IpAddr::V4);
    let addresses = ips.map(|ip| {
        let listener = net::listener(ip);
        let address = listener.local_addr().expect("it is bound");
        crowd.listen(listener, |_| Guest::server());
        address
    });
    let mut set = Plan::new(0, Script::Silent).extern_backend("b1", addresses[0]).prepare();
    let [two, three, other] = [0; 3].map(|_| net::free(net::own_ip()));
    set.weir.write(&format!(
        "{}\n[listener.two]\nbind = \"{two}\"\npool = \"web\"\n\
         [listener.three]\nbind = \"{three}\"\npool = \"web\"\n\
         [listener.other]\nbind = \"{other}\"\npool = \"other\"\n[pool.other]\n\
         health = {{ kind = \"none\" }}\n[pool.other.backend]\no1 = {{ address = \"{}\" }}\n",
        set.objects, addresses[1]
    ));
    set.weir.run();
    Doors { web: [set.weir.web, two, three], set, other }
}

/// Everybody on this side leaves.
fn leave(crowd: &mut Crowd<Guest>, clients: bool) {
    for number in 0..crowd.len() {
        if crowd.member(number).is_client() == clients {
            crowd.member(number).leaves = true;
            crowd.nudge(number);
        }
    }
}

fn ports_run_out() {
    let mut crowd = Crowd::new();
    let Doors { set, web, other } = start(&mut crowd);
    for round in 0..size::PORT_ROUNDS.count() {
        let many = clients(&mut crowd, &web, PORT_COUNT + 60);
        let served = settle(&mut crowd, &many);
        assert!((PORT_COUNT / 2..=PORT_COUNT).contains(&served), "void: {served} were served");
        let failures = |reason: &str| {
            let page = set.weir.get("/metrics").body;
            let labels = ["backend=\"b1\"".to_owned(), format!("reason=\"{reason}\"")];
            count(&page, "weir_backend_connect_failures_total", &labels.each_ref().map(|it| &**it))
        };
        clock::wait_for("failures that count as local", || failures("local") > 0);
        let others = ["refused", "timeout", "unreachable"].map(failures);
        assert_eq!(others, [0; 3], "failures that blame the backend");
        assert_eq!(set.weir.backend("web/b1")["state"], "up", "ejected for a local fault");
        // The other pool has ports of its own.
        let beside = clients(&mut crowd, &[other], 50);
        assert_eq!(settle(&mut crowd, &beside), beside.len(), "another pool has errors");
        // The backend ends first, so that no port of weir's rests in TIME_WAIT.
        let freed = clock::now();
        leave(&mut crowd, false);
        crowd.turn_until(clock::PATIENCE, "a session again", |crowd| {
            let again = clients(crowd, &web[..1], 1);
            settle(crowd, &again) == 1
        });
        let waited = clock::now() - freed;
        eprintln!("round {round}: {served} served, {} local, {waited:?}", failures("local"));
        assert!(waited <= Duration::from_secs(1), "served again after {waited:?}");
        leave(&mut crowd, false);
        leave(&mut crowd, true);
        clock::wait_for("weir to be empty", || set.weir.sessions() == 0);
    }
}

#[test]
fn source_ports_that_run_out() {
    if std::env::var_os(INSIDE).is_some() {
        return ports_run_out();
    }
    let _alone = size::alone();
    let setup = format!(
        "ip link set lo up && echo {PORTS} > /proc/sys/net/ipv4/ip_local_port_range && \
         exec \"$0\" --exact ports::source_ports_that_run_out --nocapture"
    );
    // The namespace of users lets those in who are not root.
    let possible = Ran::of(Command::new("unshare").args(["--net", "--map-root-user", "true"]));
    if possible.code != 0 {
        eprintln!("void: no network namespace to be had here: {}", possible.stderr.trim());
        return;
    }
    let me = std::env::current_exe().expect("a test has a path");
    let mut command = Command::new("unshare");
    command.args(["--net", "--map-root-user", "sh", "-c", &setup]).arg(me).env(INSIDE, "1");
    let ran = Ran::of(&mut command);
    eprintln!("{}", ran.stderr);
    assert_eq!(ran.code, 0, "{ran}");
}
