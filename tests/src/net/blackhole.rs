//! An address whose packets get lost.

use std::net::TcpStream;
use std::time::Duration;

use socket2::{Domain, SockAddr, Socket, Type};

use super::Backend;
use crate::clock;

/// Takes no connection at its address and refuses none: SYNs get lost, for its queue is full.
#[derive(Debug)]
pub struct Blackhole {
    _listener: Socket,
    _queue: Vec<TcpStream>,
}

impl Blackhole {
    /// In the place of a backend that listens no more.
    ///
    /// # Panics
    /// If the queue is never full.
    #[must_use]
    pub fn at(backend: &mut Backend) -> Blackhole {
        backend.pause();
        let address = backend.address;
        let listener = Socket::new(Domain::for_address(address), Type::STREAM, None);
        let listener = listener.expect("a socket");
        listener.set_reuse_address(true).expect("a socket takes SO_REUSEADDR");
        // Its thread may still hold the socket.
        clock::wait_for("the backend to leave", || listener.bind(&SockAddr::from(address)).is_ok());
        listener.listen(1).expect("it is bound");
        let mut queue = Vec::new();
        while let Ok(stream) = TcpStream::connect_timeout(&address, Duration::from_millis(150)) {
            queue.push(stream);
            assert!(queue.len() < 16, "the queue is never full");
        }
        Blackhole { _listener: listener, _queue: queue }
    }
}
