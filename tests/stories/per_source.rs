//! A source of clients has never more than it may, over all shards, and others are served beside
//! it.

use std::net::{IpAddr, Ipv4Addr};

use weir_tests::clock;
use weir_tests::net::{Peer, Script};
use weir_tests::story::{Plan, Set};

fn source(net: u8, host: u8) -> IpAddr {
    IpAddr::V4(Ipv4Addr::new(127, 8, net, host))
}

fn start(listener: &str) -> Set {
    Plan::new(1, Script::Banner).shards(4).listener(listener).start()
}

/// `count` clients from there. Returns those that are served; the others were reset.
fn come(set: &Set, from: IpAddr, count: usize) -> Vec<Peer> {
    // One that is refused at once may hear of it before its connect has returned.
    let connect = |_| Peer::try_connect_from(from, set.weir.web, clock::PATIENCE);
    let all: Vec<_> = (0..count).map(connect).collect();
    all.into_iter().filter_map(|client| served(client.ok()?)).collect()
}

fn served(mut client: Peer) -> Option<Peer> {
    match client.try_line() {
        Ok(line) => {
            assert_eq!(line, "b1");
            Some(client)
        }
        Err(_) => None,
    }
}

fn refused(set: &Set) -> u64 {
    let row = "weir_listener_sessions_rejected_total{listener=\"web\",reason=\"source\"} ";
    let page = set.weir.get("/metrics").body;
    let line = page.lines().find_map(|line| line.strip_prefix(row));
    line.map_or(0, |count| count.parse().expect("a count"))
}

#[test]
fn a_source_has_as_many_sessions_as_it_may_and_takes_none_from_others() {
    let set = start("per-source = { sessions = 20 }");
    let mut hog = come(&set, source(1, 1), 200);
    assert_eq!(hog.len(), 20);
    clock::wait_for("the count", || refused(&set) == 180);
    let others: usize = (2..12).map(|net| come(&set, source(net, 1), 3).len()).sum();
    assert_eq!(others, 30, "each other source is served");
    for _ in 0..5 {
        hog.pop().expect("there are some").fin().expect_fin();
    }
    clock::wait_for("five to be over", || {
        set.weir.json(&["session", "list", "--client", "127.8.1.1"])["matched"] == 15
    });
    assert_eq!(come(&set, source(1, 1), 9).len(), 5, "there is room for as many as have left");
    let why = set.weir.json(&["why", "--listener", "web", "--client", "127.8.1.1"]);
    let because = why["because"].as_str().expect("a text");
    assert!(because.contains("127.8.1.1/32, may have 20 sessions at once"), "{because}");
}

#[test]
fn a_network_is_one_source_and_its_rate_holds() {
    let set = start("per-source = { rate = \"10/s\", ipv4 = 24 }");
    let began = clock::now();
    let count: usize = (1..40).map(|host| come(&set, source(1, host), 1).len()).sum();
    let most = 10 + usize::try_from(began.elapsed().as_millis() / 100).expect("soon") + 1;
    assert!((10..=most).contains(&count), "{count}, at most {most}");
    assert_eq!(come(&set, source(2, 1), 10).len(), 10, "another network");
}

#[test]
fn limits_of_sources_come_and_go_at_run_time_and_cut_no_session() {
    let set = start("");
    let before = come(&set, source(1, 1), 10);
    assert_eq!(before.len(), 10);
    set.weir.ok(&["listener", "set", "web", "per-source.sessions=3"]);
    let counted = come(&set, source(1, 1), 10);
    assert_eq!(counted.len(), 3, "those who were there already do not count");
    set.weir.ok(&["listener", "set", "web", "per-source.sessions=5"]);
    let more = come(&set, source(1, 1), 10);
    assert_eq!(more.len(), 2);
    set.weir.ok(&["listener", "set", "web", "per-source.sessions="]);
    assert_eq!(come(&set, source(1, 1), 30).len(), 30);
    for mut client in before.into_iter().chain(counted).chain(more) {
        client.fin().expect_fin();
    }
}

#[test]
fn behind_a_balancer_the_client_that_its_header_tells_of_is_the_source() {
    let from = "proxy-protocol = { from = [\"127.8.0.0/16\"] }\n";
    let set = start(&format!("{from}per-source = {{ sessions = 3 }}"));
    let come = |client: &str, count: u8| {
        let all: Vec<Peer> = (0..count)
            .map(|number| {
                // From several balancers, and by every way that the kernel would choose.
                let mut client_of = Peer::connect_from(source(number, 1), set.weir.web);
                let line = format!("PROXY TCP4 {client} 10.0.0.1 4{number:04} 443\r\n");
                client_of.send(line.as_bytes());
                client_of
            })
            .collect();
        all.into_iter().filter_map(served).collect::<Vec<Peer>>()
    };
    let one = come("192.0.2.7", 20);
    let two = come("192.0.2.8", 20);
    assert_eq!((one.len(), two.len()), (3, 3));
    clock::wait_for("the ends", || {
        let page = set.weir.get("/metrics").body;
        let labels = "by=\"weir\",during=\"inspecting\",why=\"source_limit\",code=\"LR\"} 34\n";
        page.contains(labels)
    });
    assert_eq!(refused(&set), 34);
}
