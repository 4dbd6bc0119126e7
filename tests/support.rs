//! The scripted peers against each other, without weir: no story may fail because of them.

use std::time::Duration;

use weir_tests::clock;
use weir_tests::net::{Backend, End, Peer, Script, noise, own_ip};
use weir_tests::real::{Server, postgres_binary, wrk, wrk_result};
use weir_tests::weir::{Dir, Ran};

#[test]
fn a_banner_then_an_echo_then_fin_for_fin() {
    let backend = Backend::start("b1", own_ip(), Script::Banner);
    let mut client = Peer::connect(backend.address);
    assert_eq!(client.line(), "b1");
    client.echo(b"hi").send(b"last").fin().expect(b"last").expect_fin();
    assert_eq!(backend.count(), 1);
    clock::wait_for("the backend to let go", || backend.open() == 0);
}

#[test]
fn bytes_cross_whole_both_ways_at_once() {
    let backend = Backend::start("b1", own_ip(), Script::Echo);
    let mut client = Peer::connect(backend.address);
    let bytes = noise(7, 4 << 20);
    std::thread::scope(|scope| {
        let mut twin = client.twin();
        let bytes = &bytes;
        scope.spawn(move || {
            twin.send(bytes).fin();
        });
        client.expect(bytes).expect_fin();
    });
}

#[test]
fn by_hand_fin_and_rst_are_told_apart() {
    let backend = Backend::start("b1", own_ip(), Script::ByHand);
    let mut client = Peer::connect(backend.address);
    let mut server = backend.accept();
    client.send(b"up").fin();
    server.expect(b"up").expect_fin().send(b"down").fin();
    client.expect(b"down").expect_fin();
    let client = Peer::connect(backend.address);
    let mut server = backend.accept();
    assert!(!server.hears_within(Duration::from_millis(20)));
    client.rst();
    server.expect_rst();
}

#[test]
fn a_backend_resets_after_so_many_bytes_and_refuses_while_paused() {
    let mut backend = Backend::start("b1", own_ip(), Script::RstAfter(3));
    let mut client = Peer::connect(backend.address);
    client.send(b"abc");
    assert_eq!(client.rest().1, End::Rst);
    backend.pause();
    assert!(Peer::try_connect(backend.address).is_err());
    backend.resume();
    let _client = Peer::connect(backend.address);
    clock::wait_for("the third accept", || backend.count() >= 2);
}

#[test]
fn a_backend_that_dies_resets_its_sessions() {
    let mut backend = Backend::start("b1", own_ip(), Script::Banner);
    let mut client = Peer::connect(backend.address);
    client.line();
    backend.die();
    client.expect_rst();
    assert!(Peer::try_connect(backend.address).is_err());
}

#[test]
fn health_endpoints_answer_as_told() {
    let backend = Backend::start("b1", own_ip(), Script::Http);
    for status in [200, 503] {
        backend.set_status(status);
        let mut client = Peer::connect(backend.address);
        client.send(b"GET /health HTTP/1.1\r\nHost: x\r\n\r\n");
        let (answer, end) = client.rest();
        assert!(answer.starts_with(format!("HTTP/1.1 {status} ").as_bytes()));
        assert_eq!(end, End::Fin);
    }
    let backend = Backend::start("b2", own_ip(), Script::PingPong);
    let mut client = Peer::connect(backend.address);
    client.send(b"PING\r\n").expect(b"+PONG\r\n");
    backend.set_status(503);
    client.send(b"PING\r\n").expect(b"-LOADING\r\n");
}

#[test]
fn clients_choose_their_source_address() {
    let backend = Backend::start("b1", own_ip(), Script::ByHand);
    let source = own_ip();
    let client = Peer::connect_from(source, backend.address);
    assert_eq!(client.address().ip(), source);
}

#[test]
fn directories_are_fresh_and_go() {
    let (one, two) = (Dir::new(), Dir::new());
    assert_ne!(one.path, two.path);
    let path = one.path.clone();
    one.write("a", "text");
    drop(one);
    assert!(!path.exists() && two.path.exists());
}

/// The real parts come up and the load tools understand them, without weir between.
#[test]
fn real_servers_answer_their_tools() {
    let nginx = Server::nginx("n1", 1000);
    let load = wrk(nginx.address(), 2, 1, &["-H", "Connection: close"]);
    let (requests, failed) = wrk_result(&load.end().expect_code(0));
    assert!(requests > 0 && failed == 0, "{requests} requests, {failed} failed");
    let redis = Server::redis();
    for address in &redis.addresses {
        let mut client = Peer::connect(*address);
        client.send(b"PING\r\n").expect(b"+PONG\r\n");
    }
    let postgres = Server::postgres();
    for address in &postgres.addresses {
        let mut ask = std::process::Command::new(postgres_binary("psql"));
        ask.args(["-h", &address.ip().to_string(), "-p", &address.port().to_string()]);
        ask.args(["-U", "weir", "-Atc", "select 40 + 2", "postgres"]);
        assert_eq!(Ran::of(&mut ask).expect_code(0).stdout, "42\n");
    }
}
