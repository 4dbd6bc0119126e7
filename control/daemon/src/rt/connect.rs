//! A connect that comes from an address of the caller's choice, for which glommio has no call.

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::os::fd::{AsFd, OwnedFd};
use std::time::Duration;

use rustix::buffer::spare_capacity;
use rustix::event::{Timespec, epoll};
use rustix::io::Errno;
use rustix::net::{AddressFamily, SocketFlags, SocketType, connect, socket_with, sockopt};

use super::{Stream, readable, timeout};

/// Connects to `address` within `time` from the first of `sources` that this host has.
pub(super) async fn from(
    sources: &[IpAddr],
    address: SocketAddr,
    time: Duration,
) -> io::Result<Stream> {
    let family = if address.is_ipv4() { AddressFamily::INET } else { AddressFamily::INET6 };
    let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
    let socket = socket_with(family, SocketType::STREAM, flags, None)?;
    bind(&socket, sources, &address)?;
    match connect(&socket, &address) {
        Ok(()) => {}
        Err(Errno::INPROGRESS) => {
            let late = || io::Error::from(io::ErrorKind::TimedOut);
            timeout(time, answered(&socket)).await.ok_or_else(late)??;
        }
        // Where ip_nonlocal_bind lets bind(2) take any address, connect(2) finds it.
        Err(Errno::INVAL) => return Err(not_here(sources)),
        Err(fault) => return Err(fault.into()),
    }
    Ok(Stream::new(socket))
}

fn bind(socket: &OwnedFd, sources: &[IpAddr], address: &SocketAddr) -> io::Result<()> {
    for source in sources {
        match weir_engine::bind_source(socket.as_fd(), *source, address) {
            Err(fault) if fault.kind() == io::ErrorKind::AddrNotAvailable => {}
            bound => return bound,
        }
    }
    Err(not_here(sources))
}

fn not_here(sources: &[IpAddr]) -> io::Error {
    let list: Vec<String> = sources.iter().map(ToString::to_string).collect();
    io::Error::other(format!("source {} is not on this host", list.join(", ")))
}

/// Ends when the connect of a socket has ended. glommio waits for sockets that can be read only; an
/// epoll can be read as soon as what is in it is ready.
async fn answered(socket: &OwnedFd) -> io::Result<()> {
    let epoll = epoll::create(epoll::CreateFlags::CLOEXEC)?;
    epoll::add(&epoll, socket, epoll::EventData::new_u64(0), epoll::EventFlags::OUT)?;
    let mut events = Vec::with_capacity(1);
    while events.is_empty() {
        readable(epoll.as_fd()).await?;
        epoll::wait(&epoll, spare_capacity(&mut events), Some(&Timespec::default()))?;
    }
    Ok(sockopt::socket_error(socket)??)
}
