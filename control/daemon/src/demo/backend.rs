//! A backend of the demo: says its name over HTTP, and echoes lines to whoever speaks no HTTP.
//! One with a fault does that late, or not at all.

use std::io::{self, Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::time::Duration;

use socket2::{Domain, SockRef, Socket, Type};

use super::over::Over;

/// How a backend treats its sessions.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Manner {
    /// Answers at once.
    Good,
    /// Answers late, and reads what is long a little at a time.
    Slow,
    /// Takes a session, and resets it at its first bytes.
    Resets,
}

/// How long a slow one takes to answer.
const ANSWER_AFTER: Duration = Duration::from_millis(800);
/// How long it rests while more of a request is to come. Longer than weir's look for stalled sides.
const READ_AFTER: Duration = Duration::from_millis(2_500);
/// Its receive buffer, in bytes: what it has not read, its kernel must not take either.
const SLOW_BUFFER: usize = 4 << 10;
/// How long one that resets lets a client hope.
const RESET_AFTER: Duration = Duration::from_millis(50);

/// Starts a backend on a free port of loopback. It runs until the process ends.
///
/// # Errors
/// There is no port or no thread available.
pub(super) fn start(name: &'static str, manner: Manner, over: Over) -> io::Result<SocketAddr> {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?;
    if manner == Manner::Slow {
        SockRef::from(&listener).set_recv_buffer_size(SLOW_BUFFER)?;
    }
    let address = listener.local_addr()?;
    std::thread::Builder::new().name(name.to_owned()).spawn(move || {
        for socket in listener.incoming().flatten() {
            let over = over.clone();
            let serve = move || {
                // A client that leaves in the middle is no news.
                let _ = match manner {
                    Manner::Good | Manner::Slow => talk(name, socket, manner, &over),
                    Manner::Resets => reset(socket, &over),
                };
            };
            // Without a thread the connection is dropped, as a real server would do.
            let _ = std::thread::Builder::new().stack_size(64 << 10).spawn(serve);
        }
    })?;
    Ok(address)
}

/// The address of a backend that is dead: as long as the socket is kept, no other program gets the
/// port, and connects to it are refused.
///
/// # Errors
/// There is no port available.
pub(super) fn dead() -> io::Result<(Socket, SocketAddr)> {
    let socket = Socket::new(Domain::IPV4, Type::STREAM, None)?;
    socket.bind(&SocketAddr::from((Ipv4Addr::LOCALHOST, 0)).into())?;
    let address = socket.local_addr()?.as_socket();
    Ok((socket, address.ok_or(io::ErrorKind::AddrNotAvailable)?))
}

/// Resets a session at its first bytes; a check that only connects passes.
fn reset(mut socket: TcpStream, over: &Over) -> io::Result<()> {
    if socket.read(&mut [0; 4096])? > 0 {
        let _ = over.within(RESET_AFTER);
        SockRef::from(&socket).set_linger(Some(Duration::ZERO))?;
    }
    Ok(())
}

fn talk(name: &str, mut socket: TcpStream, manner: Manner, over: &Over) -> io::Result<()> {
    socket.set_nodelay(true)?;
    let rest = |span| {
        if manner == Manner::Slow {
            let _ = over.within(span);
        }
    };
    let mut pending = Vec::new();
    let mut buffer = [0; 4096];
    loop {
        let mut answer = Vec::new();
        let goes_on = loop {
            match next(&pending) {
                Next::More => break true,
                Next::Line { length } => {
                    answer.extend_from_slice(format!("{name}: ").as_bytes());
                    answer.extend_from_slice(&pending[..length]);
                    pending.drain(..length);
                }
                Next::Request { length, last } => {
                    answer.extend_from_slice(hello(name, last).as_bytes());
                    pending.drain(..length);
                    if last {
                        break false;
                    }
                }
                Next::TooLong => break false,
            }
        };
        if !answer.is_empty() {
            rest(ANSWER_AFTER);
        }
        socket.write_all(&answer)?;
        if !goes_on {
            return Ok(());
        }
        if !pending.is_empty() {
            rest(READ_AFTER);
        }
        match socket.read(&mut buffer)? {
            0 => return Ok(()),
            count => pending.extend_from_slice(&buffer[..count]),
        }
    }
}

fn hello(name: &str, last: bool) -> String {
    let body = format!("hello from {name}\n");
    let connection = if last { "close" } else { "keep-alive" };
    format!(
        "HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nContent-Length: {}\r\n\
         Connection: {connection}\r\n\r\n{body}",
        body.len()
    )
}

/// What stands at the beginning of the bytes that came.
#[derive(Debug, PartialEq, Eq)]
enum Next {
    /// Not all of it yet.
    More,
    /// A line, with its end.
    Line {
        length: usize,
    },
    /// An HTTP request with its body; after the `last` the connection is closed.
    Request {
        length: usize,
        last: bool,
    },
    TooLong,
}

