//! A session is served, on IPv4 and IPv6, and every byte arrives once and in order.

use std::net::{IpAddr, Ipv6Addr};

use weir_tests::net::{Backend, Peer, Script, free, noise, own_ip};
use weir_tests::story::Plan;
use weir_tests::weir::{Start, Weir};

const V6: IpAddr = IpAddr::V6(Ipv6Addr::LOCALHOST);

/// A weir whose listener `web` is at `listener`, and its one backend at `backend`.
fn weir_between(listener: IpAddr, backend: IpAddr) -> (Weir, Backend) {
    let backend = Backend::start("b1", backend, Script::Echo);
    let web = free(listener);
    let objects = format!(
        "[listener.web]\nbind = \"{web}\"\npool = \"web\"\n\
         [pool.web]\nhealth = {{ kind = \"none\" }}\n\
         [pool.web.backend]\nb1 = {{ address = \"{}\" }}\n",
        backend.address
    );
    (Weir::start(web, &objects, Start::default()), backend)
}

#[test]
fn ipv4_to_ipv4() {
    let (weir, _backend) = weir_between(own_ip(), own_ip());
    Peer::connect(weir.web).echo(b"four to four").fin().expect_fin();
}

#[test]
fn ipv6_to_ipv6() {
    let (weir, _backend) = weir_between(V6, V6);
    Peer::connect(weir.web).echo(b"six to six").fin().expect_fin();
}

#[test]
fn ipv4_to_ipv6_and_back() {
    let (weir, _backend) = weir_between(own_ip(), V6);
    Peer::connect(weir.web).echo(b"four to six").fin().expect_fin();
    let (weir, _backend) = weir_between(V6, own_ip());
    Peer::connect(weir.web).echo(b"six to four").fin().expect_fin();
}

#[test]
fn a_listener_with_two_addresses_serves_both() {
    let backend = Backend::start("b1", own_ip(), Script::Echo);
    let (four, six) = (free(own_ip()), free(V6));
    let objects = format!(
        "[listener.web]\nbind = [\"{four}\", \"{six}\"]\npool = \"web\"\n\
         [pool.web]\nhealth = {{ kind = \"none\" }}\n\
         [pool.web.backend]\nb1 = {{ address = \"{}\" }}\n",
        backend.address
    );
    let _weir = Weir::start(four, &objects, Start::default());
    Peer::connect(four).echo(b"four");
    Peer::connect(six).echo(b"six");
}

#[test]
fn eight_mebibytes_cross_both_ways_at_once() {
    const LENGTH: usize = 8 << 20;
    let set = Plan::new(1, Script::ByHand).start();
    let (client, server) = set.pair();
    let (up, down) = (noise(1, LENGTH), noise(2, LENGTH));
    let (up, down) = (&up, &down);
    std::thread::scope(|scope| {
        for (peer, bytes) in [(client.twin(), up), (server.twin(), down)] {
            let mut peer = peer;
            scope.spawn(move || {
                peer.send(bytes).fin();
            });
        }
        for (peer, bytes) in [(client.twin(), down), (server.twin(), up)] {
            let mut peer = peer;
            scope.spawn(move || {
                peer.expect(bytes).expect_fin();
            });
        }
    });
}

#[test]
fn small_and_odd_chunks_arrive_in_order() {
    let set = Plan::new(1, Script::Echo).start();
    let bytes = noise(3, 300_000);
    let mut client = set.client();
    let mut at = 0;
    for length in (1..).map(|step: usize| step * 7919 % 9001 + 1) {
        let end = (at + length).min(bytes.len());
        client.echo(&bytes[at..end]);
        at = end;
        if at == bytes.len() {
            break;
        }
    }
    client.fin().expect_fin();
}

#[test]
fn the_server_may_speak_first_and_many_sessions_live_at_once() {
    let set = Plan::new(2, Script::Banner).start();
    let mut sessions: Vec<_> = (0..200).map(|_| set.session()).collect();
    for (index, (client, _)) in sessions.iter_mut().enumerate() {
        client.echo(format!("session {index}").as_bytes());
    }
    // The aggregate comes some times a second.
    weir_tests::clock::wait_for("the aggregate of 200", || set.weir.sessions() == 200);
    for (client, _) in &mut sessions {
        client.fin().expect_fin();
    }
    weir_tests::clock::wait_for("all sessions to end", || set.weir.sessions() == 0);
}
