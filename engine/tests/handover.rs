//! Sessions go from one shard to another while they live: no byte is lost, none comes twice, no session
//! is reset.

#[path = "support/rig.rs"]
mod rig;

use std::io::{Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use rig::{Rig, ended};
use weir_proto::ids::ShardId;
use weir_proto::order::{Order, Report};

/// Byte `position` of a stream that checks itself.
fn pattern(length: usize) -> Vec<u8> {
    (0..length).map(|position| u8::try_from(position * 31 % 251).expect("below 251")).collect()
}

const BULK: usize = 48 << 20;

/// The wish of a client for the backend, by its first byte.
const ECHO: u8 = b'e';
/// A lot, whether it is read or not.
const DOWNLOAD: u8 = b'd';
/// To send a lot, and hear how much came.
const UPLOAD: u8 = b'u';
/// To hear something behind its FIN, when a byte says so elsewhere.
const LAST_WORD: u8 = b'l';

/// A backend for all of these. `may_end` lets those go on that wait with their last word.
fn backend(may_end: Arc<AtomicBool>) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    thread::spawn(move || {
        for stream in listener.incoming() {
            let (mut stream, may_end) = (stream.unwrap(), Arc::clone(&may_end));
            thread::spawn(move || {
                let mut kind = [0];
                if stream.read_exact(&mut kind).is_ok() {
                    let _ = serve(kind[0], &mut stream, &may_end);
                }
            });
        }
    });
    address
}

fn serve(kind: u8, stream: &mut TcpStream, may_end: &AtomicBool) -> std::io::Result<()> {
    match kind {
        DOWNLOAD => {
            stream.write_all(&pattern(BULK))?;
            stream.shutdown(Shutdown::Write)
        }
        UPLOAD => {
            let mut got = Vec::new();
            stream.read_to_end(&mut got)?;
            let is_whole = got == pattern(BULK);
            stream.write_all(&[u8::from(is_whole)])
        }
        LAST_WORD => {
            stream.read_to_end(&mut Vec::new())?;
            while !may_end.load(Ordering::Acquire) {
                thread::yield_now();
            }
            stream.write_all(b"last")
        }
        _ => {
            let mut bytes = [0; 4096];
            loop {
                let count = stream.read(&mut bytes)?;
                if count == 0 {
                    return Ok(());
                }
                stream.write_all(&bytes[..count])?;
            }
        }
    }
}

fn begin(rig: &Rig, kind: u8) -> TcpStream {
    let mut client = rig.client();
    client.set_read_timeout(Some(Duration::from_secs(60))).unwrap();
    client.write_all(&[kind]).unwrap();
    client
}

fn round_trip(client: &mut TcpStream, number: u32) {
    let word = number.to_le_bytes();
    client.write_all(&word).unwrap();
    let mut answer = [0; 4];
    client.read_exact(&mut answer).unwrap();
    assert_eq!(answer, word);
}

/// A client that talks all the time, until it shall end.
fn busy(rig: &Rig, until: &Arc<AtomicBool>) -> JoinHandle<u32> {
    let (mut client, until) = (begin(rig, ECHO), Arc::clone(until));
    thread::spawn(move || {
        let mut number = 0;
        while !until.load(Ordering::Acquire) {
            round_trip(&mut client, number);
            number += 1;
        }
        number
    })
}

fn hand_over(from: &Rig, to: &Rig, most: Option<u32>) -> [(u64, bool); 2] {
    let channel = weir_engine::handover_channel().unwrap();
    let take = Order::Take { channel: Some(channel.1) };
    to.engine.send(ShardId(0), take).expect("there is room");
    let give = Order::Give { channel: Some(channel.0), most };
    from.engine.send(ShardId(0), give).expect("there is room");
    let gave = from.report(|report| match report {
        Report::Gave { sessions, is_whole, .. } => Some((sessions, is_whole)),
        _ => None,
    });
    let took = to.report(|report| match report {
        Report::Took { sessions, is_whole, .. } => Some((sessions, is_whole)),
        _ => None,
    });
    [gave, took]
}

