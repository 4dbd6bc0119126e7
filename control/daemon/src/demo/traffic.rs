//! Clients of the demo, so that there is something to look at: a few come and go each second, some
//! stay for a while, and some have much to send.

use std::io::{self, ErrorKind, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpStream};
use std::time::Duration;

use socket2::SockRef;

use super::over::Over;

/// One kind of clients, how many there are of it at most, and how long each waits before it comes
/// again.
type Guests = (Visit, u32, Duration);

type Visit = fn(SocketAddr, &Over) -> io::Result<()>;

/// All of them: thirteen clients at a time, some three new ones a second.
const KINDS: [Guests; 3] = [
    (stays, 6, Duration::from_secs(1)),
    (visits, 4, Duration::from_millis(1_200)),
    (uploads, 3, Duration::from_secs(2)),
];
/// How long a client waits for bytes.
const PATIENCE: Duration = Duration::from_secs(10);
/// Lines of a client that stays, and how long it waits between them.
const LINES: u32 = 60;
const LINE_EVERY: Duration = Duration::from_millis(500);
/// The body of an upload, in bytes. A backend takes 64 KiB.
const UPLOAD: usize = 60 << 10;

/// Sends clients to `weir`, which need not serve yet, until the demo is over.
///
/// # Errors
/// There is no thread available.
pub(super) fn start(weir: SocketAddr, over: &Over) -> io::Result<()> {
    for (client, count, pause) in KINDS {
        for number in 0..count {
            let over = over.clone();
            let work = move || {
                // Not all at once.
                let mut wait = pause * number / count;
                while !over.within(wait) {
                    // A client that was not served comes again, as clients do.
                    let _ = client(weir, &over);
                    wait = pause;
                }
            };
            let thread = std::thread::Builder::new().name("client".to_owned());
            thread.stack_size(64 << 10).spawn(work)?;
        }
    }
    Ok(())
}

fn connect(weir: SocketAddr) -> io::Result<TcpStream> {
    let socket = TcpStream::connect_timeout(&weir, PATIENCE)?;
    socket.set_nodelay(true)?;
    socket.set_read_timeout(Some(PATIENCE))?;
    socket.set_write_timeout(Some(PATIENCE))?;
    Ok(socket)
}

/// Asks once, and leaves.
fn visits(weir: SocketAddr, _: &Over) -> io::Result<()> {
    let mut socket = connect(weir)?;
    socket.write_all(b"GET / HTTP/1.1\r\nHost: demo\r\nConnection: close\r\n\r\n")?;
    socket.read_to_end(&mut Vec::new()).map(drop)
}

/// Says a line now and then for half a minute, and waits for each to come back.
fn stays(weir: SocketAddr, over: &Over) -> io::Result<()> {
    let mut socket = connect(weir)?;
    for _ in 0..LINES {
        socket.write_all(b"still here\n")?;
        if socket.read(&mut [0; 256])? == 0 {
            return Ok(());
        }
        if over.within(LINE_EVERY) {
            break;
        }
    }
    socket.shutdown(Shutdown::Write)?;
    socket.read_to_end(&mut Vec::new()).map(drop)
}

/// Sends a long request. If no answer comes in time it gives up, with a reset.
fn uploads(weir: SocketAddr, _: &Over) -> io::Result<()> {
    let mut socket = connect(weir)?;
    let head = "POST / HTTP/1.1\r\nHost: demo\r\nConnection: close\r\nContent-Length:";
    let mut request = format!("{head} {UPLOAD}\r\n\r\n").into_bytes();
    request.resize(request.len() + UPLOAD, b'.');
    let answer = socket.write_all(&request).and_then(|()| socket.read(&mut [0; 256]));
    let late =
        |error: &io::Error| matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut);
    if answer.as_ref().is_err_and(late) {
        SockRef::from(&socket).set_linger(Some(Duration::ZERO))?;
    }
    answer.map(drop)
}

#[cfg(test)]
mod tests {
    use std::net::TcpListener;

    use super::*;
    use crate::demo::backend::{self, Manner};

    #[test]
    fn every_client_is_served_by_a_good_backend() {
        let over = Over::default();
        let address = backend::start("b1", Manner::Good, over.clone()).unwrap();
        over.set();
        for client in [visits, stays, uploads] {
            client(address, &over).unwrap();
        }
    }

    #[test]
    fn clients_come_to_the_address() {
        let weir = TcpListener::bind("127.0.0.1:0").unwrap();
        let over = Over::default();
        start(weir.local_addr().unwrap(), &over).unwrap();
        drop(weir.accept().unwrap());
        over.set();
    }
}
