//! The seam on real sockets of this host.

use std::io::{Read, Write};
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::UnixStream;

use futures_lite::AsyncWriteExt;

use super::*;

const DEADLINE: Duration = Duration::from_secs(5);

#[test]
fn a_timeout_gives_the_value_or_nothing() {
    let (soon, late) = run(|| async {
        let soon = timeout(DEADLINE, async { 7 }).await;
        let late = timeout(Duration::from_millis(1), futures_lite::future::pending::<u8>()).await;
        (soon, late)
    })
    .unwrap();
    assert_eq!((soon, late), (Some(7), None));
}

#[test]
fn a_unix_server_knows_its_peer_and_carries_bytes() {
    let folder = std::env::temp_dir().join(format!("weir-rt-{}", std::process::id()));
    std::fs::create_dir_all(&folder).unwrap();
    let path = folder.join("s");
    let _ = std::fs::remove_file(&path);
    let client_path = path.clone();
    let (cred, said, mode) = run(|| async move {
        let server = UnixServer::bind(&path).unwrap();
        let mode = std::fs::metadata(&path).unwrap().permissions().mode() & 0o777;
        let client = std::thread::spawn(move || {
            let mut socket = UnixStream::connect(client_path).unwrap();
            socket.write_all(b"hello").unwrap();
            let mut answer = String::new();
            socket.read_to_string(&mut answer).unwrap();
            answer
        });
        let (mut stream, cred) = timeout(DEADLINE, server.accept()).await.unwrap();
        let mut bytes = [0; 5];
        stream.read_exact(&mut bytes).await.unwrap();
        stream.write_all(&bytes).await.unwrap();
        stream.close().await.unwrap();
        (cred, client.join().unwrap(), mode)
    })
    .unwrap();
    std::fs::remove_dir_all(&folder).unwrap();
    assert_eq!(cred.uid, rustix::process::getuid().as_raw());
    assert_eq!(cred.gid, rustix::process::getgid().as_raw());
    assert_eq!(cred.pid, i32::try_from(std::process::id()).unwrap());
    assert_eq!((said.as_str(), mode), ("hello", 0o660));
}

#[test]
fn a_tcp_server_accepts_several_in_turn_and_a_closed_port_refuses() {
    let (answers, refused) = run(|| async {
        let server = TcpServer::bind("127.0.0.1:0".parse().unwrap()).unwrap();
        let address = server.local_addr().unwrap();
        let mut answers = Vec::new();
        for number in 0..3_u8 {
            let mut client = connect_tcp(address, &[], DEADLINE).await.unwrap();
            client.write_all(&[number]).await.unwrap();
            let (mut stream, _) = timeout(DEADLINE, server.accept()).await.unwrap();
            let mut bytes = [0];
            stream.read_exact(&mut bytes).await.unwrap();
            answers.push(bytes[0]);
        }
        drop(server);
        (answers, connect_tcp(address, &[], DEADLINE).await.err().map(|fault| fault.kind()))
    })
    .unwrap();
    assert_eq!(answers, [0, 1, 2]);
    assert_eq!(refused, Some(io::ErrorKind::ConnectionRefused));
}

#[test]
fn an_accept_that_waits_is_woken() {
    run(|| async {
        let server = TcpServer::bind("127.0.0.1:0".parse().unwrap()).unwrap();
        let address = server.local_addr().unwrap();
        // The connect is only started once the accept has had its turn and waits.
        spawn("test", async move {
            sleep(Duration::from_millis(1)).await;
            drop(connect_tcp(address, &[], DEADLINE).await.unwrap());
        });
        timeout(DEADLINE, server.accept()).await.expect("the accept hears of the connection");
    })
    .unwrap();
}

#[test]
fn a_bell_rings_for_bytes_and_once_for_the_end() {
    run(|| async {
        let (mut theirs, ours) = UnixStream::pair().unwrap();
        let mut bell = Bell::from(OwnedFd::from(ours));
        theirs.write_all(b"..").unwrap();
        timeout(DEADLINE, bell.wait()).await.expect("bytes ring");
        assert!(timeout(Duration::from_millis(1), bell.wait()).await.is_none(), "they were taken");
        theirs.write_all(b".").unwrap();
        timeout(DEADLINE, bell.wait()).await.expect("a wait that was dropped lost nothing");
        drop(theirs);
        timeout(DEADLINE, bell.wait()).await.expect("the end rings once");
        assert!(timeout(Duration::from_millis(1), bell.wait()).await.is_none());
    })
    .unwrap();
}

#[test]
fn a_peer_that_resets_at_once_was_there_and_one_that_is_oneself_was_not() {
    const CONNECTS: usize = 200;
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let server = std::thread::spawn(move || {
        for _ in 0..CONNECTS {
            let peer = socket2::Socket::from(listener.accept().unwrap().0);
            peer.set_linger(Some(Duration::ZERO)).unwrap();
        }
    });
    let missing = run(move || async move {
        let mut missing = 0;
        for _ in 0..CONNECTS {
            let stream = connect_tcp(address, &[], DEADLINE).await;
            let kind = stream.err().map(|error| error.kind());
            missing += usize::from(kind == Some(io::ErrorKind::NotConnected));
        }
        missing
    });
    assert_eq!(missing.unwrap(), 0);
    server.join().unwrap();
    let other: SocketAddr = "127.0.0.1:1".parse().unwrap();
    for (own, peer, met) in [
        (Some(address), Some(address), true),
        (Some(address), Some(other), false),
        (Some(address), None, false),
        (None, None, false),
    ] {
        assert_eq!(has_met_itself(own, peer), met, "{own:?} {peer:?}");
    }
}

#[test]
fn a_connect_comes_from_the_first_source_that_is_on_this_host() {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let [far, own, other]: [IpAddr; 3] =
        ["198.51.100.77", "127.44.6.1", "127.44.6.2"].map(|text| text.parse().unwrap());
    run(|| async move {
        drop(connect_tcp(address, &[far, own, other], DEADLINE).await.unwrap());
        assert_eq!(listener.accept().unwrap().1.ip(), own);
        let fault = connect_tcp(address, &[far], DEADLINE).await.err().unwrap();
        assert_eq!(fault.to_string(), "source 198.51.100.77 is not on this host");
        drop(listener);
        let fault = connect_tcp(address, &[own], DEADLINE).await.err().unwrap();
        assert_eq!(fault.kind(), io::ErrorKind::ConnectionRefused);
    })
    .unwrap();
}

#[test]
fn a_unix_socket_whose_backlog_is_full_refuses() {
    let folder = std::env::temp_dir().join(format!("weir-rt-full-{}", std::process::id()));
    std::fs::create_dir_all(&folder).unwrap();
    let path = folder.join("s");
    let _ = std::fs::remove_file(&path);
    let flags = SocketFlags::CLOEXEC;
    let server = socket_with(AddressFamily::UNIX, SocketType::STREAM, flags, None).unwrap();
    bind(&server, &SocketAddrUnix::new(&path).unwrap()).unwrap();
    listen(&server, 0).unwrap();
    // One waits, and there is no room for another.
    let _waits = UnixStream::connect(&path).unwrap();
    let to = format!("unix:{}", path.display()).parse().unwrap();
    let weir_proto::address::Address::Unix(to) = to else { panic!("{to}") };
    let fault = connect_unix(to).err().map(|fault| fault.kind());
    assert_eq!(fault, Some(io::ErrorKind::ConnectionRefused));
    std::fs::remove_dir_all(&folder).unwrap();
}
