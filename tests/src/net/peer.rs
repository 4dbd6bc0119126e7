//! One end of a TCP connection in the hand of a test: what it sends and expects, step by step.

use std::io::{self, ErrorKind, Read, Write};
use std::net::{IpAddr, Shutdown, SocketAddr, TcpStream};
use std::time::Duration;

use socket2::{Domain, SockAddr, Socket, Type};

use crate::clock::PATIENCE;

/// A client, or the socket that a backend accepted. Steps that do not come true panic.
#[derive(Debug)]
pub struct Peer {
    stream: TcpStream,
}

/// How the other side ended its direction.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum End {
    Fin,
    Rst,
}

impl Peer {
    /// Takes over a connected socket. Nothing on it waits longer than [`PATIENCE`].
    ///
    /// # Panics
    /// If the socket takes no options.
    #[must_use]
    pub fn new(stream: TcpStream) -> Peer {
        stream.set_read_timeout(Some(PATIENCE)).expect("a socket takes a timeout");
        stream.set_write_timeout(Some(PATIENCE)).expect("a socket takes a timeout");
        stream.set_nodelay(true).expect("a socket takes TCP_NODELAY");
        Peer { stream }
    }

    /// Connects.
    ///
    /// # Panics
    /// If nobody accepts.
    #[must_use]
    pub fn connect(to: SocketAddr) -> Peer {
        Peer::try_connect(to).unwrap_or_else(|error| panic!("connect to {to}: {error}"))
    }

    /// Connects.
    ///
    /// # Errors
    /// The kernel's, ECONNREFUSED above all.
    pub fn try_connect(to: SocketAddr) -> io::Result<Peer> {
        TcpStream::connect_timeout(&to, PATIENCE).map(Peer::new)
    }

    /// Connects from this source address.
    ///
    /// # Panics
    /// If nobody accepts, or the address is not one of this host.
    #[must_use]
    pub fn connect_from(source: IpAddr, to: SocketAddr) -> Peer {
        Peer::prepared(to, |socket| socket.bind(&SockAddr::from(SocketAddr::new(source, 0))))
    }

    /// Connects from this source address, within `limit`.
    ///
    /// # Errors
    /// The kernel's; `TimedOut` if no answer comes.
    pub fn try_connect_from(source: IpAddr, to: SocketAddr, limit: Duration) -> io::Result<Peer> {
        let socket = Socket::new(Domain::for_address(to), Type::STREAM, None)?;
        socket.bind(&SockAddr::from(SocketAddr::new(source, 0)))?;
        socket.connect_timeout(&SockAddr::from(to), limit)?;
        Ok(Peer::new(socket.into()))
    }

    /// Connects with a small receive buffer: weir feels soon that this peer does not read.
    ///
    /// # Panics
    /// If nobody accepts.
    #[must_use]
    pub fn connect_narrow(to: SocketAddr) -> Peer {
        Peer::prepared(to, |socket| socket.set_recv_buffer_size(8 << 10))
    }

    /// Connects with about the smallest receive buffer that there is.
    ///
    /// # Panics
    /// If nobody accepts.
    #[must_use]
    pub fn connect_crawling(to: SocketAddr) -> Peer {
        Peer::prepared(to, |socket| socket.set_recv_buffer_size(2 << 10))
    }

    fn prepared(to: SocketAddr, prepare: impl FnOnce(&Socket) -> io::Result<()>) -> Peer {
        let socket = Socket::new(Domain::for_address(to), Type::STREAM, None);
        let socket = socket.expect("there is a descriptor");
        prepare(&socket).unwrap_or_else(|error| panic!("before the connect to {to}: {error}"));
        socket
            .connect_timeout(&SockAddr::from(to), PATIENCE)
            .unwrap_or_else(|error| panic!("connect to {to}: {error}"));
        Peer::new(socket.into())
    }

    /// Waits up to `limit` for each thing to come, instead of [`PATIENCE`].
    pub fn patient(&mut self, limit: Duration) {
        let _ = self.stream.set_read_timeout(Some(limit));
    }

    /// Another handle on the same socket, for a thread that does the other direction.
    ///
    /// # Panics
    /// If descriptors ran out.
    #[must_use]
    pub fn twin(&self) -> Peer {
        Peer { stream: self.stream.try_clone().expect("there is a descriptor") }
    }

    /// Sends all of it.
    ///
    /// # Panics
    /// If the socket does not take it.
    pub fn send(&mut self, bytes: &[u8]) -> &mut Peer {
        self.stream.write_all(bytes).unwrap_or_else(|error| panic!("send: {error}"));
        self
    }

    /// Sends until the other side takes no more for `limit`; gives the bytes that went.
    pub fn send_until_blocked(&mut self, bytes: &[u8], limit: Duration) -> usize {
        let _ = self.stream.set_write_timeout(Some(limit));
        let mut sent = 0;
        while sent < bytes.len() {
            match self.stream.write(&bytes[sent..]) {
                Ok(0) | Err(_) => break,
                Ok(length) => sent += length,
            }
        }
        let _ = self.stream.set_write_timeout(Some(PATIENCE));
        sent
    }

