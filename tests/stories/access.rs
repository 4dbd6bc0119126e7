//! `allow` and `deny` of a listener: the clients that it serves.

use std::fmt::Write as _;
use std::io::ErrorKind;
use std::net::{IpAddr, Ipv4Addr};

use serde_json::{Value, json};
use weir_tests::clock;
use weir_tests::net::{Peer, Script};
use weir_tests::story::{Plan, Set};

const INSIDE: IpAddr = IpAddr::V4(Ipv4Addr::new(127, 9, 0, 1));
const DENIED: IpAddr = IpAddr::V4(Ipv4Addr::new(127, 9, 66, 7));
const OUTSIDE: IpAddr = IpAddr::V4(Ipv4Addr::new(127, 10, 0, 1));

/// A client at this address gets a session.
fn is_served(set: &Set, client: IpAddr) -> Peer {
    let mut peer = Peer::connect_from(client, set.weir.web);
    peer.echo(b"hello");
    peer
}

/// A client at this address is reset.
fn is_refused(set: &Set, client: IpAddr) {
    match Peer::try_connect_from(client, set.weir.web, clock::PATIENCE) {
        Ok(mut peer) => drop(peer.expect_rst()),
        // It may be reset before connect(2) returns.
        Err(error) => assert_eq!(error.kind(), ErrorKind::ConnectionReset),
    }
}

fn denied(set: &Set) -> u64 {
    let row = "weir_listener_sessions_rejected_total{listener=\"web\",reason=\"denied\"} ";
    let page = set.weir.get("/metrics").body;
    let value = page.lines().find_map(|line| line.strip_prefix(row));
    value.map_or(0, |count| count.parse().expect("a count"))
}

#[test]
fn deny_comes_before_allow_and_both_change_at_run_time() {
    let lists = "allow = [\"127.9.0.0/16\"]\ndeny = [\"127.9.66.0/24\"]";
    let set = Plan::new(1, Script::Echo).listener(lists).start();
    let kept = is_served(&set, INSIDE);
    is_refused(&set, DENIED);
    is_refused(&set, OUTSIDE);
    clock::wait_for("denied", || denied(&set) == 2);
    assert_eq!(set.weir.backend("web/b1")["sessions_total"], 1);

    let why = |client: IpAddr| set.weir.json(&["why", "--client", &client.to_string()]);
    assert_eq!(why(INSIDE)["chosen"], "web/b1");
    for (client, reason) in [(DENIED, "127.9.66.0/24 is in its deny"), (OUTSIDE, "of its allow")] {
        let why = why(client);
        assert_eq!((&why["chosen"], &why["listener"]), (&Value::Null, &json!("web")), "{why}");
        assert!(why["because"].as_str().is_some_and(|it| it.contains(reason)), "{why}");
        let candidate = &why["candidates"][0];
        assert_eq!(candidate["eligible"], false, "{why}");
        assert!(candidate["why_not"].as_str().is_some_and(|it| it.contains("does not serve")));
    }

    // Sessions that are there stay.
    let mut kept = kept;
    set.weir.ok(&["listener", "set", "web", "deny=127.9.0.0/17", "allow=127.0.0.0/8,::1"]);
    kept.echo(b"still there");
    is_refused(&set, INSIDE);
    is_served(&set, OUTSIDE);
    let shown = set.weir.json(&["listener", "show", "web"]);
    assert_eq!(shown["allow"], json!(["127.0.0.0/8", "::1/128"]), "{shown}");
    assert_eq!(shown["deny"], json!(["127.9.0.0/17"]), "{shown}");
    set.weir.ok(&["listener", "set", "web", "deny=", "allow="]);
    is_served(&set, INSIDE);
    let export = set.weir.ok(&["config", "export"]);
    assert!(!export.contains("allow") && !export.contains("deny"), "{export}");
}

