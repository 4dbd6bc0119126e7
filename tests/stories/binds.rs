//! How a listener's sockets are bound: whether `[::]` takes IPv4 clients, and by which interface
//! clients come in.

use std::net::SocketAddr;

use serde_json::Value;
use weir_tests::clock;
use weir_tests::namespace;
use weir_tests::net::{Peer, Script};
use weir_tests::story::{Plan, Set};

/// In the namespace every port is free.
const BOTH: &str = "[::]:443";

fn at(ip: &str) -> SocketAddr {
    format!("{ip}:443").parse().expect("an address")
}

/// A client that is served.
fn served(to: SocketAddr) -> Peer {
    let mut client = Peer::connect(to);
    assert_eq!(client.line(), "b1");
    client
}

fn add_both(more: &[&str]) -> Set {
    let set = Plan::new(1, Script::Banner).shards(2).start();
    let line = ["listener", "add", "both", BOTH, "--pool", "web", "v6only=false"];
    set.weir.ok(&[&line[..], more].concat());
    set
}

fn clients_of(set: &Set) -> Vec<Value> {
    let page = set.weir.json(&["session", "list", "--listener", "both"]);
    page["sessions"].as_array().expect("rows").iter().map(|row| row["client"].clone()).collect()
}

#[test]
fn an_ipv4_client_of_an_ipv6_socket_is_one_of_ipv4_everywhere() {
    const NAME: &str = "binds::an_ipv4_client_of_an_ipv6_socket_is_one_of_ipv4_everywhere";
    namespace::story(NAME, &[], || {
        let set = add_both(&["per-source.sessions=2", "deny=127.9.0.0/16"]);
        let from =
            |ip: [u8; 4]| Peer::try_connect_from(ip.into(), at("127.0.0.1"), clock::PATIENCE);
        // One that is reset at once may hear of it before its connect has returned.
        let is_refused = |ip| from(ip).map_or(true, |mut it| it.try_line().is_err());
        let mut first = from([127, 8, 0, 1]).expect("it comes in");
        assert_eq!(first.line(), "b1");
        assert_eq!(clients_of(&set), [first.source().to_string()]);
        let page = set.weir.json(&["session", "list", "--client", "127.8.0.0/16"]);
        assert_eq!(page["matched"], 1, "{page}");
        // It is denied by a network of IPv4, and its source is one of IPv4: the third is too many.
        assert!(is_refused([127, 9, 0, 1]));
        let mut second = from([127, 8, 0, 1]).expect("it comes in");
        assert_eq!(second.line(), "b1");
        assert!(is_refused([127, 8, 0, 1]));
        // Another address has a source of its own, and IPv6 clients come as before.
        let mut other = from([127, 8, 0, 2]).expect("it comes in");
        assert_eq!(other.line(), "b1");
        let sixth = served(at("[::1]"));
        assert!(clients_of(&set).contains(&sixth.source().to_string().into()));
    });
}

#[test]
fn a_listener_begins_and_ceases_to_take_ipv4_while_it_serves() {
    const NAME: &str = "binds::a_listener_begins_and_ceases_to_take_ipv4_while_it_serves";
    namespace::story(NAME, &[], || {
        let set = add_both(&[]);
        let mut old = served(at("127.0.0.1"));
        let change = ["listener", "set", "both", "v6only=true"];
        let plan = set.weir.json(&[&change[..], &["--dry-run"]].concat()).to_string();
        assert!(plan.contains("\"rebind\":[\"both\"]"), "{plan}");
        set.weir.ok(&change);
        assert!(Peer::try_connect(at("127.0.0.1")).is_err(), "IPv4 comes in no more");
        served(at("[::1]"));
        old.echo(b"the session stays");
        set.weir.ok(&["listener", "add", "four", "0.0.0.0:443", "--pool", "web"]);
        served(at("127.0.0.1"));
        let refusal = set.weir.ctl(&["listener", "set", "both", "v6only=false"]).expect_code(2);
        let said = refusal.to_string();
        assert!(said.contains("four") && said.contains("both"), "{said}");
        set.weir.ok(&["listener", "remove", "four"]);
        set.weir.ok(&["listener", "set", "both", "v6only=false"]);
        clock::wait_for("IPv4 clients again", || Peer::try_connect(at("127.0.0.1")).is_ok());
        let alone = set.weir.ctl(&["listener", "set", "web", "v6only=false"]);
        assert!(alone.to_string().contains("only [::] takes IPv4"), "{alone}");
    });
}
