//! `no-backend = "close"`: a listener that refuses connects while its pools are empty.

use std::io::ErrorKind;
use std::net::TcpStream;

use weir_tests::clock;
use weir_tests::net::Script;
use weir_tests::story::{Plan, Set};

const HEALTH: &str =
    "{ kind = \"tcp\", interval = \"100ms\", timeout = \"100ms\", rise = 1, fall = 1 }";

fn is_refused(set: &Set) -> bool {
    match TcpStream::connect(set.weir.web) {
        Err(error) if error.kind() == ErrorKind::ConnectionRefused => true,
        // One of the shards has not heard of it.
        Err(error) if error.kind() == ErrorKind::ConnectionReset => false,
        Err(error) => panic!("{error}"),
        Ok(_) => false,
    }
}

/// No shard listens: whichever the kernel would choose for these clients.
fn wait_until_refused(set: &Set) {
    clock::wait_for("each connect to be refused", || (0..32).all(|_| is_refused(set)));
}

fn wait_until_served(set: &Set) {
    clock::wait_for("a shard to listen", || !is_refused(set));
}

#[test]
fn a_listener_without_a_backend_refuses_connects_and_comes_back() {
    let plan = Plan::new(1, Script::Banner).health(HEALTH).listener("no-backend = \"close\"");
    let mut set = plan.start();
    set.weir.wait_state("web/b1", "up");
    let (held, _) = set.session();
    for _ in 0..3 {
        set.backends[0].pause();
        wait_until_refused(&set);
        set.backends[0].resume();
        set.weir.wait_state("web/b1", "up");
        wait_until_served(&set);
        drop(set.session());
    }
    // By an operator's word as well as by checks, and only while the listener is to.
    set.weir.ok(&["backend", "drain", "web/b1", "--yes"]);
    wait_until_refused(&set);
    set.weir.ok(&["listener", "set", "web", "no-backend=reset"]);
    wait_until_served(&set);
    set.weir.ok(&["listener", "set", "web", "no-backend=close"]);
    wait_until_refused(&set);
    let rows = set.weir.json(&["listener", "list"]);
    assert_eq!(rows["listeners"][0]["no_backend"], "close", "{rows}");
    // Nothing else moves the sockets of a listener that is closed, or brings them back early.
    set.weir.ok(&["pool", "set", "web", "strategy=random"]);
    set.weir.ok(&["drain", "--yes"]);
    set.weir.ok(&["ready"]);
    wait_until_refused(&set);
    set.weir.ok(&["backend", "ready", "web/b1"]);
    wait_until_served(&set);
    drop(set.session());
    drop(held);
}

#[test]
fn a_route_to_a_pool_that_serves_keeps_its_listener_open() {
    let plan = Plan::new(1, Script::Banner).health(HEALTH).listener("no-backend = \"close\"");
    let mut set = plan.start();
    set.weir.wait_state("web/b1", "up");
    let address = set.backends[0].address.to_string();
    set.weir.ok(&["pool", "add", "other"]);
    set.weir.ok(&["pool", "set", "other", "health.kind=none"]);
    set.weir.ok(&["backend", "add", "other/o1", &address]);
    set.weir.ok(&["listener", "set", "web", "route=from=192.0.2.0/24 pool=other"]);
    set.backends[0].pause();
    set.weir.wait_state("web/b1", "down");
    for _ in 0..32 {
        assert!(!is_refused(&set), "clients of the route are still taken");
    }
    set.weir.ok(&["backend", "drain", "other/o1", "--yes"]);
    wait_until_refused(&set);
}
