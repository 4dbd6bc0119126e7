//! The engine on real sockets, without the control thread: bytes, ends, resets, refusals.

#[path = "support/rig.rs"]
mod rig;

use std::io::{Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::Arc;
use std::thread;
use std::time::Duration;

use rig::{Rig, ended};
use weir_proto::ids::{ShardId, Version};
use weir_proto::order::{Order, Report};
use weir_proto::snapshot::Snapshot;
use weir_proto::spec::NoBackend;

/// A backend that accepts one connection and hands it to `talk`.
fn backend(talk: impl FnOnce(TcpStream) + Send + 'static) -> (SocketAddr, thread::JoinHandle<()>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let thread = thread::spawn(move || {
        let (stream, _) = listener.accept().unwrap();
        stream.set_read_timeout(Some(Duration::from_secs(10))).unwrap();
        talk(stream);
    });
    (address, thread)
}

/// Byte `position` of a stream that checks itself.
fn pattern(length: usize) -> Vec<u8> {
    (0..length).map(|position| u8::try_from(position * 31 % 251).expect("below 251")).collect()
}

#[test]
fn eight_megabytes_cross_each_way_at_once_and_both_ends_are_passed_on() {
    const LENGTH: usize = 8 << 20;
    let (address, thread) = backend(|mut stream| {
        let mut writer = stream.try_clone().unwrap();
        let sender = thread::spawn(move || {
            writer.write_all(&pattern(LENGTH)).unwrap();
            writer.shutdown(Shutdown::Write).unwrap();
        });
        let mut got = Vec::new();
        stream.read_to_end(&mut got).unwrap();
        assert!(got == pattern(LENGTH), "the upload arrived whole");
        sender.join().unwrap();
    });
    let rig = Rig::start(&[address]);
    let mut client = rig.client();
    let mut writer = client.try_clone().unwrap();
    let sender = thread::spawn(move || {
        writer.write_all(&pattern(LENGTH)).unwrap();
        writer.shutdown(Shutdown::Write).unwrap();
    });
    let mut got = Vec::new();
    client.read_to_end(&mut got).unwrap();
    assert!(got == pattern(LENGTH), "the download arrived whole");
    sender.join().unwrap();
    thread.join().unwrap();
    let stats = rig.stop();
    assert_eq!(stats.backends[0].counts.received_bytes, LENGTH as u64);
    assert_eq!(stats.backends[0].counts.sent_bytes, LENGTH as u64);
}

#[test]
fn a_dead_backend_is_not_noticed_by_the_client() {
    let dead = TcpListener::bind("127.0.0.1:0").unwrap();
    let dead_address = dead.local_addr().unwrap();
    drop(dead);
    let (address, thread) = backend(|mut stream| {
        let mut word = [0; 5];
        stream.read_exact(&mut word).unwrap();
        stream.write_all(&word).unwrap();
    });
    let rig = Rig::start(&[dead_address, address]);
    let mut client = rig.client();
    client.write_all(b"hello").unwrap();
    let mut word = [0; 5];
    client.read_exact(&mut word).unwrap();
    assert_eq!(&word, b"hello");
    thread.join().unwrap();
    rig.stop();
}

#[test]
fn with_nobody_to_take_it_a_client_is_reset() {
    let rig = Rig::start(&[]);
    let error = rig.client().read(&mut [0; 1]).expect_err("a clean end would be a lie");
    assert_eq!(error.kind(), std::io::ErrorKind::ConnectionReset);
    rig.stop();
}

#[test]
fn a_stop_resets_what_is_open() {
    let (address, thread) = backend(|mut stream| {
        let error = stream.read_to_end(&mut Vec::new()).expect_err("a cut is not an end");
        assert_eq!(error.kind(), std::io::ErrorKind::ConnectionReset);
    });
    let rig = Rig::start(&[address]);
    let mut client = rig.client();
    client.write_all(b"x").unwrap();
    let reader = thread::spawn(move || client.read(&mut [0; 1]).expect_err("cut").kind());
    // The backend has the byte, so the session is relaying, once this order is taken.
    rig.stop();
    assert_eq!(reader.join().unwrap(), std::io::ErrorKind::ConnectionReset);
    thread.join().unwrap();
}