    /// Ends this direction; the other one goes on.
    ///
    /// # Panics
    /// If the connection is gone.
    pub fn fin(&mut self) -> &mut Peer {
        self.stream.shutdown(Shutdown::Write).unwrap_or_else(|error| panic!("FIN: {error}"));
        self
    }

    /// Its own address.
    ///
    /// # Panics
    /// If it has none.
    #[must_use]
    pub fn source(&self) -> SocketAddr {
        self.stream.local_addr().expect("it is connected")
    }

    /// Ends the connection with a RST.
    ///
    /// # Panics
    /// If the socket takes no options.
    pub fn rst(self) {
        let socket = Socket::from(self.stream);
        socket.set_linger(Some(Duration::ZERO)).expect("a socket takes SO_LINGER");
    }

    /// Waits for exactly these bytes.
    ///
    /// # Panics
    /// If others come, or the connection ends first.
    pub fn expect(&mut self, bytes: &[u8]) -> &mut Peer {
        let got = self.take(bytes.len());
        if let Some(at) = (0..bytes.len()).find(|at| bytes[*at] != got[*at]) {
            panic!("byte {at} of {} differs: {} for {}", bytes.len(), got[at], bytes[at]);
        }
        self
    }

    /// Waits for that many bytes, whatever they are.
    ///
    /// # Panics
    /// If the connection ends first.
    pub fn take(&mut self, length: usize) -> Vec<u8> {
        let mut got = vec![0; length];
        self.stream
            .read_exact(&mut got)
            .unwrap_or_else(|error| panic!("waited for {length} bytes: {error}"));
        got
    }

    /// Waits for a line; gives it without its end. Errors if the connection ends first.
    ///
    /// # Errors
    /// The kernel's; `UnexpectedEof` for a FIN.
    pub fn try_line(&mut self) -> io::Result<String> {
        let mut line = Vec::new();
        loop {
            let mut byte = [0];
            match self.stream.read(&mut byte) {
                Ok(0) => return Err(ErrorKind::UnexpectedEof.into()),
                Ok(_) if byte[0] == b'\n' => {
                    return String::from_utf8(line).map_err(|_| ErrorKind::InvalidData.into());
                }
                Ok(_) => line.push(byte[0]),
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
    }

    /// Waits for a line: the banner of a backend.
    ///
    /// # Panics
    /// If the connection ends first.
    pub fn line(&mut self) -> String {
        self.try_line().unwrap_or_else(|error| panic!("waited for a line: {error}"))
    }

    /// Sends `bytes` and waits for them to come back: the session is alive both ways.
    ///
    /// # Panics
    /// If it is not.
    pub fn echo(&mut self, bytes: &[u8]) -> &mut Peer {
        self.send(bytes).expect(bytes)
    }

    /// Reads to the end: the bytes, and how it ended.
    ///
    /// # Panics
    /// If nothing happens for [`PATIENCE`], or the end is neither a FIN nor a RST.
    pub fn rest(&mut self) -> (Vec<u8>, End) {
        let mut bytes = Vec::new();
        let mut chunk = [0; 64 << 10];
        loop {
            match self.stream.read(&mut chunk) {
                Ok(0) => return (bytes, End::Fin),
                Ok(length) => bytes.extend_from_slice(&chunk[..length]),
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) if error.kind() == ErrorKind::ConnectionReset => {
                    return (bytes, End::Rst);
                }
                Err(error) => panic!("waited for the end after {} bytes: {error}", bytes.len()),
            }
        }
    }

    /// The other side has ended its direction with a FIN, and nothing came before it.
    ///
    /// # Panics
    /// If it was something else.
    pub fn expect_fin(&mut self) -> &mut Peer {
        self.expect_end(End::Fin)
    }

    /// The other side has reset the connection, and nothing came before it.
    ///
    /// # Panics
    /// If it was something else.
    pub fn expect_rst(&mut self) -> &mut Peer {
        self.expect_end(End::Rst)
    }

    fn expect_end(&mut self, end: End) -> &mut Peer {
        let (bytes, got) = self.rest();
        assert_eq!((bytes.len(), got), (0, end), "(bytes before the end, the end)");
        self
    }

    /// Whether a byte or an end comes within `limit`.
    pub fn hears_within(&self, limit: Duration) -> bool {
        let _ = self.stream.set_read_timeout(Some(limit));
        let heard = self.stream.peek(&mut [0]);
        let _ = self.stream.set_read_timeout(Some(PATIENCE));
        !heard
            .is_err_and(|error| matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut))
    }

    /// The socket itself, for a thread that drives many.
    #[must_use]
    pub fn into_stream(self) -> TcpStream {
        self.stream
    }

    /// This end's address.
    ///
    /// # Panics
    /// If the socket has none.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.stream.local_addr().expect("a connected socket has an address")
    }
}
