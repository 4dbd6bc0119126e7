//! A FIN crosses, and the other direction runs on.

use std::time::Duration;

use weir_tests::baseline::count;
use weir_tests::clock;
use weir_tests::net::{Peer, Script, noise};
use weir_tests::story::Plan;

#[test]
fn a_fin_of_the_client_leaves_the_download_running() {
    let set = Plan::new(1, Script::ByHand).start();
    let (mut client, mut server) = set.pair();
    client.send(b"hi").fin();
    server.expect(b"hi").expect_fin();
    for step in 0..10 {
        let bytes = noise(step, 50_000);
        server.send(&bytes);
        client.expect(&bytes);
    }
    server.send(b"bye").fin();
    client.expect(b"bye").expect_fin();
    clock::wait_for("the session to end", || set.weir.sessions() == 0);
}

#[test]
fn a_fin_of_the_backend_leaves_the_upload_running() {
    let set = Plan::new(1, Script::ByHand).start();
    let (mut client, mut server) = set.pair();
    server.send(b"yo").fin();
    client.expect(b"yo").expect_fin();
    for step in 0..10 {
        let bytes = noise(step, 50_000);
        client.send(&bytes);
        server.expect(&bytes);
    }
    client.send(b"bye").fin();
    server.expect(b"bye").expect_fin();
    clock::wait_for("the session to end", || set.weir.sessions() == 0);
}

#[test]
fn a_fin_without_a_byte_crosses_at_once() {
    let set = Plan::new(1, Script::ByHand).start();
    let (mut client, mut server) = set.pair();
    client.fin();
    server.expect_fin().fin();
    client.expect_fin();
}

#[test]
fn no_byte_before_a_fin_is_lost() {
    let set = Plan::new(1, Script::ByHand).start();
    let bytes = noise(5, 1 << 20);
    let (mut client, mut server) = set.pair();
    std::thread::scope(|scope| {
        let (mut twin, bytes) = (client.twin(), &bytes);
        scope.spawn(move || {
            twin.send(bytes).fin();
        });
        server.expect(bytes).expect_fin();
    });
    server.fin();
    client.expect_fin();
}

#[test]
fn the_end_of_a_clean_session_is_counted_as_complete() {
    let set = Plan::new(1, Script::Echo).start();
    set.client().echo(b"x").fin().expect_fin();
    clock::wait_for("the end to be counted", || {
        set.weir.get("/metrics").body.lines().any(|line| {
            line.starts_with("weir_session_ends_total{")
                && line.contains("why=\"complete\"")
                && !line.ends_with(" 0")
        })
    });
}

#[test]
fn sixty_four_sessions_half_closed_in_both_ways_at_once() {
    let set = Plan::new(1, Script::ByHand).start();
    let mut pairs: Vec<_> = (0..64).map(|_| set.pair()).collect();
    for (index, (client, server)) in pairs.iter_mut().enumerate() {
        if index % 2 == 0 {
            client.send(b"first").fin();
        } else {
            server.send(b"first").fin();
        }
    }
    for (index, (client, server)) in pairs.iter_mut().enumerate() {
        let (first, other) = if index % 2 == 0 { (client, server) } else { (server, client) };
        other.expect(b"first").expect_fin();
        let bytes = noise(index as u64, 20_000);
        other.send(&bytes).fin();
        first.expect(&bytes).expect_fin();
    }
    clock::wait_for("all sessions to end", || set.weir.sessions() == 0);
}

#[test]
fn a_session_lasts_until_its_last_bytes_are_taken_and_counts_as_one_until_then() {
    let timeouts = "timeout = { idle = \"700ms\", half-close = \"300ms\", stalled = \"1h\" }";
    let plan = Plan::new(1, Script::ByHand).pool(timeouts).listener("max-sessions = 1");
    let set = plan.start();
    let bytes = noise(7, 100_000);
    let mut client = Peer::connect_narrow(set.weir.web);
    let mut server = set.backends[0].accept();
    client.send(b"hi").fin();
    server.expect(b"hi").expect_fin().send(&bytes).fin();
    // Both FINs have crossed; the kernel holds what the client has not taken.
    let page = || set.weir.get("/metrics").body;
    let mut second = Peer::connect(set.weir.web);
    second.send(b"me too");
    clock::park(Duration::from_millis(1_500)); // twice its idle timeout
    assert_eq!(set.weir.sessions(), 1);
    let complete = |page: &str| count(page, "weir_session_ends_total", &["why=\"complete\""]);
    assert_eq!(complete(&page()), 0, "it is complete when everything is delivered");
    client.expect(&bytes).expect_fin();
    clock::wait_for("its end", || complete(&page()) == 1);
    set.backends[0].accept().expect(b"me too");
}