#[test]
fn a_panic_resets_what_was_open_and_the_shard_comes_back() {
    let (address, thread) = backend(|mut stream| {
        let error = stream.read_to_end(&mut Vec::new()).expect_err("a cut is not an end");
        assert_eq!(error.kind(), std::io::ErrorKind::ConnectionReset);
    });
    let rig = Rig::start(&[address]);
    let mut client = rig.client();
    client.write_all(b"x").unwrap();
    let reader = thread::spawn(move || client.read(&mut [0; 1]).expect_err("cut").kind());
    // A snapshot that no check has seen: its listener names a pool that is not there.
    let broken = Snapshot {
        regroupings: 0,
        version: Version(2),
        listeners: vec![weir_proto::snapshot::Listener {
            id: weir_proto::ids::ListenerId(99),
            name: "broken".parse().unwrap(),
            bind: Vec::new(),
            pool: 7,
            freebind: false,
            v6only: true,
            interface: None,
            max_sessions: None,
            rate: None,
            per_source: None,
            access: weir_proto::network::AccessLists::default(),
            keepalive: weir_proto::snapshot::Keepalive::default(),
            proxy: weir_proto::snapshot::ProxyIn::default(),
            inspect_timeout_ms: 3000,
            no_backend: NoBackend::Reset,
            routes: Arc::default(),
            accepting: true,
        }],
        pools: Vec::new(),
    };
    let order =
        Order::Adopt { snapshot: Arc::new(broken), sockets: Vec::new(), health: Vec::new() };
    rig.engine.send(ShardId(0), order).expect("there is room");
    let panic = rig.report(ended).expect("it did not end in peace");
    assert!(panic.contains("index out of bounds"), "{panic}");
    assert_eq!(reader.join().unwrap(), std::io::ErrorKind::ConnectionReset);
    thread.join().unwrap();
    rig.report(|report| matches!(report, Report::Started { .. }).then_some(()));
    rig.engine.address_next(ShardId(0));
    assert!(TcpStream::connect(rig.address).is_err(), "nobody listens until control says so");
    rig.stop();
}

#[test]
fn a_fenced_shard_lets_go_of_its_listeners_and_keeps_its_sessions() {
    let (relayed, is_relayed) = std::sync::mpsc::channel();
    let (address, thread) = backend(move |mut stream| {
        let mut word = [0; 5];
        stream.read_exact(&mut word[..2]).unwrap();
        relayed.send(()).unwrap();
        stream.read_exact(&mut word[2..]).unwrap();
        stream.write_all(&word).unwrap();
    });
    let rig = Rig::start(&[address]);
    rig.report(|report| matches!(report, Report::Retired(_)).then_some(()));
    let mut client = rig.client();
    let monitor = rig.engine.monitors().remove(0);
    client.write_all(b"he").unwrap();
    // A client whose connect(2) is over may wait for its accept still: the fence would reset it.
    is_relayed.recv_timeout(Duration::from_secs(10)).unwrap();
    monitor.fence();
    // It says so, and waits for new ones.
    rig.report(|report| matches!(report, Report::Started { .. }).then_some(()));
    assert!(!monitor.is_fenced(), "it has heeded the fence");
    assert!(TcpStream::connect(rig.address).is_err(), "nobody listens");
    client.write_all(b"llo").unwrap();
    let mut word = [0; 5];
    client.read_exact(&mut word).unwrap();
    assert_eq!(&word, b"hello");
    thread.join().unwrap();
    rig.stop();
}

#[cfg(debug_assertions)]
#[test]
fn a_panic_resets_a_client_that_was_accepted_and_not_yet_looked_at() {
    use weir_engine::failpoint::Fault;
    let rig = Rig::start(&[]);
    rig.report(|report| matches!(report, Report::Retired(_)).then_some(()));
    let monitor = rig.engine.monitors().remove(0);
    while !monitor.beat().waits {
        thread::yield_now();
    }
    // The answer to its accept is what wakes the shard.
    monitor.prime(Fault::Panic(0));
    let mut client = rig.client();
    assert!(rig.report(ended).is_some());
    let error = client.read(&mut [0; 1]).expect_err("nobody serves it");
    assert_eq!(error.kind(), std::io::ErrorKind::ConnectionReset);
    rig.engine.address_next(ShardId(0));
    rig.stop();
}
