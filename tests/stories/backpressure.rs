//! A side that does not read stops the other one, costs bounded memory, and disturbs nobody.

use std::time::Duration;

use weir_tests::net::{Peer, Script, noise};
use weir_tests::story::Plan;

/// What one blocked session may cost weir's own memory, in bytes: generous, but far from the
/// payload, which is many times as large.
const RESIDENT_PER_BLOCKED_SESSION: u64 = 1 << 20;

#[test]
fn a_client_that_does_not_read() {
    const LENGTH: usize = 64 << 20;
    let set = Plan::new(1, Script::ByHand).start();
    set.pair().0.send(b"warm");
    let before = set.weir.resident_bytes();
    let mut client = Peer::connect_narrow(set.weir.web);
    let mut server = set.backends[0].accept();
    let bytes = noise(9, LENGTH);
    let sent = server.send_until_blocked(&bytes, Duration::from_millis(500));
    assert!(sent < LENGTH, "nothing held the backend back");

    let grown = set.weir.resident_bytes().saturating_sub(before);
    assert!(grown < 4 * RESIDENT_PER_BLOCKED_SESSION, "{grown} bytes for one blocked session");

    // Another session of the same weir goes on as if nothing were.
    let (mut other, mut far) = set.pair();
    for _ in 0..100 {
        other.send(b"ping");
        far.expect(b"ping").send(b"pong");
        other.expect(b"pong");
    }

    // Then it reads, and everything is there, in order.
    std::thread::scope(|scope| {
        let (mut twin, rest) = (server.twin(), &bytes[sent..]);
        scope.spawn(move || {
            twin.send(rest).fin();
        });
        client.expect(&bytes).expect_fin();
    });
}

#[test]
fn a_backend_that_does_not_read() {
    const LENGTH: usize = 64 << 20;
    let set = Plan::new(1, Script::ByHand).start();
    let (mut client, mut server) = set.pair();
    let bytes = noise(4, LENGTH);
    let sent = client.send_until_blocked(&bytes, Duration::from_millis(500));
    assert!(sent < LENGTH, "nothing held the client back");
    // The other direction of the same session is free.
    server.send(b"down");
    client.expect(b"down");
    std::thread::scope(|scope| {
        let (mut twin, rest) = (client.twin(), &bytes[sent..]);
        scope.spawn(move || {
            twin.send(rest).fin();
        });
        server.expect(&bytes).expect_fin();
    });
}

#[test]
fn fifty_blocked_sessions_stay_within_their_memory() {
    const SESSIONS: usize = 50;
    let set = Plan::new(1, Script::ByHand).start();
    set.pair().0.send(b"warm");
    let before = set.weir.resident_bytes();
    let bytes = noise(6, 8 << 20);
    let mut held = Vec::new();
    std::thread::scope(|scope| {
        for _ in 0..SESSIONS {
            let client = Peer::connect_narrow(set.weir.web);
            let mut server = set.backends[0].accept();
            let twin = server.twin();
            let bytes = &bytes;
            scope.spawn(move || server.send_until_blocked(bytes, Duration::from_millis(300)));
            held.push((client, twin));
        }
    });
    let grown = set.weir.resident_bytes().saturating_sub(before);
    let most = RESIDENT_PER_BLOCKED_SESSION * SESSIONS as u64;
    assert!(grown < most, "{grown} bytes for {SESSIONS} blocked sessions; at most {most}");
    let (mut other, mut far) = set.pair();
    other.send(b"ping");
    far.expect(b"ping");
}