/// The longest line or request, in bytes.
const LENGTH_MAX: usize = 64 << 10;

fn next(bytes: &[u8]) -> Next {
    let unfinished = if bytes.len() > LENGTH_MAX { Next::TooLong } else { Next::More };
    let Some(line) = bytes.iter().position(|byte| *byte == b'\n') else { return unfinished };
    let version = bytes[..line].trim_ascii_end().rsplit(|byte| *byte == b' ').next();
    let old = match version {
        Some(b"HTTP/1.1") => false,
        Some(b"HTTP/1.0") => true,
        _ => return Next::Line { length: line + 1 },
    };
    let Some(end) = bytes.windows(4).position(|window| window == b"\r\n\r\n") else {
        return unfinished;
    };
    let head = String::from_utf8_lossy(&bytes[..end]).to_ascii_lowercase();
    let field = |name: &str| {
        let value = head.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':'));
        value.map(str::trim)
    };
    let body = field("content-length").map_or(Some(0), |text| text.parse::<usize>().ok());
    let Some(body) = body.filter(|body| *body <= LENGTH_MAX) else { return Next::TooLong };
    let length = end + 4 + body;
    if bytes.len() < length {
        return Next::More;
    }
    let last = match field("connection") {
        Some("close") => true,
        Some("keep-alive") => false,
        _ => old,
    };
    Next::Request { length, last }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn requests_and_lines_are_told_apart() {
        let request = |length, last| Next::Request { length, last };
        let cases: [(&[u8], Next); 10] = [
            (b"", Next::More),
            (b"hello", Next::More),
            (b"hello\nyou\n", Next::Line { length: 6 }),
            (b"GET / HTTP/1.1\r\nHost: x\r\n", Next::More),
            (b"GET / HTTP/1.1\r\nHost: x\r\n\r\nGET", request(27, false)),
            (b"GET / HTTP/1.1\r\nCONNECTION: Close\r\n\r\n", request(37, true)),
            (b"GET / HTTP/1.0\r\n\r\n", request(18, true)),
            (b"POST / HTTP/1.1\r\nContent-Length: 3\r\n\r\nab", Next::More),
            (b"POST / HTTP/1.1\r\nContent-Length: 3\r\n\r\nabc", request(41, false)),
            (b"POST / HTTP/1.1\r\nContent-Length: 99999999999\r\n\r\n", Next::TooLong),
        ];
        for (bytes, expected) in cases {
            assert_eq!(next(bytes), expected, "{}", bytes.escape_ascii());
        }
        assert_eq!(next(&[b'x'; LENGTH_MAX + 1]), Next::TooLong);
    }

    #[test]
    fn a_backend_says_its_name_twice_on_one_connection_and_echoes() {
        let address = start("b7", Manner::Good, Over::default()).unwrap();
        let connect = || {
            let socket = TcpStream::connect(address).unwrap();
            socket.set_read_timeout(Some(std::time::Duration::from_secs(5))).unwrap();
            socket
        };
        let mut socket = connect();
        socket
            .write_all(b"GET / HTTP/1.1\r\n\r\nGET / HTTP/1.1\r\nConnection: close\r\n\r\n")
            .unwrap();
        let mut answer = String::new();
        socket.read_to_string(&mut answer).unwrap();
        assert_eq!(answer.matches("hello from b7\n").count(), 2, "{answer}");

        let mut socket = connect();
        socket.write_all(b"one\ntwo\n").unwrap();
        socket.shutdown(std::net::Shutdown::Write).unwrap();
        let mut answer = String::new();
        socket.read_to_string(&mut answer).unwrap();
        assert_eq!(answer, "b7: one\nb7: two\n");
    }

    #[test]
    fn one_that_resets_takes_a_check_and_cuts_a_session() {
        let address = start("b8", Manner::Resets, Over::default()).unwrap();
        let check = TcpStream::connect(address).unwrap();
        check.shutdown(std::net::Shutdown::Write).unwrap();
        assert_eq!((&check).read(&mut [0; 8]).unwrap(), 0);
        let mut session = TcpStream::connect(address).unwrap();
        session.write_all(b"GET / HTTP/1.1\r\n\r\n").unwrap();
        let ended = session.read(&mut [0; 8]).unwrap_err();
        assert_eq!(ended.kind(), io::ErrorKind::ConnectionReset);
    }

    #[test]
    fn a_dead_one_refuses() {
        let (_kept, address) = dead().unwrap();
        let refused = TcpStream::connect(address).unwrap_err();
        assert_eq!(refused.kind(), io::ErrorKind::ConnectionRefused);
    }
}
