//! Look-ups against servers of this host that answer by hand.

use std::net::{IpAddr, TcpListener, UdpSocket};
use std::thread;

use super::*;
use weir_proto::ids::PoolId;
use weir_proto::spec::DnsSource;

fn lookup(server: SocketAddr) -> Lookup {
    let source = DnsSource::Host { name: "web.test.".to_owned(), port: 443 };
    Lookup { pool: PoolId(1), number: 1, source, resolver: Some(server) }
}

fn look_up(server: SocketAddr) -> LookupOutcome {
    let lookup = lookup(server);
    rt::run(|| async move { resolve(&lookup).await }).unwrap()
}

/// The answer to an A question: as many addresses, 10.0.0.0 and on. To any other: none.
fn answer(question: &[u8], addresses: u8) -> Vec<u8> {
    let end = 12 + question[12..].iter().position(|byte| *byte == 0).unwrap() + 5;
    let is_a = question[end - 3] == 1;
    let count = if is_a { addresses } else { 0 };
    let mut message = question[..end].to_vec();
    message[2..12].copy_from_slice(&[0x81, 0x80, 0, 1, 0, count, 0, 0, 0, 0]);
    for last in 0..count {
        message.extend([0xc0, 12, 0, 1, 0, 1, 0, 0, 0, 60, 0, 4, 10, 0, 0, last]);
    }
    message
}

/// A server over UDP on a thread.
fn server(serve: impl Fn(&[u8]) -> Vec<Vec<u8>> + Send + 'static) -> (SocketAddr, UdpSocket) {
    let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
    let (address, twin) = (socket.local_addr().unwrap(), socket.try_clone().unwrap());
    thread::spawn(move || {
        let mut buffer = [0; 1024];
        while let Ok((count, peer)) = socket.recv_from(&mut buffer) {
            for message in serve(&buffer[..count]) {
                let _ = socket.send_to(&message, peer);
            }
        }
    });
    (address, twin)
}

#[test]
fn an_answer_is_taken_and_what_is_not_for_the_question_is_not() {
    let (address, _socket) = server(|question| {
        let good = answer(question, 2);
        let mut stranger = answer(question, 9);
        stranger[0] ^= 0xff;
        vec![Vec::new(), stranger, b"nonsense".to_vec(), good]
    });
    let found = look_up(address).unwrap();
    let shown: Vec<IpAddr> = found.addresses.iter().map(|it| it.address.ip()).collect();
    assert_eq!(shown, ["10.0.0.0", "10.0.0.1"].map(|it| it.parse::<IpAddr>().unwrap()));
    assert_eq!((found.ttl_s, found.is_whole), (60, [true; 2]));
}

#[test]
fn an_answer_that_was_cut_is_asked_for_over_tcp_and_not_used() {
    let tcp = TcpListener::bind("127.0.0.1:0").unwrap();
    let socket = UdpSocket::bind(tcp.local_addr().unwrap()).unwrap();
    let address = socket.local_addr().unwrap();
    thread::spawn(move || {
        let mut buffer = [0; 1024];
        while let Ok((count, peer)) = socket.recv_from(&mut buffer) {
            let mut cut = answer(&buffer[..count], 3);
            cut[2] |= 2;
            let _ = socket.send_to(&cut, peer);
        }
    });
    thread::spawn(move || {
        while let Ok((mut stream, _)) = tcp.accept() {
            use std::io::{Read, Write};
            let mut length = [0; 2];
            stream.read_exact(&mut length).unwrap();
            let mut question = vec![0; usize::from(u16::from_be_bytes(length))];
            stream.read_exact(&mut question).unwrap();
            let message = answer(&question, 60);
            let length = u16::try_from(message.len()).unwrap().to_be_bytes();
            stream.write_all(&[&length[..], &message].concat()).unwrap();
        }
    });
    assert_eq!(look_up(address).unwrap().addresses.len(), 60);
}

#[test]
fn no_server_at_all_is_not_a_wait() {
    let gone = UdpSocket::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    assert_eq!(look_up(gone), Err(Fault::Unreachable));
}

#[test]
fn a_server_that_does_not_know_edns_is_asked_without() {
    let (address, _socket) = server(|question| {
        let mut message = answer(question, 1);
        // There is an additional record: OPT.
        if question[11] == 1 {
            message[3] |= 1;
            message[7] = 0;
            message.truncate(12 + question.len() - 12 - 11);
        }
        vec![message]
    });
    assert_eq!(look_up(address).unwrap().addresses.len(), 1);
}
