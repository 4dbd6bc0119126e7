//! Urgent data (MSG_OOB): the byte stays in its place, nothing behind it is lost, and no peer can
//! make weir go in a circle with it.

use std::io::Write;
use std::net::TcpStream;
use std::time::Duration;

use rustix::net::{SendFlags, send};
use weir_tests::baseline::count;
use weir_tests::clock;
use weir_tests::net::{End, Peer, Script, noise};
use weir_tests::story::{Plan, Set};

/// Large enough for a pipe: four large receives in a row make a flow bulk.
const BULK: usize = 4 << 20;
/// Bytes behind the urgent one.
const BEHIND: usize = 100_000;

fn urgent(stream: &TcpStream, byte: u8) {
    assert_eq!(send(stream, &[byte], SendFlags::OOB).expect("the socket takes a byte"), 1);
}

fn shards(set: &Set, name: &str) -> u64 {
    count(&set.weir.get("/metrics").body, name, &[])
}

/// Sends bulk until weir uses a pipe; gives what was sent, and read by `to` so far is all of it.
fn into_a_pipe(set: &Set, from: &mut TcpStream, to: &mut Peer) {
    let before = shards(set, "weir_shard_spliced_bytes_total");
    let bulk = noise(7, BULK);
    clock::wait_for("a pipe", || {
        std::thread::scope(|scope| {
            scope.spawn(|| from.write_all(&bulk).expect("weir takes it"));
            to.expect(&bulk);
        });
        shards(set, "weir_shard_spliced_bytes_total") > before
    });
}

#[test]
fn an_urgent_byte_stays_in_its_place() {
    let set = Plan::new(1, Script::ByHand).start();
    let (client, server) = set.pair();
    let (mut client, mut server) = (client.into_stream(), server.into_stream());
    for back in [false, true] {
        let (from, to) = if back { (&mut server, &client) } else { (&mut client, &server) };
        let mut to = Peer::new(to.try_clone().expect("there is a descriptor"));
        from.write_all(b"before").unwrap();
        to.expect(b"before");
        // Alone, before others, behind others, and two of them.
        urgent(from, b'!');
        to.expect(b"!");
        urgent(from, b'?');
        from.write_all(b"behind").unwrap();
        to.expect(b"?behind");
        from.write_all(b"ab").unwrap();
        urgent(from, b'c');
        urgent(from, b'd');
        from.write_all(b"e").unwrap();
        to.expect(b"abcde");
    }
}

/// splice(2) stops before the urgent byte with EAGAIN while epoll(7) says that the socket is
/// readable. A shard that believes both turns 100,000 times a second.
#[test]
fn an_urgent_byte_in_a_pipe_neither_spins_nor_is_lost() {
    let set = Plan::new(1, Script::ByHand).shards(1).start();
    let (client, mut server) = set.pair();
    let mut client = client.into_stream();
    into_a_pipe(&set, &mut client, &mut server);
    let behind = noise(8, BEHIND);
    urgent(&client, b'!');
    client.write_all(&behind).unwrap();

    let watched = Duration::from_millis(500);
    let (enters, cpu) = (shards(&set, "weir_shard_enters_total"), set.weir.cpu());
    let began = clock::now();
    clock::wait_for("a while", || began.elapsed() >= watched);
    let enters = shards(&set, "weir_shard_enters_total") - enters;
    let cpu = set.weir.cpu() - cpu;
    eprintln!("{enters} enters and {cpu:?} of CPU in {:?}", began.elapsed());
    // The metrics are asked for, too; a circle is 50,000 or more.
    assert!(enters < 3_000, "{enters} enters in {watched:?}");

    server.expect(b"!").expect(&behind);
    // And bulk goes on, by another pipe.
    into_a_pipe(&set, &mut client, &mut server);
    assert!(shards(&set, "weir_shard_pipes_refused_total") >= 1, "it is counted");
    assert_eq!(shards(&set, "weir_shard_fruitless_watches_total"), 0);
}

/// The same byte, then a FIN: splice(2) says 0 though bytes are queued.
#[test]
fn a_fin_behind_an_urgent_byte_in_a_pipe_comes_after_all_bytes() {
    let set = Plan::new(1, Script::ByHand).start();
    for back in [false, true] {
        let (client, server) = set.pair();
        let (mut from, mut to) = if back { (server, client) } else { (client, server) };
        let mut stream = from.into_stream();
        into_a_pipe(&set, &mut stream, &mut to);
        let behind = noise(9, BEHIND);
        urgent(&stream, b'!');
        stream.write_all(&behind).unwrap();
        from = Peer::new(stream);
        from.fin();
        to.expect(b"!");
        let (rest, end) = to.rest();
        assert_eq!((rest.len(), end), (BEHIND, End::Fin), "from the backend: {back}");
        assert!(rest == behind, "the bytes behind it are others");
        to.send(b"bye").fin();
        from.expect(b"bye").expect_fin();
    }
    clock::wait_for("the sessions to end", || set.weir.sessions() == 0);
}

/// Nothing comes behind it: a byte alone is passed on through a pipe, too.
#[test]
fn an_urgent_byte_alone_in_a_pipe() {
    let set = Plan::new(1, Script::ByHand).start();
    let (client, mut server) = set.pair();
    let mut client = client.into_stream();
    into_a_pipe(&set, &mut client, &mut server);
    urgent(&client, b'!');
    server.expect(b"!");
    urgent(&client, b'?');
    server.expect(b"?");
    let mut client = Peer::new(client);
    client.fin();
    server.expect_fin().fin();
    client.expect_fin();
}
