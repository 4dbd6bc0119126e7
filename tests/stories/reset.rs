//! A reset is passed on as a reset: the other side sees ECONNRESET, never a clean end.

use std::time::Duration;

use weir_tests::clock;
use weir_tests::net::{End, Script, noise};
use weir_tests::story::Plan;

#[test]
fn a_reset_of_an_idle_client_reaches_the_backend() {
    let set = Plan::new(1, Script::ByHand).start();
    let (mut client, mut server) = set.pair();
    client.send(b"x");
    server.expect(b"x");
    client.rst();
    server.expect_rst();
    clock::wait_for("the session to end", || set.weir.sessions() == 0);
}

#[test]
fn a_reset_of_an_idle_backend_reaches_the_client() {
    let set = Plan::new(1, Script::ByHand).start();
    let (mut client, mut server) = set.pair();
    server.send(b"x");
    client.expect(b"x");
    server.rst();
    client.expect_rst();
    clock::wait_for("the session to end", || set.weir.sessions() == 0);
}

#[test]
fn a_reset_in_the_middle_of_an_upload() {
    let set = Plan::new(1, Script::ByHand).start();
    let (mut client, mut server) = set.pair();
    client.send_until_blocked(&noise(1, 8 << 20), Duration::from_millis(100));
    server.take(1000);
    client.rst();
    let (bytes, end) = server.rest();
    assert_eq!(end, End::Rst, "after {} more bytes", bytes.len());
}

#[test]
fn a_reset_in_the_middle_of_a_download() {
    let set = Plan::new(1, Script::ByHand).start();
    let (mut client, mut server) = set.pair();
    server.send_until_blocked(&noise(1, 8 << 20), Duration::from_millis(100));
    client.take(1000);
    server.rst();
    let (bytes, end) = client.rest();
    assert_eq!(end, End::Rst, "after {} more bytes", bytes.len());
}

#[test]
fn a_reset_while_the_other_side_is_sending() {
    let set = Plan::new(1, Script::ByHand).start();
    let (client, mut server) = set.pair();
    server.send_until_blocked(&noise(1, 8 << 20), Duration::from_millis(100));
    client.rst();
    // What is in the way may still be read; then comes the reset.
    assert_eq!(server.rest().1, End::Rst);
    clock::wait_for("the session to end", || set.weir.sessions() == 0);
}

/// The kernel tells a receive that goes on nothing of a reset behind bytes that it did not know
/// of yet (docs/adr/0011).
#[test]
fn a_reset_right_behind_bytes_is_passed_on_soon() {
    let set = Plan::new(1, Script::ByHand).start();
    for _ in 0..100 {
        let (mut client, mut server) = set.pair();
        client.send(b"x");
        server.expect(b"x");
        let began = clock::now();
        client.send(b"last words");
        client.rst();
        assert_eq!(server.rest().1, End::Rst);
        // A session that is quiet for a second is looked at in any case: too late.
        let took = began.elapsed();
        assert!(took < Duration::from_millis(500), "after {took:?}");
    }
    clock::wait_for("the sessions to end", || set.weir.sessions() == 0);
}

#[test]
fn a_reset_after_a_half_close() {
    let set = Plan::new(1, Script::ByHand).start();
    let (mut client, mut server) = set.pair();
    client.send(b"x").fin();
    server.expect(b"x").expect_fin();
    server.rst();
    client.expect_rst();
    let (mut client, mut server) = set.pair();
    client.send(b"x").fin();
    server.expect(b"x").expect_fin();
    client.rst();
    // weir reads no more from a client that has ended its direction: it learns by sending.
    clock::wait_for("the session to end", || {
        server.send_until_blocked(b"late", Duration::from_millis(10));
        set.weir.sessions() == 0
    });
}

#[test]
fn a_scripted_backend_that_resets_after_a_request() {
    let set = Plan::new(1, Script::RstAfter(4)).start();
    for _ in 0..50 {
        let mut client = set.client();
        client.send(b"ping").expect_rst();
    }
    assert_eq!(set.weir.backend("web/b1")["state"], "up", "a reset is no failed connect");
}

/// The side that has said its last word is not read from: a watch tells of its reset.
#[test]
fn a_reset_after_a_fin_ends_the_session_and_is_told_as_a_reset() {
    let set = Plan::new(1, Script::ByHand).start();
    let (mut client, mut server) = set.pair();
    client.send(b"x").fin();
    server.expect(b"x").expect_fin();
    client.rst();
    // The half-close timeout is a minute away.
    clock::wait_for("the session to end", || set.weir.sessions() == 0);
    let stats = set.weir.ctl(&["-o", "json", "stats"]).expect_code(0).json();
    let end = &stats["ends"][0];
    let told = [&end["by"], &end["during"], &end["why"]].map(|word| word.as_str().unwrap());
    assert_eq!(told, ["client", "half_closed", "reset"]);

    let (mut client, mut server) = set.pair();
    server.send(b"y").fin();
    client.expect(b"y").expect_fin();
    server.rst();
    clock::wait_for("the session to end", || set.weir.sessions() == 0);
}