#[test]
fn the_client_that_a_header_tells_of_is_the_one_that_counts() {
    let lists = "proxy-protocol = { from = [\"127.9.0.0/16\"] }\n\
                 allow = [\"192.0.2.0/24\", \"2001:db8::/32\"]\ndeny = [\"192.0.2.66\"]";
    let set = Plan::new(1, Script::Echo).listener(lists).start();
    let from = |client: &str, other: &str, family: &str| {
        let mut peer = Peer::connect_from(INSIDE, set.weir.web);
        peer.send(format!("PROXY {family} {client} {other} 40000 443\r\n").as_bytes());
        peer
    };
    from("192.0.2.7", "10.0.0.1", "TCP4").echo(b"served");
    from("::ffff:192.0.2.8", "::1", "TCP6").echo(b"as IPv4");
    from("2001:db8::7", "::1", "TCP6").echo(b"and IPv6");
    from("192.0.2.66", "10.0.0.1", "TCP4").expect_rst();
    from("203.0.113.1", "10.0.0.1", "TCP4").expect_rst();
    // A connection of the balancer's own is judged by its address.
    Peer::connect_from(INSIDE, set.weir.web).send(b"PROXY UNKNOWN\r\n").expect_rst();
    clock::wait_for("denied", || denied(&set) == 3);
    let page = set.weir.get("/metrics").body;
    let ends = page.lines().find(|line| line.contains("during=\"inspecting\",why=\"denied\""));
    assert!(ends.is_some_and(|line| line.ends_with(" 3")), "{ends:?}");
    assert_eq!(set.weir.backend("web/b1")["sessions_total"], 3);
}

#[test]
fn a_list_of_a_hundred_thousand_networks_is_a_version_like_any_other() {
    let set = Plan::new(1, Script::Echo).start();
    let list = |last: &str| {
        let mut text = "[listener.web]\ndeny = [\n".to_owned();
        for number in 0..100_000_u32 {
            let [_, high, middle, low] = number.to_be_bytes();
            let _ = writeln!(text, "  \"{}.{middle}.{low}.128/25\",", 20 + high);
        }
        text + &format!("  \"{last}\",\n]\n")
    };
    let apply = |name: &str, text: &str| {
        let file = set.weir.dir.write(name, text);
        set.weir.ctl(&["config", "apply", &file, "--partial"])
    };
    let made = apply("one.toml", &list("127.9.66.0/24")).expect_code(0);
    assert!(made.stdout.len() < 10_000, "{} bytes", made.stdout.len());
    is_refused(&set, DENIED);
    is_served(&set, INSIDE);
    let made = apply("two.toml", &list("127.9.0.1/32")).expect_code(0);
    let change = "100001 networks, of which 127.9.0.1/32 are in this list only";
    assert!(made.stdout.contains(change), "{made}");
    is_refused(&set, INSIDE);
    is_served(&set, DENIED);
    // What takes it back is no longer than a command may be.
    let set_by_hand = set.weir.ok(&["listener", "set", "web", "deny=127.9.66.7"]);
    assert!(set_by_hand.contains("config rollback"), "{set_by_hand}");
    let shown = set.weir.ok(&["listener", "show", "web"]);
    assert!(shown.len() < 5_000, "{shown}");
    set.weir.ok(&["config", "rollback", "2"]);
    let shown = set.weir.ok(&["listener", "show", "web"]);
    assert!(shown.contains("and 99985 more"), "{shown}");
    let export = set.weir.ok(&["config", "export"]);
    assert!(export.lines().count() > 100_000, "a line for each");
    // One beyond what is possible.
    let most = "\"192.0.2.1\",".repeat(200_001);
    let ran = apply("three.toml", &format!("[listener.web]\ndeny = [{most}]\n")).expect_code(1);
    let fault = "200001 networks; at most 200000 are possible";
    assert!(ran.stderr.contains(fault), "{}", &ran.stderr[..ran.stderr.len().min(2_000)]);
}

#[test]
fn wrong_lists_are_refused_with_words() {
    let set = Plan::new(1, Script::Echo).start();
    set.weir.refuses(&["listener", "set", "web", "allow=10.0.0.0/33"], "no network");
    set.weir.refuses(&["listener", "set", "web", "deny=web"], "no network");
    let file = set.weir.dir.write("empty.toml", "[listener.web]\nallow = []\n");
    let ran = set.weir.ctl(&["config", "apply", &file, "--partial"]).expect_code(1);
    assert!(ran.stderr.contains("an empty list"), "{ran}");
}