#[test]
fn sessions_of_every_kind_go_on_behind_another_shard() {
    let (may_end, enough) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicBool::new(false)));
    let first = Rig::start(&[backend(Arc::clone(&may_end))]);
    let mut idle: Vec<TcpStream> = (0..8).map(|_| begin(&first, ECHO)).collect();
    idle.iter_mut().for_each(|client| round_trip(client, 1));
    let talkers: Vec<JoinHandle<u32>> = (0..4).map(|_| busy(&first, &enough)).collect();
    let mut stalled: Vec<TcpStream> = (0..2).map(|_| begin(&first, DOWNLOAD)).collect();
    let mut half_closed = begin(&first, LAST_WORD);
    half_closed.shutdown(Shutdown::Write).unwrap();
    let mut uploader = begin(&first, UPLOAD);
    let upload = thread::spawn(move || {
        uploader.write_all(&pattern(BULK)).unwrap();
        uploader.shutdown(Shutdown::Write).unwrap();
        let mut verdict = [0];
        uploader.read_exact(&mut verdict).unwrap();
        verdict[0]
    });
    let mut downloader = begin(&first, DOWNLOAD);
    downloader.read_exact(&mut [0]).unwrap(); // it is under way
    let download = thread::spawn(move || {
        let mut got = vec![pattern(1)[0]];
        downloader.read_to_end(&mut got).unwrap();
        got == pattern(BULK)
    });

    let second = first.beside();
    let [gave, took] = hand_over(&first, &second, None);
    assert_eq!((gave, took.1), ((gave.0, true), true));
    assert_eq!(gave.0, took.0);
    assert!(gave.0 > 8 + 4 + 2, "{gave:?}");

    idle.iter_mut().for_each(|client| round_trip(client, 2));
    let mut new = begin(&second, ECHO);
    round_trip(&mut new, 3);
    may_end.store(true, Ordering::Release);
    let mut word = String::new();
    half_closed.read_to_string(&mut word).unwrap();
    assert_eq!(word, "last");
    assert_eq!(upload.join().unwrap(), 1, "the upload arrived whole");
    assert!(download.join().unwrap(), "the download arrived whole");
    for client in &mut stalled {
        let mut got = Vec::new();
        client.read_to_end(&mut got).unwrap();
        assert!(got == pattern(BULK), "what waited arrived whole: {} bytes", got.len());
    }
    enough.store(true, Ordering::Release);
    for talker in talkers {
        assert!(talker.join().unwrap() > 0);
    }
    let before = first.stop();
    assert_eq!(before.sessions_now, 0);
    let after = second.stop();
    assert_eq!(after.backends[0].counts.connect_failures.iter().sum::<u64>(), 0);
}

#[test]
fn a_taker_that_dies_gives_back_what_it_has_not_acknowledged() {
    let may_end = Arc::new(AtomicBool::new(false));
    let rig = Rig::start(&[backend(may_end)]);
    let mut clients: Vec<TcpStream> = (0..16).map(|_| begin(&rig, ECHO)).collect();
    clients.iter_mut().for_each(|client| round_trip(client, 1));
    let (giver, taker) = weir_engine::handover_channel().unwrap();
    let give = Order::Give { channel: Some(giver), most: None };
    rig.engine.send(ShardId(0), give).expect("there is room");
    // The batch is on its way when the other end goes.
    let mut message = [0; 4];
    while rustix::net::recv(&taker, &mut message[..], rustix::net::RecvFlags::PEEK).is_err() {
        thread::yield_now();
    }
    drop(taker);
    let gave = rig.report(|report| match report {
        Report::Gave { sessions, is_whole, .. } => Some((sessions, is_whole)),
        _ => None,
    });
    assert_eq!(gave, (0, false));
    clients.iter_mut().for_each(|client| round_trip(client, 2));
    rig.stop();
}

#[test]
fn what_was_taken_lives_on_when_the_giver_stops() {
    let may_end = Arc::new(AtomicBool::new(false));
    let first = Rig::start(&[backend(may_end)]);
    let mut clients: Vec<TcpStream> = (0..16).map(|_| begin(&first, ECHO)).collect();
    clients.iter_mut().for_each(|client| round_trip(client, 1));
    let second = first.beside();
    let [gave, took] = hand_over(&first, &second, None);
    assert_eq!((gave, took), ((16, true), (16, true)));
    first.engine.send(ShardId(0), Order::Stop).expect("there is room");
    assert_eq!(first.report(ended), None);
    clients.iter_mut().for_each(|client| round_trip(client, 2));
    second.stop();
}

#[test]
fn some_sessions_go_and_the_others_stay_with_the_listeners() {
    let may_end = Arc::new(AtomicBool::new(false));
    let first = Rig::start(&[backend(may_end)]);
    let mut clients: Vec<TcpStream> = (0..16).map(|_| begin(&first, ECHO)).collect();
    clients.iter_mut().for_each(|client| round_trip(client, 1));
    let second = first.apart();
    for (round, most, gone) in [(2, 5, 5), (3, 5, 5), (4, 100, 8)] {
        let [gave, took] = hand_over(&first, &second, Some(most));
        assert_eq!((gave, took), ((gone, true), (gone, true)));
        clients.push(begin(&first, ECHO));
        clients.iter_mut().for_each(|client| round_trip(client, round));
    }
    let [gave, took] = hand_over(&second, &first, Some(3));
    assert_eq!((gave, took), ((3, true), (3, true)));
    clients.iter_mut().for_each(|client| round_trip(client, 9));
    first.stop();
    second.stop();
}
