//! How a listener's sockets are bound: whether `[::]` takes IPv4 clients, and by which interface
//! clients come in.

use std::net::SocketAddr;
use std::path::Path;
use std::process::{Child, Command};

use serde_json::Value;
use weir_tests::clock;
use weir_tests::namespace;
use weir_tests::net::{Backend, Peer, Script, own_ip};
use weir_tests::story::{Plan, Set};
use weir_tests::weir::Ran;

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
        let why = "listener.four.bind: 0.0.0.0:443 is bound twice: [::]:443 of listener both has";
        set.weir.refuses(&["listener", "set", "both", "v6only=false"], why);
        set.weir.ok(&["listener", "remove", "four"]);
        set.weir.ok(&["listener", "set", "both", "v6only=false"]);
        clock::wait_for("IPv4 clients again", || Peer::try_connect(at("127.0.0.1")).is_ok());
        let alone = set.weir.ctl(&["listener", "set", "web", "v6only=false"]);
        assert!(alone.to_string().contains("only [::] takes IPv4"), "{alone}");
    });
}

/// A network namespace on the other end of a link; it ends with its process.
struct Host(Child);

impl Host {
    /// One at the end of a link that is `interface` here, with the address 10.NET.0.1.
    fn behind(interface: &str, net: u8) -> Host {
        let sleeps = Command::new("unshare").args(["--net", "sleep", "600"]).spawn();
        let host = Host(sleeps.expect("unshare is there"));
        let pid = host.0.id().to_string();
        let space = |of: &str| std::fs::read_link(format!("/proc/{of}/ns/net")).ok();
        clock::wait_for("the other namespace", || space(&pid) != space("self"));
        ip(&["link", "add", interface, "type", "veth", "peer", "name", "far", "netns", &pid]);
        ip(&["address", "add", &format!("10.{net}.0.1/24"), "dev", interface]);
        ip(&["link", "set", interface, "up"]);
        host.run(&["ip", "address", "add", &format!("10.{net}.0.2/24"), "dev", "far"]);
        host.run(&["ip", "link", "set", "far", "up"]);
        host
    }

    fn run(&self, words: &[&str]) -> String {
        let mut command = Command::new("nsenter");
        command.args(["--net", "--target", &self.0.id().to_string()]).args(words);
        Ran::of(&mut command).expect_code(0).stdout
    }

    /// Who serves a client of this host there; empty if it is refused.
    fn asks(&self, to: &str) -> String {
        let (ip, port) = to.split_once(':').expect("an address");
        let script = format!(
            "exec 3<>/dev/tcp/{ip}/{port} 2>/dev/null && read -r -t 20 line <&3; echo \"$line\""
        );
        self.run(&["bash", "-c", &script]).trim().to_owned()
    }
}

impl Drop for Host {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn ip(words: &[&str]) {
    Ran::of(Command::new("ip").args(words)).expect_code(0);
}

#[test]
fn two_interfaces_have_a_listener_each_at_the_same_address() {
    const NAME: &str = "binds::two_interfaces_have_a_listener_each_at_the_same_address";
    namespace::story(NAME, &[], || {
        let mut set = Plan::new(1, Script::Banner).shards(2).start();
        let other = Backend::start("b2", own_ip(), Script::Banner);
        set.weir.ok(&["pool", "add", "other", "health.kind=none"]);
        set.weir.ok(&["backend", "add", "other/b2", &other.address.to_string()]);
        let one = ["listener", "add", "one", "0.0.0.0:443", "--pool", "web", "interface=one"];
        set.weir.refuses(&one, "this host has no interface one");
        let first = Host::behind("one", 1);
        let second = Host::behind("two", 2);
        set.weir.ok(&one);
        set.weir.ok(&["listener", "add", "two", "0.0.0.0:443", "--pool", "other", "interface=two"]);
        assert_eq!(first.asks("10.1.0.1:443"), "b1");
        assert_eq!(second.asks("10.2.0.1:443"), "b2");
        assert!(Peer::try_connect(at("127.0.0.1")).is_err(), "no listener is on loopback");
        let again = ["listener", "add", "three", "0.0.0.0:443", "--pool", "web", "interface=two"];
        set.weir.refuses(&again, "0.0.0.0:443 on two is bound twice: listener three has it, too");
        // Of one with and one without the kernel would take either.
        let any = ["listener", "set", "two", "interface="];
        set.weir.refuses(&any, "0.0.0.0:443 on one of listener one has no other interface");
        set.weir.ok(&["listener", "set", "two", "interface=lo"]);
        assert_eq!(Peer::connect(at("127.0.0.1")).line(), "b2");
        assert_eq!(second.asks("10.2.0.1:443"), "", "it comes in there no more");
        assert_eq!(first.asks("10.1.0.1:443"), "b1");
        set.weir.ok(&["listener", "set", "two", "interface=two"]);
        // A start without the interface binds what it can, and the rest when it comes.
        set.weir.kill();
        drop(second);
        clock::wait_for("the link to go", || !Path::new("/sys/class/net/two").exists());
        set.weir.run();
        let row = set.weir.json(&["listener", "show", "two"])["unbound"].to_string();
        assert!(row.contains("0.0.0.0:443 on two") && row.contains("no interface two"), "{row}");
        assert_eq!(first.asks("10.1.0.1:443"), "b1");
        let second = Host::behind("two", 2);
        clock::wait_for("the listener of the link", || second.asks("10.2.0.1:443") == "b2");
    });
}
